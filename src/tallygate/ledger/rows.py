"""Rows of the projection tables as values and back, and running one statement for one tenant."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

from tallygate.core.attribution import Served
from tallygate.core.costing import Tokens
from tallygate.core.gate.lifecycle import CallAnomaly
from tallygate.core.learning.calibration import Sample, SampleKey
from tallygate.core.loops import SeenLoop
from tallygate.core.model import Budget, Call, Hold, LimitChange, Session
from tallygate.core.money import NANOS_PER_UNIT
from tallygate.core.statements import Bill, BillLine, identity_digest
from tallygate.core.sums import UsageSum
from tallygate.core.text import cleaned
from tallygate.core.usage import Rules
from tallygate.ledger.layout import Form, Layout
from tallygate.ledger.port import Anomaly, StoredUsage, Value

# --- statements ------------------------------------------------------------------------------------------------------
# Running one statement for one tenant, through any database that takes `:named` parameters.


class Cursor(Protocol):
    """What a database gives back for one statement."""

    @property
    def rowcount(self) -> int: ...
    @property
    def lastrowid(self) -> int | None: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


Execute = Callable[[str, dict[str, Any]], Cursor]
# The same statement once for each row of values, which stand in the order of its marks.
ExecuteMany = Callable[[str, Iterable[tuple[Any, ...]]], Cursor]


_NO_RULES = Rules()


# Tables that grow with time, each with the column that says in which order.
_PLACES = {"call": "rowid", "event": "id"}


class Statements:
    """Statements with the tenant always among their parameters.

    `rules` are those by which clients' records are read. A row of another one is one of the conversation itself.
    """

    def __init__(self, execute: Execute, tenant: str, rules: Rules | None = None) -> None:
        self._execute = execute
        self.tenant = tenant
        self.rules = _NO_RULES if rules is None else rules

    def _one(self, sql: str, **parameters: Value) -> Any:
        return self._execute(sql, {"tenant": self.tenant, **parameters}).fetchone()

    def _all(self, sql: str, **parameters: Value) -> list[Any]:
        return self._execute(sql, {"tenant": self.tenant, **parameters}).fetchall()

    def place_at(self, table: str, at_us: int) -> int:
        """The place in a table, which grows with time, of its first row from a moment on.

        There is no index on the time of all calls or events: every step would write it. Halving finds the place in as
        many looks as a number has digits in base two.
        """
        place = _PLACES[table]
        low, high = 0, int(self._one(f"SELECT COALESCE(MAX({place}), 0) + 1 FROM {table}")[0])
        while low < high:
            middle = (low + high) // 2
            found = self._one(
                f"SELECT {place}, at_us FROM {table} WHERE {place} >= :middle ORDER BY {place} LIMIT 1", middle=middle
            )
            if found is None or found[1] >= at_us:
                high = middle
            else:
                low = int(found[0]) + 1
        return low


# --- rows ------------------------------------------------------------------------------------------------------------
# What each table's rows are made of: the fields of its dataclass, and how those stand that take more than a column.


_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
NAME_MAX = 500


def holds_text(holds: Iterable[Hold], booked_nanos: int) -> str:
    """A call's holds as they are kept; what is booked is left out where it is the call's own amount."""
    return _ENCODE(
        [
            [hold.budget_id, hold.held] if hold.booked == booked_nanos else [hold.budget_id, hold.held, hold.booked]
            for hold in holds
        ]
    )


def _holds(text: str, row: tuple[Any, ...]) -> tuple[Hold, ...]:
    holds = []
    for budget_id, held, *booked in json.loads(text):
        holds.append(Hold(budget_id, held, booked[0] if booked else row[_BOOKED]))
    return tuple(holds)


def raises_text(raises: Iterable[tuple[int, int]]) -> str | None:
    """What a user has added to a rolling budget, and until when, as it is kept; None where there is nothing."""
    return _ENCODE([list(each) for each in raises]) if raises else None


def _charges_text(stored: StoredUsage) -> str | None:
    """Where a response counts; the amount is left out where it is the response's own cost."""
    if not stored.charges:
        return None
    cost = stored.cost_nanos
    entries = [budget_id if amount == cost else [budget_id, amount] for budget_id, amount in stored.charges]
    return json.dumps(entries, separators=(",", ":"))


def _charges(text: str, row: tuple[Any, ...]) -> tuple[tuple[str, int], ...]:
    return charges_in(text, row[_COST])


def charges_in(text: str | None, cost: int) -> tuple[tuple[str, int], ...]:
    """Where a response of a cost counts, and with how much, as it is kept."""
    if not text:
        return ()
    return tuple([(entry, cost) if isinstance(entry, str) else (entry[0], entry[1]) for entry in json.loads(text)])


def served_text(served: Sequence[Served]) -> str | None:
    """The tools that a response served as they are kept; None where it served none."""
    return _served_text(tuple(served)) if served else None


@lru_cache(maxsize=1024)
def _served_text(served: tuple[Served, ...]) -> str:
    return _ENCODE(served)


@lru_cache(maxsize=1024)
def served_in(text: str) -> tuple[Served, ...]:
    """The tools that a response served, as they are kept."""
    return tuple([Served(*each) for each in json.loads(text)])


def _served(text: str, _row: tuple[Any, ...]) -> tuple[Served, ...]:
    return served_in(text)


def _dollars(stated: int, _row: tuple[Any, ...]) -> int:
    return stated or NANOS_PER_UNIT


def _words(text: str, _row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(text.split())


def _name(text: str | None) -> str | None:
    return None if text is None else cleaned(text, NAME_MAX) or None


SESSION = Layout(
    Session,
    usd_nanos=Form(lambda each: None if each.currency == "USD" else each.usd_nanos, _dollars, NANOS_PER_UNIT),
)
BUDGET = Layout(
    Budget,
    usd_nanos=Form(lambda each: None if each.usd_nanos == NANOS_PER_UNIT else each.usd_nanos, _dollars, NANOS_PER_UNIT),
    raises=Form(
        lambda each: raises_text(each.raises),
        lambda text, _: tuple((added, until) for added, until in json.loads(text)),
        (),
    ),
    also=Form(lambda each: _ENCODE(each.also) if each.also else None, lambda text, _: tuple(json.loads(text)), ()),
)
CALL = Layout(Call, holds=Form(lambda each: holds_text(each.holds, each.booked_nanos), _holds))
_BOOKED = CALL.columns.index("booked_nanos")
USAGE = Layout(
    StoredUsage,
    tool_use_ids=Form(lambda each: " ".join(each.row.tool_use_ids) or None, _words, ()),
    odd=Form(lambda each: " ".join(each.row.odd) or None, _words, ()),
    served=Form(lambda each: served_text(each.row.served), _served, ()),
    # Read before, by rules that are handed in.
    rule=Form(lambda each: each.row.rule.text),
    counted_by=Form(lambda each: None if each.row.counted_by is None else each.row.counted_by.text),
    charges=Form(_charges_text, _charges, ()),
)
_COST = USAGE.columns.index("cost_nanos")
_RULE, _COUNTED_BY = (USAGE.columns.index(column) for column in ("rule", "counted_by"))
BILL = Layout(Bill, name=Form(lambda each: cleaned(each.name, NAME_MAX)))
BILL_LINE = Layout(
    BillLine,
    # Its digest stands there, which takes the bill's format; a line that comes back has that digest as its identity.
    identity=Form(lambda _: None, lambda digest, _: (digest,)),
    provider=Form(lambda each: _name(each.provider)),
    model=Form(lambda each: _name(each.model)),
    request_id=Form(lambda each: _name(each.request_id)),
    key=Form(lambda each: _name(each.key)),
    workspace=Form(lambda each: _name(each.workspace)),
)
LIMIT_CHANGE = Layout(LimitChange)
LOOP = Layout(SeenLoop)
USAGE_ANOMALY = Layout(Anomaly)
CALL_ANOMALY = Layout(CallAnomaly)
_KEY, _SAMPLE, _TOKENS = Layout(SampleKey), Layout(Sample), Layout(Tokens)

# The columns of each projection table: what an audit compares and a rebuild writes. No event can name another.
COLUMNS: dict[str, tuple[str, ...]] = {
    "session": SESSION.in_table,
    "budget": BUDGET.in_table,
    "session_budget": ("tenant", "session_id", "budget_id"),
    "price": ("tenant", "price_id", "basis"),
    "call": CALL.in_table,
    "usage": USAGE.in_table,
    "usage_anomaly": USAGE_ANOMALY.in_table,
    "client_session": ("tenant", "client", "client_session", "session_id", "found_by", "begun"),
    "bill": BILL.in_table,
    "bill_line": ("tenant", "bill_id", "part", *BILL_LINE.columns),
    "calibration_sample": ("tenant", "call_id", "session_id", "agent", "at_us", *_KEY.columns, *_SAMPLE.columns),
    "calibration_start": ("tenant", "client", "model", "from_us"),
    "calibration_factor": ("tenant", "model", "factor_micros", "applied_us"),
    "limit_change": LIMIT_CHANGE.in_table,
    "price_list": ("tenant", "list_id", "stated"),
    "call_anomaly": CALL_ANOMALY.in_table,
    "worktree": ("tenant", "top", "repository"),
    "loop": LOOP.in_table,
}

to_session, from_session = SESSION.value, SESSION.row
to_budget, from_budget = BUDGET.value, BUDGET.row
to_call, from_call = CALL.value, CALL.row
from_usage = USAGE.row


def to_usage(row: tuple[Any, ...], rules: Rules) -> StoredUsage:
    """A row of USAGE's columns as a response, read by one of some rules."""
    values = list(row)
    values[_RULE] = rules[row[_RULE]]
    if row[_COUNTED_BY] is not None:
        values[_COUNTED_BY] = rules[row[_COUNTED_BY]]
    return USAGE.value(tuple(values))


def budget_counters(budget: Budget, at_us: int) -> dict[str, Value]:
    """The columns of a budget that change when a call does."""
    return {
        "budget_id": budget.budget_id,
        "spent_nanos": budget.spent,
        "reserved_nanos": budget.reserved,
        "overage_nanos": budget.overage,
        "touched_us": at_us,
    }


def token_columns(tokens: Tokens | None) -> dict[str, Value]:
    """Counts of actual usage as columns; nothing where there is none."""
    return {} if tokens is None else _TOKENS.row(tokens)


def from_line(line: BillLine, bill: Bill, part: int) -> dict[str, Value]:
    """A line as the columns of its row; `part` tells the lines apart that stand in one row of the file."""
    identity = identity_digest(bill.format, line.identity)
    return {**BILL_LINE.row(line), "bill_id": bill.bill_id, "part": part, "identity": identity}


def from_sample(
    key: SampleKey, sample: Sample, *, call_id: str, session_id: str, agent: str, at_us: int
) -> dict[str, Value]:
    """What one call teaches as the columns of its row: what was said of it before, and what it cost."""
    whose: dict[str, Value] = {"call_id": call_id, "session_id": session_id, "agent": agent, "at_us": at_us}
    return {**whose, **_KEY.row(key), **_SAMPLE.row(sample)}


def to_usage_sum(model: str, price_id: str, responses: int, partial: int, *sums: Any) -> UsageSum:
    """A sum of responses or of booked calls, by its columns."""
    fresh, read, write_5m, write_1h, output, *rest = sums
    return UsageSum((), model, price_id, responses, partial, Tokens(fresh, read, write_5m, write_1h, output), *rest)
