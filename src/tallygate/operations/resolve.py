"""How a call leaves `pending` (or corrects what expiry booked): one event, its row and every budget it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tallygate.core import lifecycle
from tallygate.core.amounts import NOTHING, Amount
from tallygate.core.errors import ensure, present
from tallygate.core.hooks import FOUND_BY_HOOK
from tallygate.core.model import NO_RESPONSE, Budget, Call, CostBasis, Hold, Policy
from tallygate.core.words import CallState, ExpireAs
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Tx, Update, Value
from tallygate.operations.calibrate import learned_from

EXPIRE_PER_EVENT_MAX = 500


def budgets_after(tx: Tx, call: Call, cost: Amount, known: dict[str, Budget]) -> tuple[Hold, ...]:
    """Settle one call on every budget it holds, in `known`, which carries budgets across several calls.

    Returns the holds with what is booked now.
    """
    pending = call.state is CallState.PENDING
    holds = []
    for hold in call.holds:
        budget = known.get(hold.budget_id) or present(
            tx.budget(hold.budget_id), f"the hold of call {call.call_id} names no budget"
        )
        booked = cost.of(budget)
        known[hold.budget_id] = lifecycle.settle(
            budget,
            held_nanos=hold.amount_nanos if pending else 0,
            booked_before_nanos=hold.booked_nanos,
            cost_nanos=booked,
        )
        holds.append(replace(hold, booked_nanos=booked))
    return tuple(holds)


def resolve_call(
    tx: Tx,
    call: Call,
    *,
    kind: str,
    by: str,
    state: CallState,
    cost: Amount,
    cost_basis: CostBasis,
    columns: Mapping[str, Value],
    extra: Sequence[Change] = (),
) -> None:
    """Move one call to its resolved state and book its cost, in one event."""
    ensure(lifecycle.may_become(call.state, state), f"call {call.call_id} cannot go from {call.state} to {state}")
    known: dict[str, Budget] = {}
    holds = budgets_after(tx, call, cost, known)
    cost_nanos = cost.usd_nanos
    row: dict[str, Value] = {
        "call_id": call.call_id,
        "state": state.value,
        "booked_nanos": cost_nanos,
        "cost_basis": cost_basis,
        "expires_us": None,
        "resolved_us": tx.at_us,
        **_holds_column(call, holds, cost_nanos),
        **columns,
    }
    changes: list[Change] = [*extra, *_counter_updates(known, tx.at_us), Update("call", row)]
    overrun = cost_nanos - call.estimate_nanos
    note: dict[str, Value] = {"session_id": call.session_id}
    if cost_basis == "actual" and overrun > 0:
        note["overrun_nanos"] = overrun
    tx.append(kind, changes, by=by, note=note)


def expire_calls(tx: Tx, calls: Sequence[Call], policy: Policy, *, by: str, cause: str) -> None:
    """Close calls nobody reported on: their estimates are booked, or released where the policy says so.

    Where the client's own record is read, what a call used is known from its responses: nothing is booked for it.
    """
    live = {key for key in {call.session_id for call in calls} if tx.is_live(key) and _is_told(tx, key)}
    for start in range(0, len(calls), EXPIRE_PER_EVENT_MAX):
        known: dict[str, Budget] = {}
        updates: list[Change] = []
        for call in calls[start : start + EXPIRE_PER_EVENT_MAX]:
            is_live = call.session_id in live
            released = is_live or policy.expire_as is ExpireAs.RELEASE
            cost = NOTHING if released else estimate_of(call)
            booked = cost.usd_nanos
            holds = budgets_after(tx, call, cost, known)
            state = CallState.EXPIRED
            if is_live:
                state = CallState.VOIDED if call.is_model_call else CallState.RECONCILED
            row: dict[str, Value] = {
                "call_id": call.call_id,
                "state": state.value,
                "booked_nanos": booked,
                "cost_basis": "transcript" if state is CallState.RECONCILED else "none" if released else "estimate",
                "expires_us": None,
                "resolved_us": tx.at_us,
                **_holds_column(call, holds, booked),
                **({"void_reason": NO_RESPONSE} if state is CallState.VOIDED else {}),
            }
            updates.append(Update("call", row))
            if state is CallState.RECONCILED:
                updates += learned_from(tx, call, call.observed_nanos or 0)
        tx.append("calls.expired", [*_counter_updates(known, tx.at_us), *updates], by=by, note={"cause": cause})


def estimate_of(call: Call) -> Amount:
    """What a call weighs in any budget by its estimate."""
    return Amount(call.estimate_nanos, call.prompt_tokens + call.completion_tokens, 1)


def _holds_column(call: Call, holds: tuple[Hold, ...], booked_nanos: int) -> dict[str, Value]:
    """The column of a call's holds where it changes: most calls stand in every budget with their own amount."""
    before, after = rows.holds_text(call.holds, call.booked_nanos), rows.holds_text(holds, booked_nanos)
    return {} if before == after else {"holds": after}


def _is_told(tx: Tx, session_id: str) -> bool:
    """Whether responses of a session come in: one that hooks opened may have a client whose record nobody reads."""
    return tx.has_usage(session_id) or FOUND_BY_HOOK not in tx.links_found_by(session_id)


def _counter_updates(known: Mapping[str, Budget], at_us: int) -> list[Change]:
    return [Update("budget", rows.budget_counters(known[key], at_us)) for key in sorted(known)]
