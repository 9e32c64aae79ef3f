"""A table of our own, for bills that no other format covers: docs/guides/bill-formats.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tallygate.core.statements import BilledTokens, BillLine, Grain
from tallygate.statements.reading import cells
from tallygate.statements.reading.form import BillFormat, Numbered, Row, needs

NAME = "generic"

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


def _read(numbered: Numbered) -> Iterator[BillLine]:
    number, row = numbered
    if cells.holds_nothing(row, "date"):
        return
    at, timed = cells.moment(row, "date")
    tokens, cost = _tokens(row), cells.amount(row, "cost")
    counts = (tokens.fresh_input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.read)
    if cost is None and counts == (None,) * len(counts):
        raise cells.bad(row, "cost", "an amount, and the row counts no tokens either")
    provider, model = (cells.name(row, "provider") or "unknown").casefold(), cells.name(row, "model")
    request_id, key = cells.name(row, "request_id"), cells.key_name(row, "api_key")
    grain = Grain.REQUEST if timed or request_id else Grain.DAY
    named = cells.identity(NAME, grain, at, provider, model, key)
    if request_id:
        named = (NAME, provider, request_id)
    elif timed:
        named = cells.identity(NAME, grain, at, provider, model, key, *counts, cost)
    yield BillLine(
        number=number,
        grain=grain,
        at=at,
        until=at + cells.DAY if grain is Grain.DAY else None,
        provider=provider,
        identity=named,
        model=model,
        tokens=tokens,
        cost_nanos=cost,
        requests=cells.count(row, "requests"),
        request_id=request_id,
        key=key,
    )


def _currency_of(row: Row) -> str | None:
    return None if cells.holds_nothing(row, "date") else cells.currency_code(row, "currency")


FORMAT = BillFormat(NAME, "Generic table", _recognises, _read, _lacks, currency_of=_currency_of)
