"""A hook after a pause: what the provider has forgotten meanwhile has to be read anew, and is reserved."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.reading_rules import Rule
from tests.world import MINUTE, NANOS, hook_event

from tallygate.core.costing import Tokens
from tallygate.core.hooks import HookVerdict, Moment
from tallygate.core.learning.steps import PastStep, is_compacted
from tallygate.core.usage import ObservedUsage
from tallygate.operations.gate.authorize import StatedStep, check
from tallygate.operations.hooks import answer_hook
from tallygate.operations.sessions.opening import open_session_of
from tallygate.operations.usage.ingest import FileReading, ingest

CENT = NANOS // 100


@pytest.fixture
def world(world):
    """A session may spend a dollar; a token of `dear` costs a tenth of a cent, from the cache a tenth of that."""
    return world.with_runtime(session_limit_nanos=100 * CENT, project="/home/me/p")


def prompt(world, key):
    return answer_hook(
        world.rt, hook_event("claude_code", Moment.PROMPT, "client-1", "UserPromptSubmit", key, model="dear")
    )


def responded(world, tokens):
    row = ObservedUsage(
        client="claude_code",
        session="client-1",
        response_key=f"m{world.clock.at_us}",
        at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us),
        model="dear",
        tokens=tokens,
        rule=Rule.CLAUDE_RESPONSE,
        project="/home/me/p",
    )
    ingest(world.rt, FileReading("claude_code", "/t/client-1", [row]))


@pytest.mark.parametrize(("minutes", "verdict"), [(5, HookVerdict.GO_ON), (6, HookVerdict.STOP)])
def test_a_prompt_after_the_cache_was_lost_needs_what_the_whole_conversation_costs(world, minutes, verdict):
    start = hook_event("claude_code", Moment.SESSION_START, "client-1", "SessionStart", "0", model="dear")
    answer_hook(world.rt, start)
    # What was read for seven cents costs ninety to read and answer anew, and less is left.
    responded(world, Tokens(cache_write_5m=100))
    world.clock.forward(1)
    responded(world, Tokens(cache_read=700))
    world.clock.forward(minutes * MINUTE)
    assert prompt(world, "1").verdict is verdict


def told(world, moment, name, key=None):
    return answer_hook(world.rt, hook_event("claude_code", moment, "client-1", name, key, model="dear"))


def reserved(world):
    """What the session's budget holds, in tenths of a cent: tokens of `dear`."""
    return world.budget(account(world)).reserved // (CENT // 10)


def account(world):
    return open_session_of(world.rt, "claude_code", "client-1").session_id


def held_by(world, moment, name, key):
    before = reserved(world)
    assert not told(world, moment, name, key).stops
    world.clock.forward(1)
    return reserved(world) - before


def test_the_call_after_a_compaction_holds_what_the_whole_conversation_costs_and_the_one_after_that_does_not(world):
    told(world, Moment.SESSION_START, "SessionStart")
    responded(world, Tokens(cache_write_5m=10))
    world.clock.forward(1)
    responded(world, Tokens(cache_read=300, output=50))
    world.clock.forward(1)
    assert held_by(world, Moment.PROMPT, "UserPromptSubmit", "p0") < 100
    assert held_by(world, Moment.COMPACTION, "PreCompact", None) == 0
    # 350 tokens are read anew, and 200 answered.
    assert held_by(world, Moment.PROMPT, "UserPromptSubmit", "p1") == 350 + 200
    responded(world, Tokens(cache_write_5m=20, output=10))
    world.clock.forward(1)
    assert held_by(world, Moment.PROMPT, "UserPromptSubmit", "p2") < 100


def test_what_an_agent_says_after_a_compaction_is_held_against_the_whole_conversation(world):
    told(world, Moment.SESSION_START, "SessionStart")
    responded(world, Tokens(cache_write_5m=300, output=10))
    world.clock.forward(1)
    step = StatedStep(account(world), "plan", "dear", prompt_tokens=10, completion_tokens=0)
    before = check(world.rt, account(world), step)
    assert held_by(world, Moment.COMPACTION, "PreCompact", None) == 0
    after = check(world.rt, account(world), step)
    assert "read anew" not in (before.would.message or "")
    assert "the whole conversation has to be read anew" in after.would.message


def test_a_client_that_writes_its_compactions_down_tells_by_that(world):
    at = datetime(1970, 1, 1, tzinfo=UTC)
    summary = ObservedUsage("copilot", "client-1", "m1", at, "dear", Tokens(output=1), Rule.COPILOT_COMPACTION)
    assert is_compacted([PastStep(summary, 1)], None)
    assert not is_compacted([PastStep(replace(summary, rule=Rule.COPILOT_RECORD), 1)], None)
    assert not is_compacted([], at)
