"""What somebody with the file in hand could do to it, and whether it is seen."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from tests.world import Clock, make_world

from tallygate.core.costing import Tokens
from tallygate.core.proof import GENESIS, event_hash
from tallygate.ledger.audit.audit import SettlingTables, audit
from tallygate.ledger.rows import COLUMNS
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.sessions.ending import end_session


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A closed ledger with some of everything in it."""
    folder = tmp_path_factory.mktemp("history")
    world = make_world(folder)
    session = world.start("10")
    child = world.start("5", parent_session_id=session)
    for index in range(5):
        answer = world.ask(child, 100 + index)
        if index == 0:
            void_call(world.rt, answer.call_id, "no")
        elif index < 3:
            record_usage(world.rt, UsageReport(answer.call_id, Tokens(50)))
    world.ask(child, 100_000)
    end_session(world.rt, session)
    world.ledger.close()
    return folder / "ledger.db"


def tampered(history, tmp_path, *statements):
    path = tmp_path / "copy.db"
    path.write_bytes(history.read_bytes())
    path.chmod(0o600)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for name in ("event_never_changes", "event_never_goes", "call_resolves_once"):
        (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
        connection.execute(f"DROP TRIGGER {name}")
        statements = (*statements, sql)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    ledger = SqliteLedger(path, clock=Clock(), new_ledger_id=lambda: "ff" * 16)
    try:
        return audit(ledger)
    finally:
        ledger.close()


def test_an_untouched_ledger_verifies(history, tmp_path):
    assert tampered(history, tmp_path) == []


ATTACKS = [
    ("a raised limit", "UPDATE budget SET limit_nanos = 99000000000 WHERE scope = 'session'", "projection"),
    ("spend set to nothing", "UPDATE budget SET spent_nanos = 0", "projection"),
    ("a cheaper call", "UPDATE call SET booked_nanos = 1 WHERE state = 'reconciled'", "projection"),
    ("a deleted call", "DELETE FROM call WHERE state = 'denied'", "projection"),
    ("a halt made an allow", "UPDATE call SET action = 'allow' WHERE state = 'denied'", "projection"),
    ("a reopened session", "UPDATE session SET state = 'open', ended_us = NULL", "projection"),
    ("another price basis", "UPDATE price SET basis = '{}'", "projection"),
    (
        "an edited event",
        "UPDATE event SET body = CAST(replace(CAST(body AS TEXT), 'test', 'nest') AS BLOB) WHERE seq = 4",
        "chain",
    ),
    ("a deleted event", "DELETE FROM event WHERE seq = 3", "chain"),
    ("a cut tail", "DELETE FROM event WHERE seq > 8", "projection"),
    ("swapped events", "UPDATE event SET seq = CASE seq WHEN 4 THEN 500 WHEN 5 THEN 4 ELSE seq END", "chain"),
    (
        "an injected trigger",
        "CREATE TRIGGER free AFTER INSERT ON call BEGIN UPDATE budget SET spent_nanos = 0; END",
        "schema",
    ),
    ("a missing index", "DROP INDEX call_waiting", "schema"),
    ("a row nobody wrote", "INSERT INTO price VALUES ('default', 'x', '{}')", "projection"),
]


@pytest.mark.parametrize(("name", "attack", "kind"), ATTACKS, ids=[name for name, *_ in ATTACKS])
def test_the_audit_sees(history, tmp_path, name, attack, kind):
    findings = tampered(history, tmp_path, attack)
    assert kind in {finding.kind for finding in findings}
    assert all(finding.what and finding.meaning for finding in findings)


def test_only_an_outside_head_can_tell_a_complete_forgery(history, tmp_path):
    """Rewriting every hash after an edit fools the chain, not a head that somebody wrote down."""
    path = tmp_path / "forged.db"
    path.write_bytes(history.read_bytes())
    path.chmod(0o600)
    connection = sqlite3.connect(path)
    before = connection.execute("SELECT hash FROM event ORDER BY seq DESC LIMIT 1").fetchone()[0]
    connection.execute("DROP TRIGGER event_never_changes")
    (ledger_id,) = connection.execute("SELECT ledger_id FROM ledger").fetchone()
    previous = GENESIS
    for seq, body in connection.execute("SELECT seq, body FROM event ORDER BY seq").fetchall():
        changed = body.replace(b'"by":"test"', b'"by":"nobody"')
        previous = event_hash(f"{ledger_id}/default", seq, previous, changed)
        connection.execute("UPDATE event SET body = ?, hash = ? WHERE seq = ?", (changed, previous, seq))
    connection.commit()
    connection.close()
    assert previous != before


def test_a_flipped_byte_anywhere_in_an_event_is_seen(history, tmp_path):
    ledger = SqliteLedger(history, clock=Clock(), new_ledger_id=lambda: "ff" * 16)
    sizes = [size for (size,) in ledger.rows("SELECT length(body) FROM event WHERE seq = 5")]
    ledger.close()
    for at in range(1, sizes[0] + 1, max(1, sizes[0] // 12)):
        flip = (
            f"UPDATE event SET body = CAST(substr(body, 1, {at - 1}) || x'7E' || substr(body, {at + 1}) AS BLOB)"
            " WHERE seq = 5"
        )
        assert tampered(history, tmp_path, flip), at


def test_what_an_event_contradicts_or_no_table_has_is_told(tmp_path):
    """Hashes alone make no truth: these are events that somebody could chain."""
    row = {"price_id": "p", "basis": "{}"}
    rows = [["+", "price", row], ["+", "price", row], ["+", "event", {"seq": 1}], ["!", "price", row]]
    rows += [["~", "price", {"price_id": "q", "basis": "{}"}], ["-", "price", {"price_id": "q"}]]
    world = make_world(tmp_path)
    with world.ledger.reading(), closing(SettlingTables(world.ledger.rows, COLUMNS)) as tables:
        tables.take({"at_us": 7, "tenant": "t", "rows": rows})
        assert tables.faults == [
            "price p is inserted twice",
            "event at 7 names table 'event'",
            "event at 7 names '!' of a row of price",
            "price q is updated before it is inserted",
            "price q is deleted before it is inserted",
        ]
    world.ledger.close()
