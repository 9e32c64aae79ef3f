"""End a client's run in print mode, where no answer of a hook can: one signal to one process, and why on its stderr.

The hook program loads this only when it is told to; nothing but the standard library is imported. Whatever is not
certain ends nothing: then the hook's answer stands, as it does in a terminal, in an editor's panel and for an SDK.
"""

from __future__ import annotations

import os
import select
import signal
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tallygate.clients.ancestry import Process, agent_of

PROC = Path("/proc")
DEPTH_MAX = 16
WAIT_S = 10
_TITLES = {"codex": "Codex", "qwen": "Qwen Code"}
# Options of Codex that take no value; after any other the next word is taken for its value.
_CODEX_FLAGS = frozenset({
    "--oss", "--search", "--full-auto", "--yolo", "--no-alt-screen", "--strict-config",
    "--dangerously-bypass-approvals-and-sandbox", "--dangerously-bypass-hook-trust",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Client:
    """A client's process, by everything that tells it from another that got its number later."""

    pid: int
    uid: int
    program: str
    words: tuple[str, ...]
    started: str


def end_run(client: str, text: bytes, parent: int | None = None) -> bool:
    """End the run of the client that this hook belongs to; whether a signal was sent."""
    found = running(client, os.getppid() if parent is None else parent)
    if found is None:
        return False
    process, _ = found
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return False
    try:
        again = _look(process.pid)
        if again is None or again[0] != process:
            return False
        say(process.pid, text)
        signal.pidfd_send_signal(handle, signal.SIGINT)
        select.select([handle], [], [], WAIT_S)  # an answer now would let the turn go on
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def running(client: str, parent: int, proc: Path = PROC) -> tuple[Client, int] | None:
    """The nearest client above, where it is this one, ours, seen by its own number, and runs a prompt by itself."""
    pid = parent
    for _ in range(DEPTH_MAX):
        found = _look(pid, proc)
        if found is None:
            return None
        process, pid = found
        title = agent_of(Process(process.pid, process.program, process.words))
        if title is not None:
            ours = title == _TITLES.get(client) and process.uid == os.getuid() and _same_numbers(process.pid, proc)
            return found if ours and prints(client, process.words) else None
    return None


def prints(client: str, words: tuple[str, ...]) -> bool:
    """Whether a client was started to run one prompt and end, with nobody before it."""
    if client == "codex":
        rest = list(words[1:])
        while rest and rest[0].startswith("-"):
            taken = 1 if "=" in rest[0] or rest[0] in _CODEX_FLAGS else 2
            rest = rest[taken:]
        return bool(rest) and rest[0] in {"exec", "e"}
    if client == "qwen":
        pairs = list(zip(words, (*words[1:], ""), strict=True))
        if any(word == "--input-format=stream-json" or pair == ("--input-format", "stream-json")
               for word, pair in zip(words, pairs, strict=True)):  # fmt: skip
            return False
        return any(word in {"-p", "--prompt"} or word.startswith("--prompt=") for word in words)
    return False


def say(pid: int, text: bytes, proc: Path = PROC) -> None:
    """Write a line to a process's stderr where somebody reads it: in a plain file the client would write over it."""
    place = proc / str(pid) / "fd" / "2"
    with suppress(OSError):
        kind = place.stat().st_mode
        if not (stat.S_ISFIFO(kind) or stat.S_ISCHR(kind)):
            return
        end = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if stat.S_ISFIFO(kind) or os.isatty(end):
                os.write(end, text + b"\n")
        finally:
            os.close(end)


def _look(pid: int, proc: Path = PROC) -> tuple[Client, int] | None:
    """One process and the number of its parent."""
    place = proc / str(pid)
    try:
        fields = (place / "stat").read_bytes().rpartition(b")")[2].split()
        parent, started = int(fields[1]), fields[19].decode("ascii")
        words = tuple(os.fsdecode(word) for word in (place / "cmdline").read_bytes().split(b"\0") if word)
        lines = (place / "status").read_text(encoding="ascii", errors="replace").splitlines()
        uid = int(next(line for line in lines if line.startswith("Uid:")).split()[1])
        program = str((place / "exe").readlink()).removesuffix(" (deleted)")
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return (Client(pid, uid, program, words, started), parent) if pid > 1 else None


def _same_numbers(pid: int, proc: Path) -> bool:
    """Whether a process's number means the same here: not where either is in a container of its own."""
    try:
        return (proc / "self" / "ns" / "pid").readlink() == (proc / str(pid) / "ns" / "pid").readlink()
    except OSError:
        return False
