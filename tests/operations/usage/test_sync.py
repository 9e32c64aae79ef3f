"""Every transcript of a home in the ledger, once, whatever happens on the way there."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from tests.transcripts import (
    COUNTS,
    DAY,
    FILES,
    claude,
    claude_file,
    lines,
    write_all,
    write_claude,
    write_codex,
    write_opencode,
)

from tallygate.clients import feed
from tallygate.core.errors import InvalidArgument, LedgerUnavailable
from tallygate.ledger.rows import COLUMNS
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.operations.usage import ingest as ingesting
from tallygate.operations.usage import sync as syncing
from tallygate.operations.usage.ingest import IngestResult
from tallygate.operations.usage.sync import SyncProgress, sync, watch

SRC = Path(__file__).resolve().parents[3] / "src"
EVERYTHING = sum(COUNTS.values())


@pytest.fixture
def user(tmp_path):
    place = tmp_path / "user"
    place.mkdir()
    return place


@pytest.fixture
def take(world, user):
    def take_(**options):
        return sync(world.rt, environ={}, home=user, **options)

    return take_


def rows_of(world):
    with world.ledger.reading() as reader:
        return list(reader.usage_between(-(2**62), 2**62))


def dump(database, *, without=("id",)):
    names = ", ".join(name for name in COLUMNS["usage"] if name not in without)
    with closing(sqlite3.connect(database)) as found:
        return found.execute(f"SELECT {names} FROM usage ORDER BY client, response_key").fetchall()


def test_every_response_of_every_client_is_stored_once(world, user, take):
    write_all(user)
    report = take()
    assert report.taken == IngestResult(new=EVERYTHING)
    assert (report.files, report.read, report.unchanged, report.faults) == (FILES, FILES, 0, [])
    assert Counter(stored.row.client for stored in rows_of(world)) == COUNTS
    assert all(stored.cost_nanos > 0 for stored in rows_of(world))


def test_a_second_sync_finds_nothing_new_and_writes_nothing(world, user, take):
    write_all(user)
    take()
    events = world.events()
    report = take()
    assert (report.taken, report.read, report.unchanged) == (IngestResult(), 0, FILES)
    assert (report.bytes_read, world.events()) == (0, events)


def test_only_what_a_file_grew_by_is_read(user, take):
    path = write_claude(user, range(200))
    take()
    before = path.stat().st_size
    write_claude(user, range(200, 203))
    report = take()
    assert report.taken == IngestResult(new=3)
    assert report.bytes_read == path.stat().st_size - before


def test_a_line_that_is_not_finished_is_read_when_it_is(user, take):
    path = claude_file(user)
    (line,) = [lines([claude(1)])]
    path.write_bytes(line[:100])
    assert take().taken == IngestResult()
    with path.open("ab") as out:
        out.write(line[100:])
    assert take().taken == IngestResult(new=1)


def test_a_larger_count_that_comes_later_corrects_the_response(world, user, take):
    write_claude(user, [1], output=5, stop_reason=None)
    take()
    write_claude(user, [1], output=80)
    assert take().taken == IngestResult(corrected=1)
    assert [stored.row.tokens.output for stored in rows_of(world)] == [80]


@pytest.mark.parametrize("change", ["replaced", "truncated", "copied"])
def test_a_file_that_is_another_one_now_is_read_again_and_nothing_counts_twice(user, take, change):
    path = write_claude(user, range(50))
    take()
    if change == "copied":
        claude_file(user, "copy").write_bytes(path.read_bytes())
        assert take().taken == IngestResult(known=50)
        return
    if change == "replaced":
        path.rename(path.with_suffix(".old"))
    else:
        path.write_bytes(b"")
    write_claude(user, range(40, 52))
    assert take().taken == IngestResult(new=2, known=10)


def test_a_file_that_is_gone_keeps_its_responses(world, user, take):
    path = write_claude(user, range(5))
    take()
    path.unlink()
    assert (take().files, len(rows_of(world))) == (0, 5)


def test_clients_can_be_chosen(user, take):
    write_all(user)
    assert take(clients=["codex", "gemini"]).taken == IngestResult(new=COUNTS["codex"] + COUNTS["gemini"])
    assert take().taken == IngestResult(new=EVERYTHING - COUNTS["codex"] - COUNTS["gemini"])


def test_an_unknown_client_is_an_error_that_names_the_known_ones(take):
    with pytest.raises(InvalidArgument, match="claude-code, codex, gemini, opencode, qwen, copilot"):
        take(clients=["cursor"])


def test_files_written_before_a_moment_are_left_for_later(user, take):
    old, new = write_claude(user, [1], "old"), write_claude(user, [2], "new")
    os.utime(old, (1_000, 1_000))
    os.utime(new, (3_000, 3_000))
    report = take(since_us=2_000_000_000)
    assert (report.files, report.older, report.taken) == (1, 1, IngestResult(new=1))
    assert take().taken == IngestResult(new=1)


def test_a_database_is_as_young_as_the_log_beside_it(user, take):
    path = write_opencode(user, 3)
    with closing(sqlite3.connect(path)) as held:
        held.execute("INSERT INTO message SELECT 'x', session_id, 0, 0, '{}' FROM message LIMIT 1")
        held.commit()
        os.utime(path, (1_000, 1_000))
        assert take(since_us=2_000_000_000).taken == IngestResult(new=3)


def test_unusable_lines_are_counted_by_reason_and_the_rest_is_stored(user, take):
    path = write_claude(user, [1])
    with path.open("ab") as out:
        out.write(b'{"type":"assistant","message":{"usage":\n')
        out.write(lines([claude(2, usage={"output_tokens": -4}), claude(3)]))
    report = take()
    assert report.taken == IngestResult(new=3)
    assert report.skipped == {"bad_json": 1}
    assert take().skipped == {}


def test_a_response_that_costs_more_than_any_can_is_left_out_and_counted(world, user, take, monkeypatch):
    monkeypatch.setattr(ingesting, "AMOUNT_NANOS_MAX", 10**9)
    write_claude(user, [1, 2], usage={"server_tool_use": {"web_search_requests": 1000}})
    write_claude(user, [3])
    report = take()
    assert (report.taken, report.skipped) == (IngestResult(new=1, refused=2), {"impossible_cost": 2})
    assert len(rows_of(world)) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to the superuser")
def test_a_file_that_may_not_be_read_is_named_and_the_others_are_read(user, take):
    closed = write_claude(user, [1], "closed")
    write_claude(user, [2])
    closed.chmod(0)
    report = take()
    assert report.taken == IngestResult(new=1)
    assert [(Path(fault.path).name, fault.why) for fault in report.faults] == [("closed.jsonl", "it cannot be read")]


def unread_of(world):
    with world.ledger.reading() as reader:
        return {Path(file.path).name: dict(file.found.why) for file in reader.unread_files()}


def test_what_is_no_file_or_closed_is_kept_and_told_until_it_can_be_read(world, user, take, monkeypatch):
    write_claude(user, [1])
    folder = claude_file(user).parent
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "folder.jsonl").mkdir()
    server = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(folder)  # the path of a socket may not be long
    server.bind("socket.jsonl")
    server.close()
    closed = folder.parent / "closed"
    write = write_claude(user, [2], "s2")
    closed.mkdir()
    write.rename(closed / "s2.jsonl")
    real = os.scandir

    def scandir(place):
        if Path(place) == closed:
            raise PermissionError(13, "closed")
        return real(place)

    opening = os.open
    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "open", lambda path, *rest: scandir(path) if path == closed else opening(path, *rest))
    no_files = {"pipe.jsonl": {"no_regular_file": 1}, "folder.jsonl": {"no_regular_file": 1}}
    for _ in range(2):
        take()
        assert unread_of(world) == no_files | {
            "socket.jsonl": {"unreadable_file": 1},
            "closed": {"unreadable_file": 1},
        }
    monkeypatch.undo()
    (folder / "pipe.jsonl").unlink()
    write_claude(user, [3], "pipe")
    report = take()
    assert report.taken == IngestResult(new=2)
    assert unread_of(world).keys() == {"folder.jsonl", "socket.jsonl"}


def test_a_reader_that_fails_on_one_file_is_reported_and_the_others_are_read(world, user, take, monkeypatch):
    bad = write_claude(user, [1], "a")
    write_claude(user, [2], "b")
    source = feed.REGISTRY.sources["claude_code"]

    def read(file, position, bound):
        if file.path == bad:
            raise RuntimeError("odd \x1b[31m file")
        yield from source.read(file, position, bound)

    monkeypatch.setitem(
        feed.REGISTRY.sources, "claude_code", type(source)("claude_code", source.locations, source.discover, read)
    )
    report = take()
    assert (report.taken, report.read) == (IngestResult(new=1), 1)
    assert [(Path(fault.path), fault.why) for fault in report.faults] == [(bad, "RuntimeError: odd [31m file")]
    assert unread_of(world) == {"a.jsonl": {"unreadable_file": 1}}


def test_a_row_that_cannot_be_stored_is_reported_tried_again_and_holds_up_no_other(world, user, take, monkeypatch):
    write_claude(user, range(9))
    write_claude(user, range(100, 104), "t")
    real = syncing.ingest_all

    def picky(rt, readings):
        if any(row.response_key.endswith("4") and row.session == "s1" for each in readings for row in each.rows):
            raise OverflowError("too large")
        return real(rt, readings)

    monkeypatch.setattr(syncing, "ingest_all", picky)
    report = take()
    assert report.taken == IngestResult(new=12)
    assert [(Path(f.path).name, f.why) for f in report.faults] == [
        ("s1.jsonl", "it cannot be stored: OverflowError: too large")
    ]
    monkeypatch.undo()
    assert take().taken == IngestResult(new=1, known=8)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_a_file_whose_name_is_no_text_is_read_like_any_other(user, take):
    path = write_claude(user, [1])
    path.rename(Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff\xfe.jsonl")))
    assert take().taken == IngestResult(new=1)
    assert (take().unchanged, take().faults) == (1, [])


def test_progress_counts_files_and_responses(user, take):
    write_all(user)
    said = []
    take(progress=said.append)
    assert said[0] == SyncProgress(0, FILES, 0)
    assert said[-1] == SyncProgress(FILES, FILES, EVERYTHING)
    assert [step.files_done for step in said] == sorted(step.files_done for step in said)


def test_a_ledger_that_is_busy_is_waited_for(world, user, take, monkeypatch):
    write_claude(user, [1])
    real, tries = syncing.ingest_all, []

    def busy(rt, readings):
        tries.append(1)
        if len(tries) < 3:
            raise LedgerUnavailable("locked", code="lock_timeout")
        return real(rt, readings)

    monkeypatch.setattr(syncing, "ingest_all", busy)
    assert take().taken == IngestResult(new=1)


def test_a_ledger_that_is_away_ends_the_sync(user, take, monkeypatch):
    write_claude(user, [1])

    def away(*_):
        raise LedgerUnavailable("gone", code="storage_replaced")

    monkeypatch.setattr(syncing, "ingest_all", away)
    with pytest.raises(LedgerUnavailable, match="gone"):
        take()


def test_a_commit_is_never_long_and_small_files_share_one(world, user, take):
    write_claude(user, range(4_000))
    take()
    assert world.events() == 3
    for number in range(300):
        write_claude(user, [number], f"t{number}")
    take()
    assert world.events() == 5


# With a process beside this one that reads.


@pytest.fixture
def beside(monkeypatch):
    monkeypatch.setattr(syncing, "WORTH_A_PROCESS", 0)


def test_a_process_beside_brings_the_same_rows(world, user, take, beside, tmp_path):
    write_all(user)
    report = take()
    assert (report.taken, report.files, report.read) == (IngestResult(new=EVERYTHING), FILES, FILES)
    found = {(each.row.client, each.row.response_key): each.row for each in rows_of(world)}
    wanted = [feed.FileToRead(file) for source in feed.REGISTRY.sources.values() for file in source.discover({}, user)]
    read = [row for piece in feed.pieces(wanted) if piece.batch for row in piece.batch.rows]
    assert found == {(row.client, row.response_key): row for row in read}
    assert take().unchanged == FILES


SHORT_LIVED = """
import itertools, sys; sys.path[:] = sys.argv[2:]
from tallygate.clients import feed; real = feed.pieces
feed.pieces = lambda *wanted: itertools.islice(real(*wanted), 3); feed.serve(int(sys.argv[1]))
"""
NONSENSE = "import sys; sys.stdin.buffer.read(); sys.stdout.write('no pickle')"


@pytest.mark.parametrize(
    "start",
    ["raise SystemExit(1)", SHORT_LIVED, NONSENSE],
    ids=["cannot start", "dies on the way", "talks nonsense"],
)
def test_what_the_process_beside_leaves_undone_is_read_here(user, take, beside, monkeypatch, start):
    write_all(user)
    monkeypatch.setattr(feed, "_START", start)
    report = take()
    assert (report.taken.new, report.read, report.faults) == (EVERYTHING, FILES, [])


def test_while_the_process_beside_starts_something_else_is_done_once(user):
    write_all(user)
    wanted = [feed.FileToRead(file) for source in feed.REGISTRY.sources.values() for file in source.discover({}, user)]
    done = []
    found = feed.pieces_from_beside(wanted, lambda: done.append("prices"))
    assert (next(found).number, done) == (0, ["prices"])
    assert len({piece.number for piece in found} | {0}) == FILES
    assert done == ["prices"]


def test_no_memory_is_looked_through_while_a_large_history_comes_in_and_it_is_afterwards(user, take, beside):
    write_all(user)
    seen = []
    take(progress=lambda _: seen.append(gc.isenabled()))
    assert (seen[0], seen[-1], any(seen[1:-1])) == (True, True, False)


def test_without_an_interpreter_to_start_everything_is_read_here(user, take, beside, monkeypatch):
    write_all(user)
    monkeypatch.setattr(sys, "executable", "")
    assert take().taken.new == EVERYTHING


def test_an_interrupt_ends_the_process_beside(user, take, beside, monkeypatch):
    write_all(user)
    started = []
    real = feed._started
    monkeypatch.setattr(feed, "_started", lambda turns: started.append(real(turns)) or started[-1])

    def interrupt(step):
        if step.files_done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(progress=interrupt)
    assert started[0].poll() is not None


# Again and again.


def test_watching_takes_what_is_new_until_it_is_told_to_stop(world, user):
    seen, pauses = [], []

    def wait(seconds):
        pauses.append(seconds)
        write_claude(user, [len(pauses)])
        return len(pauses) == 4

    watch(world.rt, wait=wait, each=lambda r: seen.append(r.taken.new), interval_s=3, environ={}, home=user)
    assert (seen, pauses) == ([0, 1, 1, 1], [3, 3, 3, 3])


def test_a_look_that_takes_long_is_followed_by_a_long_pause(world, user):
    pauses = []

    def wait(seconds):
        pauses.append(seconds)
        return True

    watch(world.rt, wait=wait, each=lambda _: world.clock.forward(5_000_000), interval_s=2, environ={}, home=user)
    assert pauses == [45]


# Processes.


def process(user, *arguments):
    environ = {**os.environ, "HOME": str(user), "XDG_DATA_HOME": str(user / ".local" / "share")}
    environ |= {"TALLYGATE_HOME": str(user / "tallygate")}
    environ["PYTHONPATH"] = os.pathsep.join([str(SRC), str(SRC.parent)])
    return subprocess.Popen([sys.executable, *arguments], env=environ, cwd=user, stdout=subprocess.DEVNULL)


def database_of(user):
    return user / "tallygate" / "ledger.db"


def problems_of(user):
    from tallygate.ledger.audit.audit import audit

    ledger = SqliteLedger(database_of(user), clock=lambda: 0, new_ledger_id=lambda: "ab" * 16)
    try:
        return audit(ledger)
    finally:
        ledger.close()


def filled(user):
    write_all(user)
    for session in range(6):
        numbers = range(session * 300, session * 300 + 400)
        write_claude(user, numbers, "many")  # a third of these is also in the next file's part
        write_claude(user, range(300), f"p{session}", at=DAY + timedelta(hours=session))
    write_codex(user, 400, "019a0000-1111-7000-8000-000000000002")


def test_a_sync_that_is_killed_goes_on_where_it_was(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for user in (whole, killed):
        user.mkdir()
        filled(user)
    assert process(whole, "-m", "tallygate", "sync").wait() == 0
    for statement in (1, 40, 700, 1_200):
        dying = process(killed, "-m", "tests.operations.dying", str(statement))
        assert dying.wait() == -signal.SIGKILL
        assert problems_of(killed) == []
    assert process(killed, "-m", "tallygate", "sync").wait() == 0
    assert dump(database_of(killed)) == dump(database_of(whole))
    assert len(dump(database_of(killed))) > 3_000
    assert problems_of(killed) == []


def test_four_processes_at_once_give_the_rows_of_one(tmp_path):
    one, four = tmp_path / "one", tmp_path / "four"
    for user in (one, four):
        user.mkdir()
        filled(user)
    assert process(one, "-m", "tallygate", "sync").wait() == 0
    running = [process(four, "-m", "tallygate", "sync") for _ in range(4)]
    assert [each.wait() for each in running] == [0, 0, 0, 0]
    assert dump(database_of(four)) == dump(database_of(one))
    assert problems_of(four) == []
