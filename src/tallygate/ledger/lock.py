"""One writer at a time, across processes: an advisory lock on a file beside the ledger, waited for with a bound.

SQLite's own busy handler starves writers, and versions up to 3.51.2 can lose a commit when a checkpoint meets a
WAL reset; holding this lock around every write, checkpoint and close removes both.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from tallygate.core.errors import LedgerUnavailable

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
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
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
        if not _try_lock(self._fd):
            self._wait()
        self._sign()

    def try_enter(self) -> bool:
        """Take the lock if nobody holds it; False where somebody does."""
        if not _try_lock(self._fd):
            return False
        self._sign()
        return True

    def _sign(self) -> None:
        """Leave the holder's pid for whoever waits; a full disk may refuse that, and the lock is held all the same."""
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, self._pid, 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _unlock(self._fd)

    def _wait(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        pause = _FIRST_PAUSE_S
        while not _try_lock(self._fd):
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


if sys.platform == "win32":
    import msvcrt

    def _try_lock(fd: int) -> bool:
        # The byte that is locked lies past the pid, so that a waiter can read who holds it.
        os.lseek(fd, 64, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, 64, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)
