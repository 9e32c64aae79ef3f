"""Hold a refused tool of Codex where its turn cannot be ended: unanswered, until there is more budget, or Esc.

No answer of a hook ends a turn of Codex, and a denial makes it ask its model again. What waits for its hook asks
nobody. The hook program loads this only when it is told to; nothing but the standard library is imported.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tallygate.clients.ancestry import Process, agent_of, ancestors
from tallygate.entrypoints.interrupting import interrupt_turn
from tallygate.entrypoints.stopping import subcommand

# Exit code, the client's own words, and ours where the client goes on after them.
Answer = tuple[int, bytes, bytes]
# Codex lets a tool run whose hook has not answered within 600 seconds; it is refused before.
HELD_S = 560
LOOK_S, START_S = 1, 15
NANOS = 10**9


def hold(
    asked: tuple[str, str, bytes],
    refused: Answer,
    ask: Callable[[], Answer | None],
    start: Callable[[], Answer | None],
    *,
    ticks_ns: Callable[[], int] = time.monotonic_ns,
    pause_s: Callable[[int], None] = time.sleep,
) -> Answer:
    """Wait with an answer while it would be a refusal; what is refused by then stays refused.

    `asked` are the client, the event and its input. `ask` asks a running server again, and `start` a gate started for
    it, which takes longer; None where nobody answers. Where the client has gone, nobody waits for an answer.
    """
    client, event, data = asked
    if (client, event) != ("codex", "PreToolUse") or (codex := _codex_above()) is None:
        return refused
    if subcommand(codex.words) == "app-server":
        interrupt_turn(codex.pid, codex.words, data)  # which ends this as well; where it does not, it waits
    started = begun = ticks_ns()
    while ticks_ns() < begun + HELD_S * NANOS and _codex_above() == codex:
        pause_s(LOOK_S)
        answer = ask()
        if answer is None and ticks_ns() >= started + START_S * NANOS:
            answer, started = start(), ticks_ns()
        if answer is not None and not answer[2]:
            return answer
    return refused


def _codex_above() -> Process | None:
    """The process of the nearest client above where that is Codex: in any other nobody would wait for this."""
    process = next((process for process in ancestors() if agent_of(process) is not None), None)
    return process if process is not None and agent_of(process) == "Codex" else None
