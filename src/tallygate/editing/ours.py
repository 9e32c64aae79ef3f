"""What is ours in a user's file: the names and marks that our entries carry, of whatever version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SERVER = "tallygate"
HOOK_TOOL = "tallygate_hook"
BEGIN, END = "<!-- tallygate:begin -->", "<!-- tallygate:end -->"
TOKEN_HEADER = "x-tallygate-token"  # the name of a header
PLUGIN_MARK = "tallygate"
SERVERS = (SERVER, f"plugin:{SERVER}:{SERVER}")
_OUR_COMMAND = re.compile(
    r"tallygate[\\/]entrypoints[\\/]hook\.py\b.*--client |\btallygate-hook\b|-m tallygate statusline\b"
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
    return is_ours(value) if path == ("statusLine",) else True


def has_our_telemetry(variables: Any) -> bool:
    """Whether variables send telemetry to a receiver of ours."""
    headers = variables.get("OTEL_EXPORTER_OTLP_LOGS_HEADERS") if isinstance(variables, Mapping) else None
    return isinstance(headers, str) and headers.startswith(f"{TOKEN_HEADER}=")
