"""What a session will probably come to, and how long a budget will probably last: only what has held is said.

A session ends at its spend times what others had still before them at the same call. A budget lasts by the burn of the
last half hour, in time at work: pauses count ten minutes at most, as people stop, and no clock tells when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tallygate.core.moments import HOUR_US, MINUTE_US
from tallygate.core.money import format_amount
from tallygate.core.values import value

MILLION = 1_000_000
# When something was spent, and how much.
Spent = tuple[int, int]

# --- a session -------------------------------------------------------------------------------------------------------
# Its total over what it had spent at a call, in millionths, of sessions that got so far.


# So many own sessions that got so far are looked at, and so few tell no number.
OWN_MAX, OWN_FEW = 50, 3
# From these calls on a first word is said, and from the later one the middle and the range.
FIRST_CALL, RANGE_CALL = 10, 30
# What recorded sessions of others had before them: as bench/pool.py prints it, at 10, 30, 50, 70 and 90 per cent. It
# weighs as much as five own sessions.
POOL: tuple[tuple[int, tuple[int, int, int, int, int]], ...] = (
    (5, (1_585_190, 2_316_733, 3_025_366, 4_407_363, 15_908_818)),
    (10, (1_152_080, 1_347_690, 1_720_681, 2_965_092, 13_609_480)),
    (20, (1_090_469, 1_962_695, 2_973_370, 6_668_852, 13_162_776)),
    (30, (1_134_845, 1_658_171, 3_002_945, 4_813_330, 9_654_849)),
    (50, (1_214_426, 1_892_475, 2_656_213, 3_231_642, 6_705_540)),
    (100, (1_155_753, 1_360_059, 1_654_550, 2_378_301, 3_409_451)),
    (200, (1_088_528, 1_249_382, 1_255_070, 1_416_947, 1_650_768)),
)


@value(frozen=True, slots=True)
class SessionForecast:
    """Where a session ends, in nano-units; what is not honest yet is None.

    Of ten sessions like it nine end below `nine_in_ten`. `low` to `high` holds eight in ten, `middle` is half way.
    `longer_than` of `own` sessions were over by its call, where too few got so far to say a number.
    """

    nine_in_ten: int | None = None
    low: int | None = None
    middle: int | None = None
    high: int | None = None
    longer_than: int | None = None
    own: int = 0


def session_forecast(spent: int, calls: int, own: Sequence[Sequence[int]]) -> SessionForecast | None:
    """Where a session that has `spent` so much in so many calls ends, by the `own` ended ones before it.

    Each of those is what its calls cost, the last session last. None before the first word that can be said.
    """
    if calls < FIRST_CALL or spent <= 0:
        return None
    ratios = ratios_at(own, calls)[-OWN_MAX:]
    if len(ratios) < OWN_FEW:
        recent = [costs for costs in own if costs][-OWN_MAX:]
        shorter = sum(len(costs) <= calls for costs in recent)
        return SessionForecast(longer_than=shorter, own=len(recent))
    known = sorted([*ratios, *_pool_at(calls)])
    high = _of(spent, quantile(known, 90))
    if calls < RANGE_CALL:
        return SessionForecast(nine_in_ten=high, own=len(ratios))
    low, middle = (_of(spent, quantile(known, share)) for share in (10, 50))
    return SessionForecast(high, low, middle, high, own=len(ratios))


def ratios_at(sessions: Sequence[Sequence[int]], calls: int) -> list[int]:
    """By how many millionths each session that went on after a call ended above what it had spent by then."""
    found = []
    for costs in sessions:
        spent = sum(costs[:calls])
        if len(costs) > calls and spent > 0:
            found.append(sum(costs) * MILLION // spent)
    return found


def _pool_at(calls: int) -> tuple[int, ...]:
    return next(row for number, row in reversed(POOL) if number <= calls)


def quantile(ordered: Sequence[int], percent: int) -> int:
    """The value that the next one is at or below in so many of a hundred cases: the next is one more than are known.

    Below the middle it is rounded down and above it upwards, so that a range of them is not narrower than it was.
    """
    places = (len(ordered) + 1) * percent
    at = places // 100 if percent < 50 else -(-places // 100)
    return ordered[min(max(at, 1), len(ordered)) - 1]


def _of(spent: int, ratio: int) -> int:
    return -(-spent * max(ratio, MILLION) // MILLION)


def chance_to_pass(limit: int, spent: int, calls: int, own: Sequence[Sequence[int]]) -> str | None:
    """About how probably a session passes a limit, in quarters; None before it can be told, and below one in four."""
    if calls < RANGE_CALL or spent <= 0:
        return None
    ratios = ratios_at(own, calls)[-OWN_MAX:]
    if len(ratios) < OWN_FEW:
        return None
    known = [*ratios, *_pool_at(calls)]
    over = sum(_of(spent, ratio) > limit for ratio in known)
    quarters = (over * 8 + len(known)) // (2 * len(known))
    return {1: "about 1 in 4", 2: "about 1 in 2", 3: "about 3 in 4", 4: "nearly sure"}.get(quarters)


def is_dearer_than_it_looked(spent: int, at_first: SessionForecast | None) -> bool:
    """Whether a session has passed what nine in ten like it stay below, as it was said at its tenth call."""
    return at_first is not None and at_first.nine_in_ten is not None and spent > at_first.nine_in_ten


def session_told(found: SessionForecast) -> str:
    """A session's forecast as a sentence."""
    if found.nine_in_ten is None:
        return f"longer than {found.longer_than} of your last {found.own}"
    if found.low is None or found.middle is None or found.high is None:
        return f"9 of 10 like this end below {format_amount(found.nine_in_ten)}"
    low, middle, high = map(format_amount, (found.low, found.middle, found.high))
    return f"likely {low} to {high}, half end below {middle}"


# --- how forecasts did -----------------------------------------------------------------------------------------------
# Each is made anew as of its time, of what was known by then, and held against what came.


RECORD_MAX = 50


@value(frozen=True, slots=True)
class ForecastRecord:
    """How the last forecasts of one kind did: `held` of `told` did, where `percent` of a hundred were to."""

    told: int
    held: int
    percent: int


@value(frozen=True, slots=True)
class SessionCosts:
    """An ended session: when it ended, and when each of its responses was made and what it cost, in their order."""

    ended_us: int
    moments: Sequence[int]
    costs: Sequence[int]


def before(sessions: Sequence[SessionCosts], at_us: int) -> list[Sequence[int]]:
    """What the responses of sessions cost that had ended by a time, the last session last."""
    return [each.costs for each in sorted(sessions, key=lambda each: each.ended_us) if each.ended_us <= at_us]


def sessions_record(sessions: Sequence[SessionCosts], calls: int) -> ForecastRecord:
    """How the forecasts at a call did for the last sessions that went on after it: of nine in ten, or of a range."""
    held = []
    for each in sorted(sessions, key=lambda each: each.ended_us):
        costs = each.costs
        if len(costs) <= calls:
            continue
        found = session_forecast(sum(costs[:calls]), calls, before(sessions, each.moments[calls - 1]))
        if found is None or found.nine_in_ten is None:
            continue
        low, high = found.low or 0, found.high or found.nine_in_ten
        held.append(low <= sum(costs) <= high)
    last = held[-RECORD_MAX:]
    return ForecastRecord(len(last), sum(last), 90 if calls < RANGE_CALL else 80)


# --- a budget --------------------------------------------------------------------------------------------------------
# How long what is left lasts at the burn of the last half hour, and by how much that was wrong on earlier days.


PAUSE_US = 10 * MINUTE_US
BURN_US = 30 * MINUTE_US
# In less work than this nobody burns at a pace.
BURN_MIN_US = 5 * MINUTE_US
FAR_US = 4 * HOUR_US
# So many earlier moments make the multipliers one's own; before, they are wide.
ORIGINS_FEW, ORIGINS_MAX = 20, 400
_WIDE = (MILLION // 2, MILLION, 2 * MILLION)
_HORIZONS_US = (30 * MINUTE_US, HOUR_US, 2 * HOUR_US)


@value(frozen=True, slots=True)
class WorkLeft:
    """How much work is left of a budget, in microseconds at work; `low` to `high` holds eight in ten.

    It is `far` where more than four hours are left: nothing closer is said of that.
    """

    burn_nanos_an_hour: int
    middle_us: int
    low_us: int
    high_us: int
    far: bool


def at_work(spent: Sequence[Spent]) -> list[Spent]:
    """The same in time at work, from the first on: a pause counts ten minutes at most."""
    found: list[Spent] = []
    at = before = 0
    for number, (at_us, nanos) in enumerate(spent):
        if number:
            at += min(max(at_us - before, 0), PAUSE_US)
        before = at_us
        found.append((at, nanos))
    return found


def burn(work: Sequence[Spent]) -> int | None:
    """What the last half hour at work cost, by the hour, in nano-units; None where there was too little of it."""
    if not work:
        return None
    end = work[-1][0]
    inside = [(at, nanos) for at, nanos in work if at > end - BURN_US]
    span = min(end - work[0][0], BURN_US)
    if span < BURN_MIN_US:
        return None
    # What began the span was spent before it.
    total = sum(nanos for at, nanos in inside if at > end - span)
    return total * HOUR_US // span or None


def work_left(left: int, work: Sequence[Spent], multipliers: tuple[int, int, int] = _WIDE) -> WorkLeft | None:
    """How long what is `left` lasts at the present burn; None where nothing burns."""
    an_hour = burn(work)
    if an_hour is None:
        return None
    straight = max(left, 0) * HOUR_US // an_hour
    low, middle, high = (straight * each // MILLION for each in multipliers)
    return WorkLeft(an_hour, middle, low, high, middle > FAR_US)


def multipliers_of(work: Sequence[Spent]) -> tuple[int, int, int]:
    """By how much earlier days' straight lines were wrong, at 10, 50 and 90 per cent; wide where they are few.

    From each tenth minute of the work on record it is asked when so much was spent as the burn there would have spent
    in half an hour, in one and in two, and how long that took.
    """
    return _of_ratios([each.ratio for each in _outcomes(work)])


def _of_ratios(found: Sequence[int]) -> tuple[int, int, int]:
    if len(found) < ORIGINS_FEW:
        return _WIDE
    ordered = sorted(found)
    low, middle, high = (quantile(ordered, share) for share in (10, 50, 90))
    return low, middle, high


def work_record(work: Sequence[Spent]) -> ForecastRecord:
    """How the ranges of work left did that looked an hour ahead, of those whose end was reached.

    Each is made of what had been reached when it was: what came later taught it nothing.
    """
    outcomes = _outcomes(work)
    asked = [each for each in outcomes if each.horizon_us == HOUR_US][-RECORD_MAX:]
    held = 0
    for each in asked:
        low, _, high = _of_ratios([past.ratio for past in outcomes if past.reached_us <= each.at_us])
        held += low <= each.ratio <= high
    return ForecastRecord(len(asked), held, 80)


class _Outcome(NamedTuple):
    """One straight line from a moment at work: how far it looked, and when what it meant was reached."""

    at_us: int
    horizon_us: int
    reached_us: int

    @property
    def ratio(self) -> int:
        """By how much it was wrong, in millionths."""
        return (self.reached_us - self.at_us) * MILLION // self.horizon_us


def _outcomes(work: Sequence[Spent]) -> list[_Outcome]:
    found = []
    sums = [0]
    for _, nanos in work:
        sums.append(sums[-1] + nanos)
    for start in _origins(work):
        an_hour = burn(work[: start + 1])
        if an_hour is None:
            continue
        for horizon in _HORIZONS_US:
            wanted = sums[start + 1] + an_hour * horizon // HOUR_US
            took = _reached(work, sums, start, wanted)
            if took is not None:
                found.append(_Outcome(work[start][0], horizon, work[start][0] + took))
    return found


def _origins(work: Sequence[Spent]) -> list[int]:
    """From where it is asked: the last response in each ten minutes at work, the newest of them."""
    last: dict[int, int] = {}
    for number, (at, _) in enumerate(work):
        last[at // PAUSE_US] = number
    return list(last.values())[-ORIGINS_MAX:]


def _reached(work: Sequence[Spent], sums: Sequence[int], start: int, wanted: int) -> int | None:
    """How long after a response so much was spent in all; None where that was not, or later than is looked."""
    low, high = start + 1, len(work)
    while low < high:
        middle = (low + high) // 2
        if sums[middle + 1] < wanted:
            low = middle + 1
        else:
            high = middle
    return None if low == len(work) else work[low][0] - work[start][0]


def duration_told(us: int) -> str:
    """A time at work for people, to five minutes, and to ten from an hour on.

    >>> duration_told(3 * MINUTE_US), duration_told(42 * MINUTE_US), duration_told(80 * MINUTE_US)
    ('5 min', '40 min', '1 h 20')
    """
    minutes = us // MINUTE_US
    step = 10 if minutes >= 60 else 5
    minutes = max((minutes + step // 2) // step * step, 5)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60}" if minutes % 60 else f"{minutes // 60} h"


def work_told(found: WorkLeft) -> str:
    """How much work is left, in a few words; never a time of the day."""
    if found.far:
        return "enough for more than 4 h at this pace"
    middle, low, high = map(duration_told, (found.middle_us, found.low_us, found.high_us))
    return f"about {middle} of work left ({low} to {high})"
