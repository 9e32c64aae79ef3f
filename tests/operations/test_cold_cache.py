"""What a prompt rewrites that the cache has lost: said once in a pause, from a share of the limit on, never stopped."""

from __future__ import annotations

import pytest
from tests.operations.test_hooks import hook
from tests.reading_rules import Rule
from tests.world import MINUTE, NANOS

from tallygate.clients.reading.status_line import StatusInput
from tallygate.core.costing import Tokens
from tallygate.core.hooks import HookVerdict, Moment
from tallygate.core.moments import as_datetime
from tallygate.core.usage import ObservedUsage
from tallygate.operations.status_line import status_line
from tallygate.operations.usage.ingest import FileReading, ingest

# A thousand tokens cost a dollar, a tenth of that from the cache.
SAID = "Tallygate: Idle 47 min: this turn rewrites 5 K, $5.00, warm $0.50."


@pytest.fixture
def world(world):
    return world.with_runtime(session_limit_nanos=100 * NANOS, project="/home/me/p", status_show=("context",))


def respond(world, key="r1", **tokens):
    world.clock.forward(1_000_000)
    used = Tokens(**(tokens or {"cache_read": 4_900, "cache_write_5m": 90, "output": 10}))
    row = ObservedUsage(
        "claude_code", "client-1", key, as_datetime(world.clock.at_us), "dear", used, Rule.CLAUDE_RESPONSE
    )
    ingest(world.rt, FileReading("claude_code", "/t.jsonl", [row]))


def prompt(world, key=None, **more):
    return hook(world, Moment.PROMPT, key, model="dear", **more)


def test_it_is_said_once_in_a_pause_and_the_prompt_goes_on(world):
    prompt(world, "p1")
    respond(world)
    assert prompt(world, "p2").message is None
    respond(world, "r2")
    world.clock.forward(47 * MINUTE)
    said = prompt(world, "p3")
    assert (said.verdict, said.message) == (HookVerdict.GO_ON, SAID)
    assert prompt(world, "p4").message is None
    respond(world, "r3")
    world.clock.forward(47 * MINUTE)
    assert prompt(world, "p5").message == SAID


def test_the_status_line_says_the_same_and_before_it_is_cold_from_when_on(world):
    prompt(world, "p1")
    respond(world)
    world.clock.forward(2 * MINUTE)
    shown = StatusInput("client-1")
    assert (
        status_line(world.rt, "claude_code", shown) == "tallygate: next turn reads 5 K, $0.50; from in 3 min on $5.00"
    )
    world.clock.forward(45 * MINUTE)
    said = status_line(world.rt, "claude_code", shown)
    assert said == "tallygate: idle 47 min: this turn rewrites 5 K, $5.00, warm $0.50"


@pytest.mark.parametrize(
    ("tokens", "minutes", "changes"),
    [
        ({}, 4, {}),
        ({"cache_read": 4_900, "cache_write_1h": 90, "output": 10}, 47, {}),
        ({"fresh_input": 4_990, "output": 10}, 47, {}),
        ({}, 47, {"cold_from_percent": 6}),
    ],
)
def test_what_is_cached_still_or_nobody_knows_or_costs_less_is_not_said(world, tokens, minutes, changes):
    world = world.with_runtime(**changes) if changes else world
    prompt(world, "p1")
    respond(world, **tokens)
    world.clock.forward(minutes * MINUTE)
    assert prompt(world, "p2").message is None


def test_only_a_prompt_of_the_conversation_itself_is_told(world):
    prompt(world, "p1")
    respond(world)
    world.clock.forward(47 * MINUTE)
    assert hook(world, Moment.TOOL, "t1", model="dear", tool="Bash").message is None
    assert prompt(world, "p3").message == SAID
    respond(world, "r2")
    world.clock.forward(47 * MINUTE)
    assert prompt(world, "p4", agent_id="a1").message is None


def test_where_the_prompt_is_stopped_only_that_is_said(world):
    world = world.with_runtime(session_limit_nanos=5 * NANOS)
    prompt(world, "p1")
    respond(world)
    world.clock.forward(47 * MINUTE)
    stopped = prompt(world, "p2")
    assert stopped.verdict is HookVerdict.STOP
    assert "rewrites" not in stopped.message
