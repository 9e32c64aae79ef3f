"""A ledger of ten thousand events: whatever is done to one row is told, and the check's memory does not grow."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.world import Clock, make_world

from tallygate.core.costing import Tokens
from tallygate.core.proof import Head
from tallygate.ledger.audit.audit import COLUMNS, audit
from tallygate.ledger.events import KEYS
from tallygate.ledger.port import Delete, Insert, Update
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.sessions.ending import end_session

EVENTS = 10_000
GUARDS = ("event_never_changes", "event_never_goes", "call_resolves_once")
MIDDLE = EVENTS // 2


def response(key, session, cost):
    """A response of a client's record as its row, as far as the table asks for it."""
    counts = dict.fromkeys(("fresh_input", "cache_read", "cache_write_5m", "cache_write_1h", "output"), 0)
    return {
        "client": "c", "response_key": key, "client_session": "theirs", "at_us": 1, "model": "m", "reasoning": 0,
        "web_searches": 0, "quality": "final", "rule": "claude.response", "price_id": "p", "cost_nanos": cost,
        "session_id": session, "charges": f'[["{session}",{cost}]]', **counts,
    }  # fmt: skip


def answer_and_replace(world, session, number):
    """A response that counts, and takes the place of the one before it."""
    with world.ledger.writing() as tx:
        budget = tx.budget(session)
        row = {"budget_id": session, "spent_nanos": budget.spent + (5 if number == 0 else 0)}
        gone = [Delete("usage", {"client": "c", "response_key": f"r{number - 1}"})] if number else []
        tx.append("usage", [Update("budget", row), Insert("usage", response(f"r{number}", session, 5)), *gone], by="t")


def bill_and_line():
    """A bill of one line that was never completed: several of those may be alike."""
    bill = {"bill_id": "bill", "format": "f", "name": "n", "digest": "d" * 64, "currency": "USD", "lines": 1}
    line = {"bill_id": "bill", "number": 2, "part": 0, "identity": "i" * 64, "grain": "day", "at_us": 1}
    return [
        Insert("bill", {**bill, "imported_us": 1}),
        Insert("bill_line", {**line, "provider": "p", "billing": "metered"}),
    ]


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """The file of a ledger with 10,000 events; calls resolve soon, late or never."""
    world = make_world(tmp_path_factory.mktemp("large"))
    world.ledger._connection.execute("PRAGMA synchronous = OFF")
    session, late = world.start("9000000"), []
    with world.ledger.writing() as tx:
        row = {"client": "c", "client_session": "theirs", "session_id": session, "found_by": "test"}
        tx.append("session.bound", [Insert("client_session", row)], by="t")
        tx.append("bill", bill_and_line(), by="t")
        start = {"client": "c", "model": "m", "from_us": 1}
        factor = {"model": "m", "factor_micros": 1_100_000, "applied_us": 1}
        sample = {
            "call_id": "c", "session_id": session, "kind": "agent", "client": "c", "model": "m", "agent": "",
            "at_us": 1, "estimate_nanos": 1, "cold_nanos": 1, "level_nanos": 1, "expected_nanos": 1, "actual_nanos": 1,
        }  # fmt: skip
        anomaly = {
            "client": "c",
            "response_key": "r0",
            "kind": "lower",
            "client_session": "s",
            "told": "t",
            "seen_us": 1,
        }
        learned = ("calibration_start", start), ("calibration_factor", factor), ("calibration_sample", sample)
        limit_change = {
            "budget_id": session, "at_us": 1, "unit": "USD", "before_nanos": 1, "limit_nanos": 2, "door": "cli",
            "actor": "a", "reason": "r", "inside": "i", "beneath": "b",
        }  # fmt: skip
        odd = {"session_id": session, "call_id": "c", "kind": "far_below", "told": "t", "seen_us": 1}
        loop = {
            "session_id": session, "at_us": 1, "kind": "stale", "stage": "warned", "tool": "t", "times": 5, "calls": 5,
            "number": 5, "agent_id": "a", "cost_nanos": 1, "allowed_us": 1, "wrong_us": 1,
        }  # fmt: skip
        learned += (
            ("usage_anomaly", anomaly),
            ("limit_change", limit_change),
            ("call_anomaly", odd),
            ("worktree", {"top": "/w", "repository": "/r"}),
            ("loop", loop),
        )
        tx.append("corrected", [Insert(table, row) for table, row in learned], by="t")
    for number in range(40):
        answer_and_replace(world, session, number)
    while world.events() < EVENTS - 400:
        answer = world.ask(session, 10)
        if world.events() % 20 < 2:
            late.append(answer.call_id)
        else:
            record_usage(world.rt, UsageReport(answer.call_id, Tokens(50)))
    for call_id in late[:-5]:
        record_usage(world.rt, UsageReport(call_id, Tokens(20)))
    end_session(world.rt, world.start("1"))
    while world.events() < EVENTS:
        world.ask(session, 10)
    world.ledger.close()
    return world.ledger.path


@pytest.fixture
def copy(history, tmp_path):
    path = tmp_path / "ledger.db"
    path.write_bytes(history.read_bytes())
    path.chmod(0o600)
    return path


def after(path, *statements):
    """The findings after somebody wrote to the file with the guards off."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        guards = [
            connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0] for name in GUARDS
        ]
        for name in GUARDS:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in (*statements, *guards):
            connection.execute(statement)
    return findings(path)


def findings(path, **options):
    ledger = SqliteLedger(path, clock=Clock(), new_ledger_id=lambda: "ff" * 16)
    try:
        return audit(ledger, **options)
    finally:
        ledger.close()


def told(found):
    return {(finding.kind, finding.where, finding.what) for finding in found}


@pytest.mark.parametrize("rows_max", [2, 7, 250, 100_000])
def test_a_sound_ledger_verifies_however_few_rows_are_kept_in_memory(copy, rows_max):
    assert findings(copy, rows_max=rows_max) == []


SEQUENCES = [1, 2, 60, MIDDLE, EVENTS - 1]


@pytest.mark.parametrize("seq", [*SEQUENCES, EVENTS])
def test_an_event_whose_bytes_were_edited_is_named(copy, seq):
    found = after(copy, f"UPDATE event SET body = CAST(replace(body, '\"by\"', '\"bY\"') AS BLOB) WHERE seq = {seq}")
    assert told(found) == {("chain", f"event {seq}", f"event {seq} was changed: its hash does not fit its content")}


@pytest.mark.parametrize("seq", SEQUENCES)
def test_an_event_that_was_deleted_is_named(copy, seq):
    found = after(copy, f"DELETE FROM event WHERE seq = {seq}")
    missing = ("chain", f"event {seq}", f"event {seq} is missing: the next one is {seq + 1}")
    assert missing in told(found)


@pytest.mark.parametrize("seq", SEQUENCES)
def test_an_event_that_was_inserted_is_named(copy, seq):
    columns = "tenant, seq, at_us, body, hash"
    found = after(
        copy,
        f"UPDATE event SET id = -id WHERE id > {seq}",
        f"INSERT INTO event (id, {columns}) SELECT {seq + 1}, {columns} FROM event WHERE id = {seq}",
        "UPDATE event SET id = 1 - id WHERE id < 0",
    )
    doubled = ("chain", f"event {seq + 1}", f"event {seq + 1} is missing: the next one is {seq}")
    assert doubled in told(found)


@pytest.mark.parametrize("seq", SEQUENCES)
def test_neighbours_that_were_swapped_are_named(copy, seq):
    found = after(
        copy,
        f"UPDATE event SET id = 0 WHERE id = {seq}",
        f"UPDATE event SET id = {seq} WHERE id = {seq + 1}",
        f"UPDATE event SET id = {seq + 1} WHERE id = 0",
    )
    assert ("chain", f"event {seq}", f"event {seq} is missing: the next one is {seq + 1}") in told(found)
    assert ("chain", f"event {seq}", "its time does not increase") in told(found)


@pytest.mark.parametrize("kept", [1, 60, MIDDLE, EVENTS - 1])
def test_a_tail_that_was_cut_off_leaves_tables_that_no_event_explains(copy, kept):
    found = after(copy, f"DELETE FROM event WHERE seq > {kept}")
    assert {finding.kind for finding in found} <= {"projection", "counters"}
    assert found


@pytest.mark.parametrize("table", COLUMNS)
def test_every_column_of_a_row_that_was_edited_is_named(copy, table):
    """A text gets a letter more, a number becomes another, nothing becomes something."""
    names = [name for name in COLUMNS[table] if name not in ("tenant", *KEYS[table])]
    [key, *_] = KEYS[table] if table != "usage" else ["response_key"]
    edited = ", ".join(
        f"{name} = CASE typeof({name}) WHEN 'integer' THEN {name} + 1 WHEN 'text' THEN {name} || 'x' ELSE 7 END"
        for name in names or KEYS[table]
    )
    one = f"(SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET (SELECT COUNT(*) / 2 FROM {table}))"
    found = [
        each for each in after(copy, f"UPDATE {table} SET {edited} WHERE {key} = {one}") if each.kind == "projection"
    ]
    assert {finding.where.split(" ")[0] for finding in found} == {table}
    if names:
        assert [finding.what.split(" is ")[0] for finding in found] == sorted(names)
    else:
        assert [finding.what for finding in found] == ["is in no event", "is missing"]


@pytest.mark.parametrize("table", COLUMNS)
def test_a_row_that_was_deleted_is_named(copy, table):
    key = KEYS[table][0]
    found = after(copy, f"DELETE FROM {table} WHERE {key} = (SELECT MAX({key}) FROM {table})")
    assert (f"{table} ", "is missing") in {(finding.where[: len(table) + 1], finding.what) for finding in found}


def test_of_many_calls_the_one_that_was_deleted_is_named(copy):
    with closing(sqlite3.connect(copy)) as connection:
        [(call_id,)] = connection.execute("SELECT call_id FROM call WHERE rowid = 2000")
    found = after(copy, "DELETE FROM call WHERE rowid = 2000")
    assert told(found) == {("projection", f"call {call_id}", "is missing")}


ADDED = [
    ("session", "session_id", "'x'"), ("budget", "budget_id", "'x'"), ("price", "price_id", "'x'"),
    ("call", "call_id", "'x'"), ("usage", "response_key", "'x'"), ("client_session", "client", "'x'"),
    ("session_budget", "budget_id", "'x'"), ("bill", "bill_id", "'x'"), ("bill_line", "number", "7"),
    ("calibration_sample", "call_id", "'x'"), ("calibration_start", "client", "'x'"),
    ("calibration_factor", "model", "'x'"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "name", "value"), ADDED)
def test_a_row_that_was_added_is_named(copy, table, name, value):
    names = COLUMNS[table]
    chosen = ", ".join(value if each == name else each for each in names)
    found = after(copy, f"INSERT INTO {table} ({', '.join(names)}) SELECT {chosen} FROM {table} LIMIT 1")
    [finding] = [finding for finding in found if finding.kind == "projection"]
    assert (finding.where.split(" ")[0], finding.what) == (table, "is in no event")


@pytest.mark.parametrize("edit", ["limit_nanos + 1", "limit_nanos * 0"])
def test_edits_of_all_rows_of_a_table_are_told_up_to_a_bound(copy, edit):
    found = after(copy, f"UPDATE call SET booked_nanos = (SELECT {edit} FROM budget LIMIT 1) + 12345")
    assert len(found) == 100
    assert "projection" in {finding.kind for finding in found}
    assert {finding.kind for finding in found} <= {"file", "projection"}


@pytest.mark.parametrize("counter", ["spent_nanos", "reserved_nanos"])
@pytest.mark.parametrize("amount", [1, -1])
def test_a_counter_that_events_and_table_agree_on_and_no_call_explains_is_named(tmp_path, counter, amount):
    world = make_world(tmp_path)
    session = world.start("10")
    world.ask(session, 1000)
    record_usage(world.rt, UsageReport(world.ask(session, 1000).call_id, Tokens(1000)))
    budget = world.budget(session)
    with world.ledger.writing() as tx:
        wrong = getattr(budget, counter.removesuffix("_nanos")) + amount
        tx.append("wrong", [Update("budget", {"budget_id": session, counter: wrong})], by="t")
    counted = {"spent_nanos": budget.spent, "reserved_nanos": budget.reserved, counter: wrong}
    for rows_max in (0, 2, 100):
        [finding] = audit(world.ledger, rows_max=rows_max)
        assert (finding.kind, finding.where) == ("counters", f"budget {session}")
        assert finding.what == (
            f"spent and reserved are {tuple(counted.values())}, its calls and responses add up to"
            f" {(budget.spent, budget.reserved)}"
        )
    world.ledger.close()


def test_a_ledger_without_events_and_rows_verifies(tmp_path):
    world = make_world(tmp_path)
    assert world.problems() == []
    with world.ledger.reading() as reader:
        assert reader.head() == Head()
    world.ledger.close()


FILL = """
import sys
from pathlib import Path
from bench.fill import fill
fill(Path(sys.argv[1]), int(sys.argv[2]))
"""
CHECK = """
import sys
from pathlib import Path
from bench.verify import check, peak_kibibytes
assert check(Path(sys.argv[1]) / "data" / "ledger.db") == 0
print(peak_kibibytes())
"""


def python(*arguments):
    root = Path(__file__).parent.parent.parent
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(root / "src"), str(root)))}
    return subprocess.check_output([sys.executable, "-c", *map(str, arguments)], env=environ, cwd=root, text=True)


@pytest.mark.timeout(180)
def test_four_times_the_events_take_no_more_memory(tmp_path):
    peaks = []
    for calls in (10_000, 40_000):
        python(FILL, tmp_path / str(calls), calls)
        peaks.append(int(python(CHECK, tmp_path / str(calls))))
    assert peaks[1] - peaks[0] < 12 * 1024
