"""What each client's hooks say becomes one form; what they must not say is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.clients.reading.hooks import LONGEST_ID, LONGEST_PATH, LONGEST_TOOL_CALLS, MOST_TOOL_CALLS
from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import InvalidArgument
from tallygate.core.guard.fence import Edit, Reach
from tallygate.core.hooks import HookEvent, Moment, SessionOrigin

ROOT = "01a00000-0000-7000-8000-00000000000a"
CHILD = "01a00000-0000-7000-8000-00000000000b"
ROLLOUT = f"/h/.codex/sessions/2026/11/22/rollout-2026-11-22T01-47-23-{ROOT}.jsonl"
CHILD_ROLLOUT = f"/h/.codex/sessions/2026/11/22/rollout-2026-11-22T01-47-25-{CHILD}.jsonl"
AT = "2026-11-22T01:46:03.382Z"

COMMON = {
    "claude_code": {"session_id": "s1", "transcript_path": "/h/s1.jsonl", "cwd": "/w", "permission_mode": "default"},
    "codex": {"session_id": ROOT, "transcript_path": ROLLOUT, "cwd": "/w", "model": "gpt-5.1-codex"},
    "gemini": {"session_id": "s1", "transcript_path": "/h/s1.jsonl", "cwd": "/w", "timestamp": AT},
    "opencode": {"sessionID": "s1", "rootID": "s1", "directory": "/w"},
    "qwen": {"session_id": "s1", "transcript_path": "/h/s1.jsonl", "cwd": "/w", "timestamp": AT},
    "copilot": {"sessionId": "s1", "cwd": "/w", "timestamp": 1795312902430},
}
READ: dict[str, dict[str, Any]] = {
    "claude_code": {"client_session": "s1", "transcript": "/h/s1.jsonl", "folder": "/w"},
    "codex": {"client_session": ROOT, "transcript": ROLLOUT, "folder": "/w", "model": "gpt-5.1-codex"},
    "gemini": {"client_session": "s1", "transcript": "/h/s1.jsonl", "folder": "/w"},
    "opencode": {"client_session": "s1", "folder": "/w"},
    "qwen": {"client_session": "s1", "transcript": "/h/s1.jsonl", "folder": "/w"},
    "copilot": {"client_session": "s1", "folder": "/w"},
}
CALLS = [
    {"tool_name": "Bash", "tool_input": {"command": 'echo "x"'}, "tool_use_id": "t1", "tool_response": "x"},
    {"tool_name": "Read", "tool_input": {}, "tool_use_id": "t2", "tool_response": []},
]
SUB = {"agent_id": "a1", "agent_type": "general-purpose"}
CODEX_SUB = {"transcript_path": CHILD_ROLLOUT, "agent_id": CHILD, "agent_type": "default"}
OPENCODE_SUB = {"sessionID": "s2"}
COPILOT_SUB = {"sessionId": "a1", "agentId": "a1", "agentType": "explore", "parentAgentId": "s1"}

# client, name of the event, what it says beside the common fields, moment, what is read beside the common fields
EVENTS: list[tuple[str, str, dict[str, Any], Moment, dict[str, Any]]] = [
    ("claude_code", "SessionStart", {"source": "startup"}, Moment.SESSION_START, {"origin": SessionOrigin.STARTUP}),
    ("claude_code", "SessionStart", {"source": "fork", "model": "m"},
     Moment.SESSION_START, {"origin": SessionOrigin.FORK, "model": "m"}),
    ("claude_code", "SessionStart", {"source": "teleport"}, Moment.SESSION_START, {}),
    ("claude_code", "UserPromptSubmit", {"prompt_id": "p1", "prompt": "secret"}, Moment.PROMPT, {"key": "prompt:p1"}),
    ("claude_code", "UserPromptSubmit", {"prompt": "secret"}, Moment.PROMPT, {"key": None}),
    ("claude_code", "PreToolUse", {"tool_name": "Bash", "tool_use_id": "t1", "tool_input": {"command": "secret"}},
     Moment.TOOL, {"key": "tool:t1", "tool": "Bash", "tool_use_ids": ("t1",)}),
    ("claude_code", "PreToolUse", {"tool_name": "Agent", "tool_use_id": "t1"}, Moment.TOOL,
     {"key": "tool:t1", "tool": "Agent", "tool_use_ids": ("t1",), "starts_agent": True}),
    ("claude_code", "PreToolUse", {"tool_name": "Task", **SUB},
     Moment.TOOL, {"tool": "Task", "starts_agent": True, **SUB}),
    ("claude_code", "PostToolBatch", {"tool_calls": CALLS},
     Moment.TOOLS_DONE, {"key": "batch:t1", "tool_use_ids": ("t1", "t2")}),
    ("claude_code", "PostToolBatch", {"tool_calls": json.dumps(CALLS)}, Moment.TOOLS_DONE,
     {"key": "batch:t1", "tool_use_ids": ("t1", "t2")}),
    ("claude_code", "PostToolBatch", {"tool_use_id": "t1", "tool_calls": ""}, Moment.TOOLS_DONE,
     {"key": "batch:t1", "tool_use_ids": ("t1",)}),
    ("claude_code", "PostToolBatch", {"tool_calls": []}, Moment.TOOLS_DONE, {}),
    ("claude_code", "PreCompact", {"trigger": "auto", "prompt_id": "p1"}, Moment.COMPACTION, {}),
    ("claude_code", "SubagentStart", {"prompt_id": "p1", **SUB}, Moment.AGENT_START, {"key": "agent:a1:p1", **SUB}),
    ("claude_code", "SubagentStart", SUB, Moment.AGENT_START, {"key": "agent:a1", **SUB}),
    ("claude_code", "SubagentStop", {"agent_transcript_path": "/h/a1.jsonl", **SUB}, Moment.AGENT_END,
     {"transcript": "/h/a1.jsonl", **SUB}),
    ("claude_code", "Stop", {"last_assistant_message": "secret"}, Moment.TURN_END, {}),
    ("claude_code", "StopFailure", {"error": "billing_error"}, Moment.TURN_END, {"cause": "billing_error"}),
    ("claude_code", "SessionEnd", {"reason": "clear\x1b[2J"}, Moment.SESSION_END, {"cause": "clear [2J"}),
    ("claude_code", "ConfigChange", {"source": "local_settings", "file_path": "/w/.claude/settings.local.json"},
     Moment.SETTINGS_CHANGE, {"changed_file": "/w/.claude/settings.local.json"}),
    ("claude_code", "ElicitationResult",
     {"mcp_server_name": "tallygate", "action": "accept", "content": {"amount_usd": 2.5, "other": "secret"}},
     Moment.FORM_ANSWERED, {"answered": ("accept", "2.5")}),
    ("claude_code", "ElicitationResult", {"mcp_server_name": "plugin:tallygate:tallygate", "action": "decline"},
     Moment.FORM_ANSWERED, {"answered": ("decline", None)}),
    ("claude_code", "ElicitationResult",
     {"mcp_server_name": "other", "action": "accept", "content": {"amount_usd": 2}}, Moment.FORM_ANSWERED, {}),
    ("codex", "SessionStart", {"source": "resume"}, Moment.SESSION_START, {"origin": SessionOrigin.RESUME}),
    ("codex", "UserPromptSubmit", {"turn_id": "n1", "prompt": "secret"}, Moment.PROMPT, {"key": "prompt:n1"}),
    ("codex", "UserPromptSubmit", {"turn_id": "n2", **CODEX_SUB}, Moment.AGENT_START,
     {"key": "prompt:n2", "transcript": CHILD_ROLLOUT, "agent_id": CHILD, "agent_type": "default"}),
    ("codex", "PreToolUse", {"turn_id": "n1", "tool_name": "Bash", "tool_use_id": "c1"}, Moment.TOOL,
     {"key": "tool:c1", "tool": "Bash", "tool_use_ids": ("c1",)}),
    ("codex", "PreToolUse", {"tool_name": "spawn_agent", "tool_use_id": "c1"}, Moment.TOOL,
     {"key": "tool:c1", "tool": "spawn_agent", "tool_use_ids": ("c1",), "starts_agent": True}),
    ("codex", "PreToolUse", {"tool_name": "Bash", "tool_use_id": "c1", "transcript_path": CHILD_ROLLOUT}, Moment.TOOL,
     {"key": "tool:c1", "tool": "Bash", "tool_use_ids": ("c1",), "transcript": CHILD_ROLLOUT, "agent_id": CHILD}),
    ("codex", "PostToolUse", {"tool_name": "spawn_agent", "tool_use_id": "c1", "tool_response": "secret"},
     Moment.TOOL_DONE,
     {"key": "done:c1", "tool": "spawn_agent", "tool_use_ids": ("c1",)}),
    ("codex", "SubagentStop", {**CODEX_SUB, "transcript_path": ROLLOUT, "agent_transcript_path": CHILD_ROLLOUT},
     Moment.AGENT_END,
     {"transcript": CHILD_ROLLOUT, "agent_id": CHILD, "agent_type": "default"}),
    ("codex", "Stop", {"turn_id": "n1"}, Moment.TURN_END, {}),
    ("codex", "SessionEnd", {"reason": "other"}, Moment.SESSION_END, {"cause": "other"}),
    ("gemini", "SessionStart", {"source": "clear"}, Moment.SESSION_START, {"origin": SessionOrigin.CLEAR}),
    ("gemini", "BeforeAgent", {"prompt": "secret"}, Moment.PROMPT, {"key": f"BeforeAgent:{AT}"}),
    ("gemini", "BeforeModel", {"llm_request": {"model": "gemini-2.5-pro", "messages": []}}, Moment.MODEL,
     {"key": f"BeforeModel:{AT}", "model": "gemini-2.5-pro"}),
    ("gemini", "BeforeTool", {"tool_name": "read_file", "tool_input": {}}, Moment.TOOL, {"tool": "read_file"}),
    ("gemini", "BeforeTool", {"tool_name": "invoke_agent"}, Moment.TOOL, {"tool": "invoke_agent"}),
    ("gemini", "AfterAgent", {"prompt": "secret", "prompt_response": "secret"}, Moment.TURN_END, {}),
    ("gemini", "PreCompress", {"trigger": "manual"}, Moment.COMPACTION, {}),
    ("gemini", "SessionEnd", {"reason": "exit"}, Moment.SESSION_END, {"cause": "exit"}),
    ("opencode", "session.created", {}, Moment.SESSION_START, {}),
    ("opencode", "session.created", OPENCODE_SUB, Moment.AGENT_START, {"key": "agent:s2", "agent_id": "s2"}),
    ("opencode", "chat.message", {"messageID": "m1", "agent": "build", "model": {"providerID": "p", "modelID": "m"}},
     Moment.PROMPT, {"key": "prompt:m1", "agent_type": "build", "model": "m"}),
    ("opencode", "chat.params",
     {"messageID": "m1", "step": 3, "agent": "title", "model": {"providerID": "p", "modelID": "m"}}, Moment.MODEL,
     {"key": "model:m1:3", "agent_type": "title", "model": "m"}),
    ("opencode", "chat.params", {"step": 3, **OPENCODE_SUB}, Moment.MODEL, {"key": None, "agent_id": "s2"}),
    ("opencode", "tool.execute.before", {"tool": "task", "callID": "c1"}, Moment.TOOL,
     {"key": "tool:c1", "tool": "task", "tool_use_ids": ("c1",), "starts_agent": True}),
    ("opencode", "session.idle", {}, Moment.TURN_END, {}),
    ("opencode", "session.idle", OPENCODE_SUB, Moment.AGENT_END, {"agent_id": "s2"}),
    ("opencode", "session.deleted", {}, Moment.SESSION_END, {"cause": "session.deleted"}),
    ("opencode", "session.deleted", OPENCODE_SUB, Moment.AGENT_END, {"agent_id": "s2"}),
    ("opencode", "dispose", {}, Moment.SESSION_END, {"cause": "dispose"}),
    ("qwen", "SessionStart", {"source": "startup", "model": "qwen3"}, Moment.SESSION_START,
     {"origin": SessionOrigin.STARTUP, "model": "qwen3"}),
    ("qwen", "UserPromptSubmit", {"prompt": "secret", "prompt_id": "s1########0"},
     Moment.PROMPT, {"key": f"prompt:{AT}"}),
    ("qwen", "UserPromptSubmit", {"prompt": "", "prompt_id": "s1########0"}, Moment.MODEL, {"key": f"model:{AT}"}),
    ("qwen", "PreToolUse", {"tool_name": "agent", "tool_use_id": "t1", "agent_id": "a1"}, Moment.TOOL,
     {"key": "tool:t1", "tool": "agent", "tool_use_ids": ("t1",), "starts_agent": True, "agent_id": "a1"}),
    ("qwen", "PreToolUse", {"tool_name": "edit", "tool_use_id": "t1", "tool_call_id": "c1"}, Moment.TOOL,
     {"key": "tool:c1", "tool": "edit", "tool_use_ids": ("c1",)}),
    ("qwen", "SubagentStart", SUB, Moment.AGENT_START, {"key": f"agent:a1:{AT}", **SUB}),
    ("qwen", "SubagentStop", SUB, Moment.AGENT_END, SUB),
    ("qwen", "PreCompact", {"trigger": "auto"}, Moment.COMPACTION, {}),
    ("qwen", "Stop", {}, Moment.TURN_END, {}),
    ("qwen", "SessionEnd", {"reason": "other"}, Moment.SESSION_END, {"cause": "other"}),
    ("copilot", "sessionStart", {"source": "new", "initialPrompt": "secret"},
     Moment.SESSION_START, {"origin": SessionOrigin.STARTUP}),
    ("copilot", "userPromptSubmitted", {"prompt": "secret"}, Moment.PROMPT, {"key": "prompt:1795312902430"}),
    ("copilot", "preToolUse", {"toolName": "task", "toolArgs": {"x": "secret"}},
     Moment.TOOL, {"tool": "task", "starts_agent": True, "key": "tools::1795312902430", "key_of_response": True}),
    ("copilot", "permissionRequest", {"toolName": "bash"}, Moment.TOOL, {"tool": "bash", "confirms": True}),
    ("copilot", "userPromptSubmitted", COPILOT_SUB, Moment.AGENT_START,
     {"key": "prompt:1795312902430", "agent_id": "a1", "agent_type": "explore"}),
    ("copilot", "preToolUse", {"toolName": "bash", **COPILOT_SUB}, Moment.TOOL,
     {"tool": "bash", "agent_id": "a1", "agent_type": "explore", "key": "tools:a1:1795312902430",
      "key_of_response": True}),
    ("copilot", "agentStop", COPILOT_SUB, Moment.AGENT_END, {"agent_id": "a1", "agent_type": "explore"}),
    ("copilot", "agentStop", {"transcriptPath": "/h/e.jsonl"}, Moment.TURN_END, {"transcript": "/h/e.jsonl"}),
    ("copilot", "sessionEnd", {"reason": "complete"}, Moment.SESSION_END, {"cause": "complete"}),
]  # fmt: skip


@pytest.mark.parametrize(
    "client, name, said, moment, known", EVENTS, ids=[f"{row[0]}-{row[1]}-{n}" for n, row in enumerate(EVENTS)]
)
def test_a_hook_is_read(client, name, said, moment, known):
    event = REGISTRY.hooks[client].read(COMMON[client] | said, name)
    assert event == HookEvent(client=client, moment=moment, name=name, **READ[client] | known)
    assert "secret" not in repr(event)


def test_every_client_that_was_measured_is_described():
    """One that was not has a test of its own, of what is written about it."""
    measured = {client.stored_as for client in REGISTRY.clients.values() if client.has_hooks and client.is_measured}
    assert set(COMMON) == set(READ) == {row[0] for row in EVENTS} == measured


@pytest.mark.parametrize("client", COMMON)
def test_the_installed_command_says_the_event_where_the_client_does_not(client):
    name = next(row[1] for row in EVENTS if row[0] == client)
    assert REGISTRY.hooks[client].read(COMMON[client], name) is not None


def test_what_the_client_says_comes_before_what_the_command_says():
    event = REGISTRY.hooks["codex"].read(COMMON["codex"] | {"hook_event_name": "Stop"}, "PreToolUse")
    assert event is not None
    assert event.moment is Moment.TURN_END


def test_a_word_the_client_has_made_up_since_does_not_hide_the_installed_event():
    event = REGISTRY.hooks["codex"].read(COMMON["codex"] | {"hook_event_name": "BeforeToolUse"}, "PreToolUse")
    assert event is not None
    assert event.name == "PreToolUse"


@pytest.mark.parametrize(
    "client, name, said",
    [
        *((client, "Notification", {}) for client in COMMON),
        ("claude_code", "PostToolUse", {"tool_name": "Bash"}),
        ("codex", "SubagentStart", CODEX_SUB),
        ("codex", "PreCompact", {"trigger": "auto"}),
        ("gemini", "PreCompress", {"trigger": "auto"}),
    ],
)
def test_events_that_say_nothing_about_a_model_call_are_left(client, name, said):
    assert REGISTRY.hooks[client].read(COMMON[client] | said, name) is None


@pytest.mark.parametrize("client", COMMON)
def test_without_an_event_a_hook_cannot_be_read(client):
    with pytest.raises(InvalidArgument) as refused:
        REGISTRY.hooks[client].read(COMMON[client], None)
    assert refused.value.argument == "event"
    assert refused.value.hint


@pytest.mark.parametrize("client, name", [(row[0], row[1]) for row in EVENTS])
@pytest.mark.parametrize("empty", [None, "", "${%s}"])
def test_without_a_session_a_hook_cannot_be_read(client, name, empty):
    session = next(field for field in ("session_id", "sessionID", "sessionId") if field in COMMON[client])
    told = empty % session if empty and "%" in empty else empty
    with pytest.raises(InvalidArgument, match=f"{session} is missing"):
        REGISTRY.hooks[client].read(COMMON[client] | {session: told, "trigger": "manual"}, name)


@pytest.mark.parametrize("client", ["claude_code", "codex"])
def test_fields_that_a_tool_hook_could_not_fill_are_absent(client):
    names = ("agent_id", "agent_type", "prompt_id", "turn_id", "tool_use_id", "model", "source", "reason", "tool_calls")
    bare = {"session_id": "s1"}
    empty = REGISTRY.hooks[client].read(bare | dict.fromkeys(names, ""), "UserPromptSubmit")
    literal = REGISTRY.hooks[client].read(bare | {name: f"${{{name}}}" for name in names}, "UserPromptSubmit")
    assert empty == literal == REGISTRY.hooks[client].read(bare, "UserPromptSubmit")


@pytest.mark.parametrize(
    "client, name, field, value",
    [
        ("claude_code", "PreToolUse", "session_id", 7),
        ("claude_code", "PreToolUse", "session_id", ["s"]),
        ("claude_code", "PreToolUse", "session_id", "s\x00"),
        ("claude_code", "PreToolUse", "session_id", "s" * (LONGEST_ID + 1)),
        ("claude_code", "PreToolUse", "tool_name", "Ba\nsh"),
        ("claude_code", "PreToolUse", "tool_name", {"name": "Bash"}),
        ("claude_code", "PreToolUse", "tool_use_id", "t\u202e1"),
        ("claude_code", "PreToolUse", "agent_id", "\ud800"),
        ("claude_code", "PreToolUse", "transcript_path", "/h/\x1b[2J"),
        ("claude_code", "PreToolUse", "transcript_path", "/h/\u2028"),
        ("claude_code", "PreToolUse", "cwd", "/" * (LONGEST_PATH + 1)),
        ("claude_code", "PreToolUse", "cwd", False),
        ("claude_code", "PreToolUse", "hook_event_name", "Pre\x07ToolUse"),
        ("claude_code", "PreToolUse", "hook_event_name", 1),
        ("claude_code", "PostToolBatch", "tool_calls", [{"tool_use_id": "t"}] * (MOST_TOOL_CALLS + 1)),
        ("claude_code", "PostToolBatch", "tool_calls", [{"tool_use_id": 1}]),
        ("claude_code", "PostToolBatch", "tool_calls", {"tool_use_id": "t"}),
        ("claude_code", "PostToolBatch", "tool_calls", "[{"),
        ("claude_code", "PostToolBatch", "tool_calls", "[" * 100_000),
        ("claude_code", "PostToolBatch", "tool_calls", "7"),
        ("claude_code", "PostToolBatch", "tool_calls", " " * (LONGEST_TOOL_CALLS + 1)),
        ("claude_code", "ConfigChange", "file_path", "/w/\x00"),
        ("claude_code", "SessionEnd", "reason", "r" * 2001),
        ("codex", "UserPromptSubmit", "turn_id", "n" * (LONGEST_ID + 1)),
        ("gemini", "BeforeModel", "timestamp", 7),
        ("gemini", "BeforeModel", "llm_request", {"model": ["m"]}),
        ("opencode", "chat.params", "step", "1"),
        ("opencode", "chat.params", "step", True),
        ("opencode", "chat.params", "step", 10**10),
        ("opencode", "chat.params", "rootID", "\x7f"),
        ("qwen", "UserPromptSubmit", "timestamp", "t\n"),
        ("copilot", "userPromptSubmitted", "timestamp", "now"),
        ("copilot", "userPromptSubmitted", "timestamp", 10**16),
        ("copilot", "preToolUse", "toolName", ["bash"]),
    ],
)
def test_what_no_client_would_say_is_refused_by_its_name(client, name, field, value):
    with pytest.raises(InvalidArgument) as refused:
        REGISTRY.hooks[client].read(COMMON[client] | {"messageID": "m1", field: value}, name)
    assert refused.value.argument in {field, "tool_use_id", "model"}
    assert len(str(refused.value)) < 500


def test_the_installed_event_is_checked_too():
    with pytest.raises(InvalidArgument):
        REGISTRY.hooks["claude_code"].read(COMMON["claude_code"], "Pre\nToolUse")


REACHES = [
    ("claude_code", "PreToolUse", {"tool_name": "Bash", "tool_input": {"command": "rm x"}}, Reach("rm x")),
    (
        "claude_code",
        "PreToolUse",
        {"tool_name": "Edit", "tool_input": {"file_path": "/a", "old_string": "x", "new_string": "y"}},
        Reach(edits=(Edit("/a", swaps=(("x", "y", False),)),)),
    ),
    ("claude_code", "PreToolUse", {"tool_name": "Read", "tool_input": {"file_path": "/a"}}, None),
    ("claude_code", "PreToolUse", {"tool_name": "Bash", "tool_input": "{damaged"}, None),
    ("claude_code", "PreToolUse", {"tool_name": "Bash", "tool_input": {"command": 7}}, Reach()),
    ("claude_code", "PreToolUse", {"tool_name": "Bash", "tool_input": {"command": "x" * 50_000}}, Reach("x" * 20_000)),
    ("codex", "PreToolUse", {"tool_name": "Bash", "tool_input": {"command": "rm x"}}, Reach("rm x")),
    (
        "codex",
        "PreToolUse",
        {"tool_name": "shell", "tool_input": {"command": ["bash", "-c", "rm x"]}},
        Reach("bash -c 'rm x'"),
    ),
    (
        "codex",
        "PreToolUse",
        {
            "tool_name": "apply_patch",
            "tool_input": {
                "command": "*** Begin Patch\n*** Update File: a.py\n*** Move to: b.py\n+secret\n*** End Patch"
            },
        },
        Reach(edits=(Edit("a.py", ""), Edit("b.py"))),
    ),
    ("gemini", "BeforeTool", {"tool_name": "run_shell_command", "tool_input": {"command": "rm x"}}, Reach("rm x")),
    (
        "gemini",
        "BeforeTool",
        {"tool_name": "write_file", "tool_input": {"file_path": "/a"}},
        Reach(edits=(Edit("/a"),)),
    ),
    ("opencode", "tool.execute.before", {"tool": "bash", "callID": "c", "args": {"command": "rm x"}}, Reach("rm x")),
    (
        "opencode",
        "tool.execute.before",
        {"tool": "edit", "callID": "c", "args": {"filePath": "/a"}},
        Reach(edits=(Edit("/a"),)),
    ),
    ("qwen", "PreToolUse", {"tool_name": "edit", "tool_input": {"file_path": "/a"}}, Reach(edits=(Edit("/a"),))),
    ("copilot", "preToolUse", {"toolName": "bash", "toolArgs": '{"command": "rm x"}'}, Reach("rm x")),
    (
        "claude_code",
        "PreToolUse",
        {
            "tool_name": "Write",
            "tool_input": {"command": "", "file_path": "/a", "notebook_path": "", "path": "", "content": "b"},
        },
        Reach(edits=(Edit("/a", "b"),)),
    ),
    (
        "claude_code",
        "PreToolUse",
        {
            "tool_name": "Edit",
            "tool_input": {
                "file_path": "/a",
                "old_string": "x",
                "new_string": "",
                "replace_all": "true",
                "content": "",
            },
        },
        Reach(edits=(Edit("/a", swaps=(("x", "", True),)),)),
    ),
    (
        "claude_code",
        "PreToolUse",
        {"tool_name": "mcp__files__write_file", "tool_input": {"path": "/a", "content": "b"}},
        Reach(edits=(Edit("/a", "b"),)),
    ),
    (
        "codex",
        "PreToolUse",
        {
            "tool_name": "apply_patch",
            "tool_input": {
                "command": "*** Begin Patch\n*** Update File: a\n@@ def f\n one\n-two\n+three\n@@\n-x\n+y\n"
                "*** Add File: b\n+new\n*** Delete File: c\n*** End Patch"
            },
        },
        Reach(
            edits=(
                Edit("a", swaps=(("one\ntwo", "one\nthree", False), ("x", "y", False))),
                Edit("b", "new\n"),
                Edit("c", ""),
            )
        ),
    ),
    (
        "qwen",
        "PreToolUse",
        {"tool_name": "run_shell_command", "tool_input": {"command": "rm x", "directory": "/d"}},
        Reach("rm x", folder="/d"),
    ),
    ("copilot", "preToolUse", {"toolName": "create", "toolArgs": {"path": "/a"}}, Reach(edits=(Edit("/a"),))),
    ("claude_code", "PreToolUse", {"tool_name": "PowerShell", "tool_input": {"command": "rm x"}}, Reach("rm x")),
    # tools of others that run something, by what they call it
    (
        "claude_code",
        "PreToolUse",
        {"tool_name": "mcp__shell__run", "tool_input": {"command": "", "cmd": "rm x", "script": "", "code": ""}},
        Reach("rm x"),
    ),
    (
        "claude_code",
        "PreToolUse",
        {"tool_name": "mcp__shell__run", "tool_input": {"command": '["rm", "-r", "a b"]', "path": ""}},
        Reach("rm -r 'a b'"),
    ),
    ("codex", "PreToolUse", {"tool_name": "mcp__x__go", "tool_input": {"cmd": ["rm", "x"]}}, Reach("rm x")),
    (
        "gemini",
        "BeforeTool",
        {"tool_name": "mcp_box_execute", "tool_input": {"script": "rm x", "cwd": "/d"}},
        Reach("rm x", folder="/d", code=True),
    ),
    (
        "qwen",
        "PreToolUse",
        {"tool_name": "mcp__ide__executeCode", "tool_input": {"code": "os.unlink('x')"}},
        Reach("os.unlink('x')", code=True),
    ),
    (
        "claude_code",
        "PreToolUse",
        {"tool_name": "mcp__files__move_file", "tool_input": {"path": "", "source": "/a b", "destination": "/c"}},
        Reach("mv '/a b' /c"),
    ),
    ("opencode", "tool.execute.before", {"tool": "delete_file", "callID": "c", "args": {"path": "/a"}}, Reach("rm /a")),
    ("claude_code", "PreToolUse", {"tool_name": "Read", "tool_input": {"file_path": "/a", "command": ""}}, None),
    ("claude_code", "PreToolUse", {"tool_name": "Task", "tool_input": {"prompt": "rm x", "command": ""}}, None),
    ("copilot", "preToolUse", {"toolName": "view", "toolArgs": {"path": "/a"}}, None),
    (
        "claude_code",
        "PreToolUse",
        {"tool_name": "mcp__a__b", "tool_input": {"cmd": '["a', "code": 5}},
        Reach('["a'),
    ),
]


@pytest.mark.parametrize(("client", "name", "said", "reach"), REACHES)
def test_of_a_tools_input_the_command_or_the_files_are_looked_at(client, name, said, reach):
    event = REGISTRY.hooks[client].read({**COMMON[client], "hook_event_name": name, **said}, name)
    assert event.reach == reach
    assert "secret" not in repr(event)


def test_names_of_files_may_be_in_any_language():
    folder = "/home/\u00e9/\u6587\u4ef6 \U0001f469\u200d\U0001f4bb\u202f1"
    event = REGISTRY.hooks["claude_code"].read(COMMON["claude_code"] | {"cwd": folder}, "Stop")
    assert event is not None
    assert event.folder == folder


def test_calls_that_are_no_objects_are_passed_over():
    event = REGISTRY.hooks["claude_code"].read(
        COMMON["claude_code"] | {"tool_calls": [None, 1, CALLS[1]]}, "PostToolBatch"
    )
    assert event is not None
    assert event.tool_use_ids == ("t2",)


def test_a_batch_has_one_key_however_it_is_told():
    ways = [{"tool_calls": CALLS}, {"tool_calls": json.dumps(CALLS)}, {"tool_use_id": "t1"}]
    events = [REGISTRY.hooks["claude_code"].read(COMMON["claude_code"] | way, "PostToolBatch") for way in ways]
    assert {event.key for event in events if event is not None} == {"batch:t1"}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=10), below, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({field for row in EVENTS for field in (*COMMON[row[0]], *row[2])} | {"hook_event_name"})


@given(
    row=st.sampled_from(EVENTS), raw=st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=8), whole=st.booleans()
)
def test_whatever_comes_in_is_read_left_or_refused(row, raw, whole):
    client, name, said, _, _ = row
    given_fields = (COMMON[client] | said | raw) if whole else raw
    try:
        event = REGISTRY.hooks[client].read(given_fields, name)
    except InvalidArgument:
        return
    assert event is None or (event.client == client and event.client_session.isprintable())


RAISING = [
    ("tallygate raise 2", ("2", None)),
    ("  tallygate raise $2.50\n", ("2.50", None)),
    ("tallygate raise 2 1a2b3c4d", ("2", "1a2b3c4d")),
    ("tallygate raise", ("", None)),
    ("tallygate raise 2,50", ("2,50", None)),
    (
        "tallygate raise 2tallygate raise 2.00 1a2b3c4d",
        ("2.00", "1a2b3c4d"),
    ),  # put back into the input, and typed behind
    ("Tallygate raise 2", ("2", None)),
    ("TALLYGATE RAISE 2 1a2b3c4d", ("2", "1a2b3c4d")),
    ("tallygate raise two", ("", None)),
    ("Tallygate raise two dollars", ("", None)),
    ("tallygate raise two steps at once", None),
    ("tallygate raise exceptions here", None),
    ("tallygate raises an error", None),
    ("please run tallygate raise 2", None),
    ("tallygate raise 2 and go on with the work", None),
    ("tallygate raise -2", ("", None)),
    ("tallygate raise 2\ntallygate raise 3", ("3", None)),
]
PROMPTS = [
    ("claude_code", "UserPromptSubmit"), ("codex", "UserPromptSubmit"), ("gemini", "BeforeAgent"),
    ("qwen", "UserPromptSubmit"), ("copilot", "userPromptSubmitted"), ("opencode", "chat.message"),
]  # fmt: skip


@pytest.mark.parametrize(("client", "name"), PROMPTS)
@pytest.mark.parametrize(("prompt", "read"), RAISING)
def test_a_prompt_that_raises_is_read_and_of_no_other_is_anything_kept(client, name, prompt, read):
    event = REGISTRY.hooks[client].read({**COMMON[client], "prompt": prompt}, name)
    assert event is not None
    assert event.raising == read


def test_a_subagents_prompt_raises_nothing():
    event = REGISTRY.hooks["copilot"].read(
        {**COMMON["copilot"], **COPILOT_SUB, "prompt": "tallygate raise 2"}, "userPromptSubmitted"
    )
    assert event is not None
    assert event.raising is None
