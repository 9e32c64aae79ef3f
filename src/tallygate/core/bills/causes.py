"""Why a session used something else than was estimated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from datetime import datetime
from enum import StrEnum

from tallygate.core import usage
from tallygate.core.costing import Price, Rates, Tokens, at_rates
from tallygate.core.gate.lifecycle import CallAnomaly, asked_after_refusal_us
from tallygate.core.model import Call, Session
from tallygate.core.moments import microseconds
from tallygate.core.money import cost_nanos, format_amount, more_or_less
from tallygate.core.values import value
from tallygate.core.words import ActorType

# --- drift -----------------------------------------------------------------------------------------------------------
# Why what a session used is not what was estimated: the causes by name, with what each amounts to.


_NORMAL_TIERS = frozenset({"", "standard", "default", "auto", "not_available"})
_NORMAL_SPEEDS = frozenset({"", "standard"})

PriceOf = Callable[[str, datetime], Price]


class CauseKind(StrEnum):
    """What drove actual usage and its estimate apart."""

    OTHER_MODEL = "other_model"
    REASONING = "reasoning"
    LONG_CONTEXT = "long_context"
    CACHE = "cache"
    SUBAGENTS = "subagents"
    PARTIAL = "partial_rows"
    TIER = "tier"
    OUTSIDE = "outside_calls"
    AUXILIARY = "own_calls"
    UNSEEN = "unseen"
    NO_RESPONSE = "no_response"
    BROKEN = "broken_off"
    DOUBTFUL = "doubtful_reports"


@value(frozen=True, slots=True)
class UsedResponse:
    """One response with its cost and the call it was made for."""

    row: usage.ObservedUsage
    cost_nanos: int
    call_id: str | None = None


@value(frozen=True, slots=True)
class Cause:
    """One cause of a difference between two figures, in a word, and how many responses show it.

    `nanos` is what it adds to the earlier figure, below zero what it takes off; None where nobody can tell.
    """

    kind: str
    nanos: int | None
    text: str
    responses: int = 0


def drift_of(
    session: Session,
    calls: Sequence[Call],
    usages: Sequence[UsedResponse],
    price_of: PriceOf,
    anomalies: Sequence[CallAnomaly] = (),
    *,
    asks_again: bool = False,
) -> list[Cause]:
    """The causes that apply to a session, the largest amount first.

    Each is computed by itself, all else as it was: a cache read above the long-context threshold counts into both,
    so the amounts do not add up to the drift. What is missing from partial rows is in no cost yet. `asks_again` says
    that the session's client asks its model once more when a tool is refused.
    """
    by_id = {call.call_id: call for call in calls}
    responses = [_Priced(used, by_id.get(used.call_id or ""), session, price_of) for used in usages]
    found = [_cache(responses), _no_response(calls, usages, asks_again=asks_again), _doubtful(calls, anomalies)]
    for kind, shows in _SHOWS.items():
        if chosen := [each for each in responses if shows(each)]:
            found.append(_shown(kind, chosen, responses))
    return largest_first(cause for cause in found if cause is not None)


def largest_first(causes: Iterable[Cause]) -> list[Cause]:
    """Causes in the order they are shown in: by amount, then those that have none."""
    return sorted(causes, key=lambda cause: (cause.nanos is None, -abs(cause.nanos or 0), cause.kind))


def _no_response(calls: Sequence[Call], usages: Sequence[UsedResponse], *, asks_again: bool) -> Cause | None:
    """Model calls that were let through and of which nothing was written down: what they cost, nobody can tell."""
    seen = {used.call_id for used in usages}
    if lost := [call for call in calls if call.is_unanswered and call.call_id not in seen]:
        estimated = format_amount(sum(call.estimate_nanos for call in lost))
        text = (
            f"{len(lost)} of the calls that were let through had no response written down: broken off, or made by the "
            f"client for itself; estimated at {estimated}, in no cost"
        )
        return Cause(CauseKind.NO_RESPONSE, None, text)
    # A client that asks again after a refusal makes a call that no hook tells of; only a later response shows that it
    # ended.
    refused_us = asked_after_refusal_us(calls) if asks_again else None
    if refused_us is None or any(microseconds(used.row.at) > refused_us for used in usages):
        return None
    text = "a tool was refused, the client asked its model again, and had no response written down: in no cost"
    return Cause(CauseKind.NO_RESPONSE, None, text)


def _doubtful(calls: Sequence[Call], anomalies: Sequence[CallAnomaly]) -> Cause | None:
    """What the agent reported of itself that nobody need believe; what it had asked for is what that may have cost."""
    if not anomalies:
        return None
    named = {each.call_id for each in anomalies}
    asked = sum(call.raw_estimate_nanos for call in calls if call.call_id in named)
    kinds = Counter(each.kind.replace("_", " ") for each in anomalies)
    listed = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    text = f"the agent's own reports of calls that it had estimated at {format_amount(asked)} are odd: {listed}"
    return Cause(CauseKind.DOUBTFUL, None, text)


class _Priced:
    """A response with the prices it is looked at with, each asked once."""

    def __init__(self, used: UsedResponse, call: Call | None, session: Session, price_of: PriceOf) -> None:
        row = used.row
        self.row = row
        self.call = call
        self.cost = used.cost_nanos
        # Nobody names the model of a call that a hook asks for, nor of a session that opened by itself.
        named = session.model if call is None else None if call.is_model_call else call.model_requested
        self.model_asked = usage.priced_as_standard(row) if named in (None, usage.UNKNOWN_MODEL) else str(named)
        self.standard_price = price_of(usage.priced_as_standard(row), row.at)
        self.expected = price_of(self.model_asked, row.at)
        applied = self.standard_price if row.speed != "fast" else price_of(usage.priced_as(row), row.at)
        self.rates: Rates = applied.rates_for(row.tokens.context)
        self.standard = self.standard_price.cost_nanos(row.tokens)
        self.is_auxiliary = row.rule.kind is usage.ResponseKind.AUXILIARY
        self.is_outside = call is None and row.agent_id is None and not self.is_auxiliary
        # Of a subagent that had not asked by itself.
        asked = call is not None and call.actor_type is not ActorType.PARENT_AGENT
        self.is_subagents = row.agent_id is not None and not self.is_auxiliary and not asked
        # What is not the standard one; such variants and tiers have prices of their own.
        self.variants = {row.speed or ""} - _NORMAL_SPEEDS | {row.tier or ""} - _NORMAL_TIERS

    @property
    def has_long_context(self) -> bool:
        return self.standard_price.rates_for(self.row.tokens.context) is not self.standard_price.rates


def _cache(responses: Iterable[_Priced]) -> Cause | None:
    """Cache reads and writes beyond the prompt that the call's estimate spoke of."""
    by_call: dict[str, list[_Priced]] = {}
    for each in responses:
        if each.call is not None and each.row.tokens.context > each.row.tokens.fresh_input:
            by_call.setdefault(each.call.call_id, []).append(each)
    count = nanos = tokens = 0
    for made in by_call.values():
        # An estimate speaks of one prompt: what the first response of a call read beyond it, and all that its later
        # ones read, came from the cache or went into it, at most as much as was cached at all.
        read = sum(each.row.tokens.context for each in made)
        cached = read - sum(each.row.tokens.fresh_input for each in made)
        if unseen := min(max(read - (made[0].call.prompt_tokens if made[0].call else 0), 0), cached):
            count += len(made)
            tokens += unseen
            cost = sum(at_rates(each.rates, replace(each.row.tokens, fresh_input=0, output=0)) for each in made)
            nanos += cost * unseen // cached
    if not count:
        return None
    text = f"{tokens:,} tokens came from or went into the cache beyond the estimated prompts: {format_amount(nanos)}"
    return Cause(CauseKind.CACHE, nanos, text, count)


_Many = Sequence[_Priced]

# The causes that single responses show: which of them do.
_SHOWS: Mapping[CauseKind, Callable[[_Priced], object]] = {
    CauseKind.OTHER_MODEL: lambda each: each.standard_price.key != each.expected.key and not each.is_auxiliary,
    CauseKind.REASONING: lambda each: each.row.reasoning,
    CauseKind.LONG_CONTEXT: lambda each: each.has_long_context,
    CauseKind.SUBAGENTS: lambda each: each.is_subagents,
    CauseKind.PARTIAL: lambda each: each.row.quality is not usage.Quality.FINAL,
    CauseKind.TIER: lambda each: each.variants,
    CauseKind.OUTSIDE: lambda each: each.is_outside,
    CauseKind.AUXILIARY: lambda each: each.is_auxiliary,
    CauseKind.BROKEN: lambda each: usage.BROKEN_OFF in each.row.odd,
}


def _shown(kind: CauseKind, chosen: _Many, responses: _Many) -> Cause | None:
    """What a cause comes to and says, of the responses that show it and of all; None where it comes to nothing."""
    times = "once" if len(chosen) == 1 else f"{len(chosen):,} times"
    count = "1 response" if len(chosen) == 1 else f"{len(chosen):,} responses"
    nanos: int | None
    nanos = spent = sum(each.cost for each in chosen)
    match kind:
        case CauseKind.OTHER_MODEL:
            nanos = sum(each.standard - each.expected.cost_nanos(each.row.tokens) for each in chosen)
            if not nanos:
                return None  # another host of the same model at the same price is no cause
            named = _several(each.model_asked for each in chosen)
            answered = _several(each.row.model or "a model without a name" for each in chosen)
            text = f"{named} was named, {answered} answered {times}: {more_or_less(nanos)}"
        case CauseKind.REASONING:
            thought = sum(each.row.reasoning for each in chosen)
            nanos = sum(cost_nanos([(each.row.reasoning, each.rates.output_nanos)]) for each in chosen)
            share = thought * 100 // max(sum(each.row.tokens.output for each in responses), 1)
            text = f"reasoning is {share} % of the output: {thought:,} tokens, {format_amount(nanos)}"
        case CauseKind.LONG_CONTEXT:
            nanos = sum(each.standard - at_rates(each.standard_price.rates, each.row.tokens) for each in chosen)
            text = f"long context was billed at higher rates {times}: {format_amount(nanos)} more"
        case CauseKind.SUBAGENTS:
            agents = len({each.row.agent_id for each in chosen})
            who = "a subagent that had" if agents == 1 else f"{agents:,} subagents that had"
            text = f"{who} not asked responded {times}: {format_amount(spent)}"
        case CauseKind.PARTIAL:
            missing = [(max((each.row.estimated_output or 0) - each.row.tokens.output, 0), each) for each in chosen]
            text, nanos = f"{len(chosen):,} of {len(responses):,} responses have no final count", None
            if tokens := sum(lacking for lacking, _ in missing):
                nanos = sum(cost_nanos([(lacking, each.rates.output_nanos)]) for lacking, each in missing)
                text += f"; about {tokens:,} output tokens, {format_amount(nanos)}, are missing"
        case CauseKind.TIER:
            # What they made of the standard price; searches cost the same in every tier.
            searches = sum(each.row.web_searches * each.standard_price.per_search_nanos for each in chosen)
            nanos = spent - sum(each.standard for each in chosen) - searches or None
            text = f"{_several(sorted(set().union(*(each.variants for each in chosen))))} was used {times}"
            text += "" if nanos is None else f": {more_or_less(nanos)}"
        case CauseKind.OUTSIDE:
            text = f"nobody had asked for {count}: {format_amount(spent)}"
        case CauseKind.AUXILIARY:
            asked = f"the client asked {times} of its own accord (compaction, titles and the like)"
            text = f"{asked}: {format_amount(spent)}"
        case _:
            text, nanos = f"before {count} another one broke off and left no counts: what it cost is in no record", None
    return Cause(kind, nanos, text, len(chosen))


def _several(names: Iterable[str], most: int = 3) -> str:
    """Names, each once, in their order; of many the first few."""
    found = list(dict.fromkeys(names))
    more = f" and {len(found) - most:,} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


# --- responses that were not seen ------------------------------------------------------------------------------------
# What a client's own total of a session says beside the responses that were seen of it.


def unseen(check: usage.SessionCheck, seen: Mapping[str, Tokens], at: datetime, price_of: PriceOf) -> Cause | None:
    """Why a client's own total is not the sum of its responses; None where the two agree.

    `seen` is what the responses add up to by model, `at` the time to price what is missing at.
    """
    missing, nanos = check.total - sum(tokens.total for tokens in seen.values()), None
    if not missing:
        return None
    if check.includes:
        text = "the client's own total of this session includes those of the sessions it was forked from: not compared"
    # Nothing is wrong with a total that lies below: it is older than the last responses.
    elif missing < 0:
        text = (
            f"the client's own total is {-missing:,} tokens below its responses: "
            "it went on after it had stated that total, or ended without stating one"
        )
    else:
        nanos = _missing_nanos(check, seen, at, price_of)
        about = "" if nanos is None else f", about {format_amount(nanos)}"
        text = (
            f"the client counts {missing:,} tokens more than was seen of it{about}; calls that no transcript has, "
            "such as compaction and titles, are seen only where telemetry is received"
        )
    return Cause(CauseKind.UNSEEN, nanos, text)


def _missing_nanos(
    check: usage.SessionCheck, seen: Mapping[str, Tokens], at: datetime, price_of: PriceOf
) -> int | None:
    """What the missing tokens cost, where they can be told model by model and class by class."""
    stated = {each.model: each.tokens for each in check.models}
    if not seen.keys() <= stated.keys():
        return None
    nanos = 0
    for model, tokens in stated.items():
        missing = [
            told - known for told, known in zip(astuple(tokens), astuple(seen.get(model, Tokens())), strict=True)
        ]
        if min(missing) < 0:
            return None
        # A sum of many has no context of its own that a higher rate could be told by.
        nanos += at_rates(price_of(model, at).rates, Tokens(*missing))
    return nanos
