"""What Zed needs: the server, and the rule of a project."""

from __future__ import annotations

from pathlib import Path

from tallygate.clients.client import Client, InstallScope, InstallSurroundings, Requirements, rule_block, server_command
from tallygate.editing.edits import SERVER, FileEdits, Member

# Of these Zed reads the first that is there, and no other.
_RULES = (
    ".rules",
    ".cursorrules",
    ".windsurfrules",
    ".clinerules",
    ".github/copilot-instructions.md",
    "AGENT.md",
    "AGENTS.md",
    "CLAUDE.md",
    "GEMINI.md",
)


def _folder(where: InstallSurroundings) -> Path:
    if where.platform == "darwin":
        return where.home / ".config" / "zed"
    return where.folder("XDG_CONFIG_HOME", ".config") / "zed"


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    server = Member(("context_servers", SERVER), {"source": "custom", **server_command(where)})
    if scope is InstallScope.USER:
        folder = _folder(where)
        return Requirements(
            (FileEdits(folder / "settings.json", (server,)), FileEdits(folder / "AGENTS.md", (rule_block(),)))
        )
    rule = next((where.root / name for name in _RULES if (where.root / name).is_file()), where.root / "AGENTS.md")
    return Requirements(
        (
            FileEdits(where.root / ".zed" / "settings.json", (server,), shared=True),
            FileEdits(rule, (rule_block(),), shared=True),
        )
    )


CLIENT = Client(
    name="zed",
    title="Zed",
    calls_itself=("zed",),
    folder=_folder,
    wanted=_wanted,
    binaries=("zed", "zeditor"),
)
