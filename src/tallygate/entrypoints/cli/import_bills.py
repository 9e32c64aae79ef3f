"""`tallygate import`: bills from files and from APIs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallygate.core.authority import Loosening
from tallygate.core.moments import as_datetime, iso, microseconds
from tallygate.core.money import exact_number, format_amount
from tallygate.core.statements import Bill, BillLine
from tallygate.core.text import plural
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option, limit_option
from tallygate.entrypoints.cli.output import moment_us, shown_zone
from tallygate.entrypoints.cli.program import CommandsOr, Program, Unnamed, pass_program
from tallygate.operations.bills.keep import (
    SOURCES,
    Draft,
    KeptBill,
    Progress,
    as_kept,
    days_to_fetch,
    delete_bill,
    fetch_bills,
    ignore,
    keep_bill,
    list_bills,
    read_files,
    show_bill,
)
from tallygate.operations.lock_book import note_loosened
from tallygate.operations.views.overview import bill_called

if TYPE_CHECKING:
    from tallygate.statements.apis.answers import Days


# --- import api ------------------------------------------------------------------------------------------------------
# `tallygate import fetch`: bills from a provider's own API, with a key that is never an argument.


PROVIDERS = ("anthropic", "openai", "openrouter")
DAY = timedelta(days=1)


@click.command()
@click.argument("provider", type=click.Choice(PROVIDERS))
@click.option("--since", metavar="DATE", help="The first UTC day, such as 2026-03-01, or how long ago (7d).")
@click.option("--until", metavar="DATE", help="The last UTC day; today where it is left out.")
@click.option("--dry-run", is_flag=True, help="Ask, say what would be kept, and keep nothing.")
@as_json_option
@pass_program
def fetch(
    program: Program, *, provider: str, since: str | None, until: str | None, dry_run: bool, as_json: bool
) -> None:
    """Ask a provider for its bills.

    With your own key, for whole UTC days: the last 31, or of OpenRouter the last 30 that are over. It asks
    nobody but the provider.

    The key is read from the environment or from the system's keyring, never from an argument: ANTHROPIC_ADMIN_KEY,
    OPENAI_ADMIN_KEY, OPENROUTER_MANAGEMENT_KEY. Days that were fetched before are replaced by what is billed now; where
    nothing has changed, or nothing was billed, nothing is written.
    """
    from tallygate.statements.apis.asking import find_key, from_keyring, usable_address

    source, settings = SOURCES[provider], program.settings()
    variable = source.provider.address_variable
    address = usable_address(variable, text) if (text := os.environ.get(variable)) else None
    with program.opened(settings, by="import") as app:
        rt = app.runtime
        days = days_to_fetch(
            rt, source, _day(since, rt.services.clock_us()), _day(until, rt.services.clock_us(), end=True)
        )
        key = find_key(source.provider, os.environ, from_keyring)
        with output.working(f"asking {source.provider.title}"):
            drafts = fetch_bills(rt, source, key, days, address=address, tell=_tell)
        # Looked at first: where one report cannot be kept, the other one is not either.
        kept = as_kept(rt, drafts)
        if not dry_run:
            kept = [keep_bill(rt, draft) for draft in drafts]
    if not as_json:
        _say(source.provider.title, days, kept, dry_run=dry_run)
        return
    bills = [_kept_json(each, dry_run=dry_run) for each in kept]
    since, until = days.since.isoformat(), (days.until - DAY).isoformat()
    output.document({"dry_run": dry_run, "provider": provider, "since": since, "until": until, "bills": bills})


def _day(text: str | None, now_us: int, *, end: bool = False) -> date | None:
    """The UTC day of a moment; with `end` the first that lies wholly after it."""
    if text is None:
        return None
    at = as_datetime(moment_us(text, now_us, UTC, end=end))
    begun = end and at.time() != time()
    return at.date() + min(DAY, date.max - at.date()) if begun else at.date()


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)
    output.aside(f"{text}.")


def told_twice(lines: int, bills: str, counting: str) -> str:
    """That so many lines of a bill are in other ones as well, and where they count."""
    stand, count = ("stands", "counts") if lines == 1 else ("stand", "count")
    return f"{plural(lines, 'line')} {stand} in {bills} bills as well, and {count} {counting}"


def _say(title: str, days: Days, kept: list[KeptBill], *, dry_run: bool) -> None:
    span = f"{days.since} to {days.until - DAY}"
    if not kept:
        output.aside(f"{title} tells of nothing from {span}: no bill was made.")
        return
    bills = [each.bill for each in kept]
    click.echo(f"{title}, {span}, in UTC:")
    output.table(
        output.words("FORMAT", [bill.format for bill in bills]),
        output.numbers("LINES", [bill.lines for bill in bills]),
        output.money("SUM", [(bill.total_nanos, bill.currency) for bill in bills]),
        *_outcomes(kept, dry_run=dry_run),
    )
    for each in kept:
        if each.fresh and each.replacing:
            output.aside(f"{each.bill.format}: {told_twice(each.replacing, 'earlier', 'here from now on')}.")
    if dry_run:
        output.aside("this was a dry run: nothing was written.")


def _outcomes(kept: Sequence[KeptBill], *, dry_run: bool) -> list[output.Column]:
    """What became of bills, and their ids: one that a dry run would write has none."""
    fresh = "would be new" if dry_run else "imported"
    return [
        output.words("RESULT", [fresh if each.fresh else "was there already" for each in kept]),
        output.words("BILL", [None if dry_run and each.fresh else each.bill.bill_id for each in kept]),
    ]


# --- import bills ----------------------------------------------------------------------------------------------------
# `tallygate import`: providers' bills from files, and the bills that were imported.


_SEVERAL = 2


@click.command(cls=Unnamed)
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", metavar="NAME", help="Read them as this format, whatever their header says.")
@click.option("--currency", metavar="CODE", help="The currency of files that name none, such as EUR.")
@click.option("--dry-run", is_flag=True, help="Read and check everything, and keep nothing.")
@as_json_option
@pass_program
def files(
    program: Program, *, paths: tuple[Path, ...], form: str | None, currency: str | None, dry_run: bool, as_json: bool
) -> None:
    """Import providers' bills from files.

    All files are read and checked before any is kept. What was imported before is not imported again.
    """
    with program.opened(by="import") as app:
        rt = app.runtime
        with _progress(len(paths)) as (reads, writes):
            drafts = read_files(paths, form=form, currency=currency, tell=reads)
            kept = as_kept(rt, drafts) if dry_run else [keep_bill(rt, each, progress=writes) for each in drafts]
    if as_json:
        told = zip(paths, kept, strict=True)
        bills = [{"file": str(path), **_kept_json(each, dry_run=dry_run)} for path, each in told]
        output.document({"dry_run": dry_run, "bills": bills})
        return
    _kept_table(drafts, kept, dry_run=dry_run)
    if dry_run:
        output.aside("this was a dry run: nothing was written.")


@click.group("import", cls=CommandsOr, unnamed=files, subcommand_metavar="FILE... | COMMAND [ARGS]...")
def import_() -> None:
    """Import providers' bills, to hold against what was recorded.

    A FILE is a usage or cost export of a provider's console, as it was downloaded: CSV or JSON, also gzipped or zipped.
    Its header tells its format. All files are read and checked before any is kept; a bill is kept whole or not at all.
    What was imported before is not imported again, and where exports overlap the later one counts. Bills change no
    budget. A file that is called as a command can be given as ./list.
    """


@contextmanager
def _progress(count: int) -> Iterator[tuple[Callable[[str], None], Progress]]:
    """What is told of files that are read and of lines that are written; nothing where nobody is looking."""
    if not sys.stderr.isatty():
        yield ignore, lambda _done, _lines: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    def reads(name: str) -> None:
        bar.update(task, doing=f"reading {output.safe(name, 40)}", total=None, refresh=True)

    def writes(done: int, lines: int) -> None:
        of = f" of {plural(count, 'file')}" if count >= _SEVERAL else ""
        bar.update(task, doing=f"writing lines{of}", completed=done, total=lines, refresh=done == lines)

    columns = (TextColumn("{task.fields[doing]}", markup=False), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, doing="reading")
        yield reads, writes


def _kept_table(drafts: Sequence[Draft], kept: Sequence[KeptBill], *, dry_run: bool) -> None:
    bills, outcomes = [each.bill for each in kept], _outcomes(kept, dry_run=dry_run)
    if len(bills) == 1:
        [bill], (result, bill_id) = bills, (column.cells[0] for column in outcomes)
        parts = [bill.format, plural(bill.lines, "line"), f"{_days(bill)} (UTC)", _sum(bill)]
        parts += [] if dry_run and kept[0].fresh else [bill_id]
        click.echo(output.safe(f"{drafts[0].name} {result}: {', '.join(parts)}", 1000))
    else:
        output.table(
            output.names("FILE", [draft.name for draft in drafts]),
            output.going(1, output.words("FORMAT", [bill.format for bill in bills])),
            output.going(2, output.numbers("LINES", [bill.lines for bill in bills])),
            output.words("DAYS (UTC)", map(_days, bills)),
            output.money("SUM", [(bill.total_nanos, bill.currency) for bill in bills]),
            *outcomes,
        )
    for draft, each in zip(drafts, kept, strict=True):
        if each.replacing:
            output.aside(f"{draft.name}: {told_twice(each.replacing, 'earlier', 'here from now on')}.")
        if draft.currency != each.bill.currency:
            output.aside(f"{draft.name} was imported in {each.bill.currency}: delete {each.bill.bill_id} first.")


def _days(bill: Bill) -> str:
    if bill.from_us is None or bill.until_us is None:
        return output.NOTHING
    first, last = as_datetime(bill.from_us), as_datetime(max(bill.from_us, bill.until_us - 1))
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}" if first.date() != last.date() else f"{first:%Y-%m-%d}"


def _sum(bill: Bill) -> str:
    return "no money" if bill.total_nanos is None else format_amount(bill.total_nanos, bill.currency)


def _state(bill: Bill) -> str:
    if bill.complete_us is None:
        return "unfinished"
    return "counts" if bill.counts else "deleted"


def bill_json(bill: Bill) -> dict[str, Any]:
    """A bill for programs; its sum is not rounded."""
    return {
        "bill_id": bill.bill_id,
        "state": _state(bill),
        "format": bill.format,
        "name": bill.name,
        "digest": bill.digest,
        "currency": bill.currency,
        "lines": bill.lines,
        "total": exact_number(bill.total_nanos),
        "from": iso(bill.from_us),
        "until": iso(bill.until_us),
        "imported_at": iso(bill.imported_us or None),
        "deleted_at": iso(bill.deleted_us),
    }


def _kept_json(kept: KeptBill, *, dry_run: bool) -> dict[str, Any]:
    answer = {"new": kept.fresh, "replacing": kept.replacing, **bill_json(kept.bill)}
    return answer | dict.fromkeys(("bill_id", "state", "replacing") if dry_run and kept.fresh else ())


@import_.command("list")
@limit_option(50, 10_000)
@as_json_option
@pass_program
def list_(program: Program, *, limit: int, as_json: bool) -> None:
    """Show bills, the youngest first; also those that count no more."""
    settings = program.settings()
    with program.opened(settings) as app:
        found = list_bills(app.runtime, limit=limit)
    if as_json:
        output.document({"bills": [bill_json(bill) for bill in found]})
    elif not found:
        output.hint("No bills: `tallygate import FILE` brings one.")
    else:
        zone = shown_zone(settings)
        output.table(
            output.words("BILL", [bill.bill_id for bill in found]),
            output.words(
                output.zoned("IMPORTED", [bill.imported_us for bill in found], zone),
                [output.when(bill.imported_us, zone)[-11:] for bill in found],
            ),
            output.going(1, output.words("FORMAT", [bill.format for bill in found])),
            output.words("DAYS (UTC)", map(_days, found)),
            output.going(2, output.numbers("LINES", [bill.lines for bill in found])),
            output.money("SUM", [(bill.total_nanos, bill.currency) for bill in found]),
            output.words("STATE", map(_state, found)),
            output.going(3, output.names("NAME", [bill.name for bill in found])),
        )


@import_.command()
@click.argument("bill")
@click.option("--lines", type=click.IntRange(0, 100_000), default=20, show_default=True, help="How many lines of it.")
@as_json_option
@pass_program
def show(program: Program, *, bill: str, lines: int, as_json: bool) -> None:
    """Show one bill with its first lines."""
    settings = program.settings()
    with program.opened(settings) as app:
        view = show_bill(app.runtime, bill_called(app.runtime, bill), limit=lines)
    if as_json:
        answer = {"replacing": view.replacing, "replaced": view.replaced}
        output.document({**bill_json(view.bill), **answer, "first_lines": [_line_json(line) for line in view.lines]})
        return
    found, zone = view.bill, shown_zone(settings)
    facts = [
        ("bill", found.bill_id),
        ("state", _state(found)),
        ("name", found.name),
        ("format", found.format),
        ("sha256", found.digest),
        ("imported", f"{output.when(found.imported_us, zone)} {output.zone_at(found.imported_us, zone)}"),
        ("days", f"{_days(found)}, in UTC"),
        ("lines", f"{found.lines:,}"),
        ("sum", _sum(found)),
    ]
    if view.replacing:
        facts.append(("replacing", told_twice(view.replacing, "earlier", "here")))
    if view.replaced:
        facts.append(("replaced", told_twice(view.replaced, "later", "there")))
    output.facts(facts)
    if view.lines:
        output.heading("lines" if len(view.lines) == found.lines else f"the first {len(view.lines):,} lines")
        output.table(
            output.numbers("LINE", [line.number for line in view.lines]),
            output.words("TIME (UTC)", [output.when(microseconds(line.at)) for line in view.lines]),
            output.going(3, output.words("OF", [line.grain.value for line in view.lines])),
            output.going(1, output.words("PROVIDER", [line.provider for line in view.lines])),
            output.names("MODEL", [line.model for line in view.lines]),
            output.prose("TOKENS", [_tokens_text(line) for line in view.lines], 16),
            output.money("COST", [(line.cost_nanos, found.currency) for line in view.lines]),
            output.going(2, output.words("CHARGED", [line.billing.value for line in view.lines])),
        )


def _tokens_text(line: BillLine) -> str:
    """What was read and written, as far as the bill tells."""
    tokens = line.tokens
    told = [each for each in (tokens.fresh_input, tokens.cache_read, tokens.cache_write) if each is not None]
    read = tokens.read if tokens.read is not None else sum(told) if told else None
    both = [output.NOTHING if each is None else output.short_count(each) for each in (read, tokens.output)]
    return output.NOTHING if both == [output.NOTHING] * 2 else f"{both[0]} in, {both[1]} out"


def _line_json(line: BillLine) -> dict[str, Any]:
    return {
        "line": line.number,
        "grain": line.grain.value,
        "from": iso(microseconds(line.at)),
        "until": None if line.until is None else iso(microseconds(line.until)),
        "provider": line.provider,
        "model": line.model,
        "tokens": asdict(line.tokens),
        "token_class": None if line.token_class is None else line.token_class.value,
        "requests": line.requests,
        "cost": exact_number(line.cost_nanos),
        "billing": line.billing.value,
        "request_id": line.request_id,
        "key": line.key,
        "workspace": line.workspace,
    }


@import_.command()
@click.argument("bill")
@as_json_option
@pass_program
def delete(program: Program, *, bill: str, as_json: bool) -> None:
    """Let one bill count no more.

    It stays in the ledger and its history. What it replaced of earlier bills counts again, and the file can be imported
    anew.
    """
    settings = program.settings()
    authority = program.authority(settings, of=Loosening.IMPORT_DELETE)
    with program.opened(settings, by="import") as app:
        found = bill_called(app.runtime, bill)
        note_loosened(app.runtime, authority, Loosening.IMPORT_DELETE, found)
        gone = delete_bill(app.runtime, found)
    if as_json:
        output.document({"deleted": gone.fresh, "again": gone.again, **bill_json(gone.bill)})
        return
    if not gone.fresh:
        click.echo(f"{gone.bill.bill_id} was deleted already: nothing changed.")
        return
    lines = plural(gone.bill.lines, "line")
    click.echo(f"{gone.bill.bill_id} counts no more ({lines}); it stays in the ledger, and can be imported again.")
    if gone.again:
        click.echo(f"{plural(gone.again, 'line')} that it had replaced count again in earlier bills.")


import_.add_command(fetch)
