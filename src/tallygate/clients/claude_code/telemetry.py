"""Claude Code's own account of its requests, as its telemetry tells it: one `api_request` event, one response."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tallygate.clients.claude_code.client import AUXILIARY, TELEMETRY, TELEMETRY_SUBAGENT
from tallygate.clients.reading.lines import Odd, Skip, Unreadable, content_key, count, countless, moment, name
from tallygate.clients.reading.otlp import TelemetryResponses
from tallygate.core.costing import Tokens
from tallygate.core.regex import regex
from tallygate.core.usage import MAX_TOKENS, ObservedUsage, ReadingRule

CLIENT = "claude_code"
SERVICE = "claude-code"
EVENT = "api_request"
# Where a request comes from a conversation, its response stands in a transcript too. All others are the client's own.
_CONVERSATION = regex(r"sdk|repl_main_thread.*|agent:.*", re.DOTALL)
# As the transcript names the speed that telemetry calls normal.
_SPEEDS = {"normal": "standard"}
_DAY_MS = 24 * 60 * 60 * 1000
# The session of a response whose event names none.
UNNAMED = "unknown"
_COUNT = regex(r"(\d{1,13})(?:\.\d{1,40})?")
_SECOND_NS = 10**9
_LATEST_NS = 2**62


class Untold(StrEnum):
    """Why an event was not used, beside the reasons a transcript's line can have."""

    NO_REQUEST = "no_request_id"


def _skip(told: TelemetryResponses, reason: str, event: Mapping[str, object] | None = None) -> None:
    """Count an event that was not used; with it what of a response is lost that nobody else tells of."""
    told.skipped[reason] += 1
    if event is not None and _rule(event.get("query_source"), None) is AUXILIARY:
        told.lost.setdefault(name(event.get("session.id")), Counter())[reason] += 1


def read_events(
    events: Iterable[tuple[Mapping[str, object], Mapping[str, object], int | None]],
    heard_at: datetime | None = None,
) -> TelemetryResponses:
    """The responses among events: each its resource's attributes, its own, and its time in nanoseconds since 1970.

    `heard_at` is the time of those that tell none that can be read.
    """
    told = TelemetryResponses()
    for resource, event, at_ns in events:
        if resource.get("service.name") != SERVICE or event.get("event.name") != EVENT:
            continue
        try:
            row = _row(resource, event, at_ns, heard_at)
        except Unreadable as error:
            _skip(told, error.reason, event)
            continue
        if row is None:
            _skip(told, Untold.NO_REQUEST)
        elif row.tokens.total:
            told.rows.append(row)
        elif countless(row.odd):
            _skip(told, Skip.BAD_COUNT, event)
        else:
            _skip(told, Skip.EMPTY)
    return told


def _row(
    resource: Mapping[str, object], event: Mapping[str, object], at_ns: int | None, heard_at: datetime | None
) -> ObservedUsage | None:
    """One response; None where nothing could join it to the transcript that has it as well."""
    odd: set[str] = set()
    session, agent = name(event.get("session.id")) or UNNAMED, name(event.get("agent_id"))
    request, at = name(event.get("request_id")), _began(event, at_ns, heard_at, odd)
    rule = _rule(event.get("query_source"), agent)
    # Its transcript tells of it too, under a request that is not said here: booked from here, it would count twice.
    if request is None and rule is not AUXILIARY:
        return None
    tokens = _tokens(event, odd)
    # The time we heard of it differs at each delivery: an event that is sent again would be another one.
    when = content_key(*sorted(event.items(), key=str)) if Odd.NO_TIME in odd else at.isoformat()
    key = f"request:{request}" if request else f"event:{session}:{count(event, 'event.sequence')}:{when}"
    model = name(event.get("model"))
    if model is None:
        odd.add(Odd.NO_MODEL)
    speed = name(event.get("speed"))
    return ObservedUsage(
        client=CLIENT,
        session=session,
        response_key=key,
        at=at,
        model=model or "",
        tokens=tokens,
        rule=rule,
        speed=_SPEEDS.get(speed or "", speed),
        native_cost_text=_cost(event.get("cost_usd")),
        agent_id=agent,
        request_id=request,
        version=name(resource.get("service.version")),
        odd=tuple(sorted(odd)),
    )


def _rule(source: object, agent: str | None) -> ReadingRule:
    """Versions that do not name the source are taken to speak of conversations: those have a transcript to say so."""
    if isinstance(source, str) and source and not _CONVERSATION.fullmatch(source):
        return AUXILIARY
    return TELEMETRY if agent is None else TELEMETRY_SUBAGENT


def _tokens(event: Mapping[str, object], odd: set[str]) -> Tokens:
    written = _count(event, "cache_creation_tokens", odd)
    short, long = _count(event, "cache_creation_5m_tokens", odd), _count(event, "cache_creation_1h_tokens", odd)
    # What no class claims was written for the default five minutes, as in transcripts.
    return Tokens(
        fresh_input=_count(event, "input_tokens", odd),
        cache_read=_count(event, "cache_read_tokens", odd),
        cache_write_5m=max(short, written - long),
        cache_write_1h=long,
        output=_count(event, "output_tokens", odd),
    )


def _began(event: Mapping[str, object], at_ns: int | None, heard_at: datetime | None, odd: set[str]) -> datetime:
    """When the request was sent. The event is made when its response has come, and told soon after."""
    if at_ns is not None and 0 < at_ns < _LATEST_NS:
        seconds, rest = divmod(at_ns, _SECOND_NS)
        ended = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    else:
        try:
            ended = moment(event.get("event.timestamp"))
        except Unreadable:
            if heard_at is None:
                raise
            ended = heard_at
            odd.add(Odd.NO_TIME)
    # Budgets of a day and prices of a date go by when it was asked, as the transcript has it.
    took_ms = min(count(event, "duration_ms"), _DAY_MS)
    try:
        return ended - timedelta(milliseconds=took_ms)
    except OverflowError:
        return ended


def _count(event: Mapping[str, object], key: str, odd: set[str]) -> int:
    """A whole number; some versions write numbers as text, or with a fraction that says nothing."""
    value = event.get(key)
    if isinstance(value, str) and (found := _COUNT.fullmatch(value)):
        return int(found[1])
    return count({key: value}, key, odd)


def _cost(value: object) -> str | None:
    if type(value) is int:
        return str(value) if abs(value) <= MAX_TOKENS else None
    return name(value)
