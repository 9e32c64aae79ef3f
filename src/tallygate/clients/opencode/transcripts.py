"""opencode's database and older message files: where they lie and how each is read. See NOTES.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tallygate.clients.base import Batch, FilePosition, Source, TranscriptFile
from tallygate.clients.discovery import directory_of, files_below, listed, unique
from tallygate.clients.documents import read_document
from tallygate.clients.opencode.database import read_database
from tallygate.clients.opencode.messages import CLIENT, MessageFile

_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """The data directories."""
    return unique([*listed(env, "OPENCODE_DATA_DIR", home), _default(env, home)])


def _default(env: Mapping[str, str], home: Path) -> Path:
    return directory_of(env, "XDG_DATA_HOME", home / ".local" / "share") / "opencode"


def named_databases(env: Mapping[str, str], home: Path) -> list[Path]:
    """The databases that a variable names: a path, or a name in the data directory."""
    return unique([_default(env, home) / path for path in listed(env, "OPENCODE_DB", home) if str(path) != ":memory:"])


def discover(env: Mapping[str, str], home: Path) -> Iterator[TranscriptFile]:
    """Databases, one a release channel, and the message files from before there was a database."""
    prefix = env.get("OPENCODE_DB_PREFIX", "opencode")
    if not _PREFIX.fullmatch(prefix):
        prefix = "opencode"
    database = re.compile(re.escape(prefix) + r"(-[A-Za-z0-9_-]+)?\.db")
    named = named_databases(env, home)
    yield from (TranscriptFile(CLIENT, path) for path in named if path.exists())
    closed: list[Path] = []
    for root in locations(env, home):
        try:
            found = sorted(path for path in root.iterdir() if database.fullmatch(path.name) and path not in named)
        except (FileNotFoundError, NotADirectoryError):
            found = []
        except OSError:
            found = [root]
        yield from (TranscriptFile(CLIENT, path) for path in found)
        for path in files_below(root / "storage" / "message", (".json",), closed):
            yield TranscriptFile(CLIENT, path)
    yield from (TranscriptFile(CLIENT, path) for path in closed)


def read(file: TranscriptFile, position: FilePosition | None = None, _max_bytes: int | None = None) -> Iterator[Batch]:
    """What is new in one database or message file; both are read to their end.

    Many messages may share one time of change, and a budget that stops among them would never get past it.
    """
    if file.path.suffix == ".json":
        return read_document(file.path, position, MessageFile(file.path))
    return read_database(file.path, position)


SOURCE = Source(CLIENT, locations, discover, read, variables=("OPENCODE_DATA_DIR",))
