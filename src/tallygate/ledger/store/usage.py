"""Observed usage in the ledger: the queries, and how far each file was read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from tallygate.core.costing import Tokens
from tallygate.core.model import Call, Session
from tallygate.core.sums import OF_WHOLE_FILES, ObservedSum, Unread, UnreadFile, UsageFilter, UsageSum
from tallygate.core.usage import BROKEN_OFF, Rules, served_as
from tallygate.core.values import value
from tallygate.ledger import rows
from tallygate.ledger.day_shares import parted
from tallygate.ledger.port import Anomaly, ServedSum, SpendShare, StoredUsage, Value
from tallygate.ledger.rolled import RollupReads
from tallygate.ledger.rollups import SELECT_FOLDERS as ROLLED_FOLDERS
from tallygate.ledger.rollups import SELECT_MODELS as ROLLED_MODELS
from tallygate.ledger.rollups import SELECT_OF_USAGE

_USAGE = rows.USAGE.select("u")
_SESSION = rows.SESSION.select("s")
_CALL = rows.CALL.select("c")

SELECT_USAGE = f"SELECT {_USAGE} FROM usage u WHERE u.tenant = :tenant AND u.client = :client AND u.response_key IN "
SELECT_USAGE_OF_REQUESTS = (
    f"SELECT {_USAGE} FROM usage u WHERE u.tenant = :tenant AND u.client = :client AND u.request_id IN "
)
SELECT_SESSION_USAGE = (
    f"SELECT {_USAGE} FROM usage u WHERE u.tenant = :tenant AND u.session_id = :session_id ORDER BY u.at_us, u.id"
)
SELECT_CLIENT_USAGE = (
    f"SELECT {_USAGE} FROM usage u WHERE u.tenant = :tenant AND u.client = :client"
    " AND u.client_session = :client_session AND u.session_id IS NULL AND u.at_us >= :from_us ORDER BY u.at_us, u.id"
)
# In the order they came in, which the index keeps: a long session costs no more than a short one.
SELECT_RECENT_USAGE = (
    f"SELECT {_USAGE} FROM usage u WHERE u.tenant = :tenant AND u.client = :client"
    " AND u.client_session = :client_session ORDER BY u.id DESC LIMIT :limit"
)
SELECT_LAST_FOLDERS = (
    "SELECT project, agent_id, at_us FROM usage WHERE tenant = :tenant AND session_id = :session_id"
    " AND project IS NOT NULL ORDER BY at_us DESC LIMIT :limit"
)
# Asked for each step: the rows inside are looked at one by one until the first that fits.
_LAST_OF_AGENT = (
    " FROM (SELECT * FROM usage WHERE tenant = :tenant AND session_id = :session_id"
    " AND rule NOT IN (SELECT value FROM json_each(:beside)) ORDER BY at_us DESC LIMIT :limit) u"
    " WHERE u.agent_id IS :agent_id"
)
# The outer order is stated, too: within another statement SQLite may go through the inner rows in any.
_LAST_FIRST = "ORDER BY u.at_us DESC, u.id DESC LIMIT 1"
SELECT_LAST_SERVED = f"SELECT u.at_us, u.model, u.provider, u.speed{_LAST_OF_AGENT} {_LAST_FIRST}"
SELECT_LAST_OF_AGENT = (
    f"SELECT {_USAGE}{_LAST_OF_AGENT} AND (:written = 0 OR u.cache_write_5m > 0 OR u.cache_write_1h > 0) {_LAST_FIRST}"
)
SELECT_LAST_OF_CLIENT = (
    "SELECT model, provider FROM usage WHERE tenant = :tenant AND client = :client AND id > "
    "(SELECT COALESCE(MAX(id), 0) - 2000 FROM usage) ORDER BY id DESC LIMIT 1"
)
SELECT_USAGE_SINCE = (
    f"SELECT {_USAGE} FROM usage u WHERE u.tenant = :tenant AND u.at_us >= :from_us AND u.at_us < :until_us"
    " ORDER BY u.at_us, u.id"
)
SELECT_LINKED = (
    f"SELECT {_SESSION} FROM client_session l CROSS JOIN session s WHERE l.tenant = :tenant AND l.client = :client"
    " AND l.client_session = :client_session AND s.tenant = l.tenant AND s.session_id = l.session_id"
    " ORDER BY s.started_us"
)
SELECT_FOUND_BY = "SELECT found_by FROM client_session WHERE tenant = :tenant AND session_id = :session_id"
SELECT_HAS_USAGE = "SELECT 1 FROM usage WHERE tenant = :tenant AND session_id = :session_id LIMIT 1"
SELECT_LINKS = "SELECT client, client_session FROM client_session WHERE tenant = :tenant AND session_id = :session_id"
SELECT_IN_PROJECTS = (
    f"SELECT {_SESSION} FROM session s WHERE s.tenant = :tenant AND s.project IS NOT NULL"
    " AND s.started_us <= :until_us AND (s.ended_us IS NULL OR s.ended_us >= :from_us)"
    " ORDER BY s.started_us DESC LIMIT 1000"
)
SELECT_IS_LIVE = "SELECT 1 FROM client_session WHERE tenant = :tenant AND session_id = :session_id LIMIT 1"
SELECT_RECENT_CALLS = (
    f"SELECT {_CALL} FROM call c WHERE c.tenant = :tenant AND c.session_id = :session_id AND c.at_us <= :at_us"
    " ORDER BY c.at_us DESC LIMIT :limit"
)
SELECT_BOOKED = (
    f"SELECT {_CALL} FROM call c WHERE c.tenant = :tenant AND c.session_id = :session_id"
    " AND c.cost_basis IN ('actual', 'estimate')"
)
SELECT_USAGE_BY_MODEL = (
    "SELECT model, COUNT(*), SUM(cost_nanos) AS nanos FROM usage WHERE tenant = :tenant AND session_id = :session_id"
    " GROUP BY 1 ORDER BY nanos DESC, 1 LIMIT :limit"
)
SELECT_USAGE_SHARES = (
    "SELECT COALESCE({column}, 'outside of calls'), COUNT(*), SUM(u.cost_nanos) AS nanos FROM usage u LEFT JOIN call c"
    " ON c.tenant = u.tenant AND c.call_id = u.call_id WHERE u.tenant = :tenant AND u.session_id = :session_id"
    " GROUP BY 1 ORDER BY nanos DESC, 1 LIMIT :limit"
)
SHARE_COLUMNS = {
    "model": "u.model",
    "tool": "c.tool_name",
    "actor": "COALESCE(c.actor_name, u.agent_id, c.actor_type, 'parent_agent')",
}
# A call counts once, where its work is put; what responses cost is put where each of them belongs.
SELECT_WORK_SHARES = (
    "WITH answered AS (SELECT call_id, model, agent_id, MAX(cost_nanos) FROM usage WHERE tenant = :tenant"
    " AND session_id = :session_id AND call_id IS NOT NULL GROUP BY call_id), part AS ("
    "SELECT {of_response} AS label, 0 AS calls, u.cost_nanos AS nanos, 1 AS responses FROM usage u LEFT JOIN call c"
    " ON c.tenant = u.tenant AND c.call_id = u.call_id WHERE u.tenant = :tenant AND u.session_id = :session_id"
    " UNION ALL SELECT {of_call}, 1, c.booked_nanos, 0 FROM call c LEFT JOIN answered a ON a.call_id = c.call_id"
    " WHERE c.tenant = :tenant AND c.session_id = :session_id AND c.state NOT IN ('denied', 'voided'))"
    " SELECT COALESCE(label, 'outside of calls'), SUM(calls), SUM(nanos) AS total, SUM(responses) FROM part"
    " GROUP BY 1 ORDER BY total DESC, 1 LIMIT :limit"
)
WORK_COLUMNS = {
    "model": ("u.model", "COALESCE(a.model, c.model_used, c.model_requested)"),
    "tool": ("c.tool_name", "c.tool_name"),
    "actor": (
        "COALESCE(c.actor_name, u.agent_id, c.actor_id, c.actor_type, 'parent_agent')",
        "COALESCE(c.actor_name, a.agent_id, c.actor_id, c.actor_type)",
    ),
}
SELECT_USAGE_BY_CALL = (
    "SELECT call_id, COUNT(*), SUM(cost_nanos), SUM(fresh_input), SUM(cache_read), SUM(cache_write_5m),"
    " SUM(cache_write_1h), SUM(output), SUM(CASE WHEN quality = 'final' THEN 0 ELSE 1 END),"
    f" SUM(CASE WHEN odd LIKE '%{BROKEN_OFF}%' THEN 1 ELSE 0 END),"
    # SQLite takes a column that is not summed from the row of the one maximum.
    " model, MAX(CASE WHEN model = '' THEN -1 ELSE cost_nanos END)"
    " FROM usage WHERE tenant = :tenant AND session_id = :session_id GROUP BY call_id"
)
# A key of its own, so that callers choose among these and nothing of theirs stands in a statement.
_SUMS = (
    "model, price_id, COUNT(*), SUM(CASE WHEN quality = 'final' THEN 0 ELSE 1 END), SUM(fresh_input), SUM(cache_read),"
    " SUM(cache_write_5m), SUM(cache_write_1h), SUM(output), SUM(reasoning), SUM(web_searches), SUM(cost_nanos),"
    " SUM(CASE WHEN estimated_output > output THEN estimated_output - output ELSE 0 END), MIN(at_us), MAX(at_us),"
    " SUM(CASE WHEN quality = 'final' THEN cost_nanos ELSE 0 END), 0, client, client_session, session_id, project"
)
_CHOSEN = " FROM usage WHERE tenant = :tenant AND at_us >= :from_us AND at_us < :until_us"
_OF_CLIENTS = " AND client IN (SELECT value FROM json_each(:clients))"
_OF_FOLDERS = " AND {} IN (SELECT value FROM json_each(:folders))"
_OF_MODELS = " AND model IN (SELECT value FROM json_each(:models))"
SELECT_FOLDERS = "SELECT DISTINCT project FROM usage WHERE tenant = :tenant AND project IS NOT NULL"
SELECT_MODELS = "SELECT DISTINCT model FROM usage WHERE tenant = :tenant"
SELECT_SERVED = (
    "SELECT model, provider, speed, price_id, COUNT(*), SUM(cost_nanos) FROM usage WHERE tenant = :tenant"
    " AND model IN (SELECT value FROM json_each(:models)) GROUP BY 1, 2, 3, 4 ORDER BY 6 DESC, 5 DESC, 1, 2, 3, 4"
    " LIMIT :limit"
)
SELECT_UNATTRIBUTED = (
    "SELECT client, COUNT(*) FROM usage WHERE tenant = :tenant AND at_us >= :from_us AND session_id IS NULL GROUP BY 1"
)
SELECT_POSITION = "SELECT position FROM transcript_file WHERE tenant = :tenant AND path = :path"
# In which form files are read. Another number where a reader tells more of every response than it did.
FORM = 1
# Where a position stands in its file, whatever its reader knew there.
_STANDS = ("device", "inode", "offset", "mark")
SELECT_OF_OLD_FORM = (
    "SELECT path, client FROM transcript_file WHERE tenant = :tenant AND (form IS NULL OR form < :form)"
    " AND position LIKE '{%\"offset\":%' AND path > :after ORDER BY path LIMIT :limit"
)
UPDATE_FORM = "UPDATE transcript_file SET position = :position, form = :form WHERE tenant = :tenant AND path = :path"
SELECT_FILES = "SELECT path, client, skipped, read_us FROM transcript_file WHERE tenant = :tenant ORDER BY path"
UPSERT_POSITION = (
    "INSERT INTO transcript_file (tenant, path, client, position, skipped, read_us, whole_us, form)"
    " VALUES (:tenant, :path, :client, :position, COALESCE(:skipped, '{}'), :at_us, :whole_us, :form)"
    " ON CONFLICT (tenant, path) DO UPDATE SET position = excluded.position, read_us = excluded.read_us,"
    " skipped = COALESCE(:skipped, transcript_file.skipped),"
    " whole_us = COALESCE(excluded.whole_us, transcript_file.whole_us),"
    " form = COALESCE(excluded.form, transcript_file.form)"
)
# A file that is not there yet has no position, which is read as: from the start.
UPSERT_WHOLE = (
    "INSERT INTO transcript_file (tenant, path, client, position, skipped, read_us, whole_us)"
    " VALUES (:tenant, :path, :client, 'null', '{}', :at_us, :at_us) ON CONFLICT (tenant, path) DO UPDATE"
    " SET whole_us = excluded.whole_us"
)
SELECT_WHOLE = "SELECT whole_us FROM transcript_file WHERE tenant = :tenant AND path = :path"
SELECT_BEGUN = (
    "SELECT MIN(s.started_us) FROM client_session l JOIN session s ON s.tenant = l.tenant"
    " AND s.session_id = l.session_id WHERE l.tenant = :tenant AND l.client = :client"
    " AND l.client_session = :client_session AND l.begun = 1"
)
_ANOMALY = ", ".join(rows.USAGE_ANOMALY.columns)
SELECT_ANOMALIES = (
    f"SELECT {_ANOMALY} FROM usage_anomaly WHERE tenant = :tenant ORDER BY seen_us DESC, response_key LIMIT :limit"
)
COUNT_ANOMALIES = "SELECT COUNT(*) FROM usage_anomaly WHERE tenant = :tenant"
COUNT_SESSION_ANOMALIES = (
    "SELECT COUNT(*) FROM usage_anomaly a JOIN usage u ON u.tenant = a.tenant AND u.client = a.client"
    " AND u.response_key = a.response_key WHERE a.tenant = :tenant AND u.session_id = :session_id"
)
SELECT_ANOMALY = (
    "SELECT 1 FROM usage_anomaly WHERE tenant = :tenant AND client = :client AND response_key = :response_key"
    " AND kind = :kind"
)
SELECT_USAGE_CALLED = (
    f"SELECT {_USAGE} FROM usage u WHERE u.tenant = :tenant AND u.response_key LIKE :part ESCAPE '!'"
    " ORDER BY u.response_key LIMIT :limit"
)
SELECT_UNREAD = (
    "SELECT f.path, f.client, f.client_session, f.why, f.unfinished, f.read_us, COUNT(u.id),"
    " COALESCE(SUM(u.cost_nanos), 0)"
    " FROM unread_file f LEFT JOIN usage u ON u.tenant = f.tenant AND u.client = f.client"
    " AND u.client_session = f.client_session WHERE f.tenant = :tenant GROUP BY f.path ORDER BY f.path"
)
SELECT_UNREAD_OF = "SELECT why FROM unread_file WHERE tenant = :tenant AND path = :path"
DELETE_UNREAD = "DELETE FROM unread_file WHERE tenant = :tenant AND path = :path"
UPSERT_UNREAD = (
    "INSERT INTO unread_file (tenant, path, client, client_session, why, records, unfinished, read_us)"
    " VALUES (:tenant, :path, :client, :client_session, :why, :records, :unfinished, :read_us)"
    " ON CONFLICT (tenant, path) DO UPDATE SET"
    " client_session = COALESCE(excluded.client_session, unread_file.client_session),"
    " why = excluded.why, records = excluded.records, unfinished = excluded.unfinished, read_us = excluded.read_us"
)
SELECT_SKIPPED = "SELECT skipped FROM transcript_file WHERE tenant = :tenant AND path = :path"


@value(frozen=True, slots=True)
class ReadFile:
    """One transcript file the ledger has rows of, with what had to be skipped in it."""

    path: str
    client: str
    skipped: dict[str, int]
    read_us: int


def _chosen(chosen: UsageFilter, folder: str = "project") -> tuple[str, dict[str, Value]]:
    """What a statement goes by that reads the chosen responses, in whatever span, and its parameters."""
    sql, parameters = "", dict[str, Value]()
    if chosen.clients:
        sql += _OF_CLIENTS
        parameters["clients"] = json.dumps(chosen.clients)
    if chosen.folders is not None:
        sql += _OF_FOLDERS.format(folder)
        parameters["folders"] = json.dumps(chosen.folders)
    if chosen.models is not None:
        sql += _OF_MODELS
        parameters["models"] = json.dumps(chosen.models)
    return sql, parameters


def beside(rules: Rules | None) -> str:
    """The rules of what is no part of a conversation, as statements take them."""
    return json.dumps(() if rules is None else rules.auxiliary)


class UsageReads(RollupReads):
    """Reads of observed usage; a part of every reader."""

    def usage_of(self, session_id: str) -> list[StoredUsage]:
        """The responses of a budget session, in order of time."""
        return [rows.to_usage(row, self.rules) for row in self._all(SELECT_SESSION_USAGE, session_id=session_id)]

    def usage_between(self, from_us: int, until_us: int) -> Iterator[StoredUsage]:
        """Every response in a span of time, also those of no budget session, read as they are asked for."""
        parameters = {"tenant": self.tenant, "from_us": from_us, "until_us": until_us}
        return (rows.to_usage(row, self.rules) for row in self._execute(SELECT_USAGE_SINCE, parameters))

    def unattributed_usage(self, client: str, client_session: str, from_us: int) -> list[StoredUsage]:
        """Responses of a client's session that belong to no budget session yet."""
        found = self._all(SELECT_CLIENT_USAGE, client=client, client_session=client_session, from_us=from_us)
        return [rows.to_usage(row, self.rules) for row in found]

    def usage_known(self, client: str, keys: Iterable[str]) -> dict[str, StoredUsage]:
        """Those of these responses that are in the ledger already."""
        found = self._usage_in(SELECT_USAGE, "", client, keys)
        return {stored.row.response_key: stored for stored in found}

    def usage_of_requests(self, client: str, requests: Iterable[str], *, told: bool) -> list[StoredUsage]:
        """The responses in the ledger that answered these requests; `told`: those alone that telemetry tells of."""
        listed = "', '".join(self.rules.telemetry)
        among = f" AND u.rule IN ('{listed}')" if told else ""
        return self._usage_in(SELECT_USAGE_OF_REQUESTS, among, client, requests)

    def _usage_in(self, sql: str, rest: str, client: str, keys: Iterable[str]) -> list[StoredUsage]:
        among = f"{sql}(SELECT value FROM json_each(:keys)){rest}"
        found = self._all(among, client=client, keys=json.dumps(list(keys)))
        return [rows.to_usage(row, self.rules) for row in found]

    def recent_usage(self, client: str, client_session: str, limit: int) -> list[StoredUsage]:
        """The last responses of a client's session, the latest first."""
        found = self._all(SELECT_RECENT_USAGE, client=client, client_session=client_session, limit=limit)
        return [rows.to_usage(row, self.rules) for row in found]

    def worked_in(self, session_id: str, limit: int) -> list[tuple[str, str | None, int]]:
        """Where, by which agent and when the last responses were made that count into a budget session."""
        return [(row[0], row[1], row[2]) for row in self._all(SELECT_LAST_FOLDERS, session_id=session_id, limit=limit)]

    def last_served(self, session_id: str, agent_id: str | None, limit: int) -> tuple[int, str] | None:
        """When an agent's last response was, of the last that count into a budget session, and what served it."""
        row = self._one(
            SELECT_LAST_SERVED,
            session_id=session_id,
            agent_id=agent_id,
            limit=limit,
            beside=beside(self.rules),
        )
        return None if row is None else (int(row[0]), served_as(*row[1:]))

    def last_usage_of(
        self, session_id: str, agent_id: str | None, limit: int, *, written: bool = False
    ) -> StoredUsage | None:
        """An agent's last response among the last that count into a budget session; `written`: that wrote a cache."""
        row = self._one(
            SELECT_LAST_OF_AGENT,
            session_id=session_id,
            agent_id=agent_id,
            limit=limit,
            beside=beside(self.rules),
            written=int(written),
        )
        return None if row is None else rows.to_usage(row, self.rules)

    def last_model(self, client: str) -> str | None:
        """The model a client's last response named, with who served it; None where none was seen of late."""
        row = self._one(SELECT_LAST_OF_CLIENT, client=client)
        if row is None or not row[0]:
            return None
        return f"{row[1]}/{row[0]}" if row[1] and "/" not in row[0] else str(row[0])

    def has_usage(self, session_id: str) -> bool:
        """Whether any response counts into a budget session."""
        return self._one(SELECT_HAS_USAGE, session_id=session_id) is not None

    def links_found_by(self, session_id: str) -> set[str]:
        """By what a budget session's client sessions were found: workspace, registered, hook."""
        return {row[0] for row in self._all(SELECT_FOUND_BY, session_id=session_id)}

    def sessions_linked(self, client: str, client_session: str) -> list[Session]:
        """The budget sessions a client's session is known to belong to."""
        found = self._all(SELECT_LINKED, client=client, client_session=client_session)
        return list(map(rows.to_session, found))

    def begun_us(self, client: str, client_session: str) -> int | None:
        """When a client's session began, where it began with a session of ours."""
        found = self._one(SELECT_BEGUN, client=client, client_session=client_session)
        return None if found is None else found[0]

    def links_of(self, session_id: str) -> list[tuple[str, str]]:
        """The client sessions of a budget session: (client, the client's own session id)."""
        return [(row[0], row[1]) for row in self._all(SELECT_LINKS, session_id=session_id)]

    def sessions_in_projects(self, from_us: int, until_us: int) -> list[Session]:
        """The sessions with a workspace that were open at some time in a span."""
        return list(map(rows.to_session, self._all(SELECT_IN_PROJECTS, from_us=from_us, until_us=until_us)))

    def is_metered(self, session_id: str) -> bool:
        """Whether a client's own record tells what this session uses."""
        return bool(self._all(SELECT_IS_LIVE, session_id=session_id))

    def recent_calls(self, session_id: str, at_us: int, limit: int) -> list[Call]:
        """The calls of a session up to a time, the latest first."""
        found = self._all(SELECT_RECENT_CALLS, session_id=session_id, at_us=at_us, limit=limit)
        return list(map(rows.to_call, found))

    def booked_calls(self, session_id: str) -> list[Call]:
        """The calls of a session that stand in its budgets with a cost of their own."""
        return list(map(rows.to_call, self._all(SELECT_BOOKED, session_id=session_id)))

    def usage_by_model(self, session_id: str, limit: int) -> list[SpendShare]:
        """What a session's responses cost, by the model they name."""
        return [SpendShare(*row) for row in self._all(SELECT_USAGE_BY_MODEL, session_id=session_id, limit=limit)]

    def usage_shares(self, session_id: str, column: str, limit: int) -> list[SpendShare]:
        """What a session's responses cost, by model, by the step they were made for, or by who made them."""
        sql = SELECT_USAGE_SHARES.format(column=SHARE_COLUMNS[column])
        return [SpendShare(*row) for row in self._all(sql, session_id=session_id, limit=limit)]

    def work_shares(self, session_id: str, column: str, limit: int) -> list[SpendShare]:
        """What a session whose client's record is read did and cost, by model, step or agent, with all of its calls."""
        of_response, of_call = WORK_COLUMNS[column]
        sql = SELECT_WORK_SHARES.format(of_response=of_response, of_call=of_call)
        return [SpendShare(*row) for row in self._all(sql, session_id=session_id, limit=limit)]

    def unattributed(self, from_us: int) -> dict[str, int]:
        """How many responses since a time belong to no budget session, by client."""
        return dict(self._all(SELECT_UNATTRIBUTED, from_us=from_us))

    def observed(self, session_id: str) -> dict[str | None, ObservedSum]:
        """What a session's responses add up to, by the call they were made for; None for those of no call."""
        return {
            row[0]: ObservedSum(row[1], row[2], Tokens(*row[3:8]), partial=row[8], broken=row[9], model=row[10] or None)
            for row in self._all(SELECT_USAGE_BY_CALL, session_id=session_id)
        }

    def usage_sums(self, chosen: UsageFilter) -> list[UsageSum]:
        """What the chosen responses add up to, by session, folder, model and price.

        Of the same of these there may be several sums, each of another part of the span.
        """
        span = chosen.from_us, chosen.until_us
        quarters, rest = parted(*span) if self.has_rollups() else (None, [span])
        found: list[Any] = []
        if quarters is not None:
            sql, parameters = _chosen(chosen, "folder")
            found = self._all(SELECT_OF_USAGE + sql, first=quarters[0], end=quarters[1], **parameters)
        sql, parameters = _chosen(chosen)
        sql = f"SELECT {_SUMS}{_CHOSEN}{sql} GROUP BY client, client_session, session_id, project, model, price_id"
        for since, until in rest:
            found += self._all(sql, from_us=since, until_us=until, **parameters)
        return [rows.to_usage_sum(*row) for row in found]

    def usage_folders(self) -> list[str]:
        """Every folder that responses were made in, as their clients name it."""
        return [row[0] for row in self._all(ROLLED_FOLDERS if self.has_rollups() else SELECT_FOLDERS)]

    def usage_models(self) -> list[str]:
        """Every model that responses name, as they write it."""
        return [row[0] for row in self._all(ROLLED_MODELS if self.has_rollups() else SELECT_MODELS)]

    def usage_served(self, models: Collection[str], limit: int) -> list[ServedSum]:
        """What responses of these models come to, by provider, speed and price; the dearest first."""
        return [ServedSum(*row) for row in self._all(SELECT_SERVED, models=json.dumps(sorted(models)), limit=limit)]

    def usage_next(self, chosen: UsageFilter) -> int | None:
        """The time of the first of the chosen responses."""
        sql, parameters = _chosen(chosen)
        span = {"from_us": chosen.from_us, "until_us": chosen.until_us}
        found = self._one(f"SELECT at_us{_CHOSEN}{sql} ORDER BY at_us LIMIT 1", **span, **parameters)
        return None if found is None else int(found[0])

    def position(self, path: str) -> dict[str, Any] | None:
        """How far a file was read, as its reader stored it."""
        found = self._all(SELECT_POSITION, path=path)
        return json.loads(found[0][0]) if found else None

    def of_old_form(self, after: str, limit: int) -> list[tuple[str, str]]:
        """Files that were read before readers told all that they do now, by their names: each with its client."""
        return [(row[0], row[1]) for row in self._all(SELECT_OF_OLD_FORM, form=FORM, after=after, limit=limit)]

    def whole_us(self, path: str) -> int | None:
        """When a file was last known to hold nothing that was not read."""
        found = self._one(SELECT_WHOLE, path=path)
        return None if found is None else found[0]

    def anomalies(self, limit: int) -> list[Anomaly]:
        """What later rows told of booked responses, the last seen first."""
        return [rows.USAGE_ANOMALY.value(row) for row in self._all(SELECT_ANOMALIES, limit=limit)]

    def count_anomalies(self, session_id: str | None = None) -> int:
        """How many there are, of all responses or of those of one budget session."""
        if session_id is None:
            found = self._one(COUNT_ANOMALIES)
        else:
            found = self._one(COUNT_SESSION_ANOMALIES, session_id=session_id)
        return 0 if found is None else int(found[0])

    def has_anomaly(self, client: str, response_key: str, kind: str) -> bool:
        """Whether it was told of before."""
        return self._one(SELECT_ANOMALY, client=client, response_key=response_key, kind=kind) is not None

    def usage_called(self, part: str, limit: int) -> list[StoredUsage]:
        """Responses whose key is this or begins with it."""
        escaped = "".join("!" + char if char in "!%_" else char for char in part)
        return [
            rows.to_usage(row, self.rules) for row in self._all(SELECT_USAGE_CALLED, part=f"{escaped}%", limit=limit)
        ]

    def unread_files(self) -> list[UnreadFile]:
        """The files of which something could not be read, with what the rest of their sessions cost."""
        return [
            UnreadFile(row[0], row[1], row[2], Unread(json.loads(row[3]), row[4]), row[5], *row[6:])
            for row in self._all(SELECT_UNREAD)
        ]

    def read_files(self) -> list[ReadFile]:
        """Every transcript file that was read."""
        return [ReadFile(row[0], row[1], json.loads(row[2]), row[3]) for row in self._all(SELECT_FILES)]


class UsageWrites(UsageReads):
    """What an importer writes beside its event."""

    at_us: int

    def save_position(
        self,
        path: str,
        client: str,
        position: Mapping[str, Any] | None,
        skipped: Mapping[str, int],
        *,
        anew: bool = False,
        whole: bool = False,
    ) -> None:
        """Keep how far a file was read, with the rows it brought, in one commit.

        Skipped lines add up; `anew` where the file was read from its start, `whole` where to its end.
        """
        counts: dict[str, int] | None = {} if anew else None  # None: as it was
        if skipped:
            before = [] if anew else self._all(SELECT_SKIPPED, path=path)
            counts = json.loads(before[0][0]) if before else {}
            for reason, count in skipped.items():
                counts[reason] = counts.get(reason, 0) + count
        parameters = {
            "tenant": self.tenant,
            "path": path,
            "client": client,
            "position": json.dumps(position, separators=(",", ":")),
            "skipped": None if counts is None else json.dumps(counts, sort_keys=True),
            "at_us": self.at_us,
            "whole_us": self.at_us if whole else None,
            "form": FORM if anew else None,
        }
        self._execute(UPSERT_POSITION, parameters)

    def save_read_again(self, path: str, position: Mapping[str, Any]) -> bool:
        """Keep that a file was read once more, and what its reader knows by now where it was left.

        False where that is a file of lines that was left elsewhere: its reader would not know what it needs there.
        """
        known = self.position(path)
        if known is None:
            return False
        if known.get("mark"):
            if any(known[key] != position.get(key) for key in _STANDS):
                return False
            known["state"] = position["state"]
        text = json.dumps(known, separators=(",", ":"))
        self._execute(UPDATE_FORM, {"tenant": self.tenant, "path": path, "position": text, "form": FORM})
        return True

    def save_whole(self, path: str, client: str) -> None:
        """Keep that a file holds nothing now that was not read, or is not there yet."""
        self._execute(UPSERT_WHOLE, {"tenant": self.tenant, "path": path, "client": client, "at_us": self.at_us})

    def save_unread(self, path: str, client: str, session: str | None, found: Unread, *, anew: bool = False) -> None:
        """Keep what could not be read of a file; what was kept of it before stays, but where it was read anew."""
        known = self._all(SELECT_UNREAD_OF, path=path)
        before: dict[str, int] = json.loads(known[0][0]) if known and not anew else {}
        # What a file as a whole had is over once it could be read; what single lines had stays, as they are not read
        # again.
        why = Counter({reason: count for reason, count in before.items() if reason not in OF_WHOLE_FILES})
        why.update(found.why)
        parameters = {"tenant": self.tenant, "path": path}
        if not (why or found.unfinished):
            if known:
                self._execute(DELETE_UNREAD, parameters)
            return
        counts = {"records": sum(why.values()), "unfinished": found.unfinished}
        why_text = json.dumps(why, sort_keys=True)
        facts = {"client": client, "client_session": session, "why": why_text, "read_us": self.at_us}
        self._execute(UPSERT_UNREAD, parameters | facts | counts)
