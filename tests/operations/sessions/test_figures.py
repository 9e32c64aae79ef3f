"""A list and a view of sessions: every figure is of the one thing that it is said of."""

from __future__ import annotations

import pytest
from tests.operations.test_hooks import account, hook, respond
from tests.world import NANOS, as_said

from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.hooks import Moment, SessionOrigin
from tallygate.entrypoints.cli.sessions import line_json
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.views.overview import find_budget, list_sessions, show_session

CENT = NANOS // 100
DAY = BudgetRule(BudgetScope.GLOBAL, 70 * CENT, period="day")


@pytest.fixture
def world(world):
    return world.with_runtime(project="/home/me/p", session_limit_nanos=NANOS)


def spend(world, session, tokens, **options):
    call = world.ask(session, tokens, **options).call_id
    record_usage(world.rt, UsageReport(call, Tokens(fresh_input=tokens)))


def listed(world):
    return {line.session.session_id: line_json(line) for line in list_sessions(world.rt, state=None, limit=9)}


@pytest.mark.parametrize("rules", [(), (DAY,)])
def test_a_resumed_session_has_its_own_cost_and_the_limit_and_rest_of_the_one_it_goes_on_with(world, rules):
    world = world.with_runtime(rules=rules)
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 30)
    first = account(world).session_id
    hook(world, Moment.SESSION_END, cause="other")
    hook(world, Moment.SESSION_START, origin=SessionOrigin.RESUME)
    again = account(world).session_id
    respond(world, "r2", 12)
    found = listed(world)
    kept = ("spent", "budget", "limit", "left")
    assert {name: found[again][name] for name in kept} == {"spent": 0.12, "budget": first, "limit": 1.0, "left": 0.58}
    assert {name: found[first][name] for name in kept} == {"spent": 0.3, "budget": first, "limit": 1.0, "left": 0.58}
    assert found[again]["tightest_left_usd"] == (0.28 if rules else 0.58)
    # Whoever raises the later one means the budget that it lives on, by whichever of its ids.
    for named in (again, again[-8:], "client-1"):
        assert find_budget(world.rt, named).budget_id == first


def test_what_a_session_is_said_to_have_spent_is_without_those_inside_it_and_without_reservations(world):
    world = as_said(world)
    outer = world.start("5")
    inner = world.start("2", parent_session_id=outer)
    spend(world, outer, 100)
    spend(world, inner, 300)
    world.ask(outer, 50)
    found = listed(world)
    assert [(found[one]["spent"], found[one]["budget"], found[one]["left"]) for one in (outer, inner)] == [
        (0.1, outer, 4.55),
        (0.3, inner, 1.7),
    ]


def counted(view):
    return {sum(share.calls for share in shares) for shares in (view.by_model, view.by_tool, view.by_actor)}


def test_a_call_counts_once_in_every_table_and_what_was_voided_or_refused_in_none(world):
    session = world.start("1")
    spend(world, session, 100, tool_name="plan")
    world.ask(session, 50, tool_name="edit")
    void_call(world.rt, world.ask(session, 60, tool_name="read").call_id, "cancelled")
    assert world.ask(session, 5000).action == "halt"
    view = show_session(world.rt, session)
    assert (view.totals.calls_made, counted(view)) == (2, {2})


def test_where_the_client_s_record_is_read_calls_are_calls_and_responses_are_named_beside_them(world):
    hook(world, Moment.PROMPT, "prompt:1")
    for number in range(3):
        respond(world, f"r{number}", 10)
    hook(world, Moment.TOOL, "tool:t1", tool="Bash", tool_use_ids=("t1",))
    session = account(world).session_id
    assert world.ask(session, 500_000).action == "halt"
    view = show_session(world.rt, session)
    assert counted(view) == {view.totals.calls_made}
    for shares in (view.by_model, view.by_tool, view.by_actor):
        assert sum(share.responses for share in shares) == 3
        assert sum(share.nanos for share in shares) == view.totals.total_nanos == 30 * CENT
