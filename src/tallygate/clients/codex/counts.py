"""Codex's token counts: what they contain, and which of them a later snapshot still brings."""

from __future__ import annotations

from operator import add, sub
from typing import NamedTuple

from tallygate.clients.lines import Fields, Odd, ReadReport, Skip, count, counts
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

    def grown(self, other: Counts) -> Counts:
        """What each counter is above the other's, by which none has fallen."""
        moved = self.minus(other)
        return moved if min(moved) >= 0 else Counts(*(max(number, 0) for number in moved))

    def fell(self, other: Counts) -> bool:
        """Whether this is no later count of the same series: of its parts only, some versions write fewer."""
        return self.input < other.input or self.output < other.output

    def larger(self, other: Counts) -> Counts:
        """Counter by counter the larger."""
        return Counts(*map(max, self, other))

    def plus(self, other: Counts) -> Counts:
        return Counts(*map(add, self, other))


NONE = Counts()
_MAIN = frozenset({"input_tokens", "output_tokens"})
# With these a counter says nothing about how far it is.
_NO_TOTAL = frozenset({Odd.NEGATIVE, Odd.NO_NUMBER, Odd.TOO_LARGE})
_WRITTEN = (
    "input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens", "reasoning_output_tokens",
)  # fmt: skip


def counts_of(usage: Fields, odd: set[str]) -> Counts:
    """The counts of a usage object; `total_tokens` is left, since after compaction it is no usage."""
    return Counts(*counts(usage, _WRITTEN, odd))


def total_of(usage: Fields, known: Counts | None, odd: set[str]) -> tuple[Counts, bool]:
    """A cumulative count, normalised: a counter that is no number, or not there, stands where it stood.

    The second says whether input and output could be read, so that its growth is what was used. An object without any
    counter is a total that was set to nothing.
    """
    if usage.keys().isdisjoint(_WRITTEN):
        return NONE, True
    before, plain = known or NONE, set[str]()
    numbers = Counts(*counts(usage, _WRITTEN, plain))
    if not plain and _is_whole(usage) and min(numbers.minus(before)) >= 0:
        return numbers, True
    found, whole = [], True
    for key, stood in zip(_WRITTEN, before, strict=True):
        wrong: set[str] = set()
        number = count(usage, key, wrong)
        odd |= wrong
        if usage.get(key) is None or not wrong.isdisjoint(_NO_TOTAL):
            whole = whole and key not in _MAIN
            number = stood
        found.append(number)
    return Counts(*found), whole


def usable(written: Fields, last: Counts, odd: set[str]) -> bool:
    """Whether an event's own counts say what it used."""
    return _is_whole(written) and odd.isdisjoint(_NO_TOTAL) and last.input + last.output > 0


def _is_whole(usage: Fields) -> bool:
    return usage.get("input_tokens") is not None and usage.get("output_tokens") is not None


def begins_with(total: Counts, last: Counts) -> bool:
    """Whether a first total is that of its own event and of none before, although they do not agree in all."""
    return total != last and (last.input == total.input > 0 or last.output == total.output > 0)


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
