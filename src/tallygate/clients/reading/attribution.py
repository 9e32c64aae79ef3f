"""What readers of all clients share to tell whom a response was made for."""

from __future__ import annotations

import json
from pathlib import Path

from tallygate.clients.reading import lines
from tallygate.core.attribution import Served, label, together, tool_of
from tallygate.core.regex import regex
from tallygate.core.text import cleaned
from tallygate.files import start_of

# So many agents of one file are at work side by side, and so many are remembered by what started them.
_TURNS = 64
_NAMES = 256
_BRANCH_MAX = 256
_NOTE_BYTES = 64 * 1024
# What clients write for a checkout of no branch.
_NO_BRANCH = frozenset({"HEAD", "(detached)"})
# As clients write a server's name into that of its tools.
_PLAIN = regex(r"[^A-Za-z0-9_-]")


def tools_kept(stored: object) -> tuple[Served, ...]:
    """Tools as they stand in a reader's state; what is not understood is none."""
    found = [
        tool_of(item[0], item[1])
        for item in (stored if isinstance(stored, list) else [])
        if isinstance(item, list) and len(item) == 2 and isinstance(item[1], str)
    ]
    return together([each for each in found if each is not None])


class Turn:
    """One response among those of its agent: the tools it calls, and those whose results it reads."""

    __slots__ = ("called", "key", "read")

    def __init__(self, key: str, called: tuple[Served, ...] = (), read: tuple[Served, ...] = ()) -> None:
        self.key = key
        self.called = called
        self.read = read

    def calls(self, tool: Served | None) -> None:
        """Take a tool that the response calls."""
        if not self.called:
            self.called = () if tool is None else (tool,)
        elif tool is not None and tool not in self.called:
            self.called = together(self.called, (tool,))

    def reads(self, tool: Served | None) -> None:
        """Take a tool whose result the response reads."""
        if tool is not None:
            self.read = together(self.read, (tool,))

    @property
    def served(self) -> tuple[Served, ...]:
        """All of them together."""
        called, read = self.called, self.read
        # Mostly one of them is empty, or both are of the same tool.
        if not called or called == read:
            return read
        return together(called, read) if read else called


class Turns:
    """The last response of each agent of a file: the one behind it reads the results of what it called.

    No record between two responses is looked at for it, since results are long and the order says the same.
    """

    def __init__(self, stored: object = None) -> None:
        self._last: dict[tuple[str, bool], Turn] = {}
        for item in stored if isinstance(stored, list) else []:
            if isinstance(item, list) and len(item) == 5 and isinstance(item[2], str):
                agent, aside, key, called, read = item
                self._last[str(agent), bool(aside)] = Turn(key, tools_kept(called), tools_kept(read))

    def __bool__(self) -> bool:
        return any(turn.served for turn in self._last.values())

    def at(self, whose: tuple[object, bool], key: str) -> Turn:
        """The response of this key, which comes after the last one of its agent unless it is that one."""
        agent = whose[0]
        named = (agent if type(agent) is str else "", whose[1])
        known = self._last
        # Put back last, so that agents that have been silent for long are the first to be forgotten.
        last = known.pop(named, None)
        if last is not None and last.key == key:
            known[named] = last
            return last
        turn = known[named] = Turn(key, (), () if last is None else last.called)
        if len(known) > _TURNS:
            del known[next(iter(known))]
        return turn

    def last(self, agent: object) -> Turn:
        """The last response of an agent; where none is known, one that only its calls are known of."""
        named = (agent if type(agent) is str else "", False)
        return self._last.get(named) or self.at(named, "")

    def as_state(self) -> list[list[object]]:
        """Everything known, as JSON values."""
        return [
            [agent, aside, turn.key, [list(each) for each in turn.called], [list(each) for each in turn.read]]
            for (agent, aside), turn in self._last.items()
        ]


class Names:
    """Names by ids of one file, the last ones that were given."""

    def __init__(self, stored: object = None) -> None:
        self._known: dict[str, str] = {}
        for item in stored if isinstance(stored, list) else []:
            if isinstance(item, list) and len(item) == 2:
                self.put(*item)

    def __bool__(self) -> bool:
        return bool(self._known)

    def put(self, key: object, value: object) -> None:
        """Take a name; what is none is left."""
        known, name = lines.name(key), label(value)
        if known is not None and name is not None:
            self._known.pop(known, None)
            self._known[known] = name
            if len(self._known) > _NAMES:
                del self._known[next(iter(self._known))]

    def of(self, key: object) -> str | None:
        """The name that an id was given."""
        return self._known.get(key) if type(key) is str else None

    def hand_on(self, key: object, other: object) -> None:
        """Give the name of one id to another one, which has none yet."""
        if self.of(other) is None:
            self.put(other, self.of(key))

    def as_state(self) -> list[list[str]]:
        """Everything known, as JSON values."""
        return [list(item) for item in self._known.items()]


def mcp_tool(server: object, tool: object) -> Served | None:
    """A tool of a server whose own names are told, as they stand in the names of tools."""
    if type(server) is not str or type(tool) is not str:
        return None
    return tool_of(_PLAIN.sub("_", server), _PLAIN.sub("_", tool))


def branch(value: object) -> str | None:
    """A git branch as it is written; None where it is none, or the checkout is of no branch."""
    if type(value) is not str or value in _NO_BRANCH:
        return None
    return cleaned(value, _BRANCH_MAX) or None


def noted(path: Path, key: str) -> str | None:
    """What a small file of JSON says under a key; None where it says nothing, or is none."""
    try:
        found = json.loads(start_of(path, _NOTE_BYTES) or b"")
    except (ValueError, RecursionError):
        return None
    return label(found.get(key)) if isinstance(found, dict) else None
