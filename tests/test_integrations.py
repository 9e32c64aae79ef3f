"""The packages for clients hold what `tallygate init` would install."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
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
        timeout=300,
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


def test_the_registry_s_entry_holds_its_schema_and_is_the_readme_s_server():
    entry = json.loads((FOLDER / "registry" / "server.json").read_text(encoding="utf-8"))
    file = Path(__file__).parent / "schemas" / "server-2025-12-11.schema.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    assert schema["$id"] == entry["$schema"]
    jsonschema.Draft7Validator(schema).validate(entry)
    assert len(entry["description"]) <= 100
    assert entry["name"].count("/") == 1
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"mcp-name: (\S+)", readme) == [entry["name"]]
    assert {entry["version"], *(package["version"] for package in entry["packages"])} == {__version__}


def test_what_is_not_published_is_not_told_to_be_installed_from_there():
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(?:uv tool install|uvx|pipx install|pip install) (\S+)", readme, re.MULTILINE)
    assert set(commands) == {"."}


def test_a_bundle_has_the_source_the_manifest_and_nothing_of_a_checkout(tmp_path):
    pack = [sys.executable, str(FOLDER / "bundle.py"), str(tmp_path / "bundle")]
    assert subprocess.run(pack, check=False).returncode == 0
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["version"], manifest["server"]["type"]) == (__version__, "uv")
    assert (tmp_path / "bundle" / manifest["server"]["entry_point"]).is_file()
    assert {path.name for path in (tmp_path / "bundle").iterdir()} == {
        "CHANGELOG.md", "LICENSE", "README.md", "manifest.json", "pyproject.toml", "src",
    }  # fmt: skip
    assert not list((tmp_path / "bundle").rglob("__pycache__"))
    assert subprocess.run(pack, check=False, capture_output=True).returncode == 2, "a folder with something in it"
