"""Text between markers in the user's own files, and whole files of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tallygate.core.regex import regex
from tallygate.core.values import value
from tallygate.editing.edits import BEGIN, END, PLUGIN_MARK, Block, Whole
from tallygate.editing.json_text import Malformed, line_of

_MARKER = regex(rf"^[ \t]*({re.escape(BEGIN)}|{re.escape(END)})[ \t]*\r?$", re.MULTILINE)


@value(slots=True)
class TextTrace:
    """What was put before the block, and the front matter of a file that was made for it."""

    gap: str = ""
    front: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"gap": self.gap, "front": self.front}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TextTrace:
        return cls(stored.get("gap", ""), stored.get("front", ""))


def apply(text: str, edits: Sequence[Block], trace: TextTrace) -> tuple[str, list[str]]:
    """Bring the block up to date; it comes behind the user's text and never over it."""
    (edit,) = edits
    newline = "\r\n" if "\r\n" in text else "\n"
    body = edit.text.replace("\n", newline)
    found = _block(text)
    if found is not None:
        start, end = found
        # Line ends behind the block are the user's, and say nothing of what is in it.
        same = text[start:end].rstrip("\r\n") == body.rstrip("\r\n")
        return (text if same else text[:start] + body.rstrip("\r\n") + text[end:]), []
    if not text:
        trace.front = edit.front
    elif text.endswith("\n"):
        trace.gap = "" if text.endswith((newline * 2, "\n\n")) else newline
    else:
        trace.gap = newline * 2
    return text + trace.front + trace.gap + body, []


def strip(text: str, trace: TextTrace) -> str:
    """Take the block out with what was put around it."""
    found = _block(text)
    if found is None:
        return text
    start, end = found
    end += len(re.match(r"(?:\r?\n)?", text[end:])[0])  # type: ignore[index]  # it matches nothing, too
    head = text[:start]
    if trace.gap and head.endswith(trace.gap):
        head = head[: -len(trace.gap)]
    left = head + text[end:]
    return "" if trace.front and left == trace.front else left


def _block(text: str) -> tuple[int, int] | None:
    marks = list(_MARKER.finditer(text))
    if not marks:
        return None
    if [mark[1] for mark in marks] != [BEGIN, END]:
        place = marks[-1].start() if len(marks) == 1 else marks[0].start()
        raise Malformed(line_of(text, place), f"the markers {BEGIN} and {END} are not one pair")
    return marks[0].start(), marks[1].start() + len(marks[1][0].rstrip("\r"))


def is_whole_ours(text: str) -> bool:
    """Whether a file that stands where one of ours belongs is ours, of whatever version."""
    return PLUGIN_MARK in text[:400].lower()


def whole(text: str | None, edit: Whole) -> str | None:
    """What a file of ours is to hold; None where there is one already that stays."""
    if text is None or (is_whole_ours(text) and not edit.keeps):
        return edit.text
    if edit.keeps or text == edit.text:
        return None
    raise Malformed(1, "there is a file of that name that is not Tallygate's; move it away")
