"""The ledger's file: this user's alone, one writer at a time, and of this program's schema."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from importlib import resources
from pathlib import Path
from types import TracebackType

from tallygate.core.errors import LedgerCorrupt, LedgerTooNew, LedgerUnavailable
from tallygate.files import create

# --- files -----------------------------------------------------------------------------------------------------------
# The ledger's file: made for this user alone, and refused where others could read or replace it.


APPLICATION_ID = 0x54475431  # "TGT1"


def prepare(path: Path) -> None:
    """Make folder and file readable by this user alone, or refuse what others could read or replace."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(create(path))
        except FileExistsError:
            _check_existing(path)
    except OSError as error:
        raise LedgerUnavailable(
            f"The ledger {path} cannot be created or opened: {error.strerror}.",
            hint="Check the folder's permissions, or set TALLYGATE_DB to another path.",
            code="storage_unreadable",
        ) from error


def is_nothing(path: Path) -> bool:
    """Whether there is no ledger at a place: no file, or one in which nothing was ever written."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # nobody can say: opening it tells
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def is_ours(path: Path) -> bool:
    """Whether a file is a ledger of this program, by what it holds."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            header = file.read(100)
    except OSError:
        return False
    return header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION_ID.to_bytes(4, "big")


def _check_existing(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise LedgerUnavailable(
            f"The ledger {path} is not a regular file.",
            hint="Remove the link or special file, or set TALLYGATE_DB to another path.",
            code="storage_unsafe",
        )
    # Another program's database is not ours to open, nor to advise on. One that is new and still empty, or damaged, has
    # no such header: opening it tells.
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) == 100 and header.startswith(b"SQLite format 3"):
        application_id = int.from_bytes(header[68:72], "big")
        if application_id != APPLICATION_ID:
            raise not_ours(path, application_id)
    if found.st_uid != os.getuid():
        raise LedgerUnavailable(
            f"The ledger {path} belongs to another user (uid {found.st_uid}).",
            hint="Set TALLYGATE_DB to a file of your own.",
            code="storage_unsafe",
        )
    if found.st_mode & 0o077:
        raise LedgerUnavailable(
            f"The ledger {path} can be read or written by others (mode {stat.S_IMODE(found.st_mode):o}).",
            hint=f"Run: chmod 600 {path}",
            code="storage_unsafe",
        )


def not_ours(path: Path, application_id: int) -> LedgerCorrupt:
    """The error for a database that some other program made."""
    return LedgerCorrupt(
        f"{path} is not a Tallygate ledger (application id {application_id:#x}).",
        hint="Nothing was changed. Point TALLYGATE_DB at a new file, or at the right one.",
    )


# --- lock ------------------------------------------------------------------------------------------------------------
# One writer at a time, across processes: an advisory lock on a file beside the ledger, waited for with a bound.
#
# SQLite's own busy handler starves writers, and versions up to 3.51.2 can lose a commit when a checkpoint meets a WAL
# reset; holding this lock around every write, checkpoint and close removes both.


_FIRST_PAUSE_S = 0.00005
_PAUSE_S_MAX = 0.002


class FileLock:
    """An exclusive lock on a file, held by a context manager; not reentrant, one holder a process.

    The kernel releases it when the process dies, however it dies. The holder's pid is written into the
    file so that a waiter can say who it waited for, and `more` behind it.
    """

    def __init__(self, path: Path, *, timeout_ms: int, more: str = "") -> None:
        self._path = path
        self._timeout_s = timeout_ms / 1000
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise LedgerUnavailable(
                f"The lock {path} cannot be opened: {error.strerror}.",
                hint="The ledger's folder and its lock file must be writable for this user.",
                code="storage_read_only",
            ) from error
        self._pid = f"{os.getpid():<12}{more}".encode()

    def __enter__(self) -> None:
        if not self.try_enter():
            self.wait()

    def try_enter(self) -> bool:
        """Take the lock if nobody holds it; False where somebody does."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # The holder's pid is for whoever waits; a full disk may refuse it, and the lock is held all the same.
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, self._pid, 0)
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def wait(self) -> None:
        """Take the lock when its holder has let it go; not for longer than is waited for at all."""
        deadline = time.monotonic() + self._timeout_s
        pause = _FIRST_PAUSE_S
        while not self.try_enter():
            if time.monotonic() >= deadline:
                raise LedgerUnavailable(
                    f"The ledger is locked by process {self.holder()} and stayed so for {self._timeout_s:g} s.",
                    hint="Try again; if it stays, look at that process with `tallygate doctor`.",
                    code="lock_timeout",
                )
            time.sleep(pause)
            pause = min(pause * 2, _PAUSE_S_MAX)

    def holder(self) -> str:
        """The pid that took the lock last, as text; `unknown` where none was written."""
        return os.pread(self._fd, 12, 0).decode("ascii", "replace").strip() or "unknown"

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


# --- migrate ---------------------------------------------------------------------------------------------------------
# Numbered .sql files, each applied in its own transaction with its version; a newer ledger is refused.


def migrations() -> list[tuple[int, str]]:
    """Every migration that ships with the program, in order: (version, SQL text)."""
    folder = resources.files("tallygate.ledger") / "schema" / "sqlite"
    files = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), (folder / name).read_text(encoding="utf-8")) for name in files]


def statements(sql: str) -> list[str]:
    """Split a script where SQLite says a statement is complete; triggers contain semicolons of their own."""
    parts: list[str] = []
    current = ""
    for line in sql.splitlines(keepends=True):
        current += line
        if ";" in line and sqlite3.complete_statement(current):
            parts.append(current.strip())
            current = ""
    if current.strip():
        parts.append(current.strip())
    return parts


def migrate(connection: sqlite3.Connection, location: str) -> int:
    """Bring the schema up to this program's version; the caller holds the writer's lock. Returns the version.

    Never uses `executescript`: it commits the open transaction before it starts.
    """
    known = migrations()
    newest = known[-1][0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > newest:
        raise LedgerTooNew(
            f"The ledger {location} has schema {version}; this program knows up to {newest}.",
            hint="Update Tallygate, or point TALLYGATE_DB at another file.",
        )
    for number, sql in known:
        if number <= version:
            continue
        # The version is written in the same transaction: a program that dies here leaves the schema before or after,
        # and no half.
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements(sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return newest
