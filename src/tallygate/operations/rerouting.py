"""Which model a step may be moved to: what the ladder's models cost in the state the session's cache is in."""

from __future__ import annotations

from tallygate.core.costing import SERVED_HERE
from tallygate.core.errors import present
from tallygate.core.gate.policy import Candidate, best_target
from tallygate.core.model import CallRequest, Decision, RerouteTarget, Session, in_usd
from tallygate.core.moments import as_datetime
from tallygate.core.words import Action
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime, scope_of

CALLS_LOOKED_AT = 24


def target_of(
    rt: Runtime, reader: Reader, session: Session, request: CallRequest, decision: Decision
) -> tuple[RerouteTarget | None, str | None]:
    """The cheapest model of the user's ladder for which switching pays with what is left, or None and why."""
    at = as_datetime(rt.clock_us())
    ladder = rt.ladder(session.client)
    if not ladder:
        return None, "No [ladder] of cheaper models is set, so none is named."
    candidates = []
    for model in ladder:
        price = rt.prices.known_price(model, at, scope_of(rt, session), SERVED_HERE)  # the user names it
        if price is not None:
            candidates.append(Candidate(model, price))
    budget = present(decision.binding, "budget pressure has a budget")
    warm = _is_warm(reader, request)
    context = max(request.prompt_tokens, _context(reader, session) if warm else 0)
    target = best_target(
        Candidate(request.model, request.price),
        candidates,
        context_tokens=context,
        output_tokens=request.completion_tokens,
        left_nanos=in_usd(budget.available_nanos, budget),
        warm=warm,
    )
    if target is not None:
        return target, None
    state = f"{context:,} tokens of context would be read anew" if warm else f"{context:,} tokens of context"
    return None, f"No model of the ladder pays with what is left: {state}."


def _is_warm(reader: Reader, request: CallRequest) -> bool:
    """Whether whoever asks has been let through before: what it has read is in the cache of its model."""
    calls = reader.recent_calls(request.session_id, 2**62, CALLS_LOOKED_AT)
    asks = (request.actor.type, request.actor.id)
    return any((call.actor_type, call.actor_id) == asks and call.action is not Action.HALT for call in calls)


def _context(reader: Reader, session: Session) -> int:
    """What the session's last response has read, where its client's own record tells."""
    sizes = [0]
    for client, client_session in reader.links_of(session.session_id):
        sizes += [stored.row.tokens.context for stored in reader.recent_usage(client, client_session, 1)]
    return max(sizes)
