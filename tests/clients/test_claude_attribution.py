"""Whom a response of Claude Code was made for, as its transcripts tell it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clients.making import claude, lines, progress, rows_in, taken
from tests.transcripts import minted

from tallygate.clients.claude_code.transcripts import ClaudeReader, read, reader_of
from tallygate.clients.reading.files import TranscriptFile
from tallygate.core.attribution import Served

BASH, READ = Served(None, "Bash"), Served(None, "Read")
ISSUE = Served("github", "create_issue")


def call(name: str, number: int = 1, **given: object) -> dict[str, object]:
    return {"type": "tool_use", "id": f"toolu_{name}_{number}", "name": name, "input": given}


def response(number: int, *calls: dict[str, object], **top: object) -> dict[str, object]:
    made = claude(minted(f"r{number}"), top={"requestId": f"req_{number}", **top})
    made["message"]["content"] = [{"type": "text", "text": "so"}, *calls]
    return made


def told(*records: dict[str, object]) -> list[tuple[Served, ...]]:
    return [row.served for row in taken(ClaudeReader(session="s1"), *records)]


def test_a_response_serves_the_tools_that_it_calls_and_those_whose_results_it_reads():
    first = response(1, call("mcp__github__create_issue"), call("Bash"))
    assert told(first, response(2, call("Read")), response(3), response(4)) == [
        (BASH, ISSUE),
        (BASH, READ, ISSUE),
        (READ,),
        (),
    ]


def test_lines_of_one_response_tell_its_tools_together():
    one, other = response(1, call("Bash")), response(1, call("Read"))
    assert told(one, other, response(2)) == [(BASH, READ), (BASH, READ)]


def test_agents_side_by_side_read_the_results_of_their_own_calls():
    def told_by(agent: str, number: int, *calls: dict[str, object]) -> dict[str, object]:
        record = progress()
        record["data"]["agentId"] = agent
        record["data"]["message"] = response(number, *calls)
        return record

    rows = taken(
        ClaudeReader(session="s1"),
        told_by("a1", 1, call("Bash")),
        told_by("a2", 2, call("Read")),
        told_by("a1", 3),
        told_by("a2", 4),
        response(5),
    )
    assert [(row.agent_id, row.served) for row in rows] == [
        ("a1", (BASH,)),
        ("a2", (READ,)),
        ("a1", (BASH,)),
        ("a2", (READ,)),
        (None, ()),
    ]


@given(st.lists(st.integers(1, 2000), max_size=6))
def test_a_file_tells_the_same_in_pieces_and_as_a_whole(cuts):
    data = lines(
        response(1, call("Bash")),
        response(1, call("Agent", subagent_type="Explore")),
        response(2, call("mcp__github__create_issue"), attributionSkill="release"),
        response(3),
    )
    whole = rows_in(ClaudeReader(session="s1").feed(data))
    pieces, state, start = [], None, 0
    for end in sorted({min(cut, len(data)) for cut in cuts} | {len(data)}):
        # As a position is kept: at the start of the first line that is not whole.
        end = data.rfind(b"\n", 0, end) + 1  # noqa: PLW2901
        reader = ClaudeReader(session="s1", state=json.loads(json.dumps(state)))
        pieces += reader.feed(data[start:end])
        state, start = reader.state(), end
    assert rows_in(pieces) == whole


def test_the_client_names_the_agent_the_skill_and_the_branch():
    (row,) = taken(
        reader_of(Path("p/s1/subagents/agent-a1.jsonl")),
        response(1, agentId="a1", attributionAgent="Explore", attributionSkill="release", gitBranch="feat/x"),
    )
    assert (row.agent_id, row.agent_type, row.skill, row.branch) == ("a1", "Explore", "release", "feat/x")


@pytest.mark.parametrize("written", ["HEAD", "", "\x00", None, 5, ["main"]])
def test_a_checkout_of_no_branch_has_none(written):
    (row,) = taken(ClaudeReader(session="s1"), response(1, gitBranch=written))
    assert row.branch is None


def test_the_conversation_itself_is_no_agent_whatever_it_is_called():
    (row,) = taken(ClaudeReader(session="s1"), response(1, attributionAgent="Explore"))
    assert (row.agent_id, row.agent_type) == (None, None)


def test_a_note_beside_an_agents_file_tells_its_kind_where_its_lines_do_not(tmp_path):
    path = tmp_path / "s1" / "subagents" / "agent-a1.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(lines(response(1, agentId="a1")))
    path.with_name("agent-a1.meta.json").write_text('{"agentType": "Plan"}')
    (batch,) = read(TranscriptFile("claude_code", path))
    assert [row.agent_type for row in batch.rows] == ["Plan"]


@pytest.mark.parametrize("note", [b"", b"[]", b"{", b'{"agentType": 5}', b"\xff", b"[" * 100_000])
def test_a_note_that_is_none_tells_nothing(tmp_path, note):
    path = tmp_path / "agent-a1.jsonl"
    path.write_bytes(lines(response(1, agentId="a1")))
    path.with_name("agent-a1.meta.json").write_bytes(note)
    (batch,) = read(TranscriptFile("claude_code", path))
    assert [row.agent_type for row in batch.rows] == [None]


def test_work_told_to_the_conversation_is_of_the_kind_of_agent_that_was_started():
    record = progress()
    record["data"]["agentId"] = "a1"
    record["data"]["message"] = response(2)
    record["parentToolUseID"] = "toolu_Task_1"
    rows = taken(ClaudeReader(session="s1"), response(1, call("Task", subagent_type="Explore")), record)
    assert [(row.agent_id, row.agent_type) for row in rows] == [(None, None), ("a1", "Explore")]


def test_a_response_that_calls_a_skill_is_of_that_where_the_client_names_none():
    assert [row.skill for row in taken(ClaudeReader(session="s1"), response(1, call("Skill", skill="pdf")))] == ["pdf"]


def test_the_client_names_the_server_whose_result_is_read_where_the_call_is_not_known():
    (row,) = taken(
        ClaudeReader(session="s1"),
        response(1, attributionMcpServer="my server", attributionMcpTool="create_issue"),
    )
    assert row.served == (Served("my_server", "create_issue"),)


def test_hostile_names_of_agents_and_tools_are_harmless():
    evil = "x\x1b]0;title\x07" + "y" * 5000
    (row,) = taken(
        reader_of(Path("p/s1/subagents/agent-a1.jsonl")),
        response(1, call(evil), call("mcp__a__" + "b" * 300), agentId="a1", attributionAgent=evil, gitBranch=evil),
    )
    assert row.agent_type is not None
    assert row.branch is not None
    for name in (row.agent_type, row.branch, *(each.tool for each in row.served)):
        assert name.isprintable()
        assert len(name) <= 256
