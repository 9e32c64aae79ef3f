"""Claude Code's hooks: what they tell, and the words in which they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.clients.reading import hooks
from tallygate.clients.reading.runs import all_through
from tallygate.core.hooks import HookAnswer, HookEvent, Moment
from tallygate.editing.edits import SERVERS

CLIENT = "claude_code"
MOMENTS: Mapping[str, Moment] = {
    "SessionStart": Moment.SESSION_START,
    "UserPromptSubmit": Moment.PROMPT,
    "PreToolUse": Moment.TOOL,
    "PostToolBatch": Moment.TOOLS_DONE,
    "PreCompact": Moment.COMPACTION,
    "SubagentStart": Moment.AGENT_START,
    "SubagentStop": Moment.AGENT_END,
    "Stop": Moment.TURN_END,
    "StopFailure": Moment.TURN_END,
    "SessionEnd": Moment.SESSION_END,
    "ConfigChange": Moment.SETTINGS_CHANGE,
    "ElicitationResult": Moment.FORM_ANSWERED,
}
# What Claude Code writes as a prompt by itself, when a task in the background has ended.
_NOTICE = "<task-notification"
_AGENT_TOOLS = frozenset({"Agent", "Task"})
_BLOCKED = frozenset({"UserPromptSubmit", "PreCompact", "ConfigChange"})
_TAKES_CONTEXT = frozenset({"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolBatch", "SubagentStart"})


def _read(raw: Mapping[str, Any], event: str, moment: Moment) -> HookEvent | None:
    agent = hooks.identifier(raw, "agent_id")
    tool = hooks.identifier(raw, "tool_name") if moment is Moment.TOOL else None
    transcript = hooks.file_path(raw, "transcript_path")
    if moment is Moment.AGENT_END:
        # A subagent has a file of its own; the other one is its parent's.
        transcript = hooks.file_path(raw, "agent_transcript_path") or transcript
    calls: tuple[str, ...] = ()
    if moment in {Moment.TOOL, Moment.TOOLS_DONE}:
        # Where the first of a batch is told apart, the others are not looked for in what all of them gave back.
        told = moment is Moment.TOOL or raw.get("tool_use_id")
        calls = hooks.tool_calls_of({"tool_use_id": raw.get("tool_use_id")} if told else raw)
    return hooks.event_of(
        CLIENT,
        raw,
        event,
        moment,
        key=_key(raw, moment, calls, agent),
        tool=tool,
        tool_use_ids=calls,
        starts_agent=tool in _AGENT_TOOLS,
        agent_id=agent,
        agent_type=hooks.identifier(raw, "agent_type"),
        model=hooks.identifier(raw, "model"),
        transcript=transcript,
        cause=hooks.cause_of(raw, "error" if event == "StopFailure" else "reason"),
        runs=all_through(raw.get("tool_calls")) if moment is Moment.TOOLS_DONE else (),
        by_machine=moment is Moment.PROMPT and str(raw.get("prompt") or "").startswith(_NOTICE),
        answered=_form(raw) if moment is Moment.FORM_ANSWERED else None,
        changed_file=hooks.file_path(raw, "file_path") if moment is Moment.SETTINGS_CHANGE else None,
    )


def _key(raw: Mapping[str, Any], moment: Moment, calls: tuple[str, ...], agent: str | None) -> str | None:
    """One key for each model call that is announced.

    A prompt that is queued, or a task's notice that comes in, while a turn runs carries that turn's `prompt_id` and
    brings no call of its own. A batch is known by its first tool, which is all that an `mcp_tool` hook need send.
    """
    match moment:
        case Moment.PROMPT:
            return hooks.key_of("prompt", hooks.identifier(raw, "prompt_id"))
        case Moment.TOOL:
            return hooks.key_of("tool", *calls) if calls else None
        case Moment.TOOLS_DONE:
            return hooks.key_of("batch", calls[0]) if calls else None
        case Moment.AGENT_START:
            # An agent that was resumed starts again, in another turn.
            turn = hooks.identifier(raw, "prompt_id")
            return hooks.key_of("agent", agent) if turn is None else hooks.key_of("agent", agent, turn)
        case _:
            return None


def _form(raw: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """What a person did with a form of ours; None for that of another server.

    This hook does not fire where a hook answered in a person's place, and tells what the person did before another
    hook changes it.
    """
    action, content = hooks.identifier(raw, "action"), raw.get("content")
    if hooks.identifier(raw, "mcp_server_name") not in SERVERS or action is None:
        return None
    amount = content.get("amount_usd") if isinstance(content, Mapping) else None
    return action, None if amount is None else str(amount)[: hooks.LONGEST_ID]


def _answered(name: str, answer: HookAnswer, message: str) -> hooks.Reply:
    """Always an object: an `mcp_tool` hook that says nothing counts as one that failed."""
    if not answer.stops:
        return hooks.Reply(hooks.context(name, message) if name in _TAKES_CONTEXT else {"systemMessage": message})
    if name == "PreToolUse" and answer.asks is not None:
        return hooks.Reply(hooks.question(name, answer.asks))
    if name == "PreToolUse" and answer.tool_only:
        return hooks.Reply(hooks.denial(name, message))
    if name == "PreToolUse":
        # Without the denial the tool still runs; without the stop the model is asked once more.
        return hooks.Reply({"continue": False, "stopReason": message, **hooks.denial(name, message)})
    if name == "PostToolBatch":
        return hooks.Reply({"continue": False, "stopReason": message})
    return hooks.Reply({"decision": "block", "reason": message} if name in _BLOCKED else {})


HOOKS = hooks.hooks_of(CLIENT, _read, _answered, MOMENTS, silence=hooks.Reply({}))
