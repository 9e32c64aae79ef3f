"""`tallygate init` and `tallygate uninstall`: put the gate into clients, and take exactly that out again."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallygate.clients.client import Client, InstallScope, InstallSurroundings, TelemetryTarget
from tallygate.clients.registry import REGISTRY
from tallygate.clients.running import unaware
from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import InvalidArgument, LedgerUnavailable, NotFound, SettingsError
from tallygate.core.money import format_amount
from tallygate.core.text import plural
from tallygate.core.words import BudgetMode
from tallygate.editing.edits import FileEdits, Whole
from tallygate.entrypoints.cli import leaving, output
from tallygate.entrypoints.cli.limits import Asked, Limits, starting_limits
from tallygate.entrypoints.cli.options import ClientChoice, as_json_option
from tallygate.entrypoints.cli.program import FAILED, Program, pass_program
from tallygate.entrypoints.cli.sync import forget_first_look, read_news
from tallygate.entrypoints.cli.whereabouts import hook_program, installation
from tallygate.entrypoints.cli.whose import changes_users_client
from tallygate.machine import own_system
from tallygate.operations.usage.telemetry import TOKEN_FILE, token_of
from tallygate.settings import OnFault, Settings, places
from tallygate.settings.installed import PLACES_FILE, InstalledPlaces, install_folder, read_installed, worth_keeping
from tallygate.settings.load import PROJECT_FILE
from tallygate.settings.model import TelemetryMode as Receive
from tallygate.settings.variables import PATH_VARIABLES
from tallygate.settings.zones import machine_zone
from tallygate.surroundings import around_here

if TYPE_CHECKING:
    from tallygate.operations.setup.install import FileChange, Plan

PACKAGE = Path(__file__).resolve().parents[2]
_client_option = click.option(
    "--client", "names", type=ClientChoice(REGISTRY.clients), multiple=True, help="Only this client; repeatable."
)


@click.command()
@_client_option
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in InstallScope]),
    default=InstallScope.USER.value,
    show_default=True,
    help="For all your work, or for this project.",
)
@click.option("--limit", metavar="DOLLARS", help="What a session may spend; without it what your history proposes.")
@click.option("--day-limit", metavar="DOLLARS", help="What a day may spend; likewise.")
@click.option("--observe", is_flag=True, help="Stop nothing: record, and warn above the limits.")
@click.option("--yes", is_flag=True, help="Ask nothing, and take what is proposed.")
@click.option("--dry-run", is_flag=True, help="Name the files that would change, and change nothing.")
@click.option("--diff", is_flag=True, help="Show how files would change, and change nothing.")
@click.option("--print", "printing", is_flag=True, help="Print what belongs where, to put it there by hand.")
@click.option("--anyway", is_flag=True, help="Also from a cache of uv or pipx, which will be emptied.")
@as_json_option
@pass_program
def init(
    program: Program,
    *,
    names: tuple[str, ...],
    scope: str,
    limit: str | None,
    day_limit: str | None,
    observe: bool,
    yes: bool,
    dry_run: bool,
    diff: bool,
    printing: bool,
    anyway: bool,
    as_json: bool,
) -> int:
    """Install Tallygate in the clients that are here.

    Writes the server's entry, hooks, a short rule, and where none are set limits for a session and a day: those that
    your own history proposes, which is read first. Files keep their comments, order and layout; each is copied before
    it is changed, and `tallygate uninstall` brings it back. Running it again changes only what is out of date. The
    ledger is made where there is none. A client with a file that cannot be read is left out as a whole and named, with
    exit code 1; the others are installed.
    """
    from tallygate.editing.manifest import Manifest
    from tallygate.operations.setup.install import carry_out, plan_install, told_apart

    dry_run = dry_run or diff
    here = installation(sys.prefix, sys.base_prefix)
    if not anyway:
        here.refuse_where_it_will_go()
    settings = program.settings().sound()
    authority = program.authority(settings, of=None if dry_run or printing else Loosening.INIT)
    wanted = InstallScope(scope)
    where = surroundings(settings, telemetry_of(program, settings, making=False))
    _check_project(wanted, where)
    manifest = Manifest(folder_of(settings))
    alone = partial(plan_install, where=where, scope=wanted, manifest=manifest)
    chosen = _chosen(names, where)
    clients, broken = (chosen, []) if printing else told_apart(chosen, alone)
    asked = Asked(limit, day_limit, observe, yes=yes or as_json)
    plans = [client.title for client in clients if client.subscribed is not None and client.subscribed(where)]
    limits = _limits(program, settings, wanted, asked, clients=clients, subscribed=plans, dry_run=dry_run or printing)
    if limits is not None:
        settings = limits.applied(settings)
        where = surroundings(settings, where.telemetry)
    budget = _budget(settings, wanted, where, limits, _own_zone(program, settings))
    if printing:
        _print(clients, where, wanted, budget, places_text(settings, where, budget))
        return 0
    planned = partial(plan_install, clients, scope=wanted, manifest=manifest, extra=budget)
    plan = planned(where, places=places_text(settings, where, budget))
    if not dry_run:
        authority = _for_clients(authority, plan, where, Loosening.INIT)
        # Made only now: what is refused leaves nothing behind.
        where = replace(where, telemetry=telemetry_of(program, settings, making=True))
        plan = planned(where, places=places_text(settings, where, budget))
    if plan.changed and (warning := here.warning) is not None:
        plan.note("Tallygate", warning)
    if not dry_run:
        carry_out(plan, manifest, authority)
        _note(program, settings, authority, Loosening.INIT)
        for client in clients:
            if (early := unaware(client, where.home, manifest.written_us)) is not None:
                plan.note(client.title, f"{early.what}. {early.to_do}")
    fault = None if dry_run else _make_ledger(program, settings)
    _say(plan, clients, broken, dry_run=dry_run, diff=diff, as_json=as_json, verb="installed", sound=fault is None)
    if limits is not None and not as_json:
        _say_limits(limits, budget[0].path, clients, where, dry_run=dry_run)
    if fault is not None:  # what clients are set up with is right, and every step of theirs stops
        raise fault
    return FAILED if broken else 0


@click.command()
@_client_option
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in InstallScope]),
    help="Only there; both where it is not given.",
)
@click.option("--data", is_flag=True, help="Also remove what Tallygate keeps: ledger, keys, caches, its settings.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@click.option("--dry-run", is_flag=True, help="Name the files that would change, and change nothing.")
@click.option("--diff", is_flag=True, help="Show how files would change, and change nothing.")
@as_json_option
@pass_program
def uninstall(
    program: Program,
    *,
    names: tuple[str, ...],
    scope: str | None,
    data: bool,
    yes: bool,
    dry_run: bool,
    diff: bool,
    as_json: bool,
) -> int:
    """Take Tallygate out of clients.

    A file that is still as `tallygate init` left it becomes what it was before, byte for byte. In one that you have
    edited since, Tallygate's entries alone are removed. The ledger and its history stay; one without any goes.

    With --data nothing of the program stays: the ledger with its whole history, keys, anchors, caches and the settings
    file that init began go for good, once you have seen the list. Run logs belong to your projects and stay, and so
    does every file that is not the program's own.
    """
    from tallygate.editing.manifest import Manifest
    from tallygate.operations.setup.install import carry_out, plan_uninstall, told_apart

    dry_run = dry_run or diff
    if data and (names or scope is not None):
        raise InvalidArgument("--data", "--data takes everything away: it goes with neither --client nor --scope.")
    settings, named = leaving.settings_to_remove_by(program) if data else (program.settings(), ())
    authority = program.authority(settings, of=None if dry_run else Loosening.UNINSTALL)
    where = surroundings(settings)
    logs = leaving.run_logs(program, settings)
    if scope is not None:
        _check_project(InstallScope(scope), where)
    scopes = (
        [InstallScope(scope)]
        if scope
        else [each for each in InstallScope if each is InstallScope.USER or where.project]
    )
    manifest = Manifest(folder_of(settings))
    clients, broken = told_apart(
        [REGISTRY.clients[name] for name in names] or REGISTRY.clients.values(),
        partial(plan_uninstall, where=where, scopes=scopes, manifest=manifest),
    )
    plan = plan_uninstall(clients, where, scopes, manifest)
    listed = leaving.things_of(settings)
    if data:
        leaving.ask_for_all(listed, logs, named, yes=yes, dry_run=dry_run)
    if not dry_run:
        authority = _for_clients(authority, plan, where, Loosening.UNINSTALL)
        carry_out(plan, manifest, authority, Loosening.UNINSTALL)
        _note(program, settings, authority, Loosening.UNINSTALL)
        if not manifest.records and not data:
            _remove_unused(program, settings)
            leaving.tidy(settings)
    if data:  # what stays of settings is in the list above
        plan.notes = [(title, text) for title, text in plan.notes if str(settings.paths.user_file) not in text]
    _say(plan, clients, broken, dry_run=dry_run, diff=diff, as_json=as_json, verb="taken out")
    gone = True
    if data and (broken or manifest.records) and not dry_run:
        output.aside("what Tallygate keeps stays, since it is not out of every client.")
    elif data and not dry_run:
        gone = leaving.take_all(leaving.things_of(settings), listed)
    elif not plan.records and not data and not as_json:
        leaving.say_stays(settings, logs, dry_run=dry_run)
    return FAILED if broken or not gone else 0


def _for_clients(authority: Authority, plan: Plan, where: InstallSurroundings, what: Loosening) -> Authority:
    """Who may carry a plan out: where a client of the user's own is changed, whoever's ledger it goes by, only they."""
    if authority.beneath is not None and not authority.guarded:
        authority = replace(authority, guarded=changes_users_client(plan, where))
        authority.require(what)
    return authority if authority.lock is not None else _by_installed_lock(authority, plan, where, what)


def _by_installed_lock(authority: Authority, plan: Plan, where: InstallSurroundings, what: Loosening) -> Authority:
    """Who changes clients gives the passphrase of the ledger that these go by, whatever ledger the command names."""
    from tallygate.entrypoints.cli.passphrase import TypedSeal
    from tallygate.operations.lock_book import standing_of_installed

    named = b"\n".join(change.found.content or b"" for change in plan.changed)
    found = re.findall(rb"(/[^\"'\s\\]*" + re.escape(os.fsencode(PLACES_FILE)) + rb")", named)
    for file in dict.fromkeys([Path(where.places), *(Path(os.fsdecode(each)) for each in found)]):
        try:
            installed = read_installed(file)
        except SettingsError:
            continue
        ledger, keys = Path(installed.ledger), Path(installed.keys)
        lock = standing_of_installed(ledger, keys, Path(installed.settings_folder)).lock
        if lock is not None:
            authority = replace(authority, lock=TypedSeal(lock.public, keys))
            authority.require(what)
            return authority
    return authority


def _note(program: Program, settings: Settings, authority: Authority, what: Loosening) -> None:
    """Tell the journal, while the limits are locked."""
    if settings.lock is not None:
        from tallygate.operations.lock_book import note_loosened

        with program.opened(settings, by="init") as app:
            note_loosened(app.runtime, authority, what)


def _make_ledger(program: Program, settings: Settings) -> LedgerUnavailable | None:
    """Ledger and anchor, so that hooks find one and a ledger that is gone later is missed; why it cannot be used.

    What clients wrote so far is read into it: the first step of a day counts against what the day has cost already.
    """
    with program.opened(settings, by="init") as app:
        try:
            _ = app.kept
            read_news(app.runtime)
        except LedgerUnavailable as error:
            return error
    forget_first_look()
    return None


def _remove_unused(program: Program, settings: Settings) -> None:
    """Take away the ledger that `init` made, where nothing ever came into it."""
    from tallygate.ledger.audit.rebuild import remove_unused

    if settings.paths.holds_nothing:
        return
    with program.opened(settings, by="init") as app, contextlib.suppress(LedgerUnavailable, OSError):
        remove_unused(app.ledger)


def surroundings(settings: Settings, telemetry: TelemetryTarget | None = None) -> InstallSurroundings:
    """This machine and this project, as an installation sees them."""
    return InstallSurroundings(
        home=Path.home(),
        environ=os.environ,
        platform=sys.platform,
        python=usual_name(Path(sys.executable)),
        hook=str(hook_program(PACKAGE, Path(sys.prefix))),
        places=str(folder_of(settings) / PLACES_FILE),
        main=None if is_found_apart(PACKAGE.parent, sys.path, os.environ) else str(PACKAGE / "__main__.py"),
        project=settings.paths.project_root,
        hard=settings.policy.budget_mode is BudgetMode.HARD,
        faults_pass=settings.policy.on_fault is OnFault.ALLOW,
        telemetry=telemetry,
    )


def usual_name(interpreter: Path) -> str:
    """The interpreter's path by one of its names, so that entries are the same however it was started."""
    usual = interpreter.with_name("python.exe" if interpreter.suffix == ".exe" else "python")
    try:
        return str(usual if usual.samefile(interpreter) else interpreter)
    except OSError:
        return str(interpreter)


def is_found_apart(folder: Path, path: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether an interpreter finds this program by its name without the user's own Python folder and variables."""
    import site

    apart = [*environ.get("PYTHONPATH", "").split(os.pathsep), site.getusersitepackages()]
    ours = {os.path.realpath(each) for each in apart if each}
    real = os.path.realpath(folder)
    return real not in ours and real in {os.path.realpath(each) for each in path if each}


def places_text(settings: Settings, where: InstallSurroundings, budget: Sequence[FileEdits] = ()) -> bytes:
    """What installed commands go by, as the file of it holds it."""
    return os.fsencode(places_of_user(settings, where, budget).as_text())


def places_of_user(settings: Settings, where: InstallSurroundings, budget: Sequence[FileEdits] = ()) -> InstalledPlaces:
    """Where things are now, for the user who runs this command."""
    paths, environ = settings.paths, where.environ
    mine = places(around_here())
    given = "" if environ.get("TALLYGATE_CONFIG") else environ.get("L6E_CONFIG_PATH", "")
    theirs = bool(given) and paths.user_file == Path(os.path.abspath(os.path.expanduser(given)))  # noqa: PTH100, PTH111
    file = paths.user_file or next((each.path for each in budget if each.path.parent == mine.config_dir), None)
    log = next((environ[name] for name in PATH_VARIABLES["run_log"] if environ.get(name)), None)
    return InstalledPlaces(
        home=str(mine.home),
        settings_folder=str(mine.config_dir),
        data=str(paths.data_dir),
        ledger=str(paths.database),
        keys=str(paths.key_dir),
        servers=str(paths.database.parent / "servers"),
        settings=None if file is None or theirs else str(file),
        l6e_settings=str(file) if file is not None and theirs else None,
        log=log,
        on_fault=settings.policy.on_fault.value,
        system=own_system(),
        environment=worth_keeping(environ),
    )


def telemetry_of(program: Program, settings: Settings, *, making: bool) -> TelemetryTarget | None:
    """Where clients are to send their telemetry; the token is made only where it is going to be used."""
    usage, data_dir = settings.usage, settings.paths.data_dir
    if usage.telemetry is Receive.OFF:
        return None
    if not making and not (data_dir / TOKEN_FILE).exists():
        return TelemetryTarget(usage.telemetry_port, "MADE-BY-TALLYGATE-INIT")
    with program.opened(settings, by="init") as app:
        return TelemetryTarget(usage.telemetry_port, token_of(data_dir, app.runtime.services.new_token))


def folder_of(settings: Settings) -> Path:
    """Where it is written down what was installed from this home."""
    return install_folder(settings.paths.data_dir, places(around_here()).home)


def _check_project(scope: InstallScope, where: InstallSurroundings) -> None:
    if scope is InstallScope.PROJECT and where.project is None:
        raise InvalidArgument(
            "scope",
            f"{Path.cwd()} belongs to no project.",
            hint="Run it in a folder with .git or .l6e, or use --scope user.",
        )


def _chosen(names: Sequence[str], where: InstallSurroundings) -> list[Client]:
    from tallygate.operations.setup.install import detected

    if names:
        return [REGISTRY.clients[name] for name in dict.fromkeys(names)]
    on_path = partial(shutil.which, path=where.environ.get("PATH"))
    found = detected(REGISTRY.clients.values(), where, lambda name: on_path(name) is not None)
    if not found:
        raise NotFound(
            "No client was found on this machine.", hint=f"Name one with --client: {', '.join(REGISTRY.clients)}."
        )
    return found


def _own_zone(program: Program, settings: Settings) -> str | None:
    """The machine's time zone, where the user has none yet and no budget has begun its days by another."""
    if settings.zone_is_set:
        return None
    if settings.paths.server is not None or settings.paths.database.exists():
        with program.opened(settings, by="init") as app, app.runtime.reading() as reader:
            if reader.window_periods():
                return None
    return machine_zone(os.environ)


_TO_STOP = (
    " They only warn: to let them stop, take budget_mode and on_fault out of [policy], and run `tallygate init` again."
)


def _limits(
    program: Program,
    settings: Settings,
    scope: InstallScope,
    asked: Asked,
    *,
    clients: Sequence[Client],
    subscribed: Sequence[str],
    dry_run: bool,
) -> Limits | None:
    """The limits to begin with; None where settings have some already."""
    if settings.budgets:
        if asked.is_anything:
            files = " and ".join(str(path) for path in settings.paths.settings_files)
            raise InvalidArgument(
                "limit",
                f"There are limits already, in {files}.",
                hint="`tallygate budget list` shows them, `tallygate budget set NAME AMOUNT` changes one."
                + (_TO_STOP if settings.policy.budget_mode is BudgetMode.SOFT else ""),
            )
        return None
    limits = starting_limits(program, settings, asked, clients=clients, subscribed=subscribed, dry_run=dry_run)
    if scope is InstallScope.USER:
        return limits
    # A project's file only tightens, so more than its sessions have without it would wait for `tallygate trust`.
    stands = settings.session_budget.limit
    session = limits.session_nanos if asked.session is not None else min(limits.session_nanos, stands)
    if session > stands:
        output.aside(
            f"The project's {format_amount(session)} a session counts once you have accepted it with "
            f"`tallygate trust`; till then it is {format_amount(stands)}."
        )
    return Limits(session, None)


def _budget(
    settings: Settings, scope: InstallScope, where: InstallSurroundings, limits: Limits | None, zone: str | None
) -> tuple[FileEdits, ...]:
    """The file with the limits to begin with; the user's own says the time zone of its days too."""
    if limits is None:
        return ()
    if scope is InstallScope.PROJECT:
        return (FileEdits(where.root / PROJECT_FILE, (Whole(limits.settings_text(None), keeps=True),), shared=True),)
    file = settings.paths.user_file or places(around_here()).config_dir / "config.toml"
    return (FileEdits(file, (Whole(limits.settings_text(zone), keeps=True),)),)


def _say_limits(
    limits: Limits, file: Path, clients: Sequence[Client], where: InstallSurroundings, *, dry_run: bool
) -> None:
    """Which limits there are now, where they stand, and whom they stop."""
    would = "would be" if dry_run else "are"
    output.aside(f"The limits {would} {limits.said()}, in {file}; `tallygate budget set` changes them.")
    hooked = [client for client in clients if client.hooks is not None]
    not_yet = {client.title: to_do for client in hooked if (to_do := _still_to_do(client, where, dry_run=dry_run))}
    stopped = [client.title for client in hooked if client.title not in not_yet]
    asking = [client.title for client in clients if client.hooks is None]
    if limits.observe:
        output.aside("Nothing is stopped: what is over a limit is recorded and said.")
    elif stopped:
        verb = "stops" if len(stopped) == 1 else "stop"
        output.aside(f"Over a limit {output.listed(stopped)} {verb}.")
    for title, to_do in not_yet.items() if not limits.observe else ():
        output.aside(f"{title} stops only after this: {to_do}")
    if asking and not limits.observe:
        output.aside(f"Without hooks it is up to the agent to ask: {output.listed(asking)}.")


def _still_to_do(client: Client, where: InstallSurroundings, *, dry_run: bool) -> str | None:
    """What the user has to do before a client's hooks run; of hooks that are not there yet what it always asks for."""
    found = next((each.to_do for each in client.findings(where)), None)
    return found or (client.hooks_need if dry_run else None)


def _print(
    clients: Sequence[Client],
    where: InstallSurroundings,
    scope: InstallScope,
    budget: Sequence[FileEdits],
    listed: bytes,
) -> None:
    from tallygate.editing import documents

    wanted = [(client.title, client.wanted(where, scope)) for client in clients]
    for title, file in [*((t, file) for t, each in wanted for file in each.files), *(("Tallygate", f) for f in budget)]:
        content, _, _ = documents.put_in(file.path, None, file.edits, {})
        click.echo(f"{click.style(f'# {title}: {output.safe(file.path, 1000)}', bold=True)}\n")
        click.echo(documents.as_text(file.path, content))
    click.echo(f"{click.style(f'# Tallygate: {output.safe(where.places, 1000)}', bold=True)}\n")
    click.echo(os.fsdecode(listed))
    for title, each in wanted:
        for note in each.notes:
            output.aside(_sentence(title, note))


def _say(
    plan: Plan,
    clients: Sequence[Client],
    broken: Sequence[tuple[Client, InvalidArgument]],
    *,
    dry_run: bool,
    diff: bool,
    as_json: bool,
    verb: str,
    sound: bool = True,
) -> None:
    changed = plan.changed
    left_out = [(client, error.message.removesuffix("; nothing was changed.")) for client, error in broken]
    if as_json:
        document = _json(plan, clients, dry_run=dry_run)
        output.document(document | {"left_out": [{"client": each.name, "why": why} for each, why in left_out]})
        return
    if dry_run and diff:
        for change in changed:
            click.echo(_diff(change), nl=False)
    elif changed:
        output.facts([(change.word, str(change.path)) for change in changed])
    for title, note in plan.notes:
        output.aside(_sentence(title, note))
    titles = ", ".join(client.title for client in clients)
    if not changed and verb == "taken out":
        where = "any client" if len(clients) == len(REGISTRY.clients) else titles
        output.aside(f"nothing to take out: Tallygate is not installed in {where}.")
    elif not changed:
        output.aside(f"nothing to do: {'everything' if sound else 'what is installed'} is as it should be ({titles}).")
    elif dry_run:
        how = "" if diff else "; --diff shows how"
        output.aside(f"{plural(len(changed), 'file')} would change{how}. Nothing was changed.")
    else:
        output.aside(f"{verb}: {plural(len(changed), 'file')}. Restart the clients that run.")
    command = "init" if verb == "installed" else "uninstall"
    for client, why in left_out:
        output.aside(
            f"{client.title} is left out: {why}. Put that right, then: tallygate {command} --client {client.name}"
        )


def _sentence(title: str, note: str) -> str:
    own = title == "Tallygate"  # that every line begins with
    return note if own or note.startswith(title) else f"{title}: {note}"


def _json(plan: Plan, clients: Sequence[Client], *, dry_run: bool) -> dict[str, Any]:
    return {
        "clients": [client.name for client in clients],
        "dry_run": dry_run,
        "changed": len(plan.changed),
        "files": [{"path": str(change.path), "change": change.word} for change in plan.changes],
        "notes": [{"about": title, "text": text} for title, text in plan.notes],
    }


def _diff(change: FileChange) -> str:
    """A unified diff; what is not there has the name that other programs give it."""
    from tallygate.editing import documents

    before = documents.as_text(change.path, change.found.content).splitlines(keepends=True)
    after = documents.as_text(change.path, change.after).splitlines(keepends=True)
    old = "/dev/null" if change.found.content is None else str(change.path)
    new = "/dev/null" if change.after is None else str(change.path)
    lines = difflib.unified_diff(before, after, old, new)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
