"""Files of this machine: a stranger's opened with care, one replaced in one step, one made for this user alone."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from tallygate.core.errors import InvalidArgument
from tallygate.core.text import shown
from tallygate.core.values import value

# --- files -----------------------------------------------------------------------------------------------------------
# Reading a user's files with care and replacing them in one step.


FILE_BYTES_MAX = 64 << 20
# Opening a pipe or device must neither block nor act on it; what it is, only the open file can say.
_SAFE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@value(frozen=True, slots=True)
class FileContent:
    """A file as it is: where it really lies behind links, its bytes (None: there is none) and its mode (0)."""

    target: Path
    content: bytes | None
    mode: int = 0


def read_file(path: Path, inside: Path | None = None) -> FileContent:
    """Read a file through links; with `inside` it has to lie below that folder."""
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise _unusable(path, "is a link that leads nowhere") from error
    if inside is not None and not target.is_relative_to(inside.resolve()):
        raise InvalidArgument(
            "scope",
            f"{path} leads out of the project, to {target}; nothing was changed.",
            hint="Replace the link by a file of the project, or use --scope user.",
        )
    try:
        descriptor = os.open(target, _SAFE)
    except FileNotFoundError:
        return FileContent(target, None)
    except OSError as error:
        raise _unusable(path, f"cannot be opened: {error.strerror}") from error
    try:
        # Looked at when it is open: what was looked at by its name could be another file by now.
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise _unusable(path, "is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(content) > FILE_BYTES_MAX:
        raise _unusable(path, f"is larger than {FILE_BYTES_MAX >> 20} MiB")
    return FileContent(target, content, stat.S_IMODE(info.st_mode))


def writable(path: Path) -> None:
    """Refuse what could not be replaced, before anything is: a read-only file, or a folder that is."""
    if path.exists() and not os.access(path, os.W_OK):
        raise _unusable(path, "may not be written")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise _unusable(path, f"cannot be written: {folder} may not be changed")


def replace(path: Path, content: bytes, mode: int) -> None:
    """Put content in a file's place in one step that survives a power cut; mode and owner stay."""
    # Made for this user alone, whatever the mode is going to be.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tallygate", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        if path.exists():
            was, now = path.stat(), temporary.stat()
            if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
                with suppress(PermissionError):
                    os.chown(temporary, was.st_uid, was.st_gid)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def put(path: Path, pieces: Iterable[bytes], *, anew: bool) -> int:
    """Write a file piece by piece, for this user alone; it is there as a whole or not at all. Returns its size.

    With `anew` it must not be there yet, `FileExistsError` where it is, also where it has come meanwhile; otherwise it
    takes the place of what is there.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tallygate", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
            size = stream.tell()
        if anew:
            _named_anew(temporary, path)
        else:
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    sync_folder(path.parent)
    return size


def _named_anew(temporary: Path, path: Path) -> None:
    """Give a file its name where nothing has that name; on a disk without links a look has to do."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)


def remove(path: Path) -> None:
    """Take a file away; one that is gone already is none."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_folders(path: Path, mode: int = 0o755) -> list[Path]:
    """Make the folders above a file; answers with those that were not there, outermost first."""
    missing = []
    folder = path.parent
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=mode)
    return list(reversed(missing))


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder survive a power cut."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unusable(path: Path, why: str) -> InvalidArgument:
    return InvalidArgument(
        "client", f"{shown(str(path), 300)} {why}; nothing was changed.", hint="Put that right and run it again."
    )


def open_regular(path: Path, seen: tuple[int, int, int, int] | None) -> tuple[FileIO | None, os.stat_result] | None:
    """The open file and its facts; no file where it is no regular one, nothing at all where none changed.

    `seen` is what was known of it before: device, inode, size and time of its last change.
    """
    if seen is not None:
        info = path.stat()
        if (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns) == seen:
            return None
    handle = os.open(path, _SAFE)
    try:
        info = os.fstat(handle)
        if stat.S_ISREG(info.st_mode):
            return os.fdopen(handle, "rb", buffering=0), info
    except OSError:
        os.close(handle)
        raise
    os.close(handle)
    return None, info


def start_of(path: Path, size: int) -> bytes | None:
    """The first bytes of a regular file, without waiting for anybody; None where there is none that can be read."""
    try:
        file, _ = open_regular(path, None) or (None, None)
        if file is None:
            return None
        with file:
            return file.read(size)
    except (OSError, ValueError):
        return None


def create(path: Path) -> int:
    """A new file for this user alone, open for writing; `FileExistsError` where anything has that name."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def on_disk(path: Path) -> None:
    """Wait until a file, and the names in its folder, survive a power cut."""
    for place, flags in ((path, os.O_RDWR), (path.parent, os.O_RDONLY)):
        descriptor = os.open(place, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
