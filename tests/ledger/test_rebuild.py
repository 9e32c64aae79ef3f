"""A damaged ledger comes back from its events, or stays as it is; it never becomes one with nothing spent."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing

import pytest
from tests.operations.usage.test_ingest import PROJECT, response, take
from tests.world import MINUTE, T0, Clock, make_world

from tallygate.core.costing import Tokens
from tallygate.core.errors import LedgerCorrupt, LedgerTooNew, LedgerUnavailable
from tallygate.core.moments import as_datetime
from tallygate.core.sums import Unread
from tallygate.core.usage import ModelTotal, SessionCheck
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.audit.rebuild import CHECKS_LEFT_OUT, POSITIONS_LEFT_OUT, QUEUE_LEFT_OUT, UNREAD_LEFT_OUT, rebuild
from tallygate.ledger.sqlite.database import PAGE_BYTES, SqliteLedger
from tallygate.ledger.sqlite.files import FileLock
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.sessions.ending import end_session

NOW = T0 + 90 * MINUTE
CHECKED = SessionCheck(
    "claude_code", "client-1", (ModelTotal("dear", Tokens(1, 2, 3, 4, 5), 6, "7"),), "8", True, ("p",)
)
TAMPER_TRIGGERS = ("event_never_changes", "event_never_goes", "call_resolves_once")
PAGE = PAGE_BYTES


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """The bytes of a closed ledger of several pages a table, with its budgets and its chain as they were."""
    world = make_world(tmp_path_factory.mktemp("history"))
    session = world.start("900")
    child = world.start("500", parent_session_id=session)
    done = world.start("5")
    for index in range(150):
        world.clock.forward(1000)
        answer = world.ask(child, 10 + index)
        if index % 3 == 0:
            void_call(world.rt, answer.call_id, "no")
        elif index % 3 == 1:
            record_usage(world.rt, UsageReport(answer.call_id, Tokens(50)))
    world.rt.workspace.run_log_path.mkdir()  # so that the line of the end waits in the ledger
    end_session(world.rt, done)
    observed = world.with_runtime(project=PROJECT)
    seen = observed.start("40", client="claude-code")
    for index in range(5):
        take(observed, response(observed, f"r{index}", 200, seconds=index + 1))
    assert world.budget(seen).spent == 1_000_000_000
    with world.ledger.writing() as tx:
        tx.save_position("a.jsonl", "codex", {"offset": 5}, {"torn": 1})
        tx.save_unread("a.jsonl", "codex", "c-1", Unread({"torn": 2}, 1))
        tx.save_check(CHECKED)
    world.ledger.close()
    return world.ledger.path.read_bytes()


@pytest.fixture
def path(history, tmp_path):
    place = tmp_path / "ledger.db"
    place.write_bytes(history)
    place.chmod(0o600)
    return place


def checks_of(path):
    ledger = SqliteLedger(path, clock=Clock(NOW), new_ledger_id=lambda: "ff" * 16)
    try:
        with ledger.reading() as reader:
            sessions = reader.sessions(state=None, limit=100)
            return [kept.check for session in sessions for kept in reader.session_checks(session.session_id)]
    finally:
        ledger.close()


def contents(path, *, sound=True):
    ledger = SqliteLedger(path, clock=Clock(NOW), new_ledger_id=lambda: "ff" * 16)
    try:
        if sound:
            assert audit(ledger) == []
        with ledger.reading() as reader:
            return {
                "id": ledger.ledger_id,
                "head": reader.head(),
                "budgets": sorted(reader.budgets(100), key=lambda budget: budget.budget_id),
                "sessions": reader.sessions(state=None, limit=100),
                "queue": reader.queued_lines(100),
                "files": reader.read_files(),
                "unread": reader.unread_files(),
            }
    finally:
        ledger.close()


@pytest.fixture
def before(history, tmp_path):
    other = tmp_path / "before.db"
    other.write_bytes(history)
    other.chmod(0o600)
    return contents(other)


def pages_of(path, table):
    with closing(sqlite3.connect(path)) as connection:
        try:
            found = connection.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (table,))
            return [row[0] for row in found]
        except sqlite3.OperationalError:
            pytest.skip("this SQLite does not tell which pages a table has")


def overwrite(path, page):
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xa5" * PAGE)


def tamper(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        kept = []
        for name in TAMPER_TRIGGERS:
            kept += connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
            connection.execute(f"DROP TRIGGER {name}")
        for statement in (*statements, *kept):
            connection.execute(statement)


def again(path, at_us=NOW):
    return rebuild(path, at_us=at_us, lock_timeout_ms=200)


def files(path):
    return {entry.name for entry in path.parent.iterdir()} - {"before.db", "before.db.lock", "ledger.db.lock"}


def test_a_sound_ledger_is_left_alone(path, before):
    was = path.stat().st_ino
    assert again(path) is None
    assert path.stat().st_ino == was
    assert files(path) == {"ledger.db"}
    assert contents(path) == before


@pytest.mark.parametrize("which", [0, 1, -1])
def test_overwritten_pages_of_the_calls_come_back_whole(path, before, which):
    overwrite(path, pages_of(path, "call")[which])
    damaged = path.read_bytes()
    done = again(path)
    assert (done.events, done.last_us, done.lost, done.left_out) == (
        before["head"].seq, before["head"].at_us, None, (),
    )  # fmt: skip
    assert contents(path) == before
    assert done.copy.name == f"ledger.db.corrupt-{as_datetime(NOW):%Y%m%dT%H%M%SZ}"
    assert done.copy.read_bytes() == damaged


EDITS = [
    ("a raised limit", "UPDATE budget SET limit_nanos = 99000000000000"),
    ("spend set to nothing", "UPDATE budget SET spent_nanos = 0, reserved_nanos = 0"),
    ("deleted calls", "DELETE FROM call WHERE state = 'reconciled'"),
    ("a halt made an allow", "UPDATE call SET estimate_nanos = 1"),
    ("a deleted budget", "DELETE FROM budget"),
    ("a row nobody wrote", "INSERT INTO price VALUES ('default', 'x', '{}')"),
    ("an injected trigger", "CREATE TRIGGER free AFTER INSERT ON call BEGIN UPDATE budget SET spent_nanos = 0; END"),
    ("a missing index", "DROP INDEX call_waiting"),
    ("the time beside an event", "UPDATE event SET at_us = at_us + 1 WHERE seq = 7"),
]


@pytest.mark.parametrize(("name", "edit"), EDITS, ids=[name for name, _ in EDITS])
def test_tables_edited_by_hand_say_again_what_the_events_say(path, before, name, edit):
    tamper(path, edit)
    done = again(path)
    assert (done.events, done.lost) == (before["head"].seq, None)
    assert contents(path) == before


def test_a_table_that_sqlite_cannot_parse_is_made_anew(path, before):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = 'CREATE nonsense' WHERE name = 'call_waiting'")
    with pytest.raises(LedgerCorrupt):
        contents(path)
    assert again(path).lost is None
    assert contents(path) == before


def test_rows_that_are_only_in_the_log_are_kept_too(path, before):
    """A server that died left its last commits in the -wal; they count."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE budget SET spent_nanos = spent_nanos + 1")
    copies = {ending: path.with_name(path.name + ending).read_bytes() for ending in ("", "-wal", "-shm")}
    connection.close()
    for ending, content in copies.items():
        path.with_name(path.name + ending).write_bytes(content)
    assert copies["-wal"]
    done = again(path)
    assert contents(path) == before
    with closing(sqlite3.connect(done.copy)) as kept:
        assert kept.execute("PRAGMA quick_check").fetchone() == ("ok",)


def test_a_missing_event_ends_what_can_be_kept_and_says_so(path, before):
    tamper(path, "DELETE FROM event WHERE seq = 100")
    done = again(path)
    assert done.events == 99
    assert "event 100 is missing" in done.lost
    assert T0 <= done.last_us < before["head"].at_us
    after = contents(path)
    assert (after["id"], after["head"].seq) == (before["id"], 99)
    assert sum(budget.spent for budget in after["budgets"]) > 0


def test_a_changed_event_ends_what_can_be_kept(path):
    tamper(path, "UPDATE event SET body = CAST(replace(CAST(body AS TEXT), 'test', 'nest') AS BLOB) WHERE seq = 50")
    done = again(path)
    assert (done.events, "event 50 was changed" in done.lost) == (49, True)
    assert contents(path)["head"].seq == 49


def test_events_cut_off_at_the_end_are_missed_by_what_the_tables_tell(path):
    tamper(path, "DELETE FROM event WHERE seq > 120")
    done = again(path)
    assert done.events == 120
    assert "later changes" in done.lost


def test_an_overwritten_page_of_events_ends_what_can_be_kept(path):
    pages = pages_of(path, "event")
    overwrite(path, pages[len(pages) // 2])
    done = again(path)
    assert 0 < done.events < 200
    assert "cannot be read" in done.lost
    assert contents(path)["head"].seq == done.events


def test_a_truncated_file_gives_the_events_before_the_cut(path):
    size = path.stat().st_size
    os.truncate(path, size * 6 // 10 // PAGE * PAGE)
    done = again(path)
    assert done.events > 0
    assert done.lost
    after = contents(path)
    assert after["head"].seq == done.events
    assert any(budget.spent or budget.reserved for budget in after["budgets"])


def test_positions_behind_lost_events_are_left_out_so_that_files_are_read_again(path, before):
    assert before["files"]
    tamper(path, "DELETE FROM event WHERE seq = 100")
    done = again(path)
    assert done.left_out == (POSITIONS_LEFT_OUT,)
    assert contents(path)["files"] == []


def test_a_line_that_waits_for_a_session_whose_end_is_lost_is_not_queued_twice(path, tmp_path, before):
    assert before["queue"]
    tamper(path, "DELETE FROM event WHERE seq = 100")
    again(path)
    assert contents(path)["queue"] == []
    world = make_world(tmp_path)
    for session in contents(path)["sessions"]:
        end_session(world.rt, session.session_id)
    assert world.problems() == []
    world.ledger.close()


def test_facts_about_files_that_cannot_be_read_are_named(path, before):
    for table in ("run_log_queue", "transcript_file"):
        overwrite(path, pages_of(path, table)[0])
    done = again(path)
    assert (done.left_out, done.lost) == ((QUEUE_LEFT_OUT, POSITIONS_LEFT_OUT), None)
    assert contents(path)["budgets"] == before["budgets"]


def test_clients_own_totals_are_kept_where_the_events_are_whole(path):
    tamper(path, "UPDATE budget SET spent_nanos = spent_nanos + 1")
    assert again(path).left_out == ()
    assert CHECKED in checks_of(path)


def test_a_ledger_from_before_there_were_totals_has_none_to_miss(path):
    tamper(path, "DROP TABLE session_check", "UPDATE budget SET spent_nanos = spent_nanos + 1")
    assert again(path).left_out == ()
    assert checks_of(path) == []


def test_what_could_not_be_read_of_transcripts_is_kept_with_how_far_they_were_read(path, before):
    assert [(each.path, each.found) for each in before["unread"]] == [("a.jsonl", Unread({"torn": 2}, 1))]
    tamper(path, "UPDATE budget SET spent_nanos = spent_nanos + 1")
    assert again(path).left_out == ()
    assert contents(path)["unread"] == before["unread"]
    overwrite(path, pages_of(path, "unread_file")[0])
    tamper(path, "UPDATE budget SET spent_nanos = spent_nanos + 1")
    assert again(path, NOW + 5_000_000).left_out == (UNREAD_LEFT_OUT,)


def test_totals_that_cannot_be_read_are_named(path):
    overwrite(path, pages_of(path, "session_check")[0])
    assert again(path).left_out == (CHECKS_LEFT_OUT,)


def garbage(path):
    path.write_bytes(b"not a database at all" * 1000)


def empty(path):
    path.write_bytes(b"")


def headless(path):
    with path.open("r+b") as file:
        file.write(b"\x00" * 100)


def without_identity(path):
    tamper(path, "DELETE FROM ledger")


def without_events(path):
    tamper(path, "DELETE FROM event")


def with_a_first_event_of_another(path):
    tamper(path, "UPDATE ledger SET ledger_id = 'ffffffffffffffffffffffffffffffff'")


HOPELESS = [garbage, empty, headless, without_identity, without_events, with_a_first_event_of_another]


@pytest.mark.parametrize("ruin", HOPELESS)
def test_where_no_event_can_be_read_the_damaged_file_stays(path, ruin):
    ruin(path)
    damaged = path.read_bytes()
    with pytest.raises(LedgerCorrupt, match=r"event|empty") as refused:
        again(path)
    assert "backup" in refused.value.hint
    assert path.read_bytes() == damaged
    assert files(path) == {"ledger.db"}


def test_an_absent_ledger_is_not_made(tmp_path):
    with pytest.raises(LedgerUnavailable, match="no ledger"):
        again(tmp_path / "ledger.db")
    assert list(tmp_path.iterdir()) == []


def test_another_program_s_database_is_never_rebuilt(tmp_path):
    place = tmp_path / "ledger.db"
    with closing(sqlite3.connect(place)) as other:
        other.execute("CREATE TABLE event (id, tenant, seq, at_us, body, hash)")
        other.commit()
    place.chmod(0o600)
    content = place.read_bytes()
    with pytest.raises(LedgerCorrupt, match="not a Tallygate ledger"):
        again(place)
    assert place.read_bytes() == content


def test_a_newer_ledger_is_left_to_a_newer_program(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(LedgerTooNew):
        again(path)
    overwrite(path, pages_of(path, "call")[0])
    with pytest.raises(LedgerTooNew):
        again(path)


def test_copy_and_new_ledger_are_this_user_s_alone(path):
    overwrite(path, pages_of(path, "call")[0])
    done = again(path)
    assert {stat.S_IMODE(each.stat().st_mode) for each in (path, done.copy)} == {0o600}
    assert files(path) == {"ledger.db", done.copy.name}


def test_what_an_interrupted_rebuild_left_is_no_obstacle(path, before):
    tamper(path, "UPDATE budget SET spent_nanos = 0")
    path.with_name("ledger.db.rebuilding").write_bytes(b"half of it")
    assert again(path).lost is None
    assert contents(path) == before
    assert "ledger.db.rebuilding" not in files(path)


def test_a_writer_is_waited_for_and_nothing_is_done_while_it_writes(path):
    tamper(path, "UPDATE budget SET spent_nanos = 0")
    content = path.read_bytes()
    lock = FileLock(path.with_name("ledger.db.lock"), timeout_ms=200)
    with lock, pytest.raises(LedgerUnavailable) as refused:
        again(path)
    lock.close()
    assert refused.value.code == "lock_timeout"
    assert path.read_bytes() == content


def test_a_running_server_notices_that_its_file_was_replaced(path, tmp_path, before):
    server = make_world(tmp_path)
    with server.ledger.writing() as tx:
        tx.append("test", [], by="t")
    tamper(path, "UPDATE budget SET spent_nanos = 0, reserved_nanos = 0")
    done = again(path)
    assert done.events == before["head"].seq + 1
    with pytest.raises(LedgerUnavailable) as refused, server.ledger.writing():
        pass
    assert refused.value.code == "storage_replaced"
    fresh = make_world(tmp_path)
    with fresh.ledger.writing() as tx:
        tx.append("test", [], by="t")
    server.ledger.close()  # must not take the log of the new file with it
    assert fresh.events() == before["head"].seq + 2
    fresh.ledger.close()
    assert contents(path)["budgets"] == before["budgets"]


def test_an_event_that_names_a_table_of_its_own_is_not_followed(path):
    """Hashes alone make no truth: whoever can forge them gets no SQL of his own run."""
    from tallygate.core.proof import GENESIS, canonical_bytes, event_hash

    body = canonical_bytes(
        {
            "at_us": T0,
            "by": "x",
            "kind": "x",
            "tenant": "other",
            "rows": [["+", "price", {"price_id": "p", "basis": "{}", "x) VALUES (1); --": 1}]],
        }
    )
    digest = event_hash("ab" * 16 + "/other", 1, GENESIS, body)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO event (tenant, seq, at_us, body, hash) VALUES ('other', 1, ?, ?, ?)", (T0, body, digest)
        )
    content = path.read_bytes()
    with pytest.raises(LedgerCorrupt, match="a row of price has other columns"):
        again(path)
    assert path.read_bytes() == content
