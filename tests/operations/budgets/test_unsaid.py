"""Responses whose cost is on record before it is said whom they were made for, and the step that is asked meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.reading_rules import Rule
from tests.world import NANOS, hook_event

from tallygate.core.attribution import Served
from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.hooks import Moment
from tallygate.core.usage import ObservedUsage
from tallygate.operations.gate.hook_step import LANDING_STEPS
from tallygate.operations.hooks import answer_hook
from tallygate.operations.runtime import NothingFollowed
from tallygate.operations.usage.ingest import FileReading, ingest

SECOND = 1_000_000
CENT = NANOS // 100
SHOP = Served("shop", "look")
HERE, THERE = "/home/me/here", "/home/me/there"


class Transcript(NothingFollowed):
    """A transcript that says nothing until it was looked into so often that a decision has begun to wait for it."""

    def __init__(self):
        self.lines = []
        self.looks = 0
        self.lands_at = 2

    def catch_up(self):
        self.looks += 1
        if self.lines and self.looks >= self.lands_at:
            take, self.lines = self.lines, []
            ingest(self.rt, FileReading("claude_code", "/t", take))


@pytest.fixture
def transcript():
    return Transcript()


def limits(*rules):
    return tuple(
        BudgetRule(scope, cents * CENT, period="day", match=name, **({"mode": mode} if mode else {}))
        for scope, name, cents, *more in rules
        for mode in (more or [None])
    )


@pytest.fixture
def world(world, transcript):
    """A shop, a kind of agents and a skill may have a dollar each, as may the work in another folder."""
    scopes = ((BudgetScope.MCP_SERVER, "shop"), (BudgetScope.AGENT, "Explore"), (BudgetScope.SKILL, "release"))
    rules = limits(*((scope, name, 100) for scope, name in scopes), (BudgetScope.PROJECT, THERE, 100))
    made = world.with_runtime(
        rules=rules, session_limit_nanos=1000 * NANOS, follower=transcript, project=HERE, pause_us=world.clock.forward
    )
    transcript.rt = made.rt
    hook(made, Moment.SESSION_START)
    hook(made, Moment.PROMPT, "p0")
    respond(made, "first", 1, tool_use_ids=("t0",))
    return made


def row(world, key, cents, **options):
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us)
    made = {"rule": Rule.CLAUDE_RESPONSE, "request_id": f"req-{key}", "project": HERE} | options
    return ObservedUsage("claude_code", "client-1", key, at, "dear", Tokens(output=cents * 10), **made)


def respond(world, key, cents, **options):
    world.clock.forward(SECOND)
    made = row(world, key, cents, **options)
    ingest(world.rt, FileReading("claude_code", "/t", [made]))
    return made


def tell(world, key, cents, agent_id=None):
    """What telemetry tells of a response, while its transcript is on its way."""
    rule = Rule.CLAUDE_TELEMETRY if agent_id is None else Rule.CLAUDE_TELEMETRY_SUBAGENT
    return respond(
        world, f"request:req-{key}", cents, rule=rule, request_id=f"req-{key}", project=None, agent_id=agent_id
    )


def hook(world, moment, key=None, **options):
    world.clock.forward(SECOND)
    return answer_hook(
        world.rt, hook_event("claude_code", moment, "client-1", moment.value, key, model="cents", **options)
    )


def ask_shop(world, key="t1", **options):
    return hook(world, Moment.TOOL, key, tool="mcp__shop__look", tool_use_ids=(key,), **options)


def start(world, kind, key="t1", **options):
    return hook(
        world, Moment.TOOL, key, tool="Agent", tool_use_ids=(key,), starts_agent=True, starts_type=kind, **options
    )


STEPS = {
    "a server's tool": (None, ask_shop),
    "a skill": (
        None, lambda world: hook(world, Moment.TOOL, "t1", tool="Skill", tool_use_ids=("t1",), skill="release"),
    ),
    "an agent's own tool": (
        "a1",
        lambda world: hook(
            world, Moment.TOOL, "t1", tool="Bash", tool_use_ids=("t1",), agent_id="a1", agent_type="Explore"
        ),
    ),
    "an agent's model call": (
        "a1", lambda world: hook(world, Moment.TOOLS_DONE, "b1", agent_id="a1", agent_type="Explore"),
    ),
    "an agent of a kind that is at work": ("a1", lambda world: start(world, "Explore")),
}  # fmt: skip


@pytest.mark.parametrize("case", STEPS)
@pytest.mark.parametrize(("cents", "stops"), [(200, True), (10, False)])
def test_what_telemetry_alone_has_told_counts_whole_for_the_step_that_it_was_made_for(world, case, cents, stops):
    agent, step = STEPS[case]
    if agent is not None:
        hook(world, Moment.AGENT_START, "s1", agent_id=agent, agent_type="Explore")
    tell(world, "a", cents, agent)
    assert step(world).stops is stops
    assert not world.problems()


def test_what_is_said_within_a_moment_is_waited_for_and_counts_its_share_alone(world, transcript):
    tell(world, "a", 150)
    transcript.lines = [row(world, "a", 150, served=(SHOP, Served(None, "Bash")), tool_use_ids=("t1",))]
    transcript.lands_at = transcript.looks + 3
    assert not ask_shop(world).stops
    assert not transcript.lines


def test_what_is_said_in_time_to_be_too_much_stops_the_tool_and_the_next_one_too(world, transcript):
    tell(world, "a", 150)
    transcript.lines = [row(world, "a", 150, served=(SHOP,), tool_use_ids=("t1",))]
    transcript.lands_at = transcript.looks + 3
    assert ask_shop(world).stops
    assert ask_shop(world, "t2").stops


def test_the_words_of_a_response_that_stand_there_before_its_tool_are_not_taken_for_all_of_it(world, transcript):
    respond(world, "a", 150)
    transcript.lines = [row(world, "a", 150, served=(SHOP,), tool_use_ids=("t1",))]
    transcript.lands_at = transcript.looks + 3
    assert ask_shop(world).stops


FREE = {
    "the main agent's, for a kind that it starts": (None, lambda world: start(world, "Explore")),
    "another agent's, for a server": ("a1", ask_shop),
    "another kind's, for a kind": ("a2", lambda world: start(world, "Explore")),
    "that of an agent of no known kind, for a kind": ("a3", lambda world: start(world, "Explore")),
    "for a tool of no server": (None, lambda world: hook(world, Moment.TOOL, "t1", tool="Bash", tool_use_ids=("t1",))),
}  # fmt: skip


@pytest.mark.parametrize("case", FREE)
def test_it_counts_for_nobody_whom_it_was_not_made_for(world, case):
    agent, step = FREE[case]
    if agent in ("a1", "a2"):
        hook(world, Moment.AGENT_START, "s1", agent_id=agent, agent_type={"a1": "Explore", "a2": "Plan"}[agent])
    tell(world, "a", 200, agent)
    assert not step(world).stops


def test_of_responses_that_no_transcript_ever_has_the_last_one_alone_counts(world, transcript):
    for number in range(5):
        tell(world, f"r{number}", 30)
    looks = transcript.looks
    assert not ask_shop(world).stops
    assert transcript.looks - looks <= LANDING_STEPS + 2


def test_once_the_transcript_has_gone_on_what_it_left_out_counts_for_nobody(world):
    tell(world, "a", 200)
    respond(world, "b", 1, tool_use_ids=("t1",), served=(SHOP,))
    assert not ask_shop(world).stops


def test_a_small_call_of_the_clients_own_is_made_for_nobody(world):
    respond(world, "b", 1, tool_use_ids=("t1",), served=(SHOP,))
    respond(world, "request:req-title", 200, rule=Rule.CLAUDE_AUXILIARY, project=None)
    assert not ask_shop(world).stops


@pytest.mark.parametrize(("folder", "stops"), [(THERE, True), (HERE, False)])
def test_a_step_in_another_folder_is_held_against_what_was_just_spent_there(world, transcript, folder, stops):
    tell(world, "a", 150)
    there = world.with_runtime(project=folder)
    assert hook(there, Moment.TOOL, "t1", tool="Bash", tool_use_ids=("t1",)).stops is stops


def test_a_refusal_says_what_is_spent_with_it(world):
    respond(world, "a", 60, served=(SHOP,), tool_use_ids=("t1",))
    tell(world, "b", 70)
    assert "($1.30 spent)" in ask_shop(world, "t2").message
