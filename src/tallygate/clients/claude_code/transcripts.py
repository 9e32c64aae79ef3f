"""Claude Code's transcripts: where they lie and how one is read. NOTES.md has the shapes and the traps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tallygate.clients.base import Batch, FilePosition, Source, State, TranscriptFile, read_lines
from tallygate.clients.claude_code.records import ClaudeReader
from tallygate.clients.discovery import files_below, listed, unique

CLIENT = "claude_code"
_DESKTOP = "local-agent-mode-sessions"


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """Every directory below which transcripts may lie, existing or not."""
    named = listed(env, "CLAUDE_CONFIG_DIR", home)
    xdg = env.get("XDG_CONFIG_HOME", "")
    config = Path(xdg) if xdg.startswith("/") else home / ".config"
    roots = [*named, config / "claude", home / ".claude"]
    found = [root if root.name == "projects" else root / "projects" for root in roots]
    # The desktop program keeps a project directory for each of its own sessions, whatever the variable says.
    found.append(home / "Library" / "Application Support" / "Claude" / _DESKTOP)
    found.append(config / "Claude" / _DESKTOP)
    if env.get("APPDATA"):
        found.append(Path(env["APPDATA"]) / "Claude" / _DESKTOP)
    if env.get("LOCALAPPDATA"):
        packages = Path(env["LOCALAPPDATA"]) / "Packages"
        try:
            stores = sorted(packages.glob("*Claude_*"))
        except OSError:
            stores = []
        found += [store / "LocalCache" / "Roaming" / "Claude" / _DESKTOP for store in stores]
    return unique(found)


def discover(env: Mapping[str, str], home: Path) -> Iterator[TranscriptFile]:
    """The transcript files there are, subagents' included."""
    closed: list[Path] = []
    for root in locations(env, home):
        for path in files_below(root, (".jsonl",), closed):
            # Desktop sessions hold other files of lines as well; only those below `projects` are transcripts.
            if _DESKTOP not in path.parts or "projects" in path.parts:
                yield TranscriptFile(CLIENT, path)
    yield from (TranscriptFile(CLIENT, path) for path in unique(closed))


def read(file: TranscriptFile, position: FilePosition | None = None, max_bytes: int | None = None) -> Iterator[Batch]:
    """What is new in one transcript."""
    return read_lines(file.path, position, partial(reader_of, file.path), max_bytes)


def reader_of(path: Path, state: State | None = None, skipping: bool = False) -> ClaudeReader:
    """The reader of one file; its path stands in where rows do not name session or agent."""
    stem = path.name.removesuffix(".jsonl")
    if not stem.startswith("agent-"):
        return ClaudeReader(session=stem, state=state, skipping=skipping)
    parts = path.parts
    session = parts[parts.index("subagents") - 1] if "subagents" in parts[1:] else None
    return ClaudeReader(
        session=session, agent=stem.removeprefix("agent-"), placed=session is not None, state=state, skipping=skipping
    )


def beside(path: Path) -> Iterator[Path]:
    """The transcripts of a session's subagents."""
    return files_below(path.with_suffix("") / "subagents", (".jsonl",))


SOURCE = Source(CLIENT, locations, discover, read, beside, variables=("CLAUDE_CONFIG_DIR",))
