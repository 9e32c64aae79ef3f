"""What a call will probably cost, learned from how far earlier estimates were off.

Costs are modelled in logarithms. Inside, a logarithm is a whole number of millionths, so that sums are exact, and what
is learned depends on the samples alone, not on when a process started or in how many pieces they came.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from math import exp, isqrt, log

from tallygate.core.money import SUM_NANOS_MAX
from tallygate.core.values import value

# --- calibration -----------------------------------------------------------------------------------------------------
# What a call will probably cost, learned from how far earlier estimates were off.
#
# Costs are modelled in logarithms. Inside, a logarithm is a whole number of millionths, so that sums are exact, and
# what is learned depends on the samples alone, not on when a process started or in how many pieces they came.


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

# What was observed may lower a reservation to this share of what was said, and no further.
LEAST_SHARE_MICROS = MILLION // 4
# What is said above three halves of the largest amount that was said of an observed step counts whole.
_WIDER_HALVES = 3

# No sample counts as further off than e^6 = 403 times.
_CLIP = 6 * MILLION
# The pool weighs as much as this many samples of the key, and "the estimate is right" as many of the pool.
_PRIOR = 8
# Mean squared errors before data, in squared logarithms: of a corrected estimate, and of an agent's own level. With the
# floor below they give the level 7/8 of the weight.
_COLD_ERROR = MILLION**2
_LEVEL_ERROR = MILLION**2 // 10
_USUAL_ERROR = MILLION**2
_ERROR_FLOOR = MILLION**2 // 20
# How much of a prediction the agent's own level is while nothing is learned: by the errors above.
_LEVEL_WEIGHT = MILLION * (_COLD_ERROR + _ERROR_FLOOR) // (_COLD_ERROR + _LEVEL_ERROR + 2 * _ERROR_FLOOR)
# Before residuals: 80 of 100 calls cost less than three times what is expected, and half of them less than that.
_UNSEEN_SPREAD = log(3) / log(4)
# Nor are quantiles seen with fewer: of four residuals the largest is what 80 of 100 stay below.
SEEN_AT = 4


class EstimateKind(StrEnum):
    """Whose number an estimate was: an agent's own, or what a hook took from its past steps."""

    AGENT = "agent"
    HOOK = "hook"


class CostOrigin(StrEnum):
    """Who told what a call cost: the agent that made it, or a record that the agent does not keep."""

    REPORTED = "reported"
    OBSERVED = "observed"


class FactorSource(StrEnum):
    """Where the factor between an estimate and what is expected comes from."""

    NONE = "none"
    SESSION = "session"  # nothing is learned yet: what the session's own steps have cost
    LEARNED = "learned"


class Confidence(StrEnum):
    """How much to make of what was learned."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@value(frozen=True, slots=True)
class Sample:
    """One reconciled call in nano-dollars: what was said before it was made, and what it cost; all above zero.

    `cold_nanos`, `level_nanos` and `expected_nanos` are as the `Expectation` had them; without a level it was the first
    call of its agent. What an agent reports of itself may be anything; `origin` says whether it was.
    """

    estimate_nanos: int
    cold_nanos: int
    level_nanos: int | None
    expected_nanos: int
    actual_nanos: int
    origin: CostOrigin = CostOrigin.REPORTED


@value(frozen=True, slots=True)
class Level:
    """What an agent's calls cost by now, both None before its first; without what it reported in `observed_nanos`.

    `anew_nanos` is what the whole conversation costs where it has to be read anew; 0 where it has not. `begins` says
    that nobody has said anything of the call, and that a session begins with it: a figure of ours stands for it.
    """

    nanos: int | None = None
    observed_nanos: int | None = None
    anew_nanos: int = 0
    begins: bool = False

    @classmethod
    def of(cls, nanos: int | None, anew_nanos: int = 0, *, begins: bool = False) -> Level:
        """A level that rests on observed calls alone."""
        return cls(nanos, nanos, anew_nanos, begins)


class Learner:
    """What the samples of one key teach: all of them, and those alone that were observed.

    An agent that tells small costs must not get more for its money by that. So what it reports is heard beside what was
    observed, and the larger of the two counts. Both are one as long as nothing was reported.
    """

    __slots__ = ("all", "observed")

    def __init__(self) -> None:
        self.all = self.observed = Experience()

    def add(self, sample: Sample) -> None:
        """Learn from one reconciled call, and forget what is now too long ago."""
        if sample.origin is CostOrigin.REPORTED and not self.hears_reports:
            self.observed = deepcopy(self.all)
        self.all.add(sample)
        if sample.origin is CostOrigin.OBSERVED and self.hears_reports:
            self.observed.add(sample)

    @property
    def hears_reports(self) -> bool:
        """Whether anything that it has learned from was reported."""
        return self.all is not self.observed


class Experience:
    """What the last samples of one key teach: the usual ratio, the errors of both predictors, and the residuals.

    The first calls of agents are kept apart: what they read is in no cache, so that their estimates are off in another
    way. The state follows exactly from the last `WINDOW` samples of first calls and the last `WINDOW` of later ones, in
    the order in which they were reconciled. No sample counts as further off than 403 times, and none moves a ratio or
    a quantile further than to the next one in order of size, as long as the quantile is not the largest.
    """

    __slots__ = ("_cold_errors", "_first_errors", "_level_errors", "_usual_errors", "first", "later")

    def __init__(self) -> None:
        self.first = _CostGroup()
        self.later = _CostGroup()
        self._cold_errors = _Mean()
        self._level_errors = _Mean()
        self._first_errors = _Mean()
        self._usual_errors = _Mean()

    def add(self, sample: Sample) -> None:
        """Learn from one reconciled call, and forget what is now too long ago."""
        actual, cold = logarithm_micros(sample.actual_nanos), logarithm_micros(sample.cold_nanos)
        predicted = sample.cold_nanos
        if sample.level_nanos is None:
            group = self.first
            if group.costs.count:
                self._first_errors.add(actual - cold)
                self._usual_errors.add(actual - group.costs.middle)
        else:
            group, level = self.later, logarithm_micros(sample.level_nanos)
            self._cold_errors.add(actual - cold)
            self._level_errors.add(actual - level)
            predicted = _times(sample.cold_nanos, (level - cold) * _LEVEL_WEIGHT // MILLION)
        if sample.expected_nanos != sample.estimate_nanos:
            predicted = sample.expected_nanos  # else nothing was learned yet, and the estimate was taken as it was
        group.costs.add(actual)
        group.said.add(sample.estimate_nanos)
        group.ratios.add(_clipped(actual - logarithm_micros(sample.estimate_nanos)))
        group.residuals.add(_clipped(actual - logarithm_micros(predicted)))

    @property
    def count(self) -> int:
        """How many reconciled calls it remembers."""
        return self.first.residuals.count + self.later.residuals.count

    def level_weight_micros(self, pool: Experience) -> int:
        """How much of a prediction the agent's own level is: by the errors that it and the estimate had."""
        return _weight(
            self._cold_errors.drawn(pool._cold_errors, _COLD_ERROR),
            self._level_errors.drawn(pool._level_errors, _LEVEL_ERROR),
        )

    def usual_weight_micros(self, pool: Experience) -> int:
        """How much of a first call's prediction is what first calls have cost: by the errors as above."""
        return _weight(
            self._first_errors.drawn(pool._first_errors, _COLD_ERROR),
            self._usual_errors.drawn(pool._usual_errors, _USUAL_ERROR),
        )


@value(frozen=True, slots=True)
class Expectation:
    """What a call will probably cost, in nano-dollars; with `Source.NONE` it is the estimate as it was given.

    `cold_nanos` is the estimate corrected by what is known, `level_nanos` the agent's own cost so far (none at its
    first call), `factor_micros` what is expected as a share of the estimate. `residuals` are the logarithms by which
    such calls were off, ascending. No less than `least_nanos` is reserved, nor than what it would be `unreported`:
    without what agents have told of themselves, where they have. `anew_nanos` is what the whole conversation costs
    where it has to be read anew. Where a session begins with the call and nobody has said anything of it, `firsts` is
    how many such first calls of its client and model are known.
    """

    estimate_nanos: int
    cold_nanos: int
    level_nanos: int | None
    expected_nanos: int
    factor_micros: int
    source: FactorSource
    reconciled: int
    residuals: Sequence[int] = ()
    least_nanos: int = 1
    unreported: Expectation | None = None
    anew_nanos: int = 0
    firsts: int | None = None

    @property
    def confidence(self) -> Confidence:
        return confidence(self.reconciled)

    def upper_nanos(self, percent: int) -> int:
        """What so many of 100 such calls stay below: the conformal quantile of the residuals, rounded up.

        Of n residuals it takes number ceil((n + 1) * percent / 100), or the largest where there are too few for that.
        Fewer than ten only narrow what is assumed before any is known.
        """
        if self.source is FactorSource.NONE:
            return self.expected_nanos
        count = len(self.residuals)
        rank = -(-(count + 1) * max(percent, 1) // 100)
        if count >= LEARNED_AT:
            return _times(self.expected_nanos, self.residuals[min(rank, count) - 1])
        share = min(max(percent, 1), 99) / 100
        spread = _clipped(round(_UNSEEN_SPREAD * log(share / (1 - share)) * MILLION))
        if rank <= count:
            spread = min(spread, self.residuals[rank - 1])
        return _times(self.expected_nanos, spread)

    def needed_nanos(self, percent: int) -> int:
        """What has to be left for the call, and is reserved for it: what agents' later calls probably stay below.

        Where the first call is refused nothing is done at all, and the estimates of first calls are bad: the same bound
        would halt one session in three for nothing. It has a lower one, and with fewer than ten of them known none.
        """
        probable = self.expected_nanos
        if self.level_nanos is not None:
            probable = self.upper_nanos(percent)
        elif len(self.residuals) >= LEARNED_AT:
            # Two thirds of the way from the middle to the quantile of later ones.
            probable = max(probable, self.upper_nanos(50 + (percent - 50) * 2 // 3))
        needed = max(probable, self.least_nanos)
        return needed if self.unreported is None else max(needed, self.unreported.needed_nanos(percent))

    def over_micros(self, available_nanos: int) -> int:
        """The share of such calls, in millionths, that would cost more than there is left."""
        if self.source is FactorSource.NONE:
            return MILLION if max(self.expected_nanos, self.least_nanos) > available_nanos else 0
        if available_nanos <= 0:
            return MILLION
        count = len(self.residuals)
        assumed = MILLION
        if count < LEARNED_AT:
            margin = _clipped(logarithm_micros(available_nanos) - logarithm_micros(self.expected_nanos))
            assumed = round(MILLION / (1 + exp(margin / MILLION / _UNSEEN_SPREAD)))
            if count == 0:
                return assumed
        if _times(self.expected_nanos, self.residuals[-1]) <= available_nanos:
            return 0  # mostly the limit is far
        within = bisect_right(self.residuals, available_nanos, key=lambda r: _times(self.expected_nanos, r))
        return min((count - within) * MILLION // count, assumed)


def expect(key: Learner, pool: Learner, estimate_nanos: int, level: Level) -> Expectation:
    """What a call will probably cost, from an estimate above zero and what the agent's calls have cost so far.

    `key` has learned from calls of the same client and model, `pool` from all of the same kind of estimate.
    """
    asked = _Asked(estimate_nanos, level.nanos, level.anew_nanos, level.begins)
    heard = _expected(key.all, pool.all, key.observed, asked)
    if key.all is key.observed and pool.all is pool.observed and level.nanos == level.observed_nanos:
        return heard  # nobody has reported anything
    asked = _Asked(estimate_nanos, level.observed_nanos, level.anew_nanos, level.begins)
    return replace(heard, unreported=_expected(key.observed, pool.observed, key.observed, asked))


@value(frozen=True, slots=True)
class _Asked:
    """What is known of a call that is asked for, by one view of its agent's level."""

    estimate_nanos: int
    level_nanos: int | None
    anew_nanos: int
    begins: bool


def _expected(key: Experience, pool: Experience, proven: Experience, asked: _Asked) -> Expectation:
    """What a call will probably cost by two experiences; what may lower its reservation is `proven` alone."""
    estimate_nanos, level_nanos = asked.estimate_nanos, asked.level_nanos
    if level_nanos is None:
        own, all_, shown = key.first, pool.first, proven.first
    else:
        own, all_, shown = key.later, pool.later, proven.later
        level_nanos = max(level_nanos, asked.anew_nanos)
    cold_nanos = _times(estimate_nanos, own.usual(all_))
    least_nanos = max(shown.least_nanos(estimate_nanos), asked.anew_nanos)
    if shown.ratios.count < LEARNED_AT:
        least_nanos = max(least_nanos, level_nanos or 0)  # what others teach may raise, never lower
    if asked.begins and 0 < shown.costs.count < LEARNED_AT:
        # Too few first calls to learn how far that figure is off; but no less than they were seen to cost.
        least_nanos = max(least_nanos, _times(1, shown.costs.middle))
    firsts = shown.costs.count if asked.begins else None
    known = key.count
    if max(known, pool.count) < LEARNED_AT:
        return Expectation(
            estimate_nanos,
            cold_nanos,
            level_nanos,
            estimate_nanos,
            MILLION,
            FactorSource.NONE,
            known,
            least_nanos=least_nanos,
            anew_nanos=asked.anew_nanos,
            firsts=firsts,
        )
    if level_nanos is not None:
        expected_nanos = _blended(cold_nanos, level_nanos, key.level_weight_micros(pool))
    elif key.first.costs.count:
        # An agent's first call: between its corrected word and what first calls have cost, and not below that word.
        usual_nanos = _times(1, key.first.costs.middle)
        expected_nanos = max(_blended(cold_nanos, usual_nanos, key.usual_weight_micros(pool)), cold_nanos)
    else:
        expected_nanos = cold_nanos
    return Expectation(
        estimate_nanos,
        cold_nanos,
        level_nanos,
        expected_nanos,
        max(expected_nanos * MILLION // estimate_nanos, 1),
        FactorSource.LEARNED,
        known,
        _residuals(own, all_),
        least_nanos,
        anew_nanos=asked.anew_nanos,
        firsts=firsts,
    )


def _residuals(own: _CostGroup, all_: _CostGroup) -> Sequence[int]:
    """How far such calls were off: the key's own, else the pool's, else the few that there are, if they tell any."""
    for least in (LEARNED_AT, SEEN_AT):
        for group in (own, all_):
            if group.residuals.count >= least:
                return group.residuals.values()
    return ()


def level_of(actuals: Sequence[int]) -> int | None:
    """What an agent's calls cost by now, from what they have cost, the oldest first.

    A moving average of the logarithms in which every call weighs as much as all before it, so that it follows a growing
    context within a few steps. Only the last `LEVEL_STEPS` count.
    """
    if not actuals:
        return None
    level, *later = [max(actual, 1) for actual in actuals[-LEVEL_STEPS:]]
    for actual in later:
        level = isqrt(level * actual - 1) + 1  # the geometric mean, written out: asked for every step
    return level


def level_from(costs: Sequence[tuple[int, CostOrigin]], anew_nanos: int = 0) -> Level:
    """The same from what an agent's calls have cost and who told it."""
    if not costs:
        return Level(anew_nanos=anew_nanos)
    observed = [nanos for nanos, origin in costs if origin is CostOrigin.OBSERVED]
    level = level_of([nanos for nanos, _ in costs])
    return Level(level, level if len(observed) == len(costs) else level_of(observed), anew_nanos)


def confidence(reconciled: int) -> Confidence:
    """How much to make of what so many reconciled calls teach."""
    if reconciled < LEARNED_AT:
        return Confidence.LOW
    return Confidence.MEDIUM if reconciled < CONFIDENT_AT else Confidence.HIGH


# A sample is learned from for its key and for all of its kind, and its numbers are mostly those of the sample before.
@lru_cache(maxsize=1024)
def logarithm_micros(nanos: int) -> int:
    """The natural logarithm of an amount above zero, in millionths."""
    return round(log(nanos) * MILLION)


def factor_micros(logarithm: int) -> int:
    """The factor, in millionths, whose logarithm that is."""
    return _times(MILLION, logarithm)


class _Mean:
    """The mean of the last errors squared, drawn to a prior one."""

    __slots__ = ("_last", "_sum")

    def __init__(self) -> None:
        self._last: deque[int] = deque()
        self._sum = 0

    def add(self, error: int) -> None:
        squared = min(max(error, -_CLIP), _CLIP) ** 2
        self._last.append(squared)
        self._sum += squared
        if len(self._last) > RATIO_WINDOW:
            self._sum -= self._last.popleft()

    def drawn(self, pool: _Mean, prior: int) -> int:
        """The mean drawn to the pool's, as long as there are too few numbers to stand by themselves."""
        return self.shrunk(prior if len(self._last) >= LEARNED_AT - 1 else pool.shrunk(prior))

    def shrunk(self, prior: int) -> int:
        return (self._sum + _PRIOR * prior) // (len(self._last) + _PRIOR)


class _Sorted:
    """The last numbers, in order of size, with their number and their median: nothing of nothing."""

    __slots__ = ("_ascending", "_last", "_window", "count", "middle")

    def __init__(self, window: int) -> None:
        self._last: deque[int] = deque()
        self._ascending: list[int] = []
        self._window = window
        self.count = self.middle = 0

    def add(self, number: int) -> None:
        self._last.append(number)
        insort(self._ascending, number)
        if self.count < self._window:
            self.count += 1
        else:
            del self._ascending[bisect_left(self._ascending, self._last.popleft())]
        self.middle = (self._ascending[(self.count - 1) // 2] + self._ascending[self.count // 2]) // 2

    def values(self) -> tuple[int, ...]:
        return tuple(self._ascending)

    def at_percent(self, percent: int) -> int:
        """The number that so many of 100 are not above; there must be one."""
        return self._ascending[(len(self._ascending) - 1) * percent // 100]


class _CostGroup:
    """The logarithms of what calls cost, to what was estimated and to what was expected; and what was said of them."""

    __slots__ = ("costs", "ratios", "residuals", "said")

    def __init__(self) -> None:
        self.ratios = _Sorted(RATIO_WINDOW)
        self.residuals = _Sorted(RESIDUAL_WINDOW)
        self.costs = _Sorted(RATIO_WINDOW)
        self.said = _Sorted(RATIO_WINDOW)

    def least_nanos(self, estimate_nanos: int) -> int:
        """The least to reserve for a step of which so much was said: a share of it, or all that was said.

        The share is the lower quartile of what such steps took of what was said of them. What is larger than anything
        like it was never shown to be overstated: it counts whole.
        """
        if self.ratios.count < LEARNED_AT or 2 * estimate_nanos > _WIDER_HALVES * self.said.at_percent(100):
            return estimate_nanos
        share = min(max(factor_micros(self.ratios.at_percent(25)), LEAST_SHARE_MICROS), MILLION)
        return -(-estimate_nanos * share // MILLION)

    def usual(self, pool: _CostGroup) -> int:
        """The usual logarithm of actual to estimate: the median, drawn to the pool's, and that to nothing.

        Others may raise what is expected, never lower it.
        """
        own, others = self.ratios, pool.ratios
        shared = max(others.count * others.middle // (others.count + _PRIOR), 0)
        return (own.count * own.middle + _PRIOR * shared) // (own.count + _PRIOR)


def _weight(error: int, other: int) -> int:
    """How much of a prediction, in millionths, is the other of two whose mean squared errors these are."""
    return MILLION * (error + _ERROR_FLOOR) // (error + other + 2 * _ERROR_FLOOR)


def _blended(cold_nanos: int, level_nanos: int, weight_micros: int) -> int:
    """Between two predictions on the scale of logarithms, so much of the way to the level."""
    return _times(cold_nanos, (logarithm_micros(level_nanos) - logarithm_micros(cold_nanos)) * weight_micros // MILLION)


def _clipped(logarithm: int) -> int:
    return min(max(logarithm, -_CLIP), _CLIP)


def _times(nanos: int, logarithm: int) -> int:
    """An amount times e to a power in millionths, rounded up, within what an amount may be."""
    scaled = -(-nanos * round(exp(logarithm / MILLION) * 2**60) >> 60)
    return min(max(scaled, 1), SUM_NANOS_MAX)


# --- learned ---------------------------------------------------------------------------------------------------------
# What the ledger keeps of estimates and what became of them.


@value(frozen=True, slots=True)
class SampleKey:
    """Whose estimates are looked at together: who made them (a `Kind`), in which client, for which model."""

    kind: str
    client: str
    model: str


@value(frozen=True, slots=True)
class StoredSample:
    """One call whose cost came to be known; `agent` is who of its session had asked, "" for the main one."""

    number: int
    call_id: str
    session_id: str
    key: SampleKey
    agent: str
    at_us: int
    sample: Sample
