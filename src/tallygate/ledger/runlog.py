"""runs.jsonl: one line per finished session, appended so that nobody's file is hit and no line is torn."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from tallygate.core.errors import RunLogError

_READ_CHUNK = 1 << 20
_FIRST_MAX = 1 << 16


class JsonLinesLog:
    """Appends whole lines to a file of this user; refuses links, special files and files others may write."""

    def append(self, path: Path, line: str) -> None:
        """One line in one write to the end of the file, on disk when this returns. Raises `RunLogError`."""
        if "\n" in line or "\r" in line:
            raise RunLogError("A run-log line cannot contain a line end.")
        data = line.encode() + b"\n"
        descriptor = _open_for_append(path)
        try:
            _check(descriptor, path)
            _check_ours(descriptor, path)
            before = os.fstat(descriptor).st_size
            if before and os.pread(descriptor, 1, before - 1) != b"\n":
                data = b"\n" + data  # a torn line of another program must not swallow this one
            written = os.write(descriptor, data)
            if written != len(data):
                os.ftruncate(descriptor, before)
                raise RunLogError(f"{path} took {written} of {len(data)} bytes; the line was taken back.")
            os.fsync(descriptor)
        except OSError as error:
            raise RunLogError(f"{path} cannot be written: {error.strerror}.", hint="Free space or fix it.") from error
        finally:
            os.close(descriptor)

    def examine(self, path: Path) -> None:
        """Raise the `RunLogError` that an append would meet, without writing or creating anything."""
        _check_name(path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | _SAFE)
        except FileNotFoundError:
            folder = next(parent for parent in path.absolute().parents if parent.exists())
            if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
                raise RunLogError(
                    f"The run log {path} cannot be made: {folder} does not take files of this user.",
                    hint="Make the folder writable or set TALLYGATE_LOG_PATH.",
                ) from None
            return
        except OSError as error:
            raise RunLogError(
                f"The run log {path} cannot be opened: {error.strerror}.",
                hint="Make it a regular file of this user or set TALLYGATE_LOG_PATH.",
            ) from error
        try:
            _check(descriptor, path)
            _check_ours(descriptor, path)
        finally:
            os.close(descriptor)

    def holds(self, path: Path, line: str) -> bool:
        """Whether the log already has a line, so that a crash after the append writes no second.

        It is known by the event that it names: several ledgers and tenants write into one log, and an id that a caller
        chose may name a session in each of them.
        """
        try:
            place = json.dumps(json.loads(line)["ledger"], separators=(",", ":"))
            needle = f'"ledger":{place}'.encode()
        except (ValueError, KeyError, TypeError):  # somebody edited what waits in the ledger
            needle = line.encode()
        try:
            descriptor = os.open(path, os.O_RDONLY | _SAFE)
        except OSError:
            return False
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return False
            rest = b""
            while chunk := os.read(descriptor, _READ_CHUNK):
                if needle in rest + chunk:
                    return True
                rest = chunk[-len(needle) :]
            return False
        finally:
            os.close(descriptor)


_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_run_log(path: Path) -> bool:
    """Whether nothing that is somebody else's would be written to: no file, an empty one, or one with lines of runs."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _SAFE)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and _begins_with_a_run(descriptor)
    finally:
        os.close(descriptor)


def _check_name(path: Path) -> None:
    if any(ord(c) < 32 for c in str(path)):
        raise RunLogError(f"The run log {str(path)!r} must have no control characters in its name.")


def _check_ours(descriptor: int, path: Path) -> None:
    """Refuse a file of another name that has something else in it: whoever chose it meant another file."""
    if path.suffix != ".jsonl" and not _begins_with_a_run(descriptor):
        raise RunLogError(f"{path} has something else in it than runs.", hint="Choose another name for the run log.")


def _begins_with_a_run(descriptor: int) -> bool:
    first = os.pread(descriptor, _FIRST_MAX, 0).lstrip().split(b"\n", 1)[0]
    return not first or (first.startswith(b"{") and b'"run_id"' in first)


def _open_for_append(path: Path) -> int:
    _check_name(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _SAFE, 0o600)
    except OSError as error:
        raise RunLogError(
            f"The run log {path} cannot be opened: {error.strerror}.",
            hint="It must be a regular file of this user in a folder that exists or can be made.",
        ) from error


def _check(descriptor: int, path: Path) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise RunLogError(f"The run log {path} is not a regular file.", hint="Remove it or set TALLYGATE_LOG_PATH.")
    if found.st_uid != os.getuid():
        raise RunLogError(f"The run log {path} belongs to uid {found.st_uid}.", hint="Set TALLYGATE_LOG_PATH.")
    # Whoever has another name for it could put it anywhere, and would read every line.
    if found.st_nlink != 1:
        raise RunLogError(f"The run log {path} has {found.st_nlink} names (hard links).", hint="Remove the others.")
    if found.st_mode & 0o022:
        raise RunLogError(f"The run log {path} can be written by others.", hint=f"Run: chmod 600 {path}")
