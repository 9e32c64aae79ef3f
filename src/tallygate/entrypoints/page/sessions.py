"""The page Sessions: which there are, what each cost of its limit, and what the usual one comes to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from itertools import groupby

import htpy as h
from htpy import Element, Node

from tallygate.core.model import Session
from tallygate.core.text import plural
from tallygate.entrypoints.page.document import PageAround, document
from tallygate.entrypoints.page.labels import session_facts
from tallygate.entrypoints.page.look import Look
from tallygate.entrypoints.page.now import session_link
from tallygate.entrypoints.page.parts import (
    ColumnHead,
    Figure,
    Group,
    Row,
    TableCell,
    budget_bar,
    figures,
    state,
    table,
    title,
)
from tallygate.entrypoints.page.wording import NONE, clock, day, money, span
from tallygate.operations.views.now import session_label
from tallygate.operations.views.overview import SessionLine
from tallygate.operations.views.session_list import LOOKED_AT, PAGE, Order, SessionList

_HEADS = [
    ColumnHead("Started"),
    ColumnHead("Session"),
    ColumnHead("State"),
    ColumnHead("Share of its budget", hidden=True),
    ColumnHead("Cost", number=True),
    ColumnHead("Left", number=True),
    ColumnHead("Calls", number=True),
    ColumnHead("Decisions"),
    ColumnHead("How sure"),
]


def sessions_page(look: Look, around: PageAround, seen: SessionList) -> bytes:
    """The page as a whole."""
    number, zone = len(seen.all), around.zone
    most = f"the youngest {LOOKED_AT}, " if seen.is_cut else ""
    body: list[Node] = [
        title(
            "Sessions",
            h.p[f"{most}{number:,} in {seen.span.label}, {money(seen.spent_nanos)}"],
            h.p(".note")["first: ", _orders(look, seen.order)],
        ),
        figures([_open(seen), _median(seen), _spent(seen), _halted(seen)]),
    ]
    if seen.lines:
        caption = {
            "youngest": "the youngest first",
            "dearest": "the dearest first",
            "halted": "those halted most first",
        }
        rows = [*_rows(look, seen, zone)]
        body.append(table(f"Sessions, {caption[seen.order.value]}", _HEADS, rows, cards=True))
        body.append(_pages(look, seen))
    else:
        body.append(_none(look, seen))
    return document(look, around, "Sessions", *body, frame=seen.frame, count=plural(number, "session"))


def _orders(look: Look, now: Order) -> list[Node]:
    found: list[Node] = []
    for each in Order:
        found.append(h.b[each.value] if each is now else h.a(href=look.href(sort=each.value, first=None))[each.value])
        found.append(" · ")
    return found[:-1]


def _open(seen: SessionList) -> Figure:
    halted = len(seen.frame.stops)
    running = len(seen.frame.open) - halted
    return Figure("Open", str(len(seen.frame.open)), small="now", under=f"{running} running, {halted} halted")


def _median(seen: SessionList) -> Figure:
    """What half of the sessions that have ended cost less than; of one or two that says nothing."""
    ended = sorted(each.totals.spent_nanos for each in seen.all if not each.session.is_open and each.totals.spent_nanos)
    if len(ended) < 3:
        return Figure("Median session", NONE, under="needs three sessions that have ended")
    middle, high = ended[len(ended) // 2], ended[min(len(ended) * 8 // 10, len(ended) - 1)]
    return Figure("Median session", money(middle), under=f"8 of 10 cost less than {money(high)}; of {len(ended)} ended")


def _spent(seen: SessionList) -> Figure:
    calls = sum(each.totals.calls for each in seen.all)
    return Figure(
        "Spent by them", money(seen.spent_nanos), under=f"in {plural(calls, 'call')}, without what is reserved"
    )


def _halted(seen: SessionList) -> Figure:
    halted = [each.totals.denied for each in seen.all if each.totals.denied]
    return Figure("Halted at some time", str(len(halted)), small="sessions", under=plural(sum(halted), "halt"))


def _rows(look: Look, seen: SessionList, zone: tzinfo) -> Iterator[Row | Group]:
    if seen.order is not Order.YOUNGEST:
        yield from (_row(look, seen, line, zone, whole=True) for line in seen.lines)
        return
    for name, lines in groupby(seen.lines, key=lambda line: day(line.session.started_us, zone)):
        yield Group(name)
        yield from (_row(look, seen, line, zone) for line in lines)


def _row(look: Look, seen: SessionList, line: SessionLine, zone: tzinfo, *, whole: bool = False) -> Row:
    session, own = line.session, line.own
    at = clock(session.started_us, zone)
    kind = standing_of(seen, session)
    denied = plural(line.totals.denied, "halt") if line.totals.denied else ""
    left = NONE if own is None else money(max(own.available, 0), own.unit)
    return (
        [
            TableCell([day(session.started_us, zone) if whole else at, h.span(".sub")[_lasted(seen, session)]], "nw"),
            TableCell(
                [
                    session_link(look, session.session_id, session_label(session), main=True),
                    h.span(".sub")[session_facts(session)],
                ],
                "wide",
            ),
            TableCell(kind),
            TableCell(
                NONE
                if own is None
                else budget_bar(own.spent + own.carried, own.reserved, own.limit, plain=not session.is_open),
                "bar-cell",
            ),
            TableCell(
                [
                    h.b[money(line.spent_nanos, session.currency)],
                    own is not None and h.span(".sub")[f"of {money(own.limit, own.unit)}"],
                ]
            ),
            TableCell(
                [
                    left,
                    own is not None
                    and own.reserved > 0
                    and h.span(".sub")[f"{money(own.reserved, own.unit)} reserved"],
                ]
            ),
            TableCell(f"{line.totals.calls:,}"),
            TableCell(denied, "" if denied else "empty"),
            TableCell(_sure(line), "faint"),
        ],
        "is-halt" if session.session_id in seen.frame.stops else "",
    )


def standing_of(seen: SessionList, session: Session) -> Element:
    """Whether a session runs, stands still or has ended."""
    if session.session_id in seen.frame.stops:
        return state("halt", "halted", pill=True)
    return state("run", "running") if session.is_open else state("off", "ended")


def _lasted(seen: SessionList, session: Session) -> str:
    return span((session.ended_us or seen.frame.now_us) - session.started_us)


def _sure(line: SessionLine) -> str:
    if line.split.assumed_nanos:
        return "part assumed"
    if line.split.approximate_nanos:
        return "part approximate"
    return "known, pending" if line.totals.pending else "known"


def _pages(look: Look, seen: SessionList) -> Element:
    last = seen.first + len(seen.lines)
    more = len(seen.all) - last
    return h.p(".foot")[
        f"{seen.first + 1}–{last} of {len(seen.all):,} shown; the figures have all of them. ",
        seen.first > 0 and [h.a(href=look.href(first=str(max(seen.first - PAGE, 0)) or None))["Before"], " · "],
        more > 0 and h.a(href=look.href(first=str(last)))[f"Next {min(more, PAGE)}"],
    ]


def _none(look: Look, seen: SessionList) -> Element:
    if look.filter.terms:
        last = look.filter.terms[-1]
        without = h.a(href=look.href(filter=look.filter.without(last).text))[f"Without {last.text}"]
        return h.p(".foot")[
            f"No session in {seen.span.label} matches ", h.span(".mono")[look.filter.text], ". ", without
        ]
    if seen.order is Order.HALTED:
        return h.p(".foot")[f"No session in {seen.span.label} was halted."]
    everything = h.a(href=look.href(period="all"))["All sessions on record"]
    return h.p(".foot")[f"No session began in {seen.span.label}. ", everything]
