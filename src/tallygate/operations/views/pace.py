"""How fast money goes now, and how long what is left lasts at that: the same wherever it is said."""

from __future__ import annotations

from tallygate.core.forecast import Spent, WorkLeft, at_work, burn, multipliers_of, work_left
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.model import Budget, in_usd
from tallygate.core.moments import HOUR_US
from tallygate.core.money import COUNTED
from tallygate.core.values import value
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime

# The burn is that of half an hour at work, pauses of ten minutes in it; earlier days teach from so far back.
LOOKED_BACK_US, LEARNED_FROM_US = 8 * HOUR_US, 14 * 24 * HOUR_US
RESPONSES_MAX = 5_000
_OF_ALL_WORK = (BudgetScope.USER, BudgetScope.GLOBAL)


@value(frozen=True, slots=True)
class Pace:
    """The work of the last hours, by its responses, and by how much such forecasts were wrong on earlier days."""

    spent: tuple[Spent, ...]
    multipliers: tuple[int, int, int]

    @property
    def an_hour_nanos(self) -> int | None:
        """What the last half hour at work cost by the hour; None where there was too little of it."""
        return burn(at_work(self.spent))

    @property
    def last_us(self) -> int | None:
        """When anything was spent last, in the hours that are looked at."""
        return self.spent[-1][0] if self.spent else None

    def left(self, budget: Budget, more: int = 0) -> WorkLeft | None:
        """How much work what is left of a budget, and so much more, is; None where that is not told in money."""
        if budget.unit in COUNTED:
            return None
        return work_left(in_usd(budget.available + more, budget), at_work(self.spent), self.multipliers)


def pace_of(rt: Runtime, reader: Reader, at_us: int, budget: Budget | None = None) -> Pace | None:
    """How fast all work goes, or the work that a budget counts; None where its work is not told apart from other."""
    session_id = None
    if budget is not None and budget.scope == BudgetScope.SESSION:
        session_id = budget.scope_key
    elif budget is not None and budget.scope not in _OF_ALL_WORK:
        return None
    spent = reader.spent_since(at_us - LOOKED_BACK_US, session_id, RESPONSES_MAX)
    return Pace(tuple(spent), multipliers_now(rt, reader, at_us))


def multipliers_now(rt: Runtime, reader: Reader, at_us: int) -> tuple[int, int, int]:
    """What earlier days say of such forecasts, learned anew after an hour."""
    known = rt.caches.work_multipliers.get(rt.tenant)
    if known is None or not 0 <= at_us - known[0] < HOUR_US:
        spent = reader.spent_since(at_us - LEARNED_FROM_US, None, RESPONSES_MAX)
        known = rt.caches.work_multipliers[rt.tenant] = (at_us, multipliers_of(at_work(spent)))
    return known[1]
