"""A fold whose memory does not grow with the journal: rows leave it once they stand in the ledger as they should.

Nothing says of a row that it will not change again, so none is final. The row that was touched longest ago is held
against its table: where both are equal, the table itself keeps it, and only its place is noted; where they differ,
since it was edited or since a later event changes it, it is put aside. An event that names it takes it back.
What is noted and put aside lies in a temporary file, which goes with its connection.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from tallygate.core.fold import KEYS, Fold, Key, call_parts, inserted_twice, usage_parts

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


class SettlingFold(Fold):
    """The tables as the events say they must be, held against the tables of a ledger as they are."""

    def __init__(self, read: Read, columns: Mapping[str, Sequence[str]], rows_max: int = ROWS_MAX) -> None:
        super().__init__()
        self._rows_max = rows_max
        self._kept = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIBIBYTES}"):
            self._kept.execute(f"PRAGMA {pragma}")
        self._kept.execute("BEGIN")
        self._shelves = {table: Shelf(table, columns[table], read, self._kept) for table in KEYS}
        # What a budget counts less what its calls and responses add up to; nothing where both agree.
        self._balances: dict[Key, tuple[int, int]] = {}
        self.unsummed: dict[tuple[str, Key], str] = {}

    def close(self) -> None:
        """Remove the temporary file."""
        self._kept.close()

    def recalled(self, table: str, key: Key) -> Row | None:
        """Take a row back that had left."""
        row = self._shelves[table].take(key)
        if row is not None:
            self._weigh(table, key, row, -1)
            self.tables[table][key] = row
        return row

    def deleted(self, table: str, key: Key) -> None:
        """See that no earlier row of the same key is left behind."""
        if (twin := self._shelves[table].take(key)) is not None:
            self._weigh(table, key, twin, -1)
            self.faults.append(inserted_twice(table, key))

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

    def _settle(self, table: str, count: int) -> None:
        known, shelf = self.tables[table], self._shelves[table]
        shelf.read_ahead(count)
        for key in list(islice(known, count)):
            row = known.pop(key)
            self._weigh(table, key, row, 1)
            if (twin := shelf.put(key, row)) is not None:
                self._weigh(table, key, twin, -1)
                self.faults.append(inserted_twice(table, key))

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
        if values is not None and self._equal(row, values):
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
                if not self._is_same(key, values):
                    yield key, self._row(values), self._met(key)
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

    def _met(self, key: Key) -> Row | None:
        found = self._kept.execute(
            f"UPDATE {self._aside} SET met = 1 WHERE key = ? RETURNING content", (_ENCODE(key),)
        ).fetchall()
        return json.loads(found[0][0]) if found else None

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

    def _equal(self, row: Row, values: tuple[Any, ...]) -> bool:
        return tuple({**self._nothing, **row}.values()) == values[1:]

    def _row(self, values: tuple[Any, ...]) -> Row:
        return {name: value for name, value in zip(self._names, values[1:], strict=True) if value is not None}
