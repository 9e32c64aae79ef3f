"""What Windsurf needs: the server, which it knows for a user only, and the rule."""

from __future__ import annotations

from pathlib import Path

from tallygate.clients.client import (
    Client,
    InstallScope,
    InstallSurroundings,
    Requirements,
    rule_block,
    server_command,
)
from tallygate.editing.edits import SERVER, FileEdits, Member

_FRONT = "---\ntrigger: always_on\n---\n\n"


def _folder(where: InstallSurroundings) -> Path:
    return where.home / ".codeium" / "windsurf"


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    if scope is InstallScope.USER:
        folder = _folder(where)
        server = Member(("mcpServers", SERVER), server_command(where))
        return Requirements(
            (
                FileEdits(folder / "mcp_config.json", (server,)),
                FileEdits(folder / "memories" / "global_rules.md", (rule_block(),)),
            )
        )
    rule = FileEdits(where.root / ".windsurf" / "rules" / "tallygate.md", (rule_block(_FRONT),), shared=True)
    return Requirements((rule,), ("Windsurf has no servers of a project: run it with --scope user, too.",))


CLIENT = Client(
    name="windsurf",
    title="Windsurf",
    calls_itself=("windsurf",),
    folder=_folder,
    wanted=_wanted,
    binaries=("windsurf",),
)
