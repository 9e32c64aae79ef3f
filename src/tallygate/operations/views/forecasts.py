"""Where a session will probably end, and how such forecasts, and those of budgets, did by now."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from tallygate.core.forecast import (
    FIRST_CALL,
    OWN_MAX,
    RANGE_CALL,
    ForecastRecord,
    SessionCosts,
    SessionForecast,
    at_work,
    before,
    chance_to_pass,
    is_dearer_than_it_looked,
    session_forecast,
    sessions_record,
    work_record,
)
from tallygate.core.model import Budget, Session, in_usd
from tallygate.core.money import COUNTED
from tallygate.core.values import value
from tallygate.core.words import SessionState
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.pace import LEARNED_FROM_US, RESPONSES_MAX

# So many ended sessions are looked at: the last fifty that are asked about each have as many before them.
SESSIONS_MAX = 3 * OWN_MAX


@value(frozen=True, slots=True)
class Outlook:
    """Where a session probably ends, as of its newest response, and what was said of it at its tenth.

    `chance` is about how probably it passes its limit; None where that is not told.
    """

    responses: int
    spent_nanos: int
    now: SessionForecast | None
    at_first: SessionForecast | None
    chance: str | None

    @property
    def is_dearer(self) -> bool:
        """Whether it has passed what nine in ten that looked like it stay below."""
        return is_dearer_than_it_looked(self.spent_nanos, self.at_first)


@value(frozen=True, slots=True)
class ForecastsMet:
    """How the last forecasts of each kind did."""

    ends: ForecastRecord
    ranges: ForecastRecord
    work: ForecastRecord


def outlook(rt: Runtime, reader: Reader, session: Session, own: Budget | None) -> Outlook:
    """Where a session ends, by those of the same user that had ended before."""
    spent = reader.spent_since(session.started_us - LEARNED_FROM_US, session.session_id, RESPONSES_MAX)
    total = sum(nanos for _, nanos in spent)
    known = [each for name, each in _ended(rt, reader).items() if name != session.session_id]
    until_us = session.ended_us or rt.services.clock_us()
    past = before(known, until_us)
    first = None
    if len(spent) >= FIRST_CALL:
        by_then = sum(nanos for _, nanos in spent[:FIRST_CALL])
        first = session_forecast(by_then, FIRST_CALL, before(known, spent[FIRST_CALL - 1][0]))
    limit = None if own is None or own.unit in COUNTED else in_usd(own.limit, own)
    return Outlook(
        responses=len(spent),
        spent_nanos=total,
        now=session_forecast(total, len(spent), past) if session.is_open else None,
        at_first=first,
        chance=chance_to_pass(limit, total, len(spent), past) if session.is_open and limit is not None else None,
    )


def forecasts_met(rt: Runtime, reader: Reader, at_us: int) -> ForecastsMet:
    """How the last fifty forecasts of each kind did, made anew as of their time."""
    ended = list(_ended(rt, reader).values())
    spent = reader.spent_since(at_us - LEARNED_FROM_US, None, RESPONSES_MAX)
    return ForecastsMet(
        ends=sessions_record(ended, FIRST_CALL),
        ranges=sessions_record(ended, RANGE_CALL),
        work=work_record(at_work(spent)),
    )


def _ended(rt: Runtime, reader: Reader) -> dict[str, SessionCosts]:
    """The youngest ended sessions whose client writes down what they spent; each is read once."""
    found: Sequence[Session] = reader.sessions(state=SessionState.ENDED.value, limit=SESSIONS_MAX)
    known = rt.caches.session_costs
    wanted = {(rt.tenant, each.session_id): each for each in found}
    for key in [key for key in known if key[0] == rt.tenant and key not in wanted]:
        del known[key]
    for key, each in wanted.items():
        if key not in known and each.ended_us is not None:
            spent = reader.spent_since(each.started_us - LEARNED_FROM_US, each.session_id, RESPONSES_MAX)
            # As plain numbers: a page that runs for days holds them all the while.
            known[key] = SessionCosts(
                each.ended_us, array("q", (at for at, _ in spent)), array("q", (n for _, n in spent))
            )
    return {key[1]: known[key] for key in wanted if key in known}
