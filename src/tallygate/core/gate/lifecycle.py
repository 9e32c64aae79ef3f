"""A call's life: from pending on, what that does to budgets, how exact it is, and what is odd in a report on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from itertools import takewhile

from tallygate.core.errors import InvalidArgument, InvariantBroken
from tallygate.core.model import HOOK_KEY, Budget, Call, ModeCoverage, Quantity, Session
from tallygate.core.money import SUM_NANOS_MAX, format_amount
from tallygate.core.values import value
from tallygate.core.words import AccountingMode, BudgetMode, CallState, Exactness, SessionExactness, UsageBasis

# --- lifecycle -------------------------------------------------------------------------------------------------------
# How a call moves from pending to reconciled, voided or expired, and what that does to its budgets.
#
# pending -> reconciled   the actual cost replaces the reservation
# pending -> voided       the call did not happen: the reservation is released
# pending -> expired      nobody said what happened in time: the estimate is booked, or released by policy
# expired -> reconciled   a late actual replaces what was booked
# voided  -> reconciled   the provider billed it after all: booked in full, once
# denied                  never changes


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


def reserve(budget: Budget, amount: Quantity) -> Budget:
    """The budget with an amount held for a pending call. The gate has admitted it before."""
    if amount < 0:
        raise InvariantBroken("a reservation cannot be negative")
    return replace(budget, reserved=budget.reserved + amount)


def reserve_room(budget: Budget, amount: Quantity) -> Budget:
    """The budget with what of an amount still fits a hard limit held: where the gate is off, nobody has admitted it.

    What goes beyond is counted once it is spent, and named as overage then.
    """
    fits = max(budget.available, 0) if budget.mode is BudgetMode.HARD else amount
    return reserve(budget, min(amount, fits))


def settle(budget: Budget, *, held: Quantity, booked_before: Quantity, cost: Quantity) -> Budget:
    """The budget after a call resolved: its hold released, and its cost in place of what was booked before.

    A cost that takes the budget over its limit is booked in full and named as overage.
    """
    if held < 0 or booked_before < 0 or cost < 0:
        raise InvariantBroken("amounts cannot be negative")
    spent = budget.spent - booked_before + cost
    if spent > SUM_NANOS_MAX:
        raise InvalidArgument(
            "cost",
            f"Budget {budget.budget_id} cannot count above {SUM_NANOS_MAX} nano-units.",
            hint="Check the token counts: no real session costs this much.",
        )
    reserved = budget.reserved - held
    if spent < 0 or reserved < 0:
        raise InvariantBroken(f"budget {budget.budget_id} would count below zero")
    # Overage keeps the farthest that a cost has taken it: spent + reserved <= limit + overage holds after any order of
    # calls, and the database checks the same.
    over = spent + reserved - budget.limit
    return replace(
        budget,
        spent=spent,
        reserved=reserved,
        overage=max(budget.overage, over),
    )


def add(budget: Budget, more: Quantity, *, held: Quantity = 0) -> Budget:
    """The budget with a hold released and more spent, or less where `more` is below zero."""
    return settle(budget, held=held, booked_before=max(-more, 0), cost=max(more, 0))


def change_limit(budget: Budget, limit: Quantity) -> Budget:
    """The budget with another limit; lowering it under what is committed is named as overage."""
    over = budget.committed - limit
    return replace(budget, limit=limit, overage=max(budget.overage, over))


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


# --- reports ---------------------------------------------------------------------------------------------------------
# What an agent reports of itself, and which of it nobody need believe: it is booked as it is said, and named.


# Used less than one in so many parts of what it had asked for.
FAR_BELOW = 10
# Of what was booked for a call that nobody had reported on in time, a late report leaves less than one part in so many.
LATE_BELOW = 4
# So many calls in a row that did not happen are many; after that it is told each time there are twice as many.
VOIDS_MANY = 5
# As many as are shown of a session.
ANOMALIES_MAX = 50


class ReportAnomaly(StrEnum):
    """What is odd in a report."""

    FAR_BELOW = "far_below"
    LATE_BELOW = "late_below"
    LOCAL_MODEL = "local_model"
    VOIDS = "voids_in_a_row"


@value(frozen=True, slots=True)
class CallAnomaly:
    """One odd report: of which call, what was told, and when."""

    session_id: str
    call_id: str
    kind: str
    told: str
    seen_us: int

    def stated(self) -> dict[str, str | int]:
        """For programs, without the session it is shown with."""
        return {"call_id": self.call_id, "kind": self.kind, "told": self.told}


def odd_in(call: Call, model_used: str, cost: Quantity, *, is_local: bool) -> list[tuple[ReportAnomaly, str]]:
    """What is odd in a report on a call: its cost beside what was held for it, or a model that runs here or is free.

    A call is held at what was said of it or at what was learned, so the report is odd where it is far below both.
    """
    asked = min(call.raw_estimate_nanos, call.estimate_nanos)
    reported, found = format_amount(cost), []
    if call.state is CallState.EXPIRED and cost * LATE_BELOW < call.booked_nanos:
        found.append((ReportAnomaly.LATE_BELOW, f"{reported} reported late, {format_amount(call.booked_nanos)} booked"))
    elif cost * FAR_BELOW < asked:
        found.append((ReportAnomaly.FAR_BELOW, f"{reported} reported, {format_amount(asked)} asked for"))
    if is_local and asked:
        found.append((ReportAnomaly.LOCAL_MODEL, f"{model_used} reported, {call.model_requested} asked for"))
    return found


def voids_are_many(in_a_row: int) -> bool:
    """Whether so many voided calls in a row are told now.

    >>> [count for count in range(50) if voids_are_many(count)]
    [5, 10, 20, 40]
    """
    times, rest = divmod(in_a_row, VOIDS_MANY)
    return rest == 0 and times > 0 and times & (times - 1) == 0
