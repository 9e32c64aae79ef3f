"""`tallygate usage`: what was spent, by time, session, project, model, client or tenant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Certainty, Split
from tallygate.core.moments import iso
from tallygate.core.money import adding_up, format_amount, json_number
from tallygate.core.text import plural
from tallygate.core.values import value
from tallygate.core.words import client_name
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import ClientChoice, as_csv_option, as_json_option, limit_option
from tallygate.entrypoints.cli.output import moment_us, shown_zone, since_option, zone_of
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.cli.sync import first_look, read_news, reading_first
from tallygate.entrypoints.cli.unread import ODD_REPORTS, open_questions, unread_json
from tallygate.ledger.port import Anomaly
from tallygate.operations.views.usage import UsageView, UsageWanted, list_usage
from tallygate.reports.usage import ALWAYS_US, By, UsageLine, UsagePart, csv_of
from tallygate.workspace import written_out

_TITLES = {
    By.DAY: ("DAY",),
    By.WEEK: ("WEEK",),
    By.MONTH: ("MONTH",),
    By.SESSION: ("CLIENT", "SESSION"),
    By.PROJECT: ("PROJECT",),
    By.FOLDER: ("FOLDER",),
    By.MODEL: ("MODEL",),
    By.CLIENT: ("CLIENT",),
    By.TENANT: ("TENANT",),
    By.AGENT: ("AGENT",),
    By.SKILL: ("SKILL",),
    By.MCP: ("MCP",),
    By.TOOL: ("TOOL",),
    By.BRANCH: ("BRANCH",),
}
_PERIODS = [each.value for each in By if each.is_period]
_COUNT = click.IntRange(0)
_OLD_NAME = "report"
_LINES_MAX = 100_000
_GONE_SHOWN = 5
_INDENT = "\N{BOX DRAWINGS LIGHT UP AND RIGHT} "


class _ByChoice(click.Choice[str]):
    """What a line may stand for, or two of these with a comma between them."""

    name = "by"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        parts = [super(_ByChoice, self).convert(each.strip(), param, ctx) for each in str(value).split(",")]
        return ",".join(parts)


def _keys(named: Sequence[str]) -> tuple[By, ...]:
    """What a line stands for: one thing or two."""
    keys = tuple(By(each) for part in named for each in part.split(","))
    if len(keys) > 2 or len({*keys}) < len(keys):
        raise click.UsageError("A line stands for one thing, or for two that differ: --by project,model.")
    if len(keys) == 2 and (period := next((each for each in keys if each.is_period), None)) is not None:
        other = next(each for each in keys if each is not period)
        raise click.UsageError(f"For each {period}: --by {other} --period {period}.")
    return keys


@click.group(invoke_without_command=True)
@click.option(
    "--by",
    type=_ByChoice([each.value for each in By]),
    default=(By.DAY.value,),
    show_default=By.DAY.value,
    multiple=True,
    help="What a line stands for; two of them with a comma between, or --by twice.",
)
@click.option("--period", "every", type=click.Choice(_PERIODS), help="Every line anew for each day, week or month.")
@since_option("Only what was spent")
@click.option("--until", metavar="MOMENT", help="Only what was spent before that, or on that day.")
@click.option(
    "--client", "clients", type=ClientChoice(REGISTRY.sources), multiple=True, help="Only this client; repeatable."
)
@click.option("--project", help="Only this project, with its worktrees: its path, the end of it, or a pattern.")
@click.option("--model", help="Only this model in every spelling, a family, a pattern, or a part of ids.")
@click.option("--tenant", metavar="TENANT", help="Only this tenant. Without it: all by tenant, else the one here.")
@click.option("--breakdown", is_flag=True, help="Every line by model, too.")
@limit_option(100, _LINES_MAX)
@reading_first
@as_csv_option
@as_json_option
@pass_program
@click.pass_context
def usage(
    ctx: click.Context,
    program: Program,
    *,
    by: tuple[str, ...],
    every: str | None,
    since: str | None,
    until: str | None,
    clients: tuple[str, ...],
    project: str | None,
    model: str | None,
    tenant: str | None,
    breakdown: bool,
    limit: int,
    syncing: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show what was spent.

    Every response that clients wrote down counts, whether a budget was asked for or not, and where a client writes
    nothing down what its agents said themselves. Prices are list prices: where a subscription pays, the cost is what
    the same use would have cost through the provider's API. Days are those of the time zone in the settings, else of
    this machine; weeks begin on Monday.

    RESP counts responses. INPUT was in no cache, CACHE READ came from one, CACHE WRITE was put into one. NOT FINAL is
    the share of responses whose last count their client never wrote: they count as far as it is known. A tenant is a
    customer or a team whose spend a server keeps apart; without any all work is of the tenant `default`.
    """
    if ctx.invoked_subcommand is not None:
        return
    if ctx.info_name == _OLD_NAME:
        output.aside("`report` is `usage` now; `tallygate usage --by tenant --period month` lists what it listed.")
    if as_csv and as_json:
        raise click.UsageError("Give one of --csv and --json.")
    what = _keys(by)
    if every is not None and what[0].is_period:
        raise click.UsageError(f"A line is a {what[0]} already: --period goes with --by project, model and the like.")
    if as_csv and ctx.get_parameter_source("limit") is click.core.ParameterSource.DEFAULT:
        limit = _LINES_MAX  # a table is read by people, a sheet is to hold everything
    settings = program.settings()
    time_zone = shown_zone(settings)
    zone = zone_of(time_zone)
    with first_look(program, settings, reading=syncing, clients=clients) as app:
        rt = app.runtime
        now = rt.services.clock_us()
        chosen = UsageWanted(
            from_us=-ALWAYS_US if since is None else moment_us(since, now, zone),
            until_us=ALWAYS_US if until is None else moment_us(until, now, zone, end=True),
            clients=clients,
            project=None if project is None else written_out(project, str(Path.home())),
            model=model,
            every=None if every is None else By(every),
            tenant=tenant,
            also=what[1] if len(what) > 1 else None,
        )
        view = list_usage(rt, chosen, by=what[0], zone=zone, limit=limit)
        last = (
            None
            if view.lines
            else list_usage(
                rt, replace(chosen, also=None, from_us=-ALWAYS_US, until_us=now + 1), by=By.MODEL, zone=zone, limit=1
            )
        )
    if as_json:
        output.document(_json(view, chosen, what, time_zone, breakdown=breakdown))
        return
    if as_csv:
        names = [title.lower() for title in _titles(what)]
        by_model = breakdown and By.MODEL not in what
        click.echo(csv_of(names, view.lines, by_model=by_model, periods=every is not None), nl=False)
        _notes(view)
    elif view.lines:
        _table(view, what, time_zone, breakdown=breakdown)
        _notes(view)
    else:
        anything = since is until is project is model is tenant is None and not clients
        _nothing(last, time_zone, anything=anything)
    for text in open_questions(view.unread, view.anomalies):
        output.aside(text)


_ANOMALIES_SHOWN = 1000
_KINDS = {
    "lower": "told of again with less",
    "other_model": "told of again with another model",
    "other_time": "told of again at another time",
    "impossible_time": "told of at a time that cannot be right",
}


@usage.command()
@as_json_option
@pass_program
def anomalies(program: Program, as_json: bool) -> None:
    """List what was told against responses that were counted, and agents' own reports that are odd.

    A later line of a transcript that would lower what a response cost, name another model or move its time changes
    nothing. An agent's report on its own call is counted as it says, and is odd where it is far below what the agent
    had asked for, names a free model, or comes after many calls in a row that did not happen. Both are named here, in
    `doctor` and in `verify`. So is a response whose time cannot be right: what is read while its session is at work was
    made neither before that began nor after now. It counts when it is read.
    """
    settings = program.settings()
    with (
        first_look(program, settings, reading=settings.paths.holds_nothing) as app,
        app.runtime.reading() as reader,
    ):
        found, count = reader.anomalies(_ANOMALIES_SHOWN), reader.count_anomalies()
        odd, odd_count = reader.call_anomalies(_ANOMALIES_SHOWN), reader.count_call_anomalies()
    if as_json:
        listed = [
            {
                "client": client_name(each.client),
                "client_session": each.client_session,
                "response": each.response_key,
                "kind": each.kind,
                "told": each.told,
                "seen_at": iso(each.seen_us),
            }
            for each in found
        ]
        reports = [{"session_id": each.session_id, **each.stated(), "seen_at": iso(each.seen_us)} for each in odd]
        output.document({"anomalies": listed, "count": count, "reports": reports, "report_count": odd_count})
        return
    zone = shown_zone(settings)
    _show_booked(found, zone)
    if odd:
        output.heading("Odd in what agents reported")
        output.table(
            output.words(
                output.zoned("SEEN", [each.seen_us for each in odd], zone),
                [output.when(each.seen_us, zone)[2:] for each in odd],
            ),
            output.words("SESSION", [output.short_id(each.session_id) for each in odd]),
            output.words("WHAT", [ODD_REPORTS.get(each.kind, output.safe(each.kind)) for each in odd]),
            output.prose("TOLD", [each.told for each in odd]),
        )
    if (more := count + odd_count - len(found) - len(odd)) > 0:
        output.aside(f"{more:,} more.")


def _show_booked(found: list[Anomaly], zone: str) -> None:
    if not found:
        click.echo("Nothing was told that differs from what was counted.")
        return
    output.table(
        output.words(
            output.zoned("SEEN", [each.seen_us for each in found], zone),
            [output.when(each.seen_us, zone)[2:] for each in found],
        ),
        output.words("RESPONSE", [output.safe(each.response_key) for each in found]),
        output.words("WHAT", [_KINDS.get(each.kind, each.kind) for each in found]),
        output.prose("TOLD", [each.told for each in found]),
    )


@usage.command()
@click.argument("response")
@click.option("--fresh-input", type=_COUNT, help="Input that was in no cache.")
@click.option("--cache-read", type=_COUNT, help="Input from the cache.")
@click.option("--cache-write-5m", type=_COUNT, help="Input put into the cache for five minutes.")
@click.option("--cache-write-1h", type=_COUNT, help="Input put into the cache for an hour.")
@click.option("--output", "output_", type=_COUNT, help="Everything the model wrote.")
@click.option("--nothing", is_flag=True, help="It cost nothing: every count is 0.")
@click.option("--model", help="The model that answered.")
@click.option("--reason", required=True, help="Why; it stands in the journal.")
@as_json_option
@pass_program
def correct(
    program: Program,
    response: str,
    *,
    fresh_input: int | None,
    cache_read: int | None,
    cache_write_5m: int | None,
    cache_write_1h: int | None,
    output_: int | None,
    nothing: bool,
    model: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """Set what a response counts.

    What is counted rises by itself and never falls; lower it only where you know better than the client that wrote it
    down. RESPONSE is its key or the beginning of it. Nothing that is read later changes it again.
    """
    from tallygate.operations.usage.correct import CLASSES, correct_usage

    written = (fresh_input, cache_read, cache_write_5m, cache_write_1h, output_)
    named = {name: value for name, value in zip(CLASSES, written, strict=True) if value is not None}
    counts = dict.fromkeys(CLASSES, 0) | named if nothing else named
    if not counts and model is None:
        raise click.UsageError("Name what is to be set: a count, --nothing or --model.")
    settings = program.settings()
    authority = program.authority(settings)
    with program.opened(settings) as app:
        if settings.paths.holds_nothing:
            read_news(app.runtime)
        done = correct_usage(app.runtime, response, counts, model=model, reason=reason, authority=authority)
    before, after = done.before, done.after
    if as_json:
        output.document(
            {
                "response": after.row.response_key,
                "cost_before": json_number(before.cost_nanos),
                "cost": json_number(after.cost_nanos),
                "reason": after.corrected,
            }
        )
        return
    amounts = f"{format_amount(before.cost_nanos)} -> {format_amount(after.cost_nanos)}"
    click.echo(f"{output.safe(after.row.response_key)}: {amounts}. {output.safe(after.corrected)}")


def _nothing(last: UsageView | None, time_zone: str, *, anything: bool) -> None:
    """What an empty list means, with the last time that there was something to list."""
    click.echo("No usage." if anything else "No such usage.")
    if last is not None and last.lines:
        output.hint(f"The last was on {output.when(last.total.whole.last_us, time_zone)}.")
    elif anything:
        titles = ", ".join(client.title for client in REGISTRY.clients.values() if client.transcripts is not None)
        output.hint(f"Looked for what {titles} wrote down, and found nothing. `tallygate init` sets them up.")
    else:
        output.hint("`tallygate usage` shows all there is.")


# A line of the table: its names, what it comes to, and how it is shown.
@value(frozen=True, slots=True)
class _Listed:
    names: list[str]
    period: str | None
    part: UsagePart
    cost: str
    own: str | None = None


def _titles(by: Sequence[By]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(title for each in by for title in _TITLES[each]))


def _rows(view: UsageView, by: Sequence[By], *, breakdown: bool) -> Iterator[_Listed]:
    """The lines and their total, each with its models below it where these are asked for; what is shown adds up."""
    width = len(_titles(by))
    costs = [line.whole.nanos for line in view.lines]
    texts = [*adding_up(costs, view.total.whole.nanos), format_amount(view.total.whole.nanos)]
    for line, text in zip([*view.lines, view.total], texts, strict=True):
        names = ("total", *[""] * (width - 1)) if line is view.total else line.key
        own = ", ".join(format_amount(nanos, currency) for currency, nanos in line.by_currency().items())
        yield _Listed(
            [output.safe(name) if name != "" else "" for name in names], line.period, line.whole, text, own or None
        )
        if breakdown and By.MODEL not in by:
            parts = adding_up([part.nanos for part in line.models.values()], line.whole.nanos)
            for (model, part), cost in zip(line.models.items(), parts, strict=True):
                yield _Listed([""] * (width - 1) + [_INDENT + output.safe(model or None)], line.period, part, cost)


def _table(view: UsageView, by: Sequence[By], time_zone: str, *, breakdown: bool) -> None:
    rows = [*_rows(view, by, breakdown=breakdown)]
    parts = [row.part for row in rows]
    titles = _titles(by)
    moments = [line.whole.first_us for line in view.lines]
    if by[0].is_period:
        titles = (output.zoned(titles[0], moments, time_zone),)
    columns = [_names(title, [row.names[number] for row in rows]) for number, title in enumerate(titles)]
    if any(row.period for row in rows):
        columns.append(output.words(output.zoned("PERIOD", moments, time_zone), [row.period for row in rows]))
    if By.SESSION in by:
        last = output.zoned("LAST", [part.last_us for part in parts], time_zone)
        columns.append(output.words(last, [output.when(part.last_us, time_zone)[2:] for part in parts]))
    columns.append(output.going(2, output.numbers("RESP", [part.responses for part in parts])))
    if view.total.whole.calls:  # those that count by themselves, which most have none of
        columns.append(output.going(1, output.numbers("CALLS", [part.calls for part in parts])))
    columns += [
        output.going(5, output.counts("INPUT", [part.tokens.fresh_input for part in parts])),
        output.going(4, output.counts("CACHE READ", [part.tokens.cache_read for part in parts])),
        output.going(6, output.counts("CACHE WRITE", [_written(part) for part in parts])),
        output.going(3, output.counts("OUTPUT", [part.tokens.output for part in parts])),
        output.amounts("COST", [row.cost for row in rows]),
    ]
    if view.total.whole.partial:  # what that means stands below
        shares = [_share(part.partial, part.responses) for part in parts]
        columns.append(output.going(7, output.shares("NOT FINAL", shares)))
    if view.total.own:
        columns.append(output.going(9, output.words("OWN CURRENCY", [row.own for row in rows])))
    if view.total.whole.certainty is not Certainty.KNOWN:
        sure = ["" if part.certainty is Certainty.KNOWN else part.certainty.value for part in parts]
        columns.append(output.going(8, output.words("PRICE", sure)))  # what is not sure stands below
    output.table(*columns)


def _names(title: str, names: list[str]) -> output.Column:
    if title == "SESSION":
        return output.words(title, output.short_ids(names))
    if title in ("PROJECT", "FOLDER"):
        return output.paths(title, names)
    return output.names(title, names)


def _notes(view: UsageView) -> None:
    """What the figures leave open, below the table and out of the way of programs that read it."""
    whole = view.total.whole
    if view.hidden:
        output.aside(f"{plural(view.hidden, 'more line')}; the total has all. A larger --limit shows them.")
    if view.gone:
        shown = ", ".join(view.gone[:_GONE_SHOWN])
        more = f" and {len(view.gone) - _GONE_SHOWN} more" if len(view.gone) > _GONE_SHOWN else ""
        verb, each = ("is", "it stands") if len(view.gone) == 1 else ("are", "each stands")
        output.aside(f"gone from disk {verb} {shown}{more}: whichever repository that was in, {each} by its own path.")
    if whole.partial:
        missing = f", by about {whole.missing_output:,} tokens of output" if whole.missing_output else ""
        output.aside(
            f"{_share(whole.partial, whole.responses)} of the responses have no final count in their client's record: "
            f"the total may be too low{missing}."
        )
    if whole.certainty is not Certainty.KNOWN:
        output.aside(f"{output.split_amount(whole.nanos, Split(whole.approximate_nanos, whole.assumed_nanos))}.")
    for certainty, why in (
        (Certainty.APPROXIMATE, "Priced as the nearest listed relative, or by a rate that is not certain"),
        (Certainty.ASSUMED, "No price is known, so one is assumed, for"),
    ):
        models = [model or "(none)" for model, part in view.total.models.items() if part.certainty is certainty]
        if models:
            joined = ", ".join(models)
            text = f"{why}: {joined}" if certainty is Certainty.APPROXIMATE else f"{why} {joined}"
            output.aside(f"{text}. `tallygate prices MODEL` shows what to put into the settings.")


def _json(view: UsageView, chosen: UsageWanted, by: Sequence[By], time_zone: str, *, breakdown: bool) -> dict[str, Any]:
    return {
        "by": ",".join(by),
        "period": None if chosen.every is None else chosen.every.value,
        "time_zone": time_zone,
        "currency": "USD",
        "lines": [_line_json(line, by, breakdown=breakdown) for line in view.lines],
        "hidden_lines": view.hidden,
        "total": part_json(view.total.whole)
        | _whole_json(view.total)
        | ({"models": _models_json(view.total)} if breakdown and By.MODEL not in by else {}),
        "unread": unread_json(view.unread),
        **view.anomalies.stated(),
    }


def _line_json(line: UsageLine, by: Sequence[By], *, breakdown: bool) -> dict[str, Any]:
    names = [title.lower() for title in _titles(by)]
    found = dict(zip(names, line.key, strict=True)) | part_json(line.whole) | _whole_json(line)
    if line.period is not None:
        found["period"] = line.period
    if breakdown and By.MODEL not in by:
        found["models"] = _models_json(line)
    return found


def _whole_json(line: UsageLine) -> dict[str, Any]:
    """What is known of whole lines alone: how many sessions, and what they spent in currencies of their own."""
    own = [
        {
            "currency": rate.currency,
            "cost": json_number(line.own_nanos(rate)),
            "cost_usd": json_number(nanos),
            "usd_per_unit": json_number(rate.usd_nanos),
            "rate_day": rate.day,
        }
        for rate, nanos in line.own.items()
    ]
    # Shares do not tell how many sessions they are of.
    sessions = {"sessions": len(line.sessions)} if line.sessions or not line.whole.nanos else {}
    return {**sessions, "own_currency": own}


def _models_json(line: UsageLine) -> list[dict[str, Any]]:
    return [{"model": model, **part_json(part)} for model, part in line.models.items()]


def part_json(part: UsagePart) -> dict[str, Any]:
    """What responses add up to, for programs."""
    tokens, empty = part.tokens, part.responses == part.calls == 0
    return {
        "responses": part.responses,
        "partial_responses": part.partial,
        "booked_calls": part.calls,
        "fresh_input_tokens": tokens.fresh_input,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_5m_tokens": tokens.cache_write_5m,
        "cache_write_1h_tokens": tokens.cache_write_1h,
        "output_tokens": tokens.output,
        "reasoning_tokens": part.reasoning,
        "total_tokens": tokens.total,
        "web_searches": part.web_searches,
        "missing_output_tokens": part.missing_output,
        "cost": json_number(part.nanos),
        "exact_cost": json_number(part.exact_nanos),
        "known_cost": json_number(part.known_nanos),
        "approximate_cost": json_number(part.approximate_nanos),
        "approximate_responses": part.approximate,
        "assumed_cost": json_number(part.assumed_nanos),
        "assumed_responses": part.assumed,
        "first_at": None if empty else iso(part.first_us),
        "last_at": None if empty else iso(part.last_us),
    }


def _written(part: UsagePart) -> int:
    return part.tokens.cache_write_5m + part.tokens.cache_write_1h


def _share(part: int, whole: int) -> str:
    """A share in whole per cent; none is a dash, and a little is not none."""
    if not part:
        return output.NOTHING
    percent = part * 100 // whole
    return f"{percent} %" if percent else "< 1 %"


# What was a list of its own is this one; it is found by its old name, too.
report = click.Command(_OLD_NAME, params=usage.params, callback=usage.callback, help=usage.help, hidden=True)
