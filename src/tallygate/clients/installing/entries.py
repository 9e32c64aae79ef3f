"""The entries themselves: the server's command, hooks, the rule; and how to tell that one is ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tallygate.clients.installing.wanted import Block, Surroundings, Whole

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
_UNSAFE = re.compile(r'["$`\\!\x00-\x1f]')
CURSOR_FRONT = "---\ndescription: How to work within the budget that Tallygate keeps\nalwaysApply: true\n---\n\n"
VSCODE_FRONT = '---\napplyTo: "**"\n---\n\n'
WINDSURF_FRONT = "---\ntrigger: always_on\n---\n\n"
STARTING_ZONE = """\
# When your days begin: dates are shown, and budgets renew, by this zone.
time_zone = "{zone}"
"""
STARTING_BUDGET = """\
# What agents may spend: a limit for each session. `tallygate budget raise` raises that of a running one.

[[budget]]
scope = "session"
limit_usd = 5.00
"""


def program(where: Surroundings) -> list[str]:
    """The program as installed commands start it: apart from what a project or a user's Python would put into it.

    Where such an interpreter would not find it by its name, it is started by its place.
    """
    return [where.python, "-I", *([str(where.main)] if where.main else ["-m", "tallygate"])]


def server_arguments(where: Surroundings) -> list[str]:
    """What follows the interpreter in the server's command."""
    return [*program(where)[1:], "serve", "--places", where.places]


def server_command(where: Surroundings) -> dict[str, Any]:
    """The server as most clients start it."""
    return {"command": where.python, "args": server_arguments(where)}


def hook_command(where: Surroundings, client: str, event: str, *, stops: bool = False) -> str:
    """The command line of a hook, quoted for the shell that clients hand it to.

    `stops` is for a client that takes a program which is gone for no objection: the shell then says what stops it.
    """
    words = f"{_quoted(where, where.python)} -I -S {_quoted(where, where.hook)}"
    end = " || exit 2" if stops and where.platform != "win32" else ""
    return f"{words} --client {client} --event {event} --places {_quoted(where, where.places)}{end}"


def hook_arguments(where: Surroundings, client: str) -> list[str]:
    """A hook's command as a list, to which the event is added."""
    return [where.python, "-I", "-S", where.hook, "--places", where.places, "--client", client]


def status_command(where: Surroundings) -> str:
    """The command line of the status line."""
    words = " ".join(word if word in ("-I", "-m", "tallygate") else _quoted(where, word) for word in program(where))
    return f"{words} statusline --places {_quoted(where, where.places)}"


def application_data(where: Surroundings) -> Path:
    """Where a system's applications keep their settings."""
    if where.platform == "win32":
        return where.folder("APPDATA", "AppData", "Roaming")
    if where.platform == "darwin":
        return where.home / "Library" / "Application Support"
    return where.folder("XDG_CONFIG_HOME", ".config")


def _quoted(where: Surroundings, path: str) -> str:
    if where.platform != "win32" and _UNSAFE.search(path):
        return shlex.quote(path)
    return f'"{path}"'


def tool_hook(client: str, event: str, fields: tuple[str, ...], server: str = SERVER) -> dict[str, Any]:
    """A hook that calls the running server; the client fills the fields in."""
    given = {"client": client, "event": event, **{name: f"${{{name}}}" for name in fields}}
    return {"type": "mcp_tool", "server": server, "tool": HOOK_TOOL, "input": given}


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


@cache
def rule_text() -> str:
    """The short rule for agents."""
    return files("tallygate.clients").joinpath("rule.md").read_text(encoding="utf-8").strip() + "\n"


def rule_block(front: str = "") -> Block:
    """The rule between its markers."""
    return Block(f"{BEGIN}\n{rule_text()}{END}\n", front)


def opencode_plugin(command: list[str], *, faults_pass: bool) -> Whole:
    """The plugin for opencode, with the command it runs, and whether it lets pass what nobody can answer."""
    import json

    text = files("tallygate.clients.opencode").joinpath("plugin.js").read_text(encoding="utf-8")
    words = {"@COMMAND@": json.dumps(command), "@LETS_FAULTS_PASS@": json.dumps(faults_pass)}
    for mark, value in words.items():
        text = text.replace(mark, value)
    return Whole(text)
