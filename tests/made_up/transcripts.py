"""The made-up client's transcripts: where they lie and how one is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tests.made_up.client import ANSWER, TITLE

from tallygate.clients.reading.files import (
    Batch,
    FilePosition,
    State,
    TranscriptFile,
    TranscriptReader,
    Transcripts,
    files_below,
    read_lines,
)
from tallygate.clients.reading.lines import Pairs, fields
from tallygate.core.costing import Tokens
from tallygate.core.usage import ObservedUsage


class _Reader(TranscriptReader):
    """Takes one file's lines: each is a response."""

    def __init__(self, *, state: State | None = None, skipping: bool = False) -> None:
        super().__init__(skipping=skipping)
        self._rows: list[ObservedUsage] = []

    def wants(self, block: bytes, start: int, end: int) -> bool:
        """Every line is a response."""
        return end > start

    def state(self) -> State:
        """Nothing has to be known of the lines before."""
        return {}

    def take(self, record: Pairs) -> None:
        """A response of the conversation, or one that made its title."""
        line, odd = fields(record), set[str]()
        self._rows.append(
            ObservedUsage(
                client="made_up",
                session=str(line["talk"]),
                response_key=str(line["id"]),
                at=self.when(line.get("at"), odd),
                model="dear",
                tokens=Tokens(output=line["tokens"]),
                rule=TITLE if line.get("title") else ANSWER,
                project=line.get("folder"),
            )
        )

    def finish(self) -> list[ObservedUsage]:
        """The rows of the lines that were taken."""
        rows, self._rows = self._rows, []
        return rows


def _locations(_: Mapping[str, str], home: Path) -> list[Path]:
    return [home / ".made-up" / "talks"]


def _discover(environ: Mapping[str, str], home: Path) -> Iterator[TranscriptFile]:
    for root in _locations(environ, home):
        yield from (TranscriptFile("made_up", path) for path in files_below(root, (".jsonl",)))


def _made(state: State | None = None, skipping: bool = False) -> _Reader:
    return _Reader(state=state, skipping=skipping)


def _read(file: TranscriptFile, position: FilePosition | None = None, max_bytes: int | None = None) -> Iterator[Batch]:
    return read_lines(file.path, position, partial(_made), max_bytes)


SOURCE = Transcripts("made_up", _locations, _discover, _read)
