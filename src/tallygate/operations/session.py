"""Open a session with its budget, end it with its run-log line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import NotFound, RunLogError, unknown_session
from tallygate.core.gate.answers import SessionTotals
from tallygate.core.gate.rules import Scope
from tallygate.core.model import SHOWN_MAX, Budget, ModeCoverage, Session, in_usd
from tallygate.core.moments import as_datetime
from tallygate.core.money import COUNTED, NANOS_PER_UNIT
from tallygate.core.reports import ANOMALIES_MAX
from tallygate.core.words import AccountingMode, BudgetMode, SessionState, UnknownPrice, UsageChannel
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, QueuedLine, Tx, Update, Value
from tallygate.operations.budgets.applicable import all_budgets, bound_now, rules_for
from tallygate.operations.budgets.calls import expire_calls
from tallygate.operations.budgets.figures import figures_of, is_enforced, used_model
from tallygate.operations.lock_book import note_loosened
from tallygate.operations.runtime import Runtime, kept_summary, named_before, prices_kept, remember, scope_here
from tallygate.operations.worktrees import met_at_work
from tallygate.reports.run_line import LINE_NOTE, RunLine, fingerprint, run_line, told_in_line

PENDING_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session is opened with; what is None takes its default: the channel's coverage, a fresh id."""

    limit_nanos: int
    model: str
    client: str = "unknown"
    currency: str = "USD"
    usd_nanos: int = NANOS_PER_UNIT
    rate_day: str | None = None
    task_summary: str | None = None
    parent_session_id: str | None = None
    accounting_mode: AccountingMode = AccountingMode.ESTIMATE_ONLY
    usage_channel: UsageChannel = UsageChannel.NONE
    ask_capable: bool | None = None
    plan_capable: bool | None = None
    agent_capable: bool | None = None
    unknown_price: UnknownPrice = UnknownPrice.WARN_ONLY
    session_id: str | None = None
    also_client: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session, with what there is to say about it at once, or the one that has the chosen id already."""

    session: Session
    budgets: tuple[Budget, ...]
    tighter: tuple[Budget, ...]
    pricing_warning: str | None
    is_new: bool = True


def start_session(rt: Runtime, opening: Opening) -> Opened:
    """Open a session: its own budget, and those of its ancestors, which its calls also spend.

    A session that has the chosen id already is given back as it is: the caller says what that means.
    """
    rt.catch_up()
    at = as_datetime(rt.clock_us())
    session_id = opening.session_id or new_session_id(rt, opening.client)
    price = rt.prices.quote(opening.model, at, replace(scope_here(rt), session=session_id))
    with rt.ledger.writing(rt.tenant) as tx:
        before = None if opening.session_id is None else named_before(rt, tx, session_id)
        if before is not None:
            return Opened(*before, (), None, is_new=False)
        parent, inherited = _parent(tx, opening.parent_session_id)
        session = new_session(rt, opening, session_id, tx.at_us, parent)
        own = own_new_budget(session, opening.limit_nanos, BudgetMode(rt.default_mode))
        mine = (own, *policy_budgets(rt, session, own))
        budgets = tuple(sorted((*mine, *inherited), key=lambda b: b.budget_id))
        kept = [*prices_kept(rt, tx), *met_at_work(rt, tx)]
        tx.append("session.started", [*kept, *opening_changes(session, mine, budgets)], by=rt.by)
        every = bound_now(rt, tx, session, budgets, session.model, at_us=tx.at_us).budgets
    remember(rt, session)
    tighter = tuple(b for b in every if b is not own and b.mode is BudgetMode.HARD and _is_tighter(b, own))
    return Opened(session, every, tighter, price.warning)


def _is_tighter(other: Budget, own: Budget) -> bool:
    """Whether another budget leaves less than a session was opened with; of one that is counted nobody can tell."""
    if other.unit in COUNTED or own.unit in COUNTED:
        return True
    return in_usd(other.available_nanos, other) < in_usd(own.limit_nanos, own)


def new_session_id(rt: Runtime, client: str) -> str:
    """A fresh session id that tells the client and the day."""
    return f"session_{client_slug(client)}_{as_datetime(rt.clock_us()):%Y-%m-%d}_{rt.new_token(12)}"


def own_new_budget(session: Session, limit_nanos: int, mode: BudgetMode) -> Budget:
    """The budget a session is opened with."""
    return Budget(
        tenant=session.tenant,
        budget_id=session.session_id,
        scope="session",
        scope_key=session.session_id,
        unit=session.currency,
        mode=mode,
        limit_nanos=limit_nanos,
        touched_us=session.started_us,
        usd_nanos=session.usd_nanos,
        rate_day=session.rate_day,
        rule_limit=limit_nanos,
    )


def policy_budgets(rt: Runtime, session: Session, own: Budget) -> list[Budget]:
    """The budgets that the settings give every session beside its own: in other units, or tighter than it asks for."""
    found = []
    for rule in rt.rules:
        if rule.scope is not Scope.SESSION:
            continue
        # A warning at less stands for no stop: a soft budget of its own leaves a higher hard one in force.
        stops = rule.mode is BudgetMode.HARD and own.mode is BudgetMode.SOFT
        if rule.unit == own.unit and rule.limit >= own.limit_nanos and not stops:
            continue
        name = f"{session.session_id}:{rule.unit}" + (":soft" if rule.mode is BudgetMode.SOFT else "")
        found.append(
            replace(
                own,
                budget_id=name,
                unit=rule.unit,
                mode=rule.mode,
                limit_nanos=rule.limit,
                usd_nanos=rule.usd_nanos,
                rate_day=rule.rate_day,
                rule_limit=None,
            )
        )
    return list({budget.budget_id: budget for budget in found}.values())


def opening_changes(session: Session, new: Sequence[Budget], budgets: tuple[Budget, ...]) -> list[Change]:
    """What opening a session writes: its row, its new budgets, and every budget of sessions that it spends."""
    changes: list[Change] = [Insert("session", {k: v for k, v in rows.from_session(session).items() if v is not None})]
    changes += [Insert("budget", {k: v for k, v in rows.from_budget(b).items() if v is not None}) for b in new]
    for budget in budgets:
        row: dict[str, Value] = {"session_id": session.session_id, "budget_id": budget.budget_id}
        changes.append(Insert("session_budget", row))
    return changes


def client_slug(client: str) -> str:
    """The client's name as it may stand in a session id."""
    slug = re.sub(r"[^a-z0-9.-]+", "-", client.lower()).strip("-.")[:40]
    return slug or "unknown"


def _parent(tx: Tx, parent_session_id: str | None) -> tuple[Session | None, tuple[Budget, ...]]:
    """A session's parent with the budgets of it and its ancestors."""
    if parent_session_id is None:
        return None, ()
    found = tx.session_with_budgets(parent_session_id)
    if found is None:
        raise NotFound(
            f"No session {parent_session_id!r} is in the ledger, so it cannot be a parent.",
            hint="Pass the session_id of the parent's l6e_run_start, or leave parent_session_id out.",
            code="unknown_parent",
        )
    return found


def new_session(rt: Runtime, opening: Opening, session_id: str, at_us: int, parent: Session | None = None) -> Session:
    """An open session as it is asked for."""
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
        task_summary=kept_summary(rt, opening.task_summary),
        project=rt.project,
        run_log=str(rt.run_log_path),
        server_id=rt.server_id,
        usd_nanos=opening.usd_nanos,
        rate_day=opening.rate_day,
        opened_from=rt.home,
        also_client=opening.also_client,
        prices=rt.prices.list_id if parent is None or parent.prices is None else parent.prices,
        rules=rules_for(
            rt,
            client=opening.client,
            also_client=opening.also_client,
            place=rt.place_of(rt.project or rt.folder),
            inherited=None if parent is None else parent.rules,
        ),
    )


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
            return figures_of(tx, session).totals
        expire_calls(
            tx,
            tx.pending_calls(session_id, PENDING_MAX),
            rt.policy,
            by=rt.by,
            place_of=rt.place_of,
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
        budgets = all_budgets(tx, ended, tx.at_us)
        told = told_in_line(
            RunLine(
                ended,
                budgets,
                figures.calls,
                figures.totals,
                tx.prices(),
                figures.observed,
                is_enforced(tx, ended),
                used_model(tx, ended),
                tx.limit_changes([each.budget_id for each in budgets], SHOWN_MAX),
                tx.call_anomalies(ANOMALIES_MAX, session_id),
            )
        )
        note = {LINE_NOTE: fingerprint(told)}
        head = tx.append("session.ended", [Update("session", columns)], by=rt.by, note=note)
        line = run_line(told, head, rt.ledger.ledger_id)
        tx.queue_line(QueuedLine(session_id, ended.run_log or str(rt.run_log_path), line))
    flush_run_log(rt)
    return figures.totals


def end_by_user(
    rt: Runtime, session_id: str, *, authority: Authority, task_summary: str | None = None
) -> SessionTotals:
    """End a session whose client still works: what that does next is counted in one that begins anew."""
    authority.require(Loosening.SESSIONS_END)
    note_loosened(rt, authority, Loosening.SESSIONS_END, session_id)
    return end_session(rt, session_id, task_summary=task_summary, cause="user")


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
                if not rt.run_log.holds(path, queued.line):
                    rt.run_log.append(path, queued.line)
            except (RunLogError, OSError) as error:
                failures.append(f"{queued.path}: {error}")
                tx.line_failed(queued.session_id, str(error))
            else:
                tx.line_written(queued.session_id)
    return failures
