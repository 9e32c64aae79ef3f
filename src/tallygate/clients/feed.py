"""Read many files one after the other, here or in a process beside this one, so that reading and storing overlap."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from tallygate.clients.reading.files import Batch, FilePosition, FileState, TranscriptFile
from tallygate.clients.reading.lines import ReadReport
from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Tokens
from tallygate.core.usage import ObservedUsage, Quality

# What the process beside us runs: our own search path, since an installation may be found only through that.
_START = "import sys; sys.path[:] = sys.argv[1:]; from tallygate.clients.feed import serve; serve()"
_QUALITIES = {quality.value: quality for quality in Quality}

# So much that was read may wait for who stores it.
_AHEAD_BYTES = 4 * 1024 * 1024
_BUFFER = 1024 * 1024

Packed = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class FileToRead:
    """A file to read, and how far it was read before, as it was stored."""

    file: TranscriptFile
    position: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """What reading the file of this number brought; the last piece of a file has no batch, and says what went wrong."""

    number: int
    batch: Batch | None = None
    fault: str | None = None


def pieces(wanted: Sequence[FileToRead], start: int = 0) -> Generator[Piece]:
    """Read the files from number `start` on in this process."""
    for number in range(start, len(wanted)):
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
    """Read the files in a process of their own; what that cannot do is done here.

    It takes a moment to start, in which `meanwhile` is done: what will be needed here anyway. The pipe between the two
    holds the other one back when this one does not keep up, and ends it when this one ends.
    """
    done = 0
    worker = _started()
    if worker is not None:
        try:
            for piece in _received(worker, wanted, meanwhile):
                yield piece
                done = piece.number + (piece.batch is None)
        finally:
            _ended(worker)
    yield from pieces(wanted, done)


def serve() -> None:
    """Be the process beside: take the list of files from the input, give what they bring to the output."""
    # What is read is given away as it comes, and nothing of it holds itself: nobody need look for what does.
    gc.disable()
    wanted = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the process that started this one
    out = os.fdopen(os.dup(1), "wb")
    # Nothing that is printed by mistake may stand between the pieces.
    os.dup2(2, 1)
    ahead = _Ahead(out)
    with suppress(BrokenPipeError), out:
        for piece in pieces(wanted):
            ahead.put(pickle.dumps(_packed(piece), protocol=5))
        ahead.close()


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


def _started() -> subprocess.Popen[bytes] | None:
    """A process that waits for its list; None where none can be started."""
    if not sys.executable:
        return None
    try:
        return subprocess.Popen(  # noqa: S603  # our own interpreter, and nothing from outside
            [sys.executable, "-I", "-c", _START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=_BUFFER,
            start_new_session=True,  # an interrupt is for us; it ends when we let go of the pipe
        )
    except OSError:
        return None


def _received(
    worker: subprocess.Popen[bytes], wanted: Sequence[FileToRead], meanwhile: Callable[[], object]
) -> Iterator[Piece]:
    """The pieces that come through the pipe, until all have or the pipe breaks."""
    if worker.stdin is None or worker.stdout is None:
        return
    meanwhile()
    try:
        with worker.stdin as out:
            pickle.dump(wanted, out, protocol=5)
        while True:
            yield _unpacked(pickle.load(worker.stdout))  # noqa: S301  # from the process that we started
    except (EOFError, OSError, pickle.UnpicklingError):
        return


def _ended(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    worker.wait()


def _packed(piece: Piece) -> Packed:
    """A piece as plain values: those cross a pipe in a fraction of the time that objects take."""
    batch = piece.batch
    if batch is None:
        return piece.number, None, piece.fault
    position = None if batch.position is None else batch.position.as_json()
    report = batch.report
    rows = [_packed_row(row) for row in batch.rows]
    skipped = dict(report.skipped)
    return (
        piece.number,
        (
            rows,
            position,
            batch.change,
            (report.bytes_read, report.rows, skipped, report.unfinished, report.session),
            batch.checks,
            batch.anew,
        ),
        None,
    )


def _unpacked(packed: Packed) -> Piece:
    number, found, fault = packed
    if found is None:
        return Piece(number, None, fault)
    rows, position, change, (bytes_read, count, skipped, unfinished, of_session), checks, anew = found
    report = ReadReport(bytes_read, count, unfinished=unfinished, session=of_session)
    report.skipped.update(skipped)
    taken = []
    for client, session, key, at, model, tokens, rule, quality, *rest in rows:
        read_by = REGISTRY.rules[rule]
        # The rest stands in the order of the fields, as `_packed_row` writes it.
        taken.append(
            ObservedUsage(client, session, key, at, model, Tokens(*tokens), read_by, _QUALITIES[quality], *rest)
        )
    return Piece(number, Batch(tuple(taken), FilePosition.from_json(position), FileState(change), report, checks, anew))


def _packed_row(row: ObservedUsage) -> Packed:
    tokens = row.tokens
    return (
        row.client, row.session, row.response_key, row.at, row.model,
        (tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h, tokens.output),
        row.rule.text, row.quality.value, row.parent_session, row.reasoning, row.tier, row.speed, row.geo,
        row.web_searches, row.native_cost_text, row.estimated_output, row.agent_id, row.tool_use_ids, row.request_id,
        row.project, row.version, row.provider, row.counted_by, row.odd,
    )  # fmt: skip
