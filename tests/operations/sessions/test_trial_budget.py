"""A trial: an amount for a tenant once, which neither time nor another session nor a restart makes fresh."""

from __future__ import annotations

import pytest
from tests.world import NANOS, as_said, make_world, the_user

from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.words import Action, Reason
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.sessions.ending import end_session

CENT = NANOS // 100
DAY = 24 * 3_600_000_000
TRIAL = BudgetRule(BudgetScope.TENANT, 10 * CENT, period="never")
BUDGET = "tenant:acme:never"


def on_trial(world, tenant="acme"):
    return world.with_runtime(tenant=tenant, rules=(TRIAL,), known_prices={})


def spend(world, session, tokens):
    """A step at a tenth of a cent a token."""
    answer = as_said(world).ask(session, tokens)
    if answer.call_id:
        record_usage(world.rt, UsageReport(answer.call_id, Tokens(fresh_input=tokens)))
    return answer


def used(world):
    with world.ledger.reading(world.rt.tenant) as reader:
        return reader.budget(BUDGET).spent


@pytest.mark.parametrize("days", [0, 1, 31, 366, 3660])
def test_a_trial_that_is_spent_stays_spent_in_every_later_session(world, days):
    world = on_trial(world)
    first = world.start("1")
    assert spend(world, first, 100).action is not Action.HALT
    end_session(world.rt, first)
    world.clock.forward(days * DAY)
    for _ in range(3):
        answer = spend(world, world.start("1"), 1)
        assert (answer.action, answer.reason) == (Action.HALT, Reason.BUDGET_EXCEEDED)
        assert answer.binding.budget_id == BUDGET
        assert answer.binding.resets_us is None
    assert used(world) == 10 * CENT


def test_a_restart_makes_no_trial_fresh(tmp_path):
    world = on_trial(make_world(tmp_path))
    spend(world, world.start("1"), 100)
    world.ledger.close()
    again = on_trial(make_world(tmp_path, clock=world.clock, tokens=world.rt.services.new_token))
    assert spend(again, again.start("1"), 1).action is Action.HALT
    again.ledger.close()


def test_only_a_raise_leads_on_and_only_by_its_amount(world):
    world = on_trial(world)
    session = world.start("1")
    spend(world, session, 100)
    answer = spend(world, session, 1)
    assert BUDGET in answer.command
    assert "--tenant acme" in answer.command
    raise_budget(world.rt, BUDGET, 5 * CENT, reason="bought", authority=the_user("me"))
    assert spend(world, session, 50).action is not Action.HALT
    assert spend(world, world.start("1"), 1).action is Action.HALT
    assert used(world) == 15 * CENT


def test_each_tenant_has_a_trial_of_its_own(world):
    acme, globex = on_trial(world), on_trial(world, "globex")
    spend(acme, acme.start("1"), 100)
    assert spend(globex, globex.start("1"), 100).action is not Action.HALT
    assert spend(acme, acme.start("1"), 1).action is Action.HALT
    assert spend(globex, globex.start("1"), 1).action is Action.HALT
