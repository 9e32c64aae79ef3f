"""What only the user may do to a budget: raise or set its limit. No tool of an agent leads here."""

from __future__ import annotations

from tallygate.core import lifecycle
from tallygate.core.errors import InvalidArgument, NotFound
from tallygate.core.model import Budget
from tallygate.core.money import AMOUNT_NANOS_MAX, format_amount
from tallygate.ledger.port import Update, Value
from tallygate.operations.runtime import Runtime


def raise_budget(rt: Runtime, budget_id: str, amount_nanos: int, *, reason: str, actor: str) -> Budget:
    """Add an amount to a limit, so that halted work goes on with its history; returns the new budget."""
    return _change(rt, budget_id, None, amount_nanos, reason=reason, actor=actor)


def set_budget(rt: Runtime, budget_id: str, limit_nanos: int, *, reason: str, actor: str) -> Budget:
    """Give a budget another limit; under what is committed it names the difference as overage."""
    return _change(rt, budget_id, limit_nanos, 0, reason=reason, actor=actor)


def _change(
    rt: Runtime, budget_id: str, limit_nanos: int | None, added_nanos: int, *, reason: str, actor: str
) -> Budget:
    with rt.ledger.writing(rt.tenant) as tx:
        budget = tx.budget(budget_id)
        if budget is None:
            raise NotFound(
                f"No budget {budget_id!r} is in the ledger.",
                hint="`tallygate budget list` shows the budgets; a session's budget has the session's id.",
                code="unknown_budget",
            )
        wanted = budget.limit_nanos + added_nanos if limit_nanos is None else limit_nanos
        if wanted > AMOUNT_NANOS_MAX:
            raise InvalidArgument("amount", f"A limit of {format_amount(wanted, budget.unit)} is above 1,000,000.")
        changed = lifecycle.change_limit(budget, wanted)
        row: dict[str, Value] = {
            "budget_id": budget_id,
            "limit_nanos": changed.limit_nanos,
            "overage_nanos": changed.overage_nanos,
            "touched_us": tx.at_us,
        }
        note: dict[str, Value] = {"actor": actor, "reason": reason, "limit_before_nanos": budget.limit_nanos}
        tx.append("budget.limit_changed", [Update("budget", row)], by=rt.by, note=note)
    return changed
