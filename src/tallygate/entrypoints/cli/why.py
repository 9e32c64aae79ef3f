"""`tallygate why`: why a step was let through or stopped, as a sum that can be checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from tallygate.core.errors import NotFound
from tallygate.core.gate.answers import DecidingBudget
from tallygate.core.gate.rules import BudgetRule
from tallygate.core.gate.verdict import HaltVerdict, JudgedHalt
from tallygate.core.gate.wording import decided
from tallygate.core.model import Call, LimitChange, unit_number
from tallygate.core.moments import iso
from tallygate.core.money import format_amount, json_number, told_apart
from tallygate.core.words import Action
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.budget import say_changes
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.output import say_loops, shown_zone
from tallygate.entrypoints.cli.own_limits import own_limits
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.runnable import runnable
from tallygate.operations import loops
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.decision import BudgetThen, ExplainedDecision
from tallygate.operations.views.decision import why as explained
from tallygate.operations.views.gate import halt_judged
from tallygate.operations.views.overview import changes_behind, last_stops, list_sessions

_MILLION = 1_000_000


@click.command()
@click.argument("asked", metavar="[SESSION|CALL]", required=False)
@as_json_option
@pass_program
def why(program: Program, asked: str | None, as_json: bool) -> None:
    """Tell why a step was let through or stopped.

    Of a call, or of the last step of a session; without either of the run that was stopped last here, or of the
    youngest session. What was said and reserved, at which price, and the budgets it was held against, as they stood
    then: every figure is in the journal, under the event that is named.
    """
    settings = program.settings()
    with program.opened(settings) as app:
        rt = app.runtime
        found = explained(rt, _last(rt) if asked is None else asked)
        own = {each.name: each.rule for each in own_limits(settings) if isinstance(each.rule, BudgetRule)}
        changes = changes_behind(rt, [each.name for each in found.budgets], own)
        afterwards = halt_judged(rt, found.call) if found.call.action is Action.HALT else None
        seen = loops.lately(rt, found.session.session_id)[::-1]
    if as_json:
        verdict = None if afterwards is None else _verdict(afterwards)
        output.document(
            {
                **_document(found),
                "verdict": verdict,
                "limit_changes": [each.stated() for each in changes],
                "loops": [each.stated() for each in seen],
            }
        )
        return
    zone = shown_zone(settings)
    call, refused = found.call, found.call.action is Action.HALT
    session = output.short_id(found.session.session_id)
    click.echo(
        f"{output.safe(call.tool_name)} in session {session}, {output.when(call.at_us, zone)}: "
        f"{decided(call.action, call.reason, over=found.is_over)}."
    )
    click.echo()
    output.facts(list(_sum(found)))
    if found.budgets:
        click.echo()
        _budgets(found.budgets, refused=refused)
        _say_changes(changes, call, zone)
    if afterwards is not None and afterwards.cost is not None and afterwards.bound is not None:
        click.echo(f"\n{_judged(afterwards, afterwards.cost, afterwards.bound)}")
    if found.over is not None:
        click.echo(f"\nIn this session {found.over.told}")
    if seen:
        click.echo("\nLoops in this session:")
        say_loops(seen, zone)
    if found.answer is not None and found.answer.message and (refused or found.answer.target_model):
        click.echo(f"\n{runnable(output.safe(found.answer.message, 2000))}")
    output.aside(f"event {found.event.seq:,}, {found.event.hash.hex()}; `tallygate verify` holds the journal.")


def _say_changes(changes: list[LimitChange], call: Call, zone: str) -> None:
    """How limits came to be what they were at the step; what was changed later has neither stopped nor helped it."""
    say_changes([each for each in changes if each.at_us <= call.at_us], zone)
    since = [each for each in changes if each.at_us > call.at_us]
    if since:
        click.echo("Since then:")
        say_changes(since, zone)


def _verdict(halt: JudgedHalt) -> dict[str, Any]:
    """Whether a refusal was right, for programs; amounts are in the unit of the budget that refused."""
    unit = None if halt.bound is None else halt.bound.unit
    amounts = (halt.cost, halt.available)
    cost, left = (None if each is None or unit is None else unit_number(each, unit) for each in amounts)
    return {
        "verdict": halt.verdict.value,
        "because": None if halt.doubt is None else halt.doubt.value,
        "run": None if halt.run is None else halt.run.call_id,
        "currency": unit,
        "cost": cost,
        "left": left,
    }


def _judged(halt: JudgedHalt, cost: int, bound: DecidingBudget) -> str:
    """What a refused step cost once it was run, and what that says of the refusal."""
    paid, left = told_apart([cost, bound.available_nanos], bound.unit)
    told = "a false halt, it would have fitted" if halt.verdict is HaltVerdict.FALSE else "the halt was right"
    return f"After a raise the step cost {paid}, and {left} was left when it was stopped: {told}."


def _last(rt: Runtime) -> str:
    """The session of the run that was stopped last; else the youngest."""
    stops = last_stops(rt)
    if stops:
        return stops[0].session_id
    youngest = list_sessions(rt, state=None, limit=1)
    if not youngest:
        raise NotFound("No session has made a step yet.", hint="`tallygate status` shows how everything stands.")
    return youngest[0].session.session_id


def _sum(found: ExplainedDecision) -> Iterator[tuple[str, str]]:
    """From what was said to what is reserved, and what it came to."""
    call = found.call
    rates = {} if found.price is None else json.loads(found.price)
    said = f"{call.prompt_tokens:,} tokens in, {call.completion_tokens:,} out of {output.safe(call.model_requested)}"
    yield "said" if not call.is_model_call else "expected", f"{format_amount(call.raw_estimate_nanos)} = {said}"
    if price := _rates(rates):
        yield "price", price
    if call.level_nanos is not None:
        yield "own steps", f"{format_amount(call.level_nanos)}, by what the session's last steps have cost"
    if call.factor_micros != _MILLION:
        times = f"{call.factor_micros / _MILLION:.2f}"
        yield "learned", f"x {times}, by what such steps have cost"
    verb = "needed" if call.action is Action.HALT else "reserved"
    yield verb, format_amount(call.estimate_nanos)
    if call.cost_basis != "none":
        how = {
            "actual": "as reported",
            "transcript": "as its client wrote down",
            "estimate": "as nobody told more",
        }
        cost = call.booked_nanos if call.observed_nanos is None else call.observed_nanos
        yield "came to", f"{format_amount(cost)}, {how[call.cost_basis]}"


def _rates(rates: dict[str, Any]) -> str:
    """The rates of a price as the ledger keeps them."""
    listed = rates.get("rates", {})
    shown = [
        f"{format_amount(listed[name])} {word}"
        for name, word in (("input_nanos", "in"), ("cache_read_nanos", "from the cache"), ("output_nanos", "out"))
        if isinstance(listed.get(name), int)
    ]
    if not shown:
        return ""
    source = output.safe(f"{rates.get('source')} {rates.get('version')}: {rates.get('key')}")
    return f"{', '.join(shown)} per million tokens ({source})"


def _budgets(budgets: tuple[BudgetThen, ...], *, refused: bool) -> None:
    over = [format_amount(-each.left, each.unit) if each.left < 0 else output.NOTHING for each in budgets]
    output.table(
        output.words("BUDGET", [output.short_id(each.name) for each in budgets]),
        output.amounts("LIMIT", [format_amount(each.limit, each.unit) for each in budgets]),
        output.amounts("- SPENT", [format_amount(each.spent, each.unit) for each in budgets]),
        output.amounts("- RESERVED", [format_amount(each.reserved, each.unit) for each in budgets]),
        output.amounts("= LEFT", [format_amount(max(each.left, 0), each.unit) for each in budgets]),
        *([output.amounts("OVER", over)] if any(each.left < 0 for each in budgets) else []),
        output.amounts(
            "NEEDED" if refused else "THIS STEP", [format_amount(each.needed, each.unit) for each in budgets]
        ),
    )
    if any(each.carried is None for each in budgets):
        output.aside("of a rolling budget the newest piece is kept with a step; what older ones held is not taken off.")


def _document(found: ExplainedDecision) -> dict[str, Any]:
    call = found.call
    return {
        "session_id": found.session.session_id,
        "call_id": call.call_id,
        "tool_name": call.tool_name,
        "at": iso(call.at_us),
        "action": call.action.value,
        "reason": call.reason.value,
        "model": call.model_requested,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "said": json_number(call.raw_estimate_nanos),
        "own_steps": None if call.level_nanos is None else json_number(call.level_nanos),
        "factor": json_number(call.factor_micros * 1000),
        "reserved": json_number(call.estimate_nanos),
        "cost": None if call.cost_basis == "none" else json_number(call.observed_nanos or call.booked_nanos),
        "cost_basis": call.cost_basis,
        "price": None if found.price is None else json.loads(found.price),
        "budgets": [
            {
                "budget_id": each.name,
                "currency": each.unit,
                "limit": unit_number(each.limit, each.unit),
                "spent": unit_number(each.spent, each.unit),
                "reserved": unit_number(each.reserved, each.unit),
                "left": unit_number(each.left, each.unit),
                "needed": unit_number(each.needed, each.unit),
                "resets_at": iso(each.resets_us),
            }
            for each in found.budgets
        ],
        "message": None if found.answer is None else found.answer.message,
        "command": None if found.answer is None else found.answer.command,
        "event": {"seq": found.event.seq, "at": iso(found.event.at_us), "sha256": found.event.hash.hex()},
    }
