"""Observed usage as it stands in its table: the columns of a response, and back."""

from __future__ import annotations

import json
from typing import Any

from tallygate.core.costing import Tokens
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.observed import ObservedUsage, Quality, Rule
from tallygate.ledger.port import StoredUsage, Value

USAGE_COLUMNS = (
    "tenant", "client", "response_key", "client_session", "parent_session", "at_us", "model", "provider",
    "fresh_input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "web_searches",
    "estimated_output", "quality", "rule", "tier", "speed", "geo", "native_cost", "agent_id", "tool_use_ids",
    "request_id", "project", "version", "price_id", "cost_nanos", "session_id", "call_id", "charges",
    "counted_by", "odd", "corrected",
)  # fmt: skip
ANOMALY_COLUMNS = ("tenant", "client", "response_key", "kind", "client_session", "told", "seen_us")


def from_usage(stored: StoredUsage) -> dict[str, Value]:
    """A response as the columns of its row."""
    row, tokens = stored.row, stored.row.tokens
    return {
        "client": row.client,
        "response_key": row.response_key,
        "client_session": row.session,
        "parent_session": row.parent_session,
        "at_us": microseconds(row.at),
        "model": row.model,
        "provider": row.provider,
        "fresh_input": tokens.fresh_input,
        "cache_read": tokens.cache_read,
        "cache_write_5m": tokens.cache_write_5m,
        "cache_write_1h": tokens.cache_write_1h,
        "output": tokens.output,
        "reasoning": row.reasoning,
        "web_searches": row.web_searches,
        "estimated_output": row.estimated_output,
        "quality": row.quality.value,
        "rule": row.rule.value,
        "tier": row.tier,
        "speed": row.speed,
        "geo": row.geo,
        "native_cost": row.native_cost_text,
        "agent_id": row.agent_id,
        "tool_use_ids": " ".join(row.tool_use_ids) or None,
        "request_id": row.request_id,
        "project": row.project,
        "version": row.version,
        "price_id": stored.price_id,
        "cost_nanos": stored.cost_nanos,
        "session_id": stored.session_id,
        "call_id": stored.call_id,
        "charges": _charges_text(stored) if stored.charges else None,
        "counted_by": None if row.counted_by is None else row.counted_by.value,
        "odd": " ".join(row.odd) or None,
        "corrected": stored.corrected,
    }


def to_usage(row: tuple[Any, ...]) -> StoredUsage:
    """A row of USAGE_COLUMNS as a response."""
    found = dict(zip(USAGE_COLUMNS, row, strict=True))
    tokens = Tokens(
        found["fresh_input"], found["cache_read"], found["cache_write_5m"], found["cache_write_1h"], found["output"]
    )
    observed = ObservedUsage(
        client=found["client"],
        session=found["client_session"],
        response_key=found["response_key"],
        at=as_datetime(found["at_us"]),
        model=found["model"],
        tokens=tokens,
        rule=Rule(found["rule"]),
        quality=Quality(found["quality"]),
        parent_session=found["parent_session"],
        reasoning=found["reasoning"],
        tier=found["tier"],
        speed=found["speed"],
        geo=found["geo"],
        web_searches=found["web_searches"],
        native_cost_text=found["native_cost"],
        estimated_output=found["estimated_output"],
        agent_id=found["agent_id"],
        tool_use_ids=tuple((found["tool_use_ids"] or "").split()),
        request_id=found["request_id"],
        project=found["project"],
        version=found["version"],
        provider=found["provider"],
        counted_by=Rule(found["counted_by"]) if found["counted_by"] else None,
        odd=tuple((found["odd"] or "").split()),
    )
    return StoredUsage(
        row=observed,
        price_id=found["price_id"],
        cost_nanos=found["cost_nanos"],
        session_id=found["session_id"],
        call_id=found["call_id"],
        charges=_charges(found["charges"], found["cost_nanos"]),
        corrected=found["corrected"],
    )


def _charges_text(stored: StoredUsage) -> str:
    """Where a response counts; the amount is left out where it is the response's own cost."""
    cost = stored.cost_nanos
    entries = [budget_id if amount == cost else [budget_id, amount] for budget_id, amount in stored.charges]
    return json.dumps(entries, separators=(",", ":"))


def _charges(text: str | None, cost: int) -> tuple[tuple[str, int], ...]:
    entries = json.loads(text) if text else []
    return tuple((entry, cost) if isinstance(entry, str) else (entry[0], entry[1]) for entry in entries)
