"""Read many files one after the other, here or with a process beside this one, so that two cores are at work."""

from __future__ import annotations

import gc
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import IO, Any

from tallygate.clients.packing import packed, unpacked
from tallygate.clients.reading.files import Batch, FilePosition, TranscriptFile
from tallygate.clients.registry import REGISTRY
from tallygate.core.values import value

# What the process beside us runs: our own search path, since an installation may be found only through that.
_START = "import sys; sys.path[:] = sys.argv[2:]; from tallygate.clients.feed import serve; serve(int(sys.argv[1]))"

# So much that was read may wait for who stores it.
_AHEAD_BYTES = 4 * 1024 * 1024
_BUFFER = 1024 * 1024
# Before each piece in the pipe: of which file it is, what it is, and how many bytes follow.
_HEAD = struct.Struct("<IBI")
_BATCH, _READ, _FAULT = range(3)
# Turns to read a file, that two processes take from one pipe: as many as surely fit into it.
_TURN = struct.Struct("<I")
_TURNS_MAX = 4096
_ALL = -1


@value(frozen=True, slots=True)
class FileToRead:
    """A file to read, and how far it was read before, as it was stored."""

    file: TranscriptFile
    position: Mapping[str, Any] | None = None


@value(frozen=True, slots=True)
class Piece:
    """What reading the file of this number brought; the last piece of a file has no batch, and says what went wrong.

    `data` is the batch as bytes, where those are at hand already.
    """

    number: int
    batch: Batch | None = None
    fault: str | None = None
    data: bytes | None = None


def pieces(wanted: Sequence[FileToRead], numbers: Iterable[int] | None = None) -> Generator[Piece]:
    """Read files in this process: those of the `numbers`, all by default."""
    for number in range(len(wanted)) if numbers is None else numbers:
        fault = None
        want = wanted[number]
        try:
            position = FilePosition.from_json(want.position)
            for batch in REGISTRY.sources[want.file.client].read(want.file, position, None):
                yield Piece(number, batch)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one file, the others are read
            fault = f"{type(error).__name__}: {error}"
        yield Piece(number, None, fault)


def pieces_from_beside(wanted: Sequence[FileToRead], meanwhile: Callable[[], object] = tuple) -> Generator[Piece]:
    """Read the files in a process of their own, one after the other; what that cannot do is done here.

    It takes a moment to start, in which `meanwhile` is done: what will be needed here anyway. The pipe between the two
    holds the other one back when this one does not keep up, and ends it when this one ends.
    """
    done = 0
    worker = _started(_ALL)
    if worker is not None:
        try:
            meanwhile()
            _told(worker, wanted)
            for piece in _Inbox(worker, len(wanted)).rest():
                yield piece
                done = piece.number + (piece.batch is None)
        finally:
            _ended(worker)
    yield from pieces(wanted, range(done, len(wanted)))


def pieces_together(wanted: Sequence[FileToRead], meanwhile: Callable[[], object] = tuple) -> Generator[Piece]:
    """Read the files here and in a process beside this one, each of which takes the next that nobody has taken.

    They come in their order, each once all of it is read: what was read ahead waits in memory. `meanwhile` is done here
    while the other process starts.
    """
    read: dict[int, list[Piece]] = {}
    number = 0
    for piece in _together(wanted, meanwhile):
        read.setdefault(piece.number, []).append(piece)
        while number in read and read[number][-1].batch is None:
            yield from read.pop(number)
            number += 1
    for rest in range(number, len(wanted)):
        found = read.pop(rest, [])
        yield from found if found and found[-1].batch is None else pieces(wanted, [rest])


def _together(wanted: Sequence[FileToRead], meanwhile: Callable[[], object]) -> Iterator[Piece]:
    turns, given = os.pipe()
    worker = None
    try:
        with os.fdopen(given, "wb") as pipe:
            pipe.writelines(map(_TURN.pack, range(len(_groups(len(wanted))))))
        worker = _started(turns)
        if worker is None:
            return
        inbox = _Inbox(worker, len(wanted))
        threading.Thread(target=_told, args=(worker, wanted), daemon=True).start()
        meanwhile()
        for numbers in _mine(turns, len(wanted)):
            yield from pieces(wanted, numbers)
            yield from inbox.arrived()
        yield from inbox.rest()
    finally:
        os.close(turns)
        if worker is not None:
            _ended(worker)


def _groups(count: int) -> list[range]:
    """So many files in groups, a few together where they are very many."""
    step = -(-count // _TURNS_MAX) or 1
    return [range(start, min(start + step, count)) for start in range(0, count, step)]


def _mine(turns: int, count: int) -> Iterator[range]:
    """The files that are this process's to read, as long as any are left."""
    groups = _groups(count)
    while len(turn := os.read(turns, _TURN.size)) == _TURN.size:
        yield groups[_TURN.unpack(turn)[0]]


def serve(turns: int) -> None:
    """Be the process beside: take the list of files from the input, give what they bring to the output.

    `turns` is the pipe that tells which of them are its own to read, where not all are.
    """
    # What is read is given away as it comes, and nothing of it holds itself: nobody need look for what does.
    gc.disable()
    wanted = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the process that started this one
    out = os.fdopen(os.dup(1), "wb")
    # Nothing that is printed by mistake may stand between the pieces.
    os.dup2(2, 1)
    groups = _groups(len(wanted)) if turns == _ALL else _mine(turns, len(wanted))
    ahead = _Ahead(out)
    with suppress(BrokenPipeError), out:
        for piece in pieces(wanted, chain.from_iterable(groups)):
            if piece.batch is not None:
                kind, data = _BATCH, packed(piece.batch)
            else:
                kind = _READ if piece.fault is None else _FAULT
                data = (piece.fault or "").encode(errors="replace")
            ahead.put(_HEAD.pack(piece.number, kind, len(data)) + data)
        ahead.close()


class _Inbox:
    """Takes pieces out of the pipe of the process beside this one; behind what is none, nothing is taken."""

    def __init__(self, worker: subprocess.Popen[bytes], count: int) -> None:
        self._pipe = -1 if worker.stdout is None else worker.stdout.fileno()
        self._count = count
        self._bytes = b""
        self._is_over = False

    def arrived(self) -> Iterator[Piece]:
        """The pieces that are there by now."""
        parts = [self._bytes]
        os.set_blocking(self._pipe, False)
        with suppress(BlockingIOError):
            while data := self._more():
                parts.append(data)
        os.set_blocking(self._pipe, True)
        self._bytes = b"".join(parts)
        yield from self._whole()

    def rest(self) -> Iterator[Piece]:
        """Every piece until the pipe is closed at its other end."""
        while not self._is_over:
            yield from self._whole()
            data = self._more()
            self._is_over |= not data
            self._bytes += data

    def _more(self) -> bytes:
        try:
            return os.read(self._pipe, _BUFFER)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def _whole(self) -> Iterator[Piece]:
        """The pieces of which every byte has come."""
        at, held = 0, self._bytes
        while not self._is_over and len(held) - at >= _HEAD.size:
            number, kind, size = _HEAD.unpack_from(held, at)
            self._is_over = number >= self._count or kind > _FAULT
            start = at + _HEAD.size
            if self._is_over or len(held) - start < size:
                break
            data, at = held[start : start + size], start + size
            if kind != _BATCH:
                yield Piece(number, None, data.decode() if kind == _FAULT else None)
                continue
            try:
                batch = unpacked(data)
            except (ValueError, EOFError, TypeError, LookupError):
                self._is_over = True
                break
            yield Piece(number, batch, None, data)
        self._bytes = held[at:]


class _Ahead:
    """Writes into a pipe from a thread of its own, so that reading goes on while the one at its end is busy.

    A pipe by itself holds less than what one commit stores: the two processes would take turns.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._waiting: list[bytes] = []
        self._size = 0
        self._is_over = self._is_broken = False
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def put(self, data: bytes) -> None:
        """Have bytes written, and wait where too many do. Raises `BrokenPipeError` where nobody takes them."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < _AHEAD_BYTES or self._is_broken)
            if self._is_broken:
                raise BrokenPipeError
            self._waiting.append(data)
            self._size += len(data)
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until everything is written."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._writer.join()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_over)
                waiting, self._waiting = self._waiting, []
            if not waiting:
                return
            # Written outside of the lock: whoever hands over more must not wait for a slow reader.
            together = b"".join(waiting)
            try:
                self._out.write(together)
                self._out.flush()
            except OSError:
                self._is_broken = True
            with self._changed:
                self._size -= len(together)
                self._changed.notify_all()


def _started(turns: int) -> subprocess.Popen[bytes] | None:
    """A process that waits for its list; None where none can be started. `turns` is a pipe that it reads as well."""
    if not sys.executable:
        return None
    try:
        return subprocess.Popen(  # noqa: S603  # our own interpreter, and nothing from outside
            [sys.executable, "-I", "-c", _START, str(turns), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=_BUFFER,
            pass_fds=() if turns == _ALL else (turns,),
            start_new_session=True,  # an interrupt is for us; it ends when we let go of the pipe
        )
    except OSError:
        return None


def _told(worker: subprocess.Popen[bytes], wanted: Sequence[FileToRead]) -> None:
    """Give a process the list of files; one that has ended takes none."""
    if worker.stdin is not None:
        with suppress(OSError, ValueError), worker.stdin as out:
            pickle.dump(wanted, out, protocol=5)


def _ended(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    worker.wait()
