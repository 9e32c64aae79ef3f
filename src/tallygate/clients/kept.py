"""What was read of clients' files before there was a ledger, kept in the cache folder so that it is read once.

Whoever has a ledger stores it from there. It can be thrown away at any time: the files are read again.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from tallygate.clients.packing import FORMAT, unpacked
from tallygate.clients.reading.files import Batch, TranscriptFile, still_stands

_NAME = "read"
# Before each record: how many bytes it has, and their checksum.
_HEAD = struct.Struct("<II")
_TOGETHER = 4 * 1024 * 1024
# The client and the path of a file.
FileKey = tuple[str, str]


class KeptReadings:
    """The readings of files, in the order they were made; where nothing can be written, nothing is kept.

    Only one program at a time adds to them. Of a damaged file what stands before the damage is used, and of another
    version's nothing: its readers may have understood less.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self._path = folder / _NAME
        self._begin = f"tallygate {version} reads {FORMAT}\n".encode()
        self._file: IO[bytes] | None = None
        self._waiting: list[bytes] = []
        self._size = 0

    def load(self) -> dict[FileKey, list[bytes]]:
        """What was read of each file, as bytes of its batches."""
        try:
            return self._loaded(self._path.read_bytes())[0]
        except OSError:
            return {}

    def begin(self) -> dict[FileKey, list[bytes]]:
        """The same, and from now on what is read is added."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            file = os.fdopen(handle, "r+b")
        except OSError:
            return {}
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found, end = self._loaded(file.read())
            file.seek(end)
            file.truncate()
            if not end:
                file.write(self._begin)
        except OSError:  # another program adds to it, or the disk is full
            file.close()
            return self.load()
        self._file = file
        return found

    def add(self, key: FileKey, data: bytes, *, anew: bool) -> None:
        """Keep a batch of a file; `anew` where it was read from its start, and nothing before counts any more."""
        if self._file is None:
            return
        record = marshal.dumps((*key, anew, data))
        self._waiting += (_HEAD.pack(len(record), zlib.crc32(record)), record)
        self._size += len(record)
        if self._size > _TOGETHER:
            self._write()

    def close(self) -> None:
        """Write what waits; a program that is ended before leaves what it had read so far."""
        if self._file is not None:
            self._write()
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _write(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        try:
            if self._file is not None:
                self._file.writelines(waiting)
                self._file.flush()
        except OSError:
            with suppress(OSError):
                if self._file is not None:
                    self._file.close()
            self._file = None

    def _loaded(self, content: bytes) -> tuple[dict[FileKey, list[bytes]], int]:
        """The readings that are whole, and where the last of them ends."""
        found: dict[FileKey, list[bytes]] = {}
        at = len(self._begin)
        if content[:at] != self._begin:
            return found, 0
        while len(content) - at >= _HEAD.size:
            size, checksum = _HEAD.unpack_from(content, at)
            record = content[at + _HEAD.size : at + _HEAD.size + size]
            if len(record) < size or zlib.crc32(record) != checksum:
                break
            try:
                client, path, anew, data = marshal.loads(record)  # noqa: S302  # plain values: nothing in them is run
            except (ValueError, EOFError, TypeError, MemoryError):
                break
            if not (isinstance(client, str) and isinstance(path, str) and isinstance(data, bytes)):
                break
            if anew:
                found.pop((client, path), None)
            found.setdefault((client, path), []).append(data)
            at += _HEAD.size + size
        return found, at


def batches_of(kept: Mapping[FileKey, list[bytes]], file: TranscriptFile) -> list[Batch]:
    """What was kept of a file; nothing where that stands in it no more, or is not understood."""
    try:
        batches = [unpacked(data) for data in kept.get((file.client, str(file.path)), ())]
    except (ValueError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError, RecursionError):
        return []
    position = batches[-1].position if batches else None
    return batches if position is not None and still_stands(file.path, position) else []
