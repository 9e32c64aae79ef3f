"""One Qwen Code chat file's lines as usage: what its telemetry says of each response, whoever asked for it."""

from __future__ import annotations

from tallygate.clients.base import State, TranscriptReader
from tallygate.clients.lines import (
    Fields,
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
from tallygate.core.observed import ObservedUsage, Quality, Rule

CLIENT = "qwen"
# In every line that counts. Text that speaks of it may have it too, so the line is looked at again when decoded.
_WANTED = b"qwen-code.api_response"
_EVENT = "qwen-code.api_response"
# Google's own interface counts thoughts beside the answer, every other one inside it.
_BESIDE = frozenset({"gemini", "gemini-api-key", "vertex-ai"})


class QwenReader(TranscriptReader):
    """Reads one chat file. Every line says all there is to know of its response, so nothing is kept between lines."""

    def __init__(self, *, stem: str, skipping: bool = False) -> None:
        super().__init__(skipping=skipping)
        self._stem = stem

    def state(self) -> State:
        return {}

    def rows_of(self, block: bytes) -> list[ObservedUsage]:
        rows = []
        for line in block.splitlines():
            if _WANTED in line:
                try:
                    row = self._row(fields(decode(line)))
                except Unreadable as error:
                    self.report.skipped[error.reason] += 1
                    continue
                if row is not None:
                    rows.append(row)
        return rows

    def _row(self, record: Fields) -> ObservedUsage | None:
        event = inner(inner(record, "systemPayload"), "uiEvent")
        if record.get("type") != "system" or event.get("event.name") != _EVENT:
            return None
        tokens, thoughts, quality = self._tokens(event)
        if not tokens.total:
            self.report.skipped[Skip.EMPTY] += 1
            return None
        # A fork copies the lines under its own session, with their ids and with where they come from.
        source = name(inner(record, "forkedFrom").get("sessionId"))
        agent = name(event.get("subagent_id")) or name(event.get("subagent_name"))
        return ObservedUsage(
            client=CLIENT,
            session=source or name(record.get("sessionId")) or self._stem,
            response_key=required(record.get("uuid")),
            at=moment(record.get("timestamp")),
            model=name(event.get("model")) or "",
            tokens=tokens,
            rule=Rule.QWEN_RESPONSE,
            quality=quality,
            reasoning=thoughts,
            agent_id=agent,
            request_id=name(event.get("response_id")),
            project=name(record.get("cwd")),
            version=name(record.get("version")),
        )

    def _tokens(self, event: Fields) -> tuple[Tokens, int, Quality]:
        """The disjoint classes: cached is part of input; what thoughts are part of, the total says."""
        prompt, cached = count(event, "input_token_count"), count(event, "cached_content_token_count")
        written, thoughts = count(event, "output_token_count"), count(event, "thoughts_token_count")
        tool, whole = count(event, "tool_token_count"), count(event, "total_token_count")
        if whole and not prompt and not written:
            # The provider told one sum. All of it as input is the least that it cost.
            read = min(cached, whole)
            return Tokens(fresh_input=whole - read, cache_read=read), 0, Quality.PARTIAL
        known = prompt + tool + written
        beside = whole == known + thoughts or (whole != known and event.get("auth_type") in _BESIDE)
        if cached > prompt or whole not in (0, known, known + thoughts):
            self.report.skipped[Skip.INCONSISTENT] += 1
        read = min(cached, prompt)
        output = written + thoughts if beside else max(written, thoughts)
        return Tokens(fresh_input=prompt - read + tool, cache_read=read, output=output), thoughts, Quality.FINAL
