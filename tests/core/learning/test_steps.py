"""The next call of a session: its own level, and a conversation that has to be read anew after a pause."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.reading_rules import Rule

from tallygate.core.costing import Price, Rates, Tokens
from tallygate.core.learning.steps import (
    FIRST_CONTEXT_TOKENS,
    FIRST_KEPT_LONG,
    TYPICAL_OUTPUT_TOKENS,
    PastStep,
    next_step,
    of_actor,
)
from tallygate.core.usage import ObservedUsage, Quality

T0 = datetime(2026, 9, 21, 12, tzinfo=UTC)
# In nano-dollars a token: input 10, output 50, read 1, written for five minutes 12, for an hour 20.
PRICE = Price("m", Rates(10**7, 5 * 10**7, 10**6, 12 * 10**6, 20 * 10**6), "override", "1")
OUTPUT = 50 * TYPICAL_OUTPUT_TOKENS


def responded(*tokens):
    """Responses half a minute apart, the last one at T0."""
    return [
        PastStep(
            ObservedUsage("c", "s", str(at), T0 - timedelta(seconds=30 * at), "m", counts, Rule.CLAUDE_RESPONSE),
            PRICE.cost_nanos(counts),
        )
        for at, counts in zip(range(len(tokens) - 1, -1, -1), tokens, strict=True)
    ]


@pytest.mark.parametrize(
    ("first", "rate"),
    [(FIRST_KEPT_LONG, 1 + 20), (None, 1 + 10)],
    ids=["half of it written", "half of it read afresh"],
)
def test_before_any_response_it_takes_what_a_first_one_takes(first, rate):
    ahead = next_step([], PRICE, T0, first)
    assert ahead.nanos == FIRST_CONTEXT_TOKENS // 2 * rate + OUTPUT
    assert (ahead.prompt_tokens, ahead.completion_tokens) == (FIRST_CONTEXT_TOKENS, TYPICAL_OUTPUT_TOKENS)


def test_it_follows_the_level_of_the_last_steps():
    past = responded(Tokens(cache_read=400), Tokens(cache_read=1600), Tokens(cache_read=200))
    ahead = next_step(past, PRICE, T0)
    assert (ahead.nanos, ahead.prompt_tokens, ahead.completion_tokens) == (400, 200, 0)


def test_the_total_of_a_session_is_no_step_of_it():
    (total, step) = responded(Tokens(cache_read=90_000), Tokens(cache_read=400))
    total = replace(total, row=replace(total.row, quality=Quality.SESSION_TOTAL))
    assert of_actor([total, step], None) == [step]
    assert next_step(of_actor([total], None), PRICE, T0).nanos == next_step([], PRICE, T0).nanos


SHORT = Tokens(cache_read=90_000, cache_write_5m=900, output=100)
LONG = Tokens(cache_read=90_000, cache_write_1h=900, output=100)
UNSAID = Tokens(cache_read=90_000, fresh_input=900, output=100)


@pytest.mark.parametrize(
    ("last", "kept", "rate"),
    [(SHORT, timedelta(minutes=5), 12), (LONG, timedelta(hours=1), 20), (UNSAID, timedelta(minutes=5), 10)],
    ids=["written for five minutes", "written for an hour", "cached unsaid"],
)
def test_after_a_pause_in_which_the_cache_was_lost_everything_is_read_anew(last, kept, rate):
    past = responded(last)
    assert next_step(past, PRICE, T0 + kept).nanos == past[0].cost_nanos
    ahead = next_step(past, PRICE, T0 + kept + timedelta(seconds=1))
    assert ahead.nanos == 91_000 * rate + OUTPUT
    assert (ahead.prompt_tokens, ahead.completion_tokens) == (91_000, TYPICAL_OUTPUT_TOKENS)


def test_how_long_it_is_kept_is_known_from_the_last_response_that_wrote_anything():
    past = responded(LONG, SHORT, Tokens(cache_read=91_000, output=10))
    assert next_step(past, PRICE, T0 + timedelta(minutes=6)).nanos == 91_010 * 12 + OUTPUT


@pytest.mark.parametrize("pause", [timedelta(days=-1), timedelta(0), timedelta(days=400)])
def test_a_pause_never_makes_a_step_cheaper(pause):
    dear = Tokens(output=10**6)
    past = responded(dear, dear)
    assert next_step(past, PRICE, T0 + pause).nanos >= past[-1].cost_nanos
