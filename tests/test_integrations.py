"""The packages for clients hold what `tallygate init` would install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tallygate import __version__
from tallygate.clients.client import rule_text

FOLDER = Path(__file__).resolve().parent.parent / "integrations"
RULES = (
    "claude-code-plugin/skills/budget/SKILL.md",
    "gemini-extension/GEMINI.md",
    "AGENTS.md",
    "cursor/tallygate.mdc",
)


def test_the_packages_are_what_the_program_would_write():
    done = subprocess.run(
        [sys.executable, str(FOLDER / "generate.py"), "--check"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", RULES)
def test_the_rule_has_one_text(name):
    assert rule_text() in (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["claude-code-plugin/.claude-plugin/plugin.json", "gemini-extension/gemini-extension.json"]
)
def test_a_package_has_the_program_s_version_and_its_server(name):
    manifest = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    assert manifest["version"] == __version__
    assert manifest["mcpServers"]["tallygate"]["command"] == "tallygate"


def test_hooks_of_the_plugin_call_the_server_by_the_name_it_has_there():
    hooks = json.loads((FOLDER / "claude-code-plugin" / "hooks" / "hooks.json").read_text(encoding="utf-8"))["hooks"]
    entries = [entry for groups in hooks.values() for group in groups for entry in group["hooks"]]
    assert {entry["server"] for entry in entries if entry["type"] == "mcp_tool"} == {"plugin:tallygate:tallygate"}
    assert all(entry["command"].startswith("tallygate-hook ") for entry in entries if entry["type"] == "command")
