"""The first moments of a server, before anything that takes time is imported: what its client waits for is there first.

Nothing but the standard library is imported here, and of that as little as can be.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallygate.entrypoints.ear import Ear
    from tallygate.entrypoints.first_answers import FirstAnswers
    from tallygate.entrypoints.front import Behind

# How long a thread goes on while another waits, where imports would keep client and hooks waiting.
IMPORTING_S = 0.0005
FROZEN = os.path.join(os.path.dirname(__file__), "mcp_server", "frozen_answers.txt")


class Entrance:
    """What there is of a server already when its program is composed: its front, an ear for hooks, first answers."""

    def __init__(
        self, behind: "Behind | None" = None, ear: "Ear | None" = None, first: "FirstAnswers | None" = None
    ) -> None:
        self.behind = behind
        self.ear = ear
        self.first = first

    def begin(self) -> None:
        """Answer what the client asks at once, and go on beside the imports that follow."""
        import gc

        gc.disable()  # until what lives as long as the process is imported
        if self.first is not None:
            self.first.begin(self._leave)
        sys.setswitchinterval(IMPORTING_S)

    def close(self) -> None:
        """Take back what nobody has taken over."""
        if self.ear is not None:
            self.ear.withdraw()

    def _leave(self) -> None:
        """The client has closed its end and waits for nothing: the imports are broken off."""
        if self.behind is not None:
            self.behind.let_go()
        os.kill(os.getpid(), 15)


def open_entrance(places: str, parent: int, family: str) -> Entrance:
    """Begin to serve a client: `parent` is the process that started this one, `places` the file it was given.

    Of a `family` that is empty nothing is answered before the SDK is there.
    """
    from tallygate.entrypoints.ear import open_ear
    from tallygate.entrypoints.front import stand_before

    behind = stand_before(parent)
    if behind is not None:
        behind.watch()
    ear = open_ear(places, parent)
    # A client that is answered goes on to its hooks: where these find nobody, each starts a gate of its own.
    return Entrance(behind, ear, None if ear is None else _first_answers(family))


def _first_answers(family: str) -> "FirstAnswers | None":
    """What answers first, where a client is at the other end of a pipe."""
    import _stat

    try:
        from tallygate.entrypoints.first_answers import FirstAnswers, frozen_answers

        mode = os.fstat(0).st_mode
        with open(FROZEN, "rb") as file:
            frozen = frozen_answers(family, file.read())
    except (ImportError, OSError):  # an interpreter without the scanner, or closed standard input
        return None
    return FirstAnswers(frozen) if frozen and (_stat.S_ISFIFO(mode) or _stat.S_ISSOCK(mode)) else None
