"""Prices for agents: which models have one, what a step would cost. Nothing is recorded."""

from __future__ import annotations

from typing import Any

from tallygate.core.costing import Price, Tokens
from tallygate.core.money import json_number
from tallygate.entrypoints.mcp_server import arguments as arg
from tallygate.entrypoints.mcp_server.arguments import Given
from tallygate.entrypoints.mcp_server.tools import INTEGER, NUMBER, OBJECTS, TEXT, Caller, ToolSpec, output
from tallygate.operations import quote
from tallygate.operations.runtime import Runtime

MODELS_SHOWN = 40

LIST_MODELS = (arg.text("provider"), arg.text("query", "Part of the id"))
ESTIMATE_COST = (
    arg.text("model", required=True),
    arg.tokens("input_tokens", required=True),
    arg.tokens("output_tokens", required=True),
)


class CatalogTools:
    """Translates between the tools' words and the price book."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def list_models(self, given: Given, _: Caller) -> dict[str, Any]:
        found = quote.list_models(
            self._runtime, provider=given.name("provider"), query=given.name("query"), limit=MODELS_SHOWN
        )
        answer: dict[str, Any] = {
            "models": [_line(line) for line in found.lines],
            "matching": found.matching,
            "unit": "USD per million tokens; blended_per_1k: USD per 1,000 tokens, 3 of 4 read",
            "default_per_1k": json_number(found.default_nanos_per_thousand),
        }
        if found.matching > len(found.lines):
            answer["more"] = f"{found.matching - len(found.lines)} more: narrow with provider or query."
        return answer

    def estimate_cost(self, given: Given, _: Caller) -> dict[str, Any]:
        model = given.required_name("model")
        tokens = Tokens(
            fresh_input=given.tokens("input_tokens") or 0,
            output=given.tokens("output_tokens") or 0,
        )
        found = quote.estimate_cost(self._runtime, model, tokens)
        answer: dict[str, Any] = {
            "model": model,
            "cost_usd": json_number(found.usd_nanos),
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
                    "models matching unit default_per_1k",
                    models=OBJECTS,
                    matching=INTEGER,
                    unit=TEXT,
                    default_per_1k=NUMBER,
                    more=TEXT,
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
                    "model cost_usd cost_gbp exchange price_source price_date",
                    model=TEXT,
                    cost_usd=NUMBER,
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


def _line(line: quote.ModelLine) -> dict[str, Any]:
    rates = line.price.rates
    return {
        "id": line.model,
        "provider": line.provider,
        "input": json_number(rates.input_nanos),
        "output": json_number(rates.output_nanos),
        "cache_read": json_number(rates.cache_read_nanos),
        "cache_write": json_number(rates.cache_write_5m_nanos),
        "blended_per_1k": json_number(line.blended_nanos_per_thousand),
    }
