"""Bills and the ledger as lines that can be held against each other: models under one name, amounts in dollars."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple
from datetime import UTC, date, datetime, time
from typing import Any

from tallygate.core.bills.lines import Billed, LedgerLine, ModelKey, Part, split_cost, unit_of
from tallygate.core.costing import ContextTier, Price, Rates, Tokens
from tallygate.core.errors import InvalidArgument
from tallygate.core.model import Call
from tallygate.core.moments import as_datetime
from tallygate.core.money import NANOS_PER_UNIT
from tallygate.core.statements import BilledLine
from tallygate.core.usage import UNKNOWN_MODEL, Quality, priced_as_standard
from tallygate.ledger.port import Reader, StoredUsage
from tallygate.pricing.book import PriceBook
from tallygate.pricing.exchange import USD, ExchangeBook
from tallygate.pricing.identifiers import identify, provider_of
from tallygate.pricing.identity import one_name
from tallygate.pricing.vendors import CHANNELS, VENDORS

# What bills name who names nobody.
_NOBODY = frozenset({"", "unknown", "generic"})
# How bills of Copilot mark a model that it has chosen by itself.
_CHOSEN = "auto:"
# Parts of what a caller kept with a call that name no request.
_NO_IDS = frozenset({"correlation_source", "note"})
# Providers that stand before a model in an id.
_PREFIXES = frozenset({*CHANNELS, *CHANNELS.values(), *VENDORS})
_RATES = {
    Part.INPUT: "input_nanos",
    Part.READ: "input_nanos",
    Part.CACHE_READ: "cache_read_nanos",
    Part.CACHE_WRITE: "cache_write_5m_nanos",
    Part.OUTPUT: "output_nanos",
}


class ModelNames:
    """One name for each model, however bills and clients spell it, under whoever bills it."""

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices
        self._aliases = {alias.strip().lower(): target for alias, target in prices.settings.aliases}
        self._kept: dict[tuple[str, str | None], tuple[ModelKey, bool]] = {}
        self._spelled: dict[ModelKey, str] = {}

    def recorded(self, model: str) -> tuple[ModelKey, bool]:
        """The key of a model as a record names it, and whether the record leaves open who bills it."""
        return self._key(model, None)

    def billed(self, model: str, provider: str) -> ModelKey:
        """The key of a model on a provider's bill: the bill decides who it is."""
        named = provider_of(provider)
        return self._key(model, None if named in _NOBODY else named)[0]

    def spelled(self, key: ModelKey) -> str:
        """An id that prices are asked by."""
        return self._spelled.get(key, key.name)

    def listed(self, model: str, at: datetime) -> Price:
        """The list price of a model."""
        return self._prices.quote(model, at)

    def price(self, key: ModelKey, day: date, part: Part) -> int | None:
        """The list price of a part in nano-dollars per million tokens; None where nobody knows."""
        field = _RATES.get(part)
        if field is None:
            return None
        at = datetime.combine(day, time(12), UTC)
        price = self._prices.known_price(self.spelled(key), at)
        return None if price is None else int(getattr(price.rates, field))

    def _key(self, model: str, provider: str | None) -> tuple[ModelKey, bool]:
        asked = (model, provider)
        if asked not in self._kept:
            self._kept[asked] = self._found(model, provider)
        return self._kept[asked]

    def _found(self, model: str, provider: str | None) -> tuple[ModelKey, bool]:
        text = self._aliases.get(model.strip().lower(), model) or UNKNOWN_MODEL
        if text.lower().startswith(_CHOSEN):
            text = text[len(_CHOSEN) :].lstrip() or UNKNOWN_MODEL
        found = identify(text, self._prices.settings.local_channels)
        vendor = VENDORS.get(found.vendor or "")
        maker = (vendor.provider if vendor is not None else None) or found.vendor or ""
        named = found.channel or (provider_of(found.org) if found.org else None)
        if named not in _PREFIXES:
            named = None  # what somebody calls a provider in a client's settings: it does not say who bills
        bare = provider is None and named is None
        key = ModelKey(provider or named or maker, one_name(text))
        own = key.provider in (maker, found.channel) or key.provider not in _PREFIXES
        self._spelled.setdefault(key, text if own else f"{key.provider}/{text}")
        return key, bare


class Bases:
    """The prices that costs in the ledger rest on, each read once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._kept: dict[str, Price] = {}

    def price(self, price_id: str | None) -> Price:
        """A price by its id; where the ledger has none, one at which nothing costs anything."""
        name = price_id or ""
        if name not in self._kept:
            basis = self._reader.price_basis(name) if name else None
            self._kept[name] = price_from({} if basis is None else json.loads(basis))
        return self._kept[name]


def price_from(basis: Mapping[str, Any]) -> Price:
    """The price that a stored basis tells of."""
    tiers = tuple(ContextTier(tier["above_context_tokens"], _rates(tier)) for tier in basis.get("tiers", ()))
    return Price(
        key=str(basis.get("key", "")),
        rates=_rates(basis.get("rates", {})),
        source=str(basis.get("source", "")),
        version=str(basis.get("version", "")),
        tiers=tiers,
        per_request_nanos=int(basis.get("per_request_nanos", 0)),
        per_search_nanos=int(basis.get("per_search_nanos", 0)),
        valid_from=basis.get("valid_from"),
        known=bool(basis.get("known", False)),
        approximate=bool(basis.get("approximate", False)),
    )


def _rates(told: Mapping[str, Any]) -> Rates:
    names = ("input_nanos", "output_nanos", "cache_read_nanos", "cache_write_5m_nanos", "cache_write_1h_nanos")
    return Rates(*(int(told.get(name, 0)) for name in names))


def line_of_response(stored: StoredUsage, client: str, names: ModelNames, bases: Bases) -> LedgerLine:
    """A response that a client wrote down."""
    row, price = stored.row, bases.price(stored.price_id)
    key, bare = names.recorded(priced_as_standard(row))
    whole = row.response_key
    return LedgerLine(
        at=row.at,
        key=key,
        tokens=row.tokens,
        nanos=split_cost(row.tokens, price, stored.cost_nanos),
        client=client,
        session_id=stored.session_id,
        ids=_ids(row.request_id, whole, whole.partition(":")[0], whole.rpartition("/")[2]),
        is_final=row.quality is Quality.FINAL,
        is_bare=bare,
        price_key=price.key if price.known else row.model,
        is_assumed=not price.known,
        certainty=price.certainty,
    )


def line_of_call(call: Call, client: str, names: ModelNames, bases: Bases) -> LedgerLine:
    """A call whose usage its agent reported."""
    model, tokens = call.model_used or call.model_requested, call.actual or Tokens()
    price = bases.price(call.actual_price_id or call.price_id)
    # What another program counted comes without rates: its parts are those of the list.
    rated = price if any(astuple(price.rates)) else names.listed(model, as_datetime(call.at_us))
    key, bare = names.recorded(model)
    told = json.loads(call.correlation) if call.correlation else {}
    kept = [str(value) for name, value in sorted(told.items()) if name not in _NO_IDS and value]
    return LedgerLine(
        at=as_datetime(call.at_us),
        key=key,
        tokens=tokens,
        nanos=split_cost(tokens, rated, call.booked_nanos, is_basis=rated is price),
        client=client,
        session_id=call.session_id,
        ids=_ids(*kept, call.call_id),
        is_bare=bare,
        price_key=rated.key if rated.known else model,
        is_assumed=not rated.known,
        certainty=rated.certainty,
    )


def _ids(*names: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


class Dollars:
    """Lines of bills in dollars, at the rate of their day; `texts` are the rates that were used, by currency."""

    def __init__(self, exchange: ExchangeBook) -> None:
        self._exchange = exchange
        self._kept: dict[tuple[str, date], int | None] = {}
        self.texts: dict[str, str] = {}
        self.without_rate: dict[str, int] = {}

    def line(self, billed: BilledLine, names: ModelNames) -> Billed:
        """A line with its model's key and its amount in dollars; no amount where there is no rate."""
        line = billed.line
        key = None if line.model is None else names.billed(line.model, line.provider)
        rate = self._rate(billed.currency, line.at) if line.cost_nanos is not None else None
        nanos, unit = None, 1
        if line.cost_nanos is not None and rate is not None:
            nanos = (2 * line.cost_nanos * rate + NANOS_PER_UNIT) // (2 * NANOS_PER_UNIT)
            unit = -(-unit_of(line.cost_nanos) * rate // NANOS_PER_UNIT) + (rate != NANOS_PER_UNIT)
        return Billed(line, billed.bill_id, billed.format, key, nanos, unit)

    def _rate(self, currency: str, at: datetime) -> int | None:
        if currency == USD:
            return NANOS_PER_UNIT
        day = (currency, at.astimezone(UTC).date())
        if day not in self._kept:
            try:
                rate = self._exchange.rate(currency, at)
            except InvalidArgument:
                self._kept[day] = None
            else:
                self._kept[day] = rate.usd_per_unit_nanos
                self.texts[currency] = rate.text
        if self._kept[day] is None:
            self.without_rate[currency] = self.without_rate.get(currency, 0) + 1
        return self._kept[day]
