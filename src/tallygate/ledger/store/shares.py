"""What responses and booked calls come to by whom they were made for: subagent, skill, branch, and the tools served."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tallygate.core.costing import Tokens
from tallygate.core.sums import SharedSum, UsageSum, Whom
from tallygate.ledger.day_shares import DAYS, SELECT_OF_RATES, in_days, parted
from tallygate.ledger.rolled import RollupReads
from tallygate.ledger.rollups import SHARED, SHARED_BETWEEN

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
_TIMES = "CASE WHEN served > 0 THEN {served} ELSE {once} END"
_SUMS = (
    "SUM({times}), SUM({partial_times}), SUM(responses), SUM({partial}), SUM(calls), SUM(fresh_input), SUM(cache_read),"
    " SUM(cache_write_5m), SUM(cache_write_1h), SUM(output), SUM(reasoning), SUM(web_searches), SUM(cost_nanos),"
    " SUM(missing_output), SUM({exact}), MIN(first_us), MAX(last_us)"
)
# Of a quarter those whose last count is there are apart from the others, of a day they are counted together.
_OF_QUARTERS = {
    "partial": "CASE WHEN final = 1 THEN 0 ELSE responses END",
    "partial_served": "CASE WHEN final = 1 THEN 0 ELSE served END",
    "exact": "CASE WHEN final = 1 AND booked = 0 THEN cost_nanos ELSE 0 END",
}
_OF_DAYS = {"partial": "partial", "partial_served": "partial_served", "exact": "exact_nanos"}
_FROM = " FROM ({source}) f LEFT JOIN session s ON booked = 1 AND s.tenant = :tenant AND s.session_id = f.session_id"
_OWN = "SELECT session_id FROM session WHERE tenant = :tenant AND currency <> 'USD'"
# Whose currency it is: any session of that rate will do.
_ANY_OWN = f"CASE WHEN f.session_id IN ({_OWN}) THEN f.session_id END"
_RATE_OWN = f"CASE WHEN booked = 1 THEN {_ANY_OWN} ELSE NULLIF(f.rate, '') END"


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
        session, own = (_SESSION, "f.session_id") if by_session else ("NULL", _ANY_OWN)
        found: list[Any] = []
        if quarters is not None:
            # Sums of days are of no session.
            days, parts = (None, [quarters]) if by_session else in_days(quarters, self.days_upto())
            if days is not None:
                sql = _summed(DAYS, asked, _OF_DAYS, "NULL", _RATE_OWN)
                rates = dict(self._all(SELECT_OF_RATES))
                rows = self._all(sql, first=days[0], end=days[1])
                found += [(*row[:8], rates.get(row[8], row[8]), *row[9:]) for row in rows]
            sql = _summed(SHARED, asked, _OF_QUARTERS, session, own)
            for first, end in parts:
                found += self._all(sql, first=first, end=end)
        sql = _summed(SHARED_BETWEEN, asked, _OF_QUARTERS, session, own)
        for since, until in rest:
            found += self._all(sql, from_us=since, until_us=until)
        return [_shared(row) for row in found]


def _summed(source: str, asked: Collection[str], counts: Mapping[str, str], session: str, own: str) -> str:
    """A statement that adds up sums of shares by what is asked of them."""
    tool = next((column for column in asked if "tool" in column), "NULL")
    columns = ", ".join([*(name if name in asked else "NULL" for name in _COLUMNS), tool])
    folder = "CASE WHEN booked = 1 THEN s.project ELSE NULLIF(f.folder, '') END"
    times, partial_times = "responses", counts["partial"]
    if tool != "NULL":
        times = _TIMES.format(served="served", once=times)
        partial_times = _TIMES.format(served=counts["partial_served"], once=partial_times)
    sums = _SUMS.format(times=times, partial_times=partial_times, partial=counts["partial"], exact=counts["exact"])
    of = f"{columns}, {_CLIENT}, {session}, {own}, {folder}, f.model, f.price_id"
    group = ", ".join(str(1 + number) for number in range(12))
    return f"SELECT {of}, {sums}{_FROM.format(source=source)} GROUP BY {group}"


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
