"""The cost export of OpenAI's platform: dollars of a day, by line item, project and key where it was grouped so."""

from __future__ import annotations

from collections.abc import Iterator

from tallygate.core.statements import BillLine, TokenClass
from tallygate.statements.formats.openai_usage import span
from tallygate.statements.reading import cells
from tallygate.statements.reading.form import BillFormat, Numbered, Row, complete, needs

NAME = "openai_costs"

# What stands after the model in a line item such as: gpt-4o-2024-08-06, cached input
_CLASSES = {
    "input": TokenClass.INPUT,
    "cached input": TokenClass.CACHE_READ,
    "input cached": TokenClass.CACHE_READ,
    "cache write": TokenClass.CACHE_WRITE,
    "input cache write": TokenClass.CACHE_WRITE,
    "output": TokenClass.OUTPUT,
}
_lacks = needs("start_time", "end_time", "amount_value", "amount_currency")


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


def _read(numbered: Numbered) -> Iterator[BillLine]:
    """Quantities stay out: the usage export counts those tokens already."""
    number, row = numbered
    if cells.holds_nothing(row, "start_time"):
        return
    grain, at, until = span(row)
    # Every span of an export has a row, also those in which nothing was billed.
    if cells.says_nothing(row, "amount_value", "amount_currency", "line_item"):
        return
    cost = cells.amount(row, "amount_value")
    if cost is None:
        raise cells.bad(row, "amount_value", "an amount such as 1.25")
    line_item, project = cells.name(row, "line_item"), cells.name(row, "project_id")
    model, token_class = item(line_item)
    key = cells.key_name(row, "api_key_id")
    names = (line_item, key, project, cells.name(row, "user_id"), cells.name(row, "organization_id"))
    yield BillLine(
        number=number,
        grain=grain,
        at=at,
        until=until,
        provider="openai",
        identity=cells.identity(NAME, grain, at, until.isoformat(), *names),
        model=model,
        cost_nanos=cost,
        token_class=token_class,
        key=key,
        workspace=project,
    )


def _currency_of(row: Row) -> str | None:
    return cells.currency_code(row, "amount_currency")


FORMAT = BillFormat(NAME, "OpenAI platform, cost export", complete(_lacks), _read, _lacks, currency_of=_currency_of)
