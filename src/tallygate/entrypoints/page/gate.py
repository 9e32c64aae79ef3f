"""The page Gate: whether its halts were right, which limits were passed, and one decision as a sum to be checked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

import htpy as h
from htpy import Element, Node

from tallygate.core.gate.rules import BudgetScope
from tallygate.core.gate.verdict import HaltVerdict, JudgedHalt
from tallygate.core.gate.wording import short_name
from tallygate.core.learning.coverage import QuantileMet
from tallygate.core.money import told_apart
from tallygate.core.text import cleaned, plural
from tallygate.core.words import Action
from tallygate.entrypoints.page import charts
from tallygate.entrypoints.page.decision_sum import decision_sum
from tallygate.entrypoints.page.document import PageAround, document
from tallygate.entrypoints.page.labels import actual_of, budget_label, budget_terms, decision_of
from tallygate.entrypoints.page.look import Look
from tallygate.entrypoints.page.loops import loops_seen
from tallygate.entrypoints.page.parts import (
    ColumnHead,
    Figure,
    Row,
    TableCell,
    command,
    figures,
    section,
    state,
    table,
    title,
)
from tallygate.entrypoints.page.wording import MINUS, NONE, money, ratio, span, when
from tallygate.operations.views.gate import (
    CALLS_MAX,
    ROWS_MAX,
    SAMPLES_MAX,
    GateDecision,
    GateReview,
    Listed,
    cost_of,
)
from tallygate.operations.views.now import session_label

_RULE = (
    "A halt is false when the step, run after a raise, cost no more than what was available when it was halted. "
    "A halt that nobody continued cannot be judged and is counted as not known."
)
_TABS = {
    Listed.LOOK: "to look at",
    Listed.FALSE: "false halts",
    Listed.HALTS: "halts",
    Listed.REROUTES: "reroutes",
    Listed.OVERRUNS: "overruns",
    Listed.ALL: "all",
}
_LOWEST = 40


def gate_page(look: Look, around: PageAround, seen: GateReview) -> bytes:
    """The page as a whole."""
    only = f" · only {look.filter.text}" if look.filter.terms else ""
    head = title("Gate", h.p[f"Was it right? {seen.span.label}{only}"])
    zone = around.zone
    if not seen.calls and not seen.halts:
        body: list[Node] = [head, _nothing(look, seen), h.p(".foot")[_RULE]]
    else:
        body = [
            head,
            h.p(".say")[_sentence(seen)],
            figures([_false(seen), _overshoots(seen), _coverage(seen), _decisions_made(seen), _unused(seen)]),
            h.div(".grid")[
                h.div(".w12")[_decisions(look, seen, zone)],
                h.div(".w6")[
                    seen.chosen is not None and decision_sum(look, seen.chosen, seen.chosen_halt, seen.frame, zone),
                    h.p(".foot")[_RULE],
                ],
                h.div(".w6")[_calibration(seen)],
                len(seen.again) > 0 and h.div(".w12")[_again(seen)],
                h.div(".w12")[_passed(look, seen, zone)],
                h.div(".w12")[
                    loops_seen(
                        "Loops", seen.loops, seen.frame.now_us, zone, empty=f"None was seen in {seen.span.label}."
                    )
                ],
            ],
        ]
    return document(look, around, "Gate", *body, frame=seen.frame, count=_counted(seen))


def _counted(seen: GateReview) -> str:
    most = "newest " if seen.is_cut else ""
    return f"{most}{plural(len(seen.calls), 'decision')}"


def _nothing(look: Look, seen: GateReview) -> Element:
    """Why there is nothing to judge, and the nearest that shows something, or the first step."""
    told = f"The gate decided nothing in {seen.span.label}"
    if look.filter.terms:
        last = look.filter.terms[-1]
        return h.p(".say")[
            f"{told} that matches ",
            h.span(".mono")[look.filter.text],
            ". ",
            h.a(href=look.href(filter=look.filter.without(last).text))[f"Without {last.text}"],
        ]
    if seen.frame.is_new:
        return h.div[
            h.p(".say")["The gate has decided nothing yet. It is put before your agents by:"], command("tallygate init")
        ]
    return h.p(".say")[f"{told}. ", h.a(href=look.href(period="all", decision=None))["Everything on record"]]


def _sentence(seen: GateReview) -> list[Node]:
    """Right, false or not known: all halts are in one of the three."""
    halts, unknown = len(seen.halts), seen.count(HaltVerdict.UNKNOWN)
    if not halts:
        first: list[Node] = [h.b["Nothing was halted."], " "]
    else:
        whole = seen.halts_made
        of = f"Of {plural(halts, 'halt')}"
        if whole is not None and whole > halts:
            of = f"Of the newest {halts:,} of {whole:,} halts"
        right, false = seen.count(HaltVerdict.RIGHT), seen.count(HaltVerdict.FALSE)
        why: dict[str, int] = {}
        for each in seen.halts:
            if each.judged is not None and each.judged.doubt is not None:
                why[each.judged.doubt.value] = why.get(each.judged.doubt.value, 0) + 1
        because = ""
        if why:
            ordered = sorted(why.items(), key=lambda item: (-item[1], item[0]))
            only = len(ordered) == 1
            because = " because " + ", ".join(text if only else f"{text} ({number:,})" for text, number in ordered)
        first = [h.b[f"{of}, {right:,} right, {false:,} false, {unknown:,} cannot be known"], f"{because}. "]
    if not seen.passed:
        return [*first, "No hard limit was passed."]
    was = "hard limit was" if len(seen.passed) == 1 else "hard limits were"
    share = _tenths(seen.over_nanos, seen.spent_nanos)
    return [
        *first,
        f"{len(seen.passed):,} {was} passed, by {money(seen.over_nanos)} in all: {share} of what was spent.",
    ]


def _tenths(part: int, whole: int) -> str:
    """Per cent with a digit behind the point, where one says more."""
    if whole <= 0:
        return NONE
    found = (2_000 * part + whole) // (2 * whole)
    if not found and part > 0:
        return "<0.1 %"
    return f"{found // 10}.{found % 10} %"


def _false(seen: GateReview) -> Figure:
    false = seen.false_halts
    under = "no halted step was found to have fitted"
    if false:
        # What counts tokens or calls is no money.
        held = sum(cost_of(each.run) or 0 for each in false if each.run is not None)
        waited = sum(each.run.at_us - each.halt.at_us for each in false if each.run is not None)
        under = f"{money(held)} of work held back, {span(waited)} in all"
    return Figure(
        "False halts", f"{len(false):,}", small=f"of {len(seen.halts):,}", under=under, tone="is-warn" if false else ""
    )


def _overshoots(seen: GateReview) -> Figure:
    number = len(seen.passed)
    if not number:
        return Figure("Limits passed", "0", under="no hard limit has more spent than it allows")
    worst = seen.passed[0]
    under = (
        f"{money(seen.over_nanos)} above limits, the furthest {money(worst.over, worst.budget.unit)}; "
        f"{_tenths(seen.over_nanos, seen.spent_nanos)} of {money(seen.spent_nanos)} spent"
    )
    return Figure("Limits passed", f"{number:,}", small="budgets" if number > 1 else "budget", under=under)


def _coverage(seen: GateReview) -> Figure:
    counted = seen.counted
    if not counted:
        return Figure("Coverage", NONE, under="no call was let through and counted yet")
    within = sum(not each.overrun_nanos for each in counted)
    most = f", the newest {CALLS_MAX:,} decisions" if seen.is_cut else ""
    under = (
        f"{within:,} of {plural(len(counted), 'call')} cost at most their reservation{most}; {seen.quantile} % is set"
    )
    return Figure("Coverage", _tenths(within, len(counted)), under=under)


def _decisions_made(seen: GateReview) -> Figure:
    kinds = {action: sum(each.call.action is action for each in seen.calls) for action in Action}
    told = " · ".join(f"{number:,} {action.value}" for action, number in kinds.items())
    newest = "the newest: " if seen.is_cut else ""
    return Figure("Decisions", f"{len(seen.calls):,}{'+' if seen.is_cut else ''}", under=f"{newest}{told}")


def _unused(seen: GateReview) -> Figure:
    unused = seen.unused
    if not unused.budgets:
        return Figure("Unused", NONE, under="no budget that halted something has ended")
    under = f"{money(unused.left_nanos)} of {money(unused.limit_nanos)}: what halted budgets had left at their end"
    return Figure("Unused", _tenths(unused.left_nanos, unused.limit_nanos), under=under)


# --- decisions -------------------------------------------------------------------------------------------------------


def _decisions(look: Look, seen: GateReview, zone: tzinfo) -> Element:
    name = "Decisions to look at" if seen.shown is Listed.LOOK else "Decisions"
    tabs = h.nav(".tabs", aria_label="Which decisions")[
        [
            h.a(
                href=look.href(show=None if each is Listed.LOOK else each.value, decision=None),
                aria_current="true" if each is seen.shown else None,
            )[text]
            for each, text in _TABS.items()
        ]
    ]
    if not seen.listed:
        return section(name, h.p(".foot")[f"None in {seen.span.label}."], aside=tabs)
    heads = [
        ColumnHead("At"),
        ColumnHead("Session", label=""),
        ColumnHead("Decision"),
        ColumnHead("Said", number=True),
        ColumnHead("Learned", number=True),
        ColumnHead("Needs", number=True),
        ColumnHead("Spent + held", number=True),
        ColumnHead("Afterwards"),
        ColumnHead("Verdict"),
    ]
    open_id = None if seen.chosen is None else seen.chosen.call.call_id
    rows: list[Row] = [
        (_row(look, seen, each, zone), "is-cursor" if each.call.call_id == open_id else "") for each in seen.listed
    ]
    note = f"the first {ROWS_MAX}" if len(seen.listed) == ROWS_MAX else None
    return section(name, table(name, heads, rows, cards=True), aside=tabs, note=note)


def _row(look: Look, seen: GateReview, each: GateDecision, zone: tzinfo) -> list[TableCell]:
    call, found = each.call, each.judged
    bound = None if found is None else found.bound
    name = short_name(call.session_id) if each.session is None else session_label(each.session)
    below: Node = f"{cleaned(call.tool_name, 60)}, {cleaned(call.model_requested, 60)}"
    if bound is not None:
        below = f"binding: {_bound_name(bound.budget_id, call.session_id)} {money(bound.limit_nanos, bound.unit)}"
    committed: Node = NONE
    if bound is not None:
        committed = f"{money(bound.spent_nanos, bound.unit)} + {money(bound.reserved_nanos, bound.unit)}"
    learned = ratio(call.estimate_nanos, call.raw_estimate_nanos)
    return [
        TableCell(h.a(href=look.href(decision=call.call_id))[when(call.at_us, seen.frame.now_us, zone)], "nw"),
        TableCell([h.a(href=look.href("session", id=call.session_id))[name], h.span(".sub")[below]], "wide"),
        TableCell(decision_of(call)),
        TableCell(money(call.raw_estimate_nanos)),
        TableCell("none yet" if call.estimate_nanos == call.raw_estimate_nanos else learned),
        TableCell(h.b[money(call.estimate_nanos)]),
        TableCell(committed),
        TableCell(_afterwards(each), "wide"),
        TableCell(_verdict(each)),
    ]


def _bound_name(budget_id: str, session_id: str) -> str:
    return "session" if budget_id == session_id else cleaned(short_name(budget_id), 60)


def _afterwards(each: GateDecision) -> Node:
    found = each.judged
    if found is None or found.bound is None:
        if each.call.action is Action.HALT:
            return "nothing of an amount is on record"
        if each.cost_nanos is None:
            return actual_of(each.call)
        cost, held = _apart(each.cost_nanos, each.call.estimate_nanos)
        return f"cost {cost}, {held} was held"
    unit = found.bound.unit
    if found.cost is None:
        return NONE if found.doubt is None else found.doubt.value
    cost, left = _apart(found.cost, found.available or 0, unit)
    return f"cost {cost} after the raise, {left} was left"


def _apart(one: int, other: int, unit: str = "USD") -> tuple[str, str]:
    """Two amounts that are compared: with more digits where they would look the same."""
    texts = money(one, unit), money(other, unit)
    if texts[0] != texts[1] or one == other:
        return texts
    first, second = told_apart([one, other], unit)
    return first, second


def _verdict(each: GateDecision) -> Element:
    if each.judged is None:
        return state("warn", "overrun", pill=True) if each.overrun_nanos else state("off", "–")
    return verdict_of(each.judged)


def verdict_of(found: JudgedHalt) -> Element:
    """What is known of a halt, in a word."""
    match found.verdict:
        case HaltVerdict.FALSE:
            return state("warn", "false halt", pill=True)
        case HaltVerdict.RIGHT:
            return state("run", "right")
        case HaltVerdict.UNKNOWN:
            return state("off", "not known")


# --- limits that were passed -----------------------------------------------------------------------------------------


def _passed(look: Look, seen: GateReview, zone: tzinfo) -> Element:
    name = "Limits that were passed"
    note = "hard limits, all usage on record, gated or not"
    if not seen.passed:
        return section(name, h.p(".foot")[f"None was in {seen.span.label}."], note=note)
    rows: list[Row] = []
    for each in seen.passed:
        budget, unit, call = each.budget, each.budget.unit, each.dearest
        why: Node = "no call of it passed its reservation: spent beside the gate, or brought in later"
        if call is not None:
            why = h.a(href=look.href(decision=call.call_id))[
                f"{cleaned(call.tool_name, 60)}, {when(call.at_us, seen.frame.now_us, zone)}: "
                f"cost {money(cost_of(call))}, {money(call.estimate_nanos)} was held"
            ]
        elif budget.scope != BudgetScope.SESSION:
            why = "spent in several sessions"
        rows.append(
            (
                [
                    TableCell([budget_label(budget, seen.sessions), h.span(".sub")[budget_terms(budget)]], names=True),
                    TableCell(money(each.limit, unit)),
                    TableCell(money(budget.spent, unit)),
                    TableCell(h.b[money(each.over, unit)]),
                    TableCell(why),
                ],
                "",
            )
        )
    heads = [
        ColumnHead("Budget"),
        ColumnHead("Limit", number=True),
        ColumnHead("Spent", number=True),
        ColumnHead("Over by", number=True),
        ColumnHead("The call that passed its reservation furthest"),
    ]
    return section(name, table(name, heads, rows), note=note)


# --- calibration -----------------------------------------------------------------------------------------------------


def _calibration(seen: GateReview) -> Element:
    name = "Calibration"
    calls = seen.quantiles[0].calls
    if not calls:
        return section(
            name,
            h.p(".foot")["Too few calls were counted to learn from: a quantile is known from 10 calls of a kind on."],
        )
    rows: list[Row] = []
    for each in seen.quantiles:
        own = each.percent == seen.quantile
        off = _off(each)
        rows.append(
            (
                [
                    TableCell([f"{each.percent} %", own and [" ", h.span(".faint")["in force"]]], names=True),
                    TableCell(_tenths(each.covered, each.calls)),
                    TableCell(f"{'+' if off >= 0 else MINUS}{abs(off) // 10}.{abs(off) % 10}"),
                    TableCell(money(each.held_nanos)),
                    TableCell(ratio(each.held_nanos, each.cost_nanos)),
                ],
                "is-cursor" if own else "",
            )
        )
    heads = [
        ColumnHead("Quantile"),
        ColumnHead("Cost no more", number=True),
        ColumnHead("Points off", number=True),
        ColumnHead("Would have been held", number=True),
        ColumnHead("To their cost", number=True),
    ]
    told = (
        f"The newest {SAMPLES_MAX:,} calls gone through again, each met with what those before it had taught. "
        f"They cost {money(seen.quantiles[0].cost_nanos)}. First calls of an agent are held by a lower bound. What "
        "other gates would have done with whole sessions, and what agents do after a halt, no sum here can say; "
        "sessions are replayed by:"
    )
    return section(
        name,
        h.div(".pad")[_plot(seen.quantiles, seen.quantile)],
        table("Coverage and reservations by quantile", heads, rows),
        h.p(".foot")[told],
        command("tallygate calibrate backtest"),
        note=plural(calls, "call"),
    )


def _again(seen: GateReview) -> Element:
    """What other gates would have done with the halts there were."""
    name = "Another quantile or policy"
    halts = seen.again[0][1].halts
    rows: list[Row] = []
    for which, each in seen.again:
        if which == "said":
            kind: Node = ["the estimate as said", h.span(".sub")["nothing learned on top"]]
        elif which == "spent":
            kind = ["what is spent alone", h.span(".sub")["halts once nothing is left"]]
        else:
            kind = [f"{which} %", h.span(".sub")["quantile"]]
        rows.append(
            (
                [
                    TableCell(kind, names=True),
                    TableCell(f"{each.halts - each.let_through:,}"),
                    TableCell(h.b[f"{each.let_through:,}"]),
                    TableCell(f"{each.fitted:,}"),
                    TableCell(f"{each.over:,}"),
                    TableCell(money(each.over_nanos) if each.over else NONE),
                    TableCell(f"{each.unknown:,}"),
                ],
                "",
            )
        )
    heads = [
        ColumnHead("Instead of what is in force"),
        ColumnHead("Halts", number=True),
        ColumnHead("Lets through", number=True),
        ColumnHead("that fitted", number=True),
        ColumnHead("that did not", number=True),
        ColumnHead("over by", number=True),
        ColumnHead("not known", number=True),
    ]
    told = (
        f"In force is {seen.quantile} %. Each halt that was a matter of dollars is asked about again, by what calls "
        "that were counted before it had taught. What a higher quantile would have halted besides is not in the "
        "ledger: what was left is kept for steps that were refused."
    )
    return section(
        name,
        table("What another gate would have done with the halts", heads, rows),
        h.p(".foot")[told],
        note=plural(halts, "halt"),
    )


def _off(each: QuantileMet) -> int:
    """How far from its quantile a share is, in tenths of a point."""
    return (2_000 * each.covered + each.calls) // (2 * each.calls) - 10 * each.percent


def _plot(quantiles: Sequence[QuantileMet], in_force: int) -> Element:
    """The share of calls below each quantile, up, against the quantile, to the right; both from 40 per cent on."""
    scale = charts.Scale(100 - _LOWEST, 20, 10, 200)
    drawn: list[Node] = []
    for level in range(_LOWEST, 101, 20):
        y = scale.y(level - _LOWEST)
        x = charts.whole_share(level - _LOWEST, 100 - _LOWEST)
        drawn.append(h.line(x1="0", x2="100%", y1=y, y2=y, class_="ax" if level > _LOWEST else "ax0"))
        drawn.append(charts.label(f"{level} %", "-6", int(y.partition(".")[0]) + 4, "e"))
        drawn.append(charts.label(f"{level} %", x, 216, {_LOWEST: "", 100: "e"}.get(level, "m")))
    found = ""
    for each in quantiles:
        if each.percent == in_force:
            found = f" In force is {in_force} %, observed {_tenths(each.covered, each.calls)}."
        tenths = charts.Scale(10 * (100 - _LOWEST), 200, 10, 200)
        share = (2_000 * each.covered + each.calls) // (2 * each.calls)
        drawn.append(
            h.circle(
                cx=charts.whole_share(each.percent - _LOWEST, 100 - _LOWEST),
                cy=tenths.y(share - 10 * _LOWEST),
                r="5" if each.percent == in_force else "4",
                class_="pt now" if each.percent == in_force else "pt",
            )
        )
    within = sum(abs(_off(each)) <= 30 for each in quantiles)
    return charts.chart(
        "Calibration: share of calls that cost at most their quantile",
        f"{within} of {len(quantiles)} quantiles lie within three points of the diagonal.{found}",
        "ch-230",
        charts.stretched(
            scale, h.path(d="M0 95L95 0H100V5L5 100H0Z", class_="band"), h.path(d="M0 100L100 0", class_="ln3")
        ),
        drawn,
        charts.label("band: ±3 points", "98%", 190, "e"),
    )
