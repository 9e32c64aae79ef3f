"""What gates would have done in sessions that are over: how far over their budgets, how early, how often for nothing.

A session is replayed call by call. Estimates are corrected by what its earlier calls and the sessions before it teach,
never by what comes later. What a session would have cost is what it did cost: that an agent changes its ways when it is
halted cannot be replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from tallygate.core.learning import calibration
from tallygate.core.learning.calibration import MILLION
from tallygate.core.values import value

# A session counts as well over its budget from here on.
WELL_OVER_PERCENT = 5
COVERED_PERCENTS = (80, 90)
# Fewer sessions than that say little about the budget of the next one.
ALIKE_MIN = 8


class Gate(StrEnum):
    """What decides whether a call may be made: each knows a little more than the one before it."""

    SUM = "sum"  # adds up estimates and is never told a cost
    NAIVE = "naive"  # knows what was spent, and takes the next estimate as it is
    LEARNED = "learned"  # knows what was spent, and corrects the next estimate: the gate as it is
    ORACLE = "oracle"  # knows what was spent, and what the next call will cost


@value(frozen=True, slots=True)
class Ask:
    """One call: the key under which its estimates are looked at, who asked, what was said and what it cost.

    An estimate that `is_level` was taken from the agent's last calls, as hooks do, and not said by the agent. Where the
    whole conversation had to be read anew, `anew_nanos` is what that costs. Who told the cost is its `origin`.
    """

    key: str
    agent: str
    estimate_nanos: int
    actual_nanos: int
    is_level: bool = False
    anew_nanos: int = 0
    origin: calibration.CostOrigin = calibration.CostOrigin.OBSERVED


@value(frozen=True, slots=True)
class Run:
    """One session: its calls in the order in which they were made, and the group whose sessions are like it."""

    name: str
    group: str
    asks: tuple[Ask, ...]

    @property
    def cost_nanos(self) -> int:
        return sum(ask.actual_nanos for ask in self.asks)


@value(frozen=True, slots=True)
class ReplayedCall:
    """A call, and what was expected of it before it was made; nothing is of one without an estimate."""

    ask: Ask
    expectation: calibration.Expectation | None

    @property
    def sample(self) -> calibration.Sample | None:
        """What it teaches; nothing without an estimate or a cost."""
        was, actual = self.expectation, self.ask.actual_nanos
        if was is None or actual <= 0:
            return None
        return calibration.Sample(
            was.estimate_nanos, was.cold_nanos, was.level_nanos, was.expected_nanos, actual, self.ask.origin
        )

    def needed_nanos(self, gate: Gate, percent: int) -> int:
        """What a gate wants to be left for it."""
        match gate:
            case Gate.ORACLE:
                return self.ask.actual_nanos
            case Gate.LEARNED if self.expectation is not None:
                return self.expectation.needed_nanos(percent)
            case _:
                return self.ask.estimate_nanos


@value(frozen=True, slots=True)
class ReplayOutcome:
    """What became of one session under a gate: spent until the first refusal, and what it had to spend."""

    cost_nanos: int
    spent_nanos: int
    budget_nanos: int
    halted: bool

    @property
    def is_binding(self) -> bool:
        """Whether the session needed more than its budget."""
        return self.cost_nanos > self.budget_nanos

    @property
    def over_micros(self) -> int:
        return max(self.spent_nanos - self.budget_nanos, 0) * MILLION // self.budget_nanos

    @property
    def unused_micros(self) -> int:
        return max(self.budget_nanos - self.spent_nanos, 0) * MILLION // self.budget_nanos


@value(frozen=True, slots=True)
class Figures:
    """Many sessions under one gate; shares in millionths, and None where there is nothing to take a share of.

    Overspending and what was left unused are of sessions that needed more than their budget, false halts of the others.
    """

    sessions: int
    binding: int
    over_mean: int | None
    over_p95: int | None
    well_over: int | None
    unused_mean: int | None
    false_halts: int | None


@value(frozen=True, slots=True)
class Accuracy:
    """How good numbers were; factors and shares are in millionths.

    `off_said` and `off_expected` are the factors in the middle by which what was said and what was expected were off.
    `covered` has for each of `COVERED_PERCENTS` the share of calls that stayed below that quantile, of those calls of
    which something had been learned.
    """

    asks: int
    learned: int
    off_said: int | None
    off_expected: int | None
    covered: tuple[int | None, ...]


class Memory:
    """What was learned so far, of each key and of all together."""

    def __init__(self) -> None:
        self._keys: dict[str, calibration.Learner] = {}
        self._pool = calibration.Learner()
        self._costs: dict[tuple[str, str], list[tuple[int, calibration.CostOrigin]]] = {}

    def walk(self, run: Run) -> list[ReplayedCall]:
        """Go through a session that nothing else lies between."""
        told = [self.meet(run.name, ask) for ask in run.asks]
        self._costs.clear()
        return told

    def meet(self, session: str, ask: Ask) -> ReplayedCall:
        """Say of one call of a session what is expected, then learn what it cost."""
        mine = self._costs.setdefault((session, ask.agent), [])
        level = calibration.level_from(mine, ask.anew_nanos)
        if level.nanos is not None and ask.is_level:
            level = calibration.Level.of(ask.estimate_nanos, ask.anew_nanos)
        # First said, then learned: the other way round each call would have known its own cost.
        told = ReplayedCall(ask, self._expected(ask, level))
        if ask.actual_nanos > 0:
            mine.append((ask.actual_nanos, ask.origin))
            del mine[: -calibration.LEVEL_STEPS]
        if (sample := told.sample) is not None:
            self._keys[ask.key].add(sample)
            self._pool.add(sample)
        return told

    def _expected(self, ask: Ask, level: calibration.Level) -> calibration.Expectation | None:
        if ask.estimate_nanos <= 0:
            return None
        return calibration.expect(
            self._keys.setdefault(ask.key, calibration.Learner()), self._pool, ask.estimate_nanos, level
        )


def walk_forward(
    runs: Sequence[Run], *, before: Iterable[Run] = (), past: int | None = None
) -> Iterator[tuple[Run, list[ReplayedCall]]]:
    """Go through sessions, the oldest first; each is met with what those `before` and all before it teach.

    With `past` they are only so many of those right before it, and sessions that have fewer are left out.
    """
    if past is not None:
        for at in range(past, len(runs)):
            yield runs[at], _after([*before, *runs[at - past : at]]).walk(runs[at])
        return
    memory = _after(before)
    for run in runs:
        yield run, memory.walk(run)


def _after(runs: Iterable[Run]) -> Memory:
    memory = Memory()
    for run in runs:
        memory.walk(run)
    return memory


def outcome(told: Sequence[ReplayedCall], budget_nanos: int, gate: Gate, percent: int) -> ReplayOutcome:
    """Let a gate decide about the calls of one session until it refuses one; filling a budget exactly is allowed."""
    spent = counted = 0
    halted = False
    for each in told:
        if counted + each.needed_nanos(gate, percent) > budget_nanos:
            halted = True
            break
        spent += each.ask.actual_nanos
        # A gate that only adds up estimates never learns what was spent; the others read it after each step.
        counted += each.ask.estimate_nanos if gate is Gate.SUM else each.ask.actual_nanos
    return ReplayOutcome(sum(each.ask.actual_nanos for each in told), spent, budget_nanos, halted)


def figures(outcomes: Iterable[ReplayOutcome]) -> Figures:
    """Sum up what became of many sessions."""
    every = list(outcomes)
    binding = [each for each in every if each.is_binding]
    over = sorted(each.over_micros for each in binding)
    well_over = sum(each > WELL_OVER_PERCENT * MILLION // 100 for each in over)
    return Figures(
        sessions=len(every),
        binding=len(binding),
        over_mean=_share(sum(over), len(over), 1),
        over_p95=over[min(len(over) * 95 // 100, len(over) - 1)] if over else None,
        well_over=_share(well_over, len(over)),
        unused_mean=_share(sum(each.unused_micros for each in binding), len(binding), 1),
        false_halts=_share(sum(each.halted for each in every if not each.is_binding), len(every) - len(binding)),
    )


class AccuracySum:
    """Adds up how good the numbers of many calls were, without keeping the calls."""

    def __init__(self) -> None:
        self._said: list[int] = []
        self._expected: list[int] = []
        self._learned = 0
        self._covered = [0] * len(COVERED_PERCENTS)

    def add(self, told: ReplayedCall) -> None:
        actual_nanos, expected = told.ask.actual_nanos, told.expectation
        if expected is None or actual_nanos <= 0:
            return
        self._said.append(_off(actual_nanos, expected.estimate_nanos))
        self._expected.append(_off(actual_nanos, expected.expected_nanos))
        if expected.source is calibration.FactorSource.LEARNED:
            self._learned += 1
            for at, percent in enumerate(COVERED_PERCENTS):
                self._covered[at] += actual_nanos <= expected.upper_nanos(percent)

    def result(self) -> Accuracy:
        return Accuracy(
            asks=len(self._said),
            learned=self._learned,
            off_said=_factor(self._said),
            off_expected=_factor(self._expected),
            covered=tuple(_share(count, self._learned) for count in self._covered),
        )


def usual_budget(alike: Sequence[Run], wider: Sequence[Run], percent: int) -> int:
    """The budget that fits sessions: by those that are alike, or where they are few by a wider group."""
    return budget_of(alike if len(alike) >= ALIKE_MIN else wider, percent)


def budget_of(runs: Sequence[Run], percent: int) -> int:
    """The budget that so many of 100 sessions stay within; at least one nano-dollar.

    It lies in the middle between two sessions: one that cost exactly its budget would be halted by any gate that does
    not know the future.
    """
    costs = sorted(run.cost_nanos for run in runs)
    at = min(len(costs) * percent // 100, len(costs) - 1)
    return max((costs[at] + costs[min(at + 1, len(costs) - 1)]) // 2, 1)


def _off(actual_nanos: int, expected_nanos: int) -> int:
    return abs(calibration.logarithm_micros(actual_nanos) - calibration.logarithm_micros(expected_nanos))


def _share(part: int, whole: int, unit: int = MILLION) -> int | None:
    return part * unit // whole if whole else None


def _factor(logarithms: list[int]) -> int | None:
    """The factor in the middle."""
    ordered = sorted(logarithms)
    return calibration.factor_micros(ordered[len(ordered) // 2]) if ordered else None
