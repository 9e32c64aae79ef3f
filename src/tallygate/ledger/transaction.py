"""The queries, once for every database: rows in and out of the projection tables, inside one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

from tallygate.core.errors import LedgerUnavailable
from tallygate.core.learning.calibration import CostOrigin
from tallygate.core.model import Budget, Call, Session
from tallygate.core.moments import CLOCK_SLACK_US, ClockWatch, time_now
from tallygate.core.proof import SIGNATURE, Head, called_for, canonical_bytes, event_hash, signed_bytes
from tallygate.core.usage import Rules, served_as
from tallygate.ledger import rows
from tallygate.ledger.events import apply
from tallygate.ledger.layout import Row
from tallygate.ledger.port import ActivityTotals, Change, Due, MoreIsAsked, QueuedLine, Sign, SpendShare, Value
from tallygate.ledger.rollups import RolledTables, add_up
from tallygate.ledger.rows import Execute, ExecuteMany
from tallygate.ledger.store.alerts import AlertReads, AlertWrites
from tallygate.ledger.store.bills import BillReads
from tallygate.ledger.store.checks import CheckReads, CheckWrites
from tallygate.ledger.store.decisions import DecisionReads
from tallygate.ledger.store.learning import SELECT_LEVELS, SELECT_STATE, CalibrationReads, as_levels
from tallygate.ledger.store.loops import LoopReads
from tallygate.ledger.store.plan import PlanReads, PlanWrites
from tallygate.ledger.store.proof import NEWEST_LOCK, AttestReads, AttestWrites, LockReads
from tallygate.ledger.store.sessions import LimitReads, ReportReads, TenantReads
from tallygate.ledger.store.shares import ShareReads
from tallygate.ledger.store.spending import SpendReads
from tallygate.ledger.store.usage import SELECT_LAST_SERVED, UsageReads, UsageWrites
from tallygate.ledger.store.windows import WindowReads

_NAMES_PER_QUERY = 200
_SESSION = rows.SESSION.select("s")
_BUDGET = rows.BUDGET.select("b")
_CALL = rows.CALL.select("c")

SELECT_SESSION = f"SELECT {_SESSION} FROM session s WHERE s.tenant = :tenant AND s.session_id = :session_id"
# CROSS JOIN keeps the order of the tables: from one session to its few budgets, never through all budgets.
SELECT_SESSION_WITH_BUDGETS = (
    f"SELECT {_SESSION}, {_BUDGET} FROM session s CROSS JOIN session_budget sb CROSS JOIN budget b"
    " WHERE s.tenant = :tenant AND s.session_id = :session_id"
    " AND sb.tenant = s.tenant AND sb.session_id = s.session_id"
    " AND b.tenant = sb.tenant AND b.budget_id = sb.budget_id ORDER BY sb.budget_id"
)
SELECT_BUDGETS = (
    f"SELECT {_BUDGET} FROM session_budget sb CROSS JOIN budget b"
    " WHERE sb.tenant = :tenant AND sb.session_id = :session_id"
    " AND b.tenant = sb.tenant AND b.budget_id = sb.budget_id ORDER BY sb.budget_id"
)
SELECT_BUDGET = f"SELECT {_BUDGET} FROM budget b WHERE b.tenant = :tenant AND b.budget_id = :budget_id"
SELECT_BUDGETS_NAMED = f"SELECT {_BUDGET} FROM budget b WHERE b.tenant = :tenant AND b.budget_id IN "
SELECT_CALL = f"SELECT {_CALL} FROM call c WHERE c.tenant = :tenant AND c.call_id = :call_id"
SELECT_CALLS = (
    f"SELECT {_CALL} FROM call c WHERE c.tenant = :tenant AND c.session_id = :session_id ORDER BY c.at_us, c.call_id"
)
# Along the index of all that wait: that of the session, which the sign keeps SQLite from, has thousands that are over.
SELECT_PENDING = (
    f"SELECT {_CALL} FROM call c WHERE c.tenant = :tenant AND +c.session_id = :session_id"
    " AND c.state = 'pending' ORDER BY c.expires_us LIMIT :limit"
)
SELECT_DUE = (
    f"SELECT {_CALL} FROM call c WHERE c.state = 'pending' AND c.expires_us <= :at_us AND c.tenant = :tenant"
    " ORDER BY c.expires_us LIMIT :limit"
)
# Asked about while the clock stood ahead: nobody waits for that date.
SELECT_DUE_AHEAD = (
    f"SELECT {_CALL} FROM call c WHERE c.state = 'pending' AND c.expires_us > :ahead_us AND c.tenant = :tenant"
    " AND c.at_us > :ahead_us ORDER BY c.expires_us LIMIT :limit"
)
# When the first and the last of what is pending expire, which are both ends of one index; and the lock's last event.
_EXPIRING = "SELECT {}(expires_us) FROM call WHERE state = 'pending' AND tenant = :tenant"
_STANDING = f"({_EXPIRING.format('MIN')}), ({_EXPIRING.format('MAX')}), {NEWEST_LOCK}"
SELECT_STANDING = f"SELECT {_STANDING}"
SELECT_SESSIONS = (
    f"SELECT {_SESSION} FROM session s WHERE s.tenant = :tenant AND (:state IS NULL OR s.state = :state)"
    " ORDER BY s.started_us DESC LIMIT :limit"
)
SELECT_STARTED = (
    f"SELECT {_SESSION} FROM session s WHERE s.tenant = :tenant AND s.started_us >= :from_us"
    " AND s.started_us < :until_us ORDER BY s.started_us DESC, s.session_id LIMIT :limit"
)
# The ends of an id, since those are what people copy. Written as substr because LIKE has wildcards of its own.
SELECT_SESSIONS_CALLED = (
    "SELECT session_id FROM session WHERE tenant = :tenant AND (substr(session_id, 1, length(:part)) = :part"
    " OR substr(session_id, -length(:part)) = :part) ORDER BY started_us DESC LIMIT :limit"
)
# Of the sessions that one session of a client was in turn, the one that it is in now; SQLite takes the row of MAX.
_BY_CLIENT = (
    "SELECT s.session_id, MAX(s.started_us) FROM client_session l JOIN session s ON s.tenant = l.tenant"
    " AND s.session_id = l.session_id WHERE l.tenant = :tenant AND {} GROUP BY l.client, l.client_session"
    " ORDER BY 2 DESC LIMIT :limit"
)
SELECT_SESSIONS_OF_CLIENT = _BY_CLIENT.format("l.client_session = :part")
SELECT_CLIENT_SESSIONS_CALLED = _BY_CLIENT.format(
    "(substr(l.client_session, 1, length(:part)) = :part OR substr(l.client_session, -length(:part)) = :part)"
)
# The pieces of a rolling period are nobody's affair: one budget stands for them, which has no end.
_ROLLS = "period GLOB '[1-9]*h'"
SELECT_BUDGETS_CALLED = (
    f"SELECT budget_id FROM budget WHERE tenant = :tenant AND NOT ({_ROLLS} AND resets_us IS NOT NULL)"
    " AND (substr(budget_id, 1, length(:part)) = :part OR substr(budget_id, -length(:part)) = :part)"
    " ORDER BY touched_us DESC LIMIT :limit"
)
SELECT_ALL_BUDGETS = (
    f"SELECT {_BUDGET} FROM budget b WHERE b.tenant = :tenant AND NOT {_ROLLS}"
    " ORDER BY b.touched_us DESC, b.budget_id LIMIT :limit"
)
SELECT_ROLLING = f"SELECT {_BUDGET} FROM budget b WHERE b.tenant = :tenant AND b.start_us = 0 AND {_ROLLS}"
SELECT_CHILDREN = (
    "SELECT session_id FROM session WHERE tenant = :tenant AND parent_session_id = :session_id ORDER BY started_us"
)
SELECT_OPEN_EXACTNESS = (
    "SELECT state FROM call WHERE tenant = :tenant AND session_id = :session_id"
    " AND state NOT IN ('denied', 'voided') AND action <> 'halt' ORDER BY at_us DESC LIMIT 1"
)
SELECT_TOTALS = (
    "SELECT COALESCE(SUM(CASE WHEN state NOT IN ('denied', 'voided') THEN 1 ELSE 0 END), 0),"
    " COALESCE(SUM(CASE WHEN action = 'halt' THEN 1 ELSE 0 END), 0),"
    " COALESCE(SUM(CASE WHEN state = 'pending' THEN estimate_nanos ELSE booked_nanos END), 0)"
    " + (SELECT COALESCE(SUM(u.cost_nanos), 0) FROM usage u WHERE u.tenant = :tenant AND u.session_id = :session_id),"
    " COALESCE(SUM(CASE WHEN state = 'pending' THEN 1 ELSE 0 END), 0), COALESCE(SUM(booked_nanos), 0)"
    " + (SELECT COALESCE(SUM(u.cost_nanos), 0) FROM usage u WHERE u.tenant = :tenant AND u.session_id = :session_id)"
    " FROM call WHERE tenant = :tenant AND session_id = :session_id"
)
SELECT_SPEND_BY = (
    "SELECT {column}, COUNT(*), SUM(CASE WHEN state = 'pending' THEN estimate_nanos ELSE booked_nanos END) AS nanos"
    " FROM call WHERE tenant = :tenant AND session_id = :session_id AND state NOT IN ('denied', 'voided')"
    " GROUP BY 1 ORDER BY nanos DESC, 1 LIMIT :limit"
)
SPEND_COLUMNS = {
    "model": "COALESCE(model_used, model_requested)",
    "tool": "tool_name",
    "actor": "COALESCE(actor_name, actor_id, actor_type)",
}
SELECT_HEAD = "SELECT seq, hash, at_us FROM event WHERE tenant = :tenant ORDER BY id DESC LIMIT 1"
# What every step begins with, by one statement.
SELECT_OPENING = f"SELECT seq, hash, at_us, {_STANDING} FROM event WHERE tenant = :tenant ORDER BY id DESC LIMIT 1"
SELECT_AFTER = "SELECT seq, at_us FROM event WHERE tenant = :tenant AND at_us > :at_us ORDER BY id LIMIT 1"
INSERT_EVENT = "INSERT INTO event (tenant, seq, at_us, body, hash) VALUES (:tenant, :seq, :at_us, :body, :hash)"
SELECT_PRICE = "SELECT 1 FROM price WHERE tenant = :tenant AND price_id = :price_id"
SELECT_PRICE_LIST = "SELECT stated FROM price_list WHERE tenant = :tenant AND list_id = :list_id"
SELECT_PRICES = "SELECT price_id, basis FROM price WHERE tenant = :tenant"
QUEUE_LINE = (
    "INSERT INTO run_log_queue (tenant, session_id, path, line, queued_us)"
    " VALUES (:tenant, :session_id, :path, :line, :at_us)"
)
SELECT_QUEUE = (
    "SELECT session_id, path, line FROM run_log_queue"
    " WHERE tenant = :tenant AND written_us IS NULL ORDER BY queued_us LIMIT :limit"
)
SELECT_QUEUED = "SELECT 1 FROM run_log_queue WHERE tenant = :tenant AND session_id = :session_id AND written_us IS NULL"
LINE_WRITTEN = (
    "UPDATE run_log_queue SET written_us = :at_us, line = '', last_error = NULL"
    " WHERE tenant = :tenant AND session_id = :session_id"
)
# Another number each time: the same bytes again would not be written.
PROVE = (
    "INSERT INTO proof (one, written) VALUES (1, 1)"
    " ON CONFLICT (one) DO UPDATE SET written = proof.written % 1000000 + 1"
)
LINE_FAILED = "UPDATE run_log_queue SET last_error = :error WHERE tenant = :tenant AND session_id = :session_id"


# What the estimate of a step asks of the past, as one statement: what there is to learn from, what bills have shown of
# the model, what the agent's last steps cost, and what served the last one.
SELECT_STEP_HISTORY = (
    "SELECT s.*, (SELECT factor_micros FROM calibration_factor WHERE tenant = :tenant AND model = :model),"
    f" (SELECT json_group_array(json_array(l.actual_nanos, l.origin)) FROM ({SELECT_LEVELS}) l),"
    f" (SELECT json_array(u.at_us, u.model, u.provider, u.speed) FROM ({SELECT_LAST_SERVED}) u) FROM ({SELECT_STATE}) s"
)


def _refuse(*_: object) -> NoReturn:
    raise LedgerUnavailable(
        "The database took back a whole transaction, and not one step of it.",
        hint="Nothing of it was counted. Try again.",
    )


class StoreReader(
    UsageReads,
    SpendReads,
    ShareReads,
    CheckReads,
    AttestReads,
    TenantReads,
    CalibrationReads,
    BillReads,
    LimitReads,
    LockReads,
    WindowReads,
    DecisionReads,
    ReportReads,
    PlanReads,
    AlertReads,
    LoopReads,
):
    """Reads of one tenant's rows, through any database that takes `:named` parameters."""

    is_changing = False  # whether rows may be seen that are not committed

    def session(self, session_id: str) -> Session | None:
        row = self._one(SELECT_SESSION, session_id=session_id)
        return None if row is None else rows.to_session(row)

    def session_with_budgets(self, session_id: str) -> tuple[Session, tuple[Budget, ...]] | None:
        found = self._all(SELECT_SESSION_WITH_BUDGETS, session_id=session_id)
        if not found:
            return None
        # One query for both: each step asks for them, and a second one would cost as much again.
        width = len(rows.SESSION.columns)
        return rows.to_session(found[0][:width]), tuple(rows.to_budget(row[width:]) for row in found)

    def budgets_of(self, session_id: str) -> tuple[Budget, ...]:
        return tuple(map(rows.to_budget, self._all(SELECT_BUDGETS, session_id=session_id)))

    def budget(self, budget_id: str) -> Budget | None:
        row = self._one(SELECT_BUDGET, budget_id=budget_id)
        return None if row is None else rows.to_budget(row)

    def budgets_named(self, budget_ids: Sequence[str]) -> list[Budget]:
        """Those of these budgets that there are."""
        found: list[Budget] = []
        # SQLite takes so many parameters in one statement, and no more.
        for start in range(0, len(budget_ids), _NAMES_PER_QUERY):
            names = {f"b{number}": name for number, name in enumerate(budget_ids[start : start + _NAMES_PER_QUERY])}
            listed = ", ".join(f":{name}" for name in names)
            found += list(map(rows.to_budget, self._all(f"{SELECT_BUDGETS_NAMED}({listed})", **names)))
        return found

    def call(self, call_id: str) -> Call | None:
        row = self._one(SELECT_CALL, call_id=call_id)
        return None if row is None else rows.to_call(row)

    def calls_of(self, session_id: str) -> Iterator[Call]:
        for row in self._all(SELECT_CALLS, session_id=session_id):
            yield rows.to_call(row)

    def sessions(self, *, state: str | None, limit: int) -> list[Session]:
        return list(map(rows.to_session, self._all(SELECT_SESSIONS, state=state, limit=limit)))

    def sessions_started(self, from_us: int, until_us: int, limit: int) -> list[Session]:
        """The sessions that began in a span, the youngest first."""
        found = self._all(SELECT_STARTED, from_us=from_us, until_us=until_us, limit=limit)
        return list(map(rows.to_session, found))

    def sessions_called(self, part: str, limit: int) -> list[str]:
        """The sessions whose id begins or ends with a text, or whose id in their client does."""
        found = [
            self._all(sql, part=part, limit=limit) for sql in (SELECT_SESSIONS_CALLED, SELECT_CLIENT_SESSIONS_CALLED)
        ]
        return [*dict.fromkeys(row[0] for rows_ in found for row in rows_)][:limit]

    def sessions_of_client(self, client_session: str, limit: int) -> list[str]:
        """The sessions that a client calls by an id: of each client the youngest."""
        return [row[0] for row in self._all(SELECT_SESSIONS_OF_CLIENT, part=client_session, limit=limit)]

    def budgets_called(self, part: str, limit: int) -> list[str]:
        return [row[0] for row in self._all(SELECT_BUDGETS_CALLED, part=part, limit=limit)]

    def budgets(self, limit: int) -> list[Budget]:
        return list(map(rows.to_budget, self._all(SELECT_ALL_BUDGETS, limit=limit)))

    def rolling_budgets(self) -> list[Budget]:
        """The budgets that stand for rolling periods, without what their pieces hold."""
        return list(map(rows.to_budget, self._all(SELECT_ROLLING)))

    def children_of(self, session_id: str) -> list[str]:
        return [row[0] for row in self._all(SELECT_CHILDREN, session_id=session_id)]

    def has_open_exactness(self, session_id: str) -> bool:
        """Whether the last call that was let through lacks its usage; no earlier one can, or it had not been."""
        row = self._one(SELECT_OPEN_EXACTNESS, session_id=session_id)
        return row is not None and row[0] in ("pending", "expired")

    def totals(self, session_id: str) -> ActivityTotals:
        return ActivityTotals(*self._one(SELECT_TOTALS, session_id=session_id))

    def spend_by(self, session_id: str, column: str, limit: int) -> list[SpendShare]:
        sql = SELECT_SPEND_BY.format(column=SPEND_COLUMNS[column])
        return [SpendShare(*row) for row in self._all(sql, session_id=session_id, limit=limit)]

    def prices(self) -> dict[str, str]:
        return dict(self._all(SELECT_PRICES))

    def price_list(self, list_id: str) -> str | None:
        """What settings said of prices, as it was kept with sessions."""
        row = self._one(SELECT_PRICE_LIST, list_id=list_id)
        return None if row is None else str(row[0])

    def head(self) -> Head:
        row = self._one(SELECT_HEAD)
        return Head() if row is None else Head(row[0], row[1], row[2])

    def first_after(self, at_us: int) -> tuple[int, int]:
        """Number and time of the first event that is dated after a time; those of none where there is none."""
        row = self._one(SELECT_AFTER, at_us=at_us)
        return (0, at_us) if row is None else (int(row[0]), int(row[1]))

    def queued_lines(self, limit: int) -> list[QueuedLine]:
        return [QueuedLine(*row) for row in self._all(SELECT_QUEUE, limit=limit)]


class StepHistory(StoreReader):
    """What the estimate of a step mostly asks, read by one statement; asked for more it raises `MoreIsAsked`."""

    def __init__(self, tenant: str, rules: Rules | None, row: Row) -> None:
        super().__init__(_more_is_asked, tenant, rules)
        *self._state, self._factor, self._levels, self._served = row

    def levels(self, session_id: str, agent: str, limit: int) -> list[tuple[int, CostOrigin]]:  # noqa: ARG002
        """Those of the step's agent."""
        return [] if self._levels == "[]" else as_levels(json.loads(self._levels))

    def last_served(self, session_id: str, agent_id: str | None, limit: int) -> tuple[int, str] | None:  # noqa: ARG002
        """That of the step's agent."""
        if self._served is None:
            return None
        at_us, *served = json.loads(self._served)
        return int(at_us), served_as(*served)

    def calibration_state(self) -> tuple[tuple[int, int], int]:
        """As it was at that moment."""
        count, last, sample = self._state
        return (int(count), int(last)), int(sample)

    def calibration_factor(self, model: str) -> int | None:  # noqa: ARG002
        """That of the step's model."""
        return None if self._factor is None else int(self._factor)


def _more_is_asked(*_: object) -> NoReturn:
    raise MoreIsAsked


class StoreTx(StoreReader, UsageWrites, CheckWrites, AttestWrites, PlanWrites, AlertWrites):
    """A write transaction: the reads, and `append`, which is the only way anything changes."""

    def __init__(
        self,
        execute: Execute,
        execute_many: ExecuteMany,
        tenant: str,
        *,
        ledger_id: str,
        wall_us: int,
        watch: ClockWatch | None = None,
        rules: Rules | None = None,
    ) -> None:
        super().__init__(execute, tenant, rules)
        self._execute_many = execute_many
        self._tables = RolledTables(execute, execute_many, rows.COLUMNS)
        self._watch = watch
        self._apart_us = 0 if watch is None else watch.apart_us
        self._chain_id = f"{ledger_id}/{tenant}"
        opening = self._one(SELECT_OPENING)
        # Of the chain, the events of this transaction among them.
        self.newest = Head() if opening is None else Head(*opening[:3])
        self._expiring: tuple[int | None, int | None] | None = None if opening is None else opening[3:5]
        self.newest_lock = None if opening is None else opening[5]
        self.row: int | None = None  # where the last event of this transaction stands in the file
        self._wall_us = wall_us
        self.at_us = time_now(wall_us, self.newest.at_us)

    @contextmanager
    def step(self) -> Iterator[None]:
        """One of many steps in this transaction, at a time of its own; of one that fails nothing is left.

        What the transaction knows of itself goes back with the rows: the next event would else follow one that is
        gone, and the move of a clock would never be told.
        """
        before = (self.newest, self.row, self.newest_lock, self.at_us, self.is_changing)
        apart_us = 0 if self._watch is None else self._watch.apart_us
        self._execute("SAVEPOINT step", {})
        self.at_us = time_now(self._wall_us, self.newest.at_us)
        try:
            yield
        except BaseException:
            self._tables = RolledTables(self._execute, self._execute_many, rows.COLUMNS)  # without rows that wait in it
            self.newest, self.row, self.newest_lock, self.at_us, self.is_changing = before
            if self._watch is not None:
                self._watch.apart_us = apart_us
            self._back_to_the_step()
            raise
        self._execute("RELEASE step", {})

    def _back_to_the_step(self) -> None:
        """Take back what was written since; where that fails, nothing more may be written in this transaction.

        A database that has ended the transaction by itself, as on a full disk, would commit every later statement.
        """
        try:
            self._execute("ROLLBACK TO step", {})
            self._execute("RELEASE step", {})
        except Exception:
            self._execute = self._execute_many = _refuse
            raise

    def taken_back(self) -> None:
        """The transaction did not commit: a clock that was moved is told of by the next."""
        if self._watch is not None:
            self._watch.apart_us = self._apart_us

    def due_calls(self, limit: int) -> list[Call]:
        ahead_us = self.at_us + CLOCK_SLACK_US
        if self._expiring is None:
            *expiring, self.newest_lock = self._one(SELECT_STANDING)
            self._expiring = expiring[0], expiring[1]
        first_us, last_us = self._expiring
        # Asked for each step, and mostly there is none.
        if first_us is None or last_us is None or (first_us > self.at_us and last_us <= ahead_us):
            return []
        due = self._all(SELECT_DUE, at_us=self.at_us, limit=limit)
        if len(due) < limit:
            due += self._all(SELECT_DUE_AHEAD, ahead_us=ahead_us, limit=limit - len(due))
        return list(map(rows.to_call, due))

    def pending_calls(self, session_id: str, limit: int) -> list[Call]:
        found = map(rows.to_call, self._all(SELECT_PENDING, session_id=session_id, limit=limit))
        return sorted(found, key=lambda call: (call.at_us, call.call_id))

    def knows_price(self, price_id: str) -> bool:
        return self._one(SELECT_PRICE, price_id=price_id) is not None

    def append(
        self,
        kind: str,
        changes: Sequence[Change],
        *,
        by: str,
        note: Mapping[str, Value] | None = None,
        sign: Sign | None = None,
    ) -> Head:
        """Write rows and the event that states them; returns the new head of the chain.

        With `sign` the event carries the user's signature of itself at its place.
        """
        stated = []
        for change in changes:
            row = change.row
            # What a new row does not have is left out: a column that is added later is then no part of what was said
            # and hashed before.
            if change.op == "+" and None in row.values():
                row = {name: value for name, value in row.items() if value is not None}
            stated.append([change.op, change.table, dict(row)])
        apply(self.tenant, stated, self._tables)
        self._tables.write_sums()
        head = self.newest
        # Every event has a time of its own: by their times they stand in the order of their numbers.
        event_at = max(self.at_us, head.at_us + 1)
        body: dict[str, object] = {
            "at_us": event_at,
            "by": by,
            "kind": kind,
            "rows": stated,
            "tenant": self.tenant,
        }
        if note:
            body["note"] = dict(note)
        if self._wall_us < event_at - 1_000_000:
            body["wall_us"] = self._wall_us  # the clock stood behind the ledger's time: kept for the auditor
        if self._watch is not None and (parted_us := self._watch.parted_us()) is not None:
            body["clock_parted_us"] = parted_us
            self._watch.told()
        seq = head.seq + 1
        if sign is not None:
            body["note"] = {**(note or {}), SIGNATURE: sign(signed_bytes(self._chain_id, seq, head.hash, body))}
        raw = canonical_bytes(body)
        digest = event_hash(self._chain_id, seq, head.hash, raw)
        event = {"tenant": self.tenant, "seq": seq, "at_us": event_at, "body": raw, "hash": digest}
        self.row = self._execute(INSERT_EVENT, event).lastrowid
        self.newest = Head(seq, digest, event_at)
        self.newest_lock = self._expiring = None  # it may be this one
        # From here on what is read may still be taken back, so nobody may remember it.
        self.is_changing = True
        if (called := called_for(kind, stated)) is not None:
            self.attest_later(Due(called[0], self.newest, *called[1:]))
        return self.newest

    def add_up(self, rows: int) -> bool:
        """Add up so many more rows that were there before their sums; whether that is all."""
        return add_up(self._execute, rows, self.at_us)

    def is_queued(self, session_id: str) -> bool:
        return self._one(SELECT_QUEUED, session_id=session_id) is not None

    def queue_line(self, line: QueuedLine) -> None:
        """Keep a run-log line with the session's end, in the same commit, until it is on disk."""
        parameters = {"session_id": line.session_id, "path": line.path, "line": line.line, "at_us": self.at_us}
        self._execute(QUEUE_LINE, {"tenant": self.tenant, **parameters})

    def line_written(self, session_id: str) -> None:
        self._execute(LINE_WRITTEN, {"tenant": self.tenant, "session_id": session_id, "at_us": self.at_us})

    def line_failed(self, session_id: str, error: str) -> None:
        self._execute(LINE_FAILED, {"tenant": self.tenant, "session_id": session_id, "error": error[:500]})
