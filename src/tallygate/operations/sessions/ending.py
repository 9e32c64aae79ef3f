"""End a session with its run-log line: by its agent, its client, the user, or since nobody works in it any more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import RunLogError, unknown_session
from tallygate.core.gate.lifecycle import ANOMALIES_MAX
from tallygate.core.gate.policy import own_budget
from tallygate.core.hooks import FOUND_BY_HOOK, HookEvent
from tallygate.core.model import SHOWN_MAX, Session
from tallygate.core.moments import is_ahead
from tallygate.core.sessions import SessionTotals
from tallygate.core.words import SessionState
from tallygate.ledger.port import QueuedLine, Reader, Update, Value
from tallygate.operations.budgets.applicable import all_budgets
from tallygate.operations.budgets.calls import expire_calls
from tallygate.operations.budgets.figures import SessionFigures, figures_of, is_enforced, used_model
from tallygate.operations.lock_book import note_loosened
from tallygate.operations.runtime import Runtime, kept_summary
from tallygate.operations.sessions.opening import OPEN_LOOKED_AT
from tallygate.reports.run_line import LINE_NOTE, RunLine, fingerprint, run_line, told_in_line

PENDING_MAX = 1_000_000


def end_session(
    rt: Runtime, session_id: str, *, task_summary: str | None = None, cause: str = "run_end"
) -> SessionTotals:
    """End a session: close its pending calls, commit, then write its run-log line.

    The ledger is committed first and keeps the line until the log took it, so an unwritable log never blocks the
    end and never loses the line. Ending an ended session changes nothing and answers the same.
    """
    rt.follower.catch_up()
    with rt.writing() as tx:
        session = tx.session(session_id)
        if session is None:
            raise unknown_session(session_id)
        if not session.is_open:
            return figures_of(tx, session).totals
        expire_calls(
            tx,
            tx.pending_calls(session_id, PENDING_MAX),
            rt.workspace.policy,
            by=rt.by,
            place_of=rt.workspace.place_of,
            cause="session_end",
        )
        columns: dict[str, Value] = {
            "session_id": session_id,
            "state": SessionState.ENDED.value,
            "ended_us": tx.at_us,
            "end_cause": cause,
            "end_summary": kept_summary(rt, task_summary),
        }
        # As the event leaves it: the event keeps what the line says, and the line names the event.
        ended = replace(
            session,
            state=SessionState.ENDED,
            ended_us=tx.at_us,
            end_cause=cause,
            end_summary=kept_summary(rt, task_summary),
        )
        figures = figures_of(tx, ended)
        told = line_told(tx, ended, figures, tx.at_us)
        note = {LINE_NOTE: fingerprint(told)}
        head = tx.append("session.ended", [Update("session", columns)], by=rt.by, note=note)
        line = run_line(told, head, rt.services.ledger.ledger_id)
        tx.queue_line(QueuedLine(session_id, ended.run_log or str(rt.workspace.run_log_path), line))
    flush_run_log(rt)
    return figures.totals


def line_told(reader: Reader, session: Session, figures: SessionFigures, at_us: int) -> dict[str, Any]:
    """What a line says of a session as it stands."""
    budgets = all_budgets(reader, session, at_us)
    return told_in_line(
        RunLine(
            session,
            budgets,
            figures.calls,
            figures.totals,
            reader.prices(),
            figures.observed,
            is_enforced(reader, session),
            used_model(reader, session),
            reader.limit_changes([each.budget_id for each in budgets], SHOWN_MAX),
            reader.call_anomalies(ANOMALIES_MAX, session.session_id),
        )
    )


def line_now(rt: Runtime, reader: Reader, session: Session) -> dict[str, Any]:
    """What the run log says of a session, or would if it ended now."""
    return line_told(reader, session, figures_of(reader, session), session.ended_us or rt.services.clock_us())


def end_by_user(
    rt: Runtime, session_id: str, *, authority: Authority, task_summary: str | None = None
) -> SessionTotals:
    """End a session whose client still works: what that does next is counted in one that begins anew."""
    authority.require(Loosening.SESSIONS_END)
    note_loosened(rt, authority, Loosening.SESSIONS_END, session_id)
    return end_session(rt, session_id, task_summary=task_summary, cause="user")


def flush_run_log(rt: Runtime) -> list[str]:
    """Write queued run-log lines; returns what failed, one text each. What fails stays queued for the next time."""
    with rt.reading() as reader:
        waiting = reader.queued_lines(LINES_AT_ONCE)
    failures = []
    for queued in waiting:
        with rt.writing() as tx:
            if not tx.is_queued(queued.session_id):
                continue  # another process wrote it while this one waited for the lock
            try:
                path = Path(queued.path)
                if not rt.services.run_log.holds(path, queued.line):
                    rt.services.run_log.append(path, queued.line)
            except (RunLogError, OSError) as error:
                failures.append(f"{queued.path}: {error}")
                tx.line_failed(queued.session_id, str(error))
            else:
                tx.line_written(queued.session_id)
    return failures


def end_account(rt: Runtime, event: HookEvent) -> list[str]:
    """End every open session of a client's session, those inside others first; returns their ids."""
    with rt.reading() as reader:
        linked = [s for s in reader.sessions_linked(event.client, event.client_session) if s.is_open]
    cause = f"client_ended:{event.cause}" if event.cause else "client_ended"
    for session in reversed(linked):
        end_session(rt, session.session_id, cause=cause[:200])
    return [session.session_id for session in linked]


def sessions_left_open(rt: Runtime) -> list[Session]:
    """The sessions of this server that hooks have opened and nobody has ended, the youngest first."""
    if rt.server_id is None:
        return []
    with rt.reading() as reader:
        mine = [s for s in reader.sessions(state="open", limit=OPEN_LOOKED_AT) if s.server_id == rt.server_id]
        return [s for s in mine if is_enforced(reader, s)]


def end_left_open(rt: Runtime) -> list[str]:
    """End the sessions of this server that hooks have opened: its client has gone; returns their ids."""
    left = sessions_left_open(rt)
    for session in left:  # the youngest first: those inside others
        end_session(rt, session.session_id, cause="client_gone")
    return [session.session_id for session in left]


# --- sessions that nobody works in -----------------------------------------------------------------------------------
# Close what nobody will come back for: reservations past their time, sessions whose server is gone.


LINES_AT_ONCE = 100
LOOK_AT_MAX = 1000


def close_abandoned(rt: Runtime) -> list[str]:
    """End and log the open sessions that nobody works in any more; returns their ids.

    Those are sessions whose server is gone: at once where hooks had opened them, since a client that still lives
    goes on with the same budget at its next hook, else after they have been idle for long.
    """
    left, now_us = [], rt.services.clock_us()
    with rt.reading() as reader:
        for session in reader.sessions(state="open", limit=LOOK_AT_MAX):
            # Every call touches its session's own budget, so that row tells when the session was last active.
            touched_us = own_budget(session, reader.budgets_of(session.session_id)).touched_us
            is_idle = touched_us + rt.workspace.abandon_after_us <= now_us or is_ahead(touched_us, now_us)
            of_server = session.server_id is not None
            if is_idle or (of_server and FOUND_BY_HOOK in reader.links_found_by(session.session_id)):
                left.append(session)
    closed = []
    for session in left:
        if session.server_id is not None and rt.services.presence.is_alive(session.server_id):
            continue
        end_session(rt, session.session_id, cause="abandoned")
        closed.append(session.session_id)
    return closed
