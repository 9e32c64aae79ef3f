"""Lines of JSON that other programs write: split, decode, check, and count what cannot be used."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tallygate.core.regex import regex
from tallygate.core.usage import GUESSED_MODEL, GUESSED_TIME, MAX_TOKENS
from tallygate.core.values import value

MAX_LINE = 8 * 1024 * 1024
_MAX_NAME = 1024
_HEAD_KEPT = 4096
_DIGITS_MAX = 4000
# What may stand beside a record and is nothing: crashes leave runs of zero bytes, programs put marks in front.
_BLANK = "\ufeff\0 \t\r\n"
BLANK_BYTES = b"\0 \t\r\n"
_KEY = regex(rb'\{"[\w$]{1,64}":')
_RECORD = regex(r'\{\s*"')
# Whole records of all clients say when they were written, or whose they are; objects inside them do not.
_ONLY_RECORDS = frozenset({"timestamp", "sessionId", "$set", "$rewindTo"})
_TRIES_PER_CHARACTER = 16
_TRIES_MIN = 100_000
_DEEP = 20_000
# Below the first of these a number since 1970 is seconds (of no later than 2286), below the next milliseconds, then
# micro- and nanoseconds: each as many microseconds, whole and in parts.
_UNITS = ((10**10, 10**6, 1), (10**14, 10**3, 1), (10**17, 1, 1), (10**20, 1, 10**3))
_FIRST_YEAR = 1990
_CONTENT_DIGITS = 24

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
    NO_FILE = "no_regular_file"


# What may have been usage and could not be read. The other reasons leave out what costs nothing or counts elsewhere.
LOST = frozenset(
    {
        Skip.TOO_LONG,
        Skip.BAD_UTF8,
        Skip.BAD_JSON,
        Skip.TOO_DEEP,
        Skip.HUGE_NUMBER,
        Skip.NOT_OBJECT,
        Skip.DUPLICATE_KEY,
        Skip.BAD_COUNT,
        Skip.BAD_NAME,
        Skip.NO_TIME,
        Skip.BAD_FILE,
        Skip.NO_FILE,
    }
)


class Unreadable(Exception):
    """One record cannot be used; the reason is counted and reading goes on."""

    def __init__(self, reason: Skip) -> None:
        super().__init__(reason.value)
        self.reason = reason


@value(slots=True)
class ReadReport:
    """What a read took in and what it had to leave, by reason.

    `unfinished` are broken records in a last line without an end; it is told anew with each read, as the line may
    still be being written.
    """

    bytes_read: int = 0
    rows: int = 0
    skipped: Counter[Skip] = field(default_factory=Counter)
    unfinished: int = 0
    session: str | None = None

    def add(self, other: ReadReport) -> None:
        self.bytes_read += other.bytes_read
        self.rows += other.rows
        self.skipped.update(other.skipped)
        self.unfinished = other.unfinished


class LineSplitter:
    """Turns chunks cut anywhere into blocks of whole lines, and drops lines that grow past the bound.

    `held` bytes belong to a line whose end was not seen; who stores a position stores it before them.
    `skipping` is true inside an over-long line, of which nothing is kept.
    """

    def __init__(self, *, skipping: bool = False) -> None:
        self.skipping = skipping
        self.held = 0
        self.too_long: list[bytes] = []  # how each line began that was dropped
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
            return self._hold(chunk)
        self._parts.append(chunk[:cut] if cut < len(chunk) else chunk)
        block = b"".join(self._parts) if len(self._parts) > 1 else self._parts[0]
        self._parts = []
        self.held = 0
        return block + self._hold(chunk[cut:]) if cut < len(chunk) else block

    def rest(self) -> bytes:
        """The line whose end was not seen."""
        return b"".join(self._parts)

    def _hold(self, rest: bytes) -> bytes:
        """Keep the beginning of a line; of one that grows past the bound give the records that are whole."""
        if not rest:
            return b""
        self._parts.append(rest)
        self.held += len(rest)
        if self.held <= MAX_LINE:
            return b""
        # A writer that died may have left its line without an end, and the next one behind it: what is whole of that is
        # kept.
        line, whole = self.rest(), []
        while len(line) > MAX_LINE and (cut := _last_seam(line)):
            whole.append(line[:cut] + b"\n")
            line = line[cut:]
        if len(line) > MAX_LINE:
            self.too_long.append(line[:_HEAD_KEPT])
            line, self.skipping = b"", True
        self._parts = [line] if line else []
        self.held = len(line)
        return b"".join(whole)


def _last_seam(line: bytes) -> int:
    """Where the last record begins that stands right behind another within the bound; 0 where none does.

    Inside a record a quote that follows `}{` ends a text, and no key with a colon stands behind that.
    """
    at = line.rfind(b'}{"', 0, MAX_LINE)
    while at >= 0 and _KEY.match(line, at + 1) is None:
        at = line.rfind(b'}{"', 0, at + 2)
    return at + 1


# Control characters are taken inside text: a run of zero bytes there says that a disk lost something, not that the
# rest of the record is wrong.
# What `raw_decode` calls; where no value begins at all it stops the iteration.
_DECODER: Any = json.JSONDecoder(object_pairs_hook=tuple, parse_float=str, parse_constant=str, strict=False)
_scan: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once
_decode_slowly = json.JSONDecoder(
    object_pairs_hook=tuple,
    parse_float=str,
    parse_constant=str,
    # Python refuses whole numbers of thousands of digits; as text they are told from numbers when they are counted.
    parse_int=lambda digits: int(digits) if len(digits) < _DIGITS_MAX else digits,
    strict=False,
).raw_decode


def decode(line: bytes, bound: int = MAX_LINE) -> Pairs:
    """One line as an object in pairs; fractions stay text, so that no figure is rounded by reading it."""
    if len(line) > bound:
        raise Unreadable(Skip.TOO_LONG)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Unreadable(Skip.BAD_UTF8) from None
    if text[:1] != "{":
        text = text.lstrip(_BLANK)
    try:
        # The scanner itself, without the checks of `loads`: decoding is where the time of a first read goes.
        value, end = _scan(text, 0)
    except (json.JSONDecodeError, StopIteration):
        raise Unreadable(Skip.BAD_JSON) from None
    except ValueError:
        raise Unreadable(Skip.HUGE_NUMBER) from None
    except RecursionError:
        raise Unreadable(Skip.TOO_DEEP) from None
    if type(value) is not tuple:
        raise Unreadable(Skip.NOT_OBJECT)
    if end != len(text) and text[end:].strip(_BLANK):
        raise Unreadable(Skip.BAD_JSON)
    return value


@value(slots=True)
class LineRecords:
    """The records of one line, and the stretches between them that are none, each with why."""

    records: list[Pairs] = field(default_factory=list)
    lost: list[tuple[Skip, str]] = field(default_factory=list)


def records_of(line: bytes, bound: int = MAX_LINE) -> LineRecords:
    """Every whole record of a line, whatever stands before, between and behind them.

    Two writers may put their records on one line, a killed one leaves half of one, a crash leaves zero bytes. What
    looks like a record inside a broken one is none unless it has what only whole records have.
    """
    found = LineRecords()
    try:
        found.records.append(decode(line, bound))
        return found
    except Unreadable as error:
        reason = error.reason
    if reason is Skip.TOO_LONG:
        found.lost.append((reason, line[:_HEAD_KEPT].decode(errors="replace")))
        return found
    # Zero bytes stand where a disk lost something: between the parts of a record that may be nothing.
    text = line.decode(errors="replace").replace("\0", " ")
    # Trying again from every brace of a hostile line would take for ever; the work is bounded by its length.
    left = len(text) * _TRIES_PER_CHARACTER + _TRIES_MIN
    at = kept = 0
    while left > 0 and (begin := _RECORD.search(text, at)) is not None:
        start = begin.start()
        try:
            value, end = _decode_slowly(text, start)
        except json.JSONDecodeError as error:
            left -= error.pos - start + 1
            at = start + 1
            continue
        except (ValueError, RecursionError):
            left -= _DEEP
            at = start + 1
            continue
        left -= end - start
        at = end
        before = text[kept:start]
        if not before.strip(_BLANK) or any(key in _ONLY_RECORDS for key, _ in value):
            _lose(found, reason, before)
            found.records.append(value)
            kept = end
    _lose(found, reason, text[kept:])
    return found


def _lose(found: LineRecords, reason: Skip, piece: str) -> None:
    if piece.strip(_BLANK):
        found.lost.append((reason, piece))


def fields(pairs: Pairs) -> Fields:
    """An object by key; a key written twice has no one meaning, so the record is not used."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    raise Unreadable(Skip.DUPLICATE_KEY)


def inner(holder: Fields, key: str) -> Fields:
    """The object under a key; absent, null and anything but an object read as empty."""
    value = holder.get(key)
    return fields(value) if type(value) is tuple else {}


class Odd(StrEnum):
    """What was wrong with a count of a response that counts all the same."""

    NEGATIVE = "negative_count"
    TEXT = "count_as_text"
    NO_NUMBER = "no_number"
    TOO_LARGE = "count_too_large"
    NO_TIME = GUESSED_TIME
    NO_MODEL = GUESSED_MODEL


# A response that has nothing but these and no tokens may have cost anything.
_COUNTLESS = frozenset({Odd.NO_NUMBER, Odd.NEGATIVE})
_NUMBER = regex(r"([+-]?)([0-9]+)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,9}))?")
# Thousands as people write them: 100,000 and 1_000 and 1 000 and 1'000.
_GROUPED = regex(r"[+-]?[0-9]{1,3}(?:([,_' \u00a0\u2009\u202f])[0-9]{3})(?:\1[0-9]{3})*(?:\.[0-9]*)?")
_NOT_GROUPS = regex(r"[,_' \u00a0\u2009\u202f]")
_UNBOUND = frozenset({"inf", "+inf", "infinity", "+infinity"})
_BELOW = frozenset({"-inf", "-infinity"})
_DIGITS_KEPT = 40
_POWER_MAX = 100


def count(holder: Mapping[str, Any], key: str, odd: set[str] | None = None) -> int:
    """A number of tokens, whatever was written for it: a response is never dropped for one.

    Absent and null are none. A negative number and what is no number are none, a number as text is that number, a
    fraction is rounded up; `odd` takes what was wrong.
    """
    value = holder.get(key, 0)
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    if value is None:
        return 0
    wrong, number = _number(value)
    if odd is not None:
        odd.add(wrong)
    return number


def counts(holder: Mapping[str, Any], keys: Sequence[str], odd: set[str]) -> list[int]:
    """The same for several keys, which mostly hold plain numbers."""
    found = []
    for key in keys:
        value = holder.get(key, 0)
        found.append(value if type(value) is int and 0 <= value <= MAX_TOKENS else count(holder, key, odd))
    return found


def _number(value: object) -> tuple[Odd, int]:
    wrong = Odd.TEXT
    if type(value) is str:
        written = value.strip()
        if _GROUPED.fullmatch(written) is not None:
            written = _NOT_GROUPS.sub("", written)
        if (found := _NUMBER.fullmatch(written)) is not None:
            number = _rounded_up(*found.groups(default=""))
        elif written.lower() in _UNBOUND:
            number = MAX_TOKENS + 1
        else:
            return (Odd.NEGATIVE if written.lower() in _BELOW else Odd.NO_NUMBER), 0
    elif type(value) is int:
        number = value
    else:
        return Odd.NO_NUMBER, 0
    if number < 0:
        return Odd.NEGATIVE, 0
    return (Odd.TOO_LARGE, MAX_TOKENS) if number > MAX_TOKENS else (wrong, number)


def _rounded_up(sign: str, whole: str, fraction: str, exponent: str) -> int:
    """A number of which the parts are written, without a binary fraction on the way; beyond all bounds, about."""
    whole = whole.lstrip("0")
    # Beyond every bound already: how far is not worth the time that such a number takes.
    if len(whole) > _DIGITS_KEPT:
        return (-1 if sign == "-" else 1) * (MAX_TOKENS + 1)
    rest, fraction = fraction[_DIGITS_KEPT:], fraction[:_DIGITS_KEPT]
    # What is cut off is more than nothing, and so the number is rounded up.
    if rest.strip("0"):
        fraction += "1"
    digits, places = int(whole + fraction or "0"), int(exponent or 0) - len(fraction)
    power: int = 10 ** min(abs(places), _POWER_MAX)
    number = digits * power if places >= 0 else -(-digits // power)
    return -number if sign == "-" else number


def countless(odd: Iterable[str]) -> bool:
    """Whether what is wrong with counts that come to nothing leaves open what was used."""
    return not _COUNTLESS.isdisjoint(odd)


def part(holder: Fields, key: str, odd: set[str]) -> Fields:
    """As `inner`, for an object that holds counts: what stands there and is none is marked."""
    value = holder.get(key)
    if value is not None and type(value) is not tuple:
        odd.add(Odd.NO_NUMBER)
    return inner(holder, key)


def content_key(*parts: object) -> str:
    """What names a record that has no id of its own: the same bytes have the same name wherever they are read."""
    return hashlib.sha256("|".join(map(str, parts)).encode(errors="replace")).hexdigest()[:_CONTENT_DIGITS]


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
    """A time in UTC: ISO 8601, without a zone taken as UTC as all clients write it, or a number since 1970."""
    if type(value) is not str:
        return moment_of_number(value)
    try:
        at = datetime.fromisoformat(value)
        # Ten digits are also a date in the basic form of ISO 8601; of a year nobody had transcripts in, they are a
        # number.
        if at.year < _FIRST_YEAR and value.isdigit():
            return moment_of_number(int(value))
        if at.tzinfo is UTC:
            return at
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        found = _NUMBER.fullmatch(value.strip())
        # A number in text, without sign or power; any other text is no time.
        if found is None or found[1] or found[4] or len(found[2]) > _DIGITS_KEPT:
            raise Unreadable(Skip.NO_TIME) from None
        return moment_of_number(int(found[2]), found[3] or "")


def moment_of_number(value: object, fraction: str = "") -> datetime:
    """Seconds, milli-, micro- or nanoseconds since 1970, told apart by their size, as a time in UTC."""
    if type(value) is int and value > 0:
        # No unit is written beside it: seconds of this age are always fewer than its milliseconds.
        for below, times, over in _UNITS:
            if value < below:
                micros = (value * times + int((fraction + "000000")[:6]) * times // 10**6) // over
                seconds, rest = divmod(micros, 10**6)
                return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
    raise Unreadable(Skip.NO_TIME)


def text_size(value: object) -> int:
    """About how many characters a decoded value takes as compact JSON; for estimates, not for storage."""
    size = 0
    # Without recursion: a record may be nested as deeply as it likes.
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
