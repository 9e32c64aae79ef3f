"""Which refusal a run was stopped by: the last one of an agent that was let go on with nothing since."""

from __future__ import annotations

from collections.abc import Iterable

from tallygate.core.model import Call
from tallygate.core.words import ActorType, CallState


def stopped_by(calls: Iterable[Call], since_us: int = -1) -> Call | None:
    """The refusal that stopped a run, of its calls in their order; None where every agent was let go on.

    The main agent's comes before that of a subagent, which is also stopped where its main agent went on with less. What
    was refused up to `since_us`, when a limit was raised, stops nothing any more.
    """
    last: dict[str | None, Call] = {}
    for call in calls:
        # A subagent that is about to start has no id yet: its main agent is refused the tool.
        last[call.actor_id if call.actor_type is ActorType.SUBAGENT else None] = call
    refused = [call for call in last.values() if call.state is CallState.DENIED and call.at_us > since_us]
    mine = [call for call in refused if call is last.get(None)]
    return max(mine or refused, key=lambda call: call.at_us, default=None)
