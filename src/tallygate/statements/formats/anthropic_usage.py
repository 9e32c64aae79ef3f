"""The usage export of the Claude Console: tokens of a day or an hour by model, key and workspace, without money."""

from __future__ import annotations

from tallygate.core.statements import BilledTokens
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import Row
from tallygate.statements.reading.columns import Columns, by_time


def _tokens(row: Row) -> BilledTokens:
    def count(column: str) -> int | None:
        return cells.count(row, f"usage_{column}")

    written = (count(f"input_tokens_cache_write{span}") for span in ("", "_5m", "_1h"))
    return BilledTokens(
        fresh_input=count("input_tokens_no_cache"),
        cache_read=count("input_tokens_cache_read"),
        cache_write=cells.total(*written),
        output=count("output_tokens"),
    )


FORMAT = Columns(
    name="anthropic_usage",
    title="Claude Console, usage export",
    needs=("usage_date_utc", "model_version", "usage_input_tokens_no_cache", "usage_output_tokens"),
    provider="anthropic",
    first=("usage_date_utc",),
    span=by_time("usage_date_utc"),
    parts={
        "model": lambda row: cells.required(row, "model_version", "a model"),
        "tokens": _tokens,
        "key": "api_key",
        "workspace": "workspace",
    },
    # Columns that only some versions of the export have stay out: the same line comes with and without them.
    apart=("model", "key", "workspace", "usage_type"),
).form
