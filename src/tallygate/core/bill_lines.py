"""Lines of bills and of the ledger in one form, so that they can be held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from tallygate.core.bills import Billing, BillLine, Grain, TokenClass
from tallygate.core.costing import Certainty, Price, Tokens
from tallygate.core.drift import at_rates
from tallygate.core.money import NANOS_PER_UNIT
from tallygate.core.tallies import Amounts, Part, Told

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
