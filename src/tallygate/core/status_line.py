"""One line for a client's status line: the pieces that somebody has chosen, as wide as it may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from tallygate.core.text import cleaned


class StatusPiece(StrEnum):
    """What a status line may show."""

    SESSION = "session"
    LEFT = "left"
    TODAY = "today"
    MONTH = "month"
    BURN = "burn"
    PLAN = "plan"
    CONTEXT = "context"
    EXACTNESS = "exactness"


NAME = "tallygate: "
NOTHING = "nothing is known here yet"
_BETWEEN, _BESIDE = " | ", ", "
_MORE = " ..."
PIECE_MAX = 200
# What belongs together, in this order.
_PAIR = (StatusPiece.SESSION.value, StatusPiece.LEFT.value)


def line_of(told: Mapping[str, str], show: Sequence[str], width: int, always: str | None = None) -> str:
    """The pieces that there are, in the order in which they were chosen; `always` is said whatever was.

    What is too wide goes from its end, a piece at a time, and the first one is cut. It is one line of what can be seen,
    whatever a piece has in it.
    """
    pieces = [(name, cleaned(told[name], PIECE_MAX)) for name in dict.fromkeys(show) if told.get(name)]
    if always:
        pieces.insert(min(len(pieces), 2), ("", cleaned(always, PIECE_MAX)))
    pieces = [(name, text) for name, text in pieces if text] or [("", NOTHING)]
    line, before = NAME + pieces[0][1], pieces[0][0]
    if len(line) > width:
        return line[: max(width - len(_MORE), 0)].rstrip() + _MORE if width > len(_MORE) else line[:width]
    for name, text in pieces[1:]:
        more = (_BESIDE if (before, name) == _PAIR else _BETWEEN) + text
        if len(line) + len(more) > width:
            break
        line, before = line + more, name
    return line
