"""`tallygate drift`: estimates, the record and the bills side by side, and why they differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from tallygate.core.bills.lines import Bucket
from tallygate.core.money import adding_up, format_amount
from tallygate.core.text import plural
from tallygate.core.words import client_name
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option, limit_option
from tallygate.entrypoints.cli.output import moment_us, since_option, zone_of
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.cli.sync import read_news, reading_first
from tallygate.entrypoints.cli.unread import open_questions, unread_json
from tallygate.operations.bills.review import ReviewWanted, apply_review, review
from tallygate.operations.runtime import wherever
from tallygate.operations.views.overview import session_called
from tallygate.operations.views.usage import what_is_open
from tallygate.reports.drift import Review, cause_word, factor_text, main_cause, payload
from tallygate.reports.usage import ALWAYS_US

if TYPE_CHECKING:
    from tallygate.core.bills.causes import Cause
    from tallygate.core.bills.review import Line

_MODEL_MAX = 20
_CAUSES_SHOWN, _WHYS_SHOWN = 3, 20
_BUCKETS = {
    Bucket.MATCHED: "in both, counts and money",
    Bucket.PRICE_DRIFT: "in both, at another price",
    Bucket.LEDGER_ONLY: "recorded, in no bill",
    Bucket.BILL_ONLY: "billed, not recorded",
}


@click.command()
@since_option("Only what was used or billed")
@click.option("--until", metavar="MOMENT", help="Only before that, or on that day.")
@click.option("--session", help="Only this session: its id, or the end of it.")
@click.option("--model", help="Only models with this in their name.")
@click.option("--key", help="Only lines of bills under this API key, as the bills name it.")
@limit_option(50, 100_000)
@reading_first
@click.option("--apply", "applying", is_flag=True, help="Let estimates count with what bills have shown.")
@as_json_option
@pass_program
def drift(
    program: Program,
    *,
    since: str | None,
    until: str | None,
    session: str | None,
    model: str | None,
    key: str | None,
    limit: int,
    syncing: bool,
    applying: bool,
    as_json: bool,
) -> None:
    """Review what sessions cost.

    Each line is a session, a day and a model: what was estimated, what was recorded and what was billed, with the cause
    that moved it most. Requests are matched by their id where a bill has it, else by day and model. Days are those of
    UTC, as bills have them. Without a bill the review is of estimates and the record alone.
    """
    settings = program.settings()
    zone = zone_of("UTC")
    with program.opened(settings) as app:
        rt = app.runtime
        now = rt.services.clock_us()
        session_id = None if session is None else session_called(rt, session)
        rt = rt if session_id is None else wherever(rt, session_id)
        wanted = ReviewWanted(
            from_us=-ALWAYS_US if since is None else moment_us(since, now, zone),
            until_us=ALWAYS_US if until is None else moment_us(until, now, zone, end=True),
            session_id=session_id,
            model=model,
            key=key,
            limit=limit,
        )
        if syncing:
            read_news(rt)
        with output.working("Reading the ledger and the bills"):
            found = review(rt, wanted)
        if applying:
            factors = apply_review(rt, found, authority=program.authority(settings))
            listed = ", ".join(f"{model} x{factor_text(micros)}" for model, micros in factors.items())
            output.aside(
                f"applied to estimates from now on: {listed}. `tallygate calibrate show` has them."
                if listed
                else "nothing to apply: no model was billed otherwise than recorded over enough responses."
            )
        unread, anomalies = what_is_open(rt)
    if as_json:
        output.document(payload(found) | {"unread": unread_json(unread), **anomalies.stated()})
    elif not found.lines and not found.has_bills:
        click.echo("Nothing was used or billed." if since is until is session is model is None else "No such use.")
    else:
        _show(found)
    for text in () if as_json else open_questions(unread, anomalies):
        output.aside(text)


def _show(found: Review) -> None:
    click.echo(f"Review{found.span and ' of '}{found.span}, days of UTC, in US dollars")
    _lines(found)
    if found.hidden:
        output.aside(f"{plural(found.hidden, 'more line')}; the total has all. A larger --limit shows them.")
    _causes(found)
    if not found.has_bills:
        output.hint(
            "\nNo bill covers any of it: `tallygate import FILE` reads one. Nothing is said of what was billed."
        )
    else:
        _buckets(found)
    _gaps(found)
    _factors(found)
    for paste in found.pastes:
        output.heading("Another price")
        click.echo(output.safe(f"{paste.why}. If that is what you pay, add to config.toml:", 1000))
        click.echo("\n".join(output.safe(line) for line in paste.text.splitlines()))


def _lines(found: Review) -> None:
    lines = [*found.lines, found.total]
    places = [line.place for line in found.lines]
    columns = [
        output.words("WHOSE", [*(_who(line) for line in found.lines), "total"]),
        output.words("DAY", [*(f"{place.day:%y-%m-%d}" for place in places), ""]),
        output.words("MODEL", [*(output.safe(place.model or None, _MODEL_MAX) for place in places), ""]),
        output.going(1, _summed("ESTIMATE", [line.estimate_nanos for line in lines])),
        _summed("RECORDED", [line.recorded_nanos for line in lines]),
        output.going(3, _ratios("REC/EST", [line.recorded_micros for line in lines])),
    ]
    if found.has_bills:
        columns.append(_summed("BILLED", [line.billed_nanos for line in lines]))
        columns.append(output.going(2, _ratios("BILL/REC", [line.billed_micros for line in lines])))
    causes = [main_cause(line, found.causes) for line in found.lines]
    words = [None if cause is None else cause_word(cause) for cause in causes]
    columns.append(output.going(4, output.words("CAUSE", [*words, ""])))
    output.table(*columns)
    total = found.total
    if total.recorded_nanos is not None and total.split.unsure_nanos:
        click.echo(f"Recorded: {output.split_amount(total.recorded_nanos, total.split)}.")


def _summed(title: str, nanos: list[int | None]) -> output.Column:
    """Amounts above their total, which stands last: what is shown of them adds up to it."""
    *parts, total = nanos
    if total is None:
        return output.money(title, [(each, "USD") for each in nanos])
    texts = iter(adding_up([each for each in parts if each is not None], total))
    shown = [output.NOTHING if each is None else next(texts) for each in parts]
    return output.amounts(title, [*shown, format_amount(total)])


def _ratios(title: str, micros: Iterable[int | None]) -> output.Column:
    return output.Column(title, [factor_text(each) for each in micros], right=True)


def _who(line: Line) -> str:
    who = line.place.who
    if who is None:
        return "(bill)"
    return (
        output.short_id(who.session_id)[-output.ID_END :]
        if who.session_id
        else output.safe(client_name(who.client), 11)
    )


def _causes(found: Review) -> None:
    """The causes in words: of a session's record, and of what is billed otherwise than recorded."""
    told: list[tuple[str, Cause]] = []
    for session_id, causes in found.causes.items():
        told += [(output.short_id(session_id)[-output.ID_END :], cause) for cause in causes[:_CAUSES_SHOWN]]
    seen: set[tuple[str, str]] = set()
    for line in found.lines:
        for cause in line.causes:
            if (_who(line), cause.text) not in seen:
                seen.add((_who(line), cause.text))
                told.append((f"{_who(line)} {line.place.day:%m-%d}", cause))
    if not told:
        return
    output.heading("Why")
    told.sort(key=lambda item: -abs(item[1].nanos or 0))
    for who, cause in told[:_WHYS_SHOWN]:
        click.echo(f"{output.safe(who)}: {cause_word(cause)}: {output.safe(cause.text, 1000)}")
    if len(told) > _WHYS_SHOWN:
        output.aside(f"{len(told) - _WHYS_SHOWN:,} smaller causes are left out; --json has all.")


def _buckets(found: Review) -> None:
    rows = [each for each in found.buckets if each.bucket in _BUCKETS]
    if not rows:
        return  # none of it could be compared; the reasons follow
    output.heading("Where everything ended")
    output.table(
        output.words("BUCKET", [_BUCKETS[each.bucket] for each in rows]),
        output.counts("TOKENS", [each.tokens for each in rows]),
        output.money("RECORDED", [_of(each.recorded_nanos, each.bucket is Bucket.BILL_ONLY) for each in rows]),
        output.money("BILLED", [_of(each.billed_nanos, each.bucket is Bucket.LEDGER_ONLY) for each in rows]),
        output.numbers("MODEL DAYS", [each.cells for each in rows]),
    )
    notes = [f"the bills are rounded, so matched amounts may be off by {format_amount(found.tolerance_nanos)} in all"]
    if found.priced_nanos:
        notes.append(f"{format_amount(found.priced_nanos)} of the billed is tokens without money, at our prices")
    if found.total.included_nanos is not None:
        notes.append(f"a plan covers {format_amount(found.total.included_nanos)} at API prices, which nobody bills")
    if any(line.is_shared for line in found.lines):
        notes.append("where a bill tells no sessions apart, each has its part by what was recorded")
    notes += [f"converted at {text}" for text in found.rates.values()]
    for note in notes:
        click.echo(f"{note[0].upper()}{output.safe(note[1:], 1000)}.")


def _of(nanos: int, absent: bool) -> tuple[int | None, str]:
    return None if absent else nanos, "USD"


def _gaps(found: Review) -> None:
    if not found.gaps:
        return
    output.heading("Not compared, or not wholly")
    output.table(
        output.numbers("COUNT", [gap.count for gap in found.gaps]),
        output.words("TOKENS", ["" if gap.tokens is None else output.short_count(gap.tokens) for gap in found.gaps]),
        output.money("RECORDED", [(gap.recorded_nanos or None, "USD") for gap in found.gaps]),
        output.money("BILLED", [(gap.billed_nanos or None, "USD") for gap in found.gaps]),
        output.prose("WHY", [gap.text for gap in found.gaps]),
    )


def _factors(found: Review) -> None:
    billed, estimates = found.billed_factors, found.estimate_factors
    if billed:
        output.heading("Calibration it implies: billed for each dollar recorded")
        output.table(
            output.names("MODEL", [factor.key.text for factor in billed]),
            output.numbers("RESPONSES", [factor.responses for factor in billed]),
            output.counts("TOKENS", [factor.tokens for factor in billed]),
            _ratios("FACTOR", [factor.micros for factor in billed]),
            *_notes([_says(factor.micros, applies=factor.is_off) for factor in billed]),
        )
    if estimates:
        output.heading("Recorded for each dollar estimated; the gate learns this by itself, call by call")
        output.table(
            output.words("CLIENT", [output.safe(client_name(factor.client) or None, 24) for factor in estimates]),
            output.names("MODEL", [factor.model for factor in estimates]),
            output.numbers("CALLS", [factor.calls for factor in estimates]),
            _ratios("FACTOR", [factor.micros for factor in estimates]),
            *_notes([_says(factor.micros, applies=False) for factor in estimates]),
        )


def _notes(texts: list[str]) -> list[output.Column]:
    return [output.prose("NOTE", texts, 16)] if any(texts) else []


def _says(micros: int | None, *, applies: bool) -> str:
    if micros is None:
        return "too few to tell"
    return "--apply keeps it" if applies else ""
