"""What is learned from reconciled calls: bounds, windows, coverage; on amounts from a nano-dollar to the largest."""

from __future__ import annotations

import random
from math import exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallygate.core.learning.calibration import (
    LEARNED_AT,
    LEVEL_STEPS,
    MILLION,
    RATIO_WINDOW,
    WINDOW,
    CostOrigin,
    FactorSource,
    Learner,
    Level,
    Sample,
    _times,
    confidence,
    level_of,
)
from tallygate.core.learning.calibration import expect as expect_at
from tallygate.core.money import SUM_NANOS_MAX

amounts = st.one_of(st.integers(1, SUM_NANOS_MAX), st.integers(1, 10**9))
levels = st.none() | amounts
samples = st.builds(Sample, amounts, amounts, levels, amounts, amounts, st.sampled_from(CostOrigin))
percents = st.integers(1, 100)


def expect(key, pool, estimate, level):
    return expect_at(key, pool, estimate, Level.of(level))


def learned(history):
    learner = Learner()
    for sample in history:
        learner.add(sample)
    return learner


def first_call(sample):
    return Sample(sample.estimate_nanos, sample.cold_nanos, None, sample.expected_nanos, sample.actual_nanos)


def walked(steps, spread, *, ratio=3.0, seed=1, level=False):
    """A learner that has lived through calls whose estimates are off by a ratio and a spread, and what it expected."""
    chance = random.Random(seed)
    learner = Learner()
    told = []
    for _ in range(steps):
        estimate = chance.randint(10**6, 10**9)
        level_nanos = round(estimate * ratio) if level else None
        expectation = expect(learner, learner, estimate, level_nanos)
        actual = max(round(estimate * ratio * exp(chance.gauss(0, spread))), 1)
        told.append((expectation, actual))
        learner.add(
            Sample(estimate, expectation.cold_nanos, level_nanos, expectation.expected_nanos, actual),
        )
    return learner, told


@given(st.lists(samples, max_size=LEARNED_AT - 1), amounts, levels, percents)
def test_before_ten_calls_are_reconciled_an_estimate_is_taken_as_it_is_or_at_the_sessions_level(
    history, estimate, level, percent
):
    learner = learned(history)
    told = expect(learner, learner, estimate, level)
    assert (told.source, told.factor_micros) == (FactorSource.NONE, MILLION)
    assert told.expected_nanos == told.upper_nanos(percent) == estimate
    counts = max(estimate, level or 0)
    assert told.needed_nanos(percent) == counts, "the level of its own session counts where it is higher"
    assert (told.over_micros(counts), told.over_micros(counts - 1)) == (0, MILLION)


@pytest.mark.parametrize(
    "origin, costs, estimate, needed",
    [
        (CostOrigin.OBSERVED, [250], 66, 250),
        (CostOrigin.OBSERVED, [100, 250, 900], 66, 250),
        (CostOrigin.OBSERVED, [20], 66, 66),
        (CostOrigin.REPORTED, [250], 66, 66),
        (CostOrigin.OBSERVED, [], 66, 66),
    ],
    ids=["one was seen", "the middle of three", "no less than is said", "nobody saw it", "nothing is known"],
)
def test_before_ten_first_calls_are_known_one_needs_what_they_were_seen_to_cost(origin, costs, estimate, needed):
    cent = 10**7
    learner = learned([Sample(66 * cent, 66 * cent, None, 66 * cent, each * cent, origin) for each in costs])
    begins = Level.of(None, begins=True)
    found = expect_at(learner, learner, estimate * cent, begins).needed_nanos(80)
    assert abs(found - needed * cent) * 10**5 <= needed * cent, "logarithms are kept to the millionth"
    for level in (estimate * cent, None):
        other = expect(learner, learner, estimate * cent, level)
        assert other.needed_nanos(80) == estimate * cent, "later steps, subagents and what agents say do not"


def test_what_other_models_teach_counts_for_one_that_was_never_called():
    pool, _ = walked(200, 0.1, ratio=5)
    told = expect(Learner(), pool, 10**9, None)
    assert told.source is FactorSource.LEARNED
    assert (told.reconciled, told.confidence) == (0, "low")
    assert 4 * 10**9 < told.expected_nanos < 6 * 10**9


def test_a_constant_error_is_learned():
    learner, _ = walked(300, 0.0, ratio=4)
    usual = 5 * 10**8
    told = expect(learner, learner, usual, None)
    assert told.factor_micros == pytest.approx(4 * MILLION, rel=0.12)
    # Shrinkage leaves less of it the more there is to go by; what it leaves is in the residuals.
    assert told.upper_nanos(80) == pytest.approx(4 * usual, rel=0.12)


@pytest.mark.parametrize(
    ("reconciled", "expected"),
    [(0, "low"), (9, "low"), (10, "medium"), (49, "medium"), (50, "high"), (10**6, "high")],
)
def test_confidence_grows_with_what_was_reconciled(reconciled, expected):
    assert confidence(reconciled) == expected


@given(st.lists(samples, max_size=60), st.lists(samples, max_size=60), amounts, levels)
def test_a_higher_quantile_is_never_lower(key, others, estimate, level):
    told = expect(learned(key), learned([*others, *key]), estimate, level)
    uppers = [told.upper_nanos(percent) for percent in range(1, 101)]
    assert uppers == sorted(uppers)
    assert all(1 <= upper <= SUM_NANOS_MAX for upper in uppers)


@given(st.lists(samples, max_size=60), amounts, levels, amounts, amounts)
def test_the_more_is_left_the_less_likely_it_is_passed(history, estimate, level, one, other):
    learner = learned(history)
    told = expect(learner, learner, estimate, level)
    assert MILLION >= told.over_micros(min(one, other)) >= told.over_micros(max(one, other)) >= 0
    assert told.over_micros(0) == told.over_micros(-1) == MILLION


@given(st.lists(samples, min_size=20, max_size=60), amounts, levels, st.integers(-1, 1))
def test_what_passes_is_every_residual_above_what_is_left(history, estimate, level, beside):
    learner = learned(history)
    told = expect(learner, learner, estimate, level)
    reached = [_times(told.expected_nanos, residual) for residual in told.residuals]
    for left in {max(each + beside, 1) for each in reached} if len(reached) >= LEARNED_AT else ():
        above = sum(each > left for each in reached)
        assert told.over_micros(left) == above * MILLION // len(reached)


@given(st.lists(samples, min_size=20, max_size=60), amounts, levels, st.integers(1, 99))
def test_what_a_quantile_leaves_over_is_what_is_over_it(history, estimate, level, percent):
    learner = learned(history)
    told = expect(learner, learner, estimate, level)
    upper = told.upper_nanos(percent)
    if upper < SUM_NANOS_MAX:
        assert told.over_micros(upper) <= (100 - percent) * MILLION // 100 + MILLION // 50


money = st.integers(10**6, 10**9)
priced = st.builds(Sample, money, money, st.none() | money, money, money)


@given(st.lists(priced, min_size=10, max_size=40), money, st.none() | money, st.integers(2, 10**6))
def test_amounts_in_another_unit_give_the_same_expectation_in_that_unit(history, estimate, level, scale):
    def scaled(sample):
        return Sample(
            sample.estimate_nanos * scale,
            sample.cold_nanos * scale,
            sample.level_nanos and sample.level_nanos * scale,
            sample.expected_nanos * scale,
            sample.actual_nanos * scale,
        )

    plain, large = learned(history), learned(map(scaled, history))
    one = expect(plain, plain, estimate, level)
    other = expect(large, large, estimate * scale, level and level * scale)
    # Logarithms are kept in millionths.
    assert other.expected_nanos == pytest.approx(one.expected_nanos * scale, rel=1e-4)
    assert other.upper_nanos(80) == pytest.approx(one.upper_nanos(80) * scale, rel=1e-4)


@given(st.lists(samples, min_size=1, max_size=60), samples)
def test_one_absurd_call_moves_a_ratio_no_further_than_to_the_next_one(history, absurd):
    history, absurd = [first_call(sample) for sample in history], first_call(absurd)
    before, after = learned(history).all.first.ratios, learned([*history, absurd]).all.first.ratios
    ascending = before.values()
    middle = len(ascending) // 2
    assert ascending[max(middle - 1, 0)] <= after.middle <= ascending[min(middle + 1, len(ascending) - 1)] or (
        len(ascending) < 3 and abs(after.middle) <= 6 * MILLION
    )


@given(st.lists(samples, min_size=LEARNED_AT, max_size=60), samples, st.integers(20, 80))
def test_one_absurd_call_moves_a_quantile_no_further_than_to_the_next_residual(history, absurd, percent):
    history = [first_call(sample) for sample in history]
    old = learned(history).all.first.residuals.values()
    new = learned([*history, first_call(absurd)]).all.first.residuals.values()
    rank, new_rank = -(-(len(old) + 1) * percent // 100), -(-(len(new) + 1) * percent // 100)
    assert old[max(rank - 2, 0)] <= new[new_rank - 1] <= old[min(rank, len(old) - 1)]


def test_one_absurd_call_among_ten_does_not_reach_the_default_quantile():
    usual = [Sample(10**6, 10**6, None, 10**6, 10**6 + i) for i in range(LEARNED_AT - 1)]
    for absurd in (Sample(1, 1, None, 1, SUM_NANOS_MAX), Sample(SUM_NANOS_MAX, 1, None, SUM_NANOS_MAX, 1)):
        learner = learned([*usual, absurd])
        told = expect(learner, Learner(), 10**6, None)
        assert told.upper_nanos(80) <= told.expected_nanos + 20


@settings(max_examples=20)
@given(st.lists(samples, min_size=1, max_size=20), st.integers(0, 3 * WINDOW), amounts, levels)
def test_who_saw_everything_knows_what_one_knows_who_saw_the_last(pattern, length, estimate, level):
    history = [pattern[(i * i) % len(pattern)] for i in range(length)]
    kept = []
    for origin in CostOrigin:
        mine = [at for at, sample in enumerate(history) if sample.origin is origin]
        kept += [at for at in mine if history[at].level_nanos is None][-WINDOW:]
        kept += [at for at in mine if history[at].level_nanos is not None][-WINDOW:]
    kept.sort()
    everything, last = learned(history), learned([history[at] for at in kept])
    assert everything.all.count == last.all.count <= len(kept)
    assert everything.observed.count == last.observed.count
    assert expect(everything, everything, estimate, level) == expect(last, last, estimate, level)


def test_old_errors_are_forgotten():
    learner = learned([Sample(1, 1, None, 1, 10**6)] * 1000)
    for _ in range(RATIO_WINDOW):
        learner.add(Sample(10**6, 10**6, None, 10**6, 10**6))
    assert expect(learner, learner, 10**6, None).factor_micros == MILLION


@pytest.mark.parametrize("spread", [0.1, 1.0])
@pytest.mark.parametrize("level", [False, True])
@pytest.mark.parametrize("percent", [50, 80, 90, 95])
def test_as_many_calls_stay_below_a_quantile_as_it_says(spread, level, percent):
    _, told = walked(3000, spread, level=level)
    covered = [actual <= expectation.upper_nanos(percent) for expectation, actual in told[100:]]
    assert 100 * sum(covered) / len(covered) == pytest.approx(percent, abs=2.5)


@pytest.mark.parametrize(
    "later, percent, upper",
    [
        ([1, 1, 1, 1], 80, 1.0),  # all as expected: the largest of four is what 80 of 100 stay below
        ([1, 1, 1], 80, 3.0),  # too few to say anything: what is assumed
        ([1, 1, 1, 1], 90, 9 ** log(3, 4)),  # too few for that quantile
        ([1] * 9, 90, 1.0),
        ([1, 1, 1, 2], 80, 2.0),
        ([1, 1, 1, 50], 80, 3.0),  # few never widen what is assumed
        ([1] * 8 + [50] * 4, 80, 50.0),
    ],
)
def test_what_is_assumed_of_calls_narrows_with_the_first_few_that_are_seen(later, percent, upper):
    level = 10**9
    firsts = [Sample(level, level, None, level, level, CostOrigin.OBSERVED)] * LEARNED_AT
    seen = [Sample(level, level, level, level, level * each, CostOrigin.OBSERVED) for each in later]
    learner = learned([*firsts, *seen])
    told = expect(learner, learner, level, level)
    assert told.source is FactorSource.LEARNED
    assert told.upper_nanos(percent) == pytest.approx(told.expected_nanos * upper, rel=1e-5)


def test_first_calls_and_later_ones_are_off_in_ways_of_their_own():
    learner = learned(Sample(10**6, 10**6, None if at % 10 == 0 else 10**7, 10**6, 10**7) for at in range(200))
    for at in range(200):
        learner.add(Sample(10**6, 10**6, None, 10**6, 2 * 10**6 + at))
    assert 1.5 * 10**6 < expect(learner, learner, 10**6, None).expected_nanos < 2.5 * 10**6
    assert expect(learner, learner, 10**6, 10**7).expected_nanos > 8 * 10**6


def test_a_few_very_dear_calls_do_not_change_what_is_usual():
    """One call in ten that lost its cache and cost twenty times as much is in the quantiles, not in the factor."""
    learner = learned(Sample(10**6, 10**6, None, 10**6, 2 * 10**7 if at % 10 == 0 else 10**6) for at in range(200))
    told = expect(learner, learner, 10**6, None)
    assert told.expected_nanos == told.upper_nanos(80) == 10**6
    assert told.upper_nanos(95) == pytest.approx(2 * 10**7, rel=1e-6)


def test_the_agents_own_level_counts_for_more_where_it_was_better():
    good, bad = Learner(), Learner()
    for _ in range(50):
        good.add(Sample(10**6, 10**6, 10**7, 10**7, 10**7))
        bad.add(Sample(10**6, 10**6, 10**7, 10**6, 10**6))
    before = Learner().all.level_weight_micros(Learner().all)
    good, bad = good.all, bad.all
    assert before == 875_000
    assert bad.level_weight_micros(bad) < 100_000 < before < good.level_weight_micros(good)


def test_a_first_call_needs_what_is_expected_and_a_later_one_its_upper_bound():
    learner, _ = walked(100, 1.0, level=True)
    first, later = expect(learner, learner, 10**6, None), expect(learner, learner, 10**6, 3 * 10**6)
    assert first.needed_nanos(80) == first.expected_nanos
    assert later.needed_nanos(80) == later.upper_nanos(80) > later.expected_nanos


def test_without_residuals_of_its_kind_an_upper_bound_is_three_times_what_is_expected():
    learner, _ = walked(100, 0.1)
    told = expect(learner, learner, 10**6, 3 * 10**6)
    assert told.residuals == ()
    assert told.upper_nanos(80) == pytest.approx(3 * told.expected_nanos, rel=1e-5)
    assert told.upper_nanos(50) == told.expected_nanos
    assert told.over_micros(told.upper_nanos(80)) == pytest.approx(200_000, abs=2)


def test_calls_made_before_anything_was_learned_leave_no_trace_of_their_bad_estimates():
    """Their bounds are measured against what would have been expected, not against the estimate that was taken."""
    history = [Sample(10**3, 10**3, 10**6, 10**3, 10**6)] * LEARNED_AT
    learner = learned(history)
    assert expect(learner, learner, 10**3, 10**6).upper_nanos(80) < 3 * 10**6


@given(st.lists(st.integers(10**6, SUM_NANOS_MAX), min_size=1, max_size=100))
def test_a_level_follows_the_last_calls(actuals):
    level = level_of(actuals)
    assert level == level_of(actuals[-LEVEL_STEPS:])
    assert min(actuals) <= level <= max(actuals)
    expected = log(actuals[-LEVEL_STEPS:][0])
    for actual in actuals[-LEVEL_STEPS:][1:]:
        expected = (expected + log(actual)) / 2
    assert log(level) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("actuals", "level"), [([], None), ([0], 1), ([8], 8), ([4, 16], 8), ([4, 16, 2], 4)])
def test_a_level_by_hand(actuals, level):
    assert level_of(actuals) == level
