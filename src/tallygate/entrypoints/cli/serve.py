"""`tallygate serve`: the MCP server of one client, over stdin and stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import click

from tallygate.clients.ancestry import ancestors, beneath
from tallygate.core.errors import SettingsError, TallygateError
from tallygate.entrypoints.cli.options import installed
from tallygate.entrypoints.cli.output import aside
from tallygate.entrypoints.cli.program import Program, pass_program
from tallygate.entrypoints.entrance import Entrance
from tallygate.settings import LogLevel, Settings

if TYPE_CHECKING:
    from tallygate.entrypoints.mcp_server.tools import ToolSpec

_LEVELS: dict[LogLevel, Literal["DEBUG", "INFO", "WARNING", "ERROR"]] = {
    LogLevel.DEBUG: "DEBUG",
    LogLevel.INFO: "INFO",
    LogLevel.WARNING: "WARNING",
    LogLevel.ERROR: "ERROR",
}


@click.command()
@click.option(
    "--tools",
    type=click.Choice(["all", "l6e", "budget"]),
    default="all",
    show_default=True,
    help="Which family of tools clients are shown.",
)
@installed
@pass_program
def serve(program: Program, tools: Literal["all", "l6e", "budget"]) -> None:
    """Serve MCP over stdio.

    Until the client closes its end; this is what an MCP client is given as its command.
    """
    entrance = program.entrance or Entrance()
    try:
        settings = program.settings().sound()
        apart = _apart(settings)
        if apart is not None and beneath(ancestors(program.parent), os.environ) is not None:
            raise apart
    except SettingsError as fault:
        # A server that ended here would be a missing tool to the agent, and its work would go on.
        aside(f"every gate is shut: {fault}")
        entrance.close()  # hooks read the settings of their own folder
        from tallygate.entrypoints.mcp_server.shut import serve_shut

        serve_shut(fault, program.parent, tools, entrance)
        return
    app = program.compose(settings, by="mcp")
    try:
        app = app.serving(None if entrance.ear is None else entrance.ear.server_id)
    except (OSError, TallygateError) as error:
        # Where its files cannot be made the server still has to answer: an agent without a gate goes on without one.
        aside(f"others cannot see that this server runs: {error}")
    for notice in settings.notices:
        aside(notice)
    from tallygate.entrypoints.mcp_server.serve import serve_stdio

    if sys.stdin.isatty():
        aside("waits for an MCP client on its input; `tallygate --help` shows what else there is.")
    serve_stdio(
        app,
        log_level=_LEVELS[settings.log_level],
        family=tools,
        answered=None if apart is None else partial(_shut_to_clients, apart),
        entrance=entrance,
    )


def _shut_to_clients(apart: SettingsError) -> Callable[[list[ToolSpec]], list[ToolSpec]]:
    from tallygate.entrypoints.mcp_server.shut import shut_to_clients

    return partial(shut_to_clients, fault=apart)


def _apart(settings: Settings) -> SettingsError | None:
    """Why this server is no gate of the user's clients: it counts in another ledger than the one that is locked."""
    from tallygate.entrypoints.cli.whose import locked_instead_of

    ledger = None if settings.paths.given else locked_instead_of(settings)
    if ledger is None:
        return None
    return SettingsError(
        f"The limits are locked in {ledger}, and this server counts in another ledger, {settings.paths.database}.",
        hint="Have the client start what tallygate init installs. A ledger for trials is served outside of agents.",
    )
