"""Objects of a JSON file: in an array, in a list under a name such as `data`, or one after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NoReturn, cast

from tallygate.core.errors import InvalidArgument
from tallygate.core.regex import regex
from tallygate.core.text import shown
from tallygate.statements.reading.cells import Numbered, Row
from tallygate.statements.reading.content import Content
from tallygate.statements.reading.tables import COLUMNS_MAX, ROWS_MAX, Faults, FileRows

# Where an object keeps its rows.
LISTS = ("data", "results", "usageEventsDisplay", "usageEvents")
# Where what stands beside the rows belongs to each of them: whose they are, and of which days.
SHARED = "usageItems"
OBJECT_MAX = 8 * 1024 * 1024
# What is longer is no cell of a bill: rows that hold whole conversations are read without these.
VALUE_MAX = 131_072
_PART = OBJECT_MAX
# An error so near to the end is of what is missing there: it is told where its value begins.
_CUT = 64
_SPACE = regex(r"[ \t\r\n]*")
_DECODE = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).raw_decode
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def read_objects(content: Content, first: str, faults: Faults) -> FileRows:
    """Objects as rows; `first` is what was read of them already. The header is the keys of the first one."""
    rows = _rows(_values(_Text(content, first)), faults)
    begin = next(rows, None)
    if begin is None:
        faults.refuse()
        return FileRows((), 1, iter(()))
    return FileRows(tuple(begin[1]), begin[0], chain([begin], rows))


class _Text:
    """JSON text with a place in it, and always more than one object's length of it ahead.

    `json.loads` would take the whole file at once, as large as a hostile one makes it, and not say in which line a row
    stands, which every fault and every kept line names. So values are decoded one by one, each from its place.
    """

    def __init__(self, content: Content, first: str) -> None:
        self._content, self._text, self._at = content, first, 0
        self._ended = False
        self._line, self._counted = 1, 0

    @property
    def line(self) -> int:
        """The line of the place."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _read_on(self) -> None:
        while len(self._text) - self._at <= OBJECT_MAX and not self._ended:
            part = self._content.part(_PART)
            self._ended = not part
            _ = self.line  # counted before what was read is let go
            self._text = self._text[self._at :] + part
            self._at = self._counted = 0

    def peek(self) -> str:
        """The next character that is no space; nothing at the end."""
        while True:
            self._read_on()
            self._at = cast("re.Match[str]", _SPACE.match(self._text, self._at)).end()
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]

    def takes(self, char: str) -> bool:
        """Go on behind a character, if it is the next."""
        found = self.peek() == char
        self._at += found
        return found

    def expect(self, *chars: str) -> str:
        """Go on behind one of these characters; anything else is no JSON."""
        found = self.peek()
        if found not in chars or not found:
            self.fail(f"{shown(found)} stands where {' or '.join(chars)} is expected" if found else "it ends too early")
        self._at += 1
        return found

    def value(self) -> Any:
        """The next value; its numbers are the text they were written with."""
        self.peek()
        self._read_on()
        try:
            value, end = _DECODE(self._text, self._at)
        except RecursionError:
            self.fail("it is nested too deeply")
        except json.JSONDecodeError as error:
            why, end = error.msg, len(self._text)
            if error.pos < end - _CUT and not why.startswith("Unterminated"):
                self._at = error.pos
                self.fail(why)
            # What is cut off only because no more is looked at is too long; at the end of the file it is torn.
            if end - self._at <= OBJECT_MAX:
                self.fail(why)
        if end - self._at > OBJECT_MAX:
            self.fail(f"an object is longer than {OBJECT_MAX:,} characters, or does not end")
        self._at = end
        return value

    def fail(self, why: str) -> NoReturn:
        """Refuse the file: behind a fault nothing can be told apart any more."""
        message = f"{shown(self._content.name)} is no JSON that could be read: line {self.line}: {why}."
        raise InvalidArgument("FILE", message, hint="Export the file again.")


def _values(text: _Text) -> Iterator[tuple[int, Any]]:
    """The objects of a file in any of its three forms, each with its line."""
    if text.peek() == "[":
        yield from _array(text)
    else:
        line = text.line
        text.expect("{")
        walked: dict[str, Any] = {}
        found = False
        shared: list[tuple[int, Any]] | None = None
        for key in _keys(text):
            if key in LISTS and not found and text.peek() == "[":
                found = True
                yield from _array(text)
            elif key == SHARED and shared is None and text.peek() == "[":
                # What belongs to them may stand behind them. One more than is taken is refused as too many.
                shared = list(islice(_array(text), ROWS_MAX + 1))
            else:
                walked[key] = text.value()
        if shared is not None:
            yield from ((number, _beside(walked, each)) for number, each in shared)
        elif not found:
            yield line, walked
        if not found:
            while text.peek():
                yield from _several(text.line, text.value())
    if text.peek():
        text.fail("more stands behind its end")


def _beside(whole: dict[str, Any], item: Any) -> Any:
    """A row with what stands beside its list; what it says itself counts."""
    return whole | item if isinstance(item, dict) else item


def _several(line: int, value: Any) -> Iterator[tuple[int, Any]]:
    """An object, or the rows of the list in it that share what stands beside them."""
    if isinstance(value, dict) and isinstance(value.get(SHARED), list):
        whole = {key: each for key, each in value.items() if key != SHARED}
        yield from ((line, _beside(whole, each)) for each in value[SHARED])
    else:
        yield line, value


def _keys(text: _Text) -> Iterator[str]:
    """The keys of an object whose brace was read; whoever asks reads the value of each."""
    if text.takes("}"):
        return
    while True:
        if text.peek() != '"':
            text.expect('"')
        key = text.value()
        text.expect(":")
        yield key
        if text.expect(",", "}") == "}":
            return


def _array(text: _Text) -> Iterator[tuple[int, Any]]:
    text.expect("[")
    if text.takes("]"):
        return
    while True:
        text.peek()
        yield from _several(text.line, text.value())
        if text.expect(",", "]") == "]":
            return


def _rows(values: Iterator[tuple[int, Any]], faults: Faults) -> Iterator[Numbered]:
    for count, (number, value) in enumerate(values, 1):
        if count > ROWS_MAX:
            message = f"{shown(faults.name)} has more than {ROWS_MAX:,} rows."
            raise InvalidArgument("FILE", message, hint="Export fewer days at a time.")
        if not isinstance(value, dict):
            faults.add(number, "it is no object")
        elif (row := _flat(value, number, faults)) is not None:
            yield number, row


def _flat(value: dict[str, Any], number: int, faults: Faults) -> Row | None:
    """An object as a row: objects in it one level as `a.b`, what is deeper as its JSON."""
    row: dict[str, str] = {}
    pairs: list[tuple[str, Any]] = []
    for name, each in value.items():
        if isinstance(each, dict):
            pairs += ((f"{name}.{inner}", deep) for inner, deep in each.items())
        else:
            pairs.append((name, each))
    for name, each in pairs:
        key = name.strip().lower()
        # Of two values under one name a parser takes the last, and another the first: a bill must not depend on that.
        if key in row:
            faults.add(number, f"it names {shown(key)} twice")
            return None
        text = _text(each)
        if "\0" in text or "\0" in key:
            faults.add(number, f"{shown(key)} holds a NUL character")
            return None
        row[key] = text if len(text) <= VALUE_MAX else ""
        if len(row) > COLUMNS_MAX:
            faults.add(number, f"it has more than {COLUMNS_MAX} values")
            return None
    return row


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case _:
            return _ENCODE(value)
