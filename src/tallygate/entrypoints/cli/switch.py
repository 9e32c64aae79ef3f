"""`tallygate off` and `on`: stop nothing for a while, which ends by itself."""

from __future__ import annotations

import click

from tallygate.core.authority import Loosening
from tallygate.core.errors import NotFound
from tallygate.core.gate.wording import off_told
from tallygate.core.lock import OFF_MOST_US, Off
from tallygate.core.moments import iso, spoken
from tallygate.core.text import cleaned
from tallygate.core.typed import span_us
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.output import shown_zone
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.operations.lock import switch_off, switch_on
from tallygate.settings import Settings

_REASON_MAX = 200


@click.command()
@click.option(
    "--for", "length", metavar="TIME", default="1h", show_default=True, help="How long: 30m, 1h, 2h30m; 24h at most."
)
@click.option("--reason", default="no reason given", show_default=True, help="Kept in the journal, and shown with it.")
@pass_program
def off(program: Program, *, length: str, reason: str) -> None:
    """Stop nothing for a while.

    Every step is let through, and everything is recorded and counted as before: once the time is over, what was spent
    meanwhile counts against every limit. It is over by itself, whatever is done to the clock, and with a restart of the
    machine. The hooks stay, agents are told, and the journal says who switched it off, and why.
    """
    length_us = span_us("--for", length, most_us=OFF_MOST_US)
    settings = program.settings()
    authority = program.authority(settings, of=Loosening.OFF)
    _check_there(settings)
    with program.opened(settings) as app:
        found = switch_off(app.runtime, length_us, cleaned(reason, _REASON_MAX), authority=authority)
    output.hint(output.safe(off_told(found, shown_zone(settings)), 1000))


@click.command()
@pass_program
def on(program: Program) -> None:
    """Stop again what is over a limit.

    `tallygate off` ends by itself; this ends it before its time. It is anybody's to do.
    """
    settings = program.settings()
    authority = program.authority(settings)
    _check_there(settings)
    with program.opened(settings) as app:
        found = switch_on(app.runtime, authority=authority)
    if found is None:
        click.echo("It is on: what is over a limit is stopped.")
    else:
        until = spoken(found.until_us, shown_zone(settings))
        click.echo(f"On again: what is over a limit is stopped. It would have been off until {until}.")


def off_json(found: Off) -> dict[str, str | None]:
    """A gate that is off, for programs."""
    return {"since": iso(found.from_us), "until": iso(found.until_us), "by": found.actor, "reason": found.reason}


def _check_there(settings: Settings) -> None:
    if settings.paths.holds_nothing and settings.unread is None:
        raise NotFound("There is no ledger yet, so nothing is stopped anyhow.", hint="tallygate init sets it up.")
