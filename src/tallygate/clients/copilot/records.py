"""One Copilot session's events as usage: its receipt for each response, its compactions, and older versions' totals."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tallygate.clients.base import State, TranscriptReader
from tallygate.clients.copilot.failures import SLACK_MS, broke_off
from tallygate.clients.copilot.totals import Totals
from tallygate.clients.lines import (
    Fields,
    Pairs,
    Skip,
    Unreadable,
    content_key,
    count,
    countless,
    fields,
    inner,
    moment,
    name,
    part,
)
from tallygate.core.costing import Tokens
from tallygate.core.usage import BROKEN_OFF, ObservedUsage, Quality, Rule

CLIENT = "copilot"
_PLACES = frozenset({"session.start", "session.resume", "session.context_changed"})
# Text inside a value cannot look like it, for its quotes are escaped.
_WANTED = re.compile(
    rb'"type":\s*"(?:session\.(?:start|resume|context_changed|usage_record|compaction_complete|shutdown)'
    rb'|assistant\.turn_start)"'
)
# What says what an event is where its type does not.
_HOLDERS = {
    b'"accounting":': "session.usage_record",
    b'"compactionTokensUsed":': "session.compaction_complete",
    b'"modelMetrics":': "session.shutdown",
}
_KIND = re.compile(r'"type":\s*"\w+\.\w+"')
_TYPE = re.compile(r"[a-z_]+\.[a-z_]+")
_LONG_CALL = 16
_HOUR_S = 3600
_DAY_MS = 86_400_000


class CopilotReader(TranscriptReader):
    """Reads one session's events; between lines it knows whose they are, and what was accounted for so far."""

    def __init__(
        self, *, stem: str, state: State | None = None, skipping: bool = False, logs: Path | None = None
    ) -> None:
        super().__init__(skipping=skipping)
        known = dict(state or {})
        self._logs = logs
        self._asked_at = name(known.get("asked_at"))
        self._stem = stem
        self._session = name(known.get("session"))
        self._project = name(known.get("project"))
        self._version = name(known.get("version"))
        self._totals = Totals.from_state(known.get("totals"))
        self._rows: list[ObservedUsage] = []
        self.set_known(state)

    def state(self) -> State:
        return {
            "session": self._session,
            "project": self._project,
            "version": self._version,
            "totals": self._totals.as_state(),
            "asked_at": self._asked_at,
            **self.known(),
        }

    def wants(self, block: bytes, start: int, end: int) -> bool:
        # Text inside a value cannot look like the keys either.
        return _WANTED.search(block, start, end) is not None or any(block.find(k, start, end) >= 0 for k in _HOLDERS)

    def may_count(self, piece: str) -> bool:
        kind = _KIND.search(piece)
        return kind is None or _WANTED.search(kind[0].encode(errors="replace")) is not None

    def whose(self) -> str | None:
        return self._session or self._stem

    def finish(self) -> list[ObservedUsage]:
        rows, self._rows = self._rows, []
        return rows

    def take(self, record: Pairs) -> None:
        event, rows = fields(record), self._rows
        data = inner(event, "data")
        kind = _kind_of(event.get("type"), data)
        if kind in _PLACES:
            place = inner(data, "context") or data
            self._session = self._session or name(data.get("sessionId"))
            self._version = name(data.get("copilotVersion")) or self._version
            self._project = name(place.get("cwd")) or self._project
        elif kind == "assistant.turn_start":
            self._totals.turns += 1
            self._asked_at = name(event.get("timestamp"))
        elif kind == "session.usage_record":
            self._receipt(event, data, rows)
        elif kind == "session.compaction_complete":
            self._compaction(event, data, rows)
        elif kind == "session.shutdown":
            self._shutdown(event, inner(data, "modelMetrics"), rows)

    def _receipt(self, event: Fields, data: Fields, rows: list[ObservedUsage]) -> None:
        self._totals.receipts = True
        odd: set[str] = set()
        used = part(data, "usage", odd)
        account, call = inner(used, "accounting"), name(used.get("apiCallId"))
        source = name(account.get("sourceSessionId"))
        agent = name(event.get("agentId"))
        session = self._session or self._stem
        # Some local servers give an id of a few digits again and again, so the id alone names no response.
        # A copy of a session keeps the ids of its events, so they serve where the rest says too little.
        usage_id = name(account.get("usageId")) or call or ""
        numbered = type(account.get("sequence")) is int or name(account.get("usageId")) is not None
        if source is not None and numbered:
            key = f"{source}/{count(account, 'sequence')}/{usage_id}"
        elif source is None and call is not None and len(call) >= _LONG_CALL:
            key = f"{session}/{call}"
        else:
            key = f"{source or session}/{_id_of(event, used)}"
        # Where a session was copied, the copied receipts name the session that paid. Subagents have their own.
        payer = source if source is not None and agent is None else session
        row = self._row(event, used, key, Rule.COPILOT_RECORD, session=payer, agent=agent, odd=odd)
        if self._had_lost_one(row, count(used, "duration")):
            row = replace(row, odd=tuple(sorted({*row.odd, BROKEN_OFF})))
        self._add(row, rows)

    def _had_lost_one(self, row: ObservedUsage, took_ms: int) -> bool:
        """Whether the client had asked for a response before, in vain: its receipt tells of the last attempt alone."""
        asked_at, self._asked_at = self._asked_at, None
        if asked_at is None or self._logs is None:
            return False
        try:
            asked = moment(asked_at)
        except Unreadable:
            return False
        unexplained = row.at - asked - timedelta(milliseconds=min(took_ms, _DAY_MS))
        return unexplained > timedelta(milliseconds=SLACK_MS) and broke_off(self._logs, asked, row.at)

    def _compaction(self, event: Fields, data: Fields, rows: list[ObservedUsage]) -> None:
        """A compaction has no receipt, and no total holds it."""
        odd: set[str] = set()
        used = part(data, "compactionTokensUsed", odd)
        if not used and not odd:
            return
        key = f"compaction/{name(data.get('compactionAttemptId')) or _id_of(event, used)}"
        model = used.get("model") or data.get("model")
        self._add(self._row(event, used | {"model": model}, key, Rule.COPILOT_COMPACTION, odd=odd), rows)

    def _shutdown(self, event: Fields, metrics: Fields, rows: list[ObservedUsage]) -> None:
        """What a run of a version without receipts used, one row a model; with receipts it is known already."""
        told = {}
        for model, written in metrics.items():
            held = fields(written) if type(written) is tuple else {}
            told[name(model) or ""] = (inner(held, "usage"), count(inner(held, "requests"), "count"))
        for model, used in self._totals.news(told):
            key = f"shutdown/{_id_of(event, used)}/{model}"
            row = self._row(event, used | {"model": model}, key, Rule.COPILOT_SHUTDOWN, Quality.SESSION_TOTAL)
            self._add(row, rows)

    def _add(self, row: ObservedUsage, rows: list[ObservedUsage]) -> None:
        if row.tokens.total:
            rows.append(row)
        else:
            self.report.skipped[Skip.BAD_COUNT if countless(row.odd) else Skip.EMPTY] += 1

    def _row(
        self,
        event: Fields,
        used: Fields,
        key: str,
        rule: Rule,
        quality: Quality = Quality.FINAL,
        *,
        session: str | None = None,
        agent: str | None = None,
        odd: set[str] | None = None,
    ) -> ObservedUsage:
        odd = set() if odd is None else odd
        at = self.when(event.get("timestamp"), odd)
        tokens, reasoning = self._tokens(used, odd)
        return ObservedUsage(
            client=CLIENT,
            session=session or self._session or self._stem,
            response_key=key,
            at=at,
            model=self.served_by(used.get("model"), odd),
            tokens=tokens,
            rule=rule,
            quality=quality,
            reasoning=reasoning,
            agent_id=agent or name(event.get("agentId")),
            request_id=name(used.get("apiCallId")),
            project=self._project,
            version=self._version,
            odd=tuple(sorted(odd)),
        )

    def _tokens(self, used: Fields, odd: set[str]) -> tuple[Tokens, int]:
        """The disjoint classes: what was read from the cache or put into it is part of input, reasoning of output."""
        whole, read, write = (count(used, key, odd) for key in ("inputTokens", "cacheReadTokens", "cacheWriteTokens"))
        output, reasoning = count(used, "outputTokens", odd), count(used, "reasoningTokens", odd)
        fresh = whole - read - write
        if fresh < 0 or reasoning > output:
            self.report.skipped[Skip.INCONSISTENT] += 1
            # Parts larger than the whole can only stand beside it.
            fresh = whole if fresh < 0 else fresh
        hour = count(used, "cacheTtlSeconds") >= _HOUR_S
        short, long = (0, write) if hour else (write, 0)
        return Tokens(fresh, read, short, long, max(output, reasoning)), reasoning


def _kind_of(written: object, data: Fields) -> object:
    """What an event is: by its type, and where that is none of a client's, by what it holds."""
    if type(written) is str and _TYPE.fullmatch(written):
        return written
    held = data.keys() | inner(data, "usage").keys()
    return next((kind for key, kind in _HOLDERS.items() if key[1:-2].decode() in held), written)


def _id_of(event: Fields, used: Fields) -> str:
    """An event's id; without one, its time and what it says was used."""
    return name(event.get("id")) or f"~{content_key(event.get('timestamp'), sorted(used.items(), key=str))}"
