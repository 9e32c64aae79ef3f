"""Events that a lock of the limits is made of, those that changed a limit, and those that opened sessions."""

from __future__ import annotations

from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.proof import GENESIS, canonical_bytes
from tallygate.ledger.port import JournalEvent
from tallygate.ledger.rows import Statements

_LOCK = "instr(substr(body, 1, 400), X'226B696E64223A226C6F636B2E') > 0"
_LIMIT = "instr(substr(body, 1, 400), X'226B696E64223A226275646765742E6C696D69745F6368616E67656422') > 0"
_OPENING = "instr(substr(body, 1, 400), X'226B696E64223A2273657373696F6E2E7374617274656422') > 0"
# The times of the events of one transaction follow one another; its first has that of its rows.
_OPENED_WITHIN_US, _ANY_TIME = 64, (0, 2**62)


def _select(index: str, condition: str, span: str = "e.seq >= :first", order: str = "seq") -> str:
    # Named, so that a ledger whose index was taken away is refused and not read as one that has no lock.
    return (
        "SELECT e.seq, e.at_us, e.body, e.hash,"
        " (SELECT p.hash FROM event p WHERE p.tenant = e.tenant AND p.id < e.id ORDER BY p.id DESC LIMIT 1)"
        f" FROM event e INDEXED BY {index} WHERE e.tenant = :of AND {span} AND {condition} ORDER BY e.{order}"
    )


SELECT_LOCK_EVENTS = _select("event_of_lock", _LOCK)
# The last event of the lock by its hash; b"" where there is none.
NEWEST_LOCK = (
    "ifnull((SELECT k.hash FROM event k INDEXED BY event_of_lock"
    f" WHERE k.tenant = '{DEFAULT_TENANT}' AND {_LOCK} ORDER BY k.seq DESC LIMIT 1), x'')"
)
SELECT_LIMIT_EVENTS = _select("event_of_limit", _LIMIT)
SELECT_OPENINGS = _select(
    "event_of_opening", _OPENING, "e.at_us >= :first AND e.at_us < :until_us AND instr(e.body, :named) > 0", "at_us"
)


class LockReads(Statements):
    """Reads of what the user has locked; a part of every reader.

    `newest_lock` is the hash of the last event of the lock, where a transaction has read it with what is due.
    """

    newest_lock: bytes | None = None

    def lock_events(self, first: int = 0) -> list[JournalEvent]:
        """Events of the lock, from a number on. It is one for all tenants, and stands in the journal of the first."""
        return self._journal(SELECT_LOCK_EVENTS, DEFAULT_TENANT, first)

    def limit_events(self, first: int) -> list[JournalEvent]:
        """Events that changed a limit of this tenant, from a number on."""
        return self._journal(SELECT_LIMIT_EVENTS, self.tenant, first)

    def openings(self, session_id: str, started_us: int) -> list[JournalEvent]:
        """The event that opened a session, by when that was; where none is there, all that name it."""
        named = canonical_bytes({"session_id": session_id})[1:-1]
        spans = ((started_us, started_us + _OPENED_WITHIN_US), _ANY_TIME)
        found = (self._journal(SELECT_OPENINGS, self.tenant, at, until_us=to, named=named) for at, to in spans)
        return next(filter(None, found), [])

    def _journal(self, sql: str, tenant: str, first: int, **more: int | bytes) -> list[JournalEvent]:
        found = self._execute(sql, {"of": tenant, "first": first, **more}).fetchall()
        return [JournalEvent(seq, at_us, body, digest, before or GENESIS) for seq, at_us, body, digest, before in found]
