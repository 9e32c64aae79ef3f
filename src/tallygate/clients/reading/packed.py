"""Files of lines that somebody packed or stored in wide characters, as the stream of their bytes in UTF-8."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import IO, cast

from tallygate.clients.reading.lines import MAX_LINE, Skip, Unreadable

_GZIP = b"\x1f\x8b"
# The longer ones first: the shorter stand at their beginning.
_MARKS = {
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
# How a record begins where no mark stands before it.
_BEGINNINGS = {b'{\0"\0': "utf-16-le", b'\0{\0"': "utf-16-be", b"{\0\0\0": "utf-32-le", b"\0\0\0{": "utf-32-be"}
_CHUNK = 1024 * 1024

Unpack = Callable[[IO[bytes]], IO[bytes]]


def unpacker_of(file: IO[bytes]) -> Unpack | None:
    """What makes lines of a file whose first bytes say that it holds them in another form; None where it does not."""
    file.seek(0)
    head = file.read(4)
    if head.startswith(_GZIP):
        return lambda opened: cast("IO[bytes]", _Unzipped(opened))
    order = _MARKS.get(head) or _MARKS.get(head[:2]) or _BEGINNINGS.get(head)
    return None if order is None else lambda opened: cast("IO[bytes]", _Narrowed(opened, order))


def narrowed(block: bytes) -> bytes:
    """Lines among which some are in wide characters, as a program may write on in a file of its client's, in UTF-8.

    Such a line was cut at the byte of a newline, so that the rest of that newline stands before the next one.
    """
    lines = block.split(b"\n")
    for number, line in enumerate(lines):
        record = line.lstrip(b"\0")
        width = next((width for width in _INSIDE if _is_wide(record[: 4 * width], width)), 0)
        if width:
            record += b"\0" * (-len(record) % width)
            text = record.decode(_INSIDE[width], errors="replace").rstrip("\0\r")
            lines[number] = text.encode(errors="replace")
    return b"\n".join(lines)


# Behind the zeros before it a record of the other byte order looks the same, and is read in the same way.
_INSIDE = {4: "utf-32-le", 2: "utf-16-le"}


def _is_wide(head: bytes, width: int) -> bool:
    """Whether bytes are four letters of a record in wide characters; zeros elsewhere are holes in a damaged file."""
    letters = head[::width]
    return (
        len(letters) == 4
        and letters[:1] == b"{"
        and head == b"".join(bytes((one,)).ljust(width, b"\0") for one in letters)
    )


class _Unzipped:
    """The stream of a packed file; a damaged one raises Unreadable where it breaks."""

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        self._stream = gzip.GzipFile(fileobj=file, mode="rb")

    def read(self, size: int) -> bytes:
        try:
            return self._stream.read1(size)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise Unreadable(Skip.BAD_FILE) from None


class _Narrowed:
    """Lines in UTF-16 or UTF-32 as lines in UTF-8. Where a client wrote on in its own, those stay as they are."""

    def __init__(self, file: IO[bytes], order: str) -> None:
        file.seek(0)
        self._file = file
        self._order = order
        self._newline = "\n".encode(order)
        self._width = len(self._newline)
        self._zero = 1 if order.endswith("-le") else 0
        self._rest = b""
        self._ready = b""

    def read(self, size: int) -> bytes:
        while not self._ready:
            chunk = self._file.read(_CHUNK)
            self._take(self._rest + chunk, is_end=not chunk)
            if not chunk:
                break
        found, self._ready = self._ready[:size], self._ready[size:]
        return found

    def _take(self, data: bytes, *, is_end: bool) -> None:
        """Make what is whole of some data ready; the last line waits for its end, unless it is longer than is read."""
        out, start = [], 0
        while start < len(data):
            is_wide = data[start : start + 2] in _MARKS or data[start + self._zero : start + self._zero + 1] == b"\0"
            newline = self._newline if is_wide else b"\n"
            at = data.find(newline, start)
            # Half of one letter and half of the next may look like a newline: it ends a line at a whole letter alone.
            while is_wide and at >= 0 and (at - start) % self._width:
                at = data.find(newline, at + 1)
            if at < 0 and not is_end and len(data) - start <= 4 * MAX_LINE:
                break
            end = len(data) if at < 0 else at + len(newline)
            line = data[start:end]
            out.append(line.decode(self._order, errors="replace").encode(errors="replace") if is_wide else line)
            start = end
        self._rest = data[start:]
        self._ready = b"".join(out)
