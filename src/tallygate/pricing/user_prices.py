"""What the settings say of prices: one value, and the text that is kept with the sessions it was in force for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import date
from decimal import Decimal
from typing import Any

from tallygate.core.errors import SettingsError
from tallygate.core.values import value
from tallygate.pricing.exchange import Rate
from tallygate.pricing.overrides import Discount, PriceOverride
from tallygate.pricing.vendors import LOCAL_CHANNELS


@value(frozen=True, slots=True)
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


# --- kept ------------------------------------------------------------------------------------------------------------
# What settings say of prices, as text that is kept with the sessions it was in force for, and back.


_DECIMALS = frozenset({
    "input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "multiplier", "unknown_input_per_thousand",
    "unknown_output_per_thousand",
})  # fmt: skip
_DAYS = frozenset({"valid_from", "valid_to"})


@value(frozen=True, slots=True)
class PriceList:
    """Prices that settings set: the user's, and those of a project that count where they are dearer."""

    own: PricingSettings
    dearer: PricingSettings | None = None

    @property
    def text(self) -> str:
        """The same rows are the same text, however they are written."""
        stated = {"own": _stated(self.own), "dearer": None if self.dearer is None else _stated(self.dearer)}
        return json.dumps(stated, separators=(",", ":"), sort_keys=True)

    @property
    def list_id(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @staticmethod
    def from_text(text: str) -> PriceList:
        """A list that was kept. Raises `ValueError` and others where it is none."""
        found = json.loads(text)
        return PriceList(_read(found["own"]), None if found["dearer"] is None else _read(found["dearer"]))

    def rows(self) -> Iterator[tuple[str, PriceOverride | Discount | str | None]]:
        """Each row for people, those that wait for nobody's yes; and what it is of: a row, or the model it names."""
        for row in self.own.overrides:
            yield f"[[price]] {row.match} {_number(row.input)} in, {_number(row.output)} out{_narrowed(row)}", row
        for discount in self.own.discounts:
            yield f"[[discount]] {discount.match} x{_number(discount.multiplier)}{_narrowed(discount)}", discount
        for alias, target in self.own.aliases:
            yield f"alias {alias} = {target}", alias
        for model in self.own.local_models:
            yield f"local model {model}", model
        if self.own.local_is_said:
            yield f"local_channels {', '.join(self.own.local_channels)}", None


def _stated(settings: PricingSettings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in fields(PricingSettings):
        value = getattr(settings, each.name)
        if each.name in ("overrides", "discounts"):
            found[each.name] = [_row(row) for row in value]
        elif isinstance(value, Rate):
            found[each.name] = [value.usd_per_unit_nanos, value.day.isoformat(), value.source, value.code]
        else:
            found[each.name] = _number(value) if isinstance(value, Decimal) else value
    return found


def _number(value: Decimal) -> str:
    """The same number is the same text: 3 and 3.00 are one price."""
    return f"{value.normalize():f}"


def _narrowed(row: PriceOverride | Discount) -> str:
    names = ("provider", "tenant", "project", "session", "cache_read", "cache_write_5m", "cache_write_1h")
    found = [(name, getattr(row, name, None)) for name in names]
    dates = [("from", row.valid_from), ("until", row.valid_to)]
    return "".join(f", {name} {value}" for name, value in (*found, *dates) if value is not None)


def _row(row: PriceOverride | Discount) -> dict[str, Any]:
    values = ((each.name, getattr(row, each.name)) for each in fields(row))
    return {
        name: _number(value) if isinstance(value, Decimal) else value.isoformat() if isinstance(value, date) else value
        for name, value in values
        if value is not None and value is not False and value != ""
    }


def _read(stated: Mapping[str, Any]) -> PricingSettings:
    known = {each.name for each in fields(PricingSettings)}
    found: dict[str, Any] = {name: _value(name, value) for name, value in stated.items() if name in known}
    found["overrides"] = tuple(PriceOverride(**_values(row)) for row in stated["overrides"])
    found["discounts"] = tuple(Discount(**_values(row)) for row in stated["discounts"])
    found["aliases"] = tuple((alias, target) for alias, target in stated["aliases"])
    if (rate := stated.get("unknown_exchange")) is not None:
        found["unknown_exchange"] = Rate(rate[0], date.fromisoformat(rate[1]), *rate[2:])
    return PricingSettings(**found)


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(name, value) for name, value in row.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and name in _DECIMALS:
        return Decimal(value)
    return date.fromisoformat(value) if isinstance(value, str) and name in _DAYS else value
