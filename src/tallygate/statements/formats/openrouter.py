"""The activity exports of OpenRouter: a row for each generation, or the sums of a day by model."""

from __future__ import annotations

from tallygate.core.statements import BilledTokens, Grain
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import Row
from tallygate.statements.reading.columns import Columns, by_time, one


def _model(row: Row) -> str:
    return cells.required(row, "model_permaslug", "a model")


def _tokens(row: Row) -> BilledTokens:
    """`tokens_prompt` is all that was read, `tokens_cached` the part of it that came from a cache.

    What Anthropic's models wrote to a cache is part of it too and told nowhere, so their fresh input is not told.
    """
    read, cached = cells.count(row, "tokens_prompt"), cells.count(row, "tokens_cached")
    fresh = None
    if read is not None and cached is not None:
        if cached > read:
            raise cells.bad(row, "tokens_prompt", f"at least the {cached} of tokens_cached")
        fresh = None if _model(row).startswith("anthropic/") else read - cached
    return BilledTokens(fresh, cached, None, cells.count(row, "tokens_completion"), read)


FORMAT = Columns(
    name="openrouter_activity",
    title="OpenRouter, activity export by generation",
    needs=("generation_id", "created_at", "cost_total", "model_permaslug"),
    provider="openrouter",
    first=("generation_id",),
    span=by_time("created_at", Grain.REQUEST, untimed=Grain.REQUEST),
    parts={
        "request_id": lambda row: cells.required(row, "generation_id", "the id of a generation"),
        "model": _model,
        "tokens": _tokens,
        "cost_nanos": "cost_total",
        "requests": one,
        "key": "api_key_name",
        "workspace": "app_name",
        "own_key_nanos": "byok_usage_inference",
    },
).form

BY_DAY = Columns(
    name="openrouter_days",
    title="OpenRouter, activity export by day",
    needs=("date", "slug", "usage", "prompt tokens", "completion tokens"),
    provider="openrouter",
    first=("date",),
    # Every row carries a time: that of a day is its first moment.
    span=by_time("date", midnight_is_a_day=True),
    parts={
        "model": lambda row: cells.required(row, "slug", "a model"),
        "tokens": lambda row: BilledTokens(
            output=cells.count(row, "completion tokens"), read=cells.count(row, "prompt tokens")
        ),
        "cost_nanos": "usage",
        "requests": "requests",
        "own_key_nanos": "byok usage",
    },
    apart=("model",),
).form
