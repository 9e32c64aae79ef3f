"""Usage events of Cursor as JSON, from its dashboard or its admin API: one object an event, its money in cents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tallygate.core.statements import BilledTokens, Billing, BillLine, Grain
from tallygate.statements.reading import cells
from tallygate.statements.reading.form import BillFormat, Numbered, Row, needs

NAME = "cursor_events"
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


def _charge(row: Row, kind: str) -> tuple[Billing, int | None]:
    """What the event charges; what a plan covers is told with what it would have cost by use."""
    worth, charged = _cents(row, _WORTH), _cents(row, _CHARGED)
    words = kind.casefold().replace("_", " ")
    if "not charged" in words or "no charge" in words:
        return Billing.METERED, 0
    if "included" in words or "free" in words:
        return Billing.INCLUDED, charged if worth is None else worth
    return Billing.METERED, worth if charged is None else charged


def _read(numbered: Numbered) -> Iterator[BillLine]:
    number, row = numbered
    if cells.holds_nothing(row, "timestamp"):
        return
    at = cells.epoch_ms(row, "timestamp")
    model, kind = cells.name(row, "model"), cells.name(row, "kind") or ""
    user = cells.name(row, "useremail") or cells.name(row, "owninguser")
    counts = [cells.count(row, column) for column in (_INPUT, _CACHED, _WRITTEN, _OUTPUT)]
    billing, cost = _charge(row, kind)
    yield BillLine(
        number=number,
        grain=Grain.REQUEST,
        at=at,
        provider="cursor",
        # Nothing names an event, so its counts and its cost must.
        identity=cells.identity(
            NAME, Grain.REQUEST, at, model, kind, user, cells.name(row, "conversationid"), *counts, cost
        ),
        model=model,
        tokens=BilledTokens(*counts),
        cost_nanos=cost,
        requests=1,
        workspace=user,
        billing=billing,
    )


FORMAT = BillFormat(NAME, "Cursor, usage events in JSON", _recognises, _read, _lacks)
