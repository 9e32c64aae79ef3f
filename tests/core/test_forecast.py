"""Forecasts: what is said follows the rules of what has held, and nothing is said before it can be."""

from __future__ import annotations

import os
from itertools import accumulate
from pathlib import Path

import pytest
from bench.pool import sessions_in
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core import forecast
from tallygate.core.forecast import (
    FIRST_CALL,
    HOUR_US,
    MINUTE_US,
    POOL,
    RANGE_CALL,
    SessionCosts,
    SessionForecast,
    at_work,
    burn,
    chance_to_pass,
    is_dearer_than_it_looked,
    multipliers_of,
    quantile,
    session_forecast,
    session_told,
    sessions_record,
    work_left,
    work_record,
    work_told,
)

CENT = 10_000_000
EVEN = [CENT] * 100
OWN = [[CENT] * 60] * 20


@pytest.mark.parametrize(
    ("calls", "own", "said"),
    [
        (FIRST_CALL - 1, OWN, None),
        (FIRST_CALL, OWN, "9 of 10 like this end below $0.60"),
        (RANGE_CALL - 1, OWN, "9 of 10 like this end below $1.93"),
        (RANGE_CALL, OWN, "likely $0.50 to $1.44, half end below $0.60"),
        (RANGE_CALL, [[CENT] * 20] * 9 + [[CENT] * 40] * 2, "longer than 9 of your last 11"),
        (RANGE_CALL, [], "longer than 0 of your last 0"),
        (80, [[CENT] * 60] * 60, "longer than 50 of your last 50"),
    ],
)
def test_a_session_is_told_by_its_call_and_by_how_many_own_ones_got_so_far(calls, own, said):
    found = session_forecast(calls * CENT, calls, own)
    assert (None if found is None else session_told(found)) == said


def test_only_the_last_fifty_of_ones_own_sessions_say_something():
    old, new = [[CENT] * 1000] * 50, [[CENT] * 60] * 50
    assert session_forecast(CENT * 30, 30, old + new) == session_forecast(CENT * 30, 30, new)


@given(
    st.integers(1, 10**13),
    st.integers(1, 400),
    st.lists(st.lists(st.integers(0, 10**12), max_size=60), max_size=60),
)
def test_a_forecast_is_never_below_what_is_spent_and_its_parts_stand_in_order(spent, calls, own):
    found = session_forecast(spent, calls, own)
    if found is None or found.nine_in_ten is None:
        return
    assert found.nine_in_ten >= spent
    if found.low is not None:
        assert spent <= found.low <= found.middle <= found.high == found.nine_in_ten


@pytest.mark.parametrize(
    ("limit", "calls", "said"),
    [
        (10**12, 30, None),
        (61 * CENT, 30, "about 1 in 4"),
        (45 * CENT, 30, "nearly sure"),
        (45 * CENT, 29, None),
    ],
)
def test_the_chance_to_pass_a_limit_is_said_from_one_in_four_on(limit, calls, said):
    assert chance_to_pass(limit, calls * CENT, calls, [[CENT] * 60] * 12) == said


def test_a_session_is_marked_once_it_passes_what_was_said_at_its_tenth_call():
    first = SessionForecast(nine_in_ten=100, own=9)
    assert not is_dearer_than_it_looked(100, first)
    assert is_dearer_than_it_looked(101, first)
    assert not is_dearer_than_it_looked(101, SessionForecast(longer_than=3, own=3))
    assert not is_dearer_than_it_looked(101, None)


def test_the_pool_that_is_shipped_is_in_order():
    assert [number for number, _ in POOL] == sorted({number for number, _ in POOL})
    for _, row in POOL:
        assert list(row) == sorted(row)
        assert row[0] >= 1_000_000


def steady(minutes, nanos=CENT, every=1):
    return [(number * every * MINUTE_US, nanos) for number in range(minutes // every)]


def test_a_pause_counts_ten_minutes_at_most_and_a_clock_that_goes_back_none():
    assert [at for at, _ in at_work([(0, 1), (MINUTE_US, 1), (10 * HOUR_US, 1), (9 * HOUR_US, 1)])] == [
        0, MINUTE_US, 11 * MINUTE_US, 11 * MINUTE_US,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("work", "an_hour"),
    [
        ([], None),
        (steady(4), None),
        (steady(60), 60 * CENT),
        (steady(16), 60 * CENT),
        (steady(60, nanos=0), None),
        (steady(60)[:30] + [(at, 3 * CENT) for at, _ in steady(60)[30:]], 180 * CENT),
    ],
)
def test_the_burn_is_that_of_the_last_half_hour_at_work(work, an_hour):
    assert burn(work) == an_hour


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (80 * CENT, "about 1 h 20 of work left (40 min to 2 h 40)"),
        (0, "about 5 min of work left (5 min to 5 min)"),
        (-5, "about 5 min of work left (5 min to 5 min)"),
        (241 * CENT, "enough for more than 4 h at this pace"),
    ],
)
def test_work_left_is_told_in_time_at_work_and_not_beyond_four_hours(left, said):
    assert work_told(work_left(left, steady(60))) == said


def test_where_nothing_burns_nothing_is_said_of_the_work_left():
    assert work_left(CENT, []) is None


def test_multipliers_are_wide_until_there_were_enough_earlier_moments_and_then_ones_own():
    assert multipliers_of(steady(60)) == (500_000, 1_000_000, 2_000_000)
    low, middle, high = multipliers_of(steady(1_000))
    assert 900_000 <= low <= middle <= high <= 1_100_000


@given(st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**12)), max_size=80), st.integers(0, 10**13))
def test_no_history_makes_work_left_absurd(spent, left):
    work = at_work(sorted(spent))
    found = work_left(left, work, multipliers_of(work))
    assert found is None or 0 <= found.low_us <= found.middle_us <= found.high_us


# --- on recorded sessions --------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = Path(os.environ.get("TALLYGATE_CORPUS") or ROOT.parent / "shared" / "corpus")


@pytest.mark.skipif(not (CORPUS / "steps.tsv.gz").exists(), reason="the corpus is not here")
@pytest.mark.parametrize(("calls", "covers", "below"), [(10, (76, 88), (84, 95)), (30, (70, 92), (80, 97))])
def test_walked_forward_over_recorded_sessions_eight_in_ten_end_inside(calls, covers, below):
    sessions = sessions_in([CORPUS / "steps.tsv.gz", CORPUS / "steps_short.tsv.gz"])
    inside = under = told = 0
    for number, costs in enumerate(sessions):
        spent = list(accumulate(costs))
        ratios = forecast.ratios_at(sessions[:number], calls)[-50:]
        if len(costs) <= calls or spent[calls - 1] <= 0 or len(ratios) < 3:
            continue
        known = sorted([*ratios, *forecast._pool_at(calls)])
        low, high = (forecast._of(spent[calls - 1], quantile(known, share)) for share in (10, 90))
        told += 1
        inside += low <= spent[-1] <= high
        under += spent[-1] <= high
    assert told >= 30
    assert covers[0] <= inside * 100 // told <= covers[1]
    assert below[0] <= under * 100 // told <= below[1]


# ---------------------------------------------------------------- how forecasts did


def ended(number, costs, *, every_us=MINUTE_US):
    """The so-manieth session, each begun after the one before has ended."""
    start = number * 10_000 * MINUTE_US
    return SessionCosts(start + len(costs) * every_us, [start + at * every_us for at in range(len(costs))], list(costs))


def test_no_forecast_of_a_session_is_made_of_what_came_after_it():
    alike = [ended(number, [CENT] * 20) for number in range(10)]
    record = sessions_record(alike, 10)
    assert (record.told, record.held, record.percent) == (7, 7, 90), "three before it make the first one"
    assert sessions_record([*alike, ended(20, [CENT] * 10 + [CENT * 10_000])], 10).held == 7
    at_once = [SessionCosts(10**15, each.moments, each.costs) for each in alike]
    assert sessions_record(at_once, 10).told == 0, "none had ended when the others were asked about"


def test_the_last_fifty_forecasts_count():
    odd = [ended(number, [CENT] * 10 + [CENT * 10_000 * (number % 2)]) for number in range(40)]
    alike = [ended(number + 100, [CENT] * 20) for number in range(60)]
    record = sessions_record([*alike, *odd], 10)
    assert (record.told, record.held) == (50, 50)


def test_a_range_holds_what_ends_within_it():
    alike = [ended(number, [CENT] * 60) for number in range(8)]
    record = sessions_record([*alike, ended(9, [CENT] * 30 + [CENT * 10_000])], 30)
    assert (record.told, record.held, record.percent) == (6, 5, 80)


def test_work_at_an_even_pace_lasts_as_was_said_and_what_stops_does_not():
    even = [(at * MINUTE_US, CENT) for at in range(0, 600, 2)]
    record = work_record(even)
    assert record.told == record.held > 40
    slower = [*even, *((600 * MINUTE_US + at * 9 * MINUTE_US, CENT) for at in range(60))]
    fallen = work_record(slower)
    assert fallen.held < fallen.told == 50
    assert work_record([]) == work_record(even[:3])
    assert work_record([]).told == 0
