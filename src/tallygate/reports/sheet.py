"""Figures as a spreadsheet takes them: RFC 4180, and nothing in a cell acts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from tallygate.core.text import cleaned

_CELL_MAX = 1000
# What a spreadsheet would take for the beginning of a formula; in some languages it takes the wide forms too.
_FORMULA = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}", "\N{FULLWIDTH HYPHEN-MINUS}",
            "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip


def sheet(head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> bytes:
    """A header and rows, as bytes: a text stream of some systems would end the lines in its own way."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([head, *rows])
    return text.getvalue().encode()


def cell(value: str | None) -> str:
    """Text from anywhere as it may stand in a cell: what looks like a formula begins with an apostrophe.

    >>> cell("=1+1"), cell("claude-opus-4.7"), cell(None)
    ("'=1+1", 'claude-opus-4.7', '')
    """
    text = "" if value is None else cleaned(value, _CELL_MAX)
    return f"'{text}" if text.startswith(_FORMULA) else text
