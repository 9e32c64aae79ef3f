"""What somebody looks at: a span of local days, the one before it to compare with, and which work."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime, time, timedelta, tzinfo

from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.regex import regex
from tallygate.core.text import shown
from tallygate.core.values import value

TODAY, WEEK, ALL = "today", "7d", "all"
_MONTH = regex(r"(\d{4})-(\d{2})")
_TERM = regex(r'(?:([A-Za-z]+):)?("[^"]*"|\S+)')
_TERMS_MAX = 20
_TEXT_MAX = 400
# Times that no client was there to write; beyond them calendars have limits of their own.
_YEARS = range(1971, 2200)


@value(frozen=True, slots=True)
class Span:
    """A span of local days: `label` says which, `before` is as long a one to compare with, where there is one.

    `days` are the local days in it up to today; of everything on record there are none to list beforehand.
    """

    name: str
    label: str
    from_us: int
    until_us: int
    days: tuple[date, ...] = ()
    before: tuple[int, int] | None = None
    before_label: str = ""


def span_named(name: str, now_us: int, zone: tzinfo) -> Span | None:
    """The span that an address names: today, 7d, a month such as 2026-11, or all; None where it names none."""
    now = as_datetime(now_us).astimezone(zone)
    today = now.date()
    # What is written a moment ahead of the clock is of today as well.
    end_us = start_us(today + timedelta(days=1), zone)
    if name == ALL:
        return Span(ALL, "everything on record", -(2**62), end_us)
    if name == TODAY:
        yesterday = today - timedelta(days=1)
        same = microseconds(datetime.combine(yesterday, now.time(), zone))
        return Span(
            TODAY,
            f"today, {day_told(today)}",
            start_us(today, zone),
            end_us,
            (today,),
            (start_us(yesterday, zone), same + 1),
            f"yesterday by {now:%H:%M}",
        )
    if name == WEEK:
        first = today - timedelta(days=6)
        earlier, last = first - timedelta(days=7), first - timedelta(days=1)
        return Span(
            WEEK,
            f"{range_told(first, today)}, 7 days",
            start_us(first, zone),
            end_us,
            _days(first, today),
            (start_us(earlier, zone), start_us(first, zone)),
            range_told(earlier, last),
        )
    return _month(name, today, zone)


def _month(name: str, today: date, zone: tzinfo) -> Span | None:
    """A month up to today, beside as many days of the month before."""
    found = _MONTH.fullmatch(name)
    if found is None or int(found[1]) not in _YEARS or not 1 <= int(found[2]) <= 12:
        return None
    first = date(int(found[1]), int(found[2]), 1)
    if first > today:
        return None
    whole = first.replace(day=monthrange(first.year, first.month)[1])
    last = min(whole, today)
    earlier = month_before(first)
    most = monthrange(earlier.year, earlier.month)[1]
    # A month that is over is held against all of the one before, one that runs against as many of its days.
    until = earlier.replace(day=most if last == whole else min(last.day, most))
    return Span(
        name,
        f"{range_told(first, last)}, {len(_days(first, last))} days",
        start_us(first, zone),
        start_us(last + timedelta(days=1), zone),
        _days(first, last),
        (start_us(earlier, zone), start_us(until + timedelta(days=1), zone)),
        range_told(earlier, until),
    )


def month_before(day: date) -> date:
    """The first day of the month before."""
    return (day.replace(day=1) - timedelta(days=1)).replace(day=1)


def start_us(day: date, zone: tzinfo) -> int:
    """The first moment of a local day; where midnight is skipped, the moment at which it is."""
    return microseconds(datetime.combine(day, time(), zone))


def day_told(day: date) -> str:
    """A day as people say it beside others of its year.

    >>> day_told(date(2026, 11, 26))
    'Thu 26 Nov'
    """
    return f"{day:%a} {day.day} {day:%b}"


def range_told(first: date, last: date) -> str:
    """A row of days.

    >>> range_told(date(2026, 11, 1), date(2026, 11, 26)), range_told(date(2026, 10, 30), date(2026, 11, 5))
    ('1–26 Nov 2026', '30 Oct – 5 Nov 2026')
    """
    if first == last:
        return f"{first.day} {first:%b %Y}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{last.day} {last:%b %Y}"
    year = "" if first.year == last.year else f" {first.year}"
    return f"{first.day} {first:%b}{year} – {last.day} {last:%b %Y}"


def _days(first: date, last: date) -> tuple[date, ...]:
    return tuple(first + timedelta(days=number) for number in range((last - first).days + 1))


@value(frozen=True, slots=True)
class Term:
    """One word of a filter: which work, by what. A word without a name is a part of a model's id."""

    key: str
    value: str

    @property
    def text(self) -> str:
        return f'{self.key}:"{self.value}"' if " " in self.value else f"{self.key}:{self.value}"


@value(frozen=True, slots=True)
class Filter:
    """The words of a filter that mean something, and what is said of those that mean nothing."""

    terms: tuple[Term, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As it stands in an address."""
        return " ".join(term.text for term in self.terms)

    def of(self, key: str) -> str | None:
        """What is asked for by a name; the last word counts."""
        return next((term.value for term in reversed(self.terms) if term.key == key), None)

    def without(self, term: Term) -> Filter:
        return Filter(tuple(each for each in self.terms if each != term))

    def with_(self, key: str, value: str) -> Filter:
        """The same with another word in place of those of its name."""
        return Filter((*(each for each in self.terms if each.key != key), Term(key, value)))


def filter_of(text: str, known: tuple[str, ...]) -> Filter:
    """A filter as it is typed.

    >>> filter_of('project:shop opus colour:red', ("project", "model")).text
    'project:shop model:opus'
    """
    terms: dict[str, Term] = {}
    unknown = []
    for key, after in _TERM.findall(text[:_TEXT_MAX])[:_TERMS_MAX]:
        name, meant = key.lower() or "model", after.strip('"').strip()
        if not meant:
            continue
        if name in known:
            terms[name] = Term(name, meant)
        else:
            unknown.append(f"{shown(f'{key}:{meant}')}: there is no filter by {shown(key)}")
    return Filter(tuple(terms.values()), tuple(unknown))
