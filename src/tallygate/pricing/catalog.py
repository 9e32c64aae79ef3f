"""List prices of known models as of a time: ids are looked up in the catalog and its rates made integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from pathlib import Path

from tallygate.core.costing import STANDARD, Price, Terms
from tallygate.core.values import value
from tallygate.pricing.catalog_index import (
    SOURCE,
    CatalogIndex,
    bundled_providers,
    bundled_version,
    convert,
    has_speed,
    price_at,
    providers_of,
    variant_at,
)
from tallygate.pricing.entries import ListedProvider, Model, newest_start
from tallygate.pricing.identifiers import Identifier, Rest, claude_version, identify, shown
from tallygate.pricing.overlay import AZURE_ZONES, HALF_IN_BATCHES, LONG_CONTEXT, RESELLERS, US_ONLY_SINCE
from tallygate.pricing.rates import in_proportion, longer, scaled, scaled_like
from tallygate.pricing.relatives import ModelName, current, nearest, taken_apart
from tallygate.pricing.snapshot import Snapshot, SnapshotDamaged, bytes_of, snapshot_in
from tallygate.pricing.vendors import VENDORS, Vendor, family_and_vendor

# What Bedrock adds for a profile bound to a region; the catalog has it where it lists the profile itself.
_REGIONAL = Decimal("1.1")
FAST = "fast"
_STANDARD_TIERS = frozenset(("", "standard", "default", "auto", "standard_only"))
_FAST_ENDINGS = ("-fast", "[fast=true]")
_LOOKUPS_KEPT = 2048
# What a coding agent reads for every token it writes, about: by this two prices are compared.
_USUAL_INPUT = 10
# Where a model without a named host is most likely run, and priced in the open.
_HOST_RANKS = {
    host: rank for rank, host in enumerate(("openrouter", "groq", "together", "fireworks", "novita", "cerebras"))
}


@value(frozen=True, slots=True)
class CatalogInfo:
    """Which catalog answers, and how recent its youngest price in force is.

    `fetched_at` is when it was fetched, where it is newer than the one that came with the program; `notice` why a list
    that was fetched does not count.
    """

    source: str
    version: str
    newest_price: str | None
    age_days: int | None
    models: int
    fetched_at: str | None = None
    notice: str | None = None


@value(frozen=True, slots=True)
class ListedModel:
    """One line of the model list."""

    provider: str
    id: str
    price: Price


@value(frozen=True, slots=True)
class Listing:
    """A catalog entry that an id may mean; a `note` says why it is not certain."""

    provider: str
    model: Model
    note: str | None = None
    speed: str | None = None
    regional: bool = False


class Catalog:
    """The price list behind our own reading of model ids: the bundled one, or a newer one that the user has fetched."""

    def __init__(self, fetched: Path | None = None) -> None:
        self._fetched = fetched
        self.listings = lru_cache(maxsize=_LOOKUPS_KEPT)(self._listings)
        # Asked for every half hour in which an unlisted model was used; a maker's names do not change meanwhile.
        self._named = lru_cache(maxsize=len(VENDORS) + 1)(self._names_of)

    @cached_property
    def _index(self) -> CatalogIndex:
        return CatalogIndex(self._own if self._own is not None else bundled_providers())

    @cached_property
    def _noted(self) -> tuple[Snapshot | None, str | None]:
        """The list that was fetched, where it counts, else why it does not."""
        if self._fetched is None:
            return None, None
        try:
            noted = snapshot_in(self._fetched)
        except SnapshotDamaged as error:
            return None, f"{error}; the list that came with the program counts. Mend it: tallygate prices update"
        if noted is None:
            return None, None
        if noted.package != bundled_version():
            why = f"the prices of {noted.fetched_at[:10]} were fetched before the program was updated and do not count"
            return None, f"{why}. Fetch them anew: tallygate prices update"
        return noted, None

    @cached_property
    def _read(self) -> tuple[Sequence[ListedProvider] | None, str | None]:
        """The providers of the list that was fetched, else why it cannot be used."""
        noted, why = self._noted
        if noted is None or self._fetched is None:
            return None, why
        try:
            return providers_of(bytes_of(self._fetched, noted)), None
        except (SnapshotDamaged, ValueError) as error:
            return None, f"{error}; the list that came with the program counts. Mend it: tallygate prices update"

    def providers(self) -> Sequence[ListedProvider]:
        """Everything that is listed, as it was published."""
        return list(self._index.providers.values())

    @property
    def digest(self) -> str | None:
        """The SHA-256 of the list that was fetched, where that is the one that counts."""
        noted = self._noted[0]
        return None if noted is None or self._own is None else noted.digest

    @property
    def _own(self) -> Sequence[ListedProvider] | None:
        return self._read[0]

    @cached_property
    def version(self) -> str:
        noted, _ = self._noted
        return bundled_version() if noted is None or self._own is None else f"{bundled_version()}+{noted.digest[:8]}"

    def find(self, identifier: Identifier, at: datetime, *, certain: bool, terms: Terms = STANDARD) -> Price | None:
        """The price an id has in the catalog as of a time: the certain one, or the best of the uncertain."""
        for listing in self.listings(identifier):
            if (listing.note is None) is certain and (price := self.price(listing, at, terms)) is not None:
                return price
        return None

    def context_window(self, identifier: Identifier) -> int | None:
        """The context window of what an id means, the largest where it may mean several; None where none is told."""
        windows = [listing.model.context_window for listing in self.listings(identifier)]
        return max((window for window in windows if window), default=None)

    def lists_as_free(self, identifier: Identifier) -> bool:
        """Whether a router lists exactly this id at a price of nothing."""
        return identifier.free and any(
            self._index.is_listed("openrouter", name) for name in _names("openrouter", identifier, identifier.name)
        )

    def price(self, listing: Listing, at: datetime, terms: Terms = STANDARD) -> Price | None:
        """The entry's rates as of a time, on terms; `None` where it has none per token or lists the model as free."""
        found = price_at(listing.model, at, listing.speed)
        if found is None:
            return None
        listed, valid_from = found
        # What was converted is kept for the usual speed alone: faster ones are rare, and another price of the same
        # entry.
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
        price = self._at_tier(self._with_long_context(price, listing, at), listing, at, terms)
        # On top of the tier, as the maker multiplies them.
        version = claude_version(listing.model.id) if listing.provider == "anthropic" and terms.geo == "us" else None
        if version is not None and version >= US_ONLY_SINCE:
            price = replace(scaled(price, _REGIONAL), version=f"{price.version} us x{_REGIONAL}")
        return scaled(price, _REGIONAL) if listing.regional else price

    def _with_long_context(self, price: Price, listing: Listing, at: datetime) -> Price:
        """A price with the long-context rates that its entry leaves out: by our overlay, or as its maker has them."""
        if price.tiers or listing.speed is not None:
            return price
        extra = LONG_CONTEXT.get((listing.provider, listing.model.id))
        if extra is not None:
            tier = longer(price.rates, extra.above_tokens, extra.input_percent, extra.output_percent)
            return replace(price, tiers=(tier,))
        if listing.provider not in RESELLERS:
            return price
        # Bedrock lists `regional.anthropic.claude-sonnet-4-5-20250929-v1:0`, Google `claude-sonnet-4-5`.
        listed = identify(listing.model.id.lower().removeprefix("regional."))
        name, vendor = listed.canonical, VENDORS.get(listed.vendor or "")
        if vendor is None or vendor.provider in (None, listing.provider):
            return price
        own = self.find(identify(name), at, certain=True)
        if own is None or not own.key.startswith(f"{vendor.provider}:"):
            return price  # somebody else's price, which says nothing of what the maker adds
        return replace(price, tiers=in_proportion(own, price.rates))

    def _at_tier(self, price: Price, listing: Listing, at: datetime, terms: Terms) -> Price:
        """A price at a service tier: as listed; before the list knew it, in proportion; else the standard one, marked.

        Priority excludes long context: a tier without rates for it keeps the standard ones.
        """
        tier = (terms.tier or "").lower()
        if tier in _STANDARD_TIERS or listing.speed is not None:
            return price
        when = {"processing": tier} if tier == "batch" else {"service_tier": tier}
        variant = variant_at(listing.model, at, when)
        converted = None if variant is None else convert(listing.model, variant.price)
        version = f"{price.version} {tier}"
        # A tier that is listed without a longer context keeps the standard one.
        if variant is not None and converted is not None and variant.in_force:
            tiers = converted.tiers or price.tiers
            return replace(price, rates=converted.rates, tiers=tiers, version=version)
        if variant is not None and converted is not None:
            # Before the list knew the tier the same share of the standard rates of that day is the best guess, and is
            # said to be one.
            base = convert(listing.model, variant.standard)
            if base is not None:
                then = replace(price, rates=converted.rates, tiers=converted.tiers)
                rates, tiers = scaled_like(price, base.rates, then)
                note = f"The list knows the {tier} rates from {variant.start} on; before, in proportion to them."
                return replace(price, rates=rates, tiers=tiers, version=version, approximate=True, warning=note)
        if tier == "batch" and listing.provider in HALF_IN_BATCHES:
            return replace(scaled(price, Decimal("0.5")), version=version)
        note = f"The {shown(tier)} rates of {price.key} are not known; priced at the standard ones."
        return replace(price, version=version, approximate=True, warning=price.warning or note)

    def relative(self, identifier: Identifier, at: datetime) -> Price | None:
        """The price of the listed model that an unlisted one is most like, by its maker; None where none is like it.

        Where two models fit alike the dearer one counts.
        """
        name = taken_apart(identifier.canonical)
        return self._dearest_of(identifier, at, set(nearest(name, self._named(identifier.vendor))))

    def dearest(self, identifier: Identifier, at: datetime) -> Price | None:
        """The price of the dearest model that an id's maker has now; one model's, and none that was replaced."""
        newest: dict[tuple[str, frozenset[str]], tuple[ModelName, str]] = {}
        for name, id_ in current(self._named(identifier.vendor)):
            known = newest.get((name.line, name.words))
            if known is None or known[0].version < name.version:
                newest[name.line, name.words] = name, id_
        return self._dearest_of(identifier, at, {id_ for _, id_ in newest.values()})

    def _names_of(self, maker: str | None) -> list[tuple[ModelName, str]]:
        vendor = VENDORS.get(maker or "")
        models = [] if vendor is None else self._models_of(vendor)
        return [(taken_apart(model.id.rpartition("/")[2]), model.id) for _, model in models]

    def _dearest_of(self, identifier: Identifier, at: datetime, ids: set[str]) -> Price | None:
        vendor = VENDORS.get(identifier.vendor or "")
        if vendor is None or not ids:
            return None
        regional = identifier.channel == "aws" and identifier.geo != "global"
        prices = [
            price
            for provider, model in self._models_of(vendor)
            if model.id in ids and (price := self.price(Listing(provider, model, regional=regional), at)) is not None
        ]
        return max(
            prices, key=lambda price: _USUAL_INPUT * price.rates.input_nanos + price.rates.output_nanos, default=None
        )

    def models(self, at: datetime) -> Iterator[ListedModel]:
        """Every model with a price per token as of a time, by provider."""
        for provider in self._index.providers.values():
            for model in provider.models:
                if (price := self.price(Listing(provider.id, model), at)) is not None:
                    yield ListedModel(provider.id, model.id, price)

    def info(self, at: datetime) -> CatalogInfo:
        """Version and age, as of a time; a catalog without dated prices has no age."""
        providers = list(self._index.providers.values())
        newest = newest_start(providers, at.date())
        noted, own = self._noted[0], self._own
        return CatalogInfo(
            source=SOURCE,
            version=self.version,
            newest_price=newest.isoformat() if newest else None,
            age_days=(at.date() - newest).days if newest else None,
            models=sum(provider.count for provider in providers),
            fetched_at=None if noted is None or own is None else noted.fetched_at,
            notice=self._read[1],
        )

    def _models_of(self, vendor: Vendor) -> Iterator[tuple[str, Model]]:
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
            prices = [each.price for each in listing.model.prices]
            # What is listed beyond doubt and priced on every day leaves nothing for the entries behind it.
            is_sure = listing.note is None and listing.speed is None
            if is_sure and all(self._index.converted(listing.model, price) is not None for price in prices):
                break
        return tuple(found)

    def _candidates(self, identifier: Identifier) -> Iterator[Listing]:
        """Entries in the order in which they are believed: named host, maker, router, any host."""
        channel, org = identifier.channel, identifier.org
        vendor, named = VENDORS.get(identifier.vendor or ""), VENDORS.get(org or "")
        if vendor and vendor.provider:
            makers: tuple[str, ...] = (vendor.provider,)
        else:
            makers = tuple(dict.fromkeys(p for name in identifier.spellings for p in self._index.makers(name)))
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
            # Sorting is stable: hosts that nobody prefers stay in the list's order, behind those that are.
            hosts = sorted(self._index.hosts(spelling), key=lambda host: _HOST_RANKS.get(host[0], len(_HOST_RANKS)))
            for host, model in hosts:
                if "embedding" not in model.id:
                    yield Listing(host, model, note.format(provider=host))

    def _at(self, providers: tuple[str, ...], identifier: Identifier, note: str | None) -> Iterator[Listing]:
        """Entries of some providers; a spelling is tried everywhere before the next, further off one."""
        in_zone = identifier.channel == "azure" and identifier.geo in AZURE_ZONES
        in_region = identifier.channel == "aws" and identifier.geo != "global"
        for spelling in identifier.spellings:
            for provider in providers:
                # A tenth is added for where an id has to be served: Azure's data zones, Bedrock's profiles, which
                # Bedrock's own entries have in their price.
                regional = in_zone or (in_region and provider != "aws")
                why = note.format(provider=provider) if note else None
                if why and regional:
                    why += " A tenth is added for the region."
                for name in _names(provider, identifier, spelling):
                    if (found := self._index.find(provider, name)) is not None:
                        doubt = _doubt(identifier, spelling, found[1], found[0])
                        yield Listing(provider, found[0], why or doubt, regional=regional)
                    ending = next((ending for ending in _FAST_ENDINGS if name.endswith(ending)), None)
                    if ending is not None and (found := self._index.find(provider, name.removesuffix(ending))):
                        model, rest = found
                        if rest is Rest.NOTHING and has_speed(model, FAST):
                            yield Listing(provider, model, why, speed=FAST)


def _names(provider: str, identifier: Identifier, spelling: str) -> Iterator[str]:
    """How a provider may write a model: routers put the maker before it, Bedrock its region too."""
    org, vendor = identifier.org, VENDORS.get(identifier.vendor or "")
    if provider == "openrouter":
        orgs = (org, VENDORS[org].router if org in VENDORS else None, vendor.router if vendor else None)
        yield from (f"{name}/{spelling}" for name in dict.fromkeys(orgs) if name)
        if spelling.endswith("-latest"):
            yield from (f"~{name}/{spelling}" for name in dict.fromkeys(orgs) if name)
    # The region first, which may have a price of its own; ids of a region are priced as those of the US where only
    # these are listed.
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


def _doubt(identifier: Identifier, spelling: str, rest: Rest, model: Model) -> str | None:
    if rest is Rest.UNSURE:
        return f"'{shown(identifier.text)}' is not listed; priced as {model.id}, which it begins like."
    if identifier.free and spelling != identifier.name:
        return f"Listed as free; priced as the paid model {model.id}."
    return None


def _weight(price: Price) -> int:
    return _USUAL_INPUT * price.rates.input_nanos + price.rates.output_nanos
