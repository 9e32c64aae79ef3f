"""The activity exports of OpenRouter: a row for each generation, or the sums of a day by model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tallygate.core.statements import NO_TOKENS, BilledTokens, Billing, BillLine, Grain, TokenClass
from tallygate.statements.reading import cells
from tallygate.statements.reading.form import BillFormat, Numbered, Row, complete, needs

GENERATIONS, DAYS = "openrouter_activity", "openrouter_days"
_PROVIDER = "openrouter"
_days_lack = needs("date", "slug", "usage", "prompt tokens", "completion tokens")
_lacks = needs("generation_id", "created_at", "cost_total", "model_permaslug")


def _tokens(row: Row, model: str) -> BilledTokens:
    """`tokens_prompt` is all that was read, `tokens_cached` the part of it that came from a cache.

    What Anthropic's models wrote to a cache is part of it too and told nowhere, so their fresh input is not told.
    """
    read, cached = cells.count(row, "tokens_prompt"), cells.count(row, "tokens_cached")
    fresh = None
    if read is not None and cached is not None:
        if cached > read:
            raise cells.bad(row, "tokens_prompt", f"at least the {cached} of tokens_cached")
        fresh = None if model.startswith("anthropic/") else read - cached
    return BilledTokens(fresh, cached, None, cells.count(row, "tokens_completion"), read)


def with_own_key(line: BillLine, elsewhere: int | None) -> Iterator[BillLine]:
    """What a provider takes for a key of the user's own is on that provider's bill: here it is told and not charged."""
    yield line
    if elsewhere:
        yield replace(
            line,
            identity=(*line.identity, "own key"),
            tokens=NO_TOKENS,
            cost_nanos=elsewhere,
            requests=None,
            token_class=TokenClass.OTHER,
            billing=Billing.INCLUDED,
        )


def _read(numbered: Numbered) -> Iterator[BillLine]:
    number, row = numbered
    if cells.holds_nothing(row, "generation_id"):
        return
    generation = cells.required(row, "generation_id", "the id of a generation")
    model = cells.required(row, "model_permaslug", "a model")
    at, _ = cells.moment(row, "created_at")
    line = BillLine(
        number=number,
        grain=Grain.REQUEST,
        at=at,
        provider=_PROVIDER,
        identity=(GENERATIONS, generation),
        model=model,
        tokens=_tokens(row, model),
        cost_nanos=cells.amount(row, "cost_total"),
        requests=1,
        request_id=generation,
        key=cells.key_name(row, "api_key_name"),
        workspace=cells.name(row, "app_name"),
    )
    yield from with_own_key(line, cells.amount(row, "byok_usage_inference"))


FORMAT = BillFormat(GENERATIONS, "OpenRouter, activity export by generation", complete(_lacks), _read, _lacks)


def _read_days(numbered: Numbered) -> Iterator[BillLine]:
    number, row = numbered
    if cells.holds_nothing(row, "date"):
        return
    model = cells.required(row, "slug", "a model")
    at, _ = cells.moment(row, "date")
    # Every row carries a time: that of a day is its first moment.
    grain, until = cells.day_or_hour(at, timed=at.hour != 0 or at.minute != 0)
    line = BillLine(
        number=number,
        grain=grain,
        at=at,
        until=until,
        provider=_PROVIDER,
        identity=cells.identity(DAYS, grain, at, model),
        model=model,
        tokens=BilledTokens(
            output=cells.count(row, "completion tokens"),
            read=cells.count(row, "prompt tokens"),
        ),
        cost_nanos=cells.amount(row, "usage"),
        requests=cells.count(row, "requests"),
    )
    yield from with_own_key(line, cells.amount(row, "byok usage"))


BY_DAY = BillFormat(DAYS, "OpenRouter, activity export by day", complete(_days_lack), _read_days, _days_lack)
