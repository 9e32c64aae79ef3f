"""Budgets of a kind of subagent, a skill or an MCP server: they count shares, and bind what carries the name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import NANOS, hook_event, make_world

from tallygate.core.attribution import Served, served_by, together
from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.hooks import Moment
from tallygate.core.model import Actor
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import Action, ActorType, BudgetMode
from tallygate.operations.hooks import answer_hook
from tallygate.operations.usage.again import fill
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.operations.views.history import names_like, so_far, spent_on_rule

SECOND = 1_000_000
CENT = NANOS // 100
DAY_US = 86_400 * SECOND
ISSUE, SEARCH, BASH = Served("github", "create_issue"), Served("web", "search"), Served(None, "Bash")


def rule(scope, name, cents=100, **more):
    return BudgetRule(scope, cents * CENT, **{"period": "day", "match": name} | more)


AGENT = rule(BudgetScope.AGENT, "Explore")
SKILL = rule(BudgetScope.SKILL, "release*")
SERVER = rule(BudgetScope.MCP_SERVER, "github")


@pytest.fixture
def world(world):
    return world.with_runtime(rules=(AGENT, SKILL, SERVER), session_limit_nanos=100 * NANOS)


def row(world, key, cents, **options):
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us)
    return ObservedUsage(
        "claude_code", "client-1", key, at, "dear", Tokens(output=cents * 10), Rule.CLAUDE_RESPONSE, **options
    )


def respond(world, key, cents, **options):
    world.clock.forward(SECOND)
    return ingest(world.rt, FileReading("claude_code", "/t", [row(world, key, cents, **options)]))


def hook(world, moment, key=None, **options):
    world.clock.forward(SECOND)
    event = hook_event("claude_code", moment, "client-1", moment.value, key, model="cents", **options)
    return answer_hook(world.rt, event)


def spent(world):
    """What the windows hold, by what they limit, in cents."""
    with world.ledger.reading() as reader:
        found = reader.windows_between("day", -(2**62), 2**62)
    return {budget.scope_key: budget.spent // CENT for budget in found}


def begin(world):
    hook(world, Moment.SESSION_START)
    hook(world, Moment.PROMPT, "p0")
    respond(world, "first", 1)


def test_each_window_counts_what_was_made_for_its_name_and_a_server_its_share(world):
    begin(world)
    respond(world, "a", 10, agent_id="a1", agent_type="Explore")
    respond(world, "b", 20, skill="release-notes")
    respond(world, "c", 30, served=(ISSUE, SEARCH, BASH))
    respond(world, "d", 40, agent_id="a2", agent_type="Plan", skill="pdf", served=(BASH,))
    assert spent(world) == {"Explore": 10, "release*": 20, "github": 10}


def test_a_window_that_begins_late_counts_what_is_on_record(world):
    world = world.with_runtime(rules=())
    begin(world)
    respond(world, "a", 10, agent_id="a1", agent_type="Explore")
    respond(world, "c", 30, served=(ISSUE, SEARCH, BASH))
    world = world.with_runtime(rules=(AGENT, SKILL, SERVER))
    hook(world, Moment.TOOL, "t1", tool="mcp__github__search", tool_use_ids=("t1",))
    hook(world, Moment.TOOLS_DONE, "t1", agent_id="a1", agent_type="Explore")
    assert spent(world) == {"Explore": 10, "github": 10}


def test_what_was_spent_for_a_name_is_told_and_names_beside_one_that_nobody_has(world):
    begin(world)
    respond(world, "a", 10, agent_id="a1", agent_type="Explore")
    respond(world, "b", 20, skill="release-notes")
    respond(world, "c", 30, served=(ISSUE, SEARCH, BASH))
    respond(world, "d", 40, agent_id="a2", agent_type="Plan")
    for each, cents in ((AGENT, 10), (SKILL, 20), (SERVER, 10), (replace(SERVER, match="*"), 20)):
        assert spent_on_rule(world.rt, each, UTC) == cents * CENT
        assert names_like(world.rt, each) is None
    wrong = replace(AGENT, match="Explorer")
    assert (spent_on_rule(world.rt, wrong, UTC), names_like(world.rt, wrong)) == (0, ["Plan", "Explore"])


def test_a_correction_moves_the_shares_with_the_cost(world):
    begin(world)
    respond(world, "c", 30, served=(ISSUE, BASH))
    assert spent(world)["github"] == 15
    respond(world, "c", 50, served=(ISSUE, BASH))
    assert spent(world)["github"] == 25
    respond(world, "c", 50, served=(ISSUE, SEARCH, BASH, Served(None, "Read"), Served(None, "Glob")))
    assert spent(world)["github"] == 25


OWN = tuple(Served(None, f"Tool{number}") for number in range(16))


@pytest.mark.parametrize(
    ("first", "again", "key", "stays"),
    [
        ({"served": (ISSUE,)}, {"served": OWN}, "github", 30),
        ({"served": (ISSUE, BASH)}, {"served": (SEARCH,)}, "github", 15),
        ({"agent_id": "a1", "agent_type": "Explore"}, {"agent_id": "a1", "agent_type": "Plan"}, "Explore", 30),
        ({"agent_id": "a1", "agent_type": "Explore"}, {}, "Explore", 30),
        ({"skill": "release-notes"}, {"skill": "pdf"}, "release*", 30),
        ({"skill": "release-notes"}, {}, "release*", 30),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
def test_a_response_told_again_for_others_takes_nothing_back_and_counts_no_second_time(
    world, first, again, key, stays, is_late
):
    begin(world) if not is_late else None
    respond(world, "c", 30, **first)
    if is_late:
        begin(world)
        hook(world, Moment.TOOL, "t1", tool="mcp__github__x", tool_use_ids=("t1",), skill="release-notes")
        hook(world, Moment.TOOL, "t2", tool="Agent", tool_use_ids=("t2",), starts_agent=True, starts_type="Explore")
    for options in (again, first, again, again, first):
        respond(world, "c", 30, **options)
        assert spent(world)[key] == stays
    assert not world.problems()


@pytest.mark.parametrize("period", ["week", "5h"])
def test_a_window_that_is_opened_late_counts_the_share_that_another_one_has_booked(world, period):
    begin(world)
    respond(world, "c", 30, served=(ISSUE,))
    respond(world, "c", 30, served=(BASH, SEARCH))
    respond(world, "d", 30, served=(ISSUE, BASH))
    assert spent(world)["github"] == 45
    late = world.with_runtime(rules=(replace(SERVER, period=period),))
    hook(late, Moment.TOOL, "t1", tool="mcp__github__x", tool_use_ids=("t1",))
    with world.ledger.reading() as reader:
        windows = reader.windows_between(period, 0, 2**62)
    assert sum(each.spent for each in windows if each.scope_key == "github") == 45 * CENT
    assert not world.problems()


def test_what_a_name_has_booked_and_a_larger_cost_never_add_up_to_more_than_its_larger_share(world):
    begin(world)
    for cents, served in ((30, (ISSUE,)), (30, (ISSUE, BASH)), (90, together((ISSUE, BASH, SEARCH)))):
        respond(world, "c", cents, served=served)
        assert spent(world)["github"] == 30


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("my__srv", "mcp__my__srv__ask"),
        ("my", "mcp__my__srv__ask"),
        ("größe", "mcp__gr__e__ask"),
        ("gro\u0308ße", "mcp__gr__e__ask"),
        ("größe", "mcp__gro__e__ask"),
        ("日本", "mcp______ask"),
        ("a_", "mcp__a___ask"),
        ("\U0001f680", "mcp______ask"),
        ("\U0001f680", "mcp_____ask"),
        ("my-srv", "mcp__my_srv__ask"),
        ("my[1]", "mcp__my_1___ask"),
        ("claude.ai Größe (x)", "mcp__claude_ai_Gr_e_x__ask"),
    ],
)
def test_a_server_is_bound_however_its_name_is_written_into_those_of_its_tools(world, name, tool):
    world = world.with_runtime(rules=(rule(BudgetScope.MCP_SERVER, name),))
    begin(world)
    respond(world, "c", 200, served=(served_by(tool),))
    assert spent(world) == {name: 200}
    assert hook(world, Moment.TOOL, "t1", tool=tool, tool_use_ids=("t1",)).stops
    assert not hook(world, Moment.TOOL, "t2", tool="mcp__other__ask", tool_use_ids=("t2",)).stops


@pytest.mark.parametrize(
    ("name", "told"), [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9"), ("Straße", "STRASSE")]
)
def test_an_agent_is_bound_whichever_way_its_letters_are_written(world, name, told):
    world = world.with_runtime(rules=(rule(BudgetScope.AGENT, name),))
    begin(world)
    respond(world, "a", 200, agent_id="a1", agent_type=told)
    starts = {"tool": "Agent", "starts_agent": True, "starts_type": told}
    assert hook(world, Moment.TOOL, "t1", tool_use_ids=("t1",), **starts).stops


def test_a_server_is_stopped_whatever_stands_beside_its_tools(world):
    begin(world)
    for number in range(20):
        respond(world, f"c{number}", 100, served=together(OWN, [ISSUE]))
    assert spent(world)["github"] >= 100
    assert hook(world, Moment.TOOL, "t1", tool="mcp__github__create_issue", tool_use_ids=("t1",)).stops


def test_what_a_second_reading_tells_counts_from_then_on(world):
    begin(world)
    respond(world, "c", 30)
    respond(world, "x", 2, served=(ISSUE,))
    assert spent(world) == {"github": 2}
    fill(world.rt, "claude_code", [replace(row(world, "c", 99), served=(ISSUE, BASH))])
    assert spent(world) == {"github": 17}


def test_a_server_that_has_nothing_left_stops_its_own_tools_and_the_work_goes_on(world):
    begin(world)
    respond(world, "c", 100, served=(ISSUE,))
    refused = hook(world, Moment.TOOL, "t1", tool="mcp__github__create_issue", tool_use_ids=("t1",))
    assert (refused.stops, refused.tool_only, refused.ends) == (True, True, False)
    assert "MCP server github" in refused.message
    for tool in ("mcp__web__search", "Bash"):
        assert not hook(world, Moment.TOOL, tool, tool=tool, tool_use_ids=(tool,)).stops
    assert not hook(world, Moment.TOOLS_DONE, "b1").stops


def test_an_agent_whose_kind_has_nothing_left_is_stopped_and_no_other_is_started(world):
    begin(world)
    respond(world, "a", 100, agent_id="a1", agent_type="Explore")
    own = hook(world, Moment.TOOL, "t1", tool="Bash", tool_use_ids=("t1",), agent_id="a1", agent_type="Explore")
    assert (own.stops, own.tool_only, own.ends) == (True, False, False)
    starts = {"tool": "Agent", "starts_agent": True}
    refused = hook(world, Moment.TOOL, "t2", tool_use_ids=("t2",), starts_type="Explore", **starts)
    assert (refused.stops, refused.tool_only, refused.ends) == (True, True, False)
    assert not hook(world, Moment.TOOL, "t3", tool_use_ids=("t3",), starts_type="Plan", **starts).stops
    assert not hook(world, Moment.TOOL, "t4", tool="Bash", tool_use_ids=("t4",)).stops
    assert not hook(world, Moment.TOOL, "t5", tool="Bash", tool_use_ids=("t5",), agent_id="a2", agent_type="Plan").stops


def test_a_skill_that_has_nothing_left_is_not_begun_again(world):
    begin(world)
    respond(world, "b", 100, skill="release-notes")
    refused = hook(world, Moment.TOOL, "t1", tool="Skill", tool_use_ids=("t1",), skill="release-notes")
    assert (refused.stops, refused.tool_only) == (True, True)
    assert not hook(world, Moment.TOOL, "t2", tool="Skill", tool_use_ids=("t2",), skill="pdf").stops


def test_a_soft_budget_of_a_server_lets_its_tools_through(world):
    world = world.with_runtime(rules=(replace(SERVER, mode=BudgetMode.SOFT),))
    begin(world)
    respond(world, "c", 200, served=(ISSUE,))
    assert not hook(world, Moment.TOOL, "t1", tool="mcp__github__create_issue", tool_use_ids=("t1",)).stops


def test_an_agents_steps_are_reserved_in_the_budget_of_its_kind(world):
    begin(world)
    hook(world, Moment.AGENT_START, "s1", agent_id="a1", agent_type="Explore")
    with world.ledger.reading() as reader:
        held = {b.scope_key: b.reserved for b in reader.windows_between("day", -(2**62), 2**62)}
    assert held["Explore"] > 0
    respond(world, "a", 5, agent_id="a1", agent_type="Explore")
    assert spent(world)["Explore"] == 5


EXPLORE = {"actor": Actor(ActorType.SUBAGENT, "a1", "Explore")}
OTHER = {"actor": Actor(ActorType.SUBAGENT, "a2", "Plan")}
ASKS_GITHUB = {"tool_name": "mcp__github__search"}


def reserved(world, period="day"):
    """What the windows hold for steps whose cost is not known yet, by what they limit, in cents."""
    with world.ledger.reading() as reader:
        found = reader.windows_between(period, -(2**62), 2**62)
    return {budget.scope_key: budget.reserved // CENT for budget in found if budget.reserved}


@pytest.mark.parametrize(("step", "name"), [(EXPLORE, "Explore"), (ASKS_GITHUB, "github")])
def test_what_is_in_flight_for_a_name_counts_in_its_budget_and_in_that_of_no_other(world, step, name):
    session = world.start("50")
    assert world.ask(session, 600, **step).action is not Action.HALT
    assert reserved(world) == {name: 60}
    answer = world.ask(session, 600, **step)
    assert (answer.action, answer.binding.limit_nanos) == (Action.HALT, 100 * CENT)
    assert reserved(world) == {name: 60}, "a step that is refused holds nothing"
    for free in ({}, OTHER, {"tool_name": "mcp__web__search"}):
        assert world.ask(session, 600, **free).action is not Action.HALT
    assert world.ask(session, 300, **step).action is not Action.HALT
    assert reserved(world) == {name: 90}


def test_of_two_windows_on_a_name_each_counts_and_the_fuller_one_stops(world):
    week = replace(AGENT, period="week", limit=150 * CENT)
    world = world.with_runtime(rules=(AGENT, week))
    world.clock.forward(-(world.clock.at_us % DAY_US) + DAY_US)  # midnight: two days of one week follow
    session = world.start("50")
    assert world.ask(session, 900, **EXPLORE).action is not Action.HALT
    answer = world.ask(session, 200, **EXPLORE)
    assert (answer.action, answer.binding.limit_nanos) == (Action.HALT, 100 * CENT)
    assert (reserved(world), reserved(world, "week")) == ({"Explore": 90}, {"Explore": 90})
    world.clock.forward(DAY_US)
    session = world.start("50")
    answer = world.ask(session, 700, **EXPLORE)
    assert (answer.action, answer.binding.limit_nanos) == (Action.HALT, 150 * CENT)
    assert world.ask(session, 600, **EXPLORE).action is not Action.HALT


def test_a_step_that_carries_two_names_is_held_in_the_budgets_of_both(world):
    world = world.with_runtime(rules=(AGENT, replace(SERVER, limit=80 * CENT)))
    session = world.start("50")
    assert world.ask(session, 600, **EXPLORE, **ASKS_GITHUB).action is not Action.HALT
    assert reserved(world) == {"Explore": 60, "github": 60}
    answer = world.ask(session, 300, **EXPLORE, **ASKS_GITHUB)
    assert (answer.action, answer.binding.limit_nanos) == (Action.HALT, 80 * CENT)
    assert world.ask(session, 300, **EXPLORE).action is not Action.HALT
    assert reserved(world) == {"Explore": 90, "github": 60}


def test_an_agent_that_asks_by_itself_is_bound_by_what_it_says_of_its_step(world):
    session = world.start("50")
    actor = Actor(ActorType.SUBAGENT, "a1", "Explore")
    assert world.ask(session, 2000, tool_name="mcp__github__search").action is Action.HALT
    assert world.ask(session, 2000, actor=actor).action is Action.HALT
    assert world.ask(session, 2000, tool_name="mcp__web__search").action is not Action.HALT


def test_a_window_that_only_looks_ask_for_is_added_up_once(world):
    world = world.with_runtime(rules=(SERVER, replace(SERVER, period="5h")))
    begin(world)
    asked = {"tool": "mcp__github__create_issue"}
    hook(world, Moment.TOOL, "t1", tool_use_ids=("t1",), **asked)
    events = world.events()
    hook(world, Moment.TOOL, "t2", tool_use_ids=("t2",), **asked)
    assert world.events() == events
    with world.ledger.reading() as reader:
        assert {each.period for each in reader.windows_used()} == {"day", "5h"}


@pytest.mark.parametrize(
    ("pattern", "name", "is_meant"),
    [
        ("Explore", "explore", True),
        ("Expl*", "Explore", True),
        ("Explore", "Explorer", False),
        ("my server", "my_server", True),
        ("git[hl]ub", "github", True),
    ],
)
def test_a_name_is_meant_in_either_letters_and_by_a_pattern(world, pattern, name, is_meant):
    world = world.with_runtime(rules=(rule(BudgetScope.MCP_SERVER, pattern),))
    begin(world)
    respond(world, "c", 30, served=(Served(name, "x"), BASH))
    assert spent(world) == ({pattern: 15} if is_meant else {})


tools = st.lists(st.sampled_from([ISSUE, SEARCH, BASH, Served("github", "get"), Served(None, "Read")]), max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 999), tools, st.integers(0, 2)), max_size=6))
def test_a_window_that_counted_along_and_one_that_begins_late_agree(tmp_path_factory, work):
    world = make_world(tmp_path_factory.mktemp("named")).with_runtime(session_limit_nanos=10**6 * NANOS)
    servers = [rule(BudgetScope.MCP_SERVER, name, 10**6) for name in ("github", "web")]
    along = world.with_runtime(rules=(servers[0],))
    begin(along)
    respond(along, "opens", 1, served=(ISSUE,))
    hook(along, Moment.TOOL, "t0", tool="mcp__github__x", tool_use_ids=("t0",))
    for cents, served, again in work:
        for times in range(again + 1):
            respond(along, f"r{served}", cents + times, served=together(served))
    counted = spent(along)["github"]
    # The same on record, counted by a window that was not there before.
    late = world.with_runtime(rules=(replace(servers[0], period="week"),))
    hook(late, Moment.TOOL, "t1", tool="mcp__github__x", tool_use_ids=("t1",))
    with world.ledger.reading() as reader:
        found = [b.spent // CENT for b in reader.windows_between("week", -(2**62), 2**62)]
    assert found == [counted]
    problems = world.problems()
    world.ledger.close()
    assert not problems


def test_what_counts_already_is_told_in_the_unit_of_a_limit_as_its_budget_then_begins(world):
    world = world.with_runtime(rules=())
    begin(world)
    respond(world, "a", 10)
    day = BudgetRule(BudgetScope.USER, 1, unit="tokens", period="day")
    rules = (day, replace(day, period="5h"), replace(day, scope=BudgetScope.MODEL, match="dear"))
    told = {rule: spent_on_rule(world.rt, rule, UTC) for rule in rules}
    assert told == so_far(world.rt, rules, UTC)
    assert all(told.values())
    world = world.with_runtime(rules=rules)
    hook(world, Moment.TOOL, "t1", tool="Bash", tool_use_ids=("t1",))
    with world.ledger.reading() as reader:
        begun = [each.spent for each in reader.budgets(9) if (each.scope, each.period) == ("user", "day")]
    assert begun == [told[day]]
    assert so_far(world.rt, (day,), UTC) == {}
