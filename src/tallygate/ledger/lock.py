"""One writer at a time, across processes: an advisory lock on a file beside the ledger, waited for with a bound.

SQLite's own busy handler starves writers, and versions up to 3.51.2 can lose a commit when a checkpoint meets a
WAL reset; holding this lock around every write, checkpoint and close removes both.
"""

from __future__ import annotations

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
    file so that a waiter can say who it waited for.
    """

    def __init__(self, path: Path, *, timeout_ms: int) -> None:
        self._path = path
        self._timeout_s = timeout_ms / 1000
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        self._fd = os.open(path, flags, 0o600)
        self._pid = f"{os.getpid():<12}".encode()

    def __enter__(self) -> None:
        if _try_lock(self._fd):
            os.pwrite(self._fd, self._pid, 0)
            return
        self._wait()
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

    def is_free(self) -> bool:
        """Whether nobody holds it at this moment."""
        if not _try_lock(self._fd):
            return False
        _unlock(self._fd)
        return True

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
