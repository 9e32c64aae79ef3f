"""What a session's steps usually take, for the amount that a user is offered to go on with."""

from __future__ import annotations

from tallygate.core.model import Amount, Budget, Call
from tallygate.ledger.port import Reader

STEPS_LOOKED_AT = 24
# A session that is resumed again and again with nothing left has had no step of its own.
SESSIONS_LOOKED_AT = 8


def usual_step(reader: Reader, session_id: str, budget: Budget) -> int:
    """What the middle one of a session's last steps took of a budget, in its unit; 0 before there is one.

    A session that has had none yet goes by the one whose work it took up, or that it lies inside.
    """
    for _ in range(SESSIONS_LOOKED_AT):
        calls = reader.recent_calls(session_id, 2**62, STEPS_LOOKED_AT)
        taken = sorted(amount for call in calls if (amount := _taken(call).of(budget)) > 0)
        if taken:
            return taken[len(taken) // 2]
        session = reader.session(session_id)
        if session is None or session.parent_session_id is None:
            return 0
        session_id = session.parent_session_id
    return 0


def _taken(call: Call) -> Amount:
    """What a step took: what it cost or, until that is known, what it reserves; nothing where it was refused."""
    nanos = call.counted_nanos or call.observed_nanos or 0
    if nanos == 0:
        return Amount(0)
    used = call.actual
    tokens = call.prompt_tokens + call.completion_tokens if used is None else used.context + used.output
    return Amount(nanos, tokens, 1)
