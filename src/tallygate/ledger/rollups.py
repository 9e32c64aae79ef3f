"""What responses and booked calls come to by quarter of an hour: kept as they are written, so that reports never scan.

A quarter of an hour is the longest span of which the days of every zone are made. What is asked beyond whole quarters
is read from the rows themselves. All of it follows from `usage` and `call`; no event states it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tallygate.core.attribution import SERVED_MAX
from tallygate.ledger import day_shares
from tallygate.ledger.day_shares import QUARTER_US, DayShares
from tallygate.ledger.events import Row, SqlTables
from tallygate.ledger.rows import Execute, ExecuteMany, served_in

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
    "1", "0", "CASE WHEN quality <> 'final' THEN 1 ELSE 0 END", "fresh_input", "cache_read",
    "cache_write_5m", "cache_write_1h", "output", "reasoning", "web_searches", "cost_nanos",
    "CASE WHEN estimated_output > output THEN estimated_output - output ELSE 0 END",
    "CASE WHEN quality = 'final' THEN cost_nanos ELSE 0 END",
)  # fmt: skip
_CALL_ADDS = (
    "0", "1", "0", "COALESCE(fresh_input, prompt_tokens)", "COALESCE(cache_read, 0)", "COALESCE(cache_write_5m, 0)",
    "COALESCE(cache_write_1h, 0)", "COALESCE(output, completion_tokens)", "0", "0", "booked_nanos", "0", "0",
)  # fmt: skip
# The same of shares: whom it was made for, and whether its count is final. A response is shared out among the tools
# that it served, in equal parts; what cannot be divided goes to the first ones, as `core.attribution.shares` has it.
DETAIL = ("subagent", "agent", "skill", "branch", "final", "server", "tool")
SHARES = (
    "responses", "served", "calls", "fresh_input", "cache_read", "cache_write_5m", "cache_write_1h", "output",
    "reasoning", "web_searches", "cost_nanos", "missing_output",
)  # fmt: skip
_TOLD = "CASE WHEN tools > 0 THEN COALESCE(json_extract(served, '$[' || j.place || '][{}]'), '') ELSE '' END"
_OF_SHARE = (
    "CASE WHEN agent_id IS NOT NULL OR agent_type IS NOT NULL THEN 1 ELSE 0 END", "COALESCE(agent_type, '')",
    "COALESCE(skill, '')", "COALESCE(branch, '')", "CASE WHEN quality = 'final' THEN 1 ELSE 0 END", _TOLD.format(0),
    _TOLD.format(1),
)  # fmt: skip
_OF_CALL_SHARE = (
    "CASE WHEN actor_type = 'subagent' THEN 1 ELSE 0 END",
    "CASE WHEN actor_type = 'subagent' THEN COALESCE(actor_name, actor_id, '') ELSE '' END",
    "''", "''", "1", "''", "tool_name",
)  # fmt: skip
_SHARED = "{0} / n + CASE WHEN j.place < {0} % n THEN 1 ELSE 0 END"
_USAGE_SHARES = (
    "CASE WHEN j.place = 0 THEN 1 ELSE 0 END", "CASE WHEN tools > 0 THEN 1 ELSE 0 END", "0",
    *map(_SHARED.format, _USAGE_ADDS[3:11]),
    _SHARED.format(f"({_USAGE_ADDS[11]})"),
)  # fmt: skip
_CALL_SHARES = ("0", "0", "1", *_CALL_ADDS[3:12])
# What somebody wrote there by hand breaks no report. Whoever verifies a stranger's file lets no table be made of a
# text, so the places in it are counted.
_SERVED = "CASE WHEN json_valid(served) THEN served END"
_PLACES = " UNION ALL SELECT ".join(["SELECT 0 AS place", *map(str, range(1, SERVED_MAX))])
_APART = (
    f"(SELECT *, CASE WHEN tools < 1 THEN 1 WHEN tools > {SERVED_MAX} THEN {SERVED_MAX} ELSE tools END AS n FROM"
    f" (SELECT *, COALESCE(json_array_length({_SERVED}), 0) AS tools FROM usage WHERE {{}}) t) u"
    f" CROSS JOIN ({_PLACES}) j ON j.place < u.n"
)
# What of a row its sum rests on: the hold of a call that waits changes with each response, and adds nothing.
_COUNTED = {
    "usage": frozenset(
        {"client_session", "session_id", "project", "model", "price_id", "at_us", "quality", "estimated_output",
         "cost_nanos", "fresh_input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning",
         "web_searches", "agent_id", "agent_type", "skill", "branch", "served"}
    ),
    "call": frozenset(
        {"booked_nanos", "cost_basis", "model_used", "actual_price_id", "fresh_input", "cache_read", "cache_write_5m",
         "cache_write_1h", "output"}
    ),
}  # fmt: skip

_IS_KEY = " AND ".join(f"{name} = :{name}" for name in KEY)
_IS_SHARE = " AND ".join(f"{name} = :{name}" for name in DETAIL)


class _Kind(NamedTuple):
    """Sums or shares: the tables they stand in, and how rows make them."""

    table: str
    names: str  # of what they are of, without what the sums themselves name already
    of: tuple[str, ...]
    sums: tuple[str, ...]
    fresh: tuple[str, str]


def _fresh(source: str, of: Sequence[str], sums: Sequence[str], adds: Sequence[str], where: str) -> str:
    """What rows come to by quarter and by what they are of, as a statement; the tenant stands first."""
    names = KEY if len(of) == len(KEY) else (*KEY, *DETAIL)
    keys = ", ".join(f"{column} AS {name}" for name, column in zip(names, of, strict=True))
    added = ", ".join(f"SUM({column}) AS {name}" for name, column in zip(sums, adds, strict=True))
    return (
        f"SELECT tenant, {_QUARTER} AS quarter, {keys}, {added}, MIN(at_us) AS first_us, MAX(at_us) AS last_us"
        f" FROM {source}{where} GROUP BY {', '.join(str(2 + number) for number in range(len(of) + 1))}, 1"
    )


_WHERE_CALL = f" WHERE {_BOOKED} AND {{call}}"
_SUM = _Kind(
    "rollup",
    "rollup_key",
    KEY,
    SUMS,
    (
        _fresh("usage", _OF_USAGE, SUMS, _USAGE_ADDS, " WHERE {usage}"),
        _fresh("call", _OF_CALL, SUMS, _CALL_ADDS, _WHERE_CALL),
    ),
)
_SHARE = _Kind(
    "share",
    "share_key",
    ("key", *DETAIL),
    SHARES,
    (
        _fresh(_APART.format("{usage}"), (*_OF_USAGE, *_OF_SHARE), SHARES, _USAGE_SHARES, ""),
        _fresh("call", (*_OF_CALL, *_OF_CALL_SHARE), SHARES, _CALL_SHARES, _WHERE_CALL),
    ),
)


def _upsert(kind: _Kind, values: str) -> str:
    columns = ("tenant", "quarter", "key", *kind.sums, *_SPAN)
    grown = ", ".join(f"{name} = {kind.table}.{name} + excluded.{name}" for name in kind.sums)
    first, last = (f"{kind.table}.{name}" for name in _SPAN)
    return (
        f"INSERT INTO {kind.table} ({', '.join(columns)}) {values} ON CONFLICT (tenant, quarter, key) DO UPDATE SET"
        f" {grown}, first_us = CASE WHEN excluded.first_us < {first} THEN excluded.first_us ELSE {first} END,"
        f" last_us = CASE WHEN excluded.last_us > {last} THEN excluded.last_us ELSE {last} END"
    )


_AT = "tenant = :tenant AND quarter = :quarter AND key = :key"
_NONE_LEFT = {"rollup": "responses = 0 AND calls = 0", "share": "responses = 0 AND served = 0 AND calls = 0"}
SELECT_STATE = "SELECT whole, usage_upto, call_upto, days_upto FROM rollup_state"
# Rows that come later would lie within what is held to be added up, and be in no sum.
SELECT_BEYOND = (
    "SELECT 1 FROM rollup_state WHERE whole = 0 AND (usage_upto > (SELECT COALESCE(MAX(id), 0) FROM usage)"
    " OR call_upto > (SELECT COALESCE(MAX(rowid), 0) FROM call))"
)
SELECT_REACH = "SELECT MAX({id}) FROM (SELECT {id} FROM {table} WHERE {id} > :upto ORDER BY {id} LIMIT :rows) r"
UPDATE_STATE = "UPDATE rollup_state SET usage_upto = :usage, call_upto = :call, whole = :whole"
# One that is gone may give its number to the next: how far it is done never lies beyond what there is.
LOWER_STATE = (
    "UPDATE rollup_state SET usage_upto = MIN(usage_upto, (SELECT COALESCE(MAX(id), 0) FROM usage)) WHERE whole = 0"
)


# --- made ------------------------------------------------------------------------------------------------------------
# Of the rows of a ledger of before, in steps; and as they must be, to be held against what is there.


def _steps(kind: _Kind, fresh: str) -> tuple[str, str]:
    """The names of some sums, and the sums themselves, as statements that write them."""
    values = ", ".join(f"f.{name}" for name in (*kind.sums, *_SPAN))
    same = " AND ".join(f"k.{name} = f.{name}" for name in ("tenant", *KEY))
    columns, of = ", ".join(("tenant", *kind.of)), ", ".join(f"f.{name}" for name in kind.of if name != "key")
    if kind is _SUM:
        names = f"SELECT tenant, {', '.join(KEY)} FROM ({fresh}) f"
        sums = f"SELECT f.tenant, f.quarter, k.id, {values} FROM ({fresh}) f CROSS JOIN rollup_key k WHERE {same}"
    else:
        joined = f"FROM ({fresh}) f CROSS JOIN rollup_key k"
        names = f"SELECT f.tenant, k.id, {of} {joined} WHERE {same}"
        detail = " AND ".join(f"d.{name} = f.{name}" for name in DETAIL)
        sums = (
            f"SELECT f.tenant, f.quarter, d.id, {values} {joined} CROSS JOIN share_key d WHERE {same}"
            f" AND d.tenant = f.tenant AND d.key = k.id AND {detail}"
        )
    return f"INSERT OR IGNORE INTO {kind.names} ({columns}) {names}", _upsert(kind, sums)


def add_up(execute: Execute, rows: int, at_us: int) -> bool:
    """Add up some more rows that were there before their sums, then days; whether that is all as of a time.

    Inside a write transaction.
    """
    whole, *upto, _ = execute(SELECT_STATE, {}).fetchone()
    if whole:
        return day_shares.add_up_days(execute, at_us, rows)
    reached = []
    for place, (table, number) in enumerate((("usage", "id"), ("call", "rowid"))):
        since = upto[place]
        row = execute(SELECT_REACH.format(id=number, table=table), {"upto": since, "rows": rows}).fetchone()
        until = row[0]
        reached.append(until)
        if until is not None:
            for kind in (_SUM, _SHARE):
                fresh = kind.fresh[place].format(**{table: f"{number} > :since AND {number} <= :until"})
                for sql in _steps(kind, fresh):
                    execute(sql, {"since": since, "until": until})
    now = [since if until is None else until for since, until in zip(upto, reached, strict=True)]
    is_whole = reached == [None, None]
    execute(UPDATE_STATE, {"usage": now[0], "call": now[1], "whole": int(is_whole)})
    return is_whole and day_shares.step_of(execute, at_us, rows) is None


def begin_anew(execute: Execute) -> None:
    """Forget all sums: they are added up from the rows again."""
    for table in ("day_share", "day_key", "share", "share_key", "rollup", "rollup_key"):
        execute(f"DELETE FROM {table}", {})
    execute(day_shares.UPDATE_UPTO, {"upto": day_shares.NO_DAY})
    execute(UPDATE_STATE, {"usage": 0, "call": 0, "whole": 0})


_KEPT = {
    "rollup": f"SELECT r.tenant, r.quarter, {', '.join(f'k.{name}' for name in KEY)},"
    f" {', '.join(f'r.{name}' for name in (*SUMS, *_SPAN))} FROM rollup r LEFT JOIN rollup_key k"
    " ON k.id = r.key AND k.tenant = r.tenant",
    "share": f"SELECT r.tenant, r.quarter, {', '.join(f'k.{name}' for name in KEY)},"
    f" {', '.join(f'd.{name}' for name in DETAIL)}, {', '.join(f'r.{name}' for name in (*SHARES, *_SPAN))}"
    " FROM share r LEFT JOIN share_key d ON d.id = r.key AND d.tenant = r.tenant"
    " LEFT JOIN rollup_key k ON k.id = d.key AND k.tenant = d.tenant",
}


class SumsHeld(NamedTuple):
    """Two statements: sums that rows make and that are not there, and sums that are there and no rows make.

    `of` names what they are of, `sums` what they come to, in the order of their columns behind tenant and quarter.
    """

    table: str
    of: tuple[str, ...]
    sums: tuple[str, ...]
    lacking: str
    beyond: str


def checks(whole: bool, usage_upto: int, call_upto: int, days_upto: int) -> list[SumsHeld]:
    """What holds all sums against the rows that they are of, as far as these are added up."""
    lacking, beyond = day_shares.checks(days_upto)
    found = [SumsHeld("day_share", day_shares.KEY, (*day_shares.SUMS, *_SPAN), lacking, beyond)]
    for kind in (_SUM, _SHARE):
        fresh = " UNION ALL ".join(
            sql.format(
                usage="1 = 1" if whole else f"id <= {usage_upto}", call="1 = 1" if whole else f"rowid <= {call_upto}"
            )
            for sql in kind.fresh
        )
        kept = _KEPT[kind.table]
        of = KEY if kind is _SUM else (*KEY, *DETAIL)
        lacking, beyond = f"SELECT * FROM ({fresh}) f EXCEPT {kept}", f"{kept} EXCEPT SELECT * FROM ({fresh}) f"
        found.append(SumsHeld(kind.table, of, (*kind.sums, *_SPAN), lacking, beyond))
    return found[::-1]


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
_SHARED_COLUMNS = ", ".join(
    [*(f"k.{name}" for name in KEY), *(f"d.{name}" for name in DETAIL), *(f"r.{name}" for name in (*SHARES, *_SPAN))]
)
# Shares of whole quarters, and those of a span as its rows make them, in the same columns.
SHARED = (
    f"SELECT {_SHARED_COLUMNS} FROM (SELECT key, {', '.join(f'SUM({name}) AS {name}' for name in SHARES)},"
    " MIN(first_us) AS first_us, MAX(last_us) AS last_us FROM share WHERE tenant = :tenant AND quarter >= :first"
    " AND quarter < :end GROUP BY key) r CROSS JOIN share_key d ON d.id = r.key CROSS JOIN rollup_key k ON k.id = d.key"
    " WHERE k.tenant = :tenant"
)
_BETWEEN = "tenant = :tenant AND at_us >= :from_us AND at_us < :until_us"
SHARED_BETWEEN = " UNION ALL ".join(
    f"SELECT {', '.join((*KEY, *DETAIL, *SHARES, *_SPAN))} FROM ({sql.format(usage=_BETWEEN, call=_BETWEEN)}) f"
    for sql in _SHARE.fresh
)


# --- kept ------------------------------------------------------------------------------------------------------------
# While rows are written: what each of them adds, and what it added before.


Key = tuple[Any, ...]
_BEFORE_ROW = {
    "usage": (
        "SELECT id, client, client_session, session_id, project, model, price_id, at_us, quality, fresh_input,"
        " cache_read, cache_write_5m, cache_write_1h, output, reasoning, web_searches, cost_nanos, estimated_output,"
        " agent_id, agent_type, skill, branch, served"
        " FROM usage WHERE tenant = :tenant AND client = :client AND response_key = :response_key"
    ),
    "call": (
        "SELECT rowid, session_id, model_used, model_requested, actual_price_id, price_id, at_us, cost_basis,"
        " fresh_input, prompt_tokens, cache_read, cache_write_5m, cache_write_1h, output, completion_tokens,"
        " booked_nanos, actor_type, actor_name, actor_id, tool_name"
        " FROM call WHERE tenant = :tenant AND call_id = :call_id"
    ),
}
_NAMES = {
    table: tuple(each.strip() for each in sql.partition(" FROM ")[0].removeprefix("SELECT ").split(","))
    for table, sql in _BEFORE_ROW.items()
}
_IDENTITY = {"usage": ("client", "response_key"), "call": ("call_id",)}
_WITHIN = "tenant = :tenant AND at_us >= :from_us AND at_us < :until_us"
# When the first and the last was of what is left of a sum.
_SPAN_OF = (
    "SELECT MIN(first_us), MAX(last_us) FROM ({fresh}) f WHERE tenant = :tenant AND quarter = :quarter AND {same}"
)
SELECT_SPAN = {
    (kind.table, place): _SPAN_OF.format(
        fresh=kind.fresh[place].format(usage=_WITHIN, call=_WITHIN),
        same=_IS_KEY if kind is _SUM else f"{_IS_KEY} AND {_IS_SHARE}",
    )
    for kind in (_SUM, _SHARE)
    for place in (0, 1)
}


class RolledTables(SqlTables):
    """The tables of a database with the sums of what is written into them: one statement a sum and event."""

    def __init__(self, execute: Execute, execute_many: ExecuteMany, columns: Mapping[str, Sequence[str]]) -> None:
        super().__init__(execute, execute_many, columns)
        # By what the sums and the shares are of together: most responses serve one tool or none.
        self._added: dict[Key, list[int]] = {}
        # What each tool of several has, which no sum of theirs tells.
        self._apart: dict[Key, list[list[int]]] = {}
        self._taken: set[Key] = set()
        # Of these what was taken is not in the sum of another session, quarter or quality of that day either.
        self._left: set[Key] = set()
        self._state: tuple[bool, int, int] | None = None
        self._days, self._days_upto = DayShares(execute, execute_many), day_shares.NO_DAY

    def insert(self, tenant: str, table: str, row: Row) -> None:
        """Keep a row, and count what it adds."""
        super().insert(tenant, table, row)
        if table == "usage":
            if self._is_whole():
                self._add(_of_usage(tenant, row), _usage_adds(row), row["at_us"], 1)
        elif table == "call" and row["cost_basis"] in _BOOKED_BASES and self._is_whole():
            self._add(_of_call(tenant, row), _call_adds(row), row["at_us"], 1)

    def update(self, tenant: str, table: str, row: Row) -> None:
        """Write columns of a row, and count what that changes."""
        if table not in _COUNTED or _COUNTED[table].isdisjoint(row):
            super().update(tenant, table, row)
            return
        before = self._before(tenant, table, row)
        super().update(tenant, table, row)
        if before is not None:
            after = {**before, **row}
            was, now = self._count(tenant, table, before, -1), self._count(tenant, table, after, 1)
            # What stays where it was, only with other amounts, leaves the times of its sum as they are.
            if was is not None and (was != now or before["at_us"] != after["at_us"]):
                self._taken.add(was)
                if now is None or before["at_us"] != after["at_us"] or _of_day(was) != _of_day(now):
                    self._left.add(was)

    def delete(self, tenant: str, table: str, row: Row) -> None:
        """Delete a row, and count it no more."""
        before = self._before(tenant, table, row) if table in _BEFORE_ROW else None
        super().delete(tenant, table, row)
        if table == "usage" and not self._is_whole():
            self._execute(LOWER_STATE, {})
            self._state = None
        if before is not None and (key := self._count(tenant, table, before, -1)) is not None:
            self._taken.add(key)
            self._left.add(key)

    def write_sums(self) -> None:
        """Write what the rows of an event have added and taken."""
        if not self._added:
            return
        added, apart, taken, left = self._added, self._apart, self._taken, self._left
        self._added, self._apart, self._taken, self._left = {}, {}, set(), set()
        sums: dict[Key, list[int]] = {}
        shares: dict[Key, list[int]] = {}
        for key, counted in added.items():
            _join(sums, key[:_DETAIL_AT], counted)
            for name, share in _shares_of(key, counted, apart.get(key)):
                _join(shares, name, share)
        ids: dict[Key, int] = {}
        for key in sums:
            if (of := key[:-1]) not in ids:
                ids[of] = self._id_of("rollup_key", KEY, of)
        for key in shares:
            if (of := key[: _DETAIL_AT - 1] + key[_DETAIL_AT:]) not in ids:
                ids[of] = self._id_of(
                    "share_key", ("key", *DETAIL), (of[0], ids[key[: _DETAIL_AT - 1]], *key[_DETAIL_AT:])
                )
        self._execute_many(UPSERT_SUM, [(key[0], key[-1], ids[key[:-1]], *each) for key, each in sums.items()])
        named = {key: ids[key[: _DETAIL_AT - 1] + key[_DETAIL_AT:]] for key in shares}
        self._execute_many(
            UPSERT_SHARE, [(key[0], key[_DETAIL_AT - 1], named[key], *each) for key, each in shares.items()]
        )
        if taken:
            for sum_of in {key[:_DETAIL_AT] for key in taken}:
                self._settle_taken(_SUM, sum_of, ids[sum_of[:-1]])
            for share_of in {name for key in taken for name, _ in _shares_of(key, added[key], apart.get(key))}:
                self._settle_taken(_SHARE, share_of, named[share_of])
        gone = [name for key in left for name, _ in _shares_of(key, added[key], apart.get(key))]
        self._days.write(shares, gone, self._days_upto)

    def _is_whole(self) -> bool:
        return (self._state or self._read_state())[0]

    def _read_state(self) -> tuple[bool, int, int]:
        whole, usage_upto, call_upto, self._days_upto = self._execute(SELECT_STATE, {}).fetchone()
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

    def _count(self, tenant: str, table: str, row: Row, sign: int) -> Key | None:
        """Count what a row adds or has added; None where it adds nothing."""
        if table == "usage":
            return self._add(_of_usage(tenant, row), _usage_adds(row), row["at_us"], sign)
        if row["cost_basis"] in _BOOKED_BASES:
            return self._add(_of_call(tenant, row), _call_adds(row), row["at_us"], sign)
        return None

    def _add(self, key: Key, adds: Sequence[int], at_us: int, sign: int) -> Key:
        known = self._added.get(key)
        if known is None:
            known = self._added[key] = [*adds, at_us, at_us] if sign > 0 else [*(-each for each in adds), at_us, at_us]
        else:
            for number, each in enumerate(adds):
                if each:
                    known[number] += sign * each
            known[-2], known[-1] = min(known[-2], at_us), max(known[-1], at_us)
        if len(served := key[-1]) > 1:
            parts = self._apart.setdefault(key, [[0] * len(_SHARED_SUMS) for _ in served])
            for place, number in enumerate(_SHARED_SUMS):
                each, left = divmod(adds[number], len(served))
                for one, part in enumerate(parts):
                    part[place] += sign * (each + (one < left))
        return key

    def _id_of(self, table: str, names: Sequence[str], of: Key) -> int:
        parameters = dict(zip(("tenant", *names), of, strict=True))
        found = self._execute(SELECT_ID[table], parameters).fetchone()
        return int(self._execute(INSERT_ID[table], parameters).lastrowid if found is None else found[0])

    def _settle_taken(self, kind: _Kind, key: Key, number: int) -> None:
        """Forget a sum of nothing; of what is left of another one say again when the first and the last were."""
        quarter = key[_DETAIL_AT - 1]
        at = {"tenant": key[0], "quarter": quarter, "key": number}
        if self._execute(f"DELETE FROM {kind.table} WHERE {_AT} AND {_NONE_LEFT[kind.table]}", at).rowcount:
            return
        of = dict(zip(("tenant", *KEY, "quarter", *DETAIL), key, strict=False))
        of |= {"from_us": quarter * QUARTER_US, "until_us": (quarter + 1) * QUARTER_US}
        first_us, last_us = self._execute(SELECT_SPAN[kind.table, of["booked"]], of).fetchone()
        if first_us is not None:
            span = {"first_us": first_us, "last_us": last_us}
            self._execute(f"UPDATE {kind.table} SET first_us = :first_us, last_us = :last_us WHERE {_AT}", at | span)


UPSERT_SUM = _upsert(_SUM, f"VALUES ({', '.join('?' * (len(SUMS) + 5))})")
UPSERT_SHARE = _upsert(_SHARE, f"VALUES ({', '.join('?' * (len(SHARES) + 5))})")
SELECT_ID = {
    "rollup_key": f"SELECT id FROM rollup_key WHERE tenant = :tenant AND {_IS_KEY}",
    "share_key": f"SELECT id FROM share_key WHERE tenant = :tenant AND key = :key AND {_IS_SHARE}",
}
INSERT_ID = {
    table: f"INSERT INTO {table} ({', '.join(('tenant', *names))})"
    f" VALUES ({', '.join(f':{name}' for name in ('tenant', *names))})"
    for table, names in (("rollup_key", KEY), ("share_key", ("key", *DETAIL)))
}
# A key: tenant, what the sum is of, its quarter; behind these what the share is of, but for its tool, and all tools.
_DETAIL_AT = 1 + len(KEY) + 1
# Where in the sums those stand that are shared out.
_SHARED_SUMS = tuple(SUMS.index(name) for name in SHARES[3:])
_NO_TOOL = (("", ""),)


def _join(sums: dict[Key, list[int]], key: Key, more: Sequence[int]) -> None:
    known = sums.get(key)
    if known is None:
        sums[key] = [*more]
        return
    first_us, last_us = min(known[-2], more[-2]), max(known[-1], more[-1])
    for number, each in enumerate(more):
        known[number] += each
    known[-2], known[-1] = first_us, last_us


def _shares_of(key: Key, counted: Sequence[int], apart: list[list[int]] | None) -> Iterator[tuple[Key, list[int]]]:
    """What was counted as the share of each tool; each response counts where the first one is."""
    of, served, responses, calls = key[:-1], key[-1], counted[0], counted[1]
    span = [counted[-2], counted[-1]]
    is_call = key[1]
    for number, tool in enumerate(served or _NO_TOOL):
        shared = [counted[each] for each in _SHARED_SUMS] if apart is None else apart[number]
        times = responses if served and not is_call else 0
        yield (*of, *tool), [0 if number else responses, times, calls, *shared, *span]


def _of_usage(tenant: str, row: Row) -> Key:
    """What a response is counted under."""
    get = row.get
    kind, served = get("agent_type"), get("served")
    return (
        tenant, 0, row["client"], row["client_session"], get("session_id") or "", get("project") or "", row["model"],
        row["price_id"], row["at_us"] // QUARTER_US,
        int(kind is not None or get("agent_id") is not None), kind or "", get("skill") or "", get("branch") or "",
        int(row["quality"] == "final"), () if served is None else _tools(served),
    )  # fmt: skip


def _of_day(key: Key) -> Key:
    """What makes a response part of the sums of its day: but for its client's session, its quarter and its quality."""
    at = _DETAIL_AT
    return (*key[:3], *key[4 : at - 1], key[at - 1] // day_shares.QUARTERS_A_DAY, *key[at : at + 4], key[-1])


def _tools(served: str) -> tuple[tuple[str, str], ...]:
    return tuple([(server or "", tool) for server, tool in served_in(served)])


def _usage_adds(row: Row) -> list[int]:
    """What a response adds to its sum."""
    is_final, cost, output = row["quality"] == "final", row["cost_nanos"], row["output"]
    estimated = row.get("estimated_output")
    return [
        1, 0, 0 if is_final else 1, row["fresh_input"], row["cache_read"], row["cache_write_5m"],
        row["cache_write_1h"], output, row["reasoning"], row["web_searches"], cost,
        estimated - output if estimated is not None and estimated > output else 0, cost if is_final else 0,
    ]  # fmt: skip


def _of_call(tenant: str, row: Row) -> Key:
    """What a booked call is counted under."""
    get = row.get
    model, price, is_sub = get("model_used"), get("actual_price_id"), row["actor_type"] == "subagent"
    name = get("actor_name")
    return (
        tenant, 1, "", "", row["session_id"], "", row["model_requested"] if model is None else model,
        row["price_id"] if price is None else price, row["at_us"] // QUARTER_US,
        int(is_sub), ((get("actor_id") or "") if name is None else name) if is_sub else "", "", "", 1,
        (("", row["tool_name"]),),
    )  # fmt: skip


def _call_adds(row: Row) -> list[int]:
    """What a booked call adds to its sum."""

    def told(name: str, otherwise: int) -> int:
        found = row.get(name)
        return otherwise if found is None else found

    return [
        0, 1, 0, told("fresh_input", row["prompt_tokens"]), told("cache_read", 0), told("cache_write_5m", 0),
        told("cache_write_1h", 0), told("output", row["completion_tokens"]), 0, 0, row["booked_nanos"], 0, 0,
    ]  # fmt: skip
