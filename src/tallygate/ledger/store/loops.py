"""Where agents went round in circles, as the ledger keeps it."""

from __future__ import annotations

from tallygate.core.loops import SeenLoop
from tallygate.ledger.rows import LOOP, Statements

_COLUMNS = ", ".join(LOOP.columns)
SELECT_OF = (
    f"SELECT {_COLUMNS} FROM loop WHERE tenant = :tenant AND session_id = :session_id ORDER BY at_us DESC LIMIT :limit"
)
SELECT_AT = f"SELECT {_COLUMNS} FROM loop WHERE tenant = :tenant AND session_id = :session_id AND at_us = :at_us"
SELECT_BETWEEN = (
    f"SELECT {_COLUMNS} FROM loop WHERE tenant = :tenant AND at_us >= :from_us AND at_us < :until_us"
    " ORDER BY at_us DESC LIMIT :limit"
)


class LoopReads(Statements):
    """Reads of loops; a part of every reader."""

    def loops_of(self, session_id: str, limit: int) -> list[SeenLoop]:
        """Those of a session, the oldest first; of too many the last."""
        found = self._all(SELECT_OF, session_id=session_id, limit=limit)
        return [LOOP.value(row) for row in reversed(found)]

    def loop_at(self, session_id: str, at_us: int) -> SeenLoop | None:
        """One of a session by its time."""
        row = self._one(SELECT_AT, session_id=session_id, at_us=at_us)
        return None if row is None else LOOP.value(row)

    def loops_between(self, from_us: int, until_us: int, limit: int) -> list[SeenLoop]:
        """Those of a span, the youngest first."""
        return [LOOP.value(row) for row in self._all(SELECT_BETWEEN, from_us=from_us, until_us=until_us, limit=limit)]
