"""Whether a refusal was right, by what the refused step cost once it was run after all.

A halt is false when the step, run after a raise, cost no more than what was available when it was halted. What nobody
went on with cannot be judged: it is counted as not known, and never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from tallygate.core.gate.answers import DecidingBudget
from tallygate.core.model import Call, LimitChange
from tallygate.core.values import value
from tallygate.core.words import Action, CallState, Reason


class HaltVerdict(StrEnum):
    """What is known of a halt afterwards."""

    RIGHT = "right"
    FALSE = "false"
    UNKNOWN = "not known"


class HaltDoubt(StrEnum):
    """Why a halt cannot be judged."""

    NO_AMOUNT = "it was no matter of an amount"
    NOT_CONTINUED = "nobody went on"
    NOT_RAISED = "it went on without a raise"
    OTHER_STEP = "it went on with another step"
    NOT_COUNTED = "what the step cost is not counted"


@value(frozen=True, slots=True)
class JudgedHalt:
    """A halt and what became of it; amounts are in the unit of the budget that decided.

    `run` is the step that the agent was let go on with, `raised` the last raise before it, `cost` what it came to.
    """

    halt: Call
    bound: DecidingBudget | None
    verdict: HaltVerdict
    doubt: HaltDoubt | None = None
    run: Call | None = None
    raised: LimitChange | None = None
    cost: int | None = None

    @property
    def available(self) -> int | None:
        """What was left when it was halted."""
        return None if self.bound is None else self.bound.available_nanos


def judge_halt(
    halt: Call,
    bound: DecidingBudget | None,
    after: Iterable[Call],
    changes: Sequence[LimitChange],
    cost_of: Callable[[Call], int | None],
) -> JudgedHalt:
    """Say whether a halt was right.

    `after` are later calls of its session in their order, `changes` those of the limit that decided, and `cost_of` is
    what a call came to in the unit of that limit.
    """
    if bound is None or halt.reason is not Reason.BUDGET_EXCEEDED:
        return JudgedHalt(halt, bound, HaltVerdict.UNKNOWN, HaltDoubt.NO_AMOUNT)
    run = next((call for call in after if _goes_on(halt, call)), None)
    if run is None:
        return JudgedHalt(halt, bound, HaltVerdict.UNKNOWN, HaltDoubt.NOT_CONTINUED)
    raises = [each for each in changes if each.is_raise and halt.at_us < each.at_us <= run.at_us]
    raised = max(raises, key=lambda each: each.at_us, default=None)
    doubt, cost = None, None
    if raised is None:
        doubt = HaltDoubt.NOT_RAISED
    elif not is_same_step(halt, run):
        doubt = HaltDoubt.OTHER_STEP
    elif not run.has_actual or (cost := cost_of(run)) is None:
        # A reservation that still waits, or that was booked as it was since nobody told more, says nothing of a cost.
        doubt = HaltDoubt.NOT_COUNTED
    if doubt is not None or cost is None:
        return JudgedHalt(halt, bound, HaltVerdict.UNKNOWN, doubt, run, raised)
    verdict = HaltVerdict.FALSE if cost <= bound.available_nanos else HaltVerdict.RIGHT
    return JudgedHalt(halt, bound, verdict, None, run, raised, cost)


def _goes_on(halt: Call, call: Call) -> bool:
    """Whether a later call is one that the same agent was let go on with, and that was made."""
    return (
        call.at_us > halt.at_us
        and (call.actor_type, call.actor_id) == (halt.actor_type, halt.actor_id)
        and call.action is not Action.HALT
        and call.state is not CallState.VOIDED
    )


def is_same_step(halt: Call, run: Call) -> bool:
    """Whether what was run is what was refused.

    A hook asks for the agent's next model call, whichever tool it then happens to stand before; an agent names its
    steps. Another model would have cost another amount.
    """
    if run.action is Action.REROUTE or run.model_requested != halt.model_requested:
        return False
    if halt.is_model_call or run.is_model_call:
        return halt.is_model_call and run.is_model_call
    return run.tool_name == halt.tool_name


# --- another gate ----------------------------------------------------------------------------------------------------
# What one that needs another amount of the same steps would have done with the halts there were.


@value(frozen=True, slots=True)
class HaltsAgain:
    """What another gate would have done: of so many halts it would have let through some, and what is known of those.

    `fitted` cost no more than there was, `over` more, by `over_nanos` in all; of the others nobody knows.
    """

    halts: int
    let_through: int = 0
    fitted: int = 0
    over: int = 0
    over_nanos: int = 0

    @property
    def unknown(self) -> int:
        return self.let_through - self.fitted - self.over


def halts_again(halts: Sequence[JudgedHalt], needed: Sequence[int]) -> HaltsAgain:
    """Held against what each was refused for: a step that needs no more than there was is let through."""
    let_through = fitted = over = over_nanos = 0
    for halt, amount in zip(halts, needed, strict=True):
        available = halt.available
        if available is None or available < amount:
            continue
        let_through += 1
        if halt.verdict is HaltVerdict.FALSE:
            fitted += 1
        elif halt.verdict is HaltVerdict.RIGHT and halt.cost is not None:
            over += 1
            over_nanos += halt.cost - available
    return HaltsAgain(len(halts), let_through, fitted, over, over_nanos)
