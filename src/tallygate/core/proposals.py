"""Which limits fit somebody's own history: what nine of ten sessions and days have stayed below.

A limit that was passed by one in ten of what is known will be passed by about one in ten of what comes: the rule takes
the place in the order that says so for the next one too (of n known the ceil(0.9 (n + 1))-th), not the quantile of the
past. Rounding up gives round figures and errs to the side of less stops.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from tallygate.core.money import NANOS_PER_UNIT as NANOS
from tallygate.core.values import value

SESSIONS, DAYS = 50, 30
# So many must be known before they say more than our own figures do.
ENOUGH = 10
SESSION_NANOS, DAY_NANOS = 15 * NANOS, 50 * NANOS
# Propose anew once so many sessions have ended under the limit that stands, during the ten that follow, or where so
# many of the last were stopped by it.
ANEW_AFTER, ANEW_FOR = (20, 50), 10
STOPPED_OF, STOPPED = 20, 4

# Half a dollar, then what people use for limits; above ten dollars the same again for each ten times as much.
_STEPS = tuple(tenths * NANOS // 10 for tenths in (5, 10, 20, 30, 50, 75))
_ABOVE = (10, 15, 20, 30, 50, 75)


@value(frozen=True, slots=True)
class Proposal:
    """A limit in nano-dollars, and what it rests on: what each cost, the least first.

    `is_ours` says that too little is known, and the limit is a figure of ours.
    """

    limit_nanos: int
    costs: tuple[int, ...]
    is_ours: bool

    @property
    def known(self) -> int:
        """On how many it rests."""
        return len(self.costs)

    @property
    def over(self) -> int:
        """How many of those it would have stopped."""
        return self.over_at(self.limit_nanos)

    def over_at(self, limit_nanos: int) -> int:
        """How many of those another limit would have stopped."""
        return len(self.costs) - bisect.bisect_right(self.costs, limit_nanos)

    def reached_by(self, percent: int) -> int:
        """What so many of a hundred cost at most, as `tallygate history` says it; there has to be one."""
        return place(self.costs, percent, 100)


@value(frozen=True, slots=True)
class Proposals:
    """A limit for each session and one for each day, which never stops before two sessions are spent."""

    session: Proposal
    day: Proposal


def proposals(sessions: Sequence[int], days: Sequence[int]) -> Proposals:
    """The limits that fit what ended sessions cost and what was spent on days: nano-dollars, the last ones last.

    Those that cost nothing belong in neither: they would make every limit a small one.
    """
    session = _proposal(sessions[-SESSIONS:], SESSION_NANOS)
    return Proposals(session, _proposal(days[-DAYS:], DAY_NANOS, 2 * session.limit_nanos))


def is_due(ended: int, stopped: int) -> bool:
    """Whether a limit is looked at again, by how many sessions ended, and how many of the last 20 were stopped."""
    return (ended >= STOPPED_OF and stopped >= STOPPED) or any(at <= ended < at + ANEW_FOR for at in ANEW_AFTER)


def _proposal(costs: Sequence[int], ours_nanos: int, least_nanos: int = 0) -> Proposal:
    ordered = sorted(costs)
    known = len(ordered)
    is_ours = known < ENOUGH
    wanted = max([ours_nanos, *ordered]) if is_ours else place(ordered, 9, 10)
    return Proposal(max(rounded_up(wanted), least_nanos), tuple(ordered), is_ours)


def place(ordered: Sequence[int], part: int, whole: int) -> int:
    """The amount that `part` of `whole` to come stay at or below, as far as those that are known tell.

    -(-part * (n + 1) // whole) is the ceiling; nine in ten of ten known is the dearest.
    """
    return ordered[min(-(-part * (len(ordered) + 1) // whole), len(ordered)) - 1]


def rounded_up(nanos: int) -> int:
    """The next figure that people use for limits: 0.50, 1, 2, 3, 5, 7.50, 10, 15, 20, 30, 50, 75, 100, 150 and so on.

    >>> [rounded_up(cents * 10**7) / 10**9 for cents in (3, 51, 101, 1253, 5496, 10001)]
    [0.5, 1.0, 2.0, 15.0, 75.0, 150.0]
    """
    steps, tens = _STEPS, 1
    while steps[-1] < nanos:
        steps, tens = tuple(step * tens * NANOS for step in _ABOVE), tens * 10
    return next(step for step in steps if step >= nanos)
