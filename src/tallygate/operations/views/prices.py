"""Prices for people and for the gate: what a step would cost, which models have a price."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from tallygate.core.costing import ASSUMED, SERVED_HERE, Certainty, Price, Tokens, certainty_of
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.moments import DAY_US, as_datetime
from tallygate.core.money import to_unit_nanos
from tallygate.core.sums import UsageFilter
from tallygate.core.usage import served_as
from tallygate.core.values import value
from tallygate.operations.runtime import Runtime, scope_here
from tallygate.pricing.book import LOCAL, OVERRIDE
from tallygate.pricing.identifiers import identify
from tallygate.pricing.identity import one_name

if TYPE_CHECKING:
    from tallygate.pricing.tokens import TokenCount


# Of four tokens of an agent's traffic three are read: the usual weighting of a blended rate.
BLEND_INPUT, BLEND_ALL = 3, 4


# What agents choose among, whatever their makers list beside it: these come first where nothing else was used yet.
SEEDS = (
    "claude-opus-4.7", "claude-sonnet-4.6", "claude-haiku-4.5", "gpt-5", "gpt-5-mini", "gemini-2.5-pro",
    "gemini-2.5-flash", "llama-3.3-70b", "step-3.6-flash", "deepseek-r1", "qwen-2.5", "kimi-k2.5", "ollama-local",
)  # fmt: skip
LOCAL_PROVIDER = "local"
IN_USE_DAYS, IN_USE_MAX = 30, 12
# A list of prices that is older is to be fetched anew.
OLD_DAYS = 30
RECORDED_MAX = 10


@value(frozen=True, slots=True)
class ModelLine:
    """One model with its rates, in nano-dollars per million tokens."""

    provider: str
    model: str
    price: Price
    blended_nanos_per_thousand: int


@value(frozen=True, slots=True)
class ModelList:
    """Part of the price table, how large the whole answer would be, and what an unknown model costs.

    One pound is `pound_nanos` nano-dollars, by the rate that `exchange` tells.
    """

    lines: tuple[ModelLine, ...]
    matching: int
    default_nanos_per_thousand: int
    pound_nanos: int
    exchange: str


def list_models(rt: Runtime, *, provider: str | None, query: str | None, limit: int, skip: int = 0) -> ModelList:
    """The models that have a price now: those in use, those that agents choose among, then all that are listed.

    Narrowed by provider and by a part of the id. `skip` leaves out as many, for the pages after the first.
    """
    at = as_datetime(rt.services.clock_us())
    wanted, of = (query or "").lower(), (provider or "").lower()
    found: dict[tuple[str, str], ModelLine] = {}
    first = _first(rt, at)
    named = set() if wanted else {(maker, one_name(model)) for maker, model, _ in first}
    listed = (
        (each.provider, each.id, each.price)
        for each in rt.workspace.prices.models(at, scope_here(rt))
        if wanted or (each.provider, one_name(each.id)) not in named
    )
    for maker, model, price in (*first, *listed):
        if of in ("", maker.lower()) and wanted in model.lower():
            spelled = model.lower().replace(".", "-")  # the list and agents write one name with a dot or a dash
            found.setdefault((maker, spelled), ModelLine(maker, model, price, blended(price)))
    default, pounds = (
        blended(rt.workspace.prices.quote("unknown", at, scope_here(rt))),
        rt.workspace.exchange.rate("GBP", at),
    )
    shown = tuple(found.values())[skip : skip + limit]
    return ModelList(shown, len(found), default, pounds.usd_per_unit_nanos, pounds.text)


def _first(rt: Runtime, at: datetime) -> list[tuple[str, str, Price]]:
    """The models in use, the dearest first, and those that agents choose among, each by one of its names."""
    first, seen = [], set()
    for model in (*_in_use(rt), *SEEDS):
        price = offered(rt, model, at)
        if model and (name := one_name(model)) not in seen:
            seen.add(name)
            first.append((_provider(price, model), model, price))
    return first


def _in_use(rt: Runtime) -> list[str]:
    """The models that most was spent on of late, as responses name them; none where the ledger cannot be read."""
    now_us = rt.services.clock_us()
    chosen = UsageFilter(now_us - IN_USE_DAYS * DAY_US, now_us + DAY_US)
    try:
        with rt.reading() as reader:
            sums = reader.usage_sums(chosen)
    except LedgerUnavailable:
        return []
    spent: dict[str, int] = {}
    for each in sums:
        if each.model.isprintable():
            spent[each.model] = spent.get(each.model, 0) + each.nanos
    return sorted(spent, key=lambda model: (-spent[model], model))[:IN_USE_MAX]


def _provider(price: Price, model: str) -> str:
    """Who serves a model, as its price or its id says."""
    if price.source == LOCAL:
        return LOCAL_PROVIDER
    named, colon, _ = price.key.partition(":")
    return named if colon and price.source not in (OVERRIDE, ASSUMED) else identify(model).vendor or price.source


def blended(price: Price) -> int:
    """Nano-dollars per 1,000 tokens, three of four of them read."""
    rates = price.rates
    total = BLEND_INPUT * rates.input_nanos + (BLEND_ALL - BLEND_INPUT) * rates.output_nanos
    return -(-total // (BLEND_ALL * 1000))


def count_text(rt: Runtime, text: str, model: str) -> TokenCount:
    """How many tokens a text has for a model, and how that was found; never asks the network."""
    from tallygate.pricing.tokens import count_tokens

    return count_tokens(text, model, rt.workspace.around.environ)


def offered(rt: Runtime, model: str, at: datetime) -> Price:
    """The price of a model for people: one that runs on their machine is free, and when a gate takes it so is said."""
    price = rt.workspace.prices.quote(model, at, scope_here(rt))
    here = rt.workspace.prices.quote(model, at, scope_here(rt), SERVED_HERE)
    if here == price:
        return price
    note = "Free where it runs on this machine. A gate takes it so once your client's record names the runtime, or"
    return replace(here, warning=f"{note} your config.toml does:{(price.warning or '').partition('config.toml:')[2]}")


@value(frozen=True, slots=True)
class BookedPrice:
    """What responses of a model were booked at: the id that was priced, and the price as it is kept.

    `to_paste` are the settings that would make the price known, none where it is.
    """

    model: str
    responses: int
    nanos: int
    key: str
    certainty: Certainty
    input_nanos: int
    output_nanos: int
    to_paste: str


def recorded(rt: Runtime, query: str) -> list[BookedPrice]:
    """What responses of a model got, the dearest first: who serves it may make another price of it than is listed."""
    at, scope = as_datetime(rt.services.clock_us()), scope_here(rt)
    try:
        with rt.reading() as reader:
            models = [model for model in reader.usage_models() if model == query or one_name(model) == one_name(query)]
            sums = reader.usage_served(models, RECORDED_MAX) if models else []
            bases = {each.price_id: json.loads(reader.price_basis(each.price_id) or "{}") for each in sums}
    except LedgerUnavailable:
        return []
    found: dict[tuple[object, ...], BookedPrice] = {}
    for each in sums:
        basis, served = bases[each.price_id], served_as(each.model, each.provider, each.speed)
        if not basis:
            continue
        certainty = certainty_of(basis["source"], known=basis["known"], approximate=basis["approximate"])
        rates = basis["rates"]
        lines = "" if certainty is Certainty.KNOWN else rt.workspace.prices.to_paste(served, at, scope)
        # Two lists, or two days, may have the same price for it.
        told = (basis["key"], certainty, rates["input_nanos"], rates["output_nanos"])
        before = found.get((served, *told))
        responses, nanos = (0, 0) if before is None else (before.responses, before.nanos)
        responses, nanos = responses + each.responses, nanos + each.nanos
        found[served, *told] = BookedPrice(served, responses, nanos, *told, lines)
    return list(found.values())


@value(frozen=True, slots=True)
class CostEstimate:
    """What a step would cost, in dollars and in pounds, and where the price comes from."""

    price: Price
    usd_nanos: int
    gbp_nanos: int
    exchange: str
    prices_as_of: str


def estimate_cost(rt: Runtime, model: str, tokens: Tokens) -> CostEstimate:
    """Price counts of tokens for a model as of now; records nothing."""
    at = as_datetime(rt.services.clock_us())
    price = offered(rt, model, at)
    usd = price.cost_nanos(tokens)
    pounds = rt.workspace.exchange.rate("GBP", at)
    return CostEstimate(
        price=price,
        usd_nanos=usd,
        gbp_nanos=to_unit_nanos(usd, pounds.usd_per_unit_nanos),
        exchange=pounds.text,
        prices_as_of=price.valid_from or rt.workspace.prices.info(at).newest_price or "unknown",
    )
