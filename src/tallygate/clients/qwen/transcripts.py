"""Qwen Code's chat files: where they lie and how one is read. NOTES.md has the shapes and the traps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tallygate.clients.base import Batch, FilePosition, Source, State, TranscriptFile, read_lines
from tallygate.clients.discovery import directory_of, files_below, listed, unique
from tallygate.clients.qwen.records import CLIENT, QwenReader


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """The directories that hold one directory a project."""
    named = listed(env, "QWEN_DATA_DIR", home)
    here = directory_of(env, "QWEN_RUNTIME_DIR", directory_of(env, "QWEN_HOME", home / ".qwen"))
    return unique([root if root.name == "projects" else root / "projects" for root in named or [here]])


def discover(env: Mapping[str, str], home: Path) -> Iterator[TranscriptFile]:
    """The chat files there are. What subagents used stands in the chat that started them, so theirs are not read."""
    closed: list[Path] = []
    for root in locations(env, home):
        for path in files_below(root, (".jsonl",), closed):
            if "chats" in path.relative_to(root).parts[:-1]:
                yield TranscriptFile(CLIENT, path)
    yield from (TranscriptFile(CLIENT, path) for path in unique(closed))


def read(file: TranscriptFile, position: FilePosition | None = None, max_bytes: int | None = None) -> Iterator[Batch]:
    """What is new in one chat file."""
    return read_lines(file.path, position, partial(reader_of, file.path), max_bytes)


def reader_of(path: Path, state: State | None = None, skipping: bool = False) -> QwenReader:
    """The reader of one chat file; its name stands in where a line names no session."""
    return QwenReader(stem=path.stem, state=state, skipping=skipping)


SOURCE = Source(CLIENT, locations, discover, read)
