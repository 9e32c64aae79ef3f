"""What a call will probably cost, learned from how far earlier estimates were off.

Costs are modelled in logarithms. Inside, a logarithm is a whole number of millionths, so that sums are exact, and what
is learned depends on the samples alone, not on when a process started or in how many pieces they came.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, isqrt, log

from tallygate.core.money import SUM_NANOS_MAX

MILLION = 1_000_000

# Ratios and errors are those of this many samples; residuals are kept for this many.
RATIO_WINDOW = 200
RESIDUAL_WINDOW = 400
# So many samples must be loaded of first calls and of later calls, to know all that a learner ever knew.
WINDOW = max(RATIO_WINDOW, RESIDUAL_WINDOW)
# The cost so far of an agent's responses follows from this many: an earlier one weighs less than a thirty-thousandth.
LEVEL_STEPS = 16

# Below this many reconciled calls nothing counts as learned, and residuals are taken from a wider group.
LEARNED_AT = 10
CONFIDENT_AT = 50

# No sample counts as further off than e^6 = 403 times.
_CLIP = 6 * MILLION
# The pool weighs as much as this many samples of the key, and "the estimate is right" as many of the pool.
_PRIOR = 8
# Mean squared errors before data, in squared logarithms: of a corrected estimate, and of an agent's own level. With the
# floor below they give the level 7/8 of the weight.
_COLD_ERROR = MILLION**2
_LEVEL_ERROR = MILLION**2 // 10
_ERROR_FLOOR = MILLION**2 // 20
# Before residuals: 80 of 100 calls cost less than three times what is expected, and half of them less than that.
_UNSEEN_SPREAD = log(3) / log(4)


class Kind(StrEnum):
    """Whose number an estimate was: an agent's own, or what a hook took from its past steps."""

    AGENT = "agent"
    HOOK = "hook"


class Source(StrEnum):
    """Where the factor between an estimate and what is expected comes from."""

    NONE = "none"
    LEARNED = "learned"


class Confidence(StrEnum):
    """How much to make of what was learned."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Sample:
    """One reconciled call in nano-dollars: what was said before it was made, and what it cost; all above zero.

    `cold_nanos`, `level_nanos` and `expected_nanos` are as the `Expectation` had them; without a level it was the first
    call of its agent.
    """

    estimate_nanos: int
    cold_nanos: int
    level_nanos: int | None
    expected_nanos: int
    actual_nanos: int


class Learner:
    """What the last samples of one key teach: the usual ratio, the errors of both predictors, and the residuals.

    The first calls of agents are kept apart: what they read is in no cache, so that their estimates are off in another
    way. The state follows exactly from the last `WINDOW` samples of first calls and the last `WINDOW` of later ones, in
    the order in which they were reconciled. No sample counts as further off than 403 times, and none moves a ratio or
    a quantile further than to the next one in order of size, as long as the quantile is not the largest.
    """

    __slots__ = ("_cold_errors", "_level_errors", "first", "later")

    def __init__(self) -> None:
        self.first = _Group()
        self.later = _Group()
        self._cold_errors = _Mean()
        self._level_errors = _Mean()

    def add(self, sample: Sample) -> None:
        """Learn from one reconciled call, and forget what is now too long ago."""
        actual = logarithm_micros(sample.actual_nanos)
        group = self.first if sample.level_nanos is None else self.later
        group.ratios.add(_clipped(actual - logarithm_micros(sample.estimate_nanos)))
        group.residuals.add(_clipped(actual - logarithm_micros(_predicted(sample))))
        if sample.level_nanos is not None:
            self._cold_errors.add(_clipped(actual - logarithm_micros(sample.cold_nanos)) ** 2)
            self._level_errors.add(_clipped(actual - logarithm_micros(sample.level_nanos)) ** 2)

    @property
    def count(self) -> int:
        """How many reconciled calls it remembers."""
        return len(self.first.residuals) + len(self.later.residuals)

    def group(self, *, first: bool) -> _Group:
        return self.first if first else self.later

    def level_weight_micros(self, pool: Learner) -> int:
        """How much of a prediction the agent's own level is: by the errors that it and the estimate had."""
        cold = self._cold_errors.shrunk(pool._cold_errors.shrunk(_COLD_ERROR)) + _ERROR_FLOOR
        level = self._level_errors.shrunk(pool._level_errors.shrunk(_LEVEL_ERROR)) + _ERROR_FLOOR
        return MILLION * cold // (cold + level)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a call will probably cost, in nano-dollars; with `Source.NONE` it is the estimate as it was given.

    `cold_nanos` is the estimate corrected by what is known, `level_nanos` the agent's own cost so far (none at its
    first call), `factor_micros` what is expected as a share of the estimate. `residuals` are the logarithms by which
    such calls were off, ascending.
    """

    estimate_nanos: int
    cold_nanos: int
    level_nanos: int | None
    expected_nanos: int
    factor_micros: int
    source: Source
    reconciled: int
    residuals: Sequence[int] = ()

    @property
    def confidence(self) -> Confidence:
        return confidence(self.reconciled)

    def upper_nanos(self, percent: int) -> int:
        """What so many of 100 such calls stay below: the conformal quantile of the residuals, rounded up.

        Of n residuals it takes number ceil((n + 1) * percent / 100), or the largest where there are too few for that.
        """
        if self.source is Source.NONE:
            return self.expected_nanos
        count = len(self.residuals)
        if count < LEARNED_AT:
            return _times(self.expected_nanos, _unseen_quantile(percent))
        rank = -(-(count + 1) * max(percent, 1) // 100)
        return _times(self.expected_nanos, self.residuals[min(rank, count) - 1])

    def needed_nanos(self, percent: int) -> int:
        """What has to be left for the call: what is expected of an agent's first one, of a later one its upper bound.

        Where the first call is refused nothing is done at all, so that it is not held to a bound that is as wide as
        the estimates of first calls are bad.
        """
        return self.expected_nanos if self.level_nanos is None else self.upper_nanos(percent)

    def over_micros(self, available_nanos: int) -> int:
        """The share of such calls, in millionths, that would cost more than there is left."""
        if self.source is Source.NONE:
            return MILLION if self.expected_nanos > available_nanos else 0
        if available_nanos <= 0:
            return MILLION
        count = len(self.residuals)
        if count < LEARNED_AT:
            return _unseen_over(logarithm_micros(available_nanos) - logarithm_micros(self.expected_nanos))
        within = bisect_right(self.residuals, available_nanos, key=lambda r: _times(self.expected_nanos, r))
        return (count - within) * MILLION // count


def expect(key: Learner, pool: Learner, estimate_nanos: int, level_nanos: int | None) -> Expectation:
    """What a call will probably cost, from an estimate above zero and what the agent's calls have cost so far.

    `key` has learned from calls of the same client and model, `pool` from all of the same kind of estimate.
    """
    own, all_ = (learner.group(first=level_nanos is None) for learner in (key, pool))
    cold_nanos = _times(estimate_nanos, own.usual(all_))
    if max(key.count, pool.count) < LEARNED_AT:
        return Expectation(estimate_nanos, cold_nanos, level_nanos, estimate_nanos, MILLION, Source.NONE, key.count)
    expected_nanos = _blended(cold_nanos, level_nanos, key.level_weight_micros(pool))
    return Expectation(
        estimate_nanos,
        cold_nanos,
        level_nanos,
        expected_nanos,
        max(expected_nanos * MILLION // estimate_nanos, 1),
        Source.LEARNED,
        key.count,
        next((group.residuals.values() for group in (own, all_) if len(group.residuals) >= LEARNED_AT), ()),
    )


def level_of(actuals: Sequence[int]) -> int | None:
    """What an agent's calls cost by now, from what they have cost, the oldest first.

    A moving average of the logarithms in which every call weighs as much as all before it, so that it follows a growing
    context within a few steps. Only the last `LEVEL_STEPS` count.
    """
    level: int | None = None
    for actual in actuals[-LEVEL_STEPS:]:
        level = max(actual, 1) if level is None else geometric_mean(level, actual)
    return level


def geometric_mean(one: int, other: int) -> int:
    """The middle between two logarithms, in whole numbers and rounded up; nothing counts as one."""
    return isqrt(max(one, 1) * max(other, 1) - 1) + 1


def confidence(reconciled: int) -> Confidence:
    """How much to make of what so many reconciled calls teach."""
    if reconciled < LEARNED_AT:
        return Confidence.LOW
    return Confidence.MEDIUM if reconciled < CONFIDENT_AT else Confidence.HIGH


def logarithm_micros(nanos: int) -> int:
    """The natural logarithm of an amount above zero, in millionths."""
    return round(log(nanos) * MILLION)


def factor_micros(logarithm: int) -> int:
    """The factor, in millionths, whose logarithm that is."""
    return _times(MILLION, logarithm)


class _Mean:
    """The mean of the last numbers, drawn to a prior one."""

    __slots__ = ("_last", "_sum")

    def __init__(self) -> None:
        self._last: deque[int] = deque()
        self._sum = 0

    def add(self, number: int) -> None:
        self._last.append(number)
        self._sum += number
        if len(self._last) > RATIO_WINDOW:
            self._sum -= self._last.popleft()

    def shrunk(self, prior: int) -> int:
        return (self._sum + _PRIOR * prior) // (len(self._last) + _PRIOR)


class _Sorted:
    """The last numbers, in order of size."""

    __slots__ = ("_ascending", "_last", "_window")

    def __init__(self, window: int) -> None:
        self._last: deque[int] = deque()
        self._ascending: list[int] = []
        self._window = window

    def __len__(self) -> int:
        return len(self._last)

    def add(self, number: int) -> None:
        self._last.append(number)
        insort(self._ascending, number)
        if len(self._last) > self._window:
            del self._ascending[bisect_left(self._ascending, self._last.popleft())]

    def values(self) -> tuple[int, ...]:
        return tuple(self._ascending)

    def middle(self) -> int:
        """The median; nothing of nothing."""
        count = len(self._ascending)
        return (self._ascending[(count - 1) // 2] + self._ascending[count // 2]) // 2 if count else 0


class _Group:
    """The logarithms of what calls cost: to what was estimated, and to what was expected of them."""

    __slots__ = ("ratios", "residuals")

    def __init__(self) -> None:
        self.ratios = _Sorted(RATIO_WINDOW)
        self.residuals = _Sorted(RESIDUAL_WINDOW)

    def usual(self, pool: _Group) -> int:
        """The usual logarithm of actual to estimate: the median, drawn to the pool's, and that to nothing."""
        return self._drawn(pool._drawn(0))

    def _drawn(self, prior: int) -> int:
        count = len(self.ratios)
        return (count * self.ratios.middle() + _PRIOR * prior) // (count + _PRIOR)


def _predicted(sample: Sample) -> int:
    """What was expected of a call; or would have been, where nothing was learned and its estimate was taken."""
    if sample.expected_nanos != sample.estimate_nanos:
        return sample.expected_nanos
    cold, level = _COLD_ERROR + _ERROR_FLOOR, _LEVEL_ERROR + _ERROR_FLOOR
    return _blended(sample.cold_nanos, sample.level_nanos, MILLION * cold // (cold + level))


def _blended(cold_nanos: int, level_nanos: int | None, weight_micros: int) -> int:
    """Between two predictions on the scale of logarithms, so much of the way to the level."""
    if level_nanos is None:
        return cold_nanos
    return _times(cold_nanos, (logarithm_micros(level_nanos) - logarithm_micros(cold_nanos)) * weight_micros // MILLION)


def _unseen_quantile(percent: int) -> int:
    share = min(max(percent, 1), 99) / 100
    return _clipped(round(_UNSEEN_SPREAD * log(share / (1 - share)) * MILLION))


def _unseen_over(margin: int) -> int:
    return round(MILLION / (1 + exp(_clipped(margin) / MILLION / _UNSEEN_SPREAD)))


def _clipped(logarithm: int) -> int:
    return min(max(logarithm, -_CLIP), _CLIP)


def _times(nanos: int, logarithm: int) -> int:
    """An amount times e to a power in millionths, rounded up, within what an amount may be."""
    scaled = -(-nanos * round(exp(logarithm / MILLION) * 2**60) >> 60)
    return min(max(scaled, 1), SUM_NANOS_MAX)
