"""Everything that decides on a step, read from top to bottom: the gate, a look before a step, a better target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tallygate.core.costing import Price, Tokens
from tallygate.core.errors import ensure
from tallygate.core.learning.calibration import MILLION
from tallygate.core.model import (
    Budget,
    CallRequest,
    Decision,
    GateView,
    Policy,
    RerouteTarget,
    Session,
    in_usd,
    needed,
)
from tallygate.core.money import COUNTED
from tallygate.core.plan import PlanStanding
from tallygate.core.values import value
from tallygate.core.words import Action, BudgetMode, CheckReason, Pressure, Reason, SpendStatus, UnknownPrice

# --- gate ------------------------------------------------------------------------------------------------------------
# The policy of the gate, to be read from top to bottom. A refusal is a value, never an exception.


_BANDS = (Pressure.LOW, Pressure.MODERATE, Pressure.HIGH)
_BEGIN_PERCENTS = (50, 80, 95)


def decide(view: GateView, request: CallRequest, policy: Policy) -> Decision:
    """Answer one request. The first rule that applies wins."""
    session = view.session
    if not session.is_open:
        return Decision(Action.HALT, Reason.SESSION_ENDED, decided_by=tightest(view.budgets))

    if view.is_off:
        return Decision(Action.ALLOW, Reason.GATE_OFF, decided_by=tightest(view.budgets))

    if not request.price.known:
        if session.unknown_price is UnknownPrice.HALT:
            return Decision(Action.HALT, Reason.PRICE_UNKNOWN, decided_by=tightest(view.budgets))
        if session.unknown_price is UnknownPrice.REROUTE_REQUIRED:
            return _reroute_to_local(view)

    asked = needed(request)
    refusing = [b for b in view.budgets if not admits(b, asked.of(b))]
    hard = [b for b in refusing if b.mode is BudgetMode.HARD]
    if hard:
        return Decision(Action.HALT, Reason.BUDGET_EXCEEDED, decided_by=tightest(hard))

    if (stopping := stopped_by_plan(view)) is not None:
        reason = Reason.PLAN_REACHED if stopping.is_reached else Reason.PLAN_UNKNOWN
        return Decision(Action.HALT, reason, plan=stopping)

    if view.has_open_exactness:
        return Decision(Action.HALT, Reason.EXACTNESS_REQUIRED, decided_by=tightest(view.budgets))

    # From here on the call may be made, and its reservation fits every hard budget.
    pressing = most_used(view.budgets)
    if pressing is not None and used_percent_at_least(pressing, policy.reroute_at_percent):
        return Decision(Action.REROUTE, Reason.BUDGET_PRESSURE, decided_by=pressing, wants_target=True)
    if refusing:
        return Decision(Action.ALLOW, Reason.SOFT_BUDGET_EXCEEDED, decided_by=tightest(refusing))
    if (warning := plan_warning(view)) is not None:
        reason = Reason.PLAN_PRESSURE if warning.is_reached else Reason.PLAN_UNSURE
        return Decision(Action.ALLOW, reason, decided_by=tightest(view.budgets), plan=warning)
    return Decision(Action.ALLOW, Reason.ALLOW, decided_by=tightest(view.budgets))


def _reroute_to_local(view: GateView) -> Decision:
    """Only a model that costs nothing may stand in for one whose price nobody knows."""
    if view.local_target is None:
        return Decision(Action.HALT, Reason.NO_LOCAL_MODEL, decided_by=tightest(view.budgets))
    return Decision(
        Action.REROUTE,
        Reason.PRICE_UNKNOWN_REROUTE,
        decided_by=tightest(view.budgets),
        target=view.local_target,
    )


def stopped_by_plan(view: GateView) -> PlanStanding | None:
    """The limit on a plan that stops: one that is reached before one of which nothing is known."""
    return next(iter(sorted((each for each in view.plan if each.stops), key=lambda each: not each.is_reached)), None)


def plan_warning(view: GateView) -> PlanStanding | None:
    """The limit on a plan of which something is to be said, a reached one first."""
    return next(iter(sorted((each for each in view.plan if each.warns), key=lambda each: not each.is_reached)), None)


def admits(budget: Budget, amount: int) -> bool:
    """Whether a budget still carries an amount of its unit; filling it exactly is allowed."""
    return amount <= budget.available


# Fewer first steps than that are no evidence of what the next one costs.
FEW_FIRSTS = 3


def begun(request: CallRequest, budgets: Sequence[Budget]) -> CallRequest:
    """A session's first step, asked for by a hook, as it counts where nothing was taken yet of what it draws on.

    What is only learned does not stop it in its session's own budget, nor in another while hardly any first step is
    known: a refused step teaches nothing, so that such a stop would never end. It counts as all there is.
    """
    expected = request.expected
    if expected is None or expected.firsts is None or request.factor_source not in ("learned", "session"):
        return request
    few = expected.firsts < FEW_FIRSTS
    whole = [
        in_usd(b.limit, b)
        for b in budgets
        if b.committed == 0 and b.unit not in COUNTED and (few or b.budget_id == request.session_id)
    ]
    stated = -(-request.raw_estimate_nanos * request.billed_micros // MILLION)
    nanos = max(min(whole, default=request.estimate_nanos), stated)
    if nanos >= request.estimate_nanos:
        return request
    factor = max(-(-nanos * MILLION // request.raw_estimate_nanos), 1)
    return replace(request, estimate_nanos=nanos, factor_micros=factor)


def tightest(budgets: tuple[Budget, ...] | list[Budget]) -> Budget | None:
    """The budget with the least left: the one that decides, and the one a reply names.

    Budgets of money are compared in dollars. One of tokens or calls can only be told by how full it is, and is named
    where no budget of money is.
    """
    if len(budgets) == 1:
        return budgets[0]  # mostly: nothing has to be compared
    money = [(b.available * b.usd_nanos, b.budget_id, b) for b in budgets if b.unit not in COUNTED]
    if money:
        return min(money, key=lambda each: each[:2])[2]
    return min(budgets, key=lambda b: (b.available * 10**6 // max(b.limit, 1), b.budget_id), default=None)


def most_used(budgets: tuple[Budget, ...]) -> Budget | None:
    """The budget that is fullest relative to its limit."""
    if len(budgets) == 1:
        return budgets[0]
    return max(
        budgets,
        key=lambda b: (b.committed * 10**6 // b.limit if b.limit else 10**7, b.budget_id),
        default=None,
    )


def used_percent_at_least(budget: Budget, percent: int) -> bool:
    """Whether spent and reserved have reached a share of the limit, without rounding."""
    return budget.committed * 100 >= budget.limit * percent


def pressure(budget: Budget | None, percents: tuple[int, int, int] = _BEGIN_PERCENTS) -> Pressure:
    """The band of a budget: low < 50 %, moderate < 80 %, high < 95 %, else critical, or as the user set them."""
    if budget is None:
        return Pressure.LOW
    used = budget.committed * 100
    for percent, band in zip(percents, _BANDS, strict=True):
        if used < budget.limit * percent:
            return band
    return Pressure.CRITICAL


# --- spending --------------------------------------------------------------------------------------------------------
# What a look at a session's budgets finds, before the next step and after one: rules to be read top to bottom.


@value(frozen=True, slots=True)
class BudgetVerdict:
    """Whether the next step may be made, why, and the budget, or the limit on a plan, that says so."""

    allowed: bool
    reason: CheckReason
    decided_by: Budget | None
    plan: PlanStanding | None = None


def judge(view: GateView, needed: Callable[[Budget], int]) -> BudgetVerdict:
    """Whether the next step may be made; `needed` says what it takes of a budget. The first rule that applies wins.

    A budget with nothing left stops, also a step that is said to need nothing. A soft budget only says so.
    """
    if not view.session.is_open:
        return BudgetVerdict(False, CheckReason.SESSION_ENDED, tightest(view.budgets))

    if view.is_off:
        return BudgetVerdict(True, CheckReason.GATE_OFF, tightest(view.budgets))

    # Hard budgets first and all of them: a soft one that is fuller must not hide that a hard one stops the step.
    hard = [b for b in view.budgets if b.mode is BudgetMode.HARD]
    soft = [b for b in view.budgets if b.mode is BudgetMode.SOFT]
    if spent := exhausted(hard):
        return BudgetVerdict(False, CheckReason.BUDGET_EXHAUSTED, tightest(spent))
    if over := [b for b in hard if needed(b) > b.available]:
        return BudgetVerdict(False, CheckReason.ESTIMATED_OVERAGE, tightest(over))
    if (stopping := stopped_by_plan(view)) is not None:
        reason = CheckReason.PLAN_REACHED if stopping.is_reached else CheckReason.PLAN_UNKNOWN
        return BudgetVerdict(False, reason, None, stopping)
    if view.has_open_exactness:
        return BudgetVerdict(False, CheckReason.EXACTNESS_REQUIRED, tightest(view.budgets))

    if spent := exhausted(soft):
        return BudgetVerdict(True, CheckReason.BUDGET_EXHAUSTED, tightest(spent))
    if over := [b for b in soft if needed(b) > b.available]:
        return BudgetVerdict(True, CheckReason.ESTIMATED_OVERAGE, tightest(over))
    return BudgetVerdict(True, CheckReason.WITHIN_BUDGET, tightest(view.budgets))


def exhausted(budgets: Sequence[Budget]) -> list[Budget]:
    """The budgets that have nothing left."""
    return [b for b in budgets if b.available <= 0]


def status_of(budgets: tuple[Budget, ...], warn_at_percent: int) -> SpendStatus:
    """How a session stands: a hard budget has nothing left, most of some budget is used, or neither."""
    deciding = [b for b in budgets if b.mode is BudgetMode.HARD] or budgets
    if exhausted(deciding):
        return SpendStatus.EXHAUSTED
    fullest = most_used(budgets)
    if fullest is not None and used_percent_at_least(fullest, warn_at_percent):
        return SpendStatus.WARNING
    return SpendStatus.OK


# --- reroute ---------------------------------------------------------------------------------------------------------
# Which cheaper model is worth switching to, given that a prompt cache belongs to one model.


@value(frozen=True, slots=True)
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
        # Another name of the same price is no cheaper, and its cache is another one.
        if candidate.model == current.model or candidate.price.key == current.price.key:
            continue
        first = candidate.price.cost_nanos(fresh)
        later = _cached(candidate.price, context_tokens, output_tokens)
        # The first step elsewhere reads everything anew: who cannot pay that one has nothing of the cheaper ones after
        # it.
        if first > left_nanos or later >= stay:
            continue
        begins_at = stay if warm else current.price.cost_nanos(fresh)
        # As many steps as what is left carries; where later ones cost nothing, more than anybody makes.
        carried = 1 + (left_nanos - first) // later if later else 10**9
        if steps_needed(first, begins_at, stay, later) > carried:
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


def _cached(price: Price, context_tokens: int, output_tokens: int) -> int:
    return price.cost_nanos(Tokens(cache_read=context_tokens, output=output_tokens))


def own_budget(session: Session, budgets: tuple[Budget, ...]) -> Budget:
    """The budget a session was opened with, among all that apply to it."""
    for budget in budgets:
        if budget.budget_id == session.session_id:
            return budget
    ensure(bool(budgets), f"session {session.session_id} has no budget")
    return budgets[0]
