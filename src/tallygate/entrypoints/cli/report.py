"""`tallygate report`: what was spent in sessions, by tenant, project, client, model or session, and by period."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tallygate.core.money import format_amount, json_number
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.output import moment_us, shown_zone, since_option, zone_of
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.cli.unread import open_questions, unread_json
from tallygate.operations.views.spending import ReportWanted, SpendReport, report_spending
from tallygate.operations.views.usage import what_is_open
from tallygate.reports.spending import Every, SpendBy, SpendPart, csv_of
from tallygate.reports.usage import ALWAYS_US
from tallygate.workspace import written_out

_FORMATS = ("table", "csv", "json")


@click.command()
@click.option(
    "--by",
    type=click.Choice([each.value for each in SpendBy]),
    default=SpendBy.TENANT.value,
    show_default=True,
    help="What a line stands for.",
)
@click.option(
    "--period",
    type=click.Choice([each.value for each in Every]),
    default=Every.MONTH.value,
    show_default=True,
    help="What is added up; periods are those of the time zone in the settings, else of this machine.",
)
@since_option("Only what was spent")
@click.option("--until", metavar="MOMENT", help="Only what was spent before that, or on that day.")
@click.option("--tenant", metavar="TENANT", help="Only this tenant. Without it: all by tenant, else the one here.")
@click.option("--project", help="Only this project, with its worktrees: its path, the end of it, or a pattern.")
@click.option("--format", "as_", type=click.Choice(_FORMATS), default="table", show_default=True)
@click.option("--csv", "as_", flag_value="csv", help="For a spreadsheet, as --format csv.")
@click.option("--json", "as_", flag_value="json", help="One JSON document, as --format json.")
@pass_program
def report(
    program: Program,
    *,
    by: str,
    period: str,
    since: str | None,
    until: str | None,
    tenant: str | None,
    project: str | None,
    as_: str,
) -> None:
    """Show what was spent in sessions.

    Each response counts once, when it was made, and so does each call of a session whose client writes nothing down.
    `tallygate usage` also lists what was used outside of any session; `tallygate sync` reads what is new.
    """
    settings = program.settings()
    time_zone = shown_zone(settings)
    zone = zone_of(time_zone)
    with program.opened(settings) as app:
        now = app.runtime.services.clock_us()
        wanted = ReportWanted(
            by=SpendBy(by),
            every=Every(period),
            from_us=-ALWAYS_US if since is None else moment_us(since, now, zone),
            until_us=ALWAYS_US if until is None else moment_us(until, now, zone, end=True),
            tenant=tenant,
            project=None if project is None else written_out(project, str(Path.home())),
        )
        found = report_spending(app.runtime, wanted, zone)
        unread, anomalies = what_is_open(app.runtime)
    if as_ == "json":
        whole = _json(found, wanted, time_zone)
        output.document(whole | {"unread": unread_json(unread), **anomalies.stated()})
    elif as_ == "csv":
        click.echo(csv_of(found.lines, wanted.by), nl=False)
    elif found.lines:
        moments = [] if wanted.every is Every.ALL else [now]
        _table(found, wanted.by, output.zoned("PERIOD", moments, time_zone))
    else:
        all_of_it = since is until is tenant is project is None
        click.echo("Nothing was spent." if all_of_it else "Nothing of that was spent.")
    if as_ == "table" and found.outside.responses:
        beside = f"{output.plural(found.outside.responses, 'response')}, {format_amount(found.outside.nanos)},"
        output.aside(f"{beside} outside of any session; `tallygate usage` lists them.")
    if as_ != "json":
        for text in open_questions(unread, anomalies):
            output.aside(text)


def _table(found: SpendReport, by: SpendBy, period: str) -> None:
    lines = found.lines
    parts = [*(line.whole for line in lines), found.total]
    # Whole per cent, downwards: only what is exact as a whole is 100 %.
    shares = [part.exact_permille for part in parts]
    exact = [output.NOTHING if permille is None else f"{permille // 10}%" for permille in shares]
    columns = [
        output.words(by.value.upper(), [*(line.key for line in lines), "total"], tight=by is not SpendBy.PROJECT),
        output.words(period, [*(line.period for line in lines), None]),
        output.going(2, output.numbers("SESSIONS", [len(part.sessions) for part in parts])),
        output.going(4, output.counts("RESP", [part.responses for part in parts])),
        # Those that count by themselves; of a session whose client writes its responses down there are none.
        *([output.going(5, output.counts("CALLS", [part.calls for part in parts]))] if found.total.calls else []),
        output.going(6, output.counts("INPUT", [part.input_tokens for part in parts])),
        output.going(3, output.counts("OUTPUT", [part.output_tokens for part in parts])),
        output.money("COST", [(part.nanos, "USD") for part in parts]),
        *output.unsure([part.split for part in parts], ["USD"] * len(parts)),
        output.going(1, output.words("EXACT", exact)),
    ]
    if found.total.own:
        columns.append(output.going(7, output.words("OWN CURRENCY", [_own(part) for part in parts])))
    output.table(*columns)


def _own(part: SpendPart) -> str | None:
    return ", ".join(format_amount(nanos, currency) for currency, nanos in part.by_currency().items()) or None


def _json(found: SpendReport, wanted: ReportWanted, time_zone: str) -> dict[str, Any]:
    by = wanted.by.value
    return {
        "by": by,
        "period": wanted.every.value,
        "time_zone": time_zone,
        "currency": "USD",
        "tenants": found.tenants,
        "lines": [{by: line.key, "period": line.period, **_part_json(line.whole)} for line in found.lines],
        "total": _part_json(found.total),
        "outside_sessions": {"responses": found.outside.responses, "cost": json_number(found.outside.nanos)},
    }


def _part_json(part: SpendPart) -> dict[str, Any]:
    return {
        "sessions": len(part.sessions),
        "responses": part.responses,
        "calls": part.calls,
        "input_tokens": part.input_tokens,
        "output_tokens": part.output_tokens,
        "cost": json_number(part.nanos),
        **output.split_json(part.nanos, part.split),
        "exact_cost": json_number(part.exact_nanos),
        "exact_percent": None if part.exact_permille is None else json_number(part.exact_permille * 10**8),
        "own_currency": [
            {
                "currency": rate.currency,
                "cost": json_number(part.own_nanos(rate)),
                "cost_usd": json_number(nanos),
                "usd_per_unit": json_number(rate.usd_nanos),
                "rate_day": rate.day,
            }
            for rate, nanos in part.own.items()
        ],
    }
