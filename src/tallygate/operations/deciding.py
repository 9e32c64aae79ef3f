"""Decide on a step without writing anything: by this the gate answers, and a look shows what it would."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tallygate.core.costing import SERVED_HERE
from tallygate.core.errors import unknown_session
from tallygate.core.gate import policy
from tallygate.core.gate.answers import BindingBudget, GateAnswer, Prospect, corrected, differs, prospect
from tallygate.core.gate.wording import halt_message, raise_command
from tallygate.core.model import (
    HOOK_KEY,
    Budget,
    CallRequest,
    Decision,
    GateView,
    RerouteTarget,
    Session,
    in_usd,
    needed,
)
from tallygate.core.moments import as_datetime
from tallygate.core.words import AccountingMode, Action, Reason
from tallygate.ledger.port import Reader
from tallygate.operations.budgets.applicable import Binding, bound_now
from tallygate.operations.budgets.figures import in_doubt, spent_on, usual_step
from tallygate.operations.learning.estimates import shown_factor
from tallygate.operations.rerouting import target_of
from tallygate.operations.reserve import budgets_after
from tallygate.operations.runtime import Runtime, scope_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is decided on a request, and what it was decided on; `seen` are the budgets as they stand before it.

    The answer names no call: that is for whoever writes it down.
    """

    request: CallRequest
    decision: Decision
    session: Session
    seen: tuple[Budget, ...]
    after: tuple[Budget, ...]
    answer: GateAnswer
    bound_to: Binding
    rules_before: str | None
    live: bool


def decide(rt: Runtime, reader: Reader, request: CallRequest, at_us: int) -> Outcome:
    """Answer one priced request as things stand. Raises `NotFound` for an unknown session."""
    found = reader.session_with_budgets(request.session_id)
    if found is None:
        raise unknown_session(request.session_id)
    bound = bound_now(rt, reader, *found, request.model, at_us=at_us)
    session, bound_to = bound.session, bound.to
    budgets, only_asked = bound.parted(done=request.actual is not None)
    live = request.actual is not None and reader.is_live(session.session_id)
    if live:
        request = replace(request, actual_nanos=0, counts=False)  # the client's own record counts it

    view = _view(rt, reader, session, bound.budgets, request, at_us=at_us)
    decision = policy.decide(view, request, rt.policy)
    why_no_target = None
    if decision.wants_target:
        target, why_no_target = target_of(rt, reader, session, request, decision)
        decision = replace(decision, target=target)

    after = budgets_after(budgets, request, decision)
    left = bound_to.seen((*after, *only_asked))
    ahead = prospect(request, policy.tightest(view.budgets), policy.tightest(left), rt.policy)
    told = _told(rt, request, decision, ahead.warning or why_no_target)
    answer = _answer(rt, request, decision, left, ahead, message=told)
    if decision.action is Action.HALT:
        answer = _halted(rt, reader, request, decision, answer, budgets=view.budgets, at_us=at_us)
    return Outcome(request, decision, session, view.budgets, after, answer, bound_to, bound.rules_before, live)


def _view(
    rt: Runtime, reader: Reader, session: Session, budgets: tuple[Budget, ...], request: CallRequest, *, at_us: int
) -> GateView:
    waits = session.accounting_mode is AccountingMode.EXACT_REQUIRED and reader.has_open_exactness(session.session_id)
    local = None
    if not request.price.known and rt.local_model:
        price = rt.prices.known_price(rt.local_model, as_datetime(at_us), scope_of(rt, session), SERVED_HERE)
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
    message: str | None,
) -> GateAnswer:
    tightest, fullest = policy.tightest(after), policy.most_used(after)
    factor = shown_factor(request, rt.policy)
    return GateAnswer(
        action=decision.action,
        reason=decision.reason,
        message=message,
        remaining_nanos=None if tightest is None else in_usd(tightest.available_nanos, tightest),
        pressure=policy.pressure(fullest, rt.policy.pressure_percents),
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
    rt: Runtime,
    reader: Reader,
    request: CallRequest,
    decision: Decision,
    answer: GateAnswer,
    *,
    budgets: tuple[Budget, ...],
    at_us: int,
) -> GateAnswer:
    """The answer of a halt: what is spent on what, which budget binds, the command to go on."""
    exceeded = decision.reason is Reason.BUDGET_EXCEEDED and decision.binding is not None
    asked = 0 if decision.binding is None else needed(request).of(decision.binding)
    usual = usual_step(reader, request.session_id, decision.binding) if exceeded and decision.binding else 0
    paid = spent_on(reader, decision.binding, request.session_id, at_us, rt.place_of) if exceeded else None
    spent_by = () if paid is None else paid.by_model
    command = raise_command(decision.binding, asked, usual, rt.program) if exceeded and decision.binding else None
    doubt = in_doubt(rt, reader, request, budgets, at_us) if exceeded else None
    message = halt_message(
        decision,
        session_id=request.session_id,
        asked=asked,
        shares=spent_by,
        here=paid is not None and paid.in_session,
        model=request.model,
        because=()
        if command is None
        else tuple(filter(None, (corrected(request, rt.policy, decision.binding), doubt))),
        command=command or "",
        zone=rt.zone,
    )
    if request.actual_nanos is not None:
        message = f"The usage you reported was recorded in full. {message}"  # nothing follows the command
    return replace(
        answer,
        remaining_steps=None,
        message=message,
        binding=None if decision.binding is None else BindingBudget.of(decision.binding),
        spent_by=spent_by,
        command=command,
    )
