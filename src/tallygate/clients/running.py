"""Clients that run without us: started before we were put in, so that they know no server and no hooks of ours.

Told from what /proc says of this user's processes, and only of those whose home is the one that is looked at; where
there is no /proc nothing is told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tallygate.clients.ancestry import DEPTH_MAX, Process, agent_of
from tallygate.clients.client import Client, Obstacle
from tallygate.core.values import value

_PROC = Path("/proc")
_BYTES_MAX = 1 << 16
# Where the start of a process stands in its line of /proc, behind its name, and that of its parent.
_STARTED_AT, _PARENT_AT = 19, 1


@value(frozen=True, slots=True)
class _Running:
    process: Process
    parent: int
    started_us: int


def unaware(client: Client, home: Path, installed_us: int) -> Obstacle | None:
    """The processes of a client that were started before we were installed, with none of our servers below them."""
    if client.program is None or not _PROC.joinpath("self").is_dir():
        return None
    found = {seen.process.pid: seen for seen in _own_processes()}
    served = {above for seen in found.values() if _is_server(seen.process.words) for above in _above(found, seen)}
    early = sorted(
        pid
        for pid, seen in found.items()
        if seen.started_us < installed_us
        and agent_of(seen.process) is client.program
        and not {pid, *_above(found, seen)} & served
        and _home_of(pid) == str(home)
    )
    # One client is several processes where a script started it, or it runs itself: named is the uppermost.
    named = [pid for pid in early if not {*_above(found, found[pid])} & {*early}]
    if not named:
        return None
    which = "process" if len(named) == 1 else "processes"
    what = (
        f"{client.title} was started before Tallygate was installed ({which} {', '.join(map(str, named))}) and has no "
        "gate: nothing there is stopped"
    )
    return Obstacle(what, f"Restart {client.title}.", comes_next=True)


def _own_processes() -> Iterator[_Running]:
    try:
        told = (_PROC / "stat").read_text(encoding="ascii").splitlines()
        boot_s = next(int(line.split()[1]) for line in told if line.startswith("btime"))
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, StopIteration):
        return
    for folder in _PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            if folder.stat().st_uid != os.getuid():
                continue
            fields = folder.joinpath("stat").read_bytes().rpartition(b")")[2].split()
            words = _texts(folder / "cmdline")
            program = str(folder.joinpath("exe").readlink()).removesuffix(" (deleted)")
            # The boot is told to the second: what may have begun after a moment is not taken to lie before it.
            started_us = (boot_s + 1) * 1_000_000 + int(fields[_STARTED_AT]) * 1_000_000 // ticks
            yield _Running(Process(int(folder.name), program, words), int(fields[_PARENT_AT]), started_us)
        except (OSError, ValueError, IndexError):
            continue  # it has ended meanwhile, or is nobody's to look at


def _above(found: dict[int, _Running], seen: _Running) -> Iterator[int]:
    for _ in range(DEPTH_MAX):
        if (above := found.get(seen.parent)) is None:
            return
        yield seen.parent
        seen = above


def _is_server(words: Sequence[str]) -> bool:
    return "serve" in words and any("tallygate" in word for word in words)


def _home_of(pid: int) -> str | None:
    try:
        named = (word for word in _texts(_PROC / str(pid) / "environ") if word.startswith("HOME="))
    except OSError:
        return None
    return next((word.removeprefix("HOME=") for word in named), None)


def _texts(file: Path) -> tuple[str, ...]:
    with file.open("rb") as stream:
        return tuple(os.fsdecode(each) for each in stream.read(_BYTES_MAX).split(b"\0") if each)
