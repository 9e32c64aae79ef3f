"""One decision as a sum that can be checked: said, learned, needed; the limit, spent, held, left; and what it cost."""

from __future__ import annotations

from datetime import tzinfo

import htpy as h
from htpy import Element, Node

from tallygate.core.gate.verdict import HaltVerdict, JudgedHalt
from tallygate.core.gate.wording import short_name
from tallygate.core.money import COUNTED, exact_text, format_amount
from tallygate.core.text import cleaned
from tallygate.core.words import Action
from tallygate.entrypoints.page.look import Look
from tallygate.entrypoints.page.parts import ColumnHead, Row, TableCell, section, table
from tallygate.entrypoints.page.wording import MINUS, money, ratio, when
from tallygate.operations.views.decision import BudgetThen, ExplainedDecision
from tallygate.operations.views.frame import Frame
from tallygate.operations.views.gate import cost_of
from tallygate.operations.views.now import session_label

_REASON_MAX = 120


def decision_sum(look: Look, found: ExplainedDecision, halt: JudgedHalt | None, frame: Frame, zone: tzinfo) -> Element:
    """The sum of one decision, and each budget that it was held against."""
    call = found.call
    at = when(call.at_us, frame.now_us, zone)
    name = f"{at}, {session_label(found.session)}"
    binding = _binding(found)
    rows = [*_needs(found), *([] if binding is None else _room(found, binding))]
    rows += _after_halt(halt, frame, zone) if halt is not None else _after(found)
    others = len(found.budgets) > 1
    return section(
        name,
        h.table(".math")[h.caption(".vh")["Arithmetic of the decision"], h.tbody[rows]],
        others and _budgets(found, binding),
        note=[
            f"event {found.event.seq:,} · ",
            h.a(href=look.href("session", id=call.session_id))["session"],
        ],
    )


def _line(name: Node, amount: Node, told: Node, *, is_sum: bool = False) -> Element:
    return h.tr(class_="sum" if is_sum else None)[
        h.th(scope="row")[name], h.td(".n")[amount], h.td(class_="faint x" if is_sum else "faint")[told]
    ]


def _needs(found: ExplainedDecision) -> list[Element]:
    """From what was said to what was needed; every amount is exact, so that it adds up."""
    call = found.call
    said, needed = call.raw_estimate_nanos, call.estimate_nanos
    more = needed - said
    by = "expected by the hook" if call.is_model_call else "said by the agent"
    tokens = f"{call.prompt_tokens:,} tokens in, {call.completion_tokens:,} out"
    verb = "needs" if call.action is Action.HALT else "reserved"
    learned = "by what such steps have cost" if more else "nothing that changes it"
    return [
        _line(by, exact(said), tokens),
        _line(f"learned {ratio(needed, said)}", f"{MINUS if more < 0 else '+'} {exact(abs(more))}", learned),
        _line(verb, exact(needed), cleaned(call.model_requested, 80), is_sum=True),
    ]


def _binding(found: ExplainedDecision) -> BudgetThen | None:
    """The budget that decided, or had least left of those that it was held against."""
    if found.answer is not None and found.answer.binding is not None:
        name = found.answer.binding.budget_id
        own = next((each for each in found.budgets if each.name == name), None)
        if own is not None:
            return own
    money_alone = [each for each in found.budgets if each.unit not in COUNTED] or list(found.budgets)
    return min(money_alone, key=lambda each: each.left, default=None)


def _name(found: ExplainedDecision, budget: BudgetThen) -> str:
    own = budget.name == found.session.session_id
    return "session" if own else cleaned(short_name(budget.name), 80)


def _room(found: ExplainedDecision, budget: BudgetThen) -> list[Element]:
    """What was left of the budget that decided, and whether the step went into it."""
    unit, held = budget.unit, budget.reserved
    spent = budget.spent + (budget.carried or 0)
    halted = found.call.action is Action.HALT
    fits = budget.needed <= budget.left
    needed, left = exact(budget.needed, unit), exact(budget.left, unit)
    told = (
        f"{needed} {'≤' if fits else '>'} {left}: {'halt' if halted else 'it fits' if fits else 'let through over it'}"
    )
    of = f"the binding one of {len(found.budgets)} budgets" if len(found.budgets) > 1 else "the budget that decided"
    partly = " of its newest piece" if budget.carried is None else ""
    return [
        _line(f"limit, {_name(found, budget)}", exact(budget.limit, unit), of),
        _line("spent", f"{MINUS} {exact(spent, unit)}", f"all usage on record{partly}, gated or not"),
        _line("held by others", f"{MINUS} {exact(held, unit)}", "reserved by calls on their way"),
        _line("available", exact(budget.left, unit), told, is_sum=True),
    ]


def exact(amount: int, unit: str = "USD") -> str:
    """An amount with all its digits: what is to be checked is not rounded.

    >>> exact(96_543_210), exact(-1_500_000_000), exact(1_234_000_000_000), exact(3, "calls")
    ('$0.09654321', '−$1.50', '$1,234.00', '3 calls')
    """
    if unit in COUNTED:
        return money(amount, unit)
    digits = exact_text(abs(amount))
    whole, _, rest = digits.partition(".")
    text = format_amount(0, unit).replace("0.00", f"{int(whole):,}.{rest:0<2}")
    return f"{MINUS}{text}" if amount < 0 else text


def _after_halt(halt: JudgedHalt, frame: Frame, zone: tzinfo) -> list[Element]:
    """Who raised the limit, and what the step then cost."""
    rows = []
    if halt.raised is not None:
        change = halt.raised
        by = f"raised {when(change.at_us, frame.now_us, zone)} by {cleaned(change.actor or change.door, 60)}"
        reason = f"“{cleaned(change.reason, _REASON_MAX)}”" if change.reason else "without a reason"
        rows.append(_line(by, f"+ {exact(change.limit - change.before, change.unit)}", reason))
    if halt.cost is None or halt.bound is None or halt.available is None:
        doubt = "" if halt.doubt is None else halt.doubt.value
        return [*rows, _line("cost afterwards", "–", [f"{doubt}: ", h.b["not known"]], is_sum=True)]
    cost, left = exact(halt.cost, halt.bound.unit), exact(halt.available, halt.bound.unit)
    told: Node = [f"> {left}: ", h.b["right"]]
    if halt.verdict is HaltVerdict.FALSE:
        told = [f"≤ {left}: it would have fitted, ", h.b["false halt"]]
    return [*rows, _line("cost afterwards", cost, told, is_sum=True)]


def _after(found: ExplainedDecision) -> list[Element]:
    call = found.call
    cost = cost_of(call)
    if cost is None:
        return [_line("cost afterwards", "–", f"not counted: the call is {call.state.value}", is_sum=True)]
    paid, held = exact(cost), exact(call.estimate_nanos)
    told: Node = f"≤ {held}: covered by what was reserved"
    if cost > call.estimate_nanos:
        told = [f"> {held}: ", h.b["overrun"], f" by {exact(cost - call.estimate_nanos)}"]
    return [_line("cost afterwards", paid, told, is_sum=True)]


def _budgets(found: ExplainedDecision, binding: BudgetThen | None) -> Element:
    rows: list[Row] = [
        (
            [
                TableCell(_name(found, each), names=True),
                TableCell(money(each.limit, each.unit)),
                TableCell(money(each.spent + (each.carried or 0), each.unit)),
                TableCell(money(each.reserved, each.unit)),
                TableCell(money(each.left, each.unit)),
                TableCell(money(each.needed, each.unit)),
            ],
            "is-cursor" if each is binding else "",
        )
        for each in found.budgets
    ]
    heads = [
        ColumnHead("Budget"),
        *(ColumnHead(name, number=True) for name in ("Limit", "Spent", "Held", "Available", "This step")),
    ]
    return table("Each budget as the step found it", heads, rows)
