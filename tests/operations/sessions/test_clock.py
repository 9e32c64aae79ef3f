"""A clock that was wrong: nothing stays frozen once it is right, an opened window keeps its counter."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from tests.reading_rules import Rule as Reading_
from tests.world import MINUTE, NANOS, as_said

from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.moments import CLOCK_SLACK_US, ClockWatch, microseconds
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import Action
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.sessions.ending import close_abandoned
from tallygate.operations.usage.ingest import FileReading, ingest, link_session

HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = microseconds(datetime(2026, 11, 28, 12, tzinfo=ZoneInfo("UTC")))  # a Saturday
PERIODS = ("day", "week", "month", "5h")


def capped(world, period):
    return world.with_runtime(rules=(BudgetRule(BudgetScope.GLOBAL, NANOS, period=period),))


def use(world, session, tokens):
    answer = as_said(world).ask(session, tokens)
    if answer.call_id is not None:
        record_usage(world.rt, UsageReport(answer.call_id, Tokens(output=tokens)))
    return answer.action is not Action.HALT


# By period: on which day after the right clock came back the window is a new one. The second day is a Monday, the
# third the first of December.
@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("later, renewed", [(1, {"day", "5h"}), (2, {"day", "5h", "week"}), (30, set(PERIODS))])
def test_after_a_year_ahead_windows_are_renewed_as_the_right_clock_says(world, period, later, renewed):
    world = capped(world, period)
    world.clock.at_us = START
    session = world.start("100")
    assert use(world, session, 900)
    world.clock.at_us = START + 366 * DAY
    assert use(world, session, 880), "the clock is wrong, and the window is that of its date"
    held = as_said(world).ask(session, 100).call_id
    world.clock.at_us = START + MINUTE
    assert not use(world, session, 101), "an opened window keeps its counter"
    assert world.call(held).state == "expired", "nobody waits a year for a reservation"
    assert use(world, session, 50)
    world.clock.at_us = START + later * DAY
    assert use(world, session, 1000) is (period in renewed)
    assert not use(world, session, 51)


def test_a_ledger_that_an_older_version_had_frozen_goes_on_with_the_right_clock(world):
    world = capped(world, "day")
    world.clock.at_us = START + 366 * DAY
    session = world.start("100")
    call = world.ask(session, 880).call_id
    world.clock.at_us = START
    assert sweep(world.rt) == 1
    assert world.call(call).state == "expired"
    assert use(world, session, 1000)
    link_session(world.rt, "codex", "c1", session)
    world.clock.forward(DAY)
    row = ObservedUsage(
        "codex", "c1", "r1", datetime(2026, 11, 29, 11, tzinfo=ZoneInfo("UTC")), "dear", Tokens(output=100),
        Reading_.CODEX_LAST,
    )  # fmt: skip
    assert ingest(world.rt, FileReading("codex", "/t", [row])).attributed == 1, "the session is open, whenever it began"


def test_a_session_that_nobody_works_in_is_closed_although_it_was_last_used_at_a_date_to_come(world):
    world.clock.at_us = START + 366 * DAY
    session = world.start("1")
    world.clock.at_us = START
    assert close_abandoned(world.rt) == [session]


@pytest.mark.parametrize("back", [1, MINUTE, HOUR])
def test_a_clock_that_steps_back_a_little_enters_no_window_again(world, back):
    world = capped(world, "day")
    world.clock.at_us = START + 12 * HOUR  # midnight
    session = world.start("100")
    world.clock.at_us -= back
    assert use(world, session, 1000)
    assert world.budget("global:all:day:2026-11-29").spent == NANOS


def test_a_clock_that_is_set_back_for_long_finds_each_day_as_it_was(world):
    world = capped(world, "day")
    world.clock.at_us = START
    session = world.start("100")
    assert use(world, session, 700)
    world.clock.forward(DAY)
    assert use(world, session, 1000)
    world.clock.at_us = START + MINUTE
    assert not use(world, session, 301)
    assert use(world, session, 300)
    world.clock.at_us = START + DAY
    assert not use(world, session, 1)


def test_the_times_of_events_rise_whatever_the_clock_does_and_a_gap_is_no_jump(world):
    times = []
    session = world.start("100")
    for moved in (0, 366 * DAY, -400 * DAY, 90 * DAY, -CLOCK_SLACK_US, 1):
        world.clock.forward(moved)
        use(world, session, 1)
        with world.ledger.reading() as reader:
            times.append(reader.head().at_us)
    assert times == sorted(set(times))


@pytest.mark.parametrize("moved, told", [(0, None), (HOUR, None), (366 * DAY, 366 * DAY), (-2 * HOUR, -2 * HOUR)])
def test_a_clock_that_is_moved_while_a_program_runs_is_written_down_once_and_a_gap_is_not(tmp_path, moved, told):
    wall, steady = [START], [5 * HOUR]
    watch = ClockWatch(lambda: wall[0], lambda: steady[0])
    options = {"clock": lambda: wall[0], "new_ledger_id": lambda: "cd" * 16, "watch": watch}
    with contextlib.closing(SqliteLedger(tmp_path / "ledger.db", **options)) as ledger:
        for _ in range(2):
            wall[0] += 90 * DAY
            steady[0] += 90 * DAY
            with ledger.writing() as tx:
                tx.append("test", [], by="t")
        wall[0] += moved
        ledger.prove()
        for _ in range(2):
            with ledger.writing() as tx:
                tx.append("test", [], by="t")
        bodies = [json.loads(body) for (body,) in ledger.rows("SELECT body FROM event ORDER BY id")]
    assert [body.get("clock_parted_us") for body in bodies] == [None, None, told, None]
