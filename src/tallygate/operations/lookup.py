"""Finding what an id names, or saying clearly that it names nothing."""

from __future__ import annotations

from tallygate.core.errors import Conflict, NotFound, ensure
from tallygate.core.gate import policy
from tallygate.core.hooks import FOUND_BY_HOOK
from tallygate.core.model import Budget, Session
from tallygate.ledger.port import Reader
from tallygate.operations.binding import binding
from tallygate.operations.runtime import Runtime
from tallygate.operations.subject import bound_now

ANCESTORS_MAX = 32


def own_budget(session: Session, budgets: tuple[Budget, ...]) -> Budget:
    """The budget a session was opened with, among all that apply to it."""
    for budget in budgets:
        if budget.budget_id == session.session_id:
            return budget
    ensure(bool(budgets), f"session {session.session_id} has no budget")
    return budgets[0]


def drawn_on(reader: Reader, session: Session, budgets: tuple[Budget, ...]) -> Budget:
    """The budget a session lives on: its own, else that of the nearest session around it, else the tightest."""
    named = {budget.budget_id: budget for budget in budgets}
    around: Session | None = session
    for _ in range(ANCESTORS_MAX):
        if around is None or around.session_id in named:
            break
        around = None if around.parent_session_id is None else reader.session(around.parent_session_id)
    if around is not None and around.session_id in named:
        return named[around.session_id]
    return policy.tightest(budgets) or own_budget(session, budgets)


def all_budgets(reader: Reader, session: Session, at_us: int) -> tuple[Budget, ...]:
    """Every budget that binds a session at a time, by the model it was started with; for people to look at."""
    found = binding(reader, session, reader.budgets_of(session.session_id), session.model, at_us)
    return found.seen(found.budgets)


def budgets_now(
    rt: Runtime,
    reader: Reader,
    session: Session,
    at_us: int,
    *,
    own: tuple[Budget, ...] | None = None,
    model: str | None = None,
    here: bool = True,
) -> tuple[Budget, ...]:
    """Every budget that binds a session, as its next step will be held to them; of one that has ended, as they stand.

    `here` is where that step stands, and not who looks from anywhere.
    """
    own, model = reader.budgets_of(session.session_id) if own is None else own, model or session.model
    if session.is_open:
        return bound_now(rt, reader, session, own, model, at_us=at_us, here=here).budgets
    found = binding(reader, session, own, model, at_us, place_of=rt.place_of)
    return found.seen(found.budgets)


def usable(rt: Runtime) -> None:
    """Raise `LedgerUnavailable` before somebody is told what is left, where nothing that is spent could be recorded."""
    if rt.halt_on_fault:
        rt.ledger.prove(rt.tenant)


def unknown_session(session_id: str) -> NotFound:
    """The error for a session id that names nothing."""
    return NotFound(
        f"No session {session_id!r} is in the ledger.",
        hint="Call l6e_run_start or start_budget and pass the session_id it returns.",
        code="unknown_session",
    )


def named_before(rt: Runtime, reader: Reader, session_id: str) -> tuple[Session, tuple[Budget, ...]] | None:
    """The session that has an id which a caller chose, with its budgets.

    An id names one session of those that can be reached from the program's own tenant. What others have under it is
    not told, not even where its rows are among those of the tenant that the caller named.
    """
    home = rt.home or rt.tenant
    with rt.ledger.reading(home) as own:
        reached = own.reached_session(session_id)
    if reached is not None and reached != rt.tenant:
        raise Conflict(
            f"Session {session_id!r} was opened with tenant_id {reached!r}; now it came with {rt.tenant!r}.",
            hint="Use another session_id.",
            code="session_conflict",
        )
    found = reader.session_with_budgets(session_id)
    if found is not None and reached is None:
        raise Conflict(
            f"{session_id!r} cannot be the id of a session here.",
            hint="Use another session_id, or leave it out for a fresh one.",
            code="session_conflict",
        )
    return found


def session_ended(session_id: str) -> Conflict:
    """The error for a session that takes nothing more."""
    return Conflict(
        f"Session {session_id!r} has ended and takes no more calls.",
        hint="Open a session with a budget that the user gives.",
        code="session_ended",
    )


def is_enforced(reader: Reader, session: Session) -> bool:
    """Whether hooks of the client gate a session, or one that it lies inside; else only an agent's own asking does."""
    for _ in range(ANCESTORS_MAX):
        if FOUND_BY_HOOK in reader.links_found_by(session.session_id):
            return True
        parent = None if session.parent_session_id is None else reader.session(session.parent_session_id)
        if parent is None:
            return False
        session = parent
    return False
