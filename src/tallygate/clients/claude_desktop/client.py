"""What Claude Desktop needs: the server, for a user only."""

from __future__ import annotations

from pathlib import Path

from tallygate.clients.client import (
    Client,
    InstallScope,
    InstallSurroundings,
    Requirements,
    application_data,
    server_command,
)
from tallygate.editing.edits import SERVER, FileEdits, Member


def _folder(where: InstallSurroundings) -> Path:
    return application_data(where) / "Claude"


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    if scope is InstallScope.PROJECT:
        return Requirements((), ("Claude Desktop knows no projects: run it with --scope user.",))
    server = Member(("mcpServers", SERVER), server_command(where))
    return Requirements((FileEdits(_folder(where) / "claude_desktop_config.json", (server,)),))


CLIENT = Client(
    name="claude-desktop",
    title="Claude Desktop",
    calls_itself=("claudedesktop", "claudeai"),
    folder=_folder,
    wanted=_wanted,
)
