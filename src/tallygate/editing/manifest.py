"""What was installed, so that it can be undone: a record of every file, and its bytes from before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

from tallygate import files
from tallygate.core.errors import InvalidArgument
from tallygate.core.values import value

_VERSION = 1


@value(slots=True)
class Record:
    """One file that was changed.

    `owners` are the clients that need it. `original` names the copy of what it held before, None where it was not
    there; `written` is the SHA-256 of what was left in it, and only while the file still is that, the copy may
    take its place again. `state` is how our entries came in, for a file that was edited since.
    """

    target: str
    kind: str
    scope: str
    root: str | None
    owners: list[str]
    original: str | None
    written: str
    state: dict[str, Any] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)


def digest(content: bytes) -> str:
    """The fingerprint of a file's bytes."""
    return hashlib.sha256(content).hexdigest()


class Manifest:
    """The records of all files, below one folder of the data directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "manifest.json"
        self.records: dict[str, Record] = self._load()

    def _load(self) -> dict[str, Record]:
        found = files.read_file(self._file)
        if found.content is None:
            return {}
        try:
            stored = json.loads(found.content)
            records = _records(stored)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidArgument(
                "client",
                f"{self._file}:1: the record of what was installed cannot be read; nothing was changed.",
                hint="Move it away; uninstall then goes by the entries themselves.",
            ) from error
        return {record.target: record for record in records}

    @property
    def written_us(self) -> int:
        """When anything was installed last; 0 where nothing is."""
        try:
            return self._file.stat().st_mtime_ns // 1000
        except OSError:
            return 0

    def save(self) -> None:
        """Write the records down."""
        if not self.records:
            files.remove(self._file)
            return
        files.make_folders(self._file, 0o700)
        stored = {"version": _VERSION, "files": [asdict(self.records[name]) for name in sorted(self.records)]}
        content = json.dumps(stored, indent=1, ensure_ascii=True).encode()
        if files.read_file(self._file).content != content:
            files.replace(self._file, content, 0o600)

    @property
    def aside_folder(self) -> Path:
        """Where files of ours go that the user has edited."""
        return self._folder / "edited"

    def put_aside(self, path: Path, content: bytes) -> None:
        """Keep a file of ours that the user has edited and that is taken away."""
        copy = self.aside_folder / f"{path.name}.{digest(content)[:8]}"
        files.make_folders(copy, 0o700)
        files.replace(copy, content, 0o600)

    def keep(self, content: bytes) -> str:
        """Put a copy of bytes aside; answers with its name."""
        name = digest(content)
        copy = self._folder / "originals" / name
        if not copy.exists():
            files.make_folders(copy, 0o700)
            files.replace(copy, content, 0o600)
        return name

    def kept(self, name: str) -> bytes | None:
        """The bytes of a copy, if they are still what they were."""
        if not name.isalnum():
            return None
        content = files.read_file(self._folder / "originals" / name).content
        return content if content is not None and digest(content) == name else None

    def forget_copies(self) -> None:
        """Take away copies that no record names: what lies there and is none, or lies behind a link, stays."""
        named = {record.original for record in self.records.values()}
        folder = self._folder / "originals"
        linked = folder.is_symlink() or self._folder.is_symlink()
        for copy in folder.iterdir() if folder.is_dir() and not linked else ():
            if copy.name not in named and self.kept(copy.name) is not None:
                files.remove(copy)
        for each in (folder, self._folder):
            with suppress(OSError):
                each.rmdir()  # only where it is empty


def _records(stored: Mapping[str, Any]) -> list[Record]:
    if stored["version"] != _VERSION:
        raise ValueError(stored["version"])
    return [_record(each) for each in stored["files"]]


def _record(stored: Mapping[str, Any]) -> Record:
    # It says which files are put back and removed: whatever is not as we write it is refused as a whole.
    record = Record(**stored)
    texts = (record.target, record.kind, record.scope, record.written)
    lists = (record.owners, record.folders)
    names = (record.root, record.original)
    if not all(text is None or isinstance(text, str) for text in names):
        raise TypeError(record.target)
    if not all(isinstance(text, str) for text in texts) or not isinstance(record.state, dict):
        raise TypeError(record.target)
    if not all(isinstance(each, str) for listed in lists for each in listed):
        raise TypeError(record.target)
    return record
