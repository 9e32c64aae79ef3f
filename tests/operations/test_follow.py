"""Transcripts that grow while the work goes on: found, read on before each decision, within a time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from tests.clients.making import claude, lines
from tests.transcripts import minted
from tests.world import MINUTE

from tallygate.clients.sources import SOURCES
from tallygate.operations.asked import check
from tallygate.operations.follow import Follower, Places, _stamp


class Ticks:
    """A clock that goes forward by a step at each look."""

    def __init__(self, step_us=0):
        self.at_us, self.step_us = 0, step_us

    def __call__(self):
        self.at_us += self.step_us
        return self.at_us


@pytest.fixture
def desk(world, tmp_path):
    """A project with a Claude Code transcript that is being written, and a follower that reads it."""
    project = tmp_path / "project"
    transcript = tmp_path / "home" / ".claude" / "projects" / "p" / "s1.jsonl"
    transcript.parent.mkdir(parents=True)
    transcript.touch()
    world.clock.at_us = transcript.stat().st_mtime_ns // 1000
    world = world.with_runtime(project=str(project))
    follower = Follower(world.rt, (Places({}, tmp_path / "home"),), tuple(SOURCES.values()), Ticks())

    def respond(key, output, seconds=1):
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us, seconds=seconds)
        row = claude(
            minted(key),
            top={"timestamp": at.isoformat().replace("+00:00", "Z"), "cwd": str(project), "requestId": f"req_{key}"},
            model="dear",
            output=output,
            usage={"input_tokens": 0, "cache_read_input_tokens": 0},
        )
        with transcript.open("ab") as file:
            file.write(lines(row))

    return world.with_runtime(catch_up=follower.catch_up), follower, respond


def test_what_a_client_wrote_since_the_last_decision_counts_in_the_next(desk):
    world, follower, respond = desk
    follower.look()
    session = world.start("1", client="claude-code")
    respond("a", 700)
    world.clock.forward(2_000_000)
    assert check(world.rt, session).remaining_nanos == 300_000_000
    respond("b", 400)
    world.clock.forward(2_000_000)
    answer = world.ask(session, 0)
    assert (answer.action, answer.reason) == ("halt", "budget_pressure:halt")
    assert world.budget(session).spent_nanos == 1_100_000_000


def test_a_file_is_found_once_it_is_written_and_left_when_it_rests(desk):
    world, follower, respond = desk
    session = world.start("10", client="claude-code")
    respond("a", 100)
    assert follower.catch_up().new == 0, "nobody has looked yet"
    assert follower.look().new == 1
    respond("b", 100)
    assert follower.catch_up().new == 1
    world.clock.forward(60 * MINUTE)
    follower.look()
    respond("c", 100)
    assert follower.catch_up().new == 0
    assert world.budget(session).spent_nanos == 200_000_000


def test_the_file_of_a_session_is_followed_from_the_moment_that_it_is_there(desk, tmp_path):
    _, follower, _ = desk
    follower.include("copilot", None, "s1")
    follower.include("copilot", None, "../../outside")
    assert follower.catch_up().new == 0
    events = tmp_path / "home" / ".copilot" / "session-state" / "s1" / "events.jsonl"
    outside = tmp_path / "home" / "outside" / "events.jsonl"
    at = "2026-11-30T07:54:09.456Z"
    used = {"model": "gpt-4.1", "inputTokens": 9, "outputTokens": 1, "apiCallId": "call-1234567890123456"}
    row = {"type": "session.usage_record", "data": {"usage": used}, "id": "e1", "timestamp": at}
    for file in (events, outside):
        file.parent.mkdir(parents=True)
        file.write_bytes(lines(row))
    assert follower.catch_up().new == 1
    assert follower.failures == []


def test_a_decision_does_not_wait_longer_than_its_time_for_transcripts(desk):
    world, follower, respond = desk
    follower.look()
    world.start("10", client="claude-code")
    respond("a", 100)
    assert follower.catch_up(budget_us=0).new == 0
    assert follower.look().new == 1


def test_a_reader_at_work_is_not_waited_for(desk):
    world, follower, respond = desk
    follower.look()
    session = world.start("10", client="claude-code")
    respond("a", 100)
    with follower._reading:
        assert world.ask(session, 0).action == "allow"
    assert follower.catch_up().new == 1


def test_a_transcript_that_cannot_be_read_is_said_once_and_stops_nothing(desk, monkeypatch):
    world, follower, respond = desk
    follower.look()
    session = world.start("10", client="claude-code")
    respond("a", 100)

    def broken(*_):
        raise OSError("no such disk")

    monkeypatch.setattr("tallygate.operations.follow.ingest", broken)
    for _ in range(2):
        assert world.ask(session, 0).action == "allow"
    assert follower.failures == ["no such disk"]


def test_a_database_that_grows_in_its_log_counts_as_written(desk, tmp_path):
    database = tmp_path / "client.db"
    database.touch()
    before = _stamp(database)
    database.with_name("client.db-wal").write_bytes(b"rows")
    assert _stamp(database) != before
    assert _stamp(tmp_path / "nowhere") is None


def test_watching_ends_with_a_last_look(desk):
    world, follower, respond = desk
    session = world.start("10", client="claude-code")
    respond("a", 100)
    ending = threading.Event()
    ending.set()
    follower.watch(ending)
    assert world.budget(session).spent_nanos == 100_000_000
