"""Tell somebody of budgets that have reached a share of their limit: taken up in the ledger first, then told.

Nothing of it is on the way of a step. An alert is claimed in a commit of its own before anybody is told, so that of
many servers one tells it; where that one dies meanwhile another does: better told twice than not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tallygate.core.alerts import NEWS_US, AlertMark, AlertRule, DueAlert, due, is_due, plan_budget
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.gate.rules import NEVER, SESSION
from tallygate.core.model import Budget
from tallygate.core.text import cleaned
from tallygate.core.words import Action
from tallygate.ledger.port import Reader
from tallygate.operations.budgets.to_come import has_begun, windows_to_come
from tallygate.operations.plan import plans_standing
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.overview import list_budgets

BUDGETS_LOOKED_AT, SESSIONS_LOOKED_AT = 100, 20
AT_ONCE = 5
_FAILED_FOR_US = 7 * 86_400_000_000
_ERROR_MAX = 300

# Tells one alert; what went wrong, or None.
Tell = Callable[[DueAlert], str | None]


def tell_due(rt: Runtime, rules: Sequence[AlertRule], tell: Tell) -> list[tuple[DueAlert, str]]:
    """Tell what is due, at most some at once; answers with what could not be told, and why."""
    if not rules:
        return []
    failed = []
    for alert in _due(rt, rules)[:AT_ONCE]:
        claim = _claimed(rt, alert)
        if claim is None:
            continue
        error = tell(alert)
        if error is None:
            came_out = replace(claim, told_us=rt.services.clock_us())
        else:
            came_out = replace(claim, error=cleaned(error, _ERROR_MAX))
        with rt.writing() as tx:
            tx.alert_came_out(came_out)
        if error is not None:
            failed.append((alert, error))
    return failed


def alerts_failed(rt: Runtime, limit: int = 5) -> list[AlertMark]:
    """Alerts of the last week that nobody could be told, the last first."""
    with rt.reading() as reader:
        return reader.alerts_failed(rt.services.clock_us() - _FAILED_FOR_US, limit)


def _due(rt: Runtime, rules: Sequence[AlertRule]) -> list[DueAlert]:
    budgets = list_budgets(rt, limit=BUDGETS_LOOKED_AT)
    with rt.reading() as reader:
        budgets += _to_come(rt, reader, budgets)
        plans = plans_standing(rt, reader, rt.services.clock_us()) if rt.workspace.plan else []
        shown = [(each, plan_budget(each, rt.tenant)) for each in plans]
        budgets += [budget for _, budget in shown if budget is not None]
        stopped = (
            _stopped(reader, rt.services.clock_us() - NEWS_US) if any(100 in rule.at for rule in rules) else frozenset()
        )
        stopped |= {budget.name for each, budget in shown if budget is not None and each.stops}
        marks = reader.alert_marks([budget.name for budget in budgets])
    return due(rules, budgets, stopped, marks, rt.services.clock_us())


def _to_come(rt: Runtime, reader: Reader, budgets: Sequence[Budget]) -> list[Budget]:
    """Windows that no step has begun: work that nobody gated may have passed their thresholds already.

    Those that reach back without end would be summed over everything at each look, and wait for their first step.
    """
    now_us = rt.services.clock_us()
    rules = [each for each in rt.workspace.rules if each.period not in (NEVER, SESSION)]
    waiting = [rule for rule in rules if not has_begun(rule, budgets, now_us)]
    return [window for rule in waiting for window in windows_to_come(rt, reader, rule)]


def _stopped(reader: Reader, from_us: int) -> frozenset[str]:
    """The budgets that refused the last step of one of the youngest sessions, since a time."""
    found = set()
    for session in reader.sessions(state=None, limit=SESSIONS_LOOKED_AT):
        for call in reader.recent_calls(session.session_id, 2**62, 1):
            if call.action is Action.HALT and call.at_us >= from_us and call.reply is not None:
                binding = GateAnswer.from_json(call.reply).binding
                if binding is not None:
                    found.add(binding.budget_id)
    return frozenset(found)


def _claimed(rt: Runtime, alert: DueAlert) -> AlertMark | None:
    """The claim on an alert; None where somebody else was faster."""
    with rt.writing() as tx:
        at_us = rt.services.clock_us()
        mark = tx.alert_mark(alert.budget.name, alert.rule.route)
        if not is_due(mark, alert.percent, alert.budget, at_us):
            return None
        goes_on = mark is not None and mark.percent == alert.percent and mark.told_us is None
        tries = mark.tries + 1 if goes_on and mark is not None else 1
        begun_us = mark.at_us if goes_on and mark is not None else at_us
        claim = AlertMark(alert.budget.name, alert.rule.route, alert.percent, begun_us, at_us, tries)
        tx.claim_alert(claim)
        return claim
