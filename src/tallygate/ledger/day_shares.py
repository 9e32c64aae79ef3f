"""Shares by day of UTC, whatever session they are of: what is asked of a long time reads few of them.

They are the sums of `share`, kept with it; a day is 96 quarters of an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tallygate.ledger.events import Execute, ExecuteMany

QUARTER_US = 900_000_000
QUARTERS_A_DAY = 96
# Before every date that there is, as in the number of a quarter: no day is divided towards nothing.
_BEFORE = 1_000_000
_DAY = f"(r.quarter + {_BEFORE * QUARTERS_A_DAY}) / {QUARTERS_A_DAY} - {_BEFORE}"

# Of calls that are booked themselves the session tells client and folder. `rate` is the currency and the rate of a
# session that has one of its own.
KEY = (
    "booked", "client", "session_id", "rate", "folder", "model", "price_id", "subagent", "agent", "skill", "branch",
    "server", "tool",
)  # fmt: skip
SUMS = (
    "responses", "served", "partial", "partial_served", "calls", "fresh_input", "cache_read", "cache_write_5m",
    "cache_write_1h", "output", "reasoning", "web_searches", "cost_nanos", "missing_output", "exact_nanos",
)  # fmt: skip
_SPAN = ("first_us", "last_us")
RATE = "currency || ' ' || COALESCE(CAST(usd_nanos AS TEXT), '') || ' ' || COALESCE(rate_day, '')"
_RATE = f"COALESCE((SELECT {RATE} FROM session s WHERE {{}} AND s.currency <> 'USD'), '')"
_OF = (
    "k.booked", "k.client", "CASE WHEN k.booked = 1 THEN k.session_id ELSE '' END",
    f"CASE WHEN k.booked = 1 THEN '' ELSE {_RATE.format('s.tenant = k.tenant AND s.session_id = k.session_id')} END",
    "k.folder", "k.model", "k.price_id", "d.subagent", "d.agent", "d.skill", "d.branch", "d.server", "d.tool",
)  # fmt: skip
_ADDS = (
    "r.responses", "r.served", "CASE WHEN d.final = 1 THEN 0 ELSE r.responses END",
    "CASE WHEN d.final = 1 THEN 0 ELSE r.served END", *(f"r.{name}" for name in SUMS[4:14]),
    "CASE WHEN d.final = 1 AND k.booked = 0 THEN r.cost_nanos ELSE 0 END",
)  # fmt: skip
_FROM = (
    " FROM share r CROSS JOIN share_key d ON d.id = r.key AND d.tenant = r.tenant"
    " CROSS JOIN rollup_key k ON k.id = d.key AND k.tenant = d.tenant"
)
# What shares come to by day, with the tenant in front.
FRESH = (
    f"SELECT r.tenant AS tenant, {_DAY} AS day,"
    f" {', '.join(f'{column} AS {name}' for name, column in zip(KEY, _OF, strict=True))},"
    f" {', '.join(f'SUM({column}) AS {name}' for name, column in zip(SUMS, _ADDS, strict=True))},"
    f" MIN(r.first_us) AS first_us, MAX(r.last_us) AS last_us{_FROM}{{where}}"
    f" GROUP BY {', '.join(str(number) for number in range(1, len(KEY) + 3))}"
)
KEPT = (
    f"SELECT r.tenant, r.day, {', '.join(f'k.{name}' for name in KEY)},"
    f" {', '.join(f'r.{name}' for name in (*SUMS, *_SPAN))} FROM day_share r LEFT JOIN day_key k"
    " ON k.id = r.key AND k.tenant = r.tenant"
)
_COLUMNS = ("tenant", "day", "key", *SUMS, *_SPAN)
_INSERT = f"INSERT INTO day_share ({', '.join(_COLUMNS)})"
_GROWN = ", ".join(f"{name} = day_share.{name} + excluded.{name}" for name in SUMS)
_UPSERT = (
    f"{_INSERT} VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT (tenant, day, key) DO UPDATE SET {_GROWN},"
    " first_us = CASE WHEN excluded.first_us < day_share.first_us THEN excluded.first_us ELSE day_share.first_us END,"
    " last_us = CASE WHEN excluded.last_us > day_share.last_us THEN excluded.last_us ELSE day_share.last_us END"
)
_IS_KEY = " AND ".join(f"{name} = :{name}" for name in KEY)
_SELECT_ID = f"SELECT id FROM day_key WHERE tenant = :tenant AND {_IS_KEY}"
_INSERT_ID = f"INSERT INTO day_key (tenant, {', '.join(KEY)}) VALUES (:tenant, {', '.join(f':{name}' for name in KEY)})"
_AT = "tenant = :tenant AND day = :day AND key = :key"
_NONE_LEFT = f"DELETE FROM day_share WHERE {_AT} AND responses = 0 AND served = 0 AND calls = 0"
_SELECT_SPAN = f"SELECT first_us, last_us FROM day_share WHERE {_AT}"
# The end of a day's sum is in the first or the last quarter in which there is a share of it.
_OF_SUM = (
    f"{_FROM} WHERE r.tenant = :tenant AND {{quarters}} AND"
    f" {' AND '.join(f'{column} = :{name}' for name, column in zip(KEY, _OF, strict=True))}"
)
_THE_ONE = "r.quarter = (SELECT r.quarter {within} ORDER BY r.quarter {way} LIMIT 1)"
_SELECT_END = f"SELECT {{end}} {_OF_SUM.format(quarters=_THE_ONE)}"
_WITHIN = _OF_SUM.format(quarters="r.quarter >= :first AND r.quarter < :end")
_SELECT_FIRST = _SELECT_END.format(end="MIN(r.first_us)", within=_WITHIN, way="ASC")
_SELECT_LAST = _SELECT_END.format(end="MAX(r.last_us)", within=_WITHIN, way="DESC")

SELECT_UPTO = "SELECT days_upto FROM rollup_state"
UPDATE_UPTO = "UPDATE rollup_state SET days_upto = :upto"
NO_DAY = -_BEFORE
# So many shares are read as they are: to keep sums of days for fewer does not pay. The last days are still written
# into, and a response whose day has no sum yet costs no more to keep than it did.
WORTH = 10_000
_LAST_DAYS = 2
_SELECT_TENANTS = (
    "WITH RECURSIVE named (tenant) AS (SELECT MIN(tenant) FROM share UNION ALL"
    " SELECT (SELECT MIN(s.tenant) FROM share s WHERE s.tenant > named.tenant) FROM named"
    " WHERE named.tenant IS NOT NULL) SELECT tenant FROM named WHERE tenant IS NOT NULL"
)
_SELECT_REACH = (
    "SELECT quarter FROM share WHERE tenant = :tenant AND quarter >= :first AND quarter < :end ORDER BY quarter"
    " LIMIT 1 OFFSET :rows"
)
_IN_STEP = " WHERE r.tenant = :tenant AND r.quarter >= :first AND r.quarter < :end"


def step_of(execute: Execute, at_us: int, rows: int) -> Span | None:
    """The next days to add up, with about so many shares; None where that would not pay, as of a time."""
    upto = execute(SELECT_UPTO, {}).fetchone()[0]
    last = at_us // (QUARTER_US * QUARTERS_A_DAY) - _LAST_DAYS
    is_worth, reached = False, [last]
    for (tenant,) in execute(_SELECT_TENANTS, {}).fetchall():
        at = {"tenant": tenant, "first": upto * QUARTERS_A_DAY, "end": last * QUARTERS_A_DAY}
        is_worth = is_worth or execute(_SELECT_REACH, at | {"rows": WORTH}).fetchone() is not None
        if (found := execute(_SELECT_REACH, at | {"rows": rows}).fetchone()) is not None:
            reached.append(found[0] // QUARTERS_A_DAY)
    return (upto, max(min(reached), upto + 1)) if is_worth else None


def add_up_days(execute: Execute, at_us: int, rows: int) -> bool:
    """Add up the shares of some more days, about as many; whether that is all as of a time."""
    step = step_of(execute, at_us, rows)
    if step is None:
        return True
    span = {"first": step[0] * QUARTERS_A_DAY, "end": step[1] * QUARTERS_A_DAY}
    names, columns = f"tenant, {', '.join(KEY)}", ", ".join(f"f.{name}" for name in (*SUMS, *_SPAN))
    same = " AND ".join(f"k.{name} = f.{name}" for name in ("tenant", *KEY))
    for (tenant,) in execute(_SELECT_TENANTS, {}).fetchall():
        fresh, at = FRESH.format(where=_IN_STEP), span | {"tenant": tenant}
        execute(f"INSERT OR IGNORE INTO day_key ({names}) SELECT {names} FROM ({fresh}) f", at)
        sums = f"SELECT f.tenant, f.day, k.id, {columns} FROM ({fresh}) f CROSS JOIN day_key k WHERE {same}"
        execute(f"{_INSERT} {sums}", at)
    execute(UPDATE_UPTO, {"upto": step[1]})
    return step_of(execute, at_us, rows) is None


def checks(upto: int) -> tuple[str, str]:
    """What holds sums of days against their shares, as far as they are added up: what is lacking, what is beyond."""
    fresh = FRESH.format(where=f" WHERE r.quarter < {upto * QUARTERS_A_DAY}")
    return f"SELECT * FROM ({fresh}) f EXCEPT {KEPT}", f"{KEPT} EXCEPT SELECT * FROM ({fresh}) f"


# --- read ------------------------------------------------------------------------------------------------------------


# In the columns in which shares are read, where `served` and `responses` are of final ones and others together.
DAYS = (
    f"SELECT {', '.join(f'k.{name}' for name in KEY)}, {', '.join(f'r.{name}' for name in (*SUMS, *_SPAN))}"
    f" FROM (SELECT key, {', '.join(f'SUM({name}) AS {name}' for name in SUMS)}, MIN(first_us) AS first_us,"
    " MAX(last_us) AS last_us FROM day_share WHERE tenant = :tenant AND day >= :first AND day < :end GROUP BY key) r"
    " CROSS JOIN day_key k ON k.id = r.key WHERE k.tenant = :tenant"
)
# A session of each rate: whoever knows the rates of sessions knows that one.
SELECT_OF_RATES = f"SELECT {RATE}, MIN(session_id) FROM session WHERE tenant = :tenant AND currency <> 'USD' GROUP BY 1"
Span = tuple[int, int]


def parted(from_us: int, until_us: int) -> tuple[Span | None, list[Span]]:
    """A span as the whole quarters in it, by their numbers, and the moments at its ends that lie beyond them.

    >>> parted(0, QUARTER_US * 2 + 5)
    ((0, 2), [(1800000000, 1800000005)])
    """
    first, end = -(-from_us // QUARTER_US), until_us // QUARTER_US
    if first >= end:
        return None, [(from_us, until_us)]
    ends = [(from_us, first * QUARTER_US), (end * QUARTER_US, until_us)]
    return (first, end), [(since, until) for since, until in ends if since < until]


def in_days(quarters: Span, upto: int) -> tuple[Span | None, list[Span]]:
    """Quarters as the whole days before one that are among them, by their numbers, and the quarters around these.

    >>> in_days((95, 193), 9), in_days((95, 193), 1)
    (((1, 2), [(95, 96), (192, 193)]), (None, [(95, 193)]))
    """
    first, end = -(-quarters[0] // QUARTERS_A_DAY), min(quarters[1] // QUARTERS_A_DAY, upto)
    if first >= end:
        return None, [quarters]
    ends = [(quarters[0], first * QUARTERS_A_DAY), (end * QUARTERS_A_DAY, quarters[1])]
    return (first, end), [(since, until) for since, until in ends if since < until]


# --- kept ------------------------------------------------------------------------------------------------------------


Key = tuple[Any, ...]


class DayShares:
    """The sums of days, as shares are written."""

    def __init__(self, execute: Execute, execute_many: ExecuteMany) -> None:
        self._execute, self._execute_many = execute, execute_many
        self._rates: dict[tuple[str, str], str] = {}

    def write(self, shares: Mapping[Key, Sequence[int]], taken: Iterable[Key], upto: int) -> None:
        """Write what shares have added, by tenant, what they are of, quarter and whom they were made for.

        `taken` are those from which something was taken that no other one of the same day has now. Days from `upto`
        on have no sums yet.
        """
        end = upto * QUARTERS_A_DAY
        sums: dict[Key, list[int]] = {}
        for share, counted in shares.items():
            if share[_QUARTER_AT] >= end:
                continue
            key, added = self._of(share), _adds(share, counted)
            known = sums.get(key)
            if known is None:
                sums[key] = added
                continue
            ends = min(known[-2], added[-2]), max(known[-1], added[-1])
            known[:] = [one + other for one, other in zip(known, added, strict=True)]
            known[-2:] = ends
        if not sums:
            return
        ids = {key: self._id_of(key) for key in sums}
        self._execute_many(_UPSERT, [(key[0], key[1], ids[key], *each) for key, each in sums.items()])
        for key in {self._of(share) for share in taken} & sums.keys():
            self._settle_taken(key, ids[key], *sums[key][-2:])

    def _of(self, share: Key) -> Key:
        """What a share is of in the sum of its day: the tenant, the day, and then as the columns of keys are."""
        tenant, booked, client, _, session_id, folder, model, price_id, quarter, *whom = share
        subagent, agent, skill, branch, _, server, tool = whom
        own, rate = (session_id, "") if booked else ("", self._rate_of(tenant, session_id))
        return (
            tenant, quarter // QUARTERS_A_DAY, booked, client, own, rate, folder, model, price_id, subagent, agent,
            skill, branch, server, tool,
        )  # fmt: skip

    def _rate_of(self, tenant: str, session_id: str) -> str:
        if not session_id:
            return ""
        known = self._rates.get((tenant, session_id))
        if known is None:
            found = self._execute(_SELECT_RATE, {"tenant": tenant, "session_id": session_id}).fetchone()
            known = self._rates[tenant, session_id] = found[0]
        return known

    def _id_of(self, key: Key) -> int:
        parameters = _named(key)
        if (found := self._execute(_SELECT_ID, parameters).fetchone()) is not None:
            return int(found[0])
        return int(self._execute(_INSERT_ID, parameters).lastrowid)

    def _settle_taken(self, key: Key, number: int, first_us: int, last_us: int) -> None:
        """Forget a sum of nothing; of another one say again when its first or last was, where that was taken."""
        at = {"tenant": key[0], "day": key[1], "key": number}
        if self._execute(_NONE_LEFT, at).rowcount:
            return
        found = self._execute(_SELECT_SPAN, at).fetchone()
        if found is None:
            return
        of = _named(key) | {"first": key[1] * QUARTERS_A_DAY, "end": (key[1] + 1) * QUARTERS_A_DAY}
        for name, is_taken, select in (
            ("first_us", first_us <= found[0], _SELECT_FIRST),
            ("last_us", last_us >= found[1], _SELECT_LAST),
        ):
            if is_taken and (end := self._execute(select, of).fetchone()[0]) is not None:
                self._execute(f"UPDATE day_share SET {name} = :end WHERE {_AT}", at | {"end": end})


# Where in the name of a share its quarter stands, and whether it is of final counts.
_QUARTER_AT, _FINAL_AT = 8, 13
_SELECT_RATE = f"SELECT {_RATE.format('s.tenant = :tenant AND s.session_id = :session_id')}"


def _named(key: Key) -> dict[str, Any]:
    return {"tenant": key[0], **dict(zip(KEY, key[2:], strict=True))}


def _adds(share: Key, counted: Sequence[int]) -> list[int]:
    """What a share adds to the sum of its day."""
    responses, served, calls, *sums, missing, first_us, last_us = counted
    booked, final = share[1], share[_FINAL_AT]
    return [
        responses, served, 0 if final else responses, 0 if final else served, calls, *sums, missing,
        sums[-1] if final and not booked else 0, first_us, last_us,
    ]  # fmt: skip
