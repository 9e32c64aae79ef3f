"""Where settings are read from: one TOML file, opened with care, that can say on which line a key stands."""

from __future__ import annotations

import functools
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import field
from decimal import Decimal
from pathlib import Path
from typing import Any

from tallygate.core.errors import SettingsError
from tallygate.core.regex import regex
from tallygate.core.values import value

FILE_BYTES_MAX = 1 << 20
# The parser needs quadratic time for a key with many dots; no setting has more than two.
_ENDLESS_KEY = regex(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){40}""")

KeyPath = tuple[str | int, ...]


@value(frozen=True, slots=True)
class Document:
    """A parsed settings file."""

    name: str
    values: Mapping[str, Any]
    text: str = field(repr=False, default="")

    def where(self, path: KeyPath) -> str:
        """File and line of a key, or of the nearest thing around it."""
        lines = key_lines(self.text)
        while path and path not in lines:
            path = path[:-1]
        return f"{self.name}:{lines.get(path, 1)}"

    def error(self, path: KeyPath, message: str, hint: str = "") -> SettingsError:
        return SettingsError(f"{self.where(path)}: {message}", hint=hint)


def read_document(file: Path, *, required: bool, users: bool = False) -> Document | None:
    """Parse a settings file; None where there is none and none is required.

    The user's own file may be a link, as those who keep their dotfiles in a repository have it.
    """
    raw = _read(_target(file) if users else file, required=required)
    if raw is None:
        return None
    name = str(file)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{name}:{line}: the file is not UTF-8 text.") from None
    return parse_document(name, text)


def parse_document(name: str, text: str) -> Document:
    """A settings file by its text. Raises `SettingsError` with file and line where that is no TOML."""
    if (endless := _ENDLESS_KEY.search(text)) is not None:
        line = text.count("\n", 0, endless.start()) + 1
        raise SettingsError(f"{name}:{line}: a name with more than forty dots is not read.")
    try:
        # Numbers with a point stay what was written: they may be money.
        values = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", message)
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        reason = message[: found.start()] if found else message
        raise SettingsError(f"{name}:{line}: not valid TOML: {reason}.") from None
    except (ValueError, ArithmeticError, RecursionError):
        raise SettingsError(f"{name}:1: a number or a nesting in the file is too large to read.") from None
    return Document(name, values, text)


def _target(file: Path) -> Path:
    """What the user's own file leads to, where nobody else could choose that or write to it."""
    try:
        if not file.is_symlink():
            return file
        target = Path(os.path.realpath(file, strict=True))
        found = target.stat()
    except OSError:
        return file  # a link to nothing, or round in a circle, is told as such
    if found.st_uid not in (os.getuid(), 0) or found.st_mode & 0o022:
        raise SettingsError(
            f"{file}:1: is a symbolic link to {target}, which others can write to.",
            hint=f"Run: chmod go-w {target}" if found.st_uid == os.getuid() else "Put the file itself there.",
        )
    return target


def _read(file: Path, *, required: bool) -> bytes | None:
    try:
        # The directory is the project's or the user's own; a link would let somebody else choose the file.
        for path in (file.parent, file) if file.parent.name == ".l6e" else (file,):
            if path.is_symlink():
                raise SettingsError(
                    f"{path}:1: is a symbolic link, which settings are not read through.",
                    hint="Put the file itself there, or set TALLYGATE_CONFIG to where it is.",
                )
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        if not required:
            return None
        raise SettingsError(f"{file}:1: there is no such settings file.") from None
    except OSError as error:
        raise SettingsError(f"{file}:1: cannot be opened: {error.strerror}.") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SettingsError(f"{file}:1: is not a regular file.")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            raw = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"{file}:1: cannot be read: {error.strerror}.") from None
    finally:
        os.close(descriptor)
    if len(raw) > FILE_BYTES_MAX:
        raise SettingsError(f"{file}:1: is larger than 1 MiB.")
    return raw


_TOKEN = regex(
    r'''"""(?:[^\\]|\\.)*?"{3,5}'''
    r"""|'''.*?'{3,5}"""
    r'''|"(?:[^"\\\n]|\\.)*"'''
    r"""|'[^'\n]*'|\#[^\n]*|[\[\]{}=,.\n]|[^\s"'\#\[\]{}=,.]+""",
    re.DOTALL,
)


@functools.lru_cache(maxsize=2)
def key_lines(text: str) -> dict[KeyPath, int]:
    r"""The line on which each table and key of a valid TOML text begins; inline tables count as one value.

    >>> key_lines('a = 1\n[[b]]\nc.d = [\n 2]')
    {('a',): 1, ('b',): 2, ('b', 0): 2, ('b', 0, 'c'): 3, ('b', 0, 'c', 'd'): 3}
    """
    lines: dict[KeyPath, int] = {}
    rows: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement: list[str] = []
    line = began = 1
    depth, has_key = 0, False
    for token in [match[0] for match in _TOKEN.finditer(text)] + ["\n"]:
        if token == "\n" and depth == 0:
            if statement[:1] == ["["]:
                table = _enter(statement, rows)
                _note(lines, table, began, 1)
            elif statement:
                _note(lines, table + _names(statement), began, len(table) + 1)
            statement, has_key = [], False
        elif token[0] not in "#\n":
            began = began if statement else line
            has_key = has_key or (token == "=" and statement[:1] != ["["])
            depth += has_key and (token in "[{") - (token in "]}")
            if not has_key:
                statement.append(token)
        line += token.count("\n")
    return lines


def _note(lines: dict[KeyPath, int], path: KeyPath, line: int, first: int) -> None:
    for length in range(first, len(path) + 1):
        lines.setdefault(path[:length], line)


def _names(tokens: list[str]) -> KeyPath:
    """The keys of a dotted name; a quoted one is read by the parser itself."""
    return tuple(
        next(iter(tomllib.loads(f"{token} = 0"))) if token[0] in "\"'" else token
        for token in tokens
        if token not in (".", "[", "]")
    )


def _enter(header: list[str], rows: dict[KeyPath, int]) -> KeyPath:
    """The path of a table header, with the number of the row wherever it leads into an array of tables."""
    names = _names(header)
    path: KeyPath = ()
    for position, name in enumerate(names):
        path += (name,)
        last = position == len(names) - 1
        if last and header[1:2] == ["["]:
            rows[path] = rows.get(path, -1) + 1
        if path in rows:
            path += (rows[path],)
    return path
