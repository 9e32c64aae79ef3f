"""Droid's sessions: where they lie, and what they say was used. From public sources, not measured (NOTES.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from tallygate.clients.droid.client import TOTAL
from tallygate.clients.reading import files, lines
from tallygate.clients.reading.whole_files import MAX_DOCUMENT, read_document
from tallygate.core.costing import Tokens
from tallygate.core.usage import ObservedUsage, Quality
from tallygate.files import start_of

CLIENT = "droid"
# A session is two files: its conversation, and beside it its settings with what it has used so far.
TRANSCRIPT, USED = ".jsonl", ".settings.json"
HEADER_BYTES_MAX = 64 * 1024
_ROUTED = "auto"


class DroidReader:
    """Reads what one session has used so far; what is new of it is told from what counts already."""

    def __init__(self, path: Path) -> None:
        self.report = lines.ReadReport()
        self.written_at: datetime | None = None
        self._path = path
        self._session = self.report.session = path.name.removesuffix(USED)

    def document(self, data: bytes) -> list[ObservedUsage]:
        """The row of a whole file; none while nothing was used."""
        self.report.bytes_read += len(data)
        try:
            rows = self._rows(lines.fields(lines.decode(data, MAX_DOCUMENT)))
        except lines.Unreadable as error:
            self.report.skipped[error.reason] += 1
            return []
        self.report.rows += len(rows)
        return rows

    def _rows(self, settings: lines.Fields) -> list[ObservedUsage]:
        odd: set[str] = set()
        told = lines.inner(settings, "tokenUsage")
        kinds = ("inputTokens", "cacheReadTokens", "cacheCreationTokens", "outputTokens", "thinkingTokens")
        fresh, read, written, output, thoughts = (lines.count(told, kind, odd) for kind in kinds)
        tokens = Tokens(fresh_input=fresh, cache_read=read, cache_write_5m=written, output=output + thoughts)
        if not tokens.total:
            if lines.countless(odd):
                self.report.skipped[lines.Skip.BAD_COUNT] += 1
            return []
        header = self._header()
        model = _model(settings)
        if model is None:
            odd.add(lines.Odd.NO_MODEL)
        row = ObservedUsage(
            client=CLIENT,
            session=self._session,
            response_key=self._session,
            at=self._at(settings),
            model=model or "",
            tokens=tokens,
            rule=TOTAL,
            quality=Quality.SESSION_TOTAL,
            parent_session=lines.name(header.get("callingSessionId")),
            reasoning=thoughts,
            project=lines.name(header.get("cwd")),
            provider=lines.name(settings.get("providerLock")),
            odd=tuple(sorted(odd)),
        )
        return [row]

    def _at(self, settings: lines.Fields) -> datetime:
        """When the total was written, but not before its provider was chosen: a copied file may look older."""
        try:
            chosen = lines.moment(settings.get("providerLockTimestamp"))
        except lines.Unreadable:
            if self.written_at is None:
                raise
            return self.written_at
        return chosen if self.written_at is None else max(chosen, self.written_at)

    def _header(self) -> lines.Fields:
        """The first line of the conversation: where the session works, and which one called it."""
        start = start_of(self._path.with_name(self._session + TRANSCRIPT), HEADER_BYTES_MAX) or b""
        try:
            return lines.fields(lines.decode(start.partition(b"\n")[0]))
        except lines.Unreadable:
            return {}


def _model(settings: lines.Fields) -> str | None:
    """The model as written; where a router chooses, the one that it chose last."""
    model = lines.name(settings.get("model"))
    routed = lines.name(lines.inner(settings, "effectiveFactoryRouterModel").get("modelId"))
    return routed if model in (None, _ROUTED) and routed is not None else model


def locations(_: Mapping[str, str], home: Path) -> list[Path]:
    """The directory that holds one directory a project."""
    return [home / ".factory" / "sessions"]


def discover(env: Mapping[str, str], home: Path) -> Iterator[files.TranscriptFile]:
    """What each session has used, those of subagents included; the copy before the last one has another ending."""
    return files.transcripts_below(CLIENT, locations(env, home), (USED,))


def read(
    file: files.TranscriptFile, position: files.FilePosition | None = None, _: int | None = None
) -> Iterator[files.Batch]:
    """What one session has used by now; the file is rewritten whole, so it is read whole."""
    return read_document(file.path, position, DroidReader(file.path))


SOURCE = files.Transcripts(CLIENT, locations, discover, read)
