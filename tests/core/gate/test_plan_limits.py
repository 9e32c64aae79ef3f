"""Limits on a client's plan: a condition that stops, warns or is unknown, and never takes the place of a budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.gate.test_policy import budget, request, session

from tallygate.core.gate import policy
from tallygate.core.gate.wording import plan_stops, plan_told
from tallygate.core.model import GateView, Policy
from tallygate.core.plan import (
    MINUTE_US,
    PlanRule,
    PlanSource,
    PlanUnknown,
    PlanWindow,
    standing_of,
)
from tallygate.core.words import BudgetMode, CheckReason

AT = 1_790_000_000_000_000
RULE = PlanRule(300, 90)
HALT = replace(RULE, unknown=PlanUnknown.HALT)
SOFT = replace(RULE, mode=BudgetMode.SOFT)


def told(used, *, ago=1, resets=60, limit="codex", minutes=300):
    resets_us = None if resets is None else AT + resets * MINUTE_US
    return PlanWindow("codex", limit, minutes, used, AT - ago * MINUTE_US, resets_us, PlanSource.TRANSCRIPT)


def view(rule, *windows, **more):
    return GateView(session(), (budget(),), plan=(standing_of(rule, "codex", windows, AT),), **more)


# rule, what was told, what is answered
CASES = [
    (RULE, [told(8999)], "allow", "allow"),
    (RULE, [told(9000)], "halt", "plan_window:halt"),
    (RULE, [told(10_000)], "halt", "plan_window:halt"),
    (replace(RULE, at_percent=100), [told(9999)], "allow", "allow"),
    (RULE, [told(9900, resets=0)], "allow", "warn:plan_unknown"),
    (RULE, [told(9900, resets=None)], "halt", "plan_window:halt"),
    (RULE, [told(9900, ago=300, resets=None)], "allow", "warn:plan_unknown"),
    (RULE, [told(9900, minutes=10_080)], "allow", "warn:plan_unknown"),
    (RULE, [], "allow", "warn:plan_unknown"),
    (HALT, [], "halt", "plan_unknown:halt"),
    (HALT, [told(10, resets=0)], "halt", "plan_unknown:halt"),
    (HALT, [told(10)], "allow", "allow"),
    (SOFT, [told(9900)], "allow", "warn:plan_window"),
    (replace(HALT, mode=BudgetMode.SOFT), [], "allow", "warn:plan_unknown"),
    (RULE, [told(100), told(9900, limit="other")], "halt", "plan_window:halt"),
    (RULE, [told(100), told(9900, limit="other", resets=-1)], "allow", "allow"),
]


@pytest.mark.parametrize(("rule", "windows", "action", "reason"), CASES)
def test_a_limit_on_a_plan_stops_warns_or_lets_go_on(rule, windows, action, reason):
    decision = policy.decide(view(rule, *windows), request(), Policy())
    assert (decision.action, decision.reason) == (action, reason)


@pytest.mark.parametrize(("rule", "windows", "action", "reason"), CASES)
def test_a_look_before_a_step_finds_the_same(rule, windows, action, reason):
    found = policy.judge(view(rule, *windows), lambda _: 1)
    assert found.allowed == (action != "halt")
    if action == "halt":
        assert found.reason == {"plan_window:halt": CheckReason.PLAN_REACHED}.get(reason, CheckReason.PLAN_UNKNOWN)
    else:
        assert found.reason is CheckReason.WITHIN_BUDGET


def test_a_budget_that_does_not_carry_the_step_comes_before_a_plan_and_a_gate_that_is_off_stops_for_neither():
    full = replace(view(RULE, told(9900)), budgets=(budget(limit=0),))
    assert policy.decide(full, request(), Policy()).reason == "budget_pressure:halt"
    assert policy.decide(replace(full, is_off=True), request(), Policy()).reason == "gate_off"


def test_of_two_limits_the_one_that_is_reached_is_named():
    both = tuple(
        standing_of(rule, "codex", [told(9900, minutes=10_080)], AT) for rule in (HALT, replace(HALT, minutes=10_080))
    )
    decision = policy.decide(replace(view(RULE), plan=both), request(), Policy())
    assert decision.reason == "plan_window:halt"
    assert decision.plan is both[1]


@given(st.integers(0, 12_000), st.integers(1, 100), st.integers(0, 400), st.integers(-60, 60))
def test_nothing_stops_below_its_share_or_by_what_is_no_longer_true(used, at_percent, ago, resets):
    window = told(used, ago=ago, resets=resets)
    standing = standing_of(replace(RULE, at_percent=at_percent), "codex", [window], AT)
    assert standing.stops == (used >= at_percent * 100 and resets > 0 and ago < 300)


@pytest.mark.parametrize(
    ("one", "other", "is_as_tight"),
    [
        (RULE, RULE, True),
        (replace(RULE, at_percent=89), RULE, True),
        (replace(RULE, at_percent=91), RULE, False),
        (SOFT, RULE, False),
        (RULE, SOFT, True),
        (HALT, RULE, True),
        (RULE, HALT, False),
        (replace(RULE, client="codex"), RULE, False),
        (replace(RULE, minutes=10_080), RULE, False),
    ],
)
def test_one_limit_is_as_tight_as_another_where_it_stops_all_that_that_one_stops(one, other, is_as_tight):
    assert one.is_as_tight(other) is is_as_tight


WINDOW = "of the 5h window of the plan of codex is used"
RENEWED = "it began anew at 2026-09-21 14:13 UTC, and nothing was told since."


@pytest.mark.parametrize(
    ("windows", "text"),
    [
        ([told(9350)], f"93 % {WINDOW}; the limit is 90 %. It begins anew at 2026-09-21 15:13 UTC."),
        ([told(9350, resets=None)], f"93 % {WINDOW}; the limit is 90 %."),
        ([], f"Nobody knows how much {WINDOW}: nothing was told of it yet."),
        ([told(9350, resets=0)], f"Nobody knows how much {WINDOW}: {RENEWED}"),
    ],
)
def test_how_a_plan_stands_is_said_in_per_cent_with_its_reset(windows, text):
    standing = standing_of(RULE, "codex", windows, AT)
    assert plan_told(standing, AT, "UTC") == text
    assert "$" not in text
    assert len(plan_stops(standing, AT, "UTC").splitlines()) == 2
