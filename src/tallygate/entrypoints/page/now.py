"""The page Now: spent and left today, what stands still, how fast it goes, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from urllib.parse import quote

import htpy as h
from htpy import Element, Node

from tallygate.core.forecast import WorkLeft, work_told
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.model import Budget
from tallygate.core.moments import DAY_US
from tallygate.core.money import COUNTED
from tallygate.core.plan import PlanWindow, window_name
from tallygate.core.text import cleaned, plural
from tallygate.core.words import client_name
from tallygate.entrypoints.page import charts
from tallygate.entrypoints.page.document import PageAround, document
from tallygate.entrypoints.page.forecasts import forecasts
from tallygate.entrypoints.page.labels import (
    actual_of,
    agent_of,
    budget_label,
    budget_terms,
    decision_of,
    session_facts,
)
from tallygate.entrypoints.page.look import Look
from tallygate.entrypoints.page.parts import (
    NOTHING,
    ColumnHead,
    Figure,
    Row,
    TableCell,
    budget_bar,
    command,
    figures,
    section,
    state,
    table,
    title,
)
from tallygate.entrypoints.page.wording import NONE, clock, day, money, parts, percent, renewal, when
from tallygate.operations.views.now import Now, ToDo, session_label
from tallygate.operations.views.overview import SessionLine


def now_page(look: Look, around: PageAround, seen: Now, actions: list[ToDo], form: str = "") -> bytes:
    """The page as a whole; `form` is what its own form brings to be known."""
    frame, zone = seen.frame, around.zone
    if frame.is_new:
        return _first_visit(look, around, seen, form)
    body: list[Node] = [
        title("Now", h.p[f"{day(frame.now_us, zone)}, {clock(frame.now_us, zone)}"]),
        figures([_spent(seen), _left(seen, zone), _stopped(look, seen, zone), _burn(seen, zone)]),
        h.div(".grid")[
            h.div(".w7.stack")[_actions(actions), _sessions(look, seen, zone)],
            h.div(".w5.stack")[_windows(seen, zone), forecasts(seen.forecasts)],
            h.div(".w12")[_today(seen, zone)],
            h.div(".w12")[_decisions(look, seen, zone)],
        ],
    ]
    return document(look, around, "Now", *body, frame=frame)


def split_told(seen: Now) -> str:
    """How sure the sum of today is, in parts that add up to it."""
    whole = seen.today.whole
    amounts = (whole.known_nanos, whole.approximate_nanos, whole.assumed_nanos)
    names = ("known", "approximate", "assumed")
    told = [
        f"{name} {text}" for name, text, nanos in zip(names, parts(amounts, whole.nanos), amounts, strict=True) if nanos
    ]
    if whole.partial:
        told.append(f"{plural(whole.partial, 'response')} without a final count")
    return " · ".join(told) or "nothing yet"


def _spent(seen: Now) -> Figure:
    limit = seen.day
    spent = seen.today.whole.nanos
    # Where the budget's day is another than the user's, or the filter leaves work out, both are not of one sum.
    same = limit is not None and limit.spent == spent
    return Figure(
        "Spent today",
        money(spent),
        small=f"of {money(limit.limit)}" if limit is not None and same else None,
        bar=budget_bar(spent, limit.reserved, limit.limit, size="t") if limit is not None and same else None,
        under=split_told(seen),
    )


def _left(seen: Now, zone: tzinfo) -> Figure:
    limit = seen.day
    if limit is None:
        return Figure("Left today", NOTHING, under=["no limit for a day: ", h.span(".mono")["tallygate budget add"]])
    told, far = renewal(limit.resets_us, seen.frame.now_us, zone)
    holding = sum(1 for line in seen.lines if line.totals.pending)
    held = f"after {money(limit.reserved)} reserved by {plural(holding, 'session')}; " if limit.reserved else ""
    spent = "" if limit.spent == seen.today.whole.nanos else f"{money(limit.spent)} of {money(limit.limit)} spent; "
    warns = "" if limit.mode.value == "hard" else "this limit only warns; "
    over = limit.left < 0
    return Figure(
        "Left today",
        money(max(limit.left, 0)),
        under=f"{spent}{held}{warns}renews {told}, {far}" + (f"; {money(-limit.left)} over" if over else ""),
        tone="is-halt" if limit.left <= 0 and limit.mode.value == "hard" else "",
    )


def _stopped(look: Look, seen: Now, zone: tzinfo) -> Figure:
    frame = seen.frame
    number = len(frame.stops)
    if not number:
        return Figure(
            "Stopped", "0", small=f"of {plural(len(frame.open), 'open session')}", under="nothing waits for you"
        )
    session = next(each for each in frame.open if each.session_id in frame.stops)
    stop = frame.stops[session.session_id]
    needs = f": needs {money(stop.call.estimate_nanos)}"
    binding = None if stop.answer is None else stop.answer.binding
    if binding is not None and binding.unit not in COUNTED:
        standing = seen.stopping(stop)
        left = binding.available_nanos if standing is None else standing.available
        needs += f", {money(max(left, 0), binding.unit)} left"
    more = f", and {number - 1} more" if number > 1 else ""
    return Figure(
        "Stopped",
        str(number),
        small=f"of {plural(len(frame.open), 'open session')}",
        under=[
            session_link(look, session.session_id, session_label(session)),
            f", {clock(stop.call.at_us, zone)}{needs}{more}",
        ],
        tone="is-halt",
    )


def _burn(seen: Now, zone: tzinfo) -> Figure:
    """How fast it goes in time at work, and how much work is left of the day's limit; never a time of the day."""
    name, pace = "Burn, last 30 min at work", seen.pace
    an_hour = None if pace is None else pace.an_hour_nanos
    if pace is None:
        return Figure(name, NOTHING, under="of all work only: take the filter away")
    if an_hour is None or pace.last_us is None:
        return Figure(name, NOTHING, under="needs five minutes of work that a client wrote down")
    work = None if seen.day is None or seen.day.budget is None else pace.left(seen.day.budget)
    told = "no limit of the day to hold it against" if work is None else work_told(work)
    last = when(pace.last_us, seen.frame.now_us, zone).removeprefix("today ")
    return Figure(name, [money(an_hour), h.small["/h"]], under=f"{told}; last response {last}")


def session_link(look: Look, session_id: str, text: str, *, main: bool = False) -> Element:
    """A session's name; it leads to its page."""
    return h.a(class_="main" if main else None, href=f"{look.href('session')}{_joined(look)}id={quote(session_id)}")[
        text
    ]


def _joined(look: Look) -> str:
    return "&" if "?" in look.href("session") else "?"


def _actions(found: list[ToDo]) -> Element:
    if not found:
        return section("Do now", h.p(".foot")["Nothing: no session stands still, and every price is known."])
    return section(
        "Do now",
        h.ol(".todo")[
            (
                h.li[
                    h.div(".amt")[
                        money(each.nanos) if each.nanos is not None else NONE, h.small[each.measure or "no amount"]
                    ],
                    h.div[
                        h.h3[cleaned(each.title, 200)], h.p[cleaned(each.why, 500)], command(cleaned(each.command, 400))
                    ],
                ]
                for each in found
            )
        ],
        note="stopped first, then by money a month",
    )


def _sessions(look: Look, seen: Now, zone: tzinfo) -> Element:
    frame = seen.frame
    heads = [
        ColumnHead("Session"),
        ColumnHead("State"),
        ColumnHead("Share spent and reserved", hidden=True),
        ColumnHead("Spent", number=True),
        ColumnHead("Left", number=True),
    ]
    others = len(frame.open) - seen.meant
    beside = others > 0 and h.p(".foot")[f"{plural(others, 'open session')} that the filter does not mean."]
    if not seen.lines:
        none = others == 0 and h.p(".foot")["No session is open. The next one appears here by itself."]
        return section("Open sessions", none, beside)
    rows = [_session_row(look, seen, line, zone) for line in seen.lines]
    more = seen.meant - len(seen.lines)
    return section(
        "Open sessions",
        table("Open sessions", heads, rows, cards=True),
        more > 0 and h.p(".foot")[f"{plural(more, 'more open session')}: tallygate sessions list --state open"],
        beside,
    )


def _session_row(look: Look, seen: Now, line: SessionLine, zone: tzinfo) -> Row:
    session, own = line.session, line.own
    halted = session.session_id in seen.frame.stops
    since = when(session.started_us, seen.frame.now_us, zone).removeprefix("today ")
    limit = None if own is None else f"of {money(own.limit, own.unit)}"
    held = None if own is None or not own.reserved else f"{money(own.reserved, own.unit)} reserved"
    return (
        [
            TableCell(
                [
                    session_link(look, session.session_id, session_label(session), main=True),
                    h.span(".sub")[f"{session_facts(session)} · since {since}"],
                ],
                "wide",
            ),
            TableCell(state("halt", "halted", pill=True) if halted else state("run", "running")),
            TableCell(NONE if own is None else _bar_of(own), "bar-cell share"),
            TableCell([h.b[money(line.spent_nanos, session.currency)], limit and h.span(".sub")[limit]]),
            TableCell(
                [
                    NONE if own is None else money(max(own.available, 0), own.unit),
                    held and h.span(".sub")[held],
                ]
            ),
        ],
        "is-halt" if halted else "",
    )


def _bar_of(budget: Budget) -> Element:
    return budget_bar(budget.spent + budget.carried, budget.reserved, budget.limit)


def _windows(seen: Now, zone: tzinfo) -> Element:
    heads = [
        ColumnHead("Budget"),
        ColumnHead("Share spent and reserved", hidden=True),
        ColumnHead("Left", number=True),
        ColumnHead("Renews", number=True),
    ]
    beside = plans(seen.plans, seen.frame.now_us, zone) if seen.plans else None
    if not seen.windows:
        text = "No budget above single sessions has begun. A limit for a day, a week or a month stands here."
        return h.div(".stack")[section("What is left", h.p(".foot")[text], command("tallygate budget add")), beside]
    works = {each.name: _work(seen, each) for each in seen.windows}
    fullest = sorted(seen.windows, key=lambda each: each.committed * 10_000 // max(each.limit, 1), reverse=True)
    # What runs out within the next hours of work stands first, then what is fullest.
    fullest.sort(key=lambda each: 2**62 if (work := works[each.name]) is None or work.far else work.middle_us)
    rows: list[Row] = []
    for each in fullest:
        told, far = renewal(each.resets_us, seen.frame.now_us, zone)
        rows.append(
            (
                [
                    TableCell(
                        [budget_label(each), h.span(".sub")[f"{budget_terms(each)} {money(each.limit, each.unit)}"]],
                        "wide",
                        names=True,
                    ),
                    TableCell(_bar_of(each), "bar-cell"),
                    TableCell([h.b[money(max(each.available, 0), each.unit)], _lasts(works[each.name], each)]),
                    TableCell([told, far and h.span(".sub")[far]]),
                ],
                "is-halt" if each.available <= 0 and each.mode.value == "hard" else "",
            )
        )
    listed = table("What is left of each budget", heads, rows, cards=True)
    return h.div(".stack")[section("What is left", listed, note="first to run out first, then the fullest"), beside]


def _work(seen: Now, budget: Budget) -> WorkLeft | None:
    """How much work is left of a budget of all work; of others the burn is not known."""
    if seen.pace is None or budget.scope not in (BudgetScope.USER, BudgetScope.GLOBAL):
        return None
    return seen.pace.left(budget)


def _lasts(work: WorkLeft | None, budget: Budget) -> Element:
    if work is None or work.far:
        return h.span(".sub")[_held(budget)]
    return h.span(".sub.up")[work_told(work)]


def plans(found: Sequence[PlanWindow], now_us: int, zone: tzinfo) -> Element:
    """How much of each client's plan is left, as the client tells."""
    heads = [
        ColumnHead("Plan window"),
        ColumnHead("Share used", hidden=True),
        ColumnHead("Left", number=True),
        ColumnHead("Resets", number=True),
    ]
    rows: list[Row] = []
    for each in found:
        told, far = renewal(each.resets_us, now_us, zone) if each.resets_us is not None else (NONE, "not told")
        limit = f" {cleaned(each.limit, 60)}" if each.limit else ""
        name = f"plan, {window_name(each.minutes)}{limit}; told {when(each.at_us, now_us, zone).removeprefix('today ')}"
        rows.append(
            (
                [
                    TableCell([cleaned(client_name(each.client), 80), h.span(".sub")[name]], "wide", names=True),
                    TableCell(budget_bar(each.used, 0, 10_000), "bar-cell"),
                    TableCell(h.b[percent(max(10_000 - each.used, 0), 10_000)]),
                    TableCell([told, h.span(".sub")[far]]),
                ],
                "",
            )
        )
    return section(
        "Plan windows", table("What is left of each plan window", heads, rows, cards=True), note="as clients tell"
    )


def _held(budget: Budget) -> str:
    return f"{money(budget.reserved, budget.unit)} reserved" if budget.reserved else "nothing reserved"


def _today(seen: Now, zone: tzinfo) -> Element:
    """What was spent today by now: a line that only rises, its limit, and the hours beside it."""
    frame, spent = seen.frame, seen.today.whole.nanos
    limit = None if seen.day is None else seen.day.limit
    total, points = 0, []
    for at_us, nanos in seen.hours:
        points.append((at_us, total))
        total += nanos
    first = seen.hours[0][0]
    scale = charts.scale_to(max(spent, limit or 0, 10_000_000), 22, 202)
    drawn = charts.stepped(
        [*((at_us - first, so_far) for at_us, so_far in points), (frame.now_us - first, total)], scale, DAY_US
    )
    reached = charts.whole_share(frame.now_us - first, DAY_US)
    finding = f"Spent rises hour by hour to {money(spent)} at {clock(frame.now_us, zone)}"
    finding += f"; the limit of the day is {money(limit)}." if limit is not None else "; no limit of the day is set."
    rows: list[Row] = []
    so_far = 0
    for at_us, nanos in seen.hours:
        so_far += nanos
        if nanos:
            name = f"{clock(at_us, zone)}–{clock(at_us + DAY_US // 24, zone)}"
            rows.append(([TableCell(name, names=True), TableCell(money(nanos)), TableCell(money(so_far))], ""))
    low = used_low(seen)
    picture = charts.chart(
        "Spent today against the limit of the day",
        finding,
        "ch-230",
        charts.grid(scale),
        limit is not None and charts.limit_line(scale, limit),
        charts.stretched(scale, h.path(d=f"{drawn}V100H0Z", class_="area"), h.path(d=drawn, class_="ln")),
        h.circle(cx=reached, cy=scale.y(spent), r="4", class_="pt now"),
        charts.label(
            f"{money(spent)} at {clock(frame.now_us, zone)}", reached, _over(scale.y(spent)), "b" if low else "b e"
        ),
        [
            charts.label(f"{hour:02d}:00", f"{hour * 100 // 24}%", 218, tone)
            for hour, tone in ((0, ""), (6, "m"), (12, "m"), (18, "m"))
        ],
        charts.label("24:00", "100%", 218, "e"),
    )
    heads = [ColumnHead("Hour"), ColumnHead("Spent", number=True), ColumnHead("Since 00:00", number=True)]
    beside = (
        table("Spent today by hour", heads, rows, tone="tight") if rows else h.p(".foot")["Nothing was spent today."]
    )
    return section("Today so far", h.div(".grid")[h.div(".w8.pad")[picture], h.div(".w4")[beside]])


def used_low(seen: Now) -> bool:
    """Whether it is so early in the day that words stand right of their point."""
    return seen.frame.now_us - seen.hours[0][0] < DAY_US // 3


def _over(y: str) -> int:
    return max(int(y.partition(".")[0]) - 8, 12)


def _decisions(look: Look, seen: Now, zone: tzinfo) -> Element | None:
    if not seen.decisions:
        return None
    heads = [
        ColumnHead("At"),
        ColumnHead("Session"),
        ColumnHead("Call"),
        ColumnHead("Decision"),
        ColumnHead("Reason", label=""),
        ColumnHead("Estimate", number=True),
        ColumnHead("Reservation", number=True),
        ColumnHead("Actual", number=True),
    ]
    rows: list[Row] = []
    for session, call in seen.decisions:
        plain = call.reason.value == "allow"
        rows.append(
            (
                [
                    TableCell(when(call.at_us, seen.frame.now_us, zone).removeprefix("today "), "nw"),
                    TableCell(session_link(look, session.session_id, session_label(session)), "wide"),
                    TableCell(f"{agent_of(call)} / {cleaned(call.tool_name, 80)}"),
                    TableCell(decision_of(call)),
                    TableCell("" if plain else call.reason.value, "faint empty wide" if plain else "faint wide"),
                    TableCell(money(call.raw_estimate_nanos)),
                    TableCell(money(call.estimate_nanos)),
                    TableCell(actual_of(call)),
                ],
                "is-halt" if call.action.value == "halt" else "",
            )
        )
    return section("Last decisions", table("Last decisions of the open sessions", heads, rows, cards=True))


def _first_visit(look: Look, around: PageAround, seen: Now, form: str) -> bytes:
    """A ledger in which nothing is yet: the steps that fill it."""
    steps = [
        (
            "Read what is already here",
            "What your clients have written down on this machine is read; none of it is changed and nothing is sent.",
            ["tallygate sync"],
        ),
        (
            "Put the gate in front of your clients",
            "The first command shows every change as a diff; tallygate uninstall brings each file back byte for byte.",
            ["tallygate init --dry-run", "tallygate init"],
        ),
        (
            "Say what a day may cost",
            "Without a limit everything is counted and nothing is stopped.",
            ["tallygate budget add 30 --per day"],
        ),
    ]
    return document(
        look,
        around,
        "First visit",
        title("Nothing is on record yet", h.p["Three steps, about two minutes."]),
        figures(
            [
                Figure("Spent today", NOTHING, under="known after step 1"),
                Figure("Left today", NOTHING, under="no limit yet: step 3"),
                Figure("Stopped", NOTHING, under="nothing is gated yet: step 2"),
                Figure("Burn, last 30 min", NOTHING, under="needs 30 minutes of use"),
            ]
        ),
        h.div(".grid")[
            h.div(".w8")[
                section(
                    "Begin",
                    h.ol(".steps")[
                        (
                            h.li[
                                h.span(".no")[str(number)],
                                h.div[h.h2[name], h.p[text], [command(each) for each in commands]],
                            ]
                            for number, (name, text, commands) in enumerate(steps, 1)
                        )
                    ],
                )
            ],
            h.div(".w4.stack")[
                section(
                    "Or look around first",
                    h.p(".foot")[
                        "A made-up month of four repositories, in a ledger of its own that is deleted at the end."
                    ],
                    h.form(method="post", action="demo")[
                        h.input(type="hidden", name="token", value=form),
                        h.button(type="submit")["Show a made-up month"],
                    ],
                    command("tallygate dashboard --demo"),
                ),
                section(
                    "What happens with your data",
                    h.dl(".facts")[
                        h.dt["kept"],
                        h.dd["one file on this machine, readable by you alone"],
                        h.dt["sent"],
                        h.dd["nothing, to nobody"],
                        h.dt["this page"],
                        h.dd["loopback only, opened by a token that is good once"],
                    ],
                ),
            ],
        ],
        frame=seen.frame,
    )
