"""What clients' own records say was used: the one form of every transcript, and how copies meet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from tallygate.core.costing import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

# Outputs larger than this are not usage; the bound keeps sums of rows inside 64 bits.
MAX_TOKENS = 10**12
UNKNOWN_MODEL = "unknown"


class Quality(StrEnum):
    """How far the counts of a row can be trusted; later members are better."""

    SESSION_TOTAL = "session_total"
    ESTIMATED = "estimated"
    PARTIAL = "partial"
    FINAL = "final"


class Rule(StrEnum):
    """Which reading rule made a row; NOTES.md of each client says what its rules do."""

    CLAUDE_RESPONSE = "claude.response"
    CLAUDE_SUBAGENT = "claude.subagent"
    CLAUDE_SIDECHAIN = "claude.sidechain"
    CLAUDE_PROGRESS = "claude.agent_progress"
    CLAUDE_ADVISOR = "claude.advisor"
    CODEX_LAST = "codex.last_usage"
    CODEX_DELTA = "codex.total_delta"
    CODEX_RECORD = "codex.usage_record"
    GEMINI_MESSAGE = "gemini.message"
    OPENCODE_INSIDE = "opencode.reasoning_inside"
    OPENCODE_BESIDE = "opencode.reasoning_beside"
    OPENCODE_UNPROVEN = "opencode.reasoning_unproven"


_QUALITY = {quality: rank for rank, quality in enumerate(Quality)}

# Where one response is written in several places, nearer to the conversation that paid for it comes first.
_NEARNESS = {
    Rule.CLAUDE_PROGRESS: 0,
    Rule.CLAUDE_SIDECHAIN: 1,
    Rule.CLAUDE_SUBAGENT: 2,
}
_OWN = 3


@dataclass(frozen=True, slots=True)
class ObservedUsage:
    """One response of a model as its client wrote it down; `(client, response_key)` names it for ever.

    `model` is as written and empty when the client names none; `provider` is the client's word for who
    serves it. `tokens` are the recorded counts, with reasoning inside `output`; `reasoning` repeats that
    share for information. `estimated_output` stands beside the recorded output of a partial row and is
    never mixed into it. `native_cost_text` is the client's own figure, kept as text because it is never
    trusted. `tool_use_ids` are sorted, each once.
    """

    client: str
    session: str
    response_key: str
    at: datetime
    model: str
    tokens: Tokens
    rule: Rule
    quality: Quality = Quality.FINAL
    parent_session: str | None = None
    reasoning: int = 0
    tier: str | None = None
    speed: str | None = None
    geo: str | None = None
    web_searches: int = 0
    native_cost_text: str | None = None
    estimated_output: int | None = None
    agent_id: str | None = None
    tool_use_ids: tuple[str, ...] = ()
    request_id: str | None = None
    project: str | None = None
    version: str | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class ModelTotal:
    """A client's own sum for one model of one session."""

    model: str
    tokens: Tokens
    web_searches: int
    cost_text: str | None


@dataclass(frozen=True, slots=True)
class SessionCheck:
    """A client's own statement of a whole session: something to compare with, never usage to add."""

    client: str
    session: str
    models: tuple[ModelTotal, ...]
    cost_text: str | None
    unknown_model_cost: bool


def priced_as(row: ObservedUsage) -> str:
    """The id to ask the price of: who serves the model, where the client says so, and its faster variant."""
    model = priced_as_standard(row)
    return f"{model}-fast" if row.speed == "fast" and not model.endswith("-fast") else model


def priced_as_standard(row: ObservedUsage) -> str:
    """The id to ask the price of, whatever the speed it was served at."""
    model = row.model or UNKNOWN_MODEL
    return f"{row.provider}/{model}" if row.provider and "/" not in model else model


def better(old: ObservedUsage, new: ObservedUsage) -> ObservedUsage:
    """Bring two rows of one response together; order, grouping and repetition do not change the result.

    The counts and their context come whole from one row: a conversation's own row before a copy in a side
    conversation, then the largest output, then a fixed order. Time, quality, tool ids and the estimate are
    joined from both, because every line of a response may know another part of them.
    """
    if old == new:
        return old
    winner = old if _precedence(old) >= _precedence(new) else new
    quality = old.quality if _QUALITY[old.quality] >= _QUALITY[new.quality] else new.quality
    estimates = [row.estimated_output for row in (old, new) if row.estimated_output is not None]
    estimate = max(estimates) if estimates and quality is not Quality.FINAL else None
    tools = old.tool_use_ids
    if new.tool_use_ids != tools:
        tools = tuple(sorted({*tools, *new.tool_use_ids}))
    return replace(
        winner,
        at=min(old.at, new.at),
        quality=quality,
        estimated_output=estimate,
        tool_use_ids=tools,
    )


def merged(rows: Iterable[ObservedUsage]) -> dict[tuple[str, str], ObservedUsage]:
    """Bring any rows, in any order and with any repetition, down to one row a response."""
    best: dict[tuple[str, str], ObservedUsage] = {}
    for row in rows:
        key = (row.client, row.response_key)
        known = best.get(key)
        best[key] = row if known is None else better(known, row)
    return best


def _precedence(row: ObservedUsage) -> tuple[object, ...]:
    """A total order over everything that is taken whole, so that no two different rows tie."""
    tokens = row.tokens
    nearness = _NEARNESS.get(row.rule, _OWN)
    return (
        nearness == _OWN,
        tokens.output,
        nearness,
        tokens.total,
        tokens.cache_write_1h,
        tokens.cache_write_5m,
        tokens.cache_read,
        row.reasoning,
        row.web_searches,
        row.session,
        row.model,
        row.parent_session or "",
        row.tier or "",
        row.speed or "",
        row.geo or "",
        row.native_cost_text or "",
        row.agent_id or "",
        row.request_id or "",
        row.project or "",
        row.version or "",
        row.provider or "",
        row.rule,
    )
