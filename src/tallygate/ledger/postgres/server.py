"""Where a team's ledger is, how it is reached, and what its faults mean to a user."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

import psycopg
from psycopg import errors, pq
from psycopg.adapt import Loader
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from tallygate.core.errors import LedgerUnavailable
from tallygate.ledger.shapes import spoken

# So long a database that cannot be reached keeps nobody waiting.
REACHED_WITHIN_S = 2
CONNECTIONS_MAX = 8
_SECRET = ("password", "sslpassword")

Connection = psycopg.Connection[Any]


class _Whole(Loader):
    """Sums come as NUMERIC, which is wider than any column: all of ours are whole."""

    def load(self, data: Any) -> int:
        return int(bytes(data))


class Server:
    """Connections to one database, each used by one transaction at a time."""

    def __init__(self, url: str, *, connections_max: int = CONNECTIONS_MAX) -> None:
        self.url = url
        self.name = spoken(url)
        given = dict(parse_qsl(urlsplit(url).query))
        settings: dict[str, Any] = {"connect_timeout": REACHED_WITHIN_S, "application_name": "tallygate"}
        if "," in urlsplit(url).netloc + given.get("host", ""):
            # Of several hosts the one that takes writes, which after a failover is another.
            settings["target_session_attrs"] = "read-write"
        self._pool = ConnectionPool(
            url,
            # Until it is known whether a pooler is between, no statement is prepared.
            kwargs={
                "autocommit": True,
                "prepare_threshold": None,
                **{name: each for name, each in settings.items() if name not in given},
            },
            min_size=0,
            max_size=connections_max,
            timeout=REACHED_WITHIN_S,
            reconnect_timeout=REACHED_WITHIN_S,
            configure=_configured,
            open=False,
        )
        self._guard = threading.Lock()
        self._is_open = False

    def take(self) -> Connection:
        """A connection nobody uses. Raises `LedgerUnavailable` where there is none in two seconds."""
        with self._guard:
            if not self._is_open:
                self._pool.open()
                self._is_open = True
        try:
            return self._pool.getconn()
        except PoolTimeout as error:
            raise LedgerUnavailable(
                f"The database {self.name} was not reached in {REACHED_WITHIN_S} s{_why(self.url)}.",
                hint="See that it runs and takes connections from here; nothing was counted.",
            ) from error
        except PoolClosed as error:
            raise LedgerUnavailable(
                f"The database {self.name} is closed here.", hint="Start the program again."
            ) from error

    def give_back(self, connection: Connection) -> None:
        """Let others use a connection; one that is broken is thrown away."""
        self._pool.putconn(connection)

    def begin(self, first: str, given: dict[str, Any] | None = None) -> tuple[Connection, Any]:
        """A connection in which the first statements of a transaction were run.

        A connection that has died in the meantime says so here, where nothing was decided: another one is taken.
        """
        deadline = time.monotonic() + REACHED_WITHIN_S
        while True:
            connection = self.take()
            try:
                return connection, connection.execute(first, given)
            except psycopg.OperationalError as error:
                self.leave(connection)
                if connection.closed and time.monotonic() < deadline:
                    continue
                self.tell(error)
            except psycopg.Error as error:
                self.leave(connection)
                self.tell(error)

    def leave(self, connection: Connection) -> None:
        """Take back what was not committed, and let the connection go."""
        try:
            status = connection.pgconn.transaction_status
            if status == pq.TransactionStatus.INERROR:
                # Of what went wrong in it something may be left: a statement that was prepared before a migration.
                connection.close()
            elif not connection.closed and status != pq.TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()
        finally:
            self.give_back(connection)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the database's faults into errors a user can act on; other exceptions pass unchanged."""
        try:
            yield
        except psycopg.Error as error:
            self.tell(error)

    def tell(self, error: psycopg.Error) -> NoReturn:
        """Raise what a fault of the database means to the user; a broken constraint is a fault of the program."""
        told = _MEANT.get(error.sqlstate or "") or _MEANT.get((error.sqlstate or "")[:2])
        if isinstance(error, errors.UniqueViolation) and error.diag.table_name == "event":
            told = ("lock_timeout", "Another program wrote at the same time; nothing was counted. Try again.")
        elif isinstance(error, errors.IntegrityError | errors.ProgrammingError) and told is None:
            raise error
        if isinstance(error, errors.DataError):
            told = ("storage_failed", "A text holds something that this database cannot keep.")
        if told is None:
            told = ("ledger_unavailable", "See that the database runs, and try again; the same call id counts once.")
        said = str(error).strip().splitlines() or ["no reason was given"]
        raise LedgerUnavailable(f"The database {self.name} failed: {said[0]}.", hint=told[1], code=told[0]) from error

    def close(self) -> None:
        """Close every connection; those in use close when they are given back."""
        with self._guard:
            if self._is_open:
                self._pool.close(timeout=REACHED_WITHIN_S)


# By the code of an error, or the class of codes that it is of.
_MEANT = {
    "53100": ("storage_full", "The database's disk is full; nothing was recorded."),
    "53200": ("storage_failed", "The database is out of memory; try again."),
    "53300": ("ledger_unavailable", "The database takes no more connections: allow more, or put a pooler before it."),
    "55P03": ("lock_timeout", "Another program holds the ledger; try again."),
    "57014": ("lock_timeout", "The database took longer than is waited for; try again."),
    "40P01": ("lock_timeout", "Another program held what was needed; try again."),
    "25006": ("storage_read_only", "This server takes no writes: name the primary, or all hosts of the cluster."),
    "42501": ("storage_read_only", "This role may not do that: give it the rights of `tallygate migrate --roles`."),
    "28": ("ledger_unavailable", "Put the password into ~/.pgpass, the file PGPASSFILE names, or a service file."),
    "3D": ("ledger_unavailable", "Create the database, then run: tallygate migrate"),
}


# How often a statement is run before it is kept prepared: each step runs the same few, and planning them is most of it.
_PREPARED_FROM = 2


def _configured(connection: Connection) -> None:
    connection.adapters.register_loader("numeric", _Whole)
    # Who answers names a process. A pooler names none of the server's: behind it the next transaction may be another
    # backend's, which knows nothing of what was prepared.
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    if row is not None and row[0] == connection.info.backend_pid:
        connection.prepare_threshold = _PREPARED_FROM


def _why(url: str) -> str:
    """Why a connection fails, as the database or the network says it; asked once more, briefly, and without a pool."""
    try:
        psycopg.connect(url, connect_timeout=REACHED_WITHIN_S, autocommit=True).close()
    except psycopg.Error as error:
        said = str(error).strip().splitlines()
        return f": {said[0]}" if said else ""
    return ""


Execute = Callable[[str, dict[str, Any]], Any]
