"""The first moments of a server, before anything that takes time is imported: what its client waits for is there first.

Nothing but the standard library is imported here, and of that as little as can be.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallygate.entrypoints.ear import Ear
    from tallygate.entrypoints.front import Behind


class Entrance:
    """What there is of a server already when its program is composed: its front, and an ear for hooks."""

    def __init__(self, behind: "Behind | None" = None, ear: "Ear | None" = None) -> None:
        self.behind = behind
        self.ear = ear

    def close(self) -> None:
        """Take back what nobody has taken over."""
        if self.ear is not None:
            self.ear.withdraw()


def open_entrance(places: str, parent: int) -> Entrance:
    """Begin to serve a client: `parent` is the process that started this one, `places` the file it was given."""
    import gc

    from tallygate.entrypoints.ear import open_ear
    from tallygate.entrypoints.front import stand_before

    behind = stand_before(parent)
    gc.disable()  # until what lives as long as the process is imported
    if behind is not None:
        behind.watch()
    return Entrance(behind, open_ear(places, parent))
