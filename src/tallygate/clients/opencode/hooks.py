"""opencode's hooks: what our plugin tells of them, and the words in which it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.clients.reading.hooks import Reply, file_path, hooks_of, identifier, key_of, number, session_of
from tallygate.clients.reading.runs import through
from tallygate.core.hooks import HookAnswer, HookEvent, Moment

CLIENT = "opencode"
MOMENTS: Mapping[str, Moment] = {
    "session.created": Moment.SESSION_START,
    "chat.message": Moment.PROMPT,
    "chat.params": Moment.MODEL,
    "tool.execute.before": Moment.TOOL,
    "tool.execute.after": Moment.TOOL_DONE,
    "session.idle": Moment.TURN_END,
    "session.deleted": Moment.SESSION_END,
    "dispose": Moment.SESSION_END,
}
# What the same event means in a subagent, which is a session of its own below the one that was started.
_IN_AGENT = {
    Moment.SESSION_START: Moment.AGENT_START,
    Moment.TURN_END: Moment.AGENT_END,
    Moment.SESSION_END: Moment.AGENT_END,
}
_AGENT_TOOLS = frozenset({"task"})
_MOST_STEPS = 10**9


def _read(raw: Mapping[str, Any], event: str, moment: Moment) -> HookEvent | None:
    own = session_of(raw, "sessionID")
    root = identifier(raw, "rootID") or own
    # opencode makes a session of each subagent; the plugin says at which session the work began.
    agent = None if root == own else own
    moment = moment if agent is None else _IN_AGENT.get(moment, moment)
    at_tool = moment in {Moment.TOOL, Moment.TOOL_DONE}
    tool = identifier(raw, "tool") if at_tool else None
    call = identifier(raw, "callID") if at_tool else None
    failed = raw.get("failed")
    model = raw.get("model")
    return HookEvent(
        client=CLIENT,
        moment=moment,
        client_session=root,
        name=event,
        key=_key(raw, moment, own, call),
        tool=tool,
        tool_use_ids=() if call is None else (call,),
        starts_agent=moment is Moment.TOOL and tool in _AGENT_TOOLS,
        runs=through(raw, tool, call, failed=failed if isinstance(failed, bool) else None)
        if moment is Moment.TOOL_DONE
        else (),
        agent_id=agent,
        agent_type=identifier(raw, "agent"),
        model=identifier(model, "modelID") if isinstance(model, dict) else None,
        folder=file_path(raw, "directory"),
        cause=event if moment is Moment.SESSION_END else None,
    )


def _key(raw: Mapping[str, Any], moment: Moment, own: str, call: str | None) -> str | None:
    """The calls of one prompt are counted by the plugin: nothing that opencode tells it is theirs alone."""
    message = identifier(raw, "messageID")
    match moment:
        case Moment.PROMPT:
            return key_of("prompt", message)
        case Moment.MODEL:
            return key_of("model", message, number(raw, "step", _MOST_STEPS))
        case Moment.TOOL:
            return key_of("tool", call)
        case Moment.AGENT_START:
            return key_of("agent", own)
        case _:
            return None


def _answered(name: str, answer: HookAnswer, message: str) -> Reply:
    """Always an object: to the plugin no answer is a fault."""
    stop = answer.stops and name in {"chat.message", "chat.params", "tool.execute.before"}
    return Reply({"stop": True, "message": message} if stop else {"message": message})


HOOKS = hooks_of(CLIENT, _read, _answered, MOMENTS, silence=Reply({}))
