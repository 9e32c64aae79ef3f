"""Droid's hooks: what they tell, and the words in which they are answered. As its documentation says, not measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.clients.droid.transcripts import TRANSCRIPT, USED
from tallygate.clients.reading.hooks import Reply, context, denial, event_of, file_path, hooks_of, identifier, key_of
from tallygate.core.hooks import HookAnswer, HookEvent, Moment

CLIENT = "droid"
MOMENTS: Mapping[str, Moment] = {
    "SessionStart": Moment.SESSION_START,
    "UserPromptSubmit": Moment.PROMPT,
    "PreToolUse": Moment.TOOL,
    "PreCompact": Moment.COMPACTION,
    "SubagentStop": Moment.AGENT_END,
    "Stop": Moment.TURN_END,
    "SessionEnd": Moment.SESSION_END,
}
_TAKES_CONTEXT = frozenset({"SessionStart", "UserPromptSubmit"})


def _read(raw: Mapping[str, Any], event: str, moment: Moment) -> HookEvent | None:
    written = file_path(raw, "transcript_path")
    call = identifier(raw, "tool_use_id") if moment is Moment.TOOL else None
    return event_of(
        CLIENT,
        raw,
        event,
        moment,
        key=key_of("tool", call),
        # A subagent is a session of its own, with hooks of its own: the tool that starts one is as any other.
        tool=identifier(raw, "tool_name") if moment is Moment.TOOL else None,
        tool_use_ids=() if call is None else (call,),
        # What it used stands in the file beside the conversation.
        transcript=written and written.removesuffix(TRANSCRIPT) + USED,
    )


def _answered(name: str, answer: HookAnswer, message: str) -> Reply:
    if not answer.stops:
        return Reply(context(name, message) if name in _TAKES_CONTEXT else {"systemMessage": message})
    ends = {"continue": False, "stopReason": message}
    if name == "PreToolUse":
        return Reply(denial(name, message) | ({} if answer.tool_only else ends))
    if name == "UserPromptSubmit":
        return Reply({"decision": "block", "reason": message})
    return Reply(ends if name == "PreCompact" else None)


HOOKS = hooks_of(CLIENT, _read, _answered, MOMENTS)
