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
    from tallygate.entrypoints.resident import HandedOver
    from tallygate.entrypoints.unsettled import SaidBefore, Unsettled

# How long a thread goes on while another waits, where imports would keep client and hooks waiting.
IMPORTING_S = 0.0005
FROZEN = os.path.join(os.path.dirname(__file__), "mcp_server", "frozen_answers.txt")


class Entrance:
    """What there is of a server already when its program is composed: its front, an ear for hooks, first answers.

    `notes` are kept for a front that may have to hand its client over once more. In `servers` residents stand by, and
    `is_plain` says that one made here would be as this process is.
    """

    def __init__(
        self,
        behind: "Behind | None" = None,
        ear: "Ear | None" = None,
        first: "FirstAnswers | None" = None,
        notes: "Unsettled | None" = None,
    ) -> None:
        self.behind = behind
        self.ear = ear
        self.first = first
        self.notes = notes
        self.parent: int | None = None  # who started the server, where that was not this process
        self.servers = ""
        self.is_plain = False

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

    Of a `family` that is empty nothing is answered before the SDK is there. Where a resident takes the client over this
    process only waits, and never comes back.
    """
    from tallygate.entrypoints import front, handover
    from tallygate.entrypoints.ear import folder_of

    folder, is_plain = folder_of(places), handover.likes_residents(os.environ)
    kept = handover.Front(folder, parent).stand() if is_plain and folder else None
    behind = front.stand_before(parent)
    if behind is not None:
        behind.watch()
    entrance = _opened(places, parent, family, behind, kept=kept)
    entrance.servers, entrance.is_plain = folder, is_plain
    return entrance


def open_handed_over(places: str, family: str, client: "HandedOver") -> Entrance:
    """Begin to serve a client that a front has handed over to this process."""
    from tallygate.entrypoints.ear import folder_of

    entrance = _opened(places, client.parent, family, client.behind, kept=client.kept, notes=client.notes)
    entrance.parent, entrance.servers, entrance.is_plain = client.parent, folder_of(places), True
    return entrance


def _opened(
    places: str,
    parent: int,
    family: str,
    behind: "Behind | None",
    *,
    kept: "SaidBefore | None",
    notes: "Unsettled | None" = None,
) -> Entrance:
    from tallygate.entrypoints.ear import open_ear

    ear = open_ear(places, parent)
    # A client that is answered goes on to its hooks: where these find nobody, each starts a gate of its own.
    return Entrance(behind, ear, _first_answers("" if ear is None else family, kept, notes), notes)


def _first_answers(family: str, kept: "SaidBefore | None", notes: "Unsettled | None") -> "FirstAnswers | None":
    """What answers first, where a client is at the other end of a pipe."""
    import _stat

    try:
        from tallygate.entrypoints.first_answers import FirstAnswers, frozen_answers

        mode = os.fstat(0).st_mode
        with open(FROZEN, "rb") as file:
            frozen = frozen_answers(family, file.read()) if family else {}
    except (ImportError, OSError):  # an interpreter without the scanner, or closed standard input
        return None
    if not (_stat.S_ISFIFO(mode) or _stat.S_ISSOCK(mode)):
        return None
    return FirstAnswers(frozen, notes=notes, kept=kept) if frozen or kept or notes else None
