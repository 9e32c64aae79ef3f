"""Rows of both sides held against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from tallygate.core.bills.lines import (
    Amounts,
    Billed,
    Bucket,
    Cell,
    Gap,
    How,
    LedgerLine,
    Matched,
    ModelKey,
    Outcome,
    Part,
    Recorded,
    Share,
    Told,
    beyond,
    less,
    told_of,
)
from tallygate.core.money import TOKENS_PER_RATE

# --- one cell --------------------------------------------------------------------------------------------------------
# What a bill tells of some usage against what was recorded of it: the common part, and what only one of them has.


# What integer shares of a cell may lose between them.
_ROUNDING_NANOS = 16

RateOf = Callable[[Part], int | None]


@dataclass(frozen=True, slots=True)
class _Cell:
    """Both sides on the same parts."""

    left: Amounts
    counts: Mapping[Part, int]
    money: Mapping[Part, int]
    told: Told


@dataclass(slots=True)
class _Split:
    """One part of a cell: what both sides have in common, and what each has beyond that."""

    part: Part
    common: tuple[int | None, int, int | None]
    rest_recorded: tuple[int | None, int]
    rest_billed: tuple[int | None, int | None]
    by_tokens: bool


def compare(recorded: Amounts, lines: int, told: Told, rate_of: RateOf) -> Outcome:
    """Bring everything of one cell into its buckets; `lines` is how many rows the recorded amounts are of.

    Counts decide what is common, or money where the bill tells no counts. Money is judged on the common part alone:
    what differs by more than rounding there is a drift of the price.
    """
    left, right = recorded, told.amounts
    if _leaves_out_cache(recorded, told, rate_of):
        right = Amounts({Part.INPUT: right.tokens[Part.READ], Part.OUTPUT: right.tokens.get(Part.OUTPUT, 0)})
    elif Part.READ in right.tokens or Part.READ in right.nanos:
        left, right = left.with_inputs_joined(), right.with_inputs_joined()
    slack = lines + _ROUNDING_NANOS
    outcome = Outcome(tolerance_nanos=sum(told.tolerance.values()) + slack)
    if _is_same(left, right, told, outcome):
        return outcome
    together = told.whole_nanos is not None
    money = _with_whole(told, left, right, rate_of) if together else right.nanos
    splits: list[_Split] = []
    for part in sorted({*left.tokens, *left.nanos, *right.tokens, *money}):
        split = _split(_Cell(left, right.tokens, money, told), part, rate_of, outcome)
        if split is not None:
            splits.append(split)
    if together:
        _judge(splits, outcome.tolerance_nanos, outcome)
    else:
        for split in splits:
            _judge([split], told.tolerance.get(split.part, 0) + slack, outcome)
    if not right.tokens and money:
        outcome.miss(Gap.NO_COUNTS)
    return outcome


def _leaves_out_cache(recorded: Amounts, told: Told, rate_of: RateOf) -> bool:
    """Whether a bill's one count of input is without what the cache gave, though its one amount pays for that.

    Held against all that was read, what the few tokens cost would look like a price many times too high.
    """
    right = told.amounts
    if told.whole_nanos is None or right.nanos or not right.tokens.keys() <= {Part.READ, Part.OUTPUT}:
        return False
    counted, fresh = right.tokens.get(Part.READ), recorded.tokens.get(Part.INPUT, 0)
    every = recorded.with_inputs_joined().tokens.get(Part.READ, 0)
    if counted is None or not counted - fresh < every - counted:
        return False
    worth = [(counted, Part.INPUT), (right.tokens.get(Part.OUTPUT, 0), Part.OUTPUT)]
    pays = sum(_priced(count, part, recorded, rate_of) or 0 for count, part in worth)
    return told.whole_nanos - pays > sum(told.tolerance.values()) + _ROUNDING_NANOS


def _is_same(left: Amounts, right: Amounts, told: Told, outcome: Outcome) -> bool:
    """Whether one amount and all counts are those of the record, as most are: then nothing has to be taken apart."""
    whole = told.whole_nanos
    if (
        whole is None
        or right.nanos
        or abs(whole - left.total_nanos) > outcome.tolerance_nanos
        or not any(left.nanos.values())
    ):
        return False
    counts = {part: count for part, count in left.tokens.items() if count}
    if counts != {part: count for part, count in right.tokens.items() if count} or not counts:
        return False
    outcome.shares[Bucket.MATCHED] = Share(
        Amounts(dict(left.tokens), dict(left.nanos)), Amounts(counts, shared(whole, left.nanos))
    )
    return True


def _split(cell: _Cell, part: Part, rate_of: RateOf, outcome: Outcome) -> _Split | None:
    """One part taken apart, or None where the bill does not tell of it: then it has its bucket already."""
    left, told = cell.left, cell.told
    tokens, nanos = left.tokens.get(part, 0), left.nanos.get(part, 0)
    billed_tokens, billed_nanos = cell.counts.get(part), cell.money.get(part)
    uncounted = told.whole_nanos is not None and bool(cell.counts) and part is not Part.OTHER
    if billed_tokens is None and (billed_nanos is None or uncounted):
        _untold(part, left, billed_nanos, outcome, known_as_none=told.by_class)
        return None
    if billed_tokens is None:
        # Money only: what both have of it is common, and the tokens it pays for.
        money = billed_nanos or 0
        common = max(min(nanos, money), 0)
        kept = tokens * common // nanos if nanos else tokens
        return _Split(part, (kept, common, common), (tokens - kept, nanos - common), (None, money - common), False)
    both = min(tokens, billed_tokens)
    mine = nanos * both // tokens if tokens else 0
    if billed_nanos is not None:
        theirs = billed_nanos * both // billed_tokens if billed_tokens else billed_nanos
        rest: int | None = billed_nanos - theirs
    else:
        theirs, rest = mine, _priced(billed_tokens - both, part, left, rate_of)
        outcome.priced_nanos += theirs + (rest or 0)
        if rest is None:
            outcome.miss(Gap.UNKNOWN_PRICE)
    return _Split(part, (both, mine, theirs), (tokens - both, nanos - mine), (billed_tokens - both, rest), True)


def _untold(part: Part, left: Amounts, billed: int | None, outcome: Outcome, *, known_as_none: bool) -> None:
    tokens, nanos = left.tokens.get(part), left.nanos.get(part)
    if known_as_none and billed is None:
        if tokens or nanos:
            outcome.share(Bucket.LEDGER_ONLY).recorded.add(part, tokens, nanos)
        return
    if tokens or nanos or billed:
        share = outcome.set_aside(Gap.CLASS_NOT_TOLD)
        share.recorded.add(part, tokens, nanos)
        share.billed.add(part, None, billed)


def _priced(count: int, part: Part, left: Amounts, rate_of: RateOf) -> int | None:
    """What tokens cost that a bill gives no money for: as those that were recorded, else by the list."""
    if not count:
        return 0
    tokens = left.tokens.get(part, 0)
    if tokens:
        return -(-count * left.nanos.get(part, 0) // tokens)
    rate = rate_of(part)
    return None if rate is None else -(-count * rate // TOKENS_PER_RATE)


def _judge(splits: list[_Split], tolerance: int, outcome: Outcome) -> None:
    """Give the common parts to matched or price drift, and the rest to the side that has it."""
    by_money = [split for split in splits if not split.by_tokens]
    counted = [split for split in splits if split.by_tokens]
    off = sum((split.common[2] or 0) - split.common[1] for split in counted)
    used = any(split.common[0] for split in counted)
    if used and by_money:
        # Beside counted parts under one amount, fees are a part of what is judged.
        off += sum((split.rest_billed[1] or 0) - split.rest_recorded[1] for split in by_money)
    else:
        apart = sum((split.rest_billed[1] or 0) - split.rest_recorded[1] for split in by_money)
        # What one side does not have at all is no rounding of the other.
        if any(split.common[1] for split in by_money) and abs(apart) <= tolerance:
            for split in by_money:
                _put_whole(split, Bucket.MATCHED, outcome)
            by_money = []
    verdict = Bucket.MATCHED if abs(off) <= tolerance else Bucket.PRICE_DRIFT
    for split in counted:
        _put(split, verdict, outcome)
    for split in by_money:
        if used:
            _put_whole(split, verdict, outcome)
        else:
            _put(split, Bucket.MATCHED, outcome)


def _put(split: _Split, bucket: Bucket, outcome: Outcome) -> None:
    tokens, mine, theirs = split.common
    if tokens or mine or theirs:
        share = outcome.share(bucket)
        share.recorded.add(split.part, tokens, mine)
        share.billed.add(split.part, tokens if split.by_tokens else None, theirs)
    if any(split.rest_recorded):
        outcome.share(Bucket.LEDGER_ONLY).recorded.add(split.part, *split.rest_recorded)
    if any(split.rest_billed):
        outcome.share(Bucket.BILL_ONLY).billed.add(split.part, *split.rest_billed)


def _put_whole(split: _Split, bucket: Bucket, outcome: Outcome) -> None:
    if not any((*split.common, *split.rest_recorded, *split.rest_billed)):
        return
    share = outcome.share(bucket)
    for tokens, nanos in ((split.common[0], split.common[1]), split.rest_recorded):
        share.recorded.add(split.part, tokens, nanos)
    for amount in (split.common[2], split.rest_billed[1]):
        share.billed.add(split.part, None, amount)


def _with_whole(told: Told, left: Amounts, right: Amounts, rate_of: RateOf) -> dict[Part, int]:
    """The bill's money by part: what no part is named for goes by what the parts are worth."""
    parts = sorted({*left.tokens, *left.nanos, *right.tokens})
    worth = {part: _worth(part, left, right, rate_of) for part in parts}
    if not any(worth.values()):
        worth = dict(right.tokens) if any(right.tokens.values()) else {Part.OTHER: 1}
    money = dict(right.nanos)
    for part, nanos in shared(told.whole_nanos or 0, worth).items():
        money[part] = money.get(part, 0) + nanos
    return money


def _worth(part: Part, left: Amounts, right: Amounts, rate_of: RateOf) -> int:
    count = right.tokens.get(part)
    if count is None:
        return left.nanos.get(part, 0)
    return _priced(count, part, left, rate_of) or 0


def shared(amount: int, weights: Mapping[Part, int]) -> dict[Part, int]:
    """An amount divided by weights, to the last nano.

    >>> shared(10, {Part.INPUT: 1, Part.OUTPUT: 2}) == {Part.INPUT: 3, Part.OUTPUT: 7}
    True
    """
    whole = sum(weights.values())
    found: dict[Part, int] = {}
    so_far = given = 0
    for part in sorted(weights):
        so_far += weights[part]
        upto = amount * so_far // whole
        found[part] = upto - given
        given = upto
    return found


# --- matching --------------------------------------------------------------------------------------------------------
# Bills against the ledger: request by request where both know its id, else day by day and model by model.
#
# Everything that is told ends in one bucket: what both have, what only one has, where counts agree and money does not,
# and what cannot be compared, with the reason. The order in which lines come does not matter.


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
