"""Bills in JSON: an array of objects, an object that holds one, or one object a line; read piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NoReturn

from tallygate.core.errors import InvalidArgument
from tallygate.core.text import shown
from tallygate.statements.reading.content import Content
from tallygate.statements.reading.form import Numbered, Row
from tallygate.statements.reading.tables import COLUMNS_MAX, ROWS_MAX, Faults, Source

# Where an object keeps its rows.
LISTS = ("data", "results", "usageEventsDisplay", "usageEvents")
# Where what stands beside the rows belongs to each of them: whose they are, and of which days.
SHARED = "usageItems"
OBJECT_MAX = 8 * 1024 * 1024
# What is longer is no cell of a bill: rows that hold whole conversations are read without these.
VALUE_MAX = 131_072
_PART = 1 << 18
_CUT = 64
_SPACE = " \t\r\n"
_DECODE = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).raw_decode
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def read_objects(content: Content, first: str, faults: Faults) -> Source:
    """Objects as rows; `first` is what was read of them already. The header is the keys of the first one."""
    text = _Text(content, first)
    rows = _rows(_values(text), faults)
    begin = next(rows, None)
    if begin is None:
        faults.refuse()
        return Source((), 1, iter(()))
    return Source(tuple(begin[1]), begin[0], chain([begin], rows))


class _Text:
    """JSON text that is read as far as it is needed; values of any number, none of them large."""

    def __init__(self, content: Content, first: str) -> None:
        self._content, self._buffer, self._at = content, first, 0
        self._ended = False
        self._line, self._counted = 1, 0

    @property
    def line(self) -> int:
        """The line that is read now."""
        self._line += self._buffer.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> str:
        """The next character that is no space; nothing at the end."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more(_PART):
                return ""

    def takes(self, char: str) -> bool:
        """Go on behind a character, if it is the next."""
        if self.peek() != char:
            return False
        self._at += 1
        return True

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
        length = _PART
        while True:
            try:
                value, end = _DECODE(self._buffer, self._at)
                # What ends with the buffer may be the beginning of a longer number.
                if end < len(self._buffer) or not self._more(length):
                    self._at = end
                    return value
            except RecursionError:
                self.fail("it is nested too deeply")
            except json.JSONDecodeError as error:
                # Only what is cut off can become right by what follows.
                if error.pos < len(self._buffer) - _CUT and not error.msg.startswith("Unterminated"):
                    self._at = error.pos
                    self.fail(error.msg)
                if len(self._buffer) - self._at > OBJECT_MAX:
                    self.fail(f"an object is longer than {OBJECT_MAX:,} characters, or does not end")
                if not self._more(length):
                    self.fail(error.msg)
            length *= 2

    def fail(self, why: str) -> NoReturn:
        """Refuse the file: behind a fault nothing can be told apart any more."""
        message = f"{shown(self._content.name)} is no JSON that could be read: line {self.line}: {why}."
        raise InvalidArgument("FILE", message, hint="Export the file again.")

    def _more(self, length: int) -> bool:
        if self._ended:
            return False
        part = self._content.part(length)
        self._ended = not part
        _ = self.line
        self._buffer = self._buffer[self._at :] + part
        self._at = self._counted = 0
        return not self._ended


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
    for name, each in _pairs(value):
        key = name.strip().lower()
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


def _pairs(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if isinstance(each, dict):
            yield from ((f"{name}.{inner}", deep) for inner, deep in each.items())
        else:
            yield name, each


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
