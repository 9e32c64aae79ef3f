"""Tokens and money of a cell by part: what was recorded, what a bill tells, and the buckets they end in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum


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
