"""The policy of the gate as a table; amounts in whole units, since only their order matters."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.costing import Price, Rates
from tallygate.core.gate import policy
from tallygate.core.model import Budget, CallRequest, GateView, ModeCoverage, Policy, RerouteTarget, Session
from tallygate.core.words import (
    AccountingMode,
    BudgetMode,
    Pressure,
    SessionState,
    UnknownPrice,
    UsageChannel,
)

RATES = Rates(1, 1, 1, 1, 1)
KNOWN = Price("m", RATES, "override", "1")
UNKNOWN = Price("m", RATES, "assumed", "1", known=False)
LOCAL = RerouteTarget("ollama/x", Price("ollama/x", Rates(0, 0, 0, 0, 0), "local", ""))


def session(state=SessionState.OPEN, unknown=UnknownPrice.WARN_ONLY):
    return Session(
        tenant="t",
        session_id="s",
        client="c",
        model="m",
        state=state,
        accounting_mode=AccountingMode.ESTIMATE_ONLY,
        usage_channel=UsageChannel.NONE,
        coverage=ModeCoverage(ask=False, plan=False, agent=False),
        unknown_price=unknown,
        currency="USD",
        started_us=0,
    )


def budget(limit=100, spent=0, reserved=0, mode=BudgetMode.HARD, name="b"):
    return Budget("t", name, "session", "s", "USD", mode, limit, spent, reserved, max(0, spent + reserved - limit))


def request(estimate=1, price=KNOWN, actual=None):
    return CallRequest(
        session_id="s",
        tool_name="edit",
        model="m",
        prompt_tokens=0,
        completion_tokens=0,
        price=price,
        raw_estimate_nanos=estimate,
        estimate_nanos=estimate,
        actual_nanos=actual,
    )


# limit spent reserved | estimate | action reason
BUDGET_RULES = [
    (100, 0, 0, 100, "allow", "allow"),
    (100, 0, 0, 101, "halt", "budget_pressure:halt"),
    (100, 60, 0, 40, "allow", "allow"),
    (100, 60, 0, 41, "halt", "budget_pressure:halt"),
    (100, 0, 60, 41, "halt", "budget_pressure:halt"),
    (100, 79, 0, 21, "allow", "allow"),
    (100, 80, 0, 20, "reroute", "warn:budget_pressure"),
    (100, 40, 40, 1, "reroute", "warn:budget_pressure"),
    (100, 80, 0, 21, "halt", "budget_pressure:halt"),
    (100, 100, 0, 0, "reroute", "warn:budget_pressure"),
    (100, 100, 0, 1, "halt", "budget_pressure:halt"),
    (100, 130, 0, 1, "halt", "budget_pressure:halt"),
    (100, 130, 0, 0, "halt", "budget_pressure:halt"),
]


@pytest.mark.parametrize(("limit", "spent", "reserved", "estimate", "action", "reason"), BUDGET_RULES)
def test_a_hard_budget_admits_what_fits_and_nothing_more(limit, spent, reserved, estimate, action, reason):
    view = GateView(session(), (budget(limit, spent, reserved),))
    decision = policy.decide(view, request(estimate), Policy())
    assert (decision.action, decision.reason) == (action, reason)


# state unknown-mode price local | action reason
PRICE_RULES = [
    ("ended", "warn_only", KNOWN, None, "halt", "session_ended"),
    ("ended", "halt_on_unknown_pricing", UNKNOWN, None, "halt", "session_ended"),
    ("open", "halt_on_unknown_pricing", UNKNOWN, LOCAL, "halt", "unknown_model_pricing:halt"),
    ("open", "halt_on_unknown_pricing", KNOWN, None, "allow", "allow"),
    ("open", "reroute_required", UNKNOWN, LOCAL, "reroute", "unknown_model_pricing:reroute_required"),
    ("open", "reroute_required", UNKNOWN, None, "halt", "unknown_model_pricing:no_local_model"),
    ("open", "reroute_required", KNOWN, None, "allow", "allow"),
    ("open", "warn_only", UNKNOWN, None, "allow", "allow"),
]


@pytest.mark.parametrize(("state", "unknown", "price", "local", "action", "reason"), PRICE_RULES)
def test_what_an_unknown_price_does_is_the_session_s_choice(state, unknown, price, local, action, reason):
    view = GateView(session(SessionState(state), UnknownPrice(unknown)), (budget(),), local_target=local)
    decision = policy.decide(view, request(price=price), Policy())
    assert (decision.action, decision.reason) == (action, reason)


def test_the_tightest_of_several_hard_budgets_binds():
    wide, tight = budget(100, name="wide"), budget(10, name="tight")
    decision = policy.decide(GateView(session(), (wide, tight)), request(11), Policy())
    assert decision.decided_by == tight


def test_of_budgets_in_several_units_the_tightest_is_told_in_dollars_and_money_comes_before_what_is_counted():
    dollars = budget(limit=110, name="dollars")
    pounds = replace(budget(limit=100, name="pounds"), unit="GBP", usd_nanos=1_250_000_000)
    calls = [replace(budget(limit=10, spent=spent, name=f"calls {spent}"), unit="calls") for spent in (9, 10)]
    assert policy.tightest((pounds, *calls, dollars)) is dollars
    assert policy.tightest((*calls,)) is calls[1]


def test_a_soft_budget_says_so_and_lets_the_call_through():
    view = GateView(session(), (budget(10, mode=BudgetMode.SOFT), budget(100, name="hard")))
    decision = policy.decide(view, request(11), Policy())
    assert (decision.action, decision.reason) == ("allow", "warn:soft_budget_exceeded")


def test_missing_usage_stops_a_session_that_requires_it():
    decision = policy.decide(GateView(session(), (budget(),), has_open_exactness=True), request(), Policy())
    assert (decision.action, decision.reason) == ("halt", "exactness_required")


def test_usage_that_already_happened_is_what_the_decision_is_taken_on():
    decision = policy.decide(GateView(session(), (budget(100),)), request(1, actual=101), Policy())
    assert decision.action == "halt"


@pytest.mark.parametrize(
    ("used", "band"),
    [(0, "low"), (49, "low"), (50, "moderate"), (79, "moderate"), (80, "high"), (94, "high"), (95, "critical")],
)
def test_pressure_comes_in_four_bands(used, band):
    assert policy.pressure(budget(100, used)) == Pressure(band)
    assert policy.pressure(budget(100, 0, used)) == Pressure(band)


@given(
    limits=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1500), st.integers(0, 500)), min_size=1, max_size=5),
    estimate=st.integers(0, 1000),
)
def test_no_random_set_of_hard_budgets_is_ever_passed(limits, estimate):
    budgets = tuple(budget(limit, spent, reserved, name=str(i)) for i, (limit, spent, reserved) in enumerate(limits))
    decision = policy.decide(GateView(session(), budgets), request(estimate), Policy())
    fits = all(b.spent + b.reserved + estimate <= b.limit for b in budgets)
    assert (decision.action == "halt") == (not fits)
