"""The table of attacks: whatever is done to a row of a ledger of ten thousand events is reported, with its kind.

Tables and columns are those that there are: a new one is attacked without being named here.
"""

from __future__ import annotations

import random
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from tests.world import make_world

from tallygate.attest.keyring import KeyRing
from tallygate.core.costing import Tokens
from tallygate.core.proof import GENESIS, event_hash
from tallygate.ledger.audit.audit import COLUMNS
from tallygate.ledger.audit.rebuild import rebuild
from tallygate.ledger.events import KEYS
from tallygate.ledger.port import Insert
from tallygate.ledger.store.proof import ATTESTATION_COLUMNS, SIGNING_KEY_COLUMNS
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.proof import attest
from tallygate.operations.proof.evidence import Area
from tallygate.operations.proof.verify import OutsideEvidence, verify_ledger
from tallygate.operations.sessions.ending import end_session

EVENTS, ROWS_MIN = 10_000, 40
MIDDLE = EVENTS // 2
CHOICE = random.Random(20_260_922)  # the same rows in every run
POSITIONS = sorted({1, MIDDLE, EVENTS - 1, *(CHOICE.randrange(2, EVENTS - 1) for _ in range(2))})
WITHOUT_AMOUNT = {"charges": None, "holds": "[]"}


@dataclass(frozen=True)
class History:
    """A ledger's file that is closed, and what an auditor has from elsewhere."""

    path: Any
    keys: Any
    head: bytes
    log: Any


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Ten thousand events, at least forty rows in every table, everything signed, one rotation of the key."""
    folder = tmp_path_factory.mktemp("attacked")
    world = make_world(folder).with_runtime(keys=KeyRing(folder / "keys"))
    world.ledger._connection.execute("PRAGMA synchronous = OFF")
    small = [world.start("1", task_summary=f"task {number}") for number in range(ROWS_MIN)]
    for number, session in enumerate(small):
        record_usage(world.rt, UsageReport(world.ask(session, 10 + number).call_id, Tokens(10)))
        world.ask(session, 5000)
    first = attest.checkpoint(world.rt)
    world.rt.services.keys.rotate()
    for session in small[: ROWS_MIN // 2]:
        end_session(world.rt, session)
    plant(world)
    large = world.start("9000000")
    while world.events() < EVENTS - 5:
        answer = world.ask(large, 10)
        if world.events() % 10:
            record_usage(world.rt, UsageReport(answer.call_id, Tokens(5)))
    end_session(world.rt, small[-1])
    attest.newest(world.rt, 1)
    while world.events() < EVENTS:
        world.ask(large, 10)
    assert first is not None
    with world.ledger.reading() as reader:
        head = reader.head()
    world.ledger.close()
    assert head.seq == EVENTS
    return History(world.ledger.path, world.rt.services.keys.trusted(), head.hash, world.rt.workspace.run_log_path)


def plant(world):
    """Rows for the tables that have too few, as their own definitions allow them."""
    connection = world.ledger._connection
    for table in KEYS:
        [(there,)] = connection.execute(f"SELECT COUNT(*) FROM {table}")
        changes = [Insert(table, made_up(connection, table, number)) for number in range(there, ROWS_MIN)]
        if changes:
            with world.ledger.writing() as tx:
                tx.append("planted", changes, by="test")


def made_up(connection, table, number):
    """A row that every rule of its table accepts."""
    [(sql,)] = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,))
    choices = dict(re.findall(r"CHECK \((\w+) IN \('?(\w+)", sql))
    lengths = dict(re.findall(r"CHECK \(length\((\w+)\) = (\d+)\)", sql))
    row = {}
    for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table})"):
        if name in choices:
            row[name] = int(choices[name]) if kind == "INTEGER" else choices[name]
        elif kind == "INTEGER":
            row[name] = 1000 + number
        else:
            row[name] = f"{number:0{lengths[name]}}" if name in lengths else f"{name}{number}"
    for _, _, parent, name, theirs, *_ in connection.execute(f"PRAGMA foreign_key_list({table})"):
        if name != "tenant":
            sql = f"SELECT {theirs} FROM {parent} ORDER BY {theirs} LIMIT 1 OFFSET {number % ROWS_MIN}"
            row[name] = connection.execute(sql).fetchone()[0]
    row |= {name: value for name, value in {**WITHOUT_AMOUNT, "served": '[[null,"Bash"]]'}.items() if name in row}
    return {name: row[name] for name in COLUMNS[table] if name != "tenant" and row[name] is not None}


@pytest.fixture
def copy(history, tmp_path):
    path = tmp_path / "ledger.db"
    path.write_bytes(history.path.read_bytes())
    path.chmod(0o600)
    return path


def edited(path, *statements):
    """Write to a file as somebody does who has it in hand: no check, no trigger, nothing left of that."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("BEGIN")
        for sql, *values in statements:
            assert connection.execute(sql, values).rowcount > 0, sql
        connection.execute("COMMIT")
        for _, sql in triggers:
            connection.execute(sql)


def reported(history, path, **asked):
    return verify_ledger(path, OutsideEvidence(history.keys, **asked))


def kinds(report):
    return set(report.counted)


def rows_of(path, sql, *values):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


def test_the_ledger_itself_verifies_and_every_table_can_be_attacked(history):
    report = reported(history, history.path, head=history.head, log=history.log)
    assert report.broken == []
    assert dict(report.facts)["chain"].startswith(f"default: {EVENTS:,} events")
    assert min(rows_of(history.path, f"SELECT COUNT(*) FROM {table}")[0][0] for table in KEYS) >= ROWS_MIN
    assert {each.split(" ")[1] for each in dict(report.facts)["signed"].split(", ")} == {
        "budget-exhausted", "checkpoint", "session-summary",
    }  # fmt: skip


# ---------------------------------------------------------------- events

OTHER_BYTES = "UPDATE event SET body = CAST(replace(body, '\"by\"', '\"bY\"') AS BLOB) WHERE seq = {0}"
ON_EVENTS = {
    "T2 edited bytes": [OTHER_BYTES],
    "edited hash": ["UPDATE event SET hash = randomblob(32) WHERE seq = {0}"],
    "edited time": ["UPDATE event SET at_us = at_us + 1 WHERE seq = {0}"],
    "deleted": ["DELETE FROM event WHERE seq = {0}"],
    "moved behind the next": [
        "UPDATE event SET id = -1 WHERE seq = {0}",
        "UPDATE event SET id = id - 1 WHERE seq = {0} + 1",
        "UPDATE event SET id = (SELECT id + 1 FROM event WHERE seq = {0} + 1) WHERE id = -1",
    ],
    "numbers swapped with the next": [
        "UPDATE event SET seq = CASE seq WHEN {0} THEN -1 ELSE -2 END WHERE seq IN ({0}, {0} + 1)",
        "UPDATE event SET seq = CASE seq WHEN -2 THEN {0} ELSE {0} + 1 END WHERE seq < 0",
    ],
    "bytes swapped with one far away": [
        "UPDATE event SET body = (SELECT b.body FROM event b WHERE b.seq = {1} - event.seq) WHERE seq IN ({0}, {2})",
    ],
}


@pytest.mark.parametrize("seq", POSITIONS)
@pytest.mark.parametrize("attack", ON_EVENTS)
def test_an_attack_on_an_event_breaks_the_chain_there(history, copy, attack, seq):
    far = EVENTS + 1 - seq if seq != MIDDLE else MIDDLE + 7
    edited(copy, *([sql.format(seq, seq + far, far)] for sql in ON_EVENTS[attack]))
    report = reported(history, copy)
    assert Area.CHAIN in kinds(report)
    first = min(int(each.where.split()[1]) for each in report.broken if each.part is Area.CHAIN)
    assert first in (seq, seq + 1, min(seq, far))


@pytest.mark.parametrize("attack", ["T2 edited bytes", "edited hash", "edited time"])
def test_an_attack_on_the_last_event_breaks_the_chain(history, copy, attack):
    edited(copy, *([sql.format(EVENTS)] for sql in ON_EVENTS[attack]))
    assert Area.CHAIN in kinds(reported(history, copy))


@pytest.mark.parametrize("kept", [EVENTS - 1, EVENTS - 3, MIDDLE, 1])
def test_a_tail_that_was_cut_off_leaves_tables_and_signatures_that_no_event_explains(history, copy, kept):
    """T3: the job half done."""
    edited(copy, ["DELETE FROM event WHERE seq > ?", kept])
    assert {Area.PROJECTION} <= kinds(reported(history, copy))
    assert Area.HEAD in kinds(reported(history, copy, head=history.head))


def test_a_tail_that_was_cut_off_with_all_its_traces_is_told_by_what_was_kept_elsewhere(history, copy):
    """T3: the tables made anew, what was signed removed."""
    edited(copy, ["DELETE FROM event WHERE seq > ?", EVENTS - 500])
    assert rebuild(copy, at_us=0, lock_timeout_ms=500) is not None
    assert kinds(reported(history, copy)) == {Area.HEAD, Area.KEY}, "something was signed of the events that are gone"
    later = "seq > (SELECT MAX(seq) FROM event)"
    edited(copy, *([f"DELETE FROM {table} WHERE {later}"] for table in ("attestation", "signing_key")))
    assert kinds(reported(history, copy)) == set(), "nothing inside can tell"
    assert kinds(reported(history, copy, head=history.head)) == {Area.HEAD}


# ---------------------------------------------------------------- tables


@dataclass(frozen=True)
class Found:
    """A row of a table: how to reach it, and how a report names it."""

    place: str
    name: str


def rows_in(path, table):
    """The rows of a table in an order that chance chose, those at its ends and its middle before all others."""
    keys = ", ".join(KEYS[table])
    found = []
    for values in rows_of(path, f"SELECT {keys} FROM {table} WHERE tenant = 'default' ORDER BY {keys}"):
        place = " AND ".join(
            f"{name} = {value!r}" if isinstance(value, int) else f"{name} = '{value}'"
            for name, value in zip(KEYS[table], values, strict=True)
        )
        found.append(Found(place, f"{table} {'/'.join(map(str, values))}"))
    ends = [found[0], found[len(found) // 2], found[-1]]
    others = [row for row in found if row not in ends]
    return [*ends, *random.Random(table).sample(others, min(len(others), 60))]


def told_of(report):
    return {
        (each.where, each.what.split(" is ")[0] if " says" in each.meaning else each.what) for each in report.broken
    }


@pytest.mark.parametrize("table", KEYS)
def test_each_column_of_single_rows_that_were_edited_is_named(history, copy, table):
    """T1: a raised limit, a counter set to nothing, and everything else that can be written into a row."""
    names = [name for name in COLUMNS[table] if name not in ("tenant", *KEYS[table])]
    rows = rows_in(history.path, table)
    chosen = [(rows[number % len(rows)], name) for number, name in enumerate(names)]
    chosen += [(rows[number], names[0]) for number in range(3) if names]
    other = "CASE typeof({0}) WHEN 'integer' THEN {0} + 1 WHEN 'text' THEN {0} || 'x' ELSE 7 END"
    chosen = list(dict.fromkeys(chosen))
    edited(copy, *([f"UPDATE {table} SET {name} = {other.format(name)} WHERE {row.place}"] for row, name in chosen))
    report = reported(history, copy)
    found = {(each.where, each.what.split(" is ")[0]) for each in report.broken if each.part is Area.PROJECTION}
    assert found == {(row.name, name) for row, name in chosen}


@pytest.mark.parametrize("table", KEYS)
def test_single_rows_that_were_deleted_or_given_another_key_are_named(history, copy, table):
    rows = rows_in(history.path, table)
    renamed, *gone = rows[:6]
    key = KEYS[table][-1]
    other = f"CASE typeof({key}) WHEN 'integer' THEN {key} + 100000 ELSE {key} || 'x' END"
    edited(
        copy,
        *([f"DELETE FROM {table} WHERE {row.place}"] for row in gone),
        [f"UPDATE {table} SET {key} = {other} WHERE {renamed.place}"],
    )
    found = [(each.where, each.what) for each in reported(history, copy).broken if each.part is Area.PROJECTION]
    assert {where for where, what in found if what == "is missing"} == {row.name for row in (*gone, renamed)}
    assert [what for where, what in found if what != "is missing"] == ["is in no event"]


@pytest.mark.parametrize("table", [table for table in KEYS if set(COLUMNS[table]) - {"tenant", *KEYS[table]}])
def test_rows_that_were_swapped_are_both_named(history, copy, table):
    """Everything but the keys of two rows, so that no sum of a table tells."""
    names = [name for name in COLUMNS[table] if name not in ("tenant", *KEYS[table])]
    listed = ", ".join(names)
    one, *others = rows_in(history.path, table)
    [mine] = rows_of(history.path, f"SELECT {listed} FROM {table} WHERE {one.place}")
    for other in others:
        [theirs] = rows_of(history.path, f"SELECT {listed} FROM {table} WHERE {other.place}")
        if theirs != mine:
            break
    put = f"UPDATE {table} SET ({listed}) = ({', '.join('?' * len(names))}) WHERE "
    with closing(sqlite3.connect(copy)) as connection:
        unique = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE tbl_name = ? AND sql LIKE 'CREATE UNIQUE%'", (table,)
        ).fetchall()
        for name, _ in unique:
            connection.execute(f"DROP INDEX {name}")
        connection.commit()
    edited(copy, [put + one.place, *theirs], [put + other.place, *mine])
    with closing(sqlite3.connect(copy)) as connection:
        for _, sql in unique:
            connection.execute(sql)
    found = {each.where for each in reported(history, copy).broken if each.part is Area.PROJECTION}
    assert found == {one.name, other.name}


# ---------------------------------------------------------------- what is signed

TIMES = ("issued_us", "tenant")  # when a signature was made is signed nowhere; a tenant of its own has no such event
ON_ATTESTATIONS = [name for name in ATTESTATION_COLUMNS if name not in TIMES]


@pytest.mark.parametrize("name", ON_ATTESTATIONS)
def test_each_column_of_an_attestation_that_was_edited_is_reported(history, copy, name):
    """T28: a statement for another session, call or event."""
    others = {
        "kind": "CASE kind WHEN 'checkpoint' THEN 'session-summary' ELSE 'checkpoint' END",
        "event_hash": "randomblob(32)", "payload": "CAST(payload || ' ' AS BLOB)", "seq": "seq + 1",
        "attestation_id": "substr(attestation_id, 1, 35) || 'x'",
        "envelope": "replace(envelope, '\"sig\":\"', '\"sig\":\"AAAA')",
    }  # fmt: skip
    edit = others.get(name, f"{name} || 'x'")
    rows = rows_of(history.path, f"SELECT id, attestation_id FROM attestation WHERE {name} IS NOT NULL ORDER BY id")
    chosen = [rows[0], rows[len(rows) // 2], rows[-1]]
    edited(copy, *([f"UPDATE attestation SET {name} = {edit} WHERE id = ?", number] for number, _ in chosen))
    report = reported(history, copy)
    assert kinds(report) == {Area.ATTESTATION}
    assert report.counted[Area.ATTESTATION] >= 3
    if name != "attestation_id":
        assert {each.where.removeprefix("attestation ") for each in report.broken} == {each for _, each in chosen}


def test_attestations_that_were_deleted_are_said_to_be_missing_and_can_be_made_again(history, copy):
    edited(copy, ["DELETE FROM attestation WHERE kind = 'budget-exhausted' AND id % 2 = 0"])
    report = reported(history, copy)
    assert kinds(report) == {Area.ATTESTATION}
    assert "call for an attestation and have none" in report.broken[0].what


def test_an_envelope_of_another_row_is_reported(history, copy):
    """T28: a statement about another refusal in the place of this one."""
    first, last = (f"(SELECT {way}(id) FROM attestation WHERE kind = 'budget-exhausted')" for way in ("MIN", "MAX"))
    columns = "payload, envelope, keyid"
    other = f"SELECT {columns} FROM attestation WHERE id = {last}"
    edited(copy, [f"UPDATE attestation SET ({columns}) = ({other}) WHERE id = {first}"])
    assert kinds(reported(history, copy)) == {Area.ATTESTATION}


@pytest.mark.parametrize("name", [name for name in SIGNING_KEY_COLUMNS if name != "tenant"])
def test_each_column_of_a_signing_key_that_was_edited_is_reported(history, copy, name):
    """T29: a key of somebody else in the place of one that signed."""
    other = f"CASE typeof({name}) WHEN 'integer' THEN {name} + 1 ELSE 'x' || {name} END"
    edited(copy, [f"UPDATE signing_key SET {name} = {other} WHERE seq = (SELECT MIN(seq) FROM signing_key)"])
    assert kinds(reported(history, copy)) == {Area.KEY}


def test_a_signing_key_that_was_deleted_is_reported(history, copy):
    edited(copy, ["DELETE FROM signing_key WHERE seq = (SELECT MAX(seq) FROM signing_key)"])
    assert kinds(reported(history, copy)) == {Area.KEY}


# ---------------------------------------------------------------- a whole forgery


def forged(path):
    """T5: a limit raised in its event and its row, and every hash after it made anew."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("BEGIN")
        [(ledger_id,)] = connection.execute("SELECT ledger_id FROM ledger")
        previous = GENESIS
        for number, seq, body in connection.execute("SELECT id, seq, body FROM event ORDER BY id").fetchall():
            changed = body.replace(b'"limit_nanos":9000000000000000', b'"limit_nanos":9000000000000001')
            previous = event_hash(f"{ledger_id}/default", seq, previous, changed)
            connection.execute("UPDATE event SET body = ?, hash = ? WHERE id = ?", (changed, previous, number))
        raised = "UPDATE budget SET limit_nanos = limit_nanos + 1 WHERE limit_nanos = 9000000000000000"
        assert connection.execute(raised).rowcount == 1
        connection.execute("COMMIT")
        for _, sql in triggers:
            connection.execute(sql)


def test_a_whole_forgery_is_told_by_what_was_signed_and_without_that_by_an_anchor_alone(history, copy):
    """T5: chain, tables and schema hold. T6: the same is true of an older copy."""
    forged(copy)
    assert Area.HEAD in kinds(reported(history, copy))
    assert not {Area.CHAIN, Area.PROJECTION, Area.SCHEMA, Area.COUNTERS} & kinds(reported(history, copy))
    edited(copy, ["DELETE FROM attestation"])
    assert kinds(reported(history, copy)) == {Area.ATTESTATION}, "what was signed is gone; nothing else inside can tell"
    assert kinds(reported(history, copy, head=history.head)) == {Area.ATTESTATION, Area.HEAD}


def test_a_forgery_is_told_by_the_lines_of_a_run_log(history, copy):
    forged(copy)
    edited(copy, ["DELETE FROM attestation"])
    report = reported(history, copy, log=history.log)
    assert kinds(report) == {Area.RUN_LOG, Area.ATTESTATION}
    assert report.counted[Area.RUN_LOG] == 1, "the others ended before the event that was forged"
