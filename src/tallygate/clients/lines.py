"""Lines of JSON that other programs write: split, decode, check, and count what cannot be used."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tallygate.core.observed import MAX_TOKENS

MAX_LINE = 8 * 1024 * 1024
_MAX_NAME = 1024

# A decoded object. Pairs instead of a dict, so that a key written twice is seen; arrays are lists, so the
# two cannot be mistaken for each other.
Pairs = tuple[tuple[str, Any], ...]
Fields = dict[str, Any]


class Skip(StrEnum):
    """Why something was not used; every skipped line is counted under one of these."""

    TOO_LONG = "line_too_long"
    BAD_UTF8 = "bad_utf8"
    BAD_JSON = "bad_json"
    TOO_DEEP = "too_deep"
    HUGE_NUMBER = "huge_number"
    NOT_OBJECT = "not_an_object"
    DUPLICATE_KEY = "duplicate_key"
    BAD_COUNT = "bad_count"
    BAD_NAME = "bad_name"
    NO_TIME = "no_time"
    INCONSISTENT = "inconsistent_counts"
    SYNTHETIC = "synthetic"
    EMPTY = "empty_usage"
    INHERITED = "inherited_history"
    UNFINISHED = "unfinished"
    BAD_FILE = "unreadable_file"


class Unreadable(Exception):
    """One record cannot be used; the reason is counted and reading goes on."""

    def __init__(self, reason: Skip) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(slots=True)
class ReadReport:
    """What a read took in and what it had to leave, by reason."""

    bytes_read: int = 0
    rows: int = 0
    skipped: Counter[Skip] = field(default_factory=Counter)

    def add(self, other: ReadReport) -> None:
        self.bytes_read += other.bytes_read
        self.rows += other.rows
        self.skipped.update(other.skipped)


class LineSplitter:
    """Turns chunks cut anywhere into blocks of whole lines, and drops lines that grow past the bound.

    `held` bytes belong to a line whose end was not seen; who stores a position stores it before them.
    `skipping` is true inside an over-long line, of which nothing is kept.
    """

    def __init__(self, *, skipping: bool = False) -> None:
        self.skipping = skipping
        self.held = 0
        self.too_long = 0
        self._parts: list[bytes] = []

    def take(self, chunk: bytes) -> bytes:
        """Whole lines that are complete now, newline included; empty when there is none."""
        if self.skipping:
            end = chunk.find(b"\n")
            if end < 0:
                return b""
            self.skipping = False
            chunk = chunk[end + 1 :]
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            self._hold(chunk)
            return b""
        self._parts.append(chunk[:cut] if cut < len(chunk) else chunk)
        block = b"".join(self._parts) if len(self._parts) > 1 else self._parts[0]
        self._parts = []
        self.held = 0
        if cut < len(chunk):
            self._hold(chunk[cut:])
        return block

    def _hold(self, rest: bytes) -> None:
        if not rest:
            return
        self._parts.append(rest)
        self.held += len(rest)
        if self.held > MAX_LINE:
            self._parts = []
            self.held = 0
            self.skipping = True
            self.too_long += 1


_decode = json.JSONDecoder(object_pairs_hook=tuple, parse_float=str).raw_decode


def decode(line: bytes, bound: int = MAX_LINE) -> Pairs:
    """One line as an object in pairs; fractions stay text, so that no figure is rounded by reading it."""
    if len(line) > bound:
        raise Unreadable(Skip.TOO_LONG)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Unreadable(Skip.BAD_UTF8) from None
    if text[:1] != "{":
        text = text.lstrip("\ufeff \t\r\n")
    try:
        value, end = _decode(text)
    except json.JSONDecodeError:
        raise Unreadable(Skip.BAD_JSON) from None
    except ValueError:
        # Python refuses whole numbers of thousands of digits; nobody writes one in earnest.
        raise Unreadable(Skip.HUGE_NUMBER) from None
    except RecursionError:
        raise Unreadable(Skip.TOO_DEEP) from None
    if type(value) is not tuple:
        raise Unreadable(Skip.NOT_OBJECT)
    if end != len(text) and text[end:].strip():
        raise Unreadable(Skip.BAD_JSON)
    return value


def fields(pairs: Pairs) -> Fields:
    """An object by key; a key written twice has no one meaning, so the record is not used."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable(Skip.DUPLICATE_KEY)
    return found


def inner(holder: Fields, key: str) -> Fields:
    """The object under a key; absent, null and anything but an object read as empty."""
    value = holder.get(key)
    return fields(value) if type(value) is tuple else {}


def count(holder: Fields, key: str) -> int:
    """A number of tokens; absent and null are none, anything but a whole number in bounds is refused."""
    value = holder.get(key)
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    raise Unreadable(Skip.BAD_COUNT)


def name(value: object) -> str | None:
    """An id, model or path that is safe to store and print, or nothing."""
    if type(value) is str and 0 < len(value) <= _MAX_NAME and value.isprintable():
        return value
    return None


def required(value: object) -> str:
    """As `name`, for what a row cannot do without."""
    found = name(value)
    if found is None:
        raise Unreadable(Skip.BAD_NAME)
    return found


def moment(value: object) -> datetime:
    """An ISO 8601 time in UTC; without a zone it is taken as UTC, as all clients write it."""
    if type(value) is not str:
        raise Unreadable(Skip.NO_TIME)
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is UTC:
            return at
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unreadable(Skip.NO_TIME) from None


def moment_of_millis(value: object) -> datetime:
    """Milliseconds since 1970 as a time in UTC."""
    if type(value) is not int or not 0 < value < 10**14:
        raise Unreadable(Skip.NO_TIME)
    seconds, millis = divmod(value, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=millis * 1000)


def text_size(value: object) -> int:
    """About how many characters a decoded value takes as compact JSON; for estimates, not for storage."""
    size = 0
    todo = [value]
    while todo:
        item = todo.pop()
        if type(item) is str:
            size += len(item) + 2
        elif type(item) is tuple:
            size += 2
            for key, child in item:
                size += len(key) + 4
                todo.append(child)
        elif type(item) is list:
            size += 2 + len(item)
            todo.extend(item)
        else:
            size += 4
    return size
