"""The made-up client's hooks: what they tell, and the words in which they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.clients.reading.hooks import Reply, file_path, hooks_of, identifier, key_of, session_of
from tallygate.core.hooks import HookAnswer, HookEvent, Moment

MOMENTS: Mapping[str, Moment] = {"Begin": Moment.SESSION_START, "Ask": Moment.PROMPT, "Leave": Moment.SESSION_END}


def _read(raw: Mapping[str, Any], event: str, moment: Moment) -> HookEvent | None:
    return HookEvent(
        client="made_up",
        moment=moment,
        client_session=session_of(raw, "talk"),
        name=event,
        key=key_of("ask", identifier(raw, "number")),
        transcript=file_path(raw, "log"),
        folder=file_path(raw, "folder"),
    )


def _answered(_name: str, answer: HookAnswer, message: str) -> Reply:
    return Reply({"no" if answer.stops else "note": message})


HOOKS = hooks_of("made_up", _read, _answered, MOMENTS)
