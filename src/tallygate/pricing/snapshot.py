"""A newer price list that the user has fetched: kept whole with its hash in the data folder, read back as it was."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from tallygate.core.values import value

FOLDER, POINTER = "prices", "current.json"
SIZE_MAX = 32 * 2**20
_FIELDS = ("digest", "fetched_at", "origin", "package")


class SnapshotDamaged(Exception):
    """Why a price list that was fetched cannot be used, as a sentence."""


@value(frozen=True, slots=True)
class Snapshot:
    """A list that is kept: the SHA-256 of its bytes, when and from where it came, and what was installed then.

    `package` is the version of the list that came with the program: a newer one counts before what was fetched earlier.
    """

    digest: str
    fetched_at: str
    origin: str
    package: str


def snapshot_in(folder: Path) -> Snapshot | None:
    """The list that counts, by what is noted of it; None where none was fetched. Raises `SnapshotDamaged`."""
    try:
        text = (folder / POINTER).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SnapshotDamaged(f"{folder / POINTER} cannot be read: {error}") from None
    try:
        found = json.loads(text)
        noted = Snapshot(*(found[name] for name in _FIELDS))
    except (ValueError, LookupError, TypeError, RecursionError):
        raise SnapshotDamaged(f"{folder / POINTER} is damaged") from None
    # The digest becomes the name of a file: nothing but one may stand there.
    if not all(isinstance(each, str) for each in asdict(noted).values()) or not _is_digest(noted.digest):
        raise SnapshotDamaged(f"{folder / POINTER} is damaged")
    return noted


def bytes_of(folder: Path, snapshot: Snapshot) -> bytes:
    """The list itself, byte for byte as it was fetched. Raises `SnapshotDamaged`."""
    path = folder / f"{snapshot.digest}.json"
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise SnapshotDamaged(f"{path} cannot be read: {error.strerror}") from None
    if hashlib.sha256(raw).hexdigest() != snapshot.digest:
        raise SnapshotDamaged(f"{path} is not what was fetched: its hash differs")
    return raw


def keep(folder: Path, raw: bytes, *, fetched_at: str, origin: str, package: str) -> Snapshot:
    """Put a list beside the user's data and make it the one that counts; what counted before is taken away."""
    snapshot = Snapshot(hashlib.sha256(raw).hexdigest(), fetched_at, origin, package)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _written(folder / f"{snapshot.digest}.json", raw)
    _written(folder / POINTER, json.dumps(asdict(snapshot), indent=1).encode())
    for other in folder.glob("*.json"):
        if _is_digest(other.stem) and other.stem != snapshot.digest:
            with suppress(OSError):
                other.unlink()
    return snapshot


def forget(folder: Path) -> bool:
    """Take away what was fetched, so that the list that came with the program counts; whether there was anything.

    The pointer goes first: whatever is left of the lists without it counts for nothing.
    """
    pointer = folder / POINTER
    found = pointer.exists()
    pointer.unlink(missing_ok=True)
    for other in folder.glob("*.json"):
        if _is_digest(other.stem):
            with suppress(OSError):
                other.unlink()
    return found


def _written(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    made = path.with_name(f".{path.name}.new")
    made.unlink(missing_ok=True)
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    made.replace(path)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
