"""One opencode message as usage; what its reasoning means is decided by the sum that equals its total."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from tallygate.clients.lines import (
    Fields,
    Odd,
    ReadReport,
    Skip,
    Unreadable,
    count,
    countless,
    decode,
    fields,
    inner,
    moment,
    name,
    part,
)
from tallygate.core.costing import Tokens
from tallygate.core.usage import ObservedUsage, Rule

CLIENT = "opencode"
# The session of a message that names none.
UNNAMED = "unknown"


class MessageFile:
    """Reads one message file of the time before the database."""

    def __init__(self, path: Path) -> None:
        self.report = ReadReport()
        self.written_at: datetime | None = None
        self._session = path.parent.name

    def document(self, data: bytes) -> list[ObservedUsage]:
        self.report.bytes_read += len(data)
        try:
            message = fields(decode(data))
            if not is_answer(message):
                return []
            session = name(message.get("sessionID")) or self._session
            row = row_of(message, session, self.report, times=(self.written_at,))
            self.report.unfinished = self.report.skipped[Skip.UNFINISHED]
        except Unreadable as error:
            self.report.skipped[error.reason] += 1
            return []
        self.report.rows += row is not None
        return [] if row is None else [row]


def is_answer(message: Fields) -> bool:
    """Whether a message is a model's; what says nothing of it and has counts was paid for."""
    role = message.get("role")
    return role == "assistant" or (role != "user" and type(message.get("tokens")) is tuple)


def row_of(
    message: Fields, session: str, report: ReadReport, created: object = None, times: Sequence[object] = ()
) -> ObservedUsage | None:
    """The usage of an assistant's message, or nothing while it is being written or where it cost nothing.

    `times` are those at which it may have ended where it does not say so itself, the best first.
    """
    odd: set[str] = set()
    written = part(message, "tokens", odd)
    tokens, reasoning, rule = _tokens(written, odd)
    if not tokens.total:
        report.skipped[Skip.BAD_COUNT if countless(odd) else Skip.EMPTY] += 1
        return None
    time = part(message, "time", set())
    began, ended = time.get("created", created), time.get("completed")
    if ended is None and message.get("finish") is None and message.get("error") is None:
        report.skipped[Skip.UNFINISHED] += 1
        return None
    model = inner(message, "model")
    cost = message.get("cost")
    provider = name(message.get("providerID")) or name(model.get("providerID"))
    model_id = name(message.get("modelID")) or name(model.get("id")) or name(model.get("modelID")) or ""
    if not model_id:
        odd.add(Odd.NO_MODEL)
    return ObservedUsage(
        client=CLIENT,
        session=name(session) or UNNAMED,
        response_key=_key(began, ended, provider, model_id, tokens),
        # A message is begun before its model is asked; what was asked for it lies before its end.
        at=_ended(ended, (began, *times), odd),
        model=model_id,
        tokens=tokens,
        rule=rule,
        reasoning=reasoning,
        native_cost_text=str(cost) if type(cost) is int else name(cost),
        project=name(inner(message, "path").get("cwd")),
        provider=provider,
        odd=tuple(sorted(odd)),
    )


def _ended(written: object, others: Sequence[object], odd: set[str]) -> datetime:
    """When a message ended; where that cannot be read, the best other time there is."""
    try:
        return moment(written)
    except Unreadable:
        odd.add(Odd.NO_TIME)
    for other in others:
        with suppress(Unreadable):
            return other if isinstance(other, datetime) else moment(other)
    raise Unreadable(Skip.NO_TIME)


def _key(began: object, ended: object, provider: str | None, model: str, tokens: Tokens) -> str:
    """What a response is known by in every fork: forks copy messages under new ids, content unchanged."""
    classes = (tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m, tokens.output)
    content = "|".join(map(str, (began, ended, provider, model, *classes)))
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _tokens(written: Fields, odd: set[str]) -> tuple[Tokens, int, Rule]:
    """The disjoint classes. Input never holds cache here; output held reasoning in some versions only."""
    cache = part(written, "cache", odd)
    fresh, output, reasoning, total = (count(written, key, odd) for key in ("input", "output", "reasoning", "total"))
    read, write = count(cache, "read", odd), count(cache, "write", odd)
    inside = fresh + output + read + write
    if reasoning and total == inside and reasoning <= output:
        rule, all_output = Rule.OPENCODE_INSIDE, output
    elif not reasoning or total == inside + reasoning:
        rule, all_output = Rule.OPENCODE_BESIDE, output + reasoning
    else:
        # No total, or one that neither sum meets: the newer meaning, which never counts too little.
        rule, all_output = Rule.OPENCODE_UNPROVEN, output + reasoning
    return Tokens(fresh, read, write, 0, all_output), reasoning, rule
