"""Which servers are alive: each holds a lock on a file of its own, which the kernel lets go when it dies."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from tallygate.core.errors import LedgerUnavailable
from tallygate.ledger.lock import FileLock

HOOK_SUFFIX = ".hook"
_NAME = re.compile(r"[0-9a-f]{8,64}")


class ServerPresence:
    """The presence files of one ledger, in the folder beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: FileLock | None = None
        self._own_path: Path | None = None

    def announce(self, server_id: str) -> None:
        """Be alive under this id until `leave` or the end of the process."""
        for folder in (self._folder.parent, self._folder):  # parents=True would leave the upper one open to others
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own_path = self._path(server_id)
        self._own = FileLock(self._own_path, timeout_ms=0)
        self._own.__enter__()

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
                    words = file.readline(200).split()
            except OSError:
                continue
            if len(words) == 3 and words[2].isdigit() and int(words[2]) in processes:
                found.append(path.stem)
        return tuple(found)

    def sweep(self) -> None:
        """Remove what servers left that were killed."""
        try:
            names = {path.stem for path in self._folder.iterdir()}
        except OSError:
            return
        for server_id in names:
            if not self.is_alive(server_id) and _NAME.fullmatch(server_id):
                self.hook_file(server_id).unlink(missing_ok=True)

    def is_alive(self, server_id: str) -> bool:
        """Whether the server with this id still runs; removes what a dead one left."""
        if not _NAME.fullmatch(server_id):
            return False
        path = self._path(server_id)
        if path == self._own_path:
            return self._own is not None
        if not path.exists():
            return False
        try:
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

    def _path(self, server_id: str) -> Path:
        return self._folder / f"{server_id}.alive"
