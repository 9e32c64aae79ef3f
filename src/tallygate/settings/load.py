"""Settings from everywhere, each source over the one before: defaults, user, project, environment."""

from __future__ import annotations

import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import SettingsError
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.lock import LockStanding
from tallygate.core.plan import PlanRule
from tallygate.core.values import value
from tallygate.pricing.overrides import Discount, PriceOverride
from tallygate.settings import checks, sections, tolerated
from tallygate.settings.alerts import read_alerts
from tallygate.settings.budgets import with_budgets
from tallygate.settings.checks import MICROS, Unfit, as_number
from tallygate.settings.installed import InstalledPlaces
from tallygate.settings.model import LedgerSettings, Paths, Settings, Waiting
from tallygate.settings.projects import (
    Project,
    accepted_hashes,
    divide_project,
    fingerprint,
    listed_rows,
    repository_of,
)
from tallygate.settings.signed import StandingOf, in_force, where_locked
from tallygate.settings.source import Document, read_document
from tallygate.settings.variables import (
    CALIBRATION_VARIABLES,
    KNOWN,
    PATH_VARIABLES,
    PROJECT_VARIABLES,
    TENANT_VARIABLE,
    USER_FILE_VARIABLES,
    VARIABLES,
    ZONE_VARIABLE,
)
from tallygate.surroundings import Surroundings
from tallygate.workspace import is_no_folder, is_nobodys, mode_of, place_of, written_out

UNLOCKED = LockStanding()
PriceRow = TypeVar("PriceRow", PriceOverride, Discount)
PROJECT_FILE = Path(".l6e", "config.toml")
RUN_LOG = Path(".l6e", "runs.jsonl")
# Where l6e-mcp keeps what its user has set, and the variable by which it names its run log.
THEIR_FILE = Path(".l6e", "config.toml")
THEIR_LOG = "L6E_LOG_PATH"


@value(frozen=True, slots=True)
class UserPlaces:
    """Where a system keeps a user's things; for a command that `init` has installed, as it was told there.

    `foreign` are variables of the client that do not count beside that. One that `serves_many` was started by nobody's
    client, and may be told by a variable which database it serves.
    """

    home: Path
    config_dir: Path
    data_dir: Path
    installed: InstalledPlaces | None = None
    foreign: tuple[str, ...] = ()
    serves_many: bool = False


def places(around: Surroundings) -> UserPlaces:
    """The places of the user whose surroundings these are."""
    return UserPlaces(
        home=around.home,
        config_dir=around.usual("XDG_CONFIG_HOME", ".config") / "tallygate",
        data_dir=around.usual("XDG_DATA_HOME", ".local", "share") / "tallygate",
    )


def cache_folder(around: Surroundings) -> Path:
    """Where things are kept that can be thrown away."""
    named = Path(around.environ.get("XDG_CACHE_HOME", ""))
    usual = around.home.joinpath(*(("Library", "Caches") if sys.platform == "darwin" else (".cache",)))
    return (named if named.is_absolute() else usual) / "tallygate"


def places_of(installed: InstalledPlaces, foreign: tuple[str, ...] = ()) -> UserPlaces:
    """The places that an installed command was given."""
    home, config_dir, data_dir = Path(installed.home), Path(installed.settings_folder), Path(installed.data)
    return UserPlaces(home, config_dir, data_dir, installed, foreign)


def load_settings(
    environ: Mapping[str, str], cwd: Path, where: UserPlaces, standing: StandingOf | None = None
) -> Settings:
    """Everything that can be set, from what is passed in and the two files it leads to.

    A project's file counts where it tightens; the rest of it once the user has trusted it. One that cannot be read
    is told of as the `fault` of the settings, which are the user's then. `standing` tells whether the limits of the
    ledger at these places are locked.
    """
    return load_from(environ, cwd, where, standing).settings


@value(frozen=True, slots=True)
class LoadedSettings:
    """Settings, with the project's file as it stands against the user's own, and the user's file as it is."""

    settings: Settings
    project: Project | None = None
    user: Document | None = None


def load_from(
    environ: Mapping[str, str], cwd: Path, where: UserPlaces, standing: StandingOf | None = None
) -> LoadedSettings:
    """The settings, and what their project's file would make of them."""
    for name in environ:
        if name.startswith("TALLYGATE_") and name not in KNOWN:
            raise SettingsError(f"{name}: unknown variable.{sections.meant(name, sorted(KNOWN))}")
    root, notices = project_root(environ, cwd, where.home)
    user, passed_over = _user_document(environ, cwd, where)
    notices = (*notices, *passed_over)
    if standing is None:
        paths, stands = _paths(environ, cwd, where, root, user), UNLOCKED
    else:
        paths_by = partial(_paths, environ, cwd, where, root)
        # Where locks are remembered that the user's file cannot lead away from. An installed command has its places,
        # and whoever names others by a variable has named them.
        moving = (*PATH_VARIABLES["data_dir"], *PATH_VARIABLES["database"], *USER_FILE_VARIABLES)
        usual = (where.config_dir / "anchors", where.data_dir / "keys" / "anchors")
        is_moved = where.installed is not None or any(environ.get(name) for name in moving)
        paths, stands = where_locked(paths_by, user, () if is_moved else usual, standing)
    notices = (*notices, *_log_passed_over(environ, cwd, where, root, paths))
    moved = _moved(paths, user, where)
    base = Settings(
        paths=replace(paths, user_file=Path(user.name) if user else None), notices=(*notices, *moved), spoken=moved
    )
    base = blank = replace(base, unread=stands.unread)
    if stands.lock is not None:
        current = _their_factors(where.home)[0] if user is None else user
        base = replace(in_force(blank, stands.lock.settings, current), lock=stands.lock)
    elif user is None:
        base = _with_their_factors(base, where.home)
    else:
        base = sections.apply(base, user, project=False)
        base = replace(with_budgets(base, user), alerts=read_alerts(user))
    settings, project = _with_project(base, user, root, where.home)
    settings = _with_outer_projects(settings, user, root, where.home)
    if where.installed is None and settings.lock is None:
        settings = _apply_environment(settings, environ)
    else:
        settings = _tightened(settings, environ, where)
    settings = _placed(settings, where.home)
    named = bool(environ.get(ZONE_VARIABLE)) or (user is not None and "time_zone" in user.values)
    settings = replace(settings, zone_is_set=named or settings.time_zone != base.time_zone)
    # What is set and changes nothing: better said than found out.
    notices = settings.notices
    if settings.currency != Settings(settings.paths).currency:
        notices = (*notices, "currency is set, but has no effect in this version.")
    if (days := settings.ledger.retention_days) != LedgerSettings().retention_days:
        kept = f"ledger.retention_days: the ledger keeps everything, for {days:,} days and after them too."
        notices = (*notices, kept)
    return LoadedSettings(replace(settings, notices=notices), project, user)


def _with_project(
    base: Settings, user: Document | None, root: Path | None, home: Path
) -> tuple[Settings, Project | None]:
    """The user's settings with what their project may add to them."""
    if root is None:
        return base, None
    try:
        document = read_document(root / PROJECT_FILE, required=False)
        # Where the user works in the folder of their own settings, that file is theirs and no project's.
        if document is None or (user is not None and document.name == user.name):
            return base, None
        document, read = tolerated.with_whole_names(document)
        base = replace(base, notices=(*base.notices, *read))
        repository = str(repository_of(root, home))
        project = divide_project(base, user, document, repository)
    except SettingsError as fault:
        return replace(base, fault=fault, notices=(*base.notices, str(fault))), None
    file = Path(document.name)
    # By what the rows say and not by the file: another row, or another value, has to be accepted anew.
    if not project.waiting or is_accepted(base, repository, fingerprint(project.waiting)):
        return replace(project.whole, paths=replace(base.paths, project_file=file)), project
    tight = replace(project.tight, waiting=project.waiting, paths=replace(base.paths, project_file=file))
    text = waiting_text(file, project.waiting)
    return replace(tight, notices=(*tight.notices, text), spoken=(*tight.spoken, text)), project


def is_accepted(settings: Settings, repository: str, print_: str) -> bool:
    """Whether the user has accepted what waits of a project; while the limits are locked, with a signature."""
    signed = settings.lock is None or print_ in settings.lock.trusted.get(repository, ())
    return signed and print_ in accepted_hashes(settings.paths.data_dir, repository)


def _with_outer_projects(settings: Settings, user: Document | None, root: Path | None, home: Path) -> Settings:
    """Settings with what tightens in the files of the projects around: each binds everything inside.

    What of them waits for the user is told where work is done in them, and loosens nothing further inside.
    """
    if root is None or settings.fault is not None:
        return settings
    known = {str(root / PROJECT_FILE), *([user.name] if user else [])}
    for outer in place_of(str(root), str(home)).projects:
        file = Path(outer) / PROJECT_FILE
        try:
            document = None if str(file) in known else read_document(file, required=False)
            if document is None:
                continue
            tight = divide_project(settings, user, document, str(repository_of(Path(outer), home))).tight
        except SettingsError as fault:
            # A file around that cannot be read might have tightened something: until it can, no step is let through.
            return replace(settings, fault=fault, notices=(*settings.notices, str(fault)))
        outer_files = (*settings.paths.outer_files, file)
        settings = replace(
            tight,
            dearer=settings.dearer or tight.dearer,
            paths=replace(settings.paths, outer_files=outer_files),
        )
    return settings


def waiting_text(file: Path, waiting: Sequence[Waiting]) -> str:
    """What of a project's file does not count yet, and what makes it count."""
    listed = listed_rows(waiting)
    return f"{file}: {listed} of this project wait for your yes and do not count. See them with: tallygate trust"


def project_root(environ: Mapping[str, str], cwd: Path, home: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The folder a session belongs to, and what to tell the user about how it was found.

    Clients that know no better start servers in the home folder or at the root of the disk: those are no
    project, nor is a folder shared by everybody.
    """
    notices: tuple[str, ...] = ()
    for name in PROJECT_VARIABLES:
        if not (text := environ.get(name)):
            continue
        root = _path(name, text, cwd, home)
        if stat.S_ISDIR(mode_of(root)):
            root = root.resolve()
            return (None if is_nobodys(root, home.resolve()) else root), notices
        if name.startswith("TALLYGATE_"):
            raise SettingsError(f"{name}: {checks.short(text)} is not a folder.")
        notices = (*notices, f"{name} names {checks.short(text)}, which is not a folder; it was passed over.")
    folder = cwd.resolve()
    for candidate in (folder, *folder.parents):
        if is_nobodys(candidate, home.resolve()):
            break
        if stat.S_ISDIR(mode_of(candidate / ".l6e")) or mode_of(candidate / ".git"):
            return candidate, notices
    return None, notices


def work_place(environ: Mapping[str, str], cwd: Path, home: Path) -> tuple[Path | None, Path | None]:
    """What settings turn on where work is done in a folder: the project it belongs to, and where that work is done.

    The latter is None where that can be nobody's.
    """
    root, _ = project_root(environ, cwd, home)
    return root, root or _folder(cwd, home)


def _user_document(environ: Mapping[str, str], cwd: Path, where: UserPlaces) -> tuple[Document | None, tuple[str, ...]]:
    """The user's file, and what was passed over on the way to it and in it.

    One that only l6e-mcp's variable names may be missing, as it may there; the user's own counts then.
    """
    notices: tuple[str, ...] = ()
    document = None
    if (given := where.installed) is not None:
        environ = {"TALLYGATE_CONFIG": given.settings or "", "L6E_CONFIG_PATH": given.l6e_settings or ""}
    for name in USER_FILE_VARIABLES:
        if not (text := environ.get(name)):
            continue
        theirs = name.startswith("L6E_")
        file = _path(name, text, cwd, where.home)
        document = read_document(file, required=not theirs, users=True)
        if document is None:
            notices = (f"{name}: there is no file {checks.short(str(file))}; it was passed over.",)
            break
        if theirs:
            document, notices = tolerated.without_unknown(document)
        break
    if document is None:
        document = read_document(where.config_dir / "config.toml", required=False, users=True)
    if document is None:
        return None, notices
    document, read = tolerated.with_whole_names(document)
    paths, begin = document.values.get("paths"), Path(document.name).parent
    if isinstance(paths, dict):
        # A path in a file starts there, since the working directory is anybody's.
        full = {
            key: str(_absolute(text, begin, where.home))
            if isinstance(text, str) and text and not checks.is_server(text)
            else text
            for key, text in paths.items()
        }
        document = replace(document, values={**document.values, "paths": full})
    return document, (*notices, *read)


def _paths(environ: Mapping[str, str], cwd: Path, where: UserPlaces, root: Path | None, user: Document | None) -> Paths:
    given: dict[str, Path] = {}
    server: str | None = None
    for attribute, text in (sections.read_paths(user) if user else {}).items():
        if attribute == "database" and checks.is_server(text):
            server = text
            continue
        given[attribute] = _absolute(text, cwd, where.home)
        if attribute == "run_log" and (wrong := _not_a_run_log(given[attribute])) and user:
            raise user.error(("paths", attribute), f"paths.run_log {wrong}.")
    lasting = given.get("database", given.get("data_dir", where.data_dir) / "ledger.db")
    for attribute, names in PATH_VARIABLES.items():
        for name in names:
            if text := environ.get(name):
                if attribute == "database" and checks.is_server(text):
                    server = _server(name, text, where)
                    break
                if attribute == "database":
                    server = None  # whoever names a file by a variable means that one
                base = root or cwd if attribute == "run_log" else cwd
                path = _path(name, text, base, where.home)
                if name == THEIR_LOG:
                    if _is_run_log(path):  # any name will do there
                        given[attribute] = path
                    break
                if attribute == "run_log" and (wrong := _not_a_run_log(path)):
                    raise SettingsError(f"{name}: {wrong}.")
                given[attribute] = path
                break
    if (fixed := where.installed) is not None:
        given |= {"data_dir": where.data_dir, "database": Path(fixed.ledger), "key_dir": Path(fixed.keys)}
        if fixed.log is not None and _is_run_log(log := _absolute(fixed.log, root or cwd, where.home)):
            given["run_log"] = log
    data_dir = given.get("data_dir", where.data_dir)
    database = given.get("database", data_dir / "ledger.db")
    return Paths(
        data_dir=data_dir,
        database=database,
        key_dir=given.get("key_dir", data_dir / "keys"),
        run_log=given.get("run_log", root / RUN_LOG if root else data_dir / "runs.jsonl"),
        project_root=root,
        folder=root or _folder(cwd, where.home),
        config_dir=where.config_dir,
        by_variable=where.installed is None and database != lasting,
        given=where.installed is not None,
        server=server,
    )


def _server(name: str, text: str, where: UserPlaces) -> str:
    """A database that a variable names: any client's environment could name one, so that is for a server on its own."""
    if not where.serves_many:
        raise SettingsError(f"{name}: a database is named in your settings file, as [paths] database.")
    try:
        return checks.database_text(text)
    except Unfit as error:
        raise SettingsError(f"{name}: {error}.") from None


def _log_passed_over(
    environ: Mapping[str, str], cwd: Path, where: UserPlaces, root: Path | None, paths: Paths
) -> tuple[str, ...]:
    """What is said where l6e-mcp's variable names a file that is somebody else's; the default takes its place."""
    text = environ.get(THEIR_LOG) if where.installed is None else where.installed.log
    if not text or (where.installed is None and environ.get("TALLYGATE_LOG_PATH")):
        return ()
    path = _path(THEIR_LOG, text, root or cwd, where.home)
    if paths.run_log == path:
        return ()
    named = checks.short(str(path))
    return (f"{THEIR_LOG}: {named} is no run log and was left alone; lines go to {paths.run_log}.",)


def _with_their_factors(settings: Settings, home: Path) -> Settings:
    """The factors of the user's file of l6e-mcp, where there is no settings file of ours; nothing else of it counts."""
    document, read = _their_factors(home)
    if document is None:
        return replace(settings, notices=(*settings.notices, *read))
    found = sections.apply(settings, document, project=False)
    count = len(found.calibration_micros)
    said = f"{document.name}: {count} calibration factor{'' if count == 1 else 's'} of l6e-mcp count"
    own = "; a settings file of your own takes its place."
    return replace(found, notices=(*settings.notices, *read, said + ("s" if count == 1 else "") + own))


def _their_factors(home: Path) -> tuple[Document | None, tuple[str, ...]]:
    """The part of the user's file of l6e-mcp that counts, and what there is to say of it."""
    file = home / THEIR_FILE
    try:
        document = read_document(file, required=False, users=True)
        if document is None or not isinstance(document.values.get("calibration"), dict):
            return None, ()
        document = replace(document, values={"calibration": document.values["calibration"]})
        document, read = tolerated.with_whole_names(document)
        sections.apply(Settings(Paths(home, home, home, home)), document, project=False)
    except SettingsError as error:
        return None, (f"{error} The file was passed over.",)
    return document, read


def _moved(paths: Paths, user: Document | None, where: UserPlaces) -> tuple[str, ...]:
    """What is said where the user's file names other places than those that commands were installed with."""
    if where.installed is None or user is None:
        return ()
    for attribute, text in sections.read_paths(user).items():
        if Path(text) != getattr(paths, attribute):
            here = user.where(("paths", attribute))
            return (f"{here}: paths.{attribute} counts in clients only after: tallygate init in a terminal.",)
    return ()


def _folder(cwd: Path, home: Path) -> Path | None:
    """The folder that work is done in where that is no project; what can be none is nobody's."""
    folder = cwd.resolve()
    return None if is_nobodys(folder, home.resolve()) else folder


def _placed(settings: Settings, home: Path) -> Settings:
    """Settings whose folders are as they lie on the disk, with what can be seen to bind nothing."""
    notices = []
    budgets = []
    for rule in settings.budgets:
        if rule.scope is BudgetScope.PROJECT and rule.match is not None:
            rule = replace(rule, match=written_out(rule.match, str(home)))  # noqa: PLW2901
            match = rule.match or ""
            if is_no_folder(match):
                notices.append(f"A [[budget]] of a project binds nothing: there is no folder {checks.short(match)}.")
        elif rule.scope is BudgetScope.CLIENT and rule.match is not None:
            rule = replace(rule, match=REGISTRY.names.meant(rule.match))  # noqa: PLW2901
            match = rule.match or ""
            if not REGISTRY.fits(match):
                unknown = f"A [[budget]] of the client {checks.short(match)} binds only sessions that name"
                known = ", ".join(sorted(REGISTRY.clients))
                notices.append(f"{unknown} themselves so; clients that Tallygate knows are {known}.")
        budgets.append(rule)
    plan = tuple(
        rule if rule.client is None else replace(rule, client=REGISTRY.names.meant(rule.client))
        for rule in settings.plan
    )
    placed = replace(
        settings.pricing,
        overrides=tuple(_row_placed(row, home) for row in settings.pricing.overrides),
        discounts=tuple(_row_placed(row, home) for row in settings.pricing.discounts),
    )
    notices += _plans_unknown(plan)
    return replace(settings, budgets=tuple(budgets), plan=plan, pricing=placed, notices=(*settings.notices, *notices))


def _plans_unknown(plan: Sequence[PlanRule]) -> list[str]:
    """Limits on plans of clients that tell of none, which would be unknown for ever."""
    telling = [client for client in REGISTRY.clients.values() if client.tells_plan]
    known = [client.name for client in telling]
    titles = " and ".join(client.title for client in telling)
    return [
        f"A [[budget]] of the plan of {checks.short(rule.client or '')} is never known: only {titles} tell of theirs."
        for rule in plan
        if rule.client is not None and rule.client not in known
    ]


def _row_placed(row: PriceRow, home: Path) -> PriceRow:
    return row if row.project is None else replace(row, project=written_out(row.project, str(home)))


def _is_run_log(path: Path) -> bool:
    from tallygate.ledger.runlog import is_run_log  # asked only where l6e-mcp's name is used

    return is_run_log(path)


def _not_a_run_log(path: Path) -> str:
    return "" if path.suffix == ".jsonl" else f"must end in .jsonl, not {checks.short(path.name)}"


def _path(name: str, text: str, base: Path, home: Path) -> Path:
    """A path from a variable."""
    try:
        return _absolute(checks.path_text(text), base, home)
    except Unfit as error:
        raise SettingsError(f"{name}: {error}.") from None


def _absolute(text: str, base: Path, home: Path) -> Path:
    if text == "~" or text.startswith(("~/", "~\\")):
        return home / text[2:]
    return base.absolute() / text


def _tightened(settings: Settings, environ: Mapping[str, str], where: UserPlaces) -> Settings:
    """Settings with those variables of a client that tighten them; the others are told of, and stop nobody.

    One that has the value `init` found in the user's own environment is the user's.
    """
    found = {} if where.installed is None else where.installed.environment
    foreign = list(where.foreign)
    for name, path in VARIABLES.items():
        if not (text := environ.get(name)):
            continue
        # One at a time: a value that is none takes no other variable with it.
        try:
            whole = _apply_environment(settings, {name: text})
        except SettingsError:
            foreign.append(name)
            continue
        rule = sections.SCALARS[path]
        before, now = (rule.value_in(each, path[0]) for each in (settings, whole))
        tighter = rule.projects_may and rule.is_tighter(before, now)
        if before == now or rule.only_tells or found.get(name) == text or tighter:
            settings = whole
        else:
            foreign.append(name)
    for name in CALIBRATION_VARIABLES:
        if text := environ.get(name):
            settings, counts = _dearer_factors(settings, name, text)
            foreign += [] if counts else [name]
            break
    return replace(settings, foreign=tuple(sorted(set(foreign))))


def _dearer_factors(settings: Settings, name: str, text: str) -> tuple[Settings, bool]:
    """Settings with the factors of a variable that make a model dearer; and whether that was all of them."""
    try:
        whole = _apply_environment(settings, {name: text})
    except SettingsError:
        return settings, False
    named = {model: micros for model, micros in whole.calibration_micros.items()
             if settings.calibration_micros.get(model) != micros}  # fmt: skip
    dearer = {
        model: micros for model, micros in named.items() if micros > settings.calibration_micros.get(model, MICROS)
    }
    factors = {**settings.calibration_micros, **dearer}
    return replace(settings, calibration_micros=factors), dearer == named


def _apply_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    given: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, (section, key) in VARIABLES.items():
        if not (text := environ.get(name)):
            continue
        rule = sections.SCALARS[section, key]
        try:
            value = rule.check(text if name == TENANT_VARIABLE else as_number(text))
        except Unfit as error:
            raise SettingsError(f"{name}: {error}.") from None
        (nested.setdefault(section, {}) if section else given)[rule.attribute] = value
    for section, values in nested.items():
        given[section] = replace(getattr(settings, section), **values)
    for name in CALIBRATION_VARIABLES:
        if text := environ.get(name):
            passed_over: tuple[str, ...] = ()
            if name.startswith("L6E_"):
                factors, passed_over = tolerated.factors_passing_over(name, text)
            else:
                factors = _factors(name, text)
            given["calibration_micros"] = {**settings.calibration_micros, **factors}
            given["notices"] = (*settings.notices, *passed_over)
            break
    return replace(settings, **given)


def _factors(name: str, text: str) -> dict[str, int]:
    """Factors from `model:factor,model:factor`; a model's own name may hold colons."""
    factors: dict[str, int] = {}
    for part in text.split(","):
        model, _, factor = part.strip().rpartition(":")
        try:
            model, micros = checks.text(model.strip()), checks.factor_micros(as_number(factor.strip()))
        except Unfit as error:
            wanted = f"{name}: {checks.short(part.strip())} is not model:factor"
            raise SettingsError(f"{wanted}: each {error}.") from None
        if model in factors:
            raise SettingsError(f"{name}: {model} stands there twice.")
        factors[model] = micros
    return factors
