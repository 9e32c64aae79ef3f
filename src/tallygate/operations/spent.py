"""Look at what a session has spent, before its next step and as a whole. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tallygate.core.costing import Tokens
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.gate import lifecycle, policy
from tallygate.core.gate.policy import own_budget
from tallygate.core.gate.wording import raise_command
from tallygate.core.model import Budget, Call, GateView, Session
from tallygate.core.words import AccountingMode, Action, CheckReason, SpendStatus
from tallygate.ledger.port import StoredUsage
from tallygate.operations.asked import fault_answer
from tallygate.operations.budgets.applicable import currency_of, session_with_standing, usable
from tallygate.operations.budgets.figures import usual_step
from tallygate.operations.runtime import Runtime


@dataclass(frozen=True, slots=True)
class BudgetChecked:
    """What a look before a step finds; `remaining` is in nano-units of the currency that was asked for.

    `binding` and `command` are there where the step is refused for a budget, and where that has nothing left,
    `exhausted_us`: when a budget last changed. `message` says why where the ledger cannot be used: then nothing is
    known.
    """

    allowed: bool
    reason: CheckReason
    remaining: int | None
    used: int
    limit: int
    currency: str
    binding: Budget | None = None
    command: str | None = None
    exchange: str | None = None
    exhausted_us: int | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ModelShare:
    """What one model's calls of a session used; `cost` as in the summary."""

    model: str
    calls: int
    tokens: Tokens
    cost: int


@dataclass(frozen=True, slots=True)
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


def look_before(rt: Runtime, session_id: str, estimate: int, currency: str) -> BudgetChecked:
    """What an agent is told that looks before its step; a ledger that cannot be used refuses, as it halts the gate."""
    try:
        return check_budget(rt, session_id, estimate, currency)
    except LedgerUnavailable as fault:
        answer = fault_answer(fault, halts=rt.halt_on_fault)
        allowed = answer.action is not Action.HALT
        return BudgetChecked(allowed, CheckReason(answer.reason.value), None, 0, 0, currency, message=answer.message)


def check_budget(rt: Runtime, session_id: str, estimate: int = 0, currency: str | None = None) -> BudgetChecked:
    """Whether a session's next step may be made, as a pure read: every budget that applies must carry it.

    `estimate` is in nano-units of `currency`, which is the session's own where none is named. Raises
    `LedgerUnavailable` where a step could not be recorded, however well the ledger can be read.
    """
    rt.catch_up()
    rt.ledger.prove(rt.tenant)
    with rt.ledger.reading(rt.tenant) as reader:
        session, budgets = session_with_standing(rt, reader, session_id)
        waits = session.accounting_mode is AccountingMode.EXACT_REQUIRED and reader.has_open_exactness(session_id)
    spoken = currency_of(rt, session, currency or session.currency)
    verdict = policy.judge(
        GateView(session, budgets, has_open_exactness=waits), lambda budget: spoken.needed_of(estimate, budget)
    )
    own = own_budget(session, budgets)
    tightest, fullest = policy.tightest(budgets) or own, policy.most_used(budgets) or own
    refusing = verdict.binding if verdict.reason in _FOR_A_BUDGET else None
    command = None
    if refusing is not None:
        with rt.ledger.reading(rt.tenant) as reader:
            usual = usual_step(reader, session_id, refusing)
        command = raise_command(refusing, spoken.needed_of(estimate, refusing), usual, rt.program)
    nothing_left = verdict.reason is CheckReason.BUDGET_EXHAUSTED and not verdict.allowed
    return BudgetChecked(
        allowed=verdict.allowed,
        reason=verdict.reason,
        remaining=spoken.of(tightest.available_nanos, tightest),
        used=fullest.committed_nanos,
        limit=fullest.limit_nanos,
        currency=spoken.unit,
        binding=refusing,
        command=command,
        exchange=spoken.basis,
        exhausted_us=max(budget.touched_us for budget in budgets) if nothing_left else None,
    )


_FOR_A_BUDGET = (CheckReason.BUDGET_EXHAUSTED, CheckReason.ESTIMATED_OVERAGE)


def summary(rt: Runtime, session_id: str, currency: str | None = None) -> SpendSummary:
    """What a session has spent on which models: its client's own record where that is read, else its calls."""
    rt.catch_up()
    usable(rt)
    with rt.ledger.reading(rt.tenant) as reader:
        session, budgets = session_with_standing(rt, reader, session_id)
        observed = reader.usage_of(session_id)
        calls = [call for call in reader.calls_of(session_id) if lifecycle.counts(call)]
    spoken = currency_of(rt, session, currency or session.currency)
    own = own_budget(session, budgets)
    tightest = policy.tightest(budgets) or own
    shares = _shares(observed, calls)
    return SpendSummary(
        session=session,
        limit=spoken.of(own.limit_nanos, own),
        spent=spoken.of(own.spent_nanos, own),
        reserved=spoken.of(own.reserved_nanos, own),
        remaining=spoken.of(tightest.available_nanos, tightest),
        tokens=sum((share.tokens for share in shares), Tokens()),
        calls=sum(share.calls for share in shares),
        models=tuple(replace(share, cost=spoken.of_usd(share.cost)) for share in shares),
        exhausted=policy.status_of(budgets, rt.policy.warn_at_percent) is SpendStatus.EXHAUSTED,
        at_us=rt.clock_us(),
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
