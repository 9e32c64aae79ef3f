"""A person at a terminal of their own: runs a command in a real one, and types when it is asked."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src"
_LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Typed:
    """How a command ended, all that stood on the terminal, and whether it shows again what is typed."""

    code: int
    shown: str
    echoes: bool


def type_at(
    words: Sequence[str],
    answers: Sequence[str],
    environ: Mapping[str, str],
    *,
    piped: bytes | None = None,
    folder: Path | None = None,
    program: Sequence[str] = (sys.executable, "-m", "tallygate"),
) -> Typed:
    """Run a command; each answer is typed once the terminal shows a new question, which ends in a colon and a blank.

    With `piped` its standard input is a pipe with that in it, and the terminal only belongs to it.
    """
    import termios

    reading, writing = os.pipe()
    terminal, follower = pty.openpty()
    pid = os.fork()
    if pid == 0:
        try:
            os.login_tty(follower)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a run in the background has it switched off
            if piped is not None:
                os.dup2(reading, 0)
            os.close(writing)
            if folder is not None:
                os.chdir(folder)
            os.execve(program[0], [*program, *words], {**environ, "PYTHONPATH": str(SRC), "TERM": "dumb"})
        finally:
            os._exit(127)
    os.close(reading)
    os.write(writing, piped or b"")
    os.close(writing)
    shown, waiting, asked = b"", [*answers], 0
    ends = time.monotonic() + _LIMIT_S
    code = None
    while time.monotonic() < ends:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:
                break
        elif code is None:
            done, status = os.waitpid(pid, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if done else None
        else:
            break
        if waiting and shown.endswith(b": ") and len(shown) > asked:
            asked = len(shown)
            os.write(terminal, waiting.pop(0).encode())
    echoes = bool(termios.tcgetattr(follower)[3] & termios.ECHO)
    if code is None:
        if time.monotonic() >= ends:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    os.close(follower)
    return Typed(code, shown.decode(errors="replace").replace("\r\n", "\n"), echoes)
