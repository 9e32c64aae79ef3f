"""Prices that the user sets, negotiates or names differently, and the few rows that no catalog has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Protocol, TypeVar

from tallygate.core.costing import Price, Rates
from tallygate.core.errors import SettingsError
from tallygate.core.places import Place, as_written, meant
from tallygate.core.values import value
from tallygate.pricing.identifiers import Identifier, identify, provider_of, shown
from tallygate.pricing.identity import glob_matches, providers_of, same_model
from tallygate.pricing.rates import nanos_per_million, scaled
from tallygate.pricing.vendors import CHANNELS, GATEWAYS, LOCAL_CHANNELS, VENDORS

RATE_MAX = Decimal(1_000_000)
OWN_SOURCE = "tallygate"


@value(frozen=True, slots=True)
class PriceScope:
    """Whose step is priced: rows of the settings may hold for one tenant, one project or one session only.

    `opened_at` names the prices that a session was opened at, where those in force are others; `elsewhere` that it is
    a session of another project, whose prices are not those of the settings at hand.
    """

    tenant: str | None = None
    project: str | None = None
    session: str | None = None
    at: Place | None = None
    opened_at: str | None = None
    elsewhere: bool = False

    @property
    def place(self) -> Place | None:
        """Where the project lies; where nobody has looked, as its path says."""
        return self.at or (None if self.project is None else as_written(self.project))


ANYWHERE = PriceScope()


def _check_match(table: str, match: str, valid_from: date | None, valid_to: date | None) -> None:
    if not match.strip() or len(match) > 256:
        raise SettingsError(f"match of [[{table}]] must have 1 to 256 characters.")
    if valid_from is not None and valid_to is not None and valid_to <= valid_from:
        raise SettingsError(f"[[{table}]] {shown(match)} ends on {valid_to} but begins on {valid_from}.")


@value(frozen=True, slots=True)
class PriceOverride:
    """One `[[price]]`: dollars per million tokens for the ids that match, from and until a day (UTC).

    Cache classes that are left out follow the input rate: reads at 1x, writes at 1x, and for Claude, whose
    writes always cost more than its input, at 1.25x for five minutes and 2x for an hour.
    """

    match: str
    input: Decimal
    output: Decimal
    provider: str | None = None
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    valid_from: date | None = None
    valid_to: date | None = None
    note: str = ""
    approximate: bool = False
    tenant: str | None = None
    project: str | None = None
    session: str | None = None

    def __post_init__(self) -> None:
        _check_match("price", self.match, self.valid_from, self.valid_to)
        for name in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h"):
            rate = getattr(self, name)
            if rate is not None and not (rate.is_finite() and 0 <= rate <= RATE_MAX):
                raise SettingsError(f"{name} of [[price]] {shown(self.match)} must be $0 to ${RATE_MAX:,}.")


@value(frozen=True, slots=True)
class Discount:
    """One `[[discount]]`: list prices of the ids that match are multiplied by this, from and until a day."""

    match: str
    multiplier: Decimal
    provider: str | None = None
    valid_from: date | None = None
    valid_to: date | None = None
    note: str = ""
    tenant: str | None = None
    project: str | None = None
    session: str | None = None

    def __post_init__(self) -> None:
        _check_match("discount", self.match, self.valid_from, self.valid_to)
        if not (self.multiplier.is_finite() and 0 < self.multiplier <= 100):
            raise SettingsError(
                f"multiplier of [[discount]] {shown(self.match)} must be more than 0 and at most 100.",
                hint="A model that costs nothing needs a [[price]] with input = 0 and output = 0.",
            )


class _Scoped(Protocol):
    @property
    def tenant(self) -> str | None: ...
    @property
    def project(self) -> str | None: ...
    @property
    def session(self) -> str | None: ...


class _Dated(_Scoped, Protocol):
    @property
    def match(self) -> str: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def valid_from(self) -> date | None: ...
    @property
    def valid_to(self) -> date | None: ...


_Row = TypeVar("_Row", bound=_Dated)


def matching_row(
    rows: Sequence[_Row], identifier: Identifier, at: datetime, scope: PriceScope = ANYWHERE
) -> _Row | None:
    """The row that holds for an id as of a time, in a scope.

    A row for the session comes before one for the project, the tenant, everything; of two for the same one that names
    the id as it is before one that names the model in another way, as without its date, and that before a pattern;
    then one with a provider, then the latest.
    """
    day = at.astimezone(UTC).date()
    best: tuple[tuple[int | date, ...], _Row] | None = None
    for place, row in enumerate(rows):
        if not holds(row, day) or not applies(row, scope):
            continue
        provider, pattern = _provider_and_pattern(row.match, row.provider)
        if provider is not None and provider not in providers_of(identifier):
            continue
        exact = pattern in _forms(identifier) or _same_model(pattern, identifier)
        if exact or any(glob_matches(pattern, form) for form in _forms(identifier)):
            # From the nearest to the farthest; of rows that are alike in all, the last that was written.
            near = (row.session is not None, row.project is not None, row.tenant is not None)
            rank = (
                *near,
                exact + (pattern in _written(identifier)),
                provider is not None,
                row.valid_from or date.min,
                place,
            )
            if best is None or rank > best[0]:
                best = rank, row
    return best[1] if best else None


def is_scoped(row: _Scoped) -> bool:
    """Whether a row holds only for a session, a project or a tenant."""
    return not (row.session is row.project is row.tenant is None)


def applies(row: _Scoped, scope: PriceScope) -> bool:
    """Whether a row holds in a scope; of a row that names several things, all must be so."""
    return (
        row.session in (None, scope.session)
        and row.tenant in (None, scope.tenant)
        and (row.project is None or bool(meant(scope.place, row.project)))
    )


def _version(text: str, row: _Scoped) -> str:
    """The version of a price by a row, which says whom the row is for."""
    named = (("session", row.session), ("project", row.project), ("tenant", row.tenant))
    whom = ", ".join(f"{name} {shown(value)}" for name, value in named if value is not None)
    return f"{text} for {whom}".strip() if whom else text


def holds(row: _Dated, day: date) -> bool:
    """Whether a row is valid on a day; it ends before the day it names."""
    return (row.valid_from or date.min) <= day and (row.valid_to is None or day < row.valid_to)


def override_price(row: PriceOverride, identifier: Identifier, source: str) -> Price:
    """The price that a row sets for an id."""
    claude = identifier.family == "claude"
    fresh = nanos_per_million(row.input)

    def rate(given: Decimal | None, quarters_of_input: int) -> int:
        # Not given: as Anthropic prices its caches (a quarter more for five minutes, twice for an hour), and elsewhere
        # as plain input; reading a cache is never taken for cheaper than it was said to be.
        return nanos_per_million(given) if given is not None else -(-fresh * quarters_of_input // 4)

    return Price(
        key=f"{row.provider}:{row.match}" if row.provider else row.match,
        rates=Rates(
            input_nanos=fresh,
            output_nanos=nanos_per_million(row.output),
            cache_read_nanos=rate(row.cache_read, 4),
            cache_write_5m_nanos=rate(row.cache_write_5m, 5 if claude else 4),
            cache_write_1h_nanos=rate(row.cache_write_1h, 8 if claude else 4),
        ),
        source=source,
        version=_version(row.valid_from.isoformat() if row.valid_from else "", row),
        valid_from=row.valid_from.isoformat() if row.valid_from else None,
        approximate=row.approximate,
        warning=row.note if row.approximate else None,
    )


def discounted(price: Price, discount: Discount) -> Price:
    """A list price times a negotiated multiplier; the version says so."""
    by = discount.multiplier
    return replace(scaled(price, by), version=_version(f"{price.version} x{by.normalize():f}", discount))


def _forms(identifier: Identifier) -> tuple[str, ...]:
    """What a pattern may be written for: the id as sent, without its channel, bare, in its one spelling."""
    return (*_written(identifier), identifier.canonical)


def _written(identifier: Identifier) -> tuple[str, ...]:
    """An id as it was sent, with and without who serves it."""
    scoped = f"{identifier.org}/{identifier.name}" if identifier.org else identifier.name
    return (identifier.text, scoped, identifier.name)


def _same_model(pattern: str, identifier: Identifier) -> bool:
    """Whether a row names this model in another spelling; one that names a host as well is for what that serves.

    A prefix that nobody knows is the user's own: `acme/x` is not `x`.
    """
    if "*" in pattern or "?" in pattern or not same_model(pattern, identifier.text):
        return False
    if "/" not in pattern:
        return True
    # What stands before the name must be there in the id as well, unless it is a host that everybody knows.
    own = {part for part in pattern.split("/")[:-1] if part not in _KNOWN_PREFIXES}
    return own <= set(identifier.text.split("/")[:-1]) and _channel_of(pattern) in (None, *providers_of(identifier))


# What stands before a model's name without making it somebody's own: makers, hosts, gateways, and parts of paths.
_KNOWN_PREFIXES = frozenset((*CHANNELS, *GATEWAYS, *VENDORS, *LOCAL_CHANNELS, "models", "accounts", "publishers", ""))


@lru_cache(maxsize=1024)
def _channel_of(pattern: str) -> str | None:
    return identify(pattern).channel


def _provider_and_pattern(match: str, provider: str | None) -> tuple[str | None, str]:
    """`bedrock:claude-*` names a provider; in `llama3.3:70b` the colon belongs to the model."""
    head, colon, tail = match.strip().lower().partition(":")
    if provider is None and colon and tail and (head in CHANNELS or head in VENDORS):
        return provider_of(head), tail
    return (provider_of(provider) if provider else None), match.strip().lower()
