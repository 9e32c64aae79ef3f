"""The page of one session: its calls as they were held and made, its money by agent, who changed its limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

import htpy as h
from htpy import Element, Node

from tallygate.core.gate import lifecycle
from tallygate.core.gate.wording import decided, short_name
from tallygate.core.model import Budget, Call
from tallygate.core.sessions import over_limit
from tallygate.core.text import cleaned, plural
from tallygate.core.words import Action, ActorType, CallState, SessionExactness, UsageBasis
from tallygate.entrypoints.page import charts
from tallygate.entrypoints.page.document import PageAround, document
from tallygate.entrypoints.page.forecasts import where_it_ends
from tallygate.entrypoints.page.labels import (
    actual_of,
    agent_of,
    budget_label,
    budget_terms,
    decision_of,
    session_facts,
)
from tallygate.entrypoints.page.look import Look
from tallygate.entrypoints.page.loops import loops_seen
from tallygate.entrypoints.page.now import session_link
from tallygate.entrypoints.page.parts import (
    ColumnHead,
    Figure,
    Row,
    TableCell,
    banner,
    bar,
    budget_bar,
    facts,
    figures,
    legend,
    section,
    state,
    table,
    title,
)
from tallygate.entrypoints.page.session_record import evidence, limits_changed, record
from tallygate.entrypoints.page.wording import NONE, clock, count, money, parts, percent, ratio, signed, span, when
from tallygate.operations.views.frame import Frame
from tallygate.operations.views.now import session_label
from tallygate.operations.views.overview import SessionView, StoppedRun
from tallygate.operations.views.session_page import SessionBeside

_DRAWN = 80
_MISSING = (
    "An en dash: ten counted calls of the kind say what 8 in 10 cost, and a client's own record what a call read from "
    "the cache and wrote to it."
)
_LISTED = 200
_EXACT = {
    SessionExactness.ALL_ESTIMATE_ONLY: "all of it is estimated",
    SessionExactness.PARTIAL_EXACT: "in part: the rest is estimated, or said by the agent",
    SessionExactness.FULLY_EXACT: "all of it is counted",
    SessionExactness.DEGRADED: "some calls will never be counted",
}
_TOLD = {
    UsageBasis.OBSERVED: "by the client’s own record",
    UsageBasis.REPORTED: "by the agent itself",
    UsageBasis.ESTIMATED: "by nobody yet",
    UsageBasis.MIXED: "by several",
}


def own_of(view: SessionView) -> Budget | None:
    """The budget that a session draws on: its own, or that of the session above it."""
    own = next((each for each in view.budgets if each.budget_id == view.session.session_id), None)
    return own or next((each for each in view.budgets if each.scope == "session"), None)


def session_page(
    look: Look,
    around: PageAround,
    frame: Frame,
    view: SessionView,
    beside: SessionBeside,
    *,
    line: Mapping[str, Any],
    every: bool = False,
    form: str = "",
    fault: str | None = None,
) -> bytes:
    """The page as a whole; with `every` all calls are listed. `form` is what its own form brings to be known."""
    session, zone = view.session, around.zone
    own = own_of(view)
    stop = frame.stops.get(session.session_id)
    name = session_label(session)
    body: list[Node] = [
        h.p(".note")[
            h.a(href=look.href("sessions"))["Sessions"], " / ", h.span(".mono")[short_name(session.session_id)]
        ],
        title(name, _standing(view, stop, zone), h.p[_about(view, frame, zone)]),
        fault is not None and banner(state("warn", "not done"), h.p[cleaned(fault, 500)], tone="warn"),
        stop is not None and _stopped(stop),
        figures([_spent(view, own), _left(view, own, zone), _estimate(view), _agents(view), _exact(view)]),
        _timeline(view, beside, own, zone),
        h.div(".grid")[
            h.div(".w5.stack")[_by_agent(look, view, beside), _shares("By model", "Model", view), evidence(view, form)],
            h.div(".w7.stack")[
                where_it_ends(beside.ahead),
                _decisions(view),
                limits_changed(view, frame, zone),
                bool(view.loops) and loops_seen("Loops", view.loops, frame.now_us, zone, empty=""),
                _budgets(view),
                record(view, line),
            ],
            h.div(".w12")[_calls(look, view, beside, frame, zone, every=every)],
        ],
    ]
    return document(look, around, name, *body, frame=frame, count=plural(len(view.calls), "call"))


def _standing(view: SessionView, stop: StoppedRun | None, zone: tzinfo) -> Element:
    if stop is not None:
        return state("halt", f"halted {clock(stop.call.at_us, zone)}", pill=True)
    return state("run", "running") if view.session.is_open else state("off", "ended")


def _about(view: SessionView, frame: Frame, zone: tzinfo) -> str:
    session = view.session
    models = [cleaned(share.label, 80) for share in view.by_model if share.label]
    end = session.ended_us or frame.now_us
    since = when(session.started_us, frame.now_us, zone).removeprefix("today ")
    return " · ".join(
        [
            session_facts(session),
            models[0] if models else session.model,
            f"since {since}, {span(end - session.started_us)}",
        ]
    )


def _stopped(stop: StoppedRun) -> Element:
    why = (stop.message or f"{stop.call.tool_name} was refused: {stop.call.reason.value}").splitlines()[0]
    return banner(
        h.p[h.b[cleaned(why, 500)]], tone="halt", command=cleaned(stop.command, 400) if stop.command else None
    )


def _total(view: SessionView) -> int:
    return view.totals.total_nanos


def _spent(view: SessionView, own: Budget | None) -> Figure:
    total = _total(view)
    split = view.split.within(total)
    sure = (total - split.unsure_nanos, split.approximate_nanos, split.assumed_nanos)
    names = ("known", "approximate", "assumed")
    told = [f"{name} {text}" for name, text, nanos in zip(names, parts(sure, total), sure, strict=True) if nanos]
    limit = own is not None and f"of {money(own.limit, own.unit)}"
    return Figure(
        "Spent",
        money(total),
        small=limit or None,
        bar=None
        if own is None
        else budget_bar(own.spent, own.reserved, own.limit, size="t", plain=not view.session.is_open),
        under=" · ".join(told) or "nothing yet",
    )


def _left(view: SessionView, own: Budget | None, zone: tzinfo) -> Figure:
    if own is None:
        return Figure("Left", NONE, under="it lives on the budgets below")
    held = f"after {money(own.reserved, own.unit)} reserved" if own.reserved else "nothing reserved"
    changes = [each for each in view.limit_changes if each.budget_id == own.name and each.is_raise]
    was = f"; limit was {money(changes[-1].before, own.unit)} until {clock(changes[-1].at_us, zone)}" if changes else ""
    over = f"; {money(-own.available, own.unit)} over" if own.available < 0 else ""
    return Figure("Left", money(max(own.available, 0), own.unit), under=f"{held}{was}{over}")


def _estimate(view: SessionView) -> Figure:
    """What the calls that count cost beside what was estimated of them."""
    counted = [call for call in view.calls if lifecycle.counts(call) and call.state is not CallState.PENDING]
    estimated = sum(call.raw_estimate_nanos for call in counted)
    cost = sum(_cost(call, view) for call in counted)
    if not estimated:
        return Figure("Cost to estimate", NONE, under="no call was estimated and counted yet")
    return Figure(
        "Cost to estimate",
        ratio(cost, estimated),
        under=f"{plural(len(counted), 'call')} estimated {money(estimated)}, cost {money(cost)}",
    )


def _cost(call: Call, view: SessionView) -> int:
    return view.nanos_by_call.get(call.call_id, call.booked_nanos)


def _agents(view: SessionView) -> Figure:
    calls = [call for call in view.calls if call.actor_type is ActorType.SUBAGENT and lifecycle.counts(call)]
    spent = sum(_cost(call, view) for call in calls)
    total = _total(view)
    if not calls:
        return Figure("Subagents", money(0), under="none was at work")
    under = f"{percent(spent, total)} of the session, {len(calls)} of {plural(view.totals.calls_made, 'call')}"
    return Figure("Subagents", money(spent), under=under)


def _exact(view: SessionView) -> Figure:
    made = [call for call in view.calls if lifecycle.counts(call)]
    settled = [call for call in made if call.state is not CallState.PENDING]
    counted = [call for call in settled if call.call_id in view.nanos_by_call or call.has_actual]
    under = f"{_EXACT[SessionExactness(view.totals.stated)]}, told {_TOLD[view.totals.basis]}"
    return Figure("Exactness", str(len(counted)), small=f"of {plural(len(made), 'call')}", under=under)


# --- timeline --------------------------------------------------------------------------------------------------------


def _timeline(view: SessionView, beside: SessionBeside, own: Budget | None, zone: tzinfo) -> Element | None:
    """Two storeys: what was spent against the limit, and below it each call as it was held and made."""
    calls = view.calls[-_DRAWN:]
    if not calls:
        return None
    earlier = sum(_cost(call, view) for call in view.calls[:-_DRAWN])
    number = len(calls)
    steps, total = [(0, earlier)], earlier
    for place, call in enumerate(calls):
        total += 0 if call.state is CallState.DENIED else _cost(call, view)
        steps.append((2 * place + 1, total))
    limits = _limit_steps(view, own, calls)
    upper = charts.scale_to(max([total, *(amount for _, amount in limits), 1_000_000]), 18, 114)
    highest = max(max(call.estimate_nanos, _cost(call, view)) for call in calls)
    lower = charts.scale_to(max(highest, 1_000_000), 150, 290)
    line = charts.stepped(steps, upper, 2 * number, last=2 * number)
    halts = [call for call in calls if call.action is Action.HALT]
    finding = f"{plural(number, 'call')} and {plural(len(halts), 'halt')}. Spent rises to {money(total)}"
    finding += f", the limit is {money(own.limit, own.unit)}." if own is not None else "."
    name = "Calls of the session: estimate, reservation, actual"
    drawn = charts.chart(
        name,
        finding,
        "ch-312",
        charts.grid(upper),
        charts.stretched(
            upper,
            h.path(d=f"{line}V100H0Z", class_="area"),
            len(limits) > 0 and h.path(d=charts.stepped(limits, upper, 2 * number, last=2 * number), class_="lim"),
            h.path(d=line, class_="ln"),
        ),
        charts.grid(lower),
        charts.label("each call", "0", 136),
        [_call_drawn(view, call, place, number, lower) for place, call in enumerate(calls)],
        [
            _spread_drawn(beside.spreads[call.call_id], place, number, lower)
            for place, call in enumerate(calls)
            if call.call_id in beside.spreads
        ],
        [
            charts.label(clock(call.at_us, zone), charts.place_of(place, number, 50), 306, "m minor" if place else "m")
            for place, call in enumerate(calls)
            if place % max(number // 8, 1) == 0
        ],
    )
    note = "one column a call, in order"
    if len(view.calls) > number:
        note = f"the last {number} of {len(view.calls):,} calls, one column each"
    kinds = [
        ("f-spent", "actual"),
        ("hold", "reservation"),
        ("est", "estimate"),
        *([("whisk", "8 of 10 such calls")] if beside.spreads else []),
        ("over", "overrun"),
        ("hold hot", "halted: would have been reserved"),
        ("lim", "limit"),
    ]
    return section(
        "Timeline", h.div(".pad")[drawn, legend(kinds)], h.p(".foot")["Its table is Calls, below."], note=note
    )


def _limit_steps(view: SessionView, own: Budget | None, calls: Sequence[Call]) -> list[tuple[int, int]]:
    """The limit as it was at each call, as steps."""
    if own is None or own.unit != "USD":
        return []
    changes = sorted((each for each in view.limit_changes if each.budget_id == own.name), key=lambda each: each.at_us)
    first = changes[0].before if changes else own.limit
    found = [(0, first)]
    for change in changes:
        place = sum(1 for call in calls if call.at_us <= change.at_us)
        found.append((2 * place, change.limit))
    return found


def _call_drawn(view: SessionView, call: Call, place: int, number: int, scale: charts.Scale) -> list[Element]:
    """One call: what was held as a frame, what it cost inside, its estimate as a line across."""
    left, wide = charts.place_of(place, number, 18), charts.place_of(0, number, 64)
    inner, narrow = charts.place_of(place, number, 30), charts.place_of(0, number, 40)
    halted = call.state is CallState.DENIED
    held, cost = call.estimate_nanos, 0 if halted else _cost(call, view)
    found = [
        h.rect(x=left, width=wide, y=scale.y(held), height=scale.height(held), class_="hold hot" if halted else "hold")
    ]
    if cost:
        inside = min(cost, held)
        found.append(h.rect(x=inner, width=narrow, y=scale.y(inside), height=scale.height(inside), class_="f-spent"))
        if cost > held:
            found.append(
                h.rect(x=inner, width=narrow, y=scale.y(cost), height=scale.height(cost - held), class_="over")
            )
    estimate = scale.y(call.raw_estimate_nanos)
    end = charts.place_of(place, number, 82)
    found.append(h.line(x1=left, x2=end, y1=estimate, y2=estimate, class_="est"))
    return found


def _spread_drawn(spread: tuple[int, int], place: int, number: int, scale: charts.Scale) -> Element:
    """Between what eight in ten such calls cost: a line up, in the middle of the call."""
    x = charts.place_of(place, number, 50)
    return h.line(x1=x, x2=x, y1=scale.y(spread[1]), y2=scale.y(spread[0]), class_="whisk")


# --- sections --------------------------------------------------------------------------------------------------------


def _by_agent(look: Look, view: SessionView, beside: SessionBeside) -> Element:
    """What each agent's calls cost; what belongs to no call is the rest, so that the shares come to the session."""
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    models: dict[str, set[str]] = {}
    for call in view.calls:
        if lifecycle.counts(call):
            name = "main agent" if call.actor_type is not ActorType.SUBAGENT else agent_of(call)
            spent[name] += _cost(call, view)
            calls[name] += 1
            used = view.models_by_call.get(call.call_id) or call.model_used or call.model_requested
            models.setdefault(name, set()).add(cleaned(used, 60))
    total = _total(view)
    names = sorted(spent, key=lambda name: (name != "main agent", -spent[name], name))
    rest = total - sum(spent.values())
    texts = parts([*(spent[name] for name in names), rest], total)
    rows: list[Row] = []
    for number, name in enumerate(names):
        depth = "" if name == "main agent" else "d1 twig"
        facts_of = f"{', '.join(sorted(models[name]))} · {plural(calls[name], 'call')}"
        rows.append(
            (
                [
                    TableCell(
                        [h.span(class_=depth or None)[name], h.span(class_="sub d1" if depth else "sub")[facts_of]],
                        names=True,
                    ),
                    TableCell(bar((0, spent[name], "f-spent"), whole=total, size="s"), "bar-cell share"),
                    TableCell(texts[number]),
                    TableCell(percent(spent[name], total)),
                ],
                "",
            )
        )
    named = TableCell("rest: no call on record", "faint", names=True)
    rows.append(
        ([named, TableCell(""), TableCell(texts[-1]), TableCell(percent(rest, total) if rest > 0 else "0 %")], "")
    )
    foot = [TableCell("total", names=True), TableCell(""), TableCell(money(total)), TableCell("100 %")]
    heads = [
        ColumnHead("Agent"),
        ColumnHead("Share", hidden=True),
        ColumnHead("Cost", number=True),
        ColumnHead("Share", number=True),
    ]
    inside = None
    if beside.beneath:
        links: list[Node] = []
        for each in beside.beneath:
            name = session_label(each.session)
            links += [session_link(look, each.session.session_id, name), f" {money(each.spent_nanos)}, "]
        links[-1] = f" {money(beside.beneath[-1].spent_nanos)}."
        inside = h.p(".foot")["Sessions opened within it, each with its own sum: ", links]
    return section("Money by subagent", table("Money by subagent", heads, rows, foot), inside)


def _shares(name: str, head: str, view: SessionView) -> Element | None:
    if not view.by_model:
        return None
    total = _total(view)
    texts = parts([share.nanos for share in view.by_model], total)
    rows: list[Row] = [
        (
            [
                TableCell(cleaned(share.label, 120) or "not named", names=True),
                TableCell(f"{share.calls:,}"),
                TableCell(text),
                TableCell(percent(share.nanos, total)),
            ],
            "",
        )
        for share, text in zip(view.by_model, texts, strict=True)
    ]
    heads = [
        ColumnHead(head),
        ColumnHead("Calls", number=True),
        ColumnHead("Cost", number=True),
        ColumnHead("Share", number=True),
    ]
    return section(name, table(name, heads, rows))


def _decisions(view: SessionView) -> Element:
    over = {call.call_id for call in over_limit(view.calls)}
    became = Counter(decided(call.action, call.reason, over=call.call_id in over) for call in view.calls)
    beyond = [_cost(call, view) - call.estimate_nanos for call in view.calls if call.state is not CallState.DENIED]
    overrun = [more for more in beyond if more > 0]
    rows: list[tuple[Node, Node]] = [(plural(number, "call"), what) for what, number in became.most_common()]
    if overrun:
        amount = money(sum(overrun))
        rows.append(
            ("overruns", f"{plural(len(overrun), 'call')}, {amount} above their reservations, recorded in full")
        )
    if view.over is not None:
        rows.append(("soft limit", view.over.told))
    rows += [("odd report", f"{cleaned(each.kind, 60)}: {cleaned(each.told, 200)}") for each in view.anomalies]
    return section("Decisions", facts(rows) if rows else h.p(".foot")["No call was asked about yet."])


def _budgets(view: SessionView) -> Element | None:
    if not view.budgets:
        return None
    heads = [
        ColumnHead("Budget"),
        ColumnHead("Share", hidden=True),
        ColumnHead("Spent", number=True),
        ColumnHead("Left", number=True),
        ColumnHead("Limit", number=True),
    ]
    sessions = {view.session.session_id: view.session}
    rows: list[Row] = [
        (
            [
                TableCell([budget_label(each, sessions), h.span(".sub")[budget_terms(each)]], names=True),
                TableCell(budget_bar(each.spent + each.carried, each.reserved, each.limit), "bar-cell share"),
                TableCell(money(each.spent + each.carried, each.unit)),
                TableCell(money(max(each.available, 0), each.unit)),
                TableCell(money(each.limit, each.unit)),
            ],
            "",
        )
        for each in view.budgets
    ]
    return section("What binds it", table("Budgets that bind the session", heads, rows))


def _calls(look: Look, view: SessionView, beside: SessionBeside, frame: Frame, zone: tzinfo, *, every: bool) -> Element:
    heads = [
        ColumnHead("At"),
        ColumnHead("Call"),
        ColumnHead("Agent"),
        ColumnHead("Model"),
        ColumnHead("Decision"),
        ColumnHead("Estimate", number=True),
        ColumnHead("8 in 10 cost", number=True),
        ColumnHead("Reservation", number=True),
        ColumnHead("Actual", number=True),
        ColumnHead("To reservation", number=True),
        ColumnHead("Cache read", number=True),
        ColumnHead("Cache write", number=True),
        ColumnHead("Session", number=True),
    ]
    calls = view.calls if every else view.calls[-_LISTED:]
    total = 0
    sums = {}
    for call in view.calls:
        total += 0 if call.state is CallState.DENIED else _cost(call, view)
        sums[call.call_id] = total

    def at(at_us: int) -> str:
        return when(at_us, frame.now_us, zone).removeprefix("today ")

    rows: list[Row] = [_call_row(view, beside, call, sums[call.call_id], at) for call in calls]
    halts = sum(call.action is Action.HALT for call in view.calls)
    more = len(view.calls) - len(calls)
    link = h.a(href=look.href(every="1"))[f"All {len(view.calls):,}"]
    return section(
        "Calls",
        table("Calls in order", heads, rows) if rows else h.p(".foot")["No call was asked about yet."],
        more > 0 and h.p(".foot")[f"The last {len(calls)} are shown. ", link],
        h.p(".foot")[_MISSING],
        note=f"{plural(len(view.calls) - halts, 'call')}, {plural(halts, 'halt')}",
    )


def _call_row(view: SessionView, beside: SessionBeside, call: Call, total: int, at: Callable[[int], str]) -> Row:
    denied = call.state is CallState.DENIED
    known = not denied and (call.call_id in view.nanos_by_call or call.cost_basis != "none")
    beyond = _cost(call, view) - call.estimate_nanos
    used = view.models_by_call.get(call.call_id) or call.model_used or call.model_requested
    spread, used_tokens = beside.spreads.get(call.call_id), beside.tokens.get(call.call_id)
    return (
        [
            TableCell(at(call.at_us), "nw"),
            TableCell(cleaned(call.tool_name, 80), names=True),
            TableCell(agent_of(call)),
            TableCell(cleaned(used, 80), "nw"),
            TableCell(decision_of(call)),
            TableCell(money(call.raw_estimate_nanos)),
            TableCell(NONE if spread is None else f"{money(spread[0])}\N{EN DASH}{money(spread[1])}", "nw"),
            TableCell(money(call.estimate_nanos)),
            TableCell(h.b[actual_of(call, view.nanos_by_call)]),
            TableCell(h.span(class_="up" if beyond > 0 else None)[signed(beyond)] if known else NONE),
            TableCell(NONE if used_tokens is None else count(used_tokens.cache_read)),
            TableCell(NONE if used_tokens is None else count(used_tokens.cache_write_5m + used_tokens.cache_write_1h)),
            TableCell(money(total)),
        ],
        "is-halt" if denied else "",
    )
