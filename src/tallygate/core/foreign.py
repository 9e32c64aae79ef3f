"""Variables in a client's environment that the gate does not go by: a name each, and what is said of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

SHOWN_MAX = 8
_NAME = re.compile(r"[A-Z][A-Z0-9_]{1,60}")


def names_in(words: Iterable[str]) -> tuple[str, ...]:
    """What of some words can be the name of a variable: they come from outside."""
    return tuple(word for word in words if _NAME.fullmatch(word))


def foreign_text(names: Iterable[str]) -> str:
    """What is said of them when a session begins, and by `doctor`; nothing where there are none.

    >>> foreign_text(["TALLYGATE_DB"])
    "Not counted, though set in this client's environment: TALLYGATE_DB. If you set it: tallygate init in a terminal."
    """
    listed = sorted(set(names))
    if not listed:
        return ""
    more = f" and {len(listed) - SHOWN_MAX} more" if len(listed) > SHOWN_MAX else ""
    told = f"Not counted, though set in this client's environment: {', '.join(listed[:SHOWN_MAX])}{more}."
    return f"{told} If you set {'it' if len(listed) == 1 else 'them'}: tallygate init in a terminal."
