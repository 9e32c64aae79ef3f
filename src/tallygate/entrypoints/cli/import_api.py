"""`tallygate import fetch`: bills from a provider's own API, with a key that is never an argument."""

from __future__ import annotations

import os
import sys
from datetime import UTC, date, time, timedelta
from typing import TYPE_CHECKING, Any

import click

from tallygate.core.moments import as_datetime
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.moments import moment_us
from tallygate.entrypoints.cli.program import Program, pass_program

if TYPE_CHECKING:
    from tallygate.operations.bills.keep import Kept
    from tallygate.statements.apis.answers import Days

PROVIDERS = ("anthropic", "openai", "openrouter")
DAY = timedelta(days=1)


@click.command()
@click.argument("provider", type=click.Choice(PROVIDERS))
@click.option("--since", metavar="DATE", help="The first UTC day, such as 2026-03-01, or how long ago (7d).")
@click.option("--until", metavar="DATE", help="The last UTC day; today where it is left out.")
@click.option("--dry-run", is_flag=True, help="Ask, say what would be kept, and keep nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
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
    # Other commands start without what asks.
    from tallygate.operations.bills.keep import SOURCES, as_kept, days_to_fetch, fetch_bills, keep_bill
    from tallygate.statements.apis.asking import find_key, from_keyring, usable_address

    source, settings = SOURCES[provider], program.settings()
    variable = source.provider.address_variable
    address = usable_address(variable, text) if (text := os.environ.get(variable)) else None
    with program.opened(settings, by="import") as app:
        rt = app.runtime
        days = days_to_fetch(rt, source, _day(since, rt.clock_us()), _day(until, rt.clock_us(), end=True))
        key = find_key(source.provider, os.environ, from_keyring)
        with output.working(f"asking {source.provider.title}"):
            drafts = fetch_bills(rt, source, key, days, address=address, tell=_tell)
        # Looked at first: where one report cannot be kept, the other one is not either.
        kept = as_kept(rt, drafts)
        if not dry_run:
            kept = [keep_bill(rt, draft) for draft in drafts]
    if as_json:
        output.document(fetch_json(provider, days, kept, dry_run=dry_run))
    else:
        _say(source.provider.title, days, kept, dry_run=dry_run)


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


def fetch_json(provider: str, days: Days, kept: list[Kept], *, dry_run: bool) -> dict[str, Any]:
    """What was fetched, for programs; a bill that a dry run would write has no id."""
    # That module brings this command with it.
    from tallygate.entrypoints.cli.import_bills import bill_json

    bills = [{"new": each.fresh, "replacing": each.replacing, **bill_json(each.bill)} for each in kept]
    if dry_run:
        bills = [bill | {"bill_id": None, "state": None, "replacing": None} if bill["new"] else bill for bill in bills]
    return {
        "dry_run": dry_run,
        "provider": provider,
        "since": days.since.isoformat(),
        "until": (days.until - DAY).isoformat(),
        "bills": bills,
    }


def _say(title: str, days: Days, kept: list[Kept], *, dry_run: bool) -> None:
    span = f"{days.since} to {days.until - DAY}"
    if not kept:
        output.aside(f"{title} tells of nothing from {span}: no bill was made.")
        return
    bills, fresh = [each.bill for each in kept], "would be new" if dry_run else "imported"
    click.echo(f"{title}, {span}, in UTC:")
    output.table(
        output.words("format", [bill.format for bill in bills]),
        output.numbers("lines", [bill.lines for bill in bills]),
        output.money("sum", [(bill.total_nanos, bill.currency) for bill in bills]),
        output.words("result", [fresh if each.fresh else "was there already" for each in kept]),
        output.words("bill", [None if dry_run and each.fresh else each.bill.bill_id for each in kept]),
    )
    for each in kept:
        if each.fresh and each.replacing:
            lines = output.plural(each.replacing, "line")
            output.aside(f"{each.bill.format}: {lines} stand in earlier bills as well, and count here from now on.")
    if dry_run:
        output.aside("this was a dry run: nothing was written.")
