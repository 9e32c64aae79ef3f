"""`tallygate doctor`: whether everything Tallygate stands on is sound, and what to do where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import LedgerCorrupt, LedgerUnavailable
from tallygate.core.moments import iso
from tallygate.core.proof import is_about_history
from tallygate.core.text import plural
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.output import shown_zone
from tallygate.entrypoints.cli.program import FAILED, Program, pass_program, sentence
from tallygate.entrypoints.runnable import runnable

if TYPE_CHECKING:
    from tallygate.app import App
    from tallygate.entrypoints.cli.check import Check
    from tallygate.ledger.audit.rebuild import Rebuilt

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_NAME_WIDTH = 12


@click.command()
@click.option("--rebuild", is_flag=True, help="Make a damaged or edited ledger anew from its own events.")
@as_json_option
@pass_program
@click.pass_context
def doctor(ctx: click.Context, program: Program, rebuild: bool, as_json: bool) -> None:
    """Check that everything is sound.

    Looks at the ledger, the keys that sign, the run log, settings, prices and the machine, and says what to do. Exit
    code 1 where something fails.

    With --rebuild a ledger that does not verify is copied aside and replaced by one made from its events. A sound one
    is left alone, and so is one of which no event can be read.
    """
    if rebuild:
        _rebuild(ctx, program, as_json=as_json)
        return
    from tallygate.entrypoints.cli.checks import every

    done: list[Check] = []
    for check in every(program):
        done.append(check)
        if not as_json:
            _say(check)
    failed = sum(check.state == "fail" for check in done)
    warned = sum(check.state == "warn" for check in done)
    if as_json:
        told = [(c, runnable(c.found), runnable(c.to_do)) for c in done]
        listed = [{"check": c.name, "state": c.state.value, "found": f, "to_do": t} for c, f, t in told]
        output.document({"ok": not failed, "failed": failed, "warned": warned, "checks": listed})
    else:
        click.echo(f"\n{plural(len(done), 'check')}, {failed} failed, {plural(warned, 'warning')}.")
    if failed:
        ctx.exit(FAILED)


def _rebuild(ctx: click.Context, program: Program, *, as_json: bool) -> None:
    from tallygate.ledger.audit.rebuild import rebuild

    settings = program.settings()
    authority = program.authority(settings, of=Loosening.REBUILD)
    path = settings.paths.in_a_file()
    with program.opened(settings, by="doctor") as app, output.working("rebuilding the ledger from its events"):
        now_us = app.runtime.services.clock_us()
        try:
            done = rebuild(path, at_us=now_us, lock_timeout_ms=settings.ledger.lock_timeout_ms)
        except LedgerCorrupt as error:
            click.echo(sentence(error), err=True)
            ctx.exit(FAILED)
        if done is not None:
            _remember(app, authority)
    if as_json:
        output.document({"rebuilt": False} if done is None else {"rebuilt": True, **_rebuilt_json(done)})
        return
    if done is None:
        click.echo(f"Nothing to rebuild: {output.safe(path, 1000)} verifies.")
        return
    until = output.when(done.last_us, shown_zone(settings))
    facts = [
        ("rebuilt", f"{path} from {plural(done.events, 'event')}; its budgets are what they say"),
        ("kept", f"the ledger as it was: {done.copy}"),
    ]
    if done.lost is not None:
        facts.append(("lost", f"everything after {until}: {done.lost}. A backup or the run log may have more."))
    facts += [("left out", each) for each in done.left_out]
    output.facts(facts)
    click.echo("\nStart running servers again: they notice that their file was replaced and refuse to count.")


def _remember(app: App, authority: Authority) -> None:
    """Go on with a rebuilt ledger that lost events: otherwise every gate would miss them."""
    from tallygate.entrypoints.cli.ledger import gone_on
    from tallygate.operations.proof.accepting import Instead
    from tallygate.operations.proof.evidence import Way

    try:
        _ = app.ledger
    except LedgerUnavailable as error:
        if not is_about_history(error):
            raise
        instead = Instead(Way.REBUILT, error.code, app.anchor.read().newest)
        gone_on(app.accepting(), instead, "doctor --rebuild", authority)


def _rebuilt_json(done: Rebuilt) -> dict[str, Any]:
    return {
        "copy": str(done.copy),
        "events": done.events,
        "last_event_at": iso(done.last_us),
        "lost": done.lost,
        "left_out": list(done.left_out),
    }


def _say(check: Check) -> None:
    state = click.style(check.state.value.ljust(4), fg=_COLOURS[check.state], bold=True)
    click.echo(f"{state}  {check.name.ljust(_NAME_WIDTH)}  {output.safe(runnable(check.found), 1000)}")
    if check.to_do:
        click.echo(f"{' ' * (_NAME_WIDTH + 8)}{output.safe(runnable(check.to_do), 1000)}")
