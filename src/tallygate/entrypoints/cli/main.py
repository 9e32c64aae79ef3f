"""The command line: its groups and what it does when it is given no command."""

from __future__ import annotations

import sys

import click

from tallygate import __version__
from tallygate.entrypoints.cli import (
    attest,
    backup,
    budget,
    demo,
    doctor,
    hook,
    import_l6e,
    init,
    keys,
    prices,
    report,
    serve,
    sessions,
    status,
    statusline,
    sync,
    usage,
    verify,
)
from tallygate.entrypoints.cli.program import Root

EPILOG = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 conflict, 5 ledger unavailable, 6 settings."


@click.group(cls=Root, invoke_without_command=True, epilog=EPILOG)
@click.version_option(__version__, prog_name="tallygate", message="%(prog)s %(version)s")
@click.pass_context
def tallygate(ctx: click.Context) -> None:
    """Spend gate and tally for AI agents.

    Without a command it serves MCP when a program is at the other end of its input, and shows this help to a person.
    """
    if ctx.invoked_subcommand is not None:
        return
    if sys.stdin is None or sys.stdin.isatty():
        click.echo(ctx.get_help())
        return
    ctx.invoke(serve.serve)


for _command in (
    demo.demo,
    init.init,
    init.uninstall,
    serve.serve,
    status.status,
    statusline.statusline,
    sessions.sessions,
    budget.budget,
    usage.usage,
    report.report,
    sync.sync,
    prices.estimate,
    prices.prices,
    doctor.doctor,
    hook.hook,
    backup.backup,
    import_l6e.import_,
    attest.attest,
    keys.keys,
    verify.verify,
):
    tallygate.add_command(_command)
