"""The cost export of the Claude Console: dollars of a day by model, kind of token and key, without counts."""

from __future__ import annotations

from tallygate.core.statements import TokenClass
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import Row
from tallygate.statements.reading.columns import Columns, by_time

_CLASSES = {
    "input_no_cache": TokenClass.INPUT,
    "input_cache_read": TokenClass.CACHE_READ,
    "input_cache_write": TokenClass.CACHE_WRITE,
    "input_cache_write_5m": TokenClass.CACHE_WRITE,
    "input_cache_write_1h": TokenClass.CACHE_WRITE,
    "output": TokenClass.OUTPUT,
}


def _kind(row: Row) -> str | None:
    """Web searches and code execution are billed beside tokens, some of them without a model."""
    return cells.name(row, "token_type") or cells.name(row, "cost_type")


FORMAT = Columns(
    name="anthropic_cost",
    title="Claude Console, cost export",
    needs=("usage_date_utc", "model", "token_type", "cost_usd"),
    provider="anthropic",
    first=("usage_date_utc",),
    span=by_time("usage_date_utc"),
    parts={
        "model": "model",
        "cost_nanos": lambda row: cells.cost(row, "cost_usd"),
        "token_class": lambda row: _CLASSES.get((_kind(row) or "").casefold(), TokenClass.OTHER),
        "key": "api_key",
        "workspace": "workspace",
    },
    # Columns that only some versions of the export have stay out: the same line comes with and without them.
    apart=("model", "key", "workspace", "usage_type", _kind),
).form
