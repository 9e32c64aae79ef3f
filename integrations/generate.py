"""Write the packages of this folder from what `tallygate init` installs: `python integrations/generate.py`."""  # noqa: INP001

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tallygate import __version__
from tallygate.clients.claude_code.client import COMMAND_HOOKS, TOOL_HOOKS, hook_entry
from tallygate.clients.client import rule_block, rule_text
from tallygate.clients.cursor.client import FRONT as CURSOR_FRONT
from tallygate.clients.gemini.client import EVENTS, matcher_of

FOLDER = Path(__file__).resolve().parent
PROJECT = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = PROJECT["urls"]["Repository"]
PLUGIN, EXTENSION, BUNDLE = "claude-code-plugin", "gemini-extension", "mcpb"
# The registry's name of what is at that address; the README says it too, by which the registry knows whose it is.
REGISTERED = "io.github." + "/".join(ADDRESS.split("/")[3:])
SHORT = "Stops AI coding agents at the amount you set, by what they really used. Local, no account."
ABOUT = "Spend gate and tally for AI agents: what is really spent is counted, and a spent budget stops the work."
# A package cannot know where Tallygate is installed: its programs are looked up.
SERVER = {"command": "tallygate", "args": ["serve"]}
SKILL = """\
---
name: budget
description: How to work within the budget that Tallygate keeps. Use when a tool or prompt is denied because of a \
budget, when little is left, or when the user asks what the work costs.
---

"""
COMMAND = """\
---
description: Show what was spent, what is left, and how to go on
allowed-tools: Bash(tallygate status:*), Bash(tallygate sessions list:*)
---

What Tallygate says:

!`tallygate status`

!`tallygate sessions list`

Tell the user in two or three sentences what this session has spent, what is left of which budget, and, where little or
nothing is left, that `tallygate budget raise` raises it. Do not run that command yourself.
"""


def main(arguments: list[str]) -> int:
    """Write every file, or with --check name those that are not what would be written."""
    stale = [name for name, text in packages().items() if read(FOLDER / name) != text]
    if arguments == ["--check"]:
        sys.stderr.writelines(f"stale: integrations/{name}; run: python integrations/generate.py\n" for name in stale)
        return 1 if stale else 0
    for name in stale:
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(packages()[name], encoding="utf-8", newline="\n")
        sys.stdout.write(f"wrote integrations/{name}\n")
    return 0


def packages() -> dict[str, str]:
    """Every file by its name below this folder."""
    return {
        f"{PLUGIN}/.claude-plugin/plugin.json": document(
            {
                "name": "tallygate",
                "version": __version__,
                "description": ABOUT,
                "author": {"name": "Tallygate"},
                "license": "MIT",
                "mcpServers": {"tallygate": {**SERVER, "alwaysLoad": True}},
            }
        ),
        f"{PLUGIN}/hooks/hooks.json": document({"description": ABOUT, "hooks": dict(claude_hooks())}),
        f"{PLUGIN}/skills/budget/SKILL.md": SKILL + rule_text(),
        f"{PLUGIN}/commands/budget.md": COMMAND,
        f"{EXTENSION}/gemini-extension.json": document(
            {
                "name": "tallygate",
                "version": __version__,
                "description": ABOUT,
                "contextFileName": "GEMINI.md",
                "mcpServers": {"tallygate": SERVER},
            }
        ),
        f"{EXTENSION}/GEMINI.md": rule_text(),
        f"{EXTENSION}/hooks/hooks.json": document({"hooks": dict(gemini_hooks())}),
        "registry/server.json": document(registry_entry()),
        f"{BUNDLE}/manifest.json": document(bundle_manifest()),
        "AGENTS.md": rule_block().text,
        "cursor/tallygate.mdc": CURSOR_FRONT + rule_block().text,
    }


def registry_entry() -> dict[str, Any]:
    """What the registry of MCP servers is told; schema 2025-12-11."""
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": REGISTERED,
        "title": "Tallygate",
        "description": SHORT,
        "repository": {"url": ADDRESS, "source": "github"},
        "version": __version__,
        "packages": [
            {
                "registryType": "pypi",
                "identifier": PROJECT["name"],
                "version": __version__,
                "runtimeHint": "uvx",
                "packageArguments": [{"type": "positional", "value": "serve"}],
                "transport": {"type": "stdio"},
            }
        ],
    }


def bundle_manifest() -> dict[str, Any]:
    """The manifest of a bundle for desktop clients, which fetch Python and libraries themselves; version 0.4."""
    return {
        "manifest_version": "0.4",
        "name": PROJECT["name"],
        "display_name": "Tallygate",
        "version": __version__,
        "description": SHORT,
        "author": {"name": "Tallygate"},
        "repository": {"type": "git", "url": ADDRESS},
        "license": PROJECT["license"],
        "keywords": PROJECT["keywords"],
        "server": {
            "type": "uv",
            "entry_point": "src/tallygate/__main__.py",
            "mcp_config": {"command": "uv", "args": ["run", "--directory", "${__dirname}", "tallygate", "serve"]},
        },
        "tools_generated": True,
        "prompts_generated": True,
        "compatibility": {"platforms": ["darwin", "linux"], "runtimes": {"python": PROJECT["requires-python"]}},
    }


def claude_hooks() -> list[tuple[str, list[dict[str, Any]]]]:
    """The hooks of Claude Code, with the name that it gives a plugin's server."""
    found = []
    for event in (*TOOL_HOOKS, *COMMAND_HOOKS):
        command = {"type": "command", "command": f"tallygate-hook --client claude_code --event {event}"}
        entry = hook_entry(event, command, hard=True, server="plugin:tallygate:tallygate")
        found.append((event, [{**({"matcher": "*"} if event == "PreToolUse" else {}), "hooks": [entry]}]))
    return found


def gemini_hooks() -> list[tuple[str, list[dict[str, Any]]]]:
    """The hooks of Gemini CLI."""
    found = []
    for event in EVENTS:
        command = f"tallygate-hook --client gemini --event {event}"
        entry = {"type": "command", "name": f"tallygate-{event}", "command": command}
        found.append((event, [{"matcher": matcher_of(event), "hooks": [entry]}]))
    return found


def document(value: Mapping[str, Any]) -> str:
    """A value as the text of a file."""
    return json.dumps(value, indent=2) + "\n"


def read(path: Path) -> str | None:
    """A file's text, if it is there."""
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
