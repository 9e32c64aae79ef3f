"""How a call leaves pending: reconciled, voided, expired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from tallygate.core.errors import ensure, present
from tallygate.core.gate import lifecycle
from tallygate.core.hooks import FOUND_BY_HOOK
from tallygate.core.learning.calibration import CostOrigin
from tallygate.core.model import NO_RESPONSE, NOTHING, Amount, Budget, Call, CostBasis, Hold, Policy
from tallygate.core.words import CallState, ExpireAs
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Tx, Update, Value
from tallygate.operations.learning.estimates import sample_of
from tallygate.operations.runtime import PlaceOf, Runtime
from tallygate.operations.windows import Facts, OpenWindows, booked_amount, budget_change, changed_in, is_pending

# --- resolve ---------------------------------------------------------------------------------------------------------
# How a call leaves `pending` (or corrects what expiry booked): one event, its row and every budget it holds.


EXPIRE_PER_EVENT_MAX = 500


class Books:
    """The budgets that some calls change in one event, each read once."""

    def __init__(self, tx: Tx, place_of: PlaceOf) -> None:
        self._tx = tx
        self._facts = Facts(tx, place_of)
        self._windows = OpenWindows(tx, self._facts, tx.at_us)
        self.known: dict[str, Budget] = {}

    def settle(self, call: Call, after: Call, cost: Amount) -> tuple[Hold, ...]:
        """Settle a call on every budget it holds, and on every window that counts it; `after` is it will be.

        Returns the holds with what is booked now. A window that the call did not hold counts it all the same: its
        rule came later, or binds other sessions.
        """
        pending = is_pending(call)
        before = (partial(self._facts.of_call, call), call.at_us, booked_amount(call))
        more = changed_in(self._windows, [before], (partial(self._facts.of_call, after), call.at_us, cost))
        holds = []
        for hold in call.holds:
            budget = self._budget(hold.budget_id)
            # A window counts what is on record, so it takes the change; a session's own budget takes what the call
            # holds of it.
            is_window = budget.start_us is not None
            added = more.pop(hold.budget_id, 0) if is_window else cost.of(budget) - hold.booked
            held = hold.held if pending else 0
            self.known[hold.budget_id] = lifecycle.add(budget, added, held=held)
            holds.append(replace(hold, booked=hold.booked + added))
        for budget_id, added in more.items():
            self.known[budget_id] = lifecycle.add(self._budget(budget_id), added)
            holds.append(Hold(budget_id, 0, added))
        return tuple(holds)

    def changes(self) -> list[Change]:
        """What the ledger is told of them."""
        return [
            budget_change(self.known[key], self._tx.at_us, fresh=key in self._windows.fresh)
            for key in sorted(self.known)
        ]

    def _budget(self, budget_id: str) -> Budget:
        found = self.known.get(budget_id) or self._windows.fresh.get(budget_id) or self._tx.budget(budget_id)
        return present(found, f"budget {budget_id} is in the ledger")


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
    place_of: PlaceOf,
    extra: Sequence[Change] = (),
) -> None:
    """Move one call to its resolved state and book its cost, in one event."""
    ensure(lifecycle.may_become(call.state, state), f"call {call.call_id} cannot go from {call.state} to {state}")
    books = Books(tx, place_of)
    model = columns.get("model_used")
    after = call if model is None else replace(call, model_used=str(model))
    holds = books.settle(call, after, cost)
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
    changes: list[Change] = [*extra, *books.changes(), Update("call", row)]
    overrun = cost_nanos - call.estimate_nanos
    note: dict[str, Value] = {"session_id": call.session_id}
    if cost_basis == "actual" and overrun > 0:
        note["overrun_nanos"] = overrun
    tx.append(kind, changes, by=by, note=note)


def void(tx: Tx, call: Call, reason: str, *, by: str, place_of: PlaceOf, extra: Sequence[Change] = ()) -> None:
    """Release what a pending call holds: it did not happen, and the reason stays in the ledger."""
    resolve_call(
        tx,
        call,
        kind="call.voided",
        by=by,
        state=CallState.VOIDED,
        cost=NOTHING,
        cost_basis="none",
        columns={"void_reason": reason},
        place_of=place_of,
        extra=extra,
    )


def expire_calls(tx: Tx, calls: Sequence[Call], policy: Policy, *, by: str, cause: str, place_of: PlaceOf) -> None:
    """Close calls nobody reported on: their estimates are booked, or released where the policy says so.

    Where the client's own record is read, what a call used is known from its responses: nothing is booked for it.
    """
    metered = {
        key
        for key in {call.session_id for call in calls}
        # Of a session that hooks opened the client may be one whose record nobody reads.
        if tx.is_metered(key) and (tx.has_usage(key) or FOUND_BY_HOOK not in tx.links_found_by(key))
    }
    for start in range(0, len(calls), EXPIRE_PER_EVENT_MAX):
        books = Books(tx, place_of)
        updates: list[Change] = []
        for call in calls[start : start + EXPIRE_PER_EVENT_MAX]:
            is_metered = call.session_id in metered
            released = is_metered or policy.expire_as is ExpireAs.RELEASE
            estimate = Amount(call.estimate_nanos, call.prompt_tokens + call.completion_tokens, 1)
            cost = NOTHING if released else estimate
            cost_nanos = cost.usd_nanos
            holds = books.settle(call, call, cost)
            state = CallState.EXPIRED
            if is_metered:
                state = CallState.VOIDED if call.is_model_call else CallState.RECONCILED
            row: dict[str, Value] = {
                "call_id": call.call_id,
                "state": state.value,
                "booked_nanos": cost_nanos,
                "cost_basis": "transcript" if state is CallState.RECONCILED else "none" if released else "estimate",
                "expires_us": None,
                "resolved_us": tx.at_us,
                **_holds_column(call, holds, cost_nanos),
                **({"void_reason": NO_RESPONSE} if state is CallState.VOIDED else {}),
            }
            updates.append(Update("call", row))
            if state is CallState.RECONCILED:
                updates += sample_of(tx, call, call.observed_nanos or 0, CostOrigin.OBSERVED)
        tx.append("calls.expired", [*books.changes(), *updates], by=by, note={"cause": cause})


def _holds_column(call: Call, holds: tuple[Hold, ...], booked_nanos: int) -> dict[str, Value]:
    """The column of a call's holds where it changes: most calls stand in every budget with their own amount."""
    before, after = rows.holds_text(call.holds, call.booked_nanos), rows.holds_text(holds, booked_nanos)
    return {} if before == after else {"holds": after}


SWEEP_MAX = 500


def sweep(rt: Runtime) -> int:
    """Expire every reservation that is past its time; returns how many. Authorize does a few of these itself."""
    expired = 0
    while True:
        with rt.writing() as tx:
            due = tx.due_calls(SWEEP_MAX)
            if due:
                expire_calls(tx, due, rt.workspace.policy, by=rt.by, place_of=rt.workspace.place_of, cause="time")
        expired += len(due)
        if len(due) < SWEEP_MAX:
            return expired
