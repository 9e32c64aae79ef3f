"""Open a ledger that somebody else may have made: to read it, trusting nothing in it, and without changing anything.

Opening a write-ahead log to read it leaves two files behind. A file without a log that nobody has open is therefore
read as one that does not change, and looked at again afterwards; where it did change, it is read the ordinary way.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from tallygate.core.errors import LedgerCorrupt, LedgerTooNew, LedgerUnavailable
from tallygate.core.model import DEFAULT_TENANT
from tallygate.ledger.port import JournalEvent
from tallygate.ledger.shapes import SQLITE
from tallygate.ledger.sqlite.database import translated
from tallygate.ledger.sqlite.files import APPLICATION_ID, migrations, not_ours, statements
from tallygate.ledger.transaction import StoreReader

T = TypeVar("T")
SELECT_SCHEMA = (
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE substr(name, 1, 7) <> 'sqlite_' ORDER BY type, name"
)
SCHEMA_WITH_LOCK = 18
_VALUE_BYTES_MAX = 64 << 20
_ALLOWED_PRAGMAS = frozenset(
    {"application_id", "user_version", "quick_check", "integrity_check", "foreign_key_check", "foreign_key_list"}
)
_ALLOWED = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
        sqlite3.SQLITE_RECURSIVE,
    }
)


class ForeignLedger:
    """A ledger's file, open to be read; what an audit asks of a ledger."""

    kind = SQLITE

    def __init__(self, path: Path, connection: sqlite3.Connection, how: str) -> None:
        self.path = path
        self._how = how
        self._connection = connection
        self.ledger_id = str(self._connection.execute("SELECT ledger_id FROM ledger").fetchone()[0])

    @property
    def place(self) -> str:
        """Where it is, as it is named to people."""
        return str(self.path)

    @contextmanager
    def reading(self, tenant: str = DEFAULT_TENANT) -> Iterator[StoreReader]:
        """A view of one moment."""
        with translated(self.path):
            nested = self._connection.in_transaction
            if not nested:
                self._connection.execute("BEGIN")
            try:
                yield StoreReader(self._connection.execute, tenant)
            finally:
                if not nested:
                    self._connection.execute("COMMIT")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a query; streams, so memory stays small."""
        with translated(self.path):
            return self._connection.execute(sql, parameters)

    def apart(self, look: Callable[[ForeignLedger], T]) -> T:
        """What a look finds by a connection of its own, as another thread needs one."""
        return _look(self.path, look, self._how)


def examined(path: Path, look: Callable[[ForeignLedger], T]) -> T:
    """What a look at a ledger's file finds. Raises `LedgerUnavailable` where it cannot be opened as one."""
    return _read_apart(path, lambda how: _look(path, look, how))


def _read_apart(path: Path, read: Callable[[str], T]) -> T:
    """What is read of a file that does not change meanwhile, or else the ordinary way."""
    before = _check(path)
    if not _has_log(path):
        try:
            # Read so, SQLite leaves nothing beside the file, and takes no lock on it. It is right only where nobody
            # writes meanwhile, so the file is looked at before and after.
            found = read("mode=ro&immutable=1")
        except LedgerCorrupt:
            if _same(path, before):
                raise
        else:
            if _same(path, before):
                return found
    return read("mode=ro")


def lock_events_in(path: Path) -> tuple[str, list[JournalEvent]]:
    """The id of a ledger and its events of a lock. Raises `LedgerUnavailable` where it cannot be opened as one.

    This stands before each reading of settings: it looks at nothing else of the file. One of an older version has none.
    """

    def read(how: str) -> tuple[str, list[JournalEvent]]:
        with translated(path):
            connection = _connected(path, how)
            try:
                application_id = int(connection.execute("PRAGMA application_id").fetchone()[0])
                version = int(connection.execute("PRAGMA user_version").fetchone()[0])
                if application_id != APPLICATION_ID or version < SCHEMA_WITH_LOCK:
                    return "", []
                connection.execute("PRAGMA trusted_schema = OFF")
                row = connection.execute("SELECT ledger_id FROM ledger").fetchone()
                return ("", []) if row is None else (str(row[0]), StoreReader(connection.execute, "").lock_events())
            finally:
                connection.close()

    return _read_apart(path, read)


def fingerprint(connection: sqlite3.Connection) -> str:
    """SHA-256 over every table, index, trigger and view as it was made."""
    digest = hashlib.sha256()
    for row in connection.execute(SELECT_SCHEMA):
        digest.update(repr(tuple(row)).encode() + b"\n")
    return digest.hexdigest()


def expected_fingerprint() -> str:
    """The fingerprint of a ledger that this program makes."""
    model = _model()
    try:
        return fingerprint(model)
    finally:
        model.close()


def schema_of(ledger: ForeignLedger) -> str:
    """The fingerprint of a ledger's file."""
    return fingerprint(ledger._connection)  # noqa: SLF001


def unreadable_tables(ledger: ForeignLedger) -> list[str]:
    """Tables of ours that are something else here; reading them could run what their maker wants."""
    model = _model()
    try:
        ours = {row[1]: tuple(row) for row in model.execute(SELECT_SCHEMA) if row[0] == "table"}
    finally:
        model.close()
    there = {row[1]: tuple(row) for row in ledger.rows(SELECT_SCHEMA) if row[0] in ("table", "view")}
    return sorted(name for name, row in ours.items() if there.get(name) != row)


def _model() -> sqlite3.Connection:
    model = sqlite3.connect(":memory:")
    for _, sql in migrations():
        for statement in statements(sql):
            model.execute(statement)
    return model


def _look(path: Path, look: Callable[[ForeignLedger], T], how: str) -> T:
    with translated(path):
        connection = _connected(path, how)
        try:
            return look(_hardened(path, connection, how))
        finally:
            connection.close()


def _connected(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{how}", uri=True, isolation_level=None)


def _hardened(path: Path, connection: sqlite3.Connection, how: str) -> ForeignLedger:
    # The file may be made to harm its reader: its views and triggers call no function, its pages are checked before
    # they are believed, and it is not mapped into memory, where a file that shrinks would end the process.
    for pragma in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES_MAX)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    # Whatever a schema smuggles in, SQLite asks here before it does it.
    connection.set_authorizer(_authorize)
    application_id = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if application_id != APPLICATION_ID:
        raise not_ours(path, application_id)
    version, known = int(connection.execute("PRAGMA user_version").fetchone()[0]), migrations()[-1][0]
    if version > known:
        raise LedgerTooNew(
            f"The ledger {path} has schema {version}; this program knows up to {known}.", hint="Update Tallygate."
        )
    if version < known:
        raise LedgerUnavailable(
            f"The ledger {path} has schema {version}, of an older version; this program verifies schema {known}.",
            hint="Open a copy of it once: TALLYGATE_DB=COPY tallygate status. Then verify the copy.",
            code="ledger_too_old",
        )
    try:
        return ForeignLedger(path, connection, how)
    except (sqlite3.OperationalError, TypeError) as error:
        raise LedgerCorrupt(f"{path} has no ledger in it: {error}.", hint="Nothing was changed.") from error


def _authorize(action: int, first: str | None, _: str | None, __: str | None, ___: str | None) -> int:
    if action in _ALLOWED or (action == sqlite3.SQLITE_PRAGMA and first in _ALLOWED_PRAGMAS):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _check(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise LedgerUnavailable(
            f"The ledger {path} cannot be opened: {error.strerror}.",
            hint="Check the path, or pass another with --db.",
            code="storage_unreadable",
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise LedgerUnavailable(
            f"The ledger {path} is not a regular file.", hint="Pass a file with --db.", code="storage_unsafe"
        )
    return _identity(found)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _has_log(path: Path) -> bool:
    """Whether somebody has the file open, or left it without closing."""
    return any(path.with_name(path.name + ending).exists() for ending in ("-wal", "-shm", "-journal"))


def _same(path: Path, before: tuple[int, ...]) -> bool:
    try:
        return _identity(path.stat()) == before and not _has_log(path)
    except OSError:
        return False
