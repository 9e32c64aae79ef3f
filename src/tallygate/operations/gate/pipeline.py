"""The one sequence of every step: the same answer to the same id, expire, read, decide, write, name the proof."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

from tallygate.attest.keyring import KeyRing
from tallygate.core.costing import SERVED_HERE, Price, Tokens
from tallygate.core.errors import KeyUnusable, ensure, present, same_or_conflict, unknown_session
from tallygate.core.gate import lifecycle, policy
from tallygate.core.gate.answers import DecidingBudget, GateAnswer, corrected, differs, prospect
from tallygate.core.gate.policy import Candidate, best_target
from tallygate.core.gate.rules import NAMED
from tallygate.core.gate.wording import halt_message, off_told, plan_told, raise_command
from tallygate.core.lock import Off
from tallygate.core.model import (
    HOOK_KEY,
    NOTHING,
    Amount,
    Budget,
    Call,
    CallRequest,
    Decision,
    GateView,
    Hold,
    RerouteTarget,
    Session,
    in_usd,
    needed,
)
from tallygate.core.moments import as_datetime
from tallygate.core.plan import PlanStanding
from tallygate.core.proof import SlimAttestation
from tallygate.core.text import in_digits
from tallygate.core.values import value
from tallygate.core.words import AccountingMode, Action, CallState, Reason
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, ProofReader, Reader, StoredAttestation, Tx, Update, Value
from tallygate.operations.budgets.applicable import (
    ApplicableBudgets,
    changes_of,
    session_now,
    visited_by,
)
from tallygate.operations.budgets.calls import expire_calls
from tallygate.operations.budgets.figures import in_doubt, spent_on, usual_step
from tallygate.operations.learning.estimates import shown_factor
from tallygate.operations.lock_book import program_now
from tallygate.operations.plan import plan_now
from tallygate.operations.runtime import Runtime, basis_changes, scope_of
from tallygate.operations.windows import Facts, OpenWindows, booked_amount, budget_change, changed_in

# --- the sequence ----------------------------------------------------------------------------------------------------
# Every step goes through `take_step`, from its first look into the ledger to its commit. The three ways in differ in
# their `Door`: an agent's question (authorize.py), a client's hook (hook_step.py), a step made already (record.py).


DUE_PER_CALL = 8
T = TypeVar("T")


@value(frozen=True, slots=True)
class Door(Generic[T]):
    """One way in to the gate: a priced request, and what the sequence asks of whoever brings it.

    `stored` gives the answer that a known id got, or None where the step is looked at once more; other fields under
    that id raise. `begin` releases what the step's event ends, and says what is asked for as things stand and whether
    that is reserved. `decide` is the gate's policy where nothing else is named. `word` says the answer; without a call
    id nothing is reserved. `kept` is the answer as it is given again, `attested` names in it what is signed later,
    and `session_row` is what else changes of the session.
    """

    request: CallRequest
    stored: Callable[[Tx, Call], T | None]
    word: Callable[[Tx, GateOutcome, str | None], T]
    kept: Callable[[T], str]
    begin: Callable[[Tx, Call | None], tuple[CallRequest, bool]] | None = None
    decide: Callable[[GateView, CallRequest], Decision] | None = None
    attested: Callable[[Tx, T, str], T] | None = None
    session_row: Callable[[GateOutcome, T], Mapping[str, Value]] | None = None
    correlation: str | None = None


def take_step(rt: Runtime, door: Door[T]) -> T:
    """Take one step through a door, in one transaction; a door that does not reserve writes down only a halt."""
    with rt.writing() as tx:
        answer, price_id = _taken(rt, tx, door)
    if price_id is not None:  # known to be in the ledger only now: a commit that fails takes its row back
        rt.known_prices().add(price_id)
    return answer


def take_step_in(rt: Runtime, tx: Tx, door: Door[T]) -> T:
    """The same in an open transaction of the tenant, which may settle many steps at once.

    A step that raises leaves nothing, and the others hold; nothing holds before the commit.
    """
    # For a server of many, whose commits are what its steps wait for. A hook's responses and its step stay two commits:
    # between them the step may have to wait for responses that its client has yet to write down, with no lock held,
    # and nothing is remembered of what was learned in a transaction that may still be taken back.
    with tx.step():
        return _taken(rt, tx, door)[0]


def _taken(rt: Runtime, tx: Tx, door: Door[T]) -> tuple[T, str | None]:
    """What a step is answered, and the price that was written down with it.

    The order is held by tests. A known step comes first: who asks again must get what was answered, whatever has
    expired or ended since. What the step's event ends is released before what is past its time expires: else it would
    be booked at its estimate.
    """
    request = door.request
    call_id = call_id_of(rt, request)
    earlier = None if request.client_key is None else tx.call(call_id)
    if earlier is not None and (stored := door.stored(tx, earlier)) is not None:
        return stored, None
    reserves = True
    if door.begin is not None:
        request, reserves = door.begin(tx, earlier)
    if request.client_key != door.request.client_key:
        call_id = call_id_of(rt, request)
    if due := tx.due_calls(DUE_PER_CALL):
        expire_calls(tx, due, rt.workspace.policy, by=rt.by, place_of=rt.workspace.place_of, cause="time")

    outcome = look(rt, tx, request, tx.at_us, door.decide)
    halts = outcome.decision.action is Action.HALT
    answer = door.word(tx, outcome, call_id if reserves and not halts else None)
    if not (reserves or halts):
        _keep_named(rt, tx, outcome)
        return answer, None

    # Kept for who asks again under the same key, and of a refusal for the run log.
    reply = door.kept(answer) if halts or request.client_key is not None else None
    session_row = {} if door.session_row is None else door.session_row(outcome, answer)
    price_id = _write(rt, tx, outcome, _Written(call_id, reply, door.correlation, session_row))
    if door.attested is not None:
        answer = door.attested(tx, answer, call_id)
    return answer, price_id


def _keep_named(rt: Runtime, tx: Tx, outcome: GateOutcome) -> None:
    """Keep windows that only steps ask for which reserve nothing, such as a server's: else each would add up anew."""
    found = outcome.applicable
    if any(name.partition(":")[0] in NAMED for name in found.fresh):
        changes = changes_of(found, found.budgets, tx.at_us, touched=False)
        tx.append("budget.opened", changes, by=rt.by)


def call_id_of(rt: Runtime, request: CallRequest) -> str:
    """A fresh id, or one that the client's own key always leads to."""
    if request.client_key is None:
        return f"call_{in_digits(rt.services.new_token(8))}"
    keyed = f"{rt.tenant}\x00{request.session_id}\x00{request.client_key}".encode()
    return f"call_{hashlib.sha256(keyed).hexdigest()[:24]}"


def stored_answer(call: Call, request: CallRequest) -> GateAnswer:
    """The answer that was given to this call id; other fields under the same id are an error naming the field."""
    fields: list[tuple[str, object, object]] = [
        ("session_id", call.session_id, request.session_id),
        ("tool_name", call.tool_name, request.tool_name),
        ("model_requested", call.model_requested, request.model),
        ("prompt_tokens", call.prompt_tokens, request.prompt_tokens),
        ("completion_tokens", call.completion_tokens, request.completion_tokens),
        ("actor_type", call.actor_type, request.actor.type),
        ("actor_id", call.actor_id, request.actor.id),
        ("actor_name", call.actor_name, request.actor.name),
        ("parent_call_id", call.parent_call_id, request.parent_call_id),
        ("call_mode", call.call_mode, request.call_mode),
    ]
    if request.actual is not None:  # what was reported later is no other question
        fields.append(("actual", call.actual, request.actual))
    same_or_conflict(
        fields,
        f"Call {call.call_id} was asked",
        hint="Use a new idempotency key for another step.",
        code="call_conflict",
    )
    ensure(call.reply is not None, "a call with a client key keeps its reply")
    return GateAnswer.from_json(str(call.reply))


def with_attestation(rt: Runtime, reader: ProofReader, answer: GateAnswer, call_id: str) -> GateAnswer:
    """A refusal with the name of what is signed of it later; any other answer as it is. Signs nothing."""
    if answer.action is not Action.HALT or rt.services.keys is None:
        return answer
    proof = reader.attestation_of_call(call_id)
    return answer if proof is None else replace(answer, attestation=slim(rt.services.keys, proof))


def slim(keys: KeyRing, proof: StoredAttestation) -> SlimAttestation:
    """A proof as an answer names it."""
    keyid, warning = proof.keyid, None
    if keyid is None:
        try:
            key = keys.known()
            keyid = None if key is None else key.keyid
        except KeyUnusable as error:  # the answer matters more
            warning = str(error)
    return SlimAttestation(proof.attestation_id, proof.kind, proof.event_hash.hex(), proof.seq, keyid, warning)


# --- deciding --------------------------------------------------------------------------------------------------------
# Decide on a step without writing anything: by this the gate answers, and a look shows what it would.


@value(frozen=True, slots=True)
class GateOutcome:
    """What is decided on a request, and what it was decided on.

    `seen` are the budgets as the session may spend them before the step, `after` as they are written with it, and
    `left` as the session may spend them then. `weight` is what the step holds of every budget, or what is booked there,
    and `estimate_nanos` its estimate at `price`: that of the local stand-in where the model's own is unknown. `off` is
    the user's word that nothing is stopped, where it holds.
    """

    request: CallRequest
    decision: Decision
    session: Session
    seen: tuple[Budget, ...]
    after: tuple[Budget, ...]
    left: tuple[Budget, ...]
    weight: Amount
    price: Price
    estimate_nanos: int
    applicable: ApplicableBudgets
    rules_before: str | None
    metered: bool
    why_no_target: str | None
    at_us: int
    off: Off | None
    plan_warning: PlanStanding | None = None


def look(
    rt: Runtime,
    reader: Reader,
    request: CallRequest,
    at_us: int,
    decide: Callable[[GateView, CallRequest], Decision] | None = None,
) -> GateOutcome:
    """Decide on one priced request as things stand. Raises `NotFound` for an unknown session."""
    there = reader.session_with_budgets(request.session_id)
    if there is None:
        raise unknown_session(request.session_id)
    now = session_now(rt, reader, *there, request.model, at_us=at_us)
    session, applicable = now.session, now.to
    metered = request.actual is not None and reader.is_metered(session.session_id)
    if metered:
        request = replace(request, actual_nanos=0, counts=False)  # the client's own record counts it

    waits = session.accounting_mode is AccountingMode.EXACT_REQUIRED and reader.has_open_exactness(session.session_id)
    local = None
    if not request.price.known and (model := rt.workspace.local_model):
        # A stand-in for a model whose price nobody knows, where it costs nothing.
        free = rt.workspace.prices.known_price(model, as_datetime(at_us), scope_of(rt, session), SERVED_HERE)
        local = RerouteTarget(model, free) if free is not None and free.source == "local" else None
    view = GateView(
        session,
        applicable.seen(applicable.budgets),
        has_open_exactness=waits,
        local_target=local,
        is_off=now.off is not None,
        plan=plan_now(rt, reader, session, at_us),
    )
    decision = policy.decide(view, request, rt.workspace.policy) if decide is None else decide(view, request)
    why_no_target = None
    if decision.wants_target:
        target, why_no_target = target_of(rt, reader, session, request, decision)
        decision = replace(decision, target=target)

    price, estimate_nanos = request.price, request.estimate_nanos
    if decision.reason is Reason.PRICE_UNKNOWN_REROUTE and decision.target is not None:
        price = decision.target.price
        estimate_nanos = price.cost_nanos(Tokens(fresh_input=request.prompt_tokens, output=request.completion_tokens))
    after = applicable.budgets
    if request.actual_nanos is not None:  # what was used already is booked, whatever the answer
        weight = Amount(request.actual_nanos, request.needed_tokens, 1) if request.counts else NOTHING
        after = tuple([lifecycle.add(budget, weight.of(budget)) for budget in after])
    else:
        weight = Amount(estimate_nanos, request.needed_tokens, 1)
        if decision.action is not Action.HALT:
            # Where the gate is off a step may pass what is left: then it holds what of it fits.
            hold = lifecycle.reserve if now.off is None else lifecycle.reserve_room
            after = tuple([hold(budget, weight.of(budget)) for budget in after])
    return GateOutcome(
        request,
        decision,
        session,
        seen=view.budgets,
        after=after,
        left=applicable.seen(after),
        weight=weight,
        price=price,
        estimate_nanos=estimate_nanos,
        applicable=applicable,
        rules_before=now.rules_before,
        metered=metered,
        why_no_target=why_no_target,
        at_us=at_us,
        off=now.off,
        plan_warning=policy.plan_warning(view) if view.plan else None,
    )


# --- wording ---------------------------------------------------------------------------------------------------------
# What an agent and a hook are answered, with what lies ahead of the step; a halt says why, and names the way on.


def word_answer(rt: Runtime, reader: Reader, outcome: GateOutcome, call_id: str | None = None) -> GateAnswer:
    """The gate's answer to a step; a halt also says what is spent on what, and which command lets it go on."""
    request, decision = outcome.request, outcome.decision
    tightest, fullest = policy.tightest(outcome.left), policy.most_used(outcome.left)
    ahead = prospect(request, policy.tightest(outcome.seen), tightest, rt.workspace.policy)
    factor = shown_factor(request, rt.workspace.policy)
    answer = GateAnswer(
        action=decision.action,
        reason=decision.reason,
        call_id=call_id,
        message=_message_of(rt, request, decision, _with_plan(rt, outcome, ahead.warning or outcome.why_no_target))
        if outcome.off is None
        else off_told(outcome.off, rt.workspace.zone),
        remaining_nanos=None if tightest is None else in_usd(tightest.available, tightest),
        pressure=policy.pressure(fullest, rt.workspace.policy.pressure_percents),
        target_model=None if decision.target is None else decision.target.model,
        saves_nanos=None if decision.target is None else decision.target.saves_nanos or None,
        pricing_warning=request.price.warning,
        factor_micros=None if factor is None else factor.micros,
        factor_source="none" if factor is None else factor.source,
        confidence=None if factor is None else factor.confidence,
        over_micros=ahead.over_micros,
        remaining_steps=ahead.remaining_steps,
    )
    return _halted(rt, reader, outcome, answer) if decision.action is Action.HALT else answer


def _with_plan(rt: Runtime, outcome: GateOutcome, message: str | None) -> str | None:
    """What goes with an answer, and what is to be said of the client's plan."""
    warning = outcome.plan_warning
    said = None if warning is None else plan_told(warning, outcome.at_us, rt.workspace.zone)
    return " ".join(filter(None, (message, said))) or None


def _message_of(rt: Runtime, request: CallRequest, decision: Decision, message: str | None) -> str | None:
    """What goes with an answer, for an agent also how much else than it said is reserved.

    A hook has said nothing, and what is reserved at a local stand-in's price is no correction.
    """
    hooked = request.client_key is not None and request.client_key.startswith(HOOK_KEY)
    if hooked or decision.reason is Reason.PRICE_UNKNOWN_REROUTE:
        return message
    return " ".join(filter(None, (message, differs(request, rt.workspace.policy)))) or None


def _halted(
    rt: Runtime,
    reader: Reader,
    outcome: GateOutcome,
    answer: GateAnswer,
) -> GateAnswer:
    """The answer of a halt: what is spent on what, which budget binds, the command to go on."""
    request, decision = outcome.request, outcome.decision
    exceeded = decision.reason is Reason.BUDGET_EXCEEDED and decision.decided_by is not None
    asked = 0 if decision.decided_by is None else needed(request).of(decision.decided_by)
    usual = usual_step(reader, request.session_id, decision.decided_by) if exceeded and decision.decided_by else 0
    paid_for = decision.decided_by if exceeded else None
    spent_by = spent_on(reader, paid_for, request.session_id, outcome.at_us, rt.workspace.place_of)
    command = (
        raise_command(
            decision.decided_by, asked, usual, program_now(rt, reader), _said(reader, request, decision.decided_by)
        )
        if exceeded and decision.decided_by
        else None
    )
    doubt = in_doubt(rt, reader, request, outcome.seen, outcome.at_us) if exceeded else None
    message = halt_message(
        decision,
        session_id=request.session_id,
        asked=asked,
        model=request.model,
        because=()
        if command is None
        else tuple(filter(None, (corrected(request, rt.workspace.policy, decision.decided_by), doubt))),
        command=command or "",
        zone=rt.workspace.zone,
        at_us=outcome.at_us,
    )
    if request.actual_nanos is not None:
        message = f"The usage you reported was recorded in full. {message}"  # nothing follows the command
    return replace(
        answer,
        remaining_steps=None,
        message=message,
        binding=None if decision.decided_by is None else DecidingBudget.of(decision.decided_by),
        spent_by=spent_by,
        command=command,
    )


def _said(reader: Reader, request: CallRequest, budget: Budget) -> str | None:
    """The command of the refusal just before, where a client's step was refused by the same budget at the same limit.

    A client that asks its model once more meets two refusals, which are one halt to whoever reads them.
    """
    if request.client_key is None or not request.client_key.startswith(HOOK_KEY):
        return None
    last = next(iter(reader.recent_calls(request.session_id, 2**62, 1)), None)
    if last is None or last.state is not CallState.DENIED or last.reply is None:
        return None
    before = GateAnswer.from_json(last.reply)
    bound = before.binding
    is_same = bound is not None and (bound.budget_id, bound.limit_nanos) == (budget.name, budget.limit)
    return before.command if is_same else None


# --- writing ---------------------------------------------------------------------------------------------------------
# What an answer leaves in the ledger: the call, what it holds of each budget, and the price it was made at.


@value(frozen=True, slots=True)
class _Written:
    """What is written with an outcome: the answer as it is kept, and what else its door has to say of it."""

    call_id: str
    reply: str | None
    correlation: str | None
    session_row: Mapping[str, Value]


def _write(rt: Runtime, tx: Tx, outcome: GateOutcome, written: _Written) -> str:
    """Write one answer: its call, its counters, one event. Returns the id of the price it was made at."""
    request, decision, session = outcome.request, outcome.decision, outcome.session
    price_id, prices = basis_changes(tx, outcome.price, rt.known_prices())
    call = _call(rt, tx, outcome, written, price_id)
    changes: list[Change] = [*prices]
    changes += changes_of(outcome.applicable, outcome.after, tx.at_us, touched=bool(call.holds))
    if call.state is CallState.RECONCILED and booked_amount(call) != NOTHING:
        call, others = _counted_elsewhere(rt, tx, outcome, call)
        changes += others
    changes.append(Insert("call", rows.from_call(call)))
    moved: dict[str, Value] = dict(written.session_row)
    if _is_moving_here(rt, session):
        moved["server_id"] = rt.server_id
    if outcome.rules_before != session.rules:
        moved["rules"] = session.rules
    if moved:
        changes.append(Update("session", {"session_id": session.session_id, **moved}))
    note: dict[str, Value] | None = None
    if decision.action is Action.HALT and (b := decision.decided_by) is not None:
        note = {
            "budget_id": b.name,
            "limit_nanos": b.limit,
            "spent_nanos": b.spent + b.carried,
            "reserved_nanos": b.reserved,
            "requested_nanos": needed(request).of(b),
        }
    kind = {CallState.DENIED: "call.denied", CallState.PENDING: "call.authorized"}.get(call.state, "call.recorded")
    tx.append(kind, changes, by=rt.by, note=note)
    return price_id


def _counted_elsewhere(rt: Runtime, tx: Tx, outcome: GateOutcome, call: Call) -> tuple[Call, list[Change]]:
    """A call that is booked at once, in the windows that count it though the rules of its session do not know them."""
    facts = Facts(tx, rt.workspace.place_of)
    windows = OpenWindows(tx, facts, tx.at_us)
    own = {budget.budget_id for budget in outcome.after}
    more = changed_in(windows, (), (partial(facts.of_call, call), call.at_us, booked_amount(call)))
    changes: list[Change] = []
    for budget_id, added in more.items():
        if budget_id not in own:
            window = windows.fresh.get(budget_id) or present(tx.budget(budget_id), f"budget {budget_id} is there")
            fresh = budget_id in windows.fresh
            changes.append(budget_change(lifecycle.add(window, added), tx.at_us, fresh=fresh))
            call = replace(call, holds=(*call.holds, Hold(budget_id, 0, added)))
    return call, changes


def _is_moving_here(rt: Runtime, session: Session) -> bool:
    """Whether a session is this server's from now on, as it has none that lives; some clients run several at once."""
    if rt.server_id is None or session.server_id == rt.server_id or not session.is_open:
        return False
    return session.server_id is None or not rt.services.presence.is_alive(session.server_id)


def _call(rt: Runtime, tx: Tx, outcome: GateOutcome, written: _Written, price_id: str) -> Call:
    request, decision, session = outcome.request, outcome.decision, outcome.session
    pending = request.actual is None and decision.action is not Action.HALT
    recorded = request.actual is not None
    expected = request.expected if pending else None
    asked_by, folder = visited_by(rt, session)
    # A pending call holds its weight, or what of it fits where the gate is off; of a recorded one that is booked at
    # once. A refused one has neither.
    holds: tuple[Hold, ...] = ()
    if pending:
        pairs = zip(outcome.applicable.budgets, outcome.after, strict=True)
        holds = tuple([Hold(after.budget_id, after.reserved - before.reserved) for before, after in pairs])
    elif recorded:
        holds = tuple([Hold(budget.budget_id, 0, outcome.weight.of(budget)) for budget in outcome.after])
    return Call(
        tenant=rt.tenant,
        call_id=written.call_id,
        session_id=session.session_id,
        state=CallState.RECONCILED if recorded else CallState.PENDING if pending else CallState.DENIED,
        action=decision.action,
        reason=decision.reason,
        tool_name=request.tool_name,
        model_requested=request.model,
        model_target=None if decision.target is None else decision.target.model,
        model_used=request.model if recorded else None,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=request.completion_tokens,
        raw_estimate_nanos=request.raw_estimate_nanos,
        estimate_nanos=outcome.estimate_nanos,
        factor_micros=request.factor_micros,
        booked_nanos=request.actual_nanos or 0,
        cost_basis="none" if not recorded else "transcript" if outcome.metered else "actual",
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
        reply=written.reply,
        correlation=written.correlation,
        at_us=tx.at_us,
        expires_us=tx.at_us + rt.workspace.policy.reservation_ttl_us if pending else None,
        resolved_us=tx.at_us if recorded else None,
        holds=holds,
        cold_nanos=None if expected is None else expected.cold_nanos,
        level_nanos=None if expected is None else expected.level_nanos,
        expected_nanos=None if expected is None else expected.expected_nanos,
        asked_by=asked_by,
        folder=folder,
    )


# --- rerouting -------------------------------------------------------------------------------------------------------
# Which model a step may be moved to: what the ladder's models cost in the state the session's cache is in.


CALLS_LOOKED_AT = 24


def target_of(
    rt: Runtime, reader: Reader, session: Session, request: CallRequest, decision: Decision
) -> tuple[RerouteTarget | None, str | None]:
    """The cheapest model of the user's ladder for which switching pays with what is left, or None and why."""
    at = as_datetime(rt.services.clock_us())
    ladder = rt.workspace.ladder(session.client)
    if not ladder:
        return None, "No [ladder] of cheaper models is set, so none is named."
    candidates = []
    for model in ladder:
        price = rt.workspace.prices.known_price(model, at, scope_of(rt, session), SERVED_HERE)  # the user names it
        if price is not None:
            candidates.append(Candidate(model, price))
    budget = present(decision.decided_by, "budget pressure has a budget")
    # Whoever asks has been let through before: what it has read is in the cache of its model.
    asks = (request.actor.type, request.actor.id)
    calls = reader.recent_calls(request.session_id, 2**62, CALLS_LOOKED_AT)
    warm = any((call.actor_type, call.actor_id) == asks and call.action is not Action.HALT for call in calls)
    context = max(request.prompt_tokens, _context(reader, session) if warm else 0)
    target = best_target(
        Candidate(request.model, request.price),
        candidates,
        context_tokens=context,
        output_tokens=request.completion_tokens,
        left_nanos=in_usd(budget.available, budget),
        warm=warm,
    )
    if target is not None:
        return target, None
    state = f"{context:,} tokens of context would be read anew" if warm else f"{context:,} tokens of context"
    return None, f"No model of the ladder pays with what is left: {state}."


def _context(reader: Reader, session: Session) -> int:
    """What the session's last response has read, where its client's own record tells."""
    sizes = [0]
    for client, client_session in reader.links_of(session.session_id):
        sizes += [stored.row.tokens.context for stored in reader.recent_usage(client, client_session, 1)]
    return max(sizes)
