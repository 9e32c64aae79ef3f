"""The made-up client's hooks: what they tell, and the words in which they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.clients.reading.hooks import (
    Reply,
    event_name,
    file_path,
    hooks_of,
    identifier,
    key_of,
    message_of,
    session_of,
)
from tallygate.core.hooks import HookAnswer, HookEvent, Moment

MOMENTS: Mapping[str, Moment] = {"Begin": Moment.SESSION_START, "Ask": Moment.PROMPT, "Leave": Moment.SESSION_END}


def _read(raw: Mapping[str, Any], name: str | None) -> HookEvent | None:
    event = event_name(raw, name, MOMENTS)
    if event is None:
        return None
    return HookEvent(
        client="made_up",
        moment=MOMENTS[event],
        client_session=session_of(raw, "talk"),
        name=event,
        key=key_of("ask", identifier(raw, "number")),
        transcript=file_path(raw, "log"),
        folder=file_path(raw, "folder"),
    )


def _answered(_name: str, answer: HookAnswer) -> Reply:
    message = message_of(answer)
    return Reply() if message is None else Reply({"no" if answer.stops else "note": message})


HOOKS = hooks_of("made_up", _read, _answered, MOMENTS)
