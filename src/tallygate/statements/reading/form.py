"""What every format of a bill answers: whether a file is one of it, and the lines it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tallygate.core.statements import BillLine


class BadRow(Exception):
    """Why a row of a file cannot be read, without its line number and without a full stop.

    Such as: cost_usd is 'abc', not an amount such as 1.25
    """


class LocalRow(dict[str, str]):
    """A row of a table whose cells are parted by `;` or a tab: its decimals may stand behind a comma.

    `marks` is shared by all rows of the table: the decimal marks that were seen in it. Two of them are no table.
    """

    def __init__(self, cells: Mapping[str, str], marks: set[str]) -> None:
        super().__init__(cells)
        self.marks = marks


# One row of a table by the names of its header, lower-cased and stripped, with the line it begins in; a cell that the
# row lacks is "". Or one object of a JSON file, its numbers as the text they were written with.
Row = Mapping[str, str]
Numbered = tuple[int, Row]
Lacks = Callable[[Sequence[str]], tuple[str, ...]]


def names_none(_: Row) -> str | None:
    """Most rows name no currency."""
    return None


@dataclass(frozen=True, slots=True)
class BillFormat:
    """One format. `name` forces it (`--format`), `title` is for people, `currency` where its rows name none.

    `recognises` looks at the header of a table, or at the keys of the first object of a JSON file; no header is
    recognised by two formats. `lacks` names the columns without which nothing can be read: none where it is recognised,
    so ask it where a format is forced. `read` turns one row into the lines it stands for, none where it is a total or
    an empty one; raises `BadRow`. `currency_of` is the code that a row names, in capitals, and None where it names none
    (an empty row, or a format that has no such column); it may raise `BadRow` too. A bill has one currency: rows that
    name different ones are no bill.
    """

    name: str
    title: str
    recognises: Callable[[Sequence[str]], bool]
    read: Callable[[Numbered], Iterator[BillLine]]
    lacks: Lacks
    currency: str | None = "USD"
    currency_of: Callable[[Row], str | None] = names_none


def needs(*columns: str) -> Lacks:
    """What a header lacks of the columns that a format cannot do without."""
    return lambda header: tuple(column for column in columns if column not in header)
