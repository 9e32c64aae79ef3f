"""What lies ahead of a step: how probably it passes its limit, how many more of its kind are left."""

from __future__ import annotations

from tallygate.core.amounts import in_usd
from tallygate.core.calibration import LEARNED_AT, MILLION, Expectation, Source
from tallygate.core.model import Budget, CallRequest, Policy
from tallygate.core.money import COUNTED, format_amount
from tallygate.core.values import value
from tallygate.core.words import CalibrationMode

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
    if expected is None or request.actual is not None:
        return Prospect()
    billed = request.billed_micros
    steps = None
    if expected.level_nanos is not None and after is not None and after.unit not in COUNTED:
        steps = max(in_usd(after.available_nanos, after), 0) * MILLION // (expected.level_nanos * billed)
    if expected.source is Source.NONE or before is None or before.unit in COUNTED:
        return Prospect(remaining_steps=steps)
    left = max(in_usd(before.available_nanos, before), 0)
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
