"""`tallygate hook` and `tallygate statusline`: what clients run."""

from __future__ import annotations

import sys

import click

from tallygate.clients.client import STATUS_LINE
from tallygate.core.errors import TallygateError
from tallygate.core.text import cleaned
from tallygate.entrypoints.cli.options import installed
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.hook_dispatcher import (
    INPUT_BYTES_MAX,
    LINE_MAX,
    HookDispatcher,
    HookProgram,
    answer_alone,
)

# --- hook ------------------------------------------------------------------------------------------------------------
# `tallygate hook`: answer one hook of a client, where no server is there to do it.


@click.command(hidden=True)
@click.option("--client", required=True, metavar="CLIENT", help="Whose hook it is, by the client's name.")
@click.option("--event", default="-", metavar="EVENT", help="The hook's name, where the input does not say it.")
@click.option("--framed", is_flag=True, hidden=True)
@click.option("--held", is_flag=True, hidden=True)
@installed
@pass_program
def hook(program: Program, client: str, event: str, framed: bool, held: bool) -> int:
    """Answer one hook of a client.

    Reads the client's JSON from standard input and prints the client's JSON. Clients are set up to run this by
    `tallygate init`; the exit code is the client's to read.
    """

    def started() -> HookProgram:
        return program.compose(program.settings().sound(), by="hook")

    return answer_alone(started, client, event, framed=framed, held=held)


# --- statusline ------------------------------------------------------------------------------------------------------
# `tallygate statusline`: one line on what is left, for the status line of Claude Code.


@click.command()
@click.option("--client", default="claude-code", metavar="CLIENT", help="Whose session the input names.")
@installed
@pass_program
def statusline(program: Program, client: str) -> None:
    """Show what a session spent and has left, in one line.

    Reads the client's JSON from standard input. What is shown is chosen in the settings: `show` in `[statusline]`.
    A client that `tallygate init` has set up asks the running server for the same line.
    """
    data = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
    try:
        with program.opened(by="statusline") as app:
            reply = HookDispatcher(app.for_hooks().runtime_for).answer_bytes(client, STATUS_LINE, data)
            click.echo(reply.line)
    except TallygateError as error:
        click.echo(cleaned(f"tallygate: {error.message}", LINE_MAX))
