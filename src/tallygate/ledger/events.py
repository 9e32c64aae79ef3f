"""The tables as the events say they must be: what an audit holds against the tables as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
}

Key = tuple[str, ...]
_CHANGED = {"~": "updated", "-": "deleted"}


class Fold:
    """Rows of the projection tables, built from event bodies alone.

    A subclass may keep rows elsewhere, so that memory does not grow with the journal: it takes back what an event
    asks for in `recalled`.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[Key, dict[str, Any]]] = {name: {} for name in KEYS}
        self.faults: list[str] = []

    def apply(self, body: Mapping[str, Any]) -> None:
        """Take one event: every row it inserts must be new, every row it updates or deletes must be there."""
        tenant = str(body["tenant"])
        for op, table, row in body["rows"]:
            if (names := KEYS.get(table)) is None:
                self.faults.append(f"event at {body['at_us']} names table {table!r}")
                continue
            key: Key = (tenant, str(row[names[0]]))
            if len(names) > 1:
                key = (tenant, *[str(row[name]) for name in names])
            known = self.tables[table]
            if op == "+":
                if key in known:
                    self.faults.append(inserted_twice(table, key))
                known[key] = _merge({"tenant": tenant}, row)
                continue
            found = known.get(key)
            if found is None and (found := self.recalled(table, key)) is None:
                self.faults.append(f"{table} {'/'.join(key[1:])} is {_CHANGED.get(op, op)} before it is inserted")
            elif op == "-":
                del known[key]
                self.deleted(table, key)
            else:
                _merge(found, row)

    def recalled(self, table: str, key: Key) -> dict[str, Any] | None:
        """The row that is not in `tables` and yet known, put back there; None where no event has inserted it."""
        return self.tables[table].get(key)

    def deleted(self, table: str, key: Key) -> None:
        """Hear that a row is gone from `tables`."""


def inserted_twice(table: str, key: Key) -> str:
    """What is wrong with an event that inserts a row that is there."""
    return f"{table} {'/'.join(key[1:])} is inserted twice"


def _merge(known: dict[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    known.update(row)
    if None in row.values():
        for name in [name for name, value in row.items() if value is None]:
            del known[name]
    return known


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
