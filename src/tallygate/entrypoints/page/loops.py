"""Loops on the page: what was seen of agents that go round in circles, what was done, and how often it was none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

import htpy as h
from htpy import Element, Node

from tallygate.core.loops import LoopStage, SeenLoop
from tallygate.core.text import cleaned, plural
from tallygate.entrypoints.page.parts import command, facts, section
from tallygate.entrypoints.page.wording import when

ROWS_MAX = 12


def loops_seen(name: str, seen: Sequence[SeenLoop], now_us: int, zone: tzinfo, *, empty: str) -> Element:
    """A section with the counts of some loops, and the youngest of them, each in a sentence."""
    if not seen:
        return section(name, h.p(".foot")[empty])
    stages = [(stage, sum(each.stage is stage for each in seen)) for stage in LoopStage]
    words = {LoopStage.WARNED: "warned of", LoopStage.REACHED: "let go on", LoopStage.STOPPED: "stopped"}
    told = ", ".join(f"{count:,} {words[stage]}" for stage, count in stages if count)
    wrong = sum(each.wrong_us is not None for each in seen)
    rows: list[tuple[Node, Node]] = [
        (when(each.at_us, now_us, zone).removeprefix("today "), f"{cleaned(each.told, 300)} ({each.done})")
        for each in sorted(seen, key=lambda each: -each.at_us)[:ROWS_MAX]
    ]
    return section(
        name,
        h.p[h.b[f"{told}."], f" You said {plural(wrong, 'time')} that it was none." if wrong else ""],
        facts(rows),
        h.p(".foot")["One that was none:"],
        command("tallygate loop wrong"),
    )
