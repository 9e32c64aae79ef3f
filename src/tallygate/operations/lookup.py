"""Finding what an id names, or saying clearly that it names nothing."""

from __future__ import annotations

from tallygate.core.errors import NotFound, ensure
from tallygate.core.model import Budget, Session


def own_budget(session: Session, budgets: tuple[Budget, ...]) -> Budget:
    """The budget a session was opened with, among all that apply to it."""
    for budget in budgets:
        if budget.scope == "session" and budget.scope_key == session.session_id:
            return budget
    ensure(bool(budgets), f"session {session.session_id} has no budget")
    return budgets[0]


def unknown_session(session_id: str) -> NotFound:
    """The error for a session id that names nothing."""
    return NotFound(
        f"No session {session_id!r} is in the ledger.",
        hint="Call l6e_run_start and pass the session_id it returns.",
        code="unknown_session",
    )
