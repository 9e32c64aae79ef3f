"""Whether a ledger is what it says: its events folded anew and held against its tables."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import field
from itertools import islice
from operator import itemgetter
from typing import Any, Literal, Protocol

from tallygate.core import proof
from tallygate.core.moments import iso
from tallygate.core.values import value
from tallygate.ledger.day_shares import QUARTER_US, QUARTERS_A_DAY
from tallygate.ledger.events import KEYS, apply, call_parts, usage_parts
from tallygate.ledger.rollups import SELECT_BEYOND, SELECT_STATE, SumsHeld, checks
from tallygate.ledger.rows import COLUMNS
from tallygate.ledger.shapes import POSTGRES, strange_in
from tallygate.ledger.sqlite.files import migrations, statements
from tallygate.ledger.transaction import StoreReader

# --- settling --------------------------------------------------------------------------------------------------------
# A fold whose memory does not grow with the journal: rows leave it once they stand in the ledger as they should.
#
# Nothing says of a row that it will not change again, so none is final. The row that was touched longest ago is held
# against its table: where both are equal, the table itself keeps it, and only its place is noted; where they differ,
# since it was edited or since a later event changes it, it is put aside. An event that names it takes it back. What is
# noted and put aside lies in a temporary file, which goes with its connection.


Key = tuple[str, ...]
Row = dict[str, Any]
Read = Callable[[str, Sequence[Any]], Iterator[tuple[Any, ...]]]
# Few enough to stay in the processor's cache, which is what makes a large ledger quick to check.
ROWS_MAX = 250
_CACHE_KIBIBYTES = 16_384
# Tables with a row number, which is the shorter name of a place.
_NUMBERED = ("call", "usage", "calibration_sample", "bill", "bill_line")
# Tables with a number in their key, which is text in every key.
_COUNTED = ("bill_line",)
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_DECODE = json.JSONDecoder().raw_decode
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def decoded(text: str) -> Any:
    """What a text in the program's own compact JSON says; quicker than a parser that allows for space around it."""
    value, end = _DECODE(text)
    if end != len(text):
        raise ValueError(f"there is more behind character {end}")
    return value


class SettlingTables:
    """The tables as the events say they must be, held against the tables of a ledger as they are."""

    def __init__(self, read: Read, columns: Mapping[str, Sequence[str]], rows_max: int = ROWS_MAX) -> None:
        self.tables: dict[str, dict[Key, Row]] = {name: {} for name in KEYS}
        self.faults: list[str] = []
        self._at_us: object = None
        self._rows_max = rows_max
        self._kept = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIBIBYTES}"):
            self._kept.execute(f"PRAGMA {pragma}")
        self._kept.execute("BEGIN")
        self._shelves = {table: Shelf(table, columns[table], read, self._kept) for table in KEYS}
        # What a budget counts less what its calls and responses add up to; nothing where both agree.
        self._balances: dict[Key, tuple[int, int]] = {}
        self.unsummed: dict[tuple[str, Key], str] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event: every row it inserts must be new, every row it updates or deletes must be there."""
        self._at_us = event["at_us"]
        apply(str(event["tenant"]), event["rows"], self)

    def insert(self, tenant: str, table: str, row: Mapping[str, Any]) -> None:
        """Take a new row."""
        key, known = _key(tenant, table, row), self.tables[table]
        if key in known:
            self.faults.append(_inserted_twice(table, key))
        known[key] = _merged({"tenant": tenant}, row)

    def update(self, tenant: str, table: str, row: Mapping[str, Any]) -> None:
        """Take columns of a row that is known."""
        key = _key(tenant, table, row)
        if (found := self._found(table, key, "updated")) is not None:
            _merged(found, row)

    def delete(self, tenant: str, table: str, row: Mapping[str, Any]) -> None:
        """Forget a row, and see that no earlier one of the same key is left behind."""
        key = _key(tenant, table, row)
        if self._found(table, key, "deleted") is None:
            return
        del self.tables[table][key]
        if (twin := self._shelves[table].take(key)) is not None:
            self._weigh(table, key, twin, -1)
            self.faults.append(_inserted_twice(table, key))

    def settle(self) -> None:
        """Keep what an event has brought in memory: many events are let go of at a time."""

    def fault(self, what: str) -> None:
        """Remember what an event names that there is not."""
        self.faults.append(f"event at {self._at_us} names {what}")

    def close(self) -> None:
        """Remove the temporary file."""
        self._kept.close()

    def relieve(self) -> None:
        """Let the rows go that were not touched for long, where there are many."""
        for table, known in self.tables.items():
            if len(known) > self._rows_max:
                self._settle(table, len(known) - self._rows_max // 2)

    def finish(self) -> None:
        """Let all rows go: no event is left."""
        for table, known in self.tables.items():
            while known:
                self._settle(table, min(len(known), self._rows_max))

    def differences(self, table: str) -> Iterator[tuple[Key, Row | None, Row | None]]:
        """Rows of a table that are not as the events say: key, row as it is, row as it should be."""
        return self._shelves[table].differences()

    def budgets(self) -> Iterator[tuple[Key, Row, tuple[int, int]]]:
        """Every budget of the events, and what it counts too much: spent, reserved."""
        for key, row in self._shelves["budget"].expected():
            yield key, row, self._balances.get(key, (0, 0))

    def _found(self, table: str, key: Key, what: str) -> Row | None:
        """A known row, taken back where it had left; its absence is a fault of the events."""
        row = self.tables[table].get(key)
        if row is not None:
            return row
        if (row := self._shelves[table].take(key)) is None:
            self.faults.append(f"{table} {'/'.join(key[1:])} is {what} before it is inserted")
            return None
        self._weigh(table, key, row, -1)
        self.tables[table][key] = row
        return row

    def _settle(self, table: str, count: int) -> None:
        known, shelf = self.tables[table], self._shelves[table]
        shelf.read_ahead(count)
        for key in list(islice(known, count)):
            row = known.pop(key)
            self._weigh(table, key, row, 1)
            if (twin := shelf.put(key, row)) is not None:
                self._weigh(table, key, twin, -1)
                self.faults.append(_inserted_twice(table, key))

    def _weigh(self, table: str, key: Key, row: Row, sign: int) -> None:
        try:
            if table == "call":
                parts = call_parts(row, decoded)
            elif table == "usage":
                parts = usage_parts(row, decoded)
            elif table == "budget":
                seed = int(row.get("seed_nanos") or 0)
                parts = [(key[1], seed - int(row["spent_nanos"]), -int(row["reserved_nanos"]))]
            else:
                return
        except UNREADABLE as error:
            # The same row weighs nothing when it is taken back.
            if sign > 0:
                self.unsummed[table, key] = repr(error)
            else:
                self.unsummed.pop((table, key), None)
            return
        tenant = key[0]
        for budget_id, spent, reserved in parts:
            budget = (tenant, budget_id)
            more, held = self._balances.get(budget, (0, 0))
            balance = (more - sign * spent, held - sign * reserved)
            if balance == (0, 0):
                self._balances.pop(budget, None)
            else:
                self._balances[budget] = balance


def _key(tenant: str, table: str, row: Mapping[str, Any]) -> Key:
    names = KEYS[table]
    if len(names) == 1:
        return (tenant, str(row[names[0]]))
    return (tenant, *[str(row[name]) for name in names])


def _merged(known: Row, row: Mapping[str, Any]) -> Row:
    known.update(row)
    if None in row.values():
        for name in [name for name, value in row.items() if value is None]:
            del known[name]
    return known


def _inserted_twice(table: str, key: Key) -> str:
    return f"{table} {'/'.join(key[1:])} is inserted twice"


class Shelf:
    """The rows of one table that left memory: places where the ledger has them as they are, and rows put aside."""

    def __init__(self, table: str, names: Sequence[str], read: Read, kept: sqlite3.Connection) -> None:
        self._names = names
        self._nothing = dict.fromkeys(names)
        self._numbered = table in _NUMBERED
        self._counted = table in _COUNTED
        self._key_of = itemgetter(*(names.index(name) + 1 for name in ("tenant", *KEYS[table])))
        self._read = read
        self._kept = kept
        where = " AND ".join(f"{name} = ?" for name in ("tenant", *KEYS[table]))
        place = "rowid" if self._numbered else "NULL"
        self._select = f"SELECT {place}, {', '.join(names)} FROM {table}"
        self._select_one = f"{self._select} WHERE {where}"
        self._count = f"SELECT COUNT(*) FROM {table}"
        self._same, self._aside = f"same_{table}", f"aside_{table}"
        # Rows were inserted in the order in which they leave: they are read in that order, and most are just there.
        self._ahead: dict[Key, tuple[Any, ...]] = {}
        self._ahead_rows: Iterator[tuple[Any, ...]] | None = None
        self._any_aside = False
        kept.execute(
            f"CREATE TABLE {self._same} (place INTEGER PRIMARY KEY)"
            if self._numbered
            else f"CREATE TABLE {self._same} (place TEXT PRIMARY KEY) WITHOUT ROWID"
        )
        kept.execute(
            f"CREATE TABLE {self._aside} (id INTEGER PRIMARY KEY, key TEXT UNIQUE, content TEXT, met INTEGER DEFAULT 0)"
        )
        # Places above all others are new for sure, and wait to be noted together.
        self._waiting: list[tuple[int]] = []
        self._highest = -1

    def read_ahead(self, count: int) -> None:
        """Read as many rows of the table as will be asked for."""
        if self._ahead_rows is None:
            order = " ORDER BY rowid" if self._numbered else ""
            self._ahead_rows = self._read(f"{self._select}{order}", ())
        if len(self._ahead) > count // 2:
            # Rows that nobody asked for, since no event has them or since they come later: those are found by key.
            for key in list(islice(self._ahead, len(self._ahead) - count // 2)):
                del self._ahead[key]
        self._write_waiting()
        for values in islice(self._ahead_rows, count - len(self._ahead)):
            self._ahead[self._key(values) if self._counted else self._key_of(values)] = values

    def put(self, key: Key, row: Row) -> Row | None:
        """Take a row; returns the one that was there under its key, which is a fault of the events."""
        twin = self._taken_aside(key)
        values = self._actual(key)
        if values is not None and tuple({**self._nothing, **row}.values()) == values[1:]:
            return twin if self._note(self._place(key, values)) else row
        if values is not None and self._unnote(self._place(key, values)):
            twin = self._row(values)
        self._kept.execute(f"INSERT INTO {self._aside} (key, content) VALUES (?, ?)", (_ENCODE(key), _ENCODE(row)))
        self._any_aside = True
        return twin

    def take(self, key: Key) -> Row | None:
        """Give a row back, and know nothing of it any more."""
        row = self._taken_aside(key)
        if row is not None:
            return row
        values = self._actual(key)
        if values is None or not self._unnote(self._place(key, values)):
            return None
        return self._row(values)

    def differences(self) -> Iterator[tuple[Key, Row | None, Row | None]]:
        """Key, row as it is, row as it should be: rows of the table in its order, then those it lacks."""
        self._write_waiting()
        [(actual,)] = self._read(self._count, ())
        [(same,)] = self._kept.execute(f"SELECT COUNT(*) FROM {self._same}")
        if same != actual:
            for values in self._read(self._select, ()):
                key = self._key(values)
                if self._is_same(key, values):
                    continue
                # What is aside under a key that the table has is told of here, so not again below.
                met = f"UPDATE {self._aside} SET met = 1 WHERE key = ? RETURNING content"
                found = self._kept.execute(met, (_ENCODE(key),)).fetchall()
                yield key, self._row(values), json.loads(found[0][0]) if found else None
        if self._any_aside:
            for key_text, content in self._kept.execute(
                f"SELECT key, content FROM {self._aside} WHERE met = 0 ORDER BY id"
            ):
                yield tuple(json.loads(key_text)), None, json.loads(content)

    def expected(self) -> Iterator[tuple[Key, Row]]:
        """Every row that the events say there is."""
        for values in self._read(self._select, ()):
            key = self._key(values)
            if self._is_same(key, values):
                yield key, self._row(values)
        for key_text, content in self._kept.execute(f"SELECT key, content FROM {self._aside} ORDER BY id"):
            yield tuple(json.loads(key_text)), json.loads(content)

    def _note(self, place: Any) -> bool:
        """Note a place where the ledger has a row as it should be; whether it was not noted before."""
        if self._numbered and place > self._highest:
            self._highest = place
            self._waiting.append((place,))
            return True
        self._write_waiting()
        return self._kept.execute(f"INSERT OR IGNORE INTO {self._same} VALUES (?)", (place,)).rowcount > 0

    def _unnote(self, place: Any) -> bool:
        self._write_waiting()
        return self._kept.execute(f"DELETE FROM {self._same} WHERE place = ?", (place,)).rowcount > 0

    def _write_waiting(self) -> None:
        if self._waiting:
            self._kept.executemany(f"INSERT INTO {self._same} VALUES (?)", self._waiting)
            self._waiting.clear()

    def _is_same(self, key: Key, values: tuple[Any, ...]) -> bool:
        self._write_waiting()
        found = self._kept.execute(f"SELECT 1 FROM {self._same} WHERE place = ?", (self._place(key, values),))
        return found.fetchone() is not None

    def _taken_aside(self, key: Key) -> Row | None:
        if not self._any_aside:
            return None
        found = self._kept.execute(
            f"DELETE FROM {self._aside} WHERE key = ? RETURNING content", (_ENCODE(key),)
        ).fetchall()
        return json.loads(found[0][0]) if found else None

    def _actual(self, key: Key) -> tuple[Any, ...] | None:
        if (values := self._ahead.pop(key, None)) is not None:
            return values
        try:
            return next(self._read(self._select_one, key), None)
        except UnicodeEncodeError:
            return None  # a text that no table can hold

    def _key(self, values: tuple[Any, ...]) -> Key:
        return tuple(map(str, self._key_of(values)))

    def _place(self, key: Key, values: tuple[Any, ...]) -> Any:
        return values[0] if self._numbered else _ENCODE(key)

    def _row(self, values: tuple[Any, ...]) -> Row:
        return {name: value for name, value in zip(self._names, values[1:], strict=True) if value is not None}


# --- audit -----------------------------------------------------------------------------------------------------------
# Whether a ledger is what it says: chain, events against tables, counters against sums, schema.


Kind = Literal["file", "schema", "chain", "projection", "counters"]
FINDINGS_MAX = 100
EVENTS_AT_ONCE = 100
_MANY_ROWS = 50


@value(frozen=True, slots=True)
class AuditFinding:
    """One thing that is wrong: where, what, and what it means for whoever relies on the ledger."""

    kind: Kind
    where: str
    what: str
    meaning: str


class AuditableLedger(Protocol):
    """What an audit asks of a ledger."""

    @property
    def place(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def ledger_id(self) -> str: ...
    def reading(self) -> AbstractContextManager[object]: ...
    def rows(self, sql: str, parameters: Sequence[Any] = ...) -> Iterator[tuple[Any, ...]]: ...


class ReadLedger(AuditableLedger, Protocol):
    """A ledger that is read by its own words, too: whose it is and wherever it is."""

    def reading(self, tenant: str = ...) -> AbstractContextManager[StoreReader]: ...


class Listener(Protocol):
    """Who hears of tenants and events as the audit goes by them: events whose bytes hold one of `traces`."""

    @property
    def traces(self) -> Sequence[bytes]: ...
    def begin(self, tenant: str) -> None: ...
    def hear(self, tenant: str, link: proof.Link, previous: bytes, event: Mapping[str, Any]) -> None: ...


def audit(ledger: AuditableLedger, *, rows_max: int = ROWS_MAX) -> list[AuditFinding]:
    """Everything that is wrong with a ledger; an empty list is a ledger that verifies."""
    return [*damage(ledger), *edits(ledger, rows_max=rows_max)][:FINDINGS_MAX]


def edits(ledger: AuditableLedger, *, rows_max: int = ROWS_MAX, listener: Listener | None = None) -> list[AuditFinding]:
    """What somebody did to a ledger: events, tables, counters and schema that do not fit.

    Reads every event once; memory holds at most `rows_max` rows of each table, however long the journal is.
    """
    with ledger.reading(), closing(SettlingTables(ledger.rows, COLUMNS, rows_max)) as fold:
        found = [*_schema(ledger), *_journal(ledger, fold, listener)]
        for table in KEYS:
            found += islice(_projection(fold, table), FINDINGS_MAX)
        found += islice(_counters(fold), FINDINGS_MAX)
        found += _sums(ledger)
    return found[:FINDINGS_MAX]


def damage(ledger: AuditableLedger) -> list[AuditFinding]:
    """What is wrong with the file: pages that SQLite cannot read, rows that refer to nothing."""
    if ledger.kind == POSTGRES:
        return []  # its pages and its references are the database's own affair
    path = ledger.place
    pages = (str(answer) for (answer,) in ledger.rows("PRAGMA quick_check(20)") if answer != "ok")
    found = [AuditFinding("file", path, answer, "the file is damaged: restore a backup") for answer in pages]
    # As many as are told of: in a large ledger every row may refer to one that is gone.
    found += (
        AuditFinding("file", str(table), f"row {number} refers to nothing in {of}", "rows were removed")
        for table, number, of, *_ in islice(ledger.rows("PRAGMA foreign_key_check"), FINDINGS_MAX)
    )
    return found[:FINDINGS_MAX]


def _schema(ledger: AuditableLedger) -> Iterator[AuditFinding]:
    """A trigger or table that does not ship with the program could change what the program writes."""
    if ledger.kind == POSTGRES:
        for name, what, meaning in strange_in(ledger.rows):
            yield AuditFinding("schema", name, what, meaning)
        return
    # What this program would make is made, and held against what is there: no list of names could be as complete.
    model = sqlite3.connect(":memory:")
    for _, sql in migrations():
        for statement in statements(sql):
            model.execute(statement)
    query = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
    expected = set(model.execute(query))
    model.close()
    actual = set(ledger.rows(query))
    for kind, name, _ in sorted(actual - expected):
        yield AuditFinding("schema", f"{kind} {name}", "is not as this program made it", "writes may have been altered")
    for kind, name, _ in sorted(expected - actual):
        if not any(other[:2] == (kind, name) for other in actual):
            yield AuditFinding("schema", f"{kind} {name}", "is missing", "a guard of the journal was taken away")


@value(slots=True)
class _Journal:
    """The events of one tenant, as far as they were read."""

    walk: proof.Walk
    found: list[AuditFinding] = field(default_factory=list)
    broken: AuditFinding | None = None
    faults: list[AuditFinding] = field(default_factory=list)
    at_us: int = 0
    previous: bytes = proof.GENESIS

    def add(self, where: str, what: str, meaning: str) -> None:
        """Remember what is wrong with an event."""
        if len(self.found) < FINDINGS_MAX:
            self.found.append(AuditFinding("chain", where, what, meaning))

    def take_faults(self, faults: list[str]) -> None:
        """Remember what the fold has against an event."""
        for fault in faults[: FINDINGS_MAX - len(self.faults)]:
            self.faults.append(AuditFinding("projection", "events", fault, "an event contradicts an earlier one"))
        faults.clear()


def _journal(ledger: AuditableLedger, fold: SettlingTables, listener: Listener | None) -> list[AuditFinding]:
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
                fold.take(parsed)
                # Memory stays constant, however many rows one event states.
                if len(parsed["rows"]) >= _MANY_ROWS:
                    fold.relieve()
                for trace in traces:
                    if listener is not None and trace in body:
                        listener.hear(tenant, proof.Link(seq, body, digest), journal.previous, parsed)
                        break
            except UNREADABLE as error:
                journal.add(f"event {seq}", f"cannot be read: {error!r}", "its bytes were edited")
            journal.at_us, journal.previous = at_us, digest
            # The first break of a chain alone: what lies behind it follows from it.
            if journal.broken is None and (broken := journal.walk.take(proof.Link(seq, body, digest))) is not None:
                meaning = "the history was edited after it was written"
                journal.broken = AuditFinding("chain", f"event {broken.seq}", broken.what, meaning)
            if fold.faults:
                journal.take_faults(fold.faults)
        fold.relieve()
    fold.finish()
    journal.take_faults(fold.faults)
    ordered = [journals[tenant] for tenant in sorted(journals)]
    found = [each for read in ordered for each in (*read.found, *([read.broken] if read.broken else []))]
    return [*found, *(fault for read in ordered for fault in read.faults)]


def _projection(fold: SettlingTables, table: str) -> Iterator[AuditFinding]:
    for key, row, expected in fold.differences(table):
        if row is None:
            yield AuditFinding("projection", _name(table, key), "is missing", "a row was deleted")
        elif expected is None:
            yield AuditFinding("projection", _name(table, key), "is in no event", "a row was added by hand")
        else:
            for name in sorted(row.keys() | expected.keys()):
                if row.get(name) != expected.get(name):
                    what = f"{name} is {row.get(name)!r}, the events say {expected.get(name)!r}"
                    yield AuditFinding("projection", _name(table, key), what, "a row was edited by hand")


def _counters(fold: SettlingTables) -> Iterator[AuditFinding]:
    for (table, key), error in fold.unsummed.items():
        yield AuditFinding("counters", _name(table, key), f"has no amount: {error}", "what the events say is none")
    for key, budget, (spent, reserved) in fold.budgets():
        if ("budget", key) in fold.unsummed:
            continue
        counted = (int(budget["spent_nanos"]), int(budget["reserved_nanos"]))
        if spent or reserved:
            summed = (counted[0] - spent, counted[1] - reserved)
            what = f"spent and reserved are {counted}, its calls and responses add up to {summed}"
            yield AuditFinding(
                "counters", _name("budget", key), what, "a counter is wrong: this is a fault of the program"
            )
        # Overage names every cost that went beyond; above both there is money that no event accounts for.
        limit = int(budget["limit_nanos"]) + int(budget["overage_nanos"])
        if budget["mode"] == "hard" and sum(counted) > limit:
            what = f"spent and reserved {sum(counted)} are above limit and overage {limit}"
            yield AuditFinding("counters", _name("budget", key), what, "a call was let through beyond a hard budget")


def _sums(ledger: AuditableLedger) -> Iterator[AuditFinding]:
    """Sums that reports read, held against the rows that they are of; what is only there or only missing, first."""
    state = next(iter(ledger.rows(SELECT_STATE)), None)
    if state is None:
        yield AuditFinding("counters", "rollup_state", "is missing", "a row was deleted")
        return
    meaning = "a sum for reports was edited, or is a fault of the program: `tallygate doctor --rebuild` makes it anew"
    if next(iter(ledger.rows(SELECT_BEYOND)), None) is not None:
        yield AuditFinding("counters", "rollup_state", "reaches beyond the last response or call", meaning)
    for check in checks(*state):
        many = len(check.of) + 2
        lacking, beyond = (islice(ledger.rows(sql), FINDINGS_MAX) for sql in (check.lacking, check.beyond))
        expected = {row[:many]: row[many:] for row in lacking}
        for row in beyond:
            should = expected.pop(row[:many], None)
            if should is None:
                yield AuditFinding("counters", _of_sum(check, row), "no response and no call makes it", meaning)
                continue
            for name, amount, right in zip(check.sums, row[many:], should, strict=True):
                if amount != right:
                    what = f"{name} is {amount}, its responses and calls come to {right}"
                    yield AuditFinding("counters", _of_sum(check, row), what, meaning)
        for row in expected:
            yield AuditFinding("counters", _of_sum(check, row), "is missing", meaning)


def _of_sum(check: SumsHeld, row: tuple[Any, ...]) -> str:
    of = dict(zip(check.of, row[2:], strict=False))
    told = (of["client"], of.get("client_session") or of["session_id"], of["model"], of.get("tool"))
    quarter = row[1] * QUARTERS_A_DAY if check.table == "day_share" else row[1]
    return "/".join([f"{check.table} {iso(quarter * QUARTER_US)}", *(str(each) for each in told if each)])


def _name(table: str, key: Key) -> str:
    return f"{table} {'/'.join(key[1:])}"
