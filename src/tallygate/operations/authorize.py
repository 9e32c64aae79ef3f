"""Reserve budget for a step before it is made, or say why not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tallygate.core import gate
from tallygate.core.amounts import in_usd, needed
from tallygate.core.answers import BindingBudget, GateAnswer
from tallygate.core.costing import SERVED_HERE
from tallygate.core.errors import Conflict, LedgerUnavailable, ensure
from tallygate.core.model import HOOK_KEY, Budget, Call, CallRequest, Decision, GateView, RerouteTarget, Session
from tallygate.core.moments import as_datetime
from tallygate.core.prospects import Prospect, corrected, differs, prospect
from tallygate.core.wording import halt_message, raise_command
from tallygate.core.words import AccountingMode, Action, Reason
from tallygate.ledger.port import SpendShare, Tx
from tallygate.operations.asked import Step, fault_answer, priced
from tallygate.operations.attest import named
from tallygate.operations.binding import binding
from tallygate.operations.calibrate import shown_factor
from tallygate.operations.doubt import in_doubt
from tallygate.operations.lookup import unknown_session
from tallygate.operations.rerouting import target_of
from tallygate.operations.reserve import Decided, budgets_after, write_decision
from tallygate.operations.resolve import expire_calls
from tallygate.operations.runtime import Runtime
from tallygate.operations.scope import scope_of
from tallygate.operations.subject import current_limits, rebound
from tallygate.operations.usual import usual_step

DUE_PER_CALL = 8
SHARES_SHOWN = 3
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

    found = tx.session_with_budgets(request.session_id)
    if found is None:
        raise unknown_session(request.session_id)
    session, own = found
    rules_before = session.rules
    session = rebound(rt, session)
    limits = current_limits(rt, session)
    bound_to = binding(tx, session, own, request.model, tx.at_us, limits=limits, place_of=rt.place_of)
    budgets = bound_to.budgets
    live = request.actual is not None and tx.is_live(session.session_id)
    if live:
        request = replace(request, actual_nanos=0, counts=False)  # the client's own record counts it

    view = _view(rt, tx, session, bound_to.seen(budgets), request)
    decision = gate.decide(view, request, rt.policy)
    why_no_target = None
    if decision.wants_target:
        target, why_no_target = target_of(rt, tx, session, request, decision)
        decision = replace(decision, target=target)

    after = budgets_after(budgets, request, decision)
    left = bound_to.seen(after)
    ahead = prospect(request, gate.tightest(bound_to.seen(budgets)), gate.tightest(left), rt.policy)
    told = _told(rt, request, decision, ahead.warning or why_no_target)
    answer = _answer(rt, request, decision, left, ahead, call_id=call_id, message=told)
    if decision.action is Action.HALT:
        answer = _halted(rt, tx, request, decision, answer, budgets=view.budgets)
    elif not reserve:
        return replace(answer, call_id=None), None
    decided = Decided(request, decision, session, after, call_id, answer, bound_to, rules_before, live)
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


def _view(rt: Runtime, tx: Tx, session: Session, budgets: tuple[Budget, ...], request: CallRequest) -> GateView:
    waits = session.accounting_mode is AccountingMode.EXACT_REQUIRED and tx.has_open_exactness(session.session_id)
    local = None
    if not request.price.known and rt.local_model:
        price = rt.prices.known_price(rt.local_model, as_datetime(tx.at_us), scope_of(session), SERVED_HERE)
        if price is not None and price.source == "local":
            local = RerouteTarget(rt.local_model, price)
    return GateView(session, budgets, has_open_exactness=waits, local_target=local)


def _answer(
    rt: Runtime,
    request: CallRequest,
    decision: Decision,
    after: tuple[Budget, ...],
    ahead: Prospect,
    *,
    call_id: str,
    message: str | None,
) -> GateAnswer:
    tightest, fullest = gate.tightest(after), gate.most_used(after)
    factor = shown_factor(request, rt.policy)
    return GateAnswer(
        action=decision.action,
        reason=decision.reason,
        call_id=call_id,
        message=message,
        remaining_nanos=None if tightest is None else in_usd(tightest.available_nanos, tightest),
        pressure=gate.pressure(fullest, rt.policy.pressure_percents),
        target_model=None if decision.target is None else decision.target.model,
        saves_nanos=None if decision.target is None else decision.target.saves_nanos or None,
        pricing_warning=request.price.warning,
        factor_micros=None if factor is None else factor.micros,
        factor_source="none" if factor is None else factor.source,
        confidence=None if factor is None else factor.confidence,
        over_micros=ahead.over_micros,
        remaining_steps=ahead.remaining_steps,
    )


def _told(rt: Runtime, request: CallRequest, decision: Decision, message: str | None) -> str | None:
    """What goes with an answer, for an agent also how much else than it said is reserved.

    A hook has said nothing, and what is reserved at a local stand-in's price is no correction.
    """
    hooked = request.client_key is not None and request.client_key.startswith(HOOK_KEY)
    if hooked or decision.reason is Reason.PRICE_UNKNOWN_REROUTE:
        return message
    return " ".join(filter(None, (message, differs(request, rt.policy)))) or None


def _halted(
    rt: Runtime, tx: Tx, request: CallRequest, decision: Decision, answer: GateAnswer, *, budgets: tuple[Budget, ...]
) -> GateAnswer:
    """The answer of a halt: what is spent on what, which budget binds, the command to go on."""
    exceeded = decision.reason is Reason.BUDGET_EXCEEDED and decision.binding is not None
    asked = 0 if decision.binding is None else needed(request).of(decision.binding)
    usual = usual_step(tx, request.session_id, decision.binding) if exceeded and decision.binding else 0
    shares = _shares(tx, request.session_id) if exceeded else []
    spent_by = tuple((share.label, share.nanos) for share in shares)
    command = raise_command(decision.binding, asked, usual, rt.program) if exceeded and decision.binding else None
    doubt = in_doubt(rt, tx, request, budgets, tx.at_us) if exceeded else None
    message = halt_message(
        decision,
        session_id=request.session_id,
        asked=asked,
        shares=spent_by,
        model=request.model,
        override_line=request.price.warning,
        because=() if command is None else tuple(filter(None, (corrected(request, rt.policy), doubt))),
        command=command or "",
    )
    if request.actual_nanos is not None:
        message = f"The usage you reported was recorded in full. {message}"  # nothing follows the command
    return replace(
        answer,
        call_id=None,
        remaining_steps=None,
        message=message,
        binding=None if decision.binding is None else BindingBudget.of(decision.binding),
        spent_by=spent_by,
        command=command,
    )


def _shares(tx: Tx, session_id: str) -> list[SpendShare]:
    """What a session was spent on: its responses where the client's record is read, else its calls."""
    return tx.usage_by_model(session_id, SHARES_SHOWN) or tx.spend_by(session_id, "model", SHARES_SHOWN)
