"""Where installed commands find the user's things, and what the environment of their client has to say beside that.

The environment of a client is not the user: a project's settings, an `.envrc` or an agent may have made it. `init`
writes down where things are; the commands that it puts into clients name that file, and go by it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from pathlib import Path

from tallygate.core.errors import InvalidArgument, SettingsError
from tallygate.core.values import value
from tallygate.machine import own_system, system
from tallygate.settings.variables import (
    CALIBRATION_VARIABLES,
    CLIENT_VARIABLES,
    KNOWN,
    LOADER_NAMES,
    LOADER_PREFIXES,
    PATH_VARIABLES,
    PYTHON_CODE,
    SYSTEM_VARIABLES,
    USER_FILE_VARIABLES,
    VARIABLES,
)

PLACES_FILE = "places.conf"
_BYTES_MAX = 1 << 16
_HEAD = "# Written by `tallygate init`: where its commands find your things, whatever a client's environment says.\n"
_FOUND = "environment."
_AGAIN = "Run on this machine, in a terminal: tallygate init"
_OWN_PATHS = (*(name for names in PATH_VARIABLES.values() for name in names), *USER_FILE_VARIABLES)
# What moves nothing where a command is installed.
NEVER = frozenset({*_OWN_PATHS, "TALLYGATE_PROJECT_DIR"})
_NO_PLACES = frozenset({"environment", "on_fault", "system"})
_OPTIONAL = ("settings", "l6e_settings", "log")


@value(frozen=True, slots=True)
class InstalledPlaces:
    """Absolute places of one user on one machine. `log` is given only where it is the same for every project.

    `settings` is the user's file, `l6e_settings` one of l6e-mcp in its place. `on_fault` is what a hook answers that
    cannot start the gate; `environment` holds the variables as `init` found them, and `system` says where that was.
    """

    home: str
    settings_folder: str
    data: str
    ledger: str
    keys: str
    servers: str
    settings: str | None = None
    l6e_settings: str | None = None
    log: str | None = None
    on_fault: str = "halt"
    system: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def as_text(self) -> str:
        """The file's content: a name and a value a line, which the hook program reads without a parser."""
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "environment"}
        found = {f"{_FOUND}{name}": value for name, value in sorted(self.environment.items())}
        rows = {name: value for name, value in {**named, **found}.items() if value is not None}
        for name, text in rows.items():
            # Whoever reads it takes a line for a setting: a line break in a name would be one that nobody made.
            if any(sign in text for sign in "\n\r\0"):
                raise InvalidArgument(
                    "client",
                    f"{name} has a line break in it, which no installed command can carry; nothing was changed.",
                    hint="Choose a folder without one.",
                )
        return _HEAD + "".join(f"{name} = {value}\n" for name, value in rows.items())


def install_folder(data_dir: Path, home: Path) -> Path:
    """Where it is written down what was installed from a home.

    A host and its containers may share a data folder under other names: each has a folder of its own in it, so that
    none takes the other's places. One that was only moved, with its home or without, goes on with its own.
    """
    usual = data_dir / "init"
    try:
        rows = _rows(_content(usual / PLACES_FILE))
    except SettingsError:
        return usual
    theirs, ours = (rows.get("home"), rows.get("data")), (str(home), str(data_dir))
    here = {own_system(), system()}  # earlier versions wrote down the system also where it has no id
    elsewhere = rows.get("system", system()) not in here or theirs[1] == ours[1]
    renamed = [was for was, now in zip(theirs, ours, strict=True) if was is not None and was != now]
    # What is named otherwise now and still is where it was is another's; what is gone from there was moved.
    if theirs == ours or not (elsewhere or any(os.access(was, os.F_OK) for was in renamed)):
        return usual
    return usual / hashlib.sha256("\0".join(ours).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def read_installed(file: Path) -> InstalledPlaces:
    """The places of this machine. Raises `SettingsError` where the file or what it names is missing."""
    text = _content(file)
    rows = _rows(text)
    found = {name.removeprefix(_FOUND): value for name, value in rows.items() if name.startswith(_FOUND)}
    given = {each.name: rows[each.name] for each in fields(InstalledPlaces) if each.name in rows}
    for each in fields(InstalledPlaces):
        if each.name in _NO_PLACES:
            continue
        value = given.get(each.name)
        if value is None and each.name not in _OPTIONAL:
            raise SettingsError(f"{file}:1: {each.name} is missing.", hint=_AGAIN)
        if value is not None and not Path(value).is_absolute() and each.name != "log":
            raise SettingsError(f"{file}:1: {each.name} is not the full path of a place.", hint=_AGAIN)
    places = InstalledPlaces(**given, environment=found)
    # A place that is gone must not be made anew in silence: the ledger in it would begin at nothing, and with it every
    # limit.
    for what, place in (("data folder", places.data), ("settings file", places.settings)):
        if place is not None and not os.access(place, os.F_OK):
            raise SettingsError(f"The {what} that Tallygate was installed with is not here: {place}.", hint=_AGAIN)
    return places


def _rows(text: str) -> dict[str, str]:
    return dict(line.split(" = ", 1) for line in text.split("\n") if " = " in line and not line.startswith("#"))


def _content(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            info = os.fstat(stream.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_mode & stat.S_IWOTH:
                raise SettingsError(f"{file}:1: is not a file that is yours alone to write.", hint=_AGAIN)
            raw = stream.read(_BYTES_MAX + 1)
    except FileNotFoundError:
        why = "Tallygate was not installed on this machine, or its data folder is gone"
        raise SettingsError(f"{why}: there is no {file}.", hint=_AGAIN) from None
    except OSError as error:
        raise SettingsError(f"{file}:1: cannot be opened: {error.strerror}.", hint=_AGAIN) from None
    if len(raw) > _BYTES_MAX:
        raise SettingsError(f"{file}:1: is larger than 64 KiB.", hint=_AGAIN)
    return os.fsdecode(raw)


@value(frozen=True, slots=True)
class HeldEnvironment:
    """The environment that an installed command goes by, and the names in its client's that it does not.

    `reading` are the environments that say where clients write: the user's, and the client's own where it differs.
    """

    environ: Mapping[str, str]
    foreign: tuple[str, ...]
    reading: tuple[Mapping[str, str], ...] = ()


def hold(environ: Mapping[str, str], installed: InstalledPlaces, dropped: Iterable[str] = ()) -> HeldEnvironment:
    """Hold a client's environment to the installed places.

    Variables that only ask for something stay, and count where they tighten: that is decided against the settings.

    >>> places = InstalledPlaces("/h", "/h/c", "/h/d", "/h/d/ledger.db", "/h/d/keys", "/h/d/servers")
    >>> held = hold({"HOME": "/p", "TALLYGATE_DB": "/p/x.db", "PATH": "/bin"}, places)
    >>> sorted(held.environ.items()), held.foreign
    ([('HOME', '/h'), ('PATH', '/bin')], ('HOME', 'TALLYGATE_DB'))
    """
    kept = {name: value for name, value in environ.items() if not _is_put_aside(name)}
    kept |= {name: value for name, value in installed.environment.items() if name in SYSTEM_VARIABLES}
    kept["HOME"] = installed.home
    agreed = {value for each in fields(installed) if isinstance(value := getattr(installed, each.name), str)}
    foreign = {
        name
        for name, value in environ.items()
        if value and _is_put_aside(name) and is_told(name)
        and value != installed.environment.get(name) and value not in agreed and value.rstrip("/") not in agreed
    }  # fmt: skip
    users = {name: value for name, value in kept.items() if name not in CLIENT_VARIABLES}
    users |= {name: value for name, value in installed.environment.items() if name in CLIENT_VARIABLES}
    where = (*SYSTEM_VARIABLES, *CLIENT_VARIABLES)
    differs = any(environ.get(name, users.get(name)) != users.get(name) for name in where)
    return HeldEnvironment(kept, tuple(sorted({*foreign, *dropped})), (users, environ) if differs else (users,))


def _is_put_aside(name: str) -> bool:
    if name in NEVER or name in SYSTEM_VARIABLES or is_loader(name):
        return True
    return name.startswith("TALLYGATE_") and name not in KNOWN


def is_loader(name: str) -> bool:
    """Whether a variable puts other code or another clock into programs."""
    return name in LOADER_NAMES or name.startswith(LOADER_PREFIXES)


def is_told(name: str) -> bool:
    """Whether a variable that is put aside is worth a word: of Python's own only what leads to other code."""
    return not name.startswith("PYTHON") or name in PYTHON_CODE


def worth_keeping(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that `init` writes down: with the same value they are the user's own later on."""
    names = {*NEVER, *SYSTEM_VARIABLES, *CLIENT_VARIABLES, *VARIABLES} - {*CALIBRATION_VARIABLES}
    return {
        name: value
        for name, value in environ.items()
        if value and value.isprintable() and (name in names or (is_loader(name) and is_told(name)))
    }
