"""What an answer leaves in the ledger: the call, what it holds of each budget, and the price it was made at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from functools import partial

from tallygate.core.costing import Price, Tokens
from tallygate.core.errors import present
from tallygate.core.gate import lifecycle
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.model import NOTHING, Amount, Budget, Call, CallRequest, Decision, Hold, Session, needed
from tallygate.core.values import value
from tallygate.core.words import Action, CallState, Reason
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, Tx, Update, Value
from tallygate.operations.budgets.applicable import Binding, budget_change, changes_of
from tallygate.operations.runtime import Runtime, basis_changes
from tallygate.operations.windows import Facts, OpenWindows, booked, changed_in


@value(frozen=True, slots=True)
class Decided:
    """One answered request, with the budgets as they stand after it.

    `reply` is the answer that is kept for the same request, where it is another than `answer`; `session_row` holds
    further columns that the session changes in.
    """

    request: CallRequest
    decision: Decision
    session: Session
    after: tuple[Budget, ...]
    call_id: str
    answer: GateAnswer
    bound_to: Binding
    rules_before: str | None
    live: bool = False
    reply: str | None = None
    correlation: str | None = None
    session_row: Mapping[str, Value] = field(default_factory=dict)


def reserved_price(request: CallRequest, decision: Decision) -> Price:
    """The price the reservation is made at: that of the local stand-in where the model's own is unknown."""
    if decision.reason is Reason.PRICE_UNKNOWN_REROUTE and decision.target is not None:
        return decision.target.price
    return request.price


def reserved_nanos(request: CallRequest, decision: Decision) -> int:
    """What is held for a step: its estimate, or the estimate at the stand-in's price."""
    if decision.reason is Reason.PRICE_UNKNOWN_REROUTE:
        tokens = Tokens(fresh_input=request.prompt_tokens, output=request.completion_tokens)
        return reserved_price(request, decision).cost_nanos(tokens)
    return request.estimate_nanos


def budgets_after(budgets: tuple[Budget, ...], request: CallRequest, decision: Decision) -> tuple[Budget, ...]:
    """Every budget of a session as the answer leaves it."""
    weight = weight_of(request, decision)
    if request.actual_nanos is not None:
        return tuple(lifecycle.settle(b, held_nanos=0, booked_before_nanos=0, cost_nanos=weight.of(b)) for b in budgets)
    if decision.action is Action.HALT:
        return budgets
    return tuple(lifecycle.reserve(b, weight.of(b)) for b in budgets)


def weight_of(request: CallRequest, decision: Decision) -> Amount:
    """What an answered request holds of every budget, or, where its usage is known, what is booked there."""
    if request.actual_nanos is not None:
        return Amount(request.actual_nanos, request.needed_tokens, 1) if request.counts else NOTHING
    return Amount(reserved_nanos(request, decision), request.needed_tokens, 1)


def write_decision(rt: Runtime, tx: Tx, decided: Decided) -> str:
    """Write one answer: its call, its counters, one event. Returns the id of the price it was made at."""
    request, decision, session = decided.request, decided.decision, decided.session
    price_id, changes = basis_changes(tx, reserved_price(request, decision), rt.known_prices)
    call = _call(rt, tx, decided, price_id)
    written: list[Change] = [*changes]
    written += changes_of(decided.bound_to, decided.after, tx.at_us, touched=bool(call.holds))
    if booked(call) != NOTHING:
        call, others = _counted_elsewhere(rt, tx, decided, call)
        written += others
    written.append(Insert("call", rows.from_call(call)))
    moved: dict[str, Value] = dict(decided.session_row)
    if _is_moving_here(rt, session):
        moved["server_id"] = rt.server_id
    if decided.rules_before != session.rules:
        moved["rules"] = session.rules
    if moved:
        written.append(Update("session", {"session_id": session.session_id, **moved}))
    kind = {CallState.DENIED: "call.denied", CallState.PENDING: "call.authorized"}.get(call.state, "call.recorded")
    note: dict[str, Value] | None = None
    if decision.action is Action.HALT and (b := decision.binding) is not None:
        note = {
            "budget_id": b.name,
            "limit_nanos": b.limit_nanos,
            "spent_nanos": b.spent_nanos + b.carried_nanos,
            "reserved_nanos": b.reserved_nanos,
            "requested_nanos": needed(request).of(b),
        }
    tx.append(kind, written, by=rt.by, note=note)
    return price_id


def _counted_elsewhere(rt: Runtime, tx: Tx, decided: Decided, call: Call) -> tuple[Call, list[Change]]:
    """A call that is booked at once, in the windows that count it though the rules of its session do not know them."""
    facts = Facts(tx, rt.place_of)
    windows = OpenWindows(tx, facts, tx.at_us)
    mine = {budget.budget_id for budget in decided.after}
    more = changed_in(windows, (), (partial(facts.of_call, call), call.at_us, booked(call)))
    changes: list[Change] = []
    for budget_id, added in more.items():
        if budget_id not in mine:
            known = windows.fresh.get(budget_id) or present(tx.budget(budget_id), f"budget {budget_id} is there")
            fresh = budget_id in windows.fresh
            changes.append(budget_change(lifecycle.add(known, added), tx.at_us, fresh=fresh))
            call = replace(call, holds=(*call.holds, Hold(budget_id, 0, added)))
    return call, changes


def _is_moving_here(rt: Runtime, session: Session) -> bool:
    """Whether a session is this server's from now on, as it has none that lives; some clients run several at once."""
    if rt.server_id is None or session.server_id == rt.server_id or not session.is_open:
        return False
    return session.server_id is None or not rt.presence.is_alive(session.server_id)


def _call(rt: Runtime, tx: Tx, decided: Decided, price_id: str) -> Call:
    request, decision, session, answer = decided.request, decided.decision, decided.session, decided.answer
    pending = request.actual is None and decision.action is not Action.HALT
    recorded = request.actual is not None
    amount = reserved_nanos(request, decision)
    weight = weight_of(request, decision)
    expected = request.expected if pending else None
    # Kept for who asks again under the same key, and of a refusal for the run log.
    keeps_reply = request.client_key is not None or decision.action is Action.HALT
    return Call(
        tenant=rt.tenant,
        call_id=decided.call_id,
        session_id=session.session_id,
        state=CallState.RECONCILED if recorded else CallState.PENDING if pending else CallState.DENIED,
        action=decision.action,
        reason=decision.reason,
        tool_name=request.tool_name,
        model_requested=request.model,
        model_target=answer.target_model,
        model_used=request.model if recorded else None,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=request.completion_tokens,
        raw_estimate_nanos=request.raw_estimate_nanos,
        estimate_nanos=amount,
        factor_micros=request.factor_micros,
        booked_nanos=request.actual_nanos or 0,
        cost_basis="none" if not recorded else "transcript" if decided.live else "actual",
        actual=request.actual,
        price_id=price_id,
        actual_price_id=price_id if recorded else None,
        actor_type=request.actor.type,
        actor_id=request.actor.id,
        actor_name=request.actor.name,
        parent_call_id=request.parent_call_id,
        call_mode=request.call_mode,
        mode_capable=session.coverage.covers(request.call_mode),
        client_key=request.client_key,
        reply=decided.reply or answer.to_json() if keeps_reply else None,
        correlation=decided.correlation,
        at_us=tx.at_us,
        expires_us=tx.at_us + rt.policy.reservation_ttl_us if pending else None,
        resolved_us=tx.at_us if recorded else None,
        holds=_holds(decided.after, weight, pending=pending) if pending or recorded else (),
        cold_nanos=None if expected is None else expected.cold_nanos,
        level_nanos=None if expected is None else expected.level_nanos,
        expected_nanos=None if expected is None else expected.expected_nanos,
    )


def _holds(budgets: tuple[Budget, ...], weight: Amount, *, pending: bool) -> tuple[Hold, ...]:
    """What a call holds of each budget while it is pending, or what is booked there at once."""
    amounts = [(budget.budget_id, weight.of(budget)) for budget in budgets]
    return tuple(Hold(name, amount) if pending else Hold(name, 0, amount) for name, amount in amounts)
