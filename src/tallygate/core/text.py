"""Text from outside, made safe to keep, to print and to hand to a model."""

from __future__ import annotations

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def cleaned(text: str, longest: int) -> str:
    """Text without control, format, surrogate and private characters, and no longer than `longest`.

    Terminal escapes, bidirectional marks and hidden tag characters become spaces; runs of space become one.
    """
    head = text[: longest * 4]
    if not head.isascii() or not head.isprintable():
        head = "".join(" " if unicodedata.category(char) in _UNSAFE else char for char in head)
    return " ".join(head.split())[:longest].rstrip()


def shown(value: object, longest: int = 80) -> str:
    """A value as it may stand in a message: quoted, cleaned, cut."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**18:
        return "a number of more than 18 digits"
    text = cleaned(str(value) if not isinstance(value, str) else value, longest + 1)
    cut = text if len(text) <= longest else text[: longest - 3] + "..."
    return repr(cut) if isinstance(value, str) else cut
