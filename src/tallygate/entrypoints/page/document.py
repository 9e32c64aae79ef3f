"""The document around every page: its head, the filters, the banners, and the foot that it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, tzinfo

import htpy as h
from htpy import Element, Node

from tallygate import __version__
from tallygate.core.chosen import ALL, TODAY, WEEK, Span, Term, month_before
from tallygate.core.errors import TallygateError
from tallygate.core.gate.wording import off_told
from tallygate.core.text import cleaned, plural, visible
from tallygate.core.values import value
from tallygate.entrypoints.page.look import KEYS, Look
from tallygate.entrypoints.page.parts import PATTERNS, banner, state, title
from tallygate.entrypoints.page.wording import at, offset, when
from tallygate.operations.views.frame import OPEN_MAX, Frame

# Pages in their order, each with the name that stands in the head.
PAGES = {
    "now": "Now",
    "spend": "Spend",
    "sessions": "Sessions",
    "budgets": "Budgets",
    "gate": "Gate",
    "bills": "Bills",
    "proof": "Proof",
}
# A page that is reached from another one stands below it in the head.
_BELOW = {"session": "sessions"}
_TEXT_MAX = 1000
_DEMO = (
    "A made-up month of four repositories; nothing of it is yours, and nothing is written to your ledger. "
    "It is deleted when the command ends."
)


@value(frozen=True, slots=True)
class PageAround:
    """What a page is shown in: where its figures come from, whose days it goes by, and what is wrong everywhere.

    `notices` stand above every page: what keeps the gate shut, in sentences with the next step. `back` is the address
    of the user's own ledger, where the page shows another one.
    """

    zone: tzinfo
    is_demo: bool = False
    notices: tuple[str, ...] = ()
    back: str | None = None


def rendered(document: Element) -> bytes:
    """A document as it is sent: whatever in it would act on a reader unseen is shown as a sign."""
    return visible(str(document)).encode()


def document(
    look: Look,
    around: PageAround,
    name: str,
    *body: Node,
    frame: Frame | None,
    count: Node = None,
    scripts: Sequence[str] = (),
    again_s: int | None = None,
) -> bytes:
    """A page as a whole; without a `frame` it says nothing of the ledger. `scripts` are modules of this page alone.

    A page that is asked for `again_s` seconds later is one that only waits for another.
    """
    return rendered(
        h.html(lang="en", data_theme=look.theme)[
            h.head[
                h.meta(charset="utf-8"),
                h.meta(name="viewport", content="width=device-width, initial-scale=1"),
                h.title[f"{name} · Tallygate"],
                again_s is not None and h.meta(http_equiv="refresh", content=str(again_s)),
                h.link(rel="icon", href="icon.svg"),
                h.link(rel="stylesheet", href="tokens.css"),
                h.link(rel="stylesheet", href="page.css"),
                frame is not None and h.script(src="page.js", defer=True),
                [h.script(src=name, type="module") for name in scripts],
            ],
            h.body[
                h.a(".skip", href="#main")["Skip to the page"],
                PATTERNS,
                _top(look, frame),
                frame is not None and _filters(look, around, frame, count),
                h.main(id="main")[h.div(".wrap")[_banners(look, around, frame), *body]],
                _bottom(look, around, frame),
            ],
        ]
    )


def fault_page(look: Look, around: PageAround, fault: TallygateError) -> bytes:
    """The page while the ledger cannot be asked: that it halts everything, why, and what mends it."""
    return document(
        look,
        around,
        "Halted",
        banner(
            state("halt", "halted"),
            h.p[
                h.b["The gate halts everything: the ledger cannot be used. "],
                f"{cleaned(fault.message, _TEXT_MAX)} {cleaned(fault.hint, _TEXT_MAX)} ",
                h.span(".mono")[fault.code],
            ],
            tone="halt",
            command="tallygate doctor",
        ),
        title("No figures now"),
        h.p(".say")["Nothing is shown that might not be so any more. This page asks anew when it is loaded again."],
        frame=None,
    )


def waiting_page(look: Look, around: PageAround, percent: int, fault: str | None) -> bytes:
    """The page while the made-up month is made; it asks anew by itself."""
    own = h.p(".foot")[h.a(href=around.back or "../now")["Back to your own ledger"]]
    if fault is not None:
        return document(
            look, around, "Demo", title("The made-up month could not be made"), h.p(".say")[fault], own, frame=None
        )
    told = h.p(".say", role="status")[f"{percent} % of it are there. It appears here by itself."]
    return document(look, around, "Demo", title("Making a month of its own"), told, own, frame=None, again_s=1)


def _top(look: Look, frame: Frame | None) -> Element:
    other = "light" if look.theme == "dark" else "dark"
    return h.header(".top")[
        h.div(".wrap")[
            h.a(".brand", href=look.href("now"))[
                h.svg({"viewBox": "0 0 18 18"}, aria_hidden="true")[
                    h.path(d="M3 3v12M7 3v12M11 3v12M15 3v12"), h.path(".gate", d="M1 13 17 5")
                ],
                "tallygate",
            ],
            h.nav(".pages", aria_label="Pages")[
                (
                    h.a(
                        href=_to(look, page), aria_current="page" if page == _BELOW.get(look.page, look.page) else None
                    )[name]
                    for page, name in PAGES.items()
                )
            ],
            h.div(".tools")[
                frame is not None and _standing(look, frame),
                h.a(".opt", href=look.href(theme=other))["Theme"],
            ],
        ]
    ]


def _to(look: Look, page: str) -> str:
    """The address of another page. Bills come days late, so that those of today are none."""
    return look.href(page, period=ALL) if (page, look.period) == ("bills", TODAY) else look.href(page)


def _standing(look: Look, frame: Frame) -> Element:
    """Whether anything stands still, in the head of every page."""
    if frame.stops:
        return h.a(href=look.href("now"))[state("halt", f"{len(frame.stops)} halted", pill=True)]
    if not frame.open:
        return state("off", "nothing open")
    most = "+" if len(frame.open) == OPEN_MAX else ""
    return state("run", f"{len(frame.open)}{most} running")


def _filters(look: Look, around: PageAround, frame: Frame, count: Node) -> Element:
    today = at(frame.now_us, around.zone).date()
    periods = {TODAY: "Today", WEEK: "7 days", **_months(today), ALL: "All"}
    return h.div(".filters")[
        h.form(".wrap", method="get", action=look.page, role="search", aria_label="Period and filters")[
            h.span(".seg")[
                (
                    h.a(href=look.href(period=name), aria_current="true" if name == look.period else None)[text]
                    for name, text in periods.items()
                )
            ],
            len(look.filter.terms) > 0 and h.span(".chips")[(_chip(look, term) for term in look.filter.terms)],
            h.span(".field")[
                h.label(".vh", for_="f")["Filter"],
                h.input(
                    id="f",
                    name="filter",
                    value=look.filter.text or None,
                    placeholder=f"Filter: {', '.join(f'{key}:' for key in KEYS)} …",
                    autocomplete="off",
                ),
            ],
            h.input(type="hidden", name="period", value=look.period),
            look.theme and h.input(type="hidden", name="theme", value=look.theme),
            (h.input(type="hidden", name=name, value=value) for name, value in look.other.items()),
            h.button(".vh", type="submit")["Apply"],
            h.span(".count")[f"local days, {offset(frame.now_us, around.zone)}" if count is None else count],
        ]
    ]


def _months(today: date) -> dict[str, str]:
    before = month_before(today)
    return {f"{day:%Y-%m}": f"{day:%b %Y}" for day in (today, before)}


def _chip(look: Look, term: Term) -> Element:
    return h.span(".chip")[
        term.text, h.a(href=look.href(filter=look.filter.without(term).text), aria_label=f"remove {term.text}")["×"]
    ]


def _banners(look: Look, around: PageAround, frame: Frame | None) -> list[Node]:
    """What is so on every page: what halts everything, made-up figures, a gate that is off, and what is left out."""
    found: list[Node] = [
        banner(state("halt", "halted"), h.p[cleaned(text, _TEXT_MAX)], tone="halt", command="tallygate doctor")
        for text in around.notices
    ]
    if around.is_demo:
        found.append(
            banner(
                h.p[
                    h.b["Demo data. "],
                    _DEMO,
                    around.back is not None and [" ", h.a(href=around.back)["Back to your own ledger"]],
                ]
            )
        )
    if frame is None:
        return found
    if frame.off is not None:
        told = off_told(frame.off, str(around.zone)).replace("`", "")
        found.append(banner(state("warn", "off"), h.p[told], tone="warn", command="tallygate on"))
    if frame.unread.records:
        found.append(_left_out(frame))
    known = f". Words that are known: {', '.join(KEYS)}."
    return [*found, *(banner(h.p[h.b["Not filtered by "], text, known]) for text in look.filter.unknown)]


def _left_out(frame: Frame) -> Element:
    unread = frame.unread
    where = plural(unread.files, "file") if unread.files else "telemetry"
    return banner(
        h.p[
            h.b[f"{plural(unread.records, 'record')} in {where} could not be read"],
            " and ",
            "is" if unread.records == 1 else "are",
            " in no total.",
        ],
        command="tallygate doctor",
    )


def _bottom(look: Look, around: PageAround, frame: Frame | None) -> Element:
    """What this page can be held to."""
    parts: list[Node] = []
    if frame is not None:
        prices = frame.prices
        age = "without dates" if prices.age_days is None else f"newest {plural(prices.age_days, 'day')} old"
        if frame.head.seq:
            parts.append(
                h.span[
                    "head ",
                    h.a(".mono", href=look.href("proof"))[frame.head.hash.hex()[:12]],
                    f" · event {frame.head.seq:,}, {when(frame.head.at_us, frame.now_us, around.zone)}",
                ]
            )
        else:
            parts.append(h.span["ledger is new · no events yet"])
        parts.append(h.span[f"tallygate {__version__} · prices {prices.source} {prices.version}, {age}"])
        parts.append(h.span(".figures")[f"figures of {when(frame.now_us, frame.now_us, around.zone)}"])
        verified: list[Node] = ["chain: ", h.a(href=look.href("proof"))["check it in this browser"]]
        parts.append(h.span(id="verified")[verified])
        parts.append(h.span(id="live", role="status"))
    else:
        parts.append(h.span[f"tallygate {__version__}"])
    parts.append(h.span["nothing leaves this machine"])
    if frame is not None:
        parts.append(_keys())
    return h.footer(".bottom")[h.div(".wrap")[parts]]


# What each key does; a page's letter is that of page.js, too.
_LETTERS = {"n": "now", "s": "spend", "e": "sessions", "b": "budgets", "g": "gate", "i": "bills", "p": "proof"}
_KEYS = (
    ("j k", "next row, row before"),
    ("Enter", "opens the row"),
    ("/", "filter"),
    ("?", "these keys"),
    ("Esc", "leaves a field, closes these keys"),
)


def _keys() -> Element:
    """The keys, for whoever has a script that hears them; one button switches them off."""

    def told(keys: str, what: str) -> Element:
        return h.span[[[h.kbd[key], " "] for key in keys.split()], what]

    short = [told("g n", "Now"), told("/", "filter"), told("j k", "rows")]
    every = [told(f"g {letter}", PAGES[page]) for letter, page in _LETTERS.items() if page in PAGES]
    every += [told(keys, what) for keys, what in _KEYS]
    return h.div(".keys", id="keys", hidden=True)[
        short,
        h.details(id="keys-all")[h.summary[h.kbd["?"], " all keys"], h.ul[[h.li[each] for each in every]]],
        h.button(type="button", id="keys-switch")["keys on"],
    ]


def filter_note(look: Look, span: Span) -> Sequence[Node]:
    """What a page is about, beside its title."""
    against = f", against {span.before_label}" if span.before is not None else ""
    only = f" · only {look.filter.text}" if look.filter.terms else ""
    return (h.p[f"{span.label}{against}{only}"],)
