"""`tallygate attest`: what is signed of the ledger, one in full, and a session's evidence for somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallygate.attest import VERIFIER
from tallygate.core.errors import InvalidArgument
from tallygate.core.moments import iso
from tallygate.core.text import plural
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option, limit_option
from tallygate.entrypoints.cli.output import shown_zone
from tallygate.entrypoints.cli.program import Commands, Program, pass_program
from tallygate.operations.proof.attest import find_attestation, newest, of_session
from tallygate.operations.views.overview import attestation_called, session_called

if TYPE_CHECKING:
    from tallygate.ledger.port import StoredAttestation


# So much of an id tells it apart.
_ID_SHOWN = 12


@click.group(cls=Commands)
def attest() -> None:
    """Signed records of halts and sessions, as evidence."""


@attest.command("list")
@click.option("--session", help="Of this session only.")
@limit_option(20, 10_000)
@as_json_option
@pass_program
def list_(program: Program, session: str | None, limit: int, as_json: bool) -> None:
    """List attestations, the youngest first. What is due is signed first.

    An attestation is a signed record of one halt, or of a session that ended, which others can verify without you.
    """
    settings = program.settings()
    with program.opened(settings, by="attest") as app:
        if session is None:
            attested = newest(app.runtime, limit)
        else:
            attested = of_session(app.runtime, session_called(app.runtime, session))[:limit]
    if as_json:
        output.document({"attestations": [attested_json(each) for each in attested]})
    elif attested:
        zone = shown_zone(settings)
        output.table(
            output.words("ID", [each.attestation_id[:_ID_SHOWN] for each in attested]),
            output.words("KIND", [each.kind for each in attested]),
            output.going(1, output.numbers("EVENT", [each.seq for each in attested])),
            output.words(
                output.zoned("SIGNED", [each.issued_us for each in attested], zone),
                [output.when(each.issued_us, zone)[-11:] for each in attested],
            ),
            output.words("SESSION", [output.short_id(each.session_id or "") for each in attested]),
        )
    else:
        click.echo("Nothing is signed yet: no hard budget has refused a call, and no session has ended.")


@attest.command()
@click.argument("attestation_id", metavar="ID")
@click.option("--envelope", is_flag=True, help="The DSSE envelope alone, for other tools.")
@pass_program
def show(program: Program, attestation_id: str, envelope: bool) -> None:
    """Show one attestation: its statement and its envelope. The beginning or end of its ID is enough."""
    with program.opened(by="attest") as app:
        each = find_attestation(app.runtime, attestation_called(app.runtime, attestation_id))
    if envelope:
        click.echo(each.envelope)
        return
    output.document({**attested_json(each), "statement": json.loads(each.payload or b"{}")})


@attest.command()
@click.argument("session")
@click.option("--to", "target", type=click.Path(path_type=Path), help="The new folder or archive.")
@click.option("--zip", "as_zip", is_flag=True, help="One archive instead of a folder.")
@click.option("--html", "as_html", is_flag=True, help="One page that verifies itself in a browser, offline.")
@pass_program
def export(program: Program, session: str, target: Path | None, as_zip: bool, as_html: bool) -> None:
    """Write the evidence of SESSION for somebody else.

    Statements, envelopes, events, a checkpoint, the public key, and how to verify them without this program.
    """
    from tallygate.operations.proof.attest import bundle_archive, export_bundle, keep_file

    if as_zip and as_html:
        raise InvalidArgument("--html", "--zip and --html are two forms of the same.", hint="Name one of them.")
    with program.opened(by="attest") as app:
        session_id = session_called(app.runtime, session)
        name = f"evidence-{output.short_id(session_id)}".replace("/", "-")
        name += ".zip" if as_zip else ".html" if as_html else ""
        place = Path(name) if target is None else target
        if as_html:
            from tallygate.entrypoints.page.auditor import auditor_file

            keep_file(place, auditor_file(bundle_archive(app.runtime, session_id), output.short_id(session_id)))
            click.echo(f"{output.safe(place, 1000)}: open it in a browser; it verifies itself there, offline.")
            return
        files = export_bundle(app.runtime, session_id, place, as_zip=as_zip)
    click.echo(f"{output.safe(place, 1000)}: {plural(len(files), 'file')}. README.md in it says how to verify.")


@attest.command()
def verifier() -> None:
    """Print the second verifier, for Node 22: `node verify.mjs BUNDLE --key key.pem`.

    It shares no code with this program: an auditor reads it, and holds evidence by it.
    """
    click.echo(VERIFIER.read_text(encoding="utf-8"), nl=False)


def attested_json(each: StoredAttestation) -> dict[str, Any]:
    """An attestation for programs."""
    return {
        "id": each.attestation_id,
        "kind": each.kind,
        "session_id": each.session_id,
        "call_id": each.call_id,
        "event": each.seq,
        "event_sha256": each.event_hash.hex(),
        "key_id": each.keyid,
        "signed_at": iso(each.issued_us),
        "envelope": None if each.envelope is None else json.loads(each.envelope),
    }
