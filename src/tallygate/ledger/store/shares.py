"""What responses and booked calls come to by whom they were made for: subagent, skill, branch, and the tools served."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tallygate.core.costing import Tokens
from tallygate.core.sums import SharedSum, UsageSum, Whom
from tallygate.ledger.rollups import SHARED, SHARED_BETWEEN, RollupReads, parted

_SESSION = "CASE WHEN booked = 1 THEN f.session_id ELSE f.client_session END"
_CLIENT = "CASE WHEN booked = 1 THEN s.client ELSE f.client END"
# What a list may be of, each as what tells it: of what is not asked for nothing is told.
_WHOM = {
    "agent": ("subagent", "agent"),
    "skill": ("skill",),
    "branch": ("branch",),
    "mcp": ("server", "CASE WHEN tool = '' THEN '' ELSE '*' END"),
    "tool": ("server", "tool"),
}
_COLUMNS = {"subagent": "subagent", "agent": "agent", "skill": "skill", "branch": "branch", "server": "server"}
# One that served several tools is counted with each of them; once it is counted with the first one.
_TIMES = "CASE WHEN served > 0 THEN served ELSE responses END"
_SUMS = (
    "SUM({times}), SUM(CASE WHEN final = 1 THEN 0 ELSE {times} END), SUM(responses),"
    " SUM(CASE WHEN final = 1 THEN 0 ELSE responses END), SUM(calls), SUM(fresh_input), SUM(cache_read),"
    " SUM(cache_write_5m), SUM(cache_write_1h), SUM(output), SUM(reasoning), SUM(web_searches), SUM(cost_nanos),"
    " SUM(missing_output), SUM(CASE WHEN final = 1 AND booked = 0 THEN cost_nanos ELSE 0 END), MIN(first_us),"
    " MAX(last_us)"
)
_FROM = " FROM ({source}) f LEFT JOIN session s ON booked = 1 AND s.tenant = :tenant AND s.session_id = f.session_id"
_OWN = "SELECT session_id FROM session WHERE tenant = :tenant AND currency <> 'USD'"


class ShareReads(RollupReads):
    """Sums by whom something was made for; a part of every reader."""

    def shared_sums(self, from_us: int, until_us: int, whom: Collection[str], *, by_session: bool) -> list[SharedSum]:
        """What everything in a span adds up to by whom it was made for, client, folder, model and price.

        `whom` are words of `agent`, `skill`, `mcp`, `tool` and `branch`. Of the same of these there may be several
        sums, each of another part of the span.
        """
        quarters, rest = parted(from_us, until_us) if self.has_rollups() else (None, [(from_us, until_us)])
        # A tool says its server as well.
        asked = [column for word in sorted({*whom} - ({"mcp"} if "tool" in whom else set())) for column in _WHOM[word]]
        tool = next((column for column in asked if "tool" in column), "NULL")
        columns = ", ".join([*(name if name in asked else "NULL" for name in _COLUMNS), tool])
        session = _SESSION if by_session else "NULL"
        own = "f.session_id" if by_session else f"CASE WHEN f.session_id IN ({_OWN}) THEN f.session_id END"
        folder = "CASE WHEN booked = 1 THEN s.project ELSE NULLIF(f.folder, '') END"
        sql = f"SELECT {columns}, {_CLIENT}, {session}, {own}, {folder}, f.model, f.price_id, "
        sql += _SUMS.format(times="responses" if tool == "NULL" else _TIMES) + _FROM
        sql += " GROUP BY " + ", ".join(str(1 + number) for number in range(12))
        found: list[Any] = []
        if quarters is not None:
            found += self._all(sql.format(source=SHARED), first=quarters[0], end=quarters[1])
        for since, until in rest:
            found += self._all(sql.format(source=SHARED_BETWEEN), from_us=since, until_us=until)
        return [_shared(row) for row in found]


def _shared(row: tuple[Any, ...]) -> SharedSum:
    """A row of these columns as a sum, which counts a response with each tool, and how often it does so once."""
    whom, (client, session, session_id, folder, model, price_id), sums = Whom(*row[:6]), row[6:12], row[12:]
    times, partial_times, responses, partial, calls, *tokens = sums[:10]
    reasoning, searches, nanos, missing, exact, first_us, last_us = sums[10:]
    found = UsageSum(
        key=(),
        model=model,
        price_id=price_id,
        responses=times,
        partial=partial_times,
        tokens=Tokens(*tokens),
        reasoning=reasoning,
        web_searches=searches,
        nanos=nanos,
        missing_output=missing,
        first_us=first_us,
        last_us=last_us,
        exact_nanos=exact,
        calls=calls,
        client=client,
        session=session,
        session_id=session_id or None,
        folder=folder,
    )
    return SharedSum(whom, found, responses, partial)
