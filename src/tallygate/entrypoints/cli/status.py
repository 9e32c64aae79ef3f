"""`tallygate status`: where everything is and how it stands, on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tallygate.core.lock import Standing
from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.moments import as_datetime, iso
from tallygate.core.money import json_number
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.init import surroundings
from tallygate.entrypoints.cli.install_checks import Astray, astray
from tallygate.entrypoints.cli.lock import own_path
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.output import shown_zone
from tallygate.entrypoints.cli.program import STOPPED, Program, pass_program
from tallygate.entrypoints.cli.sessions import line_json, session_table
from tallygate.entrypoints.cli.unread import left_open, unread_json
from tallygate.entrypoints.runnable import runnable
from tallygate.ledger.audit.condition import condition
from tallygate.operations.budgets.declared import Loosened, recently_looser
from tallygate.operations.lock_book import standing_now
from tallygate.operations.views.overview import last_stops, standing
from tallygate.operations.views.usage import what_is_open
from tallygate.reports.run_line import stop_stated
from tallygate.settings import Settings

_SESSIONS_MAX = 100
_OLD_DAYS = 30
_OLD = "the price list is more than a month old: `tallygate prices update` fetches a newer one."


@click.command()
@click.option(
    "--exit-code", "tells", is_flag=True, help="Leave with 8 where the last run here was stopped, or every step is."
)
@as_json_option
@pass_program
def status(program: Program, tells: bool, as_json: bool) -> int:
    """Show how everything stands.

    The ledger, its open sessions with what is left, runs that were stopped, the run log, prices, and the settings in
    force. A run is stopped where an agent of it was refused last and no limit was raised since; every step is where the
    project's settings cannot be read, or a client's entries name places that are not there.
    """
    settings = program.settings()
    with program.opened(settings) as app:
        stands = standing(app.runtime, limit=_SESSIONS_MAX)
        unread, anomalies = what_is_open(app.runtime)
        looser = recently_looser(app.runtime)
        stops = last_stops(app.runtime)
        state = condition(app.ledger)
        lock = standing_now(app.runtime)
        prices = app.runtime.workspace.prices.info(as_datetime(app.runtime.services.clock_us()))
    elsewhere = astray(surroundings(settings))
    shut = settings.fault is not None or any(each.ledger is None for each in elsewhere)
    code = STOPPED if tells and (stops or shut) else 0
    paths, zone = settings.paths, shown_zone(settings)
    files = list(paths.settings_files)
    if as_json:
        output.document(
            {
                "ledger": {
                    "path": str(paths.database),
                    "id": state.ledger_id,
                    "size_bytes": state.size_bytes,
                    "schema": state.schema,
                    "events": stands.head.seq,
                    "head": stands.head.hash.hex(),
                    "last_event_at": iso(stands.head.at_us or None),
                },
                "run_log": {"path": str(paths.run_log), "waiting": [line.session_id for line in stands.waiting]},
                "settings": _settings_json(settings, looser),
                "prices": {
                    "source": prices.source,
                    "version": prices.version,
                    "newest_price": prices.newest_price,
                    "age_days": prices.age_days,
                    "models": prices.models,
                    "fetched_at": prices.fetched_at,
                    "notice": prices.notice,
                },
                "lock": _lock_json(lock),
                "every_step_is_stopped": shut,
                "installed_elsewhere": [_astray_json(each) for each in elsewhere],
                "stopped": [{"session_id": stop.session_id, **stop_stated(stop.call)} for stop in stops],
                "open_sessions": [line_json(line) for line in stands.open_sessions],
                "unread": unread_json(unread),
                **anomalies.stated(),
                "left": json_number(sum(line.left_nanos for line in stands.open_sessions)),
            }
        )
        return code
    waiting = len(stands.waiting)
    fetched = "" if prices.fetched_at is None else f", fetched {prices.fetched_at[:10]}"
    age = "no dated prices" if prices.age_days is None else f"newest price {prices.age_days} days old"
    output.facts(
        [
            ("ledger", f"{paths.database} ({output.size(state.size_bytes)}, schema {state.schema})"),
            ("chain", _chain(stands.head.seq, output.when(stands.head.at_us, zone))),
            *([("head", stands.head.hash.hex())] if stands.head.seq else []),
            ("run log", f"{paths.run_log}" + (f" ({output.plural(waiting, 'line')} waiting)" if waiting else "")),
            ("settings", ", ".join(map(str, files)) or "the defaults: no settings file"),
            *([("locked", _locked(lock.lock.since_us, zone))] if lock.lock is not None else []),
            ("time zone", _zone(settings, zone)),
            *([("tenant", settings.tenant)] if settings.tenant != DEFAULT_TENANT else []),
            ("prices", f"{prices.source} {prices.version}, {output.plural(prices.models, 'model')}, {age}{fetched}"),
        ]
    )
    if settings.fault is not None:
        output.aside("Every step in this project is stopped until its settings can be read.")
    for each in elsewhere:
        output.aside(f"{each.text}. {each.to_do}")
    old = prices.age_days is not None and prices.age_days > _OLD_DAYS
    for notice in (*settings.notices, *([prices.notice] if prices.notice else [_OLD] if old else [])):
        output.aside(notice)
    if lock.lost_us is not None:
        output.aside(
            f"The lock of the limits was ended without its passphrase on {output.when(lock.lost_us, zone)} by "
            f"{lock.lost_by}. tallygate lock sets a new one."
        )
    for change in looser:
        since = "from now on" if change.at_us is None else f"since {output.when(change.at_us, zone)}"
        output.aside(f"The settings became looser for sessions that open {since}: {change.text}.")
    for text in left_open(unread, anomalies):
        output.aside(text)
    if stands.open_sessions:
        output.heading(f"{output.plural(len(stands.open_sessions), 'open session')}")
        session_table(stands.open_sessions, zone)
    else:
        click.echo("\nNo open sessions.")
    for stop in stops:
        at = output.when(stop.call.at_us, zone)
        why = stop.message or f"{stop.call.tool_name} was refused: {stop.call.reason.value}"
        why = runnable(why, whole=lock.lock is not None)
        click.echo(f"\nSession {output.short_id(stop.session_id)} was stopped at {at}. {output.safe(why, 2000)}")
    return code


def _settings_json(settings: Settings, looser: Sequence[Loosened]) -> dict[str, Any]:
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


def _lock_json(standing: Standing) -> dict[str, Any]:
    lock = standing.lock
    since = None if lock is None else iso(lock.since_us)
    return {"locked": lock is not None, "since": since, "ended_without_passphrase": iso(standing.lost_us)}


def _locked(since_us: int, zone: str) -> str:
    """Since when, and the one place where the passphrase is typed."""
    since = output.when(since_us, zone)
    return f"since {since}: what loosens needs your passphrase; type it only into {own_path()}"


def _zone(settings: Settings, shown: str) -> str:
    """In which zone times are shown; where budgets renew by another, that too."""
    if settings.zone_is_set:
        return shown
    apart = "" if shown == settings.time_zone else f"; budgets renew by {settings.time_zone} until you set time_zone"
    return f"{shown}, this machine's{apart}"


def _chain(events: int, last: str) -> str:
    return f"{output.plural(events, 'event')}, last {last}" if events else "no events yet"
