"""The nouns: session, budget, call, request, decision. Values only; amounts in nano-units, times in microseconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Any, Literal, TypeAlias

from tallygate.core import money, words
from tallygate.core.costing import Price, Tokens
from tallygate.core.learning.calibration import Expectation
from tallygate.core.moments import iso
from tallygate.core.plan import PlanStanding
from tallygate.core.values import value

DEFAULT_TENANT = "default"
# An amount in the unit of its budget: nano-units of a currency, whole tokens, or calls. What is named `nanos` is money.
Quantity: TypeAlias = int


@value(frozen=True, slots=True)
class ModeCoverage:
    """Which call modes of a session can bring actual usage."""

    ask: bool = field(metadata={"column": "ask_capable"})
    plan: bool = field(metadata={"column": "plan_capable"})
    agent: bool = field(metadata={"column": "agent_capable"})

    def covers(self, mode: words.CallMode | None) -> bool | None:
        """Whether calls of this mode can be exact; None where the call names no mode."""
        if mode is None:
            return None
        return {words.CallMode.ASK: self.ask, words.CallMode.PLAN: self.plan, words.CallMode.AGENT: self.agent}[mode]

    @staticmethod
    def default(accounting: words.AccountingMode, channel: words.UsageChannel) -> ModeCoverage:
        """Coverage a channel gives when the caller says nothing; estimate_only covers nothing."""
        if accounting is words.AccountingMode.ESTIMATE_ONLY:
            return ModeCoverage(ask=False, plan=False, agent=False)
        if channel is words.UsageChannel.HOSTED_EDGE:
            return ModeCoverage(ask=True, plan=True, agent=True)
        if channel is words.UsageChannel.SELF_HOSTED_RELAY:
            return ModeCoverage(ask=True, plan=True, agent=False)
        return ModeCoverage(ask=False, plan=False, agent=False)


@value(frozen=True, slots=True)
class Session:
    """One budgeted piece of work; `opened_from` is the tenant it was opened from where it is not that of its rows.

    `also_client` is what its client is called beside `client`, where an agent said another name than the connected one.
    """

    tenant: str
    session_id: str
    client: str
    model: str
    state: words.SessionState
    accounting_mode: words.AccountingMode
    usage_channel: words.UsageChannel
    coverage: ModeCoverage
    unknown_price: words.UnknownPrice
    currency: str
    started_us: int
    ended_us: int | None = None
    end_cause: str | None = None
    parent_session_id: str | None = None
    task_summary: str | None = None
    end_summary: str | None = None
    project: str | None = None
    run_log: str | None = None
    server_id: str | None = None
    usd_nanos: int = money.NANOS_PER_UNIT
    rate_day: str | None = None
    rules: str | None = None
    warned_us: int | None = None
    opened_from: str | None = None
    prices: str | None = None
    also_client: str | None = None

    @property
    def clients(self) -> tuple[str, ...]:
        """All that its client is called: limits of each bind it."""
        return (self.client,) if self.also_client is None else (self.client, self.also_client)

    @property
    def is_open(self) -> bool:
        return self.state is words.SessionState.OPEN


@value(frozen=True, slots=True)
class Budget:
    """A limit on a scope for one window, with the counters it is decided on.

    `limit` is what may be used, `spent` what was, `reserved` what pending calls hold.
    `overage` is how far named events (a cost above its reservation, a lowered limit) took it over. All are in
    the budget's own unit: nano-units of a currency, of which one unit is `usd_nanos` nano-dollars, or whole tokens
    or calls. `rule_limit` is the limit of its rule when it was last applied, or that its session was opened with.
    `carried` is what the other pieces of a rolling period hold; it is found anew each time. A window begins at
    `start_us` and counts all that is on record from then until `resets_us`: `seed` of what it has spent was on
    record before it was. Of a rolling period the budget named `head` stands for all pieces, with its `raises`: what
    the user has added, and until when. `also` are names that the user has given to what it limits. A window of an
    older version without `start_us` counts what its calls held.
    """

    tenant: str
    budget_id: str
    scope: str
    scope_key: str
    unit: str
    mode: words.BudgetMode
    limit: Quantity = field(metadata={"column": "limit_nanos"})
    spent: Quantity = field(default=0, metadata={"column": "spent_nanos"})
    reserved: Quantity = field(default=0, metadata={"column": "reserved_nanos"})
    overage: Quantity = field(default=0, metadata={"column": "overage_nanos"})
    period: str = "session"
    resets_us: int | None = None
    touched_us: int = 0
    usd_nanos: int = money.NANOS_PER_UNIT
    rate_day: str | None = None
    rule_limit: Quantity | None = None
    start_us: int | None = None
    seed: Quantity | None = field(default=None, metadata={"column": "seed_nanos"})
    raises: tuple[tuple[int, int], ...] = ()
    also: tuple[str, ...] = ()
    head: str | None = field(default=None, metadata={"column": None})
    carried: Quantity = field(default=0, metadata={"column": None})

    @property
    def name(self) -> str:
        """The id by which people know the budget: of a rolling period all pieces have one."""
        return self.budget_id if self.head is None else self.head

    @property
    def available(self) -> Quantity:
        return self.limit - self.carried - self.spent - self.reserved

    @property
    def committed(self) -> Quantity:
        """Spent and reserved: what pressure is measured on, since a reservation may all be used."""
        return self.carried + self.spent + self.reserved


@value(frozen=True, slots=True)
class Actor:
    """Who in the client asked: the main agent or a subagent."""

    type: words.ActorType = words.ActorType.PARENT_AGENT
    id: str | None = None
    name: str | None = None


@value(frozen=True, slots=True)
class CallRequest:
    """One step an agent asks about, priced before the decision.

    `price` is the price of `model`, or the assumed price where it is unknown. `estimate_nanos` is what will
    be reserved (after calibration), `raw_estimate_nanos` the agent's own number priced. `actual` is usage
    that already happened, with `actual_nanos` its cost; it is recorded whatever the decision. It `counts` unless the
    client's own record tells of it, too. `expected` is what was learned of such steps, and `billed_micros` what bills
    have shown beyond that.
    """

    session_id: str
    tool_name: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    price: Price
    raw_estimate_nanos: int
    estimate_nanos: int
    factor_micros: int = 1_000_000
    factor_source: str = "none"
    actor: Actor = field(default_factory=Actor)
    parent_call_id: str | None = None
    call_mode: words.CallMode | None = None
    actual: Tokens | None = None
    actual_nanos: int | None = None
    client_key: str | None = None
    counts: bool = True
    expected: Expectation | None = None
    billed_micros: int = 1_000_000

    @property
    def needed_tokens(self) -> int:
        """The tokens the decision is taken on."""
        return self.prompt_tokens + self.completion_tokens if self.actual is None else self.actual.total


@value(frozen=True, slots=True)
class RerouteTarget:
    """A model for which switching helps, with its price."""

    model: str
    price: Price
    saves_nanos: int = 0


@value(frozen=True, slots=True)
class Policy:
    """What the user lets the gate do."""

    reroute_at_percent: int = 80
    warn_at_percent: int = 80
    pressure_percents: tuple[int, int, int] = (50, 80, 95)
    reservation_ttl_us: int = 600_000_000
    expire_as: words.ExpireAs = words.ExpireAs.ESTIMATE
    calibration: words.CalibrationMode = words.CalibrationMode.ENFORCE
    quantile_percent: int = 80


@value(frozen=True, slots=True)
class GateView:
    """What the gate looks at: the session, every budget that applies, and what the rules need to know.

    `is_off` says that the user has switched the gate off. `plan` is how the limits on its client's plan stand.
    """

    session: Session
    budgets: tuple[Budget, ...]
    has_open_exactness: bool = False
    local_target: RerouteTarget | None = None
    is_off: bool = False
    plan: tuple[PlanStanding, ...] = ()


@value(frozen=True, slots=True)
class Decision:
    """The gate's answer; `decided_by` is the budget that refused or presses most, `plan` the limit on a plan."""

    action: words.Action
    reason: words.Reason
    decided_by: Budget | None = None
    wants_target: bool = False
    target: RerouteTarget | None = None
    plan: PlanStanding | None = None


@value(frozen=True, slots=True)
class Hold:
    """What one call holds of one budget while it is pending, and what of its cost stands there; in its unit."""

    budget_id: str
    held: Quantity
    booked: Quantity = 0


# What the key of a call begins with that a hook asked for: it stands for one model call and is over with its response.
HOOK_KEY = "hook:"
# Why a model call is voided of which nothing was written down.
NO_RESPONSE = "no response was written down"
CostBasis = Literal["actual", "transcript", "estimate", "none"]


@value(frozen=True, slots=True)
class Call:
    """One authorised (or refused) step as the ledger keeps it.

    `booked_nanos` is what of it stands in `spent` of its budgets; `cost_basis` says what that number is. What it was
    expected to cost: `cold_nanos` from its estimate, `level_nanos` from its session's last steps, `expected_nanos` from
    both. `observed_nanos` is what its responses cost so far, where the client's own record is read. `asked_by` is who
    asked and `folder` where that stood, where they are not the session's client and project.
    """

    tenant: str
    call_id: str
    session_id: str
    state: words.CallState
    action: words.Action
    reason: words.Reason
    tool_name: str
    model_requested: str
    prompt_tokens: int
    completion_tokens: int
    raw_estimate_nanos: int
    estimate_nanos: int
    factor_micros: int
    actor_type: words.ActorType
    at_us: int
    expires_us: int | None = None
    resolved_us: int | None = None
    booked_nanos: int = 0
    cost_basis: CostBasis = "none"
    model_target: str | None = None
    model_used: str | None = None
    actual: Tokens | None = None
    price_id: str | None = None
    actual_price_id: str | None = None
    actor_id: str | None = None
    actor_name: str | None = None
    parent_call_id: str | None = None
    call_mode: words.CallMode | None = None
    mode_capable: bool | None = None
    client_key: str | None = None
    reply: str | None = None
    void_reason: str | None = None
    correlation: str | None = None
    holds: tuple[Hold, ...] = ()
    cold_nanos: int | None = None
    level_nanos: int | None = None
    expected_nanos: int | None = None
    observed_nanos: int | None = None
    asked_by: str | None = None
    folder: str | None = None

    @property
    def has_actual(self) -> bool:
        return self.cost_basis in ("actual", "transcript")

    @property
    def is_model_call(self) -> bool:
        """Whether the call is one model call that a hook asked for, not a step of an agent with any number of them."""
        return self.client_key is not None and self.client_key.startswith(HOOK_KEY)

    @property
    def is_unanswered(self) -> bool:
        """Whether the call is a model call that was let through and got no response that anybody has written down."""
        return self.is_model_call and self.state is words.CallState.VOIDED and self.void_reason == NO_RESPONSE

    @property
    def counted_nanos(self) -> int:
        """What the call counts for in totals: its booked cost, or its reservation while pending."""
        return self.estimate_nanos if self.state is words.CallState.PENDING else self.booked_nanos


# --- amounts ---------------------------------------------------------------------------------------------------------
# What a call or a response weighs in each kind of budget: money, tokens, or the number of calls.


@value(frozen=True, slots=True)
class Amount:
    """One call or response in every measure that a budget may have."""

    usd_nanos: int
    tokens: int = 0
    calls: int = 0

    def of(self, budget: Budget) -> int:
        """What this takes of a budget, in the budget's own unit; money is converted at the budget's own rate."""
        if budget.unit not in money.COUNTED and budget.usd_nanos == money.NANOS_PER_UNIT:
            return self.usd_nanos
        return self.measured(budget.unit, budget.usd_nanos)

    def measured(self, unit: str, usd_per_unit_nanos: int = money.NANOS_PER_UNIT) -> int:
        """This in a unit: whole tokens or calls, or nano-units of a currency."""
        if unit == money.TOKENS:
            return self.tokens
        if unit == money.CALLS:
            return self.calls
        return money.to_unit_nanos(self.usd_nanos, usd_per_unit_nanos)


NOTHING = Amount(0)


def needed(request: CallRequest) -> Amount:
    """What a request asks of every budget; a question that needs nothing asks whether anything may still be done."""
    if not request.counts:
        return NOTHING
    # The actual cost where usage already happened, else the estimate.
    nanos = request.estimate_nanos if request.actual_nanos is None else request.actual_nanos
    tokens = request.needed_tokens
    return Amount(nanos, tokens, 0 if nanos == tokens == 0 else 1)


def in_usd(amount: int, budget: Budget) -> int:
    """An amount of a budget of money in nano-dollars, rounded down; 0 for tokens and calls, which have no price."""
    return 0 if budget.unit in money.COUNTED else amount * budget.usd_nanos // money.NANOS_PER_UNIT


def unit_exact(amount: int, unit: str) -> str:
    """An amount of a budget as exact text, for files that are read again."""
    return str(amount) if unit in money.WHOLE else money.exact_text(amount)


def budget_stated(budget: Budget) -> dict[str, str]:
    """How a budget stands, as run-log lines and statements say it, each behind an id of its own name."""
    return {
        "scope": budget.scope,
        "period": budget.period,
        "currency": budget.unit,
        "mode": budget.mode.value,
        "limit": unit_exact(budget.limit, budget.unit),
        "spent": unit_exact(budget.spent + budget.carried, budget.unit),
        "reserved": unit_exact(budget.reserved, budget.unit),
        "overage": unit_exact(budget.overage, budget.unit),
    }


def unit_number(amount: int, unit: str) -> Any:
    """An amount of a budget as the number a reply carries."""
    return amount if unit in money.COUNTED else money.json_number(amount)


@value(frozen=True, slots=True)
class Currency:
    """A currency that somebody speaks of amounts in; `basis` says its rate and day, where answers should name them."""

    unit: str = "USD"
    usd_nanos: int = money.NANOS_PER_UNIT
    basis: str | None = None

    def of_usd(self, nanos: int) -> int:
        """Nano-dollars in this currency, upwards."""
        return money.to_unit_nanos(nanos, self.usd_nanos)

    def of(self, amount: int, budget: Budget) -> int:
        """An amount of a budget in this currency; 0 for tokens and calls, which have no price."""
        return amount if self._is_of(budget) else self.of_usd(in_usd(amount, budget))

    def needed_of(self, amount: int, budget: Budget) -> int:
        """What an amount of this currency takes of a budget; nothing of tokens and calls."""
        if budget.unit in money.COUNTED:
            return 0
        if self._is_of(budget):
            return amount
        return money.to_unit_nanos(money.to_usd_nanos(amount, self.usd_nanos), budget.usd_nanos)

    def _is_of(self, budget: Budget) -> bool:
        return (budget.unit, budget.usd_nanos) == (self.unit, self.usd_nanos)


# --- limit changes ---------------------------------------------------------------------------------------------------
# A change of a limit, as it is told wherever the limit is shown.


NO_REASON = "no reason given"
# How many of one budget's changes are shown: the last ones.
SHOWN_MAX = 20


# What limits of the user's settings file go by where changes of limits are kept.
OF_SETTINGS = "settings:"


def of_settings(name: str) -> str:
    """What a limit of the user's settings goes by among changes of limits, by its name there."""
    return f"{OF_SETTINGS}{name}"


@value(frozen=True, slots=True)
class LimitChange:
    """One change of one limit: by which door, by whom, why, and in which session it was made.

    Of a limit in the user's settings the budget's id is `of_settings(NAME)`.
    """

    budget_id: str
    at_us: int
    unit: str
    before: Quantity = field(metadata={"column": "before_nanos"})
    limit: Quantity = field(metadata={"column": "limit_nanos"})
    door: str
    actor: str
    reason: str
    inside: str | None = None
    beneath: str | None = None

    @property
    def is_new(self) -> bool:
        """Whether a limit was added to the user's settings, where none is 0."""
        return self.before == 0 and self.budget_id.startswith(OF_SETTINGS)

    @property
    def is_raise(self) -> bool:
        return self.limit > self.before and not self.is_new

    def told(self, when: str) -> str:
        """The change in words.

        >>> change = LimitChange("b", 0, "USD", 610_000_000, 100_610_000_000, "cli", "anna", NO_REASON, "session_x")
        >>> change.told("11-30 02:24")
        'raised from $0.61 to $100.61 on 11-30 02:24 by cli (anna), inside session session_x, no reason given'
        """
        before, after = (money.format_amount(amount, self.unit) for amount in (self.before, self.limit))
        verb = "raised" if self.is_raise else "lowered" if self.limit < self.before else "set"
        how = f"added at {after}" if self.is_new else f"{verb} from {before} to {after}"
        parts = [f"{how} on {when} by {self.door} ({self.actor})"]
        if self.inside is not None:
            parts.append(f"inside session {self.inside}")
        elif self.beneath is not None:
            parts.append(f"beneath {self.beneath}")
        parts.append(self.reason if self.reason == NO_REASON else f"reason: {self.reason}")
        return ", ".join(parts)

    def stated(self) -> dict[str, object]:
        """The change for programs."""
        return {
            "budget_id": self.budget_id,
            "at": iso(self.at_us),
            "before": None if self.is_new else unit_exact(self.before, self.unit),
            "limit": unit_exact(self.limit, self.unit),
            "door": self.door,
            "actor": self.actor,
            "reason": self.reason,
            "inside": self.inside,
            "beneath": self.beneath,
        }


def last_raise_us(changes: Iterable[LimitChange]) -> int:
    """When a limit was raised last; -1 where none was."""
    return max((change.at_us for change in changes if change.is_raise), default=-1)
