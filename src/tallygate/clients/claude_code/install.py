"""What Claude Code needs: server, hooks, rule, status line, and telemetry sent to this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tallygate.clients.claude_code.diagnosis import findings
from tallygate.clients.client import (
    Client,
    Installation,
    Scope,
    Surroundings,
    hook_command,
    rule_block,
    server_command,
    status_command,
    tool_hook,
)
from tallygate.editing.edits import Edit, FileEdits, Hook, Member
from tallygate.editing.ours import SERVER, TOKEN_HEADER, has_our_telemetry, is_ours

_CLIENT = "claude_code"
# Of a tool's input: what its command or its edit of a file is judged by. What a tool does not have is empty text.
TOOL_INPUT = (
    "command", "file_path", "notebook_path", "path", "old_string", "new_string", "replace_all", "content", "cmd",
    "script", "code", "source", "destination",
)  # fmt: skip
_FIELDS = ("session_id", "prompt_id", "transcript_path", "cwd", "agent_id", "agent_type")
# Answered by the running server. What an event does not carry arrives as empty text.
TOOL_HOOKS: Mapping[str, tuple[str, ...]] = {
    "PreToolUse": (*_FIELDS, "tool_name", "tool_use_id"),
    "PostToolBatch": _FIELDS,
    "SubagentStart": _FIELDS,
}
# The server may not be connected yet, or no more.
COMMAND_HOOKS = (
    "SessionStart",
    "UserPromptSubmit",
    "PreCompact",
    "Stop",
    "SubagentStop",
    "SessionEnd",
    "ConfigChange",
    "ElicitationResult",
)
END_S = 10
_GATING = ("PreToolUse", "PostToolBatch", "UserPromptSubmit", "PreCompact")
_MATCHED = ("PreToolUse",)
_TELEMETRY = re.compile(r"OTEL_\w+|(CLAUDE_CODE|BETA)_\w*(TELEMETRY|TRACING)\w*")


def hook_entry(event: str, command: Mapping[str, Any], *, hard: bool, server: str = SERVER) -> dict[str, Any]:
    """One hook; where the policy is hard, those that can stop something also stop when they fail."""
    entry = dict(command)
    if event in TOOL_HOOKS:
        entry = tool_hook(_CLIENT, event, TOOL_HOOKS[event], server)
    if event == "PreToolUse":
        entry["input"]["tool_input"] = {name: f"${{tool_input.{name}}}" for name in TOOL_INPUT}
    if event == "PostToolBatch":
        # The batch is known by its first tool; the whole list would bring every result along.
        entry["input"]["tool_use_id"] = "${tool_calls.0.tool_use_id}"
    if event == "SessionEnd":
        # By then the server is gone and the hook starts the gate by itself; by default it is cancelled after 1.5 s.
        entry["timeout"] = END_S
    return {**entry, "onFailure": "block"} if hard and event in _GATING else entry


def telemetry(port: int, token: str) -> dict[str, str]:
    """The variables that send every model call's usage to the receiver on this machine."""
    return {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/json",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"http://127.0.0.1:{port}/v1/logs",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": f"{TOKEN_HEADER}={token}",
        "OTEL_LOGS_EXPORT_INTERVAL": "20",
    }


def _foreign(variables: Any) -> list[str]:
    """Names of telemetry variables that somebody else has set."""
    if not isinstance(variables, Mapping):
        return []
    names = {name for name in variables if isinstance(name, str) and _TELEMETRY.fullmatch(name)}
    return sorted(names - set(telemetry(0, "")) if has_our_telemetry(variables) else names)


def _signs(where: Surroundings) -> tuple[Path, ...]:
    return (where.folder("CLAUDE_CONFIG_DIR", ".claude"), _server_file(where))


def _server_file(where: Surroundings) -> Path:
    """The file with the user's servers: beside the settings' folder, or in it where a variable names that."""
    given = where.folder("CLAUDE_CONFIG_DIR")
    return where.home / ".claude.json" if given == where.home else given / ".claude.json"


def _wanted(where: Surroundings, scope: Scope) -> Installation:
    notes: list[str] = []
    server = Member(("mcpServers", SERVER), {"type": "stdio", **server_command(where), "alwaysLoad": True})
    events = (*TOOL_HOOKS, *COMMAND_HOOKS)
    hooks: list[Edit] = []
    for event in events:
        command = {"type": "command", "command": hook_command(where, _CLIENT, event)}
        matcher = "*" if event in _MATCHED else None
        hooks.append(Hook(("hooks", event), hook_entry(event, command, hard=where.hard), matcher))
    status = Member(
        ("statusLine",),
        {"type": "command", "command": status_command(where)},
        lambda settings: settings.get("statusLine") is not None and not is_ours(settings["statusLine"]),
        "has a status line of yours, which stays; `tallygate statusline` prints what it would show.",
    )
    telemetry_edits = _telemetry_edits(where, notes)
    if scope is Scope.USER:
        folder = where.folder("CLAUDE_CONFIG_DIR", ".claude")
        return Installation(
            (
                FileEdits(_server_file(where), (server,)),
                FileEdits(folder / "settings.json", (*hooks, status, *telemetry_edits)),
                FileEdits(folder / "CLAUDE.md", (rule_block(),)),
            ),
            tuple(notes),
        )
    folder = where.root / ".claude"
    files = [
        FileEdits(where.root / ".mcp.json", (server,), shared=True),
        FileEdits(folder / "settings.json", (*hooks, status), shared=True),
        FileEdits(where.root / "CLAUDE.md", (rule_block(),), shared=True),
    ]
    if telemetry_edits:
        files.append(FileEdits(folder / "settings.local.json", telemetry_edits))
        notes.append(".claude/settings.local.json holds a token of this machine: keep it out of version control.")
    notes.append("Claude Code asks once whether the project's server may run: say yes.")
    return Installation(tuple(files), tuple(notes))


def _telemetry_edits(where: Surroundings, notes: list[str]) -> tuple[Edit, ...]:
    if where.telemetry is None:
        return ()
    if names := _foreign(where.environ):
        notes.append(
            f"Your environment sets {', '.join(names)}: telemetry stays as it is, and usage is read from transcripts."
        )
        return ()
    why = "sets telemetry of yours, which stays; usage is read from transcripts."
    values = telemetry(where.telemetry.port, where.telemetry.token)
    return tuple(
        Member(("env", name), value, lambda settings: bool(_foreign(settings.get("env"))), why)
        for name, value in values.items()
    )


CLIENT = Client("claude-code", "Claude Code", _signs, ("claude",), _wanted, has_hooks=True, findings=findings)
