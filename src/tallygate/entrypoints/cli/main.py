"""The command line: its groups and what it does when it is given no command."""

from __future__ import annotations

import sys

import click

from tallygate import __version__
from tallygate.entrypoints.cli.program import Program, Root

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 conflict, 5 ledger unavailable, 6 settings, "
    "7 the user's alone, 8 stopped (budget check, status --exit-code), 10 to 18 broken (verify), 130 interrupted."
)


# Where each command is, in the order of their names: only what is asked for is loaded.
COMMANDS = {
    "attest": "attest:attest",
    "backup": "ledger:backup",
    "budget": "budget:budget",
    "calibrate": "calibrate:calibrate",
    "demo": "demo:demo",
    "doctor": "doctor:doctor",
    "drift": "drift:drift",
    "estimate": "prices:estimate",
    "hook": "hook:hook",
    "import": "import_bills:import_",
    "import-l6e": "import_l6e:import_",
    "init": "init:init",
    "keys": "keys:keys",
    "ledger": "ledger:ledger",
    "lock": "lock:lock",
    "prices": "prices:prices",
    "report": "report:report",
    "restore": "ledger:restore",
    "serve": "serve:serve",
    "sessions": "sessions:sessions",
    "status": "status:status",
    "statusline": "hook:statusline",
    "sync": "sync:sync",
    "trust": "trust:trust",
    "uninstall": "init:uninstall",
    "unlock": "lock:unlock",
    "usage": "usage:usage",
    "verify": "verify:verify",
    "why": "why:why",
}


@click.group(
    cls=Root,
    where=COMMANDS,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", prog_name="tallygate", message="%(prog)s %(version)s")
@click.pass_context
def tallygate(ctx: click.Context) -> None:
    """Spend gate and tally for AI agents.

    Without a command it shows a person what was spent lately, and serves MCP where a program is at the other end of its
    input.
    """
    if ctx.invoked_subcommand is not None:
        return
    if is_typed():
        from tallygate.entrypoints.cli.glance import glance

        glance(ctx.ensure_object(Program))
        return
    from tallygate.entrypoints.cli.serve import serve

    ctx.invoke(serve)


def is_typed() -> bool:
    """Whether a person has started this, and no program that speaks MCP."""
    return sys.stdin is None or sys.stdin.isatty()
