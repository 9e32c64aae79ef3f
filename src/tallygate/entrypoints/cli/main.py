"""The command line: its groups and what it does when it is given no command."""

from __future__ import annotations

import os
import select
import stat
import sys
from pathlib import Path

import click

from tallygate import __version__
from tallygate.entrypoints.cli.program import Program, Root, sentence

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 conflict, 5 ledger unavailable, 6 settings, "
    "7 the user's alone, 8 stopped (budget check, status --exit-code), 10 to 18 broken (verify), 130 interrupted."
)


# Where each command is, by what it is for: only what is asked for is loaded.
COMMANDS = {
    "Every day": {
        "status": "status:status",
        "watch": "watch:watch",
        "usage": "usage:usage",
        "report": "usage:report",
        "sessions": "sessions:sessions",
        "history": "history:history",
        "why": "why:why",
        "budget": "budget:budget",
        "loop": "loop:loop",
        "off": "switch:off",
        "on": "switch:on",
        "export": "export:export",
        "sync": "sync:sync",
        "dashboard": "dashboard:dashboard",
    },
    "Set-up": {
        "init": "init:init",
        "uninstall": "init:uninstall",
        "doctor": "doctor:doctor",
        "trust": "trust:trust",
        "lock": "lock:lock",
        "unlock": "lock:unlock",
        "migrate": "migrate:migrate",
        "demo": "demo:demo",
        "import-l6e": "import_l6e:import_",
    },
    "Prices and bills": {
        "prices": "prices:prices",
        "estimate": "prices:estimate",
        "calibrate": "calibrate:calibrate",
        "import": "import_bills:import_",
        "drift": "drift:drift",
    },
    "Proof": {
        "verify": "verify:verify",
        "attest": "attest:attest",
        "keys": "keys:keys",
        "backup": "ledger:backup",
        "restore": "ledger:restore",
        "ledger": "ledger:ledger",
    },
    "Run by clients": {
        "serve": "serve:serve",
        "statusline": "hook:statusline",
        "hook": "hook:hook",
    },
}


@click.group(
    cls=Root,
    sections=COMMANDS,
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
    if is_over():
        click.echo(
            sentence(
                "the input is empty, so there is no program to serve MCP to. `tallygate status` shows how everything "
                "stands, `tallygate -h` every command."
            ),
            err=True,
        )
    from tallygate.entrypoints.cli.serve import serve

    ctx.invoke(serve)


def is_over() -> bool:
    """Whether nothing will ever come on the input: it leads to nowhere, or whoever was at its other end has gone."""
    try:
        number = sys.stdin.fileno()
        found = os.fstat(number)
        if stat.S_ISREG(found.st_mode):
            return os.lseek(number, 0, os.SEEK_CUR) >= found.st_size
        if stat.S_ISCHR(found.st_mode):
            return os.path.samestat(found, Path(os.devnull).stat())
        asked = select.poll()
        asked.register(number, select.POLLIN)
        return any(told & select.POLLHUP and not told & select.POLLIN for _, told in asked.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def is_typed() -> bool:
    """Whether a person has started this, and no program that speaks MCP."""
    return sys.stdin is None or sys.stdin.isatty()
