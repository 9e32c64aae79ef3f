"""Whose budget a client's session spends: the session that was opened for it, one that opens now, or none any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tallygate.core.hooks import FOUND_BY_HOOK, HookEvent, Origin
from tallygate.core.model import Session
from tallygate.core.sessions import client_family
from tallygate.core.usage import UNKNOWN_MODEL
from tallygate.core.words import AccountingMode, BudgetMode
from tallygate.ledger.port import Change, Insert, Tx
from tallygate.operations.budgets.figures import is_enforced
from tallygate.operations.runtime import Runtime, prices_kept
from tallygate.operations.session import (
    Opened,
    Opening,
    end_session,
    new_session,
    new_session_id,
    opening_changes,
    own_new_budget,
    policy_budgets,
    start_session,
)
from tallygate.operations.usage.ingest import link_session
from tallygate.operations.worktrees import met_at_work

# Sessions open at one time; more are not looked through for the few that a server has.
OPEN_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class Account:
    """The session a client's session spends; `continues` names the one whose budget it goes on with."""

    session: Session
    opened: bool = False
    continues: str | None = None


def account_of(rt: Runtime, event: HookEvent) -> Account:
    """The open session of a client's session, opened from the policy where there is none.

    A client's session that is taken up again goes on with the budget it had: a new session spends it, so that
    neither ending nor resuming makes a budget fresh.
    """
    with rt.ledger.reading(rt.tenant) as reader:
        found = _innermost_open(reader.sessions_linked(event.client, event.client_session))
    if found is not None:
        return Account(found)
    with rt.ledger.writing(rt.tenant) as tx:
        linked = tx.sessions_linked(event.client, event.client_session)
        found = _innermost_open(linked)
        return Account(found) if found is not None else _opened(rt, tx, event, linked)


def open_session_of(rt: Runtime, client: str, client_session: str) -> Session | None:
    """The innermost open session of a client's session, if it has one."""
    with rt.ledger.reading(rt.tenant) as reader:
        return _innermost_open(reader.sessions_linked(client, client_session))


def start_within(
    rt: Runtime, opening: Opening, tool_use_id: str | None = None, client_session: str | None = None
) -> Opened:
    """Open a session that an agent asks for, inside the one that hooks opened for its client, if there is one.

    Whose agent it is comes from the hook that saw its tool call, from what the client says with the call, or from
    this server having opened one session only. The new session then spends the budget of both, and the client's
    responses count into it. What clients write down is counted among the program's own rows, so a session that lies
    elsewhere is not tied to them.
    """
    if rt.home is not None:
        return start_session(rt, opening)
    owner = _owner(rt, opening.client, tool_use_id, client_session)
    around = None if owner is None else open_session_of(rt, *owner)
    if around is not None and opening.parent_session_id is None:
        opening = replace(opening, parent_session_id=around.session_id)
    opened = start_session(rt, opening)
    if owner is not None:
        link_session(rt, *owner, opened.session.session_id)
    return opened


def _owner(rt: Runtime, client: str, tool_use_id: str | None, client_session: str | None) -> tuple[str, str] | None:
    if tool_use_id is not None and tool_use_id in rt.tool_owners:
        return rt.tool_owners[tool_use_id]
    if client_session is not None and client_family(client) == "codex":
        return ("codex", client_session)
    if rt.server_id is None:
        return None
    with rt.ledger.reading(rt.tenant) as reader:
        found: set[tuple[str, str]] = set()
        for session in reader.sessions(state="open", limit=OPEN_LOOKED_AT):
            if session.server_id == rt.server_id and FOUND_BY_HOOK in reader.links_found_by(session.session_id):
                found.update(reader.links_of(session.session_id))
    return found.pop() if len(found) == 1 else None


def end_account(rt: Runtime, event: HookEvent) -> list[str]:
    """End every open session of a client's session, those inside others first; returns their ids."""
    with rt.ledger.reading(rt.tenant) as reader:
        linked = [s for s in reader.sessions_linked(event.client, event.client_session) if s.is_open]
    cause = f"client_ended:{event.cause}" if event.cause else "client_ended"
    for session in reversed(linked):
        end_session(rt, session.session_id, cause=cause[:200])
    return [session.session_id for session in linked]


def left_open(rt: Runtime) -> list[Session]:
    """The sessions of this server that hooks have opened and nobody has ended, the youngest first."""
    if rt.server_id is None:
        return []
    with rt.ledger.reading(rt.tenant) as reader:
        mine = [s for s in reader.sessions(state="open", limit=OPEN_LOOKED_AT) if s.server_id == rt.server_id]
        return [s for s in mine if is_enforced(reader, s)]


def end_left_open(rt: Runtime) -> list[str]:
    """End the sessions of this server that hooks have opened: its client has gone; returns their ids."""
    left = left_open(rt)
    for session in left:  # the youngest first: those inside others
        end_session(rt, session.session_id, cause="client_gone")
    return [session.session_id for session in left]


def _innermost_open(linked: Sequence[Session]) -> Session | None:
    """The session that was opened last: it lies inside the others and spends their budgets too."""
    still_open = [session for session in linked if session.is_open]
    return still_open[-1] if still_open else None


def _opened(rt: Runtime, tx: Tx, event: HookEvent, linked: Sequence[Session]) -> Account:
    client = event.client.replace("_", "-")
    before = _outermost(linked)
    around = _around(tx, event) if before is None else None
    opening = Opening(
        limit_nanos=rt.session_limit_nanos,
        model=event.model or UNKNOWN_MODEL,
        client=client,
        parent_session_id=around.session_id if around else before.session_id if before else None,
        accounting_mode=AccountingMode.EXACT_OPTIONAL,
        ask_capable=True,
        plan_capable=True,
        agent_capable=True,
    )
    session = new_session(rt, opening, new_session_id(rt, client), tx.at_us, around or before)
    if before is None:
        own = own_new_budget(session, rt.session_limit_nanos, BudgetMode(rt.session_mode))
        mine = (own, *policy_budgets(rt, session, own))
        outer = () if around is None else tx.budgets_of(around.session_id)
        changes = opening_changes(session, mine, tuple(sorted((*mine, *outer), key=lambda b: b.budget_id)))
    else:
        changes = opening_changes(session, (), tx.budgets_of(before.session_id))
    begun = _seen_whole(rt, tx, event) and before is None and not tx.recent_usage(event.client, event.client_session, 1)
    link: Change = Insert("client_session", _link_row(event, session, begun=begun))
    kept = [*prices_kept(rt, tx), *met_at_work(rt, tx)]
    tx.append("session.started", [*kept, *changes, link], by=rt.by, note={"hook": event.name})
    return Account(session, opened=True, continues=None if before is None else before.session_id)


def _around(tx: Tx, event: HookEvent) -> Session | None:
    """The session of the client that this one was started in, by an agent in a shell: it spends that one's budgets."""
    if not event.inside:
        return None
    found = [s for s in tx.sessions(state="open", limit=OPEN_LOOKED_AT) if s.server_id in event.inside]
    return next((session for session in found if is_enforced(tx, session)), None)


def _seen_whole(rt: Runtime, tx: Tx, event: HookEvent) -> bool:
    """Whether all that a client's session wrote is read as its session opens; kept of its files, for what comes later.

    One that is taken up again in a file which is not there yet may begin it with a copy of what was before.
    """
    transcript = None if event.transcript is None else Path(event.transcript)
    paths = rt.read_whole(event.client, transcript, event.client_session)
    goes_on = event.origin in (Origin.RESUME, Origin.FORK, Origin.COMPACT)
    if paths is None or (goes_on and any(tx.position(path) is None for path in paths)):
        return False
    for path in paths:
        tx.save_whole(path, event.client)
    return not goes_on


def _link_row(event: HookEvent, session: Session, *, begun: bool) -> dict[str, str | int | None]:
    row: dict[str, str | int | None] = {
        "client": event.client,
        "client_session": event.client_session,
        "session_id": session.session_id,
        "found_by": FOUND_BY_HOOK,
    }
    return {**row, "begun": 1} if begun else row


def _outermost(linked: Sequence[Session]) -> Session | None:
    """The first session that a client's session spent; what came later lay inside it or went on with its budget."""
    return linked[0] if linked else None
