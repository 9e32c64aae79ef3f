"""Gate the model call that follows a hook: reserve what the session's own steps cost, or say why not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from tallygate.core.costing import SERVED_HERE, STANDARD, Terms, is_local_runtime
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.gate.policy import admits, begun, tightest
from tallygate.core.gate.wording import passed
from tallygate.core.hooks import HookEvent, Moment
from tallygate.core.learning.calibration import EstimateKind, Level
from tallygate.core.learning.steps import (
    AUXILIARY_ACTOR,
    NextStep,
    PastStep,
    auxiliary_step,
    is_compacted,
    next_step,
    of_actor,
)
from tallygate.core.model import (
    HOOK_KEY,
    NO_RESPONSE,
    NOTHING,
    Actor,
    Amount,
    Budget,
    Call,
    CallRequest,
    Session,
    needed,
)
from tallygate.core.moments import as_datetime
from tallygate.core.sessions import is_over_limit
from tallygate.core.usage import UNKNOWN_MODEL, priced_as
from tallygate.core.values import value
from tallygate.core.words import Action, ActorType, BudgetMode, CallState, Pressure, Reason
from tallygate.ledger.port import Reader, SessionReader, StoredUsage, Tx, UsageReader
from tallygate.operations.budgets.applicable import budgets_now, visited_by
from tallygate.operations.budgets.calls import void
from tallygate.operations.gate.pipeline import Door, GateOutcome, call_id_of, take_step, with_attestation, word_answer
from tallygate.operations.learning.estimates import (
    STEPS_LOOKED_AT,
    CorrectedEstimate,
    RawEstimate,
    correct_estimate,
    price_key,
    sample_key,
    switches,
)
from tallygate.operations.lock_book import off_now
from tallygate.operations.plan import plan_now
from tallygate.operations.runtime import Runtime, scope_of
from tallygate.operations.unsaid import is_said_late, told_alone

PENDING_LOOKED_AT = 500
ANSWERS_LOOKED_AT = 5
# A response is written down within a tenth of a second of its end, by some clients after half a second of quiet; so
# long a decision that turns on it waits for it.
LANDING_STEP_US = 10_000
LANDING_STEPS, LATE_STEPS = 15, 50
# A turn that begins while an older call of the same agent has no response: that one was broken off.
BROKEN_OFF_US = 5_000_000
# So many responses after a refusal are more than the last word of one that heeds it.
GOES_ON = 2
# What the second question for a tool is written down as.
QUESTION = "permissionRequest"


@value(frozen=True, slots=True)
class StepAnswer:
    """The answer to a step, and how pressed its session was at the step before.

    `again` says that the step before was refused, too, the session's or the agent's; `unconfirmed` that a tool of this
    row of refusals was left to a second question that never came; `goes_on` that the agent had responses since the
    first of them; `hard` that a hard budget is among those of a session that was refused. `passed` says that with this
    step, and not before, a limit was passed that only warns.
    """

    answer: GateAnswer
    before: Pressure | None
    again: bool = False
    unconfirmed: bool = False
    goes_on: bool = False
    hard: bool = False
    passed: str | None = None


@value(frozen=True, slots=True)
class Ahead:
    """The step that an event leads to, as one look before the decision finds it, with the responses it is told from.

    `waits` says that a response which is not written down yet could decide on it, `late` that so could what is said
    later of one than what it cost: whom it was made for.
    """

    request: CallRequest
    recent: Sequence[StoredUsage]
    waits: bool
    late: bool = False


def look_ahead(rt: Runtime, reader: Reader, event: HookEvent, session: Session) -> Ahead:
    """Price the model call that follows an event by the session's own steps; all that is read, in one reading."""
    recent = _recent(reader, event)
    request = _request(rt, reader, event, session, recent)
    # So little is left that a response which is not counted yet could decide.
    twice = Amount(2 * request.estimate_nanos)
    budgets = budgets_now(rt, reader, session, rt.services.clock_us())
    is_pressed = any(budget.available < twice.of(budget) for budget in budgets)
    late = _turns_on_names(rt, event, session, (recent, budgets, twice))
    return Ahead(request, recent, is_pressed or late or _is_ahead(rt, reader, event, session, recent), late)


def gate_step(rt: Runtime, event: HookEvent, session: Session, ahead: Ahead | None = None) -> StepAnswer:
    """Answer whether the model call that follows an event may be made, and reserve it where it follows at once.

    A tool that more hooks come after is only looked at: nothing is reserved, and only a halt is written. `ahead` is
    what the caller has found already.
    """
    if ahead is None:
        with rt.reading() as reader:
            ahead = look_ahead(rt, reader, event, session)
    # Between two readings and with no lock held: whoever writes the responses down must get on meanwhile.
    if ahead.waits:
        actor = _actor(replace(event, starts_agent=False))
        wait_for_responses(rt, event, session.session_id, actor, late=ahead.late)
        with rt.reading() as reader:  # for the second time: what has landed was in none of it
            ahead = look_ahead(rt, reader, event, session)
    request, recent = ahead.request, ahead.recent
    if event.held:
        still, request = _still_refused(rt, session, request)
        if still is not None:
            return StepAnswer(still, None, again=True, goes_on=True, hard=True)
    step = _HookStep(rt, event, session, request, recent)
    door = Door(
        request,
        stored=step.stored,
        begin=step.begin,
        word=step.word,
        kept=lambda gated: gated.answer.to_json(),
        attested=lambda tx, gated, call_id: replace(gated, answer=with_attestation(rt, tx, gated.answer, call_id)),
    )
    return take_step(rt, door)


class _HookStep:
    """One event's step as it goes through the gate, with what was found of the steps before it."""

    def __init__(
        self, rt: Runtime, event: HookEvent, session: Session, request: CallRequest, recent: Sequence[StoredUsage]
    ) -> None:
        self._rt = rt
        self._event = event
        self._session = session
        self._request = request
        self._recent = recent
        self._before: Pressure | None = None
        self._was_over = False
        self._again = event.held
        self._refused: list[Call] = []

    def stored(self, tx: Tx, call: Call) -> StepAnswer | None:
        """A refusal is given again; a step that was let go on is looked at anew, in case its budget ran out since."""
        if call.reply is None or call.action is not Action.HALT:
            return None
        answer, held = GateAnswer.from_json(call.reply), self._event.held
        return StepAnswer(answer, None, again=held, goes_on=held, hard=_is_hard(self._rt, tx, self._session, answer))

    def begin(self, tx: Tx, earlier: Call | None) -> tuple[CallRequest, bool]:
        """What is asked for, and whether that is reserved; reservations that the event ends are released."""
        event, request = self._event, self._request
        calls = tx.recent_calls(request.session_id, 2**62, STEPS_LOOKED_AT)
        # How pressed the session was when its last step was answered; nothing before the first.
        for call in [call for call in calls if call.at_us <= tx.at_us][:ANSWERS_LOOKED_AT]:
            if call.is_model_call and call.reply is not None and call.action is not Action.HALT:
                self._before, self._was_over = GateAnswer.from_json(call.reply).pressure, is_over_limit(call)
                break
        # The latest first: a row of refusals reaches back to the last step that its agent was let through with.
        for call in calls:
            if _is_of(call, request.actor):
                if call.state is not CallState.DENIED:
                    break
                self._refused.append(call)
        self._again |= bool(self._refused) or (bool(calls) and calls[0].state is CallState.DENIED)
        if earlier is not None:
            # Asked again for a step that has its reservation: it goes on unless its budget was overspent since.
            return replace(_zero_step(request), client_key=HOOK_KEY + self._rt.services.new_token(8)), False
        if event.confirms and not self._refused:
            return _zero_step(request), False  # reserved when it was first asked for
        reserves, request = _release_ended(self._rt, tx, event, request, self._recent)
        if request.expected is not None and request.expected.firsts is not None:
            request = begun(request, budgets_now(self._rt, tx, self._session, tx.at_us))
        return request, reserves

    def word(self, tx: Tx, outcome: GateOutcome, call_id: str | None) -> StepAnswer:
        event, answer = self._event, word_answer(self._rt, tx, outcome, call_id)
        hard = answer.action is Action.HALT and _is_hard(self._rt, tx, self._session, answer)
        # The same tool was refused in this row with no second question since, which a client may not know.
        unasked = takewhile(lambda call: call.tool_name != QUESTION, self._refused)
        left = event.confirmed and any((call.tool_name or "") == event.tool for call in unasked)
        goes_on = hard and _goes_on(tx, event, self._refused)
        # A step that is only looked at is asked for once more before it is made.
        passed_now = None if call_id is None else self._passed(outcome)
        return StepAnswer(answer, self._before, self._again, left, goes_on, hard, passed_now)

    def _passed(self, outcome: GateOutcome) -> str | None:
        if self._was_over or outcome.decision.action is Action.HALT or outcome.decision.reason is Reason.GATE_OFF:
            return None
        over = [each for each in outcome.left if each.mode is BudgetMode.SOFT and each.available < 0]
        budget = tightest(over) if over else None
        return None if budget is None else passed(budget)


def _is_hard(rt: Runtime, tx: Tx, session: Session, refused: GateAnswer) -> bool:
    """Whether a hard budget or a plan refuses, or such a budget is among those of one refused for something else."""
    if refused.reason in (Reason.BUDGET_EXCEEDED, Reason.PLAN_REACHED, Reason.PLAN_UNKNOWN):
        return True
    return any(budget.mode is BudgetMode.HARD for budget in budgets_now(rt, tx, session, tx.at_us))


def _still_refused(rt: Runtime, session: Session, request: CallRequest) -> tuple[GateAnswer | None, CallRequest]:
    """The refusal of a tool that waits, as long as a hard budget does not carry it; else the request to ask again with.

    The tool's own key leads to its refusal for ever. Should the first other one be refused, too, as the settings have
    changed since, one that changes with what is left asks anew then, and writes nothing while nothing has changed.
    """
    held = replace(request, client_key=f"{request.client_key}:held")
    with rt.reading() as reader:
        stored, given_again = reader.call(call_id_of(rt, request)), reader.call(call_id_of(rt, held))
        budgets = budgets_now(rt, reader, session, rt.services.clock_us())
        off, plan = off_now(rt, reader), plan_now(rt, reader, session, rt.services.clock_us())
    if given_again is not None and given_again.action is not Action.HALT:
        return None, held  # it may go on, and did not hear it
    if stored is None or stored.reply is None or stored.action is not Action.HALT:
        return None, request
    asked = needed(request)
    stops = (budget.mode is BudgetMode.HARD and not admits(budget, asked.of(budget)) for budget in budgets)
    if off is None and any(stops):
        return GateAnswer.from_json(stored.reply), request
    if given_again is None:
        return None, held
    left = "\n".join(f"{budget.budget_id} {budget.available}" for budget in budgets)
    left += "" if off is None else f"\noff {off.from_us}"
    left += "".join(f"\nplan {each.client} {each.rule.minutes} {each.stops}" for each in plan)
    return None, replace(held, client_key=f"{held.client_key}:{hashlib.sha256(left.encode()).hexdigest()[:16]}")


def _recent(reader: UsageReader, event: HookEvent) -> list[StoredUsage]:
    """The last responses of the session, and of a subagent that its client keeps as a session of its own."""
    responses = reader.recent_usage(event.client, event.client_session, STEPS_LOOKED_AT)
    if event.agent_id is not None and not any(stored.row.agent_id == event.agent_id for stored in responses):
        own = reader.recent_usage(event.client, event.agent_id, STEPS_LOOKED_AT)
        responses = [*(replace(s, row=replace(s.row, agent_id=event.agent_id)) for s in own), *responses]
    return responses


def _request(
    rt: Runtime, reader: Reader, event: HookEvent, session: Session, recent: Sequence[StoredUsage]
) -> CallRequest:
    """The step that follows, priced and corrected: as the last ones of whoever takes it tell."""
    past = [PastStep(stored.row, stored.cost_nanos) for stored in reversed(recent)]
    own_steps = [] if event.begins_unasked else of_actor(past, event.agent_id)
    model, terms = _next_model(reader, event, session, own_steps or past)
    at = as_datetime(rt.services.clock_us())
    price = rt.workspace.prices.quote(model, at, scope_of(rt, session), terms)
    compacted_us = rt.caches.compactions.get((session.session_id, event.agent_id))
    compacted = is_compacted(own_steps, None if compacted_us is None else as_datetime(compacted_us))
    forgotten = event.moment is Moment.COMPACTION or compacted or switches(own_steps, model)
    is_auxiliary = event.is_auxiliary
    ahead: NextStep = (
        auxiliary_step(price)
        if is_auxiliary
        else next_step(own_steps, price, at, event.facts.first_call, forgotten=forgotten)
    )
    counted = CorrectedEstimate(ahead.nanos)
    if not is_auxiliary:
        named = price_key(price, model)
        key = sample_key(EstimateKind.HOOK, session.client, named)
        begins = not own_steps and event.agent_id is None and not event.begins_unasked
        level = Level.of(ahead.nanos if own_steps else None, ahead.anew_nanos, begins=begins)
        counted = correct_estimate(rt, reader, RawEstimate(key, model, named, ahead.nanos, level))
    return CallRequest(
        session_id=session.session_id,
        tool_name=event.name if event.confirms else event.tool or event.name,
        model=model,
        prompt_tokens=ahead.prompt_tokens,
        completion_tokens=ahead.completion_tokens,
        price=price,
        raw_estimate_nanos=ahead.nanos,
        estimate_nanos=counted.nanos,
        factor_micros=counted.factor_micros,
        factor_source=counted.source,
        expected=counted.expected,
        billed_micros=counted.billed_micros,
        actor=_actor(event),
        client_key=HOOK_KEY + (event.key or rt.services.new_token(8)),
    )


def _next_model(reader: Reader, event: HookEvent, session: Session, past: Sequence[PastStep]) -> tuple[str, Terms]:
    """The model the next call most probably names, and whether its client has it served on this machine.

    It is the one that the client names, else that of the last call of this session, else of this client.
    """
    last = past[-1].row if past else None
    if event.model:
        return event.model, SERVED_HERE if is_of_runtime(event.model) else STANDARD
    if last is not None:
        return priced_as(last), SERVED_HERE if is_local_runtime(last.provider) else STANDARD
    for call in reader.recent_calls(session.session_id, 2**62, STEPS_LOOKED_AT):
        if call.is_model_call and call.actor_id != AUXILIARY_ACTOR:
            return call.model_requested, STANDARD
    if session.model != UNKNOWN_MODEL:
        return session.model, STANDARD
    model = reader.last_model(event.client)
    if model is not None:
        return model, SERVED_HERE if is_of_runtime(model) else STANDARD
    return event.facts.first_model or session.model, STANDARD


def is_of_runtime(model: str) -> bool:
    """Whether a model is named with a runtime of this machine before it, and costs nothing."""
    return "/" in model and is_local_runtime(model.partition("/")[0])


def _actor(event: HookEvent) -> Actor:
    if event.begins_unasked:
        return Actor(
            ActorType.SUBAGENT, None, event.starts_type
        )  # it has no id yet; whichever starts next takes it over
    if event.is_auxiliary:
        return Actor(ActorType.SUBAGENT, AUXILIARY_ACTOR, event.agent_type)
    if event.agent_id is not None:
        return Actor(ActorType.SUBAGENT, event.agent_id, event.agent_type)
    return Actor()


def _is_ahead(
    rt: Runtime, reader: SessionReader, event: HookEvent, session: Session, recent: Sequence[StoredUsage]
) -> bool:
    """Whether a client that writes late has had a further response while an earlier one is not written down.

    Then nothing is known of what its steps cost, however fast it spends; so it is after the first response of an agent,
    which may have cost many times what was held for it. What is still missing long after the next step
    was asked for was broken off, and is not waited for.
    """
    if not event.facts.writes_late or event.moment is not Moment.TOOL or event.confirms:
        return False
    waiting = _waiting(reader, session.session_id, _actor(replace(event, starts_agent=False)))
    if len(waiting) == 1:
        return not any(stored.row.agent_id == event.agent_id for stored in recent)
    return len(waiting) > 1 and rt.services.clock_us() < waiting[0].at_us + LATE_STEPS * LANDING_STEP_US


def wait_for_responses(
    rt: Runtime, event: HookEvent, session_id: str, actor: Actor | None, *, late: bool = False
) -> bool:
    """Give the response that an agent (None: any of them) has just had a moment to be written down; whether it is.

    With `late` also until it is said whom that was made for: where telemetry has told of it, it holds nothing any more.
    """
    for _ in range(LATE_STEPS if event.facts.writes_late else LANDING_STEPS):
        with rt.reading() as reader:
            waiting = bool(_waiting(reader, session_id, actor)) or (late and _is_unsaid(event, _recent(reader, event)))
        if not waiting:
            return True
        rt.services.pause_us(LANDING_STEP_US)
        rt.follower.catch_up()
    return False


def _turns_on_names(
    rt: Runtime, event: HookEvent, session: Session, found: tuple[Sequence[StoredUsage], tuple[Budget, ...], Amount]
) -> bool:
    """Whether it decides on a step whom the last response was made for, which may not be said yet."""
    recent, budgets, twice = found
    if not _is_unsaid(event, recent):
        return False
    elsewhere = visited_by(rt, session)[1] is not None
    own = next((stored.amount for stored in recent if stored.row.agent_id == event.agent_id), NOTHING)
    return any(
        is_said_late(budget, elsewhere=elsewhere) and budget.available < twice.of(budget) + own.of(budget)
        for budget in budgets
    )


def _is_unsaid(event: HookEvent, recent: Sequence[StoredUsage]) -> bool:
    """Whether a response is on record of which nobody has said yet whom it was made for.

    A transcript writes one down piece by piece: its words may stand there before the tool that it asks for.
    """
    known = {name for stored in recent for name in stored.row.tool_use_ids}
    return bool(told_alone(recent)) or (bool(known) and not known.issuperset(event.tool_use_ids))


def _waiting(reader: SessionReader, session_id: str, actor: Actor | None) -> list[Call]:
    """The calls of an agent (None: of any) whose responses are not written down, the newest first."""
    calls = reader.recent_calls(session_id, 2**62, STEPS_LOOKED_AT)
    pending = (call for call in calls if call.state is CallState.PENDING and call.is_model_call)
    return [call for call in pending if actor is None or _is_of(call, actor)]


def _is_of(call: Call, actor: Actor) -> bool:
    return call.is_model_call and (call.actor_type, call.actor_id) == (actor.type, actor.id)


def _release_ended(
    rt: Runtime, tx: Tx, event: HookEvent, request: CallRequest, recent: Sequence[StoredUsage]
) -> tuple[bool, CallRequest]:
    """Whether to reserve, and what to look for; reservations that this event ends are released before."""
    pending = [call for call in tx.pending_calls(request.session_id, PENDING_LOOKED_AT) if call.is_model_call]
    own_calls = [call for call in pending if _is_of(call, request.actor)]
    if event.moment is Moment.PROMPT:
        for call in own_calls:
            if call.at_us + BROKEN_OFF_US < tx.at_us:
                void(tx, call, NO_RESPONSE, by=rt.by, place_of=rt.workspace.place_of)
    if event.moment is Moment.AGENT_START:
        nameless = [call for call in pending if call.actor_type is ActorType.SUBAGENT and call.actor_id is None]
        if nameless:
            reason = f"handed on to subagent {event.agent_id}"
            void(tx, nameless[0], reason, by=rt.by, place_of=rt.workspace.place_of)
    if event.moment is not Moment.TOOL:
        return event.reserves, request
    if not event.reserves:
        return event.begins_unasked, request
    if _next_is_reserved(event, own_calls, recent):
        return False, _zero_step(request)
    return True, request


def _goes_on(tx: UsageReader, event: HookEvent, row: Sequence[Call]) -> bool:
    """Whether an agent had more than a last word since it was first refused: then its client does not heed that."""
    if not row:
        return False
    since = as_datetime(row[-1].at_us)
    responses = [
        stored.row
        for session in {event.client_session, event.agent_id or event.client_session}
        for stored in tx.recent_usage(event.client, session, STEPS_LOOKED_AT)
    ]
    own = [each for each in responses if event.agent_id in {each.agent_id, each.session}]
    return sum(each.at > since for each in own) >= GOES_ON


def _zero_step(request: CallRequest) -> CallRequest:
    """The question whether anything at all may still be done."""
    return replace(request, estimate_nanos=0, raw_estimate_nanos=0, prompt_tokens=0, completion_tokens=0, expected=None)


def _next_is_reserved(event: HookEvent, own_calls: Sequence[Call], recent: Sequence[StoredUsage]) -> bool:
    """Whether the call after a tool's response has its reservation already, from another tool of that response.

    A response that is not written down yet is the oldest of the agent's pending calls. Where the key is that of the
    response, a tool with a new one is the first of another response.
    """
    if event.key_of_response and event.key is not None:
        return False
    response = next((s for s in recent if set(s.row.tool_use_ids) & set(event.tool_use_ids)), None)
    if response is None:
        return len(own_calls) > 1
    made_for = response.call_id
    return any(call.call_id != made_for for call in own_calls)
