"""A hook after a pause: what the provider has forgotten meanwhile has to be read anew, and is reserved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.world import MINUTE, NANOS

from tallygate.core.costing import Tokens
from tallygate.core.hooks import HookEvent, Moment, Verdict
from tallygate.core.observed import ObservedUsage, Rule
from tallygate.operations.hooked import on_hook
from tallygate.operations.ingest import Reading, ingest

CENT = NANOS // 100


@pytest.fixture
def world(world):
    """A session may spend a dollar; a token of `dear` costs a tenth of a cent, from the cache a tenth of that."""
    return world.with_runtime(session_limit_nanos=100 * CENT, project="/home/me/p")


def prompt(world, key):
    return on_hook(world.rt, HookEvent("claude_code", Moment.PROMPT, "client-1", "UserPromptSubmit", key, model="dear"))


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
    ingest(world.rt, Reading("claude_code", "/t/client-1", [row]))


@pytest.mark.parametrize(("minutes", "verdict"), [(5, Verdict.GO_ON), (6, Verdict.STOP)])
def test_a_prompt_after_the_cache_was_lost_needs_what_the_whole_conversation_costs(world, minutes, verdict):
    start = HookEvent("claude_code", Moment.SESSION_START, "client-1", "SessionStart", "0", model="dear")
    on_hook(world.rt, start)
    # What was read for seven cents costs ninety to read and answer anew, and less is left.
    responded(world, Tokens(cache_write_5m=100))
    world.clock.forward(1)
    responded(world, Tokens(cache_read=700))
    world.clock.forward(minutes * MINUTE)
    assert prompt(world, "1").verdict is verdict
