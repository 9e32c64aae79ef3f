"""`tallygate status`: what was spent of which limit, what runs, what was stopped and what waits, on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from tallygate.clients.client import Obstacle
from tallygate.core.alerts import AlertMark
from tallygate.core.costing import SURE
from tallygate.core.gate.rules import DAY, BudgetRule, BudgetScope, window_of
from tallygate.core.gate.wording import amounts_of, budget_name, off_told
from tallygate.core.lock import LockStanding, Off
from tallygate.core.model import DEFAULT_TENANT, Budget
from tallygate.core.moments import as_datetime, iso
from tallygate.core.money import format_amount, json_number, told_apart
from tallygate.core.plan import PlanStanding
from tallygate.core.sums import UnreadSum
from tallygate.core.text import plural
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.budget import budget_json, budget_table, limits_to_come
from tallygate.entrypoints.cli.glance import NAMES, spending
from tallygate.entrypoints.cli.init import surroundings
from tallygate.entrypoints.cli.install_checks import Astray, astray, kept_from_running, told_of
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.output import shown_zone, zone_of
from tallygate.entrypoints.cli.plans import plan_json, say_plans
from tallygate.entrypoints.cli.program import STOPPED, Program, pass_program
from tallygate.entrypoints.cli.sync import read_news, reading_first
from tallygate.entrypoints.cli.unread import open_questions
from tallygate.entrypoints.runnable import runnable
from tallygate.ledger.audit.condition import Condition, condition
from tallygate.operations.alerts import alerts_failed
from tallygate.operations.budgets.of_settings import LooserSettings, recently_looser
from tallygate.operations.lock_book import off_at_a_look, standing_now
from tallygate.operations.plan import plans_standing
from tallygate.operations.views import overview
from tallygate.operations.views.history import Fitting, fitting, so_far, spent_lately
from tallygate.operations.views.overview import last_stops, list_budgets, standing
from tallygate.operations.views.prices import OLD_DAYS
from tallygate.operations.views.usage import Anomalies, what_is_open
from tallygate.pricing.catalog import CatalogInfo
from tallygate.reports.run_line import stop_stated
from tallygate.reports.usage import By, UsageLine
from tallygate.settings import Settings

_SESSIONS_MAX = 100
_BUDGETS_LOOKED_AT = 200
_OVER_SHOWN = 5
_OLD = "the price list is more than a month old: `tallygate prices update` fetches a newer one."


@value(frozen=True, slots=True)
class _Seen:
    """Everything that is shown, as of one look."""

    settings: Settings
    zone: str
    now_us: int
    spent: Mapping[By, UsageLine]
    counts_already: Mapping[BudgetRule, int]  # of limits whose budgets have not begun
    rules: Sequence[BudgetRule]
    windows: Sequence[Budget]
    plans: Sequence[PlanStanding]
    over: Sequence[Budget]
    other: Fitting | None
    stands: overview.LedgerStanding
    unread: UnreadSum
    anomalies: Anomalies
    looser: Sequence[LooserSettings]
    stops: Sequence[overview.StoppedRun]
    state: Condition
    lock: LockStanding
    off: Off | None
    prices: CatalogInfo
    elsewhere: Sequence[Astray]
    kept: Sequence[tuple[str, Obstacle]]
    untold: Sequence[AlertMark]

    @property
    def every_step_is_stopped(self) -> bool:
        """Whether no step is let through here, whatever it costs."""
        return self.settings.fault is not None or any(each.ledger is None for each in self.elsewhere)


@click.command()
@click.option(
    "--exit-code", "tells", is_flag=True, help="Leave with 8 where the last run here was stopped, or every step is."
)
@click.option("--verbose", "-v", is_flag=True, help="Also where everything is: ledger, run log, settings, prices.")
@reading_first
@as_json_option
@pass_program
def status(program: Program, *, tells: bool, verbose: bool, syncing: bool, as_json: bool) -> int:
    """Show how everything stands.

    What was spent today, this week and this month, what is left of your limits, open sessions, runs that were stopped,
    and what waits for you. A run is stopped where an agent of it was refused last and no limit was raised since; every
    step is where the project's settings cannot be read, or a client's entries name places that are not there. Outside
    of a project the last run is that of any.

    Exit codes: 0 done; with --exit-code 8 where the last run here was stopped, or every step is.
    """
    settings = program.settings()
    seen = _look(program, settings, shown_zone(settings), syncing=syncing)
    if as_json:
        output.document(_document(seen))
    else:
        _show_work(seen)
        if facts := _places(seen) if verbose else _apart(seen):
            click.echo()
            output.facts(facts)
        for text in _notices(seen):
            output.aside(text)
    return STOPPED if tells and (seen.stops or seen.every_step_is_stopped) else 0


def _look(program: Program, settings: Settings, zone: str, *, syncing: bool) -> _Seen:
    where = surroundings(settings)
    with program.opened(settings) as app:
        rt = app.runtime
        if syncing:
            read_news(rt)
        unread, anomalies = what_is_open(rt)
        now_us = rt.services.clock_us()
        budgets = list_budgets(rt, limit=_BUDGETS_LOOKED_AT)
        windows = [
            each
            for each in budgets
            if each.scope != BudgetScope.SESSION and (each.resets_us is None or each.resets_us > now_us)
        ]
        with rt.reading() as reader:
            plans = plans_standing(rt, reader, now_us)
        return _Seen(
            plans=plans,
            settings=settings,
            zone=zone,
            now_us=now_us,
            spent=spent_lately(rt, zone_of(zone)),
            counts_already=so_far(rt, rt.workspace.rules, zone_of(zone)),
            rules=rt.workspace.rules,
            windows=windows,
            over=[each for each in budgets if _is_over(each, now_us, zone)],
            other=fitting(rt, zone_of(zone)),
            stands=standing(rt, limit=_SESSIONS_MAX),
            unread=unread,
            anomalies=anomalies,
            looser=recently_looser(rt),
            stops=last_stops(rt),
            state=condition(app.kept),
            lock=standing_now(rt),
            off=off_at_a_look(rt),
            prices=rt.workspace.prices.info(as_datetime(now_us)),
            elsewhere=astray(where),
            kept=kept_from_running(settings, where),
            untold=alerts_failed(rt) if settings.alerts else (),
        )


def _document(seen: _Seen) -> dict[str, Any]:
    from tallygate.entrypoints.cli.sessions import line_json
    from tallygate.entrypoints.cli.switch import off_json
    from tallygate.entrypoints.cli.unread import unread_json
    from tallygate.entrypoints.cli.usage import part_json

    paths, stands, state = seen.settings.paths, seen.stands, seen.state
    prices = seen.prices
    return {
        "spent": {NAMES[by].replace(" ", "_"): part_json(line.whole) for by, line in seen.spent.items()},
        "budgets": [budget_json(each) for each in seen.windows],
        "plan_limits": [plan_json(each) for each in seen.plans],
        "proposed_session_limit": None if seen.other is None else json_number(seen.other.proposed.limit_nanos),
        "ledger": {
            "path": paths.ledger_name,
            "id": state.ledger_id,
            "size_bytes": state.size_bytes,
            "schema": state.schema,
            "events": stands.head.seq,
            "head": stands.head.hash.hex(),
            "last_event_at": iso(stands.head.at_us or None),
        },
        "run_log": {"path": str(paths.run_log), "waiting": [line.session_id for line in stands.waiting]},
        "settings": _settings_json(seen.settings, seen.looser),
        "prices": {
            "source": prices.source,
            "version": prices.version,
            "newest_price": prices.newest_price,
            "age_days": prices.age_days,
            "models": prices.models,
            "fetched_at": prices.fetched_at,
            "notice": prices.notice,
        },
        "lock": _lock_json(seen.lock),
        "off": None if seen.off is None else off_json(seen.off),
        "every_step_is_stopped": seen.every_step_is_stopped,
        "installed_elsewhere": [_astray_json(each) for each in seen.elsewhere],
        "hooks_kept": [{"client": title, "found": each.what, "to_do": each.to_do} for title, each in seen.kept],
        "stopped": [{"session_id": stop.session_id, **stop_stated(stop.call)} for stop in seen.stops],
        "open_sessions": [line_json(line) for line in stands.open_sessions],
        "unread": unread_json(seen.unread),
        **seen.anomalies.stated(),
        "left": json_number(sum(line.left_nanos or 0 for line in stands.open_sessions)),
    }


def _show_work(seen: _Seen) -> None:
    """What was spent against which limits, what runs, and what was stopped."""
    if seen.off is not None:
        output.hint(f"{output.safe(off_told(seen.off, seen.zone), 1000)}\n")
    spending(seen.spent)
    if seen.windows:
        click.echo()
        budget_table(seen.windows, [SURE] * len(seen.windows), seen.zone)
    for text in limits_to_come(seen.rules, seen.windows, seen.counts_already, seen.now_us):
        click.echo(text)
    say_plans(seen.plans, seen.zone)
    if seen.stands.open_sessions:
        from tallygate.entrypoints.cli.sessions import session_table

        output.heading(f"{plural(len(seen.stands.open_sessions), 'open session')}")
        session_table(seen.stands.open_sessions, seen.zone)
    else:
        click.echo("\nNo open sessions.")
    stopped = {stop.session_id for stop in seen.stops}
    if over := [each for each in seen.over if each.mode is BudgetMode.SOFT or each.scope_key not in stopped]:
        click.echo("\n" + "\n".join(_passed(over)))
    for stop in seen.stops:
        at = output.when(stop.call.at_us, seen.zone)
        why = stop.message or f"{stop.call.tool_name} was refused: {stop.call.reason.value}"
        why = runnable(why, whole=seen.lock.lock is not None)
        click.echo(f"\nSession {output.short_id(stop.session_id)} was stopped at {at}. {output.safe(why, 2000)}")


def _is_over(budget: Budget, now_us: int, zone: str) -> bool:
    """Whether a budget that only warns was passed, or a session's own that stops, and somebody spent it today."""
    is_named = budget.mode is BudgetMode.SOFT or budget.scope == BudgetScope.SESSION
    return is_named and budget.available < 0 and budget.touched_us >= window_of(DAY, now_us, zone_of(zone)).start_us


def _passed(budgets: Sequence[Budget]) -> Iterator[str]:
    """The limits that were passed today: where they only warn, what a hard one would have stopped."""
    for budget in budgets[:_OVER_SHOWN]:
        limit, spent, *_ = told_apart(amounts_of(budget), budget.unit)
        name = output.safe(budget_name(budget))
        warns = ", which only warns" if budget.mode is BudgetMode.SOFT else ""
        yield f"{name[0].upper()}{name[1:]} went on over its limit{warns}: {spent} of {limit}."
    if (more := len(budgets) - _OVER_SHOWN) > 0:
        yield f"{more} more did."
    if any(each.mode is BudgetMode.SOFT for each in budgets):
        yield "`tallygate why SESSION` tells where a hard limit would have stopped it."


def _places(seen: _Seen) -> list[tuple[str, str]]:
    """Where everything is."""
    settings, paths, head = seen.settings, seen.settings.paths, seen.stands.head
    prices = seen.prices
    waiting = len(seen.stands.waiting)
    fetched = "" if prices.fetched_at is None else f", fetched {prices.fetched_at[:10]}"
    age = "no dated prices" if prices.age_days is None else f"newest price {prices.age_days} days old"
    return [
        ("ledger", f"{paths.ledger_name} ({output.size(seen.state.size_bytes)}, schema {seen.state.schema})"),
        ("events", _events(head.seq, output.when(head.at_us, seen.zone))),
        *([("last hash", head.hash.hex())] if head.seq else []),
        ("run log", f"{paths.run_log}" + (f" ({plural(waiting, 'line')} waiting)" if waiting else "")),
        ("settings", ", ".join(map(str, paths.settings_files)) or "the defaults: no settings file"),
        *_locked(seen),
        ("time zone", _zone(settings, seen.zone)),
        *_whose(settings),
        ("prices", f"{prices.source} {prices.version}, {plural(prices.models, 'model')}, {age}{fetched}"),
    ]


def _apart(seen: _Seen) -> list[tuple[str, str]]:
    """What of that a user has to know who did not ask: a lock, whose figures these are, days that budgets have not."""
    zones = {seen.zone.removeprefix("Etc/"), seen.settings.time_zone.removeprefix("Etc/")}
    differs = not seen.settings.zone_is_set and len(zones) > 1
    zone = [("time zone", _zone(seen.settings, seen.zone))] if differs else []
    return [*_locked(seen), *zone, *_whose(seen.settings)]


def _whose(settings: Settings) -> list[tuple[str, str]]:
    """The tenant whose figures are shown, where it is not the only one."""
    return [("tenant", settings.tenant)] if settings.tenant != DEFAULT_TENANT else []


def _notices(seen: _Seen) -> Iterator[str]:
    """What waits for somebody, and the next step."""
    settings, age_days, why = seen.settings, seen.prices.age_days, seen.prices.notice
    if settings.fault is not None:
        yield "Every step in this project is stopped until its settings can be read."
    for each in seen.elsewhere:
        yield f"{each.text}. {each.to_do}"
    for title, obstacle in seen.kept:
        yield told_of(title, obstacle)
    yield from settings.notices
    for mark in seen.untold:
        when = output.when(mark.claimed_us, seen.zone)
        yield f"The alert at {mark.percent} % of {mark.budget_id} could not be told ({when}): {mark.error}"
    if why:
        yield why
    elif age_days is not None and age_days > OLD_DAYS:
        yield _OLD
    if seen.lock.lost_us is not None:
        yield (
            f"The lock of the limits was ended without its passphrase on {output.when(seen.lock.lost_us, seen.zone)} "
            f"by {seen.lock.lost_by}. tallygate lock sets a new one."
        )
    for change in seen.looser:
        since = "from now on" if change.at_us is None else f"since {output.when(change.at_us, seen.zone)}"
        yield f"The settings became looser for sessions that open {since}: {change.text}."
    yield from open_questions(seen.unread, seen.anomalies)
    if seen.other is not None:
        yield _proposal(seen.other, settings)
    if not settings.paths.is_installed and not seen.elsewhere:
        yield "Nothing stops your agents yet. `tallygate init` proposes limits from your history and sets them."


def _proposal(other: Fitting, settings: Settings) -> str:
    """Why another limit for sessions fits better, and where it is set."""
    stands, better = settings.session_budget.limit, other.proposed
    file = next(iter(settings.paths.settings_files), None)
    where = "" if file is None else f" It is set in {file}."
    return (
        f"{other.stopped} of the last {other.of} sessions were stopped at {format_amount(stands)}. "
        f"{format_amount(better.limit_nanos)} a session would have stopped {better.over or 'none'} of your last "
        f"{better.known}.{where}"
    )


def _settings_json(settings: Settings, looser: Sequence[LooserSettings]) -> dict[str, Any]:
    project = settings.paths.project_root
    return {
        "files": [str(path) for path in settings.paths.settings_files],
        "project": None if project is None else str(project),
        "notices": list(settings.notices),
        "looser": [{"since": iso(each.at_us), "changes": list(each.changes)} for each in looser],
        "loosened": [row.shown for row in settings.loosened],
        "tenant": settings.tenant,
        "time_zone": shown_zone(settings),
        "time_zone_of_budgets": settings.time_zone,
    }


def _astray_json(found: Astray) -> dict[str, Any]:
    return {
        "client": found.title,
        "file": str(found.file),
        "places": found.places,
        "ledger": found.ledger,
        "to_do": found.to_do,
    }


def _lock_json(standing: LockStanding) -> dict[str, Any]:
    lock = standing.lock
    since = None if lock is None else iso(lock.since_us)
    return {"locked": lock is not None, "since": since, "ended_without_passphrase": iso(standing.lost_us)}


def _locked(seen: _Seen) -> list[tuple[str, str]]:
    """Since when limits are locked, and the one place where the passphrase is typed."""
    if seen.lock.lock is None:
        return []
    from tallygate.entrypoints.cli.lock import own_path

    since = output.when(seen.lock.lock.since_us, seen.zone)
    return [("locked", f"since {since}: what loosens needs your passphrase; type it only into {own_path()}")]


def _zone(settings: Settings, shown: str) -> str:
    """In which zone times are shown; where budgets renew by another, that too."""
    if settings.zone_is_set:
        return shown
    apart = "" if shown == settings.time_zone else f"; budgets renew by {settings.time_zone} until you set time_zone"
    return f"{shown}, this machine's{apart}"


def _events(events: int, last: str) -> str:
    return f"{plural(events, 'event')}, last {last}" if events else "no events yet"
