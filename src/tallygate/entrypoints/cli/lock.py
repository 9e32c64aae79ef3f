"""`tallygate lock` and `unlock`: a passphrase in front of everything that loosens."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallygate.attest import sealed
from tallygate.attest.keys import PublicKey, unb64url
from tallygate.core.authority import Authority, Loosening, locked
from tallygate.core.errors import Conflict
from tallygate.core.gate.wording import budget_name
from tallygate.core.money import format_amount
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.passphrase import ask_shown, new_passphrase
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.cli.trust import loaded_here
from tallygate.operations.lock import falling, lock_limits, tell_lost, unlock_limits, unlock_lost
from tallygate.operations.lock_book import UNLOCKED, remember_lock, standing_now
from tallygate.settings import Settings, load_settings, places
from tallygate.settings.projects import accepted_of_all
from tallygate.settings.signed import users_rows
from tallygate.surroundings import around_here

if TYPE_CHECKING:
    from tallygate.app import App

LOST_WORD = "lost"


@click.command()
@pass_program
def lock(program: Program) -> None:
    """Set a passphrase that everything which loosens needs.

    It is typed at the terminal, twice. From then on a raise, `trust` and the other commands that are yours alone ask
    for it, and the journal keeps your signature of what they change; the gate goes by limits that are signed. Settings
    that you loosen in your file wait for `tallygate trust --user`. What tightens is free as before.
    """
    loaded = loaded_here()
    settings = loaded.settings
    authority = program.authority(settings)
    settings.paths.in_a_file(
        "Who may loosen there is who may log in: give servers the role that writes, and nobody more."
    )
    if settings.lock is None:
        authority.require(Loosening.LOCK)
    with program.opened(settings, by="lock") as app:
        if standing_now(app.runtime).lock is not None:
            raise Conflict(
                "The limits are locked already; they stay as they are.",
                hint="For another passphrase: tallygate unlock, then tallygate lock.",
                code="locked_already",
            )
        rows = users_rows(loaded.user)
        signer, key = sealed.seal(new_passphrase())
        file = sealed.keep(settings.paths.key_dir, key)
        try:
            found = lock_limits(
                app.runtime, signer, key, rows, accepted_of_all(settings.paths.data_dir), authority=authority
            )
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        _make_lasting(settings)
        remember_lock(app.runtime, app.marks)
    raised = [(name, proven) for limits in found.limits.values() for name, proven in limits.items()]
    output.facts(
        [
            ("locked", "what loosens needs your passphrase from now on"),
            ("key", f"{file}, sealed by it: keep a copy"),
            ("settings", f"{settings.paths.user_file or 'the defaults'}, as they are now"),
            *[("limit", f"{output.safe(name, 300)} as it was changed by hand") for name, _ in raised[:20]],
        ]
    )
    click.echo(f"\nType the passphrase only into this program, by its full path:\n  {own_path()}")


@click.command()
@click.option("--lost", is_flag=True, help="End it without the passphrase: limits go back to your settings file.")
@pass_program
def unlock(program: Program, *, lost: bool) -> int:
    """End the lock, with its passphrase.

    With --lost it ends without one, in a terminal outside every agent: limits that were raised go back to your settings
    file, whose rows count again, and `status`, `doctor`, `verify` and the next sessions say so.
    """
    settings = program.settings()
    authority = program.authority(settings)
    with program.opened(settings, by="lock") as app:
        if lost and settings.lock is None and (named := _remembered(app)):
            return _end_unheld(app, named, authority)
        standing = standing_now(app.runtime)
        if standing.lock is None:
            click.echo("Nothing is locked.")
            return 0
        if not lost:
            unlock_limits(app.runtime, authority=authority)
            _remove(settings.paths.key_dir, standing.lock.public)
            remember_lock(app.runtime, app.marks)
            click.echo("Unlocked: your settings file counts as it stands, and no passphrase is asked for.")
            for row in settings.loosened:
                click.echo(f"  {row.shown}")
            return 0
        falls = _falling(program, app)
        if authority.beneath is None and not _confirmed(falls, settings):
            click.echo("Nothing was changed.")
            return 1
        unlock_lost(app.runtime, authority=authority)
        _remove(settings.paths.key_dir, standing.lock.public)
        remember_lock(app.runtime, app.marks)
    for text in falls:
        click.echo(text)
    click.echo("Unlocked without the passphrase; status, doctor, verify and the next sessions say so.")
    return 0


def _remembered(app: App) -> list[Path]:
    """The sealed keys, or the places of such, that tell of a lock which the ledger knows nothing of."""
    folder = app.settings.paths.key_dir
    marked = [folder / f"lock-{mark.keyid}.json" for mark in app.marks.read()]
    return marked or sealed.files_in(folder)


def _end_unheld(app: App, named: list[Path], authority: Authority) -> int:
    """End a lock whose ledger is gone, is another, or cannot tell of it; the next ledger tells that it was ended."""
    if authority.beneath is not None:
        raise locked(Loosening.UNLOCK, f"and this was started by an agent: {authority.beneath}.")
    click.echo("The ledger knows nothing of the lock that is remembered beside it, and goes on without one then.")
    if not _says_so():
        click.echo("Nothing was changed.")
        return 1
    if app.settings.unread is None:
        tell_lost(app.runtime, app.runtime.services.clock_us(), authority.actor)
        app.marks.forget()
    else:
        app.marks.write_lost(app.runtime.services.clock_us(), authority.actor)
    for file in named:
        file.unlink(missing_ok=True)
    click.echo("Ended without the passphrase; the ledger tells of it from: tallygate ledger accept --reason TEXT")
    return 0


def _falling(program: Program, app: App) -> list[str]:
    """What goes back to the settings file, which then counts as it stands: each limit as it is and as it will be."""
    unlocked = load_settings(os.environ, Path.cwd(), places(around_here()), lambda _: UNLOCKED)
    with program.opened(unlocked, by="lock") as then:
        found = falling(app.runtime, then.runtime)
    lines = []
    for budget, back in found:
        was, now = (format_amount(each.limit, each.unit) for each in (budget, back))
        whose = "as it began" if budget.scope == "session" else "as in your settings file"
        lines.append(f"{output.safe(budget_name(budget), 300)}: {was} -> {now}, {whose}")
    return lines


def _confirmed(falls: list[str], settings: Settings) -> bool:
    click.echo("What was raised goes back:" if falls else "Nothing was raised that would go back.")
    for text in falls:
        click.echo(f"  {text}")
    if settings.loosened:
        click.echo("What of your settings file waits counts at once:")
        for row in settings.loosened:
            click.echo(f"  {row.shown}")
    return _says_so()


def _says_so() -> bool:
    question = f"This ends the lock without its passphrase, and everybody will see it. Type {LOST_WORD} to go on: "
    return ask_shown(question).strip() == LOST_WORD


def _make_lasting(settings: Settings) -> None:
    """Have the lock remembered with the settings, too, which no `[paths]` move; one of a passing ledger is not."""
    folder = settings.paths.anchor_places[-1]
    if not settings.paths.is_passing:
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _remove(folder: Path, public: str) -> None:
    """The sealed key of a lock that has ended opens nothing any more."""
    sealed.file_of(folder, PublicKey(unb64url(public, "the lock"))).unlink(missing_ok=True)


def own_path() -> str:
    """The full path of this program, for who types a passphrase into it."""
    beside = Path(sys.executable).parent / "tallygate"
    return str(beside) if beside.exists() else f"{sys.executable} -m tallygate"
