"""How a call leaves `pending` (or corrects what expiry booked): one event, its row and every budget it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tallygate.core import lifecycle
from tallygate.core.errors import ensure, present
from tallygate.core.model import Budget, Call, CostBasis, Policy
from tallygate.core.words import CallState, ExpireAs
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Tx, Update, Value

EXPIRE_PER_EVENT_MAX = 500


def budgets_after(tx: Tx, call: Call, cost_nanos: int, known: dict[str, Budget]) -> None:
    """Settle one call on every budget it holds, in `known`, which carries budgets across several calls."""
    pending = call.state is CallState.PENDING
    for hold in call.holds:
        budget = known.get(hold.budget_id) or present(
            tx.budget(hold.budget_id), f"the hold of call {call.call_id} names no budget"
        )
        known[hold.budget_id] = lifecycle.settle(
            budget,
            held_nanos=hold.amount_nanos if pending else 0,
            booked_before_nanos=call.booked_nanos,
            cost_nanos=cost_nanos,
        )


def resolve_call(
    tx: Tx,
    call: Call,
    *,
    kind: str,
    by: str,
    state: CallState,
    cost_nanos: int,
    cost_basis: CostBasis,
    columns: Mapping[str, Value],
    extra: Sequence[Change] = (),
) -> None:
    """Move one call to its resolved state and book its cost, in one event."""
    ensure(lifecycle.may_become(call.state, state), f"call {call.call_id} cannot go from {call.state} to {state}")
    known: dict[str, Budget] = {}
    budgets_after(tx, call, cost_nanos, known)
    row: dict[str, Value] = {
        "call_id": call.call_id,
        "state": state.value,
        "booked_nanos": cost_nanos,
        "cost_basis": cost_basis,
        "expires_us": None,
        "resolved_us": tx.at_us,
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
    live = {session_id for session_id in {call.session_id for call in calls} if tx.is_live(session_id)}
    for start in range(0, len(calls), EXPIRE_PER_EVENT_MAX):
        known: dict[str, Budget] = {}
        updates: list[Change] = []
        for call in calls[start : start + EXPIRE_PER_EVENT_MAX]:
            is_live = call.session_id in live
            booked = 0 if is_live or policy.expire_as is ExpireAs.RELEASE else call.estimate_nanos
            budgets_after(tx, call, booked, known)
            state = CallState.RECONCILED if is_live else CallState.EXPIRED
            row: dict[str, Value] = {
                "call_id": call.call_id,
                "state": state.value,
                "booked_nanos": booked,
                "cost_basis": "transcript" if is_live else "estimate" if booked else "none",
                "expires_us": None,
                "resolved_us": tx.at_us,
            }
            updates.append(Update("call", row))
        tx.append("calls.expired", [*_counter_updates(known, tx.at_us), *updates], by=by, note={"cause": cause})


def _counter_updates(known: Mapping[str, Budget], at_us: int) -> list[Change]:
    return [Update("budget", rows.budget_counters(known[key], at_us)) for key in sorted(known)]
