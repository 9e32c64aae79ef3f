"""`tallygate sync`: bring what clients wrote down into the ledger, with progress and a summary."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import tzinfo
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from tallygate.clients.reading.lines import Skip
from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.sums import UnreadSum
from tallygate.core.text import plural
from tallygate.core.words import client_name
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import ClientChoice
from tallygate.entrypoints.cli.output import moment_us, shown_zone, since_option, zone_of
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.cli.unread import MEANING, open_questions, unread_json, unread_text
from tallygate.operations.learning.estimates import has_learned
from tallygate.operations.runtime import Runtime
from tallygate.operations.usage.sync import FileFault, SyncProgress, SyncReport, unseen_sync, watch
from tallygate.operations.usage.sync import sync as synced
from tallygate.operations.views.usage import what_is_open
from tallygate.settings import Settings
from tallygate.settings.load import cache_folder
from tallygate.surroundings import around_here

if TYPE_CHECKING:
    from tallygate.app import App

_FAULTS_SHOWN = 20
# Fewer new responses say little about the next one.
WORTH_LEARNING = 200
# What transcripts hold beside usage as a matter of course; everything else may be usage that is missing.
_EXPECTED = {Skip.SYNTHETIC, Skip.EMPTY, Skip.INHERITED, Skip.UNFINISHED}

reading_first = click.option(
    "--sync/--no-sync", "syncing", default=True, show_default=True, help="Read what clients wrote first."
)


@click.command()
@click.option(
    "--client", "clients", type=ClientChoice(REGISTRY.sources), multiple=True, help="Only this client; repeatable."
)
@since_option("Only files written")
@click.option("--watch", "watching", is_flag=True, help="Go on until interrupted.")
@click.option("--interval", type=click.IntRange(1, 3600), default=2, show_default=True, help="Seconds between looks.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document; with --watch one a line for each change.")
@pass_program
def sync(
    program: Program, *, clients: tuple[str, ...], since: str | None, watching: bool, interval: int, as_json: bool
) -> None:
    """Read what clients wrote down.

    Every response that a client recorded is put into the ledger once, with its cost, and counted into the budget
    session it belongs to. What was read before is not read again.
    """
    settings = program.settings()
    with program.opened(settings) as app:
        rt = app.runtime
        options: dict[str, Any] = {
            "environ": rt.workspace.around.environ,
            "home": rt.workspace.around.home,
            "clients": clients,
            "since_us": since_us(since, rt, zone_of(shown_zone(settings))),
        }
        if watching:
            watch(rt, wait=Event().wait, each=_Telling(as_json), interval_s=interval, **options)
            return
        with progress_bar() as progress:
            report = synced(rt, progress=progress, kept_in=_kept_in(), **options)
        unread, anomalies = what_is_open(rt, clients)
        unlearned = report.taken.new >= WORTH_LEARNING and not has_learned(rt)
    if as_json:
        output.document(report_json(report) | {"unread": unread_json(unread), **anomalies.stated()})
    else:
        _summary(report, unread)
        for text in open_questions(UnreadSum(), anomalies):
            output.aside(text)
        if unlearned:
            output.aside("estimates can learn from these responses: `tallygate calibrate rebuild`.")


def since_us(since: str | None, rt: Runtime, zone: tzinfo) -> int | None:
    """The moment of `--since`, if it was given."""
    return None if since is None else moment_us(since, rt.services.clock_us(), zone)


@contextmanager
def progress_bar() -> Iterator[Callable[[SyncProgress], None]]:
    """Progress on stderr, where somebody is looking."""
    if not sys.stderr.isatty():
        yield unseen_sync
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("reading transcripts"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files{task.fields[rows]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rows="")

        def show(now: SyncProgress) -> None:
            rows = f", {plural(now.rows, 'response')} read" if now.rows else ""
            bar.update(task, completed=now.files_done, total=now.files, rows=rows)

        yield show


def report_json(report: SyncReport) -> dict[str, Any]:
    """What a sync did, for programs."""
    taken = report.taken
    return {
        "responses": {
            "new": taken.new,
            "corrected": taken.corrected,
            "known": taken.known,
            "attributed": taken.attributed,
            "elsewhere": taken.elsewhere,
        },
        "files": {
            "found": report.files,
            "read": report.read,
            "unchanged": report.unchanged,
            "older": report.older,
            "bytes_read": report.bytes_read,
        },
        "skipped": dict(sorted(report.skipped.items())),
        "misnamed": report.misnamed,
        "faults": [
            {"client": client_name(fault.client), "path": fault.path, "why": fault.why} for fault in report.faults
        ],
    }


@contextmanager
def first_look(
    program: Program, settings: Settings, *, by: str = "cli", reading: bool = True, clients: tuple[str, ...] = ()
) -> Iterator[App]:
    """The program with what is new in its ledger; before there is one, with what clients wrote down and no ledger.

    Without `reading` what is known is shown as it stands.
    """
    with program.opened(settings, by=by) as app:
        if not settings.paths.holds_nothing or settings.paths.is_installed or _was_there(app):
            if reading:
                read_news(app.runtime, clients)
            yield app
            return
        from tallygate.operations.usage.first_look import FirstLook, look

        first = FirstLook(app.runtime.tenant)
        looking = app.beside(first)
        with progress_bar() as progress:
            around = looking.runtime.workspace.around
            report = look(
                looking.runtime,
                first,
                _kept_in(),
                environ=around.environ,
                home=around.home,
                clients=clients,
                reading=reading,
                progress=progress,
            )
        _say(report)
        yield looking


def _was_there(app: App) -> bool:
    """Whether there was a ledger: one that is gone is missed, and nothing is shown in its place."""
    return app.anchor.read().newest is not None and not app.anchor.has_passed()


def _kept_in() -> Path:
    """Where is kept what was read before there is a ledger."""
    return cache_folder(around_here()) / "first-look"


def forget_first_look() -> None:
    """Take away what was kept of the first look: it is on record now."""
    shutil.rmtree(_kept_in(), ignore_errors=True)


def read_news(rt: Runtime, clients: tuple[str, ...] = ()) -> None:
    """Read what is new before it is shown; a ledger that somebody else is writing to is shown as it is."""
    try:
        with progress_bar() as progress:
            report = synced(
                rt,
                environ=rt.workspace.around.environ,
                home=rt.workspace.around.home,
                clients=clients,
                progress=progress,
                kept_in=_kept_in(),
            )
    except LedgerUnavailable as busy:
        if busy.code != "lock_timeout":
            raise
        output.aside("the ledger is in use by another program; what it holds so far is shown.")
    else:
        _say(report)


def _say(report: SyncReport) -> None:
    say_faults(report.faults)
    for text in report.misnamed:
        output.aside(f"{text}.")


def say_faults(faults: Sequence[FileFault]) -> None:
    """Name on stderr the files that could not be read."""
    for fault in faults[:_FAULTS_SHOWN]:
        output.aside(f"{fault.path}: {fault.why}")
    if len(faults) > _FAULTS_SHOWN:
        output.aside(f"{len(faults) - _FAULTS_SHOWN:,} more files could not be read; --json names them all.")


def _summary(report: SyncReport, unread: UnreadSum) -> None:
    taken = report.taken
    read = f"{report.read:,} read ({output.size(report.bytes_read)}), {report.unchanged:,} unchanged"
    older = f", {report.older:,} older" if report.older else ""
    rows = [
        ("responses", f"{taken.new:,} new, {taken.corrected:,} corrected, {taken.known:,} known"),
        ("budgets", f"{plural(taken.attributed, 'response')} counted into sessions"),
        ("files", f"{report.files:,}: {read}{older}"),
    ]
    left_out, unusable = _skipped(report, expected=True), _skipped(report, expected=False)
    rows += [("left out", left_out)] if left_out else []
    rows += [("elsewhere", f"{taken.elsewhere:,} made in projects of other tenants")] if taken.elsewhere else []
    rows += [("unusable", unusable)] if unusable else []
    rows += [("unread", unread_text(unread))] if unread.records else []
    output.facts(rows)
    if not report.files and not report.older:
        output.aside("no transcripts were found; the guide says where they are looked for.")
    say_faults(report.faults)
    for text in report.misnamed:
        output.aside(f"{text}.")


def _skipped(report: SyncReport, *, expected: bool) -> str:
    found = [(why, count) for why, count in report.skipped.most_common() if (why in _EXPECTED) is expected]
    return ", ".join(f"{count:,} {MEANING.get(why, why)}" for why, count in found)


class _Telling:
    """Says of each look what it brought; of what goes wrong every time, only the first."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._said: set[FileFault] = set()

    def __call__(self, report: SyncReport) -> None:
        report.faults = [fault for fault in report.faults if fault not in self._said]
        self._said.update(report.faults)
        taken = report.taken
        if self._as_json:
            if report.read or report.faults:
                click.echo(output.line(report_json(report)))
            return
        if taken.new or taken.corrected:
            click.echo(f"{taken.new:,} new, {taken.corrected:,} corrected, {taken.attributed:,} counted into sessions")
        say_faults(report.faults)
