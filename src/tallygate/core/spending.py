"""What a look at a session's budgets finds, before the next step and after one: rules to be read top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tallygate.core.gate import most_used, tightest, used_percent_at_least
from tallygate.core.model import Budget, GateView
from tallygate.core.words import BudgetMode, CheckReason, SpendStatus


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the next step may be made, why, and the budget that says so."""

    allowed: bool
    reason: CheckReason
    binding: Budget | None


def judge(view: GateView, needed: Callable[[Budget], int]) -> Verdict:
    """Whether the next step may be made; `needed` says what it takes of a budget. The first rule that applies wins.

    A budget with nothing left stops, also a step that is said to need nothing. A soft budget only says so.
    """
    if not view.session.is_open:
        return Verdict(False, CheckReason.SESSION_ENDED, tightest(view.budgets))

    hard = [b for b in view.budgets if b.mode is BudgetMode.HARD]
    soft = [b for b in view.budgets if b.mode is BudgetMode.SOFT]
    if spent := exhausted(hard):
        return Verdict(False, CheckReason.BUDGET_EXHAUSTED, tightest(spent))
    if over := [b for b in hard if needed(b) > b.available_nanos]:
        return Verdict(False, CheckReason.ESTIMATED_OVERAGE, tightest(over))
    if view.has_open_exactness:
        return Verdict(False, CheckReason.EXACTNESS_REQUIRED, tightest(view.budgets))

    if spent := exhausted(soft):
        return Verdict(True, CheckReason.BUDGET_EXHAUSTED, tightest(spent))
    if over := [b for b in soft if needed(b) > b.available_nanos]:
        return Verdict(True, CheckReason.ESTIMATED_OVERAGE, tightest(over))
    return Verdict(True, CheckReason.WITHIN_BUDGET, tightest(view.budgets))


def exhausted(budgets: Sequence[Budget]) -> list[Budget]:
    """The budgets that have nothing left."""
    return [b for b in budgets if b.available_nanos <= 0]


def status_of(budgets: tuple[Budget, ...], warn_at_percent: int) -> SpendStatus:
    """How a session stands: a hard budget has nothing left, most of some budget is used, or neither."""
    deciding = [b for b in budgets if b.mode is BudgetMode.HARD] or budgets
    if exhausted(deciding):
        return SpendStatus.EXHAUSTED
    fullest = most_used(budgets)
    if fullest is not None and used_percent_at_least(fullest, warn_at_percent):
        return SpendStatus.WARNING
    return SpendStatus.OK
