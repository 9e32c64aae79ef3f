"""What a session's next turn costs by its context, at the prices of now."""

from __future__ import annotations

from tallygate.core.gate import policy
from tallygate.core.model import Budget, Session, in_usd
from tallygate.core.moments import as_datetime
from tallygate.core.money import COUNTED
from tallygate.core.turns import NextTurn, next_turn
from tallygate.core.usage import Quality, priced_as, terms_of
from tallygate.ledger.port import UsageReader
from tallygate.operations.runtime import Runtime, scope_of

LOOKED_AT = 500


def next_turn_of(rt: Runtime, reader: UsageReader, session: Session, at_us: int) -> NextTurn | None:
    """What the main conversation of a session goes on with; None before its first response, and after a summary.

    What a compaction leaves is another context, which nobody has read yet.
    """
    last = reader.last_usage_of(session.session_id, None, LOOKED_AT)
    if last is None or last.row.quality is Quality.SESSION_TOTAL:
        return None
    compacted_us = rt.caches.compactions.get((session.session_id, None))
    row = last.row
    if compacted_us is not None and as_datetime(compacted_us) >= row.at:
        return None
    wrote = row.tokens.cache_write_5m or row.tokens.cache_write_1h
    before = last if wrote else reader.last_usage_of(session.session_id, None, LOOKED_AT, written=True)
    price = rt.workspace.prices.quote(priced_as(row), as_datetime(at_us), scope_of(rt, session), terms_of(row))
    return next_turn(row, None if before is None else before.row, price)


def limit_in_dollars(budgets: tuple[Budget, ...]) -> int | None:
    """The limit of the tightest budget of money, in nano-dollars; None where there is none."""
    found = policy.tightest([each for each in budgets if each.unit not in COUNTED])
    return None if found is None else in_usd(found.limit, found)
