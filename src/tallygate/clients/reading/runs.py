"""The tools that a hook tells of: what each was given and gave back, in the words of all clients. Nothing is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallygate.clients.reading.reaching import LONGEST_INPUT, given_to
from tallygate.core.likeness import ToolRun

# What a client says of a tool that is through.
_GAVE = ("tool_response", "toolResult", "error", "output")
_TEXTS = ("llmContent", "textResultForLlm", "returnDisplay")
_MOST = 1000


def about_to_run(raw: Mapping[str, Any], tool: str | None, call_id: str | None) -> tuple[ToolRun, ...]:
    """The tool that is about to run."""
    return () if tool is None else (ToolRun(tool, given_to(raw), call_id=call_id),)


def through(
    raw: Mapping[str, Any], tool: str | None, call_id: str | None = None, *, failed: bool | None = None
) -> tuple[ToolRun, ...]:
    """The tool that is through. Without `failed` it is told by what the result says of itself."""
    if tool is None:
        return ()
    gave = next((raw[name] for name in _GAVE if raw.get(name) is not None), None)
    return (ToolRun(tool, given_to(raw), said(gave), has_failed(gave) if failed is None else failed, call_id),)


def all_through(calls: Any) -> tuple[ToolRun, ...]:
    """The tools of one response, from their list or its text; of what is none of them nothing."""
    if isinstance(calls, str) and len(calls) <= LONGEST_INPUT:
        try:
            calls = json.loads(calls)
        except (ValueError, RecursionError):
            return ()
    listed = calls[:_MOST] if isinstance(calls, list) else []
    return tuple(run for each in listed if isinstance(each, Mapping) for run in _one(each))


def _one(call: Mapping[str, Any]) -> tuple[ToolRun, ...]:
    tool, call_id = call.get("tool_name"), call.get("tool_use_id")
    return through(call, tool if isinstance(tool, str) else None, call_id if isinstance(call_id, str) else None)


def said(gave: Any) -> Any:
    """The part of a result that its model reads, where a client tells that apart."""
    if isinstance(gave, Mapping):
        found = next((gave[name] for name in _TEXTS if gave.get(name)), None)
        if found is None and isinstance(gave.get("content"), list):
            found = gave["content"]
        return gave if found is None else found
    return gave


def has_failed(gave: Any) -> bool | None:
    """Whether a result says that it is an error; None where it says neither."""
    if not isinstance(gave, Mapping):
        return None
    if gave.get("isError") is True or gave.get("is_error") is True or gave.get("error"):
        return True
    kind = gave.get("resultType")
    if isinstance(kind, str):
        # A command that ends with an error is a success of its tool.
        return True if kind in {"failure", "error"} else None
    return None
