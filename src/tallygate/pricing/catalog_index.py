"""The catalog's entries made searchable and its prices made ours; the one module that touches `genai_prices`.

Imported at first use only: loading the catalog takes a quarter of a second and pulls in pydantic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version
from re import search

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
)
from pydantic import ValidationError

from tallygate.core.costing import ContextTier, Rates
from tallygate.pricing.identifiers import Rest, judge_rest
from tallygate.pricing.rates import nanos_per_million
from tallygate.pricing.vendors import BEDROCK_GEOS, BEDROCK_VENDORS, family_and_vendor

SOURCE = "genai-prices"


@dataclass(frozen=True, slots=True)
class CatalogRates:
    """One set of catalog rates as integers."""

    rates: Rates
    tiers: tuple[ContextTier, ...]
    per_request_nanos: int
    per_search_nanos: int


def bundled_version() -> str:
    """Version of the installed catalog."""
    return version("genai-prices")


def bundled_providers() -> Sequence[Provider]:
    """The catalog that came with the program."""
    return get_snapshot().providers


def providers_of(raw: bytes) -> Sequence[Provider]:
    """A published price list. Raises `ValueError` where it is none, in one line."""
    from genai_prices.types import _providers_from_raw

    try:
        told = json.loads(raw, parse_constant=_no_constant)
        if not isinstance(told, list) or not told:
            raise ValueError("it is no list of providers")
        return _providers_from_raw(told)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))[:120]}: {first['msg'][:120]}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def rates_listed(providers: Sequence[Provider], at: datetime) -> dict[tuple[str, str], Rates]:
    """The rates of every model that has a price per token as of a time, by provider and id."""
    found = {}
    for provider in providers:
        for model in provider.models:
            converted = convert(model, model.get_prices(at))
            if converted is not None:
                found[provider.id, model.id] = converted.rates
    return found


class CatalogIndex:
    """Answers which entry of a provider an id means, and what it leaves unmatched."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = {provider.id: provider for provider in providers}
        self._exact: dict[tuple[str, str], ModelInfo] = {}
        self._hosts: dict[str, list[tuple[str, ModelInfo]]] = {}
        self._open_ended: dict[str, list[ModelInfo]] = {}
        for provider in providers:
            self._open_ended[provider.id] = [m for m in provider.models if not _is_literal(m.match)]
            for model in provider.models:
                for name in dict.fromkeys((*_literals(model.match), model.id.lower())):
                    # The first of two entries under one name, as the list itself would find it.
                    self._exact.setdefault((provider.id, name), model)
                    hosts = self._hosts.setdefault(name.rpartition("/")[2], [])
                    if all(listed is not model for _, listed in hosts):
                        hosts.append((provider.id, model))
        self._converted: dict[int, CatalogRates | None] = {}

    def find(self, provider_id: str, name: str) -> tuple[ModelInfo, Rest] | None:
        """The provider's best entry for a name; `None` where only another model's entry would match."""
        provider = self.providers.get(provider_id)
        if provider is None:
            return None
        # An exact name of any host before what merely begins alike.
        for hosted in (provider_id, *(provider.fallback_model_providers or ())):
            if (exact := self._exact.get((hosted, name))) is not None and exact.is_match(name):
                return exact, Rest.NOTHING
        for hosted in (provider_id, *(provider.fallback_model_providers or ())):
            if found := self._scan(hosted, name):
                return found
        return None

    def is_listed(self, provider_id: str, name: str) -> bool:
        """Whether a provider lists exactly this name."""
        return (provider_id, name) in self._exact

    def hosts(self, name: str) -> list[tuple[str, ModelInfo]]:
        """Every provider that lists exactly this name, whatever organisation it puts before it."""
        return self._hosts.get(name, [])

    def makers(self, name: str) -> Iterator[str]:
        """Providers that claim a bare name as their own."""
        for provider in self.providers.values():
            if provider.model_match is not None and provider.model_match.is_match(name):
                yield provider.id

    def _scan(self, provider_id: str, name: str) -> tuple[ModelInfo, Rest] | None:
        best: tuple[ModelInfo, Rest] | None = None
        longest = -1
        model_family = family_and_vendor(name.rpartition("/")[2])[0]
        for model in self._open_ended.get(provider_id, ()):
            for before, anchor, after in _matches(model.match, name):
                # Before the matched part Bedrock's region and vendor say nothing; other words might.
                if not before or all(w in BEDROCK_GEOS | BEDROCK_VENDORS for w in before.strip("./").split(".")):
                    start = Rest.NOTHING
                else:
                    start = Rest.UNSURE if before.endswith(("-", "/", ".")) else Rest.OTHER_MODEL
                rest = max(start, judge_rest(after, anchor, model_family), key=_DOUBT.index)
                if rest is Rest.OTHER_MODEL or (best and best[1] is Rest.NOTHING and rest is Rest.UNSURE):
                    continue
                settles = best is not None and best[1] is Rest.UNSURE and rest is Rest.NOTHING
                if settles or len(anchor) > longest:
                    best, longest = (model, rest), len(anchor)
        return best

    def converted(self, model: ModelInfo, price: ModelPrice) -> CatalogRates | None:
        """Our rates of a catalog price; `None` where it has no price per token, or a price of nothing."""
        key = id(price)
        if key not in self._converted:
            self._converted[key] = convert(model, price)
        return self._converted[key]


def price_at(model: ModelInfo, at: datetime, speed: str | None) -> tuple[ModelPrice, str | None] | None:
    """The price as of a time with the date it holds from; `None` if that speed had no price then."""
    if speed is not None:
        for variant in model.price_variants or ():
            if set(variant.when.values()) == {speed} and (variant.constraint is None or variant.constraint.active(at)):
                return model.get_prices(at, variant.when), None
        return None
    price = model.get_prices(at)
    if not isinstance(model.prices, ModelPrice):
        for dated in model.prices:
            if dated.prices is price and isinstance(dated.constraint, StartDateConstraint):
                return price, dated.constraint.start_date.isoformat()
    return price, None


@dataclass(frozen=True, slots=True)
class Variant:
    """A price on other terms; before it was `in_force` it is known only from `start` on, beside the `standard` one."""

    price: ModelPrice
    standard: ModelPrice
    in_force: bool
    start: str


def variant_at(model: ModelInfo, at: datetime, when: dict[str, str]) -> Variant | None:
    """The price of a model on other terms as of a time, else the first one it ever had on them."""
    later: tuple[date, ModelPrice] | None = None
    for variant in model.price_variants or ():
        if variant.when != when:
            continue
        constraint = variant.constraint
        if constraint is None or constraint.active(at):
            return Variant(variant.prices, model.get_prices(at), in_force=True, start="")
        if isinstance(constraint, StartDateConstraint) and (later is None or constraint.start_date < later[0]):
            later = constraint.start_date, variant.prices
    if later is None:
        return None
    # At noon: a day that begins elsewhere is still this one.
    start = datetime(later[0].year, later[0].month, later[0].day, 12, tzinfo=UTC)
    return Variant(later[1], model.get_prices(start), in_force=False, start=later[0].isoformat())


def has_speed(model: ModelInfo, speed: str) -> bool:
    """Whether the catalog prices the model apart at that speed."""
    return any(set(variant.when.values()) == {speed} for variant in model.price_variants or ())


def newest_price(providers: Sequence[Provider], until: date) -> date | None:
    """Start of the youngest price that is in force: how recent the catalog's knowledge is at least."""
    starts = (
        dated.constraint.start_date
        for provider in providers
        for model in provider.models
        if not isinstance(model.prices, ModelPrice)
        for dated in model.prices
        if isinstance(dated.constraint, StartDateConstraint)
    )
    return max((start for start in starts if start <= until), default=None)


def convert(model: ModelInfo, price: ModelPrice) -> CatalogRates | None:
    """Rates in nano-dollars per million tokens, upwards; tiers replace all of them at once."""
    values = {key: value for key, value in vars(price).items() if value is not None}
    base = _rates(model, values, 0)
    if base is None:
        return None
    # Each rate may have thresholds of its own: at every one of them all rates are taken together.
    starts = sorted({tier.start for v in values.values() if isinstance(v, TieredPrices) for tier in v.tiers})
    tiers = tuple(
        ContextTier(above_context_tokens=start, rates=rates)
        for start in starts
        if (rates := _rates(model, values, start + 1)) is not None
    )
    return CatalogRates(base, tiers, _fee(values, "requests_kcount"), _fee(values, "web_searches_kcount"))


def _fee(values: dict[str, Decimal | TieredPrices], key: str) -> int:
    """What one request or one search costs, in nano-dollars; the catalog gives it for a thousand."""
    fee = values.get(key)
    return nanos_per_million(_at_context(fee, 0) / 1000) if fee is not None else 0


def _rates(model: ModelInfo, values: dict[str, Decimal | TieredPrices], context: int) -> Rates | None:
    def rate(*keys: str) -> int:
        listed = next((values[key] for key in keys if key in values), Decimal(0))
        return nanos_per_million(_at_context(listed, context))

    given, made = rate("input_mtok", "input_text_mtok"), rate("output_mtok", "output_text_mtok")
    # A class without a price of its own is billed as the other one, never as free.
    fresh, output = given or made, made or given
    if not fresh:
        return None
    # Rows of routers and hosts leave out what Claude's caches cost: a tenth of the input price to read, a quarter more
    # to write for five minutes, twice for an hour (https://platform.claude.com/docs/en/build-with-claude/prompt-caching).
    claude = "claude" in model.id
    short = rate("cache_write_5m_mtok", "cache_write_mtok") or (-(-fresh * 5 // 4) if claude else fresh)
    long = rate("cache_write_1h_mtok") or (2 * fresh if claude else short)
    read = rate("cache_read_mtok", "cache_text_read_mtok") or (-(-fresh // 10) if claude else fresh)
    return Rates(fresh, output, read, short, long)


def _at_context(value: Decimal | TieredPrices, context: int) -> Decimal:
    if not isinstance(value, TieredPrices):
        return value
    return next((tier.price for tier in reversed(value.tiers) if context > tier.start), value.base)


_DOUBT = (Rest.NOTHING, Rest.UNSURE, Rest.OTHER_MODEL)


def _literals(clause: MatchLogic) -> Iterator[str]:
    if isinstance(clause, ClauseEquals):
        yield clause.equals.lower()
    elif isinstance(clause, ClauseOr):
        for part in clause.or_:
            yield from _literals(part)


def _is_literal(clause: MatchLogic) -> bool:
    if isinstance(clause, ClauseOr):
        return all(_is_literal(part) for part in clause.or_)
    return isinstance(clause, ClauseEquals)


def _matches(clause: MatchLogic, name: str) -> Iterator[tuple[str, str, str]]:
    """Ways in which a clause matches: what stands before, the part it asks for, what it leaves over."""
    if isinstance(clause, ClauseOr):
        for part in clause.or_:
            yield from _matches(part, name)
    elif isinstance(clause, ClauseAnd):
        # All must match; what is left over of the id is told by the part that says most of it.
        ways = [list(_matches(part, name)) for part in clause.and_]
        if all(ways):
            yield max((way for part in ways for way in part), key=lambda way: len(way[1]))
    elif isinstance(clause, ClauseRegex):
        if (found := search(clause.regex, name)) is not None:
            yield name[: found.start()], found.group(), name[found.end() :]
    elif clause.is_match(name):
        anchor = _anchor(clause)
        # An ending stands where it is last, also where the same letters come before.
        start = name.rfind(anchor) if isinstance(clause, ClauseEndsWith) else name.find(anchor)
        yield name[:start], anchor, name[start + len(anchor) :]


def _anchor(clause: MatchLogic) -> str:
    if isinstance(clause, ClauseEquals):
        return clause.equals.lower()
    if isinstance(clause, ClauseStartsWith):
        return clause.starts_with.lower()
    if isinstance(clause, ClauseEndsWith):
        return clause.ends_with.lower()
    return clause.contains.lower() if isinstance(clause, ClauseContains) else ""
