"""Transcripts that grow while the work goes on: found, read on before each decision, within a time."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from tests.clients.making import claude, lines
from tests.transcripts import minted
from tests.world import MINUTE, NANOS, hook_event

from tallygate.clients.registry import REGISTRY
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.hooks import Moment, SessionOrigin
from tallygate.core.moments import as_datetime
from tallygate.operations.gate.authorize import check
from tallygate.operations.hooks import answer_hook
from tallygate.operations.proof.verify import OutsideEvidence, verify_ledger
from tallygate.operations.sessions.opening import open_session_of
from tallygate.operations.usage.follow import Follower, _stamp
from tallygate.surroundings import Surroundings


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
    follower = Follower(
        world.rt, (Surroundings({}, None, tmp_path / "home"),), tuple(REGISTRY.sources.values()), Ticks()
    )

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

    return world.with_runtime(follower=follower), follower, respond


def test_what_a_client_wrote_since_the_last_decision_counts_in_the_next(desk):
    world, follower, respond = desk
    follower.scan()
    session = world.start("1", client="claude-code")
    respond("a", 700)
    world.clock.forward(2_000_000)
    assert check(world.rt, session).remaining_nanos == 300_000_000
    respond("b", 400)
    world.clock.forward(2_000_000)
    answer = world.ask(session, 0)
    assert (answer.action, answer.reason) == ("halt", "budget_pressure:halt")
    assert world.budget(session).spent == 1_100_000_000


def test_a_file_is_found_once_it_is_written_and_left_when_it_rests(desk):
    world, follower, respond = desk
    session = world.start("10", client="claude-code")
    respond("a", 100)
    assert follower.catch_up().new == 0, "nobody has looked yet"
    assert follower.scan().new == 1
    respond("b", 100)
    assert follower.catch_up().new == 1
    world.clock.forward(60 * MINUTE)
    follower.scan()
    respond("c", 100)
    assert follower.catch_up().new == 0
    assert world.budget(session).spent == 200_000_000


@pytest.mark.parametrize("written_s", [0, 1_000_000_000])
def test_a_file_whose_times_were_set_back_is_read_and_followed_all_the_same(desk, tmp_path, written_s):
    world, follower, respond = desk
    session = world.start("1", client="claude-code")
    file = tmp_path / "home" / ".claude" / "projects" / "p" / "s1.jsonl"
    for key in ("a", "b"):
        respond(key, 100)
        os.utime(file, (written_s, written_s))
        assert follower.scan().new == 1
    respond("c", 100)
    os.utime(file, (written_s, written_s))
    assert follower.catch_up().new == 1
    assert world.budget(session).spent == 300_000_000


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
    follower.scan()
    world.start("10", client="claude-code")
    respond("a", 100)
    assert follower.catch_up(budget_us=0).new == 0
    assert follower.scan().new == 1


def test_the_session_of_a_hook_is_read_on_in_however_late_it_is(desk, tmp_path):
    world, follower, respond = desk
    follower.scan()
    world.start("10", client="claude-code")
    folder = tmp_path / "home" / ".claude" / "projects" / "p"
    follower.include("claude_code", folder / "s1.jsonl")
    respond("a", 100)
    assert follower.catch_up(budget_us=0).new == 1
    follower.include("claude_code", folder / "s2.jsonl")
    respond("b", 100)
    assert follower.catch_up(budget_us=0).new == 0, "it is another session's step"
    assert follower.catch_up().new == 1


def test_a_reader_at_work_is_not_waited_for(desk):
    world, follower, respond = desk
    follower.scan()
    session = world.start("10", client="claude-code")
    respond("a", 100)
    with follower._reading:
        assert world.ask(session, 0).action == "allow"
    assert follower.catch_up().new == 1


def test_a_transcript_that_cannot_be_read_is_said_once_and_stops_nothing(desk, monkeypatch):
    world, follower, respond = desk
    follower.scan()
    session = world.start("10", client="claude-code")
    respond("a", 100)

    def broken(*_):
        raise OSError("no such disk")

    monkeypatch.setattr("tallygate.operations.usage.follow.ingest", broken)
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
    assert world.budget(session).spent == 100_000_000


# ---------------------------------------------------------------- at times that cannot be

HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOON_US = 1_795_867_200_000_000  # 2026-11-28
CAP = BudgetRule(BudgetScope.GLOBAL, NANOS, period="day")


class Gated:
    """A client whose hooks gate it under a dollar a day, and the transcript that it writes."""

    def __init__(self, world, home):
        world.clock.at_us = NOON_US
        self.clock, self.ledger = world.clock, world.ledger
        self.file = home / ".claude" / "projects" / "p" / "s1.jsonl"
        self.file.parent.mkdir(parents=True)
        world = world.with_runtime(rules=(CAP,), session_limit_nanos=100 * NANOS, project="/home/me/p")
        self.follower = Follower(world.rt, (Surroundings({}, None, home),), tuple(REGISTRY.sources.values()), Ticks())
        reads = self.follower
        self.rt = world.with_runtime(follower=reads).rt

    def hook(self, moment, origin=None, name="s1"):
        self.clock.forward(1_000_000)
        event = hook_event("claude_code", moment, name, moment.value, transcript=str(self.file), origin=origin)
        return answer_hook(self.rt, event)

    def write(self, key, cents, at_us=None, file=None):
        at = as_datetime(self.clock.at_us if at_us is None else at_us)
        row = claude(
            minted(key),
            top={"timestamp": at.isoformat().replace("+00:00", "Z"), "cwd": "/home/me/p", "sessionId": "s1"},
            model="dear",
            output=cents * 10,
            usage={"input_tokens": 0, "cache_read_input_tokens": 0},
        )
        with (file or self.file).open("ab") as out:
            out.write(lines(row))

    def days(self):
        """What each day has counted, in cents."""
        found = self.ledger.rows("SELECT budget_id, spent_nanos FROM budget WHERE period = 'day' AND spent_nanos > 0")
        return {name[-10:]: nanos * 100 // NANOS for name, nanos in found}

    def anomalies(self):
        with self.ledger.reading() as reader:
            return [(each.kind, each.told.rpartition(" ")[2][:10]) for each in reader.anomalies(99)]


@pytest.fixture
def gated(world, tmp_path):
    return Gated(world, tmp_path / "home")


@pytest.mark.parametrize(
    "at_us, said",
    [
        (1, "1970-01-01"),
        (NOON_US - DAY, "2026-11-27"),
        (NOON_US + DAY, "2026-11-29"),
        (NOON_US + 300_000 * HOUR, "2061-02-17"),
    ],
    ids=["1970", "yesterday", "tomorrow", "decades ahead"],
)
def test_what_is_spent_now_counts_now_whatever_time_its_client_tells(gated, at_us, said):
    gated.hook(Moment.SESSION_START, SessionOrigin.STARTUP)
    assert not gated.hook(Moment.PROMPT).stops
    gated.write("a", 150, at_us)
    answer = gated.hook(Moment.PROMPT)
    assert answer.stops
    assert "$0.00 left of $1.00 today ($1.50 spent); " in answer.message
    assert gated.days() == {"2026-11-28": 150}
    assert gated.anomalies() == [("impossible_time", said)]
    session = open_session_of(gated.rt, "claude_code", "s1")
    with gated.ledger.reading() as reader:
        [stored] = reader.usage_of(session.session_id)
        assert stored.call_id is not None, "it belongs to the step that was under way"
    gated.write("a", 150, at_us)
    gated.hook(Moment.PROMPT)
    assert len(gated.anomalies()) == 1, "the same line again tells nothing new"
    assert any("cannot be right" in note for note in verify_ledger(gated.ledger.path, OutsideEvidence({})).notes)


@pytest.mark.parametrize("minutes, counts", [(-14, True), (14, True), (-16, False), (16, False)])
def test_the_clock_of_a_client_may_differ_by_minutes(gated, minutes, counts):
    gated.hook(Moment.SESSION_START, SessionOrigin.STARTUP)
    gated.write("a", 10, gated.clock.at_us + minutes * MINUTE)
    gated.hook(Moment.PROMPT)
    assert (gated.anomalies() == []) is counts


def test_a_session_over_midnight_counts_each_response_in_its_own_day(gated):
    gated.hook(Moment.SESSION_START, SessionOrigin.STARTUP)
    gated.write("a", 10)
    gated.clock.forward(11 * HOUR + 59 * MINUTE)
    gated.hook(Moment.PROMPT)
    gated.write("b", 20)
    gated.clock.forward(2 * MINUTE)
    gated.write("c", 40)
    gated.hook(Moment.PROMPT)
    assert gated.days() == {"2026-11-28": 30, "2026-11-29": 40}
    gated.clock.forward(12 * HOUR)
    gated.write("of yesterday, it says", 80, gated.clock.at_us - DAY)
    gated.hook(Moment.PROMPT)
    assert gated.days() == {"2026-11-28": 30, "2026-11-29": 120}, "all that was written by then had been read"


@pytest.mark.parametrize("origin", [SessionOrigin.RESUME, SessionOrigin.FORK])
def test_a_session_that_is_taken_up_counts_what_was_before_it_at_its_own_time(gated, origin):
    copied = origin is SessionOrigin.FORK  # into a file of its own, as the work goes on
    if not copied:
        gated.write("before", 70, NOON_US - DAY)
    gated.hook(Moment.SESSION_START, origin)
    if copied:
        gated.write("before", 70, NOON_US - DAY)
    gated.write("now", 10)
    assert not gated.hook(Moment.PROMPT).stops
    assert (gated.days(), gated.anomalies()) == ({"2026-11-28": 10}, [])
    if not copied:
        beside = gated.file.with_suffix("") / "subagents" / "agent-1.jsonl"
        beside.parent.mkdir(parents=True)
        gated.write("a subagent, before", 20, NOON_US - DAY, beside)
        gated.hook(Moment.PROMPT)
        assert (gated.days(), gated.anomalies()) == ({"2026-11-28": 10}, [])
    gated.write("yesterday, it says", 95, NOON_US - DAY)
    assert gated.hook(Moment.PROMPT).stops
    assert gated.days() == {"2026-11-28": 105}


def test_a_subagents_file_that_is_found_late_holds_nothing_from_before_its_session(gated):
    gated.hook(Moment.SESSION_START, SessionOrigin.STARTUP)
    gated.clock.forward(HOUR)
    gated.write("main", 10)
    gated.hook(Moment.PROMPT)
    beside = gated.file.with_suffix("") / "subagents" / "agent-1.jsonl"
    beside.parent.mkdir(parents=True)
    gated.write("half an hour ago", 20, gated.clock.at_us - 30 * MINUTE, beside)
    gated.write("last year", 40, NOON_US - 365 * DAY, beside)
    gated.hook(Moment.PROMPT)
    assert gated.days() == {"2026-11-28": 70}
    assert gated.anomalies() == [("impossible_time", "2025-11-28")]


def test_the_last_response_of_a_session_that_is_read_after_its_end_counts_at_that(gated):
    gated.hook(Moment.SESSION_START, SessionOrigin.STARTUP)
    gated.hook(Moment.PROMPT)
    gated.hook(Moment.SESSION_END)
    gated.write("last", 30, 1)
    gated.clock.forward(2 * DAY)
    gated.follower.catch_up()
    assert gated.days() == {"2026-11-28": 30}


def test_a_session_that_was_opened_by_a_clock_that_stood_ahead_counts_by_the_right_one(gated):
    gated.clock.forward(366 * DAY)
    gated.hook(Moment.SESSION_START, SessionOrigin.STARTUP)
    gated.clock.forward(-366 * DAY)
    gated.write("a", 30)
    gated.hook(Moment.PROMPT)
    assert gated.days() == {"2026-11-28": 30}
    assert gated.anomalies() == []


def test_a_transcript_of_nobodys_session_that_comes_in_late_counts_at_its_own_time(gated):
    gated.write("old", 30, NOON_US - 40 * DAY)
    gated.follower.include("claude_code", gated.file)
    gated.follower.catch_up()
    gated.write("older", 50, NOON_US - 41 * DAY)
    gated.follower.catch_up()
    gated.clock.forward(1_000_000)
    gated.file = gated.file.with_name("s2.jsonl")
    gated.hook(Moment.SESSION_START, SessionOrigin.STARTUP, "s2")
    gated.hook(Moment.PROMPT, name="s2")
    assert (gated.days(), gated.anomalies()) == ({}, [])
