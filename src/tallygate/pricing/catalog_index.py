"""The catalog's entries made searchable and its prices made ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal

from tallygate.core.costing import ContextTier, Rates
from tallygate.core.values import value
from tallygate.pricing.entries import (
    ListedProvider,
    Model,
    ModelPrice,
    Tiered,
    is_literal,
    is_match,
    literals,
    read,
    ways,
)
from tallygate.pricing.frozen import frozen
from tallygate.pricing.identifiers import Rest, judge_rest
from tallygate.pricing.rates import nanos_per_million
from tallygate.pricing.vendors import BEDROCK_GEOS, BEDROCK_VENDORS, family_and_vendor

SOURCE = "genai-prices"


@value(frozen=True, slots=True)
class CatalogRates:
    """One set of catalog rates as integers."""

    rates: Rates
    tiers: tuple[ContextTier, ...]
    per_request_nanos: int
    per_search_nanos: int


def bundled_version() -> str:
    """Version of the catalog that came with the program."""
    if (known := frozen()) is not None:
        return known[0]
    from tallygate.pricing.published import installed_version

    return installed_version()


def bundled_providers() -> list[ListedProvider]:
    """The catalog that came with the program: as it is frozen, else as the library has it."""
    if (known := frozen()) is not None:
        return read(known[1])
    from tallygate.pricing.published import installed_rows

    return read(installed_rows())


def providers_of(raw: bytes) -> list[ListedProvider]:
    """A published price list. Raises `ValueError` where it is none, in one line."""
    from tallygate.pricing.published import rows_in

    return read(rows_in(raw))


def rates_listed(providers: Sequence[ListedProvider], at: datetime) -> dict[tuple[str, str], Rates]:
    """The rates of every model that has a price per token as of a time, by provider and id."""
    found = {}
    for provider in providers:
        for model in provider.models:
            converted = convert(model, model.price_at(at))
            if converted is not None:
                found[provider.id, model.id] = converted.rates
    return found


class _Names:
    """One provider's entries by the names that it gives them."""

    def __init__(self, provider: ListedProvider) -> None:
        self.exact: dict[str, Model] = {}
        # By what is left of a name without the organisation before it.
        self.bare: dict[str, list[Model]] = {}
        self.open_ended = [model for model in provider.models if not is_literal(model.match)]
        for model in provider.models:
            for name in dict.fromkeys((*literals(model.match), model.id.lower())):
                # The first of two entries under one name, as the list itself would find it.
                self.exact.setdefault(name, model)
                listed = self.bare.setdefault(name.rpartition("/")[2], [])
                if model not in listed:
                    listed.append(model)


class CatalogIndex:
    """Answers which entry of a provider an id means, and what it leaves unmatched."""

    def __init__(self, providers: Sequence[ListedProvider]) -> None:
        self.providers = {provider.id: provider for provider in providers}
        self._named: dict[str, _Names] = {}
        self._converted: dict[int, CatalogRates | None] = {}

    def _names(self, provider_id: str) -> _Names | None:
        """A provider's names, put in order when somebody asks for them."""
        if (known := self._named.get(provider_id)) is None and provider_id in self.providers:
            known = self._named[provider_id] = _Names(self.providers[provider_id])
        return known

    def find(self, provider_id: str, name: str) -> tuple[Model, Rest] | None:
        """The provider's best entry for a name; `None` where only another model's entry would match."""
        provider = self.providers.get(provider_id)
        if provider is None:
            return None
        # An exact name of any host before what merely begins alike.
        for hosted in (provider_id, *provider.fallbacks):
            names = self._names(hosted)
            if names is not None and (exact := names.exact.get(name)) is not None and exact.is_match(name):
                return exact, Rest.NOTHING
        for hosted in (provider_id, *provider.fallbacks):
            if found := self._scan(hosted, name):
                return found
        return None

    def is_listed(self, provider_id: str, name: str) -> bool:
        """Whether a provider lists exactly this name."""
        names = self._names(provider_id)
        return names is not None and name in names.exact

    def hosts(self, name: str) -> list[tuple[str, Model]]:
        """Every provider that lists exactly this name, whatever organisation it puts before it."""
        told = (each for each in self.providers.values() if each.may_name(name))
        return [
            (each.id, model) for each in told if (names := self._names(each.id)) for model in names.bare.get(name, ())
        ]

    def makers(self, name: str) -> Iterator[str]:
        """Providers that claim a bare name as their own."""
        for provider in self.providers.values():
            if is_match(provider.match, name):
                yield provider.id

    def _scan(self, provider_id: str, name: str) -> tuple[Model, Rest] | None:
        best: tuple[Model, Rest] | None = None
        longest = -1
        model_family = family_and_vendor(name.rpartition("/")[2])[0]
        names = self._names(provider_id)
        for model in () if names is None else names.open_ended:
            for before, anchor, after in ways(model.match, name):
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

    def converted(self, model: Model, price: ModelPrice) -> CatalogRates | None:
        """Our rates of a catalog price; `None` where it has no price per token, or a price of nothing."""
        key = id(price)
        if key not in self._converted:
            self._converted[key] = convert(model, price)
        return self._converted[key]


def price_at(model: Model, at: datetime, speed: str | None) -> tuple[ModelPrice, str | None] | None:
    """The price as of a time with the date it holds from; `None` if that speed had no price then."""
    if speed is None:
        dated = model.dated_at(at)
        return dated.price, dated.start
    for variant in model.variants:
        if set(variant.when.values()) == {speed} and variant.dated.is_active(at):
            return model.price_at(at, variant.when), None
    return None


@value(frozen=True, slots=True)
class OtherTerms:
    """A price on other terms; before it was `in_force` it is known only from `start` on, beside the `standard` one."""

    price: ModelPrice
    standard: ModelPrice
    in_force: bool
    start: str


def variant_at(model: Model, at: datetime, when: dict[str, str]) -> OtherTerms | None:
    """The price of a model on other terms as of a time, else the first one it ever had on them."""
    later: tuple[str, ModelPrice] | None = None
    for variant in model.variants:
        dated = variant.dated
        if variant.when != when:
            continue
        if dated.is_active(at):
            return OtherTerms(dated.price, model.price_at(at), in_force=True, start="")
        if dated.start is not None and (later is None or dated.start < later[0]):
            later = dated.start, dated.price
    if later is None:
        return None
    # At noon: a day that begins elsewhere is still this one.
    start = datetime.combine(date.fromisoformat(later[0]), time(12), UTC)
    return OtherTerms(later[1], model.price_at(start), in_force=False, start=later[0])


def has_speed(model: Model, speed: str) -> bool:
    """Whether the catalog prices the model apart at that speed."""
    return any(set(variant.when.values()) == {speed} for variant in model.variants)


def convert(model: Model, price: ModelPrice) -> CatalogRates | None:
    """Rates in nano-dollars per million tokens, upwards; tiers replace all of them at once."""
    values = price.values()
    base = _rates(model, values, 0)
    if base is None:
        return None
    # Each rate may have thresholds of its own: at every one of them all rates are taken together.
    starts = sorted({start for v in values.values() if isinstance(v, Tiered) for start, _ in v.tiers})
    tiers = tuple(
        ContextTier(above_context_tokens=start, rates=rates)
        for start in starts
        if (rates := _rates(model, values, start + 1)) is not None
    )
    return CatalogRates(base, tiers, _fee(values, "requests_kcount"), _fee(values, "web_searches_kcount"))


def _fee(values: dict[str, Decimal | Tiered], key: str) -> int:
    """What one request or one search costs, in nano-dollars; the catalog gives it for a thousand."""
    fee = values.get(key)
    return nanos_per_million(_at_context(fee, 0) / 1000) if fee is not None else 0


def _rates(model: Model, values: dict[str, Decimal | Tiered], context: int) -> Rates | None:
    def rate(*keys: str) -> int:
        listed = next((values[key] for key in keys if key in values), Decimal(0))
        return nanos_per_million(_at_context(listed, context))

    given, made = rate("input", "input_text"), rate("output", "output_text")
    # A class without a price of its own is billed as the other one, never as free.
    fresh, output = given or made, made or given
    if not fresh:
        return None
    # Rows of routers and hosts leave out what Claude's caches cost: a tenth of the input price to read, a quarter more
    # to write for five minutes, twice for an hour (https://platform.claude.com/docs/en/build-with-claude/prompt-caching).
    claude = "claude" in model.id
    short = rate("cache_write_5m", "cache_write") or (-(-fresh * 5 // 4) if claude else fresh)
    long = rate("cache_write_1h") or (2 * fresh if claude else short)
    read = rate("cache_read", "cache_text_read") or (-(-fresh // 10) if claude else fresh)
    return Rates(fresh, output, read, short, long)


def _at_context(rate: Decimal | Tiered, context: int) -> Decimal:
    return rate.at(context) if isinstance(rate, Tiered) else rate


_DOUBT = (Rest.NOTHING, Rest.UNSURE, Rest.OTHER_MODEL)
