"""One response in one form for all clients, and how copies of it meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from tallygate.core.attribution import Served, together
from tallygate.core.costing import STANDARD, Terms, Tokens, is_local_runtime
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.values import value

# --- one response ----------------------------------------------------------------------------------------------------
# What clients' own records say was used: the one form of every transcript, and how copies meet.


# Outputs larger than this are not usage; the bound keeps sums of rows inside 64 bits.
MAX_TOKENS = 10**12
UNKNOWN_MODEL = "unknown"


class Quality(StrEnum):
    """How far the counts of a row can be trusted; later members are better."""

    SESSION_TOTAL = "session_total"
    ESTIMATED = "estimated"
    PARTIAL = "partial"
    FINAL = "final"


class ResponseKind(StrEnum):
    """What kind of record tells of a response: everything that is decided by how it was read."""

    OWN = "own"  # of the conversation that paid for it
    BESIDE = "beside"  # stands beside another response of the same request, and is never told of
    SUBAGENT = "subagent"
    SIDE = "side"  # a side conversation: repeats messages of its parent under requests of its own
    PROGRESS = "progress"  # what an agent's work told the conversation around it
    TELEMETRY = "telemetry"
    TELEMETRY_SUBAGENT = "telemetry_subagent"
    AUXILIARY = "auxiliary"  # told by telemetry alone, and no part of a conversation
    MOVED_TOTAL = "moved_total"  # by how much a total moved, which may stand for several responses
    RUNNING_TOTAL = "running_total"  # what a session has used so far: only what it grew by is stored
    COMPACTION = "compaction"  # a summary of the conversation: what the cache holds of it begins another way


class ReadingRule(NamedTuple):
    """Which rule of a client's reader made a row: the text that is stored, and its kind.

    NOTES.md of each client says what its rules do.
    """

    text: str
    kind: ResponseKind = ResponseKind.OWN


class Rules(dict[str, ReadingRule]):
    """Rules by their text, as a ledger is given them, and the texts of two kinds; it knows no client."""

    def __missing__(self, text: str) -> ReadingRule:
        return ReadingRule(text)  # by a rule that nobody knows any more: a row of the conversation itself

    @cached_property
    def auxiliary(self) -> tuple[str, ...]:
        return tuple(rule.text for rule in self.values() if rule.kind is ResponseKind.AUXILIARY)

    @cached_property
    def telemetry(self) -> tuple[str, ...]:
        return tuple(rule.text for rule in self.values() if rule.kind in TELEMETRY)


_QUALITY = {quality: rank for rank, quality in enumerate(Quality)}

# What a client tells of its requests while it works. It knows the request a response answered, not the message.
# Each row is asked for it, several times: a member of an enumeration is compared far sooner than it is hashed.
TELEMETRY = (ResponseKind.TELEMETRY, ResponseKind.TELEMETRY_SUBAGENT, ResponseKind.AUXILIARY)

# Where one response is told of in several places, nearer to the conversation that paid for it comes first. Telemetry
# stands behind the transcript of the same agent: it has the same counts and knows less about them.
_NEARNESS = {
    ResponseKind.PROGRESS: 0,
    ResponseKind.SIDE: 1,
    ResponseKind.TELEMETRY_SUBAGENT: 2,
    ResponseKind.SUBAGENT: 3,
    ResponseKind.TELEMETRY: 4,
    ResponseKind.AUXILIARY: 4,
}
_OWN = 5


@value(frozen=True, slots=True)
class ObservedUsage:
    """One response of a model as its client wrote it down; `(client, response_key)` names it for ever.

    `model` is as written and empty when the client names none; `provider` is the client's word for who
    serves it. `tokens` are the recorded counts, with reasoning inside `output`; `reasoning` repeats that
    share for information. `estimated_output` stands beside the recorded output of a partial row and is
    never mixed into it. `native_cost_text` is the client's own figure, kept as text because it is never
    trusted. `tool_use_ids` are sorted, each once. `counted_by` is the rule of the row that the counts come
    from, where that is another one than the row they stand in. `odd` says, sorted, what was wrong with the counts.
    """

    client: str
    session: str = field(metadata={"column": "client_session"})
    response_key: str
    at: datetime = field(metadata={"column": "at_us"})
    model: str
    tokens: Tokens
    rule: ReadingRule
    quality: Quality = Quality.FINAL
    parent_session: str | None = None
    reasoning: int = 0
    tier: str | None = None
    speed: str | None = None
    geo: str | None = None
    web_searches: int = 0
    native_cost_text: str | None = field(default=None, metadata={"column": "native_cost"})
    estimated_output: int | None = None
    agent_id: str | None = None
    tool_use_ids: tuple[str, ...] = ()
    request_id: str | None = None
    project: str | None = None
    version: str | None = None
    provider: str | None = None
    counted_by: ReadingRule | None = None
    odd: tuple[str, ...] = ()
    agent_type: str | None = None
    skill: str | None = None
    served: tuple[Served, ...] = ()
    branch: str | None = None
    repository: str | None = None

    @property
    def is_told(self) -> bool:
        """Whether only telemetry tells of the response, and no transcript."""
        return self.rule.kind in TELEMETRY


@value(frozen=True, slots=True)
class ModelTotal:
    """A client's own sum for one model of one session."""

    model: str
    tokens: Tokens
    web_searches: int
    cost_text: str | None


@value(frozen=True, slots=True)
class SessionCheck:
    """A client's own statement of a whole session: something to compare with, never usage to add.

    `includes` are the sessions it was forked from, as far as they are known: their totals are in it.
    """

    client: str
    session: str
    models: tuple[ModelTotal, ...]
    cost_text: str | None
    unknown_model_cost: bool
    includes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All tokens together."""
        return sum(model.tokens.total for model in self.models)


def in_a_line(row: ObservedUsage) -> str:
    """What a row tells, in a line."""
    tokens = row.tokens
    written = tokens.cache_write_5m + tokens.cache_write_1h
    counts = f"{tokens.fresh_input} in, {tokens.cache_read} read, {written} written, {tokens.output} out"
    return f"{row.model or 'no model'}: {counts}, at {row.at.isoformat(timespec='seconds')}"


def priced_as(row: ObservedUsage) -> str:
    """The id to ask the price of: who serves the model, where the client says so, and its faster variant."""
    return served_as(row.model, row.provider, row.speed)


def priced_as_standard(row: ObservedUsage) -> str:
    """The id to ask the price of, whatever the speed it was served at."""
    return served_as(row.model, row.provider)


def served_as(model: str, provider: str | None, speed: str | None = None) -> str:
    """The same of a model as it is written, with who serves it and how fast."""
    model = model or UNKNOWN_MODEL
    model = f"{provider}/{model}" if provider and "/" not in model else model
    return f"{model}-fast" if speed == "fast" and not model.endswith("-fast") else model


def terms_of(row: ObservedUsage) -> Terms:
    """On which terms a response was served, for its price; the client's own figure says only whether it was free."""
    free: bool | None = None
    if row.native_cost_text is not None:
        digits = [c for c in row.native_cost_text.lower().partition("e")[0] if c.isdigit()]
        free = all(c == "0" for c in digits) if digits else None
    here = row.provider is not None and is_local_runtime(row.provider)
    if (row.tier, row.geo, free, here) == (None, None, None, False):
        return STANDARD
    return Terms(row.tier, row.geo, free, here)


def better(old: ObservedUsage, new: ObservedUsage, named: ObservedUsage | None = None) -> ObservedUsage:
    """Bring two rows of one response together; order, grouping and repetition do not change the result.

    The counts are joined class by class, each by the largest: no copy takes away what another one tells of. `named`
    is the one whose model counts; where nobody says which, any rule will do that gives the same in every order. The
    context comes whole from the row nearest to the conversation. Time, quality, tool ids, the estimate and the
    client's own figure are joined from both, because every line of a response may know another part of them.
    """
    if old == new:
        return old
    named = named or max(old, new, key=named_order)
    # Everything that cannot be joined class by class is taken from one row alone: half of one session and half of
    # another would be a conversation that never was.
    context = old if _context_order(old) >= _context_order(new) else new
    tokens = joined_counts(old.tokens, new.tokens)
    counted = max(old, new, key=_output_order)
    counted_by = counted.counted_by or counted.rule
    quality = old.quality if _QUALITY[old.quality] >= _QUALITY[new.quality] else new.quality
    estimates = [row.estimated_output for row in (old, new) if row.estimated_output is not None]
    # A final count makes any guess of it superfluous; between guesses the larger is the safe one.
    estimate = max(estimates) if estimates and quality is not Quality.FINAL else None
    tools = old.tool_use_ids
    if new.tool_use_ids != tools:
        tools = tuple(sorted({*tools, *new.tool_use_ids}))
    return replace(
        context,
        at=min(old.at, new.at),
        model=named.model,
        tokens=tokens,
        reasoning=max(old.reasoning, new.reasoning),
        web_searches=max(old.web_searches, new.web_searches),
        speed=named.speed,
        provider=named.provider,
        counted_by=None if counted_by == context.rule else counted_by,
        quality=quality,
        native_cost_text=max(old.native_cost_text or "", new.native_cost_text or "") or None,
        estimated_output=estimate,
        tool_use_ids=tools,
        served=old.served if old.served == new.served else together(old.served, new.served),
        odd=tuple(each for each in joined_odd(old.odd, new.odd) if each != GUESSED_MODEL or each in named.odd),
    )


def attributed(known: ObservedUsage, again: ObservedUsage) -> ObservedUsage:
    """A response with what another reading of it tells of whom it was made for; all that is known of it stays."""
    is_same_agent = known.agent_id == again.agent_id
    return replace(
        known,
        agent_type=known.agent_type or (again.agent_type if is_same_agent else None),
        skill=known.skill or (again.skill if is_same_agent else None),
        served=together(known.served, again.served),
        branch=known.branch or again.branch,
        repository=known.repository or again.repository,
    )


def kept_attributed(known: ObservedUsage, joined: ObservedUsage) -> ObservedUsage:
    """A response whose context may be that of another copy by now, made for whom it was known to be made for."""
    if (known.agent_type, known.skill, known.branch, known.repository) == (None, None, None, None):
        return joined
    is_same_agent = known.agent_id == joined.agent_id
    return replace(
        joined,
        agent_type=(known.agent_type if is_same_agent else None) or joined.agent_type,
        skill=(known.skill if is_same_agent else None) or joined.skill,
        branch=known.branch or joined.branch,
        repository=known.repository or joined.repository,
    )


def tells_model(row: ObservedUsage) -> bool:
    """Whether a row names its model itself, and has no neighbour's."""
    return GUESSED_MODEL not in row.odd


def joined_counts(one: Tokens, other: Tokens) -> Tokens:
    """Counts of one response as two rows tell them, class by class the larger.

    Cache writes are one class of two kinds: who knows of none that last an hour has counted those among the others.
    """
    if one == other:
        return one
    written = max(one.cache_write_5m + one.cache_write_1h, other.cache_write_5m + other.cache_write_1h)
    long = max(one.cache_write_1h, other.cache_write_1h)
    return Tokens(
        max(one.fresh_input, other.fresh_input),
        max(one.cache_read, other.cache_read),
        written - long,
        long,
        max(one.output, other.output),
    )


def same_name(one: ObservedUsage, other: ObservedUsage) -> bool:
    """Whether two rows name the same model, at the same speed and from the same provider."""
    return (one.model, one.speed, one.provider) == (other.model, other.speed, other.provider)


def named_order(row: ObservedUsage) -> tuple[object, ...]:
    """An order over the models that rows name, where nothing is known of prices."""
    return (tells_model(row), row.model, row.speed or "", row.provider or "")


class Oddity(StrEnum):
    """What is suspicious in a later row of a response that is booked, or in the time of its first one."""

    LOWER = "lower"
    MODEL = "other_model"
    TIME = "other_time"
    IMPOSSIBLE = "impossible_time"


# Lines of one response lie minutes apart, and its telemetry begins with the request.
_TIME_MAX = timedelta(hours=1)


def contradictions(booked: ObservedUsage, later: ObservedUsage) -> list[Oddity]:
    """What a later row would lower or move of a response that is booked; an earlier part of it repeated does neither.

    Whether another model is meant, prices say; here it is another one where it is written otherwise.
    """
    found = []
    old, new = booked.tokens, later.tokens
    # While a response is written its rows only grow: fewer counts than before say something only where the later row
    # claims to be whole, or is longer.
    whole = new.output > old.output or (later.quality is Quality.FINAL and booked.quality is Quality.FINAL)
    if whole and joined_counts(old, new) != joined_counts(new, new) and not booked.is_told and not later.is_told:
        found.append(Oddity.LOWER)
    named = booked.model and later.model and tells_model(booked) and tells_model(later)
    if named and not same_name(booked, later):
        found.append(Oddity.MODEL)
    if abs(later.at - booked.at) > _TIME_MAX and MOVED not in booked.odd:
        found.append(Oddity.TIME)
    return found


# No model has a context smaller than this worth cutting to, and none that is listed a larger one than ten million.
SMALL_COUNT = 100_000
CUT = "above_context"
# Among what is odd in a response: one that its client had asked for before it broke off, and left no counts.
BROKEN_OFF = "after_one_broken_off"
# Its time is that of its neighbours in the file, or of the file; its model is that of a neighbour, or none.
GUESSED_TIME = "no_time"
GUESSED_MODEL = "no_model"
# A movement of a total may stand for several responses whose own events are missing.
_MOVED_AT_ONCE = 4


def needs_window(row: ObservedUsage) -> bool:
    """Whether a count of a response is so large that it must be held against its model's context window."""
    tokens = row.tokens
    return (
        tokens.cache_read > SMALL_COUNT
        or tokens.fresh_input > SMALL_COUNT
        or tokens.cache_write_5m > SMALL_COUNT
        or tokens.cache_write_1h > SMALL_COUNT
        or tokens.output > SMALL_COUNT
    ) and not (row.quality is Quality.SESSION_TOTAL or row.rule.kind is ResponseKind.RUNNING_TOTAL)


def within(row: ObservedUsage, window: int) -> ObservedUsage:
    """A response none of whose counts is larger than its model's context: one absurd record must not use up a day."""
    most = max(window, SMALL_COUNT) * (_MOVED_AT_ONCE if row.rule.kind is ResponseKind.MOVED_TOTAL else 1)
    tokens = row.tokens
    counts = (tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h, tokens.output)
    if max(counts) <= most:
        return row
    cut = Tokens(*[min(count, most) for count in counts])
    return replace(row, tokens=cut, reasoning=min(row.reasoning, cut.output), odd=joined_odd(row.odd, (CUT,)))


# Among what is odd in a response: its client tells a time at which it cannot have been.
MOVED = "impossible_time"
# A client's clock is not ours, and a response may have begun a while before it was written down.
_ALLOWANCE_US = 15 * 60 * 1_000_000


def in_time(row: ObservedUsage, earliest_us: int | None, latest_us: int, otherwise_us: int) -> ObservedUsage:
    """A response at a time at which it can have been: what is spent now counts now, whatever its client tells."""
    at_us = microseconds(row.at)
    if at_us <= latest_us + _ALLOWANCE_US and (earliest_us is None or at_us >= earliest_us - _ALLOWANCE_US):
        return row
    return replace(row, at=as_datetime(otherwise_us), odd=joined_odd(row.odd, (MOVED,)))


def joined_odd(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """What was wrong with the counts of any of two rows."""
    return one if one == other else tuple(sorted({*one, *other}))


def tells_of(told: ObservedUsage, row: ObservedUsage) -> bool:
    """Whether a row of telemetry and a transcript's row are of one response, which they share by its request.

    A side conversation repeats messages of its parent under a request of its own: only with the same counts is
    such a row what the request was paid for. An advisor's row stands beside its response and is never told of.
    """
    if row.is_told or not told.is_told or told.request_id is None:
        return False
    if (told.client, told.request_id) != (row.client, row.request_id) or row.rule.kind is ResponseKind.BESIDE:
        return False
    return row.rule.kind is not ResponseKind.SIDE or row.tokens == told.tokens


def nearness(row: ObservedUsage) -> tuple[bool, bool, int]:
    """How near to the conversation that paid for a response a row of it is."""
    return (not row.is_told, row.rule.kind is not ResponseKind.SIDE, _NEARNESS.get(row.rule.kind, _OWN))


def nearest(rows: Iterable[ObservedUsage]) -> ObservedUsage | None:
    """Of several rows the one nearest to the conversation."""
    return max(rows, key=_context_order, default=None)


Join = Callable[[ObservedUsage, ObservedUsage], ObservedUsage]


def merged(rows: Iterable[ObservedUsage], join: Join = better) -> dict[tuple[str, str], ObservedUsage]:
    """Bring any rows, in any order and with any repetition, down to one row a response.

    Those that only telemetry tells of come last. `join` brings a known row and a later one together.
    """
    best: dict[tuple[str, str], ObservedUsage] = {}
    for row in rows:
        key = (row.client, row.response_key)
        known = best.get(key)
        best[key] = row if known is None else join(known, row)
    told = {key: row for key, row in best.items() if row.is_told}
    if not told:
        return best
    # Telemetry has keys of its own: only the request tells which response it belongs to, and so it waits until all
    # others are there.
    found = {key: row for key, row in best.items() if key not in told}
    by_request: dict[tuple[str, str | None], list[ObservedUsage]] = {}
    for row in found.values():
        by_request.setdefault((row.client, row.request_id), []).append(row)
    for key, row in told.items():
        near = nearest(each for each in by_request.get((row.client, row.request_id), ()) if tells_of(row, each))
        if near is None:
            found[key] = row
        else:
            found[near.client, near.response_key] = join(near, row)
    return found


def _output_order(row: ObservedUsage) -> tuple[object, ...]:
    """An order over the rows by which the counts of a response are told to come from one of them."""
    rule = row.counted_by or row.rule
    return (row.tokens.output, _NEARNESS.get(rule.kind, _OWN), rule.text)


def _context_order(row: ObservedUsage) -> tuple[object, ...]:
    """A total order over everything else that is taken whole.

    What telemetry knows comes last, and before it a side conversation, whose request may be of another message.
    """
    return (
        *nearness(row),
        row.request_id is not None,
        row.session,
        row.parent_session or "",
        row.tier or "",
        row.geo or "",
        row.agent_id or "",
        row.request_id or "",
        row.project or "",
        row.version or "",
        row.rule.text,
        row.agent_type or "",
        row.skill or "",
        row.branch or "",
        row.repository or "",
    )
