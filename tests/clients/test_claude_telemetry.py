"""What Claude Code's telemetry says of its requests; amounts as the events have them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.telling import ENDED_NS, event

from tallygate.clients.claude_code.telemetry import read_events
from tallygate.core.costing import Tokens
from tallygate.core.usage import MAX_TOKENS, Quality

RESOURCE = {"service.name": "claude-code", "service.version": "2.1.330"}
ENDED = datetime.fromtimestamp(ENDED_NS // 10**9, UTC)


def told(at_ns=ENDED_NS, resource=RESOURCE, **changes):
    return read_events([(resource, event(**changes), at_ns)])


def row_of(**changes):
    [row] = told(**changes).rows
    return row


def test_a_request_is_a_response_that_is_final_from_the_moment_it_was_sent():
    row = row_of(input_tokens=3, cache_read_tokens=15_000, cache_creation_tokens=400, cache_creation_5m_tokens=400)
    assert (row.client, row.session, row.response_key, row.request_id) == (
        "claude_code",
        "client-1",
        "request:req_1",
        "req_1",
    )
    assert row.at == ENDED - timedelta(seconds=2)
    assert row.tokens == Tokens(3, 15_000, 400, 0, 100)
    assert (row.model, row.speed, row.version, row.quality) == ("dear", "standard", "2.1.330", Quality.FINAL)
    assert (row.rule, row.project, row.provider) == (Rule.CLAUDE_TELEMETRY, None, None)


@pytest.mark.parametrize(
    ("source", "agent", "rule"),
    [
        ("sdk", None, Rule.CLAUDE_TELEMETRY),
        ("repl_main_thread", None, Rule.CLAUDE_TELEMETRY),
        ("repl_main_thread:outputStyle:custom", None, Rule.CLAUDE_TELEMETRY),
        ("agent:builtin:general-purpose", "a1", Rule.CLAUDE_TELEMETRY_SUBAGENT),
        ("agent:custom", None, Rule.CLAUDE_TELEMETRY),
        (None, None, Rule.CLAUDE_TELEMETRY),
        (None, "a1", Rule.CLAUDE_TELEMETRY_SUBAGENT),
        ("compact", None, Rule.CLAUDE_AUXILIARY),
        ("generate_session_title", None, Rule.CLAUDE_AUXILIARY),
        ("side_question", None, Rule.CLAUDE_AUXILIARY),
        ("hook_prompt", None, Rule.CLAUDE_AUXILIARY),
        ("hook_agent", "a1", Rule.CLAUDE_AUXILIARY),
        ("sdk_something_new", None, Rule.CLAUDE_AUXILIARY),
    ],
)
def test_what_is_no_conversation_is_the_client_s_own(source, agent, rule):
    assert row_of(query_source=source, agent_id=agent).rule is rule


@pytest.mark.parametrize(
    ("counts", "writes"),
    [
        ((400, 100, 300), (100, 300)),
        ((400, None, None), (400, 0)),
        ((400, 0, 150), (250, 150)),
        ((None, 100, 300), (100, 300)),
    ],
)
def test_what_no_class_claims_was_written_for_five_minutes(counts, writes):
    whole, short, long = counts
    row = row_of(cache_creation_tokens=whole, cache_creation_5m_tokens=short, cache_creation_1h_tokens=long)
    assert (row.tokens.cache_write_5m, row.tokens.cache_write_1h) == writes


@pytest.mark.parametrize(
    ("given_", "kept"),
    [("normal", "standard"), ("fast", "fast"), (None, None), ("slow", "slow"), ("a\x00b", None)],
)
def test_the_speed_is_named_as_transcripts_name_it(given_, kept):
    assert row_of(speed=given_).speed == kept


@pytest.mark.parametrize(
    ("given_", "kept"), [(1, "1"), ("0.0016279999999999999", "0.0016279999999999999"), (None, None), (10**30, None)]
)
def test_the_client_s_own_figure_stays_text(given_, kept):
    assert row_of(cost_usd=given_).native_cost_text == kept


@pytest.mark.parametrize(
    ("written", "counted", "odd"),
    [
        (-1, 0, "negative_count"),
        ("many", 0, "no_number"),
        (MAX_TOKENS + 1, MAX_TOKENS, "count_too_large"),
    ],
)
def test_an_odd_count_never_drops_a_response(written, counted, odd):
    row = row_of(input_tokens=3, output_tokens=written, duration_ms="soon")
    assert (row.tokens.output, row.odd) == (counted, (odd,))


@pytest.mark.parametrize("tokens", ["12", 12, "12.75"])
def test_numbers_may_be_written_as_text(tokens):
    assert row_of(input_tokens=tokens).tokens.fresh_input == 12


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"output_tokens": 0}, "empty_usage"),
        # Its transcript has it too, and nothing would bring the two together.
        ({"request_id": None}, "no_request_id"),
        ({"at_ns": None, "timestamp": "yesterday"}, "no_time"),
        ({"at_ns": 2**63, "timestamp": None}, "no_time"),
    ],
)
def test_an_event_that_cannot_be_used_is_counted_by_its_reason(changes, reason):
    found = told(**changes)
    assert (found.rows, dict(found.skipped)) == ([], {reason: 1})


@pytest.mark.parametrize(
    "changes", [{"session": None}, {"session": "a\nb"}, {"at_ns": None, "timestamp": "yesterday"}, {"model": None}]
)
def test_an_event_without_a_session_a_time_or_a_model_counts_and_says_so(changes):
    heard_at = datetime(2026, 9, 21, 15, tzinfo=UTC)
    at_ns = changes.get("at_ns", 1)
    tells = event(**{key: value for key, value in changes.items() if key != "at_ns"})
    first, again = (read_events([(RESOURCE, tells, at_ns)], heard_at).rows for _ in range(2))
    assert first == again
    assert len(first) == 1
    assert (first[0].session == "unknown") == ("session" in changes)
    assert ("no_time" in first[0].odd) == ("at_ns" in changes)
    assert ("no_model" in first[0].odd) == ("model" in changes)


@pytest.mark.parametrize(
    "changes",
    [{"event": "api_error"}, {"event": None}, {"resource": {"service.name": "other"}}, {"resource": {}}],
)
def test_other_events_and_other_programs_are_nothing_to_count(changes):
    found = told(**changes)
    assert (found.rows, found.skipped) == ([], {})


def test_an_own_request_without_an_id_is_told_from_others_by_its_place_in_the_session():
    first, again, other = (
        row_of(query_source="compact", request_id=None, sequence=number).response_key for number in (8, 8, 9)
    )
    assert first == again != other


def test_the_event_s_own_words_give_the_time_where_the_record_has_none():
    assert row_of(at_ns=None).at == datetime(2026, 9, 21, 14, 13, 28, tzinfo=UTC)


def test_no_request_takes_longer_than_a_day():
    assert row_of(duration_ms=10**12).at == ENDED - timedelta(days=1)


values = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["1", "0.5", "-3"])


@given(st.dictionaries(st.sampled_from(sorted(event())), values), st.none() | st.integers(-(2**70), 2**70))
def test_whatever_an_event_says_it_is_a_sound_row_or_counted(changes, at_ns):
    found = read_events([(RESOURCE, event() | changes, at_ns)])
    for row in found.rows:
        tokens = row.tokens
        counts = (tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h, tokens.output)
        assert all(0 <= each <= MAX_TOKENS for each in counts)
        assert row.at.tzinfo is UTC
        assert row.response_key.isprintable()
        json.dumps([row.session, row.model, row.agent_id, row.speed, row.native_cost_text])
