"""How well quantiles of what calls cost are met: each call held against what those before it had taught."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from tallygate.core.learning.calibration import FactorSource, Learner, Level, SampleKey, StoredSample, expect
from tallygate.core.values import value


@value(frozen=True, slots=True)
class QuantileMet:
    """One quantile: how many of the calls cost at most that, and what would have been held for all of them."""

    percent: int
    covered: int
    calls: int
    held_nanos: int
    cost_nanos: int


def quantiles_met(
    samples: Iterable[StoredSample], percents: Sequence[int], counts: Callable[[StoredSample], bool]
) -> list[QuantileMet]:
    """Go through calls, the oldest first; those that are too early to have been learned from teach and do not count."""
    keys: dict[SampleKey, Learner] = defaultdict(Learner)
    pools: dict[str, Learner] = defaultdict(Learner)
    covered, held = [0] * len(percents), [0] * len(percents)
    calls = cost_nanos = 0
    for each in samples:
        sample, key, pool = each.sample, keys[each.key], pools[each.key.kind]
        told = expect(key, pool, sample.estimate_nanos, Level.of(sample.level_nanos))
        # First said, then learned: the other way round each call would have known its own cost.
        key.add(sample)
        pool.add(sample)
        if told.source is not FactorSource.LEARNED or not counts(each):
            continue
        calls += 1
        cost_nanos += sample.actual_nanos
        for at, percent in enumerate(percents):
            covered[at] += sample.actual_nanos <= told.upper_nanos(percent)
            held[at] += told.needed_nanos(percent)
    return [QuantileMet(percent, covered[at], calls, held[at], cost_nanos) for at, percent in enumerate(percents)]


@value(frozen=True, slots=True)
class AskedAgain:
    """A step that was refused, as it was asked for: what was said of it, and what its agent's steps had cost."""

    key: SampleKey
    at_us: int
    estimate_nanos: int
    level_nanos: int | None


def needed_again(
    samples: Sequence[StoredSample], asked: Sequence[AskedAgain], percents: Sequence[int]
) -> list[list[int]]:
    """What each step would have needed at each quantile, by what calls had taught that were counted before it."""
    keys: dict[SampleKey, Learner] = defaultdict(Learner)
    pools: dict[str, Learner] = defaultdict(Learner)
    found: dict[int, list[int]] = {}
    past = sorted(samples, key=lambda each: each.at_us)
    taught = 0
    for number, each in sorted(enumerate(asked), key=lambda item: item[1].at_us):
        while taught < len(past) and past[taught].at_us < each.at_us:
            sample = past[taught]
            keys[sample.key].add(sample.sample)
            pools[sample.key.kind].add(sample.sample)
            taught += 1
        told = expect(keys[each.key], pools[each.key.kind], each.estimate_nanos, Level.of(each.level_nanos))
        found[number] = [told.needed_nanos(percent) for percent in percents]
    return [found[number] for number in range(len(asked))]
