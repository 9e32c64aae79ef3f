"""`tallygate budget`: what may be spent, and the only way to change it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from tallygate.core.costing import Split
from tallygate.core.errors import InvalidArgument, NotFound, present
from tallygate.core.gate.rules import NAMED, BudgetRule, BudgetScope
from tallygate.core.gate.wording import amounts_of, budget_name, per
from tallygate.core.model import OF_SETTINGS, Budget, LimitChange, unit_number
from tallygate.core.moments import iso
from tallygate.core.money import COUNTED, TOKENS, format_amount, share_percent, told_apart
from tallygate.core.text import cleaned
from tallygate.core.typed import typed_amount
from tallygate.core.words import BudgetMode, CheckReason
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option, limit_option
from tallygate.entrypoints.cli.output import shown_zone, zone_of
from tallygate.entrypoints.cli.own_limits import add, changes_settings, own_limits, reason_option, remove, set_own
from tallygate.entrypoints.cli.plans import plan_json, say_plans
from tallygate.entrypoints.cli.program import STOPPED, Commands, Program, pass_program
from tallygate.operations.budgets.change import raise_budget, set_budget
from tallygate.operations.budgets.of_settings import ADVICE, unbound
from tallygate.operations.budgets.to_come import has_begun
from tallygate.operations.plan import plans_standing
from tallygate.operations.runtime import Runtime, in_tenant, tenant_id, wherever
from tallygate.operations.views.history import so_far
from tallygate.operations.views.overview import (
    beside,
    find_budget,
    limit_changes,
    list_budgets,
    own_changes,
    session_called,
    splits_of,
)
from tallygate.settings import Settings

_REASON_MAX = 500
_BUDGETS_LOOKED_AT, _NAMED_MAX = 400, 5
_tenant = click.option("--tenant", metavar="ID", help="Budgets of this tenant: a customer or team that is kept apart.")


@click.group(cls=Commands)
def budget() -> None:
    """List limits; add, set, remove and raise them."""


@budget.command("list")
@limit_option(50, 10_000)
@as_json_option
@_tenant
@pass_program
def list_(program: Program, limit: int, as_json: bool, tenant: str | None) -> None:
    """Show budgets, those used last first."""
    settings = program.settings()
    with program.opened(settings) as app:
        rt = _named(app.runtime, tenant)
        found = list_budgets(rt, limit=limit)
        changes, splits = limit_changes(rt, found), splits_of(rt, found)
        idle = unbound(rt)
        own = own_changes(rt, [each.name for each in own_limits(settings)])
        with rt.reading() as reader:
            plans = plans_standing(rt, reader, rt.services.clock_us())
        ours = [each.rule for each in own_limits(settings) if isinstance(each.rule, BudgetRule)]
        spent = {} if as_json else so_far(rt, [*ours, *rt.workspace.rules], zone_of(shown_zone(settings)))
    if as_json:
        theirs = {each.budget_id: [c.stated() for c in changes if c.budget_id == each.budget_id] for each in found}
        listed = [
            {**budget_json(each, split), "limit_changes": theirs[each.budget_id]}
            for each, split in zip(found, splits, strict=True)
        ]
        output.document(
            {
                "budgets": listed,
                "bound_nothing": [each.stated() for each in idle],
                "settings_limits": [
                    {**each.stated(), "limit_changes": [c.stated() for c in own[each.name]]}
                    for each in own_limits(settings)
                ],
                "plan_limits": [plan_json(each) for each in plans],
            }
        )
    elif found:
        zone = shown_zone(settings)
        budget_table(found, splits, zone)
        say_changes(changes, zone)
        for each in found:
            if (text := _beside_settings(each)) is not None:
                click.echo(output.safe(text, 1000))
    else:
        rules = rt.workspace.rules
        mine = [each.rule for each in own_limits(settings)]
        others = [
            rule for rule in rules if not any(isinstance(own, BudgetRule) and _is_same(rule, own) for own in mine)
        ]
        click.echo(
            "No budgets yet: a session brings its own."
            if not rules
            else "Limits that the next session begins:"
            if others
            else "The next session begins these:"
        )
        for text in limits_to_come(others, (), spent, rt.services.clock_us()):
            click.echo(text)
    if not as_json:
        zone = shown_zone(settings)
        say_plans(plans, zone)
        _say_bindings(settings)
        _say_own(settings, spent)
        say_changes([change for changes in own.values() for change in changes], zone)
        for rule in idle:
            click.echo(output.safe(f"{rule.told(output.when(rule.since_us, zone))}.", 1000))
        if idle:
            click.echo(ADVICE)


def _beside_settings(budget: Budget) -> str | None:
    """By how much a budget of the settings stands above or below what they say now, by what was changed by hand."""
    if budget.scope == BudgetScope.SESSION or budget.rule_limit in (None, budget.limit):
        return None
    rule = budget.rule_limit or 0
    more, theirs = (format_amount(nanos, budget.unit) for nanos in (abs(budget.limit - rule), rule))
    word = "over" if budget.limit > rule else "under"
    return f"{output.short_id(budget.name)}: {more} {word} the settings' {theirs}"


def _is_same(one: BudgetRule, other: BudgetRule) -> bool:
    """Whether two rules are one limit: a file says nothing of the time zone that the settings give to all."""
    return replace(one, zone=other.zone, also=other.also) == other


def limits_to_come(
    rules: Sequence[BudgetRule], begun: Sequence[Budget], spent: Mapping[BudgetRule, int], now_us: int
) -> Iterator[str]:
    """Limits of the settings whose budgets have not begun: what was spent already counts once they do."""
    for rule in rules:
        if has_begun(rule, begun, now_us):
            continue
        limit = format_amount(rule.limit, rule.unit)
        told = f"{limit} {per(rule.period)}"
        what = "" if rule.match is None else f" for {output.safe(rule.match)}"
        warns = ", which only warns" if rule.mode is BudgetMode.SOFT else ""
        stands = _used_of(rule, spent)
        yield f"Limit: {told}{what}{warns}{': ' if stands else ''}{', '.join(stands)}."


def _used_of(rule: object, spent: Mapping[BudgetRule, int]) -> tuple[str, ...]:
    """What is spent of a limit, and what is left or over; nothing where that was not added up."""
    if not isinstance(rule, BudgetRule) or (used := spent.get(rule)) is None:
        return ()
    over = used - rule.limit
    shown, rest = format_amount(used, rule.unit), format_amount(abs(over), rule.unit)
    return f"{shown} spent", f"{rest} {'over' if over > 0 else 'left'}"


def _say_bindings(settings: Settings) -> None:
    """How hard limits on names and plans are in the clients here, where there are any."""
    if not settings.plan and not any(rule.scope in NAMED for rule in settings.budgets):
        return
    from tallygate.entrypoints.cli.binding import bindings

    for each in bindings(settings):
        click.echo(f"{each.name[0].upper()}{each.name[1:]}:")
        for told in each.told():
            click.echo(f"  {told}")


def _say_own(settings: Settings, spent: Mapping[BudgetRule, int]) -> None:
    """The limits of the user's settings file, with the names that `budget set` and `remove` take.

    Before budgets of them run, `spent` says what they have to count already.
    """
    limits = own_limits(settings)
    if not limits:
        return
    stands = [_used_of(each.rule, spent) for each in limits]
    output.heading(f"Limits of {settings.paths.user_file}")
    output.table(
        output.words("NAME", [each.name for each in limits]),
        output.words("LIMIT", [each.told for each in limits], tight=False),
        *([output.words("SO FAR", [", ".join(each) or None for each in stands], tight=False)] if any(stands) else []),
    )


@budget.command("check")
@click.argument("session_id", metavar="SESSION")
@click.option("--estimate", metavar="AMOUNT", help="What the next step will cost, in the session's currency.")
@as_json_option
@_tenant
@pass_program
def check(program: Program, session_id: str, estimate: str | None, as_json: bool, tenant: str | None) -> int:
    """Say whether SESSION may go on; leave with exit code 8 where it may not.

    Every budget that binds it counts: its own, those around it, and those of the settings.
    """
    from tallygate.operations.gate.authorize import check_budget

    nanos = 0 if estimate is None else typed_amount("--estimate", estimate, allow_zero=True)
    with program.opened() as app:
        rt = _home(app.runtime, session_id, tenant)
        key = session_called(rt, session_id)
        found = check_budget(rt, key, nanos)
    remaining = present(found.remaining, "a ledger that can be used says what is left")
    used = share_percent(found.used, found.limit)
    if as_json:
        output.document(
            {
                "session_id": key,
                "allowed": found.allowed,
                "reason": found.reason.value,
                "currency": found.currency,
                "remaining": unit_number(remaining, found.currency),
                "pct_used": unit_number(int(used * 10**9), found.currency),
                "budget": None if found.decided_by is None else budget_json(found.decided_by),
                "command": found.command,
            }
        )
    else:
        left = f"{format_amount(max(remaining, 0), found.currency)} left, {used} % used"
        if found.message is not None:
            click.echo(output.safe(found.message, 1000))
        if found.reason is CheckReason.SESSION_ENDED:
            ended = f"Session {output.safe(output.short_id(key))} has ended ({left})"
            click.echo(f"{ended}: it takes no more calls unless its client resumes it.")
        else:
            click.echo(f"{found.reason.value}: {left}.")
        if found.command is not None:
            click.echo(f"To go on: {output.safe(found.command, 500)}")
    return 0 if found.allowed else STOPPED


@budget.command("raise")
@click.argument("budget_id", metavar="NAME|ID")
@click.argument("amount")
@reason_option
@_tenant
@pass_program
def raise_(program: Program, budget_id: str, amount: str, reason: str, tenant: str | None) -> None:
    """Add AMOUNT to the limit of a budget that runs, so that halted work can go on.

    A session's budget has the session's id. NAME is a limit of your settings file, such as `day`: what runs of it now
    is raised. AMOUNT is of the budget's own currency, or a whole number of tokens or calls.
    """
    _check_number(amount)
    settings = program.settings()
    authority = program.authority(settings)
    with program.opened(settings) as app:
        rt = _home(app.runtime, budget_id, tenant)
        found = _running(rt, settings, budget_id) or find_budget(rt, budget_id)
        added = typed_amount("AMOUNT", amount, found.unit)
        _say(rt, raise_budget(rt, found.budget_id, added, reason=cleaned(reason, _REASON_MAX), authority=authority))


def _running(rt: Runtime, settings: Settings, name: str) -> Budget | None:
    """The budget that runs now for a limit of the user's settings file; None where the name is none of its limits."""
    rule = next((each.rule for each in own_limits(settings) if each.name == name), None)
    if not isinstance(rule, BudgetRule):
        return None
    if rule.scope is BudgetScope.SESSION:
        raise NotFound(
            "Each session has a budget of its own, by its id.",
            hint=f"`tallygate sessions list` shows them; `tallygate budget set {name} AMOUNT` is for all that come.",
            code="unknown_budget",
        )
    now_us = rt.services.clock_us()
    found = [each for each in list_budgets(rt, limit=_BUDGETS_LOOKED_AT) if has_begun(rule, [each], now_us)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(each.name for each in found[:_NAMED_MAX])
        raise NotFound(f"Several budgets of {name} run: {names}.", hint="Give one of these.", code="unknown_budget")
    raise NotFound(
        f"No budget of {name} runs yet.",
        hint=f"`tallygate budget set {name} AMOUNT` changes the limit for all that comes.",
        code="unknown_budget",
    )


@budget.command("set")
@click.argument("budget_id", metavar="NAME|ID")
@click.argument("amount")
@reason_option
@_tenant
@changes_settings
@pass_program
def set_(
    program: Program, budget_id: str, amount: str, *, reason: str, tenant: str | None, dry_run: bool, yes: bool
) -> int:
    """Make AMOUNT the limit of NAME or ID.

    NAME is a limit of your settings file, such as `session` or `day`: the file is changed, for all that comes. ID is
    one budget that runs, such as a session: only its own limit is changed, and 0 stops all work on it. `budget list`
    shows both.
    """
    if (
        tenant is None
        and (done := set_own(program, budget_id, amount, reason=reason, dry_run=dry_run, yes=yes)) is not None
    ):
        return done
    _check_number(amount, allow_zero=True)
    if dry_run:
        raise InvalidArgument("--dry-run", "--dry-run is for limits of the settings file; this is a budget that runs.")
    settings = program.settings()
    authority = program.authority(settings)
    with program.opened(settings) as app:
        rt = _home(app.runtime, budget_id, tenant)
        found = find_budget(rt, budget_id)
        limit = typed_amount("AMOUNT", amount, found.unit, allow_zero=True)
        _say(rt, set_budget(rt, found.budget_id, limit, reason=cleaned(reason, _REASON_MAX), authority=authority))
    return 0


budget.add_command(add)
budget.add_command(remove)


def _check_number(amount: str, *, allow_zero: bool = False) -> None:
    """Refuse what is an amount of no unit, before the ledger is asked which unit it has to be."""
    try:
        typed_amount("AMOUNT", amount, allow_zero=allow_zero)
    except InvalidArgument as no_money:
        try:
            typed_amount("AMOUNT", amount, TOKENS, allow_zero=allow_zero)
        except InvalidArgument:
            raise no_money from None


def _named(rt: Runtime, tenant: str | None) -> Runtime:
    return rt if tenant is None else in_tenant(rt, tenant_id(tenant))


def _home(rt: Runtime, text: str, tenant: str | None) -> Runtime:
    """Where an id is looked for: in the tenant that is named, else in that of the session it is, in full."""
    return wherever(rt, text) if tenant is None else _named(rt, tenant)


def budget_table(budgets: Sequence[Budget], splits: Sequence[Split], time_zone: str) -> None:
    """Budgets as a table, with what is spent at prices that are not sure; the end of an id is enough to name one."""
    renewed = [each.resets_us for each in budgets]
    resets = output.words(
        output.zoned("RESETS", renewed, time_zone), [output.when(each, time_zone)[-11:] for each in renewed]
    )
    touched = [each.touched_us for each in budgets]
    used = "USED" if any(renewed) else output.zoned("USED", touched, time_zone)
    shown = [told_apart(amounts_of(each), each.unit) for each in budgets]
    titles = output.table(
        output.names("BUDGET", [output.short_id(each.name) for each in budgets], 24),
        output.going(5, output.words("SCOPE", [each.scope for each in budgets])),
        output.going(4, output.words("PERIOD", [each.period for each in budgets])),
        *([output.going(2, resets)] if any(renewed) else []),
        output.going(3, output.words("MODE", [each.mode for each in budgets])),
        output.amounts("LIMIT", [each[0] for each in shown]),
        output.amounts("SPENT", [each[1] for each in shown]),
        *output.unsure(splits, [each.unit for each in budgets]),
        output.going(1, output.amounts("RESERVED", [each[2] for each in shown])),
        output.amounts("LEFT", [each[3] for each in shown]),
        output.going(6, output.words(used, [output.when(each, time_zone)[-11:] for each in touched])),
    )
    if "RESERVED" in titles and any(each.reserved for each in budgets):
        click.echo("RESERVED is held for steps whose cost is not known yet.")


def say_changes(changes: list[LimitChange], time_zone: str) -> None:
    """How the limits above came to be what they are."""
    for each in changes:
        when = output.when(each.at_us, time_zone)[5:]
        name = output.short_id(each.budget_id.removeprefix(OF_SETTINGS))
        click.echo(f"{output.safe(name)}: {output.safe(each.told(when), 1000)}")


def budget_json(budget: Budget, split: Split | None = None) -> dict[str, Any]:
    """A budget for programs; with what is spent at prices that are not sure where that was looked up."""
    spent = budget.spent + budget.carried
    return {
        "budget_id": budget.name,
        "scope": budget.scope,
        "scope_key": budget.scope_key,
        "period": budget.period,
        "mode": budget.mode.value,
        "currency": budget.unit,
        "limit": unit_number(budget.limit, budget.unit),
        "spent": unit_number(spent, budget.unit),
        **(output.split_json(spent, split, "spent") if split is not None and budget.unit not in COUNTED else {}),
        "reserved": unit_number(budget.reserved, budget.unit),
        "overage": unit_number(budget.overage, budget.unit),
        "left": unit_number(budget.available, budget.unit),
        "resets_at": iso(budget.resets_us),
        "touched_at": iso(budget.touched_us),
    }


def _say(rt: Runtime, changed: Budget) -> None:
    """What the limit is now and what is left, also where something else leaves less."""
    limit, spent, _, left = told_apart(amounts_of(changed), changed.unit)
    over = f" ({spent} spent)" if changed.available < 0 else ""
    also = beside(rt, changed)
    but = ""
    if also.tighter is not None:
        less = format_amount(max(also.tighter.available, 0), also.tighter.unit)
        but = f", but the budget of {output.safe(budget_name(also.tighter), 300)} leaves {less}"
    ended = f" The session has ended. {output.safe(also.goes_on, 1000)}" if also.ended else ""
    click.echo(
        f"{output.safe(output.short_id(changed.name))}: the limit is {limit} now, {left} left{over}{but}.{ended}"
    )
