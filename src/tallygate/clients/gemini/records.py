"""One Gemini chat file's messages as usage: the last a message id says, whatever history is rewound."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tallygate.clients.base import State, TranscriptReader
from tallygate.clients.lines import (
    Fields,
    Pairs,
    Skip,
    Unreadable,
    content_key,
    count,
    countless,
    fields,
    name,
    part,
    records_of,
)
from tallygate.core.costing import Tokens
from tallygate.core.usage import ObservedUsage, Quality, Rule, better

CLIENT = "gemini"
_WANTED = (b'"tokens"', b'"sessionId"')
_NO_ANSWERS = ("user", "info", "error", "warning")
_SESSION = re.compile(rb'"sessionId":\s*"([ !#-\[\]-~]{1,256})"')
# What a broken message says it is, where it is no answer of a model.
_OTHERS = re.compile(r'"type":\s*"(?:user|info|error|warning)"')


class GeminiReader(TranscriptReader):
    """Reads one chat file, either kind; between lines it knows only whose session it is."""

    def __init__(
        self,
        *,
        stem: str,
        parent: str | None = None,
        project: str | None = None,
        state: State | None = None,
        skipping: bool = False,
    ) -> None:
        super().__init__(skipping=skipping)
        self._stem = stem
        self._parent = name(parent)
        self._project = name(project)
        known = state.get("session") if isinstance(state, Mapping) else None
        self._session: str | None = name(known)
        self._rows: dict[tuple[str, str], ObservedUsage] = {}
        self.set_known(state)

    def state(self) -> State:
        return {"session": self._session, **self.known()}

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
        found = records_of(data, bound=len(data))
        if found.lost:
            # Whose messages they are stands in the part that is broken, before them.
            known = _SESSION.search(data)
            self._session = self._session or (name(known[1].decode()) if known else None)
        for reason, piece in found.lost:
            self._lost(reason, piece)
        if self._session is not None or not found.lost:
            for record in found.records:
                self._record(record)
        rows = self.beside(self.finish())
        self.report.bytes_read += len(data)
        self.report.rows += len(rows)
        return rows

    def take(self, record: Pairs) -> None:
        held = fields(record)
        self._session = self._session or name(held.get("sessionId"))
        # `$set` replaces parts of the header and may carry messages. `$rewindTo` takes messages out of the
        # history, but what they cost was paid: nothing is done for it.
        update = held.get("$set")
        for holder in (held, dict(update) if type(update) is tuple else {}):
            messages = holder.get("messages")
            for message in messages if type(messages) is list else []:
                if type(message) is tuple:
                    self._message(message, self._rows)
        if "tokens" in held:
            self._message(record, self._rows)

    def _message(self, pairs: Pairs, rows: dict[tuple[str, str], ObservedUsage]) -> None:
        try:
            message = fields(pairs)
            if message.get("type") in _NO_ANSWERS or message.get("tokens") is None:
                return
            row = self._row(message)
        except Unreadable as error:
            self.report.skipped[error.reason] += 1
            return
        if row is not None:
            key = (row.response_key, row.model)
            held = rows.get(key)
            rows[key] = row if held is None else better(held, row)

    def _row(self, message: Fields) -> ObservedUsage | None:
        odd: set[str] = set()
        tokens, thoughts = self._tokens(part(message, "tokens", odd), odd)
        if not tokens.total:
            self.report.skipped[Skip.BAD_COUNT if countless(odd) else Skip.EMPTY] += 1
            return None
        at = self.when(message.get("timestamp"), odd)
        session = self._session or self._stem
        calls = message.get("toolCalls")
        tools = {self._call(call) for call in calls} if type(calls) is list else set()
        # It said something for no output: the stream broke off, and the last count is that of its beginning.
        broke_off = not tokens.output and bool(tools or message.get("content"))
        return ObservedUsage(
            client=CLIENT,
            session=session,
            response_key=f"{session}/{self._key(message)}",
            at=at,
            model=self.served_by(message.get("model"), odd),
            tokens=tokens,
            rule=Rule.GEMINI_MESSAGE,
            quality=Quality.PARTIAL if broke_off else Quality.FINAL,
            parent_session=self._parent,
            reasoning=thoughts,
            agent_id=self._stem if self._parent else None,
            tool_use_ids=tuple(sorted(tool for tool in tools if tool is not None)),
            project=self._project,
            odd=tuple(sorted(odd)),
        )

    def _key(self, message: Fields) -> str:
        """A message's id; without one its time, which it keeps when it is written again."""
        found = name(message.get("id"))
        return found or f"~{content_key(self.stamp() or message.get('tokens'))}"

    def _tokens(self, written: Fields, odd: set[str]) -> tuple[Tokens, int]:
        """The disjoint classes: cached is part of input; thoughts and tool prompts stand beside the rest."""
        prompt, cached, tool, output, thoughts, total = (
            count(written, key, odd) for key in ("input", "cached", "tool", "output", "thoughts", "total")
        )
        if cached > prompt or (total and total != prompt + output + thoughts + tool):
            self.report.skipped[Skip.INCONSISTENT] += 1
        read = min(cached, prompt)
        tokens = Tokens(fresh_input=prompt - read + tool, cache_read=read, output=output + thoughts)
        return tokens, thoughts

    @staticmethod
    def _call(call: Any) -> str | None:
        return name(dict(call).get("id")) if type(call) is tuple else None
