"""A session's summary: what it has spent, on which models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tallygate.core.costing import Tokens
from tallygate.core.gate import lifecycle, policy
from tallygate.core.gate.policy import own_budget
from tallygate.core.model import Call, Session
from tallygate.core.values import value
from tallygate.core.words import SpendStatus
from tallygate.ledger.port import StoredUsage
from tallygate.operations.budgets.applicable import currency_of, session_with_standing, usable
from tallygate.operations.runtime import Runtime


@value(frozen=True, slots=True)
class ModelShare:
    """What one model's calls of a session used; `cost` as in the summary."""

    model: str
    calls: int
    tokens: Tokens
    cost: int


@value(frozen=True, slots=True)
class SpendSummary:
    """A session in figures; amounts are in nano-units of the currency that was asked for."""

    session: Session
    limit: int
    spent: int
    reserved: int
    remaining: int
    tokens: Tokens
    calls: int
    models: tuple[ModelShare, ...]
    exhausted: bool
    at_us: int
    exchange: str | None = None


def summary(rt: Runtime, session_id: str, currency: str | None = None) -> SpendSummary:
    """What a session has spent on which models: its client's own record where that is read, else its calls."""
    rt.follower.catch_up()
    usable(rt)
    with rt.reading() as reader:
        session, budgets = session_with_standing(rt, reader, session_id)
        observed = reader.usage_of(session_id)
        calls = [call for call in reader.calls_of(session_id) if lifecycle.counts(call)]
    spoken = currency_of(rt, session, currency or session.currency)
    own = own_budget(session, budgets)
    tightest = policy.tightest(budgets) or own
    shares = _shares(observed, calls)
    return SpendSummary(
        session=session,
        limit=spoken.of(own.limit, own),
        spent=spoken.of(own.spent, own),
        reserved=spoken.of(own.reserved, own),
        remaining=spoken.of(tightest.available, tightest),
        tokens=sum((share.tokens for share in shares), Tokens()),
        calls=sum(share.calls for share in shares),
        models=tuple(replace(share, cost=spoken.of_usd(share.cost)) for share in shares),
        exhausted=policy.status_of(budgets, rt.workspace.policy.warn_at_percent) is SpendStatus.EXHAUSTED,
        at_us=rt.services.clock_us(),
        exchange=spoken.basis,
    )


def _shares(observed: Iterable[StoredUsage], calls: Iterable[Call]) -> list[ModelShare]:
    """By model, dearest first, in nano-dollars. Where responses are there, calls that they count for add nothing."""
    shares: dict[str, ModelShare] = {}

    def add(model: str, tokens: Tokens, cost: int) -> None:
        known = shares.get(model) or ModelShare(model, 0, Tokens(), 0)
        shares[model] = ModelShare(model, known.calls + 1, known.tokens + tokens, known.cost + cost)

    for each in observed:
        add(each.row.model, each.row.tokens, each.cost_nanos)
    for call in calls:
        if call.cost_basis in ("actual", "estimate"):
            add(call.model_used or call.model_requested, call.actual or Tokens(), call.booked_nanos)
    return sorted(shares.values(), key=lambda share: (-share.cost, share.model))
