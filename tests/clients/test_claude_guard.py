"""Which changes of Claude Code's settings would take the gate away."""

from __future__ import annotations

import json
import os

import pytest

from tallygate.clients.claude_code.client import stand_in, weakened

OURS = {"hooks": {"PreToolUse": [{"hooks": [{"type": "mcp_tool", "server": "tallygate", "tool": "tallygate_hook"}]}]}}
OTHERS = {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "say done"}]}]}}
PLUGIN = {"enabledPlugins": {"tallygate@somewhere": True}}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    "user, project, changed, weak",
    [
        (OURS, {"disableAllHooks": True}, "project", "disableAllHooks"),
        ({**OURS, "disableAllHooks": True}, None, "user", "disableAllHooks"),
        (OTHERS, None, "user", "no longer has"),
        ({}, OTHERS, "project", "no longer has"),
        (None, OTHERS, "project", "no longer has"),
        (OURS, {"disableAllHooks": False}, "project", None),
        (OURS, OTHERS, "project", None),
        ({}, OURS, "user", None),
        (PLUGIN, {"permissions": {}}, "project", None),
        (OURS, "{ half a file", "project", None),
        (OURS, "[]", "project", None),
    ],
)
def test_a_change_is_refused_when_no_hook_of_the_gate_would_stay_on(home, user, project, changed, weak):
    files = {"user": home / ".claude" / "settings.json", "project": home / "p" / ".claude" / "settings.local.json"}
    for name, content in (("user", user), ("project", project)):
        if content is not None:
            write(files[name], content)
    said = weakened(files[changed], home / "p", home, {})
    assert (said is None) == (weak is None)
    if weak:
        assert weak in said
        assert files[changed].name in said


def test_a_settings_file_that_was_removed_counts_as_empty(home):
    gone = home / ".claude" / "settings.json"
    assert "no longer has" in weakened(gone, None, home, {})
    write(home / "p" / ".claude" / "settings.json", OURS)
    assert weakened(gone, home / "p", home, {}) is None


def test_the_folder_that_the_environment_names_is_the_users(home):
    write(home / "elsewhere" / "settings.json", OURS)
    changed = write(home / "p" / ".claude" / "settings.json", OTHERS)
    assert weakened(changed, home / "p", home, {}) is not None
    assert weakened(changed, home / "p", home, {"CLAUDE_CONFIG_DIR": str(home / "elsewhere")}) is None


OWN_SERVER = {"type": "stdio", "command": "/p/python", "args": ["-I", "-m", "tallygate", "serve"]}
ANOTHER = {"command": "/tmp/x"}
BY_HAND = {"command": "uvx", "args": ["tallygate", "serve"]}


def servers(entry: object) -> dict:
    return {"mcpServers": {"github": {"command": "npx"}, **({} if entry is None else {"tallygate": entry})}}


@pytest.mark.parametrize(
    ("user", "local", "project", "named"),
    [
        (OWN_SERVER, None, None, None),
        (OWN_SERVER, None, ANOTHER, ".mcp.json"),
        (OWN_SERVER, None, {"url": "http://127.0.0.1:9"}, ".mcp.json"),
        (OWN_SERVER, None, OWN_SERVER | {"env": {"PYTHONPATH": "."}}, ".mcp.json"),
        (OWN_SERVER, None, OWN_SERVER | {"args": ["-m", "tallygate", "serve"]}, ".mcp.json"),
        (OWN_SERVER, None, {"command": "uvx", "args": ["--from", ".", "tallygate", "serve"]}, ".mcp.json"),
        (OWN_SERVER, None, "a word", ".mcp.json"),
        (OWN_SERVER, ANOTHER, None, ".claude.json, for the project"),
        # what people write by hand goes by variables, which a project's settings set
        (OWN_SERVER, None, BY_HAND, ".mcp.json"),
        (OWN_SERVER, None, {"command": "tallygate", "args": ["serve"]}, ".mcp.json"),
        (OWN_SERVER, BY_HAND, None, ".claude.json, for the project"),
        # the same server again, and by hand for all work and for a project
        (OWN_SERVER, None, OWN_SERVER | {"alwaysLoad": True}, None),
        (OWN_SERVER, OWN_SERVER, None, None),
        (BY_HAND, None, None, None),
        (BY_HAND, None, BY_HAND, None),
        (BY_HAND, None, {"command": "tallygate", "args": ["serve"]}, None),
        (BY_HAND, None, ANOTHER, ".mcp.json"),
        (None, None, BY_HAND, None),
        # hooks of a project were made for the project's server
        (None, None, ANOTHER, None),
    ],
)
def test_a_server_that_would_answer_in_the_place_of_the_users_own_is_named(home, user, local, project, named):
    folder = home / "p" / "sub"
    folder.mkdir(parents=True)
    settings = servers(user) | {"projects": {str(home / "p"): servers(local), str(home / "q"): servers(ANOTHER)}}
    write(home / ".claude.json", settings)
    if project is not None:
        write(home / "p" / ".mcp.json", servers(project))
    said = stand_in(folder, home, {})
    assert (said is None) == (named is None), said
    if named:
        assert named in said
        assert "give it another name" in said


@pytest.mark.parametrize("entry", [ANOTHER, BY_HAND])
def test_a_folder_that_a_projects_settings_name_as_the_clients_does_not_say_which_server_is_the_users(home, entry):
    write(home / ".claude.json", servers(OWN_SERVER))
    write(home / "p" / ".mcp.json", servers(entry))
    write(home / "p" / "settings" / ".claude.json", servers(entry))
    named = {"CLAUDE_CONFIG_DIR": str(home / "p" / "settings")}
    assert stand_in(home / "p", home, named) is not None
    # Where the user has none at the usual place, it is the one in the folder that the client goes by.
    write(home / ".claude.json", servers(None))
    assert stand_in(home / "p", home, named) is None


def test_a_users_servers_that_cannot_be_read_are_none(home):
    (home / ".claude.json").write_text('{"tallygate" "tallygate"')
    assert stand_in(home / "p", home, {}) is None
    write(home / "p" / ".mcp.json", [1])
    assert stand_in(home / "p", home, {"CLAUDE_CONFIG_DIR": str(home / "none")}) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_place_of_a_settings_file_does_not_hold_the_gate_up(home):
    (home / ".claude").mkdir()
    os.mkfifo(home / ".claude" / "settings.json")
    changed = write(home / "p" / ".claude" / "settings.json", OTHERS)
    assert "no longer has" in weakened(changed, home / "p", home, {})
