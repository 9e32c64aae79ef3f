"""What a client's folder says is to be put where: a description, without touching anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Scope(StrEnum):
    """Whether all work of the user is meant, or that of one project."""

    USER = "user"
    PROJECT = "project"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where a client's telemetry is to be sent: the receiver on this machine and the token it asks for."""

    port: int
    token: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where an installation takes place. `python` and `hook` are the interpreter and the program of hooks.

    `places` is the file that says where the user's things are; `main` the whole program's file, where an interpreter
    that is started apart from the user's Python would not find it by its name.
    """

    home: Path
    environ: Mapping[str, str]
    platform: str
    python: str
    hook: str
    places: str
    main: str | None = None
    project: Path | None = None
    hard: bool = True
    faults_pass: bool = False
    telemetry: Telemetry | None = None

    def folder(self, variable: str, *default: str) -> Path:
        """The folder a variable names, or its usual place in the home folder."""
        value = self.environ.get(variable, "")
        return Path(value) if value and Path(value).is_absolute() else self.home.joinpath(*default)

    @property
    def root(self) -> Path:
        """The project's folder, where there is one."""
        if self.project is None:
            raise LookupError("no project")
        return self.project


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a JSON object. With `yields` one that the user has set stays, and `why` tells the user so."""

    path: tuple[str, ...]
    value: Any
    yields: Callable[[Any], bool] | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook in a list of a JSON object, alone (`flat`) or in a group with a matcher."""

    path: tuple[str, ...]
    entry: Mapping[str, Any]
    matcher: str | None = None
    flat: bool = False

    @property
    def item(self) -> dict[str, Any]:
        """What stands in the list."""
        if self.flat:
            return dict(self.entry)
        return {**({} if self.matcher is None else {"matcher": self.matcher}), "hooks": [dict(self.entry)]}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a TOML file."""

    path: tuple[str, ...]
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Block:
    """Text between markers; `front` comes before it in a file that is made for it."""

    text: str
    front: str = ""


@dataclass(frozen=True, slots=True)
class Whole:
    """A file of our own. One that is there already and not ours stays: with `keeps` silently."""

    text: str
    keeps: bool = False


Edit = Member | Hook | Table | Block | Whole


@dataclass(frozen=True, slots=True)
class FileEdits:
    """What one file is to hold; all edits of a file are of one kind. A new file is the user's alone unless `shared`."""

    path: Path
    edits: tuple[Edit, ...]
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything that one client needs in one scope, and what the user has to do or know."""

    files: tuple[FileEdits, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that keeps a client's hooks from running, and what the user does about it."""

    what: str
    to_do: str


def nothing_wrong(_: Surroundings) -> Iterator[Finding]:
    """A client whose hooks nothing is known to switch off."""
    return iter(())


@dataclass(frozen=True, slots=True)
class Client:
    """One client as an installation sees it.

    `signs` are places that show it is there, `binaries` the names of its programs; `findings` looks for what would
    keep the hooks from running, and `has_hooks` says that there are any.
    """

    name: str
    title: str
    signs: Callable[[Surroundings], tuple[Path, ...]]
    binaries: tuple[str, ...]
    wanted: Callable[[Surroundings, Scope], Installation]
    has_hooks: bool = False
    findings: Callable[[Surroundings], Iterator[Finding]] = nothing_wrong
