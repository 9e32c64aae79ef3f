"""Answers of billing APIs, taken apart: every field is of the type that is documented, or the answer is refused."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

from tallygate.core.errors import InvalidArgument
from tallygate.core.money import recorded_nanos
from tallygate.core.regex import regex
from tallygate.core.statements import COUNT_MAX, LINE_NANOS_MAX, BillLine, Grain
from tallygate.core.text import cleaned, shown
from tallygate.core.values import value
from tallygate.statements.apis.asking import Api, BadAnswer, Number, Provider, Query
from tallygate.statements.reading.cells import identity

TEXT_MAX = 200
_CURSOR_MAX = 4000
_AMOUNT = regex(r"(?P<sign>-?)(?P<digits>[0-9]{1,20}(?:\.[0-9]{1,36})?)(?:[eE](?P<power>[-+]?[0-9]{1,2}))?")
DAY = timedelta(days=1)


@value(frozen=True, slots=True)
class Days:
    """Whole UTC days to ask for: from the first to before `until`. `open` where the last of them is not over."""

    since: date
    until: date
    open: bool = False

    def __contains__(self, at: object) -> bool:
        return isinstance(at, datetime) and self.since <= at.date() < self.until

    @property
    def begin(self) -> datetime:
        return datetime.combine(self.since, time(), UTC)

    @property
    def end(self) -> datetime | None:
        """Where the days end, if that is not in the future: an API may refuse to be asked for that."""
        return None if self.open else datetime.combine(self.until, time(), UTC)


@value(frozen=True, slots=True)
class BillReport:
    """What one report of a provider says of some days. `digest` is the SHA-256 of its rows, in whatever order."""

    format: str
    title: str
    currency: str
    lines: tuple[BillLine, ...]
    digest: str


@value(frozen=True, slots=True)
class Fields:
    """One object of an answer. `where` is its place, for a sentence about what is wrong with it."""

    values: Mapping[str, Any]
    where: str = ""

    def objects(self, name: str) -> list[Fields]:
        """The objects of a list."""
        found: list[Fields] = []
        for place, each in enumerate(self._needed(name, list)):
            where = f"{self._place(name)}[{place}]"
            if not isinstance(each, dict):
                raise BadAnswer(f"{where} is no object")
            found.append(Fields(each, where))
        return found

    def object(self, name: str) -> Fields | None:
        """An object, or None where it is left out."""
        return None if self.values.get(name) is None else self.needed(name)

    def needed(self, name: str) -> Fields:
        """An object that is never left out."""
        return Fields(self._needed(name, dict), self._place(name))

    def text(self, name: str) -> str | None:
        """Text as it may be kept; None where it is left out or empty."""
        found = self._optional(name, str)
        return None if found is None else cleaned(found, TEXT_MAX) or None

    def flag(self, name: str) -> bool:
        """Whether something is so; what is left out is not."""
        return bool(self._optional(name, bool))

    def cursor(self, name: str) -> str | None:
        """Text that is given back as it came."""
        found = self._optional(name, str)
        if found is not None and len(found) > _CURSOR_MAX:
            raise BadAnswer(f"{self._place(name)} has {len(found):,} characters")
        return found or None

    def count(self, name: str) -> int | None:
        """A number of tokens or requests, None where it is left out; some APIs write a fraction of nothing."""
        value = self.values.get(name)
        if isinstance(value, Number) and value.endswith(".0") and value[:-2].isdigit():
            value = int(value[:-2][:20])
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
            raise BadAnswer(f"{self._place(name)} is {shown(value)}, not a count")
        return value

    def cost(self, name: str, *, shift: int = 0) -> int:
        """An amount in nano-units that is never left out."""
        nanos = self.nanos(name, shift=shift)
        if nanos is None:
            raise BadAnswer(f"{self._place(name)} is missing")
        return nanos

    def nanos(self, name: str, *, shift: int = 0) -> int | None:
        """An amount in nano-units; None where it is left out. `shift` tens are its unit: -2 for one in cents."""
        value = self.values.get(name)
        if value is None:
            return None
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        found = _AMOUNT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise BadAnswer(f"{self._place(name)} is {shown(value)}, not an amount")
        try:
            # As text from first to last: through a binary fraction a sum of many rows would be off.
            nanos = recorded_nanos(self._place(name), f"{found['digits']}e{int(found['power'] or 0) + shift}")
        except InvalidArgument as error:
            raise BadAnswer(error.message.rstrip(".")) from None
        if nanos > LINE_NANOS_MAX:
            raise BadAnswer(f"{self._place(name)} is {shown(value)}, more than 4,000,000")
        return -nanos if found["sign"] else nanos

    def moment(self, name: str) -> datetime:
        """A moment: text in the form of RFC 3339, or seconds since 1970."""
        value = self.values.get(name)
        try:
            if isinstance(value, int) and not isinstance(value, bool):
                return datetime.fromtimestamp(value, UTC)
            if isinstance(value, str) and not isinstance(value, Number):
                at = datetime.fromisoformat(value)
                return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            pass
        raise BadAnswer(f"{self._place(name)} is {shown(value)}, not a moment")

    def day(self, begin: str, end: str) -> datetime:
        """The UTC day between two moments."""
        at, until = self.moment(begin), self.moment(end)
        if at.time() != time() or until - at != DAY:
            raise BadAnswer(f"{self.where or 'it'} is from {at:%Y-%m-%dT%H:%MZ} to {until:%Y-%m-%dT%H:%MZ}, not a day")
        return at

    def _optional(self, name: str, kind: type) -> Any:
        value = self.values.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, Number)):
            raise BadAnswer(f"{self._place(name)} is {_kind(value)}, not {_NAMES[kind]}")
        return value

    def _needed(self, name: str, kind: type) -> Any:
        if self.values.get(name) is None:
            raise BadAnswer(f"{self._place(name)} is missing")
        return self._optional(name, kind)

    def _place(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name


_NAMES: Mapping[type, str] = {list: "a list", dict: "an object", str: "text", bool: "true or false"}


def _kind(value: object) -> str:
    if isinstance(value, Number):
        return "a number"
    return next((name for kind, name in _NAMES.items() if isinstance(value, kind)), "a number")


# A row of an answer with the day it belongs to.
DayRow = tuple[datetime, Fields]
Row = TypeVar("Row")


def paged(api: Api, path: str, query: Query, headers: Mapping[str, str] | None = None) -> Iterator[Fields]:
    """The buckets or rows of every page; `next_page` leads to the next where `has_more` says that there is one."""
    page: str | None = None
    seen: set[str] = set()
    for number in range(1, api.limits.pages + 1):
        answer = Fields(api.get(path, query if page is None else [*query, ("page", page)], headers))
        yield from answer.objects("data")
        if not answer.flag("has_more"):
            return
        page = answer.cursor("next_page")
        if page is None:
            raise BadAnswer("has_more is true and next_page is missing")
        # A page that leads back would be counted again with each round.
        if page in seen:
            raise BadAnswer(f"page {number} leads back to an earlier one")
        seen.add(page)
    raise BadAnswer(f"it goes on after {api.limits.pages} pages")


def bounded(api: Api, rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of an answer, as many as are taken."""
    for count, row in enumerate(rows, 1):
        if count > api.limits.rows:
            raise BadAnswer(f"it has more than {api.limits.rows:,} rows")
        yield row


def rows_of(api: Api, buckets: Iterator[Fields], begin: str, end: str, days: Days) -> list[DayRow]:
    """The rows of the buckets of these days; one beside them, as an end that is rounded gives, was not asked for."""
    dated = ((bucket.day(begin, end), bucket.objects("results")) for bucket in buckets)
    rows = ((day, row) for day, results in dated for row in results)
    return [(day, row) for day, row in bounded(api, rows) if day in days]


def day_line(
    form: str, provider: Provider, number: int, day: datetime, names: Sequence[str | None], **told: Any
) -> BillLine:
    """A line of one day; the names tell it apart from the others of that day."""
    return BillLine(
        number=number,
        grain=Grain.DAY,
        at=day,
        until=day + DAY,
        provider=provider.name,
        identity=identity(form, Grain.DAY, day, *names),
        **told,
    )


def digest_of(rows: Sequence[DayRow]) -> str:
    """The SHA-256 of rows with their days in canonical JSON, sorted: pages may fall differently the next time."""
    texts = sorted(
        json.dumps([f"{day:%Y-%m-%d}", row.values], sort_keys=True, separators=(",", ":")) for day, row in rows
    )
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def one_currency(named: Sequence[str | None]) -> str:
    """The currency of all rows; dollars where there is none to name it."""
    found = {(name or "USD").upper() for name in named}
    if len(found) > 1:
        raise BadAnswer(f"its amounts are in several currencies: {', '.join(sorted(found))}")
    (currency,) = found or {"USD"}
    if not re.fullmatch("[A-Z]{3}", currency):
        raise BadAnswer(f"its currency is {shown(currency)}")
    return currency
