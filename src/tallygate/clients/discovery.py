"""Finding transcript files below a client's directories without being led astray by links or odd files."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

_MAX_DEPTH = 16
_END_BYTES = 16 * 1024
_STAMP = re.compile(rb'"timestamp":\s*"(\d{4}-\d\d-\d\d[T ][0-9:.]{5,16})')


def files_below(root: Path, suffixes: tuple[str, ...], closed: list[Path] | None = None) -> Iterator[Path]:
    """What is named like a file that is looked for, sorted; linked directories are followed, each directory once.

    A pipe, a device or a directory of such a name is among them, so that whoever reads it says what it is. `closed`
    takes directories that may not be looked into, which may hold any number of files.
    """
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
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            if closed is not None:
                closed.append(directory)
            continue
        below = []
        for entry in entries:
            try:
                is_named = entry.name.endswith(suffixes)
                if entry.is_dir():
                    below.append((directory / entry.name, depth + 1))
                if is_named and (entry.is_file() or (directory / entry.name).exists()):
                    yield directory / entry.name
            except OSError:
                if is_named:
                    yield directory / entry.name
        if depth < _MAX_DEPTH:
            todo.extend(reversed(below))


def may_be_searched(path: Path) -> bool:
    """Whether a path is that of a directory, and its names may be read."""
    try:
        os.scandir(path).close()
    except OSError:
        return False
    return True


def ends_at(path: Path) -> tuple[str, str]:
    """When a file of lines ends by its own last time, and its name; what cannot be told comes first."""
    found: list[bytes] = []
    if not path.name.endswith((".db", ".zst")):
        try:
            # A pipe that nobody writes to would hold us for ever.
            with opened_at_once(path) as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _END_BYTES, 0))
                found = _STAMP.findall(file.read(_END_BYTES))
        except OSError:
            found = []
    return (found[-1].decode() if found else "", str(path))


def opened_at_once(path: Path) -> IO[bytes]:
    """A regular file, opened without waiting for anybody; anything else is an error."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb", buffering=0)
    os.close(handle)
    raise OSError(f"{path} is no regular file")


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
