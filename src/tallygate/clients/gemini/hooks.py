"""Gemini CLI's hooks: what they tell, and the words in which they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.clients.reading.hooks import Reply, context, event_of, hooks_of, identifier, key_of
from tallygate.clients.reading.runs import through
from tallygate.core.hooks import HookAnswer, HookEvent, Moment

CLIENT = "gemini"
MOMENTS: Mapping[str, Moment] = {
    "SessionStart": Moment.SESSION_START,
    "BeforeAgent": Moment.PROMPT,
    "BeforeModel": Moment.MODEL,
    "BeforeTool": Moment.TOOL,
    "AfterTool": Moment.TOOL_DONE,
    "AfterAgent": Moment.TURN_END,
    "PreCompress": Moment.COMPACTION,
    "SessionEnd": Moment.SESSION_END,
}
_BLOCKED = frozenset({"BeforeAgent", "BeforeModel"})
_TAKES_CONTEXT = frozenset({"SessionStart", "BeforeAgent", "AfterTool"})


def _read(raw: Mapping[str, Any], event: str, moment: Moment) -> HookEvent | None:
    if moment is Moment.COMPACTION and identifier(raw, "trigger") != "manual":
        # Fires before every model call, ahead of the look at whether there is anything to compress.
        return None
    request, called = raw.get("llm_request"), raw.get("mcp_context")
    return event_of(
        CLIENT,
        raw,
        event,
        moment,
        # Two tools may start within the thousandth of a second that this tells; one agent's calls and turns cannot.
        key=key_of(event, identifier(raw, "timestamp")) if moment in {Moment.PROMPT, Moment.MODEL} else None,
        # A subagent's calls come by BeforeModel like all others and do not say whose they are: none is started here.
        tool=identifier(raw, "tool_name") if moment is Moment.TOOL else None,
        model=identifier(request, "model") if isinstance(request, dict) else None,
        runs=through(raw, identifier(raw, "tool_name")) if moment is Moment.TOOL_DONE else (),
        # The name of a server's tool, `mcp_SERVER_TOOL`, cannot be taken apart.
        server=identifier(called, "server_name") if isinstance(called, dict) else None,
    )


def _answered(name: str, answer: HookAnswer, message: str) -> Reply:
    if not answer.stops:
        return Reply(context(name, message) if name in _TAKES_CONTEXT else {"systemMessage": message})
    if name == "BeforeTool" and answer.tool_only:
        return Reply({"decision": "deny", "reason": message})
    if name == "BeforeTool":
        return Reply({"decision": "deny", "reason": message, "continue": False, "stopReason": message})
    # Here `continue` would end the turn too, but without a word to the user.
    return Reply({"decision": "block", "reason": message} if name in _BLOCKED else None)


HOOKS = hooks_of(CLIENT, _read, _answered, MOMENTS)
