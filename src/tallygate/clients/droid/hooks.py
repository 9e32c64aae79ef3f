"""Droid's hooks: what they tell, and the words in which they are answered. As its documentation says, not measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.clients.droid.transcripts import TRANSCRIPT, USED
from tallygate.clients.reading.hooks import (
    Reply,
    cause_of,
    context,
    denial,
    event_name,
    file_path,
    hooks_of,
    identifier,
    key_of,
    message_of,
    origin_of,
    session_of,
)
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


def _read(raw: Mapping[str, Any], name: str | None) -> HookEvent | None:
    event = event_name(raw, name, MOMENTS)
    if event is None:
        return None
    moment, written = MOMENTS[event], file_path(raw, "transcript_path")
    call = identifier(raw, "tool_use_id") if moment is Moment.TOOL else None
    return HookEvent(
        client=CLIENT,
        moment=moment,
        client_session=session_of(raw),
        name=event,
        key=key_of("tool", call),
        # A subagent is a session of its own, with hooks of its own: the tool that starts one is as any other.
        tool=identifier(raw, "tool_name") if moment is Moment.TOOL else None,
        tool_use_ids=() if call is None else (call,),
        # What it used stands in the file beside the conversation.
        transcript=written and written.removesuffix(TRANSCRIPT) + USED,
        folder=file_path(raw, "cwd"),
        origin=origin_of(raw) if moment is Moment.SESSION_START else None,
        cause=cause_of(raw),
    )


def _answered(name: str, answer: HookAnswer) -> Reply:
    message = message_of(answer)
    if message is None:
        return Reply()
    if not answer.stops:
        return Reply(context(name, message) if name in _TAKES_CONTEXT else {"systemMessage": message})
    ends = {"continue": False, "stopReason": message}
    if name == "PreToolUse":
        return Reply(denial(name, message) | ({} if answer.tool_only else ends))
    if name == "UserPromptSubmit":
        return Reply({"decision": "block", "reason": message})
    return Reply(ends if name == "PreCompact" else None)


HOOKS = hooks_of(CLIENT, _read, _answered, MOMENTS)
