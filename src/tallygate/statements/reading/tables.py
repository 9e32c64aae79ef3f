"""Tables of text, as consoles export them: which line is the header, and the rows below it by its names."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from itertools import chain, islice

from tallygate.core.errors import InvalidArgument
from tallygate.core.text import shown
from tallygate.core.values import value
from tallygate.statements.reading.cells import LocalRow, Numbered
from tallygate.statements.reading.content import Content

ROWS_MAX = 1_000_000
COLUMNS_MAX = 500
LINE_MAX = 1024 * 1024
FAULTS_SHOWN = 20
# An error is one line of at most 2,000 characters, and ends with what to do.
_FAULTS_LENGTH = 1400
# Lines that may stand above the header: a title, the account, the days.
PREAMBLE_MAX = 10
_DELIMITERS = (",", ";", "\t")

Recognised = Callable[[Sequence[str]], bool]


@value(slots=True)
class Faults:
    """What is wrong with a file, by line; the first ones in words."""

    name: str
    told: list[str] = field(default_factory=list)
    count: int = 0
    _length: int = 0

    def add(self, number: int, why: str) -> None:
        """Remember what is wrong with a row."""
        self.count += 1
        text = f"line {number}: {why}"
        if len(self.told) < FAULTS_SHOWN and (not self.told or self._length + len(text) <= _FAULTS_LENGTH):
            self.told.append(text)
            self._length += len(text)

    def refuse(self) -> None:
        """Raise `InvalidArgument` where anything is wrong: a bill is taken whole or not at all."""
        if not self.count:
            return
        rows = "1 row" if self.count == 1 else f"{self.count:,} rows"
        more = f"; and {self.count - len(self.told):,} more" if self.count > len(self.told) else ""
        raise InvalidArgument(
            "FILE",
            f"{shown(self.name)} has {rows} that cannot be read: {'; '.join(self.told)}{more}.",
            hint="Nothing was imported. Correct these lines, or export the file again.",
        )


@value(frozen=True, slots=True)
class FileRows:
    """A file as rows: the names of its columns, the line they stand in, and what is below, read as it is asked for."""

    header: tuple[str, ...]
    line: int
    rows: Iterator[Numbered]


def names_of(cells: Sequence[str]) -> tuple[str, ...]:
    """The names of columns as rows have them: lower-cased and stripped, nothing else changed."""
    return tuple(cell.strip().lower() for cell in cells)


def read_table(content: Content, first: str, recognised: Recognised, faults: Faults) -> FileRows:
    """A table whose first line was read already."""
    lines = _lines(content, first)
    head = list(islice(lines, PREAMBLE_MAX + 1))
    place, delimiter, cells = _header(head, recognised)
    header = names_of(cells)
    if not any(header):
        raise _refused(content.name, "it has no header")
    if len(header) > COLUMNS_MAX:
        raise _refused(content.name, f"its header has {len(header):,} columns; at most {COLUMNS_MAX} are read")
    if twice := sorted({each for each in header if each and header.count(each) > 1}):
        raise _refused(content.name, f"its header in line {place + 1} names {shown(twice[0])} twice")
    rows = _rows(chain(head[place + 1 :], lines), delimiter, header, place + 1, faults)
    return FileRows(tuple(name for name in header if name), place + 1, rows)


def _lines(content: Content, first: str) -> Iterator[str]:
    number, line = 1, first
    while line:
        if len(line) > LINE_MAX:
            raise _refused(content.name, f"line {number} is longer than {LINE_MAX:,} characters")
        if "\0" in line:
            raise _refused(content.name, f"line {number} holds a NUL character: it is no text")
        yield line
        number, line = number + 1, content.line(LINE_MAX + 1)


def _header(head: list[str], recognised: Recognised) -> tuple[int, str, list[str]]:
    """The first line that is recognised as a header; else the first of those with most cells."""
    best: tuple[int, str, list[str]] = (0, ",", [])
    for place, line in enumerate(head):
        for delimiter in _DELIMITERS:
            try:
                cells = next(csv.reader([line], delimiter=delimiter), [])
            except csv.Error:
                continue
            if len(cells) <= COLUMNS_MAX and recognised(names_of(cells)):
                return place, delimiter, cells
            if len(cells) > len(best[2]):
                best = (place, delimiter, cells)
    return best


def _rows(
    lines: Iterator[str], delimiter: str, header: tuple[str, ...], above: int, faults: Faults
) -> Iterator[Numbered]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    width, count = len(header), 0
    marks: set[str] = set()
    while True:
        number = above + reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            text = str(error)
            is_open = "end of data" in text or "field larger" in text
            why = "a quote is opened there and not closed" if is_open else f"its quotes do not pair up ({text})"
            faults.add(number, why)
            continue
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        count += 1
        if count > ROWS_MAX:
            raise _refused(faults.name, f"it has more than {ROWS_MAX:,} rows")
        # Empty cells at the end are a delimiter too many; one that holds something has shifted the others.
        if any(cell.strip() for cell in cells[width:]):
            faults.add(number, f"it has {len(cells)} cells, the header has {width}")
            continue
        row = dict.fromkeys(header, "")
        row.update(zip(header, cells, strict=False))
        row.pop("", None)
        yield number, row if delimiter == "," else LocalRow(row, marks)


def _refused(name: str, why: str) -> InvalidArgument:
    return InvalidArgument("FILE", f"{shown(name)} cannot be read: {why}.", hint="Export the file again.")
