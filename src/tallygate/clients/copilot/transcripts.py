"""Copilot CLI's events: where they lie, and what they say was used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tallygate.clients.copilot.client import COMPACTION, RECORD, SHUTDOWN
from tallygate.clients.reading import attribution, files, lines
from tallygate.core.attribution import Served, tool_of
from tallygate.core.costing import Tokens
from tallygate.core.regex import regex
from tallygate.core.usage import BROKEN_OFF, MAX_TOKENS, ObservedUsage, Quality, ReadingRule
from tallygate.core.values import value
from tallygate.files import open_regular

# --- totals ----------------------------------------------------------------------------------------------------------
# What Copilot versions without receipts say when they end: totals of a run, or of a session over all its runs.


_COUNTS = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens", "reasoningTokens")
_MODELS_MAX = 64

Told = dict[str, list[int]]


@value(slots=True)
class Totals:
    """What was told before: per model the counts and then the number of requests, and the turns seen since."""

    receipts: bool = False
    turns: int = 0
    told: Told = field(default_factory=dict)

    def as_state(self) -> dict[str, Any]:
        return {"receipts": self.receipts, "turns": self.turns, "told": self.told}

    @classmethod
    def from_state(cls, state: object) -> Totals:
        """The stored totals; what is not understood reads as none."""
        if not isinstance(state, Mapping) or type(state.get("turns")) is not int:
            return cls()
        told = state.get("told")
        if not isinstance(told, Mapping):
            return cls()
        # Read from a file in the data folder: damaged counts would be taken for what a session had used.
        for counts in told.values():
            if not isinstance(counts, list) or len(counts) != len(_COUNTS) + 1:
                return cls()
            if not all(type(number) is int and 0 <= number <= MAX_TOKENS for number in counts):
                return cls()
        return cls(state.get("receipts") is True, state["turns"], {str(model): list(told[model]) for model in told})

    def news(self, metrics: Mapping[str, tuple[lines.Fields, int]]) -> list[tuple[str, lines.Fields]]:
        """What the totals of an ending run add to those before, per model; nothing where receipts say it better."""
        if len(metrics) > _MODELS_MAX:
            raise lines.Unreadable(lines.Skip.BAD_COUNT)
        new = {model: [*(lines.count(used, key) for key in _COUNTS), asked] for model, (used, asked) in metrics.items()}
        nothing = [0] * (len(_COUNTS) + 1)
        grew = all(
            model in new and all(now >= then for now, then in zip(new[model], counts, strict=True))
            for model, counts in self.told.items()
        )
        # Whether the totals go on from those before no version says; the turns in between do. They go on where the
        # requests that came on top are closer to the turns than all requests are.
        asked, asked_before = (sum(counts[-1] for counts in held.values()) for held in (new, self.told))
        goes_on = grew and abs(asked - asked_before - self.turns) <= abs(asked - self.turns)
        before = self.told if goes_on else {}
        added = {
            model: [now - then for now, then in zip(counts, before.get(model, nothing), strict=True)]
            for model, counts in new.items()
        }
        self.told, self.turns = new, 0
        if self.receipts:
            return []
        return [(model, dict(zip(_COUNTS, counts, strict=False))) for model, counts in added.items() if any(counts)]


# --- failures --------------------------------------------------------------------------------------------------------
# Requests of Copilot CLI that broke off: its session's events do not tell of them, only its own log does.


# What a whole request does not take beside its receipt's own duration; shorter than the pause before another attempt.
SLACK_MS = 300
_FILES_MAX, _TAIL_MAX = 20, 1 << 20
_FAILED = regex(rb'^(\S+Z) \[\w+\] [^{\n]*request failed[^{\n]*\{[^\n]*"failure_kind":"transport"', re.MULTILINE)


def broke_off(logs: Path, since: datetime, until: datetime) -> bool:
    """Whether a request was lost in a span of time, by the logs of the processes that ran then.

    A refusal by the provider is none: nobody bills that.
    """
    for path in _written_since(logs, since):
        for found in _FAILED.finditer(_tail(path)):
            try:
                if since <= lines.moment(found[1].decode()) <= until:
                    return True
            except lines.Unreadable:
                continue
    return False


def _written_since(logs: Path, since: datetime) -> list[Path]:
    found = []
    try:
        for path in logs.glob("process-*.log"):
            changed = path.stat().st_mtime
            if changed >= since.timestamp():
                found.append((changed, path))
    except OSError:
        return []
    return [path for _, path in sorted(found, reverse=True)[:_FILES_MAX]]


def _tail(path: Path) -> bytes:
    try:
        opened = open_regular(path, None)
        if opened is None or opened[0] is None:
            return b""
        file, info = opened[0], opened[1]
        with file:
            file.seek(max(info.st_size - _TAIL_MAX, 0))
            return file.read(_TAIL_MAX)
    except OSError:
        return b""


# --- records ---------------------------------------------------------------------------------------------------------
# One Copilot session's events as usage: its receipt for each response, its compactions, and older versions' totals.


CLIENT = "copilot"
_PLACES = frozenset({"session.start", "session.resume", "session.context_changed"})
# Text inside a value cannot look like it, for its quotes are escaped.
_WANTED = regex(
    rb'"type":\s*"(?:session\.(?:start|resume|context_changed|usage_record|compaction_complete|shutdown)'
    rb'|assistant\.turn_start)"'
)
# What tells whom a response was made for; a broken one loses nothing that was used.
_BESIDE = regex(rb'"type":\s*"(?:tool\.execution_start|subagent\.started)"')
# What says what an event is where its type does not.
_HOLDERS = {
    b'"accounting":': "session.usage_record",
    b'"compactionTokensUsed":': "session.compaction_complete",
    b'"modelMetrics":': "session.shutdown",
}
_KIND = regex(r'"type":\s*"\w+\.\w+"')
_TYPE = regex(r"[a-z_]+\.[a-z_]+")
_LONG_CALL = 16
_HOUR_S = 3600
_DAY_MS = 86_400_000


class CopilotReader(files.TranscriptReader):
    """Reads one session's events; between lines it knows whose they are, and what was accounted for so far."""

    def __init__(
        self, *, stem: str, state: files.State | None = None, skipping: bool = False, logs: Path | None = None
    ) -> None:
        super().__init__(skipping=skipping)
        known = dict(state or {})
        self._logs = logs
        self._asked_at = lines.name(known.get("asked_at"))
        self._stem = stem
        self._session = lines.name(known.get("session"))
        self._project = lines.name(known.get("project"))
        self._version = lines.name(known.get("version"))
        self._totals = Totals.from_state(known.get("totals"))
        self._rows: list[ObservedUsage] = []
        self._turns = attribution.Turns(known.get("turns"))
        self._kinds = attribution.Names(known.get("kinds"))
        self.set_known(state)

    def state(self) -> files.State:
        return {
            "session": self._session,
            "project": self._project,
            "version": self._version,
            "totals": self._totals.as_state(),
            "asked_at": self._asked_at,
            **({"turns": self._turns.as_state()} if self._turns else {}),
            **({"kinds": self._kinds.as_state()} if self._kinds else {}),
            **self.known(),
        }

    def wants(self, block: bytes, start: int, end: int) -> bool:
        # Text inside a value cannot look like the keys either.
        if _WANTED.search(block, start, end) is not None or _BESIDE.search(block, start, end) is not None:
            return True
        return any(block.find(key, start, end) >= 0 for key in _HOLDERS)

    def may_count(self, piece: str) -> bool:
        kind = _KIND.search(piece)
        return kind is None or _WANTED.search(kind[0].encode(errors="replace")) is not None

    def whose(self) -> str | None:
        return self._session or self._stem

    def finish(self) -> list[ObservedUsage]:
        rows, self._rows = self._rows, []
        return rows

    def take(self, record: lines.Pairs) -> None:
        event, rows = lines.fields(record), self._rows
        data = lines.inner(event, "data")
        kind = _kind_of(event.get("type"), data)
        # Where work goes on elsewhere the session stays: its first id is that of the file.
        if kind in _PLACES:
            place = lines.inner(data, "context") or data
            self._session = self._session or lines.name(data.get("sessionId"))
            self._version = lines.name(data.get("copilotVersion")) or self._version
            self._project = lines.name(place.get("cwd")) or self._project
        elif kind == "assistant.turn_start":
            self._totals.turns += 1
            self._asked_at = lines.name(event.get("timestamp"))
        elif kind == "tool.execution_start":
            # It is told behind the response that called it, which is stored by then: the next one reads its result.
            self._turns.last(lines.name(event.get("agentId"))).calls(_tool(data))
        elif kind == "subagent.started":
            for named in (event.get("agentId"), data.get("agentId"), data.get("toolCallId")):
                self._kinds.put(named, data.get("agentName"))
        elif kind == "session.usage_record":
            self._receipt(event, data, rows)
        elif kind == "session.compaction_complete":
            self._compaction(event, data, rows)
        elif kind == "session.shutdown":
            self._shutdown(event, lines.inner(data, "modelMetrics"), rows)

    def _receipt(self, event: lines.Fields, data: lines.Fields, rows: list[ObservedUsage]) -> None:
        self._totals.receipts = True
        odd: set[str] = set()
        used = lines.part(data, "usage", odd)
        account, call = lines.inner(used, "accounting"), lines.name(used.get("apiCallId"))
        source = lines.name(account.get("sourceSessionId"))
        agent = lines.name(event.get("agentId"))
        session = self._session or self._stem
        # Some local servers give an id of a few digits again and again, so the id alone names no response.
        # A copy of a session keeps the ids of its events, so they serve where the rest says too little.
        usage_id = lines.name(account.get("usageId")) or call or ""
        numbered = type(account.get("sequence")) is int or lines.name(account.get("usageId")) is not None
        if source is not None and numbered:
            key = f"{source}/{lines.count(account, 'sequence')}/{usage_id}"
        elif source is None and call is not None and len(call) >= _LONG_CALL:
            key = f"{session}/{call}"
        else:
            key = f"{source or session}/{_id_of(event, used)}"
        # Where a session was copied, the copied receipts name the session that paid. Subagents have their own.
        payer = source if source is not None and agent is None else session
        row = self._row(event, used, key, RECORD, session=payer, agent=agent, odd=odd)
        if self._had_lost_one(row, lines.count(used, "duration")):
            row = replace(row, odd=tuple(sorted({*row.odd, BROKEN_OFF})))
        self._add(row, rows)

    def _had_lost_one(self, row: ObservedUsage, took_ms: int) -> bool:
        """Whether the client had asked for a response before, in vain: its receipt tells of the last attempt alone."""
        asked_at, self._asked_at = self._asked_at, None
        if asked_at is None or self._logs is None:
            return False
        try:
            asked = lines.moment(asked_at)
        except lines.Unreadable:
            return False
        # From the question to the receipt passed more time than the attempt took that it tells of.
        unexplained = row.at - asked - timedelta(milliseconds=min(took_ms, _DAY_MS))
        return unexplained > timedelta(milliseconds=SLACK_MS) and broke_off(self._logs, asked, row.at)

    def _compaction(self, event: lines.Fields, data: lines.Fields, rows: list[ObservedUsage]) -> None:
        """A compaction has no receipt, and no total holds it."""
        odd: set[str] = set()
        used = lines.part(data, "compactionTokensUsed", odd)
        if not used and not odd:
            return
        key = f"compaction/{lines.name(data.get('compactionAttemptId')) or _id_of(event, used)}"
        model = used.get("model") or data.get("model")
        self._add(self._row(event, used | {"model": model}, key, COMPACTION, odd=odd), rows)

    def _shutdown(self, event: lines.Fields, metrics: lines.Fields, rows: list[ObservedUsage]) -> None:
        """What a run of a version without receipts used, one row a model; with receipts it is known already."""
        told = {}
        for model, written in metrics.items():
            held = lines.fields(written) if type(written) is tuple else {}
            told[lines.name(model) or ""] = (
                lines.inner(held, "usage"),
                lines.count(lines.inner(held, "requests"), "count"),
            )
        for model, used in self._totals.news(told):
            key = f"shutdown/{_id_of(event, used)}/{model}"
            row = self._row(event, used | {"model": model}, key, SHUTDOWN, Quality.SESSION_TOTAL)
            self._add(row, rows)

    def _add(self, row: ObservedUsage, rows: list[ObservedUsage]) -> None:
        if row.tokens.total:
            rows.append(row)
        else:
            self.report.skipped[lines.Skip.BAD_COUNT if lines.countless(row.odd) else lines.Skip.EMPTY] += 1

    def _row(
        self,
        event: lines.Fields,
        used: lines.Fields,
        key: str,
        rule: ReadingRule,
        quality: Quality = Quality.FINAL,
        *,
        session: str | None = None,
        agent: str | None = None,
        odd: set[str] | None = None,
    ) -> ObservedUsage:
        odd = set() if odd is None else odd
        at = self.when(event.get("timestamp"), odd)
        tokens, reasoning = self._tokens(used, odd)
        agent = agent or lines.name(event.get("agentId"))
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
            agent_id=agent,
            request_id=lines.name(used.get("apiCallId")),
            project=self._project,
            version=self._version,
            odd=tuple(sorted(odd)),
            agent_type=None if agent is None else self._kinds.of(agent),
            served=self._turns.at((agent, False), key).read if rule is RECORD else (),
        )

    def _tokens(self, used: lines.Fields, odd: set[str]) -> tuple[Tokens, int]:
        """The disjoint classes: what was read from the cache or put into it is part of input, reasoning of output."""
        whole, read, write = (
            lines.count(used, key, odd) for key in ("inputTokens", "cacheReadTokens", "cacheWriteTokens")
        )
        output, reasoning = lines.count(used, "outputTokens", odd), lines.count(used, "reasoningTokens", odd)
        fresh = whole - read - write
        if fresh < 0 or reasoning > output:
            self.report.skipped[lines.Skip.INCONSISTENT] += 1
            # Parts larger than the whole can only stand beside it.
            fresh = whole if fresh < 0 else fresh
        hour = lines.count(used, "cacheTtlSeconds") >= _HOUR_S
        short, long = (0, write) if hour else (write, 0)
        return Tokens(fresh, read, short, long, max(output, reasoning)), reasoning


def _tool(data: lines.Fields) -> Served | None:
    """The tool of a call, with its server where it is one of a server's."""
    server, named = lines.name(data.get("mcpServerName")), lines.name(data.get("mcpToolName"))
    if server is None or named is None:
        server, named = None, lines.name(data.get("toolName"))
    return None if named is None else tool_of(server, named)


def _kind_of(written: object, data: lines.Fields) -> object:
    """What an event is: by its type, and where that is none of a client's, by what it holds."""
    if type(written) is str and _TYPE.fullmatch(written):
        return written
    held = data.keys() | lines.inner(data, "usage").keys()
    return next((kind for key, kind in _HOLDERS.items() if key[1:-2].decode() in held), written)


def _id_of(event: lines.Fields, used: lines.Fields) -> str:
    """An event's id; without one, its time and what it says was used."""
    return lines.name(event.get("id")) or f"~{lines.content_key(event.get('timestamp'), sorted(used.items(), key=str))}"


# --- transcripts -----------------------------------------------------------------------------------------------------
# Copilot CLI's session events: where they lie and how one is read. NOTES.md has the shapes and the traps.


EVENTS = "events.jsonl"


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """The directory that holds one directory a session."""
    return [files.directory_of(env, "COPILOT_HOME", home / ".copilot") / "session-state"]


def discover(env: Mapping[str, str], home: Path) -> Iterator[files.TranscriptFile]:
    """The event files there are; a session's folder may hold any other file beside its own."""
    # A session's folder, and the file in it.
    return files.transcripts_below(
        CLIENT, locations(env, home), (EVENTS,), lambda inside: inside[-1] == EVENTS and len(inside) == 2
    )


def read(
    file: files.TranscriptFile, position: files.FilePosition | None = None, max_bytes: int | None = None
) -> Iterator[files.Batch]:
    """What is new in one session's events."""
    return files.read_lines(file.path, position, partial(reader_of, file.path), max_bytes)


def reader_of(path: Path, state: files.State | None = None, skipping: bool = False) -> CopilotReader:
    """The reader of one session's events; its folder stands in where none names the session."""
    folder = path.parent
    return CopilotReader(stem=folder.name, state=state, skipping=skipping, logs=folder.parent.parent / "logs")


def of_session(env: Mapping[str, str], home: Path, session: str) -> Path:
    """Where a session's events are written, from its first pause on."""
    return locations(env, home)[0] / session / EVENTS


SOURCE = files.Transcripts(CLIENT, locations, discover, read, of_session=of_session, variables=("COPILOT_HOME",))
