"""Changes of limits, as the ledger keeps them."""

from __future__ import annotations

from collections.abc import Collection

from tallygate.core.model import LimitChange
from tallygate.ledger.statements import Statements

LIMIT_COLUMNS = (
    "tenant", "budget_id", "at_us", "unit", "before_nanos", "limit_nanos", "door", "actor", "reason", "inside",
    "beneath",
)  # fmt: skip
_COLUMNS = ", ".join(LIMIT_COLUMNS[1:])
SELECT_OF = (
    f"SELECT {_COLUMNS} FROM limit_change WHERE tenant = :tenant AND budget_id = :budget_id"
    " ORDER BY at_us DESC LIMIT :limit"
)
SELECT_NEWEST = f"SELECT {_COLUMNS} FROM limit_change WHERE tenant = :tenant ORDER BY at_us DESC LIMIT :limit"


class LimitReads(Statements):
    """Reads of how limits were changed; a part of every reader."""

    def limit_changes(self, budget_ids: Collection[str], limit: int) -> list[LimitChange]:
        """The last changes of each of these budgets, the oldest first."""
        found: list[LimitChange] = []
        for budget_id in sorted(budget_ids):
            rows = self._all(SELECT_OF, budget_id=budget_id, limit=limit)
            found += [LimitChange(*row) for row in reversed(rows)]
        return found

    def newest_limit_changes(self, limit: int) -> list[LimitChange]:
        """The last changes of all limits, the newest first."""
        return [LimitChange(*row) for row in self._all(SELECT_NEWEST, limit=limit)]
