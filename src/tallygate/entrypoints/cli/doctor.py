"""`tallygate doctor`: whether everything Tallygate stands on is sound, and what to do where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.failures import FAILED
from tallygate.entrypoints.cli.program import Program, pass_program

if TYPE_CHECKING:
    from tallygate.entrypoints.cli.checks import Check

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_NAME_WIDTH = 12


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@pass_program
@click.pass_context
def doctor(ctx: click.Context, program: Program, as_json: bool) -> None:
    """Check that everything is sound.

    Looks at the ledger, the run log, settings, prices and the machine, and says what to do. Exit code 1 where something
    fails.
    """
    from tallygate.entrypoints.cli.checks import every

    done: list[Check] = []
    for check in every(program):
        done.append(check)
        if not as_json:
            _say(check)
    failed = sum(check.state == "fail" for check in done)
    warned = sum(check.state == "warn" for check in done)
    if as_json:
        listed = [{"check": c.name, "state": c.state.value, "found": c.found, "to_do": c.to_do} for c in done]
        output.document({"ok": not failed, "failed": failed, "warned": warned, "checks": listed})
    else:
        click.echo(f"\n{output.plural(len(done), 'check')}, {failed} failed, {output.plural(warned, 'warning')}.")
    if failed:
        ctx.exit(FAILED)


def _say(check: Check) -> None:
    state = click.style(check.state.value.ljust(4), fg=_COLOURS[check.state], bold=True)
    click.echo(f"{state}  {check.name.ljust(_NAME_WIDTH)}  {output.safe(check.found, 1000)}")
    if check.to_do:
        click.echo(f"{' ' * (_NAME_WIDTH + 8)}{output.safe(check.to_do, 1000)}")
