"""What `tallygate uninstall` leaves behind, and with `--data` does not."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import click

from tallygate.core.errors import InvalidArgument, LedgerUnavailable
from tallygate.core.text import plural
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.limits import is_attended, is_begun_by_init
from tallygate.entrypoints.cli.program import Program
from tallygate.operations.setup.leaving import Kept, KeptPlaces, kept_in, links_among, take_away
from tallygate.operations.usage.telemetry import TOKEN_FILE
from tallygate.settings import Settings, places
from tallygate.settings.load import RUN_LOG, cache_folder
from tallygate.settings.variables import PATH_VARIABLES
from tallygate.surroundings import around_here

_SHOWN = 30
_SESSIONS_LOOKED_AT = 1000


def settings_to_remove_by(program: Program) -> tuple[Settings, tuple[str, ...]]:
    """The settings that say what goes with `--data`, and what variables name and stays.

    A variable may name anybody's file, as l6e-mcp's does: it leads this nowhere. One that names another data folder
    does where `init` was run with it. Raises `InvalidArgument` where nothing was, or where a place of ours is a link.
    """
    settings, environ = program.settings(), around_here().environ
    passed_over = [name for key in ("database", "key_dir") for name in PATH_VARIABLES[key] if environ.get(name)]
    plain = {name: value for name, value in environ.items() if name not in passed_over}
    usual = program.settings(plain)
    homes = [name for name in PATH_VARIABLES["data_dir"] if environ.get(name)]
    if homes and not usual.paths.is_installed:
        other = program.settings({name: value for name, value in plain.items() if name not in homes})
        if other.paths.data_dir != usual.paths.data_dir:
            raise InvalidArgument(
                "--data",
                f"{homes[0]} names {usual.paths.data_dir}, where nothing was installed; nothing was changed.",
                hint=f"To remove what is in {other.paths.data_dir}, run: env -u {homes[0]} tallygate uninstall --data",
            )
    if links := links_among(_places_of(usual)):
        raise InvalidArgument(
            "--data",
            f"{links[0]} is a link to {links[0].resolve()}, and no link is followed; nothing was changed.",
            hint="Move what it stands for into its place, and try again; or run `tallygate uninstall` without --data, "
            "and remove both by hand.",
        )
    pairs = ((settings.paths.database, usual.paths.database), (settings.paths.key_dir, usual.paths.key_dir))
    stays = [str(named) for named, own in pairs if named != own]
    return usual, tuple(stays)


def _places_of(settings: Settings) -> KeptPlaces:
    paths = settings.paths
    return KeptPlaces(paths.database, paths.data_dir, paths.key_dir, paths.config_dir, cache_folder(around_here()))


def things_of(settings: Settings) -> Kept:
    """What the program keeps for this user: ledger, keys, caches, anchors, and the settings file that `init` began."""
    file = settings.paths.user_file
    return kept_in(_places_of(settings), file if file is not None and is_begun_by_init(file) else None)


def run_logs(program: Program, settings: Settings) -> list[Path]:
    """The run logs in projects that the ledger knows of, and that of this one: they are the projects' own."""
    root = settings.paths.project_root
    projects = [] if root is None else [str(root)]
    if not settings.paths.holds_nothing:
        with contextlib.suppress(LedgerUnavailable, OSError), program.opened(settings, by="init") as app:
            with app.runtime.reading() as reader:
                found = reader.sessions(state=None, limit=_SESSIONS_LOOKED_AT)
            projects += [session.project for session in found if session.project is not None]
    logs = dict.fromkeys(Path(project) / RUN_LOG for project in projects)
    return [log for log in logs if log.is_file()]


def ask_for_all(kept: Kept, logs: Sequence[Path], named: Sequence[str], *, yes: bool, dry_run: bool) -> None:
    """Say what is going to be removed for good, and ask; leaves where that is not wanted."""
    click.echo(
        "Would be removed for good:" if dry_run else "This removes for good, besides what is in clients:", err=True
    )
    for file in kept.files[:_SHOWN]:
        click.echo(f"  {output.safe(file, 1000)}", err=True)
    if len(kept.files) > _SHOWN:
        click.echo(f"  and {len(kept.files) - _SHOWN:,} more files beside these", err=True)
    say_others(kept, logs, named)
    if yes or dry_run:
        return
    if not is_attended():
        raise InvalidArgument("--yes", "Nobody can be asked here; nothing was changed.", hint="Add --yes.")
    if not click.confirm("Remove the ledger with its whole history, the keys and the rest?", err=True):
        output.aside("nothing was changed.")
        raise click.exceptions.Exit(1)


def take_all(kept: Kept, listed: Kept) -> bool:
    """Remove it; whether all of it could be. What was `listed` and went with the clients is counted, too."""
    failed = take_away(kept)
    for file, why in failed:
        output.aside(f"{file} could not be removed: {why}.")
    if not failed:
        files = plural(len({*listed.files, *kept.files}), "file")
        output.aside(f"removed: {files} of ledger, keys, settings and caches.")
    return not failed


def tidy(settings: Settings) -> None:
    """After the last client: the token that clients sent telemetry with is no use, and no empty folder stays."""
    kept = things_of(settings)
    token = tuple(file for file in kept.files if file.name.startswith(TOKEN_FILE))
    take_away(Kept(token, kept.folders, ()))


def say_stays(settings: Settings, logs: Sequence[Path], *, dry_run: bool) -> None:
    """What an uninstallation leaves; of run logs those that are there."""
    would = "would stay" if dry_run else "stays"
    stays = [*_staying(settings), *logs]
    if stays:
        output.aside(
            f"What {would}: {', '.join(map(str, stays))}; `tallygate uninstall --data` removes what of it is the "
            "program's own."
        )


def _staying(settings: Settings) -> list[Path]:
    """What the program keeps: ledger, keys, settings and what was read first.

    A folder that the user chose may hold what is not ours, so of that only our own is named.
    """
    paths, data = settings.paths, settings.paths.data_dir
    is_usual = data == places(around_here()).data_dir
    ours = [data] if is_usual else [data / name for name in ("init", "servers", "runs.jsonl", TOKEN_FILE)]
    kept = (*ours, paths.database, paths.key_dir, paths.user_file, cache_folder(around_here()))
    found: list[Path] = []
    for each in kept:
        if each is None or not each.exists() or any(each.is_relative_to(known) for known in found):
            continue
        if not each.is_dir() or any(file.is_file() for file in each.rglob("*")):
            found.append(each)
    return found


def say_others(kept: Kept, logs: Sequence[Path], named: Sequence[str]) -> None:
    """What is not ours beside it, what variables name, and what belongs to projects: told, and never removed."""
    stays: tuple[tuple[str, Sequence[Path | str]], ...] = (
        ("not the program's own, or a link", kept.others),
        ("named by a variable, which removes nothing", named),
        ("run logs of projects", logs),
    )
    for what, there in stays:
        if there:
            listed = ", ".join(output.safe(each, 300) for each in there[:_SHOWN])
            click.echo(f"Stays ({what}): {listed}", err=True)
