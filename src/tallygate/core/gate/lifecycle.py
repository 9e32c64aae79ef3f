"""A call's life: pending to reconciled, voided or expired, what that does to budgets, and how exact it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import takewhile

from tallygate.core.errors import InvalidArgument, InvariantBroken
from tallygate.core.model import HOOK_KEY, Budget, Call, ModeCoverage, Session
from tallygate.core.money import SUM_NANOS_MAX
from tallygate.core.words import AccountingMode, CallState, Exactness, SessionExactness, UsageBasis

# --- lifecycle -------------------------------------------------------------------------------------------------------
# How a call moves from pending to reconciled, voided or expired, and what that does to its budgets.
#
# pending -> reconciled the actual cost replaces the reservation pending -> voided the call did not happen: the
# reservation is released pending -> expired nobody said what happened in time: the estimate is booked, or released by
# policy expired -> reconciled a late actual replaces what was booked voided -> reconciled the provider billed it after
# all: booked in full, once denied never changes


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
    if amount_nanos < 0:
        raise InvariantBroken("a reservation cannot be negative")
    return replace(budget, reserved_nanos=budget.reserved_nanos + amount_nanos)


def settle(budget: Budget, *, held_nanos: int, booked_before_nanos: int, cost_nanos: int) -> Budget:
    """The budget after a call resolved: its hold released, and its cost in place of what was booked before.

    A cost that takes the budget over its limit is booked in full and named as overage.
    """
    if held_nanos < 0 or booked_before_nanos < 0 or cost_nanos < 0:
        raise InvariantBroken("amounts cannot be negative")
    spent = budget.spent_nanos - booked_before_nanos + cost_nanos
    if spent > SUM_NANOS_MAX:
        raise InvalidArgument(
            "cost",
            f"Budget {budget.budget_id} cannot count above {SUM_NANOS_MAX} nano-units.",
            hint="Check the token counts: no real session costs this much.",
        )
    reserved = budget.reserved_nanos - held_nanos
    if spent < 0 or reserved < 0:
        raise InvariantBroken(f"budget {budget.budget_id} would count below zero")
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


# --- exactness -------------------------------------------------------------------------------------------------------
# How much of a call's and a session's cost is actual usage.


_CONFIDENCE = {
    SessionExactness.FULLY_EXACT: "exact",
    SessionExactness.PARTIAL_EXACT: "partial_exact",
    SessionExactness.ALL_ESTIMATE_ONLY: "estimate_only",
    SessionExactness.DEGRADED: "estimate_only",
}


def of_call(call: Call, accounting: AccountingMode) -> Exactness:
    """The exactness of one call that was let through."""
    if call.has_actual:
        return Exactness.EXACT_RECORDED
    if accounting is AccountingMode.ESTIMATE_ONLY:
        return Exactness.ESTIMATE_ONLY
    if call.mode_capable is False:
        return Exactness.EXACT_UNAVAILABLE
    return Exactness.EXACT_PENDING


def of_session(states: Iterable[Exactness]) -> SessionExactness:
    """The exactness of a session from those of its calls; without calls nothing is exact."""
    seen = set(states)
    if Exactness.EXACT_UNAVAILABLE in seen:
        return SessionExactness.DEGRADED
    if Exactness.EXACT_RECORDED not in seen:
        return SessionExactness.ALL_ESTIMATE_ONLY
    return SessionExactness.FULLY_EXACT if len(seen) == 1 else SessionExactness.PARTIAL_EXACT


def stated(state: SessionExactness, basis: UsageBasis) -> SessionExactness:
    """How exact a total is for somebody who relies on it: what an agent reports of itself is not exact."""
    if state is SessionExactness.FULLY_EXACT and basis is not UsageBasis.OBSERVED:
        return SessionExactness.PARTIAL_EXACT
    return state


def confidence(state: SessionExactness, basis: UsageBasis) -> str:
    """The word replies use for how far savings and totals can be trusted."""
    return _CONFIDENCE[stated(state, basis)]


def basis_of_call(call: Call, *, is_observed: bool = False) -> UsageBasis:
    """Who told what a call used; `is_observed` says that the client's own record has responses of it."""
    if is_observed or call.cost_basis == "transcript":
        return UsageBasis.OBSERVED
    return UsageBasis.REPORTED if call.cost_basis == "actual" else UsageBasis.ESTIMATED


def basis_of_session(bases: Iterable[UsageBasis]) -> UsageBasis:
    """The same of a session; without calls nobody has told anything."""
    seen = set(bases)
    return UsageBasis.ESTIMATED if not seen else seen.pop() if len(seen) == 1 else UsageBasis.MIXED


def counts(call: Call) -> bool:
    """Whether a call is part of a session's work: let through and not voided."""
    return call.state not in (CallState.DENIED, CallState.VOIDED)


# What the refusal of a prompt is written down as.
_PROMPT = "UserPromptSubmit"
# A run in print mode is ended at the second refusal in a row, so nothing follows that one.
_ENDED_AT = 2


def asked_after_refusal_us(calls: Iterable[Call]) -> int | None:
    """When a client was last refused a tool, and so asked its model once more, as some do; None where it did not."""
    asked = [call for call in calls if call.client_key is not None and call.client_key.startswith(HOOK_KEY)]
    row = [*takewhile(lambda call: call.state is CallState.DENIED, reversed(asked))]
    tools = [call for call in row if call.tool_name != _PROMPT]
    if not tools or len(tools) == _ENDED_AT:
        return None
    return tools[0].at_us


def uncovered_modes(session: Session) -> list[str]:
    """The call modes of a session that cannot bring actual usage."""
    coverage: ModeCoverage = session.coverage
    return [mode for mode in ("ask", "plan", "agent") if not getattr(coverage, mode)]
