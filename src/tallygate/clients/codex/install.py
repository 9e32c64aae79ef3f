"""What Codex needs: the server as one it waits for, hooks the user has to trust, and the rule."""

from __future__ import annotations

from pathlib import Path

from tallygate.clients.client import Client, Installation, Scope, Surroundings, hook_command, rule_block, server_command
from tallygate.clients.codex.diagnosis import findings
from tallygate.editing.edits import FileEdits, Hook, Table
from tallygate.editing.ours import SERVER

_CLIENT = "codex"
# All of them run the hook program. Codex lets a tool run where a hook of type `mcp_tool` finds no server, and there is
# no telling it otherwise; the program answers by itself then.
HOOKS = ("PreToolUse", "SessionStart", "UserPromptSubmit", "Stop", "SubagentStop", "SessionEnd")


def _signs(where: Surroundings) -> tuple[Path, ...]:
    return (where.folder("CODEX_HOME", ".codex"),)


def _wanted(where: Surroundings, scope: Scope) -> Installation:
    table = Table(("mcp_servers", SERVER), {**server_command(where), "required": True})
    hooks = [
        Hook(
            ("hooks", event),
            {"type": "command", "command": hook_command(where, _CLIENT, event)},
            "*" if event == "PreToolUse" else None,
        )
        for event in HOOKS
    ]
    notes = ["Codex runs no hook that you have not trusted, and says nothing: start codex, open /hooks and trust them."]
    if scope is Scope.USER:
        folder = where.folder("CODEX_HOME", ".codex")
        override = folder / "AGENTS.override.md"
        rule = override if override.is_file() else folder / "AGENTS.md"
        shared = False
    else:
        folder, rule, shared = where.root / ".codex", where.root / "AGENTS.md", True
        notes.append("Codex reads .codex of a project only where you trust the project.")
    files = (
        FileEdits(folder / "config.toml", (table,), shared),
        FileEdits(folder / "hooks.json", tuple(hooks), shared),
        FileEdits(rule, (rule_block(),), shared),
    )
    return Installation(files, tuple(notes))


CLIENT = Client("codex", "Codex", _signs, ("codex",), _wanted, has_hooks=True, findings=findings)
