"""What the settings say about prices, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tallygate.core.errors import SettingsError
from tallygate.pricing.exchange import Rate
from tallygate.pricing.overrides import Discount, PriceOverride
from tallygate.pricing.vendors import LOCAL_CHANNELS


@dataclass(frozen=True, slots=True)
class PricingSettings:
    """What the settings say about prices: `[[price]]`, `[[discount]]`, `[alias]`, `[unknown_price]`.

    The unknown rate is per 1,000 tokens in its currency. Where it has no exchange rate of its own, the book of
    exchange rates makes dollars of it. An id alone makes nothing free: `local_is_said` where the user has written down
    the channels that run on this machine, `local_models` are ids that they have named for it elsewhere.
    """

    overrides: tuple[PriceOverride, ...] = ()
    discounts: tuple[Discount, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    unknown_input_per_thousand: Decimal = Decimal("0.025")
    unknown_output_per_thousand: Decimal = Decimal("0.025")
    unknown_currency: str = "GBP"
    unknown_exchange: Rate | None = None
    local_channels: tuple[str, ...] = LOCAL_CHANNELS
    local_is_said: bool = False
    local_models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("unknown_input_per_thousand", "unknown_output_per_thousand"):
            value: Decimal = getattr(self, name)
            if not (value.is_finite() and 0 < value <= 1000):
                raise SettingsError(
                    f"{name} must be more than 0 and at most 1,000, not {value}.",
                    hint="A model that costs nothing needs a [[price]] with input = 0 and output = 0.",
                )
