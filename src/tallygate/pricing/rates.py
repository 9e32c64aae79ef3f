"""Decimal dollars as integer rates, and rates times a factor: the only arithmetic that prices need."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, Decimal

from tallygate.core.costing import ContextTier, Price, Rates
from tallygate.core.money import NANOS_PER_UNIT


def nanos_per_million(dollars: Decimal) -> int:
    """Dollars per million tokens as nano-dollars, upwards."""
    return _up(dollars * NANOS_PER_UNIT)


def scaled(price: Price, by: Decimal) -> Price:
    """A price with every rate and fee multiplied, each rounded upwards."""
    return replace(
        price,
        rates=_scaled_rates(price.rates, by),
        tiers=tuple(ContextTier(tier.above_context_tokens, _scaled_rates(tier.rates, by)) for tier in price.tiers),
        per_request_nanos=_up(price.per_request_nanos * by),
        per_search_nanos=_up(price.per_search_nanos * by),
    )


def longer(rates: Rates, above_tokens: int, input_percent: int, output_percent: int) -> ContextTier:
    """The rates of a longer context, as hundredths of the usual ones of all that is read and of what is written."""
    by, output = Decimal(input_percent) / 100, Decimal(output_percent) / 100
    read = _scaled_rates(rates, by)
    return ContextTier(above_tokens, replace(read, output_nanos=_up(rates.output_nanos * output)))


def in_proportion(own: Price, rates: Rates) -> tuple[ContextTier, ...]:
    """The longer contexts of a price, for somebody who asks other rates for the same model."""
    return tuple(ContextTier(t.above_context_tokens, _like(rates, own.rates, t.rates)) for t in own.tiers)


def scaled_like(price: Price, base: Rates, other: Price) -> tuple[Rates, tuple[ContextTier, ...]]:
    """A price's rates as those of another price are to their base, class by class; the same for longer contexts."""
    rates = _like(price.rates, base, other.rates)
    if not other.tiers:
        return rates, price.tiers
    return rates, tuple(ContextTier(t.above_context_tokens, _like(t.rates, base, other.rates)) for t in price.tiers)


def _like(rates: Rates, base: Rates, other: Rates) -> Rates:
    def rate(own: int, was: int, is_: int) -> int:
        return -(-own * is_ // was) if was else own

    return Rates(
        input_nanos=rate(rates.input_nanos, base.input_nanos, other.input_nanos),
        output_nanos=rate(rates.output_nanos, base.output_nanos, other.output_nanos),
        cache_read_nanos=rate(rates.cache_read_nanos, base.cache_read_nanos, other.cache_read_nanos),
        cache_write_5m_nanos=rate(rates.cache_write_5m_nanos, base.cache_write_5m_nanos, other.cache_write_5m_nanos),
        cache_write_1h_nanos=rate(rates.cache_write_1h_nanos, base.cache_write_1h_nanos, other.cache_write_1h_nanos),
    )


def _scaled_rates(rates: Rates, by: Decimal) -> Rates:
    return Rates(
        input_nanos=_up(rates.input_nanos * by),
        output_nanos=_up(rates.output_nanos * by),
        cache_read_nanos=_up(rates.cache_read_nanos * by),
        cache_write_5m_nanos=_up(rates.cache_write_5m_nanos * by),
        cache_write_1h_nanos=_up(rates.cache_write_1h_nanos * by),
    )


def _up(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_CEILING))
