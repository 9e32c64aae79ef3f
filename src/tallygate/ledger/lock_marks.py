"""What is remembered of a lock beside the anchors of its ledger, so that it does not end with the ledger's file.

One file for a key in each folder that an anchor may lie in: whatever host wrote it, it counts for every host. It holds
the lock's own events with their signatures, so that nobody can put other settings into it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tallygate.core.values import value
from tallygate.files import create
from tallygate.ledger.anchor import OF_PATH, Anchor
from tallygate.ledger.port import JournalEvent

ENDING, LOST = ".locked", "lost"
READ_MAX, BYTES_MAX = 16, 4 << 20


@value(frozen=True, slots=True)
class LockMark:
    """A lock by the id of its key, with its events; none where the file cannot be read."""

    file: Path
    keyid: str
    ledger_id: str = ""
    events: tuple[JournalEvent, ...] = ()


@value(frozen=True, slots=True)
class LostMark:
    """A lock that was ended without its passphrase while no ledger could tell of it."""

    at_us: int
    by: str


class LockMarks:
    """The files of one ledger, in the folders of its anchor."""

    def __init__(self, anchor: Anchor) -> None:
        self._folders = tuple(dict.fromkeys(file.parent for file in anchor.files))
        self._of_path = anchor.of_path

    def read(self) -> list[LockMark]:
        """Every lock that is remembered; of copies of one the first that can be read."""
        found: dict[str, LockMark] = {}
        for file in self._files():
            keyid = file.name[len(self._of_path) : -len(ENDING)]
            # A copy that says nothing must not hide one that can be read.
            if keyid == LOST or (keyid in found and found[keyid].events):
                continue
            found[keyid] = _read(file, keyid)
        return list(found.values())

    @classmethod
    def of_any(cls, folders: Iterable[Path]) -> list[tuple[str, LockMark]]:
        """Every lock that is remembered in some folders, whatever its ledger, with what its path comes to."""
        found = []
        for file in _named(folders, ""):
            of_path, keyid = file.name[:OF_PATH], file.name[OF_PATH : -len(ENDING)]
            if keyid and keyid != LOST:
                found.append((of_path, _read(file, keyid)))
        return found

    def lost(self) -> LostMark | None:
        """The lock that was ended while no ledger could tell of it, until one does."""
        for file in self._files():
            if file.name == f"{self._of_path}{LOST}{ENDING}":
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    stated = json.loads(_content(file))
                    return LostMark(int(stated["at_us"]), str(stated["by"]))
                return LostMark(0, "somebody")
        return None

    def lacks(self, keyid: str) -> bool:
        """Whether a folder that is there has nothing of a lock."""
        name = f"{self._of_path}{keyid}{ENDING}"
        return any(os.access(each, os.F_OK) and not os.access(each / name, os.F_OK) for each in self._folders)

    def write(self, keyid: str, ledger_id: str, events: Sequence[JournalEvent]) -> None:
        """Remember a lock, and no other; a folder that takes no file has none."""
        rows = [[e.seq, e.at_us, e.body.decode("utf-8", "replace"), e.hash.hex(), e.previous.hex()] for e in events]
        self._put(keyid, json.dumps({"ledger": ledger_id, "events": rows}))
        self.forget(but=keyid)

    def write_lost(self, at_us: int, by: str) -> None:
        """Remember that a lock was ended without its passphrase, and no lock."""
        self._put(LOST, json.dumps({"at_us": at_us, "by": by}))
        self.forget(but=LOST)

    def forget(self, but: str | None = None) -> None:
        """Remember nothing, or one lock alone."""
        for file in self._files():
            if file.name != f"{self._of_path}{but}{ENDING}":
                file.unlink(missing_ok=True)

    def _put(self, name: str, text: str) -> None:
        for folder in self._folders:
            file = folder / f"{self._of_path}{name}{ENDING}"
            beside = file.with_name(f".{file.name}.{os.getpid()}")
            with contextlib.suppress(OSError):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                beside.unlink(missing_ok=True)
                with os.fdopen(create(beside), "wb") as new:
                    new.write(text.encode())
                    new.flush()
                    os.fsync(new.fileno())
                beside.replace(file)

    def _files(self) -> list[Path]:
        return _named(self._folders, self._of_path)


def _named(folders: Iterable[Path], begin: str) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        with contextlib.suppress(OSError):
            names = sorted(os.listdir(folder))  # noqa: PTH208 - names are all that is asked for
            mine = [name for name in names if name.startswith(begin) and name.endswith(ENDING)]
            found += [folder / name for name in mine[:READ_MAX]]
    return found


def _content(file: Path) -> bytes:
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        return opened.read(BYTES_MAX)


def _read(file: Path, keyid: str) -> LockMark:
    try:
        stated = json.loads(_content(file))
        events = tuple(
            JournalEvent(int(seq), int(at_us), str(body).encode(), bytes.fromhex(digest), bytes.fromhex(before))
            for seq, at_us, body, digest, before in stated["events"]
        )
        return LockMark(file, keyid, str(stated["ledger"]), events)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return LockMark(file, keyid)
