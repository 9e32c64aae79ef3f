"""The usage export of Cursor's dashboard: a row for each event, in every version of its header."""

from __future__ import annotations

from collections.abc import Sequence

from tallygate.core.statements import NO_TOKENS, BilledTokens, Billing, Grain
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import Row
from tallygate.statements.reading.columns import Columns, by_time, needs, one

_WRITTEN, _FRESH, _CACHED = "input (w/ cache write)", "input (w/o cache write)", "cache read"
_OUTPUTS, _TOTALS = ("output tokens", "output"), ("total tokens", "tokens")
_COSTS = ("cost", "cost ($)")
_TO_YOU = "cost to you"
# Kinds and costs of what a plan covers. A figure beside them is what it would have cost by use.
_INCLUDED = ("included", "free")
_NOT_CHARGED = ("no charge", "not charged")


def _lacks(header: Sequence[str]) -> tuple[str, ...]:
    missing = needs("date", "model")(header)
    by_class = not needs(_WRITTEN, _FRESH)(header)
    # The first exports had one count for all tokens; nobody else heads a column so.
    by_total = not needs("kind", "max mode", "tokens")(header)
    return missing if by_class or by_total else (*missing, _WRITTEN, _FRESH)


def _one_of(row: Row, columns: Sequence[str]) -> str:
    return next((column for column in columns if column in row), columns[0])


def _tokens(row: Row) -> BilledTokens:
    """The two inputs stand beside each other, or one within the other: the total of the row tells which.

    Where it tells neither, what was read afresh and written to the cache is not told.
    """
    if _FRESH not in row:
        return NO_TOKENS
    written, fresh, cached = (cells.count(row, column) for column in (_WRITTEN, _FRESH, _CACHED))
    output, told = cells.count(row, _one_of(row, _OUTPUTS)), cells.count(row, _one_of(row, _TOTALS))
    apart = cells.total(written, fresh, cached, output)
    if not written or told is None or told == apart:
        return BilledTokens(fresh, cached, written, output)
    within = written - (fresh or 0)
    if within >= 0 and told == cells.total(written, cached, output):
        return BilledTokens(fresh, cached, within, output)
    return BilledTokens(cache_read=cached, output=output)


def _begins(text: str) -> bool:
    return text.casefold().startswith(_INCLUDED)


def _cost(row: Row, column: str) -> int | None:
    """The figure of a cell, nothing where it says a word instead."""
    text = cells.cell_text(row, column)
    return None if not text or _begins(text) else cells.amount_of(row, column, text)


def _charge(row: Row) -> tuple[Billing, int | None]:
    """What the row charges: `Cost to you` where there is such a column; `Cost` may be a plan's to bear."""
    kind, column = cells.name(row, "kind") or "", _one_of(row, _COSTS)
    value, charged = _cost(row, column), _cost(row, _TO_YOU) if _TO_YOU in row else None
    if charged:
        return Billing.METERED, charged
    if any(word in kind.casefold() for word in _NOT_CHARGED):
        return Billing.METERED, 0
    borne = _TO_YOU in row and bool(value)
    if _begins(kind) or _begins(cells.cell_text(row, column)) or borne:
        return Billing.INCLUDED, value
    return Billing.METERED, value if charged is None else charged


FORMAT = Columns(
    name="cursor",
    title="Cursor, usage export",
    needs=_lacks,
    provider="cursor",
    first=("date",),
    span=by_time("date", Grain.REQUEST),
    parts={"model": "model", "tokens": _tokens, "charge": _charge, "requests": one, "workspace": "user"},
    # Nothing names an event, so its counts and its cost must. Events that are alike in all of it are real.
    apart=("model", "kind", "workspace", "counts", "cost_nanos"),
).form
