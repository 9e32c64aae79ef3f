"""The bytes of a bill's file, whatever it is packed in: bounded, hashed as they pass, and decoded."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from tallygate.core.errors import InvalidArgument
from tallygate.core.text import cleaned, shown
from tallygate.core.values import value
from tallygate.files import open_regular

SIZE_MAX = 512 * 1024 * 1024
# What is packed may grow to this many times its size; what stays small in any case is not held against it.
RATIO_MAX = 200
RATIO_FREE = 16 * 1024 * 1024
_DIRECTORY_MAX = 1024 * 1024
_ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_END, _LARGE = b"PK\x05\x06", b"PK\x06\x07"
_UNPACKING = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)


@value(frozen=True, slots=True)
class GivenFile:
    """A file that somebody has handed over: it is open already, and `name` is no path but what it was called there."""

    name: str
    file: IO[bytes]


class Content:
    """An open file as text, with the SHA-256 of the bytes behind it."""

    def __init__(self, name: str, source: IO[bytes], packed: int | None) -> None:
        self.name = name
        self._counted = _Counted(name, source, packed)
        bytes_ = io.BufferedReader(self._counted, 1 << 16)
        # Lines keep their ends, so that a table may hold any of them in its cells.
        self._text = io.TextIOWrapper(bytes_, _encoding(name, bytes_.peek(4)[:4]), newline="")

    def line(self, longest: int) -> str:
        """The next line with its end, cut at `longest`; nothing at the end."""
        with self._decoding():
            return self._text.readline(longest)

    def part(self, length: int) -> str:
        """The next characters; nothing at the end."""
        with self._decoding():
            return self._text.read(length)

    def digest(self) -> str:
        """SHA-256 of the whole content, once all of it was read."""
        while self.part(1 << 20):
            pass
        return self._counted.sum.hexdigest()

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        try:
            yield
        except UnicodeError as error:
            byte = error.object[error.start : error.start + 1] if isinstance(error, UnicodeDecodeError) else b""
            what = f" (it holds the byte 0x{byte.hex()})" if byte else ""
            raise _unusable(
                f"{shown(self.name)} is not UTF-8 text{what}.", "Export or save it as UTF-8, then import it again."
            ) from error


class _Counted(io.RawIOBase):
    """Bytes on their way, counted against the bounds."""

    def __init__(self, name: str, source: IO[bytes], packed: int | None) -> None:
        self._name, self._source, self._packed = name, source, packed
        self._size = 0
        self.sum = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._source.read(len(buffer))
        except _UNPACKING as error:
            _damaged(self._name, error)
        self._size += len(data)
        if self._size > SIZE_MAX:
            raise _too_large(self._name)
        if self._packed is not None and self._size > max(RATIO_FREE, self._packed * RATIO_MAX):
            message = f"{shown(self._name)} unpacks to more than {RATIO_MAX} times its size."
            raise _unusable(message, "That is no bill; if it is, unpack it first.")
        self.sum.update(data)
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def open_content(source: Path | GivenFile) -> Iterator[Content]:
    """A file as text, unpacked where it is a gzip file or a zip archive that holds one table.

    Raises `InvalidArgument` for whatever is no file, too large, damaged or in another encoding.
    """
    with ExitStack() as stack:
        if isinstance(source, GivenFile):
            name, file = source.name, source.file
        else:
            name, file = str(source), stack.enter_context(_regular(source))
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(4)
        file.seek(0)
        if size > SIZE_MAX:
            raise _too_large(name)
        if head.startswith(_GZIP):
            yield Content(name, cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))), size)
        elif head.startswith((_ZIP, _END)):
            yield Content(name, _member(name, file, size, stack), size)
        else:
            yield Content(name, file, None)


def _regular(path: Path) -> IO[bytes]:
    hint = "Pass the path of a file that a provider's console exported."
    try:
        file, _ = open_regular(path, None) or (None, None)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its name cannot be one"
        raise _unusable(f"{shown(str(path))} cannot be read: {why}.", hint) from error
    if file is None:
        raise _unusable(f"{shown(str(path))} is no file.", hint)
    return io.BufferedReader(file)


def _member(name: str, file: IO[bytes], size: int, stack: ExitStack) -> IO[bytes]:
    """The one table in an archive, open as long as the stack."""
    _see_directory(name, file, size)
    try:
        archive = stack.enter_context(zipfile.ZipFile(file))
        names = {each: each.filename for each in archive.infolist()}
        found = [each for each, name in names.items() if name.lower().endswith(_ENDINGS) and name[:9] != "__MACOSX/"]
        if len(found) != 1:
            message = f"{shown(name)} holds {len(found)} files that could be a bill, not one."
            raise _unusable(message, "Unpack it, and pass the files that are bills; save a workbook as CSV.")
        if found[0].file_size > SIZE_MAX:
            raise _too_large(name)
        return stack.enter_context(archive.open(found[0]))
    except _UNPACKING as error:
        _damaged(name, error)


def _see_directory(name: str, file: IO[bytes], size: int) -> None:
    """Refuse an archive with a directory of many entries before anybody reads it into memory."""
    file.seek(max(size - 65_557, 0))
    tail = file.read()
    file.seek(0)
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + 22:
        _damaged(name, zipfile.BadZipFile("it has no end"))
    (directory,) = struct.unpack_from("<L", tail, end + 12)
    if directory > _DIRECTORY_MAX or tail[max(end - 20, 0) : end].startswith(_LARGE):
        raise _unusable(f"{shown(name)} is an archive of too many files.", "Unpack it, and pass the bills.")


def _encoding(name: str, head: bytes) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise _unusable(f"{shown(name)} is in UTF-32.", "Export or save it as UTF-8, then import it again.")
    return "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"


def _too_large(name: str) -> InvalidArgument:
    message = f"{shown(name)} is larger than {SIZE_MAX // 1024**2} MiB."
    return _unusable(message, "Export fewer days at a time.")


def _damaged(name: str, error: BaseException) -> NoReturn:
    message = f"{shown(name)} cannot be unpacked: {cleaned(str(error), 200)}."
    raise _unusable(message, "Export it again, or unpack it first.") from error


def _unusable(message: str, hint: str) -> InvalidArgument:
    return InvalidArgument("FILE", message, hint=hint)
