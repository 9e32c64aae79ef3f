"""What somebody has spent so far: limits that would have fitted it, and the first thing that they are shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import tzinfo

from tallygate.core.gate.rules import BudgetRule, BudgetScope, rolling_us, window_of
from tallygate.core.proposals import ANEW_AFTER, ANEW_FOR, STOPPED_OF, Proposal, Proposals, is_due, proposals
from tallygate.core.words import SessionState
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.overview import list_sessions
from tallygate.operations.views.usage import UsageView, UsageWanted, list_usage
from tallygate.reports.usage import By, UsageLine, period_of

# A session that wrote nothing for so long has ended, as far as its costs say what a session costs.
ENDED_AFTER_US = 60 * 60 * 1_000_000
_YEAR_US = 366 * 86_400 * 1_000_000
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Past:
    """What the last year says: limits that would have fitted it, and what was spent today."""

    proposals: Proposals
    today_nanos: int


def past(rt: Runtime, zone: tzinfo) -> Past:
    """What the ledger knows of the last year, by the days of a time zone."""
    now_us = rt.services.clock_us()
    today = period_of(now_us, By.DAY, zone)
    ended = [
        line.whole.nanos
        for line in reversed(_usage(rt, By.SESSION, now_us - _YEAR_US, now_us + 1, zone).lines)
        if line.whole.last_us <= now_us - ENDED_AFTER_US and line.whole.nanos > 0
    ]
    before = _usage(rt, By.DAY, now_us - _YEAR_US, today.start_us, zone)
    days = [line.whole.nanos for line in before.lines if line.whole.nanos > 0]
    spent_today = _spent(rt, today.start_us, today.end_us, zone).whole.nanos
    return Past(proposals(ended, days), spent_today)


@dataclass(frozen=True, slots=True)
class Fitting:
    """A session limit that fits what was spent better than the one that stands; `stopped` are of the last `of`."""

    proposed: Proposal
    stopped: int
    of: int


def fitting(rt: Runtime, zone: tzinfo) -> Fitting | None:
    """Whether another session limit is to be proposed; None while the one that stands has not been tried for long."""
    ended = list_sessions(rt, state=SessionState.ENDED, limit=max(ANEW_AFTER) + ANEW_FOR)
    last = ended[:STOPPED_OF]
    stopped = sum(line.totals.denied > 0 for line in last)
    if not is_due(len(ended), stopped):
        return None
    proposed = past(rt, zone).proposals.session
    if proposed.is_ours or proposed.limit_nanos == rt.workspace.session_limit_nanos:
        return None
    return Fitting(proposed, stopped, len(last))


def spent_lately(rt: Runtime, zone: tzinfo) -> dict[By, UsageLine]:
    """What was spent today, this week and this month, by model: what a budget of that time counts."""
    now_us = rt.services.clock_us()
    periods = {by: period_of(now_us, by, zone) for by in (By.DAY, By.WEEK, By.MONTH)}
    return {by: _spent(rt, period.start_us, period.end_us, zone) for by, period in periods.items()}


def spent_on_rule(rt: Runtime, rule: BudgetRule, zone: tzinfo) -> int | None:
    """What counts by now against a limit of the settings, in nano-dollars; None where that is not told in dollars.

    Of a limit for some work alone the responses of that are counted.
    """
    if rule.unit != "USD" or rule.scope in (BudgetScope.SESSION, BudgetScope.TENANT):
        return None
    now_us, length = rt.services.clock_us(), rolling_us(rule.period)
    from_us = window_of(rule.period, now_us, zone).start_us if length is None else now_us - length
    wanted = UsageWanted(from_us, now_us + 1)
    match rule.scope:
        case _ if rule.match is None:
            whole = rule.scope in (BudgetScope.USER, BudgetScope.GLOBAL)
            return _spent(rt, from_us, now_us + 1, zone).whole.nanos if whole else None
        case BudgetScope.CLIENT:
            wanted = replace(wanted, clients=(rule.match,))
        case BudgetScope.MODEL:
            wanted = replace(wanted, model=rule.match)
        case BudgetScope.PROJECT:
            wanted = replace(wanted, project=rule.match)
        case _:
            return None
    return list_usage(rt, wanted, by=By.MODEL, zone=zone, limit=_ALL).total.whole.nanos


def last_spent_us(rt: Runtime, zone: tzinfo) -> int | None:
    """When anything was spent last, however long ago; None where nothing ever was."""
    found = _spent(rt, 0, rt.services.clock_us() + 1, zone)
    return found.whole.last_us if found.models else None


def _spent(rt: Runtime, from_us: int, until_us: int, zone: tzinfo) -> UsageLine:
    return _usage(rt, By.MODEL, from_us, until_us, zone).total


def _usage(rt: Runtime, by: By, from_us: int, until_us: int, zone: tzinfo) -> UsageView:
    return list_usage(rt, UsageWanted(from_us, until_us), by=by, zone=zone, limit=_ALL)
