"""How a user's shell starts this very program: by its name where that finds it, else by its whole path.

Texts name commands by the program's name alone. Whoever hands a text on makes them runnable as they are printed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

NAME = "tallygate"
COMMANDS = (
    "attest", "backup", "budget", "calibrate", "demo", "doctor", "drift", "estimate", "hook", "import", "import-l6e",
    "init", "keys", "ledger", "lock", "prices", "report", "restore", "serve", "sessions", "status", "statusline",
    "sync", "trust", "uninstall", "unlock", "usage", "verify",
)  # fmt: skip
# A command of this program: no part of a path, and not that of another installation ("then its tallygate init").
# `tallygate raise` is none: it is typed as a prompt.
_NAMED = re.compile(rf"(?<![\w./\\@-])(?<!-m )(?<!its ){NAME}(?= (?:{'|'.join(COMMANDS)})(?![\w-]))")


def runnable(text: str) -> str:
    """A text with each command of this program as it runs in a shell of the user's."""
    if f"{NAME} " not in text:
        return text
    words = own_words()
    return text if words == NAME else _NAMED.sub(lambda _: words, text)


@cache
def own_words() -> str:
    """The words for this process's own program and environment."""
    return command_line(os.environ, sys.executable)


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
