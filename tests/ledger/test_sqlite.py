from __future__ import annotations

import os
import sqlite3
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.reading_rules import Rule
from tests.world import Clock, changed, make_world

from tallygate.core.costing import Tokens
from tallygate.core.errors import InvariantBroken, LedgerCorrupt, LedgerTooNew, LedgerUnavailable, NotFound
from tallygate.core.usage import ObservedUsage
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.port import Delete, Insert, LedgerBusy, StoredUsage, Update
from tallygate.ledger.rows import COLUMNS, from_usage
from tallygate.ledger.sqlite.database import LOG_PAGES, PAGE_BYTES, SqliteLedger
from tallygate.ledger.sqlite.deferred import DeferredLedger
from tallygate.ledger.sqlite.files import APPLICATION_ID, FileLock, migrations, statements
from tallygate.ledger.transaction import SELECT_HEAD
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.gate.record import UsageReport, record_usage

USAGE = ObservedUsage(
    client="claude_code",
    session="c",
    response_key="m1",
    at=datetime(2026, 9, 21, tzinfo=UTC),
    model="dear",
    tokens=Tokens(1, 2, 3, 4, 5),
    rule=Rule.CLAUDE_RESPONSE,
    request_id="r1",
)


def open_ledger(path, **options):
    return SqliteLedger(path, clock=Clock(), new_ledger_id=lambda: "cd" * 16, **{"lock_timeout_ms": 200, **options})


@pytest.fixture
def world(tmp_path):
    made = make_world(tmp_path)
    yield made
    made.ledger.close()


def test_a_new_ledger_and_its_companions_are_this_user_s_alone(tmp_path):
    ledger = open_ledger(tmp_path / "deep" / "er" / "ledger.db")
    with ledger.writing() as tx:
        tx.append("test", [], by="t")
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in ledger.path.parent.iterdir()}
    assert set(modes) >= {"ledger.db", "ledger.db-wal", "ledger.db.lock"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(ledger.path.parent.stat().st_mode) == 0o700
    ledger.close()


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o606])
def test_a_ledger_that_others_can_reach_is_refused_with_the_cure(tmp_path, mode):
    open_ledger(tmp_path / "l.db").close()
    (tmp_path / "l.db").chmod(mode)
    with pytest.raises(LedgerUnavailable, match="chmod 600") as refused:
        open_ledger(tmp_path / "l.db")
    assert refused.value.code == "storage_unsafe"


def test_a_link_or_a_special_file_is_no_ledger(tmp_path):
    open_ledger(tmp_path / "real.db").close()
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    os.mkfifo(tmp_path / "pipe.db")
    for name in ("link.db", "pipe.db"):
        with pytest.raises(LedgerUnavailable, match="not a regular file"):
            open_ledger(tmp_path / name)


def test_another_program_s_database_is_left_as_it_is(tmp_path):
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE sessions (id TEXT)")
    other.commit()
    other.close()
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(LedgerCorrupt, match="not a Tallygate ledger"):
        open_ledger(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_reported_and_kept(tmp_path):
    path = tmp_path / "noise.db"
    path.write_bytes(b"not a database" * 1000)
    path.chmod(0o600)
    with pytest.raises(LedgerCorrupt, match="damaged"):
        open_ledger(path)
    assert path.read_bytes().startswith(b"not a database")


def test_a_ledger_of_a_newer_version_is_refused(tmp_path):
    open_ledger(tmp_path / "l.db").close()
    connection = sqlite3.connect(tmp_path / "l.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerTooNew, match="schema 99"):
        open_ledger(tmp_path / "l.db")


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
def test_the_file_is_opened_with_the_safe_settings(tmp_path, durability, level):
    ledger = open_ledger(tmp_path / "l.db", durability=durability)
    answers = {
        name: ledger._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("synchronous", "foreign_keys", "trusted_schema", "cell_size_check", "mmap_size", "application_id")
    }
    assert answers == {
        "synchronous": level,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "mmap_size": 0,
        "application_id": APPLICATION_ID,
    }
    ledger.close()


def test_a_long_session_writes_its_log_over_and_over_and_does_not_extend_it(world):
    session_id = world.start("100")
    log = world.ledger.path.with_name(world.ledger.path.name + "-wal")
    page = world.ledger._connection.execute("PRAGMA page_size").fetchone()[0]
    for _ in range(LOG_PAGES // 4):
        authorize(world.rt, StatedStep(session_id, "edit"))
    assert LOG_PAGES * page < log.stat().st_size < LOG_PAGES * page * 5 // 4
    assert audit(world.ledger) == []


def test_a_ledger_that_is_removed_or_replaced_while_in_use_is_not_counted_into(world):
    session = world.start()
    world.ledger.path.rename(world.ledger.path.with_name("moved.db"))
    answer = world.ask(session, 1)
    assert (answer.action, answer.reason) == ("halt", "ledger_unavailable")
    assert "removed or replaced" in answer.message
    open_ledger(world.ledger.path).close()
    assert world.ask(session, 1).reason == "ledger_unavailable", "a fresh file is not a fresh budget"


def test_a_ledger_that_cannot_be_opened_yet_halts_and_is_tried_again(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    deferred = DeferredLedger(lambda: open_ledger(blocked / "ledger.db"))
    rt = changed(make_world(tmp_path).rt, ledger=deferred)
    for _ in range(2):
        answer = authorize(rt, StatedStep("session_a", "t", model="dear"))
        assert (answer.action, answer.reason) == ("halt", "ledger_unavailable")
    blocked.unlink()
    with pytest.raises(NotFound):
        authorize(rt, StatedStep("session_a", "t", model="dear"))
    deferred.close()
    rt.services.ledger.close()


def test_a_ledger_keeps_its_identity_when_it_is_opened_again(tmp_path):
    first = open_ledger(tmp_path / "l.db")
    identity = first.ledger_id
    first.close()
    first.close()
    again = SqliteLedger(tmp_path / "l.db", clock=Clock(), new_ledger_id=lambda: "ee" * 16)
    assert again.ledger_id == identity
    again.close()


def test_events_can_be_neither_changed_nor_deleted(world):
    world.ask(world.start(), 1)
    for sql in ("UPDATE event SET body = x'00'", "DELETE FROM event", "UPDATE event SET seq = seq + 1"):
        with pytest.raises(sqlite3.IntegrityError, match="never"), world.ledger.writing():
            world.ledger._connection.execute(sql)
    assert not world.problems()


def test_a_transaction_that_fails_leaves_nothing(world):
    session = world.start()
    before = world.events()
    row = {"session_id": session, "model": "other"}
    with pytest.raises(RuntimeError), world.ledger.writing() as tx:
        tx.append("test", [Update("session", row)], by="t")
        raise RuntimeError("stop")
    assert world.events() == before
    assert not world.problems()


def test_an_update_of_nothing_is_a_fault_of_the_program(world):
    with pytest.raises(InvariantBroken), world.ledger.writing() as tx:
        tx.append("test", [Update("session", {"session_id": "nowhere", "model": "x"})], by="t")


def test_only_projection_tables_can_be_written(world):
    with pytest.raises(InvariantBroken), world.ledger.writing() as tx:
        tx.append("test", [Insert("sqlite_schema", {"name": "x"})], by="t")


def test_ledger_time_never_stands_still_and_never_goes_back(world):
    times = []
    for step in (0, -1_000_000, 5, 0, -86_400_000_000):
        world.clock.forward(step)
        with world.ledger.writing() as tx:
            times += [tx.append("test", [], by="t").at_us for _ in range(2)]
    assert times == sorted(set(times))
    assert not world.problems()


def test_a_clock_behind_the_ledger_s_time_is_noted_in_the_event(world):
    world.start()
    world.clock.forward(-3_600_000_000)
    world.start()
    bodies = [body.decode() for (body,) in world.ledger.rows("SELECT body FROM event ORDER BY seq")]
    assert "wall_us" not in bodies[0]
    assert "wall_us" in bodies[1]


def test_a_held_lock_is_waited_for_with_a_bound_and_its_holder_named(world):
    other = FileLock(world.ledger.path.with_name("ledger.db.lock"), timeout_ms=0)
    with other:
        with pytest.raises(LedgerUnavailable) as refused:
            world.start()
        assert refused.value.code == "lock_timeout"
        assert str(os.getpid()) in refused.value.message
        with world.ledger.at_once(), pytest.raises(LedgerBusy):
            world.start()
    other.close()
    assert world.start()


def test_a_halt_names_the_lock_it_waited_for(world):
    session = world.start()
    other = FileLock(world.ledger.path.with_name("ledger.db.lock"), timeout_ms=0)
    with other:
        answer = world.ask(session, 1)
    other.close()
    assert (answer.action, answer.reason) == ("halt", "ledger_unavailable")
    assert f"process {os.getpid()}" in answer.message


def test_many_threads_share_one_ledger(world):
    session = world.start("1")
    answers = []
    threads = [
        threading.Thread(target=lambda: [answers.append(world.ask(session, 10).action) for _ in range(20)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # From the eightieth on the answer is reroute, which reserves as well; the hundred-and-first is a halt.
    assert (answers.count("allow"), answers.count("reroute"), answers.count("halt")) == (80, 20, 60)
    assert not world.problems()


def test_a_backup_is_a_ledger_of_its_own(world, tmp_path):
    world.ask(world.start(), 1)
    world.ledger.backup(tmp_path / "copy.db")
    (tmp_path / "copy.db").chmod(0o600)
    copy = open_ledger(tmp_path / "copy.db")
    with copy.reading() as reader:
        assert reader.head().seq == world.events()
    copy.close()


def test_every_migration_is_numbered_without_a_gap_and_splits_into_whole_statements():
    numbers = [number for number, _ in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    for _, sql in migrations():
        parts = statements(sql)
        assert all(sqlite3.complete_statement(part) for part in parts)
        assert "".join("".join(parts).split()) == "".join(sql.split())


def test_a_row_is_deleted_by_its_key_alone_and_the_journal_says_so(world):
    row = {"client": "codex", "client_session": "c", "session_id": world.start(), "found_by": "test"}
    key = {name: row[name] for name in ("client", "client_session", "session_id")}
    with world.ledger.writing() as tx:
        tx.append("test", [Insert("client_session", row)], by="test")
    with pytest.raises(InvariantBroken, match="by its key"), world.ledger.writing() as tx:
        tx.append("test", [Delete("client_session", {"client": "codex"})], by="test")
    with world.ledger.writing() as tx:
        tx.append("test", [Delete("client_session", key)], by="test")
    with world.ledger.reading() as reader:
        assert reader.sessions_linked("codex", "c") == []
    assert not world.problems()
    with pytest.raises(InvariantBroken, match="met 0 rows"), world.ledger.writing() as tx:
        tx.append("test", [Delete("client_session", key)], by="test")


def test_a_ledger_of_an_earlier_version_goes_on_with_what_it_holds(tmp_path, monkeypatch):
    every = migrations()
    monkeypatch.setattr("tallygate.ledger.sqlite.files.migrations", lambda: every[:2])
    monkeypatch.setattr("tallygate.ledger.sqlite.database.migrations", lambda: every[:2])
    monkeypatch.setattr("tallygate.ledger.rollups.RolledTables._is_whole", lambda _: False)  # there were no sums
    place = tmp_path / "ledger.db"
    old = open_ledger(place)
    columns = [row[1] for row in old._connection.execute("PRAGMA table_info(usage)") if row[1] != "id"]
    monkeypatch.setitem(COLUMNS, "usage", columns)
    monkeypatch.setattr("tallygate.ledger.transaction.SELECT_OPENING", SELECT_HEAD)  # there was no more to begin with
    with old.writing() as tx:
        usage = from_usage(StoredUsage(USAGE, "p", 5))
        known = {name: value for name, value in usage.items() if name in columns}
        tx.append("test", [Insert("price", {"price_id": "p", "basis": "{}"}), Insert("usage", known)], by="test")
    old.close()
    monkeypatch.undo()
    ledger = open_ledger(place)
    with ledger.reading() as reader:
        assert reader.usage_known("claude_code", ["m1"])["m1"].row == USAGE
        assert [each.row for each in reader.usage_of_requests("claude_code", ["r1"], told=False)] == [USAGE]
    assert audit(ledger) == []
    ledger.close()


def test_every_hot_query_finds_its_rows_by_an_index(world):
    from tallygate.ledger import transaction
    from tallygate.ledger.store import checks
    from tallygate.ledger.store import usage as usage_store

    names = ("tenant", "session_id", "budget_id", "call_id", "at_us", "limit", "price_id", "client", "client_session")
    parameters = dict.fromkeys(names, 1)
    for sql in (
        transaction.SELECT_SESSION_WITH_BUDGETS,
        transaction.SELECT_DUE,
        transaction.SELECT_CALL,
        transaction.SELECT_OPEN_EXACTNESS,
        transaction.SELECT_PRICE,
        usage_store.SELECT_USAGE_OF_REQUESTS + "(:limit)",
        usage_store.SELECT_LAST_FOLDERS,
        checks.SELECT_CHECKS,
        checks.SELECT_SEEN,
    ):
        plan = [row[3] for row in world.ledger._connection.execute("EXPLAIN QUERY PLAN " + sql, parameters)]
        assert not [step for step in plan if step.startswith("SCAN")], (sql, plan)
        assert not [step for step in plan if step.endswith("(tenant=?)")], (sql, plan)


def test_calls_that_are_over_are_not_gone_through_for_those_that_wait(world):
    from tallygate.ledger.transaction import SELECT_PENDING

    parameters = {"tenant": world.rt.tenant, "session_id": world.start("100"), "limit": 500}
    plan = world.ledger._connection.execute("EXPLAIN QUERY PLAN " + SELECT_PENDING, parameters).fetchall()
    assert [row[3] for row in plan if "call_waiting (tenant=?)" in row[3]], plan


def test_those_that_wait_of_one_session_are_told_apart_from_all_others_the_oldest_first(world):
    mine, other = world.start("100"), world.start("100")
    asked = []
    for number in range(6):
        world.clock.forward(1_000_000)
        hurried = world.with_policy(reservation_ttl_us=(60 - number) * 10_000_000)  # the last expires first
        asked.append(hurried.ask(mine, 1).call_id)
        world.ask(other, 1)
    record_usage(world.rt, UsageReport(asked.pop(2), Tokens(fresh_input=1)))
    with world.ledger.writing() as tx:
        assert [call.call_id for call in tx.pending_calls(mine, 100)] == asked
        assert len(tx.pending_calls(other, 100)) == 6
        assert [call.call_id for call in tx.pending_calls(mine, 1)] == [asked[-1]], "the one that expires first"


def test_a_ledger_keeps_the_size_of_its_pages_and_so_do_its_backups(tmp_path, monkeypatch):
    def page_bytes(ledger):
        return ledger._connection.execute("PRAGMA page_size").fetchone()[0]

    new = open_ledger(tmp_path / "new.db")
    assert page_bytes(new) == PAGE_BYTES == 1024
    new.close()
    monkeypatch.setattr("tallygate.ledger.sqlite.database.PAGE_BYTES", 4096)
    old = open_ledger(tmp_path / "old.db")
    old.close()
    monkeypatch.undo()
    again = open_ledger(tmp_path / "old.db")
    assert page_bytes(again) == 4096
    again.backup(tmp_path / "copy.db")
    again.close()
    copy = open_ledger(tmp_path / "copy.db")
    assert page_bytes(copy) == 4096
    copy.close()


def usage_row(number, **changed):
    stored = StoredUsage(replace(USAGE, response_key=f"m{number}"), "p1", number)
    return {**from_usage(stored), **changed}


def test_many_changes_in_one_event_leave_what_they_leave_one_by_one(tmp_path):
    rows = [usage_row(number) for number in range(12)]
    few = {name: told for name, told in usage_row(20).items() if told is not None}
    key = {name: rows[3][name] for name in ("client", "response_key")}
    changes = [
        Insert("price", {"price_id": "p1", "basis": "{}"}),
        *(Insert("usage", row) for row in rows[:6]),
        Update("usage", {**rows[0], "cost_nanos": 77}),
        Insert("usage", few),
        Delete("usage", key),
        *(Insert("usage", row) for row in (rows[3], *rows[6:])),
        Update("usage", {**rows[7], "output": 9}),
    ]
    tables = []
    for name, parts in (("one", [changes]), ("each", [[change] for change in changes])):
        (tmp_path / name).mkdir()
        world = make_world(tmp_path / name)
        with world.ledger.writing() as tx:
            for part in parts:
                tx.append("test", part, by="t")
        assert not world.problems()
        tables.append(list(world.ledger.rows("SELECT * FROM usage ORDER BY response_key")))
        world.ledger.close()
    assert tables[0] == tables[1]
    assert len(tables[0]) == 13


def test_one_impossible_row_among_many_leaves_none_of_them(world):
    rows = [Insert("usage", usage_row(number, output=-1 if number == 7 else 1)) for number in range(10)]
    with pytest.raises(sqlite3.IntegrityError), world.ledger.writing() as tx:
        tx.append("test", rows, by="t")
    assert list(world.ledger.rows("SELECT COUNT(*) FROM usage")) == [(0,)]
    assert not world.problems()
