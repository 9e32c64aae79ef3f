"""Whether a ledger is what it says: chain, events against tables, counters against sums, schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from tallygate.core import proof
from tallygate.core.fold import KEYS, Key
from tallygate.ledger import rows
from tallygate.ledger.bill_rows import BILL_COLUMNS, BILL_LINE_COLUMNS
from tallygate.ledger.calibration_store import FACTOR_COLUMNS, SAMPLE_COLUMNS, START_COLUMNS
from tallygate.ledger.limit_store import LIMIT_COLUMNS
from tallygate.ledger.migrate import migrations, statements
from tallygate.ledger.report_store import CALL_ANOMALY_COLUMNS
from tallygate.ledger.settling import ROWS_MAX, UNREADABLE, SettlingFold, decoded
from tallygate.ledger.usage_rows import ANOMALY_COLUMNS, USAGE_COLUMNS

Kind = Literal["file", "schema", "chain", "projection", "counters"]
COLUMNS: dict[str, Sequence[str]] = {
    "session": rows.SESSION_COLUMNS,
    "budget": rows.BUDGET_COLUMNS,
    "session_budget": ["tenant", "session_id", "budget_id"],
    "price": ["tenant", "price_id", "basis"],
    "call": rows.CALL_COLUMNS,
    "usage": USAGE_COLUMNS,
    "usage_anomaly": ANOMALY_COLUMNS,
    "client_session": ["tenant", "client", "client_session", "session_id", "found_by", "begun"],
    "bill": BILL_COLUMNS,
    "bill_line": BILL_LINE_COLUMNS,
    "calibration_sample": SAMPLE_COLUMNS,
    "calibration_start": START_COLUMNS,
    "calibration_factor": FACTOR_COLUMNS,
    "limit_change": LIMIT_COLUMNS,
    "price_list": ["tenant", "list_id", "stated"],
    "call_anomaly": CALL_ANOMALY_COLUMNS,
    "worktree": ["tenant", "top", "repository"],
}
FINDINGS_MAX = 100
EVENTS_AT_ONCE = 100
_MANY_ROWS = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where, what, and what it means for whoever relies on the ledger."""

    kind: Kind
    where: str
    what: str
    meaning: str


class Audited(Protocol):
    """What an audit asks of a ledger."""

    @property
    def path(self) -> Path: ...
    @property
    def ledger_id(self) -> str: ...
    def reading(self) -> AbstractContextManager[object]: ...
    def rows(self, sql: str, parameters: Sequence[Any] = ...) -> Iterator[tuple[Any, ...]]: ...


class Listener(Protocol):
    """Who hears of tenants and events as the audit goes by them: events whose bytes hold one of `traces`."""

    @property
    def traces(self) -> Sequence[bytes]: ...
    def begin(self, tenant: str) -> None: ...
    def hear(self, tenant: str, link: proof.Link, previous: bytes, event: Mapping[str, Any]) -> None: ...


def audit(ledger: Audited, *, rows_max: int = ROWS_MAX) -> list[Finding]:
    """Everything that is wrong with a ledger; an empty list is a ledger that verifies."""
    return [*damage(ledger), *edits(ledger, rows_max=rows_max)][:FINDINGS_MAX]


def edits(ledger: Audited, *, rows_max: int = ROWS_MAX, listener: Listener | None = None) -> list[Finding]:
    """What somebody did to a ledger: events, tables, counters and schema that do not fit.

    Reads every event once; memory holds at most `rows_max` rows of each table, however long the journal is.
    """
    with ledger.reading(), closing(SettlingFold(ledger.rows, COLUMNS, rows_max)) as fold:
        found = [*_schema(ledger), *_journal(ledger, fold, listener)]
        for table in KEYS:
            found += islice(_projection(fold, table), FINDINGS_MAX)
        found += islice(_counters(fold), FINDINGS_MAX)
    return found[:FINDINGS_MAX]


def damage(ledger: Audited) -> list[Finding]:
    """What is wrong with the file: pages that SQLite cannot read, rows that refer to nothing."""
    return list(islice(_damage(ledger), FINDINGS_MAX))


def _damage(ledger: Audited) -> Iterator[Finding]:
    for (answer,) in ledger.rows("PRAGMA quick_check(20)"):
        if answer != "ok":
            yield Finding("file", str(ledger.path), str(answer), "the file is damaged: restore a backup")
    for row in ledger.rows("PRAGMA foreign_key_check"):
        yield Finding("file", str(row[0]), f"row {row[1]} refers to nothing in {row[2]}", "rows were removed")


def _schema(ledger: Audited) -> Iterator[Finding]:
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


@dataclass(slots=True)
class _Journal:
    """The events of one tenant, as far as they were read."""

    walk: proof.Walk
    found: list[Finding] = field(default_factory=list)
    broken: Finding | None = None
    faults: list[Finding] = field(default_factory=list)
    at_us: int = 0
    previous: bytes = proof.GENESIS

    def add(self, where: str, what: str, meaning: str) -> None:
        """Remember what is wrong with an event."""
        if len(self.found) < FINDINGS_MAX:
            self.found.append(Finding("chain", where, what, meaning))

    def take_faults(self, faults: list[str]) -> None:
        """Remember what the fold has against an event."""
        for fault in faults[: FINDINGS_MAX - len(self.faults)]:
            self.faults.append(Finding("projection", "events", fault, "an event contradicts an earlier one"))
        faults.clear()


def _journal(ledger: Audited, fold: SettlingFold, listener: Listener | None) -> list[Finding]:
    """Walk all events in the order in which they were written, each tenant's chain on its own."""
    traces = () if listener is None else tuple(listener.traces)
    journals: dict[str, _Journal] = {}
    journal = _Journal(proof.Walk(ledger.ledger_id))
    events = ledger.rows("SELECT tenant, seq, body, hash, at_us FROM event ORDER BY id")
    while batch := list(islice(events, EVENTS_AT_ONCE)):
        for tenant, seq, body, digest, at_us in batch:
            if (known := journals.get(tenant)) is None:
                known = journals[tenant] = _Journal(proof.Walk(f"{ledger.ledger_id}/{tenant}"))
                if listener is not None:
                    listener.begin(tenant)
            journal = known
            try:
                parsed = decoded(body.decode())
                if parsed["at_us"] != at_us or at_us <= journal.at_us:
                    journal.add(f"event {seq}", "its time does not increase", "events were reordered")
                fold.apply(parsed)
                if len(parsed["rows"]) >= _MANY_ROWS:
                    fold.relieve()
                for trace in traces:
                    if listener is not None and trace in body:
                        listener.hear(tenant, proof.Link(seq, body, digest), journal.previous, parsed)
                        break
            except UNREADABLE as error:
                journal.add(f"event {seq}", f"cannot be read: {error!r}", "its bytes were edited")
            journal.at_us, journal.previous = at_us, digest
            if journal.broken is None and (broken := journal.walk.take(proof.Link(seq, body, digest))) is not None:
                meaning = "the history was edited after it was written"
                journal.broken = Finding("chain", f"event {broken.seq}", broken.what, meaning)
            if fold.faults:
                journal.take_faults(fold.faults)
        fold.relieve()
    fold.finish()
    journal.take_faults(fold.faults)
    ordered = [journals[tenant] for tenant in sorted(journals)]
    found = [each for read in ordered for each in (*read.found, *([read.broken] if read.broken else []))]
    return [*found, *(fault for read in ordered for fault in read.faults)]


def _projection(fold: SettlingFold, table: str) -> Iterator[Finding]:
    for key, row, expected in fold.differences(table):
        if row is None:
            yield Finding("projection", _name(table, key), "is missing", "a row was deleted")
        elif expected is None:
            yield Finding("projection", _name(table, key), "is in no event", "a row was added by hand")
        else:
            for name in sorted(row.keys() | expected.keys()):
                if row.get(name) != expected.get(name):
                    what = f"{name} is {row.get(name)!r}, the events say {expected.get(name)!r}"
                    yield Finding("projection", _name(table, key), what, "a row was edited by hand")


def _counters(fold: SettlingFold) -> Iterator[Finding]:
    for (table, key), error in fold.unsummed.items():
        yield Finding("counters", _name(table, key), f"has no amount: {error}", "what the events say is none")
    for key, budget, (spent, reserved) in fold.budgets():
        if ("budget", key) in fold.unsummed:
            continue
        counted = (int(budget["spent_nanos"]), int(budget["reserved_nanos"]))
        if spent or reserved:
            summed = (counted[0] - spent, counted[1] - reserved)
            what = f"spent and reserved are {counted}, its calls and responses add up to {summed}"
            yield Finding("counters", _name("budget", key), what, "a counter is wrong: this is a fault of the program")
        limit = int(budget["limit_nanos"]) + int(budget["overage_nanos"])
        if budget["mode"] == "hard" and sum(counted) > limit:
            what = f"spent and reserved {sum(counted)} are above limit and overage {limit}"
            yield Finding("counters", _name("budget", key), what, "a call was let through beyond a hard budget")


def _name(table: str, key: Key) -> str:
    return f"{table} {'/'.join(key[1:])}"
