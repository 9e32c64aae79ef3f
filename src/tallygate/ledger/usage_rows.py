"""Observed usage as it stands in its table: the columns of a response, and back."""

from __future__ import annotations

import json
from typing import Any

from tallygate.core.costing import Tokens
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.usage import ObservedUsage, Quality, Rule
from tallygate.ledger.port import StoredUsage, Value

USAGE_COLUMNS = (
    "tenant", "client", "response_key", "client_session", "parent_session", "at_us", "model", "provider",
    "fresh_input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "web_searches",
    "estimated_output", "quality", "rule", "tier", "speed", "geo", "native_cost", "agent_id", "tool_use_ids",
    "request_id", "project", "version", "price_id", "cost_nanos", "session_id", "call_id", "charges",
    "counted_by", "odd", "corrected",
)  # fmt: skip
# Looked up in a table, for they are made for every row that is read.
_RULES = {rule.value: rule for rule in Rule}
_QUALITIES = {quality.value: quality for quality in Quality}
ANOMALY_COLUMNS = ("tenant", "client", "response_key", "kind", "client_session", "told", "seen_us")


def from_usage(stored: StoredUsage) -> dict[str, Value]:
    """A response as the columns of its row, in the order in which an event states them."""
    row, tokens = stored.row, stored.row.tokens
    return {
        "agent_id": row.agent_id,
        "at_us": microseconds(row.at),
        "cache_read": tokens.cache_read,
        "cache_write_1h": tokens.cache_write_1h,
        "cache_write_5m": tokens.cache_write_5m,
        "call_id": stored.call_id,
        "charges": _charges_text(stored) if stored.charges else None,
        "client": row.client,
        "client_session": row.session,
        "corrected": stored.corrected,
        "cost_nanos": stored.cost_nanos,
        "counted_by": None if row.counted_by is None else row.counted_by.value,
        "estimated_output": row.estimated_output,
        "fresh_input": tokens.fresh_input,
        "geo": row.geo,
        "model": row.model,
        "native_cost": row.native_cost_text,
        "odd": " ".join(row.odd) or None,
        "output": tokens.output,
        "parent_session": row.parent_session,
        "price_id": stored.price_id,
        "project": row.project,
        "provider": row.provider,
        "quality": str(row.quality),
        "reasoning": row.reasoning,
        "request_id": row.request_id,
        "response_key": row.response_key,
        "rule": str(row.rule),
        "session_id": stored.session_id,
        "speed": row.speed,
        "tier": row.tier,
        "tool_use_ids": " ".join(row.tool_use_ids) or None,
        "version": row.version,
        "web_searches": row.web_searches,
    }


def to_usage(row: tuple[Any, ...]) -> StoredUsage:
    """A row of USAGE_COLUMNS as a response."""
    (
        _, client, response_key, client_session, parent_session, at_us, model, provider,
        fresh_input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, web_searches,
        estimated_output, quality, rule, tier, speed, geo, native_cost, agent_id, tool_use_ids,
        request_id, project, version, price_id, cost_nanos, session_id, call_id, charges,
        counted_by, odd, corrected,
    ) = row  # fmt: skip
    observed = ObservedUsage(
        client=client,
        session=client_session,
        response_key=response_key,
        at=as_datetime(at_us),
        model=model,
        tokens=Tokens(fresh_input, cache_read, cache_write_5m, cache_write_1h, output),
        rule=_RULES[rule],
        quality=_QUALITIES[quality],
        parent_session=parent_session,
        reasoning=reasoning,
        tier=tier,
        speed=speed,
        geo=geo,
        web_searches=web_searches,
        native_cost_text=native_cost,
        estimated_output=estimated_output,
        agent_id=agent_id,
        tool_use_ids=tuple(tool_use_ids.split()) if tool_use_ids else (),
        request_id=request_id,
        project=project,
        version=version,
        provider=provider,
        counted_by=_RULES[counted_by] if counted_by else None,
        odd=tuple(odd.split()) if odd else (),
    )
    return StoredUsage(
        row=observed,
        price_id=price_id,
        cost_nanos=cost_nanos,
        session_id=session_id,
        call_id=call_id,
        charges=_charges(charges, cost_nanos) if charges else (),
        corrected=corrected,
    )


def _charges_text(stored: StoredUsage) -> str:
    """Where a response counts; the amount is left out where it is the response's own cost."""
    cost = stored.cost_nanos
    entries = [budget_id if amount == cost else [budget_id, amount] for budget_id, amount in stored.charges]
    return json.dumps(entries, separators=(",", ":"))


def _charges(text: str, cost: int) -> tuple[tuple[str, int], ...]:
    entries = json.loads(text)
    return tuple((entry, cost) if isinstance(entry, str) else (entry[0], entry[1]) for entry in entries)
