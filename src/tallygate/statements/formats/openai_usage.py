"""The usage export of OpenAI's platform: tokens of a span by model, project and key, without money."""

from __future__ import annotations

from collections.abc import Sequence

from tallygate.core.statements import BilledTokens, Grain
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import Row
from tallygate.statements.reading.columns import Columns, Span, needs

# An export without any use has these columns and no other; so has one of costs.
SPAN = ("start_time", "end_time", "start_time_iso", "end_time_iso")


def span(row: Row) -> Span:
    """What a row stands for, when it begins and when it ends."""
    at, until = cells.epoch(row, "start_time"), cells.epoch(row, "end_time")
    if until <= at:
        raise cells.bad(row, "end_time", "after start_time")
    length = until - at
    return Grain.HOUR if length <= cells.HOUR else Grain.DAY if length <= cells.DAY else Grain.MONTH, at, until


def _lacks(header: Sequence[str]) -> tuple[str, ...]:
    if set(header) == set(SPAN):
        return ()
    return needs("start_time", "end_time", "num_model_requests", "input_tokens")(header)


def _tokens(row: Row) -> BilledTokens:
    """`input_tokens` is all that was read: cached input and input that was written to the cache are part of it."""
    read, cached = cells.count(row, "input_tokens"), cells.count(row, "input_cached_tokens")
    written, output = cells.count(row, "input_cache_write_tokens"), cells.count(row, "output_tokens")
    fresh = None
    if read is not None and cached is not None:
        fresh = read - cached - (written or 0)
        if fresh < 0:
            raise cells.bad(row, "input_tokens", f"at least the {read - fresh} of its cached input")
    return BilledTokens(fresh, cached, written, output, read)


FORMAT = Columns(
    name="openai_usage",
    title="OpenAI platform, usage export",
    needs=_lacks,
    provider="openai",
    first=("start_time",),
    span=span,
    # Every span of an export has a row, also those in which nothing was used.
    unused=("num_model_requests", "model", "input_tokens", "output_tokens"),
    parts={
        "model": "model",
        "tokens": _tokens,
        "requests": "num_model_requests",
        "key": "api_key_id",
        "workspace": "project_id",
    },
    apart=("until", "model", "key", "workspace", "user_id", "batch", "service_tier"),
).form
