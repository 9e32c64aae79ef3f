"""What was spent as people ask for it: by day, session, project, model and so on."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum

from tallygate.core.costing import Certainty, Tokens
from tallygate.core.moments import as_datetime, iso, microseconds
from tallygate.core.money import exact_text, to_unit_nanos
from tallygate.core.regex import regex
from tallygate.core.sums import UsageSum
from tallygate.core.text import cleaned
from tallygate.core.values import value

# --- sheet -----------------------------------------------------------------------------------------------------------
# Figures as a spreadsheet takes them: RFC 4180, and nothing in a cell acts.


_CELL_MAX = 1000
# What a spreadsheet would take for the beginning of a formula; in some languages it takes the wide forms too.
# Where semicolons part cells, as in many countries, one may begin inside a text; quotes there are skipped.
_SIGNS = r"-=+@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
_FORMULA = regex(rf"""(^["'\s]*|;["'\s]*)(?=[{_SIGNS}])""")


def sheet(head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> bytes:
    """A header and rows, as bytes: a text stream of some systems would end the lines in its own way."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([head, *rows])
    return text.getvalue().encode()


def cell(value: str | None) -> str:
    """Text from anywhere as it may stand in a cell: an apostrophe stands before what looks like a formula.

    >>> cell("=1+1"), cell("claude-opus-4.7"), cell(None), cell("a;=1")
    ("'=1+1", 'claude-opus-4.7', '', "a;'=1")
    """
    text = "" if value is None else cleaned(value, _CELL_MAX)
    return _FORMULA.sub(r"\1'", text)


# --- usage -----------------------------------------------------------------------------------------------------------
# Usage as people ask for it: by day, week, month, session, project, model or client, from sums of the ledger.


_COUNTS = (
    "responses", "partial_responses", "booked_calls", "fresh_input_tokens", "cache_read_tokens",
    "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens", "total_tokens",
    "web_searches", "missing_output_tokens", "approximate_responses", "assumed_responses",
)  # fmt: skip
_AMOUNTS = ("cost_usd", "known_cost_usd", "approximate_cost_usd", "assumed_cost_usd", "exact_cost_usd")
# Times that no client was there to write; beyond them calendars and zones have limits of their own.
_FIRST_US = microseconds(datetime(1971, 1, 1, tzinfo=UTC))
_LAST_US = microseconds(datetime(2200, 1, 1, tzinfo=UTC))
ALWAYS_US = 2**62


class By(StrEnum):
    """What one line of the list stands for."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    SESSION = "session"
    PROJECT = "project"
    FOLDER = "folder"
    MODEL = "model"
    CLIENT = "client"
    TENANT = "tenant"
    AGENT = "agent"
    SKILL = "skill"
    MCP = "mcp"
    TOOL = "tool"
    BRANCH = "branch"

    @property
    def is_period(self) -> bool:
        return self in (By.DAY, By.WEEK, By.MONTH)

    @property
    def is_shared(self) -> bool:
        """Whether it stands for whom a response was made, which has its share of that."""
        return self in (By.AGENT, By.SKILL, By.MCP, By.TOOL, By.BRANCH)


@value(frozen=True, slots=True)
class Period:
    """A day, a week from Monday on, or a month of a time zone; `end_us` is the first moment after it."""

    label: str
    start_us: int
    end_us: int


@value(frozen=True, slots=True)
class UsagePart:
    """What some responses and booked calls add up to; apart, those priced as a relative of their model, and assumed.

    `exact_nanos` rest on what clients wrote down to its end.
    """

    responses: int = 0
    calls: int = 0
    partial: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    reasoning: int = 0
    web_searches: int = 0
    nanos: int = 0
    missing_output: int = 0
    assumed: int = 0
    assumed_nanos: int = 0
    approximate: int = 0
    approximate_nanos: int = 0
    exact_nanos: int = 0
    first_us: int = ALWAYS_US
    last_us: int = -ALWAYS_US

    @property
    def known_nanos(self) -> int:
        """What is priced by a rate that is listed for its very model."""
        return self.nanos - self.approximate_nanos - self.assumed_nanos

    @property
    def certainty(self) -> Certainty:
        """How sure the least sure part of it is."""
        if self.assumed or self.assumed_nanos:
            return Certainty.ASSUMED
        return Certainty.APPROXIMATE if self.approximate or self.approximate_nanos else Certainty.KNOWN

    def __add__(self, other: UsagePart) -> UsagePart:
        return UsagePart(
            self.responses + other.responses,
            self.calls + other.calls,
            self.partial + other.partial,
            self.tokens + other.tokens,
            self.reasoning + other.reasoning,
            self.web_searches + other.web_searches,
            self.nanos + other.nanos,
            self.missing_output + other.missing_output,
            self.assumed + other.assumed,
            self.assumed_nanos + other.assumed_nanos,
            self.approximate + other.approximate,
            self.approximate_nanos + other.approximate_nanos,
            self.exact_nanos + other.exact_nanos,
            min(self.first_us, other.first_us),
            max(self.last_us, other.last_us),
        )


@value(frozen=True, slots=True)
class SessionRate:
    """A currency that sessions were opened in: how many nano-dollars one unit is, by the rate of which day."""

    currency: str
    usd_nanos: int
    day: str | None


@value(frozen=True, slots=True)
class UsageLine:
    """One line of the list, its whole and its models, the dearest first. `key` is what the line stands for.

    `period` is there where keys are listed period by period. `sessions` are those of clients, and where only an agent
    asked the ones that it opened. `own` is what sessions in another currency spent, by their rates, in nano-dollars.
    """

    key: tuple[str | None, ...]
    whole: UsagePart
    models: dict[str, UsagePart] = field(default_factory=dict)
    period: str | None = None
    sessions: frozenset[tuple[str | None, str | None]] = frozenset()
    own: Mapping[SessionRate, int] = field(default_factory=dict)

    def own_nanos(self, rate: SessionRate) -> int:
        """What the sessions of a currency spent in that currency."""
        return to_unit_nanos(self.own[rate], rate.usd_nanos)

    def by_currency(self) -> dict[str, int]:
        """What was spent in other currencies, each in its own nano-units."""
        found: dict[str, int] = {}
        for rate in sorted(self.own, key=lambda rate: (rate.currency, rate.day or "", rate.usd_nanos)):
            found[rate.currency] = found.get(rate.currency, 0) + self.own_nanos(rate)
        return found


def period_of(at_us: int, by: By, zone: tzinfo) -> Period:
    """The day, week or month that a moment belongs to in a time zone.

    >>> period_of(0, By.WEEK, UTC).label, period_of(1_772_323_200_000_000, By.WEEK, UTC).label
    ('before 1971', '2026-W09')
    """
    if at_us < _FIRST_US:
        return Period("before 1971", -ALWAYS_US, _FIRST_US)
    if at_us >= _LAST_US:
        return Period("after 2199", _LAST_US, ALWAYS_US)
    day = as_datetime(at_us).astimezone(zone).date()
    if by is By.DAY:
        return Period(day.isoformat(), _start_us(day, zone), _start_us(day + timedelta(days=1), zone))
    if by is By.WEEK:
        year, week, weekday = day.isocalendar()
        monday = day - timedelta(days=weekday - 1)
        return Period(f"{year}-W{week:02d}", _start_us(monday, zone), _start_us(monday + timedelta(days=7), zone))
    first = day.replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return Period(f"{day:%Y-%m}", _start_us(first, zone), _start_us(following, zone))


def _start_us(day: date, zone: tzinfo) -> int:
    """The first moment of a day; where midnight is skipped, the moment at which it is."""
    return microseconds(datetime.combine(day, time(), zone))


def lines_of(
    sums: Iterable[UsageSum],
    by: By,
    certainties: Mapping[str, Certainty],
    rates: Mapping[str, SessionRate] | None = None,
    period: str | None = None,
) -> list[UsageLine]:
    """One line a key; `certainties` tells how sure each price is, `rates` the currencies that sessions have."""
    found: dict[tuple[str | None, ...], list[UsageSum]] = {}
    for each in sums:
        found.setdefault((each.model,) if by is By.MODEL else each.key, []).append(each)
    return [line_of(key, parts, certainties, rates, period) for key, parts in found.items()]


def line_of(
    key: tuple[str | None, ...],
    sums: Iterable[UsageSum],
    certainties: Mapping[str, Certainty],
    rates: Mapping[str, SessionRate] | None = None,
    period: str | None = None,
) -> UsageLine:
    """Sums as one line."""
    models: dict[str, UsagePart] = {}
    sessions: set[tuple[str | None, str | None]] = set()
    own: dict[SessionRate, int] = {}
    for each in sums:
        part, known = _part(each, certainties), models.get(each.model)
        models[each.model] = part if known is None else known + part
        sessions.add((each.client, each.session))
        if rates and (rate := rates.get(each.session_id or "")) is not None:
            own[rate] = own.get(rate, 0) + each.nanos
    return _line(key, models, period, frozenset(sessions), own)


def total_of(lines: Iterable[UsageLine]) -> UsageLine:
    """What all lines add up to; a session that stands in several counts once."""
    models: dict[str, UsagePart] = {}
    sessions: set[tuple[str | None, str | None]] = set()
    own: dict[SessionRate, int] = {}
    for line in lines:
        for model, part in line.models.items():
            models[model] = part if (known := models.get(model)) is None else known + part
        sessions |= line.sessions
        for rate, nanos in line.own.items():
            own[rate] = own.get(rate, 0) + nanos
    return _line(("total",), models, None, frozenset(sessions), own)


def ordered(lines: list[UsageLine], by: By) -> list[UsageLine]:
    """Sessions by their last response, the latest first; other keys by cost; periods as time goes."""
    if by.is_period:
        return lines
    if by is By.SESSION:
        return sorted(lines, key=lambda line: (-line.whole.last_us, line.key))
    return sorted(lines, key=lambda line: (-line.whole.nanos, [part or "" for part in line.key]))


def _part(each: UsageSum, certainties: Mapping[str, Certainty]) -> UsagePart:
    part = UsagePart(
        responses=each.responses,
        calls=each.calls,
        partial=each.partial,
        tokens=each.tokens,
        reasoning=each.reasoning,
        web_searches=each.web_searches,
        nanos=each.nanos,
        missing_output=each.missing_output,
        exact_nanos=each.exact_nanos,
        first_us=each.first_us,
        last_us=each.last_us,
    )
    certainty = certainties.get(each.price_id)
    if certainty is Certainty.ASSUMED:
        return replace(part, assumed=each.responses, assumed_nanos=each.nanos)
    if certainty is Certainty.APPROXIMATE:
        return replace(part, approximate=each.responses, approximate_nanos=each.nanos)
    return part


def _line(
    key: tuple[str | None, ...],
    models: dict[str, UsagePart],
    period: str | None,
    sessions: frozenset[tuple[str | None, str | None]],
    own: Mapping[SessionRate, int],
) -> UsageLine:
    dearest = sorted(models.items(), key=lambda item: (-item[1].nanos, item[0]))
    parts = list(models.values())
    whole = sum(parts[1:], parts[0]) if parts else UsagePart()
    return UsageLine(key, whole, dict(dearest), period, sessions, own)


def csv_of(names: Sequence[str], lines: Iterable[UsageLine], *, by_model: bool, periods: bool = False) -> bytes:
    """Lines for a spreadsheet, amounts to the last digit and times in UTC.

    `names` are those of what a line stands for; with `by_model` there is a row for each model of each line, and with
    `periods` each says of which period it is. How many sessions, and what in other currencies, is known of whole lines.
    """
    rows: list[list[str | int]] = []
    for line in lines:
        keys = [cell(key) for key in line.key] + ([cell(line.period)] if periods else [])
        own = "; ".join(f"{currency} {exact_text(nanos)}" for currency, nanos in line.by_currency().items())
        if by_model:
            rows += [[*keys, cell(model), *_figures(part)] for model, part in line.models.items()]
        else:
            rows.append([*keys, *_figures(line.whole), len(line.sessions) or "", own])
    named = [*names, *(["period"] if periods else []), *(["model"] if by_model else [])]
    whole = [] if by_model else ["sessions", "own_currency"]
    return sheet([*named, *_COUNTS, *_AMOUNTS, "first_at", "last_at", *whole], rows)


def _figures(part: UsagePart) -> list[str | int]:
    tokens = part.tokens
    counts = (
        part.responses, part.partial, part.calls, tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m,
        tokens.cache_write_1h, tokens.output, part.reasoning, tokens.total, part.web_searches,
        part.missing_output, part.approximate, part.assumed,
    )  # fmt: skip
    amounts = (part.nanos, part.known_nanos, part.approximate_nanos, part.assumed_nanos, part.exact_nanos)
    return [*counts, *map(exact_text, amounts), iso(part.first_us) or "", iso(part.last_us) or ""]
