"""`tallygate export`: everything that was spent as a file for other programs, one row a response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from tallygate.core.errors import Conflict, InvalidArgument
from tallygate.core.text import plural
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.output import moment_us, shown_zone, since_option, zone_of
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.cli.sync import read_news, reading_first
from tallygate.files import put, start_of
from tallygate.operations.runtime import in_tenant, tenant_id
from tallygate.operations.views.export import spent_rows
from tallygate.reports.export import COLUMNS, SpentRow, csv_rows, json_rows
from tallygate.reports.focus import VERSION_1_4, VERSIONS, focus_rows
from tallygate.reports.usage import ALWAYS_US

# How files of ours begin, of every version: another file is not written over.
_BEGINNINGS = (
    ",".join([*COLUMNS][:6]).encode(),
    b'[\n{"kind": ',
    b"AllocatedMethodDetails,AllocatedMethodId,",
    b"AvailabilityZone,BilledCost,",
)
_LONGEST_BEGINNING = 100
_NOTHING = (b"", b"[]\n")  # an empty file, and the JSON of no rows


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "focus"]),
    default="csv",
    show_default=True,
    help="A sheet, a JSON list with a row a line, or a sheet by the FinOps specification.",
)
@click.option(
    "--focus-version",
    type=click.Choice(VERSIONS),
    default=VERSION_1_4,
    show_default=True,
    help="Whose columns a FOCUS sheet has.",
)
@since_option("Only what was spent")
@click.option("--until", metavar="MOMENT", help="Only what was spent before that, or on that day.")
@click.option("--tenant", metavar="TENANT", help="The tenant; without it the one here.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where to; without it standard output.")
@click.option("--force", is_flag=True, help="Take the place of an earlier export of that name.")
@reading_first
@pass_program
def export(
    program: Program,
    *,
    form: str,
    focus_version: str,
    since: str | None,
    until: str | None,
    tenant: str | None,
    out: Path | None,
    force: bool,
    syncing: bool,
) -> None:
    """Write everything that was spent, for other programs.

    One row a response, with its tokens, its cost to the last digit, and where both come from: by which rule it was
    read, how final its counts are, whose price it has and of which day, and how sure that is. Where a client writes no
    responses down there is a row for each call that its agent booked. The rows add up to what `usage` says.

    Times are UTC. In a sheet text that would be a formula begins with an apostrophe. A file is written for you alone,
    and is there as a whole or not at all; one that is there already stays, unless it is an export and you say --force.
    """
    settings = program.settings()
    zone = zone_of(shown_zone(settings))
    if out is not None:
        _refuse(out, force=force)
    with program.opened(settings) as app:
        if syncing:
            read_news(app.runtime)
        rt = app.runtime if tenant is None else in_tenant(app.runtime, tenant_id(tenant))
        now = rt.services.clock_us()
        from_us = -ALWAYS_US if since is None else moment_us(since, now, zone)
        until_us = ALWAYS_US if until is None else moment_us(until, now, zone, end=True)
        with rt.reading() as reader:
            counted = _CountedRows(spent_rows(rt, reader, from_us, until_us))
            pieces = _written(form, focus_version)(counted)
            if out is None:
                _to_output(pieces)
                return
            size = _to_file(out, pieces, force=force)
    output.aside(f"{plural(counted.rows, 'row')} in {out} ({output.size(size)}).")


class _CountedRows:
    """Rows on their way, and how many there were."""

    def __init__(self, found: Iterable[SpentRow]) -> None:
        self._found, self.rows = found, 0

    def __iter__(self) -> Iterator[SpentRow]:
        for row in self._found:
            self.rows += 1
            yield row


def _written(form: str, focus_version: str) -> Callable[[Iterable[SpentRow]], Iterator[bytes]]:
    if form == "focus":
        return lambda rows: focus_rows(rows, focus_version)
    if form == "json":
        return json_rows
    return csv_rows


def _to_output(pieces: Iterator[bytes]) -> None:
    """As bytes: a text stream of some systems would end the lines in its own way."""
    for piece in pieces:
        click.echo(piece, nl=False)


def _to_file(out: Path, pieces: Iterator[bytes], *, force: bool) -> int:
    try:
        return put(out, pieces, anew=not force)
    except FileExistsError:
        raise _there_already(out) from None
    except OSError as error:
        raise InvalidArgument(
            "out",
            f"{output.safe(out, 300)} cannot be written: {error.strerror}.",
            hint="Give a file in a folder that is there and that you may write to.",
        ) from error


def _refuse(out: Path, *, force: bool) -> None:
    """Before anything is read: a file that is there already, or with --force one that is no export of ours."""
    if not out.is_symlink() and not out.exists():
        return
    if not force:
        raise _there_already(out)
    begins = None if out.is_symlink() or not out.is_file() else start_of(out, _LONGEST_BEGINNING)
    if begins is None or not (begins in _NOTHING or begins.startswith(_BEGINNINGS)):
        raise Conflict(
            f"{output.safe(out, 300)} is no export of Tallygate, so it stays as it is.",
            hint="Give another name, or remove it yourself.",
        )


def _there_already(out: Path) -> Conflict:
    return Conflict(
        f"{output.safe(out, 300)} is there already; nothing was written.",
        hint="Give another name, or --force to take the place of an earlier export.",
    )
