"""The cost export of the Claude Console: dollars of a day by model, kind of token and key, without counts."""

from __future__ import annotations

from collections.abc import Iterator

from tallygate.core.statements import BillLine, TokenClass
from tallygate.statements.reading import cells
from tallygate.statements.reading.form import BillFormat, Numbered, complete, needs

NAME = "anthropic_cost"

_CLASSES = {
    "input_no_cache": TokenClass.INPUT,
    "input_cache_read": TokenClass.CACHE_READ,
    "input_cache_write": TokenClass.CACHE_WRITE,
    "input_cache_write_5m": TokenClass.CACHE_WRITE,
    "input_cache_write_1h": TokenClass.CACHE_WRITE,
    "output": TokenClass.OUTPUT,
}
_lacks = needs("usage_date_utc", "model", "token_type", "cost_usd")


def _read(numbered: Numbered) -> Iterator[BillLine]:
    number, row = numbered
    if cells.holds_nothing(row, "usage_date_utc"):
        return
    at, timed = cells.moment(row, "usage_date_utc")
    grain, until = cells.day_or_hour(at, timed)
    cost = cells.amount(row, "cost_usd")
    if cost is None:
        raise cells.bad(row, "cost_usd", "an amount such as 1.25")
    # Web searches and code execution are billed beside tokens, some of them without a model.
    model, kind = cells.name(row, "model"), cells.name(row, "token_type") or cells.name(row, "cost_type")
    key, workspace = cells.key_name(row, "api_key"), cells.name(row, "workspace")
    yield BillLine(
        number=number,
        grain=grain,
        at=at,
        until=until,
        provider="anthropic",
        # Columns that only some versions of the export have stay out: the same line comes with and without them.
        identity=cells.identity(NAME, grain, at, model, key, workspace, cells.name(row, "usage_type"), kind),
        model=model,
        cost_nanos=cost,
        token_class=_CLASSES.get((kind or "").casefold(), TokenClass.OTHER),
        key=key,
        workspace=workspace,
    )


FORMAT = BillFormat(NAME, "Claude Console, cost export", complete(_lacks), _read, _lacks)
