"""The policy of the gate, to be read from top to bottom. A refusal is a value, never an exception."""

from __future__ import annotations

from tallygate.core.amounts import needed
from tallygate.core.model import Budget, CallRequest, Decision, GateView, Policy
from tallygate.core.money import COUNTED
from tallygate.core.words import Action, BudgetMode, Pressure, Reason, UnknownPrice

_BANDS = (Pressure.LOW, Pressure.MODERATE, Pressure.HIGH)
_BEGIN_PERCENTS = (50, 80, 95)


def decide(view: GateView, request: CallRequest, policy: Policy) -> Decision:
    """Answer one request. The first rule that applies wins."""
    session = view.session
    if not session.is_open:
        return Decision(Action.HALT, Reason.SESSION_ENDED, binding=tightest(view.budgets))

    if not request.price.known:
        if session.unknown_price is UnknownPrice.HALT:
            return Decision(Action.HALT, Reason.PRICE_UNKNOWN, binding=tightest(view.budgets))
        if session.unknown_price is UnknownPrice.REROUTE_REQUIRED:
            return _reroute_to_local(view)

    asked = needed(request)
    refusing = [b for b in view.budgets if not admits(b, asked.of(b))]
    hard = [b for b in refusing if b.mode is BudgetMode.HARD]
    if hard:
        return Decision(Action.HALT, Reason.BUDGET_EXCEEDED, binding=tightest(hard))

    if view.has_open_exactness:
        return Decision(Action.HALT, Reason.EXACTNESS_REQUIRED, binding=tightest(view.budgets))

    # From here on the call may be made, and its reservation fits every hard budget.
    pressing = most_used(view.budgets)
    if pressing is not None and used_percent_at_least(pressing, policy.reroute_at_percent):
        return Decision(Action.REROUTE, Reason.BUDGET_PRESSURE, binding=pressing, wants_target=True)
    if refusing:
        return Decision(Action.ALLOW, Reason.SOFT_BUDGET_EXCEEDED, binding=tightest(refusing))
    return Decision(Action.ALLOW, Reason.ALLOW, binding=tightest(view.budgets))


def _reroute_to_local(view: GateView) -> Decision:
    """Only a model that costs nothing may stand in for one whose price nobody knows."""
    if view.local_target is None:
        return Decision(Action.HALT, Reason.NO_LOCAL_MODEL, binding=tightest(view.budgets))
    return Decision(
        Action.REROUTE,
        Reason.PRICE_UNKNOWN_REROUTE,
        binding=tightest(view.budgets),
        target=view.local_target,
    )


def admits(budget: Budget, amount: int) -> bool:
    """Whether a budget still carries an amount of its unit; filling it exactly is allowed."""
    return amount <= budget.available_nanos


def tightest(budgets: tuple[Budget, ...] | list[Budget]) -> Budget | None:
    """The budget with the least left: the one that decides, and the one a reply names.

    Budgets of money are compared in dollars. One of tokens or calls can only be told by how full it is, and is named
    where no budget of money is.
    """
    return min(budgets, key=_left, default=None)


def _left(budget: Budget) -> tuple[bool, int, str]:
    if budget.unit not in COUNTED:
        return False, budget.available_nanos * budget.usd_nanos, budget.budget_id
    return True, budget.available_nanos * 10**6 // max(budget.limit_nanos, 1), budget.budget_id


def most_used(budgets: tuple[Budget, ...]) -> Budget | None:
    """The budget that is fullest relative to its limit."""
    return max(
        budgets,
        key=lambda b: (b.committed_nanos * 10**6 // b.limit_nanos if b.limit_nanos else 10**7, b.budget_id),
        default=None,
    )


def used_percent_at_least(budget: Budget, percent: int) -> bool:
    """Whether spent and reserved have reached a share of the limit, without rounding."""
    return budget.committed_nanos * 100 >= budget.limit_nanos * percent


def pressure(budget: Budget | None, percents: tuple[int, int, int] = _BEGIN_PERCENTS) -> Pressure:
    """The band of a budget: low < 50 %, moderate < 80 %, high < 95 %, else critical, or as the user set them."""
    if budget is None:
        return Pressure.LOW
    for percent, band in zip(percents, _BANDS, strict=True):
        if not used_percent_at_least(budget, percent):
            return band
    return Pressure.CRITICAL
