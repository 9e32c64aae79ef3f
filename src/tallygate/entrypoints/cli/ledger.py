"""`tallygate backup`, `restore` and `ledger accept`: a copy of the ledger, and going on with another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import InvalidArgument, LedgerCorrupt, LedgerUnavailable
from tallygate.core.lock import Lock
from tallygate.core.moments import iso
from tallygate.core.proof import is_about_history
from tallygate.core.text import plural
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.program import Commands, Program, pass_program
from tallygate.entrypoints.cli.sync import progress_bar, report_json, say_faults
from tallygate.entrypoints.cli.trust import loaded_here
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.sqlite.files import is_nothing
from tallygate.operations.lock import carry_lock, tell_lost
from tallygate.operations.lock_book import carried_lock, remember_lock
from tallygate.operations.proof.accepting import Instead, go_on, reason_of
from tallygate.operations.proof.evidence import Way
from tallygate.operations.usage.sync import SyncReport
from tallygate.operations.usage.sync import sync as synced
from tallygate.settings import ReadTranscripts
from tallygate.settings.signed import users_rows

if TYPE_CHECKING:
    from tallygate.app import App
    from tallygate.core.proof import Head

_reason = click.option("--reason", required=True, help="Why; it stands in the journal.")


@click.group(cls=Commands)
def ledger() -> None:
    """Go on where the ledger is not the one that was there."""


@ledger.command()
@_reason
@as_json_option
@pass_program
def accept(program: Program, reason: str, as_json: bool) -> None:
    """Go on with the ledger as it is.

    For one that is gone, empty, older than it was, or another: every gate halts until you say so. Clients' transcripts
    are read again first, so that what they tell of is counted; the journal keeps what was there before, and why.
    """
    settings = program.settings()
    authority = program.authority(settings, of=Loosening.LEDGER_ACCEPT)
    why = reason_of(reason)
    with program.opened(settings, by="ledger") as app:
        try:
            _ = app.ledger
        except LedgerUnavailable as error:
            if not is_about_history(error):
                raise
            told = error
        else:
            _nothing(as_json=as_json)
            return
        _refuse_unsound(app.accepting(), database=settings.paths.database)
        instead = Instead(Way.ACCEPTED, told.code, app.anchor.read().newest)
        head, read = gone_on(app.accepting(), instead, why, authority)
    if as_json:
        output.document({"accepted": True, **_json(instead, head, read)})
        return
    output.facts([("was", told.message), *_facts(settings.paths.database, head, read)])


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@_reason
@as_json_option
@pass_program
def restore(program: Program, file: Path, reason: str, as_json: bool) -> None:
    """Put a backup in the ledger's place.

    The backup has to verify; what lies in its place is kept beside it. Clients' transcripts are then read again, and
    the journal keeps what was there before, and why. Stop running servers first, or start them again afterwards.
    """
    from tallygate.ledger.audit.rebuild import restore as restored

    settings = program.settings()
    authority = program.authority(settings, of=Loosening.RESTORE)
    why = reason_of(reason)
    database, timeout_ms = settings.paths.in_a_file(), settings.ledger.lock_timeout_ms
    with program.opened(settings, by="restore") as app:
        was = app.anchor.read().newest
        with output.working("looking through the backup"):
            done = restored(database, file, at_us=app.runtime.services.clock_us(), lock_timeout_ms=timeout_ms)
        instead = Instead(Way.RESTORED, "restored", was, file.name)
        head, read = gone_on(app.accepting(), instead, why, authority)
    if as_json:
        kept = None if done.kept is None else str(done.kept)
        backup = {"events": done.ends.seq, "last_event_at": iso(done.ends.at_us or None)}
        output.document({"restored": str(file), "kept": kept, "backup": backup, **_json(instead, head, read)})
        return
    ends = f"event {done.ends.seq:,} of {iso(done.ends.at_us)}" if done.ends.seq else "no event"
    before = [] if was is None or not was.row else [("before", f"event {was.seq:,} of {iso(was.at_us)} was the last")]
    kept_ = [] if done.kept is None else [("kept", f"what lay there: {done.kept}")]
    output.facts([("restored", f"{file}, which ends with {ends}"), *before, *kept_, *_facts(database, head, read)])
    click.echo("\nStart running servers again: they notice that their file was replaced and refuse to count.")


def gone_on(app: App, instead: Instead, why: str, authority: Authority) -> tuple[Head, SyncReport | None]:
    """Go on with the ledger as it is; what clients wrote is read first, where it is read at all."""

    def read_again() -> SyncReport | None:
        if app.settings.usage.transcripts is ReadTranscripts.OFF:
            return None
        around = app.start.around
        with progress_bar() as progress:
            return synced(app.runtime, environ=around.environ, home=around.home, progress=progress)

    try:
        _carry(app, authority)
        return go_on(app.runtime, app.ledger, instead, reason=why, authority=authority, read_again=read_again)
    finally:
        app.close()


def _carry(app: App, authority: Authority) -> None:
    """Let the ledger go on as locked as the one before it was; tell of a lock that was ended meanwhile."""
    marks = app.marks
    if authority.lock is not None:
        lock = carried_lock(marks) or app.settings.lock
        if lock is None:  # its key is all that is left of it
            lock = Lock(authority.lock.public, 0, users_rows(loaded_here().user), 0)
        carry_lock(app.runtime, lock, authority=authority)
        remember_lock(app.runtime, marks)
    elif (lost := marks.lost()) is not None:
        tell_lost(app.runtime, lost.at_us, lost.by)
        marks.forget()


def _refuse_unsound(app: App, database: Path) -> None:
    """A copy that was mixed up with the log of another ledger is no history to go on with."""
    if is_nothing(database):
        return
    try:
        with output.working("checking the chain"):
            findings = audit(app.ledger)
    finally:
        app.close()
    if findings:
        first = findings[0]
        raise LedgerCorrupt(
            f"The ledger {database} does not verify: {first.where}: {first.what}.",
            hint="Nothing was accepted. Restore a backup, or run: tallygate doctor --rebuild, which keeps a copy.",
        )


def _nothing(*, as_json: bool) -> None:
    if as_json:
        output.document({"accepted": False})
    else:
        click.echo("Nothing to accept: the ledger is the one that was there.")


def _facts(database: Path, head: Head, read: SyncReport | None) -> list[tuple[str, str]]:
    again = "transcripts are switched off: nothing was read again"
    if read is not None:
        say_faults(read.faults)
        taken = read.taken
        again = f"{taken.new:,} new responses in {plural(read.read, 'transcript')}, {taken.known:,} known"
    return [("now", f"{database}, event {head.seq:,} tells of it"), ("read again", again)]


def _json(instead: Instead, head: Head, read: SyncReport | None) -> dict[str, Any]:
    was = instead.was
    return {
        "found": instead.found,
        "was": None
        if was is None
        else {
            "ledger": was.ledger_id,
            "tenant": was.tenant,
            "events": was.seq,
            "head": was.digest.hex(),
            "last_event_at": iso(was.at_us or None),
        },
        "event": head.seq,
        "head": head.hash.hex(),
        "read_again": None if read is None else report_json(read),
    }


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json_option
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
            ("chain", f"{plural(head.seq, 'event')}, head {head.hash.hex()}"),
        ]
    )
