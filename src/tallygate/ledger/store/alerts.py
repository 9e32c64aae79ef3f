"""What was told of budgets, and what could not be."""

from __future__ import annotations

import json
from collections.abc import Collection

from tallygate.core.alerts import AlertMark
from tallygate.ledger.rows import Statements

_COLUMNS = "budget_id, route, percent, at_us, claimed_us, tries, told_us, error"
SELECT_MARKS = (
    f"SELECT {_COLUMNS} FROM alert WHERE tenant = :tenant AND budget_id IN (SELECT value FROM json_each(:budgets))"
)
SELECT_MARK = f"SELECT {_COLUMNS} FROM alert WHERE tenant = :tenant AND budget_id = :budget_id AND route = :route"
SELECT_FAILED = (
    f"SELECT {_COLUMNS} FROM alert WHERE tenant = :tenant AND told_us IS NULL AND error IS NOT NULL"
    " AND claimed_us >= :from_us ORDER BY claimed_us DESC LIMIT :limit"
)
CLAIM = (
    f"INSERT INTO alert (tenant, {_COLUMNS})"
    " VALUES (:tenant, :budget_id, :route, :percent, :at_us, :claimed_us, :tries, NULL, NULL)"
    " ON CONFLICT (tenant, budget_id, route) DO UPDATE SET percent = excluded.percent, at_us = excluded.at_us,"
    " claimed_us = excluded.claimed_us, tries = excluded.tries, told_us = NULL"
)
# Only by whom it was taken up: somebody else may have done so after a long while.
CAME_OUT = (
    "UPDATE alert SET told_us = :told_us, error = :error WHERE tenant = :tenant AND budget_id = :budget_id"
    " AND route = :route AND claimed_us = :claimed_us"
)


class AlertReads(Statements):
    """Reads of what was told; a part of every reader."""

    def alert_marks(self, budget_ids: Collection[str]) -> dict[tuple[str, str], AlertMark]:
        """What is remembered of alerts on these budgets, by budget and route."""
        found = self._all(SELECT_MARKS, budgets=json.dumps(sorted(budget_ids)))
        return {(row[0], row[1]): AlertMark(*row) for row in found}

    def alert_mark(self, budget_id: str, route: str) -> AlertMark | None:
        """The same of one alert on one budget."""
        row = self._one(SELECT_MARK, budget_id=budget_id, route=route)
        return None if row is None else AlertMark(*row)

    def alerts_failed(self, from_us: int, limit: int) -> list[AlertMark]:
        """Those that could not be told and were tried since a time, the last first."""
        return [AlertMark(*row) for row in self._all(SELECT_FAILED, from_us=from_us, limit=limit)]


class AlertWrites(AlertReads):
    """Taking alerts up, and how that came out; no event, as nothing that was spent changes."""

    def claim_alert(self, mark: AlertMark) -> None:
        """Remember who takes an alert up before anybody is told."""
        self._execute(
            CLAIM,
            {
                "tenant": self.tenant,
                "budget_id": mark.budget_id,
                "route": mark.route,
                "percent": mark.percent,
                "at_us": mark.at_us,
                "claimed_us": mark.claimed_us,
                "tries": mark.tries,
            },
        )

    def alert_came_out(self, mark: AlertMark) -> None:
        """Remember how telling it went."""
        names = {"budget_id": mark.budget_id, "route": mark.route, "claimed_us": mark.claimed_us}
        self._execute(CAME_OUT, {"tenant": self.tenant, **names, "told_us": mark.told_us, "error": mark.error})
