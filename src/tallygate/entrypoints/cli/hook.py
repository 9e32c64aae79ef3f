"""`tallygate hook`: answer one hook of a client, where no server is there to do it."""

from __future__ import annotations

import click

from tallygate.entrypoints.cli.installed_option import installed
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.hook_alone import HookProgram, answer_alone


@click.command()
@click.option("--client", required=True, metavar="CLIENT", help="Whose hook it is: claude-code, codex, gemini ...")
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
