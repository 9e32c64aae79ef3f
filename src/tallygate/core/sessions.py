"""Whose session and call a response was, a session in figures, and which refusal a run was stopped by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from tallygate.core.costing import Tokens
from tallygate.core.gate import lifecycle
from tallygate.core.model import Call, Session
from tallygate.core.sums import Observed
from tallygate.core.usage import ObservedUsage, Quality
from tallygate.core.values import value
from tallygate.core.words import Action, ActorType, CallState, Exactness, Reason, UsageBasis

# --- attribution -----------------------------------------------------------------------------------------------------
# Which observed response belongs to which budget session, and to which call of it.


def session_for(
    *,
    client: str,
    project: str | None,
    at_us: int,
    sessions: Sequence[Session],
    family_of: Callable[[str], str | None],
) -> Session | None:
    """The budget session a response was made in, by workspace and time; None where more than one could be meant.

    Of a session and its descendants that are open together the innermost counts: it spends its ancestors'
    budgets too. Two unrelated sessions in one workspace at one time cannot be told apart without a hook. `family_of`
    tells the client behind any of its names.
    """
    family = family_of(client)
    fitting = [
        session
        for session in sessions
        if session.started_us <= at_us
        and (session.ended_us is None or at_us <= session.ended_us)
        and _inside(project, session.project)
        and family_of(session.client) in (None, family)
    ]
    if not fitting:
        return None
    parents = {session.parent_session_id for session in fitting}
    innermost = [session for session in fitting if session.session_id not in parents]
    return innermost[0] if len(innermost) == 1 else None


def _inside(folder: str | None, project: str | None) -> bool:
    if folder is None or project is None:
        return False
    return folder == project or folder.startswith(project.rstrip("/\\") + "/")


def call_for(*, agent_id: str | None, at_us: int, calls: Sequence[Call]) -> Call | None:
    """The call a response was made for: the last one its actor had asked about by then.

    A subagent's response belongs to its own calls, then to those of subagents without an id, and where no
    subagent asked, to the step of the main agent that sent it. `calls` are those of the session in any order.
    """
    before = [call for call in calls if call.at_us <= at_us and call.action is not Action.HALT]
    if agent_id is None:
        return _last([call for call in before if call.actor_type is ActorType.PARENT_AGENT])
    subagents = [call for call in before if call.actor_type is ActorType.SUBAGENT]
    own = [call for call in subagents if call.actor_id == agent_id]
    nameless = [call for call in subagents if call.actor_id is None]
    main = [call for call in before if call.actor_type is ActorType.PARENT_AGENT]
    return _last(own) or _last(nameless) or _last(main)


def _last(calls: Sequence[Call]) -> Call | None:
    return max(calls, key=attrgetter("at_us", "call_id"), default=None)


def closed_by(current: Call, pending: Sequence[Call]) -> list[Call]:
    """The pending calls whose use is complete, since their actor has gone on to another call."""
    return [
        call
        for call in pending
        if call.at_us < current.at_us and (call.actor_type, call.actor_id) == (current.actor_type, current.actor_id)
    ]


# --- totals ---------------------------------------------------------------------------------------------------------
# Clients that write down no responses, and only what a session has used so far.


def grown(total: ObservedUsage, counted: Iterable[ObservedUsage]) -> ObservedUsage | None:
    """What a session has used since the last total of it that counts, as a response of its own; None where nothing.

    The key says which total it reaches. So the same one, an older one, and one that is read again after the positions
    of all files were lost, add nothing, by whomever they are read. The first stands for all that was before.
    """
    reached = [0] * 5
    # How far the totals before reached stands in the keys of their rows, and nowhere else: so it survives the loss of
    # all positions, and a key of another kind is passed over.
    for row in counted:
        counts = row.response_key.rpartition("/")[2].split(".")
        if len(counts) == len(reached) and all(map(str.isdecimal, counts)):
            reached = [max(pair) for pair in zip(reached, map(int, counts), strict=True)]
    tokens = total.tokens
    now = (tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h, tokens.output)
    # Class by class and never below zero: a total that is smaller than one before it is an older one.
    more = Tokens(*(max(count - before, 0) for count, before in zip(now, reached, strict=True)))
    if not more.total:
        return None
    is_first = not any(reached)
    return replace(
        total,
        response_key=f"{total.response_key}/{'.'.join(str(max(pair)) for pair in zip(now, reached, strict=True))}",
        tokens=more,
        quality=Quality.SESSION_TOTAL if is_first else Quality.FINAL,
        reasoning=total.reasoning if is_first else 0,
    )


# --- stopped ---------------------------------------------------------------------------------------------------------
# Which refusal a run was stopped by: the last one of an agent that was let go on with nothing since.


def stopped_by(calls: Iterable[Call], since_us: int = -1) -> Call | None:
    """The refusal that stopped a run, of its calls in their order; None where every agent was let go on.

    The main agent's comes before that of a subagent, which is also stopped where its main agent went on with less. What
    was refused up to `since_us`, when a limit was raised, stops nothing any more.
    """
    last: dict[str | None, Call] = {}
    for call in calls:
        # A subagent that is about to start has no id yet: its main agent is refused the tool.
        last[call.actor_id if call.actor_type is ActorType.SUBAGENT else None] = call
    refused = [call for call in last.values() if call.state is CallState.DENIED and call.at_us > since_us]
    mine = [call for call in refused if call is last.get(None)]
    return max(mine or refused, key=lambda call: call.at_us, default=None)


def over_limit(calls: Iterable[Call]) -> list[Call]:
    """The calls that were let through although nothing was left for them: of limits that only warn."""
    return [call for call in calls if is_over_limit(call)]


def is_over_limit(call: Call) -> bool:
    """Whether one call was."""
    if call.action is Action.HALT:
        return False
    if call.reason is Reason.SOFT_BUDGET_EXCEEDED:
        return True
    # What was left with it, as it was answered, tells also where it was near a limit before.
    return call.reason is Reason.BUDGET_PRESSURE and call.reply is not None and '"remaining_nanos":-' in call.reply


@value(frozen=True, slots=True)
class SessionTotals:
    """A session in figures, when it ends and whenever it is looked at.

    `exactness` is in l6e's own states, which know no difference between what was observed and what an agent reported
    of itself; `stated` is the same for somebody who relies on it, and `basis` says who told.
    """

    session_id: str
    total_nanos: int
    calls_made: int
    halts: int
    confidence: str
    pending_exact_calls: int
    exactness: str
    last_reconciled_us: int | None
    coverage: dict[str, bool]
    uncovered_modes: list[str]
    basis: UsageBasis
    nanos_by_basis: Mapping[UsageBasis, int]
    stated: str


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
