"""What the next model call of a session will probably cost, from what its last ones did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from tallygate.core.costing import Price, Tokens
from tallygate.core.hooks import HookEvent
from tallygate.core.observed import ObservedUsage, Rule

# Before a session's first response: the context a client begins with, and how long an answer is. Medians of the first
# and of all responses in 103 recorded sessions of Claude Code were 39,700 and 160 tokens; a fresh one begins with less.
FIRST_CONTEXT_TOKENS = 20_000
TYPICAL_OUTPUT_TOKENS = 200
# What a client calls first where nobody has said which model it is and none of its sessions was seen yet.
FIRST_MODELS = {
    "claude_code": "claude-opus-4-7",
    "codex": "gpt-5.1-codex",
    "gemini": "gemini-2.5-pro",
    "qwen": "qwen3-coder-plus",
    "copilot": "gpt-4.1",
}


# The id of whoever makes calls beside the conversation, of which the client writes nothing down.
ASIDE = "aside"
_ASIDE_AGENTS = {"opencode": frozenset({"title"})}
_ASIDE_TOKENS = Tokens(fresh_input=1_000, output=60)


def is_aside(event: HookEvent) -> bool:
    """Whether a client is about to make a small call of its own, such as for a title."""
    return event.agent_type in _ASIDE_AGENTS.get(event.client, frozenset())


def aside_step(price: Price) -> NextStep:
    """What such a call takes: it reads the first prompt and little else."""
    tokens = _ASIDE_TOKENS
    return NextStep(price.cost_nanos(tokens), tokens.context, tokens.output)


@dataclass(frozen=True, slots=True)
class PastStep:
    """One earlier response with what it cost."""

    row: ObservedUsage
    cost_nanos: int


@dataclass(frozen=True, slots=True)
class NextStep:
    """The model call ahead: its cost, and the tokens that stand for it in a record."""

    nanos: int
    prompt_tokens: int
    completion_tokens: int


def of_actor(past: Sequence[PastStep], agent_id: str | None) -> list[PastStep]:
    """The responses of one agent of a session, without calls that are no part of a conversation."""
    return [step for step in past if step.row.agent_id == agent_id and step.row.rule is not Rule.CLAUDE_AUXILIARY]


def next_step(past: Sequence[PastStep], price: Price) -> NextStep:
    """The next call of an agent: its own level, or before any response what a first one takes.

    `past` are its responses, the oldest first. The level is a moving average of the costs' logarithms in which every
    response weighs as much as all before it, so that it follows a growing context within a few steps.
    """
    if not past:
        tokens = Tokens(cache_read=FIRST_CONTEXT_TOKENS, output=TYPICAL_OUTPUT_TOKENS)
        return NextStep(price.cost_nanos(tokens), FIRST_CONTEXT_TOKENS, TYPICAL_OUTPUT_TOKENS)
    level = max(past[0].cost_nanos, 1)
    for step in past[1:]:
        level = _mean(level, step.cost_nanos)
    last = past[-1].row.tokens
    return NextStep(level, min(last.context, 10**9), min(last.output, 10**9))


def _mean(one: int, other: int) -> int:
    """The geometric mean, rounded up: half the way between two logarithms, in whole numbers."""
    return isqrt(max(one, 1) * max(other, 1) - 1) + 1
