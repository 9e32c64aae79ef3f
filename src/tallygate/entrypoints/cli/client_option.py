"""The names of clients on the command line: any spelling is taken, one is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from tallygate.core.words import client_name


class ClientChoice(click.Choice[str]):
    """One of some clients, `claude-code`, `claude_code` or `Claude Code` alike; the command gets its name inside."""

    def __init__(self, names: Iterable[str]) -> None:
        self._inside = {client_name(name): name for name in names}
        super().__init__([*self._inside])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return self._inside[super().convert(client_name(str(value)), param, ctx)]
