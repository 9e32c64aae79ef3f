"""Lists of `genai_prices` as rows of text; the one module that touches it.

Imported where the list that is frozen into this package is not the one that is installed, or where the user has fetched
one: loading it takes a quarter of a second and pulls in pydantic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from importlib.metadata import version
from typing import Any

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
    TimeOfDateConstraint,
)
from pydantic import ValidationError

from tallygate.pricing.entries import ALL, CONTAINS, EITHER, ENDS, EQUALS, RATE_NAMES, REGEX, STARTS


def installed_version() -> str:
    """Version of the library that is installed."""
    return version("genai-prices")


def installed_rows() -> str:
    """The list that came with the library."""
    return rows_of(get_snapshot().providers)


def rows_in(raw: bytes) -> str:
    """A published price list. Raises `ValueError` where it is none, in one line."""
    from genai_prices.types import _providers_from_raw

    try:
        told = json.loads(raw, parse_constant=_no_constant)
        if not isinstance(told, list) or not told:
            raise ValueError("it is no list of providers")
        return rows_of(_providers_from_raw(told))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))[:120]}: {first['msg'][:120]}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def rows_of(providers: Sequence[Provider]) -> str:
    """A list as text that `entries.read` reads: a line for a provider, and one for each of its models below it."""
    return "\n".join(line for provider in providers for line in _lines(provider))


def _lines(provider: Provider) -> Iterator[str]:
    rows = [_model(model) for model in provider.models]
    starts = sorted({each[1] for row in rows for each in row[3] if len(each) > 1 and each[1] is not None})
    head = [
        provider.id,
        None if provider.model_match is None else _clause(provider.model_match),
        provider.fallback_model_providers or [],
        len(rows),
        starts,
    ]
    yield "#" + _text(head)
    yield from map(_text, rows)


def _text(row: list[Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _model(model: ModelInfo) -> list[Any]:
    prices = model.prices
    if not isinstance(prices, ModelPrice) and not prices:
        raise ValueError(f"{model.id[:120]} has no price")
    dated = (
        [[_price(prices)]]
        if isinstance(prices, ModelPrice)
        else [[_price(each.prices), *_limit(each.constraint)] for each in prices]
    )
    match = _clause(model.match)
    row = [model.id, EQUALS if match == EQUALS + model.id.lower() else match, model.context_window, dated]
    variants = [[each.when, _price(each.prices), *_limit(each.constraint)] for each in model.price_variants or ()]
    return [*row, variants] if variants else row


def _limit(constraint: StartDateConstraint | TimeOfDateConstraint | None) -> list[Any]:
    """Since when a price holds, or in which hours of a day."""
    if constraint is None:
        return []
    if isinstance(constraint, StartDateConstraint):
        return [constraint.start_date.isoformat()]
    return [None, [_hour(constraint.start_time), _hour(constraint.end_time)]]


def _hour(of: time) -> str:
    """A time of day in UTC; one that says no zone is of UTC."""
    if of.tzinfo is not None:
        of = datetime.combine(date(1970, 1, 1), of).astimezone(UTC).time()
    return of.isoformat("microseconds")


def _price(price: ModelPrice) -> dict[str, Any]:
    """The rates that are asked for. One that has thresholds is kept whatever it is of: all rates are taken at them."""
    found: dict[str, Any] = {}
    for name, rate in ((name.removesuffix("_mtok"), rate) for name, rate in vars(price).items()):
        if isinstance(rate, TieredPrices):
            found[name] = [str(rate.base), *([tier.start, str(tier.price)] for tier in rate.tiers)]
        elif rate is not None and name in RATE_NAMES:
            found[name] = str(rate)
    return found


def _clause(clause: MatchLogic) -> str | list[Any]:
    match clause:
        case ClauseOr():
            return [EITHER, *map(_clause, clause.or_)]
        case ClauseAnd():
            return [ALL, *map(_clause, clause.and_)]
        case ClauseRegex():
            return REGEX + clause.regex
        case ClauseEquals():
            return EQUALS + clause.equals.lower()
        case ClauseStartsWith():
            return STARTS + clause.starts_with.lower()
        case ClauseEndsWith():
            return ENDS + clause.ends_with.lower()
        case ClauseContains():
            return CONTAINS + clause.contains.lower()
