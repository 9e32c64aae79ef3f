"""Qwen Code's hooks: what they tell, and the words in which they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.clients.reading.hooks import Reply, context, denial, event_of, hooks_of, identifier, key_of, question
from tallygate.clients.reading.runs import through
from tallygate.core.hooks import HookAnswer, HookEvent, Moment

CLIENT = "qwen"
MOMENTS: Mapping[str, Moment] = {
    "SessionStart": Moment.SESSION_START,
    "UserPromptSubmit": Moment.PROMPT,
    "PreToolUse": Moment.TOOL,
    "PostToolUse": Moment.TOOL_DONE,
    "PostToolUseFailure": Moment.TOOL_DONE,
    "PreCompact": Moment.COMPACTION,
    "SubagentStart": Moment.AGENT_START,
    "SubagentStop": Moment.AGENT_END,
    "Stop": Moment.TURN_END,
    "SessionEnd": Moment.SESSION_END,
}
_AGENT_TOOLS = frozenset({"agent", "task"})
_BLOCKED = frozenset({"UserPromptSubmit", "PreCompact"})
_FAILED = "PostToolUseFailure"
_TAKES_CONTEXT = frozenset({"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", _FAILED})


def _read(raw: Mapping[str, Any], event: str, moment: Moment) -> HookEvent | None:
    if moment is Moment.PROMPT and not raw.get("prompt"):
        # The same event tells of every later model call of the turn, which has no prompt.
        moment = Moment.MODEL
    at_tool = moment in {Moment.TOOL, Moment.TOOL_DONE}
    tool = identifier(raw, "tool_name") if at_tool else None
    # `tool_use_id` is made for the hooks alone; this is the one that the transcript has.
    call = identifier(raw, "tool_call_id") or identifier(raw, "tool_use_id") if at_tool else None
    agent = identifier(raw, "agent_id")
    return event_of(
        CLIENT,
        raw,
        event,
        moment,
        key=_key(raw, moment, call, agent),
        tool=tool,
        tool_use_ids=() if call is None else (call,),
        starts_agent=moment is Moment.TOOL and tool in _AGENT_TOOLS,
        runs=through(raw, tool, call, failed=True if event == _FAILED else None) if moment is Moment.TOOL_DONE else (),
        agent_id=agent,
        agent_type=identifier(raw, "agent_type"),
        model=identifier(raw, "model"),
    )


def _key(raw: Mapping[str, Any], moment: Moment, call: str | None, agent: str | None) -> str | None:
    """A tool has an id; a model call has only its time, as `prompt_id` is the same for the whole turn."""
    if moment in {Moment.PROMPT, Moment.MODEL}:
        return key_of(moment.value, identifier(raw, "timestamp"))
    if moment is Moment.AGENT_START:
        return key_of("agent", agent, identifier(raw, "timestamp"))
    kind = "done" if moment is Moment.TOOL_DONE else "tool"
    return key_of(kind, call) if call is not None else None


def _answered(name: str, answer: HookAnswer, message: str) -> Reply:
    if not answer.stops:
        return Reply(context(name, message) if name in _TAKES_CONTEXT else {"systemMessage": message})
    if name == "PreToolUse":
        return Reply(denial(name, message) if answer.asks is None else question(name, answer.asks))
    return Reply({"decision": "block", "reason": message} if name in _BLOCKED else None)


HOOKS = hooks_of(CLIENT, _read, _answered, MOMENTS)
