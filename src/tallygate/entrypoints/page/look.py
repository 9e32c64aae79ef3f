"""What the address of a page says: which page, which days, which work, and how it is shown. Every link keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from urllib.parse import quote, urlencode

from tallygate.core.chosen import TODAY, Filter, filter_of
from tallygate.core.values import value

# What a filter may go by; each is a word that lists of usage take.
KEYS = ("project", "model", "client", "agent", "skill", "branch", "mcp")
_THEMES = ("light", "dark")
_TEXT_MAX = 200


@value(frozen=True, slots=True)
class Look:
    """The address of a page, taken apart. `other` is what belongs to one page alone: a session, a split, a sort."""

    page: str
    period: str = TODAY
    filter: Filter = field(default_factory=Filter)
    theme: str | None = None
    other: Mapping[str, str] = field(default_factory=dict)

    def href(self, page: str | None = None, **changes: str | None) -> str:
        """The address of a page in this state, with changes; what belongs to this page alone goes with it alone."""
        here = page is None or page == self.page
        given: dict[str, str | None] = {
            "period": self.period,
            "filter": self.filter.text,
            "theme": self.theme,
            **(self.other if here else {}),
            **changes,
        }
        text = urlencode({name: value for name, value in given.items() if value}, quote_via=quote)
        return f"{page or self.page}?{text}" if text else page or self.page

    def narrowed(self, key: str, value: str, page: str | None = None) -> str:
        """The same with one more word in the filter."""
        return self.href(page, filter=self.filter.with_(key, value).text)


def look_of(page: str, query: Mapping[str, str], *, period: str = TODAY) -> Look:
    """An address taken apart; what means nothing is left out."""
    theme = query.get("theme")
    known = {"period", "filter", "theme"}
    return Look(
        page,
        query.get("period", period)[:_TEXT_MAX],
        filter_of(query.get("filter", ""), KEYS),
        theme if theme in _THEMES else None,
        {name: value[:_TEXT_MAX] for name, value in query.items() if name not in known and name.isalpha()},
    )


def with_period(look: Look, period: str) -> Look:
    """The same address with another span: where what was named is none."""
    return replace(look, period=period)
