"""Usage events of Cursor as JSON, from its dashboard or its admin API: one object an event, its money in cents."""

from __future__ import annotations

from collections.abc import Sequence

from tallygate.core.statements import BilledTokens, Billing, Grain
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import Row
from tallygate.statements.reading.columns import Columns, needs, one

_INPUT, _OUTPUT = "tokenusage.inputtokens", "tokenusage.outputtokens"
_WRITTEN, _CACHED = "tokenusage.cachewritetokens", "tokenusage.cachereadtokens"
_WORTH, _CHARGED = "tokenusage.totalcents", "chargedcents"
_OWN = (_INPUT, _WORTH, _CHARGED, "requestscosts", "istokenbasedcall", "owninguser")


def _recognises(header: Sequence[str]) -> bool:
    return not _lacks(header) and any(column in header for column in _OWN)


_lacks = needs("timestamp", "model", "kind")


def _cents(row: Row, column: str) -> int | None:
    """An amount in cents, with their fractions, in nano-units; rounded up where it goes beyond them."""
    found = cells.amount(row, column)
    return None if found is None else -(-found // 100)


def _charge(row: Row) -> tuple[Billing, int | None]:
    """What the event charges; what a plan covers is told with what it would have cost by use."""
    worth, charged = _cents(row, _WORTH), _cents(row, _CHARGED)
    words = (cells.name(row, "kind") or "").casefold().replace("_", " ")
    if "not charged" in words or "no charge" in words:
        return Billing.METERED, 0
    if "included" in words or "free" in words:
        return Billing.INCLUDED, charged if worth is None else worth
    return Billing.METERED, worth if charged is None else charged


FORMAT = Columns(
    name="cursor_events",
    title="Cursor, usage events in JSON",
    needs=_lacks,
    recognises=_recognises,
    provider="cursor",
    first=("timestamp",),
    span=lambda row: (Grain.REQUEST, cells.epoch(row, "timestamp", per_second=1000), None),
    parts={
        "model": "model",
        "tokens": lambda row: BilledTokens(
            *(cells.count(row, column) for column in (_INPUT, _CACHED, _WRITTEN, _OUTPUT))
        ),
        "charge": _charge,
        "requests": one,
        "workspace": lambda row: cells.name(row, "useremail") or cells.name(row, "owninguser"),
    },
    # Nothing names an event, so its counts and its cost must.
    apart=("model", "kind", "workspace", "conversationid", "counts", "cost_nanos"),
).form
