"""What a review implies: by how much bills are above the record, and the record above estimates; prices that differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tallygate.core.bill_lines import ModelKey
from tallygate.core.cells import Cell
from tallygate.core.money import NANOS_PER_UNIT, TOKENS_PER_RATE
from tallygate.core.reviewing import MILLION, Line, ratio_micros
from tallygate.core.tallies import Amounts, Bucket, Gap, Part, Share

# Fewer responses or calls than this say nothing that the next one would not turn over.
ENOUGH = 10
# A factor this near to one changes nothing that an estimate could tell.
_NEAR_MICROS = 1_000
# What the ledger takes for a factor.
_LEAST, _MOST = 1_000, 1_000 * MILLION
# A price differs constantly if its days are within this share of each other.
_CONSTANT = 200


@dataclass(frozen=True, slots=True)
class BilledFactor:
    """Billed by recorded for one model, over what was compared. `prices` are the keys that estimates know it by.

    No factor where too little was compared.
    """

    key: ModelKey
    prices: tuple[str, ...]
    responses: int
    tokens: int
    recorded_nanos: int
    billed_nanos: int
    micros: int | None

    @property
    def is_off(self) -> bool:
        """Whether it says anything to correct estimates by."""
        return self.is_kept and abs((self.micros or MILLION) - MILLION) >= _NEAR_MICROS

    @property
    def is_kept(self) -> bool:
        """Whether the ledger takes it for a factor."""
        return self.micros is not None and _LEAST <= self.micros <= _MOST


@dataclass(frozen=True, slots=True)
class EstimateFactor:
    """Recorded by estimated for one client and model, where both are known."""

    client: str
    model: str
    calls: int
    estimate_nanos: int
    recorded_nanos: int
    micros: int | None


@dataclass(frozen=True, slots=True)
class PriceDiffers:
    """A price that a bill has otherwise, in the same way on all days.

    `rates` are nano-dollars per million tokens as billed, by part, where the bill tells money by part.
    """

    key: ModelKey
    prices: tuple[str, ...]
    days: int
    micros: int
    rates: tuple[tuple[Part, int], ...] = ()


def billed_factors(cells: Iterable[Cell]) -> list[BilledFactor]:
    """The factor of each model, the largest amount first.

    A plan's use, a model that was billed as another, and what was compared by money alone say nothing about it; nor do
    counts without money, unless they show output that was hidden.
    """
    sums: dict[ModelKey, tuple[set[str], list[int]]] = {}
    for cell in cells:
        if cell.included or cell.billed_as is not None or Gap.NO_COUNTS in cell.outcome.gaps:
            continue
        both = [cell.outcome.shares[b] for b in (Bucket.MATCHED, Bucket.PRICE_DRIFT) if b in cell.outcome.shares]
        recorded = sum(share.recorded.total_nanos for share in both)
        billed = sum(share.billed.total_nanos for share in both)
        if not recorded or (cell.outcome.priced_nanos >= billed and not cell.hidden[0]):
            continue
        tokens = sum(share.recorded.total_tokens for share in both)
        names, amounts = sums.setdefault(cell.key, (set(), [0, 0, 0, 0]))
        names |= cell.recorded.prices
        more = (cell.recorded.lines, tokens, recorded, billed + cell.hidden[1])
        amounts[:] = [a + b for a, b in zip(amounts, more, strict=True)]
    found = []
    for key, (names, (responses, tokens, recorded, billed)) in sums.items():
        micros = ratio_micros(billed, recorded) if responses >= ENOUGH else None
        found.append(BilledFactor(key, tuple(sorted(names)), responses, tokens, recorded, billed, micros))
    return sorted(found, key=lambda factor: (-factor.recorded_nanos, factor.key))


def estimate_factors(lines: Iterable[Line]) -> list[EstimateFactor]:
    """The factor of each client and model, the largest amount first."""
    sums: dict[tuple[str, str], list[int]] = {}
    for line in lines:
        if line.place.who is None or line.estimate_nanos is None or line.recorded_nanos is None:
            continue
        key = (line.place.who.client, line.place.model)
        more = (line.calls, line.estimate_nanos, line.recorded_nanos)
        sums[key] = [a + b for a, b in zip(sums.get(key, (0, 0, 0)), more, strict=True)]
    found = [
        EstimateFactor(*key, calls, estimate, recorded, ratio_micros(recorded, estimate) if calls >= ENOUGH else None)
        for key, (calls, estimate, recorded) in sums.items()
    ]
    return sorted(found, key=lambda factor: (-factor.recorded_nanos, factor.client, factor.model))


def prices_that_differ(cells: Iterable[Cell]) -> list[PriceDiffers]:
    """Models whose bill has another price on every day that was compared, by the same factor or at the same rates."""
    by_key: dict[ModelKey, list[Cell]] = {}
    for cell in cells:
        compared = Bucket.MATCHED in cell.outcome.shares or Bucket.PRICE_DRIFT in cell.outcome.shares
        if compared and not cell.included and cell.billed_as is None and Gap.NO_COUNTS not in cell.outcome.gaps:
            by_key.setdefault(cell.key, []).append(cell)
    found = [_differs(key, mine) for key, mine in sorted(by_key.items())]
    return [each for each in found if each is not None]


def _differs(key: ModelKey, cells: list[Cell]) -> PriceDiffers | None:
    drifts = [cell.outcome.shares[Bucket.PRICE_DRIFT] for cell in cells if Bucket.PRICE_DRIFT in cell.outcome.shares]
    matched = [cell.outcome.shares[Bucket.MATCHED] for cell in cells if Bucket.MATCHED in cell.outcome.shares]
    recorded, billed = Amounts(), Amounts()
    for share in [*drifts, *matched]:
        recorded.merge(share.recorded)
        billed.merge(share.billed)
    drifting = sum(share.recorded.total_nanos for share in drifts)
    agreeing = sum(share.recorded.total_nanos for share in matched)
    prices = tuple(sorted({price for cell in cells for price in cell.recorded.prices}))
    micros = ratio_micros(billed.total_nanos, recorded.total_nanos)
    if not drifting or micros is None or not billed.total_nanos:
        return None
    ratios = [ratio_micros(share.billed.total_nanos, share.recorded.total_nanos) or 0 for share in drifts]
    if agreeing * 100 <= drifting and _alike(ratios):
        return PriceDiffers(key, prices, len(drifts), micros)
    by_part = {
        part: [_rate(share.billed, part) for cell in cells for share in _priced(cell, part)]
        for part in (Part.INPUT, Part.CACHE_READ, Part.CACHE_WRITE, Part.OUTPUT)
    }
    if any(rates and not _alike(rates) for rates in by_part.values()):
        return None
    known = tuple((part, sum(rates) // len(rates)) for part, rates in by_part.items() if rates)
    has_both = {Part.INPUT, Part.OUTPUT} <= {part for part, _ in known}
    return PriceDiffers(key, prices, len(drifts), micros, known) if has_both else None


def _priced(cell: Cell, part: Part) -> list[Share]:
    shares = [cell.outcome.shares[b] for b in (Bucket.MATCHED, Bucket.PRICE_DRIFT) if b in cell.outcome.shares]
    return [share for share in shares if share.billed.tokens.get(part) and share.billed.nanos.get(part)]


def _rate(amounts: Amounts, part: Part) -> int:
    return (2 * amounts.nanos[part] * TOKENS_PER_RATE + amounts.tokens[part]) // (2 * amounts.tokens[part])


def _alike(values: list[int]) -> bool:
    return (max(values) - min(values)) * _CONSTANT <= max(values)


def rounded_rate(nanos: int) -> int:
    """A rate to the hundredth of a cent per million tokens, as price lists have them."""
    unit = NANOS_PER_UNIT // 10_000
    return (nanos + unit // 2) // unit * unit
