"""Gemini CLI's chat files: where they lie and how one is read. NOTES.md has the shapes and the traps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tallygate.clients.base import Batch, FilePosition, Source, State, TranscriptFile, read_lines
from tallygate.clients.discovery import directory_of, files_below, listed, unique
from tallygate.clients.documents import read_document
from tallygate.clients.gemini.records import GeminiReader

CLIENT = "gemini"

PROJECT_ROOT = ".project_root"
PATH_BYTES_MAX = 4096


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """The directories that hold one directory a project."""
    named = listed(env, "GEMINI_DATA_DIR", home)
    if named:
        return unique([root if root.name == "tmp" else root / "tmp" for root in named])
    return [directory_of(env, "GEMINI_CLI_HOME", home) / ".gemini" / "tmp"]


def discover(env: Mapping[str, str], home: Path) -> Iterator[TranscriptFile]:
    """The chat files there are, subagents' included; other files beside them are no transcripts."""
    closed: list[Path] = []
    for root in locations(env, home):
        for path in files_below(root, (".json", ".jsonl"), closed):
            inside = path.relative_to(root).parts
            if "chats" in inside[:-1] and (inside[-2] != "chats" or inside[-1].startswith("session-")):
                yield TranscriptFile(CLIENT, path)
    yield from (TranscriptFile(CLIENT, path) for path in unique(closed))


def read(file: TranscriptFile, position: FilePosition | None = None, max_bytes: int | None = None) -> Iterator[Batch]:
    """What is new in one chat file; a `.json` file is rewritten whole, so it is read whole."""
    if file.path.suffix == ".json":
        return read_document(file.path, position, reader_of(file.path))
    return read_lines(file.path, position, partial(reader_of, file.path), max_bytes)


def reader_of(path: Path, state: State | None = None, skipping: bool = False) -> GeminiReader:
    """The reader of one chat file; its place says whose subagent wrote it and for which project."""
    parts = path.parts
    at = len(parts) - 2 - parts[-2::-1].index("chats") if "chats" in parts[:-1] else len(parts) - 1
    nested = parts[at + 1 : -1]
    return GeminiReader(
        stem=path.stem,
        parent=nested[0] if nested else None,
        project=_project(Path(*parts[:at])) if at > 0 else None,
        state=state,
        skipping=skipping,
    )


def _project(folder: Path) -> str:
    """The workspace of a project's folder, which a file in it names; without that file, the folder's own name."""
    try:
        with (folder / PROJECT_ROOT).open("rb") as file:
            root = file.read(PATH_BYTES_MAX + 1).decode().strip()
    except (OSError, ValueError):
        return folder.name
    return root if 0 < len(root) <= PATH_BYTES_MAX and root.isprintable() else folder.name


SOURCE = Source(CLIENT, locations, discover, read)
