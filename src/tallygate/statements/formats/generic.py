"""A table of our own, for bills that no other format covers: docs/guides/bill-formats.md."""

from __future__ import annotations

from collections.abc import Sequence

from tallygate.core.statements import NO_TOKENS, BilledTokens, Grain
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import Row
from tallygate.statements.reading.columns import Columns, Span, needs

_INPUT, _CACHED, _WRITTEN, _OUTPUT = "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"
_TOKENS = (_INPUT, _CACHED, _WRITTEN, _OUTPUT)
COLUMNS = ("date", "model", "provider", *_TOKENS, "requests", "cost", "currency", "request_id", "api_key")


def _lacks(header: Sequence[str]) -> tuple[str, ...]:
    missing = needs("date")(header)
    return missing if any(column in header for column in ("cost", *_TOKENS)) else (*missing, "cost")


def _recognises(header: Sequence[str]) -> bool:
    """Nothing but our own columns: any table with a date and a cost would do else, and a misspelt column be lost."""
    return not _lacks(header) and set(header) <= set(COLUMNS)


def _tokens(row: Row) -> BilledTokens:
    """Input beside cached input is fresh; input alone may be anything that was read."""
    given, cached, written = (cells.count(row, column) for column in (_INPUT, _CACHED, _WRITTEN))
    apart = cached is not None or written is not None
    return BilledTokens(
        fresh_input=given if apart else None,
        cache_read=cached,
        cache_write=written,
        output=cells.count(row, _OUTPUT),
        read=cells.total(given, cached, written) if given is not None else None,
    )


def _cost(row: Row) -> int | None:
    cost = cells.amount(row, "cost")
    if cost is None and _tokens(row) == NO_TOKENS:
        raise cells.bad(row, "cost", "an amount, and the row counts no tokens either")
    return cost


def _span(row: Row) -> Span:
    at, timed = cells.moment(row, "date")
    if timed or cells.name(row, "request_id"):
        return Grain.REQUEST, at, None
    return Grain.DAY, at, at + cells.DAY


def _figures(row: Row) -> tuple[int | None, ...]:
    """Nothing names a request without an id, so its counts and its cost must; a day's sum may grow."""
    if _span(row)[0] is Grain.DAY:
        return ()
    tokens = _tokens(row)
    return (tokens.fresh_input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.read, _cost(row))


FORMAT = Columns(
    name="generic",
    title="Generic table",
    needs=_lacks,
    recognises=_recognises,
    currency_of=lambda row: None if cells.holds_nothing(row, "date") else cells.currency_code(row, "currency"),
    provider=lambda row: (cells.name(row, "provider") or "unknown").casefold(),
    first=("date",),
    span=_span,
    parts={
        "model": "model",
        "tokens": _tokens,
        "cost_nanos": _cost,
        "requests": "requests",
        "request_id": "request_id",
        "key": "api_key",
    },
    apart=("provider", "model", "key", _figures),
    known_by=("provider", "request_id"),
).form
