"""What the next turn costs by its context: by how long the cache keeps it as recorded, never by a guess of nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.reading_rules import Rule

from tallygate.core.costing import Price, Rates, Tokens
from tallygate.core.moments import as_datetime
from tallygate.core.turns import MINUTE_US, is_worth_saying, next_turn, turn_told
from tallygate.core.usage import ObservedUsage

AT = 1_790_000_000_000_000
NANOS = 10**9
# In nano-dollars a million tokens: $5 and $25 a million, cache reads at $0.50, writes at $6.25 and $10.
OPUS = Price("opus", Rates(5 * NANOS, 25 * NANOS, NANOS // 2, 6 * NANOS + NANOS // 4, 10 * NANOS), "catalog", "1")
MANY = 479_000


def row(**tokens):
    return ObservedUsage("claude_code", "s", "r", as_datetime(AT), "opus", Tokens(**tokens), Rule.CLAUDE_RESPONSE)


def turn(*, price=OPUS, written="cache_write_5m"):
    last = row(cache_read=MANY, output=1_000)
    return next_turn(last, None if written is None else row(**{written: 5}), price)


@pytest.mark.parametrize(
    ("written", "minutes", "text"),
    [
        ("cache_write_5m", 47, "idle 47 min: this turn rewrites 480 K, $3.00, warm $0.24"),
        ("cache_write_5m", 5, "next turn reads 480 K, $0.24; from in 1 min on $3.00"),
        ("cache_write_5m", 1, "next turn reads 480 K, $0.24; from in 4 min on $3.00"),
        ("cache_write_1h", 47, "next turn reads 480 K, $0.24; from in 13 min on $4.80"),
        ("cache_write_1h", 125, "idle 2 h 5 min: this turn rewrites 480 K, $4.80, warm $0.24"),
        (None, 125, "next turn reads 480 K, $0.24 while it is cached"),
    ],
)
def test_it_is_said_by_the_lifetime_of_the_last_write_that_was_recorded(written, minutes, text):
    assert turn_told(turn(written=written), AT + minutes * MINUTE_US) == text


def test_a_price_that_nobody_knows_and_one_of_nothing_say_nothing():
    assert turn(price=replace(OPUS, known=False)) is None
    assert turn(price=Price("local", Rates(0, 0, 0, 0, 0), "local", "")) is None
    assert next_turn(row(), None, OPUS) is None


@pytest.mark.parametrize(
    ("limit_nanos", "percent", "minutes", "is_said"),
    [
        (60_000_000_000, 5, 6, True),
        (60_000_000_001, 5, 6, False),
        (60_000_000_000, 5, 5, False),
        (300_000_000_000, 1, 6, True),
        (None, 5, 6, True),
    ],
)
def test_it_is_worth_saying_from_a_share_of_the_limit_on_once_it_is_cold(limit_nanos, percent, minutes, is_said):
    assert is_worth_saying(turn(), AT + minutes * MINUTE_US, limit_nanos, percent) is is_said


def test_where_nobody_knows_how_long_it_is_kept_nothing_is_said():
    assert not is_worth_saying(turn(written=None), AT + 10**12, 1, 5)
