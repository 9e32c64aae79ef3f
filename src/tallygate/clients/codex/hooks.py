"""Codex's hooks: what they tell, and the words in which they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.clients.reading import hooks
from tallygate.clients.reading.runs import through
from tallygate.core.hooks import HookAnswer, HookEvent, Moment
from tallygate.core.regex import regex

CLIENT = "codex"
# SubagentStart is left out: it cannot be stopped. The prompt that a subagent gets fires UserPromptSubmit, which can.
MOMENTS: Mapping[str, Moment] = {
    "SessionStart": Moment.SESSION_START,
    "UserPromptSubmit": Moment.PROMPT,
    "PreToolUse": Moment.TOOL,
    "PostToolUse": Moment.TOOL_DONE,
    "SubagentStop": Moment.AGENT_END,
    "Stop": Moment.TURN_END,
    "SessionEnd": Moment.SESSION_END,
}
_AGENT_TOOLS = frozenset({"spawn_agent"})
_TAKES_CONTEXT = frozenset({"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse"})
# Codex puts `. Command: ...` behind the last line, and cuts empty ones off: a command to be copied stands before it.
_LAST_LINE = "This step did not run"
_THREAD = regex(r"rollout-[^/\\]*-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jsonl\Z")


def _read(raw: Mapping[str, Any], event: str, moment: Moment) -> HookEvent | None:
    session = hooks.session_of(raw)
    transcript = hooks.file_path(raw, "transcript_path")
    agent = hooks.identifier(raw, "agent_id")
    if not agent and (rollout := _THREAD.search(transcript or "")) is not None and rollout[1] != session:
        # The subagent whose rollout this is: an `mcp_tool` hook cannot send `agent_id`, since one that names a field
        # which is absent is skipped without a word.
        agent = rollout[1]
    if moment is Moment.PROMPT and agent is not None:
        moment = Moment.AGENT_START
    if moment is Moment.AGENT_END:
        transcript = hooks.file_path(raw, "agent_transcript_path") or transcript
    at_tool = moment in {Moment.TOOL, Moment.TOOL_DONE}
    tool = hooks.identifier(raw, "tool_name") if at_tool else None
    call = hooks.identifier(raw, "tool_use_id") if at_tool else None
    return hooks.event_of(
        CLIENT,
        raw,
        event,
        moment,
        client_session=session,
        key=_key(raw, event, call),
        tool=tool,
        tool_use_ids=() if call is None else (call,),
        starts_agent=moment is Moment.TOOL and tool in _AGENT_TOOLS,
        agent_id=agent,
        agent_type=hooks.identifier(raw, "agent_type"),
        model=hooks.identifier(raw, "model"),
        transcript=transcript,
        runs=through(raw, tool, call) if moment is Moment.TOOL_DONE else (),
    )


def _key(raw: Mapping[str, Any], name: str, call: str | None) -> str | None:
    if name == "UserPromptSubmit":
        return hooks.key_of("prompt", hooks.identifier(raw, "turn_id"))
    return hooks.key_of({"PreToolUse": "tool", "PostToolUse": "done"}[name], call) if call is not None else None


def _answered(name: str, answer: HookAnswer, message: str) -> hooks.Reply:
    """Never `continue`, `stopReason`, `suppressOutput` or `ask`: they void the whole answer, and the tool runs."""
    if not answer.stops:
        return hooks.Reply(hooks.context(name, message) if name in _TAKES_CONTEXT else {"systemMessage": message})
    if name == "PreToolUse":
        is_to_copy = message.rpartition("\n")[2].startswith("To go on, ")
        return hooks.Reply(hooks.denial(name, f"{message}\n{_LAST_LINE}" if is_to_copy else message))
    return hooks.Reply({"decision": "block", "reason": message} if name == "UserPromptSubmit" else {})


HOOKS = hooks.hooks_of(CLIENT, _read, _answered, MOMENTS, silence=hooks.Reply({}))
