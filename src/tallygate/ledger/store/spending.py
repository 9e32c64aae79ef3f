"""What was spent in sessions: responses where a client's record is read, booked calls elsewhere; nothing twice."""

from __future__ import annotations

from collections.abc import Iterator

from tallygate.core.bills.lines import Estimate
from tallygate.core.model import Call
from tallygate.core.sums import UsageSum
from tallygate.ledger import rows
from tallygate.ledger.day_shares import parted
from tallygate.ledger.rolled import RollupReads
from tallygate.ledger.rollups import SELECT_OF_CALLS

_SPAN = "tenant = :tenant AND at_us >= :from_us AND at_us < :until_us"
# A call of a session whose responses are read is booked at nothing. The words are those of the index.
_BOOKED = "cost_basis IN ('actual', 'estimate')"


# In the columns of the sums of responses, which these are added to; the words of the span are those of the index.
SELECT_BOOKED_SUMS = (
    "SELECT COALESCE(c.model_used, c.model_requested), COALESCE(c.actual_price_id, c.price_id, ''), 0, 0,"
    " SUM(COALESCE(c.fresh_input, c.prompt_tokens)), SUM(COALESCE(c.cache_read, 0)),"
    " SUM(COALESCE(c.cache_write_5m, 0)), SUM(COALESCE(c.cache_write_1h, 0)),"
    " SUM(COALESCE(c.output, c.completion_tokens)), 0, 0, SUM(c.booked_nanos), 0, MIN(c.at_us), MAX(c.at_us),"
    " 0,"  # nobody but the agent itself tells what they used
    " COUNT(*), s.client, c.session_id, c.session_id, s.project"
    " FROM call c JOIN session s ON s.tenant = c.tenant AND s.session_id = c.session_id"
    " WHERE c.tenant = :tenant AND c.at_us >= :from_us AND c.at_us < :until_us"
    " AND c.cost_basis IN ('actual', 'estimate') GROUP BY c.session_id, 1, 2"
)
SELECT_RATES = (
    "SELECT session_id, currency, usd_nanos, rate_day FROM session WHERE tenant = :tenant AND currency <> 'USD'"
)
SELECT_TASKS = (
    "SELECT session_id, task_summary FROM session WHERE tenant = :tenant AND started_us >= :from_us"
    " AND task_summary IS NOT NULL"
)
SELECT_BOOKED_CALLS = (
    f"SELECT {rows.CALL.select('c')} FROM call c WHERE c.tenant = :tenant"
    " AND c.at_us >= :from_us AND c.at_us < :until_us AND c.cost_basis IN ('actual', 'estimate')"
    " ORDER BY c.at_us, c.call_id"
)
# Each call that counts, at the place of its first response in the span: where MIN is one, SQLite takes its row.
SELECT_ESTIMATES = (
    "SELECT c.raw_estimate_nanos, COALESCE(u.at_us, c.at_us),"
    " COALESCE(u.model, c.model_used, c.model_requested), u.provider, u.client FROM call c LEFT JOIN"
    f" (SELECT call_id, MIN(at_us) AS at_us, model, provider, client FROM usage WHERE {_SPAN}"
    " AND session_id = :session_id AND call_id IS NOT NULL GROUP BY call_id) u ON u.call_id = c.call_id"
    " WHERE c.tenant = :tenant AND c.session_id = :session_id AND c.at_us >= :from_us AND c.at_us < :until_us"
    " AND c.state NOT IN ('denied', 'voided')"
)
_MOMENTS = "SELECT at_us FROM {} WHERE tenant = :tenant AND session_id = :session_id"
SELECT_MOMENTS = (
    f"SELECT MIN(at_us), MAX(at_us) FROM ({_MOMENTS.format('call')} UNION ALL {_MOMENTS.format('usage')}) m"
)
SELECT_NEXT_RESPONSE = f"SELECT at_us FROM usage WHERE {_SPAN} ORDER BY at_us LIMIT 1"
SELECT_NEXT_CALL = f"SELECT at_us FROM call WHERE {_SPAN} AND {_BOOKED} ORDER BY at_us LIMIT 1"


class SpendReads(RollupReads):
    """Sums for reports: those that are kept, and where there are none the rows of a span along an index on time."""

    def booked_sums(self, from_us: int, until_us: int) -> list[UsageSum]:
        """What the calls of a span add up to that stand in their budgets with a cost of their own, by session.

        Of one session, model and price there may be several sums, each of another part of the span.
        """
        quarters, rest = parted(from_us, until_us) if self.has_rollups() else (None, [(from_us, until_us)])
        found = [] if quarters is None else self._all(SELECT_OF_CALLS, first=quarters[0], end=quarters[1])
        for since, until in rest:
            found += self._all(SELECT_BOOKED_SUMS, from_us=since, until_us=until)
        return [rows.to_usage_sum(*row) for row in found]

    def session_rates(self) -> dict[str, tuple[str, int, str | None]]:
        """The sessions in another currency than dollars: which, how many nano-dollars one unit is, by whose day."""
        return {row[0]: (row[1], row[2], row[3]) for row in self._all(SELECT_RATES)}

    def tasks_since(self, from_us: int) -> dict[str | None, str]:
        """What agents said of the sessions begun since a time, by session: what each was for."""
        return dict(self._all(SELECT_TASKS, from_us=from_us))

    def spend_next(self, from_us: int, until_us: int) -> int | None:
        """When the first thing in a span was spent."""
        found = [self._one(sql, from_us=from_us, until_us=until_us) for sql in (SELECT_NEXT_RESPONSE, SELECT_NEXT_CALL)]
        return min((int(row[0]) for row in found if row is not None), default=None)

    def booked_between(self, from_us: int, until_us: int) -> Iterator[Call]:
        """The calls of a span that stand in their budgets with a cost of their own, in order of time."""
        parameters = {"tenant": self.tenant, "from_us": from_us, "until_us": until_us}
        return map(rows.to_call, self._execute(SELECT_BOOKED_CALLS, parameters))

    def moments_of(self, session_id: str) -> tuple[int, int] | None:
        """When the first and the last call or response of a session was; None where there is none."""
        first, last = self._one(SELECT_MOMENTS, session_id=session_id)
        return None if first is None else (first, last)

    def estimates_of(self, session_id: str, from_us: int, until_us: int) -> list[Estimate]:
        """The estimates of a session's calls that count, each beside the response it was made for."""
        found = self._all(SELECT_ESTIMATES, session_id=session_id, from_us=from_us, until_us=until_us)
        return [Estimate(*row) for row in found]
