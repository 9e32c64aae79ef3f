"""Hold a refused tool where no answer ends the work and nothing can be ended: until there is more budget, or Esc.

In some clients a denial makes the agent, or its subagents, ask the model again. What waits for its hook asks nobody.
The hook program loads this only when it is told to; nothing but the standard library is imported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from tallygate.clients.ancestry import Process, agent_of, ancestors
from tallygate.clients.program import program_called

# Exit code, the client's own words, ours where it goes on after them, and for how many seconds they are held back.
Answer = tuple[int, bytes, bytes, int]
LOOK_S, START_S = 1, 15
NANOS = 10**9


def hold(
    asked: tuple[str, bytes],
    refused: Answer,
    ask: Callable[[], Answer | None],
    start: Callable[[], Answer | None],
    *,
    ticks_ns: Callable[[], int] = time.monotonic_ns,
    pause_s: Callable[[int], None] = time.sleep,
) -> Answer:
    """Wait with an answer while it would be a refusal; what is refused by then stays refused.

    `asked` are the client and the hook's input. `ask` asks a running server again, and `start` a gate started for
    it, which takes longer; None where nobody answers. Where the client has gone, nobody waits for an answer.
    """
    client, data = asked
    program, above = program_called(client), _above(client) if refused[3] else None
    if program is None or above is None:
        return refused
    if program.interrupt is not None:
        program.interrupt(above.pid, above.words, data, os.environ)  # which ends this as well; if not, it waits
    started = begun = ticks_ns()
    while ticks_ns() < begun + refused[3] * NANOS and _above(client) == above:
        pause_s(LOOK_S)
        answer = ask()
        if answer is None and ticks_ns() >= started + START_S * NANOS:
            answer, started = start(), ticks_ns()
        if answer is not None and not answer[2]:
            return answer
    return refused


def _above(client: str) -> Process | None:
    """The process of the nearest client above where that is this one: in any other nobody would wait for this."""
    process = next((process for process in ancestors(os.getppid()) if agent_of(process) is not None), None)
    return process if process is not None and agent_of(process) is program_called(client) else None
