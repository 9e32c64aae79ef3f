"""Decisions of a span of time, and what came after each; nothing is asked that grows with the ledger."""

from __future__ import annotations

from tallygate.core.model import Budget, Call
from tallygate.ledger import rows
from tallygate.ledger.rows import Statements

_CALL = rows.CALL.select("c")
# The words behind AND are those of the index.
_NOT_ALLOWED = "tenant = :tenant AND at_us >= :from_us AND at_us < :until_us AND action <> 'allow'"
SELECT_NOT_ALLOWED = (
    f"SELECT {_CALL} FROM call c WHERE {_NOT_ALLOWED} AND action = :action ORDER BY c.at_us DESC LIMIT :limit"
)
COUNT_NOT_ALLOWED = f"SELECT action, COUNT(*) FROM call WHERE {_NOT_ALLOWED} GROUP BY action"
SELECT_AFTER = (
    f"SELECT {_CALL} FROM call c WHERE c.tenant = :tenant AND c.session_id = :session_id AND c.at_us > :at_us"
    " ORDER BY c.at_us, c.call_id LIMIT :limit"
)
# The sign keeps SQLite from going through all that a tenant has, to sort it afterwards.
SELECT_NEWEST = (
    f"SELECT {_CALL} FROM call c WHERE c.rowid < :until AND c.rowid >= :from AND +c.tenant = :tenant"
    " ORDER BY c.rowid DESC LIMIT :limit"
)
SELECT_PASSED = (
    f"SELECT {rows.BUDGET.select('b')} FROM budget b WHERE b.tenant = :tenant AND b.touched_us >= :from_us"
    " AND b.touched_us < :until_us AND b.spent_nanos > b.limit_nanos AND b.mode = 'hard'"
    " ORDER BY b.touched_us DESC LIMIT :limit"
)


class DecisionReads(Statements):
    """Reads of what was decided; a part of every reader."""

    def not_allowed(self, action: str, from_us: int, until_us: int, limit: int) -> list[Call]:
        """The last calls of a span that were refused, or rerouted, the latest first."""
        found = self._all(SELECT_NOT_ALLOWED, action=action, from_us=from_us, until_us=until_us, limit=limit)
        return list(map(rows.to_call, found))

    def count_not_allowed(self, from_us: int, until_us: int) -> dict[str, int]:
        """How many calls of a span were refused, and how many rerouted."""
        return {row[0]: row[1] for row in self._all(COUNT_NOT_ALLOWED, from_us=from_us, until_us=until_us)}

    def calls_after(self, session_id: str, at_us: int, limit: int) -> list[Call]:
        """The next calls of a session after a moment, the earliest first."""
        found = self._all(SELECT_AFTER, session_id=session_id, at_us=at_us, limit=limit)
        return list(map(rows.to_call, found))

    def newest_calls(self, from_us: int, until_us: int, limit: int) -> list[Call]:
        """The last calls of a span, the latest first."""
        places = {"from": self.place_at("call", from_us), "until": self.place_at("call", until_us)}
        found = map(rows.to_call, self._all(SELECT_NEWEST, limit=limit, **places))
        return [call for call in found if from_us <= call.at_us < until_us]

    def passed_limits(self, from_us: int, until_us: int, limit: int) -> list[Budget]:
        """Hard limits that more is spent of than they allow, by when they were last touched."""
        found = self._all(SELECT_PASSED, from_us=from_us, until_us=until_us, limit=limit)
        return list(map(rows.to_budget, found))
