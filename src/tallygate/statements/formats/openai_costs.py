"""The cost export of OpenAI's platform: dollars of a day, by line item, project and key where it was grouped so."""

from __future__ import annotations

from tallygate.core.statements import TokenClass
from tallygate.statements.formats.openai_usage import span
from tallygate.statements.reading import cells
from tallygate.statements.reading.columns import Columns

# What stands after the model in a line item such as: gpt-4o-2024-08-06, cached input
_CLASSES = {
    "input": TokenClass.INPUT,
    "cached input": TokenClass.CACHE_READ,
    "input cached": TokenClass.CACHE_READ,
    "cache write": TokenClass.CACHE_WRITE,
    "input cache write": TokenClass.CACHE_WRITE,
    "output": TokenClass.OUTPUT,
}


def item(line_item: str | None) -> tuple[str | None, TokenClass | None]:
    """The model a line item names and what of it was billed; nothing of a day that is billed as a whole.

    >>> item("gpt-4o-2024-08-06, cached input")
    ('gpt-4o-2024-08-06', <TokenClass.CACHE_READ: 'cache_read'>)
    >>> item("web search tool calls"), item("gpt-4o"), item(None)
    (('web search tool calls', <TokenClass.OTHER: 'other'>), ('gpt-4o', None), (None, None))
    """
    if line_item is None:
        return None, None
    model, comma, what = line_item.rpartition(",")
    kind = what.strip().casefold().replace("_", " ").removesuffix(" tokens")
    if comma and kind in _CLASSES:
        return model.strip() or None, _CLASSES[kind]
    return line_item, TokenClass.OTHER if " " in line_item else None


FORMAT = Columns(
    name="openai_costs",
    title="OpenAI platform, cost export",
    needs=("start_time", "end_time", "amount_value", "amount_currency"),
    currency_of=lambda row: cells.currency_code(row, "amount_currency"),
    provider="openai",
    first=("start_time",),
    span=span,
    # Every span of an export has a row, also those in which nothing was billed.
    unused=("amount_value", "amount_currency", "line_item"),
    # Quantities stay out: the usage export counts those tokens already.
    parts={
        "model": lambda row: item(cells.name(row, "line_item"))[0],
        "cost_nanos": lambda row: cells.cost(row, "amount_value"),
        "token_class": lambda row: item(cells.name(row, "line_item"))[1],
        "key": "api_key_id",
        "workspace": "project_id",
    },
    apart=("until", "line_item", "key", "workspace", "user_id", "organization_id"),
).form
