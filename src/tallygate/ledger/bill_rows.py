"""Bills as they stand in their tables: the columns of a bill and of its lines, and back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.statements import Bill, BilledTokens, Billing, BillLine, Grain, TokenClass, identity_digest
from tallygate.core.text import cleaned
from tallygate.ledger.port import Value

BILL_COLUMNS = (
    "tenant", "bill_id", "format", "name", "digest", "currency", "lines", "imported_us", "from_us", "until_us",
    "total_nanos", "complete_us", "deleted_us",
)  # fmt: skip
BILL_LINE_COLUMNS = (
    "tenant", "bill_id", "number", "part", "identity", "grain", "at_us", "until_us", "provider", "model",
    "fresh_input", "cache_read", "cache_write", "output", "read_tokens", "requests", "token_class", "cost_nanos",
    "request_id", "key_name", "workspace", "billing",
)  # fmt: skip
NAME_MAX = 500


def from_bill(bill: Bill) -> dict[str, Value]:
    """A bill as the columns of its row."""
    return {
        "bill_id": bill.bill_id,
        "format": bill.format,
        "name": cleaned(bill.name, NAME_MAX),
        "digest": bill.digest,
        "currency": bill.currency,
        "lines": bill.lines,
        "imported_us": bill.imported_us,
        "from_us": bill.from_us,
        "until_us": bill.until_us,
        "total_nanos": bill.total_nanos,
        "complete_us": bill.complete_us,
        "deleted_us": bill.deleted_us,
    }


def to_bill(row: tuple[Any, ...]) -> Bill:
    """A row of BILL_COLUMNS as a bill."""
    return Bill(**dict(zip(BILL_COLUMNS, row, strict=True)))


def from_line(line: BillLine, bill: Bill, part: int) -> dict[str, Value]:
    """A line as the columns of its row; `part` tells the lines apart that stand in one row of the file."""
    tokens = line.tokens
    return {
        "bill_id": bill.bill_id,
        "number": line.number,
        "part": part,
        "identity": identity_digest(bill.format, line.identity),
        "grain": line.grain.value,
        "at_us": microseconds(line.at),
        "until_us": None if line.until is None else microseconds(line.until),
        "provider": _name(line.provider),
        "model": _name(line.model),
        "fresh_input": tokens.fresh_input,
        "cache_read": tokens.cache_read,
        "cache_write": tokens.cache_write,
        "output": tokens.output,
        "read_tokens": tokens.read,
        "requests": line.requests,
        "token_class": None if line.token_class is None else line.token_class.value,
        "cost_nanos": line.cost_nanos,
        "request_id": _name(line.request_id),
        "key_name": _name(line.key),
        "workspace": _name(line.workspace),
        "billing": line.billing.value,
    }


def _name(text: str | None) -> str | None:
    return None if text is None else cleaned(text, NAME_MAX) or None


def to_line(row: tuple[Any, ...]) -> BillLine:
    """A row of BILL_LINE_COLUMNS as a line."""
    (
        _, _, number, _, identity, grain, at_us, until_us, provider, model, fresh, cache_read, cache_write, output,
        read, requests, token_class, cost, request_id, key, workspace, billing,
    ) = row  # fmt: skip
    return BillLine(
        number=number,
        grain=Grain(grain),
        at=as_datetime(at_us),
        provider=provider,
        identity=(identity,),
        model=model,
        tokens=BilledTokens(fresh, cache_read, cache_write, output, read),
        cost_nanos=cost,
        until=_moment(until_us),
        requests=requests,
        token_class=None if token_class is None else TokenClass(token_class),
        request_id=request_id,
        key=key,
        workspace=workspace,
        billing=Billing(billing),
    )


def _moment(at_us: int | None) -> datetime | None:
    return None if at_us is None else as_datetime(at_us)
