"""Take over a newer price list: read, held against the one that counts, kept with its hash."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path

from tallygate.core.authority import Authority, Loosening
from tallygate.core.costing import Rates
from tallygate.core.errors import InvalidArgument
from tallygate.core.moments import as_datetime, iso
from tallygate.core.money import exact_text
from tallygate.core.text import shown
from tallygate.core.values import value
from tallygate.operations.lock_book import note_loosened
from tallygate.operations.runtime import Runtime
from tallygate.pricing.snapshot import FOLDER, Snapshot, forget, keep

# No price moves further than this without the user's word; nor do more than so many of 100 models go.
FAR, GONE_PERCENT = 5, 10
SHOWN_MAX = 5


@value(frozen=True, slots=True)
class RateChange:
    """One class of tokens of one model whose rate is another: before and after, in nano-dollars per million."""

    model: str
    rate: str
    before_nanos: int
    after_nanos: int

    @property
    def is_far(self) -> bool:
        low, high = sorted((self.before_nanos, self.after_nanos))
        return high > low * FAR

    @property
    def text(self) -> str:
        return f"{self.model} {self.rate} ${exact_text(self.before_nanos)} -> ${exact_text(self.after_nanos)}"


@value(frozen=True, slots=True)
class ListComparison:
    """A new list against the one that counts: how many models each has, which went, what moved."""

    before: int
    after: int
    gone: tuple[str, ...]
    moved: tuple[RateChange, ...]

    @property
    def lowered(self) -> tuple[RateChange, ...]:
        return tuple(each for each in self.moved if each.after_nanos < each.before_nanos)

    @property
    def far(self) -> tuple[RateChange, ...]:
        return tuple(each for each in self.moved if each.is_far)

    @property
    def too_few(self) -> bool:
        return len(self.gone) * 100 > self.before * GONE_PERCENT


@value(frozen=True, slots=True)
class PriceListTaken:
    """A list that counts from now on; not `fresh` where it was the same already."""

    snapshot: Snapshot
    compared: ListComparison
    fresh: bool


def take_prices(
    rt: Runtime, raw: bytes, *, folder: Path, origin: str, authority: Authority, published: bool, force: bool = False
) -> PriceListTaken:
    """Keep a price list and let it count for what comes.

    One that is `published` is taken from its makers' own address; any other, or one that is forced, may make work
    cheaper only for the user. Raises `InvalidArgument` where it is no price list or moves too far.
    """
    from tallygate.pricing.catalog_index import bundled_version, providers_of, rates_listed

    at = as_datetime(rt.services.clock_us())
    try:
        after = rates_listed(providers_of(raw), at)
    except (ValueError, TypeError, AttributeError) as error:
        hint = "Nothing was changed. Give the data.json that genai-prices publishes."
        raise InvalidArgument(
            "FILE", f"{shown(origin)} is no price list: {shown(str(error), 300)}.", hint=hint
        ) from None
    compared = compare(rates_listed(rt.workspace.prices.catalog.providers(), at), after)
    if not force:
        _refuse_what_is_odd(compared, origin)
    if compared.lowered and (force or not published):
        authority.require(Loosening.PRICES_UPDATE)
        note_loosened(rt, authority, Loosening.PRICES_UPDATE, shown(origin))
    fresh = rt.workspace.prices.catalog.digest != hashlib.sha256(raw).hexdigest()
    stamp = iso(rt.services.clock_us()) or ""
    snapshot = keep(folder / FOLDER, raw, fetched_at=stamp, origin=origin, package=bundled_version())
    return PriceListTaken(snapshot, compared, fresh)


def reset_prices(rt: Runtime, *, folder: Path, authority: Authority) -> tuple[ListComparison, bool]:
    """Let the price list that came with the program count again, and say whether another one was kept.

    It may make work cheaper only for the user. A list that is kept and does not count, since it is damaged or older
    than the program, goes too.
    """
    from tallygate.pricing.catalog_index import bundled_providers, rates_listed

    at = as_datetime(rt.services.clock_us())
    compared = compare(rates_listed(rt.workspace.prices.catalog.providers(), at), rates_listed(bundled_providers(), at))
    if compared.lowered:
        authority.require(Loosening.PRICES_RESET)
        note_loosened(rt, authority, Loosening.PRICES_RESET)
    return compared, forget(folder / FOLDER)


def compare(before: dict[tuple[str, str], Rates], after: dict[tuple[str, str], Rates]) -> ListComparison:
    """Hold the rates of two lists against each other, class by class."""
    moved = [
        RateChange(":".join(name), each.name.removesuffix("_nanos"), getattr(old, each.name), getattr(new, each.name))
        for name, old in before.items()
        if (new := after.get(name)) is not None and new != old
        for each in fields(Rates)
        if getattr(old, each.name) != getattr(new, each.name)
    ]
    gone = tuple(":".join(name) for name in before if name not in after)
    return ListComparison(len(before), len(after), gone, tuple(moved))


def _refuse_what_is_odd(compared: ListComparison, origin: str) -> None:
    """A damaged or foreign list shows by prices that jump, or models that are gone."""
    hint = "Nothing was changed. If that is right, say so with --force."
    if compared.too_few:
        listed = ", ".join(compared.gone[:SHOWN_MAX])
        what = f"{len(compared.gone):,} of {compared.before:,} models are gone from it, such as {listed}"
        raise InvalidArgument("FILE", f"{shown(origin)} is not taken: {what}.", hint=hint)
    if far := compared.far:
        listed = ", ".join(each.text for each in far[:SHOWN_MAX])
        more = f", and {len(far) - SHOWN_MAX:,} more" if len(far) > SHOWN_MAX else ""
        what = f"prices move more than {FAR}-fold: {listed}{more}"
        raise InvalidArgument("FILE", f"{shown(origin)} is not taken: {what}.", hint=hint)
