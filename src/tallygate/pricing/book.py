"""The price of any model id as of a time: never nothing, never zero by accident, always with its basis.

Order: the user's rows, those for a session, a project or a tenant before the others; local runtimes, the catalog
where it is certain, our own rows, the catalog where it is not, and then that of the nearest listed relative,
and at last an assumed one; both say so and show the line that would settle it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from tallygate.core.costing import ASSUMED, STANDARD, Certainty, Price, Rates, Terms
from tallygate.core.errors import InvariantBroken
from tallygate.core.money import NANOS_PER_UNIT, exact_text
from tallygate.core.places import WILD, Place
from tallygate.pricing import identifiers, overrides
from tallygate.pricing.catalog import Catalog, CatalogInfo, ListedModel
from tallygate.pricing.exchange import ExchangeBook
from tallygate.pricing.identity import providers_of
from tallygate.pricing.overlay import CORRECTED_PRICES, DATED_NAMES, MISSING_PRICES, SHORT_NAMES
from tallygate.pricing.overrides import PriceScope
from tallygate.pricing.rates import nanos_per_million
from tallygate.pricing.relatives import CLAUDE_TIERS
from tallygate.pricing.user_prices import PriceList, PricingSettings

__all__ = ["PriceBook", "PriceScope", "PricingSettings"]

OVERRIDE, LOCAL, STATED = "override", "local", "stated"
_QUOTES_KEPT = 4096
_LISTS_KEPT = 64
_MODELS_COMPARED, _MODELS_QUOTED = 2_000, 100
_HALF_HOUR_S = 1800
WINDOW_UNKNOWN = 2_000_000
WINDOW_LONG = 1_000_000
LONG_MARK = "[1m]"
_FREE = Rates(0, 0, 0, 0, 0)


class PriceBook:
    """Quotes prices for ids as agents write them."""

    def __init__(
        self,
        settings: PricingSettings,
        catalog: Catalog | None = None,
        exchange: ExchangeBook | None = None,
        place_of: Callable[[str | None], Place | None] | None = None,
        *,
        dearer: PricingSettings | None = None,
    ) -> None:
        self.settings = settings
        self.stated = PriceList(settings, dearer)
        self.list_id = self.stated.list_id
        # What was in force when sessions were opened that go on, by the id of the list.
        self._before: dict[str, PriceBook] = {}
        # What somebody else than the user says of prices: it counts where it is dearer, and only there.
        self._raising = None if dearer is None else PriceBook(dearer, catalog, exchange)
        self.catalog = catalog if catalog is not None else Catalog()
        self.exchange = exchange if exchange is not None else ExchangeBook()
        self._place_of = place_of
        rows: list[overrides.PriceOverride | overrides.Discount] = [*settings.overrides, *settings.discounts]
        self._scoped = tuple(row for row in rows if overrides.is_scoped(row))
        # Whether any row of the settings holds only for a session, a project or a tenant.
        self.is_scoped: bool = bool(self._scoped) or (self._raising is not None and self._raising.is_scoped)
        self._aliases = {alias.strip().lower(): target for alias, target in settings.aliases}
        self._local_models = frozenset(model.strip().lower() for model in settings.local_models)
        self._identify = lru_cache(maxsize=_QUOTES_KEPT)(lambda id_: identifiers.identify(id_, settings.local_channels))
        self._by_half_hour = lru_cache(maxsize=_QUOTES_KEPT)(self._quote)

    def quote(self, model: str, at: datetime, scope: PriceScope = overrides.ANYWHERE, terms: Terms = STANDARD) -> Price:
        """The price of a model as of a time, in a scope, on the terms it was served; an unknown one says so.

        Kept for the half hour of the day (UTC) it was asked for: prices change on days, or on half hours of a day.
        """
        if at.tzinfo is None:
            raise InvariantBroken("a price is asked as of a moment, which needs a time zone")
        if self._before and (before := self._before.get(scope.opened_at or "")) is not None:
            return self._no_lower(before, model, at, scope, terms)
        # A cut id is still too long, so it stays unknown, and cannot fill the memory.
        half_hour = half_hour_of(at)
        asked, scope = scope, self._narrowed(scope) if self._scoped else overrides.ANYWHERE
        price = self._by_half_hour(model[: identifiers.ID_LENGTH_MAX + 1], half_hour, scope, terms)
        if self._raising is not None:
            raised = self._raising.quote(model, at, asked, terms)
            if not _is_dearer(raised, price):
                return price
            # A model without a price stays one: only the user says that it is known.
            return raised if price.known else replace(raised, known=False, approximate=True, warning=price.warning)
        return price

    def knows(self, list_id: str) -> bool:
        """Whether the prices that a session was opened at are at hand."""
        return list_id == self.list_id or list_id in self._before

    def keep(self, list_id: str, stated: str) -> None:
        """Have prices at hand that a session was opened at. Raises `ValueError` and others where they are none."""
        book = self._by(PriceList.from_text(stated))
        while len(self._before) >= _LISTS_KEPT:
            self._before.pop(next(iter(self._before)))
        self._before[list_id] = book

    def of(self, stated: PriceList | None) -> PriceBook | None:
        """Another list of rows over the same catalog; None for none."""
        return None if stated is None else self._by(stated)

    def _by(self, stated: PriceList) -> PriceBook:
        return PriceBook(stated.own, self.catalog, self.exchange, self._place_of, dearer=stated.dearer)

    def _no_lower(self, before: PriceBook, model: str, at: datetime, scope: PriceScope, terms: Terms) -> Price:
        """The price of a session that was opened at other prices: those, or what has become dearer since.

        A row that makes a model known makes it so for open sessions, too, at what was assumed of it.
        """
        here = replace(scope, opened_at=None, elsewhere=False)
        then = before.quote(model, at, here, terms)
        if scope.elsewhere:
            return then
        now = self.quote(model, at, here, terms)
        if _is_dearer(now, then):
            return now
        return replace(then, known=True, warning=None) if now.known and not then.known else then

    def _narrowed(self, scope: PriceScope) -> PriceScope:
        """A scope without what no row names, so that sessions at the same prices share them."""
        scope = self._at(scope)
        rows = [row for row in self._scoped if overrides.applies(row, scope)]
        if not rows:
            return overrides.ANYWHERE
        return PriceScope(
            scope.tenant if any(row.tenant is not None for row in rows) else None,
            scope.project if any(row.project is not None for row in rows) else None,
            scope.session if any(row.session is not None for row in rows) else None,
            scope.at if any(row.project is not None for row in rows) else None,
        )

    def _at(self, scope: PriceScope) -> PriceScope:
        """A scope with what its folder belongs to, where any row asks for that."""
        if self._place_of is None or not any(row.project is not None for row in self._scoped):
            return scope
        return replace(scope, at=self._place_of(scope.project))

    def known_price(
        self, model: str, at: datetime, scope: PriceScope = overrides.ANYWHERE, terms: Terms = STANDARD
    ) -> Price | None:
        """The price of a model as of a time, if one is known."""
        price = self.quote(model, at, scope, terms)
        return price if price.known else None

    def to_paste(self, model: str, at: datetime, scope: PriceScope = overrides.ANYWHERE) -> str:
        """The settings that would make a model's price known; nothing where it is, or no file should name the id."""
        price = self.quote(model, at, scope)
        return (
            ""
            if price.certainty is Certainty.KNOWN
            else _row_of(self._identify(model[: identifiers.ID_LENGTH_MAX + 1]), price)
        )

    def context_window(self, model: str, at: datetime) -> int:
        """The most tokens that one request of a model can hold; of an unknown model as many as any common one holds."""
        identifier = self._identify(model[: identifiers.ID_LENGTH_MAX + 1])
        listed = None if identifier.opaque or identifier.local else self.catalog.context_window(identifier)
        if listed is None:
            return WINDOW_UNKNOWN
        # A model that has a rate for long contexts takes them, whatever its entry says it takes without asking.
        long = any(tier.above_context_tokens >= listed for tier in self.quote(model, at).tiers)
        return max(listed, WINDOW_LONG) if long or LONG_MARK in model else listed

    def models(self, at: datetime, scope: PriceScope = overrides.ANYWHERE) -> Iterator[ListedModel]:
        """Everything that has a price as of a time: the user's rows, ours, then the catalog."""
        scope = self._at(scope)
        ours = (*CORRECTED_PRICES, *MISSING_PRICES)
        for rows, source in ((self.settings.overrides, OVERRIDE), (ours, overrides.OWN_SOURCE)):
            for row in rows:
                if overrides.holds(row, at.astimezone(UTC).date()) and overrides.applies(row, scope):
                    named = self._identify(row.match)
                    # As the list names who makes it: one that is in both is one model, at the price that counts.
                    maker = row.provider or named.vendor or source
                    yield ListedModel(maker, row.match, overrides.override_price(row, named, source))
        yield from self.catalog.models(at)

    def info(self, at: datetime) -> CatalogInfo:
        """Version and age of the catalog as of a time."""
        return self.catalog.info(at)

    def _quote(self, model: str, half_hour: int, scope: PriceScope, terms: Terms) -> Price:
        at = datetime.fromtimestamp(half_hour * _HALF_HOUR_S, UTC)
        identifier = self._identify(model)
        if (price := self._overridden(identifier, at, scope)) is not None:
            return price
        if (target := self._alias(identifier)) is not None:
            identifier = self._identify(target)
            if (price := self._overridden(identifier, at, scope)) is not None:
                return price
        if identifier.opaque is not None:
            return self._assumed(identifier, at)
        if identifier.local:
            # The client's record, or the user by its channel or by the model itself.
            if terms.here or self.settings.local_is_said or identifier.text in self._local_models:
                return Price(key=identifiers.shown(identifier.text), rates=_FREE, source=LOCAL, version="")
            return self._said_to_be_local(identifier, at)
        if self._is_given_away(identifier, terms):
            return Price(key=identifiers.shown(identifier.text), rates=_FREE, source=STATED, version="")
        listed = self._listed(identifier, at, terms) or self._relative(identifier, at)
        if listed is None:
            return self._assumed(identifier, at)
        # What was negotiated holds for what is listed; a guess at a price is not made cheaper.
        discount = overrides.matching_row(self.settings.discounts, identifier, at, scope) if listed.known else None
        return overrides.discounted(listed, discount) if discount is not None else listed

    def _said_to_be_local(self, identifier: identifiers.Identifier, at: datetime) -> Price:
        """The price of a model of which only its id says that it runs here: whoever asks may write any id."""
        price = self._relative(identifier, at) or self._assumed(identifier, at)
        channel = identifier.channel or identifier.text.partition("/")[0]
        note = (
            f"Only the id says that '{identifiers.shown(identifier.text)}' runs on this machine; priced as {price.key} "
            f'({_rates_text(price)}). If it does, add to config.toml:\n[pricing]\nlocal_channels = ["{channel}"]'
        )
        return replace(price, known=False, approximate=True, warning=note)

    def _is_given_away(self, identifier: identifiers.Identifier, terms: Terms) -> bool:
        """Whether somebody who would bill for it states a price of nothing: a router's free variant, a client's own.

        A client's word for it counts, and above all its word against it: free variants have been billed.
        """
        # Told no by whoever bills: no free variant and no gateway says otherwise.
        if terms.stated_free is False:
            return False
        if identifier.free and (terms.stated_free or self.catalog.lists_as_free(identifier)):
            return True
        return terms.stated_free is True and identifier.gateway is not None

    def _overridden(self, identifier: identifiers.Identifier, at: datetime, scope: PriceScope) -> Price | None:
        row = overrides.matching_row(self.settings.overrides, identifier, at, scope)
        return overrides.override_price(row, identifier, OVERRIDE) if row is not None else None

    def _alias(self, identifier: identifiers.Identifier) -> str | None:
        if identifier.text in self._aliases:
            return self._aliases[identifier.text]
        bare = identifier.channel is None and identifier.org is None
        return self._aliases.get(identifier.canonical) if bare else None

    def _listed(self, identifier: identifiers.Identifier, at: datetime, terms: Terms) -> Price | None:
        bare = identifier.channel is None and identifier.org is None
        target = SHORT_NAMES.get(identifier.canonical) if bare else None
        meant = self.catalog.find(self._identify(target), at, certain=True) if target is not None else None
        if meant is not None:
            note = f"'{identifiers.shown(identifier.text)}' names no host; priced as {meant.key}."
            return replace(meant, approximate=True, warning=note)
        # What we know better stands in front of the list, what it lacks behind it; a guess of the list comes last of
        # all.
        if (row := overrides.matching_row(CORRECTED_PRICES, identifier, at)) is not None:
            return overrides.override_price(row, identifier, overrides.OWN_SOURCE)
        if (price := self.catalog.find(identifier, at, certain=True, terms=terms)) is not None:
            return price
        if (row := overrides.matching_row(MISSING_PRICES, identifier, at)) is not None:
            return overrides.override_price(row, identifier, overrides.OWN_SOURCE)
        return self.catalog.find(identifier, at, certain=False, terms=terms)

    def _relative(self, identifier: identifiers.Identifier, at: datetime) -> Price | None:
        """The price of an unlisted model's nearest listed relative; what names a family alone means its newest."""
        dated = DATED_NAMES.get(identifier.canonical)
        if dated is not None:
            day = at.astimezone(UTC).date()
            target = next((name for since, name in reversed(dated) if since <= day), dated[0][1])
            price = self.catalog.find(self._identify(target), at, certain=True)
        else:
            price = self.catalog.relative(identifier, at)
        if price is None:
            return None
        name_shown, rates = identifiers.shown(identifier.text), _rates_text(price)
        if identifier.canonical.removeprefix("claude-") in CLAUDE_TIERS:
            note = f"'{name_shown}' names no version; priced as the newest that is listed, {price.key} ({rates})."
            return replace(price, approximate=True, warning=note)
        note = f"No price is listed for '{name_shown}'; priced as its nearest relative, {price.key} ({rates})."
        return replace(price, known=False, approximate=True, warning=note + _line_to_paste(identifier, price))

    def _assumed(self, identifier: identifiers.Identifier, at: datetime) -> Price:
        """A price for a model that is like none that is listed: its maker's dearest, else the user's rate."""
        name = identifiers.shown(identifier.text)
        because = f" ({identifier.opaque})" if identifier.opaque else ""
        dearest = self.catalog.dearest(identifier, at) if identifier.opaque is None else None
        if dearest is not None:
            basis = f"the dearest model that {identifier.vendor} has now, {dearest.key}"
            price = replace(dearest, source=ASSUMED)
        else:
            s = self.settings
            basis = (
                f"the rate for unknown models, {s.unknown_currency} {s.unknown_input_per_thousand} in and "
                f"{s.unknown_output_per_thousand} out per 1,000 tokens"
            )
            price = self._unknown_rate(at)
        return replace(
            price,
            known=False,
            approximate=True,
            warning=(
                f"No price is known for '{name}'{because}. Assumed: {basis} ({_rates_text(price)})."
                + _line_to_paste(identifier, price)
            ),
        )

    def _unknown_rate(self, at: datetime) -> Price:
        s = self.settings
        rate = s.unknown_exchange or self.exchange.rate(s.unknown_currency, at)
        dollars = Decimal(rate.usd_per_unit_nanos) / NANOS_PER_UNIT
        fresh = nanos_per_million(s.unknown_input_per_thousand * 1000 * dollars)
        output = nanos_per_million(s.unknown_output_per_thousand * 1000 * dollars)
        return Price(
            key="unknown",
            rates=Rates(fresh, output, fresh, fresh, fresh),
            source=ASSUMED,
            version=rate.text,
            valid_from=None,
        )


def rows_that_lower(before: PriceBook, after: PriceBook, at: datetime) -> Iterator[str]:
    """The rows that are new in one list of prices against another, or gone from it, and make tokens cheaper.

    A row that holds for some work only, or for some days, is one of them whatever it says, and so is one that no model
    of the list or of the rows fits.
    """
    was, is_now = dict(before.stated.rows()), dict(after.stated.rows())
    settings = (before.settings, after.settings)
    written = [row.match for each in settings for row in each.overrides]
    written += [row.match for each in settings for row in each.discounts]
    named = [match for match in written if not any(sign in match for sign in WILD)]
    models: list[str] = []
    for word, rows, others in (("new", is_now, was), ("gone", was, is_now)):
        for text, row in rows.items():
            if text in others:
                continue
            if not models and not isinstance(row, str):
                models = [*dict.fromkeys([*named, *(each.id for each in after.catalog.models(at))])][:_MODELS_COMPARED]
            if isinstance(row, str):
                fits = [row]
            elif row is None or overrides.is_scoped(row) or row.valid_from is not None or row.valid_to is not None:
                fits = []
            else:
                fits = [
                    model
                    for model in models
                    if overrides.matching_row((row,), identifiers.identify(model), at) is not None
                ]
                fits = fits[:: 1 + len(fits) // _MODELS_QUOTED]
            # One class of tokens that became cheaper, at one size of a context, is enough.
            quotes = ((after.quote(model, at), before.quote(model, at)) for model in fits)
            if not fits or any(a < b for now, then in quotes for a, b in _paired(now, then)):
                yield f"{word} {text}"


def half_hour_of(at: datetime) -> int:
    """The span of time that a price holds for at the least, by its number."""
    return int(at.timestamp()) // _HALF_HOUR_S


def _rates_text(price: Price) -> str:
    rates = price.rates
    return f"${exact_text(rates.input_nanos)} in, ${exact_text(rates.output_nanos)} out per million tokens"


def _is_dearer(one: Price, other: Price) -> bool:
    """Whether a price is above another in some class of tokens and below it in none."""
    pairs = _paired(one, other)
    pairs += [(one.per_request_nanos, other.per_request_nanos), (one.per_search_nanos, other.per_search_nanos)]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _paired(one: Price, other: Price) -> list[tuple[int, int]]:
    """What two prices say of each class of tokens, at each size of a context that one of them tells apart."""
    sizes = [0, *(tier.above_context_tokens + 1 for tier in (*one.tiers, *other.tiers))]
    return [
        (getattr(one.rates_for(size), each.name), getattr(other.rates_for(size), each.name))
        for size in sizes
        for each in fields(Rates)
    ]


def _line_to_paste(identifier: identifiers.Identifier, price: Price) -> str:
    """What to do about an id without a price of its own, behind a sentence that says so.

    A relative's price may be the right one. One that is assumed is nobody's, and never offered as the mend.
    """
    row = _row_of(identifier, price)
    if not row:
        return ""
    if price.certainty is Certainty.ASSUMED:
        return f" To set it, put what its provider bills for the dots and add to config.toml:\n{row}"
    return f" If that is what its provider bills, add to config.toml:\n{row}"


def _row_of(identifier: identifiers.Identifier, price: Price) -> str:
    """The settings that would give an id its price; none for what no settings file should name."""
    text = identifier.text
    if not text or not text.isprintable():
        return ""
    match = text if len(text) <= identifiers.SHOWN_LENGTH_MAX else text[: identifiers.SHOWN_LENGTH_MAX - 1] + "*"
    quoted = match.replace("\\", "\\\\").replace('"', '\\"')
    fresh, output = exact_text(price.rates.input_nanos), exact_text(price.rates.output_nanos)
    if price.certainty is Certainty.ASSUMED:
        fresh, output = "...  # dollars per million tokens", "..."
    # An unknown provider's price of a model that others list is its own: without its name the row would be all theirs.
    head = text.partition("/")[0].lower()
    served = f'\nprovider = "{head}"' if price.known and _plain(head) and head in providers_of(identifier) else ""
    return f'[[price]]\nmatch = "{quoted}"{served}\ninput = {fresh}\noutput = {output}'


def _plain(word: str) -> bool:
    """Whether a word can stand between quotes as it is."""
    return word.replace("-", "").replace("_", "").replace(".", "").isalnum()
