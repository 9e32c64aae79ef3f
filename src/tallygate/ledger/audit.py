"""Whether a ledger is what it says: chain, events against tables, counters against sums, schema."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tallygate.core import chain
from tallygate.core.fold import KEYS, Fold, Key, budget_sums
from tallygate.ledger import rows
from tallygate.ledger.migrate import migrations, statements
from tallygate.ledger.sqlite import SqliteLedger
from tallygate.ledger.usage_rows import USAGE_COLUMNS

Kind = Literal["file", "schema", "chain", "projection", "counters"]
COLUMNS: dict[str, Sequence[str]] = {
    "session": rows.SESSION_COLUMNS,
    "budget": rows.BUDGET_COLUMNS,
    "session_budget": ["tenant", "session_id", "budget_id"],
    "price": ["tenant", "price_id", "basis"],
    "call": rows.CALL_COLUMNS,
    "usage": USAGE_COLUMNS,
    "client_session": ["tenant", "client", "client_session", "session_id", "found_by"],
}
FINDINGS_MAX = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where, what, and what it means for whoever relies on the ledger."""

    kind: Kind
    where: str
    what: str
    meaning: str


def audit(ledger: SqliteLedger) -> list[Finding]:
    """Everything that is wrong with a ledger; an empty list is a ledger that verifies."""
    with ledger.reading():
        found = [*_file(ledger), *_schema(ledger)]
        fold = Fold()
        for tenant in [str(row[0]) for row in ledger.rows("SELECT DISTINCT tenant FROM event ORDER BY tenant")]:
            found += _chain(ledger, tenant, fold)
        found += [
            Finding("projection", "events", fault, "an event contradicts an earlier one") for fault in fold.faults
        ]
        found += _projection(ledger, fold)
        found += _counters(fold)
    return found[:FINDINGS_MAX]


def _file(ledger: SqliteLedger) -> Iterator[Finding]:
    for (answer,) in ledger.rows("PRAGMA quick_check(20)"):
        if answer != "ok":
            yield Finding("file", str(ledger.path), str(answer), "the file is damaged: restore a backup")
    for row in ledger.rows("PRAGMA foreign_key_check"):
        yield Finding("file", str(row[0]), f"row {row[1]} refers to nothing in {row[2]}", "rows were removed")


def _schema(ledger: SqliteLedger) -> Iterator[Finding]:
    """A trigger or table that does not ship with the program could change what the program writes."""
    model = sqlite3.connect(":memory:")
    for _, sql in migrations():
        for statement in statements(sql):
            model.execute(statement)
    query = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
    expected = set(model.execute(query))
    model.close()
    actual = set(ledger.rows(query))
    for kind, name, _ in sorted(actual - expected):
        yield Finding("schema", f"{kind} {name}", "is not as this program made it", "writes may have been altered")
    for kind, name, _ in sorted(expected - actual):
        if not any(other[:2] == (kind, name) for other in actual):
            yield Finding("schema", f"{kind} {name}", "is missing", "a guard of the journal was taken away")


def _chain(ledger: SqliteLedger, tenant: str, fold: Fold) -> list[Finding]:
    quoted = tenant.replace("'", "''")
    links = ledger.rows(f"SELECT seq, body, hash, at_us FROM event WHERE tenant = '{quoted}' ORDER BY id")
    previous_us = 0
    found: list[Finding] = []

    def walk() -> Iterator[chain.Link]:
        nonlocal previous_us
        for seq, body, digest, at_us in links:
            try:
                parsed = json.loads(body)
                if parsed["at_us"] != at_us or at_us <= previous_us:
                    found.append(
                        Finding("chain", f"event {seq}", "its time does not increase", "events were reordered")
                    )
                fold.apply(parsed)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                found.append(Finding("chain", f"event {seq}", f"cannot be read: {error!r}", "its bytes were edited"))
            previous_us = at_us
            yield chain.Link(seq, body, digest)

    pending = walk()
    broken = chain.first_break(f"{ledger.ledger_id}/{tenant}", pending, None)
    for _ in pending:
        continue  # the fold still wants the events behind a break
    if broken is not None:
        found.append(
            Finding("chain", f"event {broken.seq}", broken.what, "the history was edited after it was written")
        )
    return found


def _projection(ledger: SqliteLedger, fold: Fold) -> Iterator[Finding]:
    for table, key_names in KEYS.items():
        names = COLUMNS[table]
        expected = fold.tables[table]
        seen: set[Key] = set()
        for values in ledger.rows(f"SELECT {', '.join(names)} FROM {table}"):
            row = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            key = (str(row["tenant"]), *(str(row[name]) for name in key_names))
            seen.add(key)
            yield from _row(table, key, row, expected.get(key))
        for key in expected.keys() - seen:
            yield Finding("projection", _name(table, key), "is missing", "a row was deleted")


def _row(table: str, key: Key, row: dict[str, Any], expected: dict[str, Any] | None) -> Iterator[Finding]:
    if expected is None:
        yield Finding("projection", _name(table, key), "is in no event", "a row was added by hand")
        return
    for name in sorted(row.keys() | expected.keys()):
        if row.get(name) != expected.get(name):
            what = f"{name} is {row.get(name)!r}, the events say {expected.get(name)!r}"
            yield Finding("projection", _name(table, key), what, "a row was edited by hand")


def _counters(fold: Fold) -> Iterator[Finding]:
    sums = budget_sums(fold.tables["call"], fold.tables["usage"], json.loads)
    for key, budget in fold.tables["budget"].items():
        counted = (int(budget["spent_nanos"]), int(budget["reserved_nanos"]))
        summed = sums.get(key, (0, 0))
        if counted != summed:
            what = f"spent and reserved are {counted}, its calls and responses add up to {summed}"
            yield Finding("counters", _name("budget", key), what, "a counter is wrong: this is a fault of the program")
        limit = int(budget["limit_nanos"]) + int(budget["overage_nanos"])
        if budget["mode"] == "hard" and sum(counted) > limit:
            what = f"spent and reserved {sum(counted)} are above limit and overage {limit}"
            yield Finding("counters", _name("budget", key), what, "a call was let through beyond a hard budget")


def _name(table: str, key: Key) -> str:
    return f"{table} {'/'.join(key[1:])}"
