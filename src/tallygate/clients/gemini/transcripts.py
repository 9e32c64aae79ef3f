"""Gemini CLI's chats: where they lie, and what they say was used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tallygate.clients.gemini.client import MESSAGE
from tallygate.clients.reading import attribution, files, lines
from tallygate.clients.reading.whole_files import read_document
from tallygate.core.attribution import Served, tool_of
from tallygate.core.costing import Tokens
from tallygate.core.regex import regex
from tallygate.core.usage import ObservedUsage, Quality, better

# --- records ---------------------------------------------------------------------------------------------------------
# One Gemini chat file's messages as usage: the last a message id says, whatever history is rewound.


CLIENT = "gemini"
_WANTED = (b'"tokens"', b'"sessionId"')
_NO_ANSWERS = ("user", "info", "error", "warning")
_SESSION = regex(rb'"sessionId":\s*"([ !#-\[\]-~]{1,256})"')
# What a broken message says it is, where it is no answer of a model.
_OTHERS = regex(r'"type":\s*"(?:user|info|error|warning)"')


class GeminiReader(files.TranscriptReader):
    """Reads one chat file, either kind; between lines it knows only whose session it is."""

    def __init__(
        self,
        *,
        stem: str,
        parent: str | None = None,
        project: str | None = None,
        state: files.State | None = None,
        skipping: bool = False,
    ) -> None:
        super().__init__(skipping=skipping)
        self._stem = stem
        self._parent = lines.name(parent)
        self._project = lines.name(project)
        known = state.get("session") if isinstance(state, Mapping) else None
        self._session: str | None = lines.name(known)
        self._rows: dict[tuple[str, str], ObservedUsage] = {}
        self._turns = attribution.Turns(state.get("turns") if isinstance(state, Mapping) else None)
        self.set_known(state)

    def state(self) -> files.State:
        turns = {"turns": self._turns.as_state()} if self._turns else {}
        return {"session": self._session, **turns, **self.known()}

    def wants(self, block: bytes, start: int, end: int) -> bool:
        return any(block.find(key, start, end) >= 0 for key in _WANTED)

    def may_count(self, piece: str) -> bool:
        return _OTHERS.search(piece) is None

    def whose(self) -> str | None:
        return self._session or self._stem

    def finish(self) -> list[ObservedUsage]:
        rows, self._rows = self._rows, {}
        return list(rows.values())

    def document(self, data: bytes) -> list[ObservedUsage]:
        """Rows of a whole `.json` file; of a broken one those of the messages that are whole."""
        found = lines.records_of(data, bound=len(data))
        if found.lost:
            # Whose messages they are stands in the part that is broken, before them.
            known = _SESSION.search(data)
            self._session = self._session or (lines.name(known[1].decode()) if known else None)
        for reason, piece in found.lost:
            self._lost(reason, piece)
        if self._session is not None or not found.lost:
            for record in found.records:
                self._record(record)
        rows = self.beside(self.finish())
        self.report.bytes_read += len(data)
        self.report.rows += len(rows)
        return rows

    def take(self, record: lines.Pairs) -> None:
        held = lines.fields(record)
        self._session = self._session or lines.name(held.get("sessionId"))
        # `$set` replaces parts of the header and may carry messages. `$rewindTo` takes messages out of the
        # history, but what they cost was paid: nothing is done for it.
        update = held.get("$set")
        for holder in (held, dict(update) if type(update) is tuple else {}):
            messages = holder.get("messages")
            turns = attribution.Turns()  # a history that is written anew begins anew
            for message in messages if type(messages) is list else []:
                if type(message) is tuple:
                    self._message(message, turns)
        if "tokens" in held:
            self._message(record, self._turns)

    def _message(self, pairs: lines.Pairs, turns: attribution.Turns) -> None:
        rows = self._rows
        try:
            message = lines.fields(pairs)
            if message.get("type") in _NO_ANSWERS or message.get("tokens") is None:
                return
            row = self._row(message, turns)
        except lines.Unreadable as error:
            self.report.skipped[error.reason] += 1
            return
        if row is not None:
            key = (row.response_key, row.model)
            held = rows.get(key)
            rows[key] = row if held is None else better(held, row)

    def _row(self, message: lines.Fields, turns: attribution.Turns) -> ObservedUsage | None:
        odd: set[str] = set()
        tokens, thoughts = self._tokens(lines.part(message, "tokens", odd), odd)
        if not tokens.total:
            self.report.skipped[lines.Skip.BAD_COUNT if lines.countless(odd) else lines.Skip.EMPTY] += 1
            return None
        at = self.when(message.get("timestamp"), odd)
        session = self._session or self._stem
        calls = message.get("toolCalls")
        tools = {self._call(call) for call in calls} if type(calls) is list else set()
        key = self._key(message)
        turn = turns.at(("", False), key)
        for call in calls if type(calls) is list else ():
            turn.calls(_tool(dict(call)) if type(call) is tuple else None)
        # It said something for no output: the stream broke off, and the last count is that of its beginning.
        broke_off = not tokens.output and bool(tools or message.get("content"))
        return ObservedUsage(
            client=CLIENT,
            session=session,
            response_key=f"{session}/{key}",
            at=at,
            model=self.served_by(message.get("model"), odd),
            tokens=tokens,
            rule=MESSAGE,
            quality=Quality.PARTIAL if broke_off else Quality.FINAL,
            parent_session=self._parent,
            reasoning=thoughts,
            agent_id=self._stem if self._parent else None,
            tool_use_ids=tuple(sorted(tool for tool in tools if tool is not None)),
            project=self._project,
            odd=tuple(sorted(odd)),
            served=turn.served,
        )

    def _key(self, message: lines.Fields) -> str:
        """A message's id; without one its time, which it keeps when it is written again."""
        found = lines.name(message.get("id"))
        return found or f"~{lines.content_key(self.stamp() or message.get('tokens'))}"

    def _tokens(self, written: lines.Fields, odd: set[str]) -> tuple[Tokens, int]:
        """The disjoint classes: cached is part of input; thoughts and tool prompts stand beside the rest."""
        prompt, cached, tool, output, thoughts, total = (
            lines.count(written, key, odd) for key in ("input", "cached", "tool", "output", "thoughts", "total")
        )
        # Told, and counted all the same: dropping the response would lose all of it.
        if cached > prompt or (total and total != prompt + output + thoughts + tool):
            self.report.skipped[lines.Skip.INCONSISTENT] += 1
        read = min(cached, prompt)
        tokens = Tokens(fresh_input=prompt - read + tool, cache_read=read, output=output + thoughts)
        return tokens, thoughts

    @staticmethod
    def _call(call: Any) -> str | None:
        return lines.name(dict(call).get("id")) if type(call) is tuple else None


_OF_SERVER = regex(r"(.{1,256}) \((.{1,256}) MCP Server\)")


def _tool(call: Mapping[str, Any]) -> Served | None:
    """The tool that a call is of; what is shown to the user tells whether it is a server's."""
    shown, named = lines.name(call.get("displayName")), lines.name(call.get("name"))
    found = None if shown is None else _OF_SERVER.fullmatch(shown)
    if found is not None:
        return tool_of(found[2], found[1])
    return None if named is None else tool_of(None, named)


# --- transcripts -----------------------------------------------------------------------------------------------------
# Gemini CLI's chat files: where they lie and how one is read. NOTES.md has the shapes and the traps.


PROJECT_ROOT = ".project_root"
PATH_BYTES_MAX = 4096


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """The directories that hold one directory a project."""
    named = files.directories_of(env, "GEMINI_DATA_DIR", home)
    if named:
        return files.unique([root if root.name == "tmp" else root / "tmp" for root in named])
    return [files.directory_of(env, "GEMINI_CLI_HOME", home) / ".gemini" / "tmp"]


def discover(env: Mapping[str, str], home: Path) -> Iterator[files.TranscriptFile]:
    """The chat files there are, subagents' included; other files beside them are no transcripts."""
    return files.transcripts_below(CLIENT, locations(env, home), (".json", ".jsonl"), _is_chat)


def _is_chat(inside: tuple[str, ...]) -> bool:
    return "chats" in inside[:-1] and (inside[-2] != "chats" or inside[-1].startswith("session-"))


def read(
    file: files.TranscriptFile, position: files.FilePosition | None = None, max_bytes: int | None = None
) -> Iterator[files.Batch]:
    """What is new in one chat file; a `.json` file is rewritten whole, so it is read whole."""
    if file.path.suffix == ".json":
        return read_document(file.path, position, reader_of(file.path))
    return files.read_lines(file.path, position, partial(reader_of, file.path), max_bytes)


def reader_of(path: Path, state: files.State | None = None, skipping: bool = False) -> GeminiReader:
    """The reader of one chat file; its place says whose subagent wrote it and for which project."""
    parts = path.parts
    at = len(parts) - 2 - parts[-2::-1].index("chats") if "chats" in parts[:-1] else len(parts) - 1
    nested = parts[at + 1 : -1]
    return GeminiReader(
        stem=path.stem,
        parent=nested[0] if nested else None,
        project=_project(Path(*parts[:at])) if at > 0 else None,
        state=state,
        skipping=skipping,
    )


def _project(folder: Path) -> str:
    """The workspace of a project's folder, which a file in it names; without that file, the folder's own name."""
    try:
        with (folder / PROJECT_ROOT).open("rb") as file:
            root = file.read(PATH_BYTES_MAX + 1).decode().strip()
    except (OSError, ValueError):
        return folder.name
    return root if 0 < len(root) <= PATH_BYTES_MAX and root.isprintable() else folder.name


SOURCE = files.Transcripts(CLIENT, locations, discover, read, variables=("GEMINI_DATA_DIR", "GEMINI_CLI_HOME"))
