"""Ask the user to raise a budget: what they are shown, and the raise once they have said yes."""

from __future__ import annotations

from dataclasses import dataclass

from tallygate.core.authority import Authority, Door, Loosening, locked
from tallygate.core.errors import Conflict, present
from tallygate.core.gate import policy
from tallygate.core.gate.wording import budget_name, raise_by, short_name, standing_of
from tallygate.core.model import Budget, Session
from tallygate.core.money import COUNTED, format_amount, to_unit_nanos
from tallygate.core.words import BudgetMode
from tallygate.ledger.port import Reader
from tallygate.operations.budget import raise_budget
from tallygate.operations.lock_book import standing_now
from tallygate.operations.lookup import session_ended, unknown_session
from tallygate.operations.runtime import Runtime
from tallygate.operations.subject import bound_now

# The user answers a form of the client; whether the client may ask is the entry point's to know.
ASKED = Authority(Door.ELICITATION, "user via elicitation")


@dataclass(frozen=True, slots=True)
class Request:
    """A raise that an agent asks for: the budget as it stands, what the user reads, the command that does the same."""

    session: Session
    budget: Budget
    question: str
    command: str


def request_of(rt: Runtime, session_id: str, usd_nanos: int, reason: str) -> Request:
    """What to ask the user. The budget is the tightest hard one of money that binds the session now."""
    rt.catch_up()
    rt.ledger.prove(rt.tenant)  # what the user grants has to be written down
    with rt.ledger.reading(rt.tenant) as reader:
        session, budgets = _money_budgets(rt, reader, session_id)
    budget = _asked_for(budgets)
    added = to_unit_nanos(usd_nanos, budget.usd_nanos)
    if standing_now(rt).lock is not None:
        hint = f"In a terminal of your own: {raise_by(budget, added, rt.program)}"
        raise locked(Loosening.BUDGET_RAISE, "which is typed in a terminal and nowhere else.", hint=hint)
    amount = format_amount(usd_nanos)
    if budget.unit != "USD":
        amount += f" ({format_amount(added, budget.unit)})"
    after = format_amount(budget.limit_nanos + added, budget.unit)
    question = (
        f"An agent asks for {amount} more.\n{standing_of(budget)} With that its limit is {after}.\n"
        f"Session: {short_name(session.session_id)}, client {session.client}.\nThe agent's reason: {reason}"
    )
    return Request(session, budget, question, raise_by(budget, added, rt.program))


def grant(
    rt: Runtime, session_id: str, seen: tuple[str, int], usd_nanos: int, reason: str, *, authority: Authority = ASKED
) -> Budget:
    """Raise the budget that the user was shown, by what they said; `seen` is its id and the limit it had.

    Raises `Conflict` where its limit is another by now, or it binds the session no more.
    """
    budget_id, limit = seen
    with rt.ledger.reading(rt.tenant) as reader:
        _, budgets = _money_budgets(rt, reader, session_id)
        budget = next((b for b in budgets if b.name == budget_id and b.limit_nanos == limit), None)
    if budget is None:
        raise Conflict(
            f"Budget {budget_id!r} has changed since the user was shown it. It stays as it is.",
            hint="See what is left now; ask again if that is not enough.",
            code="budget_changed",
        )
    added = to_unit_nanos(usd_nanos, budget.usd_nanos)
    return raise_budget(rt, budget_id, added, reason=reason, authority=authority, seen=budget)


def granted(limit_before: int, after: Budget) -> str:
    """What to tell the agent of a budget that was raised."""
    added, limit = (format_amount(n, after.unit) for n in (after.limit_nanos - limit_before, after.limit_nanos))
    return f"The user raised the budget of {budget_name(after)} by {added}; its limit is {limit} now."


def _money_budgets(rt: Runtime, reader: Reader, session_id: str) -> tuple[Session, list[Budget]]:
    found = reader.session_with_budgets(session_id)
    if found is None:
        raise unknown_session(session_id)
    if not found[0].is_open:
        raise session_ended(session_id)
    bound = bound_now(rt, reader, *found, found[0].model, at_us=rt.clock_us())
    return bound.session, [budget for budget in bound.budgets if budget.unit not in COUNTED]


def _asked_for(budgets: list[Budget]) -> Budget:
    """The budget that stops the session first; where none stops anything, the tightest."""
    hard = [budget for budget in budgets if budget.mode is BudgetMode.HARD]
    return present(policy.tightest(hard or budgets), "a session has a budget of money")
