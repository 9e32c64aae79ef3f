"""GitHub Copilot CLI's hooks: what they tell, and the words in which they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tallygate.clients.reading.hooks import Reply, event_of, file_path, hooks_of, identifier, key_of, number, session_of
from tallygate.clients.reading.runs import through
from tallygate.core.hooks import HookAnswer, HookEvent, Moment

CLIENT = "copilot"
# Named so where the session has our entry for permissionRequest as well; older installations name preToolUse alone.
_ASKED_AGAIN, _QUESTION = "preToolUse.permissionRequest", "permissionRequest"
# The tools for which Copilot asks permissionRequest whatever it is allowed; a denial there ends the turn.
_QUESTIONED = frozenset({"bash", "create"})
# It does not send the event's name; the installed command says it.
MOMENTS: Mapping[str, Moment] = {
    "sessionStart": Moment.SESSION_START,
    "userPromptSubmitted": Moment.PROMPT,
    "preToolUse": Moment.TOOL,
    _ASKED_AGAIN: Moment.TOOL,
    _QUESTION: Moment.TOOL,
    "postToolUse": Moment.TOOL_DONE,
    "agentStop": Moment.TURN_END,
    "sessionEnd": Moment.SESSION_END,
}
# What the same event means in a subagent.
_IN_AGENT = {Moment.PROMPT: Moment.AGENT_START, Moment.TURN_END: Moment.AGENT_END}
_AGENT_TOOLS = frozenset({"task"})
_TAKES_CONTEXT = frozenset({"sessionStart", "userPromptSubmitted", "preToolUse", _ASKED_AGAIN, "postToolUse"})
_LATEST_MS = 10**15 - 1


def _read(raw: Mapping[str, Any], event: str, moment: Moment) -> HookEvent | None:
    session, agent = session_of(raw, "sessionId"), identifier(raw, "agentId")
    if agent is not None and agent == session:
        # In a subagent this is its own id, and the session's stands as that of whoever started it.
        session = identifier(raw, "parentAgentId") or session
    if agent is not None:
        moment = _IN_AGENT.get(moment, moment)
    tool = identifier(raw, "toolName") if moment is Moment.TOOL else None
    return event_of(
        CLIENT,
        raw,
        event,
        moment,
        client_session=session,
        key=_key(raw, event, agent),
        tool=tool,
        starts_agent=tool in _AGENT_TOOLS,
        runs=through(raw, identifier(raw, "toolName")) if moment is Moment.TOOL_DONE else (),
        agent_id=agent,
        agent_type=identifier(raw, "agentType"),
        transcript=file_path(raw, "transcriptPath"),
        confirms=event == _QUESTION,
        confirmed=event == _ASKED_AGAIN and tool in _QUESTIONED,
        key_of_response=moment is Moment.TOOL and event != _QUESTION,
    )


def _key(raw: Mapping[str, Any], event: str, agent: str | None) -> str | None:
    """A prompt by its time; tools by that of their response, which is told for each of them. Nothing else has one."""
    if event == "userPromptSubmitted":
        return key_of("prompt", number(raw, "timestamp", _LATEST_MS))
    return (
        key_of("tools", agent or "", number(raw, "timestamp", _LATEST_MS))
        if event in {"preToolUse", _ASKED_AGAIN}
        else None
    )


def _answered(name: str, answer: HookAnswer, message: str) -> Reply:
    if not answer.stops:
        return Reply({"additionalContext": message} if name in _TAKES_CONTEXT else None)
    if name == _QUESTION:
        return Reply({"behavior": "deny", "message": message, "interrupt": answer.ends})
    if name in {"preToolUse", _ASKED_AGAIN}:
        return Reply({"permissionDecision": "deny", "permissionDecisionReason": message})
    return Reply({"decision": "block", "reason": message} if name == "userPromptSubmitted" else None)


def _reply(event: HookEvent, answer: HookAnswer) -> Reply:
    """What a budget stops is left to the question that ends the turn; what is denied before is never asked about.

    Nothing else has to be ended then, nor where a tool that is never asked about is denied for the first time.
    """
    if event.confirmed and answer.ends and not answer.unconfirmed:
        return Reply(settled=True)
    return replace(_SAID.reply(event, answer), settled=event.confirms or not answer.again)


_SAID = hooks_of(CLIENT, _read, _answered, MOMENTS)
HOOKS = replace(_SAID, reply=_reply)
