"""`tallygate budget add`, `set` and `remove`: the limits of the user's own settings file, which nobody has to edit."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import click

from tallygate.clients.registry import REGISTRY
from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import Conflict, InvalidArgument, NotFound, SettingsError
from tallygate.core.gate.rules import NAMED, SESSION, BudgetRule, BudgetScope, parse_period, scope_named, scope_words
from tallygate.core.model import NO_REASON
from tallygate.core.money import COUNTED, format_amount
from tallygate.core.plan import PlanRule, PlanUnknown, minutes_named, percent, window_name
from tallygate.core.text import cleaned
from tallygate.core.typed import typed_amount, typed_limit, typed_percent
from tallygate.core.values import value
from tallygate.core.words import BudgetMode, client_name
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import Command
from tallygate.entrypoints.cli.output import shown_zone, zone_of
from tallygate.entrypoints.cli.program import FAILED, Program, pass_program
from tallygate.entrypoints.cli.trust import loaded_here
from tallygate.files import make_folders, read_file
from tallygate.files import replace as replace_file
from tallygate.operations.budgets.change import note_own_limit
from tallygate.operations.budgets.of_settings import names_none
from tallygate.operations.lock import sign_settings
from tallygate.operations.lock_book import remember_lock
from tallygate.operations.plan import plans_standing
from tallygate.operations.views.history import names_like, raised_beyond, spent_on_rule
from tallygate.settings import Settings
from tallygate.settings.budgets import AT_PERCENT
from tallygate.settings.rewrite import (
    NamedLimit,
    limits_in,
    users_file,
    with_limit,
    with_other_amount,
    without_limit,
)
from tallygate.settings.signed import is_only_tighter, users_rows
from tallygate.settings.source import Document, parse_document
from tallygate.workspace import is_no_folder, written_out

_REASON_MAX = 500
_NAMES_SHOWN = 3
reason_option = click.option("--reason", default=NO_REASON, show_default=True, help="Kept in the journal.")
_SPANS = {"day": "today", "week": "this week", "month": "this month", "never": "so far"}


def changes_settings(command: Command) -> Command:
    """The options of a command that writes the user's settings file."""
    dry = click.option("--dry-run", is_flag=True, help="Show how your settings file would change, and change nothing.")
    return dry(click.option("--yes", is_flag=True, help="Ask nothing.")(command))


@click.command("add")
@click.argument("limit", metavar="[LIMIT]", required=False)
@click.option("--per", metavar="PERIOD", help="day, week, month, never, or hours such as 5h; without it a session.")
@click.option("--client", help="Only what this client spends; of a plan, whose it is.")
@click.option("--model", help="Only what this model spends: an id, a pattern, or a family such as opus.")
@click.option("--project", help="Only what is spent in this project: a folder, the end of its path, or a pattern.")
@click.option("--agent", help="Only what subagents of this kind cost: a name or a pattern.")
@click.option("--skill", help="Only what using this skill costs: a name or a pattern.")
@click.option("--mcp-server", help="Only what asking this MCP server costs: a name or a pattern.")
@click.option("--plan", metavar="WINDOW", help="How much of a client's plan is used, in place of LIMIT: 5h or weekly.")
@click.option("--at-percent", help="Of a plan: from where on nothing is let through; without it 90.")
@click.option(
    "--unknown",
    type=click.Choice([each.value for each in PlanUnknown]),
    help="Of a plan: what is done while nobody knows.",
)
@click.option("--anyway", is_flag=True, help="Also for a client that is not known here, which names itself so.")
@click.option("--soft", is_flag=True, help="Warn above it, and stop nothing.")
@click.option("--hard", is_flag=True, help="Stop above it, also where your settings let budgets only warn.")
@reason_option
@changes_settings
@pass_program
def add(
    program: Program,
    /,
    limit: str | None,
    *,
    per: str | None,
    plan: str | None,
    at_percent: str | None,
    unknown: str | None,
    anyway: bool,
    soft: bool,
    hard: bool,
    reason: str,
    dry_run: bool,
    yes: bool,
    **whose: str | None,
) -> int:
    """Add a limit to your settings file.

    LIMIT is dollars, or says its unit: $20, 7,50, '£20', '5M tokens', '200 calls'. `budget add 5` limits each session,
    `budget add 50 --per day` what you spend a day, `budget add 20 --per week --project shop` a project, `budget add 5
    --per day --agent Explore` a kind of subagent; `budget add --plan 5h --at-percent 90` stops where so much of a
    subscription is used. Every other line of the file stays as it is.
    """
    if soft and hard:
        raise InvalidArgument("--soft", "--soft and --hard are two modes; a limit has one.")
    own = _read(program)
    mode = BudgetMode.SOFT if soft else BudgetMode.HARD if hard else own.settings.policy.budget_mode
    rule: BudgetRule | PlanRule
    if plan is not None:
        others = {"LIMIT": limit, "--per": per} | {_option(name): each for name, each in whose.items()}
        rule = replace(_plan(plan, at_percent, unknown, others), mode=mode)
    else:
        rule = replace(_budget(limit, per, whose, anyway=anyway), mode=mode)
        if at_percent is not None or unknown is not None:
            raise InvalidArgument(
                "--plan", "--at-percent and --unknown are of a limit on a plan.", hint="Add for example: --plan 5h"
            )
    for each in own.limits:
        if _same(each.rule) == _same(rule):
            raise Conflict(
                f"There is such a limit already: {each.name}, {each.told}.",
                hint=f"tallygate budget set {each.name} AMOUNT changes it.",
            )
    new = with_limit(own.document, rule, names_mode=soft or hard)
    [*_, made] = limits_in(_parsed(own, new), own.settings.paths)
    return _write(program, own, new, made, Loosening.BUDGET_ADD, reason=reason, dry_run=dry_run, yes=yes)


@click.command("remove")
@click.argument("name")
@changes_settings
@pass_program
def remove(program: Program, name: str, *, dry_run: bool, yes: bool) -> int:
    """Take the limit NAME out of your settings file; `budget list` shows the names."""
    own = _read(program)
    found = next((each for each in own.limits if each.name == name), None)
    if found is None:
        names = ", ".join(each.name for each in own.limits) or "none yet"
        raise NotFound(
            f"No limit {name!r} is in {own.document.name}.", hint=f"There are: {names}.", code="unknown_budget"
        )
    new = without_limit(own.document, found)
    return _write(program, own, new, found, Loosening.BUDGET_REMOVE, dry_run=dry_run, yes=yes)


def set_own(program: Program, name: str, amount: str, *, reason: str, dry_run: bool, yes: bool) -> int | None:
    """Give a limit of the settings file another amount; None where the name is none of its limits."""
    own = _read(program)
    found = next((each for each in own.limits if each.name == name), None)
    if found is None:
        return None
    after = typed_amount("AMOUNT", amount, found.unit)
    rule = (
        replace(found.rule, at_percent=after) if isinstance(found.rule, PlanRule) else replace(found.rule, limit=after)
    )
    new = with_other_amount(own.document, found, rule)
    made = NamedLimit(found.name, rule, found.index)
    return _write(program, own, new, made, Loosening.BUDGET_SET, reason=reason, dry_run=dry_run, yes=yes)


def own_limits(settings: Settings) -> list[NamedLimit]:
    """The limits of the user's own file; none where that cannot be read."""
    try:
        return limits_in(users_file(settings.paths), settings.paths)
    except SettingsError:
        return []


@value(frozen=True, slots=True)
class _Own:
    """The settings, the user's file as it stands, and its limits."""

    settings: Settings
    document: Document
    limits: list[NamedLimit]


def _read(program: Program) -> _Own:
    """The user's file. Raises `SettingsError` with file and line where it is no use."""
    settings = program.settings()
    document = users_file(settings.paths)
    return _Own(settings, document, limits_in(document, settings.paths))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _budget(limit: str | None, per: str | None, whose: Mapping[str, str | None], *, anyway: bool) -> BudgetRule:
    """The budget that is asked for."""
    scope, match = _whose(whose, per=per, anyway=anyway)
    if limit is None:
        raise InvalidArgument("LIMIT", "LIMIT is missing: how much may be spent.", hint="tallygate budget add 5")
    amount, unit = typed_limit("LIMIT", limit)
    period = SESSION if per is None else _period(per)
    if scope is None:
        scope = BudgetScope.SESSION if period == SESSION else BudgetScope.USER
    return BudgetRule(scope=scope, limit=amount, unit=unit, period=period, match=match)


def _plan(window: str, at_percent: str | None, unknown: str | None, others: Mapping[str, str | None]) -> PlanRule:
    """The limit on a plan that is asked for; `others` are the words that budgets take, of which it has the client."""
    minutes = minutes_named(window.strip().lower())
    if minutes is None:
        raise InvalidArgument("--plan", f"--plan must be 5h, weekly or other hours such as 24h, not {window!r:.60}.")
    client = others["--client"]
    odd = [name for name, each in others.items() if each is not None and name != "--client"]
    if odd:
        raise InvalidArgument(
            odd[0], f"{odd[0]} means nothing for a plan: it counts no money.", hint="Its limit is: --at-percent 90"
        )
    if client is not None:
        client = REGISTRY.names.meant(client)
        telling = {each.name: each.title for each in REGISTRY.clients.values() if each.tells_plan}
        if client not in telling:
            titles = output.listed(list(telling.values()))
            raise InvalidArgument("--client", f"No plan of {client!r:.80} is known: only {titles} tell of theirs.")
    share = AT_PERCENT if at_percent is None else typed_percent("--at-percent", at_percent)
    return PlanRule(minutes, share, client=client, unknown=PlanUnknown(unknown or PlanUnknown.WARN))


def _whose(whose: Mapping[str, str | None], *, per: str | None, anyway: bool) -> tuple[BudgetScope | None, str | None]:
    given = [(BudgetScope(name), match) for name, match in whose.items() if match is not None]
    if len(given) > 1:
        raise InvalidArgument(
            _option(given[0][0].value),
            "A limit is for a client, a model, a project, an agent, a skill or an MCP server: give one of them.",
        )
    if not given:
        return None, None
    scope, match = given[0]
    if per is None:
        raise InvalidArgument(
            "--per", f"A limit for {scope_named(scope)} needs its period.", hint="Add for example: --per day"
        )
    if not match.strip() or not match.isprintable():
        raise InvalidArgument(_option(scope.value), f"{_option(scope.value)} must name one, not {match!r:.80}.")
    if scope is BudgetScope.CLIENT:
        if not (REGISTRY.fits(match) or anyway):
            raise InvalidArgument(
                "--client",
                f"No client is known as {match!r:.80}: there are {', '.join(sorted(REGISTRY.clients))}.",
                hint="For one that names itself so when it connects: --anyway",
            )
        match = REGISTRY.names.meant(match)
    if scope is BudgetScope.PROJECT:
        # As it would be typed to `cd`: the file is read from anywhere.
        if match.split("/")[0] in (".", ".."):
            match = str(Path(match).resolve())
        if is_no_folder(written_out(match, str(Path.home()))):
            output.aside(f"there is no folder {match}: until there is one, this limit binds nothing.")
    return scope, match


def _period(text: str) -> str:
    try:
        return parse_period(text.strip().lower())
    except InvalidArgument:
        raise InvalidArgument(
            "--per", f"--per must be day, week, month, never or hours such as 5h, not {text!r:.60}."
        ) from None


def _same(rule: BudgetRule | PlanRule) -> tuple[object, ...]:
    if isinstance(rule, PlanRule):
        client = None if rule.client is None else REGISTRY.names.meant(rule.client)
        return BudgetScope.PLAN, client, rule.minutes, rule.mode, rule.unknown
    is_client = rule.scope is BudgetScope.CLIENT and rule.match is not None
    match = client_name(REGISTRY.names.meant(rule.match)) if is_client and rule.match else rule.match
    return rule.scope, match, rule.unit, rule.period, rule.mode


def _write(
    program: Program,
    own: _Own,
    new: str,
    limit: NamedLimit,
    what: Loosening,
    *,
    reason: str = NO_REASON,
    dry_run: bool,
    yes: bool,
) -> int:
    """Show what changes, say what it would stop at once, and write it in one step."""
    settings, document = own.settings, own.document
    click.echo(_diff(document, new), nl=False)
    is_gone = what is Loosening.BUDGET_REMOVE
    warnings = [] if is_gone else [*_warnings(program, settings, limit.rule)]
    for text in warnings:
        output.aside(text)
    if dry_run:
        output.aside("nothing was changed.")
        return 0
    authority = _may(program, own, new, limit, what)
    from tallygate.entrypoints.cli.limits import is_attended

    if warnings and not yes and is_attended() and not click.confirm("Set it all the same?", err=True):
        output.aside("nothing was changed.")
        return FAILED
    file = read_file(Path(document.name))
    if (file.content or b"").decode("utf-8") != document.text:
        raise Conflict(f"{document.name} was changed meanwhile; it stays as it is.", hint="Run it again.")
    make_folders(file.target, 0o700)
    replace_file(file.target, new.encode("utf-8"), file.mode or 0o600)
    where = f"is gone from {document.name}" if is_gone else f"in {document.name}"
    click.echo(output.safe(f"{limit.name}, {limit.told}, {where}.", 1000))
    left = program.settings()
    is_sessions = isinstance(limit.rule, BudgetRule) and limit.rule.scope is BudgetScope.SESSION
    if is_gone and is_sessions and left.budgets == ():
        output.aside(f"A session has {format_amount(left.session_budget.limit)} where nothing is set.")
    if not is_gone and not settings.paths.holds_nothing:
        before = _before(own, limit).amount if what is Loosening.BUDGET_SET else None
        with program.opened(settings) as app:
            why, amounts = cleaned(reason, _REASON_MAX), (before, limit.amount)
            note_own_limit(app.runtime, limit.name, limit.told, limit.unit, amounts, reason=why, authority=authority)
            if before is not None and isinstance(limit.rule, BudgetRule):
                for name, more in raised_beyond(app.runtime, limit.rule):
                    amount = format_amount(limit.rule.limit + more, limit.unit)
                    on_top = f"{format_amount(more, limit.unit)} that it was raised by stays on top"
                    output.aside(f"{output.short_id(name)} is at {amount} then: the {on_top}.")
    if authority.beneath is None:
        _sign(program, settings, authority)
    return 0


def _may(program: Program, own: _Own, new: str, limit: NamedLimit, what: Loosening) -> Authority:
    """Who changes the file. A new limit and a lower one are anybody's; while locked, the user signs them, too.

    What an agent tightens beneath a lock counts without a signature, as any row does that is tighter than what was
    signed.
    """
    if _is_tighter(own, new, limit, what) and (found := program.authority(own.settings)).beneath is not None:
        return found
    return program.authority(own.settings, of=what)


def _is_tighter(own: _Own, new: str, limit: NamedLimit, what: Loosening) -> bool:
    """Whether a changed file only adds a limit or lowers one, and leaves nobody more by that.

    A limit for sessions takes the place of the one that they have without it, so not every new one is tighter.
    """
    if what is Loosening.BUDGET_SET:
        return limit.amount <= _before(own, limit).amount and is_only_tighter(
            own.settings.paths, own.document, _parsed(own, new)
        )
    return what is Loosening.BUDGET_ADD and is_only_tighter(own.settings.paths, own.document, _parsed(own, new))


def _before(own: _Own, limit: NamedLimit) -> NamedLimit:
    """A limit as it stands in the file: its place there counts rows of every kind."""
    return next(each for each in own.limits if each.index == limit.index)


def _parsed(own: _Own, text: str) -> Document:
    return parse_document(own.document.name, text)


def _sign(program: Program, settings: Settings, authority: Authority) -> None:
    """While the limits are locked, put what the user has just changed in force; with more waiting they look first."""
    if settings.lock is None:
        return
    if settings.loosened:
        output.aside("It waits with other changes of the file: tallygate trust --user shows them, and lets them count.")
        return
    loaded = loaded_here()
    with program.opened(loaded.settings, by="trust") as app:
        sign_settings(app.runtime, users_rows(loaded.user), authority=authority)
        remember_lock(app.runtime, app.marks)


def _warnings(program: Program, settings: Settings, rule: BudgetRule | PlanRule) -> Iterator[str]:
    """That a limit binds nothing, is passed already, or stops every first prompt; nothing where nobody knows."""
    if settings.paths.holds_nothing:
        return
    if isinstance(rule, PlanRule):
        yield from _plan_warnings(program, settings, rule)
        return
    with program.opened(settings, by="cli") as app:
        if rule.scope is BudgetScope.MODEL and names_none(app.runtime, rule):
            yield f"no model that is listed or was used is called {rule.match}: until one is, this limit binds nothing."
        if (names := names_like(app.runtime, rule)) is not None:
            like = difflib.get_close_matches(str(rule.match), names, 1) or names[:_NAMES_SHOWN]
            known = output.listed([output.safe(name, 100) for name in like])
            yield f"no {scope_words(rule.scope)} on record is called {rule.match} (but {known}): it binds one to come."
        if rule.scope is not BudgetScope.SESSION:
            from tallygate.entrypoints.cli.sync import read_news

            read_news(app.runtime)
            spent = spent_on_rule(app.runtime, rule, zone_of(shown_zone(settings)))
            if spent is not None and spent >= rule.limit:
                yield _passed(rule, spent)
                return
        if rule.unit != "USD":
            return
        from tallygate.entrypoints.cli.init import surroundings

        where = surroundings(settings)
        meant = [each for each in REGISTRY.clients.values() if rule.match in (None, each.name) and each.is_here(where)]
        from tallygate.operations.gate.first_step import dearest_first_step

        first = dearest_first_step(app.runtime, meant, learned=True)
    limits_it = rule.mode is BudgetMode.HARD and rule.scope not in (BudgetScope.MODEL, BudgetScope.PROJECT, *NAMED)
    if first is not None and limits_it:
        told = first.refused_by(rule.limit, f"a limit of {format_amount(rule.limit)}")
        if told is not None:
            yield told


def _plan_warnings(program: Program, settings: Settings, rule: PlanRule) -> Iterator[str]:
    """That so much of a plan is used already, or that a limit which halts while nobody knows does so at once."""
    with program.opened(settings, by="cli") as app:
        from tallygate.entrypoints.cli.sync import read_news

        read_news(app.runtime)
        with app.runtime.reading() as reader:
            plans = plans_standing(app.runtime, reader, app.runtime.services.clock_us(), (rule,))
    for each in plans:
        then = "the next step is stopped" if each.stops else "each step warns"
        window = f"the {window_name(rule.minutes)} window of {REGISTRY.clients[each.client].title}'s plan"
        if each.is_reached and each.told is not None:
            used = f"{percent(each.told.used)} of {window} is used already"
            yield f"{used}, and the limit is {rule.at_percent} %: {then}."
        elif each.stops:
            yield f"Nobody knows how much of {window} is used, and the limit halts until that is told: {then}."


def _passed(rule: BudgetRule, spent: int) -> str:
    when = _SPANS.get(rule.period, f"in the last {rule.period.removesuffix('h')} hours")
    past = "more than" if spent > rule.limit else "all of"
    then = "the next step is stopped" if rule.mode is BudgetMode.HARD else "each step warns"
    amount, limit = format_amount(spent, rule.unit), format_amount(rule.limit, rule.unit)
    was = "were" if rule.unit in COUNTED else "was"
    said = f"{amount} {was} spent {when} already, {past} the limit of {limit}: {then}."
    return f"{said} A limit above {amount} leaves something."


def _diff(document: Document, new: str) -> str:
    old, after = (text.splitlines(keepends=True) for text in (document.text, new))
    name = document.name if document.text else "/dev/null"
    lines = difflib.unified_diff(old, after, name, document.name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
