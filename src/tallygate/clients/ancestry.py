"""Whether this process was started by an agent: by what stands above it, and by what clients put into its environment.

An agent's shell command descends from its client, so the client is among its ancestors; where a command was detached,
the client's own variables are still in its environment. Editors and their terminals are no agents: a person types
there. It is a fence against a model that follows its reading, not against a program: one that wants to can shed both.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

DEPTH_MAX = 64
# Programs by name, and the packages that run as a script of an interpreter.
_PROGRAMS: Mapping[str, str] = {
    "claude": "Claude Code",
    "codex": "Codex",
    "gemini": "Gemini CLI",
    "opencode": "opencode",
    "qwen": "Qwen Code",
    "copilot": "Copilot CLI",
    "cursor-agent": "Cursor's agent",
}
_PACKAGES: Mapping[str, str] = {
    "@anthropic-ai/claude-code": "Claude Code",
    "@openai/codex": "Codex",
    "@google/gemini-cli": "Gemini CLI",
    "opencode-ai": "opencode",
    "opencode-linux-x64": "opencode",
    "@qwen-code/qwen-code": "Qwen Code",
    "@github/copilot": "Copilot CLI",
}
_INTERPRETERS = re.compile(r"(?:node|nodejs|bun|deno|python[\d.]*|MainThread)\Z")
_ENDINGS = re.compile(r"(?:\.(?:exe|cmd|js|mjs|cjs))+\Z")
# Set for the commands that an agent runs, and not for a person's terminal inside an editor.
_MARKERS: tuple[tuple[str, str], ...] = (
    ("CLAUDECODE", "Claude Code"),
    ("CODEX_THREAD_ID", "Codex"),
    ("CODEX_SANDBOX", "Codex"),
    ("CODEX_SANDBOX_NETWORK_DISABLED", "Codex"),
    ("GEMINI_CLI", "Gemini CLI"),
    ("OPENCODE", "opencode"),
    ("QWEN_CODE", "Qwen Code"),
    ("COPILOT_CLI", "Copilot CLI"),
    ("COPILOT_AGENT_SESSION_ID", "Copilot CLI"),
    ("CURSOR_AGENT", "Cursor's agent"),
)
AGENT_VARIABLES = frozenset(name for name, _ in _MARKERS)


@dataclass(frozen=True, slots=True)
class Process:
    """One process above: its number, the file it runs, and the words it was started with."""

    pid: int
    program: str
    words: tuple[str, ...]


def agent_of(process: Process) -> str | None:
    """The agent's client that a process is; None for everything else."""
    script = ""
    first = process.words[0] if process.words else ""
    if _INTERPRETERS.match(_name(process.program)) or _INTERPRETERS.match(_name(first)):
        script = next((word for word in process.words[1:] if not word.startswith("-")), "")
    for place in (process.program, first, script):
        named = _PROGRAMS.get(_name(place))
        if named is not None:
            return named
        path = place.replace("\\", "/")
        for package, title in _PACKAGES.items():
            if f"/node_modules/{package}/" in path or f"/node_modules/{package}-" in path:
                return title
        if "/claude/versions/" in path:  # its own installer: the file is named by the version
            return "Claude Code"
    return None


def beneath(above: Iterator[Process], environ: Mapping[str, str]) -> str | None:
    """The agent that a process was started by, in a few words for people; None where none is seen."""
    for process in above:
        if (title := agent_of(process)) is not None:
            return f"{title} (process {process.pid})"
    for name, title in _MARKERS:
        if environ.get(name):
            return f"{title} (variable {name})"
    return None


def ancestors() -> Iterator[Process]:
    """The processes above this one, the nearest first, as far as the system tells."""
    look = _from_proc if Path("/proc/self").is_dir() else _from_ps() if sys.platform == "darwin" else None
    pid = os.getppid()
    for _ in range(DEPTH_MAX):
        found = None if look is None or pid < 1 else look(pid)
        if found is None:
            return
        process, pid = found
        yield process


def _from_proc(pid: int) -> tuple[Process, int] | None:
    try:
        with Path(f"/proc/{pid}/stat").open("rb") as file:
            parent = int(file.read(4096).rpartition(b")")[2].split()[1])
        with Path(f"/proc/{pid}/cmdline").open("rb") as file:
            words = tuple(os.fsdecode(word) for word in file.read(65536).split(b"\0") if word)
    except (OSError, ValueError, IndexError):
        return None
    try:
        program = str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")
    except OSError:  # another user's process, as that of a login
        program = ""
    return Process(pid, program, words), parent


def _from_ps() -> Callable[[int], tuple[Process, int] | None]:
    """One list of all processes; words are told with blanks between them."""
    import subprocess

    done = subprocess.run(
        ["/bin/ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=False, errors="replace"
    )
    table: dict[int, tuple[Process, int]] = {}
    for line in done.stdout.splitlines():
        pid, parent, *words = line.split()
        if pid.isdecimal() and parent.isdecimal():
            table[int(pid)] = (Process(int(pid), words[0] if words else "", tuple(words)), int(parent))
    return table.get


def _name(place: str) -> str:
    return _ENDINGS.sub("", place.replace("\\", "/").rpartition("/")[2])
