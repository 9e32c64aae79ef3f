"""`tallygate watch`: open sessions on the whole terminal, kept up to date."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import click

from tallygate.core.errors import InvalidArgument
from tallygate.entrypoints.cli.program import FAILED, Program, pass_program
from tallygate.entrypoints.cli.sync import read_news

_INSTALL = (
    "In the folder that Tallygate was installed from: uv tool install '.[watch]' (or pipx install --force '.[watch]', "
    "pip install '.[watch]'). Without it, `tallygate status` shows the same once."
)


@click.command()
@pass_program
def watch(program: Program) -> int:
    """Watch open sessions while they work.

    What each spent, what is left of what would stop it, what it burns by the hour and how long that lasts, and the last
    decisions. r raises the limit of the chosen session, e ends it, q leaves; both ask first, and as their commands do
    only the user may. Works in 60 columns and over ssh.
    """
    if find_spec("textual") is None:
        raise InvalidArgument("watch", "`tallygate watch` needs one more package, textual.", hint=_INSTALL)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidArgument("watch", "`tallygate watch` needs a terminal.", hint="`tallygate status` needs none.")
    from tallygate.entrypoints.watching import Watching

    settings = program.settings()
    authority = program.authority(settings)
    with program.opened(settings, by="watch") as app:
        read_news(app.runtime)
        shown = Watching(app.runtime, authority)
        try:
            shown.run()
        except OSError:
            return FAILED  # the terminal has gone
    return shown.return_code or 0
