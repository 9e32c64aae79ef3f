"""Finding transcript files below a client's directories without being led astray by links or odd files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_MAX_DEPTH = 16
_END_BYTES = 16 * 1024
_STAMP = re.compile(rb'"timestamp":\s*"(\d{4}-\d\d-\d\d[T ][0-9:.]{5,16})')


def files_below(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Regular files by suffix, sorted; linked directories are followed, each directory once."""
    seen: set[tuple[int, int]] = set()
    todo = [(root, 0)]
    while todo:
        directory, depth = todo.pop()
        try:
            info = directory.stat()
            # Where there are no inodes (0), only the depth bounds a loop of links.
            if info.st_ino and (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError:
            continue
        below = []
        for entry in entries:
            try:
                if entry.is_dir():
                    below.append((directory / entry.name, depth + 1))
                elif entry.name.endswith(suffixes) and entry.is_file():
                    yield directory / entry.name
            except OSError:
                continue
        if depth < _MAX_DEPTH:
            todo.extend(reversed(below))


def ends_at(path: Path) -> tuple[str, str]:
    """When a file of lines ends by its own last time, and its name; what cannot be told comes first."""
    found: list[bytes] = []
    if not path.name.endswith((".db", ".zst")):
        try:
            with path.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _END_BYTES, 0))
                found = _STAMP.findall(file.read(_END_BYTES))
        except OSError:
            found = []
    return (found[-1].decode() if found else "", str(path))


def listed(env: Mapping[str, str], variable: str, home: Path) -> list[Path]:
    """The directories of a variable that may name several, separated by commas; unset is none."""
    parts = (part.strip() for part in env.get(variable, "").split(","))
    return [home / part[2:] if part == "~" or part.startswith("~/") else Path(part) for part in parts if part]


def missing(env: Mapping[str, str], variables: Iterable[str], home: Path) -> Iterator[tuple[str, Path]]:
    """What variables name and is not there: each variable with the path."""
    for variable in variables:
        for path in listed(env, variable, home):
            if not path.exists():
                yield variable, path


def directory_of(env: Mapping[str, str], variable: str, default: Path) -> Path:
    """The directory a variable names; unset, empty and relative values (as XDG says) give the default."""
    value = env.get(variable, "")
    return Path(value) if value and Path(value).is_absolute() else default


def unique(paths: list[Path]) -> list[Path]:
    """Each path once, in the order given."""
    return list(dict.fromkeys(paths))
