"""Open a session with its budget, end it with its run-log line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tallygate.core import exactness
from tallygate.core.answers import Observed, SessionTotals
from tallygate.core.errors import NotFound, RunLogError
from tallygate.core.model import Budget, Call, ModeCoverage, Session
from tallygate.core.moments import as_datetime
from tallygate.core.words import (
    AccountingMode,
    Action,
    BudgetMode,
    CallState,
    Exactness,
    SessionState,
    UnknownPrice,
    UsageChannel,
)
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, QueuedLine, Reader, Tx, Update, Value
from tallygate.operations.lookup import unknown_session
from tallygate.operations.resolve import expire_calls
from tallygate.operations.runtime import Runtime
from tallygate.reports.run_line import RunLine, run_line

SUMMARY_MAX = 200
PENDING_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session is opened with; `coverage` entries that are None take the channel's default."""

    limit_nanos: int
    model: str
    client: str = "unknown"
    currency: str = "USD"
    task_summary: str | None = None
    parent_session_id: str | None = None
    accounting_mode: AccountingMode = AccountingMode.ESTIMATE_ONLY
    usage_channel: UsageChannel = UsageChannel.NONE
    ask_capable: bool | None = None
    plan_capable: bool | None = None
    agent_capable: bool | None = None
    unknown_price: UnknownPrice = UnknownPrice.WARN_ONLY


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session, with what there is to say about it at once."""

    session: Session
    budgets: tuple[Budget, ...]
    tighter: tuple[Budget, ...]
    pricing_warning: str | None


def start_session(rt: Runtime, opening: Opening) -> Opened:
    """Open a session: its own budget, and those of its ancestors, which its calls also spend."""
    rt.catch_up()
    at = as_datetime(rt.clock_us())
    price = rt.prices.quote(opening.model, at)
    session_id = f"session_{client_slug(opening.client)}_{at:%Y-%m-%d}_{rt.new_token(12)}"
    with rt.ledger.writing(rt.tenant) as tx:
        inherited = _ancestors(tx, opening.parent_session_id)
        session = _session(rt, opening, session_id, tx.at_us)
        own = Budget(
            tenant=rt.tenant,
            budget_id=session_id,
            scope="session",
            scope_key=session_id,
            unit=opening.currency,
            mode=BudgetMode(rt.default_mode),
            limit_nanos=opening.limit_nanos,
            touched_us=tx.at_us,
        )
        budgets = tuple(sorted((own, *inherited), key=lambda b: b.budget_id))
        changes: list[Change] = [
            Insert("session", {k: v for k, v in rows.from_session(session).items() if v is not None}),
            Insert("budget", {k: v for k, v in rows.from_budget(own).items() if v is not None}),
            *(Insert("session_budget", {"session_id": session_id, "budget_id": b.budget_id}) for b in budgets),
        ]
        tx.append("session.started", changes, by=rt.by)
    rt.session_models[session_id] = session.model
    tighter = tuple(b for b in inherited if b.mode is BudgetMode.HARD and b.available_nanos < own.limit_nanos)
    return Opened(session, budgets, tighter, price.warning)


def client_slug(client: str) -> str:
    """The client's name as it may stand in a session id."""
    slug = re.sub(r"[^a-z0-9.-]+", "-", client.lower()).strip("-.")[:40]
    return slug or "unknown"


def _ancestors(tx: Tx, parent_session_id: str | None) -> tuple[Budget, ...]:
    if parent_session_id is None:
        return ()
    found = tx.session_with_budgets(parent_session_id)
    if found is None:
        raise NotFound(
            f"No session {parent_session_id!r} is in the ledger, so it cannot be a parent.",
            hint="Pass the session_id of the parent's l6e_run_start, or leave parent_session_id out.",
            code="unknown_parent",
        )
    return found[1]


def _session(rt: Runtime, opening: Opening, session_id: str, at_us: int) -> Session:
    default = ModeCoverage.default(opening.accounting_mode, opening.usage_channel)
    given = (opening.ask_capable, opening.plan_capable, opening.agent_capable)
    ask, plan, agent = (
        chosen if chosen is not None else fallback
        for chosen, fallback in zip(given, (default.ask, default.plan, default.agent), strict=True)
    )
    return Session(
        tenant=rt.tenant,
        session_id=session_id,
        client=opening.client,
        model=opening.model,
        state=SessionState.OPEN,
        accounting_mode=opening.accounting_mode,
        usage_channel=opening.usage_channel,
        coverage=ModeCoverage(ask=ask, plan=plan, agent=agent),
        unknown_price=opening.unknown_price,
        currency=opening.currency,
        started_us=at_us,
        parent_session_id=opening.parent_session_id,
        task_summary=_kept(rt, opening.task_summary),
        project=rt.project,
        run_log=str(rt.run_log_path),
        server_id=rt.server_id,
    )


def _kept(rt: Runtime, summary: str | None) -> str | None:
    if summary is None or not rt.keep_summaries:
        return None
    return summary[:SUMMARY_MAX]


def end_session(
    rt: Runtime, session_id: str, *, task_summary: str | None = None, cause: str = "run_end"
) -> SessionTotals:
    """End a session: close its pending calls, commit, then write its run-log line.

    The ledger is committed first and keeps the line until the log took it, so an unwritable log never blocks the
    end and never loses the line. Ending an ended session changes nothing and answers the same.
    """
    rt.catch_up()
    with rt.ledger.writing(rt.tenant) as tx:
        session = tx.session(session_id)
        if session is None:
            raise unknown_session(session_id)
        if not session.is_open:
            return totals_of(session, list(tx.calls_of(session_id)), tx.observed(session_id))
        expire_calls(tx, tx.pending_calls(session_id, PENDING_MAX), rt.policy, by=rt.by, cause="session_end")
        columns: dict[str, Value] = {
            "session_id": session_id,
            "state": SessionState.ENDED.value,
            "ended_us": tx.at_us,
            "end_cause": cause,
            "end_summary": _kept(rt, task_summary),
        }
        head = tx.append("session.ended", [Update("session", columns)], by=rt.by)
        ended = tx.session(session_id) or session
        calls = list(tx.calls_of(session_id))
        observed = tx.observed(session_id)
        totals = totals_of(ended, calls, observed)
        line = run_line(
            RunLine(ended, tx.budgets_of(session_id), calls, totals, tx.prices(), observed, head, rt.ledger.ledger_id)
        )
        tx.queue_line(QueuedLine(session_id, ended.run_log or str(rt.run_log_path), line))
    flush_run_log(rt)
    return totals


def flush_run_log(rt: Runtime, limit: int = 100) -> list[str]:
    """Write queued run-log lines; returns what failed, one text each. What fails stays queued for the next time."""
    with rt.ledger.reading(rt.tenant) as reader:
        waiting = reader.queued_lines(limit)
    failures = []
    for queued in waiting:
        with rt.ledger.writing(rt.tenant) as tx:
            if not tx.is_queued(queued.session_id):
                continue  # another process wrote it while this one waited for the lock
            try:
                path = Path(queued.path)
                if not rt.run_log.holds(path, queued.session_id):
                    rt.run_log.append(path, queued.line)
            except (RunLogError, OSError) as error:
                failures.append(f"{queued.path}: {error}")
                tx.line_failed(queued.session_id, str(error))
            else:
                tx.line_written(queued.session_id)
    return failures


def totals_of(session: Session, calls: list[Call], observed: Observed) -> SessionTotals:
    """A session in figures, from its calls and from the responses its client wrote down."""
    made = [call for call in calls if exactness.counts(call)]
    states = [exactness.of_call(call, session.accounting_mode) for call in made]
    if observed:
        states.append(Exactness.EXACT_RECORDED)  # what a client wrote down is exact, also outside of calls
    state = exactness.of_session(states)
    reconciled = [call.resolved_us for call in made if call.state is CallState.RECONCILED and call.resolved_us]
    coverage = session.coverage
    return SessionTotals(
        session_id=session.session_id,
        total_nanos=total_nanos(made, observed),
        calls_made=len(made),
        halts=sum(call.action is Action.HALT for call in calls),
        confidence=exactness.confidence(state),
        pending_exact_calls=states.count(Exactness.EXACT_PENDING),
        exactness=state.value,
        last_reconciled_us=max(reconciled, default=None),
        coverage={
            "ask_mode_exact_capable": coverage.ask,
            "plan_mode_exact_capable": coverage.plan,
            "agent_mode_exact_capable": coverage.agent,
        },
        uncovered_modes=exactness.uncovered_modes(session),
    )


def total_nanos(made: list[Call], observed: Observed) -> int:
    """What a session cost: its responses where there are any, and then no estimate of a call that still runs."""
    booked = sum(call.booked_nanos if observed else call.counted_nanos for call in made)
    return booked + sum(part.nanos for part in observed.values())


def look_at(reader: Reader, session_id: str) -> tuple[Session, tuple[Budget, ...], list[Call]]:
    """A session with its budgets and calls, for lists and reports."""
    found = reader.session_with_budgets(session_id)
    if found is None:
        raise unknown_session(session_id)
    return found[0], found[1], list(reader.calls_of(session_id))
