"""Everything that was spent, one row a response, for other programs: as a sheet and as JSON, with where it is from.

Amounts are exact to the last digit, times are UTC. What a client writes no responses for is there as the calls that its
agent had booked, so that the rows add up to what `usage` says.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator

from tallygate.core.attribution import Served
from tallygate.core.costing import Price, Tokens
from tallygate.core.moments import iso
from tallygate.core.money import exact_text
from tallygate.core.values import value
from tallygate.reports.usage import cell

RESPONSE, CALL = "response", "call"
_ROWS_AT_ONCE = 500


@value(frozen=True, slots=True)
class SpentRow:
    """One response, or one booked call where there are no responses, with all that the ledger knows of it.

    `provider` is the client's word for who served it and `maker` who makes the model, as far as its name tells.
    `project` is what reports call the project of the `folder`. `basis` is who told what was used.
    """

    kind: str
    at_us: int
    tenant: str
    client: str | None
    session: str | None
    session_id: str | None
    call_id: str | None
    response: str | None
    model: str
    tokens: Tokens
    cost_nanos: int
    basis: str
    price_id: str | None
    price: Price
    provider: str | None = None
    maker: str | None = None
    parent_session: str | None = None
    agent: str | None = None
    agent_type: str | None = None
    skill: str | None = None
    served: tuple[Served, ...] = ()
    branch: str | None = None
    repository: str | None = None
    tool: str | None = None
    project: str | None = None
    folder: str | None = None
    tier: str | None = None
    speed: str | None = None
    geo: str | None = None
    request_id: str | None = None
    client_version: str | None = None
    reasoning: int = 0
    web_searches: int = 0
    estimated_output: int | None = None
    quality: str | None = None
    rule: str | None = None
    counted_by: str | None = None
    odd: tuple[str, ...] = ()
    corrected: str | None = None
    budgets: tuple[str, ...] = ()


Cell = str | int | None

# What stands in a column, by its name, in the order of the file. New ones come last: programs may go by the place.
COLUMNS: dict[str, Callable[[SpentRow], Cell]] = {
    "kind": lambda row: row.kind,
    "at": lambda row: iso(row.at_us),
    "tenant": lambda row: row.tenant,
    "client": lambda row: row.client,
    "client_session": lambda row: row.session,
    "parent_session": lambda row: row.parent_session,
    "session_id": lambda row: row.session_id,
    "call_id": lambda row: row.call_id,
    "response": lambda row: row.response,
    "request_id": lambda row: row.request_id,
    "agent": lambda row: row.agent,
    "agent_type": lambda row: row.agent_type,
    "skill": lambda row: row.skill,
    "mcp_servers": lambda row: "; ".join(dict.fromkeys(each.server for each in row.served if each.server)) or None,
    "tools": lambda row: row.tool or "; ".join(each.tool for each in row.served) or None,
    "branch": lambda row: row.branch,
    "repository": lambda row: row.repository,
    "project": lambda row: row.project,
    "folder": lambda row: row.folder,
    "model": lambda row: row.model,
    "provider": lambda row: row.provider,
    "tier": lambda row: row.tier,
    "speed": lambda row: row.speed,
    "geo": lambda row: row.geo,
    "client_version": lambda row: row.client_version,
    "fresh_input_tokens": lambda row: row.tokens.fresh_input,
    "cache_read_tokens": lambda row: row.tokens.cache_read,
    "cache_write_5m_tokens": lambda row: row.tokens.cache_write_5m,
    "cache_write_1h_tokens": lambda row: row.tokens.cache_write_1h,
    "output_tokens": lambda row: row.tokens.output,
    "reasoning_tokens": lambda row: row.reasoning,
    "web_searches": lambda row: row.web_searches,
    "estimated_output_tokens": lambda row: row.estimated_output,
    "basis": lambda row: row.basis,
    "quality": lambda row: row.quality,
    "rule": lambda row: row.rule,
    "counted_by": lambda row: row.counted_by,
    "odd": lambda row: " ".join(row.odd) or None,
    "corrected": lambda row: row.corrected,
    "certainty": lambda row: row.price.certainty.value,
    "price_id": lambda row: row.price_id,
    "price_key": lambda row: row.price.key or None,
    "price_source": lambda row: row.price.source or None,
    "price_version": lambda row: row.price.version or None,
    "price_valid_from": lambda row: row.price.valid_from,
    "budgets": lambda row: "; ".join(row.budgets) or None,
}
COST = "cost_usd"


def csv_rows(rows: Iterable[SpentRow]) -> Iterator[bytes]:
    """A sheet by RFC 4180, piece by piece: a header, then a row for each; nothing in a cell acts."""
    return sheet_pieces([*COLUMNS, COST], ([*_cells(row), exact_text(row.cost_nanos)] for row in rows))


def json_rows(rows: Iterable[SpentRow]) -> Iterator[bytes]:
    """One list, a row a line, piece by piece; amounts are numbers with every digit, and everything is ASCII."""
    begin = b"[\n"
    for row in rows:
        named = json.dumps({name: of(row) for name, of in COLUMNS.items()})
        yield begin + f'{named[:-1]}, "{COST}": {exact_text(row.cost_nanos)}}}'.encode()
        begin = b",\n"
    yield b"[]\n" if begin == b"[\n" else b"\n]\n"


def sheet_pieces(head: Iterable[str], rows: Iterable[Iterable[str | int]]) -> Iterator[bytes]:
    """Rows as the bytes of a sheet, some hundred at once, so that any number of them takes no more room."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(head)
    waiting = 0
    for row in rows:
        writer.writerow(row)
        waiting += 1
        if waiting == _ROWS_AT_ONCE:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
            waiting = 0
    if rest := text.getvalue():
        yield rest.encode()


def _cells(row: SpentRow) -> Iterator[str | int]:
    for of in COLUMNS.values():
        found = of(row)
        yield found if isinstance(found, int) else cell(found)
