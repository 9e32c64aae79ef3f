"""What every format of a bill answers: whether a file is one of it, and the lines it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tallygate.core.bills import BillLine


class BadRow(Exception):
    """Why a row of a file cannot be read, as a sentence without its line number.

    Such as: cost_usd is "abc", not an amount.
    """


# One row of a table by the names of its header, lower-cased and stripped, with the line it begins in; a cell that the
# row lacks is "". Or one object of a JSON file, its numbers as the text they were written with.
Row = Mapping[str, str]
Numbered = tuple[int, Row]


@dataclass(frozen=True, slots=True)
class BillFormat:
    """One format. `name` forces it (`--format`), `title` is for people, `currency` where its rows name none.

    `recognises` looks at the header of a table, or at the keys of the first object of a JSON file. `read` turns one row
    into the lines it stands for, none where it is a total or an empty one; raises `BadRow`.
    """

    name: str
    title: str
    recognises: Callable[[Sequence[str]], bool]
    read: Callable[[Numbered], Iterator[BillLine]]
    currency: str | None = "USD"
