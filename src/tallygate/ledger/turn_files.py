"""What agents have done in a turn, as counts and digests: one small file for each client's session, beside the ledger.

It is no part of the ledger: nothing is decided by it that has to be proven, it changes with each call of a tool, and it
is gone with its session. So it costs no commit, and no digest of anything that was asked stands in the ledger, in what
is exported of it, or in a copy. The key of the digests is this user's own and lies beside the files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tallygate.files import create

log = logging.getLogger("tallygate.loops")

FOLDER, KEY_FILE, SUFFIX = "turns", "key", ".turn"
KEY_BYTES = 32
BYTES_MAX = 1 << 20
DAY_NS = 86_400 * 10**9
# Another hook holds a file for as long as it takes to write it; one that holds it longer hangs.
TRIES, PAUSE_S = 40, 0.002


class KeptTurn:
    """The text of one session's turn, while nobody else has it; what is put there is kept."""

    def __init__(self, text: str) -> None:
        self.text = text


class TurnFiles:
    """The files of one ledger's sessions."""

    def __init__(self, folder: Path, new_token: Callable[[int], str]) -> None:
        self._folder = folder
        self._new_token = new_token
        self._key: bytes | None = None

    def key(self) -> bytes | None:
        """The key of all digests, made at its first use; None where it can be neither read nor made."""
        if self._key is None:
            try:
                self._key = self._read_key()
            except OSError as error:
                log.warning("Loops are not seen: %s cannot be used: %s.", self._folder, error.strerror)
        return self._key

    def _read_key(self) -> bytes:
        path = self._folder / KEY_FILE
        self._make_folder()
        if not path.exists():
            made = path.with_name(f"{KEY_FILE}.{self._new_token(8)}")
            with os.fdopen(create(made), "wb") as file:
                file.write(bytes.fromhex(self._new_token(KEY_BYTES)))
            with contextlib.suppress(FileExistsError):  # whoever is first has made it
                os.link(made, path)
            made.unlink()
        with path.open("rb") as file:
            return file.read(KEY_BYTES)

    @contextlib.contextmanager
    def turn(self, client: str, session: str) -> Iterator[KeptTurn | None]:
        """A session's turn; None where it can be neither read nor kept, or somebody has it for too long."""
        try:
            handle = self._opened(self._path(client, session))
        except OSError as error:
            log.warning("Loops are not seen: %s cannot be used: %s.", self._folder, error.strerror)
            handle = None
        if handle is None:
            yield None
            return
        try:
            data = os.read(handle, BYTES_MAX)
            kept = KeptTurn(data.decode("utf-8", "replace"))
            yield kept
            if (text := kept.text.encode()) != data:
                self._write(handle, text)
        finally:
            os.close(handle)

    def _write(self, handle: int, text: bytes) -> None:
        """Put a text into its file; never another file in its place, since whoever waits for it has this one open.

        What is cut short by a crash cannot be read, and counting begins anew.
        """
        try:
            os.pwrite(handle, text, 0)
            os.ftruncate(handle, len(text))
        except OSError as error:
            log.warning("Loops are not seen: %s cannot be used: %s.", self._folder, error.strerror)

    def forget(self, client: str, session: str) -> None:
        """Take a session's turn away."""
        with contextlib.suppress(OSError):
            self._path(client, session).unlink(missing_ok=True)

    def _opened(self, path: Path) -> int | None:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(path, flags)
        except FileNotFoundError:
            self._make_folder()
            handle = os.open(path, flags | os.O_CREAT, 0o600)
            self._sweep(os.fstat(handle).st_mtime_ns - DAY_NS)
        for _ in range(TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return handle
            except BlockingIOError:
                time.sleep(PAUSE_S)
        os.close(handle)
        return None

    def _make_folder(self) -> None:
        for folder in (self._folder.parent, self._folder):  # parents=True would leave the upper one open to others
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _sweep(self, before_ns: int) -> None:
        """Remove what sessions left that nobody ended; looked for when a new one begins."""
        with os.scandir(self._folder) as found:
            names = [Path(each.path) for each in found if each.name.endswith(SUFFIX)]
        for path in names:
            with contextlib.suppress(OSError):
                if path.stat(follow_symlinks=False).st_mtime_ns < before_ns:
                    path.unlink()

    def _path(self, client: str, session: str) -> Path:
        digest = hashlib.sha256(f"{client}\0{session}".encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / f"{digest[:32]}{SUFFIX}"
