"""What a price list holds, read from rows of text: providers, their models, and what these cost since when.

Rows are what `published` makes of the lists of `genai_prices`, one line a model. A provider's lines are read when
somebody asks for its models: a hook that starts the gate for itself asks for one provider's of fifty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from tallygate.core.values import value

# A clause is its kind as one letter and what it looks for, or a list of clauses behind the kind.
EQUALS, STARTS, ENDS, CONTAINS, REGEX, EITHER, ALL = "=", "^", "$", "*", "~", "|", "&"
Clause = str | list[Any] | None
Raw = dict[str, Any]
# What is read of a price; whatever else a list tells is of what we do not count, such as hours of sound.
RATE_NAMES = frozenset((
    "input", "input_text", "output", "output_text", "cache_read", "cache_text_read",
    "cache_write", "cache_write_5m", "cache_write_1h", "requests_kcount", "web_searches_kcount",
))  # fmt: skip


@value(frozen=True, slots=True)
class Tiered:
    """A rate that is another one above so many tokens of context."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...]

    def at(self, context: int) -> Decimal:
        return next((rate for start, rate in reversed(self.tiers) if context > start), self.base)


class ModelPrice:
    """What one model costs, by the names that the list gives rates; decimals are made when they are asked for."""

    __slots__ = ("raw",)

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    def values(self) -> dict[str, Decimal | Tiered]:
        return {name: _rate(text) for name, text in self.raw.items()}


def _rate(said: Any) -> Decimal | Tiered:
    if isinstance(said, str):
        return Decimal(said)
    base, *tiers = said
    return Tiered(Decimal(base), tuple((start, Decimal(rate)) for start, rate in tiers))


@value(frozen=True, slots=True)
class Dated:
    """A price with the day it begins on or the hours of a day it holds in, both of UTC, where it has them."""

    price: ModelPrice
    start: str | None = None
    hours: tuple[str, str] | None = None

    def is_active(self, at: datetime) -> bool:
        # Text of one width each: it sorts as what it says.
        moment = at.astimezone(UTC)
        if self.start is not None:
            return moment.date().isoformat() >= self.start
        if self.hours is None:
            return True
        begin, end = self.hours
        now = moment.time().isoformat("microseconds")
        return now >= begin or now < end if end < begin else begin <= now < end


@value(frozen=True, slots=True)
class Variant:
    """A price, or a part of one, on other terms than the usual: the terms by name, and since when."""

    when: dict[str, str]
    dated: Dated


class Model:
    """One entry of a provider."""

    __slots__ = ("context_window", "id", "match", "prices", "variants")

    def __init__(self, row: list[Any]) -> None:
        self.id: str = row[0]
        # Most are meant by nothing but their id.
        self.match: Clause = EQUALS + self.id.lower() if row[1] == EQUALS else row[1]
        self.context_window: int | None = row[2]
        self.prices = tuple(_dated(*each) for each in row[3])
        self.variants = tuple(Variant(when, _dated(*each)) for when, *each in row[4]) if len(row) > 4 else ()

    def is_match(self, name: str) -> bool:
        return is_match(self.match, name.lower())

    def price_at(self, at: datetime, when: dict[str, str] | None = None) -> ModelPrice:
        """The price as of a time, on terms; the last that holds, and the first where none does."""
        found = self.dated_at(at).price
        if when is None:
            return found
        parts: Raw = {}
        for variant in self.variants:
            if variant.dated.is_active(at) and all(when.get(key) == told for key, told in variant.when.items()):
                # The first variant that has a rate decides it, each rate by itself.
                parts = variant.dated.price.raw | parts
        return ModelPrice(found.raw | parts)

    def dated_at(self, at: datetime) -> Dated:
        return next((each for each in reversed(self.prices) if each.is_active(at)), self.prices[0])


def _dated(raw: Raw, start: str | None = None, hours: list[str] | None = None) -> Dated:
    return Dated(ModelPrice(raw), start, None if hours is None else (hours[0], hours[1]))


class ListedProvider:
    """Who serves models at prices of its own."""

    def __init__(self, row: list[Any], text: str) -> None:
        self.id: str = row[0]
        self.match: Clause = row[1]
        # Whose entries count for it, too.
        self.fallbacks: tuple[str, ...] = tuple(row[2])
        self.count: int = row[3]
        # The days on which its prices begin.
        self.starts: tuple[str, ...] = tuple(row[4])
        self._text = text

    @cached_property
    def models(self) -> tuple[Model, ...]:
        return tuple(map(Model, json.loads("[" + self._text.replace("\n", ",") + "]")))

    def may_name(self, name: str) -> bool:
        """False where a name in small letters stands in none of its lines, which are not taken apart for that."""
        # What the text writes otherwise than it is cannot be looked for in it.
        is_plain = name.isascii() and name.isprintable() and not set(name) & {'"', "\\"}
        return name in self._lowered if is_plain else True

    @cached_property
    def _lowered(self) -> str:
        return self._text.lower()


def read(rows: str) -> list[ListedProvider]:
    """The providers of a list. A line that begins with `#` is one, and those below it are its models."""
    found = []
    for block in ("\n" + rows).split("\n#")[1:]:
        head, _, models = block.partition("\n")
        found.append(ListedProvider(json.loads(head), models))
    return found


def newest_start(providers: list[ListedProvider], until: date) -> date | None:
    """The youngest day until a day on which a price began: how recent the list's knowledge is at least."""
    last = until.isoformat()
    newest = max((start for each in providers for start in each.starts if start <= last), default=None)
    return None if newest is None else date.fromisoformat(newest)


def is_match(clause: Clause, name: str) -> bool:
    """Whether a clause means a name."""
    if isinstance(clause, list):
        some = any if clause[0] == EITHER else all
        return some(is_match(part, name) for part in clause[1:])
    if clause is None:
        return False
    kind, sought = clause[0], clause[1:]
    if kind == REGEX:
        return re.search(sought, name) is not None
    name = name.lower()
    if kind == EQUALS:
        return name == sought
    if kind == STARTS:
        return name.startswith(sought)
    return name.endswith(sought) if kind == ENDS else sought in name


def literals(clause: Clause) -> Iterator[str]:
    """The names that a clause means by being them."""
    if isinstance(clause, list):
        if clause[0] == EITHER:
            for part in clause[1:]:
                yield from literals(part)
    elif clause is not None and clause[0] == EQUALS:
        yield clause[1:]


def is_literal(clause: Clause) -> bool:
    """Whether a clause means nothing but names that are written out."""
    if isinstance(clause, list):
        return clause[0] == EITHER and all(is_literal(part) for part in clause[1:])
    return clause is not None and clause[0] == EQUALS


def ways(clause: Clause, name: str) -> Iterator[tuple[str, str, str]]:
    """Ways in which a clause matches: what stands before, the part it asks for, what it leaves over."""
    if isinstance(clause, list):
        parts = [list(ways(part, name)) for part in clause[1:]]
        if clause[0] == EITHER:
            yield from (way for part in parts for way in part)
        elif all(parts):
            # All must match; what is left over of the id is told by the part that says most of it.
            yield max((way for part in parts for way in part), key=lambda way: len(way[1]))
    elif clause is not None and clause[0] == REGEX:
        if (found := re.search(clause[1:], name)) is not None:
            yield name[: found.start()], found.group(), name[found.end() :]
    elif clause is not None and is_match(clause, name):
        anchor = clause[1:]
        # An ending stands where it is last, also where the same letters come before.
        start = name.rfind(anchor) if clause[0] == ENDS else name.find(anchor)
        yield name[:start], anchor, name[start + len(anchor) :]
