"""`tallygate hook` and `tallygate statusline`: what clients run."""

from __future__ import annotations

import json
import sys

import click

from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import TallygateError
from tallygate.core.words import client_among
from tallygate.entrypoints.cli.options import installed
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.hook_dispatcher import INPUT_BYTES_MAX, HookProgram, answer_alone
from tallygate.operations.hooks import remaining_text

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


SHOWN_MAX = 200


@click.command()
@click.option("--client", default="claude-code", metavar="CLIENT", help="Whose session the input names.")
@installed
@pass_program
def statusline(program: Program, client: str) -> None:
    """Show what is left of a client's session.

    Reads the client's JSON from standard input and prints one line; prints nothing where no budget is known.
    """
    session = _session(sys.stdin.buffer.read(INPUT_BYTES_MAX + 1))
    if session is None:
        return
    try:
        with program.opened(by="statusline") as app:
            text = remaining_text(app.runtime, client_among(client, REGISTRY.hooks) or client, session)
    except TallygateError as error:
        text = f"tallygate: {error.message}"
    if text is not None:
        click.echo(text[:SHOWN_MAX])


def _session(data: bytes) -> str | None:
    try:
        found = json.loads(data) if len(data) <= INPUT_BYTES_MAX else None
    except (ValueError, RecursionError):
        return None
    session = found.get("session_id") if isinstance(found, dict) else None
    return session if isinstance(session, str) and 0 < len(session) <= SHOWN_MAX and session.isprintable() else None
