"""Commands in texts, as they run in a shell of whoever reads what this process says."""

from __future__ import annotations

import os
import sys
from functools import cache

from tallygate.clients import client


def runnable(text: str, *, whole: bool = False) -> str:
    """A text with each command of this program as it runs in a shell of the user's; `whole` by its full path."""
    if not client.is_naming(text):
        return text
    return client.runnable(text, client.command_line({}, sys.executable) if whole else own_words())


@cache
def own_words() -> str:
    """The words for this process's own program and environment."""
    return client.command_line(os.environ, sys.executable)
