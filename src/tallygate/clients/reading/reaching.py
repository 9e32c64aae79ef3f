"""What a tool is about to be given, by the names that clients have for it: looked at, and never kept."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from tallygate.core.guard.fence import COMMAND_CHARS_MAX, Edit, Reach
from tallygate.core.regex import regex

LONGEST_INPUT = 8 * 1024 * 1024
MOST_EDITS = 1000
# Tools that run commands and tools that write files, in the words of all clients and of servers for files.
_RUNNERS = frozenset(
    {"bash", "shell", "local_shell", "exec_command", "run_shell_command", "powershell", "monitor", "run_command"}
)
_WRITERS = frozenset({"write", "write_file", "create", "create_file", "write_to_file"})
_EDITORS = frozenset(
    {"edit", "multiedit", "notebookedit", "replace", "edit_file", "str_replace", "str_replace_editor", "insert"}
)
_COMMANDS = ("command", "cmd", "input", "patch", "patchText")
# What servers of others call a command or a program that they run, whatever they call the tool.
_SHELL_WORDS = ("command", "cmd")
_CODE_WORDS = ("script", "code")
# Tools of servers for files that take one away, and what a shell would say for it.
_MOVERS: Mapping[str, str] = {
    "delete_file": "rm", "remove_file": "rm", "delete": "rm", "remove": "rm", "delete_directory": "rm",
    "move_file": "mv", "rename_file": "mv", "move": "mv", "rename": "mv",
}  # fmt: skip
_SOURCES = ("source", "from", "old_path", "oldPath")
_TARGETS = ("destination", "to", "new_path", "newPath")
_FOLDERS = ("workdir", "cwd", "directory", "dir_path")
_PATHS = ("file_path", "filePath", "path", "absolute_path", "notebook_path")
_NAMES = (_PATHS, _SOURCES, _TARGETS)
# Names under which tools are given what they look at, and what a path of ours has in it.
_LOOKERS = (("uri",), ("url",), ("pattern",), ("glob",))
_OURS = regex(r"tallygate|open-")
_TEXTS = ("content", "file_text", "contents")
_SWAPS = (("old_string", "new_string"), ("oldString", "newString"), ("old_str", "new_str"), ("oldText", "newText"))
_EVERYWHERE = ("replace_all", "replaceAll", "allow_multiple")
_PATCHED = regex(r"^\*\*\* (Add|Update|Delete) File: (.+?)[ \t]*$|^\*\*\* Move to: (.+?)[ \t]*$", re.MULTILINE)


def given_to(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a tool is given; nothing where that is damaged."""
    given = next((raw[name] for name in ("tool_input", "toolArgs", "args") if name in raw), None)
    if isinstance(given, str) and len(given) <= LONGEST_INPUT:
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return {}
    return given if isinstance(given, Mapping) else {}


def reach_of(raw: Mapping[str, Any], tool: str | None) -> Reach | None:
    """The command or the edits of a tool. Damaged input is none: a tool that cannot be judged is left to its client."""
    given = given_to(raw)
    if not given or tool is None:
        return None
    # Tools of other servers are named mcp__SERVER__TOOL.
    kind = tool.lower().rpartition("__")[2]
    if "patch" in kind:
        return Reach(edits=tuple(_patched(_words(given, _COMMANDS))))
    folder = _text(given, _FOLDERS) or None
    if kind in _RUNNERS:
        return Reach(_words(given, _COMMANDS)[:COMMAND_CHARS_MAX], folder=folder)
    if kind in _MOVERS and (names := [found for keys in _NAMES if (found := _text(given, keys))]):
        return Reach(shlex.join([_MOVERS[kind], *names]))  # what it takes away, in the words of a shell
    if kind not in _WRITERS | _EDITORS:
        for words in (_SHELL_WORDS, _CODE_WORDS):  # what a tool that nobody knows is given to run
            if command := _words(given, words):
                return Reach(command[:COMMAND_CHARS_MAX], folder=folder, code=words is _CODE_WORDS)
        return _looked_at(given)
    if given.get("command") == "view":
        return _looked_at(given)
    text, swaps = (
        (_text(given, _TEXTS), ()) if kind in _WRITERS or given.get("command") == "create" else (None, _swaps(given))
    )
    return Reach(edits=tuple(Edit(path, text, swaps) for key in _PATHS if (path := _text(given, (key,)))))


def _looked_at(given: Mapping[str, Any]) -> Reach | None:
    """The files that a tool reads; of most nothing of ours can be meant, and nobody looks any further."""
    listed = given.get("paths")
    more = [each for each in listed[:MOST_EDITS] if isinstance(each, str)] if isinstance(listed, list) else []
    names = [found for keys in (*((key,) for key in _PATHS), *_LOOKERS) if (found := _text(given, keys))]
    meant = tuple(name.removeprefix("file://") for name in (*names, *more) if _OURS.search(name))
    return Reach(reads=meant) if meant else None


def _text(given: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    found = [value for name in names if isinstance(value := given.get(name), str)]
    # A client that hands on a list of names leaves those empty that a tool does not have.
    return next(filter(None, found), found[0] if found else None)


def _words(given: Mapping[str, Any], names: tuple[str, ...]) -> str:
    command = next((given[name] for name in names if given.get(name)), "")
    if isinstance(command, str) and command.startswith('["'):
        try:
            command = json.loads(command)  # a list of words that a client hands on as text
        except (ValueError, RecursionError):
            return command
    if isinstance(command, list):
        command = shlex.join(word for word in command if isinstance(word, str))
    return command if isinstance(command, str) else ""


def _swaps(given: Mapping[str, Any]) -> tuple[tuple[str, str, bool], ...]:
    listed = given.get("edits")
    pieces = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else [given]
    everywhere = any(given.get(name) in (True, "true") for name in _EVERYWHERE)
    found = []
    for piece in pieces[:MOST_EDITS]:
        for old, new in _SWAPS:
            goes, comes = piece.get(old), piece.get(new)
            if isinstance(goes, str) and isinstance(comes, str):
                here = everywhere or any(piece.get(name) in (True, "true") for name in _EVERYWHERE)
                found.append((goes, comes, here))
    return tuple(found)


def _patched(patch: str) -> Iterator[Edit]:
    """The edits of a patch in the form that tools called apply_patch take it."""
    marks = list(_PATCHED.finditer(patch))
    for at, mark in enumerate(marks):
        body = patch[mark.end() : marks[at + 1].start() if at + 1 < len(marks) else len(patch)]
        lines = [each for each in body.removeprefix("\n").removesuffix("\n").split("\n") if not each.startswith("***")]
        if mark[1] == "Add":
            yield Edit(mark[2], "\n".join(line[1:] for line in lines if line.startswith("+")) + "\n")
        elif mark[1] == "Delete":
            yield Edit(mark[2], "")
        elif mark[1] == "Update":
            # A file that is moved has no text at its old place any more, whatever its hunks say.
            moved = at + 1 < len(marks) and marks[at + 1][3] is not None
            yield Edit(mark[2], "") if moved else Edit(mark[2], swaps=tuple(_hunks(lines)))
        else:
            yield Edit(mark[3])


def _hunks(lines: list[str]) -> Iterator[tuple[str, str, bool]]:
    goes: list[str] = []
    comes: list[str] = []
    for line in [*lines, "@@"]:
        if line.startswith("@@"):
            if goes or comes:
                yield "\n".join(goes), "\n".join(comes), False
            goes, comes = [], []
        else:
            goes += [line[1:]] if not line.startswith("+") else []
            comes += [line[1:]] if not line.startswith("-") else []
