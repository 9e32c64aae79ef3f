"""Whom responses were made for, as the records of the other clients tell it; Claude Code's have a file of their own."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clients.making import (
    THREAD,
    answered,
    codex,
    counted,
    happened,
    lines,
    meta,
    receipt,
    recorded,
    rows_in,
    taken,
    turn,
    usage,
)
from tests.clients.test_opencode_rules import database, put, rows_of, said

from tallygate.clients.codex.transcripts import CodexReader
from tallygate.clients.codex.transcripts import reader_of as codex_reader
from tallygate.clients.copilot.transcripts import reader_of as copilot_reader
from tallygate.clients.gemini.transcripts import GeminiReader
from tallygate.clients.qwen.transcripts import reader_of as qwen_reader
from tallygate.core.attribution import Served

ISSUE, SHELL, PATCH = Served("github", "create_issue"), Served(None, "exec_command"), Served(None, "apply_patch")


# --- Codex -----------------------------------------------------------------------------------------------------------


def called(name: str, number: int, kind: str = "function_call", **more: Any) -> dict[str, Any]:
    arguments = json.dumps({"name": "another", "namespace": "mcp__evil"})
    return codex(
        "response_item", {"type": kind, "name": name, "arguments": arguments, "call_id": f"call_{number}"} | more
    )


WORK = [
    meta(git={"branch": "feat/x", "commit_hash": "abc"}),
    turn("gpt-5.4"),
    codex("response_item", {"type": "function_call", "name": "create_issue", "namespace": "mcp__github",
                            "arguments": '{"name": "no"}', "call_id": "call_1"}),
    called("exec_command", 2),
    recorded("resp_0000000000000000000001", usage(100, out=5), usage(100, out=5), 10),
    called("apply_patch", 3, "custom_tool_call"),
    recorded("resp_0000000000000000000002", usage(200, out=5), usage(300, out=10), 20),
    recorded("resp_0000000000000000000003", usage(300, out=5), usage(600, out=15), 30),
    recorded("resp_0000000000000000000004", usage(400, out=5), usage(1000, out=20), 40),
]  # fmt: skip
TOLD = [(SHELL, ISSUE), (PATCH, SHELL, ISSUE), (PATCH,), ()]


def rollout(state: Any = None) -> CodexReader:
    return codex_reader(Path(f"rollout-2026-03-01T10-00-00-{THREAD}.jsonl"), state)


def test_codex_calls_stand_before_what_their_response_used():
    rows = taken(rollout(), *WORK)
    assert [row.served for row in rows] == TOLD
    assert {row.branch for row in rows} == {"feat/x"}


def test_codex_totals_tell_the_same_as_records():
    records = [row for row in WORK if row["type"] != "token_usage_record"]
    totals = [counted(usage(100 * n, out=n), usage(100, out=1), 10 * n) for n in (1, 2, 3)]
    rows = taken(rollout(), *records[:4], totals[0], records[4], totals[1], totals[2])
    assert [row.served for row in rows] == TOLD[:3]


@given(st.lists(st.integers(1, 3000), max_size=5))
def test_codex_tells_the_same_in_pieces(cuts):
    data = lines(*WORK)
    pieces, state, start = [], None, 0
    for end in sorted({min(cut, len(data)) for cut in cuts} | {len(data)}):
        end = data.rfind(b"\n", 0, end) + 1  # noqa: PLW2901
        reader = rollout(json.loads(json.dumps(state)))
        pieces += reader.feed(data[start:end])
        state, start = reader.state(), end
    assert [row.served for row in rows_in(pieces)] == TOLD


@pytest.mark.parametrize(
    ("name", "more", "tool"),
    [
        ("create_issue", {"namespace": "mcp__github"}, ISSUE),
        ("mcp__github__create_issue", {}, ISSUE),
        ("ask", {"namespace": "mcp__my__srv"}, Served("my__srv", "ask")),
        ("ask__all", {"namespace": "mcp__my__srv__"}, Served("my__srv", "ask__all")),
        ("github__create_issue", {}, ISSUE),
        ("spawn_agent", {"namespace": "multi_agent_v1"}, Served(None, "spawn_agent")),
        ("exec_command", {}, SHELL),
    ],
)
@pytest.mark.parametrize("is_usual", [True, False])
def test_codex_names_a_servers_tool_in_several_ways(name, more, tool, is_usual):
    payload = {"type": "function_call", "name": name, **more, "arguments": "{}", "call_id": "call_1"}
    record = codex("response_item", payload)
    if not is_usual:
        record = {"payload": payload, "type": "response_item", "timestamp": record["timestamp"]}
    rows = taken(rollout(), meta(), turn("gpt-5.4"), record, counted(usage(100, out=1), usage(100, out=1)))
    assert [row.served for row in rows] == [(tool,)]


@pytest.mark.parametrize(
    ("subagent", "kind"),
    [
        ({"thread_spawn": {"parent_thread_id": "p", "agent_role": "explorer", "agent_nickname": "Cicero"}}, "explorer"),
        ({"thread_spawn": {"parent_thread_id": "p", "agent_role": None, "agent_nickname": "Cicero"}}, "default"),
        ("review", "review"),
        ({"other": "guardian"}, "guardian"),
        ({"thread_spawn": 5}, None),
    ],
)
def test_a_codex_agent_is_of_its_role_as_its_hooks_have_it(subagent, kind):
    made = meta(source={"subagent": subagent})
    rows = taken(
        rollout(), made, turn("gpt-5.4"), counted(usage(100), usage(100), 50), counted(usage(200), usage(100), 99)
    )
    assert {(row.agent_id, row.agent_type) for row in rows} == {(THREAD, kind)}


def test_what_a_copied_history_called_is_not_what_the_thread_called():
    copied = [turn("gpt-5.4", "t0"), called("apply_patch", 1, "custom_tool_call"), counted(usage(100), usage(100), 0)]
    own = [called("exec_command", 2), counted(usage(300), usage(200), 30), counted(usage(400), usage(100), 40)]
    rows = taken(rollout(), meta(forked_from_id="parent"), *copied, *own)
    assert [row.served for row in rows] == [(), ()]  # before a pause nobody can tell that the copy is over


# --- Gemini CLI ------------------------------------------------------------------------------------------------------


def message(number: int, *calls: dict[str, Any]) -> dict[str, Any]:
    used = {"input": 100, "output": 20, "cached": 0, "thoughts": 0, "tool": 0, "total": 120}
    row = {"id": f"m{number}", "timestamp": f"2026-03-01T10:00:0{number}.000Z", "type": "gemini", "tokens": used}
    return row | {"model": "gemini-2.5-pro", "toolCalls": list(calls)}


MCP_CALL = {
    "id": "c1",
    "name": "mcp_github_create_issue",
    "displayName": "create_issue (github MCP Server)",
    "args": {"displayName": "x (evil MCP Server)"},
}
SHELL_CALL = {"id": "c2", "name": "run_shell_command", "displayName": "Shell"}
RUN = Served(None, "run_shell_command")


def chat() -> GeminiReader:
    return GeminiReader(stem="session-1")


def test_gemini_tells_a_servers_tool_by_what_it_shows_of_it():
    # Each message is written once more when its calls have ended.
    written = [message(1), message(1, MCP_CALL), message(2), message(2, SHELL_CALL), message(3)]
    assert [row.served for row in taken(chat(), *written)] == [(ISSUE,), (RUN, ISSUE), (RUN,)]


def test_a_gemini_history_that_is_written_anew_tells_the_same():
    written = [message(1, MCP_CALL), message(2), message(3)]
    again = {"$set": {"messages": written[:2]}}
    assert [row.served for row in taken(chat(), *written, again)] == [(ISSUE,), (ISSUE,), ()]


# --- Qwen Code -------------------------------------------------------------------------------------------------------


def qwen_call(name: str, **more: Any) -> dict[str, Any]:
    return answered(f"t-{name}", **{"event.name": "qwen-code.tool_call", "function_name": name} | more)


def test_qwen_tells_calls_behind_their_response_so_the_one_that_reads_the_results_carries_them():
    rows = taken(
        qwen_reader(Path("projects/p/chats/q1.jsonl")),
        answered("u1"),
        qwen_call("mcp__github__create_issue"),
        answered("u2", subagent_name="explore", subagent_id="explore-1"),
        answered("u3", top={"gitBranch": "feat/x"}),
        answered("u4"),
    )
    found = {row.response_key: row for row in rows}
    assert [found[f"u{n}"].served for n in (1, 2, 3, 4)] == [(), (), (ISSUE,), ()]
    assert (found["u2"].agent_type, found["u3"].branch) == ("explore", "feat/x")


# --- Copilot CLI -----------------------------------------------------------------------------------------------------


def test_copilot_tells_calls_behind_their_response_so_the_one_that_reads_the_results_carries_them():
    started = happened("subagent.started", {"agentName": "explore", "toolCallId": "a1"}, "s1", agentId="a1")
    rows = taken(
        copilot_reader(Path("session-state/p1/events.jsonl")),
        receipt(1),
        happened("tool.execution_start", {"toolName": "github-create_issue", "mcpServerName": "github",
                                          "mcpToolName": "create_issue"}, "t1"),
        started,
        receipt(2, agent="a1"),
        receipt(3),
    )  # fmt: skip
    assert [(row.agent_type, row.served) for row in rows] == [(None, ()), ("explore", ()), (None, (ISSUE,))]


# --- opencode --------------------------------------------------------------------------------------------------------


def test_an_opencode_session_that_another_one_started_is_an_agents(tmp_path):
    path = tmp_path / "opencode.db"
    with closing(database(path)) as db:
        db.execute("CREATE TABLE session (id TEXT PRIMARY KEY, parent_id TEXT)")
        db.executemany("INSERT INTO session VALUES (?, ?)", [("ses_1", None), ("ses_2", "ses_1")])
        put(db, "m1", "ses_1", said(1) | {"agent": "build"})
        put(db, "m2", "ses_2", said(2) | {"agent": "explore", "mode": "explore"})
    assert {(row.session, row.agent_type) for row in rows_of(path)} == {("ses_1", None), ("ses_2", "explore")}
