"""Bills against the ledger: request by request where both know its id, else day by day and model by model.

Everything that is told ends in one bucket: what both have, what only one has, where counts agree and money does not,
and what cannot be compared, with the reason. The order in which lines come does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from tallygate.core.bill_lines import Billed, LedgerLine, ModelKey, told_of
from tallygate.core.cells import Cell, How, Matched, Recorded
from tallygate.core.comparing import compare
from tallygate.core.tallies import Amounts, Bucket, Gap, Outcome, Part, Share, Told, beyond, less

PriceOf = Callable[[ModelKey, date, Part], int | None]


@dataclass(slots=True)
class _Request:
    """What bills tell of one request, and what was recorded under its id."""

    day: date
    told: dict[tuple[str, ModelKey, bool], Told] = field(default_factory=dict)
    recorded: dict[ModelKey, Recorded] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class _Place:
    day: date
    key: ModelKey
    included: bool


class Matcher:
    """Takes in lines, bills before the ledger for each day, and says where each has ended.

    Requests are known by their id within a day of each other; `settle` lets go of those that nothing comes for.
    Lines of several days that reach beyond `until`, the first day that is not looked at, are not compared.
    """

    def __init__(self, price_of: PriceOf, until: date = date.max) -> None:
        self._price_of = price_of
        self._until = until
        self._requests: dict[str, _Request] = {}
        self._told: dict[_Place, dict[str, Told]] = {}
        self._told_by_id: dict[_Place, dict[str, Told]] = {}
        self._spans: dict[tuple[_Place, date], dict[str, Told]] = {}
        # What each bill tells of a day, by its format, and which bills tell of a span: one may hold the other's sum.
        self._told_of_days: dict[_Place, dict[str, dict[str, Told]]] = {}
        self._bills_of_spans: dict[tuple[_Place, date], set[str]] = {}
        self._recorded: dict[tuple[date, ModelKey, bool], Recorded] = {}
        self._by_request: dict[tuple[_Place, ModelKey | None], Cell] = {}
        self._covered: dict[tuple[str, str], tuple[date, date]] = {}
        self._unplaced = Outcome()
        # By who gives it and by the format that tells it: one format tells what another one told, too.
        self._credits: dict[tuple[date, ModelKey | None], dict[str, dict[str, int]]] = {}
        self._credits_end: dict[tuple[date, ModelKey | None], date] = {}
        self._days: set[date] = set()

    def covers(self, bill_id: str, provider: str, first: date, last: date) -> None:
        """Say that a bill tells of a provider from a day to a day; lines that come widen that."""
        known = self._covered.get((bill_id, provider), (first, last))
        self._covered[bill_id, provider] = (min(known[0], first), max(known[1], last))

    def billed(self, line: Billed) -> None:
        """Take in one line of a bill."""
        if line.key is not None:
            self.covers(line.bill_id, line.key.provider, line.day, line.last_day)
        told = told_of(line)
        if line.is_credit:
            self._credit(line, told)
        elif told is None:
            self._unplaced.miss(Gap.NOTHING_TOLD)
        elif line.key is None:
            _put_billed(self._unplaced.set_aside(Gap.NO_MODEL), told)
        elif line.last_day >= self._until:
            _put_billed(self._unplaced.set_aside(Gap.SPAN_CUT), told)
        elif line.line.request_id is not None:
            request = self._requests.setdefault(line.line.request_id, _Request(line.day))
            request.day = min(request.day, line.day)
            request.told.setdefault((line.format, line.key, line.is_included), Told()).merge(told)
        else:
            self._place(_Place(line.day, line.key, line.is_included), line, told)

    def _place(self, place: _Place, line: Billed, told: Told) -> None:
        if line.last_day == line.day:
            self._told.setdefault(place, {}).setdefault(line.format, Told()).merge(told)
            by_bill = self._told_of_days.setdefault(place, {}).setdefault(line.format, {})
            by_bill.setdefault(line.bill_id, Told()).merge(told)
        else:
            self._spans.setdefault((place, line.last_day), {}).setdefault(line.format, Told()).merge(told)
            self._bills_of_spans.setdefault((place, line.last_day), set()).add(line.bill_id)

    def _credit(self, line: Billed, told: Told | None) -> None:
        """What is given back belongs to no usage: it is billed, and stands apart."""
        place = (line.day, line.key)
        told_by = self._credits.setdefault(place, {}).setdefault(line.line.provider, {})
        self._credits_end[place] = max(self._credits_end.get(place, line.day), line.last_day)
        told_by[line.format] = told_by.get(line.format, 0) + (line.nanos or 0)
        if told is not None and told.amounts.total_tokens:
            self._unplaced.share(Bucket.BILL_ONLY).billed.merge(Amounts(tokens=dict(told.amounts.tokens)))

    def recorded(self, line: LedgerLine) -> None:
        """Take in one line of the ledger; bills of the days around it have come before."""
        day = line.day
        self._days.add(day)
        for each in line.ids:
            request = self._requests.get(each)
            if request is not None and abs((request.day - day).days) <= 1:
                request.recorded.setdefault(line.key, Recorded()).add(line)
                return
        self._recorded.setdefault((day, line.key, line.is_bare), Recorded()).add(line)

    def settle(self, before: date | None = None) -> None:
        """Let go of requests of earlier days: what was recorded of them has come."""
        for name in [name for name, each in self._requests.items() if before is None or each.day < before]:
            self._settle(self._requests.pop(name))

    def _settle(self, request: _Request) -> None:
        (format_, key, included), told = min(
            request.told.items(), key=lambda item: (-item[1].amounts.total_tokens, not item[1].has_money, item[0])
        )
        place = _Place(request.day, key, included)
        for again in request.told.values():
            if again is not told:
                _put_billed(self._cell_of(place, None).outcome.set_aside(Gap.TOLD_AGAIN), again)
        if not request.recorded:
            told.by_request = True
            self._told.setdefault(place, {}).setdefault(format_, Told()).merge(told)
            return
        self._told_by_id.setdefault(place, {}).setdefault(format_, Told()).merge(told)
        named, recorded = next(iter(sorted(request.recorded.items(), key=lambda item: item[0])))
        for other_key, more in request.recorded.items():
            if other_key != named:
                recorded.merge(more)
        cell = self._cell_of(_Place(request.day, named, included), None if named.name == key.name else key)
        cell.take(self._compare(recorded.amounts, recorded.lines, told, place), recorded)

    def _cell_of(self, place: _Place, billed_as: ModelKey | None) -> Cell:
        if (place, billed_as) not in self._by_request:
            made = Cell(place.day, place.key, How.REQUEST, place.included, billed_as=billed_as)
            self._by_request[place, billed_as] = made
        return self._by_request[place, billed_as]

    def _compare(self, recorded: Amounts, lines: int, told: Told, place: _Place) -> Outcome:
        return compare(recorded, lines, told, lambda part: self._price_of(place.key, place.day, part))

    def result(self) -> Matched:
        """Everything that came, in its buckets."""
        self.settle()
        cells = [*self._by_request.values(), *self._days_compared()]
        cells += self._spans_compared(cells)
        for cell in cells:
            self._uncover(cell)
        cells.sort(key=lambda cell: (cell.day, cell.key, cell.how, cell.included, cell.billed_as or ModelKey("", "")))
        return Matched(cells, self._unplaced, self._given())

    def _given(self) -> dict[tuple[date, ModelKey | None], int]:
        """What is given back by day and model; of a day outside what was recorded it is compared with nothing."""
        given: dict[tuple[date, ModelKey | None], int] = {}
        for (day, key), providers in self._credits.items():
            nanos = sum(min(formats.values()) for formats in providers.values())
            if self._is_outside(day, self._credits_end[day, key]):
                self._unplaced.set_aside(Gap.NOT_RECORDED).billed.add(Part.OTHER, None, nanos)
            else:
                given[day, key] = nanos
        return given

    def _is_outside(self, first: date, last: date) -> bool:
        """Whether days are before or after everything that was recorded."""
        return not self._days or last < min(self._days) or first > max(self._days)

    def _days_compared(self) -> Iterator[Cell]:
        recorded = self._resolved()
        for place in sorted({*self._told, *(_Place(day, key, False) for day, key in recorded)}):
            left = recorded.pop((place.day, place.key), None)
            later = _Place(place.day, place.key, True)
            if left is not None and place not in self._told and later in self._told:
                recorded[place.day, place.key] = left
                continue
            cell = Cell(place.day, place.key, How.DAY, place.included)
            left = left or Recorded()
            told = self._once(place, self._told.get(place, {}), cell)
            cell.take(self._outcome(left, told, place), left)
            if not place.included and later in self._told:
                rest = left.rest(cell.outcome)
                if rest is not None:
                    recorded[later.day, later.key] = rest
            yield cell

    def _outcome(self, left: Recorded, told: Told | None, place: _Place) -> Outcome:
        if told is not None:
            return self._compare(left.amounts, left.lines, told, place)
        outcome = Outcome()
        outcome.share(Bucket.LEDGER_ONLY).recorded.merge(left.amounts)
        return outcome

    def _once(
        self, place: _Place, formats: dict[str, Told], cell: Cell, known: dict[str, Told] | None = None
    ) -> Told | None:
        """What the bills of a cell tell, of which several may tell the same."""
        if not formats:
            return None
        known = self._told_by_id.get(place, {}) if known is None else known
        order = sorted(
            formats, key=lambda name: (not formats[name].by_request, -formats[name].amounts.total_tokens, name)
        )
        found, before = Told(), dict(known)
        for name in order:
            kept, again = beyond(formats[name], [each for other, each in before.items() if other != name])
            if again.amounts.total_tokens or again.total_nanos:
                _put_billed(cell.outcome.set_aside(Gap.TOLD_AGAIN), again)
            found.merge(kept)
            before[name] = formats[name]
        return found

    def _resolved(self) -> dict[tuple[date, ModelKey], Recorded]:
        """What was recorded, under the provider that bills it: where no record names one, a bill's, if it is one."""
        found: dict[tuple[date, ModelKey], Recorded] = {}
        for (day, key, bare), each in self._recorded.items():
            if not bare:
                found.setdefault((day, key), Recorded()).merge(each)
        billed: dict[tuple[date, str], set[ModelKey]] = {}
        for place in self._told:
            billed.setdefault((place.day, place.key.name), set()).add(place.key)
        for (day, key, bare), each in sorted(self._recorded.items(), key=lambda item: item[0]):
            if not bare:
                continue
            named = billed.get((day, key.name), set())
            others = [other for other in named if (day, other) not in found]
            chosen = others[0] if key not in named and len(others) == 1 else key
            found.setdefault((day, chosen), Recorded()).merge(each)
        return found

    def _spans_compared(self, cells: Iterable[Cell]) -> list[Cell]:
        """Lines of several days against what the days have left, by the ledger and by bills that tell them apart.

        One bill says each thing once; another one that tells of the same days holds their sum.
        """
        made: list[Cell] = []
        known = list(cells)
        for (place, last), formats in sorted(
            self._spans.items(), key=lambda item: (item[0][1] - item[0][0].day, item[0])
        ):
            cell = Cell(place.day, place.key, How.SPAN, place.included)
            told = self._beyond_days(place, last, self._once(place, formats, cell, {}), cell)
            made.append(cell)
            if told is None:
                continue
            left = Recorded()
            for cell in known:
                if cell.key == place.key and place.day <= cell.day <= last:
                    rest = cell.recorded.rest(cell.outcome)
                    if rest is not None:
                        left.merge(rest)
            cell.take(self._outcome(left, told, place), left)
        return made

    def _beyond_days(self, place: _Place, last: date, told: Told | None, cell: Cell) -> Told | None:
        """What lines of several days tell beyond what other bills tell of single ones; None where nothing."""
        mine, inside = self._bills_of_spans[place, last], Told()
        for day, formats in self._told_of_days.items():
            if day.key == place.key and day.included == place.included and place.day <= day.day <= last:
                inside.merge(_told_once(formats, mine))
        for (other, end), bills in self._bills_of_spans.items():
            shorter = place.day <= other.day and end <= last and (other.day, end) != (place.day, last)
            if shorter and (other.key, other.included) == (place.key, place.included) and not bills & mine:
                for each in self._spans[other, end].values():
                    inside.merge(each)
        if told is None or not (inside.has_money or inside.amounts.tokens):
            return told
        kept, again = less(told, inside)
        if again.amounts.total_tokens or again.total_nanos:
            _put_billed(cell.outcome.set_aside(Gap.TOLD_AGAIN), again)
        return kept if kept.amounts.total_tokens or kept.total_nanos else None

    def _uncover(self, cell: Cell) -> None:
        """Take out of the buckets what the other side says nothing of: no bill tells of the day, or no record."""
        shares = cell.outcome.shares
        mine = shares.get(Bucket.LEDGER_ONLY)
        if mine is not None and cell.how is not How.SPAN and not self._is_covered(cell.day, cell.key.provider):
            del shares[Bucket.LEDGER_ONLY]
            cell.outcome.set_aside(Gap.NO_BILL).merge(mine)
        theirs = shares.get(Bucket.BILL_ONLY)
        if theirs is not None and self._is_outside(cell.day, cell.day) and cell.how is not How.SPAN:
            del shares[Bucket.BILL_ONLY]
            cell.outcome.set_aside(Gap.NOT_RECORDED).merge(theirs)

    def _is_covered(self, day: date, provider: str) -> bool:
        """Whether a bill tells of a provider on a day; of a model whose maker nobody knows, whether any bill does."""
        return any(first <= day <= last and provider in (of, "") for (_, of), (first, last) in self._covered.items())


def match(ledger: Iterable[LedgerLine], bill: Iterable[Billed], price_of: PriceOf) -> Matched:
    """Hold all lines of some bills against all lines of a ledger."""
    matcher = Matcher(price_of)
    for billed in bill:
        matcher.billed(billed)
    for line in ledger:
        matcher.recorded(line)
    return matcher.result()


def _told_once(formats: dict[str, dict[str, Told]], without: set[str]) -> Told:
    """What the bills of a day tell together, but for some; several formats may tell the same."""
    found, before = Told(), list[Told]()
    for _, by_bill in sorted(formats.items()):
        whole = Told()
        for bill_id, told in by_bill.items():
            if bill_id not in without:
                whole.merge(told)
        if whole.has_money or whole.amounts.tokens:
            found.merge(beyond(whole, before)[0])
            before.append(whole)
    return found


def _put_billed(share: Share, told: Told) -> None:
    share.billed.merge(told.amounts)
    if told.whole_nanos is not None:
        share.billed.add(Part.OTHER, None, told.whole_nanos)
