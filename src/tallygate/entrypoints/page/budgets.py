"""The page Budgets: every limit with what it leaves, who changed it, and a raise whose outcome is shown beforehand."""

from __future__ import annotations

from datetime import tzinfo

import htpy as h
from htpy import Element, Node

from tallygate.core.forecast import work_told
from tallygate.core.gate.policy import used_percent_at_least
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.gate.wording import raise_by
from tallygate.core.model import Budget, LimitChange
from tallygate.core.money import COUNTED, exact_text
from tallygate.core.text import cleaned, plural
from tallygate.entrypoints.page import charts
from tallygate.entrypoints.page.document import PageAround, document
from tallygate.entrypoints.page.labels import budget_label, budget_terms, pressure_of
from tallygate.entrypoints.page.look import Look
from tallygate.entrypoints.page.now import plans
from tallygate.entrypoints.page.parts import (
    ColumnHead,
    Figure,
    Row,
    TableCell,
    banner,
    budget_bar,
    command,
    facts,
    figures,
    legend,
    section,
    state,
    table,
    title,
)
from tallygate.entrypoints.page.wording import NONE, clock, day, money, percent, renewal, when
from tallygate.operations.budgets.of_settings import ADVICE
from tallygate.operations.views.limits import LimitsNow, Raised

REASON_MAX = 500


def budgets_page(
    look: Look,
    around: PageAround,
    seen: LimitsNow,
    percents: tuple[int, int, int],
    *,
    form: str,
    done: str | None = None,
    fault: str | None = None,
    reason: str = "",
) -> bytes:
    """The page as a whole; `form` is the token of its forms, `done` or `fault` what became of the last one."""
    number = len(seen.budgets)
    said = [
        done and banner(h.p[h.b[done]], tone="good"),
        fault and banner(state("warn", "not raised"), h.p[fault], tone="warn"),
        [_idle(each.told(when(each.since_us or 0, seen.frame.now_us, around.zone))) for each in seen.idle],
    ]
    body: list[Node] = [
        title("Budgets", h.p[f"{number} in force; a call must fit all that bind it"]),
        said,
    ]
    if not seen.budgets:
        body.append(_none())
    else:
        body += [
            _figures(seen),
            _in_force(look, seen, percents, around.zone),
            h.p(".foot")[
                "A loosening is yours alone: settings file, terminal outside an agent, or this page. "
                "Who changed a limit last stands beside it."
            ],
            h.div(".grid")[
                h.div(".w8.stack")[_windows(seen, around.zone), _history(seen, around.zone)],
                h.div(".w4")[_raise(look, seen, around.zone, form, reason)],
                len(seen.plans) > 0 and h.div(".w12")[plans(seen.plans, seen.frame.now_us, around.zone)],
            ],
        ]
    return document(look, around, "Budgets", *body, frame=seen.frame, count=plural(number, "budget"))


def _idle(told: str) -> Element:
    return banner(h.p[h.b["A limit binds nothing: "], cleaned(told, 500), ". ", ADVICE], tone="warn", live=False)


def _none() -> Element:
    return section(
        "No budget is in force",
        h.p(".foot")[
            "Everything is counted and nothing is stopped. A session brings its own limit; one for all work is:"
        ],
        command("tallygate budget add 30 --per day"),
    )


def _figures(seen: LimitsNow) -> Element:
    """How many there are, and which of them press."""
    hard = [each for each in seen.budgets if each.mode.value == "hard"]
    full = [each for each in hard if each.available <= 0]
    high = [each for each in seen.budgets if used_percent_at_least(each, 80) and each.available > 0]
    pending = [each for each in seen.budgets if each.reserved and each.scope == BudgetScope.SESSION]
    return figures(
        [
            Figure(
                "In force", str(len(seen.budgets)), under=f"{len(hard)} hard, {len(seen.budgets) - len(hard)} only warn"
            ),
            Figure(
                "Nothing left",
                str(len(full)),
                under=budget_label(full[0], seen.sessions) if full else "no hard limit is used up",
                tone="is-halt" if full else "",
            ),
            Figure("80 % and more", str(len(high)), under="used, with something left", tone="is-warn" if high else ""),
            Figure(
                "Reserved",
                money(sum(each.reserved for each in pending if each.unit == "USD")),
                under=f"by pending calls of {plural(len(pending), 'session')}",
            ),
        ]
    )


def _in_force(look: Look, seen: LimitsNow, percents: tuple[int, int, int], zone: tzinfo) -> Element:
    heads = [
        ColumnHead("Budget"),
        ColumnHead("Window"),
        ColumnHead("Spent, reserved, left", hidden=True),
        ColumnHead("Used", number=True),
        ColumnHead("Spent", number=True),
        ColumnHead("Reserved", number=True),
        ColumnHead("Left", number=True),
        ColumnHead("Limit", number=True),
        ColumnHead("Renews"),
        ColumnHead("Pressure"),
        ColumnHead("Set by"),
        ColumnHead("Raise", hidden=True),
    ]
    kinds: list[tuple[str, Node]] = [
        ("f-spent", "spent"),
        ("f-warn", "80 % and more: reroute"),
        ("f-halt", "95 % and more"),
        ("f-held", "reserved by pending calls"),
        ("f-left", "left"),
    ]
    rows = [_row(look, seen, each, percents, zone) for each in seen.budgets]
    return section(
        "In force", legend(kinds), table("Budgets, the widest first", heads, rows, cards=True), note="the widest first"
    )


def _row(look: Look, seen: LimitsNow, budget: Budget, percents: tuple[int, int, int], zone: tzinfo) -> Row:
    spent = budget.spent + budget.carried
    told, _ = renewal(budget.resets_us, seen.frame.now_us, zone)
    chosen = seen.chosen is not None and seen.chosen.name == budget.name
    stopped = budget.scope == BudgetScope.SESSION and budget.scope_key in seen.frame.stops
    name = budget_label(budget, seen.sessions)
    depth = {BudgetScope.SESSION: "d2 twig", BudgetScope.GLOBAL: "", BudgetScope.USER: ""}.get(
        BudgetScope(budget.scope), "d1 twig"
    )
    change = seen.changes.get(budget.name)
    address = look.href(budget=budget.name)
    return (
        [
            TableCell(h.span(class_=depth or None)[h.a(href=address)[name]], "wide nw", names=True),
            TableCell(budget_terms(budget), "nw"),
            TableCell(budget_bar(spent, budget.reserved, budget.limit, size="t"), "bar-cell long"),
            TableCell(percent(budget.committed, budget.limit)),
            TableCell(money(spent, budget.unit)),
            TableCell(money(budget.reserved, budget.unit) if budget.reserved else NONE),
            TableCell(h.b[money(budget.available, budget.unit)]),
            TableCell(money(budget.limit, budget.unit)),
            TableCell(told, "nw"),
            TableCell(state("halt", "halted") if stopped else pressure_of(budget, percents)),
            TableCell(_set_by(budget, change, seen, zone), "faint nw"),
            TableCell(h.a(href=f"{address}#raise", aria_label=f"raise {name}, {budget.period}")["raise"], "r"),
        ],
        " ".join(filter(None, ("is-halt" if stopped else "", "is-cursor" if chosen else ""))),
    )


def _set_by(budget: Budget, change: LimitChange | None, seen: LimitsNow, zone: tzinfo) -> str:
    """Who decided the limit that stands: the last change of it, else the settings or whoever opened the session."""
    if change is not None:
        doors = {"cli": "terminal"}
        at = when(change.at_us, seen.frame.now_us, zone).removeprefix("today ")
        return f"{doors.get(change.door, change.door)} {at}, was {money(change.before, budget.unit)}"
    return "its session" if budget.scope == BudgetScope.SESSION else "settings"


# --- windows ---------------------------------------------------------------------------------------------------------


def _windows(seen: LimitsNow, zone: tzinfo) -> Element | None:
    """The chosen budget through its last windows, each against the limit that it had."""
    budget = seen.chosen
    if budget is None or len(seen.windows) < 2:
        return None
    name = f"{budget_label(budget, seen.sessions)}, {budget.period}: last {len(seen.windows)} windows"
    most = max([10_000_000, *(each.spent for each in seen.windows)])
    limits = [each.limit for each in seen.windows]
    drawn = budget.unit not in COUNTED
    shown = max(limits) if max(limits) <= 4 * most else 0
    scale = charts.scale_to(max(most, shown), 14, 164)
    number = len(seen.windows)
    stacks = [[(each.spent, "f-warn" if 100 * each.spent >= 80 * each.limit else "f-spent")] for each in seen.windows]
    days = [day(each.start_us, zone).split(" ", 1)[1] for each in seen.windows]
    labels = [(place, name_, "" if place % 3 == 0 else "minor") for place, name_ in enumerate(days)]
    line = charts.stepped([(at, limit) for at, limit in enumerate(limits)], scale, number, last=number)
    over = sum(1 for each in seen.windows if each.spent > each.limit)
    highest = max(seen.windows, key=lambda each: each.spent)
    finding = (
        f"Each window against its limit. Highest {day(highest.start_us, zone)}, {money(highest.spent, budget.unit)}; "
    )
    finding += f"{plural(over, 'window')} above the limit."
    picture = charts.chart(
        name,
        finding,
        "ch-200",
        charts.grid(scale),
        shown > 0 and charts.stretched(scale, h.path(d=line, class_="lim")),
        charts.columns(stacks, scale, labels),
    )
    heads = [ColumnHead("Window"), *(ColumnHead(each, number=True) for each in ("Spent", "Limit", "Left", "Used"))]
    rows: list[Row] = [
        (
            [
                TableCell(day(each.start_us, zone), names=True),
                TableCell(money(each.spent, budget.unit)),
                TableCell(money(each.limit, budget.unit)),
                TableCell(money(each.left, budget.unit)),
                TableCell(percent(each.spent, each.limit)),
            ],
            "",
        )
        for each in reversed(seen.windows)
    ]
    figures_ = table(f"{name.partition(':')[0]}: windows", heads, rows)
    beside = h.details[h.summary["The figures, by window"], figures_] if len(rows) > 10 else figures_
    return section(name, drawn and h.div(".pad")[picture], beside, note=f"{plural(over, 'window')} above the limit")


def _history(seen: LimitsNow, zone: tzinfo) -> Element | None:
    if seen.chosen is None:
        return None
    name = f"{budget_label(seen.chosen, seen.sessions)}, {seen.chosen.period}: who changed it"
    rows: list[tuple[Node, Node]] = [
        (when(each.at_us, seen.frame.now_us, zone), _change_told(each)) for each in reversed(seen.history)
    ]
    return section(name, facts(rows) if rows else h.p(".foot")["Nobody has changed it: it is as it was set."])


def _change_told(change: LimitChange) -> str:
    before, after = money(change.before, change.unit), money(change.limit, change.unit)
    return f"{before} → {after} by {change.door}, {cleaned(change.actor, 80)}: “{cleaned(change.reason, 200)}”"


# --- raise -----------------------------------------------------------------------------------------------------------


def _raise(look: Look, seen: LimitsNow, zone: tzinfo, form: str, reason: str) -> Element | None:
    """The one thing that these pages write: what it comes to stands above the button that does it."""
    proposed = seen.proposed
    if proposed is None:
        return None
    budget = proposed.budget
    name = f"{budget_label(budget, seen.sessions)}, {budget.period}"
    told, far = renewal(budget.resets_us, seen.frame.now_us, zone)
    beside = command(raise_by(budget, proposed.added))
    if seen.frame.lock.lock is not None:
        locked = "The limits are locked: raising needs your passphrase, which is typed in a terminal and nowhere else."
        return section("Raise", h.p(".foot", id="raise")[locked], beside)
    renews = f" It renews {told}, {far}." if far else " It does not renew."
    look_again = look.href(budget=None, by=None)
    fields: list[Node] = [
        h.p(".full")[
            f"{name}: ",
            h.b[money(budget.limit, budget.unit)],
            f", {money(budget.available, budget.unit)} left.{renews}",
        ],
        h.label(for_="by")["Raise by"],
        h.input(".short", id="by", name="by", inputmode="decimal", value=_typed(proposed.added, budget)),
    ]
    return section(
        "Raise",
        h.div(".pad")[
            h.form(".form", method="get", action="budgets")[
                h.input(type="hidden", name="period", value=look.period),
                h.input(type="hidden", name="budget", value=budget.name),
                fields,
                h.p(".full")[h.button(type="submit")["Show what it comes to"]],
            ],
        ],
        h.div(".pad")[
            h.form(".form", id="raise", method="post", action=look_again)[
                h.input(type="hidden", name="token", value=form),
                h.input(type="hidden", name="budget", value=budget.name),
                h.input(type="hidden", name="by", value=_typed(proposed.added, budget)),
                h.input(type="hidden", name="seen", value=str(budget.limit)),
                h.label(for_="why")["Reason"],
                h.input(
                    id="why",
                    name="reason",
                    required=True,
                    maxlength=str(REASON_MAX),
                    value=reason or None,
                    placeholder="shown beside the limit",
                ),
                h.p(".full.note")[_comes_to(proposed, seen, zone)],
                h.p(".full")[h.button(".primary", type="submit")[f"Raise to {money(proposed.limit, budget.unit)}"]],
            ],
        ],
        beside,
        note="the one thing this page can write",
    )


def _typed(amount: int, budget: Budget) -> str:
    """An amount as it is typed: money to the cent."""
    if budget.unit in COUNTED:
        return str(amount)
    whole, _, rest = exact_text(amount).partition(".")
    return f"{whole}.{rest.ljust(2, '0')}"


def _comes_to(proposed: Raised, seen: LimitsNow, zone: tzinfo) -> list[Node]:
    budget, work = proposed.budget, proposed.work
    lasts = "how long it lasts is not told of this budget" if work is None else work_told(work)
    return [
        "New limit ",
        h.b[money(proposed.limit, budget.unit)],
        f", {money(max(proposed.left, 0), budget.unit)} left; {lasts}. ",
        f"Kept as an event: page, {clock(seen.frame.now_us, zone)}.",
    ]
