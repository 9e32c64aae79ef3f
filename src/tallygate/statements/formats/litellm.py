"""The spend logs of a LiteLLM proxy (`LiteLLM_SpendLogs`), as a table of the database or as its API answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallygate.core.statements import BilledTokens, Grain
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import Row
from tallygate.statements.reading.columns import Columns, by_time, one

NAME = "litellm"

_METADATA_MAX = 1_000_000
_EXTRA, _RAW = "additional_usage_values", "usage_object"
_CACHED, _WRITTEN = "cache_read_input_tokens", "cache_creation_input_tokens"


def _object(text: str) -> Mapping[str, Any]:
    """The object that a cell holds as JSON, its numbers as text; an empty one where it holds none."""
    if not text.startswith("{") or len(text) > _METADATA_MAX:
        return {}
    try:
        found = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _part(row: Row, part: str) -> Mapping[str, Any]:
    """One object of a request's metadata: of its own columns in a flattened object, else within the metadata's cell."""
    path = f"metadata.{part}"
    if path in row:
        return _object(row[path])
    if own := {column[len(path) + 1 :]: text for column, text in row.items() if column.startswith(f"{path}.")}:
        return own
    found = _object(row.get("metadata", "")).get(part)
    return found if isinstance(found, dict) else {}


def _usage(row: Row) -> dict[str, str]:
    """What the metadata tells of tokens: that of the proxy itself before what the provider answered."""
    told: dict[str, str] = {}
    for part in (_RAW, _EXTRA):
        values = _part(row, part)
        told |= {key: value for key, value in values.items() if isinstance(value, str) and value}
        details = values.get("prompt_tokens_details")
        details = _object(details) if isinstance(details, str) else details
        if isinstance(details, dict) and isinstance(details.get("cached_tokens"), str):
            told.setdefault(_CACHED, details["cached_tokens"])
    return told


def _alias(row: Row) -> Row:
    """What the proxy calls the key, which it keeps as a hash."""
    alias = row.get("metadata.user_api_key_alias") or _object(row.get("metadata", "")).get("user_api_key_alias")
    return {"alias": alias} if isinstance(alias, str) else {}


def _count(row: Row, told: Mapping[str, str], key: str) -> int | None:
    """A count of the metadata; its refusal names the metadata."""
    text = told.get(key, "").strip()
    return cells.counted({**row, f"metadata {key}": text}, f"metadata {key}", text)


def _tokens(row: Row) -> BilledTokens:
    """`prompt_tokens` is all that was read, or without what the cache gave and took: the proxy's versions differ.

    The provider's own total tells which, and so does a sum that is too small to contain the cache. Where nothing
    tells, fresh input is not told.
    """
    told = _usage(row)
    cached, written = _count(row, told, _CACHED), _count(row, told, _WRITTEN)
    prompt, output = cells.count(row, "prompt_tokens"), cells.count(row, "completion_tokens")
    if prompt is None or (cached is None and written is None):
        return BilledTokens(output=output, read=prompt)
    cache = (cached or 0) + (written or 0)
    whole = _count(row, told, "prompt_tokens")
    # Too small to contain the cache, or the provider says so: it stands beside it.
    if cache == 0 or prompt < cache or whole == prompt + cache:
        return BilledTokens(prompt, cached, written, output, prompt + cache)
    # Anthropic's own way of counting leaves the cache out, the proxy's may not: nothing here tells which of them this
    # is.
    if whole is None and cells.cell_text(row, "call_type").endswith("anthropic_messages"):
        return BilledTokens(None, cached, written, output)
    return BilledTokens(prompt - cache, cached, written, output, prompt)


FORMAT = Columns(
    name=NAME,
    title="LiteLLM, spend logs",
    needs=("request_id", "spend", "prompt_tokens", "completion_tokens", "starttime"),
    provider=lambda row: cells.name(row, "custom_llm_provider") or NAME,
    first=("request_id",),
    span=by_time("starttime", Grain.REQUEST, untimed=Grain.REQUEST),
    parts={
        "request_id": lambda row: cells.required(row, "request_id", "the id of a request"),
        "model": "model",
        "tokens": _tokens,
        "cost_nanos": "spend",
        "requests": one,
        "key": lambda row: cells.key_name(_alias(row), "alias") or cells.key_name(row, "api_key"),
        "workspace": "team_id",
    },
).form
