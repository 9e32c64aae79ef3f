"""Open a session with a chosen id, and book steps that were made without asking before."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial

from tallygate.core.costing import Tokens
from tallygate.core.errors import Conflict, InvalidArgument, present, session_ended, unknown_session
from tallygate.core.gate import policy
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.gate.policy import own_budget
from tallygate.core.gate.wording import nothing_left, standing_of
from tallygate.core.model import Amount, Budget, Call, CallRequest, Decision, Session
from tallygate.core.moments import as_datetime
from tallygate.core.money import exact_text
from tallygate.core.text import shown
from tallygate.core.usage import UNKNOWN_MODEL
from tallygate.core.words import Action, Pressure, Reason, SpendStatus
from tallygate.ledger.port import Tx
from tallygate.operations.account import start_within
from tallygate.operations.authorize import DUE_PER_CALL, call_id_of
from tallygate.operations.budgets.applicable import bound_now, currency_of
from tallygate.operations.budgets.calls import expire_calls
from tallygate.operations.budgets.figures import usual_step
from tallygate.operations.reserve import Decided, budgets_after, write_decision
from tallygate.operations.runtime import Runtime, kept_summary, named_before, opened_in, scope_called
from tallygate.operations.session import Opened, Opening
from tallygate.pricing.exchange import Rate

ID_MAX = 200
TOOL_NAME = "record_call"
LIVE = (
    "This session's client writes down what it uses, and that is what counts: the call was kept and books nothing, "
    "its cost is the price of the tokens you named."
)


@dataclass(frozen=True, slots=True)
class BudgetWanted:
    """A session as an agent asks for it; `limit` is in nano-units of the currency."""

    limit: int
    currency: str = "USD"
    session_id: str | None = None
    tenant: str | None = None
    description: str | None = None
    client: str = "unknown"
    also_client: str | None = None


@dataclass(frozen=True, slots=True)
class BudgetStarted:
    """The session, what its own budget's limit is now, and the rate that its costs are converted at."""

    session: Session
    limit: int
    exchange: str


def start_budget(
    rt: Runtime, wanted: BudgetWanted, tool_use_id: str | None = None, client_session: str | None = None
) -> BudgetStarted:
    """Open a session with an id of the caller's choice, or a fresh one.

    The same wish again finds the same session as it is by now; nothing is reset. Raises `Conflict` where the id is
    that of a session with other fields, naming the first, or of one that has ended.
    """
    if wanted.session_id is not None:
        _check_id(wanted.session_id)
    if wanted.tenant is not None:
        rt = opened_in(rt, wanted.tenant)
    rate = rt.exchange.rate(wanted.currency, as_datetime(rt.clock_us()))
    opened = None if wanted.session_id is None else _opened_before(rt, wanted.session_id)
    if opened is None:
        opening = Opening(
            limit_nanos=wanted.limit,
            model=UNKNOWN_MODEL,
            client=wanted.client,
            also_client=wanted.also_client,
            currency=wanted.currency,
            usd_nanos=rate.usd_per_unit_nanos,
            rate_day=None if wanted.currency == "USD" else rate.day.isoformat(),
            task_summary=wanted.description,
            session_id=wanted.session_id,
        )
        opened = start_within(rt, opening, tool_use_id, client_session)
    own = own_budget(opened.session, opened.budgets)
    if not opened.is_new:
        _same_or_conflict(rt, opened.session, own, wanted)
    return BudgetStarted(opened.session, own.limit_nanos, _kept_rate(opened.session, rate).text)


def _kept_rate(session: Session, today: Rate) -> Rate:
    """The rate that a session was opened with, which is that of today where it opens now."""
    day = today.day if session.rate_day is None else date.fromisoformat(session.rate_day)
    if (session.usd_nanos, day) == (today.usd_per_unit_nanos, today.day):
        return today
    return Rate(session.usd_nanos, day, "rate", session.currency)


def _check_id(session_id: str) -> None:
    """Refuse an id that is none, or could be taken for that of a budget of the settings, which has colons."""
    if 1 <= len(session_id) <= ID_MAX and session_id.isprintable() and ":" not in session_id:
        return
    raise InvalidArgument(
        "session_id",
        f"session_id {shown(session_id)} is none.",
        hint=f"It takes 1 to {ID_MAX} printable characters without a colon; left out, a fresh one is made.",
    )


def _opened_before(rt: Runtime, session_id: str) -> Opened | None:
    rt.ledger.prove(rt.tenant)  # a session that is found again is work that goes on
    with rt.ledger.reading(rt.tenant) as reader:
        found = named_before(rt, reader, session_id)
    return None if found is None else Opened(*found, (), None, is_new=False)


def _same_or_conflict(rt: Runtime, session: Session, own: Budget, wanted: BudgetWanted) -> None:
    limit = own.limit_nanos if own.rule_limit is None else own.rule_limit
    fields = (
        ("currency", session.currency, wanted.currency),
        ("budget", exact_text(limit), exact_text(wanted.limit)),
        ("description", session.task_summary, kept_summary(rt, wanted.description)),
    )
    for name, was, now in fields:
        if was != now:
            raise Conflict(
                f"Session {session.session_id!r} was opened with {name} {was!r}; now it came with {now!r}.",
                hint="It stays as it is, and only the user changes its budget. Use another session_id for other work.",
                code="session_conflict",
            )
    if not session.is_open:
        raise session_ended(session.session_id)


@dataclass(frozen=True, slots=True)
class CallReport:
    """A step that was made, with what it used."""

    session_id: str
    model: str
    tokens: Tokens
    note: str | None = None
    record_id: str | None = None
    client_key: str | None = None

    @property
    def key(self) -> str | None:
        """What makes the same report again the same one: the caller's own name for it, else the client's."""
        if self.record_id is not None:
            return f"record:{self.record_id}"
        return None if self.client_key is None else f"recorded:{self.client_key}"


@dataclass(frozen=True, slots=True)
class CallRecorded:
    """A step in the books; amounts are in nano-units of the currency that was asked for."""

    session_id: str
    cost: int
    spent: int
    remaining: int
    used: int
    limit: int
    status: SpendStatus
    warnings: tuple[str, ...]
    exchange: str | None = None

    @staticmethod
    def from_json(text: str) -> CallRecorded:
        found = json.loads(text)
        return CallRecorded(
            **{**found, "status": SpendStatus(found["status"]), "warnings": tuple(found["warnings"])},
        )


def record_call(rt: Runtime, report: CallReport, currency: str = "USD") -> CallRecorded:
    """Book a step that was made in full, also past every limit; the next question or look is refused then.

    The same report under the same id changes nothing and gets the same answer; other fields raise `Conflict`. In a
    session whose client's own record is read the call is kept and books nothing.
    """
    rt.catch_up()
    price = rt.prices.quote(report.model, as_datetime(rt.clock_us()), scope_called(rt, report.session_id))
    cost = price.cost_nanos(report.tokens)
    request = CallRequest(
        session_id=report.session_id,
        tool_name=TOOL_NAME,
        model=report.model,
        prompt_tokens=report.tokens.context,
        completion_tokens=report.tokens.output,
        price=price,
        raw_estimate_nanos=cost,
        estimate_nanos=cost,
        actual=report.tokens,
        actual_nanos=cost,
        client_key=report.key,
    )
    note = report.note if rt.keep_summaries else None
    with rt.ledger.writing(rt.tenant) as tx:
        call_id = call_id_of(rt, request)
        earlier = None if request.client_key is None else tx.call(call_id)
        if earlier is not None:
            return _replayed(earlier, request, note)
        answer, price_id = _book(rt, tx, _Booking(request, call_id, note, cost), currency)
    rt.known_prices.add(price_id)
    return answer


@dataclass(frozen=True, slots=True)
class _Booking:
    """One report about to be written."""

    request: CallRequest
    call_id: str
    note: str | None
    cost: int


def _book(rt: Runtime, tx: Tx, booking: _Booking, currency: str) -> tuple[CallRecorded, str]:
    request = booking.request
    if due := tx.due_calls(DUE_PER_CALL):
        expire_calls(tx, due, rt.policy, by=rt.by, place_of=rt.place_of, cause="time")
    found = tx.session_with_budgets(request.session_id)
    if found is None:
        raise unknown_session(request.session_id)
    session, own = found
    if not session.is_open:
        raise session_ended(session.session_id)
    bound = bound_now(rt, tx, session, own, request.model, at_us=tx.at_us)
    session = bound.session
    counted, only_asked = bound.parted(done=True)
    live = tx.is_live(session.session_id)
    if live:
        request = replace(request, actual_nanos=0, counts=False)
    decision = Decision(Action.ALLOW, Reason.ALLOW, binding=policy.tightest(bound.budgets))
    after = budgets_after(counted, request, decision)
    seen = bound.to.seen((*after, *only_asked))
    usual = partial(_usual, tx, booking)
    answer = _answer(rt, session, seen, booking.cost, currency, usual=usual, live=live, warning=request.price.warning)
    told = answer.status is not SpendStatus.OK and session.warned_us is None
    decided = Decided(
        request=request,
        decision=decision,
        session=session,
        after=after,
        call_id=booking.call_id,
        answer=GateAnswer(decision.action, decision.reason, None, Pressure.LOW, call_id=booking.call_id),
        bound_to=bound.to,
        rules_before=bound.rules_before,
        live=live,
        reply=json.dumps(asdict(answer), separators=(",", ":"), ensure_ascii=False),
        correlation=None if booking.note is None else json.dumps({"note": booking.note}, ensure_ascii=False),
        session_row={"warned_us": tx.at_us} if told else {},
    )
    return answer, write_decision(rt, tx, decided)


def _usual(tx: Tx, booking: _Booking, budget: Budget) -> int:
    """What a step of the session usually takes of a budget; of its first one that is known."""
    request = booking.request
    this = Amount(booking.cost, request.prompt_tokens + request.completion_tokens, 1)
    return usual_step(tx, request.session_id, budget) or this.of(budget)


def _answer(
    rt: Runtime,
    session: Session,
    after: tuple[Budget, ...],
    cost: int,
    currency: str,
    *,
    usual: Callable[[Budget], int],
    live: bool,
    warning: str | None,
) -> CallRecorded:
    spoken = currency_of(rt, session, currency)
    own = own_budget(session, after)
    tightest, fullest = policy.tightest(after) or own, policy.most_used(after) or own
    status = policy.status_of(after, rt.policy.warn_at_percent)
    warnings = []
    if status is SpendStatus.EXHAUSTED:
        empty = policy.tightest(policy.exhausted(after)) or own
        warnings.append(nothing_left(empty, usual(empty), rt.program, rt.zone))
    elif status is SpendStatus.WARNING and session.warned_us is None:
        warnings.append(f"{rt.policy.warn_at_percent} % used. {standing_of(fullest)}")
    if live:
        warnings.append(LIVE)
    if warning is not None:
        warnings.append(warning)
    return CallRecorded(
        session_id=session.session_id,
        cost=spoken.of_usd(cost),
        spent=spoken.of(own.spent_nanos, own),
        remaining=spoken.of(tightest.available_nanos, tightest),
        used=fullest.committed_nanos,
        limit=fullest.limit_nanos,
        status=status,
        warnings=tuple(warnings),
        exchange=spoken.basis,
    )


def _replayed(call: Call, request: CallRequest, note: str | None) -> CallRecorded:
    """The answer that this report got; another report under the same id is an error naming the field."""
    kept = json.loads(call.correlation or "{}").get("note")
    fields = (
        ("model", call.model_requested, request.model),
        ("input_tokens", call.prompt_tokens, request.prompt_tokens),
        ("output_tokens", call.completion_tokens, request.completion_tokens),
        ("note", kept, note),
    )
    for name, was, now in fields:
        if was != now:
            raise Conflict(
                f"This call was recorded with {name} {was!r}; now it came with {now!r}. The first stays.",
                hint="Use a new record_id for another call.",
                code="call_conflict",
            )
    return CallRecorded.from_json(present(call.reply, "a call with a client key keeps its reply"))
