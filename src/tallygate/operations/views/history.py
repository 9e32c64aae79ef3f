"""What somebody has spent so far: limits that would have fitted it, what is shown first, and what sessions came to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from operator import attrgetter
from pathlib import PurePath

from tallygate.core.attribution import is_named
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.history import ENOUGH, LAST, EndedSession, JobSpread, Spread, jobs, spread
from tallygate.core.moments import DAY_US
from tallygate.core.proposals import ANEW_AFTER, ANEW_FOR, STOPPED_OF, Proposal, Proposals, is_due, proposals
from tallygate.core.sums import UsageFilter, UsageSum
from tallygate.core.values import value
from tallygate.core.words import SessionState, client_name
from tallygate.ledger.port import Reader
from tallygate.operations.budgets.to_come import has_begun, windows_to_come
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.overview import list_sessions
from tallygate.operations.views.usage import UsageView, UsageWanted, folders_of, list_usage, project_name
from tallygate.operations.windows import is_head, is_piece, limit_of
from tallygate.reports.usage import By, UsageLine, period_of

# A session that wrote nothing for so long has ended, as far as its costs say what a session costs.
ENDED_AFTER_US = 60 * 60 * 1_000_000
_YEAR_US = 366 * DAY_US
_ALL = 1_000_000
_BUDGETS_LOOKED_AT = 400


@value(frozen=True, slots=True)
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


@value(frozen=True, slots=True)
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
    """What counts by now against a limit of the settings, in its unit: what a budget of it would begin with.

    Of several projects that it means, each of which has a budget of its own, what the dearest has. None where it is
    for sessions, or names nothing whose budget could be told from others.
    """
    if rule.scope in (BudgetScope.SESSION, BudgetScope.TENANT):
        return None
    if rule.match is None and rule.scope not in (BudgetScope.USER, BudgetScope.GLOBAL, BudgetScope.MODEL):
        return None
    with rt.reading() as reader:
        return max((each.spent for each in windows_to_come(rt, reader, rule, zone)), default=0)


def so_far(rt: Runtime, rules: Iterable[BudgetRule], zone: tzinfo) -> dict[BudgetRule, int]:
    """What counts already against each of these limits whose budgets have not begun, where that can be told."""
    now_us = rt.services.clock_us()
    with rt.reading() as reader:
        begun = [*reader.budgets(_BUDGETS_LOOKED_AT), *reader.rolling_budgets()]
    found = {rule: spent_on_rule(rt, rule, zone) for rule in rules if not has_begun(rule, begun, now_us)}
    return {rule: spent for rule, spent in found.items() if spent is not None}


def raised_beyond(rt: Runtime, rule: BudgetRule) -> list[tuple[str, int]]:
    """The budgets of a limit that run now and were raised by hand, each with by how much: that stays on top of it."""
    now_us = rt.services.clock_us()
    with rt.reading() as reader:
        budgets = [*reader.budgets(_BUDGETS_LOOKED_AT), *reader.rolling_budgets()]
    found = {}
    for each in budgets:
        if each.rule_limit is not None and each.name == each.budget_id and has_begun(rule, [each], now_us):
            more = limit_of(each, now_us) - each.rule_limit if is_head(each) else each.limit - each.rule_limit
            if more > 0 and not is_piece(each):
                found[each.name] = more
    return sorted(found.items())


_WHOM = {
    BudgetScope.AGENT: (By.AGENT, attrgetter("agent")),
    BudgetScope.SKILL: (By.SKILL, attrgetter("skill")),
    BudgetScope.MCP_SERVER: (By.MCP, attrgetter("server")),
}


def names_like(rt: Runtime, rule: BudgetRule) -> list[str] | None:
    """The names on record of which a limit's is none: of the last year, those with most spent first; of all projects.

    None where it means one, where nothing is on record to tell, and for a limit of another kind.
    """
    if rule.scope is BudgetScope.PROJECT and rule.match is not None and not {*rule.match} & {*"/\\"}:
        with rt.reading() as reader:
            folders = [each for each in reader.usage_folders() if each]
            means_one = not folders or bool(windows_to_come(rt, reader, rule))
        return None if means_one else sorted({PurePath(each).name or each for each in folders})
    if rule.scope not in _WHOM or rule.match is None:
        return None
    now_us = rt.services.clock_us()
    found = _spent_for(rt, rule.scope, now_us - _YEAR_US, now_us + 1)
    if not found or any(is_named(name, rule.match) for name in found):
        return None
    return sorted(found, key=lambda name: (-found[name], name))


def _spent_for(rt: Runtime, scope: BudgetScope, from_us: int, until_us: int) -> dict[str, int]:
    """What responses of a span cost by the agents, skills or servers that they were made for."""
    by, name_of = _WHOM[scope]
    found: dict[str, int] = {}
    with rt.reading() as reader:
        for each in reader.shared_sums(from_us, until_us, (by.value,), by_session=False):
            if name := name_of(each.whom):
                found[name] = found.get(name, 0) + each.found.nanos
    return found


def last_spent_us(rt: Runtime, zone: tzinfo) -> int | None:
    """When anything was spent last, however long ago; None where nothing ever was."""
    found = _spent(rt, 0, rt.services.clock_us() + 1, zone)
    return found.whole.last_us if found.models else None


def _spent(rt: Runtime, from_us: int, until_us: int, zone: tzinfo) -> UsageLine:
    return _usage(rt, By.MODEL, from_us, until_us, zone).total


def _usage(rt: Runtime, by: By, from_us: int, until_us: int, zone: tzinfo) -> UsageView:
    return list_usage(rt, UsageWanted(from_us, until_us), by=by, zone=zone, limit=_ALL)


# --- what sessions came to -------------------------------------------------------------------------------------------

_MONTHS_US = _YEAR_US // 4
_PROJECTS_SHOWN = 100


@value(frozen=True, slots=True)
class CostHistory:
    """What sessions came to: of one project, or of all with each of them; and the jobs that come again and again.

    `place` is what was asked about, None where that is everything. `unlike` are ended sessions outside of it, `few` the
    projects that too few sessions ended in to say anything of each.
    """

    place: str | None
    sessions: Spread
    projects: list[tuple[str | None, Spread]]
    jobs: list[JobSpread]
    unlike: int = 0
    few: tuple[str, ...] = ()


def here(rt: Runtime) -> str | None:
    """The project of this work as reports call it, else its folder; None where there is neither."""
    return project_name(rt, rt.workspace.project or rt.workspace.folder)


def cost_history(rt: Runtime, project: str | None = None, *, everything: bool = False) -> CostHistory:
    """What the last ended sessions came to: those of a project, of the one here, or of all.

    As much of the past is read as it takes: a quarter of a year, and the whole one where too few have ended in that.
    """
    now_us = rt.services.clock_us()
    with rt.reading() as reader:
        places = None if everything else _places(rt, reader, project)
        for span_us in (_MONTHS_US, _YEAR_US):
            ended = _ended(rt, reader, now_us - span_us, now_us)
            chosen = [each for each in ended if places is None or each.project in places]
            if len(chosen) >= LAST:
                break
    by_project: dict[str | None, list[int]] = {}
    for each in chosen:
        by_project.setdefault(each.project, []).append(each.cost_nanos)
    projects = [(name, spread(costs)) for name, costs in by_project.items()] if everything else []
    projects.sort(key=lambda each: (-each[1].ended, each[0] or ""))
    return CostHistory(
        place=None if everything else project or here(rt),
        sessions=spread([each.cost_nanos for each in chosen]),
        projects=[each for each in projects if each[1].known >= ENOUGH][:_PROJECTS_SHOWN],
        jobs=jobs(chosen),
        unlike=len(ended) - len(chosen),
        few=tuple(name or "" for name, each in projects if each.known < ENOUGH),
    )


def _places(rt: Runtime, reader: Reader, project: str | None) -> frozenset[str | None]:
    """The names under which reports list the project that is meant; where nothing is known of it, its own."""
    if project is None:
        return frozenset({here(rt)})
    return frozenset(project_name(rt, folder) for folder in folders_of(rt, reader.usage_folders(), project)) | {project}


def _ended(rt: Runtime, reader: Reader, from_us: int, now_us: int) -> list[EndedSession]:
    """The sessions of clients that cost something in a span and have ended, in the order in which they did."""
    found: dict[tuple[str | None, str | None], list[UsageSum]] = {}
    for each in (*reader.usage_sums(UsageFilter(from_us, now_us + 1)), *reader.booked_sums(from_us, now_us + 1)):
        client = None if each.client is None else client_name(each.client)
        found.setdefault((client, each.session), []).append(each)
    tasks = reader.tasks_since(from_us)
    ended = []
    for (client, _), parts in found.items():
        cost, last_us = sum(each.nanos for each in parts), max(each.last_us for each in parts)
        if cost > 0 and last_us <= now_us - ENDED_AFTER_US:
            mostly = max(parts, key=lambda each: each.nanos)
            said = [tasks[each.session_id] for each in parts if each.session_id in tasks]
            ended.append(EndedSession(last_us, cost, client, project_name(rt, mostly.folder), next(iter(said), None)))
    return sorted(ended, key=lambda each: each.at_us)
