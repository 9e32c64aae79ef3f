"""`tallygate` alone: what was spent lately, and the next step."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import click

from tallygate.clients.registry import REGISTRY
from tallygate.core.gate.wording import off_told
from tallygate.core.money import adding_up, format_amount
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.init import surroundings
from tallygate.entrypoints.cli.install_checks import kept_from_running, told_of
from tallygate.entrypoints.cli.output import shown_zone, zone_of
from tallygate.entrypoints.cli.program import Program
from tallygate.entrypoints.cli.sync import first_look
from tallygate.entrypoints.cli.whereabouts import installation
from tallygate.operations.lock_book import off_at_a_look
from tallygate.operations.views.history import last_spent_us, spent_lately
from tallygate.reports.usage import By, UsageLine
from tallygate.settings import Settings

NAMES = {By.DAY: "today", By.WEEK: "this week", By.MONTH: "this month"}
_MODELS_SHOWN = 3


def glance(program: Program) -> None:
    """Print what was spent today, this week and this month by model, and what to do next."""
    settings = program.settings()
    zone = shown_zone(settings)
    with first_look(program, settings) as app:
        spent = spent_lately(app.runtime, zone_of(zone))
        off = off_at_a_look(app.runtime)
        last_us = None if spent[By.MONTH].models else last_spent_us(app.runtime, zone_of(zone))
    spending(spent)
    click.echo(f"\nDays are those of {zone}, prices those of the API.")
    if not spent[By.MONTH].models:
        click.echo(_nothing(last_us, zone))
    if off is not None:
        output.hint(output.safe(off_told(off, zone), 1000))
    for title, obstacle in kept_from_running(settings, surroundings(settings)):
        output.hint(output.safe(told_of(title, obstacle), 1000))
    for line in _next(settings):
        output.hint(line)


def spending(spent: Mapping[By, UsageLine]) -> None:
    """Print what was spent in each period, one a line, with the models that it went to."""
    output.table(
        output.words("SPENT", [NAMES[by] for by in spent]),
        output.amounts("COST", [format_amount(line.whole.nanos) for line in spent.values()]),
        output.prose("MODELS", [_models(line) for line in spent.values()], floor=30),
    )


def _models(line: UsageLine) -> str:
    """Which models it went to, the dearest first, and what of it is not priced for sure."""
    paid = [(model, part) for model, part in line.models.items() if part.nanos]
    costs = adding_up([part.nanos for _, part in paid], line.whole.nanos)
    shown = [f"{model} {cost}" for (model, _), cost in zip(paid[:_MODELS_SHOWN], costs, strict=False)]
    if len(paid) > _MODELS_SHOWN:
        shown.append(f"{len(paid) - _MODELS_SHOWN} more")
    unsure = (("approximate", line.whole.approximate_nanos), ("assumed", line.whole.assumed_nanos))
    of_it = " and ".join(f"{format_amount(nanos)} at {kind} prices" for kind, nanos in unsure if nanos)
    return ", ".join(shown) + (f"  (of it {of_it})" if of_it else "")


def _nothing(last_us: int | None, zone: str) -> str:
    """What an empty month means."""
    if last_us is not None:
        return f"Nothing was used this month; the last time was {output.when(last_us, zone)}."
    clients = ", ".join(client.title for client in REGISTRY.clients.values() if client.transcripts is not None)
    return f"Looked for what {clients} wrote down of their work, and found nothing."


def _next(settings: Settings) -> Iterator[str]:
    """What somebody who sees this does next."""
    if settings.paths.is_installed:
        yield "`tallygate status` shows what is left of your limits, `tallygate usage` more of this, -h everything."
        return
    here = installation(sys.prefix, sys.base_prefix)
    how = f"{here.to_keep}:" if here.passing else "`tallygate init`"
    yield f"Nothing stops your agents yet. {how} proposes limits from your history and sets them."
    yield "`tallygate usage` shows more of this, -h everything."
