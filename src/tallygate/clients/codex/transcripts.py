"""Codex rollouts: where they lie and how one is read. NOTES.md has the shapes and the traps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tallygate.clients.base import Batch, FilePosition, Source, State, TranscriptFile, read_lines
from tallygate.clients.codex.compressed import unpacked
from tallygate.clients.codex.records import CodexReader
from tallygate.clients.discovery import files_below, listed, unique

CLIENT = "codex"
_PACKED = ".zst"
_THREAD = re.compile(r"rollout-.{19}-(.+)\.jsonl")


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """The directories of live and of archived sessions, live ones first."""
    roots = unique([*listed(env, "CODEX_HOME", home), home / ".codex"])
    return [*(root / "sessions" for root in roots), *(root / "archived_sessions" for root in roots)]


def discover(env: Mapping[str, str], home: Path) -> Iterator[TranscriptFile]:
    """Each rollout once: live before archived, and in each place plain before packed."""
    taken: set[str] = set()
    closed: list[Path] = []
    for root in locations(env, home):
        found = list(files_below(root, (".jsonl", ".jsonl" + _PACKED), closed))
        for path in sorted(found, key=lambda path: path.name.endswith(_PACKED)):
            plain = path.name.removesuffix(_PACKED)
            if plain.startswith("rollout-") and plain not in taken:
                taken.add(plain)
                yield TranscriptFile(CLIENT, path)
    yield from (TranscriptFile(CLIENT, path) for path in unique(closed))


def read(file: TranscriptFile, position: FilePosition | None = None, max_bytes: int | None = None) -> Iterator[Batch]:
    """What is new in one rollout, packed or not."""
    unpack = unpacked if file.path.name.endswith(_PACKED) else None
    return read_lines(file.path, position, partial(reader_of, file.path), max_bytes, unpack)


def reader_of(path: Path, state: State | None = None, skipping: bool = False) -> CodexReader:
    """The reader of one rollout; the file's name stands in for a thread id that is not written."""
    match = _THREAD.match(path.name)
    return CodexReader(thread=match[1] if match else path.name, state=state, skipping=skipping)


SOURCE = Source(CLIENT, locations, discover, read, variables=("CODEX_HOME",))
