"""What the user has accepted of projects: for each, the hashes of rows that may count, beside the user's data."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from tallygate import workspace
from tallygate.core.errors import SettingsError

TRUST_FILE = "trust.json"
KEPT = 20
_VERSION = 1
_BYTES_MAX = 4 << 20


def repository_of(root: Path, home: Path) -> Path:
    """The repository that begins in a folder, for a worktree its own; the folder itself where none does."""
    real = root.resolve()
    return Path(workspace.repository_of(str(real), str(home.resolve())) or real)


def accepted_hashes(data_dir: Path, project: str) -> tuple[str, ...]:
    """The hashes that were accepted for a project, the latest last; none where the record cannot be relied on."""
    return tuple(_read(data_dir).get(project, ()))


def every(data_dir: Path) -> dict[str, list[str]]:
    """The hashes that were accepted, by project."""
    return _read(data_dir)


def accept(data_dir: Path, project: str, fingerprint: str) -> None:
    """Keep one more hash for a project; the oldest beyond the last twenty is forgotten."""
    known = _read(data_dir)
    hashes = [each for each in known.get(project, []) if each != fingerprint]
    known[project] = [*hashes, fingerprint][-KEPT:]
    _write(data_dir, known)


def forget(data_dir: Path, project: str) -> bool:
    """Take back everything that was accepted for a project; whether there was anything."""
    known = _read(data_dir)
    if known.pop(project, None) is None:
        return False
    _write(data_dir, known)
    return True


def _read(data_dir: Path) -> dict[str, list[str]]:
    """The record; what is not the user's own file, or damaged, has accepted nothing."""
    try:
        descriptor = os.open(data_dir / TRUST_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            loose = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (0, os.getuid())
            stored = json.loads(file.read(_BYTES_MAX)) if stat.S_ISREG(found.st_mode) and not loose else {}
        projects = stored["projects"] if stored.get("version") == _VERSION else {}
        return {str(name): [str(each) for each in hashes] for name, hashes in projects.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return {}


def _write(data_dir: Path, projects: dict[str, list[str]]) -> None:
    text = json.dumps({"version": _VERSION, "projects": projects}, indent=1, sort_keys=True) + "\n"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".trust-", dir=data_dir)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(data_dir / TRUST_FILE)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise SettingsError(f"{data_dir / TRUST_FILE} cannot be written: {error.strerror}.") from None
