"""One Gemini chat file's messages as usage: the last a message id says, whatever history is rewound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.clients.base import State, TranscriptReader
from tallygate.clients.lines import (
    Fields,
    Pairs,
    Skip,
    Unreadable,
    count,
    decode,
    fields,
    inner,
    moment,
    name,
    required,
)
from tallygate.core.costing import Tokens
from tallygate.core.observed import ObservedUsage, Rule, better

CLIENT = "gemini"
_WANTED = (b'"tokens"', b'"sessionId"')


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

    def state(self) -> State:
        return {"session": self._session}

    def rows_of(self, block: bytes) -> list[ObservedUsage]:
        rows: dict[str, ObservedUsage] = {}
        for line in block.splitlines():
            if any(key in line for key in _WANTED):
                self._take(line, rows)
        return list(rows.values())

    def document(self, data: bytes) -> list[ObservedUsage]:
        """Rows of a whole `.json` file."""
        rows: dict[str, ObservedUsage] = {}
        self._take(data, rows)
        self.report.bytes_read += len(data)
        self.report.rows += len(rows)
        return list(rows.values())

    def _take(self, text: bytes, rows: dict[str, ObservedUsage]) -> None:
        try:
            record = fields(decode(text, bound=len(text)))
        except Unreadable as error:
            self.report.skipped[error.reason] += 1
            return
        self._session = self._session or name(record.get("sessionId"))
        # `$set` replaces parts of the header and may carry messages. `$rewindTo` takes messages out of the
        # history, but what they cost was paid: nothing is done for it.
        update = record.get("$set")
        for holder in (record, dict(update) if type(update) is tuple else {}):
            messages = holder.get("messages")
            for message in messages if type(messages) is list else []:
                if type(message) is tuple:
                    self._message(message, rows)
        if "tokens" in record:
            self._message(tuple(record.items()), rows)

    def _message(self, pairs: Pairs, rows: dict[str, ObservedUsage]) -> None:
        try:
            message = fields(pairs)
            if message.get("type") != "gemini" or type(message.get("tokens")) is not tuple:
                return
            row = self._row(message)
        except Unreadable as error:
            self.report.skipped[error.reason] += 1
            return
        if row is not None:
            held = rows.get(row.response_key)
            rows[row.response_key] = row if held is None else better(held, row)

    def _row(self, message: Fields) -> ObservedUsage | None:
        tokens, thoughts = self._tokens(inner(message, "tokens"))
        if not tokens.total:
            self.report.skipped[Skip.EMPTY] += 1
            return None
        session = self._session or self._stem
        calls = message.get("toolCalls")
        tools = {self._call(call) for call in calls} if type(calls) is list else set()
        return ObservedUsage(
            client=CLIENT,
            session=session,
            response_key=f"{session}/{required(message.get('id'))}",
            at=moment(message.get("timestamp")),
            model=name(message.get("model")) or "",
            tokens=tokens,
            rule=Rule.GEMINI_MESSAGE,
            parent_session=self._parent,
            reasoning=thoughts,
            agent_id=self._stem if self._parent else None,
            tool_use_ids=tuple(sorted(tool for tool in tools if tool is not None)),
            project=self._project,
        )

    def _tokens(self, written: Fields) -> tuple[Tokens, int]:
        """The disjoint classes: cached is part of input; thoughts and tool prompts stand beside the rest."""
        prompt, cached, tool = count(written, "input"), count(written, "cached"), count(written, "tool")
        output, thoughts = count(written, "output"), count(written, "thoughts")
        total = count(written, "total")
        if cached > prompt or (total and total != prompt + output + thoughts + tool):
            self.report.skipped[Skip.INCONSISTENT] += 1
        read = min(cached, prompt)
        tokens = Tokens(fresh_input=prompt - read + tool, cache_read=read, output=output + thoughts)
        return tokens, thoughts

    @staticmethod
    def _call(call: Any) -> str | None:
        return name(dict(call).get("id")) if type(call) is tuple else None
