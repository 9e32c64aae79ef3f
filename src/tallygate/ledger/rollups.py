"""What responses and booked calls come to by quarter of an hour: kept as they are written, so that reports never scan.

A quarter of an hour is the longest span of which the days of every zone are made. What is asked beyond whole quarters
is read from the rows themselves. All of it follows from `usage` and `call`; no event states it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tallygate.ledger.events import Row, SqlTables
from tallygate.ledger.rows import Execute, ExecuteMany, Statements

QUARTER_US = 900_000_000
# Before every date that there is: division rounds towards nothing, and a quarter before 1970 is one like any other.
_BEFORE = 70_000_000
_QUARTER = f"(at_us + {_BEFORE * QUARTER_US}) / {QUARTER_US} - {_BEFORE}"
_BOOKED_BASES = ("actual", "estimate")
_BOOKED = "cost_basis IN ('actual', 'estimate')"

KEY = ("booked", "client", "client_session", "session_id", "folder", "model", "price_id")
SUMS = (
    "responses", "calls", "partial", "fresh_input", "cache_read", "cache_write_5m", "cache_write_1h", "output",
    "reasoning", "web_searches", "cost_nanos", "missing_output", "exact_nanos",
)  # fmt: skip
_SPAN = ("first_us", "last_us")
# A response and a booked call as they stand in their sums: what each is of, and what each adds.
_OF_USAGE = (
    "0", "client", "client_session", "COALESCE(session_id, '')", "COALESCE(project, '')", "model", "price_id",
)  # fmt: skip
_OF_CALL = (
    "1", "''", "''", "session_id", "''", "COALESCE(model_used, model_requested)",
    "COALESCE(actual_price_id, price_id, '')",
)  # fmt: skip
_USAGE_ADDS = (
    "1", "0", "quality <> 'final'", "fresh_input", "cache_read", "cache_write_5m", "cache_write_1h", "output",
    "reasoning", "web_searches", "cost_nanos",
    "CASE WHEN estimated_output > output THEN estimated_output - output ELSE 0 END",
    "CASE WHEN quality = 'final' THEN cost_nanos ELSE 0 END",
)  # fmt: skip
_CALL_ADDS = (
    "0", "1", "0", "COALESCE(fresh_input, prompt_tokens)", "COALESCE(cache_read, 0)", "COALESCE(cache_write_5m, 0)",
    "COALESCE(cache_write_1h, 0)", "COALESCE(output, completion_tokens)", "0", "0", "booked_nanos", "0", "0",
)  # fmt: skip
# What of a row its sum rests on: the hold of a call that waits changes with each response, and adds nothing.
_COUNTED = {
    "usage": frozenset(
        {"client_session", "session_id", "project", "model", "price_id", "at_us", "quality", "estimated_output",
         "cost_nanos", "fresh_input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning",
         "web_searches"}
    ),
    "call": frozenset(
        {"booked_nanos", "cost_basis", "model_used", "actual_price_id", "fresh_input", "cache_read", "cache_write_5m",
         "cache_write_1h", "output"}
    ),
}  # fmt: skip

_COLUMNS = ("tenant", "quarter", "key", *SUMS, *_SPAN)
_GROWN = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
_ON_CONFLICT = (
    f" ON CONFLICT (tenant, quarter, key) DO UPDATE SET {_GROWN},"
    " first_us = MIN(first_us, excluded.first_us), last_us = MAX(last_us, excluded.last_us)"
)
UPSERT = f"INSERT INTO rollup ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}){_ON_CONFLICT}"
_IS_KEY = " AND ".join(f"{name} = :{name}" for name in KEY)
SELECT_KEY = f"SELECT id FROM rollup_key WHERE tenant = :tenant AND {_IS_KEY}"
INSERT_KEY = (
    f"INSERT INTO rollup_key (tenant, {', '.join(KEY)}) VALUES (:tenant, {', '.join(f':{name}' for name in KEY)})"
)
_AT = "tenant = :tenant AND quarter = :quarter AND key = :key"
DELETE_EMPTY = f"DELETE FROM rollup WHERE {_AT} AND responses = 0 AND calls = 0"
SELECT_STATE = "SELECT whole, usage_upto, call_upto FROM rollup_state"


def _sums(table: str, of: Sequence[str], adds: Sequence[str], where: str) -> str:
    """Sums of rows of a table by quarter and by what they are of, as a statement; the tenant stands first."""
    keys = ", ".join(f"{column} AS {name}" for name, column in zip(KEY, of, strict=True))
    added = ", ".join(f"SUM({column}) AS {name}" for name, column in zip(SUMS, adds, strict=True))
    return (
        f"SELECT tenant, {_QUARTER} AS quarter, {keys}, {added}, MIN(at_us) AS first_us, MAX(at_us) AS last_us"
        f" FROM {table} WHERE {where} GROUP BY {', '.join(str(2 + number) for number in range(len(KEY) + 1))}, 1"
    )


_FRESH = (
    _sums("usage", _OF_USAGE, _USAGE_ADDS, "{usage}"),
    _sums("call", _OF_CALL, _CALL_ADDS, f"{_BOOKED} AND {{call}}"),
)
_SAME_KEY = " AND ".join(f"k.{name} = f.{name}" for name in ("tenant", *KEY))
INSERT_KEYS = f"INSERT OR IGNORE INTO rollup_key (tenant, {', '.join(KEY)}) SELECT tenant, {', '.join(KEY)} FROM ({{}})"
INSERT_SUMS = (
    f"INSERT INTO rollup ({', '.join(_COLUMNS)}) SELECT f.tenant, f.quarter, k.id,"
    f" {', '.join(f'f.{name}' for name in (*SUMS, *_SPAN))} FROM ({{}}) f CROSS JOIN rollup_key k"
    f" WHERE {_SAME_KEY}{_ON_CONFLICT}"
)
SELECT_REACH = "SELECT MAX({id}) FROM (SELECT {id} FROM {table} WHERE {id} > :upto ORDER BY {id} LIMIT :rows)"
UPDATE_STATE = "UPDATE rollup_state SET usage_upto = :usage, call_upto = :call, whole = :whole"
# One that is gone may give its number to the next: how far it is done never lies beyond what there is.
LOWER_STATE = (
    "UPDATE rollup_state SET usage_upto = MIN(usage_upto, (SELECT COALESCE(MAX(id), 0) FROM usage)) WHERE whole = 0"
)


# --- made ------------------------------------------------------------------------------------------------------------
# Of the rows of a ledger of before, in steps; and as they must be, to be held against what is there.


def add_up(execute: Execute, rows: int) -> bool:
    """Add up some more rows that were there before their sums; whether all are now. Inside a write transaction."""
    whole, *upto = execute(SELECT_STATE, {}).fetchone()
    if whole:
        return True
    reached = []
    for sql, (table, number), since in zip(_FRESH, (("usage", "id"), ("call", "rowid")), upto, strict=True):
        row = execute(SELECT_REACH.format(id=number, table=table), {"upto": since, "rows": rows}).fetchone()
        until = row[0]
        reached.append(until)
        if until is not None:
            fresh = sql.format(**{table: f"{number} > :since AND {number} <= :until"})
            execute(INSERT_KEYS.format(fresh), {"since": since, "until": until})
            execute(INSERT_SUMS.format(fresh), {"since": since, "until": until})
    now = [since if until is None else until for since, until in zip(upto, reached, strict=True)]
    is_whole = reached == [None, None]
    execute(UPDATE_STATE, {"usage": now[0], "call": now[1], "whole": int(is_whole)})
    return is_whole


def begin_anew(execute: Execute) -> None:
    """Forget all sums: they are added up from the rows again."""
    for table in ("rollup", "rollup_key"):
        execute(f"DELETE FROM {table}", {})
    execute(UPDATE_STATE, {"usage": 0, "call": 0, "whole": 0})


_KEPT = (
    f"SELECT r.tenant, r.quarter, {', '.join(f'k.{name}' for name in KEY)},"
    f" {', '.join(f'r.{name}' for name in (*SUMS, *_SPAN))} FROM rollup r LEFT JOIN rollup_key k"
    " ON k.id = r.key AND k.tenant = r.tenant"
)


def differing(whole: bool, usage_upto: int, call_upto: int) -> tuple[str, str]:
    """Two statements: sums that the rows make and that are not there, and sums that are there and no rows make."""
    fresh = " UNION ALL ".join(
        sql.format(usage="1" if whole else f"id <= {usage_upto}", call="1" if whole else f"rowid <= {call_upto}")
        for sql in _FRESH
    )
    return f"SELECT * FROM ({fresh}) EXCEPT {_KEPT}", f"{_KEPT} EXCEPT SELECT * FROM ({fresh})"


def named(row: Sequence[Any]) -> tuple[str, int, dict[str, Any], dict[str, int]]:
    """A row of these as tenant, quarter, what it is of, and what it comes to."""
    tenant, quarter, *rest = row
    of = dict(zip(KEY, rest, strict=False))
    return tenant, quarter, of, dict(zip((*SUMS, *_SPAN), rest[len(KEY) :], strict=True))


# --- read ------------------------------------------------------------------------------------------------------------
# In the columns of the sums of rows, which they are joined to.


_READ = (
    "SELECT k.model, k.price_id, r.responses, r.partial, r.fresh_input, r.cache_read, r.cache_write_5m,"
    " r.cache_write_1h, r.output, r.reasoning, r.web_searches, r.cost_nanos, r.missing_output, r.first_us, r.last_us,"
    " r.exact_nanos, r.calls, {whose} FROM (SELECT key,"
    f" {', '.join(f'SUM({name}) AS {name}' for name in SUMS)}, MIN(first_us) AS first_us, MAX(last_us) AS last_us"
    " FROM rollup WHERE tenant = :tenant AND quarter >= :first AND quarter < :end GROUP BY key) r"
    " JOIN rollup_key k ON k.id = r.key{session} WHERE k.tenant = :tenant AND k.booked = {booked}"
)
SELECT_OF_USAGE = _READ.format(
    whose="k.client, k.client_session, NULLIF(k.session_id, ''), NULLIF(k.folder, '')", session="", booked=0
)
SELECT_OF_CALLS = _READ.format(
    whose="s.client, k.session_id, k.session_id, s.project",
    session=" JOIN session s ON s.tenant = k.tenant AND s.session_id = k.session_id",
    booked=1,
)
SELECT_FOLDERS = "SELECT DISTINCT folder FROM rollup_key WHERE tenant = :tenant AND booked = 0 AND folder <> ''"
SELECT_MODELS = "SELECT DISTINCT model FROM rollup_key WHERE tenant = :tenant AND booked = 0"
Span = tuple[int, int]


def parted(from_us: int, until_us: int) -> tuple[Span | None, list[Span]]:
    """A span as the whole quarters in it, by their numbers, and the moments at its ends that lie beyond them.

    >>> parted(0, QUARTER_US * 2 + 5)
    ((0, 2), [(1800000000, 1800000005)])
    """
    first, end = -(-from_us // QUARTER_US), until_us // QUARTER_US
    if first >= end:
        return None, [(from_us, until_us)]
    ends = [(from_us, first * QUARTER_US), (end * QUARTER_US, until_us)]
    return (first, end), [(since, until) for since, until in ends if since < until]


class RollupReads(Statements):
    """Whether sums can be read; a part of every reader."""

    def has_rollups(self) -> bool:
        """Whether everything that is on record is added up."""
        return bool(self._execute(SELECT_STATE, {}).fetchone()[0])


# --- kept ------------------------------------------------------------------------------------------------------------
# While rows are written: what each of them adds, and what it added before.


Key = tuple[Any, ...]
_BEFORE_ROW = {
    "usage": (
        "SELECT id, client, client_session, session_id, project, model, price_id, at_us, quality, fresh_input,"
        " cache_read, cache_write_5m, cache_write_1h, output, reasoning, web_searches, cost_nanos, estimated_output"
        " FROM usage WHERE tenant = :tenant AND client = :client AND response_key = :response_key"
    ),
    "call": (
        "SELECT rowid, session_id, model_used, model_requested, actual_price_id, price_id, at_us, cost_basis,"
        " fresh_input, prompt_tokens, cache_read, cache_write_5m, cache_write_1h, output, completion_tokens,"
        " booked_nanos FROM call WHERE tenant = :tenant AND call_id = :call_id"
    ),
}
_NAMES = {
    table: tuple(each.strip() for each in sql.partition(" FROM ")[0].removeprefix("SELECT ").split(","))
    for table, sql in _BEFORE_ROW.items()
}
_IDENTITY = {"usage": ("client", "response_key"), "call": ("call_id",)}
SELECT_SPAN = {
    0: "SELECT MIN(at_us), MAX(at_us) FROM usage WHERE tenant = :tenant AND at_us >= :from_us AND at_us < :until_us"
    f" AND {' AND '.join(f'{of} = :{name}' for name, of in zip(KEY[1:], _OF_USAGE[1:], strict=True))}",
    1: "SELECT MIN(at_us), MAX(at_us) FROM call WHERE tenant = :tenant AND at_us >= :from_us AND at_us < :until_us"
    f" AND {_BOOKED} AND {' AND '.join(f'{of} = :{name}' for name, of in zip(KEY[1:], _OF_CALL[1:], strict=True))}",
}
UPDATE_SPAN = f"UPDATE rollup SET first_us = :first_us, last_us = :last_us WHERE {_AT}"


class RolledTables(SqlTables):
    """The tables of a database with the sums of what is written into them: one statement a sum and event."""

    def __init__(self, execute: Execute, execute_many: ExecuteMany, columns: Mapping[str, Sequence[str]]) -> None:
        super().__init__(execute, execute_many, columns)
        self._added: dict[Key, list[int]] = {}
        self._taken: set[Key] = set()
        self._state: tuple[bool, int, int] | None = None

    def insert(self, tenant: str, table: str, row: Row) -> None:
        """Keep a row, and count what it adds."""
        super().insert(tenant, table, row)
        if table == "usage":
            if self._is_whole():
                self._add(_of_usage(tenant, row), _usage_adds(row), row["at_us"])
        elif table == "call" and row["cost_basis"] in _BOOKED_BASES and self._is_whole():
            self._add(_of_call(tenant, row), _call_adds(row), row["at_us"])

    def update(self, tenant: str, table: str, row: Row) -> None:
        """Write columns of a row, and count what that changes."""
        if table in _COUNTED and not _COUNTED[table].isdisjoint(row):
            before = self._before(tenant, table, row)
            super().update(tenant, table, row)
            if before is not None:
                self._take(tenant, table, before)
                self._put(tenant, table, {**before, **row})
        else:
            super().update(tenant, table, row)

    def delete(self, tenant: str, table: str, row: Row) -> None:
        """Delete a row, and count it no more."""
        before = self._before(tenant, table, row) if table in _BEFORE_ROW else None
        super().delete(tenant, table, row)
        if table == "usage" and not self._is_whole():
            self._execute(LOWER_STATE, {})
            self._state = None
        if before is not None:
            self._take(tenant, table, before)

    def write_sums(self) -> None:
        """Write what the rows of an event have added and taken."""
        if not self._added:
            return
        added, taken = self._added, self._taken
        self._added, self._taken = {}, set()
        ids: dict[Key, int] = {}
        rows = []
        for key, sums in added.items():
            of = key[:-1]
            if of not in ids:
                ids[of] = self._id_of(of)
            rows.append((key[0], key[-1], ids[of], *sums))
        self._execute_many(UPSERT, rows)
        for key in taken:
            self._settle_taken(key, ids[key[:-1]])

    def _is_whole(self) -> bool:
        return (self._state or self._read_state())[0]

    def _read_state(self) -> tuple[bool, int, int]:
        whole, usage_upto, call_upto = self._execute(SELECT_STATE, {}).fetchone()
        self._state = bool(whole), usage_upto, call_upto
        return self._state

    def _before(self, tenant: str, table: str, row: Row) -> dict[str, Any] | None:
        """A row as it stands, where it is among those that are added up."""
        self.settle()
        names = _IDENTITY[table]
        found = self._execute(_BEFORE_ROW[table], {"tenant": tenant, **{name: row[name] for name in names}}).fetchone()
        if found is None:
            return None
        whole, *upto = self._state or self._read_state()
        if not whole and found[0] > upto[table == "call"]:
            return None
        return dict(zip(_NAMES[table], found, strict=True))

    def _put(self, tenant: str, table: str, row: Row) -> None:
        if table == "usage":
            self._add(_of_usage(tenant, row), _usage_adds(row), row["at_us"])
        elif row["cost_basis"] in _BOOKED_BASES:
            self._add(_of_call(tenant, row), _call_adds(row), row["at_us"])

    def _take(self, tenant: str, table: str, row: Row) -> None:
        if table == "call" and row["cost_basis"] not in _BOOKED_BASES:
            return
        of, adds = (_of_usage, _usage_adds) if table == "usage" else (_of_call, _call_adds)
        key = of(tenant, row)
        self._add(key, [-each for each in adds(row)], row["at_us"])
        self._taken.add((*key, _quarter(row["at_us"])))

    def _add(self, of: Key, adds: Sequence[int], at_us: int) -> None:
        key = (*of, _quarter(at_us))
        known = self._added.get(key)
        if known is None:
            self._added[key] = [*adds, at_us, at_us]
            return
        for number, each in enumerate(adds):
            if each:
                known[number] += each
        known[-2], known[-1] = min(known[-2], at_us), max(known[-1], at_us)

    def _id_of(self, of: Key) -> int:
        parameters = dict(zip(("tenant", *KEY), of, strict=True))
        found = self._execute(SELECT_KEY, parameters).fetchone()
        return int(self._execute(INSERT_KEY, parameters).lastrowid if found is None else found[0])

    def _settle_taken(self, key: Key, number: int) -> None:
        """Forget a sum of nothing; of what is left of another one say again when the first and the last were."""
        quarter = key[-1]
        at = {"tenant": key[0], "quarter": quarter, "key": number}
        if self._execute(DELETE_EMPTY, at).rowcount:
            return
        of = dict(zip(("tenant", *KEY), key[:-1], strict=True))
        booked = of.pop("booked")
        of |= {"from_us": quarter * QUARTER_US, "until_us": (quarter + 1) * QUARTER_US}
        first_us, last_us = self._execute(SELECT_SPAN[booked], of).fetchone()
        if first_us is not None:
            self._execute(UPDATE_SPAN, {**at, "first_us": first_us, "last_us": last_us})


def _quarter(at_us: int) -> int:
    return at_us // QUARTER_US


def _of_usage(tenant: str, row: Row) -> Key:
    get = row.get
    return (
        tenant, 0, row["client"], row["client_session"], get("session_id") or "", get("project") or "", row["model"],
        row["price_id"],
    )  # fmt: skip


def _usage_adds(row: Row) -> list[int]:
    is_final, cost, output = row["quality"] == "final", row["cost_nanos"], row["output"]
    estimated = row.get("estimated_output")
    return [
        1, 0, 0 if is_final else 1, row["fresh_input"], row["cache_read"], row["cache_write_5m"],
        row["cache_write_1h"], output, row["reasoning"], row["web_searches"], cost,
        estimated - output if estimated is not None and estimated > output else 0, cost if is_final else 0,
    ]  # fmt: skip


def _of_call(tenant: str, row: Row) -> Key:
    get = row.get
    model = get("model_used")
    price = get("actual_price_id")
    return (
        tenant, 1, "", "", row["session_id"], "", row["model_requested"] if model is None else model,
        row["price_id"] if price is None else price,
    )  # fmt: skip


def _call_adds(row: Row) -> list[int]:
    def told(name: str, otherwise: int) -> int:
        found = row.get(name)
        return otherwise if found is None else found

    return [
        0, 1, 0, told("fresh_input", row["prompt_tokens"]), told("cache_read", 0), told("cache_write_5m", 0),
        told("cache_write_1h", 0), told("output", row["completion_tokens"]), 0, 0, row["booked_nanos"], 0, 0,
    ]  # fmt: skip
