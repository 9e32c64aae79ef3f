"""What `tallygate init` gives the commands that it puts into clients; read before anything else is, in `__main__`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

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
