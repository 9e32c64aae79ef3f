"""What pages are made of: figures, tables, bars, words of state, banners. Colour by class, geometry by attribute."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import htpy as h
from htpy import Element, Node

from tallygate.core.values import value
from tallygate.entrypoints.page.wording import NONE

_ID = re.compile(r"[^a-z0-9]+")
_SHAPES: dict[str, Node] = {
    "halt": h.path(d="M3 0h4l3 3v4l-3 3H3L0 7V3z", class_="fill-halt"),
    "warn": h.path(d="M5 .5 10 9.5H0z", class_="fill-warn"),
    "run": h.circle(cx="5", cy="5", r="4", class_="fill-run"),
    "off": h.circle(cx="5", cy="5", r="3.5", class_="fill-off"),
}
PATTERNS = h.svg(".defs", width="0", height="0", aria_hidden="true", focusable="false")[
    h.defs[
        h.pattern(
            {"patternUnits": "userSpaceOnUse", "patternTransform": "rotate(45)"}, id="p-held", width="5", height="5"
        )[
            h.rect(width="5", height="5", class_="pb-held"),
            h.line(x1="0", y1="0", x2="0", y2="5", class_="pl-held"),
        ],
        h.pattern(
            {"patternUnits": "userSpaceOnUse", "patternTransform": "rotate(45)"}, id="p-approx", width="6", height="6"
        )[h.rect(width="6", height="6", class_="pb-ap"), h.line(x1="0", y1="0", x2="0", y2="6", class_="pl-ap")],
        h.pattern({"patternUnits": "userSpaceOnUse"}, id="p-assumed", width="5", height="5")[
            h.rect(width="5", height="5", class_="pb-as"), h.circle(cx="2.5", cy="2.5", r="1.2", class_="pl-as")
        ],
    ]
]
NOTHING = h.span(".none")[NONE]


def name_of(text: str) -> str:
    """An id made of a title."""
    return _ID.sub("-", text.lower()).strip("-")


def share(part: int, whole: int) -> str:
    """A part of a whole as the length of a bar: per cent with two digits, never above the whole.

    >>> share(1, 3), share(5, 4), share(1, 0)
    ('33.33%', '100%', '0%')
    """
    if whole <= 0 or part <= 0:
        return "0%"
    hundredths = min(part * 10_000 // whole, 10_000)
    whole_part, rest = divmod(hundredths, 100)
    return f"{whole_part}.{rest:02d}%" if rest else f"{whole_part}%"


def bar(*pieces: tuple[int, int, str], whole: int, size: str = "") -> Element:
    """A bar of pieces: where each begins, how long it is, and its class. The numbers stand beside it."""
    drawn = [
        h.rect(x=share(start, whole) if start else None, width=share(length, whole), class_=kind)
        for start, length, kind in pieces
        if length > 0
    ]
    return h.svg(class_=f"bar {size}".strip(), aria_hidden="true")[drawn]


def budget_bar(spent: int, reserved: int, limit: int, *, size: str = "", plain: bool = False) -> Element:
    """What of a limit is spent and reserved; from 80 % on in the colour of a warning, from 95 % in that of a halt."""
    committed = spent + reserved
    tone = "f-spent"
    if not plain and limit > 0 and 100 * committed >= 95 * limit:
        tone = "f-halt"
    elif not plain and limit > 0 and 100 * committed >= 80 * limit:
        tone = "f-warn"
    inside = max(min(reserved, limit - spent), 0)
    return bar((0, spent, tone), (max(spent, 0), inside, "f-held"), whole=limit, size=size)


def state(kind: str, word: Node, *, pill: bool = False) -> Element:
    """A word of state: shape, word and colour together."""
    return h.span(class_=f"st {kind}{' pill' if pill else ''}")[
        h.svg({"viewBox": "0 0 10 10"}, aria_hidden="true")[_SHAPES[kind]], word
    ]


@value(frozen=True, slots=True)
class Figure:
    """One number of the first row: its name above, its arithmetic below."""

    name: str
    number: Node
    small: Node = None
    under: Node = None
    bar: Node = None
    tone: str = ""


def figures(found: Sequence[Figure]) -> Element:
    """The row of figures that a page begins with; at most five."""
    return h.dl(class_="figs five" if len(found) == 5 else "figs")[
        (
            h.div(class_=f"fig {each.tone}".strip())[
                h.dt[each.name],
                h.dd(".n")[each.number, each.small is not None and [" ", h.small[each.small]]],
                each.bar is not None and h.dd[each.bar],
                each.under is not None and h.dd(".u")[each.under],
            ]
            for each in found
        )
    ]


def section(title: str, *body: Node, note: Node = None, aside: Node = None, extra: str = "") -> Element:
    """A part of a page under its title."""
    name = f"h-{name_of(title)}"
    return h.section(class_=f"sec {extra}".strip(), aria_labelledby=name)[
        h.header[h.h2(id=name)[title], aside, note is not None and h.span(".note")[note]], *body
    ]


def title(text: Node, *beside: Node) -> Element:
    """The head of a page."""
    return h.div(".title")[h.h1[text], *beside]


def banner(*body: Node, tone: str = "", command: str | None = None, live: bool = True) -> Element:
    """A line above the page: what is wrong with it, what is left out of it, or what was done."""
    return h.div(class_=f"banner {tone}".strip(), role="status" if live else None)[
        *body, command is not None and h.code(".cmd")[command]
    ]


def command(text: str, *, setting: bool = False) -> Element:
    """A command alone on its line, taken with one click."""
    return h.code(class_="cmd set" if setting else "cmd")[text]


# --- tables ----------------------------------------------------------------------------------------------------------
# A table: its head, its rows and their sum, each cell under the name that it has where the table becomes cards.


@value(frozen=True, slots=True)
class ColumnHead:
    """The head of a column; one that is `hidden` is read out and not shown."""

    text: str
    number: bool = False
    hidden: bool = False
    label: str | None = None


@value(frozen=True, slots=True)
class TableCell:
    """One cell; the first of a row that `names` it is its head."""

    body: Node
    tone: str = ""
    names: bool = False
    span: int | None = None


Row = tuple[Sequence[TableCell], str]


@value(frozen=True, slots=True)
class Group:
    """A line between rows that says what the next ones have in common."""

    text: str


def table(
    caption: str,
    heads: Sequence[ColumnHead],
    rows: Iterable[Row | Group],
    foot: Sequence[TableCell] | None = None,
    *,
    cards: bool = False,
    tone: str = "",
) -> Element:
    """A table whose caption says what it is; `cards` are lists that people act on, others scroll in themselves."""
    drawn = h.table(class_=" ".join(filter(None, ("cards" if cards else "", tone))) or None)[
        h.caption(".vh")[caption],
        h.thead[
            h.tr[
                (
                    h.th(scope="col", class_="n" if head.number else None)[
                        h.span(".vh")[head.text] if head.hidden else head.text
                    ]
                    for head in heads
                )
            ]
        ],
        h.tbody[
            (
                h.tr(".group")[h.th(scope="colgroup", colspan=str(len(heads)))[each.text]]
                if isinstance(each, Group)
                else h.tr(class_=each[1] or None)[(_cell(c, head) for c, head in zip(each[0], heads, strict=True))]
                for each in rows
            )
        ],
        foot is not None and h.tfoot[h.tr[(_cell(c, head) for c, head in zip(foot, heads, strict=True))]],
    ]
    if cards:
        return drawn
    return h.div(".scroll", role="region", tabindex="0", aria_label=f"{caption}: table")[drawn]


def _cell(cell: TableCell, head: ColumnHead) -> Element:
    tone = " ".join(filter(None, ("n" if head.number else "", cell.tone))) or None
    if cell.names:
        return h.th(scope="row", class_=tone)[cell.body]
    label = head.text.lower() if head.label is None else head.label
    return h.td({"data-l": label} if label and not head.hidden else {}, class_=tone)[cell.body]


def facts(pairs: Iterable[tuple[Node, Node]]) -> Element:
    """Names with what is so of them."""
    return h.dl(".facts")[([h.dt[name], h.dd[what]] for name, what in pairs)]


def legend(entries: Iterable[tuple[str, Node]]) -> Element:
    """What classes of a drawing mean: each a small piece of it, and its word."""
    return h.ul(".legend")[(h.li[h.svg(aria_hidden="true")[_sample(kind)], word] for kind, word in entries)]


def _sample(kind: str) -> Element:
    if kind.startswith(("ln", "lim", "est", "whisk")):
        return h.line(x1="0", x2="14", y1="5", y2="5", class_=kind)
    if kind.startswith("hold"):
        return h.rect(x="1", y="1", width="10", height="8", class_=kind)
    return h.rect(width="10", height="10", class_=kind)


def key(kind: str) -> Element:
    """The colour of a series, beside its name."""
    return h.svg(".key", aria_hidden="true")[h.rect(width="10", height="10", class_=kind)]
