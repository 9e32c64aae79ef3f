"""Files that grow: found, and read on from where they were left."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from tallygate.clients.reading.lines import (
    BLANK_BYTES,
    LOST,
    LineSplitter,
    Odd,
    Pairs,
    ReadReport,
    Skip,
    Unreadable,
    decode,
    moment,
    name,
    records_of,
)
from tallygate.clients.reading.packed import narrowed, unpacker_of
from tallygate.core.plan import PlanWindow, last_of_quarters
from tallygate.core.regex import regex
from tallygate.core.usage import ObservedUsage, SessionCheck
from tallygate.core.values import value
from tallygate.files import open_regular

# --- discovery -------------------------------------------------------------------------------------------------------
# Finding transcript files below a client's directories without being led astray by links or odd files.


_MAX_DEPTH = 16
_END_BYTES = 16 * 1024
_STAMP = regex(rb'"timestamp":\s*"(\d{4}-\d\d-\d\d[T ][0-9:.]{5,16})')


def files_below(root: Path, suffixes: tuple[str, ...], closed: list[Path] | None = None) -> Iterator[Path]:
    """What is named like a file that is looked for, sorted; linked directories are followed, each directory once.

    A pipe, a device or a directory of such a name is among them, so that whoever reads it says what it is. `closed`
    takes directories that may not be looked into, which may hold any number of files.
    """
    seen: set[tuple[int, int]] = set()
    todo = [(root, 0)]
    while todo:
        directory, depth = todo.pop()
        try:
            info = directory.stat()
            # Where there are no inodes (0), only the depth bounds a loop of links.
            if info.st_ino and (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            if closed is not None:
                closed.append(directory)
            continue
        below = []
        for entry in entries:
            try:
                is_named = entry.name.endswith(suffixes)
                if entry.is_dir():
                    below.append((directory / entry.name, depth + 1))
                if is_named and (entry.is_file() or (directory / entry.name).exists()):
                    yield directory / entry.name
            except OSError:
                if is_named:
                    yield directory / entry.name
        if depth < _MAX_DEPTH:
            todo.extend(reversed(below))


def may_be_searched(path: Path) -> bool:
    """Whether a path is that of a directory, and its names may be read."""
    try:
        os.scandir(path).close()
    except OSError:
        return False
    return True


def ends_at(path: Path) -> tuple[str, str]:
    """When a file of lines ends by its own last time, and its name; what cannot be told comes first."""
    found: list[bytes] = []
    if not path.name.endswith((".db", ".zst")):
        try:
            # A pipe that nobody writes to would hold us for ever.
            with opened_at_once(path) as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _END_BYTES, 0))
                found = _STAMP.findall(file.read(_END_BYTES))
        except OSError:
            found = []
    return (found[-1].decode() if found else "", str(path))


def opened_at_once(path: Path) -> IO[bytes]:
    """A regular file, opened without waiting for anybody; anything else is an error."""
    file, _ = open_regular(path, None) or (None, None)
    if file is None:
        raise OSError(f"{path} is no regular file")
    return file


def directories_of(env: Mapping[str, str], variable: str, home: Path) -> list[Path]:
    """The directories of a variable that may name several, separated by commas; unset is none."""
    parts = (part.strip() for part in env.get(variable, "").split(","))
    return [home / part[2:] if part == "~" or part.startswith("~/") else Path(part) for part in parts if part]


def missing(env: Mapping[str, str], variables: Iterable[str], home: Path) -> Iterator[tuple[str, Path]]:
    """What variables name and is not there: each variable with the path."""
    for variable in variables:
        for path in directories_of(env, variable, home):
            if not path.exists():
                yield variable, path


def directory_of(env: Mapping[str, str], variable: str, default: Path) -> Path:
    """The directory a variable names; unset, empty and relative values (as XDG says) give the default."""
    value = env.get(variable, "")
    return Path(value) if value and Path(value).is_absolute() else default


def unique(paths: list[Path]) -> list[Path]:
    """Each path once, in the order given."""
    return list(dict.fromkeys(paths))


# --- base ------------------------------------------------------------------------------------------------------------
# Reading files that grow, shrink, move and vanish while we look: positions, batches, and their readers.


_CHUNK = 1024 * 1024
_BATCH_ROWS = 2000
_BATCH_BYTES = 64 * 1024 * 1024
_HEAD = 1024
_EDGE = 1024
_BRACE = ord("}")

State = Mapping[str, Any]


class FileState(StrEnum):
    """How a file stood to its stored position."""

    NEW = "new"
    GROWN = "grown"
    TRUNCATED = "truncated"
    REPLACED = "replaced"
    GONE = "gone"
    NOT_REGULAR = "not_a_regular_file"
    UNREADABLE = "unreadable"


@value(frozen=True, slots=True)
class FilePosition:
    """How far a file was read and what its reader knew there; stored in one transaction with the rows.

    `size` and `mtime_ns` are those of the file when everything in it had been looked at; `offset` is the
    start of the first line not used yet; `mark` is a fingerprint of the bytes before it, by which a file
    that was replaced or rewritten in place is noticed.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    offset: int
    mark: str
    skipping: bool = False
    state: State = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, stored: object) -> FilePosition | None:
        """A stored position; one that is not understood reads as none, and the file is read again."""
        if not isinstance(stored, Mapping) or set(stored) != set(cls.__slots__):
            return None
        numbers = ("device", "inode", "size", "mtime_ns", "offset")
        # True and False are whole numbers to Python, and no place in a file.
        if any(type(stored[key]) is not int for key in numbers) or stored["offset"] < 0:
            return None
        if type(stored["mark"]) is not str or type(stored["skipping"]) is not bool:
            return None
        return cls(**stored) if isinstance(stored["state"], Mapping) else None


@value(frozen=True, slots=True)
class Batch:
    """Rows to store together with the position behind them; storing it twice is harmless."""

    rows: tuple[ObservedUsage, ...]
    position: FilePosition | None
    change: FileState
    report: ReadReport
    checks: tuple[SessionCheck, ...] = ()
    anew: bool = False  # the first batch of a file that is read from its start
    plan: tuple[PlanWindow, ...] = ()


@value(frozen=True, slots=True)
class TranscriptFile:
    """A file that may hold usage; `path` is its key for stored positions."""

    client: str
    path: Path


def transcripts_below(
    client: str, roots: Iterable[Path], suffixes: tuple[str, ...], belongs: Callable[[tuple[str, ...]], bool] = bool
) -> Iterator[TranscriptFile]:
    """The transcripts below some directories, as far as what leads to them says so; closed directories come last."""
    closed: list[Path] = []
    for root in roots:
        for path in files_below(root, suffixes, closed):
            if belongs(path.relative_to(root).parts):
                yield TranscriptFile(client, path)
    yield from (TranscriptFile(client, path) for path in unique(closed))


def nothing_named(_env: Mapping[str, str], _home: Path) -> Iterable[tuple[str, Path]]:
    """A client for which no variable names a file."""
    return ()


def nothing_beside(_: Path) -> Iterator[Path]:
    """A session that is written down in one file only."""
    return iter(())


@value(frozen=True, slots=True)
class Transcripts:
    """One client's transcripts: where they lie, which files there are, how one is read.

    `read(file, position, max_bytes)` yields nothing when the file did not change. `beside(path)` finds what other
    files of the same session there are by now, such as those of its subagents. `of_session` is where a session's file
    is, or will be, for a client whose hooks do not name it.
    """

    client: str
    locations: Callable[[Mapping[str, str], Path], list[Path]]
    discover: Callable[[Mapping[str, str], Path], Iterator[TranscriptFile]]
    read: Callable[[TranscriptFile, FilePosition | None, int | None], Iterator[Batch]]
    beside: Callable[[Path], Iterator[Path]] = nothing_beside
    of_session: Callable[[Mapping[str, str], Path, str], Path] | None = None
    variables: tuple[str, ...] = ()  # that name folders to look in
    named: Callable[[Mapping[str, str], Path], Iterable[tuple[str, Path]]] = nothing_named  # files that variables name


class TranscriptReader(ABC):
    """Takes one file's bytes in any pieces and gives the rows they bring; all it knows fits in its state.

    What is common to all clients is done here: lines are split, every whole record of a line is found, and what
    could not be read is counted. A client says which lines may hold something, and what a record means.
    """

    def __init__(self, *, skipping: bool = False) -> None:
        self.report = ReadReport()
        self.checks: list[SessionCheck] = []
        self.plan: list[PlanWindow] = []
        self.splitter = LineSplitter(skipping=skipping)
        # When the file was written last, for what has no time; known to whoever reads the file.
        self.written_at: datetime | None = None
        self._last_at: datetime | None = None
        self._first_at: datetime | None = None
        self._guessed = False
        self._last_model: str | None = None

    def feed(self, chunk: bytes) -> list[ObservedUsage]:
        """Rows of the lines that are complete now; a row is an upsert under its response key."""
        block = self.splitter.take(chunk)
        rows = self.rows_of(block) if block else []
        report = self.report
        report.bytes_read += len(chunk)
        report.rows += len(rows)
        for head in self.splitter.too_long:
            self._lost(Skip.TOO_LONG, head.decode(errors="replace"))
        self.splitter.too_long.clear()
        return rows

    def last_line(self) -> list[ObservedUsage]:
        """Rows of a last line whose end is not written, or was never: every record of it that is whole.

        The reader is of no use afterwards. Whoever stores a position stores that of the line's start with the state
        before it, so that the line is read again when it has grown.
        """
        line = self.splitter.rest()
        if self.splitter.skipping or not line.strip(BLANK_BYTES):
            return []
        before = self.report
        self.report = ReadReport()
        rows = self.rows_of(line)
        before.rows += len(rows)
        before.unfinished = sum(self.report.skipped[reason] for reason in LOST)
        self.report = before
        return rows

    def rows_of(self, block: bytes) -> list[ObservedUsage]:
        """Rows of whole lines."""
        if b"\0" in block:
            block = narrowed(block)
        find, wants = block.find, self.wants
        start, length = 0, len(block)
        while start < length:
            end = find(b"\n", start)
            if end < 0:
                end = length
            if end > start:
                if block[end - 1] != _BRACE and (line := block[start:end].strip(BLANK_BYTES))[-1:] != b"}":
                    # Cut off, or no record at all: nothing can be told from how it begins.
                    if line:
                        self._line(line)
                elif wants(block, start, end):
                    self._line(block[start:end])
            start = end + 1
        return self.finish()

    def _line(self, line: bytes) -> None:
        try:
            record = decode(line)
        except Unreadable:
            found = records_of(line)
            for reason, piece in found.lost:
                self._lost(reason, piece)
            for each in found.records:
                self._record(each)
        else:
            self._record(record)

    def _record(self, record: Pairs) -> None:
        try:
            self.take(record)
        except Unreadable as error:
            self.report.skipped[error.reason] += 1

    def _lost(self, reason: Skip, piece: str) -> None:
        if self.may_count(piece):
            self.report.skipped[reason] += 1

    def when(self, value: object, odd: set[str]) -> datetime:
        """The time of a response; where none is written that of the one before it, else that of the file."""
        try:
            self._last_at = moment(value)
        except Unreadable:
            odd.add(Odd.NO_TIME)
            if self._last_at is not None:
                return self._last_at
            if self.written_at is None:
                raise
            self._guessed = True
            return self.written_at
        if self._guessed and self._first_at is None:
            self._first_at = self._last_at
        return self._last_at

    def stamp(self) -> str:
        """The time of the response at hand for its key: nothing where that is only a guess of today."""
        return "" if self._last_at is None else self._last_at.isoformat()

    def served_by(self, value: object, odd: set[str]) -> str:
        """The model of a response; where none is written, that of the one before it, or none."""
        model = name(value)
        if model is None:
            odd.add(Odd.NO_MODEL)
            return self._last_model or ""
        self._last_model = model
        return model

    def beside(self, rows: list[ObservedUsage]) -> list[ObservedUsage]:
        """The rows, where those that had no time of their own have that of the first one behind them that has one."""
        first = self._first_at
        if first is None:
            return rows
        return [replace(row, at=first) if row.at == self.written_at and Odd.NO_TIME in row.odd else row for row in rows]

    def known(self) -> dict[str, str]:
        """The last time and model that were read, as values for the state."""
        found = {} if self._last_at is None else {"at": self._last_at.isoformat()}
        return found if self._last_model is None else found | {"last_model": self._last_model}

    def set_known(self, state: State | None) -> None:
        """Take the last time and model from a state; what is not understood reads as none."""
        written = state if isinstance(state, Mapping) else {}
        self._last_model = name(written.get("last_model"))
        with suppress(Unreadable):
            self._last_at = moment(written.get("at"))

    @abstractmethod
    def wants(self, block: bytes, start: int, end: int) -> bool:
        """Whether a line may hold a record that says something; quick, and never wrong when it says no."""

    @abstractmethod
    def take(self, record: Pairs) -> None:
        """Take one record."""

    @abstractmethod
    def finish(self) -> list[ObservedUsage]:
        """The rows of the records taken since the last call."""

    def whose(self) -> str | None:
        """The client's session that the file is of, as far as it is known."""
        return None

    def may_count(self, piece: str) -> bool:  # noqa: ARG002  # a client that can tell says more
        """Whether a broken record may have been usage."""
        return True

    @abstractmethod
    def state(self) -> State:
        """What must be known to go on after these lines, as JSON values of its own."""


# Makes the reader of one file from its stored state (None: from the start).
ReaderMaker = Callable[[State | None, bool], TranscriptReader]


def read_lines(
    path: Path,
    position: FilePosition | None,
    make: ReaderMaker,
    max_bytes: int | None = None,
    unpack: Callable[[IO[bytes]], IO[bytes]] | None = None,
) -> Iterator[Batch]:
    """Read what is new in a file of lines, in batches of bounded size.

    Stops at the size the file had when it was opened, so that a busy writer cannot hold us. With `unpack`
    the offset counts unpacked bytes, and any change of the file is a new file.
    """
    try:
        opened = open_regular(path, seen_of(position))
    except OSError as error:
        yield nothing(FileState.GONE if isinstance(error, FileNotFoundError) else FileState.UNREADABLE)
        return
    if opened is None:
        return
    file, info = opened
    if file is None:
        yield nothing(FileState.NOT_REGULAR)
        return
    with file:
        try:
            unpack = unpack or unpacker_of(file)
            change = _change(file, info, position, packed=unpack is not None)
            known = position if change is FileState.GROWN else None
            yield from _tail(_Tail(file, info, change, unpack), known, make, max_bytes)
        except OSError:
            yield nothing(FileState.UNREADABLE)


@value(frozen=True, slots=True)
class _Tail:
    file: IO[bytes]
    info: os.stat_result
    change: FileState
    unpack: Callable[[IO[bytes]], IO[bytes]] | None

    def position(self, offset: int, *, complete: bool, reader: TranscriptReader) -> FilePosition:
        info = self.info
        return FilePosition(
            device=info.st_dev,
            inode=info.st_ino,
            size=info.st_size if complete else -1,
            mtime_ns=info.st_mtime_ns,
            offset=offset,
            mark="" if self.unpack else mark_of(self.file, offset),
            skipping=reader.splitter.skipping,
            state=reader.state(),
        )


def _tail(tail: _Tail, known: FilePosition | None, make: ReaderMaker, max_bytes: int | None) -> Iterator[Batch]:
    reader = make(known.state if known else None, known.skipping if known else False)
    reader.written_at = written_at(tail.info)
    start = at = known.offset if known else 0
    stream, end = (tail.file, tail.info.st_size) if tail.unpack is None else (tail.unpack(tail.file), None)
    rows: list[ObservedUsage] = []
    fresh, anew = 0, known is None
    try:
        _go_to(stream, at, seekable=tail.unpack is None)
        while True:
            # A small budget still lets one whole line pass, or the same bytes would be read for ever.
            spent = max_bytes is not None and at - start >= max_bytes and at - reader.splitter.held > start
            size = _CHUNK if end is None else min(_CHUNK, end - at)
            chunk = b"" if spent else stream.read(size)
            if not chunk:
                break
            at += len(chunk)
            fresh += len(chunk)
            rows += reader.feed(chunk)
            if len(rows) >= _BATCH_ROWS or (rows and fresh >= _BATCH_BYTES):
                yield _batch(rows, tail, reader, at, complete=False, anew=anew)
                rows, fresh, anew = [], 0, False
                if tail.unpack is None:
                    stream.seek(at)
    except Unreadable as error:
        reader.report.skipped[error.reason] += 1
        spent = False
    yield _batch(rows, tail, reader, at, complete=not spent, anew=anew)


def _batch(
    rows: list[ObservedUsage], tail: _Tail, reader: TranscriptReader, at: int, *, complete: bool, anew: bool
) -> Batch:
    # Before the last line is read: what is stored of the reader must know nothing of a line that is read again.
    position = tail.position(at - reader.splitter.held, complete=complete, reader=reader)
    if complete:
        rows = rows + reader.last_line()
    rows = reader.beside(rows)
    report, reader.report = reader.report, ReadReport()
    report.session = reader.whose()
    checks, reader.checks = tuple(reader.checks), []
    plan, reader.plan = tuple(last_of_quarters(reader.plan)), []
    return Batch(tuple(rows), position, tail.change, report, checks, anew, plan)


_NOTHING = {FileState.UNREADABLE: Skip.BAD_FILE, FileState.NOT_REGULAR: Skip.NO_FILE}


def nothing(change: FileState) -> Batch:
    """What a file that could not be read brings."""
    report = ReadReport()
    if change in _NOTHING:
        report.skipped[_NOTHING[change]] += 1
    return Batch((), None, change, report)


def seen_of(position: FilePosition | None) -> tuple[int, int, int, int] | None:
    """What a position says of its file, to tell whether that has changed."""
    return None if position is None else (position.device, position.inode, position.size, position.mtime_ns)


def _change(file: IO[bytes], info: os.stat_result, position: FilePosition | None, *, packed: bool) -> FileState:
    if position is None:
        return FileState.NEW
    if (info.st_dev, info.st_ino) != (position.device, position.inode):
        return FileState.REPLACED
    if packed:
        # A half-read archive goes on where it was left; a changed one has no bytes in common.
        return FileState.GROWN if info.st_mtime_ns == position.mtime_ns else FileState.REPLACED
    if info.st_size < position.offset:
        return FileState.TRUNCATED
    return FileState.GROWN if mark_of(file, position.offset) == position.mark else FileState.REPLACED


def still_stands(path: Path, position: FilePosition) -> bool:
    """Whether everything that was read of a file stands in it still, so that it can be read on from there."""
    try:
        opened = open_regular(path, seen_of(position))
        if opened is None:
            return True
        file, info = opened
        if file is None:
            return False
        with file:
            return _change(file, info, position, packed=not position.mark) is FileState.GROWN
    except OSError:
        return False


def written_at(info: os.stat_result) -> datetime:
    """When a file was written last, by its own word; a date that no calendar has is none."""
    try:
        return datetime.fromtimestamp(info.st_mtime_ns // 1000 // 10**6, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def mark_of(file: IO[bytes], offset: int) -> str:
    """A fingerprint of a file's beginning and of the bytes before an offset."""
    file.seek(0)
    digest = hashlib.sha256(file.read(min(_HEAD, offset)))
    edge = min(_EDGE, offset)
    file.seek(offset - edge)
    digest.update(file.read(edge))
    return digest.hexdigest()[:32]


def _go_to(stream: IO[bytes], offset: int, *, seekable: bool) -> None:
    if seekable:
        stream.seek(offset)
        return
    while offset > 0:
        chunk = stream.read(min(_CHUNK, offset))
        if not chunk:
            return
        offset -= len(chunk)
