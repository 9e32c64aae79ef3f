"""How far the places where clients write were looked through: kept in the ledger, beside how far each file was read.

A program that begins need not look again at what another one has read. It goes with the ledger: one that was put back
to an older copy knows no more than it did then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tallygate.clients.reading.files import Transcripts
from tallygate.core.values import value
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime
from tallygate.surroundings import Surroundings

# Stands where the name of a client stands for a file.
_NOBODY = "tallygate"
_DIGITS = 32


@value(frozen=True, slots=True)
class LookedThrough:
    """Everything that was written to between two moments was read, as far as it could be."""

    since_us: int
    until_us: int

    def tells_of(self, since_us: int) -> bool:
        """Whether it reaches back as far as is asked."""
        return self.since_us <= since_us


def key_of_places(at: Surroundings, sources: Iterable[Transcripts]) -> str:
    """One user's places of all clients, as a key beside those of files; other variables name other places."""
    named = [[source.client, *map(str, source.locations(at.environ, at.home))] for source in sources]
    return f"looked through: {hashlib.sha256(repr(named).encode()).hexdigest()[:_DIGITS]}"


def looked_through(reader: Reader, keys: Iterable[str]) -> LookedThrough | None:
    """How far all of these places were looked through; None where one never was."""
    found = [reader.position(key) for key in keys]
    times = [(each.get("since_us"), each.get("until_us")) for each in found if each is not None]
    known = [(since, until) for since, until in times if type(since) is int and type(until) is int]
    if not found or len(known) < len(found):
        return None
    return LookedThrough(max(since for since, _ in known), min(until for _, until in known))


def keep_looked_through(rt: Runtime, keys: Iterable[str], looked: LookedThrough) -> None:
    """Keep it for the programs to come."""
    with rt.writing() as tx:
        for key in keys:
            tx.save_position(key, _NOBODY, {"since_us": looked.since_us, "until_us": looked.until_us}, {})
