"""Close what nobody will come back for: reservations past their time, sessions whose server is gone."""

from __future__ import annotations

from tallygate.core.gate.policy import own_budget
from tallygate.core.hooks import FOUND_BY_HOOK
from tallygate.core.model import Session
from tallygate.core.moments import is_ahead
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime
from tallygate.operations.session import end_session

LOOK_AT_MAX = 1000


def close_abandoned(rt: Runtime) -> list[str]:
    """End and log the open sessions that nobody works in any more; returns their ids.

    Those are sessions whose server is gone: at once where hooks had opened them, since a client that still lives
    goes on with the same budget at its next hook, else after they have been idle for long.
    """
    with rt.ledger.reading(rt.tenant) as reader:
        found = reader.sessions(state="open", limit=LOOK_AT_MAX)
        left = [s for s in found if _is_idle(rt, reader, s) or _has_lost_its_server(reader, s)]
    closed = []
    for session in left:
        if session.server_id is not None and rt.presence.is_alive(session.server_id):
            continue
        end_session(rt, session.session_id, cause="abandoned")
        closed.append(session.session_id)
    return closed


def _has_lost_its_server(reader: Reader, session: Session) -> bool:
    """Whether hooks opened a session in a server; the caller asks whether that one is alive."""
    return session.server_id is not None and FOUND_BY_HOOK in reader.links_found_by(session.session_id)


def _is_idle(rt: Runtime, reader: Reader, session: Session) -> bool:
    """Every call touches its session's own budget, so that row tells when the session was last active."""
    own = own_budget(session, reader.budgets_of(session.session_id))
    now_us = rt.clock_us()
    return own.touched_us + rt.abandon_after_us <= now_us or is_ahead(own.touched_us, now_us)
