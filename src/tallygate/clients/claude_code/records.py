"""One Claude Code transcript's rows as usage: one response a message id, whatever number of lines it took."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from tallygate.clients.base import State, TranscriptReader
from tallygate.clients.claude_code.usage import advisors, cost_text, session_check, spent, visible
from tallygate.clients.lines import (
    Fields,
    Pairs,
    Skip,
    Unreadable,
    decode,
    fields,
    inner,
    moment,
    name,
    required,
)
from tallygate.core.observed import ObservedUsage, Quality, Rule, better

CLIENT = "claude_code"
_USAGE = b'"usage":'
_ASSISTANT = b'"assistant"'
_COST_STATE = (b'{"type":"cost-state"', b'{"type": "cost-state"')
# The plain members a line begins with, up to its type. Read from the first byte on, so nothing inside a value can
# look like it; a line that has its message first does not match.
_HEAD = re.compile(rb'\{(?:"\w+":(?:"[^"\\]*"|null|true|false|\d+),){0,32}?"type":"([\w-]+)"')
_WANTED = (b"assistant", b"progress")
_LONG_LINE = 4096
# Lines of one response stand near each other, with those of parallel subagents between them.
_REMEMBERED = 64
_CONTEXTS = 256
_OTHERS = 16
# Ids that Anthropic, Bedrock and Vertex mint are this long and never given twice; a gateway's may repeat.
_LONG_ID = 20


# All that lines of one response repeat, as written: message id, request id, stored cost, and the line's own id
# where there is no message id; then model, sessions, agent, directory, version, and what kind of line it is.
_Same = tuple[object, object, object, object, object, object, object, object, object, object, bool, bool, bool]


class _Context(NamedTuple):
    """What whole stretches of a transcript repeat: checked once, then shared by their rows."""

    session: str
    agent: str | None
    project: str | None
    version: str | None
    model: str
    rule: Rule


class _Response:
    """A response while its lines come in: they repeat `same` and `usage`, and each adds to the rest."""

    __slots__ = ("at", "final", "same", "shown", "tools", "usage")

    def __init__(self, same: _Same, usage: Pairs, at: datetime, *, final: bool) -> None:
        self.same = same
        self.usage = usage
        self.at = at
        self.final = final
        self.shown = 0
        self.tools: tuple[str, ...] = ()


class ClaudeReader(TranscriptReader):
    """Reads one transcript; between reads it knows how much text open responses have shown, and whose copies it has."""

    def __init__(
        self,
        *,
        session: str | None,
        agent: str | None = None,
        state: State | None = None,
        skipping: bool = False,
    ) -> None:
        super().__init__(skipping=skipping)
        self._session = session
        self._agent = agent
        self._shown: dict[str, int] = _shown_of(state)
        # The sessions that this one was forked from, as far as its copies of their responses name them.
        self._others: list[str] = _others_of(state)
        self._open: dict[_Same, _Response] = {}
        self._contexts: dict[tuple[object, ...], _Context] = {}
        self._rows: dict[str, ObservedUsage] = {}

    def state(self) -> State:
        others = {"others": self._others} if self._others else {}
        return {"shown": [list(item) for item in self._shown.items()], **others}

    def rows_of(self, block: bytes) -> list[ObservedUsage]:
        # Most bytes are tool output. A long line is told by its first members alone; where those do not tell,
        # and in short lines, the key is searched for. Text cannot look like it, for its quotes are escaped.
        self._rows = {}
        stated: list[bytes] = []
        find, head = block.find, _HEAD.match
        start, length = 0, len(block)
        while start < length:
            end = find(b"\n", start)
            kind = head(block, start, end) if end - start > _LONG_LINE else None
            if kind is None or kind[1] in _WANTED:
                if find(_USAGE, start, end) >= 0:
                    line = block[start:end]
                    if _ASSISTANT in line:
                        self._take(line)
                elif block.startswith(_COST_STATE, start):
                    stated.append(block[start:end])
            start = end + 1
        for known in self._open.values():
            self._close(known)
        self._open = {}
        for line in stated:
            self._take_check(line)
        return list(self._rows.values())

    def _take(self, line: bytes) -> None:
        try:
            top = fields(decode(line))
            kind = top.get("type")
            if kind == "assistant":
                self._response(top, top, None)
            elif kind == "progress":
                data = inner(top, "data")
                if data.get("type") == "agent_progress":
                    holder = inner(data, "message")
                    if holder.get("type") == "assistant":
                        self._response(top, holder, data)
        except Unreadable as error:
            self.report.skipped[error.reason] += 1

    def _response(self, top: Fields, holder: Fields, progress: Fields | None) -> None:
        """Take one line of a response: join it to the open one if it only repeats that, else begin anew."""
        pairs = holder.get("message")
        if type(pairs) is not tuple:
            return
        message = fields(pairs)
        usage = message.get("usage")
        if type(usage) is not tuple:
            return
        get = top.get
        message_id = message.get("id")
        same = (
            message_id,
            holder.get("requestId"),
            get("costUSD"),
            get("uuid") if message_id is None else None,
            message.get("model"),
            get("requestSessionId"),
            get("sessionId"),
            get("agentId") if progress is None else progress.get("agentId"),
            get("cwd"),
            get("version"),
            get("isSidechain") is True,
            get("isApiErrorMessage") is True,
            progress is None,
        )
        stamp = holder.get("timestamp")
        at = moment(stamp if stamp is not None else get("timestamp"))
        final = message.get("stop_reason") is not None
        try:
            known = self._open.get(same)
        except TypeError:
            # Lists and objects stand where names belong.
            raise Unreadable(Skip.BAD_NAME) from None
        if known is None or known.usage != usage:
            if known is not None:
                self._close(known)
            elif same[4] == "<synthetic>" or same[11]:
                self.report.skipped[Skip.SYNTHETIC] += 1
                return
            known = self._open[same] = _Response(same, usage, at, final=final)
        elif at < known.at:
            known.at = at
        size, tools = visible(message.get("content"), measure=not final)
        if tools:
            known.tools += tools
        if final:
            known.final = True
        elif size:
            known.shown = self._shown_with(str(message_id), size)

    def _shown_with(self, message_id: str, size: int) -> int:
        """How much text a response has shown with this line; long-silent responses are forgotten."""
        shown = self._shown.pop(message_id, 0) + size
        self._shown[message_id] = shown
        if len(self._shown) > _REMEMBERED:
            del self._shown[next(iter(self._shown))]
        return shown

    def _context(self, same: _Same) -> _Context:
        """The checked context of a response."""
        written = same[4:]
        known = self._contexts.get(written)
        if known is not None:
            return known
        model, origin, session, agent, project, version, sidechain, _, own = written
        agent_id = name(agent) or self._agent
        if not own:
            rule = Rule.CLAUDE_PROGRESS
        elif agent_id is not None:
            rule = Rule.CLAUDE_SUBAGENT
        else:
            rule = Rule.CLAUDE_SIDECHAIN if sidechain else Rule.CLAUDE_RESPONSE
        # A forked session keeps on its copies the session that made the request.
        paid_by = name(origin) or name(session) or required(self._session)
        if paid_by not in {self._session, *self._others} and name(origin) and len(self._others) < _OTHERS:
            self._others.append(paid_by)
        where = _Context(paid_by, agent_id, name(project), name(version), name(model) or "", rule)
        if len(self._contexts) >= _CONTEXTS:
            self._contexts.clear()
        self._contexts[written] = where
        return where

    def _close(self, known: _Response) -> None:
        try:
            for row in self._rows_of_response(known):
                held = self._rows.get(row.response_key)
                self._rows[row.response_key] = row if held is None else better(held, row)
        except Unreadable as error:
            self.report.skipped[error.reason] += 1

    def _rows_of_response(self, known: _Response) -> list[ObservedUsage]:
        where = self._context(known.same)
        message_id, request_id, cost, line_id = known.same[:4]
        request = name(request_id)
        key = _key(name(message_id), request, where.session, known.at, name(line_id))
        usage = fields(known.usage)
        use = spent(usage, self.report)
        rows = []
        if use.tokens.total or use.web_searches:
            row = ObservedUsage(
                client=CLIENT,
                session=where.session,
                response_key=key,
                at=known.at,
                model=where.model,
                tokens=use.tokens,
                rule=where.rule,
                quality=Quality.FINAL if known.final else Quality.PARTIAL,
                reasoning=use.reasoning,
                tier=use.tier,
                speed=use.speed,
                geo=use.geo,
                web_searches=use.web_searches,
                native_cost_text=None if cost is None else cost_text(cost),
                estimated_output=None if known.final else _estimate(known.shown, use.tokens.output),
                agent_id=where.agent,
                tool_use_ids=tuple(sorted(set(known.tools))) if len(known.tools) > 1 else known.tools,
                request_id=request,
                project=where.project,
                version=where.version,
            )
            rows.append(row)
        else:
            self.report.skipped[Skip.EMPTY] += 1
        if not usage.get("iterations"):
            return rows
        for number, (advisor_model, advice) in enumerate(advisors(usage, self.report)):
            if not (advice.tokens.total or advice.web_searches):
                self.report.skipped[Skip.EMPTY] += 1
                continue
            rows.append(
                ObservedUsage(
                    client=CLIENT,
                    session=where.session,
                    response_key=f"{key}#advisor{number}",
                    at=known.at,
                    model=advisor_model or where.model,
                    tokens=advice.tokens,
                    rule=Rule.CLAUDE_ADVISOR,
                    reasoning=advice.reasoning,
                    web_searches=advice.web_searches,
                    agent_id=where.agent,
                    request_id=request,
                    project=where.project,
                    version=where.version,
                )
            )
        return rows

    def _take_check(self, line: bytes) -> None:
        try:
            check = session_check(fields(decode(line)), CLIENT, self._session)
        except Unreadable as error:
            self.report.skipped[error.reason] += 1
            return
        if check is not None:
            includes = tuple(sorted(other for other in self._others if other != check.session))
            self.checks.append(replace(check, includes=includes))


def _estimate(shown: int, recorded: int) -> int | None:
    """An output count from the text shown so far: 2.4 characters a token, never below the record."""
    return max(recorded, -(-shown * 5 // 12)) if shown else None


def _key(message_id: str | None, request: str | None, session: str, at: datetime, line_id: str | None) -> str:
    """What names a response in every file it is copied to."""
    if message_id is None:
        return f"request:{request}" if request else f"line:{required(line_id)}"
    anthropic = message_id.startswith("msg_")
    if anthropic and len(message_id) >= _LONG_ID:
        # Alone, without the request id: a side conversation replays it under another request.
        return message_id
    if request:
        return f"{message_id}:{request}"
    if anthropic or len(message_id) >= _LONG_ID:
        return f"{message_id}:{session}"
    return f"{message_id}:{session}:{at.isoformat()}"


def _shown_of(state: State | None) -> dict[str, int]:
    stored = state.get("shown") if isinstance(state, Mapping) else None
    if not isinstance(stored, list):
        return {}
    return {str(item[0]): int(item[1]) for item in stored if isinstance(item, list) and len(item) == 2}


def _others_of(state: State | None) -> list[str]:
    stored = state.get("others") if isinstance(state, Mapping) else None
    return [each for each in stored[:_OTHERS] if name(each)] if isinstance(stored, list) else []
