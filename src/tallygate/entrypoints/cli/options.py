"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from tallygate.core.words import client_name

# --- client option ---------------------------------------------------------------------------------------------------
# The names of clients on the command line: any spelling is taken, one is shown.


class ClientChoice(click.Choice[str]):
    """One of some clients, `claude-code`, `claude_code` or `Claude Code` alike; the command gets its name inside."""

    def __init__(self, names: Iterable[str]) -> None:
        self._inside = {client_name(name): name for name in names}
        super().__init__([*self._inside])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return self._inside[super().convert(client_name(str(value)), param, ctx)]


# --- installed option ------------------------------------------------------------------------------------------------
# What `tallygate init` gives the commands that it puts into clients; read before anything else is, in `__main__`.


Command = TypeVar("Command", bound=Callable[..., Any])


def installed(command: Command) -> Command:
    """The options of a command that clients are set up to run."""
    places = click.option(
        "--places",
        metavar="FILE",
        expose_value=False,
        help="Go by the places that `tallygate init` wrote down there, whatever the environment says.",
    )
    return places(click.option("--dropped", hidden=True, expose_value=False)(command))


# --- what most commands have -----------------------------------------------------------------------------------------

as_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
as_csv_option = click.option("--csv", "as_csv", is_flag=True, help="For a spreadsheet: a header, then plain figures.")


def limit_option(default: int, most: int) -> Callable[[Command], Command]:
    """How much of a list is shown."""
    shown = click.IntRange(1, most)
    return click.option("--limit", type=shown, default=default, show_default=True, help="How many at most.")
