"""When somebody is told of a budget: once for each threshold and window, as far as that can be promised.

Nothing here decides on a step. What was told is remembered by budget, and a budget is one window already; of a rolling
period it is told again once that has gone by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from tallygate.core.gate.rules import WITHIN, BudgetScope, rolling_us
from tallygate.core.model import Budget, unit_exact
from tallygate.core.moments import MINUTE_US
from tallygate.core.money import format_amount, share_percent
from tallygate.core.plan import PlanStanding, hundredths, percent, window_name
from tallygate.core.values import value
from tallygate.core.words import BudgetMode

# Whoever has taken one up has so long to tell; one that died meanwhile is taken up by somebody else after that.
LEASE_US = 60_000_000
# One that fails is tried again after a minute, two and four, and then only remembered as failed.
TRIES = 4
# A budget of a session that has been quiet for so long is nobody's news; those of windows are as long as they last.
NEWS_US = 3_600_000_000
# The unit of a limit on a plan, which counts no money.
PERCENT = "percent"


@value(frozen=True, slots=True)
class AlertRule:
    """Whom to tell, at which shares of a limit: by a command of the user's, or by a POST to an address on a host."""

    at: tuple[int, ...]
    run: tuple[str, ...] = ()
    post: str | None = None
    host: str | None = None
    as_text: bool = False
    scope: BudgetScope | None = None
    budget: str | None = None

    @property
    def route(self) -> str:
        """What it is remembered by: a digest, since an address may hold a secret."""
        named = [self.run, self.post, self.scope and self.scope.value, self.budget]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """How it is called where people see it: the program, or the host; never a whole address."""
        return self.run[0] if self.post is None else f"POST to {self.host}"

    def is_about(self, budget: Budget) -> bool:
        """Whether a budget is one of those that it is for."""
        if self.scope is not None and budget.scope != self.scope.value:
            return False
        return self.budget is None or fnmatchcase(budget.name, self.budget)


@value(frozen=True, slots=True)
class AlertMark:
    """What is remembered: the highest threshold that was taken up, when, and how telling it went."""

    budget_id: str
    route: str
    percent: int
    at_us: int
    claimed_us: int
    tries: int
    told_us: int | None = None
    error: str | None = None


@value(frozen=True, slots=True)
class DueAlert:
    """Somebody to tell of a budget that has reached a share of its limit."""

    rule: AlertRule
    percent: int
    budget: Budget
    stopped: bool

    @property
    def text(self) -> str:
        """The news in one sentence."""
        budget = self.budget
        if budget.scope == BudgetScope.PLAN:
            stop = "; steps are stopped" if self.stopped else ""
            used, limit = percent(budget.spent), percent(budget.limit)
            window = f"the {budget.period} window of {budget.scope_key}'s plan"
            return f"Tallygate: {used} of {window} is used, of {limit}{stop}."
        spent = budget.carried + budget.spent
        used = f"{_amount(budget, spent)} of {_amount(budget, budget.limit)}"
        share = int(share_percent(spent, budget.limit))
        window = "" if budget.period == "session" else f" ({budget.period})"
        stop = ", and a step was stopped" if self.stopped else ""
        return f"Tallygate: {budget.name}{window} has used {used}: {share} %{stop}."

    def values(self) -> dict[str, str]:
        """The same as values with names, exact, for programs."""
        budget = self.budget
        amounts = {"limit": budget.limit, "spent": budget.carried + budget.spent, "left": budget.available}
        if budget.scope == BudgetScope.PLAN:
            exact = {name: hundredths(amount) for name, amount in amounts.items()}
        else:
            exact = {name: unit_exact(amount, budget.unit) for name, amount in amounts.items()}
        return {
            "text": self.text,
            "percent": str(self.percent),
            "budget": budget.name,
            "scope": budget.scope,
            "period": budget.period,
            "unit": budget.unit,
            **exact,
            "mode": budget.mode.value,
            "stopped": "1" if self.stopped else "0",
        }


def plan_budget(standing: PlanStanding, tenant: str) -> Budget | None:
    """A limit on a plan as a budget that may be told of, in hundredths of a per cent; None where nobody knows it."""
    told, rule = standing.told, standing.rule
    if told is None or not standing.is_known:
        return None
    window = window_name(rule.minutes)
    parts = ["plan", standing.client, window, *(["soft"] if rule.mode is BudgetMode.SOFT else [])]
    ends_us = told.at_us + rule.minutes * MINUTE_US if told.resets_us is None else told.resets_us
    return Budget(
        tenant=tenant,
        budget_id=":".join(parts) + ("" if rule.within is None else f"{WITHIN}{rule.within}"),
        scope=BudgetScope.PLAN.value,
        scope_key=standing.client,
        unit=PERCENT,
        mode=rule.mode,
        limit=rule.at_percent * 100,
        spent=told.used,
        period=window,
        resets_us=ends_us,
        start_us=ends_us - rule.minutes * MINUTE_US,
        touched_us=told.at_us,
    )


def due(
    rules: Iterable[AlertRule],
    budgets: Iterable[Budget],
    stopped: frozenset[str],
    marks: Mapping[tuple[str, str], AlertMark],
    at_us: int,
) -> list[DueAlert]:
    """Whom to tell now; of several thresholds that were passed at once the highest.

    `stopped` are the budgets that have refused a step lately, by name: a refusal changes nothing of a budget itself.
    """
    found = []
    listed = [budget for budget in budgets if _is_news(budget, at_us) or budget.name in stopped]
    for rule in rules:
        for budget in filter(rule.is_about, listed):
            is_stopped = budget.name in stopped
            reached = [percent for percent in rule.at if _has_reached(budget, percent, stopped=is_stopped)]
            if reached and is_due(marks.get((budget.name, rule.route)), max(reached), budget, at_us):
                found.append(DueAlert(rule, max(reached), budget, is_stopped))
    return found


def is_due(mark: AlertMark | None, percent: int, budget: Budget, at_us: int) -> bool:
    """Whether a threshold is still to be told, by what is remembered of it."""
    if mark is None or percent > mark.percent or _is_over(mark, budget, at_us):
        return True
    if mark.told_us is not None or mark.tries >= TRIES or percent < mark.percent:
        return False
    return at_us >= mark.claimed_us + (LEASE_US << mark.tries - 1)


def _is_over(mark: AlertMark, budget: Budget, at_us: int) -> bool:
    """Whether what is remembered was of a rolling period that has gone by, or of a plan's window before this one."""
    if budget.scope == BudgetScope.PLAN:
        return budget.start_us is not None and mark.at_us < budget.start_us
    length = rolling_us(budget.period)
    return length is not None and at_us - mark.at_us >= length


def _is_news(budget: Budget, at_us: int) -> bool:
    if budget.resets_us is not None and budget.resets_us <= at_us:
        return False
    return budget.scope != BudgetScope.SESSION.value or budget.touched_us >= at_us - NEWS_US


def _has_reached(budget: Budget, percent: int, *, stopped: bool) -> bool:
    """By what is spent; a hard limit that has stopped a step has come to its end, whatever is left of it."""
    spent = budget.carried + budget.spent
    if percent == 100 and stopped and budget.mode is BudgetMode.HARD:
        return True
    return spent > 0 and 100 * spent >= percent * budget.limit


def _amount(budget: Budget, amount: int) -> str:
    return format_amount(amount, budget.unit)
