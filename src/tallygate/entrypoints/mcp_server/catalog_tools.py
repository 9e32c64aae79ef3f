"""Prices for agents: which models have one, what a step would cost. Nothing is recorded."""

from __future__ import annotations

from typing import Any

from tallygate.core.costing import Price, Tokens
from tallygate.core.money import json_number, to_unit_nanos
from tallygate.entrypoints.mcp_server import arguments as arg
from tallygate.entrypoints.mcp_server.arguments import CallArguments
from tallygate.entrypoints.mcp_server.tools import INTEGER, NUMBER, OBJECTS, TEXT, Caller, ToolSpec, output
from tallygate.operations.runtime import Runtime
from tallygate.operations.views import prices

MODELS_SHOWN = 40
NOTE = "A blended rate takes 3 of 4 tokens as read. What a model without a price is taken for: default_*."

LIST_MODELS = (
    arg.text("provider", "Such as anthropic"),
    arg.text("query", "Part of the id"),
    arg.tokens("page", "From 1", default=1),
)
ESTIMATE_COST = (
    arg.text("model", required=True),
    arg.tokens("input_tokens", required=True),
    arg.tokens("output_tokens", required=True),
)


class CatalogTools:
    """Translates between the tools' words and the price book."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def list_models(self, given: CallArguments, _: Caller) -> dict[str, Any]:
        page = max(given.tokens("page") or 1, 1)
        skip = (page - 1) * MODELS_SHOWN
        found = prices.list_models(
            self._runtime, provider=given.name("provider"), query=given.name("query"), limit=MODELS_SHOWN, skip=skip
        )
        default = found.default_nanos_per_thousand
        answer: dict[str, Any] = {
            "models": [_line(line, found.pound_nanos) for line in found.lines],
            "matching": found.matching,
            "unit": "USD per million tokens; *_per_1k and *_per_1k_gbp: USD and GBP per 1,000 tokens",
            "default_per_1k": json_number(default),
            "default_rate_per_1k_gbp": json_number(to_unit_nanos(default, found.pound_nanos)),
            "note": NOTE,
            "exchange": found.exchange,
        }
        if (left := found.matching - skip - len(found.lines)) > 0:
            answer["more"] = f"{left} more: narrow with provider or query, or ask for the next page."
            answer["next_page"] = page + 1
        return answer

    def estimate_cost(self, given: CallArguments, _: Caller) -> dict[str, Any]:
        model = given.required_name("model")
        tokens = Tokens(
            fresh_input=given.tokens("input_tokens") or 0,
            output=given.tokens("output_tokens") or 0,
        )
        found = prices.estimate_cost(self._runtime, model, tokens)
        answer: dict[str, Any] = {
            "model": model,
            "input_tokens": tokens.fresh_input,
            "output_tokens": tokens.output,
            "cost_usd": json_number(found.usd_nanos),
            "cost_usd_approx": json_number(found.usd_nanos),
            "cost_gbp": json_number(found.gbp_nanos),
            "exchange": found.exchange,
            "price_source": source(found.price),
            "price_date": found.prices_as_of,
        }
        if found.price.warning:
            answer["pricing_warning"] = found.price.warning
        return answer

    def specs(self) -> list[ToolSpec]:
        return [
            ToolSpec(
                "list_models",
                "List model prices",
                "Lists priced model ids.",
                LIST_MODELS,
                output(
                    "models matching unit default_per_1k default_rate_per_1k_gbp note exchange",
                    models=OBJECTS,
                    matching=INTEGER,
                    unit=TEXT,
                    default_per_1k=NUMBER,
                    default_rate_per_1k_gbp=NUMBER,
                    note=TEXT,
                    exchange=TEXT,
                    more=TEXT,
                    next_page=INTEGER,
                ),
                self.list_models,
                read_only=True,
            ),
            ToolSpec(
                "estimate_cost",
                "Estimate a cost",
                "Prices token counts; records nothing.",
                ESTIMATE_COST,
                output(
                    "model input_tokens output_tokens cost_usd cost_usd_approx cost_gbp exchange price_source"
                    " price_date",
                    model=TEXT,
                    input_tokens=INTEGER,
                    output_tokens=INTEGER,
                    cost_usd=NUMBER,
                    cost_usd_approx=NUMBER,
                    cost_gbp=NUMBER,
                    exchange=TEXT,
                    price_source=TEXT,
                    price_date=TEXT,
                    pricing_warning=TEXT,
                ),
                self.estimate_cost,
                read_only=True,
            ),
        ]


def source(price: Price) -> str:
    """Where a price comes from, in a few words."""
    named = f"{price.source} {price.version}".strip()
    return f"{named}: {price.key}" + (", approximate" if price.approximate else "")


def _line(line: prices.ModelLine, pound_nanos: int) -> dict[str, Any]:
    rates = line.price.rates
    pounds = to_unit_nanos(line.blended_nanos_per_thousand, pound_nanos)
    thousand = {"input": -(-rates.input_nanos // 1000), "output": -(-rates.output_nanos // 1000)}
    return {
        "id": line.model,
        "provider": line.provider,
        "input": json_number(rates.input_nanos),
        "output": json_number(rates.output_nanos),
        "cache_read": json_number(rates.cache_read_nanos),
        "cache_write": json_number(rates.cache_write_5m_nanos),
        "blended_per_1k": json_number(line.blended_nanos_per_thousand),
        "blended_cost_per_1k_gbp": json_number(pounds),
        **{f"{name}_per_1k": json_number(nanos) for name, nanos in thousand.items()},
        **{f"{name}_per_1k_gbp": json_number(to_unit_nanos(nanos, pound_nanos)) for name, nanos in thousand.items()},
    }
