"""How a call moves from pending to reconciled, voided or expired, and what that does to its budgets.

pending    -> reconciled   the actual cost replaces the reservation
pending    -> voided       the call did not happen: the reservation is released
pending    -> expired      nobody said what happened in time: the estimate is booked, or released by policy
expired    -> reconciled   a late actual replaces what was booked
voided     -> reconciled   the provider billed it after all: booked in full, once
denied                     never changes
"""

from __future__ import annotations

from dataclasses import replace

from tallygate.core.errors import InvalidArgument, ensure
from tallygate.core.model import Budget
from tallygate.core.money import SUM_NANOS_MAX
from tallygate.core.words import CallState

TRANSITIONS: dict[CallState, frozenset[CallState]] = {
    CallState.PENDING: frozenset({CallState.RECONCILED, CallState.VOIDED, CallState.EXPIRED}),
    CallState.EXPIRED: frozenset({CallState.RECONCILED}),
    CallState.VOIDED: frozenset({CallState.RECONCILED}),
    CallState.RECONCILED: frozenset(),
    CallState.DENIED: frozenset(),
}


def may_become(state: CallState, target: CallState) -> bool:
    """Whether a call in this state may resolve to the target."""
    return target in TRANSITIONS[state]


def reserve(budget: Budget, amount_nanos: int) -> Budget:
    """The budget with an amount held for a pending call. The gate has admitted it before."""
    ensure(amount_nanos >= 0, "a reservation cannot be negative")
    return replace(budget, reserved_nanos=budget.reserved_nanos + amount_nanos)


def settle(budget: Budget, *, held_nanos: int, booked_before_nanos: int, cost_nanos: int) -> Budget:
    """The budget after a call resolved: its hold released, and its cost in place of what was booked before.

    A cost that takes the budget over its limit is booked in full and named as overage.
    """
    ensure(held_nanos >= 0 and booked_before_nanos >= 0 and cost_nanos >= 0, "amounts cannot be negative")
    spent = budget.spent_nanos - booked_before_nanos + cost_nanos
    if spent > SUM_NANOS_MAX:
        raise InvalidArgument(
            "cost",
            f"Budget {budget.budget_id} cannot count above {SUM_NANOS_MAX} nano-units.",
            hint="Check the token counts: no real session costs this much.",
        )
    reserved = budget.reserved_nanos - held_nanos
    ensure(spent >= 0 and reserved >= 0, f"budget {budget.budget_id} would count below zero")
    over = spent + reserved - budget.limit_nanos
    return replace(
        budget,
        spent_nanos=spent,
        reserved_nanos=reserved,
        overage_nanos=max(budget.overage_nanos, over),
    )


def add(budget: Budget, more: int, *, held_nanos: int = 0) -> Budget:
    """The budget with a hold released and more spent, or less where `more` is below zero."""
    return settle(budget, held_nanos=held_nanos, booked_before_nanos=max(-more, 0), cost_nanos=max(more, 0))


def change_limit(budget: Budget, limit_nanos: int) -> Budget:
    """The budget with another limit; lowering it under what is committed is named as overage."""
    over = budget.committed_nanos - limit_nanos
    return replace(budget, limit_nanos=limit_nanos, overage_nanos=max(budget.overage_nanos, over))
