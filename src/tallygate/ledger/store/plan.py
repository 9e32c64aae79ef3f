"""How much of clients' own plans is used: the newest of each window, and some of what was told before."""

from __future__ import annotations

from dataclasses import replace

from tallygate.core.plan import QUARTER_US, PlanSource, PlanWindow, told_beside
from tallygate.ledger.port import Value
from tallygate.ledger.rows import Statements

# Of each window so many quarters of an hour are kept: a month of days of eight hours.
HISTORY_MAX = 1000
# So many windows of one client are kept: a damaged or hostile file may name any number of limits.
WINDOWS_MAX = 32

PLAN_COLUMNS = (
    "tenant", "client", "limit_name", "minutes", "used", "at_us", "resets_us", "source", "plan", "read_us",
)  # fmt: skip
HISTORY_COLUMNS = (*PLAN_COLUMNS, "slot")
_TOLD = "client, limit_name, minutes, used, at_us, resets_us, source, plan"
_KIND = "tenant = :tenant AND client = :client AND limit_name = :limit_name AND minutes = :minutes"
# What was told later stays, in whatever order files are read. Of one moment the larger share is gone by.
_LATER = (
    " DO UPDATE SET used = excluded.used, at_us = excluded.at_us, resets_us = excluded.resets_us,"
    " source = excluded.source, plan = excluded.plan, read_us = excluded.read_us"
    " WHERE (excluded.at_us, excluded.used) > ({table}.at_us, {table}.used)"
)
UPSERT_PLAN = (
    f"INSERT INTO plan_window ({', '.join(PLAN_COLUMNS)}) VALUES (:{', :'.join(PLAN_COLUMNS)})"
    f" ON CONFLICT (tenant, client, limit_name, minutes){_LATER.format(table='plan_window')}"
)
UPSERT_HISTORY = (
    f"INSERT INTO plan_history ({', '.join(HISTORY_COLUMNS)}) VALUES (:{', :'.join(HISTORY_COLUMNS)})"
    f" ON CONFLICT (tenant, client, limit_name, minutes, slot){_LATER.format(table='plan_history')}"
)
SELECT_KNOWN = f"SELECT {_TOLD} FROM plan_window WHERE {_KIND}"
SELECT_LEAST = (
    "SELECT limit_name, minutes, used FROM plan_window WHERE tenant = :tenant AND client = :client"
    " ORDER BY used DESC, at_us DESC LIMIT 1 OFFSET :kept"
)
DELETE_WINDOW = f"DELETE FROM plan_window WHERE {_KIND}"
DELETE_OLD = (
    f"DELETE FROM plan_history WHERE {_KIND} AND slot <= (SELECT slot FROM plan_history WHERE {_KIND}"
    " ORDER BY slot DESC LIMIT 1 OFFSET :kept)"
)
SELECT_PLAN = f"SELECT {_TOLD} FROM plan_window WHERE tenant = :tenant ORDER BY client, minutes, limit_name"
SELECT_HISTORY = f"SELECT {_TOLD} FROM plan_history WHERE {_KIND} AND at_us >= :from_us ORDER BY slot"


# The newest so many, in their order: what a pace is told by. One session's are found by an index of theirs.
_SPENT_SINCE = (
    "SELECT at_us, cost_nanos FROM (SELECT at_us, cost_nanos, id FROM usage WHERE tenant = :tenant"
    " AND at_us >= :from_us{} ORDER BY at_us DESC LIMIT :limit) s ORDER BY at_us, id"
)
SELECT_SPENT_SINCE = _SPENT_SINCE.format("")
SELECT_SESSION_SPENT_SINCE = _SPENT_SINCE.format(" AND session_id = :session_id")


class PlanReads(Statements):
    """Reads of plans, and of the pace of work; a part of every reader."""

    def spent_since(self, from_us: int, session_id: str | None, limit: int) -> list[tuple[int, int]]:
        """When the last responses since a time were made, of one session or of all, and what each cost."""
        if session_id is None:
            return self._all(SELECT_SPENT_SINCE, from_us=from_us, limit=limit)
        return self._all(SELECT_SESSION_SPENT_SINCE, from_us=from_us, session_id=session_id, limit=limit)

    def plan_windows(self) -> list[PlanWindow]:
        """The newest of each window of each client, however old."""
        return [_window(*row) for row in self._all(SELECT_PLAN)]

    def plan_history(self, client: str, limit: str, minutes: int, from_us: int) -> list[PlanWindow]:
        """What was told of one window since a time, the oldest first: the last of each quarter of an hour."""
        kind: dict[str, Value] = {"client": client, "limit_name": limit, "minutes": minutes}
        return [_window(*row) for row in self._all(SELECT_HISTORY, **kind, from_us=from_us)]


class PlanWrites(PlanReads):
    """What is kept of a plan beside the journal: a fact that the client tells, of which no money turns."""

    at_us: int

    def save_plan(self, told: PlanWindow) -> None:
        """Keep what was told of a window; what was told later stays. A moment to come is meant as now."""
        at_us = min(told.at_us, self.at_us)
        slot = at_us // QUARTER_US
        kind: dict[str, Value] = {"client": told.client, "limit_name": told.limit, "minutes": told.minutes}
        row = self._one(SELECT_KNOWN, **kind)
        known = None if row is None else _window(*row)
        told = told_beside(told, known, self.at_us)
        if known is None:
            least = self._one(SELECT_LEAST, client=told.client, kept=WINDOWS_MAX - 1)
            if least is not None:
                # The fullest windows stay: made-up ones that are hardly used must not keep out the one that stops.
                if least[2] >= told.used:
                    return
                out = {"tenant": self.tenant, "client": told.client, "limit_name": least[0], "minutes": least[1]}
                self._execute(DELETE_WINDOW, out)
        elif known.source is told.source and not replace(told, at_us=at_us).says_more_than(known):
            return  # said with each response, and known since the last one
        parameters = {
            "tenant": self.tenant,
            **kind,
            "used": told.used,
            "at_us": at_us,
            "resets_us": told.resets_us,
            "source": told.source.value,
            "plan": told.plan,
            "read_us": self.at_us,
        }
        self._execute(UPSERT_PLAN, parameters)
        self._execute(UPSERT_HISTORY, {**parameters, "slot": slot})
        if known is None or known.at_us // QUARTER_US != slot:
            self._execute(DELETE_OLD, {"tenant": self.tenant, **kind, "kept": HISTORY_MAX})


def _window(client: str, limit: str, minutes: int, used: int, at_us: int, *rest: object) -> PlanWindow:
    resets_us, source, plan = rest
    return PlanWindow(client, limit, minutes, used, at_us, resets_us, PlanSource(source), plan)  # type: ignore[arg-type]
