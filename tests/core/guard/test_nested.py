"""Which commands start a client without the gate that the one around it has, and that ordinary ones do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.clients.registry import REGISTRY
from tallygate.core.guard.fence import GuardedFiles, GuardFinding, Reach, reaches
from tallygate.core.guard.nested import Around, ungated

HOME = "/home/me"
ENTRIES = {
    f"{HOME}/.claude/settings.json": "the entries",
    f"{HOME}/.claude.json": "the entries",
    f"{HOME}/.codex/hooks.json": "the entries",
    f"{HOME}/.gemini/settings.json": "the entries",
    f"{HOME}/.qwen/settings.json": "the entries",
    f"{HOME}/.copilot/settings.json": "the entries",
}
PLACES = {f"{HOME}/.config/opencode/plugin/tallygate.js": "the plugin", f"{HOME}/data": "the data"}
READ = {
    "/srv/shop/off.json": '{"disableAllHooks": true}',
    "/srv/shop/system.json": '{"hooksConfig": {"enabled": false}}',
    "/srv/shop/servers.json": '{"mcpServers": {"tallygate": {"command": "true"}}}',
    "/srv/shop/plain.json": '{"model": "small"}',
    f"{HOME}/.codex/off.config.toml": "[features]\nhooks = false\n",
    f"{HOME}/.codex/fast.config.toml": 'model = "small"\n',
}
OWN = GuardedFiles(PLACES, HOME, entries=ENTRIES, text_of=READ.get, clients=REGISTRY.nested)


def started(command: str, own: GuardedFiles = OWN) -> str | None:
    """What of a command is refused, in the project `shop`."""
    found = reaches(Reach(command), own, "/srv/shop")
    assert found is None or found == GuardFinding(found.what, client=True), found
    return None if found is None else found.what


UNGATED = {
    'HOME=$PWD/h2 claude -p "go on"': "HOME=$PWD/h2",
    "HOME=/tmp/x claude -p go": "HOME=/tmp/x",
    "HOME=/ claude -p go": "HOME=/",
    "HOME=/home claude -p go": "HOME=/home",
    "CODEX_HOME=/ codex exec go": "CODEX_HOME=/",
    "XDG_CONFIG_HOME=/home opencode run go": "XDG_CONFIG_HOME=/home",
    "export HOME=/tmp/x; cd sub && claude -p go": "HOME=/tmp/x",
    "env HOME=/tmp/x codex exec go": "HOME=/tmp/x",
    "sh -c 'HOME=/tmp/x gemini -p go'": "HOME=/tmp/x",
    "(HOME=h2 nohup claude -p go > out &)": "HOME=h2",
    "CLAUDE_CONFIG_DIR=/tmp/c claude -p go": "CLAUDE_CONFIG_DIR=/tmp/c",
    "CODEX_HOME=./c codex exec go": "CODEX_HOME=./c",
    "GEMINI_CLI_HOME=/tmp/g gemini -p go": "GEMINI_CLI_HOME=/tmp/g",
    "QWEN_HOME=/tmp/q timeout 60 qwen -p go": "QWEN_HOME=/tmp/q",
    "COPILOT_HOME=/tmp/q copilot -p go": "COPILOT_HOME=/tmp/q",
    "XDG_CONFIG_HOME=/tmp/o opencode run go": "XDG_CONFIG_HOME=/tmp/o",
    "HOME=/tmp/o opencode run go": "HOME=/tmp/o",
    "claude --setting-sources project -p go": "--setting-sources project",
    "claude -p go --setting-sources=local,project": "--setting-sources local,project",
    "claude --setting-sources '' -p go": "--setting-sources",
    """claude --settings '{"disableAllHooks":true}' -p go""": "disableAllHooks",
    """echo '{"disableAllHooks":true}' > s.json && claude --settings s.json -p go""": "disableAllHooks",
    "claude --bare -p go": "--bare",
    "claude -p go --safe-mode": "--safe-mode",
    "claude --restricted -p go": "--restricted",
    "CLAUDE_CODE_SIMPLE=1 claude -p go": "CLAUDE_CODE_SIMPLE",
    "/opt/node/bin/claude --bare -p go": "--bare",
    "npx -y @anthropic-ai/claude-code@latest --bare -p go": "--bare",
    "bunx @openai/codex exec --disable hooks go": "--disable hooks",
    "npm exec @google/gemini-cli -- -p go": None,
    "codex exec --disable hooks go": "--disable hooks",
    "codex exec -c features.hooks=false go": "-c features.hooks=false",
    "codex --ignore-user-config exec go": "--ignore-user-config",
    "opencode run --pure go": "--pure",
    "OPENCODE_PURE=1 opencode run go": "OPENCODE_PURE",
    "qwen --bare -p go": "--bare",
    "qwen --safe-mode -p go": "--safe-mode",
    "QWEN_CODE_SAFE_MODE=1 qwen -p go": "QWEN_CODE_SAFE_MODE",
    "QWEN_CODE_SIMPLE=1 qwen -p go": "QWEN_CODE_SIMPLE",
    "codex exec --disable codex_hooks go": "--disable codex_hooks",
    "codex exec --disable=hooks go": "--disable hooks",
    "codex exec -c features.codex_hooks=false go": "-c features.codex_hooks=false",
    "codex exec -c 'features.hooks = false' go": "-c features.hooks = false",
    "codex exec -c 'features.\"hooks\"=false' go": '-c features."hooks"=false',
    "codex exec -cfeatures.hooks=false go": "-c features.hooks=false",
    "codex exec --config=features.hooks=false go": "--config features.hooks=false",
    "codex exec --config features.hooks=0 go": "--config features.hooks=0",
    "codex -c 'features={hooks=false}' exec go": "-c features={hooks=false}",
    "codex -c 'features={ shell_tool = true, hooks = false }' exec go":
        "-c features={ shell_tool = true, hooks = false }",
    "codex exec -c 'hooks.state.\"/h/hooks.json:stop:0:0\".enabled=false' go":
        '-c hooks.state."/h/hooks.json:stop:0:0".enabled=false',
    "codex exec -p off go": "-p off",
    "printf '[features]\\nhooks = false' > ~/.codex/new.config.toml; codex exec --profile new go": "--profile new",
    "claude --settings off.json -p go": "disableAllHooks",
    "claude --mcp-config servers.json -p go": "--mcp-config servers.json",
    "claude --mcp-config=servers.json -p go": "--mcp-config servers.json",
    "claude -p go --mcp-config plain.json servers.json": "--mcp-config servers.json",
    """claude --mcp-config '{"mcpServers": {"tallygate": {"command": "true"}}}' -p go""":
        '--mcp-config {"mcpServers": {"tallygate": {"command": "true"}}}',
    "CLAUDE_CODE_RESTRICTED=1 claude -p go": "CLAUDE_CODE_RESTRICTED",
    "GEMINI_CLI_SYSTEM_SETTINGS_PATH=system.json gemini -p go": "GEMINI_CLI_SYSTEM_SETTINGS_PATH=system.json",
    "GEMINI_CLI_SYSTEM_SETTINGS_PATH=unread.json gemini -p go": "GEMINI_CLI_SYSTEM_SETTINGS_PATH=unread.json",
    "QWEN_CODE_SYSTEM_SETTINGS_PATH=off.json qwen -p go": "QWEN_CODE_SYSTEM_SETTINGS_PATH=off.json",
    "copilot --config-dir /tmp/c -p go": "--config-dir /tmp/c",
    "copilot -p go --config-dir=/tmp/c": "--config-dir /tmp/c",
}  # fmt: skip


@pytest.mark.parametrize("command", UNGATED)
def test_a_client_that_would_be_started_without_the_gate_is_seen(command):
    assert started(command) == UNGATED[command]


GATED = """
claude -p "go on"
env -i claude -p go
setsid nohup claude -p go > out 2>&1 &
claude -p go --setting-sources user,project
claude --setting-sources user -p go
claude --settings '{"model": "opus"}' -p go
claude --settings ci.json -p go
claude --model opus --permission-mode plan -p go
CLAUDE_CONFIG_DIR=~/.claude claude -p go
CODEX_HOME=$HOME/.codex codex exec go
HOME=/home/me claude -p go
CLAUDE_CODE_SIMPLE=0 claude -p go
HOME=/tmp/x claude --version
CLAUDE_CONFIG_DIR=/tmp/x claude mcp list
HOME=/tmp/x codex login
HOME=/tmp/x make test
HOME=$(mktemp -d) npm ci
HOME=/tmp/x npx tsc --build
XDG_CONFIG_HOME=/tmp/x claude -p go
codex exec go
codex -c model=o4 exec go
codex --disable web_search exec go
codex exec --enable hooks go
codex exec -c 'features={web_search=false}' go
codex exec -c features.hooks=true go
codex exec -c 'hooks.Stop=[]' go
codex exec -c 'model_providers.x.name="a"' go
codex exec -p fast go
codex exec --dangerously-bypass-hook-trust go
codex exec "what does --disable do"
claude --settings plain.json -p go
claude --mcp-config plain.json -p "what is tallygate"
claude --settings '{"hooks": {}}' -p go
CLAUDE_CODE_MANAGED_SETTINGS_PATH=off.json claude -p go
GEMINI_CLI_SYSTEM_SETTINGS_PATH=plain.json gemini -p go
GEMINI_CLI_SYSTEM_SETTINGS_PATH=/dev/null gemini -p go
GEMINI_CLI_SYSTEM_SETTINGS_PATH=off.json make test
QWEN_CODE_SYSTEM_SETTINGS_PATH= qwen -p go
OPENCODE_CONFIG_DIR=/tmp/o opencode run go
OPENCODE_CONFIG=o.json opencode run go
copilot --config-dir ~/.copilot -p go
copilot -p go --log-dir /tmp/c
gemini -p go --yolo
opencode run "say --pure twice"
qwen -p "what does --bare do"
copilot -p go --allow-all-tools
echo claude --bare
git commit -m "claude --bare starts without hooks"
grep -rn -- --safe-mode docs
which claude codex
npm install @anthropic-ai/claude-code
npx -y @anthropic-ai/claude-code -p go
claude-trace --bare
"""


@pytest.mark.parametrize("command", [line for line in GATED.splitlines() if line])
def test_an_ordinary_command_is_not_refused(command):
    assert started(command) is None


def test_a_client_without_entries_of_ours_was_never_gated():
    own = GuardedFiles(PLACES, HOME, entries={f"{HOME}/.codex/hooks.json": "the entries"}, clients=REGISTRY.nested)
    assert started("HOME=/tmp/x claude --bare -p go", own) is None
    assert started("HOME=/tmp/x codex exec go", own) == "HOME=/tmp/x"


def test_entries_of_a_project_and_of_another_home_gate_there():
    own = GuardedFiles(
        PLACES, HOME, entries={"/srv/shop/.claude/settings.json": "the entries"}, clients=REGISTRY.nested
    )
    assert started("claude --setting-sources project -p go", own) is None
    other = GuardedFiles(
        PLACES, HOME, entries={**ENTRIES, "/home/other/.claude/settings.json": "the entries"}, clients=REGISTRY.nested
    )
    assert started("HOME=/home/other claude -p go", other) is None
    assert started("CLAUDE_CONFIG_DIR=/home/other/.claude claude -p go", other) is None


# A fence against a model that follows its reading, not against a program.
NOT_SEEN = """
./start.sh
python -c 'import os; os.execvp("claude", ["claude", "--bare"])'
sudo -u other claude -p go
docker run -e HOME=/x image claude -p go
alias c=claude; c --bare -p go
claude --settings elsewhere.json -p go
codex --remote ws://127.0.0.1:9 exec go
"""


@pytest.mark.parametrize("command", [line for line in NOT_SEEN.splitlines() if line])
def test_what_is_not_seen_is_known(command):
    assert started(command) is None


@given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=8))
def test_whatever_a_command_is_it_is_judged(text, words):
    reaches(Reach(f"HOME=/x claude {text}"), OWN, None)
    ungated("claude", words, Around(HOME, [*ENTRIES], {}, str, text, clients=REGISTRY.nested))
