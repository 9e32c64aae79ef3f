"""Codex's token counts: what they contain, and which of them a later snapshot still brings."""

from __future__ import annotations

from operator import add, sub
from typing import NamedTuple

from tallygate.clients.lines import Fields, ReadReport, Skip, counts
from tallygate.core.costing import Tokens


class Counts(NamedTuple):
    """Counts as Codex writes them: input holds cached and cache-write tokens, output holds reasoning."""

    input: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    reasoning: int = 0

    def minus(self, other: Counts) -> Counts:
        return Counts(*map(sub, self, other))

    def plus(self, other: Counts) -> Counts:
        return Counts(*map(add, self, other))


NONE = Counts()
_WRITTEN = (
    "input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens", "reasoning_output_tokens",
)  # fmt: skip


def counts_of(usage: Fields, odd: set[str]) -> Counts:
    """The counts of a usage object; `total_tokens` is left, since after compaction it is no usage."""
    return Counts(*counts(usage, _WRITTEN, odd))


def tokens_of(counts: Counts, report: ReadReport) -> Tokens:
    """The disjoint classes; their sum stays the written input where its parts do not fit into it."""
    if counts.cached + counts.written > counts.input:
        report.skipped[Skip.INCONSISTENT] += 1
    cached = min(counts.cached, counts.input)
    written = min(counts.written, counts.input - cached)
    return Tokens(
        fresh_input=counts.input - cached - written,
        cache_read=cached,
        cache_write_5m=written,
        output=counts.output,
    )


def not_yet_counted(moved: Counts, last: Counts | None, records: list[Counts]) -> Counts:
    """What a moved total brings beyond the response records before it, which it may or may not include.

    Ordinary responses and local compactions stand in a record and then in the total; remote compactions
    stand in a record only. Records that the movement explains are removed from the list.
    """
    if not records:
        return moved
    together = NONE
    for record in records:
        together = together.plus(record)
    if moved == together:
        records.clear()
        return NONE
    if last is not None and moved == last:
        if last in records:
            records.remove(last)
            return NONE
        return moved
    rest = moved.minus(together)
    if min(rest) >= 0:
        records.clear()
        return rest
    return moved
