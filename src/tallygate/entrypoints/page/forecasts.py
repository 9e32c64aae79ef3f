"""Forecasts on the page: where a session probably ends, and how the last ones did."""

from __future__ import annotations

import htpy as h
from htpy import Element, Node

from tallygate.core.forecast import FIRST_CALL, RANGE_CALL, session_told
from tallygate.core.text import plural
from tallygate.entrypoints.page.parts import ColumnHead, Row, TableCell, facts, section, state, table
from tallygate.entrypoints.page.wording import NONE, money, percent
from tallygate.operations.views.forecasts import ForecastsMet, Outlook


def where_it_ends(ahead: Outlook) -> Element:
    """Where a session probably ends; of one that is over, what was said of it at its tenth response."""
    rows: list[tuple[Node, Node]] = []
    if ahead.now is not None:
        of = (
            f", of {plural(ahead.now.own, 'session')} of yours that went on from there" if ahead.now.nine_in_ten else ""
        )
        rows.append(("now", f"{session_told(ahead.now)}{of}; at its {ordinal(ahead.responses)} response"))
    if ahead.chance is not None:
        rows.append(("passes its limit", ahead.chance))
    first = ahead.at_first
    if first is not None and first.nine_in_ten is not None and (ahead.now is None or ahead.responses > FIRST_CALL):
        came = (
            f"; by now {money(ahead.spent_nanos)}"
            if ahead.now is not None
            else f"; {money(ahead.spent_nanos)} in the end"
        )
        rows.append((f"at its {ordinal(FIRST_CALL)} response", f"{session_told(first)}{came}"))
    if ahead.is_dearer:
        rows.append(("beside others", [state("warn", "dearer"), " than 9 of 10 that looked like it"]))
    if not rows:
        told = f"Nothing is said before its {ordinal(FIRST_CALL)} response that a client wrote down"
        return section("Where it ends", h.p(".foot")[f"{told}; it has {ahead.responses:,}."])
    return section("Where it ends", facts(rows), note="by your own ended sessions")


def forecasts(met: ForecastsMet) -> Element:
    """How the last forecasts of each kind did."""
    name = "How forecasts did"
    kinds = (
        ("end of a session", f"9 of 10 like it end below, at its {ordinal(FIRST_CALL)} response", met.ends),
        ("range of its end", f"8 of 10 end within, at its {ordinal(RANGE_CALL)} response", met.ranges),
        ("work left", "8 of 10 within its range, an hour of work ahead", met.work),
    )
    rows: list[Row] = [
        (
            [
                TableCell([kind, h.span(".sub")[meaning]], names=True),
                TableCell(h.b[f"{record.held} of {record.told}"] if record.told else NONE),
                TableCell(percent(record.held, record.told)),
                TableCell(f"{record.percent} %"),
            ],
            "",
        )
        for kind, meaning, record in kinds
    ]
    heads = [
        ColumnHead("Forecast"),
        ColumnHead("Held", number=True),
        ColumnHead("Share", number=True),
        ColumnHead("Meant", number=True),
    ]
    told = "The last 50 of each, made anew of what was known at their time. "
    missing = (
        "An en dash: fewer than three sessions of yours had got so far, or no work was on record to hold it against."
    )
    none = any(not record.told for _, _, record in kinds)
    return section(name, table(name, heads, rows), h.p(".foot")[told, none and missing])


def ordinal(number: int) -> str:
    """A place in a row, as people say it.

    >>> [ordinal(n) for n in (1, 2, 3, 10, 11, 12, 13, 21, 102, 113)]
    ['1st', '2nd', '3rd', '10th', '11th', '12th', '13th', '21st', '102nd', '113th']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
