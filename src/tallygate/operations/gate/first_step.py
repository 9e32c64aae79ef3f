"""What the first step of a client's next session may cost: less than that as a limit stops every first prompt."""

from __future__ import annotations

from collections.abc import Iterable

from tallygate.clients.client import Client
from tallygate.core.costing import SERVED_HERE, STANDARD
from tallygate.core.gate.wording import STEPS_AHEAD
from tallygate.core.hooks import HookFacts
from tallygate.core.learning.calibration import EstimateKind, Level
from tallygate.core.learning.steps import next_step
from tallygate.core.moments import as_datetime
from tallygate.core.money import format_amount
from tallygate.core.proposals import rounded_up
from tallygate.core.values import value
from tallygate.core.words import client_name
from tallygate.ledger.port import Reader
from tallygate.operations.gate.hook_step import is_of_runtime
from tallygate.operations.learning.estimates import RawEstimate, correct_estimate, price_key, sample_key
from tallygate.operations.runtime import Runtime


@value(frozen=True, slots=True)
class FirstStep:
    """The first step of a client, and what is reserved for it, in nano-dollars."""

    client: Client
    model: str
    nanos: int

    def refused_by(self, limit_nanos: int, told: str) -> str | None:
        """What to say of a limit that it does not fit into; None of others."""
        if self.nanos <= limit_nanos:
            return None
        enough = format_amount(rounded_up(STEPS_AHEAD * self.nanos))
        return (
            f"The first step of {self.client.title} with {self.model} may cost {format_amount(self.nanos)}: {told} "
            f"stops every first prompt. {enough} carries about {STEPS_AHEAD} steps."
        )


def dearest_first_step(rt: Runtime, clients: Iterable[Client], *, learned: bool) -> FirstStep | None:
    """Of clients whose hooks are answered, that whose next session begins with the dearest step.

    Before there is a ledger nothing is `learned`, and the list's price is all that is known.
    """
    with rt.reading() as reader:
        found = [
            _of_client(rt, reader, client, client.facts, learned=learned)
            for client in clients
            if client.facts is not None
        ]
    return max((each for each in found if each is not None), key=lambda each: each.nanos, default=None)


def _of_client(rt: Runtime, reader: Reader, client: Client, facts: HookFacts, *, learned: bool) -> FirstStep | None:
    """By the model that the client used last, as the step itself will be; None where none is known."""
    model = reader.last_model(client.stored_as) or facts.first_model
    if model is None:
        return None
    at = as_datetime(rt.services.clock_us())
    price = rt.workspace.prices.quote(model, at, terms=SERVED_HERE if is_of_runtime(model) else STANDARD)
    nanos, named = next_step([], price, at, facts.first_call).nanos, price_key(price, model)
    key = sample_key(EstimateKind.HOOK, client_name(client.stored_as), named)
    guess = RawEstimate(key, model, named, nanos, Level.of(None, 0, begins=True))
    return FirstStep(client, model, correct_estimate(rt, reader, guess).nanos if learned else nanos)
