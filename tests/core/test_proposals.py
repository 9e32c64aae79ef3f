"""Limits that fit a history: which place in the order, how they are rounded, what they are with little known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.money import NANOS_PER_UNIT as USD
from tallygate.core.proposals import DAY_NANOS, DAYS, SESSION_NANOS, SESSIONS, proposals, rounded_up


def dollars(*amounts):
    return [int(amount * USD) for amount in amounts]


# what sessions cost -> the limit, how many of the known are over it, whether it is our own figure
@pytest.mark.parametrize(
    ("costs", "limit", "over", "is_ours"),
    [
        ([], 15, 0, True),
        ([0.1] * 9, 15, 0, True),
        ([0.1] * 8 + [31], 50, 0, True),  # the dearest so far
        ([0.1] * 10, 0.5, 0, False),
        ([0.1] * 9 + [31], 50, 0, False),  # of ten the tenth
        ([0.1] * 18 + [4, 31], 5, 1, False),  # of twenty the nineteenth
        ([0.1] * 45 + [1.01] + [9] * 4, 2, 4, False),  # of fifty the forty-sixth
        ([900] * 30 + [0.2] * 50, 0.5, 0, False),  # only the last fifty say anything
        ([2] * 12, 2, 0, False),  # a figure that is round stays
    ],
)
def test_the_limit_of_a_session_is_what_nine_of_ten_stayed_below_rounded_up(costs, limit, over, is_ours):
    found = proposals(dollars(*costs), []).session
    assert (found.limit_nanos / USD, found.over, found.is_ours) == (limit, over, is_ours)


@pytest.mark.parametrize(
    ("sessions", "days", "limit"),
    [
        ([], [], 50),
        ([], [7] * 9 + [], 50),
        ([], [7] * 8 + [80], 100),
        ([], [7] * 30, 30),  # twice what a session may spend
        ([1] * 10, [7] * 30, 7.5),
        ([1] * 10, [0.6] * 30, 2),
        ([40] * 10, [7] * 30, 100),
    ],
)
def test_the_limit_of_a_day_is_never_below_two_sessions(sessions, days, limit):
    assert proposals(dollars(*sessions), dollars(*days)).day.limit_nanos / USD == limit


def test_figures_are_those_that_people_use():
    steps = [0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500]
    assert [rounded_up(nanos) for nanos in dollars(*steps)] == dollars(*steps)
    assert [rounded_up(nanos + 1) for nanos in dollars(*steps[:-1])] == dollars(*steps[1:])


COSTS = st.lists(st.integers(1, 10**15), max_size=80)


@given(COSTS, COSTS)
def test_a_proposal_stops_at_most_one_in_ten_of_what_it_rests_on(sessions, days):
    found = proposals(sessions, days)
    for part, costs in ((found.session, sessions[-SESSIONS:]), (found.day, days[-DAYS:])):
        assert part.known == len(costs)
        assert part.over == sum(cost > part.limit_nanos for cost in costs) <= len(costs) / 10
        assert part.is_ours is (len(costs) < 10)
    assert found.day.limit_nanos >= 2 * found.session.limit_nanos
    assert not found.session.is_ours or found.session.limit_nanos >= SESSION_NANOS
    assert not found.day.is_ours or found.day.limit_nanos >= DAY_NANOS
