"""Follow the transcripts of the work at hand, so that the gate decides on what was really used.

Before a step is decided, the files known to be growing are read on from where they were left, for as long as the
time allowed, and those of the step's own session at least for a while; new files are looked for, and long ones caught
up with, in the background. Where a budget counts what was spent before, a step waits until that was read.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tallygate.clients.reading.files import FilePosition, FileState, TranscriptFile, Transcripts
from tallygate.core.errors import LedgerUnavailable, TallygateError
from tallygate.core.gate.rules import counted_since
from tallygate.operations.runtime import Runtime
from tallygate.operations.usage.again import reading_again
from tallygate.operations.usage.ingest import IngestResult, ingest, key_of, reading_of
from tallygate.operations.usage.looked import LookedThrough, keep_looked_through, key_of_places, looked_through
from tallygate.surroundings import Surroundings

BUDGET_US = 20_000
STEP_BYTES = 128 * 1024
# What was spent before is read in larger pieces, each a commit, and a step waits so long for it: a hook asks a server
# for four seconds.
HISTORY_STEP_BYTES = 4 * 1024 * 1024
PATIENCE_US = 2_500_000
LOOK_EVERY_S = 2
QUIET_LOOKS = 30
# So many files hooks may name in one process; each is a session of a client.
TOLD_MAX = 256
# A file that nobody wrote to for this long belongs to no work at hand. It is read where a budget counts what was spent
# then, once: how far was looked is kept, and written down anew after a third of the time.
FRESH_US = 15 * 60 * 1_000_000


_FAULTS = frozenset({FileState.UNREADABLE, FileState.NOT_REGULAR})


@dataclass
class Follower:
    """The files that are followed, wherever a client may keep them by any of `places`.

    `ticks_us` is a clock that only goes forward. One server has one. `catch_up` is called by whoever is about to
    decide, `scan` by a thread of its own; a lock lets one of them read at a time, and the decider waits no longer
    for it than it would read itself. `patience_us` is how long one waits for what was spent before.
    """

    rt: Runtime
    places: tuple[Surroundings, ...]
    sources: Iterable[Transcripts]
    ticks_us: Callable[[], int]
    patience_us: int = PATIENCE_US
    failures: list[str] = field(default_factory=list)
    _seen: LookedThrough | None = None
    _kept: LookedThrough | None = None
    _is_ledger_away: bool = False
    _read_at: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    _unread: set[Path] = field(default_factory=set)
    _files: dict[Path, tuple[Transcripts, TranscriptFile]] = field(default_factory=dict)
    _told: dict[Path, tuple[Transcripts, TranscriptFile]] = field(default_factory=dict)
    _again: Iterator[bool] | None = None
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _asked: threading.Event = field(default_factory=threading.Event)
    # What the hook that a thread answers has named.
    _at_hand: threading.local = field(default_factory=threading.local)

    def catch_up(self, budget_us: int = BUDGET_US) -> IngestResult:
        """Read on in the followed files within a time; what is left over is read in the background.

        The files of the session at hand are read on in however late it is: on a busy machine the time may be over
        before it has begun, and the step would be decided without the response before it.
        """
        self._asked.set()
        until = self.ticks_us() + budget_us
        if not self._reading.acquire(timeout=budget_us / 1_000_000):
            return IngestResult()
        try:
            taken = IngestResult()
            at_hand, others = self._followed()
            for source, file in at_hand:
                taken += self._read_on(source, file, until)
            for source, file in others:
                if self.ticks_us() >= until:
                    break
                taken += self._read_on(source, file, until)
            return taken
        finally:
            self._reading.release()

    def include(self, client: str, transcript: Path | None, session: str | None = None) -> None:
        """Follow a file at once that a hook named; one outside its client's own folders is not touched.

        Where a client names none, its session says which it is, or will be; where sessions lie in one database, what
        there is of the client is followed.
        """
        if transcript is None and session is not None:
            transcript = self._file_of(client, session)
        self._at_hand.named = (client, transcript)
        if transcript is None:
            self._include_all(client)
            return
        if transcript in self._told or len(self._told) >= TOLD_MAX:
            return
        for source in self.sources:
            if source.client != client:
                continue
            folders = [place for at in self.places for place in source.locations(at.environ, at.home)]
            with contextlib.suppress(OSError):  # links are followed: one that cannot be leads into none of them
                real = transcript.resolve()
                if any(real.is_relative_to(folder.resolve()) for folder in folders):
                    self._told[transcript] = (source, TranscriptFile(client, transcript))

    def _file_of(self, client: str, session: str) -> Path | None:
        for source in self.sources:
            if source.client == client and source.of_session is not None:
                # The client's own place comes last; it writes there, if not yet.
                found = [source.of_session(at.environ, at.home, session) for at in reversed(self.places)]
                return next((path for path in found if path.exists()), found[0])
        return None

    def read_whole(self, client: str, transcript: Path | None, session: str | None) -> tuple[str, ...] | None:
        """The files in which a client's session is written, where nothing stands in them that was not read.

        None where something may. A file that is not there yet holds nothing.
        """
        if transcript is None and session is not None:
            transcript = self._file_of(client, session)
        of_client = [path for path, (source, _) in list(self._told.items()) if source.client == client]
        paths = of_client if transcript is None else [path for path in of_client if path == transcript]
        if transcript is not None and not paths:
            return None
        for path in paths:
            stamp = _stamp(path)
            if stamp is not None and (self._read_at.get(path) != stamp or path in self._unread):
                return None
        return tuple(key_of(path) for path in paths)

    def _include_all(self, client: str) -> None:
        if any(source.client == client for source, _ in self._told.values()):
            return
        oldest_us = self.rt.services.clock_us() - FRESH_US
        for source in self.sources:
            for file in self._found(source) if source.client == client else ():
                if _changed_us(file.path) >= oldest_us and len(self._told) < TOLD_MAX:
                    self._told[file.path] = (source, file)

    def _found(self, source: Transcripts) -> Iterator[TranscriptFile]:
        """Every file of a client, each once, in the user's places and in those that the client's variables name."""
        seen: set[Path] = set()
        for at in self.places:
            for file in source.discover(at.environ, at.home):
                if file.path not in seen:
                    seen.add(file.path)
                    yield file

    def _followed(self) -> tuple[list[tuple[Transcripts, TranscriptFile]], list[tuple[Transcripts, TranscriptFile]]]:
        """The files to read on in before a decision: those of the session at hand, and all others."""
        client, named = getattr(self._at_hand, "named", (None, None))
        at_hand: dict[Path, tuple[Transcripts, TranscriptFile]] = {}
        others: dict[Path, tuple[Transcripts, TranscriptFile]] = {}
        for path, (source, file) in list(self._told.items()):
            followed = at_hand if source.client == client and named in (None, path) else others
            followed[path] = (source, file)
            for near in source.beside(path):
                followed[near] = (source, TranscriptFile(source.client, near))
        for path, found in self._files.items():
            others.setdefault(path, found)
        for path in at_hand:
            others.pop(path, None)
        return list(at_hand.values()), list(others.values())

    def scan(self) -> IngestResult:
        """Find the files that are being written now, and read all that is new in them.

        The first time also those that were written to since the budgets here began to count.
        """
        began_us = self.rt.services.clock_us()
        since_us = counted_since(self.rt.workspace.rules, began_us)
        from_us = began_us - FRESH_US
        if since_us is not None:
            from_us = min(from_us, self._unseen_from(since_us))
        found = self._written_since(from_us)
        fresh = [path for path, (_, file) in found.items() if _changed_us(file.path) >= began_us - FRESH_US]
        with self._reading:
            self._files = {path: found[path] for path in fresh}
            self._is_ledger_away = False
            taken = IngestResult()
            for source, file in found.values():
                taken += self._read_on(source, file, None)
            if since_us is not None and not self._is_ledger_away:
                self._saw(since_us, began_us)
            return taken

    def has_read_since(self, since_us: int) -> bool:
        """Whether all that was written since a time has been read; what was not is read now, as far as time allows.

        Who holds the lock reads the same: to wait for it is to wait for that.
        """
        if self._covers(since_us):
            return True
        until = self.ticks_us() + self.patience_us
        if not self._reading.acquire(timeout=self.patience_us / 1_000_000):
            return False
        try:
            return self._covers(since_us) or self._look_back(since_us, until)
        finally:
            self._reading.release()

    def _look_back(self, since_us: int, until: int) -> bool:
        began_us = self.rt.services.clock_us()
        self._is_ledger_away = False
        for source, file in self._written_since(self._unseen_from(since_us)).values():
            if self.ticks_us() >= until:
                return False
            self._read_on(source, file, until, HISTORY_STEP_BYTES)
            is_whole = self._read_at.get(file.path) == _stamp(file.path)
            if self._is_ledger_away or not (is_whole or self.ticks_us() < until):
                return False
        self._saw(since_us, began_us)
        return True

    def _covers(self, since_us: int) -> bool:
        """Whether this program has looked so far back, and a short while ago."""
        looked = self._seen
        return (
            looked is not None
            and looked.tells_of(since_us)
            and self.rt.services.clock_us() - looked.until_us <= FRESH_US
        )

    def _unseen_from(self, since_us: int) -> int:
        """From when on what was written may not be read: since the last look, by whomever; else since the time asked.

        What was being written during that look may have been seen in part.
        """
        looked = self._seen
        if looked is None or not looked.tells_of(since_us):
            with contextlib.suppress(LedgerUnavailable), self.rt.reading() as reader:
                looked = looked_through(reader, self._keys)
            if looked is None or not looked.tells_of(since_us):
                return since_us
            self._seen = self._kept = looked
        return max(since_us, min(looked.until_us, self.rt.services.clock_us()) - FRESH_US)

    def _saw(self, since_us: int, began_us: int) -> None:
        """Remember that all since a time was read by now, and write it down where that was not done of late."""
        known = self._seen
        reaches_us = known.since_us if known is not None and known.tells_of(since_us) else since_us
        self._seen = looked = LookedThrough(reaches_us, began_us)
        kept = self._kept
        if kept is None or kept.since_us != reaches_us or began_us - kept.until_us > FRESH_US // 3:
            try:
                keep_looked_through(self.rt, self._keys, looked)
                self._kept = looked
            except LedgerUnavailable as error:  # who comes later looks again
                self._failed(error)

    @property
    def _keys(self) -> list[str]:
        return [key_of_places(at, self.sources) for at in self.places]

    def _written_since(self, from_us: int) -> dict[Path, tuple[Transcripts, TranscriptFile]]:
        """The files of all clients that were written to since a time, or came here since, the oldest first.

        When a file was written is what its owner says: one that was copied here with its times, or set back, is told
        by when the system saw it change. A response that stands in several files is booked to the session that is read
        first: a copy goes on after what it was made from.
        """
        found = [
            (stamp[0], source, file)
            for source in self.sources
            for file in self._found(source)
            if (stamp := _stamp(file.path)) is not None and max(stamp[:2]) // 1000 >= from_us
        ]
        return {file.path: (source, file) for _, source, file in sorted(found, key=lambda each: each[0])}

    def watch(self, stop: threading.Event) -> None:
        """Look again and again while there is work at hand: somebody asked, or a file grew, a little while ago.

        Ends when `stop` is set, after a last look, so that what a client wrote at its end is not left behind.
        """
        quiet = 0
        while not stop.is_set():
            self._asked.clear()
            quiet = 0 if self._looked() else quiet + 1
            self._read_one_again()
            while not stop.wait(LOOK_EVERY_S) and quiet >= QUIET_LOOKS and not self._asked.is_set():
                continue
            if self._asked.is_set():
                quiet = 0
        self._looked()

    def _read_one_again(self) -> None:
        """Read one file more of those that older versions have read: a gate at work is not held up by a history."""
        if self._again is None:
            self._again = reading_again(self.rt, {source.client: source for source in self.sources})
        try:
            next(self._again, None)
        except (TallygateError, OSError, ValueError) as error:
            self._again = iter(())  # a generator that raised is over; whoever starts next goes on
            self._failed(error)

    def _looked(self) -> bool:
        """Look once; whether anything was new."""
        try:
            taken = self.scan()
        except (TallygateError, OSError, ValueError) as error:
            self._failed(error)
            return False
        return bool(taken.new or taken.corrected)

    def _read_on(
        self, source: Transcripts, file: TranscriptFile, until_us: int | None, step_bytes: int = STEP_BYTES
    ) -> IngestResult:
        taken = IngestResult()
        stamp = _stamp(file.path)
        is_told = file.path in self._unread  # it could not be read, and may now: what lets it be changes no stamp
        if stamp is not None and self._read_at.get(file.path) == stamp and not is_told:
            return taken  # as it was when all of it had been read
        if stamp is None and file.path in self._told and file.path not in self._read_at:
            return taken  # named before it was there
        try:
            while True:
                with self.rt.reading() as reader:
                    position = FilePosition.from_json(reader.position(key_of(file.path)))
                # The ledger is let go before the file is read: every other step would wait for a long one.
                more = False
                for batch in source.read(file, position, None if until_us is None else step_bytes):
                    if batch.change in _FAULTS:
                        self._unread.add(file.path)
                        if is_told:
                            continue
                    else:
                        self._unread.discard(file.path)
                    taken += ingest(self.rt, reading_of(file, batch))
                    more = batch.position is not None and batch.position.size < 0
                if not more and stamp is not None:
                    self._read_at[file.path] = stamp
                if not more or (until_us is not None and self.ticks_us() >= until_us):
                    return taken
        except (TallygateError, OSError, ValueError) as error:
            self._is_ledger_away |= isinstance(error, LedgerUnavailable)
            self._failed(error)
            return taken

    def _failed(self, error: Exception) -> None:
        """Say a fault once; the gate goes on with what the ledger knows."""
        text = str(error)
        if text not in self.failures:
            self.failures.append(text)


def _changed_us(path: Path) -> int:
    """When a file was last written to or came here; before all times where it cannot be looked at."""
    stamp = _stamp(path)
    return -1 if stamp is None else max(stamp[:2]) // 1000


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written to; None where it cannot be looked at.

    When it was written, when the system saw it change, which nobody can set back, and its size. A database's newest
    rows are in the log beside it, while the file itself rests.
    """
    written = changed = size = -1
    for each in (path, path.with_name(path.name + "-wal")):
        with contextlib.suppress(OSError):
            found = each.stat()
            written, changed = max(written, found.st_mtime_ns), max(changed, found.st_ctime_ns)
            size = max(size, 0) + found.st_size
    return None if size < 0 else (written, changed, size)
