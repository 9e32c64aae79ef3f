"""Qwen Code's chats: where they lie, and what they say was used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tallygate.clients.qwen.client import RESPONSE
from tallygate.clients.reading import attribution, files, lines
from tallygate.core.attribution import label, served_by
from tallygate.core.costing import Tokens
from tallygate.core.regex import regex
from tallygate.core.usage import BROKEN_OFF, ObservedUsage, Quality

# --- records ---------------------------------------------------------------------------------------------------------
# One Qwen Code chat file's lines as usage: what its telemetry says of each response, whoever asked for it.


CLIENT = "qwen"
# In every line that counts. Text that speaks of it may have it too, so the line is looked at again when decoded.
_WANTED = b"qwen-code.api_response"
_COUNTED = b'"input_token_count":'
# What tells of an event and does not say of which: it may have been a response.
_TOLD = b'"ui_telemetry"'
_NAMED = regex(rb'"event\.name":\s*"[^"]')
_EVENT = "qwen-code.api_response"
_EVENTS = "qwen-code."
_CALL = b"qwen-code.tool_call"
_CALLED = "qwen-code.tool_call"
_OTHERS = ("user", "assistant", "tool_result")
_KIND = regex(r'"type":\s*"(\w+)"')
_COUNTS = ("input", "cached_content", "output", "thoughts", "tool", "total")
# Google's own interface counts thoughts beside the answer, every other one inside it.
_BESIDE = frozenset({"gemini", "gemini-api-key", "vertex-ai"})


class QwenReader(files.TranscriptReader):
    """Reads one chat file. A line says all there is to know of its response; the last time is kept."""

    def __init__(self, *, stem: str, state: files.State | None = None, skipping: bool = False) -> None:
        super().__init__(skipping=skipping)
        self._stem = stem
        self._rows: list[ObservedUsage] = []
        # Who had a response that broke off before its counts, and asks again.
        self._broken = {each for each in (state or {}).get("broken", ()) if isinstance(each, str)}
        self._turns = attribution.Turns((state or {}).get("turns"))
        self.set_known(state)

    def state(self) -> files.State:
        turns = {"turns": self._turns.as_state()} if self._turns else {}
        return {**self.known(), "broken": sorted(self._broken), **turns}

    def wants(self, block: bytes, start: int, end: int) -> bool:
        if (
            block.find(_WANTED, start, end) >= 0
            or block.find(_CALL, start, end) >= 0
            or block.find(_COUNTED, start, end) >= 0
        ):
            return True
        return block.find(_TOLD, start, end) >= 0 and _NAMED.search(block, start, end) is None

    def may_count(self, piece: str) -> bool:
        kind = _KIND.search(piece)
        return kind is None or kind[1] == "system"

    def whose(self) -> str | None:
        return self._stem

    def finish(self) -> list[ObservedUsage]:
        rows, self._rows = self._rows, []
        return rows

    def take(self, record: lines.Pairs) -> None:
        row = self._row(lines.fields(record))
        if row is not None:
            self._rows.append(row)

    def _row(self, record: lines.Fields) -> ObservedUsage | None:
        payload = lines.inner(record, "systemPayload")
        event = lines.inner(payload, "uiEvent")
        if record.get("type") in _OTHERS:
            return None
        told = record.get("subtype") == "ui_telemetry"
        if told and type(payload.get("uiEvent")) is not tuple:
            raise lines.Unreadable(lines.Skip.NOT_OBJECT)
        written = event.get("event.name")
        agent = lines.name(event.get("subagent_id")) or lines.name(event.get("subagent_name"))
        if written == _CALLED:
            # It is told behind the response that called it, which is stored by then: the next one reads its result.
            named = lines.name(event.get("function_name"))
            self._turns.last(agent).calls(None if named is None else served_by(named))
            return None
        if written != _EVENT:
            # Under a name of the client's own it is something else; without one its counts say what it is.
            is_known = type(written) is str and written.startswith(_EVENTS)
            if is_known or "input_token_count" not in event or "output_token_count" not in event:
                if told and lines.name(written) is None:
                    raise lines.Unreadable(lines.Skip.BAD_NAME)
                return None
        odd: set[str] = set()
        tokens, thoughts, quality = self._tokens(event, odd)
        if not tokens.total:
            self._broken.add(agent or "")
            self.report.skipped[lines.Skip.BAD_COUNT if lines.countless(odd) else lines.Skip.EMPTY] += 1
            return None
        at = self.when(record.get("timestamp"), odd)
        # A fork copies the lines under its own session, with their ids and with where they come from.
        source = lines.name(lines.inner(record, "forkedFrom").get("sessionId"))
        if (agent or "") in self._broken:
            self._broken.remove(agent or "")
            odd.add(BROKEN_OFF)
        key = lines.name(record.get("uuid")) or self._key(event)
        return ObservedUsage(
            client=CLIENT,
            session=source or lines.name(record.get("sessionId")) or self._stem,
            response_key=key,
            at=at,
            model=self.served_by(event.get("model"), odd),
            tokens=tokens,
            rule=RESPONSE,
            quality=quality,
            reasoning=thoughts,
            agent_id=agent,
            request_id=lines.name(event.get("response_id")),
            project=lines.name(record.get("cwd")),
            version=lines.name(record.get("version")),
            odd=tuple(sorted(odd)),
            agent_type=None if agent is None else label(event.get("subagent_name")),
            served=self._turns.at((agent, False), key).read,
            branch=attribution.branch(record.get("gitBranch")),
        )

    def _key(self, event: lines.Fields) -> str:
        """What names a line without an id in every copy."""
        counts = (event.get(f"{key}_token_count") for key in _COUNTS)
        return f"~{lines.content_key(self.stamp() or self._stem, event.get('response_id'), *counts)}"

    def _tokens(self, event: lines.Fields, odd: set[str]) -> tuple[Tokens, int, Quality]:
        """The disjoint classes: cached is part of input; what thoughts are part of, the total says."""
        prompt, cached, written, thoughts, tool, whole = (
            lines.count(event, f"{key}_token_count", odd) for key in _COUNTS
        )
        if whole and not prompt and not written:
            # The provider told one sum. All of it as input is the least that it cost.
            read = min(cached, whole)
            return Tokens(fresh_input=whole - read, cache_read=read), 0, Quality.PARTIAL
        known = prompt + tool + written
        beside = whole == known + thoughts or (whole != known and event.get("auth_type") in _BESIDE)
        if cached > prompt or whole not in (0, known, known + thoughts):
            self.report.skipped[lines.Skip.INCONSISTENT] += 1
        read = min(cached, prompt)
        output = written + thoughts if beside else max(written, thoughts)
        return Tokens(fresh_input=prompt - read + tool, cache_read=read, output=output), thoughts, Quality.FINAL


# --- transcripts -----------------------------------------------------------------------------------------------------
# Qwen Code's chat files: where they lie and how one is read. NOTES.md has the shapes and the traps.


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """The directories that hold one directory a project."""
    named = files.directories_of(env, "QWEN_DATA_DIR", home)
    here = files.directory_of(env, "QWEN_RUNTIME_DIR", files.directory_of(env, "QWEN_HOME", home / ".qwen"))
    return files.unique([root if root.name == "projects" else root / "projects" for root in named or [here]])


def discover(env: Mapping[str, str], home: Path) -> Iterator[files.TranscriptFile]:
    """The chat files there are. What subagents used stands in the chat that started them, so theirs are not read."""
    return files.transcripts_below(CLIENT, locations(env, home), (".jsonl",), lambda inside: "chats" in inside[:-1])


def read(
    file: files.TranscriptFile, position: files.FilePosition | None = None, max_bytes: int | None = None
) -> Iterator[files.Batch]:
    """What is new in one chat file."""
    return files.read_lines(file.path, position, partial(reader_of, file.path), max_bytes)


def reader_of(path: Path, state: files.State | None = None, skipping: bool = False) -> QwenReader:
    """The reader of one chat file; its name stands in where a line names no session."""
    return QwenReader(stem=path.stem, state=state, skipping=skipping)


SOURCE = files.Transcripts(
    CLIENT, locations, discover, read, variables=("QWEN_DATA_DIR", "QWEN_RUNTIME_DIR", "QWEN_HOME")
)
