"""The tables as the events say they must be: what an audit holds against the tables as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEYS: dict[str, tuple[str, ...]] = {
    "session": ("session_id",),
    "budget": ("budget_id",),
    "session_budget": ("session_id", "budget_id"),
    "price": ("price_id",),
    "call": ("call_id",),
    "usage": ("client", "response_key"),
    "client_session": ("client", "client_session", "session_id"),
}

Key = tuple[str, ...]
_CHANGED = {"~": "updated", "-": "deleted"}


class Fold:
    """Rows of the projection tables, built from event bodies alone."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Key, dict[str, Any]]] = {name: {} for name in KEYS}
        self.faults: list[str] = []

    def apply(self, body: Mapping[str, Any]) -> None:
        """Take one event: every row it inserts must be new, every row it updates or deletes must be there."""
        tenant = str(body["tenant"])
        for op, table, row in body["rows"]:
            if table not in KEYS:
                self.faults.append(f"event at {body['at_us']} names table {table!r}")
                continue
            key = (tenant, *(str(row[name]) for name in KEYS[table]))
            known = self.tables[table]
            if op == "+":
                if key in known:
                    self.faults.append(f"{table} {'/'.join(key[1:])} is inserted twice")
                known[key] = {"tenant": tenant, **{name: value for name, value in row.items() if value is not None}}
            elif key not in known:
                self.faults.append(f"{table} {'/'.join(key[1:])} is {_CHANGED.get(op, op)} before it is inserted")
            elif op == "-":
                del known[key]
            else:
                _merge(known[key], row)


def _merge(known: dict[str, Any], row: Mapping[str, Any]) -> None:
    for name, value in row.items():
        if value is None:
            known.pop(name, None)
        else:
            known[name] = value


def budget_sums(
    calls: Mapping[Key, Mapping[str, Any]], usage: Mapping[Key, Mapping[str, Any]], read: Any
) -> dict[Key, tuple[int, int]]:
    """What each budget's calls and responses add up to: (spent, reserved), by tenant and budget id.

    `read` parses a call's `holds` (budget id, amount held and, where it is another than the call's, amount booked)
    and a response's `charges` (budget ids, each with its amount where that is another than the response's cost).
    """
    sums: dict[Key, tuple[int, int]] = {}
    for (tenant, *_), call in calls.items():
        for budget_id, amount, *booked in read(call["holds"]):
            spent, reserved = sums.get((tenant, budget_id), (0, 0))
            pending = call["state"] == "pending"
            sums[tenant, budget_id] = (
                spent + int(booked[0] if booked else call["booked_nanos"]),
                reserved + (int(amount) if pending else 0),
            )
    for (tenant, *_), response in usage.items():
        for entry in read(response.get("charges") or "[]"):
            budget_id, charged = (entry, response["cost_nanos"]) if isinstance(entry, str) else entry
            spent, reserved = sums.get((tenant, budget_id), (0, 0))
            sums[tenant, budget_id] = (spent + int(charged), reserved)
    return sums
