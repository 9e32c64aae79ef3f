"""What every format of a bill answers, and a format as a table: which part of a line stands in which column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tallygate.core.statements import NO_TOKENS, Billing, BillLine, Grain, TokenClass
from tallygate.core.values import value
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import Numbered, Row

Lacks = Callable[[Sequence[str]], tuple[str, ...]]


def names_none(_: Row) -> str | None:
    """Most rows name no currency."""
    return None


@value(frozen=True, slots=True)
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


Span = tuple[Grain, datetime, datetime | None]
# A column by its name, or what is made of a row where that takes more.
Cell = str | Callable[[Row], Any]

# How a part of a line is read from its column; what is not here is a count.
_READ: Mapping[str, Callable[[Row, str], Any]] = {
    "model": cells.name,
    "workspace": cells.name,
    "request_id": cells.name,
    "key": cells.key_name,
    "cost_nanos": cells.amount,
    "own_key_nanos": cells.amount,
}


@value(frozen=True, slots=True, kw_only=True)
class Columns:
    """A format and its columns. It is recognised by those that it `needs`, where nothing else says how.

    A row stands for nothing where a `first` cell says that it sums up others, where all of it or all `unused` cells are
    empty, or where it `skips` it. `parts` are fields of a line; `charge` is who pays and how much, `own_key_nanos` what
    is paid elsewhere. Lines of one span are told apart by what `apart` names: parts of the line, or cells. What has an
    id is known by `known_by` alone.
    """

    name: str
    title: str
    provider: str | Callable[[Row], str]
    needs: tuple[str, ...] | Lacks
    recognises: Callable[[Sequence[str]], bool] | None = None
    currency_of: Callable[[Row], str | None] = names_none
    first: tuple[str, ...]
    span: Callable[[Row], Span]
    parts: Mapping[str, Cell]
    apart: tuple[Cell, ...] = ()
    known_by: tuple[str, ...] = ("request_id",)
    unused: tuple[str, ...] = ()
    skips: Callable[[Row], bool] = lambda _: False

    @property
    def form(self) -> BillFormat:
        """What every format answers."""
        lacks = needs(*self.needs) if isinstance(self.needs, tuple) else self.needs
        recognises = self.recognises or (lambda header: not lacks(header))
        return BillFormat(self.name, self.title, recognises, self._read, lacks, currency_of=self.currency_of)

    def _read(self, numbered: Numbered) -> Iterator[BillLine]:
        number, row = numbered
        if any(cells.holds_nothing(row, column) for column in self.first) or self.skips(row):
            return
        grain, at, until = self.span(row)
        if self.unused and cells.says_nothing(row, *self.unused):
            return
        told: dict[str, Any] = {"provider": self.provider if isinstance(self.provider, str) else self.provider(row)}
        for part, how in self.parts.items():
            told[part] = _READ.get(part, cells.count)(row, how) if isinstance(how, str) else how(row)
        if "charge" in told:
            told["billing"], told["cost_nanos"] = told.pop("charge")
        elsewhere = told.pop("own_key_nanos", None)
        identity = self._identity(told, row, grain, at, until)
        line = BillLine(number=number, grain=grain, at=at, until=until, identity=identity, **told)
        yield from with_own_key(line, elsewhere)

    def _identity(
        self, told: Mapping[str, Any], row: Row, grain: Grain, at: datetime, until: datetime | None
    ) -> tuple[str, ...]:
        if told.get("request_id"):
            return (self.name, *(told[part] for part in self.known_by))
        tokens = told.get("tokens", NO_TOKENS)
        counts = (tokens.fresh_input, tokens.cache_read, tokens.cache_write, tokens.output)
        names = {**told, "until": None if until is None else until.isoformat(), "counts": counts}
        apart: list[str | int | None] = []
        for each in self.apart:
            found = each(row) if callable(each) else names[each] if each in names else cells.name(row, each)
            apart += found if isinstance(found, tuple) else (found,)
        return cells.identity(self.name, grain, at, *apart)


def one(_: Row) -> int:
    """Each row is one request."""
    return 1


def by_time(
    column: str, timed: Grain = Grain.HOUR, *, untimed: Grain = Grain.DAY, midnight_is_a_day: bool = False
) -> Callable[[Row], Span]:
    """What a cell with a time stands for, and one with a date alone; a day's first moment may be all of it."""

    def span(row: Row) -> Span:
        at, has_time = cells.moment(row, column)
        grain = timed if has_time and not (midnight_is_a_day and (at.hour, at.minute) == (0, 0)) else untimed
        return grain, at, None if grain is Grain.REQUEST else at + (cells.HOUR if grain is Grain.HOUR else cells.DAY)

    return span


def with_own_key(line: BillLine, elsewhere: int | None) -> Iterator[BillLine]:
    """What a provider takes for a key of the user's own is on that provider's bill: here it is told and not charged."""
    yield line
    if elsewhere:
        yield replace(
            line,
            identity=(*line.identity, "own key"),
            tokens=NO_TOKENS,
            cost_nanos=elsewhere,
            requests=None,
            token_class=TokenClass.OTHER,
            billing=Billing.INCLUDED,
        )
