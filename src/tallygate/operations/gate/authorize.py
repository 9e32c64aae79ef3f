"""An agent's own question: a step priced and corrected, then asked; and looks that write nothing."""

from __future__ import annotations

from dataclasses import field, replace
from functools import partial

from tallygate.core.attribution import MadeFor, servers_meant
from tallygate.core.costing import Tokens
from tallygate.core.errors import HistoryUnread, LedgerUnavailable, unknown_session
from tallygate.core.gate import policy
from tallygate.core.gate.answers import BudgetState, GateAnswer, prospect
from tallygate.core.gate.policy import own_budget
from tallygate.core.gate.wording import fault_message, off_told, plan_stops, raise_command
from tallygate.core.learning.calibration import LEVEL_STEPS, EstimateKind, level_from
from tallygate.core.lock import Off
from tallygate.core.model import Actor, Budget, CallRequest, GateView, in_usd
from tallygate.core.moments import as_datetime
from tallygate.core.proof import is_about_history
from tallygate.core.values import value
from tallygate.core.words import AccountingMode, Action, CallMode, CheckReason, Pressure, Reason
from tallygate.ledger.port import MoreIsAsked, Reader
from tallygate.operations.budgets.applicable import currency_of, session_now, session_with_standing
from tallygate.operations.budgets.figures import usual_step
from tallygate.operations.gate.pipeline import Door, look, stored_answer, take_step, with_attestation, word_answer
from tallygate.operations.learning.estimates import (
    CorrectedEstimate,
    RawEstimate,
    agent_of,
    anew_nanos,
    correct_estimate,
    history_of_step,
    price_key,
    sample_key,
    shown_factor,
)
from tallygate.operations.lock_book import off_now, program_now
from tallygate.operations.plan import plan_now
from tallygate.operations.runtime import Runtime, head_of, scope_headed
from tallygate.operations.windows import asked_for, history_is_read

# --- a step, priced --------------------------------------------------------------------------------------------------
# What an agent asks for: its step with a price, corrected by what was learned, before any lock is taken.


@value(frozen=True, slots=True)
class StatedStep:
    """What an agent says about the step it asks for; token counts are checked at the door."""

    session_id: str
    tool_name: str
    model: str | None = None
    prompt_tokens: int = 2000
    completion_tokens: int = 400
    actor: Actor = field(default_factory=Actor)
    parent_call_id: str | None = None
    call_mode: CallMode | None = None
    actual: Tokens | None = None
    client_key: str | None = None


def price_step(rt: Runtime, step: StatedStep) -> CallRequest:
    """The step as the gate looks at it. Raises `NotFound` for an unknown session."""
    head = head_of(rt, step.session_id)
    if head is None:
        raise unknown_session(step.session_id)
    model, now_us = step.model or head.model, rt.services.clock_us()
    price = rt.workspace.prices.quote(model, as_datetime(now_us), scope_headed(rt, step.session_id, head))
    raw = price.cost_nanos(Tokens(fresh_input=step.prompt_tokens, output=step.completion_tokens))
    counted = CorrectedEstimate(raw)
    if step.actual is None:
        named = price_key(price, model)
        compacted = rt.caches.compactions.get((step.session_id, step.actor.id))

        def corrected(reader: Reader) -> CorrectedEstimate:
            anew = anew_nanos(reader, step.session_id, step.actor, model, price, at_us=now_us, compacted_us=compacted)
            level = level_from(reader.levels(step.session_id, agent_of(step.actor), LEVEL_STEPS), anew)
            key = sample_key(EstimateKind.AGENT, head.client, named)
            return correct_estimate(rt, reader, RawEstimate(key, model, named, raw, level))

        # Before the writer's lock and not under it: what was learned may be a step behind, and nobody waits for it.
        try:
            counted = corrected(history_of_step(rt, step.session_id, step.actor, named))
        except MoreIsAsked:
            with rt.reading() as reader:
                counted = corrected(reader)
    return CallRequest(
        session_id=step.session_id,
        tool_name=step.tool_name,
        model=model,
        prompt_tokens=step.prompt_tokens,
        completion_tokens=step.completion_tokens,
        price=price,
        raw_estimate_nanos=raw,
        estimate_nanos=counted.nanos,
        factor_micros=counted.factor_micros,
        factor_source=counted.source,
        actor=step.actor,
        parent_call_id=step.parent_call_id,
        call_mode=step.call_mode,
        actual=step.actual,
        actual_nanos=None if step.actual is None else price.cost_nanos(step.actual),
        client_key=step.client_key,
        expected=counted.expected,
        billed_micros=counted.billed_micros,
    )


def check(rt: Runtime, session_id: str, step: StatedStep | None = None) -> BudgetState:
    """What is left of a session, and what a step would count for, as a pure read: records and reserves nothing.

    A ledger in which nothing could be recorded is answered as the gate answers it, however well it can be read.
    """
    rt.follower.catch_up()
    try:
        rt.prove()
        history_is_read(rt)
        return _checked(rt, session_id, step)
    except LedgerUnavailable as fault:
        answer = fault_answer(fault, halts=rt.workspace.halt_on_fault)
        return BudgetState(session_id, None, answer.pressure, 0, 0, fault=answer)


def made_for(request: CallRequest) -> MadeFor:
    """Whom a step is taken for, by what its agent says of it."""
    agent, _, served = asked_for(request.actor.type, request.actor.name, request.tool_name)
    servers = tuple(server for each in served for server in servers_meant(each))
    return MadeFor(() if agent is None else (agent,), (), servers, request.actor.id, agent)


def fault_answer(fault: LedgerUnavailable, *, halts: bool) -> GateAnswer:
    """No ledger, no count: the step is stopped, or goes on where the user has said so, and is told so."""
    message = str(fault) if isinstance(fault, HistoryUnread) else fault_message(fault.message, fault.hint)
    if halts:
        reason = Reason(fault.code) if is_about_history(fault) else Reason.LEDGER_UNAVAILABLE
        return GateAnswer(Action.HALT, reason, None, Pressure.CRITICAL, message=message)
    return GateAnswer(Action.ALLOW, Reason.LEDGER_UNAVAILABLE_OPEN, None, Pressure.CRITICAL, message=message)


def _checked(rt: Runtime, session_id: str, step: StatedStep | None) -> BudgetState:
    request = None if step is None else price_step(rt, step)
    rt = rt if request is None else replace(rt, made_for=made_for(request))
    with rt.reading() as reader:
        if request is not None:
            outcome = look(rt, reader, request, rt.services.clock_us())
            session, budgets = outcome.session, outcome.seen
            would = word_answer(rt, reader, outcome)
        else:
            would = None
            found = reader.session_with_budgets(session_id)
            if found is None:
                raise unknown_session(session_id)
            bound = session_now(rt, reader, *found, found[0].model, at_us=rt.services.clock_us())
            session, budgets = bound.session, bound.budgets
    own = own_budget(session, budgets)
    fullest = policy.most_used(budgets) or own
    tightest = policy.tightest(budgets) or own
    state = BudgetState(
        session_id=session_id,
        remaining_nanos=in_usd(tightest.available, tightest),
        # By its pressure alone an agent must not go on in a session that takes nothing more.
        pressure=policy.pressure(fullest, rt.workspace.policy.pressure_percents)
        if session.is_open
        else Pressure.CRITICAL,
        used_nanos=fullest.committed,
        limit_nanos=fullest.limit,
        would=would,
    )
    if request is None or request.expected is None or not session.is_open:
        return state
    ahead = prospect(request, tightest, tightest, rt.workspace.policy)
    return replace(
        state,
        estimate_nanos=request.estimate_nanos,
        factor=shown_factor(request, rt.workspace.policy),
        over_micros=ahead.over_micros,
        remaining_steps=ahead.remaining_steps,
    )


def authorize(rt: Runtime, step: StatedStep) -> GateAnswer:
    """Answer allow, reroute or halt for one step, and record the answer with what it reserves.

    Raises `NotFound` for an unknown session and `Conflict` for a call id that comes back with other fields. A
    ledger that cannot be used is itself an answer: halt, unless the policy fails open.
    """
    # What is on disk and not counted yet could be spent a second time.
    rt.follower.catch_up()
    try:
        history_is_read(rt)
        request = price_step(rt, step)
        rt = replace(rt, made_for=made_for(request))
        door = Door(
            request,
            stored=lambda tx, call: with_attestation(rt, tx, stored_answer(call, request), call.call_id),
            word=partial(word_answer, rt),
            kept=GateAnswer.to_json,
            attested=partial(with_attestation, rt),
        )
        return take_step(rt, door)
    except LedgerUnavailable as fault:
        return fault_answer(fault, halts=rt.workspace.halt_on_fault)


@value(frozen=True, slots=True)
class BudgetChecked:
    """What a look before a step finds; `remaining` is in nano-units of the currency that was asked for.

    `decided_by` and `command` are there where the step is refused for a budget, and where that has nothing left,
    `exhausted_us`: when a budget last changed. `message` says why where the ledger cannot be used: then nothing is
    known.
    """

    allowed: bool
    reason: CheckReason
    remaining: int | None
    used: int
    limit: int
    currency: str
    decided_by: Budget | None = None
    command: str | None = None
    exchange: str | None = None
    exhausted_us: int | None = None
    message: str | None = None


def look_before(rt: Runtime, session_id: str, estimate: int, currency: str) -> BudgetChecked:
    """What an agent is told that looks before its step; a ledger that cannot be used refuses, as it halts the gate."""
    try:
        return check_budget(rt, session_id, estimate, currency)
    except LedgerUnavailable as fault:
        answer = fault_answer(fault, halts=rt.workspace.halt_on_fault)
        allowed = answer.action is not Action.HALT
        return BudgetChecked(allowed, CheckReason(answer.reason.value), None, 0, 0, currency, message=answer.message)


def check_budget(rt: Runtime, session_id: str, estimate: int = 0, currency: str | None = None) -> BudgetChecked:
    """Whether a session's next step may be made, as a pure read: every budget that applies must carry it.

    `estimate` is in nano-units of `currency`, which is the session's own where none is named. Raises
    `LedgerUnavailable` where a step could not be recorded, however well the ledger can be read.
    """
    rt.follower.catch_up()
    rt.prove()
    history_is_read(rt)
    with rt.reading() as reader:
        session, budgets = session_with_standing(rt, reader, session_id)
        waits = session.accounting_mode is AccountingMode.EXACT_REQUIRED and reader.has_open_exactness(session_id)
        off, plan = off_now(rt, reader), plan_now(rt, reader, session, rt.services.clock_us())
    spoken = currency_of(rt, session, currency or session.currency)
    verdict = policy.judge(
        GateView(session, budgets, has_open_exactness=waits, is_off=off is not None, plan=plan),
        lambda budget: spoken.needed_of(estimate, budget),
    )
    own = own_budget(session, budgets)
    tightest = policy.tightest(budgets) or own
    refusing = verdict.decided_by if verdict.reason in _FOR_A_BUDGET else None
    command = None
    if refusing is not None:
        with rt.reading() as reader:
            usual, program = usual_step(reader, session_id, refusing), program_now(rt, reader)
        command = raise_command(refusing, spoken.needed_of(estimate, refusing), usual, program)
    nothing_left = verdict.reason is CheckReason.BUDGET_EXHAUSTED and not verdict.allowed
    return BudgetChecked(
        allowed=verdict.allowed,
        reason=verdict.reason,
        remaining=spoken.of(tightest.available, tightest),
        used=tightest.committed,
        limit=tightest.limit,
        currency=spoken.unit,
        decided_by=refusing,
        command=command,
        exchange=spoken.basis,
        exhausted_us=max(budget.touched_us for budget in budgets) if nothing_left else None,
        message=_said_of(rt, off, verdict),
    )


def _said_of(rt: Runtime, off: Off | None, verdict: policy.BudgetVerdict) -> str | None:
    """What goes with a look: that the gate is off, or which limit on a plan stops the step."""
    if off is not None:
        return off_told(off, rt.workspace.zone)
    if verdict.plan is None:
        return None
    return plan_stops(verdict.plan, rt.services.clock_us(), rt.workspace.zone)


_FOR_A_BUDGET = (CheckReason.BUDGET_EXHAUSTED, CheckReason.ESTIMATED_OVERAGE)
