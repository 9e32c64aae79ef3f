"""What a session's steps usually take, for the amount that a user is offered to go on with."""

from __future__ import annotations

from tallygate.core.amounts import Amount
from tallygate.core.model import Budget, Call
from tallygate.ledger.port import Reader

STEPS_LOOKED_AT = 24


def usual_step(reader: Reader, session_id: str, budget: Budget) -> int:
    """What the middle one of a session's last steps took of a budget, in its unit; 0 before there is one."""
    calls = reader.recent_calls(session_id, 2**62, STEPS_LOOKED_AT)
    taken = sorted(amount for call in calls if (amount := _taken(call).of(budget)) > 0)
    return taken[len(taken) // 2] if taken else 0


def _taken(call: Call) -> Amount:
    """What a step took: what it cost or, until that is known, what it reserves; nothing where it was refused."""
    nanos = call.counted_nanos or call.observed_nanos or 0
    if nanos == 0:
        return Amount(0)
    used = call.actual
    tokens = call.prompt_tokens + call.completion_tokens if used is None else used.context + used.output
    return Amount(nanos, tokens, 1)
