"""What sessions of a place or a job came to: where half and nine in ten of them ended, and between what most did.

Nothing here promises what the next one will cost, and nothing is held: who wants to hold money opens a budget. The
places in the order are those that hold for the next one too (of n known the ceil(0.9 (n + 1))-th is passed by one in
ten that come), and a range is told only where it is narrow, and has held for those that are known.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from typing import Any

from tallygate.core.money import json_number
from tallygate.core.proposals import place
from tallygate.core.text import cleaned
from tallygate.core.values import value

LAST = 50
# So many must have ended before anything is said of them, and so many before a range is.
ENOUGH, ENOUGH_FOR_RANGE = 10, 20
# A range from a tenth of the sessions to nine tenths that is wider than this says nothing that helps.
WIDEST = 5
# So many tries say how often a range has held; one that held less often than three in five is not told.
TRIES = 10
_NAME_MAX = 80


@value(frozen=True, slots=True)
class CostRange:
    """Between what three in four ended. Made of those before, it was tried on `tried` and held for `fell` of them."""

    low_nanos: int
    high_nanos: int
    tried: int
    fell: int

    def stated(self) -> dict[str, Any]:
        """For programs."""
        return {
            "low": json_number(self.low_nanos),
            "high": json_number(self.high_nanos),
            "tried": self.tried,
            "fell": self.fell,
        }


@value(frozen=True, slots=True)
class Spread:
    """What the last sessions of some kind came to; what too few say is None. `known` are looked at of `ended`."""

    ended: int
    known: int
    half_nanos: int | None = None
    nine_nanos: int | None = None
    range: CostRange | None = None

    def stated(self) -> dict[str, Any]:
        """For programs."""
        return {
            "ended": self.ended,
            "of_last": self.known,
            "half_below": None if self.half_nanos is None else json_number(self.half_nanos),
            "nine_in_ten_below": None if self.nine_nanos is None else json_number(self.nine_nanos),
            "three_in_four": None if self.range is None else self.range.stated(),
        }


@value(frozen=True, slots=True)
class EndedSession:
    """One session that has ended: what it cost, where most of it was spent, and what it was for as its agent said."""

    at_us: int
    cost_nanos: int
    client: str | None
    project: str | None
    task: str | None = None


@value(frozen=True, slots=True)
class JobSpread:
    """What sessions came to that did one job for a client in a project."""

    job: str
    client: str | None
    project: str | None
    spread: Spread


def spread(costs: Sequence[int]) -> Spread:
    """What sessions came to, the last ones last; those that cost nothing belong in none."""
    last = costs[-LAST:]
    known = len(last)
    if known < ENOUGH:
        return Spread(len(costs), known)
    ordered = sorted(last)
    return Spread(len(costs), known, place(ordered, 1, 2), place(ordered, 9, 10), _range(costs))


def jobs(sessions: Iterable[EndedSession]) -> list[JobSpread]:
    """The jobs that were done often enough to say something of, the one done most often first.

    A job is what agents said a session was for, of one client in one project; how it is spelled does not matter.
    """
    found: dict[tuple[str | None, str | None, str], list[EndedSession]] = {}
    for each in sorted(sessions, key=lambda session: session.at_us):
        if each.task is not None and (name := _one_spelling(each.task)):
            found.setdefault((each.client, each.project, name), []).append(each)
    spreads = [
        JobSpread(
            cleaned(alike[-1].task or "", _NAME_MAX), client, project, spread([each.cost_nanos for each in alike])
        )
        for (client, project, _), alike in found.items()
        if len(alike) >= ENOUGH
    ]
    return sorted(spreads, key=lambda job: (-job.spread.ended, job.job, job.project or ""))


def _one_spelling(task: str) -> str:
    return " ".join(task.casefold().split()).rstrip(".! ")


def _ends(ordered: Sequence[int]) -> tuple[int, int]:
    """Of n known the k-th and the k-th from the end, k = (n + 1) / 8: three in four to come fall between, or more."""
    place = max((len(ordered) + 1) // 8, 1)
    return ordered[place - 1], ordered[len(ordered) - place]


def _range(costs: Sequence[int]) -> CostRange | None:
    if len(costs) < ENOUGH_FOR_RANGE:
        return None
    ordered = sorted(costs[-LAST:])
    tenth = ordered[max((len(ordered) + 1) // 10, 1) - 1]
    if place(ordered, 9, 10) >= WIDEST * tenth:
        return None
    tried, fell = _tried(costs)
    if tried >= TRIES and 5 * fell < 3 * tried:
        return None
    return CostRange(*_ends(ordered), tried, fell)


def _tried(costs: Sequence[int]) -> tuple[int, int]:
    """How often a range that was made of the sessions before one held for that one, of the last ones."""
    tried = fell = 0
    first = max(ENOUGH_FOR_RANGE, len(costs) - LAST)
    window = sorted(costs[max(first - LAST, 0) : first])
    for at in range(first, len(costs)):
        low, high = _ends(window)
        tried, fell = tried + 1, fell + (low <= costs[at] <= high)
        bisect.insort(window, costs[at])
        if len(window) > LAST:
            window.remove(costs[at - LAST])
    return tried, fell
