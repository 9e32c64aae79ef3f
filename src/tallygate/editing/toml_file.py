"""Tables of ours in a TOML file: put there, brought up to date, and taken out again."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tallygate.editing.edits import Table
from tallygate.editing.json_text import Malformed

if TYPE_CHECKING:
    from tomlkit import TOMLDocument


Path = tuple[str, ...]


@dataclass(slots=True)
class TomlTrace:
    """What was done to a file: the text that was put in for a table, or the keys of one that was there before."""

    inserted: dict[Path, str] = field(default_factory=dict)
    before: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "inserted": [[list(path), text] for path, text in self.inserted.items()],
            "before": [[list(path), values] for path, values in self.before.items()],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TomlTrace:
        return cls(
            inserted={tuple(path): text for path, text in stored.get("inserted", ())},
            before={tuple(path): values for path, values in stored.get("before", ())},
        )


def apply(text: str, edits: Sequence[Table], trace: TomlTrace) -> tuple[str, list[str]]:
    """Bring a file up to date; a table that is right stays as it is."""
    for edit in edits:
        existing = _at(_values(text), edit.path)
        if existing is None:
            text = _insert(text, edit, trace)
        elif not isinstance(existing, dict):
            raise Malformed(_line(text, edit.path), f"{'.'.join(edit.path)} is no table")
        elif any(existing.get(key) != value for key, value in edit.values.items()):
            text = _update(text, edit, existing, trace)
    return text, []


def strip(text: str, edits: Iterable[Table], trace: TomlTrace) -> str:
    """Take out what is ours and nothing else."""
    paths = [*trace.inserted, *trace.before]
    paths += [edit.path for edit in edits if edit.path not in paths]
    for path in paths:
        inserted = trace.inserted.pop(path, "")
        before = trace.before.pop(path, None)
        if inserted and text.count(inserted) == 1:
            cut = text.replace(inserted, "")
            if _at(_values(cut), path) is None:
                text = cut
                continue
        existing = _at(_values(text), path)
        if not isinstance(existing, dict):
            continue
        if before is None:
            text = _without(text, path)
        else:
            document = _document(text)
            text = _after_update(document, _at(document, path), before, text)
    return text


def _values(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).partition(" (at ")
        digits = "".join(each for each in place.partition(",")[0] if each.isdigit())
        raise Malformed(int(digits) if digits else text.count("\n") + 1, f"not valid TOML: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise Malformed(1, "a number or a nesting in the file is too large to read") from error


def _document(text: str) -> TOMLDocument:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        same = tomlkit.dumps(document) == text
    except (TOMLKitError, ValueError, RecursionError) as error:
        raise Malformed(1, f"the file cannot be edited: {error}") from error
    if not same:
        raise Malformed(1, "the file cannot be edited without changing more than was asked")
    return document


def _at(values: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(values, Mapping):
            return None
        values = values.get(key)
    return values


def _line(text: str, path: Path) -> int:
    """The line that most likely holds a key."""
    return next((number for number, line in enumerate(text.splitlines(), 1) if path[0] in line), 1)


def _insert(text: str, edit: Table, trace: TomlTrace) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError
    from tomlkit.items import InlineTable

    document = _document(text)
    parent: Any = document
    try:
        for key in edit.path[:-1]:
            parent = parent.setdefault(key, tomlkit.table(is_super_table=True))
        if isinstance(parent, InlineTable):
            name = ".".join(edit.path[:-1])
            raise Malformed(_line(text, edit.path), f"{name} stands on one line; write it as [{name}.NAME] tables")
        table = tomlkit.table()
        table.update(edit.values)
        parent[edit.path[-1]] = table
        made = tomlkit.dumps(document)
    except (TOMLKitError, TypeError, ValueError, AttributeError) as error:
        raise Malformed(_line(text, edit.path), f"{'.'.join(edit.path)} cannot be added: {error}") from error
    # The one piece by which the two differ is what was inserted; it is given the newlines of the old text.
    start = next((i for i, (a, b) in enumerate(zip(text, made, strict=False)) if a != b), min(len(text), len(made)))
    inserted = made[start : start + len(made) - len(text)]
    if text[:start] + inserted + text[start:] != made:
        raise Malformed(1, "the file cannot be edited without changing more than was asked")
    if "\r\n" in text:
        inserted = inserted.replace("\r\n", "\n").replace("\n", "\r\n")
    trace.inserted[edit.path] = inserted
    return _checked(text, text[:start] + inserted + text[start:], edit)


def _update(text: str, edit: Table, existing: Mapping[str, Any], trace: TomlTrace) -> str:
    document = _document(text)
    table: MutableMapping[str, Any] = _at(document, edit.path)
    changed = {key: value for key, value in edit.values.items() if existing.get(key) != value}
    inserted = trace.inserted.get(edit.path, "")
    if inserted and text.count(inserted) == 1:
        # What we put in and nobody touched is known to the letter; the new text takes its place in what is remembered.
        place = text.index(inserted)
        new = _after_update(document, table, changed, text)
        trace.inserted[edit.path] = new[place : len(new) - len(text) + place + len(inserted)]
        return _checked(text, new, edit)
    if edit.path not in trace.inserted:
        # The user's own values, kept once: a second edit must not take ours for theirs.
        known = trace.before.setdefault(edit.path, {})
        for key in changed:
            known.setdefault(key, copy.deepcopy(existing.get(key)))
    return _checked(text, _after_update(document, table, changed, text), edit)


def _after_update(document: TOMLDocument, table: MutableMapping[str, Any], values: Mapping[str, Any], text: str) -> str:
    import tomlkit

    for key, value in values.items():
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
    new = tomlkit.dumps(document)
    return (
        new.replace("\r\n", "\n").replace("\n", "\r\n")
        if "\r\n" in text and "\n" not in text.replace("\r\n", "")
        else new
    )


def _without(text: str, path: Path) -> str:
    import tomlkit

    document = _document(text)
    del _at(document, path[:-1])[path[-1]]
    # Tables above that existed only to hold ours go with it.
    for depth in range(len(path) - 1, 0, -1):
        parent = _at(document, path[:depth])
        if isinstance(parent, Mapping) and not parent and getattr(parent, "is_super_table", bool)():
            del _at(document, path[: depth - 1])[path[depth - 1]]
    new = tomlkit.dumps(document)
    values = _values(text)
    del _at(values, path[:-1])[path[-1]]
    left = _values(new)
    # An empty table that is left and one that is gone say the same.
    for each in (values, left):
        if not each.get(path[0], True):
            del each[path[0]]
    # Editing a text is guesswork until a parser says that exactly one table is gone.
    if values != left:
        raise Malformed(
            _line(text, path), f"{'.'.join(path)} cannot be taken out without changing more; delete it by hand"
        )
    return new


def _checked(old: str, new: str, edit: Table) -> str:
    """The new text, if it says what the old one said and the table besides."""
    wanted = _values(old)
    parent = wanted
    for key in edit.path[:-1]:
        parent = parent.setdefault(key, {})
    parent[edit.path[-1]] = {**parent.get(edit.path[-1], {}), **edit.values}
    # The editor is not believed: the file must say what it said before and the table, by another parser.
    if _values(new) != wanted:
        raise Malformed(_line(old, edit.path), f"{'.'.join(edit.path)} cannot be set without changing more than that")
    return new
