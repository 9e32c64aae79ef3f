"""What is left is told by the limits that the gate would apply, and with the name of the budget that it is left of."""

from __future__ import annotations

import pytest
from tests.operations.budgets.test_looser import restarted
from tests.operations.test_hooks import account, hook
from tests.world import NANOS, the_user

from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.hooks import Moment, SessionOrigin
from tallygate.core.words import Action, BudgetMode
from tallygate.operations.budgets.change import raise_budget, set_budget
from tallygate.operations.status_line import remaining_text
from tallygate.operations.views.overview import find_budget, list_budgets, list_sessions, show_session

HERE = "/home/me/p"


@pytest.fixture
def world(world):
    return world.with_runtime(session_limit_nanos=20 * NANOS, project=HERE, user="me")


def greeted(world, *rules, session="client-1", **changes):
    """The settings with these budgets, and what a session that begins is told of what is left."""
    later = restarted(world, rules=rules, **changes)
    message = hook(later, Moment.SESSION_START, session=session, origin=SessionOrigin.STARTUP).message
    return later, message.removeprefix("Tallygate: ").split(" Looser")[0]


def day(dollars, mode=BudgetMode.HARD, scope=BudgetScope.PROJECT, **options):
    return BudgetRule(scope, dollars * NANOS, mode=mode, **{"period": "day", **options})


@pytest.mark.parametrize("period", ["day", "month", "never", "5h"])
@pytest.mark.parametrize("now", [8, 2])
def test_a_look_takes_the_limit_that_the_first_step_will_be_held_to(world, now, period):
    before, _ = greeted(world, day(4, period=period), session="first")
    hook(before, Moment.PROMPT, "p1", session="first")
    later, said = greeted(world, day(now, period=period), session="second")
    shown = later.rt
    assert f"of ${now}.00 left" in said
    assert f"of ${now}.00 left" in remaining_text(shown, "claude_code", "second")
    second = account(later, "second")
    looked = show_session(shown, second.session_id).budgets
    line = next(each for each in list_sessions(shown, state=None, limit=9) if each.session == second)
    hook(later, Moment.PROMPT, "p2", session="second")
    stepped = show_session(shown, second.session_id).budgets
    assert [each.limit for each in looked] == [each.limit for each in stepped]
    held = min(each.available for each in looked) - min(each.available for each in stepped)
    assert line.left_nanos - held == min(each.available for each in stepped)


@pytest.mark.parametrize("period", ["day", "month", "never", "5h"])
@pytest.mark.parametrize("scope", [BudgetScope.PROJECT, BudgetScope.GLOBAL, BudgetScope.CLIENT])
@pytest.mark.parametrize("now", [8, 2])
def test_a_list_of_budgets_shows_the_limit_that_the_first_step_will_be_held_to(world, now, scope, period):
    before, _ = greeted(world, day(4, scope=scope, period=period), session="first")
    hook(before, Moment.PROMPT, "p1", session="first")
    [named] = [each.name for each in list_budgets(before.rt, limit=9) if each.scope == scope.value]
    raise_budget(before.rt, named, NANOS, reason="more", authority=the_user("me"))
    later, _ = greeted(world, day(now, scope=scope, period=period), session="second")
    [looked] = [each for each in list_budgets(later.rt, limit=9) if each.scope == scope.value]
    assert looked.limit == (now + 1) * NANOS, "what was added by hand stays added"
    assert find_budget(later.rt, named).limit == looked.limit
    changed = raise_budget(later.rt, named, NANOS, reason="more", authority=the_user("me"))
    assert changed.limit == (now + 2) * NANOS, "a raise adds to what was shown"
    set_budget(later.rt, named, looked.limit, reason="as shown", authority=the_user("me"))
    hook(later, Moment.PROMPT, "p2", session="second")
    [stepped] = [each for each in list_budgets(later.rt, limit=9) if each.scope == scope.value]
    assert stepped.limit == looked.limit
    later.clock.forward(40 * 24 * 3600 * 1_000_000)
    if period in ("day", "month"):
        last = restarted(world, rules=[day(9, scope=scope, period=period)])
        [ended] = [each for each in list_budgets(last.rt, limit=9) if each.scope == scope.value]
        assert ended.limit == stepped.limit, "one that is over stays as it was"


@pytest.mark.parametrize("period", ["day", "5h"])
def test_who_runs_already_keeps_its_limit_and_is_told_that(world, period):
    before, _ = greeted(world, day(4, period=period), session="first")
    hook(before, Moment.PROMPT, "p1", session="first")
    later, _ = greeted(world, day(8, period=period), session="second")
    assert "of $4.00 left" in remaining_text(later.rt, "claude_code", "first")
    hook(later, Moment.PROMPT, "p2", session="second")
    assert "of $8.00 left" in remaining_text(later.rt, "claude_code", "second")
    assert "of $4.00 left" in remaining_text(later.rt, "claude_code", "first")


def test_a_rolling_limit_that_was_lowered_leaves_what_it_says(world):
    before, _ = greeted(world, day(8, period="5h"), session="first")
    hook(before, Moment.PROMPT, "p1", session="first")
    later = restarted(world, rules=(day(4, period="5h"),))
    assert not hook(later, Moment.PROMPT, "p2", session="second").stops
    assert not hook(later, Moment.PROMPT, "p3", session="first").stops
    assert not world.problems()


HOOKS = " Each step is checked by hooks."
SOFT = BudgetMode.SOFT
# the budgets above a session of $20 -> what is said of what is left
NAMED = [
    ([], "$20.00 of $20.00 left for this session."),
    ([day(5)], "$5.00 of $5.00 left today for this project."),
    ([day(5, period="week")], "$5.00 of $5.00 left this week for this project."),
    ([day(5, period="5h")], "$5.00 of $5.00 left within 5 hours for this project."),
    ([day(5, period="never")], "$5.00 of $5.00 left for this project."),
    ([day(5, scope=BudgetScope.USER, period="month")], "$5.00 of $5.00 left this month for user me."),
    ([day(5, scope=BudgetScope.GLOBAL)], "$5.00 of $5.00 left today for all work."),
    ([day(5, scope=BudgetScope.GLOBAL, within=HERE)], "$5.00 of $5.00 left today for all work here."),
    ([day(5, scope=BudgetScope.CLIENT)], "$5.00 of $5.00 left today for client claude-code."),
    ([day(5, scope=BudgetScope.MODEL)], "$5.00 of $5.00 left today for all models."),
]


@pytest.mark.parametrize("rules, said", NAMED)
def test_the_greeting_names_whose_budget_it_speaks_of(world, rules, said):
    assert greeted(world, *rules)[1] == said + HOOKS


def test_a_soft_budget_is_told_beside_the_one_that_stops_and_does_not_hide_it(world):
    later, said = greeted(world, day(5, SOFT), day(7, scope=BudgetScope.USER))
    soft = " A soft budget, which only warns, has $5.00 of $5.00 left today for this project."
    assert said == "$7.00 of $7.00 left today for user me." + HOOKS + soft
    assert (
        remaining_text(later.rt, "claude_code", "client-1")
        == "tallygate: $0.00 spent, $7.00 of $7.00 left today for user me"
    )


def test_a_soft_budget_that_leaves_more_is_not_spoken_of(world):
    assert (
        greeted(world, day(9, SOFT), day(7, scope=BudgetScope.USER))[1]
        == "$7.00 of $7.00 left today for user me." + HOOKS
    )


def test_where_nothing_stops_that_is_said(world):
    later, said = greeted(world, session_mode="soft")
    assert said == "$20.00 of $20.00 left for this session." + HOOKS + " This budget is soft: it only warns."
    assert remaining_text(later.rt, "claude_code", "client-1") == "tallygate: $0.00 spent, $20.00 of $20.00 left"


@pytest.mark.parametrize("soft_last", [True, False])
def test_of_a_soft_and_a_hard_budget_of_a_session_both_hold_in_any_order(world, soft_last):
    hard, soft = (
        day(2, scope=BudgetScope.SESSION, period="session"),
        day(1, SOFT, BudgetScope.SESSION, period="session"),
    )
    rules, own = ((hard, soft), soft) if soft_last else ((soft, hard), hard)
    later, said = greeted(world, *rules, session_limit_nanos=own.limit, session_mode=own.mode.value)
    assert said.startswith("$2.00 of $2.00 left for this session.")
    assert said.endswith("A soft budget, which only warns, has $1.00 of $1.00 left for this session.")
    session_id = account(later).session_id
    assert later.ask(session_id, 1500, model="dear").action is not Action.HALT
    assert later.ask(session_id, 1500, model="dear").action is Action.HALT
