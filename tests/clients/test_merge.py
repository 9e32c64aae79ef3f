"""Rows of one response meet the same way in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reading_rules import Rule

from tallygate.clients.registry import REGISTRY
from tallygate.core.attribution import Served, together
from tallygate.core.costing import Tokens
from tallygate.core.usage import ObservedUsage, Quality, better, merged

few = st.integers(0, 3)


@st.composite
def rows(draw: st.DrawFn) -> ObservedUsage:
    quality = draw(st.sampled_from(Quality))
    estimate = None if quality is Quality.FINAL else draw(st.none() | few)
    return ObservedUsage(
        client="claude_code",
        session=draw(st.sampled_from("ab")),
        response_key="k",
        at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=draw(few)),
        model=draw(st.sampled_from(["m", "n"])),
        tokens=Tokens(draw(few), draw(few), draw(few), draw(few), draw(few)),
        rule=draw(st.sampled_from([*REGISTRY.rules.values()])),
        quality=quality,
        reasoning=draw(few),
        web_searches=draw(few),
        native_cost_text=draw(st.none() | st.sampled_from(["0.1", "0.2"])),
        speed=draw(st.none() | st.just("fast")),
        project=draw(st.none() | st.just("/p")),
        counted_by=draw(st.none() | st.sampled_from([*REGISTRY.rules.values()])),
        request_id=draw(st.none() | st.sampled_from("xy")),
        agent_id=draw(st.none() | st.just("g")),
        estimated_output=estimate,
        tool_use_ids=tuple(sorted(draw(st.sets(st.sampled_from("tuv"))))),
        agent_type=draw(st.none() | st.sampled_from(["Explore", "Plan"])),
        skill=draw(st.none() | st.just("release")),
        served=together(draw(st.sets(st.builds(Served, st.none() | st.just("s"), st.text("tuvwxyz", min_size=1))))),
        branch=draw(st.none() | st.just("main")),
    )


@given(rows(), rows())
def test_merging_does_not_depend_on_order(a, b):
    assert better(a, b) == better(b, a)


@given(rows(), rows(), rows())
def test_merging_does_not_depend_on_grouping(a, b, c):
    assert better(better(a, b), c) == better(a, better(b, c))


@given(rows(), rows())
def test_merging_again_changes_nothing(a, b):
    assert better(a, a) == a
    assert better(better(a, b), b) == better(a, b)


@given(st.lists(rows(), min_size=1, max_size=6), st.randoms())
def test_any_order_and_repetition_gives_the_same_rows(many, chance):
    shuffled = many + many[: chance.randint(0, len(many))]
    chance.shuffle(shuffled)
    assert merged(shuffled) == merged(many)


@given(rows(), rows())
def test_a_partial_row_keeps_its_estimate_beside_the_record_and_a_final_one_has_none(a, b):
    row = better(a, b)
    assert (row.quality is Quality.FINAL) <= (row.estimated_output is None)


AT = datetime(2026, 1, 1, tzinfo=UTC)
WHOLE = ObservedUsage(
    client="claude_code",
    session="a",
    response_key="msg_1",
    at=AT + timedelta(seconds=2),
    model="m",
    tokens=Tokens(3, 1000, 20, 40, 50),
    rule=Rule.CLAUDE_RESPONSE,
    reasoning=7,
    speed="standard",
    request_id="req_1",
    tool_use_ids=("t1",),
    web_searches=1,
    tier="standard",
    project="/p",
    version="2.1.330",
)
TOLD = ObservedUsage(
    client="claude_code",
    session="a",
    response_key="request:req_1",
    at=AT,
    model="m",
    tokens=Tokens(3, 1000, 60, 0, 50),
    rule=Rule.CLAUDE_TELEMETRY,
    speed="standard",
    request_id="req_1",
    native_cost_text="0.5",
)
BEGUN = replace(WHOLE, tokens=Tokens(3, 1000, 20, 40, 1), reasoning=0, quality=Quality.PARTIAL, estimated_output=44)
AGENTS = {"rule": Rule.CLAUDE_SUBAGENT, "agent_id": "g"}
TOLD_OF_AGENT = replace(TOLD, rule=Rule.CLAUDE_TELEMETRY_SUBAGENT, agent_id="g")


@pytest.mark.parametrize(
    ("transcript", "told", "counts"),
    [
        # A transcript's final counts say more: for how long the cache was written.
        (WHOLE, TOLD, WHOLE),
        (replace(WHOLE, **AGENTS), TOLD_OF_AGENT, WHOLE),
        # Where only the start of a stream was written, telemetry knows how it ended.
        (BEGUN, TOLD, TOLD),
        (replace(BEGUN, **AGENTS), TOLD_OF_AGENT, TOLD),
    ],
)
def test_telemetry_and_a_transcript_make_one_row_with_the_better_counts_and_the_transcript_s_context(
    transcript, told, counts
):
    for row in (better(transcript, told), better(told, transcript), better(better(told, transcript), told)):
        assert row.tokens == (WHOLE.tokens if counts is TOLD else counts.tokens)
        assert (row.rule, row.response_key, row.project, row.tool_use_ids) == (
            transcript.rule,
            "msg_1",
            "/p",
            ("t1",),
        )
        assert (row.web_searches, row.tier, row.version, row.agent_id) == (1, "standard", "2.1.330", told.agent_id)
        assert (row.quality, row.estimated_output) == (Quality.FINAL, None)
        assert (row.at, row.native_cost_text) == (AT, "0.5")
        assert row.counted_by == (None if counts is WHOLE else told.rule)


@pytest.mark.parametrize(
    ("change", "joined"),
    [
        ({}, True),
        (AGENTS, True),
        ({"rule": Rule.CLAUDE_PROGRESS}, True),
        ({"request_id": "req_2"}, False),
        ({"request_id": None}, False),
        ({"client": "codex"}, False),
        # It stands beside its response and shares its request.
        ({"rule": Rule.CLAUDE_ADVISOR, "response_key": "msg_1#advisor0"}, False),
        # A side conversation repeats a message of its parent under its own request.
        ({"rule": Rule.CLAUDE_SIDECHAIN}, False),
        ({"rule": Rule.CLAUDE_SIDECHAIN, "tokens": TOLD.tokens}, True),
    ],
)
def test_rows_of_one_batch_are_of_one_response_when_they_answer_one_request(change, joined):
    row = replace(WHOLE, **change)
    for rows_ in ([row, TOLD], [TOLD, row], [TOLD, row, TOLD, row]):
        assert len(merged(rows_)) == (1 if joined else 2)


def test_requests_that_no_transcript_has_come_last():
    other = replace(TOLD, response_key="request:req_9", request_id="req_9")
    assert [row.response_key for row in merged([other, WHOLE]).values()] == ["msg_1", "request:req_9"]


@given(rows(), rows())
def test_counts_are_joined_class_by_class_and_never_fall(a, b):
    row = better(a, b)
    for each in (a, b):
        one, all_ = each.tokens, row.tokens
        assert all_.fresh_input >= one.fresh_input
        assert all_.cache_read >= one.cache_read
        assert all_.output >= one.output
        assert all_.cache_write_1h >= one.cache_write_1h
        assert all_.cache_write_5m + all_.cache_write_1h >= one.cache_write_5m + one.cache_write_1h


def seen(message: int, output: int, **changes) -> ObservedUsage:
    """A message as a transcript has it."""
    quality = Quality.FINAL if output == 50 + message else Quality.PARTIAL
    return replace(
        WHOLE,
        response_key=f"msg_{message}",
        request_id=f"req_{message}",
        tokens=Tokens(output=output),
        quality=quality,
        **changes,
    )


@st.composite
def tellings(draw: st.DrawFn) -> ObservedUsage:
    """Any way in which three messages and a side conversation's own request can come to us."""
    message = draw(st.integers(1, 3))
    output = draw(st.sampled_from([1, 5, 50 + message]))
    side = {"rule": Rule.CLAUDE_SIDECHAIN, "request_id": "req_7", "session": "b"}
    return draw(
        st.sampled_from(
            [
                seen(message, output),
                seen(message, output, session="b", project="/q"),
                seen(message, output, rule=Rule.CLAUDE_PROGRESS),
                replace(seen(message, 50 + message), **side),
                replace(TOLD, response_key=f"request:req_{message}", request_id=f"req_{message}",
                        tokens=Tokens(output=50 + message)),
                replace(TOLD, response_key="request:req_7", request_id="req_7", tokens=Tokens(output=9),
                        rule=Rule.CLAUDE_AUXILIARY),
            ]
        )
    )  # fmt: skip


@given(st.lists(tellings(), min_size=1, max_size=10), st.randoms(), st.integers(0, 10))
def test_however_a_response_is_told_of_it_is_one_row_in_any_order_and_grouping(many, chance, cut):
    expected = merged(many)
    shuffled = many + many[: chance.randint(0, len(many))]
    chance.shuffle(shuffled)
    assert merged(shuffled) == expected
    first, second = merged(shuffled[:cut]), merged(shuffled[cut:])
    assert merged([*first.values(), *second.values()]) == expected
