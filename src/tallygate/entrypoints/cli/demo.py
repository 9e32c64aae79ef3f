"""`tallygate demo`: a whole session through a real MCP client, to see every answer of the gate."""

from __future__ import annotations

from pathlib import Path

import click

from tallygate.entrypoints.cli.program import Program, pass_program


@click.command()
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep ledger, run log and settings in this new or empty folder.",
)
@pass_program
@click.pass_context
def demo(ctx: click.Context, program: Program, keep: Path | None) -> None:
    """Show a whole session at work.

    A real MCP client starts a server of its own and holds a session: start, allow, record, reroute, halt, end. Then
    the ledger and the run log are shown.
    """
    from tallygate.entrypoints.cli.demo_story import run

    ctx.exit(run(program, keep))
