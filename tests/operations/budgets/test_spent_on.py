"""What a halt says a budget was spent on is what that budget counts: all of it, and nothing else."""

from __future__ import annotations

import pytest
from tests.world import MINUTE, NANOS

from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.operations.gate.record import UsageReport, record_usage

DAY = 24 * 60 * MINUTE
PROJECT = "/home/me/shop"
SHARED = [
    BudgetRule(BudgetScope.GLOBAL, NANOS, period="day"),
    BudgetRule(BudgetScope.PROJECT, NANOS, period="day", key=PROJECT),
    BudgetRule(BudgetScope.GLOBAL, NANOS, period="24h"),
]


def shop(world, *rules):
    return world.with_runtime(project=PROJECT, user="me", rules=rules)


def spend(world, session, tokens, **options):
    call = world.ask(session, tokens, **options).call_id
    record_usage(world.rt, UsageReport(call, Tokens(fresh_input=tokens)))


@pytest.mark.parametrize("rule", SHARED, ids=lambda rule: f"{rule.scope}-{rule.period}")
def test_a_shared_budget_names_what_all_sessions_spent_of_it(world, rule):
    world = shop(world, rule)
    spend(world, world.start("9"), 420)
    session = world.start("9")
    spend(world, session, 3000, model="cheap")
    answer = world.ask(session, 500)
    assert answer.binding.budget_id.startswith(rule.scope)
    assert answer.spent_by == (("dear", 420_000_000), ("cheap", 300_000_000))


def test_what_was_spent_before_the_day_is_not_named(world):
    world = shop(world, BudgetRule(BudgetScope.GLOBAL, NANOS, period="day"))
    spend(world, world.start("9"), 420)
    world.clock.forward(DAY)
    session = world.start("9")
    spend(world, session, 3000, model="cheap")
    assert world.ask(session, 900).spent_by == (("cheap", 300_000_000),)


def test_where_a_window_is_long_only_the_session_is_told_and_that_is_said(world):
    world = shop(world, BudgetRule(BudgetScope.GLOBAL, NANOS, period="never"))
    spend(world, world.start("9"), 420)
    session = world.start("9")
    spend(world, session, 300)
    answer = world.ask(session, 500)
    assert answer.spent_by == (("dear", 300_000_000),)


@pytest.mark.parametrize("rule", [None, *SHARED], ids=lambda rule: "own" if rule is None else f"{rule.scope}")
def test_what_is_reserved_is_not_named_as_spent(world, rule):
    world = shop(world, *([] if rule is None else [rule]))
    session = world.start("1")
    world.ask(session, 700)
    answer = world.ask(session, 900)
    assert (answer.action, answer.spent_by) == ("halt", ())


def test_a_session_s_budget_names_what_those_inside_it_spent_of_it(world):
    session = world.start("1")
    child = world.start("1", parent_session_id=session)
    spend(world, child, 3000, model="cheap")
    spend(world, session, 420)
    spend(world, world.start("1"), 100, model="cents")
    assert world.ask(session, 500).spent_by == (("dear", 420_000_000), ("cheap", 300_000_000))


def test_what_was_spent_elsewhere_is_not_named_of_a_project_s_budget(world):
    there = shop(world, BudgetRule(BudgetScope.PROJECT, NANOS, period="day", key=PROJECT))
    elsewhere = world.with_runtime(project="/home/me/other", user="me")
    spend(elsewhere, elsewhere.start("9"), 420)
    session = there.start("9")
    spend(there, session, 3000, model="cheap")
    assert there.ask(session, 900).spent_by == (("cheap", 300_000_000),)
