"""Which cheaper model is worth switching to, given that a prompt cache belongs to one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallygate.core.costing import Price, Tokens
from tallygate.core.model import RerouteTarget


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be switched to, with its price now."""

    model: str
    price: Price


def best_target(
    current: Candidate,
    ladder: Sequence[Candidate],
    *,
    context_tokens: int,
    output_tokens: int,
    left_nanos: int,
    warm: bool = True,
) -> RerouteTarget | None:
    """The cheapest model of the ladder for which switching pays with what is left; None where none does.

    Staying reads the context from the cache; the first step elsewhere pays for it in full, later ones do not.
    Switching pays once the steps that what is left carries outnumber those that make up for the first. Where nothing
    is in a cache yet (not `warm`), at the start of a session or a subagent, the first step is paid in full everywhere.
    """
    stay = _cached(current.price, context_tokens, output_tokens)
    fresh = Tokens(fresh_input=context_tokens, output=output_tokens)
    found: tuple[int, str, RerouteTarget] | None = None
    for candidate in ladder:
        if candidate.model == current.model or candidate.price.key == current.price.key:
            continue
        first = candidate.price.cost_nanos(fresh)
        later = _cached(candidate.price, context_tokens, output_tokens)
        if first > left_nanos or later >= stay:
            continue
        begins_at = stay if warm else current.price.cost_nanos(fresh)
        if steps_needed(first, begins_at, stay, later) > _steps_carried(left_nanos, first, later):
            continue
        if found is None or (later, candidate.model) < found[:2]:
            found = (later, candidate.model, RerouteTarget(candidate.model, candidate.price, stay - later))
    return None if found is None else found[2]


def steps_needed(first_nanos: int, begins_nanos: int, stay_nanos: int, later_nanos: int) -> int:
    """After how many steps switching has paid for its first one, whole and rounded up; at least one.

    `begins_nanos` is what the first step costs without switching, `stay_nanos` every later one.

    >>> steps_needed(280, 69, 69, 32)
    7
    """
    if first_nanos <= begins_nanos:
        return 1
    return 1 + -(-(first_nanos - begins_nanos) // (stay_nanos - later_nanos))


def _steps_carried(left_nanos: int, first_nanos: int, later_nanos: int) -> int:
    if later_nanos == 0:
        return 10**9
    return 1 + (left_nanos - first_nanos) // later_nanos


def _cached(price: Price, context_tokens: int, output_tokens: int) -> int:
    return price.cost_nanos(Tokens(cache_read=context_tokens, output=output_tokens))
