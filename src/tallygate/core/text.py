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


def cleaned_lines(text: str, longest: int) -> str:
    """The same of a text whose lines stay lines; empty ones are left out."""
    lines = (cleaned(line, longest) for line in text[: longest * 4].split("\n"))
    return "\n".join(filter(None, lines))[:longest].rstrip()


def visible(text: str) -> str:
    r"""Markup as it may be shown: whatever would act on a reader unseen is a sign that something stands there.

    >>> visible("a\u202eb\x1b[2J\nc"), visible("tag\U000e0041")
    ('a\ufffdb\ufffd[2J\nc', 'tag\ufffd')
    """
    # Of a page there are few signs that differ, however long it is.
    bad = {ord(sign): "\ufffd" for sign in set(text) if sign != "\n" and unicodedata.category(sign) in _UNSAFE}
    return text.translate(bad) if bad else text


def shown(value: object, longest: int = 80) -> str:
    """A value as it may stand in a message: quoted, cleaned, cut."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**18:
        return "a number of more than 18 digits"
    text = cleaned(str(value) if not isinstance(value, str) else value, longest + 1)
    cut = text if len(text) <= longest else text[: longest - 3] + "..."
    return repr(cut) if isinstance(value, str) else cut


# Letters of other scripts that look like one of ours.
_ALIKE = str.maketrans(
    "авеікмнорстухѕјԁԛԝһӏґьɡɑıοαβενκρτυχιηωγո",
    "abeikmhopctyxsjdqwhlrbgaioabevkptuxinwyn",
)
# Nothing is to be seen of these, though they count as letters.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0")


def plain_letters(text: str) -> str:
    r"""A name as the eye reads it: small letters, any dash as `-`, nothing invisible, look-alikes as what they seem.

    >>> plain_letters("My\u2014\u0410gent"), plain_letters("my\u200b_agent")
    ('my-agent', 'my_agent')
    """
    if text.isascii() and text.isprintable():
        return text.lower()
    found: list[str] = []
    for char in unicodedata.normalize("NFKD", text.casefold()):
        kind = unicodedata.category(char)
        if kind in ("Mn", "Me", "Cf") or char in _BLANK:
            continue
        found.append("-" if kind == "Pd" or char in "\u2212\u02d7\u30fc\u2500" else " " if kind[0] in "CZ" else char)
    return "".join(found).casefold().translate(_ALIKE)


def in_digits(token: str) -> str:
    """A random token as sixteen decimal digits: an id costs a model that repeats it six tokens so, and not ten.

    >>> in_digits("00000000a1b2c3d4"), in_digits("ffffffffffffffff")
    ('0000002712847316', '6744073709551615')
    """
    return f"{int(token, 16) % 10**16:016d}"


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "call"), plural(2000, "call")
    ('1 call', '2,000 calls')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
