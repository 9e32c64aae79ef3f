"""What one file is to hold, by its kind, and what in a user's file is ours: described, without touching anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tallygate.core.regex import regex
from tallygate.core.values import value


@value(frozen=True, slots=True)
class Member:
    """A member of a JSON object. With `yields` one that the user has set stays, and `why` tells the user so."""

    path: tuple[str, ...]
    value: Any
    yields: Callable[[Any], bool] | None = None
    why: str = ""


@value(frozen=True, slots=True)
class Hook:
    """A hook in a list of a JSON object, alone (`flat`) or in a group with a matcher."""

    path: tuple[str, ...]
    entry: Mapping[str, Any]
    matcher: str | None = None
    flat: bool = False

    @property
    def item(self) -> dict[str, Any]:
        """What stands in the list."""
        if self.flat:
            return dict(self.entry)
        return {**({} if self.matcher is None else {"matcher": self.matcher}), "hooks": [dict(self.entry)]}


@value(frozen=True, slots=True)
class Table:
    """A table of a TOML file."""

    path: tuple[str, ...]
    values: Mapping[str, Any]


@value(frozen=True, slots=True)
class Block:
    """Text between markers; `front` comes before it in a file that is made for it."""

    text: str
    front: str = ""


@value(frozen=True, slots=True)
class Whole:
    """A file of our own. One that is there already and not ours stays: with `keeps` silently."""

    text: str
    keeps: bool = False


Edit = Member | Hook | Table | Block | Whole


@value(frozen=True, slots=True)
class FileEdits:
    """What one file is to hold; all edits of a file are of one kind. A new file is the user's alone unless `shared`."""

    path: Path
    edits: tuple[Edit, ...]
    shared: bool = False


# --- ours ------------------------------------------------------------------------------------------------------------
# What is ours in a user's file: the names and marks that our entries carry, of whatever version.


SERVER = "tallygate"
HOOK_TOOL = "tallygate_hook"
BEGIN, END = "<!-- tallygate:begin -->", "<!-- tallygate:end -->"
TOKEN_HEADER = "x-tallygate-token"  # the name of a header
PLUGIN_MARK = "tallygate"
SERVERS = (SERVER, f"plugin:{SERVER}:{SERVER}")
_OUR_COMMAND = regex(
    r"tallygate[\\/](?:entrypoints[\\/])?hook\.py\b.*--client |\btallygate-hook\b|-m tallygate statusline\b"
    r"|tallygate[\\/]__main__\.py[\"']? statusline --places "
)


def is_ours(entry: Any) -> bool:
    """Whether a hook or status line is one of ours, of whatever version."""
    if not isinstance(entry, Mapping):
        return False
    if entry.get("type") == "mcp_tool" and entry.get("server") in SERVERS and entry.get("tool") == HOOK_TOOL:
        return True
    return any(isinstance(value, str) and _OUR_COMMAND.search(value) for value in entry.values())


def belongs_to_us(path: tuple[str, ...], root: Any) -> bool:
    """Whether a member where one of ours belongs is ours: the user may have put another in its place."""
    value = root
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        return False
    if path[0] == "env":
        return has_our_telemetry(root["env"])
    # Everything else that we put stands under a name of ours; a status line has one place, whoever fills it.
    return is_ours(value) if path == ("statusLine",) else True


def has_our_telemetry(variables: Any) -> bool:
    """Whether variables send telemetry to a receiver of ours."""
    headers = variables.get("OTEL_EXPORTER_OTLP_LOGS_HEADERS") if isinstance(variables, Mapping) else None
    return isinstance(headers, str) and headers.startswith(f"{TOKEN_HEADER}=")
