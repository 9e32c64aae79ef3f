"""Transcripts that are one JSON document each: read whole, and again whenever they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tallygate.clients.reading.files import Batch, FilePosition, FileState, nothing, seen_of, written_at
from tallygate.clients.reading.lines import ReadReport, Skip
from tallygate.core.usage import ObservedUsage
from tallygate.files import open_regular

# Decoding takes a few times the size of the text; beyond this it would not stay within bounds.
MAX_DOCUMENT = 16 * 1024 * 1024


class DocumentReader(Protocol):
    """What a client provides for its documents."""

    report: ReadReport
    written_at: datetime | None

    def document(self, data: bytes) -> list[ObservedUsage]:
        """Rows of a whole document."""


def read_document(path: Path, position: FilePosition | None, reader: DocumentReader) -> Iterator[Batch]:
    """Read a document if it changed; one that is being written does not decode and is read again."""
    try:
        opened = open_regular(path, seen_of(position))
        if opened is None:
            return
        file, info = opened
        if file is None:
            yield nothing(FileState.NOT_REGULAR)
            return
        with file:
            data = b"" if info.st_size > MAX_DOCUMENT else _whole(file.read, MAX_DOCUMENT + 1)
    except OSError as error:
        yield nothing(FileState.GONE if isinstance(error, FileNotFoundError) else FileState.UNREADABLE)
        return
    rows: list[ObservedUsage] = []
    if info.st_size > MAX_DOCUMENT or len(data) > MAX_DOCUMENT:
        reader.report.skipped[Skip.TOO_LONG] += 1
    else:
        reader.written_at = written_at(info)
        rows = reader.document(data)
    stored = FilePosition(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, len(data), "")
    change = FileState.NEW if position is None else FileState.REPLACED
    yield Batch(tuple(rows), stored, change, reader.report, anew=True)


def _whole(read: Callable[[int], bytes], bound: int) -> bytes:
    parts = []
    left = bound
    while left > 0 and (part := read(min(left, 1024 * 1024))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
