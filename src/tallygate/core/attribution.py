"""Whom a response was made for: which tools, of which servers; and how its cost is shared out among them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from tallygate.core.regex import regex
from tallygate.core.text import cleaned

NAME_MAX = 128
# A response that serves more is one of a client gone wrong: each server keeps a place before any other tool has
# one, and those that find none share one that every server's budget counts.
SERVED_MAX = 16
_MCP = "mcp__"
_APART = "__"
# What clients write as `_` in the names of tools; a pattern's own signs may be meant as such, or not.
_SIGNS = (regex(r"[^A-Za-z0-9_*?\[\]-]"), regex(r"[^A-Za-z0-9_-]"), regex(r"[^A-Za-z0-9_]"))
_WIDE = regex("[\U00010000-\U0010ffff]")
_ACCOUNTS = "claude.ai "


class Served(NamedTuple):
    """A tool that a response served, and the MCP server it is of: none for a tool of the client's own."""

    server: str | None
    tool: str


class MadeFor(NamedTuple):
    """Whom a step is taken for, as far as that is known before it: kinds of agents, skills, servers.

    `agent_id` is the subagent that takes it and `kind` of which kind that is; the main agent has neither.
    """

    agents: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    agent_id: str | None = None
    kind: str | None = None


NOBODY = MadeFor()
# Stands for the servers that found no place of their own; no server's name has such a sign in that of its tools.
OTHERS = Served("*", "*")


def _order(served: Served) -> tuple[str, str]:
    return (served.server or "", served.tool)


def label(value: object) -> str | None:
    """A name of an agent, a skill, a server or a tool that is safe to store and print, or nothing."""
    return (cleaned(value, NAME_MAX) or None) if type(value) is str else None


@lru_cache(maxsize=2048)
def served_by(tool: str) -> Served | None:
    """The tool that a client's name for it means, where that is `mcp__server__tool` or a name of the client's own.

    >>> served_by("mcp__github__create_issue"), served_by("Bash")
    (Served(server='github', tool='create_issue'), Served(server=None, tool='Bash'))
    """
    if tool.startswith(_MCP):
        rest = tool.removeprefix(_MCP)
        cut = rest.find(_APART, 1)  # a server's name may begin with both signs, and is never nothing
        if cut > 0 and (named := tool_of(rest[:cut], rest[cut + 2 :])) is not None:
            return named
    return tool_of(None, tool)


@lru_cache(maxsize=2048)
def servers_meant(served: Served | None) -> tuple[str, ...]:
    """The servers that a tool may be of, the one first that it is told under.

    `mcp__a__b__c` is a tool of a server `a`, or one of a server `a__b`: a budget of either one binds it.

    >>> servers_meant(Served("a", "b__c")), servers_meant(Served(None, "Bash"))
    (('a', 'a__b'), ())
    """
    if served is None or served.server is None:
        return ()
    whole = f"{served.server}{_APART}{served.tool}"
    return tuple(whole[:cut] for cut in range(len(served.server), len(whole) - 2) if whole.startswith(_APART, cut))


def server_among(served: Served, known: Iterable[str]) -> Served:
    """A tool under the server that it is of among those that are known by name; as it is told where that is none.

    >>> server_among(Served("my", "srv__ask"), ["my__srv"]), server_among(Served("my", "srv__ask"), ["my", "other"])
    (Served(server='my__srv', tool='ask'), Served(server='my', tool='srv__ask'))
    """
    meant = [name for name in servers_meant(served) if any(is_named(name, each) for each in known)]
    if not meant or served.server is None or meant[-1] == served.server:
        return served
    # The longest one: a server of the shorter name beside it would have a tool that begins with the rest.
    server = meant[-1]
    return Served(server, f"{served.server}{_APART}{served.tool}"[len(server) + len(_APART) :])


def tool_of(server: str | None, tool: str) -> Served | None:
    """A tool of a server, by names as they are written; None where the tool has none."""
    name = label(tool)
    return None if name is None else Served(label(server), name)


def together(*served: Iterable[Served]) -> tuple[Served, ...]:
    """All tools that a response served, each once, in their order.

    Where they are too many the client's own go first, and then what is not its server's only one.
    """
    found = {each for some in served for each in some}
    if len(found) > SERVED_MAX:
        found = _fitting(found)
    return tuple(sorted(found, key=_order)) if found else ()


def _fitting(found: set[Served]) -> set[Served]:
    """So many of some tools as find a place, the same ones in whatever groups they came together."""
    tools = sorted(found, key=_order)
    firsts: dict[str, Served] = {}
    for each in tools:
        if each.server is not None:
            firsts.setdefault(each.server, each)
    if len(firsts) > SERVED_MAX or OTHERS in found:
        firsts.pop(str(OTHERS.server), None)
        kept = [OTHERS, *firsts.values()]
    else:
        kept = list(firsts.values())
    first = set(kept)
    kept += sorted((each for each in tools if each not in first), key=lambda each: each.server is None)
    return set(kept[:SERVED_MAX])


def shares(amount: int, served: Sequence[Served]) -> tuple[tuple[Served | None, int], ...]:
    """What of an amount each tool carries: equal parts that come to it exactly; the rest is that of none.

    What cannot be divided goes to the first ones in their order, one each, so that no unit is lost or made.

    >>> shares(10, [Served(None, "Bash"), Served("github", "search"), Served(None, "Read")])
    ((Served(server=None, tool='Bash'), 4), (Served(server=None, tool='Read'), 3), \
(Served(server='github', tool='search'), 3))
    >>> shares(10, [])
    ((None, 10),)
    """
    among = together(served)
    if not among:
        return ((None, amount),)
    each, left = divmod(amount, len(among))
    return tuple((one, each + (number < left)) for number, one in enumerate(among))


def is_named(name: str, pattern: str) -> bool:
    """Whether a pattern means a name of an agent, a skill or a server, whichever way they write letters.

    A server's name stands in the names of tools without signs: `my server` is `my_server` there.
    """
    written = _folded(name)
    return any(fnmatchcase(written, each) for each in _forms(pattern))


def _folded(text: str) -> str:
    """A name without a difference in how its letters are written: large or small, of one sign or of two."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


@lru_cache(maxsize=256)
def _forms(pattern: str) -> tuple[str, ...]:
    """A pattern as it is written, and as clients write what it means into the names of tools.

    Some keep the dash, some write a sign beyond the first 65,536 as two.
    """
    found = [pattern]
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, pattern)
        found += [signs.sub("_", each) for signs in _SIGNS for each in (text, _WIDE.sub("__", text))]
    if pattern.casefold().startswith(_ACCOUNTS):
        # Servers of the user's account are written without double ones.
        found += [re.sub("_+", "_", each).strip("_") for each in found[1:]]
    return tuple(dict.fromkeys(map(_folded, found)))


def is_of_server(served: Served, pattern: str) -> bool:
    """Whether a tool is one of a server that a pattern means, or may be."""
    if served.server is None:
        return False
    return served == OTHERS or any(is_named(each, pattern) for each in servers_meant(served))


def share_of_servers(amount: int, served: Sequence[Served], pattern: str) -> int:
    """What of an amount the tools of the servers carry together that a pattern means."""
    return sum(part for one, part in shares(amount, served) if one is not None and is_of_server(one, pattern))
