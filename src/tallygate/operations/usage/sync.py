"""Bring everything that clients wrote down up to date in the ledger, once or again and again."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Protocol

from tallygate import __version__
from tallygate.clients.feed import FileToRead, Piece, pieces, pieces_from_beside
from tallygate.clients.kept import KeptReadings, batches_of
from tallygate.clients.reading.files import Batch, FileState, TranscriptFile, ends_at, may_be_searched, missing, nothing
from tallygate.clients.reading.lines import Skip
from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import InvalidArgument, LedgerUnavailable, TallygateError
from tallygate.core.sums import Unread
from tallygate.core.text import cleaned, shown
from tallygate.core.values import value
from tallygate.core.words import client_among, client_name
from tallygate.operations.runtime import Runtime
from tallygate.operations.usage.again import read_again
from tallygate.operations.usage.ingest import REFUSED, FileReading, IngestResult, ingest_all, key_of, reading_of
from tallygate.operations.usage.looked import LookedThrough, keep_looked_through, key_of_places
from tallygate.surroundings import Surroundings

# The lock of the ledger is held for the rows of one commit, and an agent may be waiting at the gate for it.
ROWS_A_COMMIT = 1500
FILES_A_COMMIT = 250
# So many responses of a ledger of before are added up at a time, for the same reason.
SUMMED_A_COMMIT = 2_000
# A process beside this one takes a while to start; below this much to read it does not pay.
WORTH_A_PROCESS = 16 * 1024 * 1024
_TRIES = 10
_PLAIN = {".json", ".jsonl", ".zst"}
_FAULT_MAX = 300
_MICROS = 1_000_000


@value(frozen=True, slots=True)
class SyncProgress:
    """How far a sync is."""

    files_done: int
    files: int
    rows: int


@value(frozen=True, slots=True)
class FileFault:
    """A file that could not be read or stored, and why."""

    client: str
    path: str
    why: str


@value(slots=True)
class SyncReport:
    """What one sync found and did. `older` files were left out, `unchanged` ones had nothing new.

    `misnamed` says which variables name places that are not there.
    """

    files: int = 0
    read: int = 0
    unchanged: int = 0
    older: int = 0
    bytes_read: int = 0
    taken: IngestResult = field(default_factory=IngestResult)
    skipped: Counter[str] = field(default_factory=Counter)
    faults: list[FileFault] = field(default_factory=list)
    misnamed: list[str] = field(default_factory=list)


def unseen_sync(_: SyncProgress) -> None:
    """Where nobody looks at how a sync goes."""


def sync(
    rt: Runtime,
    *,
    environ: Mapping[str, str],
    home: Path,
    clients: Sequence[str] | None = None,
    since_us: int | None = None,
    progress: Callable[[SyncProgress], None] = unseen_sync,
    kept_in: Path | None = None,
) -> SyncReport:
    """Read what is new in every transcript and store it; what is wrong with one file is reported, never fatal.

    `clients` are names of REGISTRY.sources, all by default; `since_us` leaves out files that were last written before.
    What was read before there was a ledger is taken from where it is kept, and read on from there.
    Raises only what concerns the ledger as a whole. Interrupted at any moment, the next sync goes on from there.
    """
    report = SyncReport()
    began_us = rt.services.clock_us()
    wanted = files_wanted(rt, clients, environ=environ, home=home, since_us=since_us, report=report)
    store = _Store(rt, wanted, report)
    list_prices = rt.workspace.prices.catalog.providers
    progress(SyncProgress(0, report.files, 0))
    with uncollected() if is_much(wanted) else nullcontext():
        kept = _taken_over(wanted, store, kept_in)
        with closing(pieces_from_beside(wanted, list_prices) if is_much(wanted) else pieces(wanted)) as found:
            take_all(found, store, progress, kept)
    store.flush()
    read_again(rt, {name: REGISTRY.sources[name] for name in _named(clients)})
    add_up(rt)
    _forget_opened(rt)
    if clients is None and since_us is None:
        places = key_of_places(Surroundings(environ, None, home), REGISTRY.sources.values())
        keep_looked_through(rt, [places], LookedThrough(0, began_us))
    progress(SyncProgress(report.files, report.files, store.rows))
    return report


def add_up(rt: Runtime) -> None:
    """Add up what was recorded before there were sums, and days of the past: reports read no single responses then."""
    with rt.reading() as reader:
        is_whole = reader.is_added_up(rt.services.clock_us())
    while not is_whole:
        with rt.writing() as tx:
            is_whole = tx.add_up(SUMMED_A_COMMIT)


def _taken_over(wanted: list[FileToRead], store: _Store, kept_in: Path | None) -> set[int]:
    """Store what was kept of files that the ledger does not know; answers with which these are."""
    if kept_in is None or all(want.position is not None for want in wanted):
        return set()
    kept = KeptReadings(kept_in, __version__).load()
    taken = set()
    for number, want in enumerate(wanted):
        batches = batches_of(kept, want.file) if want.position is None else []
        for batch in batches:
            store.take(number, batch)
        position = batches[-1].position if batches else None
        if position is not None:
            wanted[number] = FileToRead(want.file, position.as_json())
            taken.add(number)
    return taken


def is_much(wanted: Sequence[FileToRead]) -> bool:
    """Whether so much is new that a process beside this one is worth its start."""
    return sum(_size(want.file.path) for want in wanted if want.position is None) > WORTH_A_PROCESS


class Taker(Protocol):
    """Who takes what is read of files, by their numbers, and how many rows that were."""

    rows: int
    report: SyncReport

    def take(self, number: int, batch: Batch, data: bytes | None) -> None: ...
    def failed(self, number: int, why: str) -> None: ...


def take_all(
    found: Iterable[Piece], taker: Taker, progress: Callable[[SyncProgress], None], kept: Collection[int] = ()
) -> None:
    """Hand over everything that is read, and count the files; of those that are `kept` something came already."""
    report = taker.report
    changed = False
    for piece in found:
        if piece.batch is not None:
            changed = changed or piece.batch.position is not None
            taker.take(piece.number, piece.batch, piece.data)
            continue
        if piece.fault is not None:
            taker.failed(piece.number, piece.fault)
        changed = changed or piece.number in kept
        report.read += changed
        report.unchanged += not changed
        changed = False
        progress(SyncProgress(piece.number + 1, report.files, taker.rows))


@contextmanager
def uncollected() -> Iterator[None]:
    """Do not look for objects that hold themselves: responses do not, and to go through so many takes a fifth more."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def watch(
    rt: Runtime,
    *,
    wait: Callable[[int], bool],
    each: Callable[[SyncReport], None],
    interval_s: int,
    **options: Any,
) -> None:
    """Sync again and again, `interval_s` apart, until `wait` says that it was told to stop.

    Looking at very many files takes a while, and then the pause is longer: a tenth of the time goes to looking.
    """
    while True:
        began = rt.services.clock_us()
        each(sync(rt, **options))
        took_s = (rt.services.clock_us() - began) // _MICROS
        if wait(max(interval_s, 9 * took_s)):
            return


def _named(clients: Sequence[str] | None) -> list[str]:
    wanted = []
    for name in clients or ():
        known = client_among(name, REGISTRY.sources)
        if known is None:
            listed = ", ".join(map(client_name, REGISTRY.sources))
            raise InvalidArgument("client", f"No client {shown(name)}.", hint=f"Known are {listed}.")
        wanted.append(known)
    return [name for name in REGISTRY.sources if not clients or name in wanted]


def files_wanted(
    rt: Runtime,
    clients: Sequence[str] | None,
    *,
    environ: Mapping[str, str],
    home: Path,
    report: SyncReport,
    since_us: int | None = None,
) -> list[FileToRead]:
    """The files of some clients, all by default, in the order in which they are read, each with how far it was."""
    found = files_of(clients, environ, home)
    report.misnamed = [text for name in _named(clients) for text in misnamed(name, environ, home)]
    if since_us is not None:
        chosen = [file for file in found if _written_us(file.path) >= since_us]
        report.older, found = len(found) - len(chosen), chosen
    report.files = len(found)
    with rt.reading() as reader:
        wanted = [FileToRead(file, reader.position(key_of(file.path))) for file in found]
    # A response that stands in several files is booked to the session that is read first. Of files that are new
    # together the one that ends first is read first: a copy goes on after what it was made from.
    fresh = sorted((want for want in wanted if want.position is None), key=lambda want: ends_at(want.file.path))
    return [want for want in wanted if want.position is not None] + fresh


def files_of(clients: Sequence[str] | None, environ: Mapping[str, str], home: Path) -> list[TranscriptFile]:
    """The files of some clients, all by default."""
    return [file for name in _named(clients) for file in REGISTRY.sources[name].discover(environ, home)]


def _forget_opened(rt: Runtime) -> None:
    """Say no more of directories that may be looked into by now: what lies in them was read with the others."""
    with rt.reading() as reader:
        told = [each for each in reader.unread_files() if Skip.BAD_FILE in each.found.why]
    opened = [each for each in told if may_be_searched(Path(each.path))]
    if opened:
        with rt.writing() as tx:
            for each in opened:
                tx.save_unread(each.path, each.client, each.session, Unread(), anew=True)


def misnamed(client: str, environ: Mapping[str, str], home: Path) -> list[str]:
    """What variables of a client name and is not there, a sentence each."""
    source = REGISTRY.sources[client]
    named = [*missing(environ, source.variables, home)]
    named += [each for each in source.named(environ, home) if not each[1].exists()]
    return [f"{variable} names {cleaned(str(path), _FAULT_MAX)}, and nothing is there" for variable, path in named]


def _written_us(path: Path) -> int:
    """When a file, or the log beside a database, was last written; 0 where neither can be asked."""
    times = [0]
    for each in (path, path.with_name(path.name + "-wal")) if path.suffix not in _PLAIN else (path,):
        try:
            times.append(each.stat().st_mtime_ns // 1000)
        except OSError:
            continue
    return max(times)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


_FAULTS = {
    FileState.UNREADABLE: "it cannot be read",
    FileState.NOT_REGULAR: "it is not a regular file",
}


class Told:
    """Says in the report what was read of files, and what is wrong with them."""

    def __init__(self, wanted: Sequence[FileToRead], report: SyncReport) -> None:
        self.rows = 0
        self.wanted = wanted
        self.report = report

    def told(self, number: int, batch: Batch) -> FileReading:
        """What a batch brought, as it is stored."""
        if batch.change in _FAULTS:
            self.fault(number, _FAULTS[batch.change])
        reading = reading_of(self.wanted[number].file, batch)
        self.report.skipped.update(reading.skipped)
        self.report.bytes_read += batch.report.bytes_read
        return reading

    def fault(self, number: int, why: str) -> None:
        file = self.wanted[number].file
        self.report.faults.append(FileFault(file.client, key_of(file.path), cleaned(why, _FAULT_MAX)))


class _Store(Told):
    """Puts batches of one or of many files into commits of a bounded size."""

    def __init__(self, rt: Runtime, wanted: Sequence[FileToRead], report: SyncReport) -> None:
        super().__init__(wanted, report)
        self._rt = rt
        self._waiting: list[FileReading] = []
        self._held = 0
        self._faulty: set[str] = set()

    def take(self, number: int, batch: Batch, _data: bytes | None = None) -> None:
        """Store a batch with the next commit; its position goes with the last of its rows."""
        reading = self.told(number, batch)
        if batch.position is None and not batch.rows and not reading.unread.why:
            return
        rows = batch.rows
        cut = 0
        while len(rows) - cut > ROWS_A_COMMIT:
            self._add(FileReading(reading.client, reading.path, rows[cut : cut + ROWS_A_COMMIT]))
            cut += ROWS_A_COMMIT
        self._add(replace(reading, rows=rows[cut:]))

    def failed(self, number: int, why: str) -> None:
        """Keep that a file could not be read, whatever went wrong, and say it."""
        self.fault(number, why)
        self._add(reading_of(self.wanted[number].file, nothing(FileState.UNREADABLE)))

    def flush(self) -> None:
        """Commit what waits. A row that cannot be stored is reported, all the others are stored."""
        waiting, self._waiting, self._held = self._waiting, [], 0
        if waiting:
            self._commit_or_split(waiting)

    def _commit_or_split(self, readings: Sequence[FileReading]) -> None:
        try:
            self._commit(readings)
        except TallygateError:
            raise
        except Exception as error:  # noqa: BLE001  # what the database refuses must not stop the others
            if len(readings) > 1:
                for reading in readings:
                    self._commit_or_split([reading])
                return
            [reading] = readings
            if len(reading.rows) <= 1:
                why = cleaned(f"it cannot be stored: {type(error).__name__}: {error}", _FAULT_MAX)
                self.report.faults.append(FileFault(reading.client, reading.path, why))
                self._faulty.add(reading.path)
                return
            # Where it was left is not kept, so that it is tried again the next time.
            half = len(reading.rows) // 2
            for rows in (reading.rows[:half], reading.rows[half:]):
                self._commit_or_split([FileReading(reading.client, reading.path, rows)])

    def _add(self, reading: FileReading) -> None:
        if self._waiting and self._held + len(reading.rows) > ROWS_A_COMMIT:
            self.flush()
        self._waiting.append(reading)
        self._held += len(reading.rows)
        if self._held >= ROWS_A_COMMIT or len(self._waiting) >= FILES_A_COMMIT:
            self.flush()

    def _commit(self, readings: Sequence[FileReading]) -> None:
        if self._faulty:
            readings = [replace(r, position=None) if r.path in self._faulty else r for r in readings]
        for tries in range(1, _TRIES + 1):
            try:
                taken = ingest_all(self._rt, readings)
                break
            except LedgerUnavailable as busy:
                # Other importers want the same lock, and none of them is in a hurry.
                if busy.code != "lock_timeout" or tries == _TRIES:
                    raise
        self.report.taken += taken
        if taken.refused:
            self.report.skipped[REFUSED] += taken.refused
        self.rows += sum(len(reading.rows) for reading in readings)
