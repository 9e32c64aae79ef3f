"""`tallygate verify`: whether a ledger, a run log and attestations are what they say, without believing any of them.

Exit codes beside those of every command, the gravest finding first:
10 file, 11 schema, 12 chain, 13 tables or counters, 14 head, 15 attestation, 16 key, 17 run log, 18 lock.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import click

from tallygate.attest.keyring import KeyRing
from tallygate.core.errors import InvalidArgument, LedgerUnavailable, NotProven
from tallygate.core.proof import missing
from tallygate.core.text import plural
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.keys import keys_in
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.ledger.anchor import AnchorRecord
from tallygate.ledger.sqlite.files import is_nothing
from tallygate.operations.proof.evidence import Area, Report
from tallygate.operations.proof.verify import OutsideEvidence, verify_ledger, verify_open
from tallygate.settings import Settings

CODES = {
    Area.FILE: 10,
    Area.SCHEMA: 11,
    Area.CHAIN: 12,
    Area.PROJECTION: 13,
    Area.COUNTERS: 13,
    Area.HEAD: 14,
    Area.ATTESTATION: 15,
    Area.KEY: 16,
    Area.RUN_LOG: 17,
    Area.LOCK: 18,
}
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_TOO_OLD = "ledger_too_old"
_EPILOG = (
    "Exit codes when something is broken, the gravest first: 10 file, 11 schema, 12 chain, 13 tables or counters, "
    "14 head, 15 attestation, 16 key, 17 run log, 18 lock."
)


@click.command(epilog=_EPILOG)
@click.option("--db", type=click.Path(path_type=Path), help="A ledger's file; yours where nothing else is asked for.")
@click.option("--attestation", type=click.Path(path_type=Path), help="An envelope, or a folder or zip of evidence.")
@click.option("--head", help="A hash that was written down elsewhere: the history must still contain it.")
@click.option("--key", type=click.Path(path_type=Path), help="The public key to verify by; else those you trust.")
@click.option("--log", type=click.Path(path_type=Path), help="A run log to hold against the ledger.")
@as_json_option
@pass_program
def verify(
    program: Program,
    *,
    db: Path | None,
    attestation: Path | None,
    head: str | None,
    key: Path | None,
    log: Path | None,
    as_json: bool,
) -> int:
    """Verify a ledger and what was signed of it; changes nothing.

    Chain, tables against events, schema, signatures, run log and an expected head. Keys come from --key, or from your
    own folder for keys and those you trust; never from what is verified.
    """
    settings = program.settings()
    if head is not None and not _HASH.fullmatch(head):
        raise InvalidArgument("--head", "--head takes the 64 hexadecimal digits of a hash.")
    keys = {each.keyid: each for each in keys_in(key)} if key else KeyRing(settings.paths.key_dir).trusted()
    own = settings.paths.database
    asked = OutsideEvidence(keys, None if head is None else bytes.fromhex(head), log)
    report = Report()
    if db is not None or attestation is None or head is not None or log is not None:
        ours = settings.paths.run_log
        if db is None and settings.paths.server is not None:
            asked = replace(asked, log=log or (ours if ours.is_file() else None))
        elif db is None or db.absolute() == own:
            asked = replace(asked, anchor=_remembered(program, settings), log=log or (ours if ours.is_file() else None))
        with output.working("verifying the ledger"):
            if db is None and settings.paths.server is not None:
                with program.opened(settings, by="verify") as app:
                    report = verify_open(app.kept, asked)
            else:
                report = _verified(program, settings, own if db is None else db, asked)
    if attestation is not None:
        _attested(report, attestation, asked, db)
    _say(report, as_json=as_json)
    return next((code for part, code in CODES.items() if report.counted[part]), 0)


def _remembered(program: Program, settings: Settings) -> AnchorRecord:
    """What the anchor of the user's own ledger says. Raises `LedgerMissing` where there is nothing to verify."""
    with program.opened(settings, by="verify") as app:
        remembered = app.anchor.read()
    own = settings.paths.database
    if remembered.newest is not None and is_nothing(own):
        raise missing(str(own), remembered.newest, empty=own.is_file())
    return remembered


def _verified(program: Program, settings: Settings, ledger: Path, asked: OutsideEvidence) -> Report:
    """What a check of a ledger finds. The user's own of an older version is brought up to date, as by any command."""
    try:
        return verify_ledger(ledger, asked)
    except LedgerUnavailable as error:
        if error.code != _TOO_OLD or ledger.absolute() != settings.paths.database:
            raise
    with program.opened(settings, by="verify") as app:
        _ = app.ledger
    report = verify_ledger(ledger, asked)
    report.notes.append("The ledger was of an older version and has been brought up to date first.")
    return report


def _attested(report: Report, path: Path, asked: OutsideEvidence, db: Path | None) -> None:
    from tallygate.operations.proof.evidence import verify_attestations
    from tallygate.operations.proof.verify import check_statements

    try:
        proven = verify_attestations(report, path, asked.keys)
    except NotProven as error:
        report.add(Area.ATTESTATION, str(path), error.message, "this proves nothing")
        return
    if db is not None:
        check_statements(report, db, proven)


def _say(report: Report, *, as_json: bool) -> None:
    parts = [{"kind": b.part.value, "where": b.where, "what": b.what, "meaning": b.meaning} for b in report.broken]
    if as_json:
        output.document(
            {
                "verifies": not report.broken,
                "lines_of_other_ledgers": report.elsewhere,
                "facts": [{"name": name, "value": value} for name, value in report.facts],
                "broken": parts,
                "counts": {part.value: count for part, count in report.counted.items()},
                "notes": report.notes,
            }
        )
        return
    output.facts(report.facts)
    for note in report.notes:
        click.echo(f"note: {output.safe(note, 1000)}")
    for each in report.broken:
        kind = click.style(each.part.value.upper(), fg="red")
        what = output.safe(f"{each.where}: {each.what.rstrip('.')}", 1000)
        click.echo(f"{kind}  {what}. {output.safe(each.meaning, 500)}.")
    for part, count in report.counted.items():
        shown = sum(each.part is part for each in report.broken)
        if count > shown:
            click.echo(f"{part.value}: {count - shown:,} more.")
    click.echo(_verdict(report))


def _verdict(report: Report) -> str:
    if report.broken:
        return "Something is broken."
    if report.elsewhere:
        lines, are = plural(report.elsewhere, "line"), output.are(report.elsewhere)
        other = "another ledger" if report.elsewhere == 1 else "other ledgers"
        return f"This ledger verifies. {lines} of the run log {are} of {other}, of which nothing can be said here."
    return "Everything verifies."
