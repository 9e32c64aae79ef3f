"""Budgets of the settings: whom they bind, and the periods they renew in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, field, replace
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache

from tallygate.core.attribution import MadeFor, Served, is_named, is_of_server, share_of_servers
from tallygate.core.errors import InvalidArgument
from tallygate.core.model import Amount, Budget, Session
from tallygate.core.moments import HOUR_US, as_datetime, microseconds
from tallygate.core.money import NANOS_PER_UNIT
from tallygate.core.places import Place, as_written, meant
from tallygate.core.regex import regex
from tallygate.core.text import shown
from tallygate.core.values import value
from tallygate.core.words import BudgetMode, client_name

# --- windows ---------------------------------------------------------------------------------------------------------
# The windows of a period: which one a moment lies in, where it begins and ends, in the user's own time zone.


SESSION, DAY, WEEK, MONTH, NEVER = "session", "day", "week", "month", "never"
_CALENDAR = (DAY, WEEK, MONTH)
_ROLLING = regex(r"([1-9][0-9]{0,3})h")
HOURS_MAX = 24 * 366
# A rolling period is counted in pieces: what is older than the period leaves it a piece at a time.
PIECES = 30


@value(frozen=True, slots=True)
class Window:
    """One window of a period: from its first microsecond to the first one after it; `name` is unique within the period.

    `end_us` is None for a window that never ends.
    """

    name: str
    start_us: int
    end_us: int | None


def parse_period(text: str) -> str:
    """A period as it is written in settings: session, day, week, month, never, or a number of hours such as 5h."""
    found = _ROLLING.fullmatch(text)
    if text in (SESSION, NEVER, *_CALENDAR) or (found is not None and int(found[1]) <= HOURS_MAX):
        return text
    words = "session, day, week, month, never or hours such as 5h"
    raise InvalidArgument("period", f"period must be {words}, not {shown(text)}.")


def rolling_us(period: str) -> int | None:
    """The length of a rolling period; None where the period is none."""
    found = _ROLLING.fullmatch(period)
    return None if found is None else int(found[1]) * HOUR_US


def window_of(period: str, at_us: int, zone: tzinfo) -> Window:
    """The window of a calendar period that a moment lies in.

    Days begin at local midnight, weeks on Monday, months on the first. A day on which clocks are changed has 23 or 25
    hours; where midnight is left out, the day begins with the first moment after it.
    """
    if period == NEVER:
        return Window(NEVER, 0, None)
    day = as_datetime(at_us).astimezone(zone).date()
    first = first_day(period, day)
    # Some day of the next month, whatever the length of this one.
    later = first + timedelta(days={DAY: 1, WEEK: 7, MONTH: 32}[period])
    after = later.replace(day=1) if period == MONTH else later
    return Window(first.isoformat(), _midnight_us(first, zone), _midnight_us(after, zone))


def piece_of(period: str, at_us: int) -> Window:
    """The piece of a rolling period that a moment lies in."""
    length = rolling_us(period)
    if length is None:
        raise InvalidArgument("period", f"{period!r} is no rolling period.")
    size = length // PIECES
    start = at_us // size * size
    return Window(str(start // size), start, start + size)


def first_day(period: str, day: date) -> date:
    """The first day of the calendar window a day lies in."""
    match period:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case _:
            raise InvalidArgument("period", f"{period!r} has no calendar window.")


def _midnight_us(day: date, zone: tzinfo) -> int:
    """The first moment of a local day.

    A midnight that occurs twice is meant the first time. One that is left out is read by the offset before the
    change, which is the very moment of the change or later; the day before ends there, too.
    """
    return microseconds(datetime(day.year, day.month, day.day, tzinfo=zone, fold=0))


# --- rules -----------------------------------------------------------------------------------------------------------
# Budgets as the settings give them: what a rule limits, and which of them bind a session or a call.


EVERY_MODEL = "every"


class BudgetScope(StrEnum):
    """What a budget limits."""

    SESSION = "session"
    PROJECT = "project"
    TENANT = "tenant"
    USER = "user"
    CLIENT = "client"
    MODEL = "model"
    AGENT = "agent"
    SKILL = "skill"
    MCP_SERVER = "mcp_server"
    GLOBAL = "global"
    PLAN = "plan"  # how much of a client's own plan is used: no budget is kept of it


# Those that limit what responses were made for, by its name: they bind the steps that are known to be taken for it.
NAMED = frozenset({BudgetScope.AGENT, BudgetScope.SKILL, BudgetScope.MCP_SERVER})


def scope_words(scope: str) -> str:
    """What a budget limits, in words."""
    return "MCP server" if scope == BudgetScope.MCP_SERVER else str(scope)


def scope_named(scope: BudgetScope) -> str:
    """What a budget limits, as one of its kind.

    >>> scope_named(BudgetScope.AGENT), scope_named(BudgetScope.MCP_SERVER), scope_named(BudgetScope.MODEL)
    ('an agent', 'an MCP server', 'a model')
    """
    return f"{'an' if scope in (BudgetScope.AGENT, BudgetScope.MCP_SERVER) else 'a'} {scope_words(scope)}"


# What stands in the id of a budget between what it limits and the project whose file has it.
WITHIN = ":in:"


@value(frozen=True, slots=True)
class BudgetRule:
    """One budget of the settings: a limit, in a unit, for each window of a period, on everything of a scope.

    `match` narrows a scope: a folder, the end of a project's path, a pattern of either, of clients or of models. `also`
    are names that the user has given to what a model's match means. `key` names what the rule was found to limit for
    one session. `zone` is the time zone its windows begin in. `within` is the project
    whose file has the rule: it limits work there alone, in budgets of its own.
    """

    scope: BudgetScope
    limit: int
    unit: str = "USD"
    period: str = SESSION
    mode: BudgetMode = BudgetMode.HARD
    match: str | None = None
    zone: str = "UTC"
    usd_nanos: int = NANOS_PER_UNIT
    rate_day: str | None = None
    key: str | None = None
    also: tuple[str, ...] = ()
    within: str | None = None

    def budget_id(self, window: str) -> str:
        """The id of this rule's budget for one window: what it limits, the period, the window."""
        return self._id(window if self.period not in ("never", SESSION) else None)

    @property
    def head_id(self) -> str:
        """The id of the budget that stands for all pieces of a rolling period."""
        return self._id(None)

    def _id(self, window: str | None) -> str:
        parts = [self.scope.value, str(self.key), self.period]
        if window is not None:
            parts.append(window)
        if self.unit != "USD":
            parts.append(self.unit)
        if self.mode is BudgetMode.SOFT:
            parts.append("soft")
        if self.within is not None:
            return ":".join(parts) + WITHIN + self.within
        return ":".join(parts)


def counted_since(rules: Iterable[BudgetRule], at_us: int, mode: BudgetMode | None = None) -> int | None:
    """Since when the budgets above sessions count, of rules of a mode; None where there is no such rule."""
    from zoneinfo import ZoneInfo  # settings are read without it

    times = []
    for rule in rules:
        if rule.scope is BudgetScope.SESSION or mode not in (None, rule.mode):
            continue
        length = rolling_us(rule.period)
        times.append(window_of(rule.period, at_us, ZoneInfo(rule.zone)).start_us if length is None else at_us - length)
    return min(times, default=None)


@value(frozen=True, slots=True)
class RuleTarget:
    """What rules are held against: whose session it is, where, in which client.

    `names_of` gives all names that a client is limited by, the first one first.
    """

    tenant: str
    client: str
    user: str
    place: Place | None = None
    also_client: str | None = None
    names_of: Callable[[str], tuple[str, ...]] = field(kw_only=True)

    @property
    def clients(self) -> tuple[str, ...]:
        """All names of the client, the one it is limited by first."""
        each = (self.client, self.also_client)
        return tuple(dict.fromkeys(name for client in each if client is not None for name in self.names_of(client)))


def rules_that_apply(rules: Iterable[BudgetRule], subject: RuleTarget) -> tuple[BudgetRule, ...]:
    """The rules above the session that bind one, each with what it limits there; those for models bind by call."""
    found = [replace(rule, key=key) for rule in rules for key in _keys(rule, subject)]
    return tuple(dict.fromkeys(found))


def _keys(rule: BudgetRule, subject: RuleTarget) -> tuple[str, ...]:
    """What a rule limits there: a project's budget holds in everything inside, so that one place may have several."""
    if rule.within is not None and not meant(subject.place, rule.within):
        return ()
    match rule.scope:
        case BudgetScope.SESSION | BudgetScope.PLAN:
            return ()
        case BudgetScope.PROJECT:
            return meant(subject.place, rule.match)
        case BudgetScope.CLIENT if rule.match is None:
            # Whoever is connected and whoever an agent says it is, so that no name escapes.
            each = (subject.client, subject.also_client)
            return tuple(dict.fromkeys(subject.names_of(client)[0] for client in each if client is not None))
        case BudgetScope.CLIENT:
            match = client_name(rule.match)
            return (match,) if any(fnmatchcase(name, match) for name in subject.clients) else ()
        case BudgetScope.TENANT:
            return (subject.tenant,) if rule.match in (None, subject.tenant) else ()
        case BudgetScope.USER:
            return (subject.user,) if rule.match in (None, subject.user) else ()
        case BudgetScope.MODEL:
            return (rule.match or EVERY_MODEL,)
        case BudgetScope.AGENT | BudgetScope.SKILL | BudgetScope.MCP_SERVER:
            return () if rule.match is None else (rule.match,)
        case BudgetScope.GLOBAL:
            return ("all",)


def applies_to_model(rule: BudgetRule, model: str, means: Callable[[str, str], bool]) -> bool:
    """Whether a rule that binds a session binds a call of this model; `means` says which ids are one model."""
    if rule.scope is not BudgetScope.MODEL or rule.match is None:
        return True
    return any(means(match, model) for match in (rule.match, *rule.also))


def applies_to_step(rule: BudgetRule, step: MadeFor) -> bool:
    """Whether a rule that binds a session binds a step that is taken for somebody."""
    match rule.scope:
        case BudgetScope.AGENT:
            names = step.agents
        case BudgetScope.SKILL:
            names = step.skills
        case BudgetScope.MCP_SERVER:
            names = step.servers
        case _:
            return True
    return any(is_named(name, str(rule.key)) for name in names)


def may_limit(rule: BudgetRule, key: str) -> bool:
    """Whether a rule is one of those that may have made a budget which limits this."""
    match rule.scope:
        case BudgetScope.PROJECT:
            return rule.match is None or key in meant(as_written(key), rule.match)
        case BudgetScope.CLIENT:
            return rule.match is None or client_name(rule.match) == client_name(key)
        case BudgetScope.MODEL:
            return key == (rule.match or EVERY_MODEL)
        case BudgetScope.TENANT | BudgetScope.USER:
            return rule.match in (None, key)
        case BudgetScope.AGENT | BudgetScope.SKILL | BudgetScope.MCP_SERVER:
            return rule.match == key
        case BudgetScope.GLOBAL:
            return True
        case BudgetScope.SESSION | BudgetScope.PLAN:
            return False


@value(frozen=True, slots=True)
class SpendFacts:
    """What is known of something that was spent: by which clients with all their names, where, on which models.

    A response names them itself, and the session that it counts for may name others: a window that means either
    counts it. `folders` are those it was done in with all that these lie in. `agents` and `skills` are whom it was made
    for, `served` the tools that share its cost.
    """

    clients: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    served: tuple[Served, ...] = ()


def weighed_in(budget: Budget, spent: SpendFacts, amount: Amount) -> Amount:
    """What of something that was spent a window counts, which counts it: a server's the share of its own tools."""
    if budget.scope != BudgetScope.MCP_SERVER or len(spent.served) < 2:
        return amount
    key = budget.scope_key
    nanos, tokens = (share_of_servers(each, spent.served, key) for each in (amount.usd_nanos, amount.tokens))
    return Amount(nanos, tokens, amount.calls)


def within_of(budget_id: str) -> str | None:
    """The project that a budget of a project's own file is for, as its id tells."""
    _, mark, folder = budget_id.partition(WITHIN)
    return folder if mark else None


def counts_in(budget: Budget, spent: SpendFacts, means: Callable[[str, str], bool]) -> bool:
    """Whether a window counts something that was spent, gated or not, by what it limits."""
    key = budget.scope_key
    within = within_of(budget.budget_id)
    if within is not None and within not in spent.folders:
        return False
    match budget.scope:
        case BudgetScope.GLOBAL | BudgetScope.TENANT | BudgetScope.USER:
            return True
        case BudgetScope.CLIENT:
            return any(fnmatchcase(name, client_name(key)) for name in spent.clients)
        case BudgetScope.PROJECT:
            return key in spent.folders
        case BudgetScope.MODEL:
            matches = (key, *budget.also)
            return key == EVERY_MODEL or any(means(match, model) for match in matches for model in spent.models)
        case BudgetScope.AGENT:
            return any(is_named(name, key) for name in spent.agents)
        case BudgetScope.SKILL:
            return any(is_named(name, key) for name in spent.skills)
        case BudgetScope.MCP_SERVER:
            return any(is_of_server(each, key) for each in spent.served)
        case _:
            return False


def to_text(rules: Iterable[BudgetRule]) -> str | None:
    """Rules as they are kept with a session; None where there are none."""
    entries = [{name: value for name, value in asdict(rule).items() if value not in (None, ())} for rule in rules]
    return json.dumps(entries, separators=(",", ":"), ensure_ascii=False) if entries else None


@lru_cache(maxsize=256)
def from_text(text: str | None) -> tuple[BudgetRule, ...]:
    """The rules kept with a session."""
    entries = json.loads(text) if text else []
    return tuple(
        BudgetRule(
            **{
                **entry,
                "scope": BudgetScope(entry["scope"]),
                "mode": BudgetMode(entry["mode"]),
                "also": tuple(entry.get("also", ())),
            }
        )
        for entry in entries
    )


def rules_of(session: Session) -> tuple[BudgetRule, ...]:
    """The rules that bind a session."""
    return from_text(session.rules)
