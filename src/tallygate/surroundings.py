"""What a program finds around it where it works for one client: read once at a way in, handed on as one value.

A server may work for many clients, each with an environment and a folder of its own. So nothing asks the process for
them but the ways in; a test goes through the source for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tallygate.core.errors import SettingsError
from tallygate.core.values import value


@value(frozen=True, slots=True)
class Surroundings:
    """The variables, the working folder and the home of one client's work, and the process that began it.

    `cwd` is None where the folder was removed, `parent` 0 where nobody asked whose child this process is.
    """

    environ: Mapping[str, str]
    cwd: Path | None
    home: Path
    parent: int = 0

    @property
    def folder(self) -> Path:
        """The working folder. Raises `SettingsError` where it is gone: what binds there cannot be known."""
        if self.cwd is None:
            raise SettingsError(
                "The folder that this runs in was removed, so nobody can tell which settings hold here.",
                hint="Go to a folder that is there, and start it again.",
            )
        return self.cwd

    def by(self, environ: Mapping[str, str]) -> Surroundings:
        """The same with other variables; these may name another home."""
        return replace(self, environ=environ, home=Path(environ.get("HOME") or self.home))

    def usual(self, variable: str, *below: str) -> Path:
        """Where programs keep a user's things of a kind: as a variable names it in full, else as the system has it."""
        named = self.environ.get(variable, "")
        if Path(named).is_absolute():
            return Path(named)
        return self.home / "Library" / "Application Support" if sys.platform == "darwin" else self.home.joinpath(*below)


def around_here(parent: int = 0) -> Surroundings:
    """What is around this process."""
    try:
        cwd = Path.cwd()
    except FileNotFoundError:
        cwd = None
    return Surroundings(dict(os.environ), cwd, Path.home(), parent)
