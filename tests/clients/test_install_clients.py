"""Which files each client needs in which scope, and what stands in them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path, PurePath

import pytest

from tallygate.clients.claude_code.client import TOOL_INPUT, telemetry
from tallygate.clients.client import InstallScope, InstallSurroundings, TelemetryTarget, hook_command, rule_text
from tallygate.clients.qwen.client import GATING as QWEN_GATING
from tallygate.clients.registry import REGISTRY
from tallygate.editing import documents
from tallygate.editing.edits import HOOK_TOOL, Block, Hook, Member, Table, is_ours

HOME, PROJECT = Path("/h"), Path("/h/p")
PYTHON, HOOK = "/opt/tg/bin/python", "/opt/tg/tallygate/entrypoints/hook.py"
SERVERS = ("mcpServers", "mcp_servers", "servers", "context_servers", "mcp")
FILE = "/h/d/init/places.conf"
SERVE = ["-I", "-m", "tallygate", "serve", "--places", FILE]

USER, IN_PROJECT = InstallScope.USER, InstallScope.PROJECT
FILES = {
    ("claude-code", USER): [".claude.json", ".claude/settings.json", ".claude/CLAUDE.md"],
    ("claude-code", IN_PROJECT): ["p/.mcp.json", "p/.claude/settings.json", "p/CLAUDE.md"],
    ("codex", USER): [".codex/config.toml", ".codex/hooks.json", ".codex/AGENTS.md"],
    ("codex", IN_PROJECT): ["p/.codex/config.toml", "p/.codex/hooks.json", "p/AGENTS.md"],
    ("gemini", USER): [".gemini/settings.json", ".gemini/GEMINI.md"],
    ("gemini", IN_PROJECT): ["p/.gemini/settings.json", "p/GEMINI.md"],
    ("opencode", USER): [
        ".config/opencode/opencode.json",
        ".config/opencode/plugin/tallygate.js",
        ".config/opencode/AGENTS.md",
    ],
    ("opencode", IN_PROJECT): ["p/opencode.json", "p/.opencode/plugin/tallygate.js", "p/AGENTS.md"],
    ("cursor", USER): [".cursor/mcp.json"],
    ("cursor", IN_PROJECT): ["p/.cursor/mcp.json", "p/.cursor/rules/tallygate.mdc"],
    ("vscode", USER): [".config/Code/User/mcp.json", ".config/Code/User/prompts/tallygate.instructions.md"],
    ("vscode", IN_PROJECT): ["p/.vscode/mcp.json", "p/.github/instructions/tallygate.instructions.md"],
    ("windsurf", USER): [".codeium/windsurf/mcp_config.json", ".codeium/windsurf/memories/global_rules.md"],
    ("windsurf", IN_PROJECT): ["p/.windsurf/rules/tallygate.md"],
    ("claude-desktop", USER): [".config/Claude/claude_desktop_config.json"],
    ("claude-desktop", IN_PROJECT): [],
    ("zed", USER): [".config/zed/settings.json", ".config/zed/AGENTS.md"],
    ("zed", IN_PROJECT): ["p/.zed/settings.json", "p/AGENTS.md"],
    ("copilot", USER): [".copilot/mcp-config.json", ".copilot/settings.json", ".copilot/copilot-instructions.md"],
    ("copilot", IN_PROJECT): ["p/.github/mcp.json", "p/.github/hooks/tallygate.json", "p/AGENTS.md"],
    ("qwen", USER): [".qwen/settings.json", ".qwen/QWEN.md"],
    ("qwen", IN_PROJECT): ["p/.qwen/settings.json", "p/QWEN.md"],
}


def here(**more):
    found = {"home": HOME, "environ": {}, "platform": "linux", "python": PYTHON, "hook": HOOK, "project": PROJECT}
    found["places"] = FILE
    return InstallSurroundings(**{**found, **more})


def wanted(name, scope=USER, **more):
    return REGISTRY.clients[name].wanted(here(**more), scope)


def texts(name, scope=USER, **more):
    """What every file of a client holds where there was none, by name below the home folder."""
    found = {}
    for file in wanted(name, scope, **more).files:
        content, _, _ = documents.put_in(file.path, None, file.edits, {})
        found[PurePath(file.path).relative_to(HOME).as_posix()] = documents.as_text(file.path, content)
    return found


def hooks(name, scope=USER, **more):
    """Every hook of a client by the name of its event."""
    files = wanted(name, scope, **more).files
    return {edit.path[-1]: edit for file in files for edit in file.edits if isinstance(edit, Hook)}


def test_every_client_that_was_measured_is_described():
    assert {name for name, _ in FILES} == {name for name, client in REGISTRY.clients.items() if client.is_measured}


@pytest.mark.parametrize("name, scope", FILES)
def test_a_client_s_files_lie_where_it_looks_for_them(name, scope):
    assert list(texts(name, scope)) == FILES[name, scope]


@pytest.mark.parametrize("name, scope", FILES)
def test_only_files_of_a_project_can_be_read_by_others(name, scope):
    assert all(file.shared is (scope is IN_PROJECT) for file in wanted(name, scope).files)


@pytest.mark.parametrize(
    "name, scope, path",
    [
        (name, scope, path)
        for (name, scope), paths in FILES.items()
        for path in paths
        if path.endswith((".json", ".toml")) and "hooks" not in path
    ],
)
def test_the_server_is_this_interpreter_and_never_looked_up(name, scope, path):
    text = texts(name, scope)[path]
    values = tomllib.loads(text) if path.endswith(".toml") else json.loads(text)
    found = [values[key]["tallygate"] for key in SERVERS if key in values]
    if not found:
        assert "hooks" in values
        return
    (server,) = found
    command = server["command"] if isinstance(server["command"], list) else [server["command"], *server["args"]]
    assert command == [PYTHON, *SERVE]


@pytest.mark.parametrize(
    "name, path, words",
    [
        ("claude-code", ".claude.json", {"type": "stdio", "alwaysLoad": True}),
        ("codex", ".codex/config.toml", {"required": True}),
        ("opencode", ".config/opencode/opencode.json", {"type": "local", "enabled": True}),
        ("vscode", ".config/Code/User/mcp.json", {"type": "stdio"}),
        ("copilot", ".copilot/mcp-config.json", {"type": "local", "tools": ["*"]}),
    ],
)
def test_the_server_s_entry_says_what_its_client_asks_for(name, path, words):
    text = texts(name)[path]
    values = tomllib.loads(text) if path.endswith(".toml") else json.loads(text)
    server = next(iter(values.values()))["tallygate"]
    assert {key: server[key] for key in words} == words


@pytest.mark.parametrize("name", ["claude-code", "codex", "gemini", "qwen", "copilot"])
@pytest.mark.parametrize("scope", InstallScope)
def test_every_hook_is_one_that_its_client_s_reader_knows(name, scope):
    client = REGISTRY.hooks[name.replace("-", "_")]
    session = {
        "session_id": "s",
        "sessionId": "s",
        "prompt": "x",
        "agent_id": "a",
        "file_path": "/x",
        "trigger": "manual",
    }
    for event, edit in hooks(name, scope).items():
        assert client.read({**session, "tool_name": "t", "toolName": "t", "tool_use_id": "i"}, event) is not None
        assert is_ours(edit.entry)


@pytest.mark.parametrize("name", ["claude-code", "codex", "gemini", "qwen", "copilot"])
def test_a_hook_s_command_says_client_and_event_and_imports_nothing(name):
    for event, edit in hooks(name).items():
        command = edit.entry.get("command") or edit.entry.get("bash")
        if command is not None:
            words = [PYTHON, "-I", "-S", HOOK, "--client", name.replace("-", "_"), "--event", event, "--places", FILE]
            end = ["||", "exit", "2"] if name == "qwen" and event in QWEN_GATING else []
            assert [word.removesuffix(".permissionRequest") for word in shlex.split(command)] == [*words, *end]


def test_a_shell_stops_qwen_where_the_program_is_gone_unless_the_policy_is_soft(tmp_path):
    gone = hooks("qwen", python=str(tmp_path / "gone"))
    for event, edit in gone.items():
        done = subprocess.run(["sh", "-c", edit.entry["command"]], capture_output=True, check=False)
        assert done.returncode == (2 if event in QWEN_GATING else 127), event
        assert b"gone" in done.stderr
    assert not [edit for edit in hooks("qwen", hard=False).values() if "exit" in edit.entry["command"]]


CLAUDE_TOOLS = {"PreToolUse", "PostToolBatch", "SubagentStart"}
CLAUDE_COMMANDS = {
    "SessionStart",
    "UserPromptSubmit",
    "PreCompact",
    "Stop",
    "SubagentStop",
    "SessionEnd",
    "ConfigChange",
    "ElicitationResult",
}


def test_claude_code_asks_the_running_server_where_it_is_there_and_a_program_elsewhere():
    found = {event: edit.entry["type"] for event, edit in hooks("claude-code").items()}
    assert found == dict.fromkeys(CLAUDE_TOOLS, "mcp_tool") | dict.fromkeys(CLAUDE_COMMANDS, "command")


def test_claude_code_gives_the_last_hook_the_time_to_start_the_gate_by_itself():
    found = hooks("claude-code")
    assert [(event, edit.entry["timeout"]) for event, edit in found.items() if "timeout" in edit.entry] == [
        ("SessionEnd", 10)
    ]


@pytest.mark.parametrize(
    "hard, blocking", [(True, {"PreToolUse", "PostToolBatch", "UserPromptSubmit", "PreCompact"}), (False, set())]
)
def test_claude_code_stops_on_a_hook_that_fails_only_where_the_policy_is_hard(hard, blocking):
    found = hooks("claude-code", hard=hard)
    assert {event for event, edit in found.items() if "onFailure" in edit.entry} == blocking
    assert all(found[event].entry["onFailure"] == "block" for event in blocking)


def test_a_tool_hook_names_the_hidden_tool_and_fills_fields_in():
    entry = hooks("claude-code")["PreToolUse"].entry
    assert (entry["server"], entry["tool"]) == ("tallygate", HOOK_TOOL)
    given = entry["input"]
    assert (given["client"], given["event"], given["session_id"]) == ("claude_code", "PreToolUse", "${session_id}")
    looked_at = given.pop("tool_input")
    assert all(re.fullmatch(r"\$\{[\w.]+\}", value) for key, value in given.items() if key not in {"client", "event"})
    assert looked_at == {name: f"${{tool_input.{name}}}" for name in TOOL_INPUT}
    others = [edit.entry.get("input", {}) for event, edit in hooks("claude-code").items() if event != "PreToolUse"]
    assert all("tool_input" not in other for other in others)


def test_a_batch_is_told_by_its_first_tool_and_not_with_every_result():
    assert hooks("claude-code")["PostToolBatch"].entry["input"]["tool_use_id"] == "${tool_calls.0.tool_use_id}"


def test_codex_has_no_kind_of_hook_that_voids_the_whole_file():
    # Nor one of type `mcp_tool`: where its server is gone, Codex lets the tool run.
    assert {edit.entry["type"] for edit in hooks("codex").values()} == {"command"}
    assert all("onFailure" not in edit.entry for edit in hooks("codex").values())


def test_the_user_is_told_to_trust_codex_hooks_and_nothing_does_it_for_them():
    installation = wanted("codex")
    assert any("/hooks" in note for note in installation.notes)
    assert "trust" not in json.dumps(texts("codex")[".codex/config.toml"])


@pytest.mark.parametrize("scope", InstallScope)
@pytest.mark.parametrize("name", REGISTRY.clients)
def test_the_rule_is_the_one_of_all_clients(name, scope):
    blocks = [edit for file in wanted(name, scope).files for edit in file.edits if isinstance(edit, Block)]
    assert all(rule_text() in block.text for block in blocks)
    assert blocks or name in {"claude-desktop", "cursor"}


@pytest.mark.parametrize(
    "path, first",
    [
        ("cursor", "---\ndescription: How to work within the budget that Tallygate keeps\nalwaysApply: true\n---\n"),
        ("vscode", '---\napplyTo: "**"\n---\n'),
        ("windsurf", "---\ntrigger: always_on\n---\n"),
    ],
)
def test_a_rule_file_of_its_own_begins_with_what_makes_it_apply(path, first):
    assert any(text.startswith(first) for text in texts(path, IN_PROJECT).values())


# --- places ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, variable, file",
    [
        ("claude-code", "CLAUDE_CONFIG_DIR", "x/settings.json"),
        ("claude-code", "CLAUDE_CONFIG_DIR", "x/.claude.json"),
        ("codex", "CODEX_HOME", "x/config.toml"),
        ("gemini", "GEMINI_CLI_HOME", "x/.gemini/settings.json"),
        ("opencode", "XDG_CONFIG_HOME", "x/opencode/opencode.json"),
        ("copilot", "COPILOT_HOME", "x/mcp-config.json"),
        ("qwen", "QWEN_HOME", "x/settings.json"),
        ("zed", "XDG_CONFIG_HOME", "x/zed/settings.json"),
        ("vscode", "XDG_CONFIG_HOME", "x/Code/User/mcp.json"),
    ],
)
def test_a_client_s_own_variable_moves_its_files(name, variable, file):
    assert file in texts(name, environ={variable: "/h/x"})
    assert file not in texts(name, environ={variable: "not/absolute"})


@pytest.mark.parametrize(
    "platform, name, file",
    [
        ("darwin", "claude-desktop", "Library/Application Support/Claude/claude_desktop_config.json"),
        ("darwin", "vscode", "Library/Application Support/Code/User/mcp.json"),
        ("darwin", "zed", ".config/zed/settings.json"),
    ],
)
def test_each_system_keeps_applications_elsewhere(platform, name, file):
    assert file in texts(name, platform=platform)


def test_opencode_s_file_with_comments_is_taken_where_it_is_the_one(home):
    folder = home / ".config" / "opencode"
    folder.mkdir(parents=True)
    (folder / "opencode.jsonc").write_text("{}")
    (file, *_) = wanted("opencode", home=home).files
    assert file.path == folder / "opencode.jsonc"


def test_codex_reads_the_override_where_there_is_one(home):
    (home / ".codex").mkdir()
    (home / ".codex" / "AGENTS.override.md").write_text("mine\n")
    assert wanted("codex", home=home).files[-1].path == home / ".codex" / "AGENTS.override.md"


@pytest.mark.parametrize("there, file", [("CLAUDE.md", "CLAUDE.md"), (".rules", ".rules"), ("README.md", "AGENTS.md")])
def test_zed_gets_the_rule_in_the_one_file_it_reads(home, there, file):
    (home / there).write_text("mine\n")
    assert wanted("zed", IN_PROJECT, project=home).files[-1].path == home / file


@pytest.mark.parametrize(
    "python", ["/a b/python", "/it's/python", "/a$(touch x)/python", '/a"b/python', "/a`x`/python", "/a\\b/p"]
)
def test_a_command_is_quoted_for_the_shell(python):
    words = shlex.split(hook_command(here(python=python), "codex", "Stop"))
    assert words[0] == python


# --- what the user has already ----------------------------------------------------------------------------------

RECEIVER = TelemetryTarget(47318, "0123")


def settled(existing, scope=USER, **more):
    """The settings of Claude Code after an installation over existing ones, and what the user is told."""
    installation = wanted("claude-code", scope, telemetry=RECEIVER, **more)
    name = "settings.json" if scope is USER else "settings.local.json"
    (file,) = (file for file in installation.files if file.path.name == name)
    content, _, notes = documents.put_in(file.path, json.dumps(existing).encode(), file.edits, {})
    return json.loads(content or b"{}"), [*installation.notes, *notes]


def test_telemetry_goes_to_the_receiver_with_its_token():
    settings, _ = settled({})
    assert settings["env"] == telemetry(47318, "0123")
    assert settings["env"]["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] == "http://127.0.0.1:47318/v1/logs"
    assert settings["env"]["OTEL_EXPORTER_OTLP_LOGS_HEADERS"] == "x-tallygate-token=0123"


@pytest.mark.parametrize(
    "name",
    ["OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "CLAUDE_CODE_ENABLE_TELEMETRY", "OTEL_LOGS_EXPORTER"],
)
def test_telemetry_of_the_user_stays_and_the_user_is_told(name):
    settings, notes = settled({"env": {name: "mine"}})
    assert settings["env"] == {name: "mine"}
    assert any("telemetry of yours" in note for note in notes)


def test_telemetry_in_the_environment_stays_and_the_user_is_told():
    settings, notes = settled({"env": {"A": "1"}}, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"})
    assert settings["env"] == {"A": "1"}
    assert any("OTEL_EXPORTER_OTLP_ENDPOINT" in note for note in notes)


def test_telemetry_of_ours_is_not_taken_for_the_user_s():
    ours = telemetry(1, "old")
    settings, notes = settled({"env": ours}, environ=ours)
    assert settings["env"] == telemetry(47318, "0123")
    assert not any("telemetry" in note for note in notes)


def test_the_token_of_a_project_never_stands_in_a_file_that_is_shared():
    installation = wanted("claude-code", IN_PROJECT, telemetry=RECEIVER)
    (file,) = (file for file in installation.files if "0123" in repr(file.edits))
    assert (file.path, file.shared) == (PROJECT / ".claude" / "settings.local.json", False)
    assert any("version control" in note for note in installation.notes)


def test_without_a_receiver_no_telemetry_is_set():
    for file in wanted("claude-code").files:
        assert not any(isinstance(edit, Member) and edit.path[0] == "env" for edit in file.edits)


@pytest.mark.parametrize("line", [{"type": "command", "command": "mine"}, "odd"])
def test_a_status_line_of_the_user_stays(line):
    settings, notes = settled({"statusLine": line})
    assert settings["statusLine"] == line
    assert any("status line of yours" in note for note in notes)


def test_a_status_line_of_an_older_version_is_brought_up_to_date():
    settings, _ = settled({"statusLine": {"type": "command", "command": '"/old/python" -P -m tallygate statusline'}})
    assert PYTHON in settings["statusLine"]["command"]


def test_a_table_of_ours_says_nothing_that_is_no_setting():
    (table,) = (edit for file in wanted("codex").files for edit in file.edits if isinstance(edit, Table))
    assert set(table.values) == {"command", "args", "required"}
