"""Rows of bills and of the ledger in one form, put together by day, model and who."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from tallygate.core.costing import Certainty, Price, Tokens, at_rates
from tallygate.core.money import NANOS_PER_UNIT
from tallygate.core.statements import Billing, BillLine, Grain, TokenClass

# --- tallies ---------------------------------------------------------------------------------------------------------
# Tokens and money of a cell by part: what was recorded, what a bill tells, and the buckets they end in.


class Part(StrEnum):
    """What tokens and money are for. `read` is input of which a bill does not tell what came from a cache."""

    INPUT = "input"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"
    READ = "read"
    OUTPUT = "output"
    OTHER = "other"


class Bucket(StrEnum):
    """Where a token ends; the last is for what cannot be compared, with its reason."""

    MATCHED = "matched"
    LEDGER_ONLY = "ledger_only"
    BILL_ONLY = "bill_only"
    PRICE_DRIFT = "price_drift"
    UNCOMPARED = "uncompared"


class Gap(StrEnum):
    """Why something cannot be compared."""

    NO_BILL = "no_bill"
    NOT_RECORDED = "not_recorded"
    NO_MODEL = "no_model"
    NOTHING_TOLD = "nothing_told"
    CLASS_NOT_TOLD = "class_not_told"
    NO_COUNTS = "no_counts"
    UNKNOWN_PRICE = "unknown_price"
    ASSUMED = "assumed_price"
    PARTIAL = "partial"
    ESTIMATE_ONLY = "estimate_only"
    NO_RATE = "no_rate"
    TOLD_AGAIN = "told_again"
    SPAN_CUT = "span_cut"


INPUTS = (Part.INPUT, Part.CACHE_READ, Part.CACHE_WRITE)


@dataclass(slots=True)
class Amounts:
    """Tokens and nano-dollars by part; a part that is missing is not told, which is not 0."""

    tokens: dict[Part, int] = field(default_factory=dict)
    nanos: dict[Part, int] = field(default_factory=dict)

    def add(self, part: Part, tokens: int | None, nanos: int | None) -> None:
        """Count something in; None leaves a part untold."""
        if tokens is not None:
            self.tokens[part] = self.tokens.get(part, 0) + tokens
        if nanos is not None:
            self.nanos[part] = self.nanos.get(part, 0) + nanos

    def merge(self, other: Amounts) -> None:
        """Count in all of another."""
        for part, tokens in other.tokens.items():
            self.tokens[part] = self.tokens.get(part, 0) + tokens
        for part, nanos in other.nanos.items():
            self.nanos[part] = self.nanos.get(part, 0) + nanos

    @property
    def total_tokens(self) -> int:
        return sum(self.tokens.values())

    @property
    def total_nanos(self) -> int:
        return sum(self.nanos.values())

    def with_inputs_joined(self) -> Amounts:
        """The same with everything the model read as one part."""
        found = Amounts()
        for part in {**self.tokens, **self.nanos}:
            joined = Part.READ if part in INPUTS else part
            found.add(joined, self.tokens.get(part), self.nanos.get(part))
        return found


@dataclass(slots=True)
class Told:
    """What bills tell of some usage. `whole_nanos` is money that no part is named for.

    `by_class` is set where each line is for one part, so that a part without a line was not billed. `tolerance`
    is what the amounts may be off by, being rounded to the bill's unit.
    """

    amounts: Amounts = field(default_factory=Amounts)
    whole_nanos: int | None = None
    by_class: bool = False
    by_request: bool = False
    tolerance: dict[Part | None, int] = field(default_factory=dict)

    def merge(self, other: Told) -> None:
        """Count in all of another."""
        self.amounts.merge(other.amounts)
        if other.whole_nanos is not None:
            self.whole_nanos = (self.whole_nanos or 0) + other.whole_nanos
        self.by_class |= other.by_class
        self.by_request |= other.by_request
        for part, nanos in other.tolerance.items():
            self.tolerance[part] = self.tolerance.get(part, 0) + nanos

    @property
    def has_money(self) -> bool:
        return self.whole_nanos is not None or bool(self.amounts.nanos)

    @property
    def total_nanos(self) -> int:
        return self.amounts.total_nanos + (self.whole_nanos or 0)


@dataclass(slots=True)
class Share:
    """What one bucket holds of both sides."""

    recorded: Amounts = field(default_factory=Amounts)
    billed: Amounts = field(default_factory=Amounts)

    def merge(self, other: Share) -> None:
        """Count in all of another."""
        self.recorded.merge(other.recorded)
        self.billed.merge(other.billed)


@dataclass(slots=True)
class Outcome:
    """Where everything of a cell has ended. `aside` is what is not compared, by its reason; `gaps` counts reasons.

    `priced_nanos` of what stands as billed is of tokens that the bill tells no money for: they are at our prices.
    """

    shares: dict[Bucket, Share] = field(default_factory=dict)
    aside: dict[Gap, Share] = field(default_factory=dict)
    gaps: dict[Gap, int] = field(default_factory=dict)
    priced_nanos: int = 0
    tolerance_nanos: int = 0

    def share(self, bucket: Bucket) -> Share:
        """One bucket, made where there is none yet."""
        return self.shares.setdefault(bucket, Share())

    def set_aside(self, gap: Gap) -> Share:
        """What is not compared for a reason, to be filled."""
        self.miss(gap)
        return self.aside.setdefault(gap, Share())

    def everything(self) -> Iterator[tuple[Bucket, Share]]:
        """Each bucket with what is in it."""
        yield from self.shares.items()
        for share in self.aside.values():
            yield Bucket.UNCOMPARED, share

    def miss(self, gap: Gap, count: int = 1) -> None:
        """Name something that could not be compared."""
        self.gaps[gap] = self.gaps.get(gap, 0) + count

    def merge(self, other: Outcome) -> None:
        """Count in all of another."""
        for bucket, share in other.shares.items():
            self.share(bucket).merge(share)
        for gap, share in other.aside.items():
            self.aside.setdefault(gap, Share()).merge(share)
        for gap, count in other.gaps.items():
            self.miss(gap, count)
        self.priced_nanos += other.priced_nanos
        self.tolerance_nanos += other.tolerance_nanos


def beyond(told: Told, before: Iterable[Told]) -> tuple[Told, Told]:
    """What one format tells beyond what others have told of the same usage: that, and what is told again.

    Counts that several tell are one usage; so is money, of which the first format that tells any is believed.
    """
    earlier = list(before)
    seen, money_seen = Amounts(), any(each.has_money for each in earlier)
    mine = told.amounts
    for each in earlier:
        seen.merge(each.amounts)
    if (Part.READ in seen.tokens) != (Part.READ in mine.tokens) and seen.tokens and mine.tokens:
        seen, mine = seen.with_inputs_joined(), mine.with_inputs_joined()
    kept, again = (
        Told(by_class=told.by_class, by_request=told.by_request, tolerance=dict(told.tolerance)) for _ in range(2)
    )
    for part, tokens in mine.tokens.items():
        twice = min(tokens, seen.tokens.get(part, 0))
        kept.amounts.add(part, tokens - twice, None)
        if twice:
            again.amounts.add(part, twice, None)
    if not earlier:
        kept.amounts.nanos, kept.whole_nanos = dict(mine.nanos), told.whole_nanos
        return kept, again
    for part, nanos in mine.nanos.items():
        of = mine.tokens.get(part, 0)
        stays = nanos if not money_seen else nanos * kept.amounts.tokens.get(part, 0) // of if of else 0
        kept.amounts.add(part, None, stays)
        again.amounts.add(part, None, nanos - stays)
    if told.whole_nanos is not None:
        of, new = mine.total_tokens, kept.amounts.total_tokens
        stays = told.whole_nanos if not money_seen else told.whole_nanos * new // of if of else 0
        kept.whole_nanos, again.whole_nanos = stays, told.whole_nanos - stays
    return kept, again


def less(told: Told, inside: Told) -> tuple[Told, Told]:
    """What a sum tells beyond some of what it is the sum of: that, and what is told again.

    What is left of money within what both are rounded to is none.
    """
    seen, mine = inside.amounts, told.amounts
    if (Part.READ in seen.tokens) != (Part.READ in mine.tokens) and seen.tokens and mine.tokens:
        seen, mine = seen.with_inputs_joined(), mine.with_inputs_joined()
    kept, again = (
        Told(by_class=told.by_class, by_request=told.by_request, tolerance=dict(told.tolerance)) for _ in range(2)
    )
    for part, tokens in mine.tokens.items():
        twice = min(tokens, seen.tokens.get(part, 0))
        kept.amounts.add(part, tokens - twice, None)
        again.amounts.add(part, twice or None, None)
    rounded = sum(told.tolerance.values()) + sum(inside.tolerance.values())
    ahead = inside.total_nanos
    if ahead and 0 < told.total_nanos - ahead <= rounded:
        ahead = told.total_nanos
    for part, nanos in mine.nanos.items():
        twice = min(nanos, ahead)
        ahead -= twice
        kept.amounts.add(part, None, nanos - twice)
        again.amounts.add(part, None, twice)
    if told.whole_nanos is not None:
        twice = min(told.whole_nanos, ahead)
        kept.whole_nanos, again.whole_nanos = told.whole_nanos - twice, twice
    return kept, again


# --- bill lines ------------------------------------------------------------------------------------------------------
# Lines of bills and of the ledger in one form, so that they can be held against each other.


_CENT = NANOS_PER_UNIT // 100
_PARTS = (Part.INPUT, Part.CACHE_READ, Part.CACHE_WRITE, Part.OUTPUT, Part.OTHER)
_CLASS_PARTS = {
    TokenClass.INPUT: Part.INPUT,
    TokenClass.CACHE_READ: Part.CACHE_READ,
    TokenClass.CACHE_WRITE: Part.CACHE_WRITE,
    TokenClass.OUTPUT: Part.OUTPUT,
    TokenClass.OTHER: Part.OTHER,
}
_TICK = timedelta(microseconds=1)


class ModelKey(NamedTuple):
    """A model whatever its spelling, and who bills it."""

    provider: str
    name: str

    @property
    def text(self) -> str:
        return f"{self.provider}/{self.name}" if self.provider else self.name


class Who(NamedTuple):
    """The session that used something; of no session, the client alone."""

    session_id: str | None
    client: str


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """What was recorded of one response or call, its cost by part.

    `ids` are those that a bill may name it by. `is_bare` says that its record names no provider, so that its key has
    the model's maker and a bill may know better. `is_final` is false where the output is a lower bound. `price_key` is
    what the price list knows the model by; `is_assumed` says that it knows no price of it, and `certainty` how
    sure the price is that it was recorded at.
    """

    at: datetime
    model: str
    key: ModelKey
    tokens: Tokens
    nanos: tuple[int, int, int, int, int]
    client: str
    session_id: str | None = None
    ids: tuple[str, ...] = ()
    is_final: bool = True
    is_bare: bool = False
    price_key: str = ""
    is_assumed: bool = False
    certainty: Certainty = Certainty.KNOWN

    @property
    def day(self) -> date:
        return self.at.astimezone(UTC).date()

    @property
    def who(self) -> Who:
        return Who(self.session_id, self.client)

    @property
    def cost_nanos(self) -> int:
        return sum(self.nanos)

    @property
    def amounts(self) -> Amounts:
        tokens, found = self.tokens, Amounts()
        written = tokens.cache_write_5m + tokens.cache_write_1h
        counts = (tokens.fresh_input, tokens.cache_read, written, tokens.output, None)
        for part, count, nanos in zip(_PARTS, counts, self.nanos, strict=True):
            if count or nanos:
                found.add(part, count, nanos)
        return found


@dataclass(frozen=True, slots=True)
class Billed:
    """One line of a bill in dollars. `unit_nanos` is what its amount was rounded to; no key: it names no model."""

    line: BillLine
    bill_id: str
    format: str
    key: ModelKey | None
    nanos: int | None
    unit_nanos: int = 1

    @property
    def day(self) -> date:
        return self.line.at.astimezone(UTC).date()

    @property
    def last_day(self) -> date:
        """The day its span ends in; that of a month without an end is the month's last."""
        at, until = self.line.at.astimezone(UTC), self.line.until
        if until is not None:
            return max(at, until.astimezone(UTC) - _TICK).date()
        if self.line.grain is not Grain.MONTH:
            return at.date()
        return (at.date().replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)

    @property
    def is_included(self) -> bool:
        return self.line.billing is Billing.INCLUDED

    @property
    def is_credit(self) -> bool:
        return self.nanos is not None and self.nanos < 0


def split_cost(
    tokens: Tokens, price: Price, cost_nanos: int, *, is_basis: bool = True
) -> tuple[int, int, int, int, int]:
    """What each part of a response cost; what its tokens do not account for, such as searches, is the last.

    Where the cost was not made of this price, or is less than it, the parts have their proportions alone.
    """
    rates = price.rates_for(tokens.context)
    written = tokens.cache_write_5m * rates.cache_write_5m_nanos + tokens.cache_write_1h * rates.cache_write_1h_nanos
    exact = (
        tokens.fresh_input * rates.input_nanos,
        tokens.cache_read * rates.cache_read_nanos,
        written,
        tokens.output * rates.output_nanos,
    )
    whole = sum(exact)
    if not whole:
        return (0, 0, 0, 0, cost_nanos)
    within = min(at_rates(rates, tokens), cost_nanos) if is_basis else cost_nanos
    shares = [value * within // whole for value in exact]
    largest = shares.index(max(shares))
    shares[largest] += within - sum(shares)
    return (shares[0], shares[1], shares[2], shares[3], cost_nanos - within)


def unit_of(unit_nanos: int) -> int:
    """The unit that an amount was rounded to, as its last digit shows; a cent at the most.

    >>> unit_of(1_230_000_000), unit_of(2_000_000_000), unit_of(1_234_500_000), unit_of(7)
    (10000000, 10000000, 100000, 1)
    """
    unit = _CENT
    while unit_nanos % unit:
        unit //= 10
    return unit


def told_of(billed: Billed) -> Told | None:
    """What a line tells of its usage, or None where it tells neither counts nor money."""
    line, counts = billed.line, billed.line.tokens
    told = Told()
    found: dict[Part, int | None] = {Part.OUTPUT: counts.output}
    if counts.read is not None and (counts.fresh_input is None or counts.cache_read is None):
        found[Part.READ] = counts.read
    else:
        found |= {
            Part.INPUT: counts.fresh_input,
            Part.CACHE_READ: counts.cache_read,
            Part.CACHE_WRITE: counts.cache_write,
        }
    for part, count in found.items():
        told.amounts.add(part, count, None)
    if billed.nanos is not None and not billed.is_included:
        part_of = None if line.token_class is None else _CLASS_PARTS[line.token_class]
        told.tolerance[part_of] = billed.unit_nanos
        if part_of is None:
            told.whole_nanos = billed.nanos
        else:
            told.amounts.add(part_of, None, billed.nanos)
    told.by_class = line.token_class is not None
    return told if told.has_money or told.amounts.tokens else None


# --- cells -----------------------------------------------------------------------------------------------------------
# What was recorded of a day and model, and where it has ended once a bill was held against it.


class How(StrEnum):
    """What lines were held against each other by."""

    REQUEST = "request"
    DAY = "day"
    SPAN = "span"


@dataclass(slots=True)
class Recorded:
    """What was recorded of one day and model; `prices` are the keys it was priced by."""

    amounts: Amounts = field(default_factory=Amounts)
    lines: int = 0
    partial: int = 0
    sessions: dict[Who, int] = field(default_factory=dict)
    prices: set[str] = field(default_factory=set)

    def add(self, line: LedgerLine) -> None:
        """Count in one line."""
        self.amounts.merge(line.amounts)
        self.lines += 1
        self.partial += not line.is_final
        self.sessions[line.who] = self.sessions.get(line.who, 0) + line.cost_nanos
        self.prices.add(line.price_key)

    def merge(self, other: Recorded) -> None:
        """Count in all of another."""
        self.amounts.merge(other.amounts)
        self.lines += other.lines
        self.partial += other.partial
        for who, nanos in other.sessions.items():
            self.sessions[who] = self.sessions.get(who, 0) + nanos
        self.prices |= other.prices

    def rest(self, outcome: Outcome) -> Recorded | None:
        """What a comparison has left of it, which is taken out of its buckets."""
        left = outcome.shares.pop(Bucket.LEDGER_ONLY, None)
        if left is None:
            return None
        return Recorded(left.recorded, self.lines, self.partial, dict(self.sessions), set(self.prices))


@dataclass(slots=True)
class Cell:
    """One day and model, and where everything in it has ended.

    `hidden` is output that was billed beyond what was recorded, with the same input: tokens and nano-dollars.
    `billed_as` is the model that a bill names for the same requests, where it is another.
    """

    day: date
    key: ModelKey
    how: How
    included: bool
    outcome: Outcome = field(default_factory=Outcome)
    recorded: Recorded = field(default_factory=Recorded)
    hidden: tuple[int, int] = (0, 0)
    billed_as: ModelKey | None = None

    def take(self, outcome: Outcome, recorded: Recorded) -> None:
        """Count in a comparison and what was recorded in it."""
        tokens, nanos = _hidden(outcome, recorded)
        self.hidden = (self.hidden[0] + tokens, self.hidden[1] + nanos)
        self.outcome.merge(outcome)
        self.recorded.merge(recorded)


@dataclass(slots=True)
class Matched:
    """The whole result. `unplaced` is what bills tell without a model, `credits` what they give back."""

    cells: list[Cell]
    unplaced: Outcome
    credits: dict[tuple[date, ModelKey | None], int]


def _hidden(outcome: Outcome, recorded: Recorded) -> tuple[int, int]:
    """Output that was billed beyond what was recorded, where the input is the same to the token."""
    more, less = outcome.shares.get(Bucket.BILL_ONLY), outcome.shares.get(Bucket.LEDGER_ONLY)
    if more is None or less is not None or not recorded.lines:
        return 0, 0
    if any(more.billed.tokens.get(part) for part in (*INPUTS, Part.READ)) or not more.billed.tokens.get(Part.OUTPUT):
        return 0, 0
    return more.billed.tokens[Part.OUTPUT], more.billed.nanos.get(Part.OUTPUT, 0)
