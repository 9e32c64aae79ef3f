"""What one file is to hold, by its kind: a description, without touching anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
