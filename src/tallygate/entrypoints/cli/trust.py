"""`tallygate trust`: look at what a project's file sets beyond tightening, and let it count."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallygate.core.authority import Loosening
from tallygate.core.errors import InvalidArgument
from tallygate.core.moments import as_datetime
from tallygate.core.money import format_amount
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.operations.lock import sign_project, sign_settings
from tallygate.operations.lock_book import remember_lock
from tallygate.pricing.exchange import ExchangeBook
from tallygate.pricing.identity import one_name
from tallygate.settings.load import LoadedSettings, is_accepted, load_from, places
from tallygate.settings.projects import accept, fingerprint, forget, repository_of
from tallygate.settings.signed import users_rows
from tallygate.settings.variables import PROJECT_VARIABLES
from tallygate.surroundings import around_here

if TYPE_CHECKING:
    from tallygate.pricing.book import PriceBook
    from tallygate.settings import Settings

MODELS_COMPARED = 2_000
PRICES_SHOWN = 6


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--user", "users", is_flag=True, help="Your own settings file, while the limits are locked.")
@click.option("--yes", is_flag=True, help="Accept without asking, for CI.")
@click.option("--revoke", is_flag=True, help="Take back what was accepted for this project.")
@click.option("--json", "as_json", is_flag=True, help="Show what waits as one JSON document, and accept nothing.")
@pass_program
def trust(program: Program, *, folder: Path | None, users: bool, yes: bool, revoke: bool, as_json: bool) -> None:
    """Let the settings of a project count.

    What a project's .l6e/config.toml tightens counts by itself. The rest waits until you have seen it here. Your yes
    holds for these settings in this repository, with its worktrees; others wait again.

    With --user it is your own file that counts as it stands: while the limits are locked, what you loosen in it waits
    for your passphrase.
    """
    loaded = loaded_here(folder)
    if users:
        _trust_user(program, loaded, as_json=as_json)
        return
    settings, root = loaded.settings, loaded.settings.paths.project_root
    if root is None:
        raise InvalidArgument(
            "folder", f"{folder or Path.cwd()} belongs to no project.", hint="Name a folder with .git or .l6e."
        )
    if settings.fault is not None:
        raise settings.fault
    repository, data_dir = str(repository_of(root, places(around_here()).home)), settings.paths.data_dir
    if revoke:
        gone = forget(data_dir, repository)
        click.echo(f"{output.safe(repository, 1000)}: {'nothing counts any more' if gone else 'nothing was accepted'}.")
        return
    waiting = () if loaded.project is None else loaded.project.waiting
    counts = not waiting or is_accepted(settings, repository, fingerprint(waiting))
    if as_json:
        rows = [{"setting": row.shown, "before": row.before, "where": row.where} for row in waiting]
        output.document({"project": repository, "counts": counts, "waiting": [] if counts else rows, "rows": rows})
        return
    if counts:
        more = "its settings count already" if waiting else "nothing of it waits"
        click.echo(f"{output.safe(repository, 1000)}: {more}.")
        return
    click.echo(f"{output.safe(repository, 1000)} sets, and it does not count yet:\n")
    for row in waiting:
        before = f"  (now: {row.before})" if row.before else ""
        click.echo(f"  {row.shown}{before}")
        click.echo(f"      {output.safe(row.where, 1000)}")
    for line in _prices(program, loaded):
        click.echo(f"  {line}")
    authority = program.authority(settings)
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidArgument("yes", "Nobody can be asked here; nothing was accepted.", hint="Add --yes in CI.")
        click.confirm("\nLet these count for this repository?", abort=True)
    authority.require(Loosening.TRUST)
    if settings.lock is not None:
        with program.opened(settings, by="trust") as app:
            sign_project(app.runtime, repository, fingerprint(waiting), authority=authority)
            remember_lock(app.runtime, app.marks)
    accept(data_dir, repository, fingerprint(waiting))
    output.hint("\nThey count from the next session on. Take them back with: tallygate trust --revoke")


def _trust_user(program: Program, loaded: LoadedSettings, *, as_json: bool) -> None:
    """Show what the user's own file loosens, and put it in force with their signature."""
    settings, where = loaded.settings, loaded.settings.paths.user_file or "your settings file"
    rows = [{"setting": row.shown, "where": row.where} for row in settings.loosened]
    if as_json:
        output.document({"file": str(where), "locked": settings.lock is not None, "waiting": rows})
        return
    if settings.lock is None:
        click.echo(f"{output.safe(where, 1000)} counts as it stands: the limits are not locked.")
        return
    if settings.lock.settings == users_rows(loaded.user):
        click.echo(f"{output.safe(where, 1000)} counts as it stands: you have signed it.")
        return
    if settings.loosened:
        click.echo(f"{output.safe(where, 1000)} became looser than what you have signed:\n")
    for row in settings.loosened:
        click.echo(f"  {row.shown}\n      {output.safe(row.where, 1000)}")
    if not settings.loosened:
        click.echo(f"{output.safe(where, 1000)} loosens nothing, and counts already; signed, it can only be tightened.")
    authority = program.authority(settings)
    with program.opened(settings, by="trust") as app:
        sign_settings(app.runtime, users_rows(loaded.user), authority=authority)
        remember_lock(app.runtime, app.marks)
    click.echo("\nIt counts from the next session on.")
    if any(row.key.startswith("paths.") for row in settings.loosened):
        click.echo(
            "Another ledger has no lock: run tallygate lock for it, and tallygate init to have clients go by it."
        )


def loaded_here(folder: Path | None = None) -> LoadedSettings:
    """The settings of a folder; one that is named counts before what a client's variables name."""
    from tallygate.operations.lock_book import lock_of

    environ = dict(os.environ)
    if folder is not None:
        environ = {name: value for name, value in environ.items() if name not in PROJECT_VARIABLES}
    there = (folder or Path.cwd()).absolute()
    return load_from(environ, there, places(around_here()), lock_of)


def _prices(program: Program, loaded: LoadedSettings) -> list[str]:
    """What models cost now and would cost then, where that is not the same."""
    project = loaded.project
    if project is None or project.whole.pricing == loaded.settings.pricing:
        return []
    with program.opened(loaded.settings, by="trust") as app:
        at = as_datetime(app.runtime.services.clock_us())
        now, then = _book(loaded.settings), _book(project.whole)
        models = [listed.id for listed in now.models(at)][:MODELS_COMPARED]
    models += [row.match for row in project.whole.pricing.overrides]
    found: dict[tuple[object, ...], str] = {}  # a model has many spellings, and is told once where they cost the same
    for model in dict.fromkeys(models):
        before, after = (book.quote(model, at).rates for book in (now, then))
        if before != after:
            pairs = ((before.input_nanos, after.input_nanos), (before.output_nanos, after.output_nanos))
            words = [f"{format_amount(a)} -> {format_amount(b)}" for a, b in pairs]
            row = f"{output.safe(model, 80)}: {words[0]} in, {words[1]} out per million tokens"
            found.setdefault((one_name(model), before, after), row)
    more = [f"and {len(found) - PRICES_SHOWN} more models"] if len(found) > PRICES_SHOWN else []
    return ["", "Prices:", *[*found.values()][:PRICES_SHOWN], *more]


def _book(settings: Settings) -> PriceBook:
    from tallygate.pricing.book import PriceBook

    return PriceBook(settings.pricing, exchange=ExchangeBook(settings.exchange))
