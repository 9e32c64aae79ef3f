"""`tallygate backup`: the whole ledger in one new file, also while servers write to it."""

from __future__ import annotations

from pathlib import Path

import click

from tallygate.core.errors import InvalidArgument, LedgerUnavailable
from tallygate.core.moments import iso
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.program import Program, pass_program


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@pass_program
def backup(program: Program, file: Path, as_json: bool) -> None:
    """Copy the ledger into a new file.

    The copy is complete, also while servers run, and readable by you alone. A file that exists is never overwritten.
    """
    with program.opened(by="backup") as app, output.working("copying the ledger"):
        try:
            head = app.ledger.backup(file, app.runtime.tenant)
            size = file.stat().st_size
        except FileExistsError as error:
            raise InvalidArgument("FILE", f"{file} exists already.", hint="Give the name of a new file.") from error
        except OSError as error:
            raise LedgerUnavailable(
                f"The backup {file} cannot be written: {error.strerror}.",
                hint="Give a file in a folder that is there and that you may write to.",
                code="storage_failed",
            ) from error
    path = file.absolute()
    if as_json:
        output.document(
            {
                "path": str(path),
                "size_bytes": size,
                "events": head.seq,
                "head": head.hash.hex(),
                "last_event_at": iso(head.at_us or None),
            }
        )
        return
    output.facts(
        [
            ("backup", f"{path} ({output.size(size)})"),
            ("chain", f"{output.plural(head.seq, 'event')}, head {head.hash.hex()}"),
        ]
    )
