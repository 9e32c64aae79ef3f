"""Events that a lock of the limits is made of, and those that changed a limit, by an index of their own."""

from __future__ import annotations

from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.proof import GENESIS
from tallygate.ledger.port import JournalEvent
from tallygate.ledger.rows import Statements

_LOCK = "instr(substr(body, 1, 400), X'226B696E64223A226C6F636B2E') > 0"
_LIMIT = "instr(substr(body, 1, 400), X'226B696E64223A226275646765742E6C696D69745F6368616E67656422') > 0"


def _select(index: str, condition: str) -> str:
    # Named, so that a ledger whose index was taken away is refused and not read as one that has no lock.
    return (
        "SELECT e.seq, e.at_us, e.body, e.hash,"
        " (SELECT p.hash FROM event p WHERE p.tenant = e.tenant AND p.id < e.id ORDER BY p.id DESC LIMIT 1)"
        f" FROM event e INDEXED BY {index} WHERE e.tenant = :of AND e.seq >= :first AND {condition} ORDER BY e.seq"
    )


SELECT_LOCK_EVENTS = _select("event_of_lock", _LOCK)
# The last event of the lock by its hash; b"" where there is none.
NEWEST_LOCK = (
    "ifnull((SELECT k.hash FROM event k INDEXED BY event_of_lock"
    f" WHERE k.tenant = '{DEFAULT_TENANT}' AND {_LOCK} ORDER BY k.seq DESC LIMIT 1), x'')"
)
SELECT_LIMIT_EVENTS = _select("event_of_limit", _LIMIT)


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

    def _journal(self, sql: str, tenant: str, first: int) -> list[JournalEvent]:
        found = self._execute(sql, {"of": tenant, "first": first}).fetchall()
        return [JournalEvent(seq, at_us, body, digest, before or GENESIS) for seq, at_us, body, digest, before in found]
