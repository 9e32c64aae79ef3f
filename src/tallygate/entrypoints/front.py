"""The process that a client starts stands before the one that serves, so that it can leave at once when it is told to.

Some clients end a server within half a second, and whatever it still had to do was broken off: the last responses, the
line of the run log, the answer to the hook that tells of the client's end. So the process that the client sees does
nothing but wait. The one behind it reads and writes the client's pipes itself, lets go of them when the front has gone,
and then does what is left to do in its own time.

Linux alone: elsewhere it is not known what a process may do between a fork and the start of another program. Nothing
but the standard library is imported here, and of that as little as can be.
"""

import _signal  # type: ignore[import-not-found]  # the plain C module: `signal` makes its enums first
import _thread
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LOOK_MS = 5_000
# That the client's parent has gone, and that the serving process is through, with the code to leave with.
LEFT, CODE = b"l", b"e"


class Behind:
    """The serving process's side: what it hears of its front, and how it lets it go."""

    def __init__(self, life: int, word: int) -> None:
        # The client's ends, as far as this process has them: they are let go of with the front.
        self.ends = [0, 1, 2]
        self.has_left = False  # whether the process that started the front has gone
        self._life = life
        self._word = word
        self._guard = _thread.allocate_lock()

    def watch(self) -> None:
        """Leave when the front does, however it was ended; until then hear whether its own parent has gone."""
        _thread.start_new_thread(self._until_alone, ())

    def _until_alone(self) -> None:
        while os.read(self._life, 1):
            self.has_left = True
        self._close_ends()
        os.kill(os.getpid(), _signal.SIGTERM)  # as if the client had told this process itself

    def let_go(self, code: int = 0) -> None:
        """Nobody waits for anything any more: the front leaves with a code, and the client's ends are closed."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # closed, or none
                pass
        self._close_ends()
        try:
            os.write(self._word, CODE + bytes([code]))
        except OSError:  # it has gone
            pass

    def close(self, end: int) -> None:
        """Close an end of the client's; its number may be another file's right afterwards."""
        with self._guard:
            self.ends.remove(end)
            os.close(end)

    def _close_ends(self) -> None:
        with self._guard:
            nothing = os.open(os.devnull, os.O_RDWR)
            for end in self.ends:
                os.dup2(nothing, end, inheritable=end < 3)
            os.close(nothing)


def stand_before(parent: int) -> Behind | None:
    """Go on as the process behind a front; None where there is none. The front, this very process, never comes back."""
    leave_when_told()
    if sys.platform != "linux":
        return None
    life, alive = os.pipe()
    heard, word = os.pipe()
    try:
        behind = os.fork()
    except OSError:  # no more processes for this user
        for end in (life, alive, heard, word):
            os.close(end)
        return None
    if behind:
        os.close(life)
        os.close(word)
        _stand(behind, alive, heard, parent)
    os.close(alive)
    os.close(heard)
    os.setsid()  # what a client sends to the group of its server is for the front
    return Behind(life, word)


def leave_when_told() -> None:
    """End when somebody says so, but for what this process was started to ignore."""
    for number in (_signal.SIGTERM, _signal.SIGINT):
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _leave)


def _leave(number: int, frame: object) -> None:  # noqa: ARG001 - as signals call it
    """End with 0: whoever is told to leave before anything was begun has done all there is."""
    raise SystemExit(0)


def _stand(behind: int, alive: int, heard: int, parent: int) -> "NoReturn":
    """Wait until this process is told to leave, or the one behind it has ended."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        looks = select.poll()
        looks.register(heard, select.POLLIN)
        left = False
        while not looks.poll(None if left else LOOK_MS):
            if os.getppid() != parent:
                os.write(alive, LEFT)
                left = True
        if said := os.read(heard, 2):
            os._exit(said[1])
        _as_ended(behind)
    except SystemExit:
        os._exit(0)
    except OSError:
        os._exit(1)


def _as_ended(behind: int) -> "NoReturn":
    """Leave as the process behind did, which ended without a word."""
    code = os.waitstatus_to_exitcode(os.waitpid(behind, 0)[1])
    if code < 0:
        if -code in (_signal.SIGTERM, _signal.SIGINT):
            _signal.signal(-code, _signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
