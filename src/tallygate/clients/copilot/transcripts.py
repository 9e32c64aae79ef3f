"""Copilot CLI's session events: where they lie and how one is read. NOTES.md has the shapes and the traps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tallygate.clients.base import Batch, FilePosition, Source, State, TranscriptFile, read_lines
from tallygate.clients.copilot.records import CLIENT, CopilotReader
from tallygate.clients.discovery import directory_of, files_below

EVENTS = "events.jsonl"


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """The directory that holds one directory a session."""
    return [directory_of(env, "COPILOT_HOME", home / ".copilot") / "session-state"]


def discover(env: Mapping[str, str], home: Path) -> Iterator[TranscriptFile]:
    """The event files there are; a session's folder may hold any other file beside its own."""
    closed: list[Path] = []
    for root in locations(env, home):
        for path in files_below(root, (EVENTS,), closed):
            inside = path.relative_to(root).parts
            if len(inside) == 2 and path.name == EVENTS:  # the session's folder and the file
                yield TranscriptFile(CLIENT, path)
    yield from (TranscriptFile(CLIENT, path) for path in closed)


def read(file: TranscriptFile, position: FilePosition | None = None, max_bytes: int | None = None) -> Iterator[Batch]:
    """What is new in one session's events."""
    return read_lines(file.path, position, partial(reader_of, file.path), max_bytes)


def reader_of(path: Path, state: State | None = None, skipping: bool = False) -> CopilotReader:
    """The reader of one session's events; its folder stands in where none names the session."""
    folder = path.parent
    return CopilotReader(stem=folder.name, state=state, skipping=skipping, logs=folder.parent.parent / "logs")


def of_session(env: Mapping[str, str], home: Path, session: str) -> Path:
    """Where a session's events are written, from its first pause on."""
    return locations(env, home)[0] / session / EVENTS


SOURCE = Source(CLIENT, locations, discover, read, of_session=of_session)
