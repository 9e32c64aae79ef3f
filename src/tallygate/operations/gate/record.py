"""What was used: a step that was made without asking, actual usage of one that was asked for, a call that is void."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, field

from tallygate.core.costing import Price, Tokens
from tallygate.core.errors import Conflict, NotFound, present, same_or_conflict, session_ended
from tallygate.core.gate import lifecycle, policy
from tallygate.core.gate.answers import UsageAnswer
from tallygate.core.gate.lifecycle import ReportAnomaly as Odd
from tallygate.core.gate.lifecycle import odd_in, voids_are_many
from tallygate.core.gate.policy import own_budget
from tallygate.core.gate.wording import nothing_left, standing_of
from tallygate.core.learning.calibration import CostOrigin
from tallygate.core.model import NOTHING, Amount, Call, CallRequest, Decision, GateView, in_usd
from tallygate.core.moments import as_datetime
from tallygate.core.values import value
from tallygate.core.words import Action, CallState, Reason, SpendStatus
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, Reader, Tx, Value
from tallygate.operations.budgets.applicable import budgets_now, currency_of
from tallygate.operations.budgets.calls import resolve_call, void
from tallygate.operations.budgets.figures import usual_step
from tallygate.operations.gate.pipeline import Door, GateOutcome, take_step
from tallygate.operations.learning.estimates import sample_of
from tallygate.operations.lock_book import program_now
from tallygate.operations.runtime import Runtime, basis_changes, scope_called
from tallygate.pricing.identifiers import identify

# --- record ----------------------------------------------------------------------------------------------------------
# Put what a call really used in the place of its estimate, or release what it did not use.


# A model of which none of these costs anything is free.
_ONE_OF_EACH = Tokens(1, 1, 1, 1, 1)


@value(frozen=True, slots=True)
class UsageReport:
    """What a caller says one call used; classes are disjoint, `correlation` is kept as it came."""

    call_id: str
    tokens: Tokens
    model_used: str | None = None
    correlation: Mapping[str, str] = field(default_factory=dict)


def record_usage(rt: Runtime, report: UsageReport) -> UsageAnswer:
    """Book the actual cost of a call in full, also past its reservation, its expiry or its session's end.

    Where the session's transcript is read, the report is kept and books nothing: the responses already count.

    The same report again changes nothing and gets the same answer; other values raise `Conflict` with both.
    """
    with rt.reading() as reader:
        known = _let_through(reader.call(report.call_id), report.call_id)
        scope = scope_called(rt, known.session_id)
    model = report.model_used or known.model_used or known.model_requested
    price = rt.workspace.prices.quote(model, as_datetime(known.at_us), scope)
    cost = price.cost_nanos(report.tokens)

    with rt.writing() as tx:
        call = _let_through(tx.call(report.call_id), report.call_id)
        if call.cost_basis == "transcript" and call.actual is None:
            return _answer(rt, tx, call.call_id)  # its responses are counted; the report would count them twice
        if call.state is CallState.RECONCILED:
            _same_usage(call, report)
            return _answer(rt, tx, call.call_id)
        metered = tx.is_metered(call.session_id)
        price_id, prices = basis_changes(tx, price, rt.known_prices())
        changes: list[Change] = [*prices]
        if not metered:  # no record of the client's tells of it: the report is taken at its word, and may be odd
            changes += sample_of(tx, call, cost, CostOrigin.REPORTED)
            is_local = _is_local(model, price) and not _is_local(call.model_requested)
            changes += [_anomaly(tx, call, kind, told) for kind, told in odd_in(call, model, cost, is_local=is_local)]
        columns: dict[str, Value] = {
            "model_used": model,
            "actual_price_id": price_id,
            **rows.token_columns(report.tokens),
        }
        if report.correlation:
            columns["correlation"] = json.dumps(dict(report.correlation), sort_keys=True, ensure_ascii=False)
        resolve_call(
            tx,
            call,
            place_of=rt.workspace.place_of,
            kind="usage.recorded" if call.state is CallState.PENDING else "usage.recorded_late",
            by=rt.by,
            state=CallState.RECONCILED,
            cost=NOTHING if metered else Amount(cost, report.tokens.total, 1),
            cost_basis="transcript" if metered else "actual",
            columns=columns,
            extra=changes,
        )
        answer = _answer(rt, tx, call.call_id)
    rt.known_prices().add(price_id)
    return answer


def _is_local(model: str, price: Price | None = None) -> bool:
    """Whether a model is said to run on this machine, or costs nothing."""
    return identify(model).local or (price is not None and not price.cost_nanos(_ONE_OF_EACH))


def _anomaly(tx: Tx, call: Call, kind: Odd, told: str) -> Change:
    row: dict[str, Value] = {"session_id": call.session_id, "call_id": call.call_id, "kind": kind.value}
    return Insert("call_anomaly", {**row, "told": told, "seen_us": tx.at_us})


def void_call(rt: Runtime, call_id: str, reason: str) -> UsageAnswer:
    """Release the reservation of a call that did not happen; the reason stays in the ledger."""
    with rt.writing() as tx:
        call = _let_through(tx.call(call_id), call_id)
        if call.state is CallState.VOIDED:
            return _answer(rt, tx, call_id)
        if call.state is not CallState.PENDING:
            raise Conflict(
                f"Call {call_id} is {call.state.value}; only a pending call can be voided.",
                hint="If it used tokens, report them with l6e_record_usage without void_reason.",
                code="call_resolved",
            )
        in_a_row = tx.voids_in_a_row(call.session_id, call.call_id) + 1
        said = f"{in_a_row} calls in a row did not happen"
        odd = [_anomaly(tx, call, Odd.VOIDS, said)] if voids_are_many(in_a_row) else []
        void(tx, call, reason, by=rt.by, place_of=rt.workspace.place_of, extra=odd)
        return _answer(rt, tx, call_id)


def _let_through(call: Call | None, call_id: str) -> Call:
    if call is None:
        raise NotFound(
            f"No call {call_id!r} is in the ledger.",
            hint="Pass the call_id that l6e_authorize_call returned.",
            code="unknown_call",
        )
    if call.state is CallState.DENIED:
        raise Conflict(
            f"Call {call_id} was halted, so it has no reservation to reconcile.",
            hint="If the step was made all the same, report it: l6e_authorize_call with actual_prompt_tokens "
            "and actual_completion_tokens.",
            code="call_denied",
        )
    return call


def _same_usage(call: Call, report: UsageReport) -> None:
    same_model = report.model_used is None or report.model_used == call.model_used
    if call.actual == report.tokens and same_model:
        return
    raise Conflict(
        f"Call {call.call_id} already has usage {_shown(call.actual, call.model_used)}; "
        f"now {_shown(report.tokens, report.model_used or call.model_used)} came. The first stays.",
        hint="Usage of another step belongs to that step's own call_id.",
        code="usage_conflict",
    )


def _shown(tokens: Tokens | None, model: str | None) -> str:
    if tokens is None:
        return "nothing"
    cache = ""
    if tokens.cache_read or tokens.cache_write_5m or tokens.cache_write_1h:
        cache = f" + {tokens.cache_read} cache read + {tokens.cache_write_5m + tokens.cache_write_1h} cache write"
    return f"{tokens.fresh_input} prompt{cache} + {tokens.output} completion ({model})"


def _answer(rt: Runtime, tx: Reader, call_id: str) -> UsageAnswer:
    call = present(tx.call(call_id), f"call {call_id} is in the ledger")
    session, static = present(tx.session_with_budgets(call.session_id), f"session {call.session_id} is in the ledger")
    budgets = budgets_now(
        rt, tx, session, rt.services.clock_us(), own=static, model=call.model_used or call.model_requested
    )
    own = own_budget(session, budgets)
    tightest = policy.tightest(budgets) or own
    return UsageAnswer(
        call_id=call_id,
        session_id=session.session_id,
        status=call.state.value,
        exactness=lifecycle.of_call(call, session.accounting_mode).value,
        basis=lifecycle.basis_of_call(call),
        spend_nanos=in_usd(own.committed, own),
        remaining_nanos=in_usd(tightest.available, tightest),
        pressure=policy.pressure(policy.most_used(budgets), rt.workspace.policy.pressure_percents),
        cost_nanos=call.booked_nanos,
    )


ID_MAX = 200
TOOL_NAME = "record_call"
LIVE = (
    "This session's client writes down what it uses, and that is what counts: the call was kept and books nothing, "
    "its cost is the price of the tokens you named."
)


@value(frozen=True, slots=True)
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


@value(frozen=True, slots=True)
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
    rt.follower.catch_up()
    price = rt.workspace.prices.quote(
        report.model, as_datetime(rt.services.clock_us()), scope_called(rt, report.session_id)
    )
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
    note = report.note if rt.workspace.keep_summaries else None
    door = Door(
        request,
        stored=lambda _, call: _replayed(call, request, note),
        decide=_booked,
        word=lambda tx, outcome, _: _recorded(rt, tx, outcome, cost, currency),
        kept=lambda answer: json.dumps(asdict(answer), separators=(",", ":"), ensure_ascii=False),
        session_row=_warned,
        correlation=None if note is None else json.dumps({"note": note}, ensure_ascii=False),
    )
    return take_step(rt, door)


def _booked(view: GateView, _: CallRequest) -> Decision:
    """A step that was made is booked in any case; a session that has ended takes none."""
    if not view.session.is_open:
        raise session_ended(view.session.session_id)
    return Decision(Action.ALLOW, Reason.ALLOW, decided_by=policy.tightest(view.budgets))


def _warned(outcome: GateOutcome, answer: CallRecorded) -> dict[str, Value]:
    """A session keeps when it was first told that its budget is nearly used."""
    is_first = answer.status is not SpendStatus.OK and outcome.session.warned_us is None
    return {"warned_us": outcome.at_us} if is_first else {}


def _recorded(rt: Runtime, tx: Tx, outcome: GateOutcome, cost: int, currency: str) -> CallRecorded:
    """What is left after the step; a warning of its budget is said once, that nothing is left each time."""
    session, after = outcome.session, outcome.left
    spoken = currency_of(rt, session, currency)
    own = own_budget(session, after)
    tightest, fullest = policy.tightest(after) or own, policy.most_used(after) or own
    status = policy.status_of(after, rt.workspace.policy.warn_at_percent)
    warnings = []
    if status is SpendStatus.EXHAUSTED:
        empty = policy.tightest(policy.exhausted(after)) or own
        usual = usual_step(tx, session.session_id, empty)
        if not usual:  # its first step, which is the only one that is known
            request = outcome.request
            usual = Amount(cost, request.prompt_tokens + request.completion_tokens, 1).of(empty)
        warnings.append(nothing_left(empty, usual, program_now(rt, tx), rt.workspace.zone))
    elif status is SpendStatus.WARNING and session.warned_us is None:
        warnings.append(f"{rt.workspace.policy.warn_at_percent} % used. {standing_of(fullest)}")
    if outcome.metered:
        warnings.append(LIVE)
    if outcome.request.price.warning is not None:
        warnings.append(outcome.request.price.warning)
    return CallRecorded(
        session_id=session.session_id,
        cost=spoken.of_usd(cost),
        spent=spoken.of(own.spent, own),
        remaining=spoken.of(tightest.available, tightest),
        used=tightest.committed,
        limit=tightest.limit,
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
    same_or_conflict(
        fields,
        "This call was recorded",
        then=" The first stays.",
        hint="Use a new record_id for another call.",
        code="call_conflict",
    )
    return CallRecorded.from_json(present(call.reply, "a call with a client key keeps its reply"))
