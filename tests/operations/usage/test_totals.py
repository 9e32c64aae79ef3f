"""Sessions that write down nothing but what they have used so far; a token of `dear` costs a tenth of a cent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.world import MINUTE, the_user

from tallygate.core.costing import Tokens
from tallygate.core.sessions import grown
from tallygate.core.usage import ObservedUsage, Quality, ReadingRule, ResponseKind, needs_window
from tallygate.operations.usage.correct import correct_usage
from tallygate.operations.usage.ingest import FileReading, ingest, link_session

PROJECT = "/home/me/p"
TOTAL = ReadingRule("made_up.total", ResponseKind.RUNNING_TOTAL)
NANOS_A_TOKEN = 10**6


@pytest.fixture
def live(world):
    return world.with_runtime(project=PROJECT)


def total(world, output, *, session="client-1", **more):
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us)
    row = ObservedUsage("claude_code", session, session, at, "dear", Tokens(output=output), TOTAL, project=PROJECT)
    return replace(row, **more)


def take(world, *rows):
    return ingest(world.rt, FileReading("claude_code", f"/t/{rows[0].session}.json", rows))


def kept(world, session="client-1"):
    with world.ledger.reading() as reader:
        return [each.row for each in reversed(reader.recent_usage("claude_code", session, 99))]


def outputs(world, session="client-1"):
    return [row.tokens.output for row in kept(world, session)]


def test_what_a_total_grew_by_is_a_response_and_what_was_before_is_one_that_is_no_step(world):
    for output in (500, 700, 700, 1000):
        world.clock.forward(MINUTE)
        take(world, total(world, output, reasoning=9))
    rows = kept(world)
    assert [row.tokens.output for row in rows] == [500, 200, 300]
    assert [row.quality for row in rows] == [Quality.SESSION_TOTAL, Quality.FINAL, Quality.FINAL]
    assert [row.reasoning for row in rows] == [9, 0, 0]
    assert world.problems() == []


def test_each_growth_is_spent_from_the_session_in_which_it_was_used(live):
    take(live, total(live, 5_000))
    live.clock.forward(MINUTE)
    session = live.start("10", client="claude-code")
    link_session(live.rt, "claude_code", "client-1", session)
    live.clock.forward(MINUTE)
    take(live, total(live, 5_200))
    with live.ledger.reading() as reader:
        assert reader.budget(session).spent == 200 * NANOS_A_TOKEN
    assert live.problems() == []


def test_a_growth_counts_at_the_model_that_is_named_by_then_and_whole(world):
    take(world, total(world, 100))
    world.clock.forward(MINUTE)
    take(world, total(world, 9_000_000, model="other"))
    assert [(row.model, row.tokens.output) for row in kept(world)] == [("dear", 100), ("other", 8_999_900)]
    assert not needs_window(total(world, 9_000_000)), "and is not cut to what one response can be"


def test_counts_that_the_user_has_corrected_are_not_told_again_by_the_next_total(world):
    take(world, total(world, 100))
    world.clock.forward(MINUTE)
    take(world, total(world, 400))
    (_, row) = kept(world)
    correct_usage(world.rt, row.response_key, {"output": 1}, model=None, reason="not mine", authority=the_user("me"))
    world.clock.forward(MINUTE)
    take(world, total(world, 450))
    assert outputs(world) == [100, 1, 50]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9))
def test_any_order_and_repetition_of_totals_comes_to_the_largest(read):
    counted: list[ObservedUsage] = []
    base = ObservedUsage("c", "s", "s", datetime(2026, 1, 1, tzinfo=UTC), "m", Tokens(), TOTAL)
    for count in read:
        more = grown(replace(base, tokens=Tokens(fresh_input=2 * count, output=count)), counted)
        counted += [] if more is None else [more]
    assert sum((row.tokens for row in counted), Tokens()) == Tokens(fresh_input=2 * max(read), output=max(read))
    assert len({row.response_key for row in counted}) == len(counted)
