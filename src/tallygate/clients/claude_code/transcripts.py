"""Claude Code's transcripts: where they lie, and what each line of them says was used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from tallygate.clients.claude_code.client import ADVISOR, PROGRESS, RESPONSE, SIDECHAIN, SUBAGENT
from tallygate.clients.claude_code.counts import advisors, asked_for, cost_text, session_check, spent, visible
from tallygate.clients.claude_code.naming import Repeats, is_minted, is_own_request
from tallygate.clients.reading import attribution, files, lines
from tallygate.core.attribution import label, served_by
from tallygate.core.regex import regex
from tallygate.core.usage import ObservedUsage, Quality, ReadingRule, better

# --- records ---------------------------------------------------------------------------------------------------------
# One Claude Code transcript's rows as usage: one response a message id, whatever number of lines it took.


CLIENT = "claude_code"
_USAGE = b'"usage":'
_ASSISTANT = b'"assistant"'
_COST_STATE = (b'{"type":"cost-state"', b'{"type": "cost-state"')
# The plain members a line begins with, up to its type. Read from the first byte on, so nothing inside a value can
# look like it; a line that has its message first does not match.
_HEAD = regex(rb'\{(?:"\w+":(?:"[^"\\]*"|null|true|false|\d+),){0,32}?"type":"([\w-]+)"')
_WANTED = (b"assistant", b"progress")
_LONG_LINE = 4096
# Lines of one response stand near each other, with those of parallel subagents between them.
_REMEMBERED = 64
_CONTEXTS = 256
_OTHERS = 16
_SKILL = "Skill"
_STARTS_AGENTS = ("Agent", "Task")
# What the client writes for the model of messages that it made itself, such as errors.
SYNTHETIC = "<synthetic>"
_PLAIN = frozenset({str, bool, int, type(None)})
# What a broken record says it is, where it is no response.
_OTHERS_LINE = regex(r'"role":\s*"user"|"type":\s*"(?:user|summary|system|attachment|file-history-snapshot)"')

# All that lines of one response repeat, as written: its key, request id, stored cost; then model, sessions, agent,
# directory, version, and what kind of line it is.
_Same = tuple[str, object, object, object, object, object, object, object, object, bool, bool]
# Whom it was made for: the branch, the kind of agent, the skill.
_Made = tuple[str | None, str | None, str | None]


class _Context(NamedTuple):
    """What whole stretches of a transcript repeat: checked once, then shared by their rows."""

    session: str
    agent: str | None
    project: str | None
    version: str | None
    model: str
    rule: ReadingRule
    branch: str | None
    agent_type: str | None
    skill: str | None


class _Response:
    """A response while its lines come in: they repeat `same` and `usage`, and each adds to the rest."""

    __slots__ = ("at", "final", "made", "model", "odd", "same", "shown", "skill", "tools", "turn", "usage")

    def __init__(
        self, same: _Same, usage: lines.Pairs, at: datetime, *, final: bool, turn: attribution.Turn, made: _Made
    ) -> None:
        self.made = made
        self.same = same
        self.turn = turn
        self.skill: str | None = None  # that it calls
        self.odd: set[str] = set()
        self.model: str | None = None  # where the lines name none
        self.usage = usage
        self.at = at
        self.final = final
        self.shown = 0
        self.tools: tuple[str, ...] = ()


def _text(value: object) -> str | None:
    """A word where one belongs; lists and objects name nothing."""
    return value if type(value) is str else None


class ClaudeReader(files.TranscriptReader):
    """Reads one transcript; between reads it knows how much text open responses have shown, and whose copies it has."""

    def __init__(
        self,
        *,
        session: str | None,
        agent: str | None = None,
        placed: bool = False,
        path: Path | None = None,
        state: files.State | None = None,
        skipping: bool = False,
    ) -> None:
        super().__init__(skipping=skipping)
        self._session = session
        self._agent = agent
        self._path = path
        # Rows of a workflow's subagents may name a session of their own; their folder says whose they are.
        self._placed = placed
        # What is not understood of a stored state reads as none.
        stored = state if isinstance(state, Mapping) else {}
        shown, others = (each if isinstance(each, list) else [] for each in (stored.get("shown"), stored.get("others")))
        self._shown: dict[str, int] = {
            str(item[0]): int(item[1]) for item in shown if isinstance(item, list) and len(item) == 2
        }
        # The sessions that this one was forked from, as far as its copies of their responses name them.
        self._others: list[str] = [each for each in others[:_OTHERS] if lines.name(each)]
        self._open: dict[_Same, _Response] = {}
        self._contexts: dict[tuple[object, ...], _Context] = {}
        self._rows: dict[tuple[str, str, str | None], ObservedUsage] = {}
        self._stated: list[lines.Fields] = []
        self._repeats = Repeats(state)
        self._turns = attribution.Turns(stored.get("turns"))
        # The kinds of agents that were started here: by the call that did, then by the agent's id.
        self._kinds = attribution.Names(stored.get("kinds"))
        self.set_known(state)

    def state(self) -> files.State:
        state: dict[str, Any] = {"shown": [list(item) for item in self._shown.items()]}
        if self._others:
            state["others"] = list(self._others)
        if self._repeats:
            state["repeats"] = self._repeats.as_state()
        if self._turns:
            state["turns"] = self._turns.as_state()
        if self._kinds:
            state["kinds"] = self._kinds.as_state()
        return state | self.known()

    def wants(self, block: bytes, start: int, end: int) -> bool:
        # Text inside a record cannot look like the key, for its quotes are escaped. Where a record has the word that
        # makes it a response and no usage, it may be one that another writer has cut off.
        find = block.find
        if find(_USAGE, start, end) >= 0:
            return find(_ASSISTANT, start, end) >= 0
        if block.startswith(_COST_STATE, start):
            return True
        kind = _HEAD.match(block, start, end) if end - start > _LONG_LINE else None
        return kind[1] == b"assistant" if kind is not None else find(_ASSISTANT, start, end) >= 0

    def may_count(self, piece: str) -> bool:
        head = _HEAD.match(piece.encode(errors="replace")[:_LONG_LINE])
        if head is not None:
            return head[1] in _WANTED
        return _OTHERS_LINE.search(piece) is None

    def whose(self) -> str | None:
        return self._session

    def finish(self) -> list[ObservedUsage]:
        for known in self._open.values():
            self._close(known)
        self._open = {}
        for stated in self._stated:
            self._take_check(stated)
        rows = list(self._rows.values())
        self._rows, self._stated = {}, []
        return rows

    def take(self, record: lines.Pairs) -> None:
        top = lines.fields(record)
        kind = top.get("type")
        if kind == "assistant":
            self._response(top, top, None)
        elif kind == "progress":
            data = lines.inner(top, "data")
            if data.get("type") == "agent_progress":
                holder = lines.inner(data, "message")
                if holder.get("type") == "assistant":
                    self._response(top, holder, data)
        elif kind == "cost-state":
            self._stated.append(top)
        elif type(top.get("message")) is tuple and lines.inner(top, "message").get("role") == "assistant":
            # Whatever the line says that it is: an answer of a model with its usage was paid for.
            self._response(top, top, None)

    def _response(self, top: lines.Fields, holder: lines.Fields, progress: lines.Fields | None) -> None:
        """Take one line of a response: join it to the open one if it only repeats that, else begin anew."""
        pairs = holder.get("message")
        message = lines.fields(pairs) if type(pairs) is tuple else {}
        told = message.get
        usage = told("usage")
        get, model = top.get, told("model")
        made_here = model == SYNTHETIC or get("isApiErrorMessage") is True
        if type(usage) is not tuple:
            if not made_here and (usage is not None or told("stop_reason") is not None):
                self.report.skipped[lines.Skip.BAD_COUNT] += 1
            return
        if made_here:
            use = spent(lines.fields(usage), lines.ReadReport())
            if use.tokens.total <= 0 and use.web_searches <= 0:
                self.report.skipped[lines.Skip.SYNTHETIC] += 1
                return
        stamp = holder.get("timestamp")
        odd: set[str] = set()
        at = self.when(stamp if stamp is not None else get("timestamp"), odd)
        final = told("stop_reason") is not None
        key = self._key(message, holder, top, usage, final=final)
        same = (
            key,
            holder.get("requestId"),
            get("costUSD"),
            model,
            get("requestSessionId"),
            get("sessionId"),
            get("agentId") if progress is None else progress.get("agentId"),
            get("cwd"),
            get("version"),
            get("isSidechain") is True,
            progress is None,
        )
        try:
            known = self._open.get(same)
        except TypeError:
            # Lists and objects stand where names belong: they name nothing.
            same = cast("_Same", tuple(each if type(each) in _PLAIN else None for each in same))
            known = self._open.get(same)
        if known is None or known.usage != usage:
            if known is not None:
                self._close(known)
            turn = self._turns.at((same[6] or self._agent, same[9]), key)
            made = (_text(get("gitBranch")), _text(get("attributionAgent")), _text(get("attributionSkill")))
            known = self._open[same] = _Response(same, usage, at, final=final, turn=turn, made=made)
            if progress is not None:
                self._kinds.hand_on(get("parentToolUseID"), progress.get("agentId"))
            if (server := get("attributionMcpServer")) is not None and not turn.read:
                turn.reads(attribution.mcp_tool(server, get("attributionMcpTool")))
        elif at < known.at:
            known.at = at
        if model != self._last_model or model is None:
            served = self.served_by(None if model == SYNTHETIC else model, odd)
            known.model = served if lines.Odd.NO_MODEL in odd else None
        if odd:
            known.odd |= odd
        size, tools = visible(told("content"), measure=not final)
        if tools:
            self._calls(known, tools)
        if final:
            known.final = True
        elif size:
            # Put back last, so that responses that have been silent for long are the first to be forgotten.
            known.shown = self._shown[key] = self._shown.pop(key, 0) + size
            if len(self._shown) > _REMEMBERED:
                del self._shown[next(iter(self._shown))]

    def _calls(self, known: _Response, tools: tuple[lines.Fields, ...]) -> None:
        """Take the tools that a line calls."""
        for call in tools:
            get = call.get
            tool, call_id = lines.name(get("name")), lines.name(get("id"))
            if call_id is not None:
                known.tools += (call_id,)
            if tool is None:
                continue
            known.turn.calls(served_by(tool))
            if tool == _SKILL:
                known.skill = asked_for(call, "skill") or asked_for(call, "command")
            elif tool in _STARTS_AGENTS:
                self._kinds.put(call_id, asked_for(call, "subagent_type"))

    def _key(
        self, message: lines.Fields, holder: lines.Fields, top: lines.Fields, usage: lines.Pairs, *, final: bool
    ) -> str:
        """What names the response of a line in every file it is copied to."""
        written = message.get("id")
        if type(written) is str and is_minted(written):
            # Alone, without the request id: a side conversation replays it under another request.
            return written
        message_id, request = lines.name(written), lines.name(holder.get("requestId"))
        if message_id is None:
            line = lines.name(top.get("uuid"))
            if request is not None and is_own_request(request):
                return f"request:{request}"
            if request is None and line is not None:
                return f"line:{line}"
            # Only its time and its counts can name it; where it has no time either, its file helps.
            message_id = f"request:{request}" if request else "" if self.stamp() else f"{self._session or self._agent}"
            request = None
        tokens = spent(lines.fields(usage), lines.ReadReport()).tokens
        kind = (message.get("model"), top.get("agentId"), holder is top)
        return self._repeats.key_of((message_id, request), kind, tokens, self.stamp(), final=final)

    def _context(self, same: _Same, made: _Made) -> _Context:
        """The checked context of a response."""
        written = (*same[3:], *made)
        known = self._contexts.get(written)
        if known is not None:
            return known
        model, origin, session, agent, project, version, sidechain, is_own, branch, kind, skill = written
        agent_id = lines.name(agent) or self._agent
        if not is_own:
            rule = PROGRESS
        elif agent_id is not None:
            rule = SUBAGENT
        else:
            rule = SIDECHAIN if sidechain else RESPONSE
        # A forked session keeps on its copies the session that made the request.
        own = (self._session, lines.name(session)) if self._placed else (lines.name(session), self._session)
        paid_by = lines.name(origin) or own[0] or own[1] or f"agent-{self._agent}"
        if paid_by not in {self._session, *self._others} and lines.name(origin) and len(self._others) < _OTHERS:
            self._others.append(paid_by)
        where = _Context(
            session=paid_by,
            agent=agent_id,
            project=lines.name(project),
            version=lines.name(version),
            model=lines.name(model) or "",
            rule=rule,
            branch=attribution.branch(branch),
            agent_type=None if agent_id is None else label(kind) or self._kind_of(agent_id),
            skill=label(skill),
        )
        if len(self._contexts) >= _CONTEXTS:
            self._contexts.clear()
        self._contexts[written] = where
        return where

    def _kind_of(self, agent_id: str) -> str | None:
        """What kind of agent one is whose lines do not say it: as it was started, or as a note beside its file says."""
        known = self._kinds.of(agent_id)
        if known is None and self._path is not None and agent_id == self._agent:
            known = attribution.noted(self._path.with_suffix(".meta.json"), "agentType")
            self._kinds.put(agent_id, known)
        return known

    def _close(self, known: _Response) -> None:
        try:
            for row in self._rows_of_response(known):
                # Which of several models is the dearest, prices say: their rows are kept apart.
                key = (row.response_key, row.model, row.speed)
                held = self._rows.get(key)
                self._rows[key] = row if held is None else better(held, row)
        except lines.Unreadable as error:
            self.report.skipped[error.reason] += 1

    def _rows_of_response(self, known: _Response) -> list[ObservedUsage]:
        where = self._context(known.same, known.made)
        key, request_id, cost = known.same[:3]
        request = lines.name(request_id)
        usage = lines.fields(known.usage)
        use = spent(usage, self.report)
        estimated = None
        if known.shown and not known.final:
            # An output count from the text shown so far: 2.4 characters a token, never below the record.
            estimated = max(use.tokens.output, -(-known.shown * 5 // 12))
        rows = []
        if use.tokens.total or use.web_searches:
            row = ObservedUsage(
                client=CLIENT,
                session=where.session,
                response_key=key,
                at=known.at,
                model=where.model if known.model is None else known.model,
                tokens=use.tokens,
                rule=where.rule,
                quality=Quality.FINAL if known.final else Quality.PARTIAL,
                reasoning=use.reasoning,
                tier=use.tier,
                speed=use.speed,
                geo=use.geo,
                web_searches=use.web_searches,
                native_cost_text=None if cost is None else cost_text(cost),
                estimated_output=estimated,
                agent_id=where.agent,
                tool_use_ids=tuple(sorted(set(known.tools))) if len(known.tools) > 1 else known.tools,
                request_id=request,
                project=where.project,
                version=where.version,
                agent_type=where.agent_type,
                skill=where.skill or known.skill,
                served=known.turn.served,
                branch=where.branch,
                odd=use.odd if not known.odd else tuple(sorted({*use.odd, *known.odd})),
            )
            rows.append(row)
        else:
            # Some gateways write -1 until they know.
            unknown = lines.countless(use.odd) if known.final else lines.Odd.NO_NUMBER in use.odd
            self.report.skipped[lines.Skip.BAD_COUNT if unknown else lines.Skip.EMPTY] += 1
        if not usage.get("iterations"):
            return rows
        for number, (advisor_model, advice) in enumerate(advisors(usage, self.report)):
            if not (advice.tokens.total or advice.web_searches):
                self.report.skipped[lines.Skip.BAD_COUNT if lines.countless(advice.odd) else lines.Skip.EMPTY] += 1
                continue
            rows.append(
                ObservedUsage(
                    client=CLIENT,
                    session=where.session,
                    response_key=f"{key}#advisor{number}",
                    at=known.at,
                    model=advisor_model or (where.model if known.model is None else known.model),
                    tokens=advice.tokens,
                    rule=ADVISOR,
                    reasoning=advice.reasoning,
                    web_searches=advice.web_searches,
                    agent_id=where.agent,
                    request_id=request,
                    project=where.project,
                    version=where.version,
                    agent_type=where.agent_type,
                    skill=where.skill,
                    branch=where.branch,
                    odd=advice.odd,
                )
            )
        return rows

    def _take_check(self, row: lines.Fields) -> None:
        try:
            check = session_check(row, CLIENT, self._session)
        except lines.Unreadable as error:
            self.report.skipped[error.reason] += 1
            return
        if check is not None:
            includes = tuple(sorted(other for other in self._others if other != check.session))
            self.checks.append(replace(check, includes=includes))


# --- transcripts -----------------------------------------------------------------------------------------------------
# Claude Code's transcripts: where they lie and how one is read. NOTES.md has the shapes and the traps.


_DESKTOP = "local-agent-mode-sessions"


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """Every directory below which transcripts may lie, existing or not."""
    named = files.directories_of(env, "CLAUDE_CONFIG_DIR", home)
    xdg = env.get("XDG_CONFIG_HOME", "")
    config = Path(xdg) if xdg.startswith("/") else home / ".config"
    roots = [*named, config / "claude", home / ".claude"]
    found = [root if root.name == "projects" else root / "projects" for root in roots]
    # The desktop program keeps a project directory for each of its own sessions, whatever the variable says.
    found.append(home / "Library" / "Application Support" / "Claude" / _DESKTOP)
    found.append(config / "Claude" / _DESKTOP)
    return files.unique(found)


def discover(env: Mapping[str, str], home: Path) -> Iterator[files.TranscriptFile]:
    """The transcript files there are, subagents' included."""
    closed: list[Path] = []
    for root in locations(env, home):
        for path in files.files_below(root, (".jsonl",), closed):
            # Desktop sessions hold other files of lines as well; only those below `projects` are transcripts.
            if _DESKTOP not in path.parts or "projects" in path.parts:
                yield files.TranscriptFile(CLIENT, path)
    yield from (files.TranscriptFile(CLIENT, path) for path in files.unique(closed))


def read(
    file: files.TranscriptFile, position: files.FilePosition | None = None, max_bytes: int | None = None
) -> Iterator[files.Batch]:
    """What is new in one transcript."""
    return files.read_lines(file.path, position, partial(reader_of, file.path), max_bytes)


def reader_of(path: Path, state: files.State | None = None, skipping: bool = False) -> ClaudeReader:
    """The reader of one file; its path stands in where rows do not name session or agent."""
    stem = path.name.removesuffix(".jsonl")
    if not stem.startswith("agent-"):
        return ClaudeReader(session=stem, state=state, skipping=skipping)
    parts = path.parts
    session = parts[parts.index("subagents") - 1] if "subagents" in parts[1:] else None
    return ClaudeReader(
        session=session,
        agent=stem.removeprefix("agent-"),
        placed=session is not None,
        path=path,
        state=state,
        skipping=skipping,
    )


def beside(path: Path) -> Iterator[Path]:
    """The transcripts of a session's subagents."""
    return files.files_below(path.with_suffix("") / "subagents", (".jsonl",))


SOURCE = files.Transcripts(CLIENT, locations, discover, read, beside, variables=("CLAUDE_CONFIG_DIR",))
