"""What the bytes of a file become when edits are put in or taken out, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tallygate.core.errors import InvalidArgument
from tallygate.editing import json_file, text_file, toml_file
from tallygate.editing.edits import Block, Edit, Hook, Member, Table, Whole
from tallygate.editing.json_text import Malformed

_MARK = "\ufeff"
State = Mapping[str, Any]


def kind_of(edits: Iterable[Edit]) -> str:
    """The kind of file that takes these edits."""
    kinds = {"json" if isinstance(edit, Member | Hook) else type(edit).__name__.lower() for edit in edits}
    (kind,) = kinds
    return kind


def put_in(
    path: Path, content: bytes | None, edits: Sequence[Edit], state: State
) -> tuple[bytes | None, dict[str, Any], list[str]]:
    """A file with the edits in it, what has to be known to take them out again, and what to tell the user.

    Raises `InvalidArgument` with file and line where the file is not what its name says.
    """
    mark, text = _text(path, content)
    try:
        match kind_of(edits):
            case "json":
                trace = json_file.JsonTrace.from_json(state)
                new, notes = json_file.apply(text, cast("Sequence[Member | Hook]", edits), trace)
                after: dict[str, Any] = trace.as_json()
            case "table":
                tables = toml_file.TomlTrace.from_json(state)
                new, notes = toml_file.apply(text, cast("Sequence[Table]", edits), tables)
                after = tables.as_json()
            case "block":
                block = text_file.TextTrace.from_json(state)
                new, notes = text_file.apply(text, cast("Sequence[Block]", edits), block)
                after = block.as_json()
            case _:
                (edit,) = cast("Sequence[Whole]", edits)
                made = text_file.whole(None if content is None else text, edit)
                new, notes, after = (text if made is None else made), [], {}
    except Malformed as error:
        raise malformed(path, error) from error
    # No file was there, and none is needed: an empty one is not made.
    if content is None and not new:
        return None, after, notes
    return (content if new == text and content is not None else _bytes(path, mark + new)), after, notes


def take_out(path: Path, kind: str, content: bytes, edits: Iterable[Edit], state: State) -> bytes:
    """A file without what is ours; empty where nothing else was in it."""
    mark, text = _text(path, content)
    listed = list(edits)
    try:
        match kind:
            case "json":
                members = [edit for edit in listed if isinstance(edit, Member | Hook)]
                trace = json_file.JsonTrace.from_json(state)
                new = json_file.strip(text, members, trace)
            case "table":
                tables = [edit for edit in listed if isinstance(edit, Table)]
                new = toml_file.strip(text, tables, toml_file.TomlTrace.from_json(state))
            case "block":
                new = text_file.strip(text, text_file.TextTrace.from_json(state))
            case _:
                new = "" if text_file.is_whole_ours(text) else text
    except Malformed as error:
        raise malformed(path, error) from error
    if new == text:
        return content
    return _bytes(path, mark + new)


def as_text(path: Path, content: bytes | None) -> str:
    """A file's text, for showing."""
    return "" if content is None else _text(path, content)[1]


def malformed(path: Path, error: Malformed) -> InvalidArgument:
    """The error for a file that cannot be read."""
    return InvalidArgument(
        "client", f"{path}:{error.line}: {error.why}; nothing was changed.", hint="Put that right and run it again."
    )


def _text(path: Path, content: bytes | None) -> tuple[str, str]:
    if content is None:
        return "", ""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise malformed(path, Malformed(line, "the file is not UTF-8 text")) from error
    return (_MARK, text[1:]) if text.startswith(_MARK) else ("", text)


def _bytes(path: Path, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            "client",
            f"{path}: the name of this Python's folder is not UTF-8 text; nothing was changed.",
            hint="Install Tallygate in a folder whose name is.",
        ) from error
