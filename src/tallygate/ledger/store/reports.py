"""What is odd in agents' own reports, as the ledger keeps it, and how often calls were voided in a row."""

from __future__ import annotations

from tallygate.core.gate.lifecycle import CallAnomaly
from tallygate.core.model import NO_RESPONSE
from tallygate.ledger.rows import CALL_ANOMALY, Statements

_ANOMALY_COLUMNS = ", ".join(CALL_ANOMALY.columns)
SELECT_ALL = f"SELECT {_ANOMALY_COLUMNS} FROM call_anomaly WHERE tenant = :tenant ORDER BY seen_us DESC, call_id, kind LIMIT :limit"
SELECT_OF_SESSION = (
    f"SELECT {_ANOMALY_COLUMNS} FROM call_anomaly WHERE tenant = :tenant AND session_id = :session_id"
    " ORDER BY seen_us, call_id, kind LIMIT :limit"
)
COUNT_ALL = "SELECT COUNT(*) FROM call_anomaly WHERE tenant = :tenant"
# From the end of the session's calls: those since the last that was let through and happened.
COUNT_VOIDS = (
    "SELECT COUNT(*) FROM call WHERE tenant = :tenant AND session_id = :session_id AND state = 'voided'"
    " AND void_reason <> :no_response AND at_us > COALESCE((SELECT at_us FROM call WHERE tenant = :tenant"
    " AND session_id = :session_id AND state NOT IN ('voided', 'denied') AND call_id <> :call_id"
    " ORDER BY at_us DESC LIMIT 1), 0)"
)


class ReportReads(Statements):
    """Reads of what is odd in reports; a part of every reader."""

    def call_anomalies(self, limit: int, session_id: str | None = None) -> list[CallAnomaly]:
        """What is odd: of a session in its order, of all the last seen first."""
        if session_id is None:
            found = self._all(SELECT_ALL, limit=limit)
        else:
            found = self._all(SELECT_OF_SESSION, session_id=session_id, limit=limit)
        return [CALL_ANOMALY.value(row) for row in found]

    def count_call_anomalies(self) -> int:
        """How many there are."""
        return int(self._one(COUNT_ALL)[0])

    def voids_in_a_row(self, session_id: str, call_id: str) -> int:
        """How many of a session's last calls were voided by their agent, before a call that is voided now."""
        return int(self._one(COUNT_VOIDS, session_id=session_id, call_id=call_id, no_response=NO_RESPONSE)[0])
