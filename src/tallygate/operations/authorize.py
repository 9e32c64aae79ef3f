"""Reserve budget for a step before it is made, or say why not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tallygate.core.errors import Conflict, LedgerUnavailable, ensure
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.model import Call, CallRequest
from tallygate.core.words import Action
from tallygate.ledger.port import Tx
from tallygate.operations.asked import Step, fault_answer, priced
from tallygate.operations.attest import named
from tallygate.operations.budgets.calls import expire_calls
from tallygate.operations.deciding import decide
from tallygate.operations.reserve import Decided, write_decision
from tallygate.operations.runtime import Runtime

DUE_PER_CALL = 8
# Fields that must be the same when a call id comes back; the first difference is named in the error.
_COMPARED = (
    "session_id", "tool_name", "model_requested", "prompt_tokens", "completion_tokens", "actor_type", "actor_id",
    "actor_name", "parent_call_id", "call_mode", "actual",
)  # fmt: skip


def authorize(rt: Runtime, step: Step) -> GateAnswer:
    """Answer allow, reroute or halt for one step, and record the answer with what it reserves.

    Raises `NotFound` for an unknown session and `Conflict` for a call id that comes back with other fields. A
    ledger that cannot be used is itself an answer: halt, unless the policy fails open.
    """
    rt.catch_up()
    try:
        request = priced(rt, step)
        with rt.ledger.writing(rt.tenant) as tx:
            answer, price_id = authorize_in(rt, tx, request)
    except LedgerUnavailable as fault:
        return fault_answer(fault, halts=rt.halt_on_fault)
    if price_id is not None:
        rt.known_prices.add(price_id)
    return answer


def authorize_in(rt: Runtime, tx: Tx, request: CallRequest, *, reserve: bool = True) -> tuple[GateAnswer, str | None]:
    """Answer one priced request within a transaction; returns the answer and the price it was written at.

    Without `reserve` only a halt is written: the step is looked at, not taken.
    """
    call_id = call_id_of(rt, request)
    if request.client_key is not None and (earlier := tx.call(call_id)) is not None:
        return named(rt, tx, replay(earlier, request), call_id), None
    if due := tx.due_calls(DUE_PER_CALL):
        expire_calls(tx, due, rt.policy, by=rt.by, place_of=rt.place_of, cause="time")

    would = decide(rt, tx, request, tx.at_us)
    halts = would.decision.action is Action.HALT
    if not (halts or reserve):
        return would.answer, None
    answer = would.answer if halts else replace(would.answer, call_id=call_id)
    decided = Decided(
        request=would.request,
        decision=would.decision,
        session=would.session,
        after=would.after,
        call_id=call_id,
        answer=answer,
        bound_to=would.bound_to,
        rules_before=would.rules_before,
        live=would.live,
    )
    price_id = write_decision(rt, tx, decided)
    return named(rt, tx, answer, call_id), price_id


def call_id_of(rt: Runtime, request: CallRequest) -> str:
    """A fresh id, or one that the client's own key always leads to."""
    if request.client_key is None:
        return f"call_{rt.new_token(12)}"
    keyed = f"{rt.tenant}\x00{request.session_id}\x00{request.client_key}".encode()
    return f"call_{hashlib.sha256(keyed).hexdigest()[:24]}"


def replay(call: Call, request: CallRequest) -> GateAnswer:
    """The answer that was given to this call id; other fields under the same id are an error naming the field."""
    asked = {
        "session_id": request.session_id,
        "tool_name": request.tool_name,
        "model_requested": request.model,
        "prompt_tokens": request.prompt_tokens,
        "completion_tokens": request.completion_tokens,
        "actor_type": request.actor.type,
        "actor_id": request.actor.id,
        "actor_name": request.actor.name,
        "parent_call_id": request.parent_call_id,
        "call_mode": request.call_mode,
        "actual": request.actual,
    }
    for name in _COMPARED:
        if name == "actual" and request.actual is None:
            continue
        if (was := getattr(call, name)) != asked[name]:
            raise Conflict(
                f"Call {call.call_id} was asked with {name} {was!r}; now it came with {asked[name]!r}.",
                hint="Use a new idempotency key for another step.",
                code="call_conflict",
            )
    ensure(call.reply is not None, "a call with a client key keeps its reply")
    return GateAnswer.from_json(str(call.reply))
