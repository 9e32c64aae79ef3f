"""Why a session used something else than was estimated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tallygate.core.costing import Price, Rates, Tokens, at_rates
from tallygate.core.gate.lifecycle import asked_after_refusal_us
from tallygate.core.model import Call, Session
from tallygate.core.moments import microseconds
from tallygate.core.money import cost_nanos, format_amount
from tallygate.core.reports import CallAnomaly
from tallygate.core.usage import (
    BROKEN_OFF,
    UNKNOWN_MODEL,
    ObservedUsage,
    Quality,
    ResponseKind,
    SessionCheck,
    priced_as,
    priced_as_standard,
)
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


@dataclass(frozen=True, slots=True)
class Used:
    """One response with its cost and the call it was made for."""

    row: ObservedUsage
    cost_nanos: int
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause. `nanos` is what it added to the estimate, below zero what it saved; None where nobody can tell."""

    kind: CauseKind
    responses: int
    nanos: int | None
    text: str


def drift_of(
    session: Session,
    calls: Sequence[Call],
    usages: Sequence[Used],
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
    responses = [_Response(used, by_id.get(used.call_id or ""), session, price_of) for used in usages]
    found = [
        _other_model(responses),
        _reasoning(responses),
        _long_context(responses),
        _cache(responses),
        _subagents(responses),
        _partial(responses),
        _tier(responses),
        _outside(responses),
        _auxiliary(responses),
        _no_response(calls, usages, asks_again=asks_again),
        _broken_off(responses),
        _doubtful(calls, anomalies),
    ]
    return largest_first(cause for cause in found if cause is not None)


def largest_first(causes: Iterable[Cause]) -> list[Cause]:
    """Causes in the order they are shown in: by amount, then those that have none."""
    return sorted(causes, key=lambda cause: (cause.nanos is None, -abs(cause.nanos or 0), cause.kind))


def _no_response(calls: Sequence[Call], usages: Sequence[Used], *, asks_again: bool) -> Cause | None:
    """Model calls that were let through and of which nothing was written down: what they cost, nobody can tell."""
    seen = {used.call_id for used in usages}
    lost = [call for call in calls if call.is_unanswered and call.call_id not in seen]
    if not lost:
        return _after_refusal(calls, usages) if asks_again else None
    estimated = format_amount(sum(call.estimate_nanos for call in lost))
    text = (
        f"{len(lost)} of the calls that were let through had no response written down: broken off, or made by the "
        f"client for itself; estimated at {estimated}, in no cost"
    )
    return Cause(CauseKind.NO_RESPONSE, 0, None, text)


def _after_refusal(calls: Sequence[Call], usages: Sequence[Used]) -> Cause | None:
    refused_us = asked_after_refusal_us(calls)
    if refused_us is None or any(microseconds(used.row.at) > refused_us for used in usages):
        return None
    text = "a tool was refused, the client asked its model again, and had no response written down: in no cost"
    return Cause(CauseKind.NO_RESPONSE, 0, None, text)


def _doubtful(calls: Sequence[Call], anomalies: Sequence[CallAnomaly]) -> Cause | None:
    """What the agent reported of itself that nobody need believe; what it had asked for is what that may have cost."""
    if not anomalies:
        return None
    named = {each.call_id for each in anomalies}
    asked = sum(call.raw_estimate_nanos for call in calls if call.call_id in named)
    kinds = Counter(each.kind.replace("_", " ") for each in anomalies)
    listed = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    text = f"the agent's own reports of calls that it had estimated at {format_amount(asked)} are odd: {listed}"
    return Cause(CauseKind.DOUBTFUL, 0, None, text)


class _Response:
    """A response with the prices it is looked at with, each asked once."""

    __slots__ = ("call", "cost", "expected", "model_asked", "rates", "row", "standard", "standard_price")

    def __init__(self, used: Used, call: Call | None, session: Session, price_of: PriceOf) -> None:
        row = used.row
        self.row = row
        self.call = call
        self.cost = used.cost_nanos
        # Nobody names the model of a call that a hook asks for, nor of a session that opened by itself.
        named = session.model if call is None else None if call.is_model_call else call.model_requested
        self.model_asked = priced_as_standard(row) if named in (None, UNKNOWN_MODEL) else str(named)
        self.standard_price = price_of(priced_as_standard(row), row.at)
        self.expected = price_of(self.model_asked, row.at)
        applied = self.standard_price if row.speed != "fast" else price_of(priced_as(row), row.at)
        self.rates: Rates = applied.rates_for(row.tokens.context)
        self.standard = self.standard_price.cost_nanos(row.tokens)

    @property
    def is_subagents(self) -> bool:
        """Whether a subagent made it that had not asked itself."""
        if self.row.agent_id is None or self.is_auxiliary:
            return False
        return self.call is None or self.call.actor_type is ActorType.PARENT_AGENT

    @property
    def is_outside(self) -> bool:
        return self.call is None and self.row.agent_id is None and not self.is_auxiliary

    @property
    def is_auxiliary(self) -> bool:
        return self.row.rule.kind is ResponseKind.AUXILIARY


def _other_model(responses: Iterable[_Response]) -> Cause | None:
    chosen = [each for each in responses if each.standard_price.key != each.expected.key and not each.is_auxiliary]
    nanos = sum(each.standard - each.expected.cost_nanos(each.row.tokens) for each in chosen)
    if not nanos:
        return None  # another host of the same model at the same price is no cause
    named = _several(each.model_asked for each in chosen)
    answered = _several(each.row.model or "a model without a name" for each in chosen)
    less = "less" if nanos < 0 else "more"
    return Cause(
        CauseKind.OTHER_MODEL,
        len(chosen),
        nanos,
        f"{named} was named, {answered} answered {_times(chosen)}: {format_amount(abs(nanos))} {less}",
    )


def _reasoning(responses: Iterable[_Response]) -> Cause | None:
    all_ = list(responses)
    chosen = [each for each in all_ if each.row.reasoning]
    if not chosen:
        return None
    thought = sum(each.row.reasoning for each in chosen)
    nanos = sum(cost_nanos([(each.row.reasoning, each.rates.output_nanos)]) for each in chosen)
    share = thought * 100 // max(sum(each.row.tokens.output for each in all_), 1)
    text = f"reasoning is {share} % of the output: {thought:,} tokens, {format_amount(nanos)}"
    return Cause(CauseKind.REASONING, len(chosen), nanos, text)


def _long_context(responses: Iterable[_Response]) -> Cause | None:
    chosen, nanos = [], 0
    for each in responses:
        price, tokens = each.standard_price, each.row.tokens
        if price.rates_for(tokens.context) is not price.rates:
            chosen.append(each)
            nanos += each.standard - at_rates(price.rates, tokens)
    if not chosen:
        return None
    return Cause(
        CauseKind.LONG_CONTEXT,
        len(chosen),
        nanos,
        f"long context was billed at higher rates {_times(chosen)}: {format_amount(nanos)} more",
    )


def _cache(responses: Iterable[_Response]) -> Cause | None:
    """Cache reads and writes beyond the prompt that the call's estimate spoke of."""
    by_call: dict[str, list[_Response]] = {}
    for each in responses:
        if each.call is not None and _cached(each.row.tokens):
            by_call.setdefault(each.call.call_id, []).append(each)
    count = nanos = tokens = 0
    for made in by_call.values():
        call = made[0].call
        cached = sum(_cached(each.row.tokens) for each in made)
        fresh = sum(each.row.tokens.fresh_input for each in made)
        unseen = min(max(cached + fresh - (call.prompt_tokens if call else 0), 0), cached)
        cost = sum(_cache_cost(each) for each in made)
        if unseen:
            count += len(made)
            tokens += unseen
            nanos += cost * unseen // cached
    if not count:
        return None
    text = f"{tokens:,} tokens came from or went into the cache beyond the estimated prompts: {format_amount(nanos)}"
    return Cause(CauseKind.CACHE, count, nanos, text)


def _subagents(responses: Iterable[_Response]) -> Cause | None:
    chosen = [each for each in responses if each.is_subagents]
    if not chosen:
        return None
    nanos = sum(each.cost for each in chosen)
    agents = len({each.row.agent_id for each in chosen})
    who = "a subagent that had" if agents == 1 else f"{agents:,} subagents that had"
    return Cause(
        CauseKind.SUBAGENTS,
        len(chosen),
        nanos,
        f"{who} not asked responded {_times(chosen)}: {format_amount(nanos)}",
    )


def _partial(responses: Iterable[_Response]) -> Cause | None:
    all_ = list(responses)
    chosen = [each for each in all_ if each.row.quality is not Quality.FINAL]
    if not chosen:
        return None
    missing = [(max((each.row.estimated_output or 0) - each.row.tokens.output, 0), each) for each in chosen]
    tokens = sum(count for count, _ in missing)
    nanos = sum(cost_nanos([(count, each.rates.output_nanos)]) for count, each in missing)
    text = f"{len(chosen):,} of {len(all_):,} responses have no final count"
    if not tokens:
        return Cause(CauseKind.PARTIAL, len(chosen), None, text)
    text += f"; about {tokens:,} output tokens, {format_amount(nanos)}, are missing"
    return Cause(CauseKind.PARTIAL, len(chosen), nanos, text)


def _broken_off(responses: Iterable[_Response]) -> Cause | None:
    chosen = [each for each in responses if BROKEN_OFF in each.row.odd]
    if not chosen:
        return None
    text = f"before {_count(chosen)} another one broke off and left no counts: what it cost is in no record"
    return Cause(CauseKind.BROKEN, len(chosen), None, text)


def _tier(responses: Iterable[_Response]) -> Cause | None:
    """Faster variants and service tiers have prices of their own: what they made of the standard one."""
    chosen = [
        each
        for each in responses
        if (each.row.tier or "") not in _NORMAL_TIERS or (each.row.speed or "") not in _NORMAL_SPEEDS
    ]
    if not chosen:
        return None
    names = {each.row.speed or "" for each in chosen} - _NORMAL_SPEEDS
    tiers = {each.row.tier or "" for each in chosen} - _NORMAL_TIERS
    nanos = sum(each.cost - each.standard - _searches(each) for each in chosen)
    text = f"{_several(sorted(names | tiers))} was used {_times(chosen)}"
    if nanos:
        text += f": {format_amount(abs(nanos))} {'more' if nanos > 0 else 'less'}"
    return Cause(CauseKind.TIER, len(chosen), nanos or None, text)


def _outside(responses: Iterable[_Response]) -> Cause | None:
    chosen = [each for each in responses if each.is_outside]
    if not chosen:
        return None
    nanos = sum(each.cost for each in chosen)
    text = f"nobody had asked for {_count(chosen)}: {format_amount(nanos)}"
    return Cause(CauseKind.OUTSIDE, len(chosen), nanos, text)


def _auxiliary(responses: Iterable[_Response]) -> Cause | None:
    chosen = [each for each in responses if each.is_auxiliary]
    if not chosen:
        return None
    nanos = sum(each.cost for each in chosen)
    text = f"the client asked {_times(chosen)} of its own accord (compaction, titles and the like): "
    return Cause(CauseKind.AUXILIARY, len(chosen), nanos, text + format_amount(nanos))


def _cached(tokens: Tokens) -> int:
    return tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h


def _cache_cost(each: _Response) -> int:
    tokens = each.row.tokens
    only = Tokens(0, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h, 0)
    return at_rates(each.rates, only)


def _searches(each: _Response) -> int:
    return each.row.web_searches * each.standard_price.per_search_nanos


def _count(chosen: Sequence[_Response]) -> str:
    return "1 response" if len(chosen) == 1 else f"{len(chosen):,} responses"


def _times(chosen: Sequence[_Response]) -> str:
    return "once" if len(chosen) == 1 else f"{len(chosen):,} times"


def _several(names: Iterable[str], most: int = 3) -> str:
    """Names, each once, in their order; of many the first few."""
    found = list(dict.fromkeys(names))
    more = f" and {len(found) - most:,} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


# --- responses that were not seen ------------------------------------------------------------------------------------
# What a client's own total of a session says beside the responses that were seen of it.


def unseen(check: SessionCheck, seen: Mapping[str, Tokens], at: datetime, price_of: PriceOf) -> Cause | None:
    """Why a client's own total is not the sum of its responses; None where the two agree.

    `seen` is what the responses add up to by model, `at` the time to price what is missing at.
    """
    ours = sum(tokens.total for tokens in seen.values())
    if check.total == ours:
        return None
    if check.includes:
        text = "the client's own total of this session includes those of the sessions it was forked from: not compared"
        return Cause(CauseKind.UNSEEN, 0, None, text)
    if check.total < ours:
        text = (
            f"the client's own total is {ours - check.total:,} tokens below its responses: "
            "it went on after it had stated that total, or ended without stating one"
        )
        return Cause(CauseKind.UNSEEN, 0, None, text)
    text = f"the client counts {check.total - ours:,} tokens more than was seen of it"
    nanos = _missing_nanos(check, seen, at, price_of)
    if nanos is not None:
        text += f", about {format_amount(nanos)}"
    text += "; calls that no transcript has, such as compaction and titles, are seen only where telemetry is received"
    return Cause(CauseKind.UNSEEN, 0, nanos, text)


def _missing_nanos(check: SessionCheck, seen: Mapping[str, Tokens], at: datetime, price_of: PriceOf) -> int | None:
    """What the missing tokens cost, where they can be told model by model and class by class."""
    stated = {each.model: each.tokens for each in check.models}
    if not seen.keys() <= stated.keys():
        return None
    nanos = 0
    for model, tokens in stated.items():
        known = seen.get(model, Tokens())
        missing = (
            tokens.fresh_input - known.fresh_input,
            tokens.cache_read - known.cache_read,
            tokens.cache_write_5m - known.cache_write_5m,
            tokens.cache_write_1h - known.cache_write_1h,
            tokens.output - known.output,
        )
        if min(missing) < 0:
            return None
        # A sum of many has no context of its own that a higher rate could be told by.
        nanos += at_rates(price_of(model, at).rates, Tokens(*missing))
    return nanos
