"""Prices for people and for the gate: what a step would cost, which models have a price."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from tallygate.core.costing import SERVED_HERE, Price, Tokens
from tallygate.core.moments import as_datetime
from tallygate.core.money import to_unit_nanos
from tallygate.operations.runtime import Runtime
from tallygate.operations.scope import scope_here

if TYPE_CHECKING:
    from tallygate.pricing.tokens import TokenCount

# Of four tokens of an agent's traffic three are read: the usual weighting of a blended rate.
BLEND_INPUT, BLEND_ALL = 3, 4


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model with its rates, in nano-dollars per million tokens."""

    provider: str
    model: str
    price: Price
    blended_nanos_per_thousand: int


@dataclass(frozen=True, slots=True)
class ModelList:
    """Part of the price table, how large the whole answer would be, and what an unknown model costs."""

    lines: tuple[ModelLine, ...]
    matching: int
    default_nanos_per_thousand: int


def list_models(rt: Runtime, *, provider: str | None, query: str | None, limit: int) -> ModelList:
    """The models that have a price now, narrowed by provider and by a part of the id."""
    at = as_datetime(rt.clock_us())
    wanted = (query or "").lower()
    found = []
    for listed in rt.prices.models(at, scope_here(rt)):
        if provider is not None and listed.provider.lower() != provider.lower():
            continue
        if wanted and wanted not in listed.id.lower():
            continue
        found.append(ModelLine(listed.provider, listed.id, listed.price, blended(listed.price)))
    default = blended(rt.prices.quote("unknown", at, scope_here(rt)))
    return ModelList(tuple(found[:limit]), len(found), default)


def blended(price: Price) -> int:
    """Nano-dollars per 1,000 tokens, three of four of them read."""
    rates = price.rates
    total = BLEND_INPUT * rates.input_nanos + (BLEND_ALL - BLEND_INPUT) * rates.output_nanos
    return -(-total // (BLEND_ALL * 1000))


def count_text(text: str, model: str) -> TokenCount:
    """How many tokens a text has for a model, and how that was found; never asks the network."""
    from tallygate.pricing.tokens import count_tokens

    return count_tokens(text, model)


def offered(rt: Runtime, model: str, at: datetime) -> Price:
    """The price of a model for people: one that runs on their machine is free, and when a gate takes it so is said."""
    price = rt.prices.quote(model, at, scope_here(rt))
    here = rt.prices.quote(model, at, scope_here(rt), SERVED_HERE)
    if here == price:
        return price
    note = "Free where it runs on this machine. A gate takes it so once your client's record names the runtime, or"
    return replace(here, warning=f"{note} your config.toml does:{(price.warning or '').partition('config.toml:')[2]}")


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a step would cost, in dollars and in pounds, and where the price comes from."""

    price: Price
    usd_nanos: int
    gbp_nanos: int
    exchange: str
    prices_as_of: str


def estimate_cost(rt: Runtime, model: str, tokens: Tokens) -> CostEstimate:
    """Price counts of tokens for a model as of now; records nothing."""
    at = as_datetime(rt.clock_us())
    price = offered(rt, model, at)
    usd = price.cost_nanos(tokens)
    pounds = rt.exchange.rate("GBP", at)
    return CostEstimate(
        price=price,
        usd_nanos=usd,
        gbp_nanos=to_unit_nanos(usd, pounds.usd_per_unit_nanos),
        exchange=pounds.text,
        prices_as_of=price.valid_from or rt.prices.info(at).newest_price or "unknown",
    )
