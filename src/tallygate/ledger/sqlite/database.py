"""The embedded ledger: one SQLite file, opened carefully, written under a lock, closed without losing a row."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from tallygate.core.errors import LedgerCorrupt, LedgerMissing, LedgerUnavailable
from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.moments import ClockWatch
from tallygate.core.proof import WAY_OUT, Head, Mark, missing, replaced
from tallygate.core.usage import Rules
from tallygate.core.values import value
from tallygate.files import create, on_disk
from tallygate.ledger.anchor import Anchor, AnchorRecord
from tallygate.ledger.port import LedgerBusy
from tallygate.ledger.shapes import SQLITE
from tallygate.ledger.sqlite.files import APPLICATION_ID, FileLock, is_nothing, migrate, migrations, not_ours, prepare
from tallygate.ledger.sqlite.held import HeldHistory
from tallygate.ledger.store.usage import beside
from tallygate.ledger.transaction import PROVE, SELECT_STEP_HISTORY, StepHistory, StoreReader, StoreTx

log = logging.getLogger("tallygate")

_ERRORS = {
    "SQLITE_FULL": ("storage_full", "Free some disk space; nothing was recorded."),
    "SQLITE_BUSY": ("lock_timeout", "Another program holds the ledger; try again."),
    "SQLITE_LOCKED": ("lock_timeout", "Another program holds the ledger; try again."),
    "SQLITE_READONLY": ("storage_read_only", "Make the ledger file and its folder writable for this user."),
    "SQLITE_CANTOPEN": ("storage_unreadable", "Check that the folder exists and belongs to this user."),
    "SQLITE_PERM": ("storage_unreadable", "Check the permissions of the ledger file."),
    "SQLITE_IOERR": ("storage_failed", "The disk did not take the write; check it, then try again."),
}

_PAUSE_S, _STARTING_MS = 0.02, 8_000
# A log that grows costs each commit a second wait for the disk, for the file's new length. From so many pages on, about
# a hundred steps, it is written into the ledger and then over again; in fewer, that would be most of the writing.
LOG_PAGES = 1000
# What a step changes are a few rows in ten places. Of larger pages most that is written would be as it was.
PAGE_BYTES = 1024
# What a step writes of the log at most, and from how little space on a disk on that is held to be a question.
_PAGES_OF_A_STEP, _ROOM_BYTES = 16, 1 << 20


class SqliteLedger:
    """A ledger in one file. One connection, used by one thread at a time; writers also hold the file lock.

    `clock` gives microseconds since 1970 UTC. Worker threads may call from anywhere: a re-entrant lock
    serialises them, since a transaction belongs to the connection and not to a thread.

    With an `anchor` the ledger has to be the one that was there, and no older; `accepting` leaves that to `accept`.
    Without `making` a ledger that is not there is not made. `rules` are those by which clients' records are read.
    """

    kind = SQLITE

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int],
        new_ledger_id: Callable[[], str],
        durability: str = "full",
        lock_timeout_ms: int = 2000,
        watch: ClockWatch | None = None,
        anchor: Anchor | None = None,
        making: bool = True,
        accepting: bool = False,
        rules: Rules | None = None,
    ) -> None:
        self.path = path
        self.anchor = anchor
        # Before the ledger: one that was made first would be borne out by nothing and by everything.
        remembered = AnchorRecord() if anchor is None else anchor.read()
        marks = () if accepting else remembered.marks
        is_new = is_nothing(path)
        if is_new and not making and not marks:
            is_new = not _appears(path, lock_timeout_ms)
        if is_new and not marks and not accepting and anchor is not None:
            # An anchor that is there and says nothing is no first start.
            mute = remembered.mute
            if mute is not None and not anchor.has_passed():
                raise LedgerMissing(
                    f"The ledger {path} is gone, and its anchor {mute} cannot be read: how it ended is not known.",
                    hint=f"Nothing is counted anew. {WAY_OUT}",
                )
        if is_new:
            marks = self._missed(marks, making=making)
        self._clock = clock
        self._durability = durability
        self._guard = threading.RLock()
        prepare(path)
        with translated(path):
            self._lock = FileLock(path.with_name(path.name + ".lock"), timeout_ms=lock_timeout_ms)
            self._connection = sqlite3.connect(
                path,
                timeout=lock_timeout_ms / 1000,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            held = None
            try:
                self._open(durability, new_ledger_id, marks)
                if anchor is not None:
                    held = HeldHistory(path, self.ledger_id, anchor, self._connection.execute)
                    if not accepting:
                        held.opened(replace(remembered, marks=marks), self._lock, is_new=is_new)
            except BaseException:
                self._connection.close()
                self._lock.close()
                raise
        opened = path.stat()
        identity = (opened.st_dev, opened.st_ino)
        self._held = held
        self._handle = Handle(
            path,
            self._connection,
            self._guard,
            self._lock,
            identity,
            self.ledger_id,
            clock,
            watch,
            rules,
            None if accepting else held,
        )

    def _missed(self, marks: tuple[Mark, ...], *, making: bool) -> tuple[Mark, ...]:
        """What is remembered of a ledger that is not there. Raises `LedgerMissing` where that has to be said."""
        empty = os.access(self.path, os.F_OK)
        if marks and self.anchor is not None:
            gone = missing(str(self.path), marks[-1], empty=empty)
            if not self.anchor.has_passed():
                raise gone
            log.warning("%s It was thrown away with its folder, and a variable names it: it begins anew.", gone.message)
        if not making:
            raise LedgerMissing(
                f"Nothing is counted yet: the ledger {self.path} {'is empty' if empty else 'does not exist'}.",
                hint="Start the client again, whose server makes one, or run: tallygate init",
            )
        return ()

    def _open(self, durability: str, new_ledger_id: Callable[[], str], marks: tuple[Mark, ...]) -> None:
        connection = self._connection
        # Only a new file can take another size; an old one would pass it on to its backups.
        if not connection.execute("PRAGMA page_count").fetchone()[0]:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        for pragma in _pragmas(durability):
            connection.execute(f"PRAGMA {pragma}")
        application_id = int(connection.execute("PRAGMA application_id").fetchone()[0])
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if application_id != APPLICATION_ID or version != migrations()[-1][0]:
            with self._lock:
                self._create_or_migrate()
        mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
        if mode.lower() != "wal":
            with self._lock:  # a backup comes without the log and gets one here
                mode = str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        if mode.lower() != "wal":
            raise LedgerUnavailable(
                f"The ledger {self.path} cannot use a write-ahead log here (SQLite answered {mode!r}).",
                hint="Put it on a local disk: set TALLYGATE_DB to a path that is not on a network share.",
                code="storage_unsuitable",
            )
        self.ledger_id = self._identity(new_ledger_id, marks)

    def _create_or_migrate(self) -> None:
        connection = self._connection
        application_id = int(connection.execute("PRAGMA application_id").fetchone()[0])
        tables = int(connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0])
        if application_id != APPLICATION_ID:
            if application_id or tables:
                raise not_ours(self.path, application_id)
            # The mark comes first: whoever looks at the file meanwhile finds it empty or ours.
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, str(self.path))

    def _identity(self, new_ledger_id: Callable[[], str], marks: tuple[Mark, ...]) -> str:
        row = self._connection.execute("SELECT ledger_id FROM ledger").fetchone()
        if row is None and marks:
            raise replaced(str(self.path), marks[-1], "none")
        if row is None:
            with self._lock:
                self._connection.execute(
                    "INSERT OR IGNORE INTO ledger (one, ledger_id, created_us) VALUES (1, :id, :at_us)",
                    {"id": new_ledger_id(), "at_us": self._clock()},
                )
            row = self._connection.execute("SELECT ledger_id FROM ledger").fetchone()
        return str(row[0])

    @property
    def place(self) -> str:
        """Where it is, as it is named to people."""
        return str(self.path)

    def reading(self, tenant: str = DEFAULT_TENANT) -> ReadTransaction:
        """A consistent view of one moment; several reads inside see the same rows."""
        return ReadTransaction(self._handle, tenant)

    def step_history(
        self, tenant: str, session_id: str, agent: str, agent_id: str | None, model: str, *, looked_at: tuple[int, int]
    ) -> StepHistory:
        """What the estimate of an agent's step asks, by one look; `looked_at`: so many costs, among so many responses.

        One statement sees one moment by itself and begins nothing.
        """
        handle = self._handle
        asked = {
            "tenant": tenant,
            "session_id": session_id,
            "agent": agent,
            "agent_id": agent_id,
            "model": model,
            "levels": looked_at[0],
            "limit": looked_at[1],
            "beside": beside(handle.rules),
        }
        with guarded(self._guard), translated(self.path):
            row = self._connection.execute(SELECT_STEP_HISTORY, asked).fetchone()
            found = StepHistory(tenant, handle.rules, row)
            found.is_changing = self._connection.in_transaction
        return found

    def writing(self, tenant: str = DEFAULT_TENANT) -> WriteTransaction:
        """The only way to write. Commits when the block ends, rolls everything back when it raises."""
        return WriteTransaction(self._handle, tenant)

    def accept(self) -> None:
        """Let the anchor begin with this ledger as it is: the user goes on with it."""
        with self._guard, self._lock, translated(self.path):
            if self._held is not None:
                self._held.anew()

    def prove(self, tenant: str = DEFAULT_TENANT) -> None:
        """Raise `LedgerUnavailable` where nothing could be recorded now, though the ledger can still be read.

        A file that was removed, replaced, locked, or has no space left goes on being read as it was, and what it says
        is left would be left for ever. So something is written that means nothing. It need not outlast a power cut:
        at NORMAL a commit waits for no disk, and checkpoints still do. That is a page, and a step writes several: where
        a disk has nearly no space left, as many are tried, since the log may hold one more and no step.
        """
        with guarded(self._guard), translated(self.path):
            self._connection.execute("PRAGMA synchronous = NORMAL")
            try:
                for _ in range(1 if has_room(self.path.parent) else _PAGES_OF_A_STEP):
                    with self.writing(tenant):
                        self._connection.execute(PROVE)
            finally:
                self._connection.execute(f"PRAGMA {_synchronous(self._durability)}")

    def others_wrote(self) -> object:
        """What is another one once any other program has written; asking reads no row and begins nothing.

        SQLite counts that for each connection by itself, so it is told which one this is.
        """
        with guarded(self._guard), translated(self.path):
            return self._handle, self._connection.execute("PRAGMA data_version").fetchone()[0]

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, this thread does not wait for the ledger: `LedgerBusy` is raised where it would have to."""
        token = _NO_WAIT.set(True)
        try:
            yield
        finally:
            _NO_WAIT.reset(token)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a read-only query, for the audit inside `reading()`; streams, so memory stays small."""
        with translated(self.path):
            return self._connection.execute(sql, parameters)

    def backup(self, target: Path, tenant: str = DEFAULT_TENANT) -> Head:
        """A complete copy in one new file, also while others write; returns the head of the chain in the copy.

        Copying the file alone would lose its log. Raises `FileExistsError` where the target is there already.
        """
        os.close(create(target))
        try:
            with self._guard, translated(self.path):
                self._connection.execute("VACUUM INTO :target", {"target": str(target.absolute())})
            on_disk(target)
            with translated(target), contextlib.closing(sqlite3.connect(target)) as copy:
                return StoreReader(copy.execute, tenant).head()
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Close under the writer's lock, since the last close checkpoints the log. Safe to call twice."""
        with self._guard:
            try:
                with self._lock:
                    self._connection.close()
            except (LedgerUnavailable, ValueError, OSError):
                self._connection.close()
            self._lock.close()
            if self.anchor is not None:
                self.anchor.close()


def _appears(path: Path, timeout_ms: int) -> bool:
    """Whether a ledger is made while one waits for it: a client runs its first hook while its server still starts.

    A server that has said that it runs is waited for longer.
    """
    began_ns = time.monotonic_ns()
    while is_nothing(path):
        waited_ms = (time.monotonic_ns() - began_ns) // 1_000_000
        if waited_ms >= timeout_ms:
            try:
                # Only looked at once the usual wait is over: nearly always the file is there at once.
                is_starting = any(each.suffix == ".alive" for each in path.with_name("servers").iterdir())
            except OSError:
                is_starting = False
            if waited_ms >= _STARTING_MS or not is_starting:
                return False
        time.sleep(_PAUSE_S)
    return True


_NO_WAIT: ContextVar[bool] = ContextVar("tallygate_ledger_no_wait", default=False)


@contextmanager
def guarded(guard: threading.RLock) -> Iterator[None]:
    """Hold the connection for one reader, or say at once that somebody else has it."""
    if not guard.acquire(blocking=not _NO_WAIT.get()):
        raise LedgerBusy
    try:
        yield
    finally:
        guard.release()


@value(frozen=True, slots=True, eq=False)
class Handle:
    """An open ledger file: its connection, who may use it now and who may write, and what each transaction takes."""

    path: Path
    connection: sqlite3.Connection
    guard: threading.RLock
    lock: FileLock
    identity: tuple[int, int]
    ledger_id: str
    clock: Callable[[], int]
    watch: ClockWatch | None
    rules: Rules | None
    held: HeldHistory | None

    def check_in_place(self) -> None:
        """Refuse to count into a file that is no longer where others look for it."""
        try:
            found = self.path.stat()
            if (found.st_dev, found.st_ino) == self.identity:
                return
        except FileNotFoundError:
            pass
        raise LedgerUnavailable(
            f"The ledger {self.path} was removed or replaced while it was open.",
            hint="Put it back or restore a backup, then start the server again; nothing starts anew by itself.",
            code="storage_replaced",
        )


class ReadTransaction:
    """One consistent view, from its first read on; inside another transaction it is that one's view."""

    __slots__ = ("_handle", "_nested", "_tenant")

    def __init__(self, handle: Handle, tenant: str) -> None:
        self._handle = handle
        self._tenant = tenant
        self._nested = False

    def __enter__(self) -> StoreReader:
        handle = self._handle
        if not handle.guard.acquire(blocking=not _NO_WAIT.get()):
            raise LedgerBusy
        try:
            # Within a transaction of this process one reads what it has written so far, and begins nothing of one's
            # own.
            self._nested = handle.connection.in_transaction
            if not self._nested:
                handle.connection.execute("BEGIN")
            reader = StoreReader(handle.connection.execute, self._tenant, handle.rules)
            reader.is_changing = self._nested
            return reader
        except BaseException as error:
            handle.guard.release()
            if isinstance(error, sqlite3.DatabaseError):
                raise_translated(handle.path, error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        handle = self._handle
        try:
            if not self._nested:
                handle.connection.execute("COMMIT")
        except sqlite3.DatabaseError as failed:
            raise_translated(handle.path, failed)
            raise
        finally:
            handle.guard.release()
        if isinstance(error, sqlite3.DatabaseError):
            raise_translated(handle.path, error)


class WriteTransaction:
    """One transaction under the writer's lock, from its first read to its commit."""

    __slots__ = ("_handle", "_tenant", "_tx")

    def __init__(self, handle: Handle, tenant: str) -> None:
        self._handle = handle
        self._tenant = tenant

    def __enter__(self) -> StoreTx:
        handle = self._handle
        no_wait = _NO_WAIT.get()
        if not handle.guard.acquire(blocking=not no_wait):
            raise LedgerBusy
        try:
            if not handle.lock.try_enter():
                if no_wait:
                    raise LedgerBusy  # noqa: TRY301
                handle.lock.wait()
        except BaseException:
            handle.guard.release()
            raise
        try:
            # Only behind the lock: while this waited for it the file may have been put away, and what is written into
            # one that nobody finds any more is counted nowhere.
            handle.check_in_place()
            handle.connection.execute("BEGIN IMMEDIATE")
            tx = self._tx = StoreTx(
                handle.connection.execute,
                handle.connection.executemany,
                self._tenant,
                ledger_id=handle.ledger_id,
                wall_us=handle.clock(),
                watch=handle.watch,
                rules=handle.rules,
            )
            # Before anything is decided: in a copy from earlier, what was spent since could be spent again.
            if handle.held is not None:
                handle.held.begun(tx)
            return tx
        except BaseException as error:
            self._leave(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._handle.connection.execute("COMMIT")
            except BaseException as failed:
                self._tx.taken_back()
                self._leave(failed)
                raise
            # Behind the commit, as a mark of an event that is not there would refuse every later step; and before the
            # lock is let go, or a later writer's mark could come first.
            if self._handle.held is not None:
                self._handle.held.committed(self._tx)
        else:
            self._tx.taken_back()
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        """Roll back what did not commit, let the locks go, and say what a database's fault means."""
        handle = self._handle
        try:
            if error is not None and handle.connection.in_transaction:
                handle.connection.execute("ROLLBACK")
        except sqlite3.Error as failed:
            raise_translated(handle.path, failed)
        finally:
            handle.lock.__exit__(None, None, None)
            handle.guard.release()
        if isinstance(error, sqlite3.DatabaseError):
            raise_translated(handle.path, error)


def _synchronous(durability: str) -> str:
    return f"synchronous = {'NORMAL' if durability == 'normal' else 'FULL'}"


def _pragmas(durability: str) -> list[str]:
    wanted = [
        _synchronous(durability),
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "mmap_size = 0",
        "cache_size = -8000",
        f"wal_autocheckpoint = {LOG_PAGES}",
        "journal_size_limit = 33554432",
    ]
    if sys.platform == "darwin":
        wanted.append("fullfsync = ON")
    return wanted


def has_room(folder: Path) -> bool:
    """Whether the disk of a folder has space for more than a few steps; one that does not say is taken to have."""
    try:
        disk = os.statvfs(folder)
    except (OSError, AttributeError):  # no such question on Windows
        return True
    return disk.f_bavail * disk.f_frsize >= _ROOM_BYTES


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the database's faults into errors a user can act on; other exceptions pass unchanged."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise_translated(path, error)
        raise


def raise_translated(path: Path, error: sqlite3.Error) -> None:
    """Raise what a fault of the database means to the user; a broken constraint is a fault of the program."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        raise LedgerCorrupt(
            f"The ledger {path} is damaged: {error}.",
            hint="Nothing was counted anew. Run `tallygate doctor --rebuild`, or restore a backup.",
        ) from error
    # Ours to mend, and no advice to a user would help: it goes on as it is.
    if name.startswith("SQLITE_CONSTRAINT") or not name:
        return
    for prefix, (code, hint) in _ERRORS.items():
        if name.startswith(prefix):
            raise LedgerUnavailable(f"The ledger {path} failed: {error}.", hint=hint, code=code) from error
    raise LedgerUnavailable(f"The ledger {path} failed: {error} ({name}).", hint="Run `tallygate doctor`.") from error
