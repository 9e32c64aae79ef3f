"""Answer one hook in a process of its own, where no server runs that could."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tallygate.core.errors import TallygateError
from tallygate.entrypoints.hook import GATING
from tallygate.entrypoints.hook_desk import INPUT_BYTES_MAX, HookDesk, Sender, frame, refused, told_name

if TYPE_CHECKING:
    from tallygate.operations.runtime import Runtime


class HookProgram(Protocol):
    """A composed program that answers one hook and is closed."""

    def for_hooks(self) -> HookProgram: ...
    def note_alone(self, client: str, event: str) -> None: ...
    def runtime_for(self, workspace: Path | None) -> Runtime: ...
    def close(self) -> None: ...


def answer_alone(
    compose: Callable[[], HookProgram], client: str, event: str, *, framed: bool = False, held: bool = False
) -> int:
    """Read a client's JSON from standard input, print the client's JSON; returns the exit code for the client.

    `framed` is for the hook program: the whole reply as a server would send it; `held` says that it asks again.
    """
    data = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
    try:
        app = compose()
    except TallygateError as error:  # settings that cannot be read say nothing of what may be let through
        reply = refused(client, told_name(data) if event == "-" else event, str(error))
    else:
        if framed and not held and event in GATING.split():
            app.note_alone(client, event)
        try:
            desk, name = HookDesk(app.for_hooks().runtime_for), None if event == "-" else event
            reply = desk.answer_bytes(client, name, data, sender=Sender(held=held))
        finally:
            app.close()
    if framed:
        sys.stdout.buffer.write(frame(reply))
        sys.stdout.buffer.flush()
        return 0
    if reply.body is not None:
        sys.stdout.write(json.dumps(reply.body, ensure_ascii=True))
        sys.stdout.flush()
    return reply.exit_code
