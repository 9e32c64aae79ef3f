from __future__ import annotations

from itertools import pairwise

from tallygate.core.learning.calibration import LEARNED_AT, CostOrigin, Sample, SampleKey, StoredSample
from tallygate.core.learning.coverage import AskedAgain, needed_again, quantiles_met


def samples(actuals):
    key = SampleKey("hook", "client", "model")
    return [
        StoredSample(n, f"c{n}", "s", key, "", n, Sample(100, 100, 100, 100, actual, CostOrigin.OBSERVED))
        for n, actual in enumerate(actuals)
    ]


def test_each_call_is_held_against_what_those_before_it_had_taught():
    steady = samples([100] * 60)
    low, high = quantiles_met(steady, (50, 90), lambda _: True)
    assert low.calls == 60 - LEARNED_AT, "the first ones had nothing to go by"
    assert (low.covered, high.covered, high.cost_nanos) == (low.calls, low.calls, low.calls * 100)
    # One that costs ten times as much is below no quantile that was known before it.
    sudden = quantiles_met(samples([100] * 60 + [1000]), (50, 95), lambda _: True)
    assert [each.calls - each.covered for each in sudden] == [1, 1]


def test_a_higher_quantile_covers_no_less_and_would_have_held_no_less():
    found = quantiles_met(samples([60 + n * 37 % 90 for n in range(200)]), (50, 60, 70, 80, 90, 95), lambda _: True)
    for one, other in pairwise(found):
        assert one.covered <= other.covered
        assert one.held_nanos <= other.held_nanos
    assert abs(1000 * found[3].covered // found[3].calls - 800) < 60


def test_what_does_not_count_teaches_all_the_same():
    found = quantiles_met(samples([100] * 40), (80,), lambda each: each.number >= 30)
    assert (found[0].calls, found[0].covered) == (10, 10)


def test_a_refused_step_is_asked_about_again_by_what_was_counted_before_it():
    past = samples([100] * 40 + [100_000] * 40)
    moments = (past[0].at_us, past[40].at_us, past[-1].at_us + 1)
    asked = [AskedAgain(past[0].key, at_us, 100, 100) for at_us in moments]
    none, cheap, dear = needed_again(past, asked, (50, 95))
    assert none == needed_again([], asked[:1], (50, 95))[0], "what came after it has taught nothing"
    assert cheap[0] <= cheap[1] < dear[1]
    assert needed_again(past, asked[::-1], (50, 95)) == [dear, cheap, none], "in the order in which they are given"
