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

from tallygate.clients.program import ClientProgram, programs

DEPTH_MAX = 64
_INTERPRETERS = re.compile(r"(?:node|nodejs|bun|deno|python[\d.]*|MainThread)\Z")
_ENDINGS = re.compile(r"(?:\.(?:exe|cmd|js|mjs|cjs))+\Z")


@dataclass(frozen=True, slots=True)
class Process:
    """One process above: its number, the file it runs, and the words it was started with."""

    pid: int
    program: str
    words: tuple[str, ...]


def agent_of(process: Process) -> ClientProgram | None:
    """The agent's client that a process is; None for everything else."""
    script = ""
    first = process.words[0] if process.words else ""
    if _INTERPRETERS.match(_name(process.program)) or _INTERPRETERS.match(_name(first)):
        script = next((word for word in process.words[1:] if not word.startswith("-")), "")
    for place in (process.program, first, script):
        name, path = _name(place), place.replace("\\", "/")
        for program in programs():
            inside = [f"/node_modules/{package}{end}" for package in program.packages for end in "/-"]
            versions = [program.versions] if program.versions else []
            if name in program.names or any(part in path for part in (*inside, *versions)):
                return program
    return None


def beneath(above: Iterator[Process], environ: Mapping[str, str]) -> str | None:
    """The agent that a process was started by, in a few words for people; None where none is seen."""
    for process in above:
        if (program := agent_of(process)) is not None:
            return f"{program.title} (process {process.pid})"
    for program in programs():
        for name in program.markers:
            if environ.get(name):
                return f"{program.title} (variable {name})"
    return None


def ancestors(parent: int) -> Iterator[Process]:
    """The processes from a parent upwards, the nearest first, as far as the system tells."""
    look = _from_proc if Path("/proc/self").is_dir() else _from_ps() if sys.platform == "darwin" else None
    pid = parent
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
