"""When a model has to read its whole conversation anew, as a client's own record shows it."""

from __future__ import annotations

from collections.abc import Sequence

from tallygate.core.costing import Price
from tallygate.core.model import Actor
from tallygate.core.moments import as_datetime
from tallygate.core.observed import priced_as
from tallygate.core.steps import PastStep, of_actor, read_anew
from tallygate.core.words import ActorType
from tallygate.ledger.port import Reader
from tallygate.pricing.identity import same_model

# How long it was kept for is told by the last response that wrote anything.
STEPS_LOOKED_AT = 24


def switches(past: Sequence[PastStep], model: str) -> bool:
    """Whether a model is another than that of an agent's last response, so that no cache holds its conversation."""
    return bool(past) and not same_model(priced_as(past[-1].row), model)


def anew_nanos(reader: Reader, session_id: str, actor: Actor, model: str, price: Price, *, at_us: int) -> int:
    """What the whole conversation of an agent costs where it has to be read anew.

    0 where it has not, and where nothing of it was observed.
    """
    past = [PastStep(each.row, each.cost_nanos) for each in reversed(reader.last_usage_of(session_id, STEPS_LOOKED_AT))]
    mine = of_actor(past, actor.id if actor.type is ActorType.SUBAGENT else None)
    anew = read_anew(mine, as_datetime(at_us), forgotten=switches(mine, model))
    return 0 if anew is None else price.cost_nanos(anew)
