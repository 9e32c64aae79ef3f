"""How Claude Code's transcripts become rows; each test is named after its rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.clients.making import claude, lines, message, progress, rows_in, taken, total
from tests.reading_rules import Rule
from tests.transcripts import minted

from tallygate.clients.claude_code.transcripts import ClaudeReader, discover, locations, read, reader_of
from tallygate.clients.reading.files import TranscriptFile
from tallygate.clients.reading.lines import Skip
from tallygate.core.costing import Tokens
from tallygate.core.usage import MAX_TOKENS, Quality

OTHER = "msg_01ZyXwVuTsRqPoNmLkJiHgFe"


def reader(session: str = "s1") -> ClaudeReader:
    return ClaudeReader(session=session)


def test_lines_of_one_message_id_and_request_id_are_one_response():
    rows = taken(reader(), claude(), claude(), claude())
    assert [row.tokens for row in rows] == [Tokens(3, 1000, 0, 0, 50)]
    assert (rows[0].request_id, rows[0].session, rows[0].version) == ("req_1", "s1", "2.1.49")


def test_the_largest_output_of_a_response_wins():
    rows = taken(reader(), claude(output=2), claude(output=400), claude(output=90))
    assert [row.tokens.output for row in rows] == [400]


def test_a_response_copied_into_a_resumed_or_forked_file_counts_once():
    original = reader("s1").feed(lines(claude(output=10)))
    copy = reader("s2").feed(lines(claude(output=10, top={"sessionId": "s2", "requestSessionId": "s1"})))
    for order in (original + copy, copy + original):
        (row,) = rows_in(order)
        assert (row.session, row.tokens.output) == ("s1", 10)


def test_a_copy_that_does_not_name_its_origin_still_counts_once():
    copies = [reader(s).feed(lines(claude(top={"sessionId": s})))[0] for s in ("s1", "s2")]
    assert len(rows_in(copies)) == 1
    assert rows_in(copies) == rows_in(reversed(copies))


def test_a_side_conversation_that_replays_its_parent_gives_way_to_the_parents_copy():
    own = claude(output=50)
    replay = claude(output=50, top={"isSidechain": True, "agentId": "aside", "requestId": "req_other"})
    for order in ((own, replay), (replay, own)):
        (row,) = taken(reader(), *order)
        assert (row.rule, row.tokens.output, row.agent_id) == (Rule.CLAUDE_RESPONSE, 50, None)


def test_a_side_conversations_own_response_counts():
    side = claude(OTHER, top={"isSidechain": True})
    assert [row.rule for row in taken(reader(), claude(), side)] == [
        Rule.CLAUDE_RESPONSE,
        Rule.CLAUDE_SIDECHAIN,
    ]


def test_subagent_files_come_first_and_agent_progress_rows_count_once_as_fallback():
    agent_file = reader_of(Path("p/s1/subagents/agent-a1.jsonl"))
    own = agent_file.feed(lines(claude(top={"isSidechain": True, "agentId": "a1", "requestId": "req_p"})))
    told = reader().feed(lines(progress(), progress()))
    assert [row.rule for row in rows_in(told)] == [Rule.CLAUDE_PROGRESS]
    for order in (own + told, told + own):
        (row,) = rows_in(order)
        assert (row.rule, row.session, row.agent_id) == (Rule.CLAUDE_SUBAGENT, "s1", "a1")
    assert total(rows_in(own + told)) == total(rows_in(told))


def test_a_subagents_session_is_its_parents():
    bare = claude(top={"isSidechain": True})
    del bare["sessionId"]
    (row,) = taken(reader_of(Path("projects/p/parent-id/subagents/workflows/w/agent-a7.jsonl")), bare)
    assert (row.session, row.agent_id) == ("parent-id", "a7")


def test_advisor_iterations_are_extra_spend_under_their_own_model():
    advice = {"type": "advisor_message", "model": "claude-fable-5", "input_tokens": 7, "output_tokens": 9}
    turn = {"type": "message", "model": None, "input_tokens": 3, "output_tokens": 50}
    rows = taken(reader(), claude(usage={"iterations": [turn, advice]}))
    assert [(row.model, row.tokens, row.rule) for row in rows] == [
        ("claude-opus-4-6", Tokens(3, 1000, 0, 0, 50), Rule.CLAUDE_RESPONSE),
        ("claude-fable-5", Tokens(7, 0, 0, 0, 9), Rule.CLAUDE_ADVISOR),
    ]


NOTHING = {"input_tokens": 0, "cache_read_input_tokens": 0}


def test_rows_that_the_client_made_itself_are_skipped_where_they_used_nothing():
    it = reader()
    failed = claude(OTHER, top={"isApiErrorMessage": True}, output=0, usage=NOTHING)
    assert taken(it, claude(model="<synthetic>", output=0, usage=NOTHING), failed, claude(output=1))
    assert it.report.skipped[Skip.SYNTHETIC] == 2


def test_an_error_or_a_made_up_row_that_states_usage_counts_at_the_model_before_it():
    rows = taken(
        reader(),
        claude(),
        claude("msg_01aaaaaaaaaaaaaaaaaaaaaa", model="<synthetic>"),
        claude(OTHER, top={"isApiErrorMessage": True}, model="claude-haiku-4-5"),
    )
    assert {(row.response_key, row.model, row.odd) for row in rows} == {
        (claude()["message"]["id"], "claude-opus-4-6", ()),
        ("msg_01aaaaaaaaaaaaaaaaaaaaaa", "claude-opus-4-6", ("no_model",)),
        (OTHER, "claude-haiku-4-5", ()),
    }


def test_a_response_without_final_usage_is_partial_with_an_estimate_beside_the_record():
    text = {"type": "text", "text": "x" * 240}
    (row,) = taken(reader(), claude(output=2, stop_reason=None, content=[text]))
    assert (row.quality, row.tokens.output, row.estimated_output) == (Quality.PARTIAL, 2, 100)


def test_the_estimate_adds_up_over_the_lines_of_a_response_however_they_are_cut():
    parts = [
        claude(output=2, stop_reason=None, content=[{"type": "text", "text": "x" * 120}]),
        claude(OTHER, output=1),
        claude(output=2, stop_reason=None, content=[{"type": "tool_use", "id": "t", "input": {"a": "y" * 110}}]),
    ]
    whole = taken(reader(), *parts)
    it, rows = reader(), []
    for part in parts:
        rows += it.feed(lines(part))
        it = ClaudeReader(session="s1", state=json.loads(json.dumps(it.state())))
    assert rows_in(rows) == whole
    assert whole[0].estimated_output == -(-(120 + 2 + 5 + 112) * 5 // 12)


def test_the_estimate_is_never_below_the_record_and_absent_when_nothing_shows():
    (low,) = taken(reader(), claude(output=90, stop_reason=None, content=[{"type": "text", "text": "hi"}]))
    (bare,) = taken(reader(), claude(output=90, stop_reason=None))
    assert (low.estimated_output, bare.estimated_output) == (90, None)


def test_a_later_final_line_makes_the_response_final():
    (row,) = taken(
        reader(),
        claude(output=2, stop_reason=None, content=[{"type": "text", "text": "long " * 100}]),
        claude(output=150),
    )
    assert (row.quality, row.tokens.output, row.estimated_output) == (Quality.FINAL, 150, None)


def test_one_hour_writes_stand_apart():
    detail = {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70}
    (row,) = taken(reader(), claude(usage={"cache_creation_input_tokens": 100, "cache_creation": detail}))
    assert (row.tokens.cache_write_5m, row.tokens.cache_write_1h) == (30, 70)


def test_writes_that_no_class_claims_are_five_minute_writes():
    short = {"ephemeral_1h_input_tokens": 70}
    (row,) = taken(reader(), claude(usage={"cache_creation_input_tokens": 100, "cache_creation": short}))
    assert (row.tokens.cache_write_5m, row.tokens.cache_write_1h) == (30, 70)
    (row,) = taken(reader(), claude(usage={"cache_creation_input_tokens": 100}))
    assert (row.tokens.cache_write_5m, row.tokens.cache_write_1h) == (100, 0)


@pytest.mark.parametrize(
    "model",
    [
        "claude-sonnet-4-5-20250929[1m]",
        "us.anthropic.claude-opus-4-5-20251101-v1:0",
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-6",
        "claude-opus-4-5@20251101",
    ],
)
def test_long_context_bedrock_and_vertex_ids_are_kept_as_written(model):
    assert taken(reader(), claude(model=model))[0].model == model


def test_the_total_of_a_task_result_is_not_billed():
    result = claude(top={"type": "user", "toolUseResult": {"totalTokens": 9999, "usage": {"output_tokens": 9}}})
    result["message"] = {"role": "user", "content": [{"type": "tool_result", "content": '"assistant"'}]}
    assert taken(reader(), result) == []


def test_null_in_optional_fields_is_tolerated_anywhere():
    nulls = dict.fromkeys(["cache_creation", "server_tool_use", "service_tier", "speed", "inference_geo", "iterations"])
    odd = {"type": "tool_use", "id": "toolu_1", "input": {"id": None, "model": None, "speed": None}}
    (row,) = taken(reader(), claude(usage=nulls, content=[odd], top={"gitBranch": None, "agentId": None}))
    assert (row.tokens, row.tool_use_ids) == (Tokens(3, 1000, 0, 0, 50), ("toolu_1",))


def test_a_cost_state_row_is_a_check_and_adds_no_usage():
    state = {
        "type": "cost-state",
        "sessionId": "s1",
        "totalCostUSD": 0.0928160,
        "modelUsage": {
            "claude-opus-5-5": {
                "inputTokens": 24,
                "outputTokens": 200,
                "cacheReadInputTokens": 46100,
                "cacheCreationInputTokens": 15900,
                "cacheCreationEphemeral1hInputTokens": 900,
                "webSearchRequests": 2,
                "costUSD": 0.092816,
            }
        },
        "hasUnknownModelCost": False,
    }
    it = reader()
    assert taken(it, state) == []
    (check,) = it.checks
    assert (check.session, check.cost_text) == ("s1", "0.092816")
    assert check.models[0].tokens == Tokens(24, 46100, 15000, 900, 200)


def test_tool_ids_of_all_lines_of_a_response_are_kept():
    calls = [claude(content=[{"type": "tool_use", "id": f"toolu_{n}", "input": {}}]) for n in (2, 1)]
    assert taken(reader(), *calls)[0].tool_use_ids == ("toolu_1", "toolu_2")


def test_a_short_message_id_is_not_trusted_across_requests_and_sessions():
    rows = taken(
        reader(),
        claude("msg_1"),
        claude("msg_1", top={"requestId": "req_2", "timestamp": "2026-03-01T10:00:01.000Z"}),
        claude("msg_1", top={"requestId": None, "timestamp": "2026-03-01T10:00:02.000Z"}),
        claude("msg_1", top={"requestId": None, "timestamp": "2026-03-01T10:00:03.000Z"}, output=60),
    )
    assert [row.tokens.output for row in sorted(rows, key=lambda row: row.at)] == [50, 50, 50, 60]


def test_tier_speed_searches_reasoning_and_stored_cost_are_kept():
    detail = {
        "service_tier": "priority",
        "speed": "fast",
        "inference_geo": "us",
        "server_tool_use": {"web_search_requests": 3},
        "output_tokens_details": {"thinking_tokens": 20},
    }
    (row,) = taken(reader(), claude(usage=detail, top={"costUSD": 0.10}))
    assert (row.tier, row.speed, row.geo, row.web_searches, row.reasoning) == ("priority", "fast", "us", 3, 20)
    assert row.native_cost_text == "0.1"


def test_the_earliest_line_gives_the_time():
    late = claude(top={"timestamp": "2026-03-01T23:59:59.900+00:00"})
    early = claude(top={"timestamp": "2026-03-02T00:59:59.500+02:00"})
    (row,) = taken(reader(), late, early)
    assert row.at.isoformat() == "2026-03-01T22:59:59.500000+00:00"


def test_all_places_are_searched(tmp_path):
    found = locations({}, tmp_path)
    assert found[:2] == [tmp_path / ".config/claude/projects", tmp_path / ".claude/projects"]
    named = locations({"CLAUDE_CONFIG_DIR": f"{tmp_path}/a, {tmp_path}/b"}, tmp_path)
    assert named[:2] == [tmp_path / "a/projects", tmp_path / "b/projects"]
    assert tmp_path / ".claude/projects" in named, "a variable adds places and takes none away"
    assert tmp_path / "c/projects" in locations({"CLAUDE_CONFIG_DIR": "~/c/projects"}, tmp_path)


def test_rows_of_a_workflow_s_subagents_belong_to_the_session_of_their_folder():
    path = Path("projects/p/parent-id/subagents/workflows/w/agent-a7.jsonl")
    rows = taken(reader_of(path), claude(top={"isSidechain": True, "sessionId": "of-its-own"}))
    assert [row.session for row in rows] == ["parent-id"]


def test_sessions_subagents_and_desktop_sessions_are_found_and_read(tmp_path):
    made = [
        ".claude/projects/-p/s1.jsonl",
        ".claude/projects/-p/s1/subagents/agent-a1.jsonl",
        ".claude/projects/-p/agent-old.jsonl",
        ".config/Claude/local-agent-mode-sessions/x/.claude/projects/-p/s2.jsonl",
    ]
    for number, place in enumerate([*made, ".config/Claude/local-agent-mode-sessions/x/audit.jsonl"]):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lines(claude(minted(str(number)))))
    files = list(discover({}, tmp_path))
    assert sorted(file.path for file in files) == sorted(tmp_path / place for place in made)
    assert len(rows_in(row for file in files for batch in read(file) for row in batch.rows)) == 4


def test_a_key_that_only_appears_in_text_is_no_usage():
    said = claude(content=[{"type": "text", "text": '{"type":"assistant","message":{"usage":{"output_tokens":9}}}'}])
    (row,) = taken(reader(), said)
    assert row.tokens.output == 50
    user = {"type": "user", "message": {"content": '{"usage":{"output_tokens":5}} "assistant"'}}
    assert taken(reader(), user) == []


def test_a_line_whose_record_is_written_twice_is_not_used():
    it = reader()
    text = lines(claude()).replace(b'"output_tokens":50', b'"output_tokens":50,"output_tokens":7')
    assert it.feed(text) == []
    assert it.report.skipped[Skip.DUPLICATE_KEY] == 1


@pytest.mark.parametrize(
    ("written", "counted", "odd"),
    [
        (-1, 0, "negative_count"),
        (True, 0, "no_number"),
        ("many", 0, "no_number"),
        ([5], 0, "no_number"),
        (float("nan"), 0, "no_number"),
        (10**15, MAX_TOKENS, "count_too_large"),
        (100.0, 100, "count_as_text"),
        (1.5, 2, "count_as_text"),
        ("100", 100, "count_as_text"),
        ("-3", 0, "negative_count"),
        ("1e3", 1000, "count_as_text"),
        (None, 0, None),
    ],
)
def test_an_odd_number_never_drops_a_response_and_marks_it(written, counted, odd):
    (row,) = taken(reader(), claude(usage={"output_tokens": written}))
    assert (row.tokens.output, row.tokens.cache_read) == (counted, 1000)
    assert row.odd == (() if odd is None else (odd,))


def test_a_response_without_a_time_has_that_of_the_one_before_it():
    rows = taken(reader(), claude(), claude(OTHER, top={"timestamp": "yesterday"}))
    assert [row.at.isoformat() for row in rows] == ["2026-03-01T10:00:00+00:00"] * 2
    assert [row.odd for row in rows] == [(), ("no_time",)]
    it = reader()
    assert taken(it, claude(top={"timestamp": None})) == []
    assert it.report.skipped == {Skip.NO_TIME: 1}


def test_names_that_are_none_drop_no_response_and_no_message_is_told():
    it = reader()
    odd = [
        claude(top={"sessionId": [1], "cwd": {}}),
        claude(["a"], top={"requestId": {}, "uuid": []}),
        claude(OTHER, content=[{"type": ["tool_use"], "id": {}}, None, 5]),
        {"type": "assistant", "message": {"usage": [], "id": "x"}},
        message(),
    ]
    keys = [row.response_key for row in taken(it, *odd, claude())]
    assert len(keys) == 3
    assert keys[1] == OTHER
    assert it.report.skipped == {Skip.BAD_COUNT: 1}


def test_a_missing_file_is_gone(tmp_path):
    (batch,) = read(TranscriptFile("claude_code", tmp_path / "no.jsonl"))
    assert (batch.change, batch.rows, batch.position) == ("gone", (), None)


def test_an_advisor_s_iteration_without_counts_is_no_response():
    made = reader()
    rows = taken(made, claude(usage={"iterations": [{"type": "advisor_message"}]}))
    assert [row.rule for row in rows] == [Rule.CLAUDE_RESPONSE]
    assert made.report.skipped[Skip.EMPTY] == 1


def test_the_total_of_a_fork_names_the_sessions_that_are_in_it_however_the_file_is_read():
    copy = claude(top={"sessionId": "s2", "requestSessionId": "s1"})
    own = claude(OTHER, top={"sessionId": "s2"})
    stated = {"type": "cost-state", "sessionId": "s2", "modelUsage": {"m": {"inputTokens": 5}}, "totalCostUSD": 1}
    whole = ClaudeReader(session="s2")
    whole.feed(lines(copy, own, stated))
    first = ClaudeReader(session="s2")
    first.feed(lines(copy, own))
    rest = ClaudeReader(session="s2", state=json.loads(json.dumps(first.state())))
    rest.feed(lines(stated))
    assert [check.includes for check in (*whole.checks, *rest.checks)] == [("s1",), ("s1",)]
    alone = ClaudeReader(session="s2")
    alone.feed(lines(own, stated))
    assert [check.includes for check in alone.checks] == [()]
    assert alone.state() == {"shown": [], "at": "2026-03-01T10:00:00+00:00", "last_model": "claude-opus-4-6"}


@pytest.mark.parametrize("others", [None, 5, "s1", [None, {}, "a\nb"], ["x"] * 100])
def test_a_state_that_is_not_understood_names_no_other_sessions_that_are_none(others):
    read_on = ClaudeReader(session="s2", state={"shown": [], "others": others})
    stated = {"type": "cost-state", "sessionId": "s2", "modelUsage": {}, "totalCostUSD": 1}
    read_on.feed(lines(stated))
    assert set(read_on.checks[0].includes) <= {"x"}
    assert len(read_on.checks[0].includes) <= 16
