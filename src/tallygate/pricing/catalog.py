"""List prices of known models as of a time: ids are looked up in the catalog and its rates made integers.

`genai_prices` is imported at first use and not before, because a client hook must start in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from tallygate.core.costing import Price, Rates
from tallygate.pricing.identifiers import Identifier, shown
from tallygate.pricing.rates import scaled
from tallygate.pricing.spelling import Rest
from tallygate.pricing.vendors import VENDORS, Vendor, family_and_vendor

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

    from tallygate.pricing.catalog_index import CatalogIndex

# What Bedrock adds for a profile bound to a region; the catalog has it where it lists the profile itself.
_REGIONAL = Decimal("1.1")
FAST = "fast"
_FAST_ENDINGS = ("-fast", "[fast=true]")
_LOOKUPS_KEPT = 2048
# Where a model without a named host is most likely run, and priced in the open.
_HOSTS_FIRST = ("openrouter", "groq", "together", "fireworks", "novita", "cerebras")


@dataclass(frozen=True, slots=True)
class CatalogInfo:
    """Which catalog answers, and how recent its youngest price in force is."""

    source: str
    version: str
    newest_price: str | None
    age_days: int | None
    models: int


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One line of the model list."""

    provider: str
    id: str
    price: Price


@dataclass(frozen=True, slots=True)
class Listing:
    """A catalog entry that an id may mean; a `note` says why it is not certain."""

    provider: str
    model: ModelInfo
    note: str | None = None
    speed: str | None = None
    regional: bool = False


class Catalog:
    """The bundled price list behind our own reading of model ids."""

    def __init__(self) -> None:
        self.listings = lru_cache(maxsize=_LOOKUPS_KEPT)(self._listings)

    @cached_property
    def _index(self) -> CatalogIndex:
        from tallygate.pricing.catalog_index import CatalogIndex, bundled_providers

        return CatalogIndex(bundled_providers())

    @cached_property
    def version(self) -> str:
        from tallygate.pricing.catalog_index import bundled_version

        return bundled_version()

    def find(self, identifier: Identifier, at: datetime, *, certain: bool) -> Price | None:
        """The price an id has in the catalog as of a time: the certain one, or the best of the uncertain."""
        for listing in self.listings(identifier):
            if (listing.note is None) is certain and (price := self.price(listing, at)) is not None:
                return price
        return None

    def context_window(self, identifier: Identifier) -> int | None:
        """The context window of what an id means, the largest where it may mean several; None where none is told."""
        windows = [listing.model.context_window for listing in self.listings(identifier)]
        return max((window for window in windows if window), default=None)

    def price(self, listing: Listing, at: datetime) -> Price | None:
        """The entry's rates as of a time; `None` where it has none per token or lists the model as free."""
        from tallygate.pricing.catalog_index import SOURCE, convert, price_at

        found = price_at(listing.model, at, listing.speed)
        if found is None:
            return None
        listed, valid_from = found
        own = self._index.converted if listing.speed is None else convert
        converted = own(listing.model, listed)
        if converted is None:
            return None
        price = Price(
            key=f"{listing.provider}:{listing.model.id}" + ("-fast" if listing.speed else ""),
            rates=converted.rates,
            source=SOURCE,
            version=self.version,
            tiers=converted.tiers,
            per_request_nanos=converted.per_request_nanos,
            per_search_nanos=converted.per_search_nanos,
            valid_from=valid_from,
            approximate=listing.note is not None,
            warning=listing.note,
        )
        return scaled(price, _REGIONAL) if listing.regional else price

    def dearest(self, identifier: Identifier, at: datetime) -> Price | None:
        """The dearest rate per token class that an id's maker lists, in its line (`gpt`, `o`) if it has one.

        Class by class, so that no listed model costs more, whatever a request is made of.
        """
        vendor = VENDORS.get(identifier.vendor or "")
        if vendor is None:
            return None
        known = [
            (model.id.rpartition("/")[2].lower(), price)
            for provider, model in self._models_of(vendor)
            if (price := self.price(Listing(provider, model), at)) is not None
        ]
        line = _line(identifier.canonical)
        prices = [price for name, price in known if _line(name) == line] or [price for _, price in known]
        if not prices:
            return None
        rates = [rates for price in prices for rates in (price.rates, *(tier.rates for tier in price.tiers))]
        return Price(
            key=f"{identifier.vendor}:*",
            rates=Rates(
                input_nanos=max(r.input_nanos for r in rates),
                output_nanos=max(r.output_nanos for r in rates),
                cache_read_nanos=max(r.cache_read_nanos for r in rates),
                cache_write_5m_nanos=max(r.cache_write_5m_nanos for r in rates),
                cache_write_1h_nanos=max(r.cache_write_1h_nanos for r in rates),
            ),
            source=prices[0].source,
            version=self.version,
            per_request_nanos=max(price.per_request_nanos for price in prices),
            per_search_nanos=max(price.per_search_nanos for price in prices),
        )

    def models(self, at: datetime) -> Iterator[ListedModel]:
        """Every model with a price per token as of a time, by provider."""
        for provider in self._index.providers.values():
            for model in provider.models:
                if (price := self.price(Listing(provider.id, model), at)) is not None:
                    yield ListedModel(provider.id, model.id, price)

    def info(self, at: datetime) -> CatalogInfo:
        """Version and age, as of a time; a catalog without dated prices has no age."""
        from tallygate.pricing.catalog_index import SOURCE, newest_price

        providers = list(self._index.providers.values())
        newest = newest_price(providers, at.date())
        return CatalogInfo(
            source=SOURCE,
            version=self.version,
            newest_price=newest.isoformat() if newest else None,
            age_days=(at.date() - newest).days if newest else None,
            models=sum(len(provider.models) for provider in providers),
        )

    def _models_of(self, vendor: Vendor) -> Iterator[tuple[str, ModelInfo]]:
        router = self._index.providers.get("openrouter")
        own = self._index.providers.get(vendor.provider or "")
        for model in own.models if own else ():
            # Google's and Amazon's lists hold other makers' models too.
            if VENDORS.get(family_and_vendor(model.id.lower())[1] or "") == vendor:
                yield vendor.provider or "", model
        if own is None and router is not None:
            for model in router.models:
                if model.id.startswith(f"{vendor.router}/"):
                    yield "openrouter", model

    def _listings(self, identifier: Identifier) -> tuple[Listing, ...]:
        found = []
        for listing in self._candidates(identifier):
            found.append(listing)
            if listing.note is None and listing.speed is None and self._is_always_priced(listing.model):
                break
        return tuple(found)

    def _is_always_priced(self, model: ModelInfo) -> bool:
        dated = model.prices
        prices = [each.prices for each in dated] if isinstance(dated, list) else [dated]
        return all(self._index.converted(model, price) is not None for price in prices)

    def _candidates(self, identifier: Identifier) -> Iterator[Listing]:
        """Entries in the order in which they are believed: named host, maker, router, any host."""
        channel, org = identifier.channel, identifier.org
        vendor, named = VENDORS.get(identifier.vendor or ""), VENDORS.get(org or "")
        makers = (vendor.provider,) if vendor and vendor.provider else tuple(self._makers(identifier))
        routed = org is not None and not (named and named.first_party_first)
        ways = ("openrouter", *makers) if routed else (*makers, "openrouter")
        if channel is not None:
            yield from self._at((channel,), identifier, None)
            note = f"{shown(channel)} lists no such model; priced as {{provider}} lists it."
        elif org is not None and named is None:
            for spelling in identifier.spellings:
                if (found := self._index.find("openrouter", f"{org}/{spelling}")) is not None:
                    yield Listing("openrouter", found[0], _doubt(identifier, spelling, found[1], found[0]))
            note = f"The prefix {shown(org)}/ is not known; priced as {{provider}} lists it."
        else:
            yield from self._at(ways if org is not None else makers, identifier, None)
            note = "The id names no host; priced as {provider} lists it."
        yield from self._at(ways, identifier, note)
        for spelling in identifier.spellings:
            hosts = self._index.hosts(spelling)
            for host, model in sorted(hosts, key=lambda listed: _host_rank(listed[0])):
                if "embedding" not in model.id:
                    yield Listing(host, model, note.format(provider=host))

    def _makers(self, identifier: Identifier) -> Iterator[str]:
        yield from dict.fromkeys(p for name in identifier.spellings for p in self._index.makers(name))

    def _at(self, providers: tuple[str, ...], identifier: Identifier, note: str | None) -> Iterator[Listing]:
        """Entries of some providers; a spelling is tried everywhere before the next, further off one."""
        for spelling in identifier.spellings:
            for provider in providers:
                regional = identifier.channel == "aws" and provider != "aws" and identifier.geo != "global"
                why = note.format(provider=provider) if note else None
                if why and regional:
                    why += " A tenth is added for the region."
                for name in _names(provider, identifier, spelling):
                    if (found := self._index.find(provider, name)) is not None:
                        doubt = _doubt(identifier, spelling, found[1], found[0])
                        yield Listing(provider, found[0], why or doubt, regional=regional)
                    yield from self._fast(provider, name, why)

    def _fast(self, provider: str, name: str, note: str | None) -> Iterator[Listing]:
        from tallygate.pricing.catalog_index import has_speed

        ending = next((ending for ending in _FAST_ENDINGS if name.endswith(ending)), None)
        if ending is not None and (found := self._index.find(provider, name.removesuffix(ending))):
            model, rest = found
            if rest is Rest.NOTHING and has_speed(model, FAST):
                yield Listing(provider, model, note, speed=FAST)


def _names(provider: str, identifier: Identifier, spelling: str) -> Iterator[str]:
    """How a provider may write a model: routers put the maker before it, Bedrock its region too."""
    org, vendor = identifier.org, VENDORS.get(identifier.vendor or "")
    if provider == "openrouter":
        orgs = (org, VENDORS[org].router if org in VENDORS else None, vendor.router if vendor else None)
        yield from (f"{name}/{spelling}" for name in dict.fromkeys(orgs) if name)
        if spelling.endswith("-latest"):
            yield from (f"~{name}/{spelling}" for name in dict.fromkeys(orgs) if name)
    elif provider == "aws" and org is not None:
        if identifier.geo is not None:
            yield f"{identifier.geo}.{org}.{spelling}"
            if identifier.geo != "global":
                yield f"us.{org}.{spelling}"
        yield f"{org}.{spelling}"
    elif org is not None:
        yield f"{org}/{spelling}"
    if provider != "aws" or org is None:
        yield spelling


def _doubt(identifier: Identifier, spelling: str, rest: Rest, model: ModelInfo) -> str | None:
    if rest is Rest.UNSURE:
        return f"'{shown(identifier.text)}' is not listed; priced as {model.id}, which it begins like."
    if identifier.free and spelling != identifier.name:
        return f"Listed as free; priced as the paid model {model.id}."
    return None


def _host_rank(provider: str) -> int:
    return _HOSTS_FIRST.index(provider) if provider in _HOSTS_FIRST else len(_HOSTS_FIRST)


def _line(name: str) -> str:
    return next((name[:i] for i, c in enumerate(name) if not c.isalpha()), name)
