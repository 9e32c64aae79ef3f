"""Rows of both sides held against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import field
from datetime import date
from typing import NamedTuple

from tallygate.core.bills.lines import (
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
    Row,
    Share,
    beyond,
    less,
    line_usage,
)
from tallygate.core.money import TOKENS_PER_RATE
from tallygate.core.values import value

# --- one cell --------------------------------------------------------------------------------------------------------
# What a bill tells of some usage against what was recorded of it: the common part, and what only one of them has.


# What integer shares of a cell may lose between them.
_ROUNDING_NANOS = 16

RateOf = Callable[[Part], int | None]


@value(slots=True)
class _Split:
    """One part of a cell: what both sides have in common, and tokens and money that each has beyond that."""

    part: Part
    tokens: int
    recorded: int
    billed: int
    rest_recorded: tuple[int, int]
    rest_billed: tuple[int | None, int | None]
    by_tokens: bool

    @property
    def rest_off(self) -> int:
        return (self.rest_billed[1] or 0) - self.rest_recorded[1]


def compare(recorded: Row, told: Row, rate_of: RateOf) -> Outcome:
    """Bring everything of one cell into its buckets.

    Counts decide what is common, or money where the bill tells no counts. Money is judged on the common part alone:
    what differs by more than rounding there is a drift of the price. Each row of the record may be off by one nano.
    """
    left, right = recorded, told
    if _leaves_out_cache(recorded, told, rate_of):
        counts = {Part.INPUT: told.tokens[Part.READ], Part.OUTPUT: told.tokens.get(Part.OUTPUT, 0)}
        right = Row(counts, told.nanos)
    elif Part.READ in told.tokens or Part.READ in told.nanos:
        left, right = recorded.with_inputs_joined(), told.with_inputs_joined()
    slack = recorded.lines + _ROUNDING_NANOS
    outcome = Outcome(tolerance_nanos=sum(told.tolerance.values()) + slack)
    if _is_same(left, right, outcome):
        return outcome
    together = Part.WHOLE in right.nanos
    money = _with_whole(left, right, rate_of) if together else right.nanos
    splits: list[_Split] = []
    for part in sorted({*left.tokens, *left.nanos, *right.tokens, *money}):
        billed_tokens, billed_nanos = right.tokens.get(part), money.get(part)
        uncounted = together and bool(right.tokens) and part is not Part.OTHER
        if billed_tokens is not None:
            split = _by_counts(part, left, billed_tokens, billed_nanos, rate_of)
            splits.append(split)
            if billed_nanos is None:
                outcome.priced_nanos += split.billed + (split.rest_billed[1] or 0)
                if split.rest_billed[1] is None:
                    outcome.miss(Gap.UNKNOWN_PRICE)
        elif billed_nanos is not None and not uncounted:
            # The bill tells money alone: what both have of it is common, and so are the tokens it pays for.
            tokens, nanos = left.tokens.get(part, 0), left.nanos.get(part, 0)
            common = max(min(nanos, billed_nanos), 0)
            kept = tokens * common // nanos if nanos else tokens
            rests = (tokens - kept, nanos - common), (None, billed_nanos - common)
            splits.append(_Split(part, kept, common, common, *rests, by_tokens=False))
        else:
            _untold(part, left, billed_nanos, outcome, known_as_none=told.by_class)
    if together:
        _judge(splits, outcome.tolerance_nanos, outcome)
    else:
        for split in splits:
            _judge([split], told.tolerance.get(split.part, 0) + slack, outcome)
    if not right.tokens and money:
        outcome.miss(Gap.NO_COUNTS)
    return outcome


def _leaves_out_cache(recorded: Row, told: Row, rate_of: RateOf) -> bool:
    """Whether a bill's one count of input is without what the cache gave, though its one amount pays for that.

    Held against all that was read, what the few tokens cost would look like a price many times too high.
    """
    if Part.WHOLE not in told.nanos or len(told.nanos) > 1 or not told.tokens.keys() <= {Part.READ, Part.OUTPUT}:
        return False
    counted, fresh = told.tokens.get(Part.READ), recorded.tokens.get(Part.INPUT, 0)
    every = recorded.with_inputs_joined().tokens.get(Part.READ, 0)
    # Nearer to what was read afresh than to all that was read: so the cache is not in it.
    if counted is None or not counted - fresh < every - counted:
        return False
    worth = [(counted, Part.INPUT), (told.tokens.get(Part.OUTPUT, 0), Part.OUTPUT)]
    pays = sum(_priced(count, part, recorded, rate_of) or 0 for count, part in worth)
    return told.nanos[Part.WHOLE] - pays > sum(told.tolerance.values()) + _ROUNDING_NANOS


def _is_same(left: Row, right: Row, outcome: Outcome) -> bool:
    """Whether one amount and all counts are those of the record, as most are: then nothing has to be taken apart."""
    whole = right.nanos.get(Part.WHOLE)
    if whole is None or len(right.nanos) > 1 or abs(whole - left.total_nanos) > outcome.tolerance_nanos:
        return False
    counts = {part: count for part, count in left.tokens.items() if count}
    if not counts or not any(left.nanos.values()) or counts != {p: count for p, count in right.tokens.items() if count}:
        return False
    outcome.shares[Bucket.MATCHED] = Share(
        Row(dict(left.tokens), dict(left.nanos)), Row(counts, shared(whole, left.nanos))
    )
    return True


def _by_counts(part: Part, left: Row, count: int, money: int | None, rate_of: RateOf) -> _Split:
    """A class that the bill counts: the lesser count is common, and the money that goes with it on each side."""
    tokens, nanos = left.tokens.get(part, 0), left.nanos.get(part, 0)
    both = min(tokens, count)
    mine = nanos * both // tokens if tokens else 0
    if money is not None:
        theirs = money * both // count if count else money
        rest: int | None = money - theirs
    else:
        theirs, rest = mine, _priced(count - both, part, left, rate_of)
    return _Split(part, both, mine, theirs, (tokens - both, nanos - mine), (count - both, rest), True)


def _untold(part: Part, left: Row, billed: int | None, outcome: Outcome, *, known_as_none: bool) -> None:
    tokens, nanos = left.tokens.get(part), left.nanos.get(part)
    if known_as_none and billed is None:
        if tokens or nanos:
            outcome.share(Bucket.LEDGER_ONLY).recorded.add(part, tokens, nanos)
        return
    if tokens or nanos or billed:
        share = outcome.set_aside(Gap.CLASS_NOT_TOLD)
        share.recorded.add(part, tokens, nanos)
        share.billed.add(part, None, billed)


def _priced(count: int, part: Part, left: Row, rate_of: RateOf) -> int | None:
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
    off, apart = sum(split.billed - split.recorded for split in counted), sum(split.rest_off for split in by_money)
    used = any(split.tokens for split in counted)
    # Beside counted parts under one amount, fees are a part of what is judged.
    verdict = Bucket.MATCHED if abs(off + (apart if used else 0)) <= tolerance else Bucket.PRICE_DRIFT
    # What one side does not have at all is no rounding of the other.
    whole = used or (any(split.recorded for split in by_money) and abs(apart) <= tolerance)
    for split in counted:
        _put(split, verdict, outcome)
    for split in by_money:
        _put(split, verdict if used else Bucket.MATCHED, outcome, whole=whole)


def _put(split: _Split, bucket: Bucket, outcome: Outcome, *, whole: bool = False) -> None:
    """Put what is common into a bucket and the rest to its side; or the `whole` of it into the bucket."""
    mine, theirs = (split.tokens, split.recorded), split.billed
    if whole:
        mine = (mine[0] + split.rest_recorded[0], mine[1] + split.rest_recorded[1])
        theirs += split.rest_billed[1] or 0
    if any(mine) or theirs:
        share = outcome.share(bucket)
        share.recorded.add(split.part, *mine)
        share.billed.add(split.part, split.tokens if split.by_tokens else None, theirs)
    if any(split.rest_recorded) and not whole:
        outcome.share(Bucket.LEDGER_ONLY).recorded.add(split.part, *split.rest_recorded)
    if any(split.rest_billed) and not whole:
        outcome.share(Bucket.BILL_ONLY).billed.add(split.part, *split.rest_billed)


def _with_whole(left: Row, right: Row, rate_of: RateOf) -> dict[Part, int]:
    """The bill's money by class: what no class is named for goes by what the classes are worth."""
    worth: dict[Part, int] = {}
    for part in sorted({*left.tokens, *left.nanos, *right.tokens}):
        count = right.tokens.get(part)
        # By counts times rates where there are counts; else by what was recorded of the class.
        worth[part] = left.nanos.get(part, 0) if count is None else _priced(count, part, left, rate_of) or 0
    # Nothing has a price: the amount is shared by counts, or stands as a whole of its own.
    if not any(worth.values()):
        worth = dict(right.tokens) if any(right.tokens.values()) else {Part.OTHER: 1}
    money = dict(right.nanos)
    for part, nanos in shared(money.pop(Part.WHOLE, 0), worth).items():
        money[part] = money.get(part, 0) + nanos
    return money


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


@value(slots=True)
class _Request:
    """What bills tell of one request, and what was recorded under its id."""

    day: date
    told: dict[tuple[str, ModelKey, bool], Row] = field(default_factory=dict)
    recorded: dict[ModelKey, Row] = field(default_factory=dict)


class _Span(NamedTuple):
    """Days of a model that lines are of, and whether a plan covers them."""

    day: date
    last: date
    key: ModelKey
    included: bool = False

    @property
    def is_day(self) -> bool:
        return self.day == self.last

    def holds(self, part: _Span) -> bool:
        """Whether another one is of some of its days."""
        inside = self.day <= part.day and part.last <= self.last
        return inside and part.key == self.key and part.included == self.included and part != self


# What bills tell, by format and bill: formats may tell the same, and so may bills of one that are of other spans.
_Told = dict[tuple[str, str], Row]
# Requests that nothing was recorded of belong to no bill any more.
_REQUESTS = ""


class Matcher:
    """Takes in lines, bills before the ledger for each day, and says where each has ended.

    Requests are known by their id within a day of each other; `settle` lets go of those that nothing comes for.
    Lines of several days that reach beyond `until`, the first day that is not looked at, are not compared.
    """

    def __init__(self, price_of: PriceOf, until: date = date.max) -> None:
        self._price_of = price_of
        self._until = until
        self._requests: dict[str, _Request] = {}
        self._told: dict[_Span, _Told] = {}
        # Compared with nothing: of no model, under who bills it, and what is given back, as amounts above zero.
        self._nameless: dict[_Span, _Told] = {}
        self._credits: dict[_Span, _Told] = {}
        self._told_by_id: dict[_Span, dict[str, Row]] = {}
        self._recorded: dict[tuple[date, ModelKey, bool], Row] = {}
        self._by_request: dict[tuple[_Span, ModelKey | None], Cell] = {}
        self._covered: dict[tuple[str, str], tuple[date, date]] = {}
        self._unplaced = Outcome()
        self._days: set[date] = set()

    def covers(self, bill_id: str, provider: str, first: date, last: date) -> None:
        """Say that a bill tells of a provider from a day to a day; lines that come widen that."""
        known = self._covered.get((bill_id, provider), (first, last))
        self._covered[bill_id, provider] = (min(known[0], first), max(known[1], last))

    def billed(self, line: Billed) -> None:
        """Take in one line of a bill."""
        if line.key is not None:
            self.covers(line.bill_id, line.key.provider, line.day, line.last_day)
        told, told_by = line_usage(line), self._told
        span = _Span(line.day, line.last_day, line.key or ModelKey(line.line.provider, ""), line.is_included)
        if line.is_credit:
            # What is given back belongs to no usage: it is billed, and stands apart.
            if told is not None and told.total_tokens:
                self._unplaced.share(Bucket.BILL_ONLY).billed.merge(Row(told.tokens))
            told = Row(nanos={Part.OTHER: -(line.nanos or 0)}, tolerance={Part.OTHER: line.unit_nanos})
            span, told_by = span._replace(included=False), self._credits
        elif told is None:
            self._unplaced.miss(Gap.NOTHING_TOLD)
            return
        elif line.key is None:
            self._unplaced.miss(Gap.NO_MODEL)
            told_by = self._nameless
        elif line.last_day >= self._until:
            self._unplaced.set_aside(Gap.SPAN_CUT).bill(told)
            return
        elif line.line.request_id is not None:
            request = self._requests.setdefault(line.line.request_id, _Request(line.day))
            request.day = min(request.day, line.day)
            request.told.setdefault((line.format, line.key, line.is_included), Row()).merge(told)
            return
        told_by.setdefault(span, {}).setdefault((line.format, line.bill_id), Row()).merge(told)

    def recorded(self, line: LedgerLine) -> None:
        """Take in one line of the ledger; bills of the days around it have come before."""
        day = line.day
        self._days.add(day)
        for each in line.ids:
            request = self._requests.get(each)
            if request is not None and abs((request.day - day).days) <= 1:
                line.add_to(request.recorded.setdefault(line.key, Row()))
                return
        line.add_to(self._recorded.setdefault((day, line.key, line.is_bare), Row()))

    def settle(self, before: date | None = None) -> None:
        """Let go of requests of earlier days: what was recorded of them has come."""
        for name in [name for name, each in self._requests.items() if before is None or each.day < before]:
            self._settle(self._requests.pop(name))

    def _settle(self, request: _Request) -> None:
        """One request: of what bills tell of it the fullest is believed, and it is compared with what has its id."""
        # Two bills of one request tell of the same usage: the one with most tokens, then one that has money, then the
        # first by name, so that the order in which bills came changes nothing.
        (format_, key, included), told = min(
            request.told.items(), key=lambda item: (-item[1].total_tokens, not item[1].nanos, item[0])
        )
        span = _Span(request.day, request.day, key, included)
        for again in request.told.values():
            if again is not told:
                self._cell_of(span, None).outcome.set_aside(Gap.TOLD_AGAIN).bill(again)
        if not request.recorded:
            # Recorded without its id, perhaps: its day is the next place to look.
            told.by_request = True
            self._told.setdefault(span, {}).setdefault((format_, _REQUESTS), Row()).merge(told)
            return
        self._told_by_id.setdefault(span, {}).setdefault(format_, Row()).merge(told)
        # A request that was recorded under several models is in the bill once, and compared once: under the first name.
        named, recorded = min(request.recorded.items(), key=lambda item: item[0])
        for other_key, more in request.recorded.items():
            if other_key != named:
                recorded.merge(more)
        cell = self._cell_of(span._replace(key=named), None if named.name == key.name else key)
        cell.take(self._compare(recorded, told, span), recorded)

    def _cell_of(self, span: _Span, billed_as: ModelKey | None) -> Cell:
        if (span, billed_as) not in self._by_request:
            made = Cell(span.day, span.key, How.REQUEST, span.included, billed_as=billed_as)
            self._by_request[span, billed_as] = made
        return self._by_request[span, billed_as]

    def _compare(self, recorded: Row, told: Row | None, span: _Span) -> Outcome:
        """What was recorded in its buckets; where no bill tells of it, all of it is the ledger's alone."""
        if told is not None:
            return compare(recorded, told, lambda part: self._price_of(span.key, span.day, part))
        outcome = Outcome()
        outcome.share(Bucket.LEDGER_ONLY).recorded.merge(recorded)
        return outcome

    def result(self) -> Matched:
        """Everything that came, in its buckets."""
        self.settle()
        cells = [*self._by_request.values(), *self._days_compared()]
        cells += self._spans_compared(cells)
        for cell in cells:
            self._uncover(cell)
        cells.sort(key=lambda cell: (cell.day, cell.key, cell.how, cell.included, cell.billed_as or ModelKey("", "")))
        for span in self._nameless:
            if (told := self._beyond_parts(self._nameless, span, self._unplaced)) is not None:
                self._unplaced.share(Gap.NO_MODEL).bill(told)
        return Matched(cells, self._unplaced, self._given())

    def _given(self) -> dict[tuple[date, ModelKey | None], int]:
        """What is given back by day and model, once; of days outside what was recorded it is compared with nothing."""
        given: dict[tuple[date, ModelKey | None], int] = {}
        for span, by_bill in self._credits.items():
            inside = _told_in(self._credits, span, {bill for _, bill in by_bill}, once=_most_given)
            nanos = less(_most_given(by_bill), inside)[0].total_nanos
            if again := sum(row.total_nanos for row in by_bill.values()) - nanos:
                self._unplaced.set_aside(Gap.TOLD_AGAIN).billed.add(Part.OTHER, None, -again)
            if nanos and self._is_outside(span.day, span.last):
                self._unplaced.set_aside(Gap.NOT_RECORDED).billed.add(Part.OTHER, None, -nanos)
            elif nanos:
                place = (span.day, span.key if span.key.name else None)
                given[place] = given.get(place, 0) - nanos
        return given

    def _is_outside(self, first: date, last: date) -> bool:
        """Whether days are before or after everything that was recorded."""
        return not self._days or last < min(self._days) or first > max(self._days)

    def _days_compared(self) -> Iterator[Cell]:
        """Day by day and model by model; what a bill charges comes before what it says that a plan covers."""
        recorded = self._resolved()
        told = {span for span in self._told if span.is_day}
        for span in sorted(told | {_Span(day, day, key) for day, key in recorded}):
            left = recorded.pop((span.day, span.key), None)
            later = span._replace(included=True)
            # Nothing is charged for these, so what a plan covers may tell of them: they wait for that line.
            if left is not None and span not in told and later in told:
                recorded[span.day, span.key] = left
                continue
            cell = Cell(span.day, span.key, How.DAY, span.included)
            left = left or Row()
            once = _once(self._told.get(span, {}), self._told_by_id.get(span, {}), cell.outcome)
            cell.take(self._compare(left, once, span), left)
            # What no charge accounts for may be what the plan covered.
            if not span.included and later in told and (rest := cell.rest()) is not None:
                recorded[span.day, span.key] = rest
            yield cell

    def _resolved(self) -> dict[tuple[date, ModelKey], Row]:
        """What was recorded, under the provider that bills it: where no record names one, a bill's, if it is one."""
        resolved = {(day, key): row for (day, key, bare), row in self._recorded.items() if not bare}
        billed: dict[tuple[date, str], set[ModelKey]] = {}
        for span in self._told:
            if span.is_day:
                billed.setdefault((span.day, span.key.name), set()).add(span.key)
        for (day, key, bare), row in sorted(self._recorded.items(), key=lambda item: item[0]):
            if bare:
                named = billed.get((day, key.name), set())
                # Only where exactly one provider bills the model that day: between two nobody could say whose it was.
                others = [other for other in named if (day, other) not in resolved]
                chosen = others[0] if key not in named and len(others) == 1 else key
                resolved.setdefault((day, chosen), Row()).merge(row)
        return resolved

    def _spans_compared(self, cells: Iterable[Cell]) -> list[Cell]:
        """Lines of several days against what the days have left, by the ledger and by bills that tell them apart."""
        made: list[Cell] = []
        known: dict[ModelKey, list[Cell]] = {}
        for cell in cells:
            known.setdefault(cell.key, []).append(cell)
        spans = (span for span in self._told if not span.is_day)
        # Short spans first: what they take of the days is no longer there for a month that holds them.
        for span in sorted(spans, key=lambda span: (span.last - span.day, span)):
            cell = Cell(span.day, span.key, How.SPAN, span.included)
            made.append(cell)
            if (told := self._beyond_parts(self._told, span, cell.outcome)) is None:
                continue
            left = Row()
            for other in known.get(span.key, ()):
                if span.day <= other.day <= span.last and (rest := other.rest()) is not None:
                    left.merge(rest)
            cell.take(self._compare(left, told, span), left)
        return made

    def _beyond_parts(self, told_by: Mapping[_Span, _Told], span: _Span, outcome: Outcome) -> Row | None:
        """What lines of a span tell, each thing once, beyond what other bills tell of parts of it; None where nothing.

        One bill says each thing once; another one that tells of the same days holds their sum.
        """
        told = _once(told_by[span], {}, outcome)
        same = {each: by_bill for each, by_bill in told_by.items() if each.key == span.key}
        # Lines of the same bill are no parts of each other.
        inside = _told_in(same, span, {bill for _, bill in told_by[span]})
        if told is None or not (inside.nanos or inside.tokens):
            return told
        kept, again = less(told, inside)
        if again.total_tokens or again.total_nanos:
            outcome.set_aside(Gap.TOLD_AGAIN).bill(again)
        return kept if kept.total_tokens or kept.total_nanos else None

    def _uncover(self, cell: Cell) -> None:
        """Take out of the buckets what the other side says nothing of: no bill tells of the day, or no record.

        Of a model whose maker nobody knows any bill may tell.
        """
        shares, provider = cell.outcome.shares, cell.key.provider
        if cell.how is How.SPAN:
            return
        # No bill of that provider reaches that day: that it is missing there says nothing.
        if Bucket.LEDGER_ONLY in shares and not any(
            first <= cell.day <= last and provider in (of, "") for (_, of), (first, last) in self._covered.items()
        ):
            cell.outcome.set_aside(Gap.NO_BILL).merge(shares.pop(Bucket.LEDGER_ONLY))
        if Bucket.BILL_ONLY in shares and self._is_outside(cell.day, cell.day):
            cell.outcome.set_aside(Gap.NOT_RECORDED).merge(shares.pop(Bucket.BILL_ONLY))


def _by_format(by_bill: _Told, without: AbstractSet[str] = frozenset()) -> dict[str, Row]:
    """What each format tells, but for some bills."""
    formats: dict[str, Row] = {}
    for (format_, bill), row in by_bill.items():
        if bill not in without:
            formats.setdefault(format_, Row()).merge(row)
    return formats


def _once(by_bill: _Told, by_id: Mapping[str, Row], outcome: Outcome) -> Row | None:
    """What bills tell, of which several may tell the same; by request first, then the fullest."""
    formats = _by_format(by_bill)
    # The most exact first: of what comes later only what is beyond it counts.
    order = sorted(formats, key=lambda name: (not formats[name].by_request, -formats[name].total_tokens, name))
    once, before = Row(), dict(by_id)
    for name in order:
        kept, again = beyond(formats[name], [each for other, each in before.items() if other != name])
        if again.total_tokens or again.total_nanos:
            outcome.set_aside(Gap.TOLD_AGAIN).bill(again)
        once.merge(kept)
        before[name] = formats[name]
    return once if formats else None


def _told_once(by_bill: _Told, without: AbstractSet[str]) -> Row:
    """What the bills of a day tell together, but for some; several formats may tell the same."""
    once, before = Row(), list[Row]()
    for _, row in sorted(_by_format(by_bill, without).items()):
        if row.nanos or row.tokens:
            once.merge(beyond(row, before)[0])
            before.append(row)
    return once


def _most_given(by_bill: _Told, without: AbstractSet[str] = frozenset()) -> Row:
    """The largest credit that a format tells of."""
    return max(_by_format(by_bill, without).values(), key=lambda row: row.total_nanos, default=Row())


def _told_in(
    told_by: Mapping[_Span, _Told],
    span: _Span,
    without: AbstractSet[str],
    once: Callable[[_Told, AbstractSet[str]], Row] = _told_once,
) -> Row:
    """What other bills tell of parts of a span: of each what it tells beyond its own parts."""
    inside = Row()
    for part, by_bill in told_by.items():
        if span.holds(part):
            told = once(by_bill, {*without, _REQUESTS})
            inside.merge(told if part.is_day else less(told, _told_in(told_by, part, without, once))[0])
    return inside
