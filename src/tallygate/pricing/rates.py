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
