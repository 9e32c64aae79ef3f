"""What an event does to the tables: one function, whether rows are written, made again from the journal, or audited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from tallygate.core.errors import InvariantBroken, ensure

KEYS: dict[str, tuple[str, ...]] = {
    "session": ("session_id",),
    "budget": ("budget_id",),
    "session_budget": ("session_id", "budget_id"),
    "price": ("price_id",),
    "call": ("call_id",),
    "usage": ("client", "response_key"),
    "usage_anomaly": ("client", "response_key", "kind"),
    "client_session": ("client", "client_session", "session_id"),
    "bill": ("bill_id",),
    "bill_line": ("bill_id", "number", "part"),
    "calibration_sample": ("call_id",),
    "calibration_start": ("client", "model"),
    "calibration_factor": ("model",),
    "limit_change": ("budget_id", "at_us"),
    "price_list": ("list_id",),
    "call_anomaly": ("session_id", "call_id", "kind"),
    "worktree": ("top",),
    "loop": ("session_id", "at_us"),
}

Row = Mapping[str, Any]
# An operation on a row as an event states it: "+", "~" or "-", the table, and the columns.
Stated = Sequence[Any]


class Tables(Protocol):
    """The projection tables, wherever they are kept."""

    def insert(self, tenant: str, table: str, row: Row) -> None:
        """Take a row that must not be there."""

    def update(self, tenant: str, table: str, row: Row) -> None:
        """Take columns of a row that must be there."""

    def delete(self, tenant: str, table: str, row: Row) -> None:
        """Forget a row that must be there."""

    def settle(self) -> None:
        """Take in what one event has brought."""

    def fault(self, what: str) -> None:
        """Hear what no table can take."""


def apply(tenant: str, stated: Iterable[Stated], tables: Tables) -> None:
    """Do to the tables what one event states, in its order."""
    for op, table, row in stated:
        # A table or an operation that is not known comes from a newer program, or from somebody's hand: either is told
        # of, never passed over.
        if table not in KEYS:
            tables.fault(f"table {table!r}")
        elif op == "~":
            tables.update(tenant, table, row)
        elif op == "+":
            tables.insert(tenant, table, row)
        elif op == "-":
            tables.delete(tenant, table, row)
        else:
            tables.fault(f"{op!r} of a row of {table}")
    tables.settle()


# --- tables of a database --------------------------------------------------------------------------------------------
# Rows written through any database that takes `:named` parameters and `?` marks.


Execute = Callable[[str, dict[str, Any]], Any]
ExecuteMany = Callable[[str, Iterable[tuple[Any, ...]]], Any]
_SQL: dict[tuple[str, str, tuple[str, ...]], str] = {}


class SqlTables:
    """The tables as they are in a database.

    `columns` are those of each table, the tenant first: what an event names beyond them never becomes SQL.
    """

    def __init__(self, execute: Execute, execute_many: ExecuteMany, columns: Mapping[str, Sequence[str]]) -> None:
        self._execute = execute
        self._execute_many = execute_many
        self._columns = columns
        # Neighbours of one table are one statement, which is what makes a large import quick.
        self._table = ""
        self._waiting: list[tuple[Any, ...]] = []

    def insert(self, tenant: str, table: str, row: Row) -> None:
        """Keep a row, with every column that it does not name as null, until one of another table comes."""
        if table != self._table:
            if self._waiting:
                self.settle()
            self._table = table
        names = self._columns[table]
        values = (tenant, *map(row.get, names[1:]))
        # As many values as columns are named, or one of them is none of the table's and would be lost.
        if len(row) != len(names) - 1 - values.count(None):
            ensure(row.keys() <= frozenset(names), f"a row of {table} has other columns than {', '.join(names)}")
        self._waiting.append(values)

    def update(self, tenant: str, table: str, row: Row) -> None:
        """Write columns of exactly one row."""
        self._one("~", tenant, table, row)

    def delete(self, tenant: str, table: str, row: Row) -> None:
        """Delete exactly one row."""
        self._one("-", tenant, table, row)

    def settle(self) -> None:
        """Write the rows that wait."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            named = ("+", self._table, tuple(self._columns[self._table]))
            self._execute_many(_SQL.get(named) or self._made(*named), waiting)

    def fault(self, what: str) -> None:
        """Refuse what no table can take."""
        ensure(False, f"an event names {what}")

    def _one(self, op: str, tenant: str, table: str, row: Row) -> None:
        if self._waiting:
            self.settle()
        named = (op, table, tuple(row))
        met = self._execute(_SQL.get(named) or self._made(*named), {"tenant": tenant, **row}).rowcount
        if met != 1:
            raise InvariantBroken(f"a change of {table} met {met} rows, not one")

    def _made(self, op: str, table: str, names: tuple[str, ...]) -> str:
        """The statement of an operation on some columns of a table, made once."""
        # Names go into the statement as they are: only those of our own columns may.
        ensure(set(names) <= set(self._columns[table]), f"{table} has not all of the columns {', '.join(names)}")
        where = "tenant = :tenant AND " + " AND ".join(f"{name} = :{name}" for name in KEYS[table])
        if op == "+":
            sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        elif op == "~":
            assigned = ", ".join(f"{name} = :{name}" for name in names if name not in KEYS[table])
            sql = f"UPDATE {table} SET {assigned} WHERE {where}"
        else:
            ensure(set(names) == set(KEYS[table]), f"a row of {table} is deleted by its key")
            sql = f"DELETE FROM {table} WHERE {where}"
        _SQL[op, table, names] = sql
        return sql


# --- amounts ---------------------------------------------------------------------------------------------------------
# What rows add to the counters of budgets.


Parts = list[tuple[str, int, int]]


def call_parts(call: Mapping[str, Any], read: Callable[[str], Any]) -> Parts:
    """What a call adds to its budgets: budget id, spent, reserved.

    `read` parses its `holds`: budget id, amount held and, where it is another than the call's, amount booked.
    """
    pending = call["state"] == "pending"
    return [
        (str(budget_id), int(booked[0] if booked else call["booked_nanos"]), int(amount) if pending else 0)
        for budget_id, amount, *booked in read(call["holds"])
    ]


def usage_parts(response: Mapping[str, Any], read: Callable[[str], Any]) -> Parts:
    """What a response adds to its budgets: budget id, spent, nothing reserved.

    `read` parses its `charges`: budget ids, each with its amount where that is another than the response's cost.
    """
    entries = read(response.get("charges") or "[]")
    cost = response["cost_nanos"]
    return [(entry, int(cost), 0) if isinstance(entry, str) else (str(entry[0]), int(entry[1]), 0) for entry in entries]
