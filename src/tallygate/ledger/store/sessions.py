"""Whose rows a session is found among, the changes of limits, and what is odd in agents' own reports."""

from __future__ import annotations

from collections.abc import Collection

from tallygate.core.gate.lifecycle import CallAnomaly
from tallygate.core.model import NO_RESPONSE, LimitChange
from tallygate.ledger.rows import CALL_ANOMALY, LIMIT_CHANGE, Statements

# --- tenant store ----------------------------------------------------------------------------------------------------
# Which tenants a ledger has, and which of them an id belongs to: the only queries that look past one tenant.


# From one tenant to the next along the primary key: as many steps as tenants, however many sessions they have.
_TENANTS = (
    "WITH RECURSIVE known(tenant) AS (SELECT MIN(tenant) FROM session UNION ALL"
    " SELECT (SELECT MIN(s.tenant) FROM session s WHERE s.tenant > known.tenant) FROM known"
    " WHERE known.tenant IS NOT NULL)"
)
SELECT_TENANTS = f"{_TENANTS} SELECT tenant FROM known WHERE tenant IS NOT NULL"
SELECT_TENANTS_OF_SESSION = (
    f"{_TENANTS} SELECT k.tenant FROM known k CROSS JOIN session s"
    " WHERE k.tenant IS NOT NULL AND s.tenant = k.tenant AND s.session_id = :session_id ORDER BY k.tenant"
)
# What a program of one tenant may name: its own rows, then those of sessions that it opened among another's.
_REACHED = (
    "WITH RECURSIVE reached(tenant) AS (SELECT MIN(tenant) FROM session WHERE opened_from = :tenant UNION ALL"
    " SELECT (SELECT MIN(s.tenant) FROM session s WHERE s.opened_from = :tenant AND s.tenant > reached.tenant)"
    " FROM reached WHERE reached.tenant IS NOT NULL)"
)
SELECT_REACHED_SESSION = (
    f"{_REACHED} SELECT tenant FROM session WHERE tenant = :tenant AND session_id = :session_id"
    " UNION ALL SELECT r.tenant FROM reached r CROSS JOIN session s"
    " WHERE s.tenant = r.tenant AND s.session_id = :session_id AND s.opened_from = :tenant LIMIT 1"
)
SELECT_REACHED_CALL = (
    f"{_REACHED} SELECT tenant FROM call WHERE tenant = :tenant AND call_id = :call_id"
    " UNION ALL SELECT r.tenant FROM reached r CROSS JOIN call c CROSS JOIN session s"
    " WHERE c.tenant = r.tenant AND c.call_id = :call_id"
    " AND s.tenant = c.tenant AND s.session_id = c.session_id AND s.opened_from = :tenant LIMIT 1"
)
SELECT_TENANTS_LINKED = (
    f"{_TENANTS} SELECT DISTINCT k.tenant FROM known k CROSS JOIN client_session l"
    " WHERE k.tenant IS NOT NULL AND l.tenant = k.tenant AND l.client = :client"
    " AND l.client_session = :client_session ORDER BY k.tenant"
)


class TenantReads(Statements):
    """Names of tenants; nothing of what they have."""

    def tenants(self) -> list[str]:
        """Every tenant that has a session."""
        return [row[0] for row in self._all(SELECT_TENANTS)]

    def tenants_of_session(self, session_id: str) -> list[str]:
        """The tenants that have a session of this id, for the user who may see them all."""
        return [row[0] for row in self._all(SELECT_TENANTS_OF_SESSION, session_id=session_id)]

    def tenants_linked(self, client: str, client_session: str) -> list[str]:
        """The tenants that have a session which a client's own session belongs to."""
        found = self._all(SELECT_TENANTS_LINKED, client=client, client_session=client_session)
        return [row[0] for row in found]

    def reached_session(self, session_id: str) -> str | None:
        """Whose rows hold the session that an id names from here: the tenant's own, or one opened from here."""
        row = self._one(SELECT_REACHED_SESSION, session_id=session_id)
        return None if row is None else str(row[0])

    def reached_call(self, call_id: str) -> str | None:
        """Whose rows hold the call that an id names from here."""
        row = self._one(SELECT_REACHED_CALL, call_id=call_id)
        return None if row is None else str(row[0])


# --- limit store -----------------------------------------------------------------------------------------------------
# Changes of limits, as the ledger keeps them.


_COLUMNS = ", ".join(LIMIT_CHANGE.columns)
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
            found += [LIMIT_CHANGE.value(row) for row in reversed(rows)]
        return found

    def newest_limit_changes(self, limit: int) -> list[LimitChange]:
        """The last changes of all limits, the newest first."""
        return [LIMIT_CHANGE.value(row) for row in self._all(SELECT_NEWEST, limit=limit)]


# --- reports ---------------------------------------------------------------------------------------------------------
# What is odd in agents' own reports, as the ledger keeps it, and how often calls were voided in a row.


_ODD_COLUMNS = ", ".join(CALL_ANOMALY.columns)
SELECT_ALL = (
    f"SELECT {_ODD_COLUMNS} FROM call_anomaly WHERE tenant = :tenant ORDER BY seen_us DESC, call_id, kind LIMIT :limit"
)
SELECT_OF_SESSION = (
    f"SELECT {_ODD_COLUMNS} FROM call_anomaly WHERE tenant = :tenant AND session_id = :session_id"
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
