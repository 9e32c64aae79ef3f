"""Which servers are alive: each holds a lock on a file of its own, which the kernel lets go when it dies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from tallygate.core.errors import LedgerUnavailable
from tallygate.core.regex import regex
from tallygate.ledger.sqlite.files import FileLock
from tallygate.machine import UNKNOWN, here, whereabouts

HOOK_SUFFIX = ".hook"
ALONE, ALONE_BYTES_MAX = "alone", 1 << 16
DAY_S = 86_400
STARTS_S = 60
_NAME = regex(r"[0-9a-f]{8,64}")


class ServerPresence:
    """The presence files of one ledger, in the folder beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: FileLock | None = None
        self._own_path: Path | None = None

    def announce(self, server_id: str) -> None:
        """Be alive under this id until `leave` or the end of the process."""
        self._make_folders()
        self._own_path = self._path(server_id)
        self._own = FileLock(self._own_path, timeout_ms=0, more=f"{whereabouts()}\n")
        self._own.__enter__()

    def _make_folders(self) -> None:
        for folder in (self._folder.parent, self._folder):  # parents=True would leave the upper one open to others
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def leave(self) -> None:
        """Stop being alive and remove the file."""
        if self._own is None or self._own_path is None:
            return
        self._own_path.unlink(missing_ok=True)
        self._own_path.with_suffix(HOOK_SUFFIX).unlink(missing_ok=True)
        self._own.close()
        self._own = None

    def hook_file(self, server_id: str) -> Path:
        """Where a server says how its hooks reach it."""
        return self._path(server_id).with_suffix(HOOK_SUFFIX)

    def started_by(self, processes: Collection[int]) -> tuple[str, ...]:
        """The servers that run and were started by one of these processes: those of the clients around."""
        try:
            files = [path for path in self._folder.iterdir() if path.suffix == HOOK_SUFFIX]
        except OSError:
            return ()
        found = []
        for path in files:
            try:
                with path.open("rb") as file:
                    words = file.readline(400).split()
            except OSError:
                continue
            # A server's note is of this machine where it says so; an older version did not say of which it was.
            is_here = len(words) == 3 or (
                len(words) == 5 and tuple(word.decode("ascii", "replace") for word in words[3:]) == here()
            )
            if is_here and words[2].isdigit() and int(words[2]) in processes:
                found.append(path.stem)
        return tuple(found)

    def note_alone(self, at_us: int, client: str, event: str) -> None:
        """Write down that a hook found no server and started the gate by itself; of old notes none is missed."""
        with contextlib.suppress(OSError):  # a hook is answered all the same
            self._make_folders()
            file = self._folder / ALONE
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            handle = os.open(file, flags, 0o600)
            try:
                if os.fstat(handle).st_size > ALONE_BYTES_MAX:
                    os.ftruncate(handle, 0)
                os.write(handle, f"{at_us} {client[:40]} {event[:60]}\n".encode("utf-8", "replace"))
            finally:
                os.close(handle)

    def alone_since(self, since_us: int) -> list[tuple[int, str, str]]:
        """When hooks started the gate by themselves, and whose they were, the latest last."""
        try:
            text = (self._folder / ALONE).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        rows = [words for line in text.split("\n") if len(words := line.split(" ")) == 3 and words[0].isdecimal()]
        return [(int(at), client, event) for at, client, event in rows if len(at) < 20 and int(at) >= since_us]

    def sweep(self) -> None:
        """Remove what servers left that were killed."""
        try:
            names = {path.name.partition(".")[0] for path in self._folder.iterdir()}
        except OSError:
            return
        for server_id in names:
            if _NAME.fullmatch(server_id) and not self._is_starting(server_id) and not self.is_alive(server_id):
                file = self.hook_file(server_id)
                for left in (file, file.with_name(f"{file.name}.new")):  # it may have died while it wrote
                    left.unlink(missing_ok=True)

    def _is_starting(self, server_id: str) -> bool:
        """Whether a server may still be on its way: it says where hooks reach it before it can say that it lives."""
        if self._own_path is None or self._path(server_id).exists():
            return False
        try:
            began = self.hook_file(server_id).stat().st_mtime
            return abs(self._own_path.stat().st_mtime - began) < STARTS_S and not self._is_gone(server_id)
        except OSError:
            return False

    def _is_gone(self, server_id: str) -> bool:
        """Whether a server that has not said that it lives was a process of this machine which is no more."""
        with self.hook_file(server_id).open("rb") as file:
            words = file.readline(400).decode("ascii", "replace").split()
        pid = words[1].partition(".")[2] if len(words) == 5 and tuple(words[3:]) == here() else ""
        try:
            os.kill(int(pid), 0)
        except (ProcessLookupError, OverflowError):
            return True
        except (OSError, ValueError):
            pass
        return False

    def is_alive(self, server_id: str) -> bool:
        """Whether the server with this id still runs; removes what a dead one left."""
        if not _NAME.fullmatch(server_id):
            return False
        path = self._path(server_id)
        if path == self._own_path:
            return self._own is not None
        if not path.exists():
            return False
        if (judged := self._judged_by_place(path)) is not None:
            return judged
        try:
            # A server holds the lock on its file for as long as it lives, and the kernel lets go of it however it dies:
            # who gets the lock knows that it is gone.
            probe = FileLock(path, timeout_ms=0)
        except LedgerUnavailable:
            return False
        try:
            with probe:
                path.unlink(missing_ok=True)
                return False
        except LedgerUnavailable:
            return True
        finally:
            probe.close()

    def _judged_by_place(self, path: Path) -> bool | None:
        """Whether a server lives by where it runs: in a home that machines share, locks of others may not be seen.

        None where this machine's locks tell: it runs under the same kernel, or an older version announced it. What
        another machine left is believed for a day.
        """
        try:
            with path.open("rb") as file:
                words = file.read(128)[12:].decode("ascii", "replace").split()
            began = path.stat().st_mtime
        except OSError:
            return None
        host, boot = whereabouts().split()
        if len(words) != 2 or UNKNOWN in (boot, words[1]) or words[1] == boot:
            return None
        if words[0] == host:
            path.unlink(missing_ok=True)  # this machine was started since
            return False
        if self._own_path is None or self._own_path.stat().st_mtime - began < DAY_S:
            return True
        return None

    def _path(self, server_id: str) -> Path:
        return self._folder / f"{server_id}.alive"
