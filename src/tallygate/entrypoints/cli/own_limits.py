"""`tallygate budget add`, `set` and `remove`: the limits of the user's own settings file, which nobody has to edit."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click

from tallygate.clients.registry import REGISTRY
from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import Conflict, InvalidArgument, NotFound, SettingsError
from tallygate.core.gate.rules import SESSION, BudgetRule, BudgetScope, parse_period
from tallygate.core.model import NO_REASON
from tallygate.core.money import format_amount
from tallygate.core.text import cleaned
from tallygate.core.typed import typed_amount, typed_limit
from tallygate.core.words import BudgetMode, client_name
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import Command
from tallygate.entrypoints.cli.output import shown_zone, zone_of
from tallygate.entrypoints.cli.program import FAILED, Program, pass_program
from tallygate.entrypoints.cli.trust import loaded_here
from tallygate.files import make_folders, read_file
from tallygate.files import replace as replace_file
from tallygate.ledger.sqlite.files import is_nothing
from tallygate.operations.budgets.change import note_own_limit
from tallygate.operations.budgets.of_settings import names_none
from tallygate.operations.lock import sign_settings
from tallygate.operations.lock_book import remember_lock
from tallygate.operations.views.history import spent_on_rule
from tallygate.settings import Settings
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
reason_option = click.option("--reason", default=NO_REASON, show_default=True, help="Kept in the journal.")
_SPANS = {"day": "today", "week": "this week", "month": "this month", "never": "so far"}


def changes_settings(command: Command) -> Command:
    """The options of a command that writes the user's settings file."""
    dry = click.option("--dry-run", is_flag=True, help="Show how your settings file would change, and change nothing.")
    return dry(click.option("--yes", is_flag=True, help="Ask nothing.")(command))


@click.command("add")
@click.argument("limit", metavar="LIMIT")
@click.option("--per", metavar="PERIOD", help="day, week, month, never, or hours such as 5h; without it a session.")
@click.option("--client", help="Only what this client spends.")
@click.option("--model", help="Only what this model spends: an id, a pattern, or a family such as opus.")
@click.option("--project", help="Only what is spent in this project: a folder, the end of its path, or a pattern.")
@click.option("--anyway", is_flag=True, help="Also for a client that is not known here, which names itself so.")
@click.option("--soft", is_flag=True, help="Warn above it, and stop nothing.")
@click.option("--hard", is_flag=True, help="Stop above it, also where your settings let budgets only warn.")
@reason_option
@changes_settings
@pass_program
def add(
    program: Program,
    limit: str,
    *,
    per: str | None,
    client: str | None,
    model: str | None,
    project: str | None,
    anyway: bool,
    soft: bool,
    hard: bool,
    reason: str,
    dry_run: bool,
    yes: bool,
) -> int:
    """Add a limit to your settings file.

    LIMIT is dollars, or says its unit: $20, 7,50, '£20', '5M tokens', '200 calls'. `budget add 5` limits each session,
    `budget add 50 --per day` what you spend a day, `budget add 20 --per week --project shop` a project. Every other
    line of the file stays as it is.
    """
    scope, match = _whose(client=client, model=model, project=project, per=per, anyway=anyway)
    if soft and hard:
        raise InvalidArgument("--soft", "--soft and --hard are two modes; a limit has one.")
    amount, unit = typed_limit("LIMIT", limit)
    period = SESSION if per is None else _period(per)
    if scope is None:
        scope = BudgetScope.SESSION if period == SESSION else BudgetScope.USER
    own = _read(program)
    mode = BudgetMode.SOFT if soft else BudgetMode.HARD if hard else own.settings.policy.budget_mode
    rule = BudgetRule(scope=scope, limit=amount, unit=unit, period=period, mode=mode, match=match)
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
    rule = replace(found.rule, limit=typed_amount("AMOUNT", amount, found.rule.unit))
    new = with_other_amount(own.document, found, rule)
    made = NamedLimit(found.name, rule, found.index)
    return _write(program, own, new, made, Loosening.BUDGET_SET, reason=reason, dry_run=dry_run, yes=yes)


def own_limits(settings: Settings) -> list[NamedLimit]:
    """The limits of the user's own file; none where that cannot be read."""
    try:
        return limits_in(users_file(settings.paths), settings.paths)
    except SettingsError:
        return []


@dataclass(frozen=True, slots=True)
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


def _whose(
    *, client: str | None, model: str | None, project: str | None, per: str | None, anyway: bool
) -> tuple[BudgetScope | None, str | None]:
    given = [
        (scope, match)
        for scope, match in (
            (BudgetScope.CLIENT, client),
            (BudgetScope.MODEL, model),
            (BudgetScope.PROJECT, project),
        )
        if match is not None
    ]
    if len(given) > 1:
        raise InvalidArgument("--client", "A limit is for a client, a model or a project: give one of the three.")
    if not given:
        return None, None
    scope, match = given[0]
    if per is None:
        raise InvalidArgument(
            "--per", f"A limit for a {scope.value} needs its period.", hint="Add for example: --per day"
        )
    if not match or not match.isprintable():
        raise InvalidArgument(f"--{scope.value}", f"--{scope.value} must name one, not {match!r:.80}.")
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


def _same(rule: BudgetRule) -> tuple[object, ...]:
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
    if is_gone and limit.rule.scope is BudgetScope.SESSION and left.budgets == ():
        output.aside(f"A session has {format_amount(left.session_budget.limit)} where nothing is set.")
    if not is_gone and not is_nothing(settings.paths.database):
        before = own.limits[limit.index].rule if what is Loosening.BUDGET_SET else None
        with program.opened(settings) as app:
            why = cleaned(reason, _REASON_MAX)
            note_own_limit(app.runtime, limit.name, limit.told, (before, limit.rule), reason=why, authority=authority)
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
        before = own.limits[limit.index].rule.limit
        return limit.rule.limit <= before and is_only_tighter(own.settings.paths, own.document, _parsed(own, new))
    return what is Loosening.BUDGET_ADD and is_only_tighter(own.settings.paths, own.document, _parsed(own, new))


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


def _warnings(program: Program, settings: Settings, rule: BudgetRule) -> Iterator[str]:
    """That a limit binds nothing, is passed already, or stops every first prompt; nothing where nobody knows."""
    if is_nothing(settings.paths.database):
        return
    with program.opened(settings, by="cli") as app:
        if rule.scope is BudgetScope.MODEL and names_none(app.runtime, rule):
            yield f"no model that is listed or was used is called {rule.match}: until one is, this limit binds nothing."
        if rule.unit != "USD":
            return
        if rule.scope is not BudgetScope.SESSION:
            from tallygate.entrypoints.cli.sync import read_news

            read_news(app.runtime)
            spent = spent_on_rule(app.runtime, rule, zone_of(shown_zone(settings)))
            if spent is not None and spent >= rule.limit:
                yield _passed(rule, spent)
                return
        from tallygate.entrypoints.cli.init import surroundings

        where = surroundings(settings)
        meant = [each for each in REGISTRY.clients.values() if rule.match in (None, each.name) and each.is_here(where)]
        from tallygate.operations.gate.first_step import dearest_first_step

        first = dearest_first_step(app.runtime, meant, learned=True)
    limits_it = rule.mode is BudgetMode.HARD and rule.scope not in (BudgetScope.MODEL, BudgetScope.PROJECT)
    if first is not None and limits_it:
        told = first.refused_by(rule.limit, f"a limit of {format_amount(rule.limit)}")
        if told is not None:
            yield told


def _passed(rule: BudgetRule, spent: int) -> str:
    when = _SPANS.get(rule.period, f"in the last {rule.period.removesuffix('h')} hours")
    past = "more than" if spent > rule.limit else "all of"
    then = "the next step is stopped" if rule.mode is BudgetMode.HARD else "each step warns"
    said = f"{format_amount(spent)} was spent {when} already, {past} the limit of {format_amount(rule.limit)}: {then}."
    return f"{said} A limit above {format_amount(spent)} leaves something."


def _diff(document: Document, new: str) -> str:
    old, after = (text.splitlines(keepends=True) for text in (document.text, new))
    name = document.name if document.text else "/dev/null"
    lines = difflib.unified_diff(old, after, name, document.name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
