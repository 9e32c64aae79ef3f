"""A session in figures: what it cost, who told so, and how exact that is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tallygate.core.gate import lifecycle
from tallygate.core.gate.answers import Observed, SessionTotals
from tallygate.core.model import Call, Session
from tallygate.core.moments import microseconds
from tallygate.core.words import Action, CallState, Exactness, UsageBasis
from tallygate.ledger.port import Reader


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """What a session's totals are made of, and the totals."""

    calls: list[Call]
    observed: Observed
    totals: SessionTotals


def figures_of(reader: Reader, session: Session) -> SessionFigures:
    """A session in figures, as of one moment."""
    calls, observed = list(reader.calls_of(session.session_id)), reader.observed(session.session_id)
    return SessionFigures(
        calls, observed, totals_of(session, calls, observed, is_whole=_is_whole(reader, session, calls))
    )


def totals_of(session: Session, calls: list[Call], observed: Observed, *, is_whole: bool = True) -> SessionTotals:
    """A session in figures, from its calls and from the responses its client wrote down.

    It is not `is_whole` where its client had a response that is in no record.
    """
    made = [call for call in calls if lifecycle.counts(call)]
    states = [lifecycle.of_call(call, session.accounting_mode) for call in made]
    if observed:
        states.append(Exactness.EXACT_RECORDED)  # what a client wrote down is exact, also outside of calls
    if any(call.is_unanswered and call.call_id not in observed for call in calls):
        is_whole = False  # what they cost is not known, so the total is not exact
    if any(part.partial or part.broken for part in observed.values()):
        is_whole = False
    if not is_whole:
        states.append(Exactness.ESTIMATE_ONLY)
    state = lifecycle.of_session(states)
    reconciled = [call.resolved_us for call in made if call.state is CallState.RECONCILED and call.resolved_us]
    coverage = session.coverage
    nanos = _by_basis(made, observed)
    basis = lifecycle.basis_of_session(nanos)
    return SessionTotals(
        session_id=session.session_id,
        total_nanos=sum(nanos.values()),
        calls_made=len(made),
        halts=sum(call.action is Action.HALT for call in calls),
        confidence=lifecycle.confidence(state, basis),
        pending_exact_calls=states.count(Exactness.EXACT_PENDING),
        exactness=state.value,
        last_reconciled_us=max(reconciled, default=None),
        coverage={
            "ask_mode_exact_capable": coverage.ask,
            "plan_mode_exact_capable": coverage.plan,
            "agent_mode_exact_capable": coverage.agent,
        },
        uncovered_modes=lifecycle.uncovered_modes(session),
        basis=basis,
        nanos_by_basis=nanos,
        stated=lifecycle.stated(state, basis).value,
    )


def _by_basis(made: list[Call], observed: Observed) -> dict[UsageBasis, int]:
    """What a session cost, by who told it; where there are responses, no estimate of a call that still runs."""
    found = Counter[UsageBasis]()
    for call in made:
        is_observed = call.call_id in observed
        nanos = call.booked_nanos if observed else call.counted_nanos
        if nanos or not observed or is_observed:
            found[lifecycle.basis_of_call(call, is_observed=is_observed)] += nanos
    if observed:
        found[UsageBasis.OBSERVED] += sum(part.nanos for part in observed.values())
    return dict(found)


def _is_whole(reader: Reader, session: Session, calls: list[Call]) -> bool:
    """Whether nothing says that a client had a response which is in no record.

    Its own total of the session may be more than what was seen of it. And some clients ask their model again when a
    tool is refused: where they were killed meanwhile, nobody wrote down what came of it.
    """
    for each in reader.session_checks(session.session_id):
        is_later = each.last_us > each.read_us or bool(each.check.includes)
        if not is_later and each.check.total > sum(tokens.total for tokens in each.seen.values()):
            return False
    refused_us = lifecycle.asked_after_refusal_us(session.client, calls)
    if refused_us is None:
        return True
    return any(microseconds(each.row.at) > refused_us for each in reader.usage_of(session.session_id))
