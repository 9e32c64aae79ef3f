"""What the next model call of a session will probably cost, from what its last ones did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tallygate.core.costing import Price, Tokens
from tallygate.core.learning.calibration import level_of
from tallygate.core.usage import ObservedUsage, Quality, ResponseKind
from tallygate.core.values import value

# Before a session's first response: the context a client begins with, and how long an answer is. Medians of the first
# and of all responses in 103 recorded sessions of one client were 39,700 and 160 tokens; a fresh one begins with less.
# Some of it is in the provider's cache from sessions before; the rest is written there (medians of that client: 16,200
# read, 12,700 written for an hour) or only read (of 22 sessions of another: 6,900 from the cache, 6,700 afresh).
FIRST_CONTEXT_TOKENS = 20_000
TYPICAL_OUTPUT_TOKENS = 200
_HALF = FIRST_CONTEXT_TOKENS // 2
_FIRST = Tokens(fresh_input=_HALF, cache_read=_HALF, output=TYPICAL_OUTPUT_TOKENS)
# The same of a client that has what it writes kept for an hour.
FIRST_KEPT_LONG = Tokens(cache_read=_HALF, cache_write_1h=_HALF, output=TYPICAL_OUTPUT_TOKENS)
# How long what a model has read stays in its provider's cache, from when it was last read: as Anthropic says by how it
# was written, and no longer where nothing is said. Of 50 pauses of ten minutes to an hour in recorded sessions, 36 had
# lost it.
SHORT_CACHE = timedelta(minutes=5)
LONG_CACHE = timedelta(hours=1)


# The id of whoever makes calls beside the conversation, of which the client writes nothing down.
AUXILIARY_ACTOR = "aside"
_AUXILIARY_TOKENS = Tokens(fresh_input=1_000, output=60)


def auxiliary_step(price: Price) -> NextStep:
    """What such a call takes: it reads the first prompt and little else."""
    tokens = _AUXILIARY_TOKENS
    return NextStep(price.cost_nanos(tokens), tokens.context, tokens.output)


@value(frozen=True, slots=True)
class PastStep:
    """One earlier response with what it cost."""

    row: ObservedUsage
    cost_nanos: int


@value(frozen=True, slots=True)
class NextStep:
    """The model call ahead: its cost, and the tokens that stand for it in a record.

    Where the whole conversation has to be read anew, `anew_nanos` is what that costs.
    """

    nanos: int
    prompt_tokens: int
    completion_tokens: int
    anew_nanos: int = 0


def of_actor(past: Sequence[PastStep], agent_id: str | None) -> list[PastStep]:
    """The responses of one agent of a session, without calls beside its conversation and totals, which are no step."""
    return [
        step
        for step in past
        if step.row.agent_id == agent_id
        and step.row.quality is not Quality.SESSION_TOTAL
        and step.row.rule.kind is not ResponseKind.AUXILIARY
    ]


def next_step(
    past: Sequence[PastStep], price: Price, at: datetime, first_call: Tokens | None = None, *, forgotten: bool = False
) -> NextStep:
    """The next call of an agent: its own level, or before any response what a first one of its client takes.

    `past` are its responses, the oldest first, and `at` is now. The level is a moving average of the costs' logarithms
    in which every response weighs as much as all before it, so that it follows a growing context within a few steps.
    After a pause in which the provider forgot what it had read, all of it is read and written anew; so it is where it
    is `forgotten` for another reason.
    """
    level = level_of([step.cost_nanos for step in past])
    if level is None:
        tokens = first_call or _FIRST
        return NextStep(price.cost_nanos(tokens), tokens.context, tokens.output)
    last = past[-1].row.tokens
    anew, anew_nanos = read_anew(past, at, forgotten=forgotten), 0
    if anew is not None:
        anew_nanos = price.cost_nanos(anew)
        # A step that reads everything anew costs that at least, whatever the cheap ones before it did.
        level = max(level, anew_nanos)
        last = anew
    return NextStep(level, min(last.context, 10**9), min(last.output, 10**9), anew_nanos)


def is_compacted(past: Sequence[PastStep], compacted_at: datetime | None) -> bool:
    """Whether a conversation was summarised since its last response: what the cache holds of it begins another way."""
    if not past:
        return False
    last = past[-1].row
    return last.rule.kind is ResponseKind.COMPACTION or (compacted_at is not None and last.at <= compacted_at)


def read_anew(past: Sequence[PastStep], at: datetime, *, forgotten: bool = False) -> Tokens | None:
    """The whole conversation as it has to be read after too long a pause, or where it is `forgotten`.

    None while it is in the cache, and where nothing was observed yet. What a switch of models or a compaction leaves
    in a cache cannot be used.
    """
    if not past:
        return None
    last = past[-1].row
    written: Tokens | None = None
    for step in reversed(past):  # mostly the last one wrote something
        written = step.row.tokens
        if written.cache_write_5m or written.cache_write_1h:
            break
    else:
        written = None
    size = last.tokens.context + last.tokens.output
    if written is None:
        kept, anew = SHORT_CACHE, Tokens(fresh_input=size, output=TYPICAL_OUTPUT_TOKENS)
    elif written.cache_write_1h:
        kept, anew = LONG_CACHE, Tokens(cache_write_1h=size, output=TYPICAL_OUTPUT_TOKENS)
    else:
        kept, anew = SHORT_CACHE, Tokens(cache_write_5m=size, output=TYPICAL_OUTPUT_TOKENS)
    return anew if forgotten or at - last.at > kept else None
