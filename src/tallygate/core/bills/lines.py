"""Rows of bills and of the ledger in one form, put together by day, model and who."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TypeVar

from tallygate.core.costing import Certainty, Price, Tokens, at_rates
from tallygate.core.money import NANOS_PER_UNIT
from tallygate.core.statements import Billing, BillLine, Grain
from tallygate.core.values import value

# --- rows ------------------------------------------------------------------------------------------------------------
# What a side has of some usage, by class of tokens, and the buckets in which both sides end.


Key = TypeVar("Key")


class Part(StrEnum):
    """What tokens and money are for.

    `read` is input of which a bill does not tell what came from a cache, `whole` money that it names no class for.
    """

    INPUT = "input"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"
    READ = "read"
    OUTPUT = "output"
    OTHER = "other"
    WHOLE = "whole"


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


@value(slots=True)
class Row:
    """What one side has of some usage, of one day and model as a rule: tokens and nano-dollars by class.

    A class that is missing is not told, which is not 0. Of the ledger: how many `lines` of it, how many of them are
    `partial`, what each of the `sessions` cost, and the `prices` it was recorded at. Of bills: `tolerance` is what
    amounts may be off by, being rounded; `by_class` is set where each line is for one class, so that a class without
    a line was not billed.
    """

    tokens: dict[Part, int] = field(default_factory=dict)
    nanos: dict[Part, int] = field(default_factory=dict)
    lines: int = 0
    partial: int = 0
    sessions: dict[Who, int] = field(default_factory=dict)
    prices: set[str] = field(default_factory=set)
    tolerance: dict[Part, int] = field(default_factory=dict)
    by_class: bool = False
    by_request: bool = False

    def add(self, part: Part, tokens: int | None, nanos: int | None) -> None:
        """Count something in; None leaves a class untold."""
        if tokens is not None:
            self.tokens[part] = self.tokens.get(part, 0) + tokens
        if nanos is not None:
            self.nanos[part] = self.nanos.get(part, 0) + nanos

    def merge(self, other: Row) -> None:
        """Count in all of another."""
        _add_all(self.tokens, other.tokens)
        _add_all(self.nanos, other.nanos)
        _add_all(self.sessions, other.sessions)
        _add_all(self.tolerance, other.tolerance)
        self.lines += other.lines
        self.partial += other.partial
        self.prices |= other.prices
        self.by_class |= other.by_class
        self.by_request |= other.by_request

    @property
    def total_tokens(self) -> int:
        return sum(self.tokens.values())

    @property
    def total_nanos(self) -> int:
        return sum(self.nanos.values())

    def with_inputs_joined(self) -> Row:
        """Its amounts with everything the model read as one class."""
        joined = Row()
        for part in {**self.tokens, **self.nanos}:
            joined.add(Part.READ if part in INPUTS else part, self.tokens.get(part), self.nanos.get(part))
        return joined


def _add_all(sums: dict[Key, int], more: Mapping[Key, int]) -> None:
    for key, amount in more.items():
        sums[key] = sums.get(key, 0) + amount


@value(slots=True)
class Share:
    """What one bucket holds of both sides."""

    recorded: Row = field(default_factory=Row)
    billed: Row = field(default_factory=Row)

    def merge(self, other: Share) -> None:
        """Count in all of another."""
        self.recorded.merge(other.recorded)
        self.billed.merge(other.billed)

    def bill(self, told: Row) -> None:
        """Count in what bills tell; money that no class is named for is other money here."""
        self.billed.merge(told)
        if (whole := self.billed.nanos.pop(Part.WHOLE, None)) is not None:
            self.billed.add(Part.OTHER, None, whole)


@value(slots=True)
class Outcome:
    """Where everything of a cell has ended: in a bucket, or with the reason why it is not compared.

    `gaps` counts reasons. `priced_nanos` of what stands as billed is of tokens that the bill tells no money for: they
    are at our prices.
    """

    shares: dict[Bucket | Gap, Share] = field(default_factory=dict)
    gaps: dict[Gap, int] = field(default_factory=dict)
    priced_nanos: int = 0
    tolerance_nanos: int = 0

    def share(self, end: Bucket | Gap) -> Share:
        """One end of things, made where there is none yet."""
        return self.shares.setdefault(end, Share())

    def set_aside(self, gap: Gap) -> Share:
        """What is not compared for a reason, to be filled."""
        self.miss(gap)
        return self.share(gap)

    def compared(self) -> list[Share]:
        """What both sides have, at whatever price."""
        return [self.shares[each] for each in (Bucket.MATCHED, Bucket.PRICE_DRIFT) if each in self.shares]

    def miss(self, gap: Gap) -> None:
        """Name something that could not be compared."""
        self.gaps[gap] = self.gaps.get(gap, 0) + 1

    def merge(self, other: Outcome) -> None:
        """Count in all of another."""
        for end, share in other.shares.items():
            self.share(end).merge(share)
        _add_all(self.gaps, other.gaps)
        self.priced_nanos += other.priced_nanos
        self.tolerance_nanos += other.tolerance_nanos


def _told_twice(told: Row, seen: Row) -> tuple[Row, Row, Row]:
    """What a row tells in the classes that both tell, then its counts that were not seen, and those that were."""
    mine = told
    # One tells all that was read in one count, the other by class: only as one count can they be held against each
    # other.
    if (Part.READ in seen.tokens) != (Part.READ in told.tokens) and seen.tokens and told.tokens:
        seen, mine = seen.with_inputs_joined(), told.with_inputs_joined()
    kept, again = (
        Row(by_class=told.by_class, by_request=told.by_request, tolerance=dict(told.tolerance)) for _ in range(2)
    )
    for part, tokens in mine.tokens.items():
        twice = min(tokens, seen.tokens.get(part, 0))
        kept.add(part, tokens - twice, None)
        again.add(part, twice or None, None)
    return mine, kept, again


def beyond(told: Row, before: Sequence[Row]) -> tuple[Row, Row]:
    """What one format tells beyond what others have told of the same usage: that, and what is told again.

    Counts that several tell are one usage; so is money, of which the first format that tells any is believed: of a
    later one only the part that goes with counts which are new.
    """
    seen = Row()
    for each in before:
        seen.merge(each)
    mine, kept, again = _told_twice(told, seen)
    for part, nanos in mine.nanos.items():
        # Of money the same share is new as of the counts it goes with; without counts none of it can be told from what
        # was seen.
        counts, new = mine.tokens.get(part, 0), kept.tokens.get(part, 0)
        if part is Part.WHOLE:
            counts, new = mine.total_tokens, kept.total_tokens
        stays = nanos if not seen.nanos else nanos * new // counts if counts else 0
        kept.add(part, None, stays)
        again.add(part, None, nanos - stays)
    return kept, again


def less(told: Row, inside: Row) -> tuple[Row, Row]:
    """What a sum tells beyond some of what it is the sum of: that, and what is told again.

    What is left of money within what both are rounded to is none.
    """
    mine, kept, again = _told_twice(told, inside)
    rounded = sum(told.tolerance.values()) + sum(inside.tolerance.values())
    ahead = inside.total_nanos
    if ahead and 0 < told.total_nanos - ahead <= rounded:
        ahead = told.total_nanos
    for part, nanos in sorted(mine.nanos.items(), key=lambda item: item[0] is Part.WHOLE):
        twice = min(nanos, ahead)
        ahead -= twice
        kept.add(part, None, nanos - twice)
        again.add(part, None, twice)
    return kept, again


# --- bill lines ------------------------------------------------------------------------------------------------------
# Lines of bills and of the ledger in one form, so that they can be held against each other.


_CENT = NANOS_PER_UNIT // 100
_PARTS = (Part.INPUT, Part.CACHE_READ, Part.CACHE_WRITE, Part.OUTPUT, Part.OTHER)
_TICK = timedelta(microseconds=1)


@value(frozen=True, slots=True)
class LedgerLine:
    """What was recorded of one response or call, its cost by part.

    `ids` are those that a bill may name it by. `is_bare` says that its record names no provider, so that its key has
    the model's maker and a bill may know better. `is_final` is false where the output is a lower bound. `price_key` is
    what the price list knows the model by; `is_assumed` says that it knows no price of it, and `certainty` how
    sure the price is that it was recorded at.
    """

    at: datetime
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

    def add_to(self, row: Row) -> None:
        """Count this line into a row."""
        tokens = self.tokens
        written = tokens.cache_write_5m + tokens.cache_write_1h
        counts = (tokens.fresh_input, tokens.cache_read, written, tokens.output, None)
        for part, count, nanos in zip(_PARTS, counts, self.nanos, strict=True):
            if count or nanos:
                row.add(part, count, nanos)
        row.lines += 1
        row.partial += not self.is_final
        row.sessions[self.who] = row.sessions.get(self.who, 0) + self.cost_nanos
        row.prices.add(self.price_key)


class Estimate(NamedTuple):
    """A call's estimate, where its first response stands: the model as that names it, else as it was asked for."""

    nanos: int
    at_us: int
    model: str
    provider: str | None
    client: str | None


@value(frozen=True, slots=True)
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


def line_usage(billed: Billed) -> Row | None:
    """What a line tells of its usage, or None where it tells neither counts nor money."""
    line, counts, told = billed.line, billed.line.tokens, Row(by_class=billed.line.token_class is not None)
    # One sum of all that was read is taken where the classes are not all told: a class that is missing would look like
    # none.
    if counts.read is not None and (counts.fresh_input is None or counts.cache_read is None):
        inputs: dict[Part, int | None] = {Part.READ: counts.read}
    else:
        inputs = dict(zip(INPUTS, (counts.fresh_input, counts.cache_read, counts.cache_write), strict=True))
    for part, count in {Part.OUTPUT: counts.output, **inputs}.items():
        told.add(part, count, None)
    if billed.nanos is not None and not billed.is_included:
        part = Part.WHOLE if line.token_class is None else Part(line.token_class)
        told.tolerance[part] = billed.unit_nanos
        told.add(part, None, billed.nanos)
    return told if told.nanos or told.tokens else None


# --- cells -----------------------------------------------------------------------------------------------------------
# What was recorded of a day and model, and where it has ended once a bill was held against it.


class How(StrEnum):
    """What lines were held against each other by."""

    REQUEST = "request"
    DAY = "day"
    SPAN = "span"


@value(slots=True)
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
    recorded: Row = field(default_factory=Row)
    hidden: tuple[int, int] = (0, 0)
    billed_as: ModelKey | None = None

    def take(self, outcome: Outcome, recorded: Row) -> None:
        """Count in a comparison and what was recorded in it."""
        more = outcome.shares.get(Bucket.BILL_ONLY)
        if more is not None and Bucket.LEDGER_ONLY not in outcome.shares and recorded.lines:
            billed = more.billed
            # Output alone, and everything recorded was found in the bill: the provider counts what it does not show,
            # such as reasoning.
            if not any(billed.tokens.get(part) for part in (*INPUTS, Part.READ)) and billed.tokens.get(Part.OUTPUT):
                tokens, nanos = self.hidden
                self.hidden = (tokens + billed.tokens[Part.OUTPUT], nanos + billed.nanos.get(Part.OUTPUT, 0))
        self.outcome.merge(outcome)
        self.recorded.merge(recorded)

    def rest(self) -> Row | None:
        """What its comparison has left of the record, which is taken out of its buckets."""
        left = self.outcome.shares.pop(Bucket.LEDGER_ONLY, None)
        if left is None:
            return None
        row = Row()
        row.merge(self.recorded)
        return replace(row, tokens=left.recorded.tokens, nanos=left.recorded.nanos)


@value(slots=True)
class Matched:
    """The whole result. `unplaced` is what bills tell without a model, `credits` what they give back."""

    cells: list[Cell]
    unplaced: Outcome
    credits: dict[tuple[date, ModelKey | None], int]
