"""The `usage` object of Claude Code's rows in the common token classes, and what a line shows beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tallygate.clients.reading import lines
from tallygate.core.attribution import label
from tallygate.core.costing import Tokens
from tallygate.core.usage import ModelTotal, SessionCheck

# A response that says more is one that says nothing.
MAX_SEARCHES = 1000
_WRITTEN = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
_KINDS = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_TOOL_CALLS = ("tool_use", "server_tool_use")


class UsageCounts(NamedTuple):
    """What one usage object says."""

    tokens: Tokens
    reasoning: int
    web_searches: int
    tier: str | None
    speed: str | None
    geo: str | None
    odd: tuple[str, ...] = ()


def spent(usage: lines.Fields, report: lines.ReadReport) -> UsageCounts:
    """Read a usage object; every field may be missing, null or no number."""
    odd: set[str] = set()
    get = usage.get
    fresh, read, written, output = lines.counts(usage, _WRITTEN, odd)
    short, long = written, 0
    detail = get("cache_creation")
    if detail is not None and type(detail) is not tuple:
        odd.add(lines.Odd.NO_NUMBER)
    elif detail is not None:
        parts = lines.fields(detail)
        short, long = lines.counts(parts, _KINDS, odd)
        if short + long < written:
            # What no class claims was written for the default five minutes.
            short = written - long
        elif short + long > written:
            report.skipped[lines.Skip.INCONSISTENT] += 1
    geo, details, tools = get("inference_geo"), get("output_tokens_details"), get("server_tool_use")
    return UsageCounts(
        Tokens(fresh, read, short, long, output),
        min(output, lines.count(lines.fields(details), "thinking_tokens")) if type(details) is tuple else 0,
        min(lines.count(lines.fields(tools), "web_search_requests", odd), MAX_SEARCHES) if type(tools) is tuple else 0,
        lines.name(get("service_tier")),
        lines.name(get("speed")),
        None if geo == "not_available" else lines.name(geo),
        tuple(sorted(odd)) if odd else (),
    )


def advisors(usage: lines.Fields, report: lines.ReadReport) -> Iterator[tuple[str | None, UsageCounts]]:
    """Advisor calls inside a response: spend of another model that the top level does not contain."""
    iterations = usage.get("iterations")
    if type(iterations) is not list:
        return
    for iteration in iterations:
        if type(iteration) is tuple:
            found = lines.fields(iteration)
            if found.get("type") == "advisor_message":
                yield lines.name(found.get("model")), spent(found, report)


def visible(content: object, *, measure: bool) -> tuple[int, tuple[lines.Fields, ...]]:
    """Characters of text and tool input that a line shows, if to be measured, and its tool calls."""
    if type(content) is not list:
        return (len(content) if type(content) is str else 0), ()
    size = 0
    tools: tuple[lines.Fields, ...] = ()
    for block in content:
        if type(block) is not tuple:
            continue
        found = dict(block)
        kind = found.get("type")
        if kind in _TOOL_CALLS:
            tools += (found,)
            if measure and "input" in found:
                size += lines.text_size(found["input"])
        elif measure and kind == "text":
            text = found.get("text")
            size += len(text) if type(text) is str else 0
    return size, tools


def asked_for(call: lines.Fields, key: str) -> str | None:
    """What a tool call names under a key of its input, such as the skill or the kind of agent that it starts."""
    given = call.get("input")
    return label(dict(given).get(key)) if type(given) is tuple else None


def cost_text(value: object) -> str | None:
    """A written amount as its text."""
    if type(value) is int:
        return str(value)
    return lines.name(value)


def session_check(row: lines.Fields, client: str, session: str | None) -> SessionCheck | None:
    """The session's own total that newer versions write when they end; compared with, never added."""
    if row.get("type") != "cost-state":
        return None
    models = []
    for model, written in lines.fields(row["modelUsage"]).items() if type(row.get("modelUsage")) is tuple else ():
        if type(written) is not tuple or lines.name(model) is None:
            continue
        use = lines.fields(written)
        all_written = lines.count(use, "cacheCreationInputTokens")
        # Those that last an hour are among all that were written, whatever else the file says.
        long = min(all_written, lines.count(use, "cacheCreationEphemeral1hInputTokens"))
        tokens = Tokens(
            lines.count(use, "inputTokens"),
            lines.count(use, "cacheReadInputTokens"),
            all_written - long,
            long,
            lines.count(use, "outputTokens"),
        )
        models.append(ModelTotal(model, tokens, lines.count(use, "webSearchRequests"), cost_text(use.get("costUSD"))))
    named = lines.name(row.get("sessionId")) or session
    if named is None:
        return None
    return SessionCheck(
        client=client,
        session=named,
        models=tuple(models),
        cost_text=cost_text(row.get("totalCostUSD")),
        unknown_model_cost=row.get("hasUnknownModelCost") is True,
    )
