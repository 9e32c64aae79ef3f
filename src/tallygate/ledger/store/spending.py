"""What was spent in sessions: responses where a client's record is read, booked calls elsewhere; nothing twice."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

from tallygate.core.bills.lines import Estimate
from tallygate.core.model import Call
from tallygate.core.money import NANOS_PER_UNIT
from tallygate.core.sums import SpendSum
from tallygate.ledger import rows
from tallygate.ledger.rows import Statements

_SPAN = "tenant = :tenant AND at_us >= :from_us AND at_us < :until_us"
# A call of a session whose responses are read is booked at nothing. The words are those of the index.
_BOOKED = "cost_basis IN ('actual', 'estimate')"


def _sure(price: str, nanos: str) -> str:
    """How much of a cost rests on approximate and on assumed prices, which are listed."""
    sums = (
        f"SUM(CASE WHEN {price} IN (SELECT value FROM json_each(:{name})) THEN {nanos} ELSE 0 END) AS {name}"
        for name in ("approximate", "assumed")
    )
    return ", ".join(sums)


_RESPONSES = (
    "SELECT session_id, model, COUNT(*) AS responses, 0 AS calls,"
    " SUM(fresh_input + cache_read + cache_write_5m + cache_write_1h) AS input, SUM(output) AS output,"
    " SUM(cost_nanos) AS nanos, SUM(CASE WHEN quality = 'final' THEN cost_nanos ELSE 0 END) AS exact,"
    f" {_sure('price_id', 'cost_nanos')}, CASE WHEN session_id IS NULL THEN project END AS folder"
    f" FROM usage WHERE {_SPAN} GROUP BY 1, 2, folder"
)
_CALLS = (
    "SELECT session_id, COALESCE(model_used, model_requested), 0, COUNT(*),"
    " SUM(COALESCE(fresh_input + cache_read + cache_write_5m + cache_write_1h, prompt_tokens)),"
    " SUM(COALESCE(output, completion_tokens)), SUM(booked_nanos),"
    " 0,"  # nobody but the agent itself tells what they used
    f" {_sure('COALESCE(actual_price_id, price_id)', 'booked_nanos')}, NULL"
    f" FROM call WHERE {_SPAN} AND {_BOOKED} GROUP BY 1, 2"
)
# The sums come first: the few sessions they name are then looked up by their key.
SELECT_SPEND = (
    "SELECT g.session_id, s.client, COALESCE(s.project, g.folder), COALESCE(s.currency, 'USD'),"
    f" COALESCE(s.usd_nanos, {NANOS_PER_UNIT}), s.rate_day, g.model, SUM(g.responses), SUM(g.calls), SUM(g.input),"
    " SUM(g.output), SUM(g.nanos), SUM(g.exact), SUM(g.approximate), SUM(g.assumed)"
    f" FROM ({_RESPONSES} UNION ALL {_CALLS}) g"
    " LEFT JOIN session s ON s.tenant = :tenant AND s.session_id = g.session_id"
    " GROUP BY g.session_id, g.model, g.folder"
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
SELECT_MOMENTS = f"SELECT MIN(at_us), MAX(at_us) FROM ({_MOMENTS.format('call')} UNION ALL {_MOMENTS.format('usage')})"
SELECT_NEXT_RESPONSE = f"SELECT at_us FROM usage WHERE {_SPAN} ORDER BY at_us LIMIT 1"
SELECT_NEXT_CALL = f"SELECT at_us FROM call WHERE {_SPAN} AND {_BOOKED} ORDER BY at_us LIMIT 1"


class SpendReads(Statements):
    """Sums for reports; each reads the rows of a span along an index on time."""

    def session_spend(
        self, from_us: int, until_us: int, *, approximate: Collection[str] = (), assumed: Collection[str] = ()
    ) -> list[SpendSum]:
        """What was spent in a span, by session and model; of no session, the responses that belong to none, by folder.

        `approximate` and `assumed` are the prices that are so.
        """
        listed = {"approximate": json.dumps(sorted(approximate)), "assumed": json.dumps(sorted(assumed))}
        return [SpendSum(*row) for row in self._all(SELECT_SPEND, from_us=from_us, until_us=until_us, **listed)]

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
