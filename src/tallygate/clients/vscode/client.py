"""What VS Code needs: the server, and the rule as an instructions file."""

from __future__ import annotations

from pathlib import Path

from tallygate.clients.client import (
    Client,
    InstallScope,
    InstallSurroundings,
    Requirements,
    application_data,
    rule_block,
    server_command,
)
from tallygate.editing.edits import SERVER, FileEdits, Member

_FRONT = '---\napplyTo: "**"\n---\n\n'
_RULE = "tallygate.instructions.md"


def _folder(where: InstallSurroundings) -> Path:
    return application_data(where) / "Code" / "User"


def _signs(where: InstallSurroundings) -> tuple[Path, ...]:
    return (where.home / ".vscode",)


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    server = Member(("servers", SERVER), {"type": "stdio", **server_command(where)})
    rule = (rule_block(_FRONT),)
    if scope is InstallScope.USER:
        folder = _folder(where)
        return Requirements((FileEdits(folder / "mcp.json", (server,)), FileEdits(folder / "prompts" / _RULE, rule)))
    return Requirements(
        (
            FileEdits(where.root / ".vscode" / "mcp.json", (server,), shared=True),
            FileEdits(where.root / ".github" / "instructions" / _RULE, rule, shared=True),
        )
    )


CLIENT = Client(
    name="vscode",
    title="VS Code",
    calls_itself=("visualstudiocode", "vscode"),
    says_beside=("microsoft", "vscode", "insiders"),
    folder=_folder,
    signs=_signs,
    wanted=_wanted,
    binaries=("code",),
)
