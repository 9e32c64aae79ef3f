"""How a user's shell starts this very program: by its name where that finds it, else by its whole path."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

NAME = "tallygate"


def command_line(environ: Mapping[str, str], interpreter: str) -> str:
    """The words that a message puts before a command.

    An activated environment finds the name only in the terminal it was activated in, so its path counts for nothing.
    """
    folder = Path(interpreter).parent
    ours = next((path for path in (folder / NAME, folder / f"{NAME}.exe") if os.access(path, os.X_OK)), None)
    if ours is None:
        return f"{_word(interpreter)} -m {NAME}"
    active = environ.get("VIRTUAL_ENV")
    active_folders = () if not active else (str(Path(active) / "bin"), str(Path(active) / "Scripts"))
    lasting = [each for each in environ.get("PATH", "").split(os.pathsep) if each and each not in active_folders]
    found = shutil.which(NAME, path=os.pathsep.join(lasting))
    if found is not None and os.path.realpath(found) == os.path.realpath(ours):
        return NAME
    return _word(str(ours))


def _word(path: str) -> str:
    if os.name == "nt":
        return f'"{path}"' if " " in path else path
    return shlex.quote(path)
