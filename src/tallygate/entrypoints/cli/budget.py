"""`tallygate budget`: what may be spent, and the only way to change it."""

from __future__ import annotations

from typing import Any

import click

from tallygate.core.amounts import unit_number
from tallygate.core.model import Budget
from tallygate.core.moments import iso
from tallygate.core.money import format_amount, parse_amount_nanos
from tallygate.core.text import cleaned
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.program import Commands, Program, pass_program
from tallygate.operations.budget import raise_budget, set_budget
from tallygate.operations.look import budget_called, list_budgets

_REASON_MAX = 500
_reason = click.option("--reason", default="no reason given", show_default=True, help="Kept in the journal.")


@click.group(cls=Commands)
def budget() -> None:
    """List budgets, raise or set their limits."""


@budget.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@pass_program
def list_(program: Program, limit: int, as_json: bool) -> None:
    """Show budgets, those used last first."""
    with program.opened() as app:
        found = list_budgets(app.runtime, limit=limit)
    if as_json:
        output.document({"budgets": [budget_json(each) for each in found]})
    elif found:
        budget_table(found)
    else:
        click.echo("No budgets yet: a session brings its own.")


@budget.command("raise")
@click.argument("budget_id", metavar="ID")
@click.argument("amount")
@_reason
@pass_program
def raise_(program: Program, budget_id: str, amount: str, reason: str) -> None:
    """Add AMOUNT to the limit of budget ID, so that halted work can go on."""
    nanos = parse_amount_nanos("amount", amount)
    with program.opened() as app:
        key = budget_called(app.runtime, budget_id)
        why = cleaned(reason, _REASON_MAX)
        _say(raise_budget(app.runtime, key, nanos, reason=why, actor=_user()))


@budget.command("set")
@click.argument("budget_id", metavar="ID")
@click.argument("amount")
@_reason
@pass_program
def set_(program: Program, budget_id: str, amount: str, reason: str) -> None:
    """Make AMOUNT the limit of budget ID; 0 stops all work on it."""
    nanos = parse_amount_nanos("amount", amount, allow_zero=True)
    with program.opened() as app:
        key = budget_called(app.runtime, budget_id)
        why = cleaned(reason, _REASON_MAX)
        _say(set_budget(app.runtime, key, nanos, reason=why, actor=_user()))


def budget_table(budgets: list[Budget] | tuple[Budget, ...]) -> None:
    """Budgets as a table; the end of an id is enough to name one."""
    output.table(
        output.words("BUDGET", [output.short_id(each.budget_id) for each in budgets]),
        output.words("SCOPE", [each.scope for each in budgets]),
        output.words("PERIOD", [each.period for each in budgets]),
        output.words("MODE", [each.mode for each in budgets]),
        output.money("LIMIT", [(each.limit_nanos, each.unit) for each in budgets]),
        output.money("SPENT", [(each.spent_nanos, each.unit) for each in budgets]),
        output.money("RESERVED", [(each.reserved_nanos, each.unit) for each in budgets]),
        output.money("LEFT", [(each.available_nanos, each.unit) for each in budgets]),
        output.words("USED", [output.when(each.touched_us) for each in budgets]),
    )


def budget_json(budget: Budget) -> dict[str, Any]:
    """A budget for programs."""
    return {
        "budget_id": budget.budget_id,
        "scope": budget.scope,
        "scope_key": budget.scope_key,
        "period": budget.period,
        "mode": budget.mode.value,
        "currency": budget.unit,
        "limit": unit_number(budget.limit_nanos, budget.unit),
        "spent": unit_number(budget.spent_nanos, budget.unit),
        "reserved": unit_number(budget.reserved_nanos, budget.unit),
        "overage": unit_number(budget.overage_nanos, budget.unit),
        "left": unit_number(budget.available_nanos, budget.unit),
        "resets_at": iso(budget.resets_us),
        "touched_at": iso(budget.touched_us),
    }


def _say(changed: Budget) -> None:
    limit, left = (format_amount(nanos, changed.unit) for nanos in (changed.limit_nanos, changed.available_nanos))
    click.echo(f"{output.safe(changed.budget_id)}: the limit is {limit} now, {left} left.")


def _user() -> str:
    """Who changed it, as far as the system knows: a process in a container may have no name."""
    import getpass

    try:
        return cleaned(getpass.getuser(), 80)
    except (OSError, KeyError):
        return "unknown"
