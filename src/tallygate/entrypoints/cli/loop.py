"""`tallygate loop`: what was seen of agents that go round in circles; let one go on, or say that it was none."""

from __future__ import annotations

import click

from tallygate.core.authority import Loosening
from tallygate.core.loops import SeenLoop
from tallygate.core.moments import spoken
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.output import shown_zone
from tallygate.entrypoints.cli.program import Commands, Program, pass_program
from tallygate.operations import loops
from tallygate.operations.views.overview import session_called


@click.group(cls=Commands)
def loop() -> None:
    """Agents that go round in circles: look, let one go on.

    Or say that what was seen was none.
    """


@loop.command("list")
@click.argument("session", required=False)
@as_json_option
@pass_program
def list_(program: Program, session: str | None, as_json: bool) -> None:
    """Show the loops of a session, or of the last week."""
    settings = program.settings()
    with program.opened(settings) as app:
        found = loops.lately(app.runtime, None if session is None else session_called(app.runtime, session))
    if as_json:
        output.document({"mode": settings.loops.mode.value, "loops": [each.stated() for each in found]})
        return
    for each in found:
        click.echo(_line(each, shown_zone(settings)))
    if not found:
        click.echo("No loops.")


@loop.command()
@click.argument("session", required=False)
@pass_program
def allow(program: Program, session: str | None) -> None:
    """Let go on what was stopped for a loop.

    It is the last one that is stopped, of the session or of all; counting begins anew there.
    """
    settings = program.settings()
    authority = program.authority(settings, of=Loosening.LOOP_ALLOW)
    with program.opened(settings) as app:
        named = None if session is None else session_called(app.runtime, session)
        seen = loops.allow(app.runtime, named, authority=authority)
    click.echo(f"It may go on: {_line(seen, shown_zone(settings))}")


@loop.command()
@click.argument("session", required=False)
@pass_program
def wrong(program: Program, session: str | None) -> None:
    """Say that the last loop was none.

    It is counted, so that you see how often that happens; what was stopped for it goes on.
    """
    settings = program.settings()
    authority = program.authority(settings, of=Loosening.LOOP_WRONG)
    with program.opened(settings) as app:
        named = None if session is None else session_called(app.runtime, session)
        seen = loops.wrong(app.runtime, named, authority=authority)
    click.echo(f"Noted: {_line(seen, shown_zone(settings))}")


def _line(seen: SeenLoop, zone: str) -> str:
    """A loop in a line: when, in which session, what, and what was done."""
    when = spoken(seen.at_us, zone)
    return output.safe(f"{when}  {output.short_id(seen.session_id)}  {seen.told} ({seen.done})", 1000)
