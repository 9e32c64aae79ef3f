"""What sessions came to: which place in the order, from how many on, and when a range is told."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.history import ENOUGH, LAST, EndedSession, jobs, spread
from tallygate.core.money import NANOS_PER_UNIT as USD
from tallygate.core.proposals import proposals


def dollars(*amounts):
    return [int(amount * USD) for amount in amounts]


def shown(found):
    """A spread in dollars, as one row of a table."""
    held = found.range and (found.range.low_nanos / USD, found.range.high_nanos / USD)
    half = found.half_nanos and found.half_nanos / USD
    return (found.known, half, found.nine_nanos and found.nine_nanos / USD, held)


RISING = [*range(1, 21)]  # one dollar to twenty: p10 2, p90 19


# what sessions cost -> of how many, half below, nine in ten below, three in four between
@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([], (0, None, None, None)),
        ([1] * 9, (9, None, None, None)),
        ([*range(1, 11)], (10, 6, 10, None)),  # of ten the tenth: one in ten that come is dearer
        ([1] * 18 + [9], (19, 1, 1, None)),  # no range below twenty
        ([3] * 18 + [1, 9], (20, 3, 3, (3, 3))),  # the second from each end
        ([4] * 10 + [8] * 10, (20, 8, 8, (4, 8))),
        (RISING, (20, 11, 19, None)),  # nineteen is not below five times two
        ([each + 4 for each in RISING], (20, 15, 23, (6, 23))),
        ([2] * 3 + [9.9] * 17, (20, 9.9, 9.9, (2, 9.9))),  # 4.95 times
        ([2] * 3 + [10] * 17, (20, 10, 10, None)),  # five times is too wide
        ([900] * 60 + [5] * 50, (50, 5, 5, (5, 5))),  # the last fifty alone
    ],
)
def test_sessions_are_told_by_what_half_and_nine_in_ten_stayed_below(costs, expected):
    assert shown(spread(dollars(*costs))) == expected


def test_a_range_that_has_not_held_is_not_told():
    """What rises all the time leaves every range that is made of what was before."""
    rising = [100 + 5 * at for at in range(60)]
    assert spread(dollars(*rising)).range is None
    assert spread(dollars(*sorted(rising, key=lambda each: each * 7919 % 101))).range is not None


@pytest.mark.parametrize(
    ("costs", "tried", "fell"),
    [
        ([5] * 20, 0, 0),
        ([5] * 29, 9, 9),
        ([5] * 29 + [6], 10, 9),
        ([5] * 200, 50, 50),  # of the last fifty alone
        ([5, 7] * 10 + [6, 5, 7, 4], 4, 3),
    ],
)
def test_a_range_says_on_how_many_it_was_tried_and_for_how_many_it_held(costs, tried, fell):
    found = spread(dollars(*costs)).range
    assert (found.tried, found.fell) == (tried, fell)


def test_three_in_four_that_come_fall_in_the_range():
    chance = random.Random(18)
    fell = tried = 0
    for _ in range(150):
        costs = [int(chance.lognormvariate(0, 0.45) * USD) for _ in range(21 + chance.randrange(40))]
        held = spread(costs[:-1]).range
        if held is not None:
            tried, fell = tried + 1, fell + (held.low_nanos <= costs[-1] <= held.high_nanos)
    assert tried > 100
    assert fell / tried >= 0.72


COSTS = st.lists(st.integers(1, 10**15), max_size=120)


@given(COSTS)
def test_at_least_so_many_of_the_known_stayed_below_what_is_told(costs):
    found = spread(costs)
    last = costs[-LAST:]
    assert (found.half_nanos is None) == (len(last) < ENOUGH)
    if found.half_nanos is not None:
        assert 2 * sum(each <= found.half_nanos for each in last) >= len(last)
        assert 10 * sum(each <= found.nine_nanos for each in last) >= 9 * len(last)
        assert found.half_nanos <= found.nine_nanos
    if found.range is not None:
        assert 4 * sum(found.range.low_nanos <= each <= found.range.high_nanos for each in last) >= 3 * len(last)


@given(COSTS, st.integers(2, 1000))
def test_what_costs_so_many_times_as_much_is_told_at_so_many_times_as_much(costs, times):
    def scaled(found):
        ends = found.range and (found.range.low_nanos, found.range.high_nanos, found.range.tried, found.range.fell)
        return found.half_nanos, found.nine_nanos, ends

    half, nine, ends = scaled(spread(costs))
    again = scaled(spread([each * times for each in costs]))
    if half is None:
        assert again == (None, None, None)
    else:
        assert again == (half * times, nine * times, ends and (ends[0] * times, ends[1] * times, *ends[2:]))


def session(at, task, client="codex", project="/shop", cost=2):
    return EndedSession(at, int(cost * USD), client, project, task)


def test_a_job_is_what_agents_said_of_one_client_in_one_project_however_it_is_spelled():
    alike = [session(at, text) for at, text in enumerate(["Nightly triage", "nightly  TRIAGE.", "Nightly triage"] * 4)]
    others = [
        *(session(at, "nightly triage", client="qwen") for at in range(9)),
        *(session(at, "nightly triage", project="/other") for at in range(10)),
        *(session(at, None) for at in range(30)),
        *(session(at, "  ") for at in range(30)),
    ]
    found = jobs([*others, *reversed(alike)])
    assert [(each.job, each.client, each.project, each.spread.ended) for each in found] == [
        ("Nightly triage", "codex", "/shop", 12),
        ("nightly triage", "codex", "/other", 10),
    ]


def test_a_job_is_told_by_its_last_sessions_in_their_order():
    rising = [session(at, "build", cost=1 if at < 30 else 100) for at in range(80)]
    (found,) = jobs(rising[::-1])
    assert shown(found.spread)[:3] == (50, 100, 100)


@given(st.lists(st.integers(1, 10**12), min_size=10, max_size=60))
def test_history_and_the_proposal_of_limits_say_the_same_of_the_same_sessions(costs):
    told, proposed = spread(costs), proposals(costs, ()).session
    assert (told.half_nanos, told.nine_nanos) == (proposed.reached_by(50), proposed.reached_by(90))
