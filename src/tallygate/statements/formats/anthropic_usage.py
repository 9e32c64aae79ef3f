"""The usage export of the Claude Console: tokens of a day or an hour by model, key and workspace, without money."""

from __future__ import annotations

from collections.abc import Iterator

from tallygate.core.statements import BilledTokens, BillLine
from tallygate.statements.reading import cells
from tallygate.statements.reading.form import BillFormat, Numbered, complete, needs

NAME = "anthropic_usage"
_lacks = needs("usage_date_utc", "model_version", "usage_input_tokens_no_cache", "usage_output_tokens")


def _read(numbered: Numbered) -> Iterator[BillLine]:
    number, row = numbered
    if cells.holds_nothing(row, "usage_date_utc"):
        return
    at, timed = cells.moment(row, "usage_date_utc")
    grain, until = cells.day_or_hour(at, timed)
    model = cells.required(row, "model_version", "a model")
    key, workspace = cells.key_name(row, "api_key"), cells.name(row, "workspace")
    written = [
        cells.count(row, f"usage_input_tokens_{column}")
        for column in ("cache_write", "cache_write_5m", "cache_write_1h")
    ]
    yield BillLine(
        number=number,
        grain=grain,
        at=at,
        until=until,
        provider="anthropic",
        # Columns that only some versions of the export have stay out: the same line comes with and without them.
        identity=cells.identity(NAME, grain, at, model, key, workspace, cells.name(row, "usage_type")),
        model=model,
        tokens=BilledTokens(
            fresh_input=cells.count(row, "usage_input_tokens_no_cache"),
            cache_read=cells.count(row, "usage_input_tokens_cache_read"),
            cache_write=cells.total(*written),
            output=cells.count(row, "usage_output_tokens"),
        ),
        key=key,
        workspace=workspace,
    )


FORMAT = BillFormat(NAME, "Claude Console, usage export", complete(_lacks), _read, _lacks)
