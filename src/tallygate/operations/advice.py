"""What comes of a review: lines for the settings where a price differs constantly, and factors for estimates."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from tallygate.core.authority import Authority
from tallygate.core.bills.lines import Part
from tallygate.core.bills.review import MILLION, PriceDiffers, rounded_rate
from tallygate.core.costing import ASSUMED
from tallygate.core.moments import as_datetime
from tallygate.core.money import exact_text
from tallygate.operations.bill_keys import ModelNames
from tallygate.operations.learning.estimates import apply_factors
from tallygate.operations.runtime import Runtime
from tallygate.pricing.book import LOCAL, OVERRIDE
from tallygate.reports.drift import Paste, Review

# A discount is one on the list.
_NOT_LISTED = frozenset({OVERRIDE, LOCAL, ASSUMED})
_FIELDS = {
    Part.INPUT: "input",
    Part.OUTPUT: "output",
    Part.CACHE_READ: "cache_read",
    Part.CACHE_WRITE: "cache_write_5m",
}


def pastes_for(differing: Iterable[PriceDiffers], rt: Runtime, names: ModelNames) -> list[Paste]:
    """For each price that differs the row that would settle it: a discount on the list, else a price of its own."""
    now = as_datetime(rt.clock_us()).astimezone(UTC)
    return [_paste(each, rt, names.spelled(each.key), now) for each in differing]


def _paste(each: PriceDiffers, rt: Runtime, model: str, now: datetime) -> Paste:
    days = "day" if each.days == 1 else "days"
    why = f"{each.key.text} is billed at {_factor(each.micros)} times the recorded price on {each.days:,} {days}"
    price = rt.prices.quote(model, now)
    name = model.replace("\\", "\\\\").replace('"', '\\"')
    rates = dict(each.rates)
    if not rates and price.source not in _NOT_LISTED:
        return Paste(why, f'[[discount]]\nmatch = "{name}"\nmultiplier = {_factor(each.micros)}')
    if not rates:
        own = price.rates
        rates = {
            Part.INPUT: own.input_nanos * each.micros // MILLION,
            Part.OUTPUT: own.output_nanos * each.micros // MILLION,
            Part.CACHE_READ: own.cache_read_nanos * each.micros // MILLION,
            Part.CACHE_WRITE: own.cache_write_5m_nanos * each.micros // MILLION,
        }
    rows = [f"{_FIELDS[part]} = {exact_text(rounded_rate(rates[part]))}" for part in _FIELDS if part in rates]
    return Paste(why, "\n".join(["[[price]]", f'match = "{name}"', *rows]))


def _factor(micros: int) -> str:
    """Four digits: what a percentage with two is written with."""
    whole, part = divmod((micros + 50) // 100, 10_000)
    fraction = f"{part:04d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)


def apply_review(rt: Runtime, found: Review, *, authority: Authority) -> dict[str, int]:
    """Let estimates count with what a review has shown, and say with what: an event, if there is anything to keep.

    A model whose estimates an earlier review has corrected gets the factor it has now, also if that is 1.
    """
    with rt.ledger.reading(rt.tenant) as reader:
        known = reader.calibration_factors()
    factors = found.factors()
    for each in found.billed_factors:
        for price in each.prices:
            if each.micros is not None and each.is_kept and known.get(price, (each.micros,))[0] != each.micros:
                factors[price] = each.micros
    if factors:
        apply_factors(rt, factors, found.span, authority=authority)
    return factors
