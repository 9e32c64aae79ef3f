"""What Cursor needs: the server, and the rule of a project."""

from __future__ import annotations

from pathlib import Path

from tallygate.clients.client import Client, InstallScope, InstallSurroundings, Requirements, rule_block, server_command
from tallygate.clients.cursor.program import PROGRAM
from tallygate.editing.edits import SERVER, FileEdits, Member

FRONT = "---\ndescription: How to work within the budget that Tallygate keeps\nalwaysApply: true\n---\n\n"


def _folder(where: InstallSurroundings) -> Path:
    return where.home / ".cursor"


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    server = Member(("mcpServers", SERVER), server_command(where))
    if scope is InstallScope.USER:
        note = (
            "Cursor keeps rules for all projects in its own settings, not in a file: "
            "`tallygate init --client cursor --scope project` writes the rule into a project."
        )
        return Requirements((FileEdits(_folder(where) / "mcp.json", (server,)),), (note,))
    folder = where.root / ".cursor"
    return Requirements(
        (
            FileEdits(folder / "mcp.json", (server,), shared=True),
            FileEdits(folder / "rules" / "tallygate.mdc", (rule_block(FRONT),), shared=True),
        )
    )


CLIENT = Client(
    name="cursor",
    title="Cursor",
    calls_itself=("cursor",),
    folder=_folder,
    wanted=_wanted,
    program=PROGRAM,
    binaries=("cursor", "cursor-agent"),
)
