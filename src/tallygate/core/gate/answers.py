"""What the gate answers, and what lies ahead of a step."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

from tallygate.core.learning.calibration import LEARNED_AT, MILLION, Expectation, FactorSource
from tallygate.core.model import Budget, CallRequest, Policy, in_usd
from tallygate.core.money import COUNTED, format_amount
from tallygate.core.proof import SlimAttestation
from tallygate.core.values import value
from tallygate.core.words import Action, CalibrationMode, Pressure, Reason, UsageBasis

# --- answers ---------------------------------------------------------------------------------------------------------
# What operations answer, as plain values; entry points only turn them into their own words and units.


@value(frozen=True, slots=True)
class DecidingBudget:
    """The budget that decided, with the numbers it decided on."""

    budget_id: str
    unit: str
    limit_nanos: int
    spent_nanos: int
    reserved_nanos: int
    available_nanos: int
    resets_us: int | None

    @staticmethod
    def of(budget: Budget) -> DecidingBudget:
        return DecidingBudget(
            budget.name,
            budget.unit,
            budget.limit,
            budget.spent + budget.carried,
            budget.reserved,
            budget.available,
            budget.resets_us,
        )


@value(frozen=True, slots=True)
class Factor:
    """What an estimate was multiplied by, in millionths, where that comes from, and how much to make of it."""

    micros: int
    source: str
    confidence: str


@value(frozen=True, slots=True)
class GateAnswer:
    """The answer to one authorize; a halt carries no call id, since there is nothing to report usage for.

    `attestation` names what is signed of a refusal. It comes from the ledger, so it is no part of the kept answer.
    """

    action: Action
    reason: Reason
    remaining_nanos: int | None
    pressure: Pressure
    call_id: str | None = None
    target_model: str | None = None
    pricing_warning: str | None = None
    factor_micros: int | None = None
    factor_source: str = "none"
    message: str | None = None
    binding: DecidingBudget | None = None
    spent_by: tuple[tuple[str, int], ...] = ()
    command: str | None = None
    attestation: SlimAttestation | None = None
    confidence: str | None = None
    over_micros: int | None = None
    remaining_steps: int | None = None
    saves_nanos: int | None = None

    def to_json(self) -> str:
        """The answer as text, kept with a call whose id the client chose, so that asking again says the same."""
        kept = {name: getattr(self, name) for name in _KEPT}
        if self.binding is not None:
            kept["binding"] = asdict(self.binding)
        return json.dumps(kept, separators=(",", ":"), ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> GateAnswer:
        found = json.loads(text)
        binding = found.pop("binding")
        return GateAnswer(
            **{
                **found,
                "action": Action(found["action"]),
                "reason": Reason(found["reason"]),
                "pressure": Pressure(found["pressure"]),
                "binding": None if binding is None else DecidingBudget(**binding),
                "spent_by": tuple(map(tuple, found["spent_by"])),
            }
        )


_KEPT = tuple(each.name for each in fields(GateAnswer) if each.name != "attestation")


@value(frozen=True, slots=True)
class BudgetState:
    """What a pure read of a session's budgets shows, and what a step that was named would count for.

    `would` is what the gate would answer to that step. `fault` is what it answers where the ledger cannot be used;
    nothing else is known then.
    """

    session_id: str
    remaining_nanos: int | None
    pressure: Pressure
    used_nanos: int
    limit_nanos: int
    estimate_nanos: int | None = None
    factor: Factor | None = None
    over_micros: int | None = None
    remaining_steps: int | None = None
    would: GateAnswer | None = None
    fault: GateAnswer | None = None


@value(frozen=True, slots=True)
class UsageAnswer:
    """The state of a call and its session after usage was recorded or a reservation voided."""

    call_id: str
    session_id: str
    status: str
    exactness: str
    basis: UsageBasis
    spend_nanos: int
    remaining_nanos: int | None
    pressure: Pressure
    cost_nanos: int


# --- prospects -------------------------------------------------------------------------------------------------------
# What lies ahead of a step: how probably it passes its limit, how many more of its kind are left.


# Below this share of a hundred a step is not near its limit.
NEAR_MICROS = 50_000


@value(frozen=True, slots=True)
class Prospect:
    """What was learned about a step, against what is left; None where nothing is known, or the limit is far.

    `upper_nanos` is what so many of 100 such steps stay below as the policy's quantile says, `over_micros` the share
    of them, in millionths, that would pass what is left, `remaining_steps` how many follow after it at the session's
    level.
    """

    upper_nanos: int | None = None
    over_micros: int | None = None
    remaining_steps: int | None = None
    warning: str | None = None


def prospect(request: CallRequest, before: Budget | None, after: Budget | None, policy: Policy) -> Prospect:
    """Hold what was learned against the tightest budget, as it stands before and after the step's reservation."""
    expected = request.expected
    # What a step has cost already needs no forecast.
    if expected is None or request.actual is not None:
        return Prospect()
    billed = request.billed_micros
    steps = None
    if expected.level_nanos is not None and after is not None and after.unit not in COUNTED:
        # Both sides times a million before the division: a factor is millionths, and the result is rounded down to
        # whole steps.
        steps = max(in_usd(after.available, after), 0) * MILLION // (expected.level_nanos * billed)
    if expected.source is FactorSource.NONE or before is None or before.unit in COUNTED:
        return Prospect(remaining_steps=steps)
    left = max(in_usd(before.available, before), 0)
    # Upwards: what is called enough must be enough.
    upper = -(-expected.needed_nanos(policy.quantile_percent) * billed // MILLION)
    over = expected.over_micros(left * MILLION // billed)
    warning = None
    if policy.calibration is CalibrationMode.WARN and upper > left:
        warning = (
            f"Steps like this one cost {format_amount(upper)} or less in {policy.quantile_percent} of 100 cases, and "
            f"{format_amount(left)} are left: it may pass the limit. Finish what you can and tell the user."
        )
    return Prospect(upper, over if over >= NEAR_MICROS else None, steps, warning)


def corrected(request: CallRequest, policy: Policy, binding: Budget | None = None) -> str | None:
    """Why a step needs another amount than was said of it, as a sentence.

    None where both are the same as they are shown, and where the `binding` budget counts tokens or calls, which no
    amount of dollars explains.
    """
    said, held = format_amount(request.raw_estimate_nanos), format_amount(request.estimate_nanos)
    if said == held or (binding is not None and binding.unit in COUNTED):
        return None
    such = "such steps cost" if _of_its_kind(request) else "steps cost elsewhere"
    match request.factor_source:
        case "learned" | "session" if request.expected is not None and _is_anew(request.expected, request):
            why = "with the whole conversation read anew, it takes"
        case "learned" if request.expected is not None and request.expected.level_nanos is not None:
            why = f"by what {such}, {policy.quantile_percent} of 100 stay below"
        case "learned":
            why = f"by what {such}, it takes"
        case "session" if request.expected is not None and request.expected.level_nanos is None:
            why = "by what first steps of such sessions have cost, it takes"
        case "session":
            why = "by what its session's steps have cost, it takes"
        case "manual":
            why = "with the factor you set, it takes"
        case "billed":
            why = "by what was billed, it takes"
        case _:
            return None
    return f"It was estimated at {said}; {why} {held}."


def differs(request: CallRequest, policy: Policy) -> str | None:
    """What an agent is told where less than half or more than twice of what it said is reserved; else None."""
    said, held = request.raw_estimate_nanos, request.estimate_nanos
    if request.actual is not None or said <= 0 or said <= 2 * held <= 4 * said:
        return None
    return f"You said {format_amount(said)}; {format_amount(held)} is reserved: {_source(request, policy)}."


def _source(request: CallRequest, policy: Policy) -> str:
    expected = request.expected
    if request.factor_source == "manual":
        return "the user set a factor"
    if expected is not None and _is_anew(expected, request):
        return "the whole conversation has to be read anew"
    match request.factor_source:
        case "session" if expected is not None and expected.level_nanos is None:
            return "first steps of such sessions have cost that"
        case "session":
            return "this session's own steps have cost that"
        case "billed":
            return "more or less than the list price was billed"
        case _ if expected is not None and expected.level_nanos is not None:
            such = "such steps" if _of_its_kind(request) else "steps elsewhere"
            return f"{policy.quantile_percent} of 100 {such} stay below it, by what they have cost"
        case _:
            return "such steps have cost that" if _of_its_kind(request) else "steps elsewhere have cost that"


def _of_its_kind(request: CallRequest) -> bool:
    """Whether steps of this very client and model have taught it; else others have."""
    return request.expected is not None and request.expected.reconciled >= LEARNED_AT


def _is_anew(expected: Expectation, request: CallRequest) -> bool:
    """Whether reading the conversation at its uncached price decides what is reserved."""
    return -(-expected.anew_nanos * request.billed_micros // MILLION) == request.estimate_nanos
