"""The ledger of a team: a PostgreSQL database that several servers write, each transaction on a connection of its own.

A tenant is written by one transaction at a time: from its first read to its commit it holds the tenant's advisory lock,
so what is decided on what was read cannot be overtaken. No lock has to be believed for that: two events of one number
are refused by the table, and with the second one all that was written beside it. What is read alone is one moment's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import psycopg

from tallygate.core.errors import LedgerUnavailable
from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.moments import ClockWatch
from tallygate.core.usage import Rules
from tallygate.ledger.port import LedgerBusy
from tallygate.ledger.postgres.dialect import postgres
from tallygate.ledger.postgres.schema import check_schema
from tallygate.ledger.postgres.server import Connection, Server
from tallygate.ledger.shapes import POSTGRES
from tallygate.ledger.store.usage import beside
from tallygate.ledger.transaction import PROVE, SELECT_STEP_HISTORY, StepHistory, StoreReader, StoreTx

# A statement that takes longer is of no use to whoever waits for its answer; a review of years may.
WRITE_MS, READ_MS = 15_000, 120_000
# What one class of keys of advisory locks is: no other program's are meant.
_LOCK_CLASS = 0x7A111
_NO_WAIT: ContextVar[bool] = ContextVar("tallygate_postgres_no_wait", default=False)
_AT_ONCE = 1000


class PostgresLedger:
    """A ledger in a database. Transactions of several threads run beside one another; those of a tenant in turn.

    `clock` gives microseconds since 1970 UTC: the program's own, since times are stated in events.
    Raises `LedgerUnavailable` where the database is not reached in two seconds, or lacks the ledger's tables.
    """

    kind = POSTGRES

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int],
        durability: str = "full",
        lock_timeout_ms: int = 2000,
        watch: ClockWatch | None = None,
        rules: Rules | None = None,
        connections_max: int = 8,
    ) -> None:
        self.server = Server(url, connections_max=connections_max)
        self._clock, self._watch, self._rules = clock, watch, rules
        self._current = threading.local()
        self._write = _first("BEGIN", WRITE_MS, lock_timeout_ms, durability)
        self._prove = _first("BEGIN", WRITE_MS, lock_timeout_ms, "none")
        self._read = _first("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", READ_MS, lock_timeout_ms, None)
        try:
            connection, _ = self.server.begin("SELECT 1")
            try:
                with self.server.translated():
                    self.ledger_id = check_schema(connection, self.server.name)
            finally:
                self.server.leave(connection)
        except BaseException:
            self.server.close()
            raise

    @property
    def place(self) -> str:
        """Where it is, as it is named to people."""
        return self.server.name

    def reading(self, tenant: str = DEFAULT_TENANT) -> ServerReading:
        """A consistent view of one moment; inside a transaction of this thread that one's view."""
        return ServerReading(self, tenant)

    def writing(self, tenant: str = DEFAULT_TENANT) -> ServerWriting:
        """The only way to write. Commits when the block ends, rolls everything back when it raises."""
        return ServerWriting(self, tenant, self._write)

    def step_history(
        self, tenant: str, session_id: str, agent: str, agent_id: str | None, model: str, *, looked_at: tuple[int, int]
    ) -> StepHistory:
        """What the estimate of an agent's step asks, by one look."""
        asked = {
            "tenant": tenant,
            "session_id": session_id,
            "agent": agent,
            "agent_id": agent_id,
            "model": model,
            "levels": looked_at[0],
            "limit": looked_at[1],
            "beside": beside(self._rules),
        }
        if self.has_running():
            row = self.running().execute(SELECT_STEP_HISTORY, asked).fetchone()
        else:  # one statement sees one moment by itself
            connection, answer = self.server.begin(postgres(SELECT_STEP_HISTORY), asked)
            row = answer.fetchone()
            self.server.leave(connection)
        found = StepHistory(tenant, self._rules, row)
        found.is_changing = self.has_running() and self.running().is_writing
        return found

    def prove(self, tenant: str = DEFAULT_TENANT) -> None:
        """Raise `LedgerUnavailable` where nothing could be recorded now; what is written for that need not last."""
        with ServerWriting(self, tenant, self._prove):
            self.running().execute(PROVE, {})

    def others_wrote(self) -> object:
        """Another one each time: what other servers write is seen by asking."""
        return object()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, this thread does not wait for the tenant's lock: `LedgerBusy` is raised where it would have to."""
        token = _NO_WAIT.set(True)
        try:
            yield
        finally:
            _NO_WAIT.reset(token)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a read-only query, for the audit inside `reading()`; whole tables are read piece by piece."""
        if not self.has_running():
            with self.reading():
                yield from self.rows(sql, parameters)
            return
        with self.server.translated():
            if parameters:
                yield from self.running().connection.execute(postgres(sql), parameters)
                return
            self._numbered = getattr(self, "_numbered", 0) + 1
            with self.running().connection.cursor(f"rows_{self._numbered}") as cursor:
                cursor.itersize = _AT_ONCE
                # A cursor that is read piece by piece takes no marks, so no sign of one is doubled.
                yield from cursor.execute(postgres(sql).replace("%%", "%"))

    def close(self) -> None:
        """Close the connections. Safe to call twice."""
        self.server.close()

    # --- what transactions share

    def running(self) -> Running:
        """The transaction of this thread. Raises `LedgerUnavailable` where there is none."""
        found: Running | None = getattr(self._current, "running", None)
        if found is None:
            raise LedgerUnavailable("No transaction is open in this thread.")
        return found

    def has_running(self) -> bool:
        """Whether this thread is inside a transaction."""
        return getattr(self._current, "running", None) is not None

    def begun(self, running: Running | None) -> None:
        """Remember which transaction this thread is in."""
        self._current.running = running

    def reader(self, running: Running, tenant: str) -> StoreReader:
        """What reads through a transaction."""
        reader = StoreReader(running.execute, tenant, self._rules)
        reader.is_changing = running.is_writing
        return reader

    def started(self, running: Running, tenant: str) -> StoreTx:
        """What writes through a transaction."""
        return StoreTx(
            running.execute,
            running.execute_many,
            tenant,
            ledger_id=self.ledger_id,
            wall_us=self._clock(),
            watch=self._watch,
            rules=self._rules,
        )

    def first_of_read(self) -> str:
        """The statements that a transaction that only reads begins with."""
        return self._read


class Answer:
    """What the database gives back for one statement."""

    __slots__ = ("_cursor", "lastrowid")

    def __init__(self, cursor: psycopg.Cursor[Any], lastrowid: int | None) -> None:
        self._cursor = cursor
        self.lastrowid = lastrowid

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)


class Running:
    """One transaction on its connection."""

    __slots__ = ("connection", "is_writing")

    def __init__(self, connection: Connection, *, is_writing: bool) -> None:
        self.connection = connection
        self.is_writing = is_writing

    def execute(self, sql: str, parameters: dict[str, Any]) -> Answer:
        """Run one statement of the ledger's."""
        text = postgres(sql)
        cursor = self.connection.execute(text, parameters)
        number = None
        if text.endswith(" RETURNING id"):
            number = cursor.fetchone()
        return Answer(cursor, None if number is None else number[0])

    def execute_many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> Answer:
        """Run one statement once for each row of values."""
        cursor = self.connection.cursor()
        listed = list(rows)
        if len(listed) == 1:
            cursor.execute(postgres(sql), listed[0])
        else:
            cursor.executemany(postgres(sql), listed)
        return Answer(cursor, None)


class ServerReading:
    """One consistent view; inside another transaction of the thread it is that one's view."""

    __slots__ = ("_ledger", "_own", "_tenant")

    def __init__(self, ledger: PostgresLedger, tenant: str) -> None:
        self._ledger, self._tenant = ledger, tenant
        self._own: Running | None = None

    def __enter__(self) -> StoreReader:
        ledger = self._ledger
        if ledger.has_running():
            return ledger.reader(ledger.running(), self._tenant)
        connection, _ = ledger.server.begin(ledger.first_of_read())
        self._own = Running(connection, is_writing=False)
        ledger.begun(self._own)
        return ledger.reader(self._own, self._tenant)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        own, self._own = self._own, None
        if own is not None:
            self._ledger.begun(None)
            self._ledger.server.leave(own.connection)
        if isinstance(error, psycopg.Error):
            self._ledger.server.tell(error)


class ServerWriting:
    """One transaction under the tenant's lock, from its first read to its commit."""

    __slots__ = ("_first", "_ledger", "_running", "_tenant", "_tx")

    def __init__(self, ledger: PostgresLedger, tenant: str, first: str) -> None:
        self._ledger, self._tenant, self._first = ledger, tenant, first

    def __enter__(self) -> StoreTx:
        ledger = self._ledger
        connection, _ = ledger.server.begin(self._first)
        try:
            self._lock(connection)
            self._running = Running(connection, is_writing=True)
            # A statement sees what was committed before it began: the head is read behind the lock, by one of its own.
            self._tx = ledger.started(self._running, self._tenant)
        except BaseException as error:
            ledger.server.leave(connection)
            if isinstance(error, psycopg.Error):
                ledger.server.tell(error)
            raise
        ledger.begun(self._running)
        return self._tx

    def _lock(self, connection: Connection) -> None:
        asked = {"class": _LOCK_CLASS, "tenant": self._tenant}
        if not _NO_WAIT.get():
            connection.execute("SELECT pg_advisory_xact_lock(%(class)s, hashtext(%(tenant)s))", asked)
            return
        taken = connection.execute(
            "SELECT pg_try_advisory_xact_lock(%(class)s, hashtext(%(tenant)s))", asked
        ).fetchone()
        if taken is None or not taken[0]:
            raise LedgerBusy

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ledger, connection = self._ledger, self._running.connection
        ledger.begun(None)
        try:
            if error is None:
                # A connection that is lost here leaves unknown whether it was committed. Whoever asks again with the
                # same id is told what was decided, once.
                connection.execute("COMMIT")
                return
            self._tx.taken_back()
        except psycopg.Error as failed:
            self._tx.taken_back()
            ledger.server.tell(failed)
        finally:
            ledger.server.leave(connection)
        if isinstance(error, psycopg.Error):
            ledger.server.tell(error)


def _first(begin: str, statement_ms: int, lock_ms: int, durability: str | None) -> str:
    """What a transaction begins with, in one message; all of it ends with it, as a pooler's backend is another's next.

    A database that answers before its disk has what was committed is told to wait, where the user wants it kept.
    """
    last = {
        "full": (
            "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
        ),
        "none": "SET LOCAL synchronous_commit = off",
    }.get(durability or "")
    timeouts = f"SET LOCAL statement_timeout = {int(statement_ms)}; SET LOCAL lock_timeout = {int(lock_ms)}"
    idle = f"SET LOCAL idle_in_transaction_session_timeout = {int(statement_ms) * 4}"
    return "; ".join(filter(None, (begin, timeouts, idle, last)))
