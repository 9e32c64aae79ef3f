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
from tallygate.clients.program import ClientProgram, is_spoken_to, program_called, programs

PROC = Path("/proc")
DEPTH_MAX = 16
WAIT_S = 10
# What may stand between a client and what it runs; a program of any other kind is no client's hook or server.
LAUNCHERS = frozenset({"sh", "dash", "bash", "zsh", "ksh", "fish", "busybox", "uv", "uvx"})
_TERMINALS = ("/dev/pts/", "/dev/tty")


@dataclass(frozen=True, slots=True)
class ClientProcess:
    """A client's process, by everything that tells it from another that got its number later."""

    pid: int
    uid: int
    program: str
    words: tuple[str, ...]
    started: str


def end_run(client: str, text: bytes, *, wait_s: int = WAIT_S, parent: int | None = None) -> bool:
    """End the run of the client that this hook belongs to, or the server that `parent` started.

    Says whether a signal was sent.
    """
    program = program_called(client)
    found = running(client, os.getppid() if parent is None else parent)
    if program is None or program.ends_with is None or found is None:
        return False
    process, parent = found
    # Its wrapper has the exit code, but only where that is ended before the client itself.
    wrapper = _wrapper(program, parent, PROC) if runs_one_prompt(program, process.pid, process.words) else None
    return _sent(process, program.ends_with, text, wait_s, wrapper)


def end_undecided(client: str, event: str, text: bytes, *, subagent: bool) -> bool:
    """End a run whose step no gate could decide, where its client would go on or end as if all were well."""
    program = program_called(client)
    if program is None or event not in program.undecided or (subagent and program.agents_end_by_themselves):
        return False
    return end_run(client, text)


def hook_after_end(client: str) -> str:
    """The hook that is answered for a client that was ended and cannot call it any more."""
    program = program_called(client)
    return "" if program is None else program.hook_after_end


def _sent(
    process: ClientProcess, how: signal.Signals, text: bytes, wait_s: int, also: ClientProcess | None = None
) -> bool:
    """Send one signal to a process once it is certain that it is still the one that was found; wait for its end."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return False
    try:
        again = _look(process.pid)
        if again is None or again[0] != process:
            return False
        if text:
            say(process.pid, text)
        signal.pidfd_send_signal(handle, how)
        if also is not None:
            _sent(also, how, b"", 0)
        select.select([handle], [], [], wait_s)  # an answer now would let the turn go on
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def tell(client: str, text: bytes, parent: int | None = None) -> None:
    """Say something on the stderr of the client that this hook belongs to, where it runs one prompt and ends.

    In such a run most clients print nothing of what their hooks tell.
    """
    program = program_called(client)
    if program is None or program.shows_messages:
        return
    found = running(client, os.getppid() if parent is None else parent)
    if found is not None and runs_one_prompt(program, found[0].pid, found[0].words):
        say(found[0].pid, text)


def parting(client: str, *, always: bool, proc: Path = PROC) -> int:
    """The exit code at which a client shows why its run was stopped, as that ends by itself; 0 where all is said.

    It was told on its stderr when it was stopped, but where that is a plain file, and `always` says that it was not.
    Where the exit code is its wrapper's, that is ended; `always` says that it went on.
    """
    program, found = program_called(client), running(client, os.getppid(), proc)
    if program is None or found is None or not runs_one_prompt(program, found[0].pid, found[0].words, proc):
        return 0
    if program.has_wrapper:
        if not always and (wrapper := _wrapper(program, found[1], proc)) is not None:
            _sent(wrapper, signal.SIGINT, b"", 0)
        return 0 if always else program.shows_at_end
    return program.shows_at_end if always or not _heard(proc / str(found[0].pid) / "fd" / "2") else 0


def _wrapper(program: ClientProgram, parent: int, proc: Path) -> ClientProcess | None:
    """The script of a client that started its program and waits for it, where one did."""
    found = _look(parent, proc) if program.has_wrapper else None
    if found is None:
        return None
    process = found[0]
    ours = _is_ours(process, program, proc)
    return process if ours and Path(process.program).name.startswith("node") else None


def running(client: str, parent: int, proc: Path = PROC) -> tuple[ClientProcess, int] | None:
    """The client that started this, where it is this one, ours, seen by its own number, and runs a prompt by itself."""
    program, pid = program_called(client), parent
    for _ in range(DEPTH_MAX):
        found = _look(pid, proc)
        if found is None or program is None or program.ends_with is None:
            return None
        process, pid = found
        if agent_of(Process(process.pid, process.program, process.words)) is not None:
            ends = runs_one_prompt(program, process.pid, process.words, proc)
            if program.leaves_terminals_clean and not is_spoken_to(process.words):
                ends = ends or _is_terminal(process.pid, 0, proc) is True
            return found if ends and _is_ours(process, program, proc) and _by_hand(process.pid, proc) else None
        # Between a client and its hook stand launchers alone; above anything else it would be somebody else's client
        # that is ended.
        if Path(process.program).name not in LAUNCHERS:
            return None
    return None


def runs_one_prompt(program: ClientProgram, pid: int, words: tuple[str, ...], proc: Path = PROC) -> bool:
    """Whether a client runs one prompt and ends: it was told to, or no person could type there."""
    return program.runs_one_prompt(words, lambda number: _is_terminal(pid, number, proc), os.environ)


def _is_ours(process: ClientProcess, program: ClientProgram, proc: Path) -> bool:
    """Whether a process is the client's, the user's own, and has the same number here as for itself."""
    found = agent_of(Process(process.pid, process.program, process.words))
    if found is not program or process.uid != os.getuid():
        return False
    try:  # a number means another process where either is in a container of its own
        return (proc / "self" / "ns" / "pid").readlink() == (proc / str(process.pid) / "ns" / "pid").readlink()
    except OSError:
        return False


def _is_terminal(pid: int, number: int, proc: Path) -> bool | None:
    """Whether a process reads from or writes to a terminal; None where that cannot be seen."""
    try:
        return str((proc / str(pid) / "fd" / str(number)).readlink()).startswith(_TERMINALS)
    except OSError:
        return None


def say(pid: int, text: bytes, proc: Path = PROC) -> None:
    """Write a line to a process's stderr where somebody reads it: in a plain file the client would write over it."""
    place = proc / str(pid) / "fd" / "2"
    with suppress(OSError):
        if _heard(place):
            end = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                os.write(end, text + b"\n")
            finally:
                os.close(end)


def _heard(place: Path) -> bool:
    """Whether somebody reads what is written to a process's stderr: a pipe or a terminal, not a file or /dev/null."""
    try:
        kind = place.stat().st_mode
        if not stat.S_ISCHR(kind):
            return stat.S_ISFIFO(kind)
        end = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.isatty(end)
    finally:
        os.close(end)


def _by_hand(pid: int, proc: Path) -> bool:
    """Whether a client was started by hand or in a script: one that a program of an SDK runs is that program's to end.

    What cannot be read says nothing against it: its words do.
    """
    try:
        variables = (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return True
    told = {name: value for name, _, value in (os.fsdecode(each).partition("=") for each in variables)}
    return all(told.get(each.entry) in (None, *each.by_hand) for each in programs() if each.entry)


def _look(pid: int, proc: Path = PROC) -> tuple[ClientProcess, int] | None:
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
    return (ClientProcess(pid, uid, program, words, started), parent) if pid > 1 else None
