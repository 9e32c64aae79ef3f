"""When a model has to read its whole conversation anew, as a client's own record shows it."""

from __future__ import annotations

from collections.abc import Sequence

from tallygate.core.costing import Price
from tallygate.core.errors import present
from tallygate.core.learning.steps import SHORT_CACHE, PastStep, read_anew
from tallygate.core.model import Actor
from tallygate.core.moments import as_datetime
from tallygate.core.usage import priced_as
from tallygate.core.words import ActorType
from tallygate.ledger.port import Reader
from tallygate.pricing.identity import same_model

# How long it was kept for is told by the last response that wrote anything.
STEPS_LOOKED_AT = 24


def switches(past: Sequence[PastStep], model: str) -> bool:
    """Whether a model is another than that of an agent's last response, so that no cache holds its conversation."""
    return bool(past) and not same_model(priced_as(past[-1].row), model)


def anew_nanos(
    reader: Reader,
    session_id: str,
    actor: Actor,
    model: str,
    price: Price,
    *,
    at_us: int,
    compacted_us: int | None = None,
) -> int:
    """What the whole conversation of an agent costs where it has to be read anew; `compacted_us`: it was summarised.

    0 where it has not, and where nothing of it was observed. Every step asks, and mostly when its agent's last response
    was and of which model tells enough: no cache is lost sooner than a short one.
    """
    agent_id = actor.id if actor.type is ActorType.SUBAGENT else None
    served = reader.last_served(session_id, agent_id, STEPS_LOOKED_AT)
    if served is None:
        return 0
    compacted = compacted_us is not None and served[0] <= compacted_us
    at, forgotten = as_datetime(at_us), compacted or not same_model(served[1], model)
    if not forgotten and at - as_datetime(served[0]) <= SHORT_CACHE:
        return 0
    last = present(reader.last_usage_of(session_id, agent_id, STEPS_LOOKED_AT), "the response is there")
    wrote = last.row.tokens.cache_write_5m or last.row.tokens.cache_write_1h
    before = None if wrote else reader.last_usage_of(session_id, agent_id, STEPS_LOOKED_AT, written=True)
    mine = [PastStep(each.row, each.cost_nanos) for each in (before, last) if each is not None]
    anew = read_anew(mine, at, forgotten=forgotten)
    return 0 if anew is None else price.cost_nanos(anew)
