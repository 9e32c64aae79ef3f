"""The `usage` object of Claude Code's rows in the common token classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tallygate.clients.lines import Fields, Odd, ReadReport, Skip, count, counts, fields, name, text_size
from tallygate.core.costing import Tokens
from tallygate.core.usage import ModelTotal, SessionCheck

# A response that says more is one that says nothing.
MAX_SEARCHES = 1000
_WRITTEN = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
_KINDS = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_TOOL_CALLS = ("tool_use", "server_tool_use")


class Spent(NamedTuple):
    """What one usage object says."""

    tokens: Tokens
    reasoning: int
    web_searches: int
    tier: str | None
    speed: str | None
    geo: str | None
    odd: tuple[str, ...] = ()


def spent(usage: Fields, report: ReadReport) -> Spent:
    """Read a usage object; every field may be missing, null or no number."""
    odd: set[str] = set()
    get = usage.get
    fresh, read, written, output = counts(usage, _WRITTEN, odd)
    short, long = written, 0
    detail = get("cache_creation")
    if detail is not None and type(detail) is not tuple:
        odd.add(Odd.NO_NUMBER)
    elif detail is not None:
        parts = fields(detail)
        short, long = counts(parts, _KINDS, odd)
        if short + long < written:
            # What no class claims was written for the default five minutes.
            short = written - long
        elif short + long > written:
            report.skipped[Skip.INCONSISTENT] += 1
    geo, details, tools = get("inference_geo"), get("output_tokens_details"), get("server_tool_use")
    return Spent(
        Tokens(fresh, read, short, long, output),
        min(output, count(fields(details), "thinking_tokens")) if type(details) is tuple else 0,
        min(count(fields(tools), "web_search_requests", odd), MAX_SEARCHES) if type(tools) is tuple else 0,
        name(get("service_tier")),
        name(get("speed")),
        None if geo == "not_available" else name(geo),
        tuple(sorted(odd)) if odd else (),
    )


def advisors(usage: Fields, report: ReadReport) -> Iterator[tuple[str | None, Spent]]:
    """Advisor calls inside a response: spend of another model that the top level does not contain."""
    iterations = usage.get("iterations")
    if type(iterations) is not list:
        return
    for iteration in iterations:
        if type(iteration) is tuple:
            found = fields(iteration)
            if found.get("type") == "advisor_message":
                yield name(found.get("model")), spent(found, report)


def visible(content: object, *, measure: bool) -> tuple[int, tuple[str, ...]]:
    """Characters of text and tool input that a line shows, if to be measured, and ids of its tool calls."""
    if type(content) is not list:
        return (len(content) if type(content) is str else 0), ()
    size = 0
    tools: tuple[str, ...] = ()
    for block in content:
        if type(block) is not tuple:
            continue
        found = dict(block)
        kind = found.get("type")
        if kind in _TOOL_CALLS:
            tool = name(found.get("id"))
            if tool is not None:
                tools += (tool,)
            if measure and "input" in found:
                size += text_size(found["input"])
        elif measure and kind == "text":
            text = found.get("text")
            size += len(text) if type(text) is str else 0
    return size, tools


def cost_text(value: object) -> str | None:
    """A written amount as its text."""
    if type(value) is int:
        return str(value)
    return name(value)


def session_check(row: Fields, client: str, session: str | None) -> SessionCheck | None:
    """The session's own total that newer versions write when they end; compared with, never added."""
    if row.get("type") != "cost-state":
        return None
    models = []
    for model, written in fields(row["modelUsage"]).items() if type(row.get("modelUsage")) is tuple else ():
        if type(written) is not tuple or name(model) is None:
            continue
        use = fields(written)
        all_written = count(use, "cacheCreationInputTokens")
        long = min(all_written, count(use, "cacheCreationEphemeral1hInputTokens"))
        tokens = Tokens(
            count(use, "inputTokens"),
            count(use, "cacheReadInputTokens"),
            all_written - long,
            long,
            count(use, "outputTokens"),
        )
        models.append(ModelTotal(model, tokens, count(use, "webSearchRequests"), cost_text(use.get("costUSD"))))
    named = name(row.get("sessionId")) or session
    if named is None:
        return None
    return SessionCheck(
        client=client,
        session=named,
        models=tuple(models),
        cost_text=cost_text(row.get("totalCostUSD")),
        unknown_model_cost=row.get("hasUnknownModelCost") is True,
    )
