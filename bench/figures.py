"""Figures of a run: what was measured beside its floor, round by round, as a ratio with its spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], share: int) -> float:
    """The value below which a share (in per cent) of the sorted values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * share // 100, len(ordered) - 1)]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table that a run ends with; `held` is None where no goal is set."""

    title: str
    figure: str
    floor: str
    value: str
    spread: str
    goal: str
    held: bool | None

    @property
    def verdict(self) -> str:
        return "" if self.held is None else "ok" if self.held else "MISSED"


# Every figure of this run, in the order in which it was taken.
TABLE: list[Row] = []


@dataclass(frozen=True, slots=True)
class Ratio:
    """How much dearer a thing is than its floor: one ratio a round, each round having measured both."""

    name: str
    floor: str
    measured: Sequence[float]
    floors: Sequence[float]
    bound: float | None = None
    at_least: bool = False

    @property
    def ratios(self) -> list[float]:
        return [one / other for one, other in zip(self.measured, self.floors, strict=True)]

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def holds(self) -> bool:
        if self.bound is None:
            return True
        return self.median >= self.bound if self.at_least else self.median <= self.bound

    def row(self, title: str) -> Row:
        low, high = percentile(self.ratios, 10), percentile(self.ratios, 90)
        goal = "" if self.bound is None else f"{'>=' if self.at_least else '<='} {self.bound:g}x"
        held = None if self.bound is None else self.holds
        return Row(title, self.name, self.floor, f"{self.median:.2f}x", f"{low:.2f}-{high:.2f}", goal, held)

    def line(self, shown: Callable[[float], str]) -> str:
        ratios = self.ratios
        low, high = percentile(ratios, 10), percentile(ratios, 90)
        goal = "" if self.bound is None else f"  goal {'>=' if self.at_least else '<='} {self.bound:g}"
        verdict = "" if self.bound is None else ("  ok" if self.holds else "  MISSED")
        medians = f"{shown(statistics.median(self.measured))} against {shown(statistics.median(self.floors))}"
        return (
            f"  {self.name} / {self.floor}: {self.median:.2f}x"
            f"  (rounds {len(ratios)}, 10-90 %: {low:.2f}-{high:.2f}; medians {medians}){goal}{verdict}"
        )


def stated(title: str, figure: str, value: str, goal: str, *, held: bool, spread: str = "") -> int:
    """Print a figure that has no floor beside it, only a goal; 1 where that was missed."""
    row = Row(title, figure, "", value, spread, goal, held)
    TABLE.append(row)
    beside = f" ({spread})" if spread else ""
    print(f"  {figure}: {value}{beside}  goal {goal}  {row.verdict}", flush=True)
    return 0 if held else 1


def report(title: str, ratios: Sequence[Ratio], shown: Callable[[float], str]) -> int:
    """Print the ratios of one program; 1 where a goal was missed."""
    print(title)
    for ratio in ratios:
        print(ratio.line(shown), flush=True)
        TABLE.append(ratio.row(title))
    return 0 if all(ratio.holds for ratio in ratios) else 1


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us"


def mebibytes(kibibytes: float) -> str:
    return f"{kibibytes / 1024:.1f} MiB"
