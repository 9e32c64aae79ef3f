"""When somebody is told of a budget: at which share, once, and again only where that is news."""

from __future__ import annotations

import pytest

from tallygate.core.alerts import LEASE_US, NEWS_US, TRIES, AlertMark, AlertRule, due, plan_budget
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.model import Budget
from tallygate.core.money import NANOS_PER_UNIT as USD
from tallygate.core.plan import PlanRule, PlanSource, PlanStanding, PlanWindow
from tallygate.core.words import BudgetMode

NOW = 1_790_000_000_000_000
HOUR = 3_600_000_000
RULE = AlertRule((50, 80, 100), run=("tell",))


def budget(spent, limit=10, **more):
    named = {"tenant": "default", "budget_id": "global:all:day:2026-09-21", "scope": "global", "scope_key": "all"}
    named |= {"period": "day", "unit": "USD", "mode": BudgetMode.HARD, "touched_us": NOW, "resets_us": NOW + HOUR}
    return Budget(limit=limit * USD, spent=int(spent * USD), **(named | more))


def told(percent, at_us=NOW, **more):
    return AlertMark(budget(0).name, RULE.route, percent, at_us, at_us, **({"tries": 1, "told_us": at_us} | more))


def percents(budgets, mark=None, rules=(RULE,), stopped=(), at_us=NOW):
    marks = {} if mark is None else {(mark.budget_id, mark.route): mark}
    return [each.percent for each in due(rules, budgets, frozenset(stopped), marks, at_us)]


# spent of ten dollars, what is remembered -> what is told
@pytest.mark.parametrize(
    ("spent", "mark", "expected"),
    [
        (0, None, []),
        (4.999999999, None, []),
        (5, None, [50]),
        (7.9, told(50), []),
        (8, told(50), [80]),
        (9.99, None, [80]),  # of two that were passed at once the higher
        (10, told(80), [100]),
        (25, told(100), []),
        (6, told(80), []),  # a limit that was raised brings nothing back
    ],
)
def test_a_threshold_is_told_once_from_its_share_on(spent, mark, expected):
    assert percents([budget(spent)], mark) == expected


@pytest.mark.parametrize(
    ("tries", "waited_us", "error", "expected"),
    [
        (1, LEASE_US - 1, None, []),  # somebody is at it
        (1, LEASE_US, None, [80]),  # they have died
        (1, LEASE_US, "refused", [80]),
        (2, 2 * LEASE_US - 1, "refused", []),
        (2, 2 * LEASE_US, "refused", [80]),
        (3, 4 * LEASE_US, "refused", [80]),
        (TRIES, 100 * LEASE_US, "refused", []),
    ],
)
def test_what_nobody_was_told_is_tried_again_and_given_up(tries, waited_us, error, expected):
    mark = told(80, tries=tries, told_us=None, error=error)
    assert percents([budget(9)], mark, at_us=NOW + waited_us) == expected


def test_a_hard_limit_that_stopped_a_step_has_come_to_its_end():
    name = budget(0).name
    assert percents([budget(9)], told(80), stopped=[name]) == [100]
    assert percents([budget(9, mode=BudgetMode.SOFT)], told(80), stopped=[name]) == []
    assert percents([budget(9)], rules=[AlertRule((80,), run=("tell",))], stopped=[name]) == [80]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"resets_us": NOW}, []),  # the window is over
        ({"resets_us": None, "period": "never"}, [80]),
        ({"scope": "session", "period": "session", "touched_us": NOW - NEWS_US}, [80]),
        ({"scope": "session", "period": "session", "touched_us": NOW - NEWS_US - 1}, []),
        ({"touched_us": NOW - 20 * NEWS_US}, [80]),
    ],
)
def test_what_is_over_is_no_news(more, expected):
    assert percents([budget(9, **more)]) == expected


def test_a_rolling_period_is_told_again_once_it_has_gone_by():
    rolling = budget(9, period="5h", resets_us=None)
    assert percents([rolling], told(80), at_us=NOW + 5 * HOUR - 1) == []
    assert percents([rolling], told(80), at_us=NOW + 5 * HOUR) == [80]


def test_a_rule_is_about_the_budgets_that_it_names_and_remembered_by_whom_it_tells():
    day = budget(9)
    assert percents([day], rules=[AlertRule((80,), ("tell",), scope=BudgetScope.SESSION)]) == []
    assert percents([day], rules=[AlertRule((80,), ("tell",), budget="global:*:day:*")]) == [80]
    other = AlertRule((80,), post="https://hooks.example/T1/secret", host="hooks.example")
    assert percents([day], told(100), rules=[RULE, other]) == [80]
    assert "secret" not in other.route + other.name
    assert AlertRule((10,), ("tell",)).route == RULE.route


def plan(used, at_us=NOW, resets_us=NOW + HOUR, *, known=True, **rule):
    value = PlanWindow("codex", "", 300, used, at_us, resets_us, PlanSource.TRANSCRIPT)
    return plan_budget(PlanStanding(PlanRule(300, 90, **rule), "codex", value, known), "default")


# hundredths of a per cent of the plan, of a limit at 90 -> what is told
@pytest.mark.parametrize(
    ("used", "expected"), [(0, []), (4_499, []), (4_500, [50]), (7_199, [50]), (7_200, [80]), (9_000, [100])]
)
def test_a_limit_on_a_plan_is_told_of_by_shares_of_the_limit(used, expected):
    assert percents([plan(used)]) == expected


def test_a_plan_that_nobody_knows_is_no_news():
    assert plan(9_500, known=False) is None


@pytest.mark.parametrize(
    ("marked_us", "resets_us", "expected"),
    [
        (NOW, NOW + HOUR, []),
        (NOW - 3 * HOUR, NOW + HOUR, []),
        (NOW - 3 * HOUR, NOW + HOUR + 5, []),  # said a little otherwise, and the same window
        (NOW - 3 * HOUR, NOW + 4 * HOUR, [100]),  # told of in the window before
    ],
)
def test_a_plan_is_told_of_once_in_each_of_its_windows(marked_us, resets_us, expected):
    mark = AlertMark("plan:codex:5h", RULE.route, 100, marked_us, marked_us, 1, marked_us)
    assert percents([plan(9_500, resets_us=resets_us)], mark) == expected


def test_the_news_of_a_plan_counts_no_money():
    found = plan(9_341)
    (told_of,) = due([RULE], [found], frozenset({found.name}), {}, NOW)
    assert told_of.text == "Tallygate: 93 % of the 5h window of codex's plan is used, of 90 %; steps are stopped."
    values = told_of.values()
    assert {name: values[name] for name in ("budget", "scope", "period", "unit", "limit", "spent", "left")} == {
        "budget": "plan:codex:5h", "scope": "plan", "period": "5h", "unit": "percent", "limit": "90", "spent": "93.41",
        "left": "-3.41",
    }  # fmt: skip


def test_the_news_is_one_sentence_and_exact_values():
    (found,) = due([RULE], [budget(8.5)], frozenset(), {}, NOW)
    assert found.text == "Tallygate: global:all:day:2026-09-21 (day) has used $8.50 of $10.00: 85 %."
    assert found.values() | {"text": ""} == {
        "text": "", "percent": "80", "budget": "global:all:day:2026-09-21", "scope": "global", "period": "day",
        "unit": "USD", "limit": "10", "spent": "8.5", "left": "1.5", "mode": "hard", "stopped": "0",
    }  # fmt: skip
