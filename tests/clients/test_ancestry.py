"""Whether an agent started this: real command lines of clients, and those of people."""

from __future__ import annotations

import os

import pytest

from tallygate.clients.ancestry import Process, agent_of, ancestors, beneath

AGENTS = [
    ("/home/a/.local/share/claude/versions/2.1.330", ["claude"], "Claude Code"),
    ("/usr/lib/node_modules/@anthropic-ai/claude-code-linux-x64/claude", ["claude", "-p", "x"], "Claude Code"),
    ("/usr/bin/node", ["node", "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js"], "Claude Code"),
    ("/opt/x/codex", ["codex", "exec", "x"], "Codex"),
    ("/usr/bin/node", ["node", "/usr/local/bin/codex", "exec"], "Codex"),
    ("/usr/bin/node", ["node", "--no-warnings", "/usr/local/bin/gemini"], "Gemini CLI"),
    ("/usr/bin/node", ["/usr/bin/node", "/x/node_modules/@google/gemini-cli/bundle/gemini.js"], "Gemini CLI"),
    ("/x/node_modules/opencode-linux-x64/bin/opencode", ["opencode", "run"], "opencode"),
    ("/usr/bin/node", ["node", "/usr/local/bin/qwen"], "Qwen Code"),
    ("/x/node_modules/@github/copilot-linux-x64/copilot", ["copilot"], "Copilot CLI"),
    ("/home/a/.local/bin/cursor-agent", ["cursor-agent"], "Cursor's agent"),
    ("C:\\Users\\a\\claude.exe", ["claude.exe"], "Claude Code"),
]
PEOPLE = [
    ("/usr/bin/bash", ["-bash"]),
    ("/usr/bin/vim", ["vim", "claude.md"]),
    ("/usr/bin/tmux", ["tmux", "new", "-s", "claude"]),
    ("/usr/share/code/code", ["code", "--ms-enable-electron-run-as-node", "/home/a/claude"]),
    ("/usr/share/cursor/cursor", ["cursor", "--type=ptyHost"]),
    ("/opt/jetbrains/bin/idea", ["idea"]),
    ("/usr/bin/node", ["node", "/home/a/claude/server.js"]),
    ("/usr/bin/python3.12", ["python3", "/home/a/gemini.py"]),
    ("/usr/bin/make", ["make", "codex"]),
    ("/usr/bin/git", ["git", "commit", "-m", "codex"]),
    ("/usr/bin/less", ["less", "/x/node_modules/@openai/codex/README.md"]),
    ("/usr/sbin/cron", ["cron"]),
    ("/usr/bin/ssh", ["sshd: anna@pts/0"]),
    ("", []),
]


@pytest.mark.parametrize(("program", "words", "title"), AGENTS)
def test_a_client_above_is_seen(program, words, title):
    assert agent_of(Process(7, program, tuple(words))).title == title
    above = [Process(9, "/bin/sh", ("sh", "-c", "x")), Process(7, program, tuple(words))]
    assert beneath(iter(above), {}) == f"{title} (process 7)"


@pytest.mark.parametrize(("program", "words"), PEOPLE)
def test_editors_shells_and_names_of_files_are_no_agents(program, words):
    assert agent_of(Process(7, program, tuple(words))) is None


@pytest.mark.parametrize(
    "name",
    ["CLAUDECODE", "CODEX_THREAD_ID", "CODEX_SANDBOX", "GEMINI_CLI", "OPENCODE", "QWEN_CODE", "COPILOT_CLI"],
)
def test_a_command_that_was_detached_still_has_its_clients_variable(name):
    assert f"variable {name}" in (beneath(iter(()), {name: "1"}) or "")


@pytest.mark.parametrize("name", ["CLAUDE_CODE_SSE_PORT", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "TERM_PROGRAM"])
def test_variables_of_an_editors_terminal_and_of_a_users_profile_say_nothing(name):
    assert beneath(iter(()), {name: "1"}) is None


def test_the_processes_above_are_told_nearest_first():
    found = list(ancestors(os.getppid()))
    assert found[0].pid == os.getppid()
    assert len({each.pid for each in found}) == len(found)
