"""What Droid needs: server, hooks and the rule. From its public documentation, not measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tallygate.clients.client import (
    Client,
    Deferred,
    InstallScope,
    InstallSurroundings,
    Obstacle,
    Requirements,
    content_of,
    hook_command,
    object_in,
    rule_block,
    server_command,
)
from tallygate.clients.droid.program import PROGRAM
from tallygate.core.guard.nested import NestedClient
from tallygate.core.hooks import HookFacts, Moment
from tallygate.core.usage import ReadingRule, ResponseKind
from tallygate.editing.edits import SERVER, FileEdits, Hook, Member

_CLIENT = "droid"
GATING = ("UserPromptSubmit", "PreToolUse")
EVENTS = ("SessionStart", "UserPromptSubmit", "PreToolUse", "PreCompact", "Stop", "SubagentStop", "SessionEnd")
_NOTES = (
    "Droid is built from its public documentation and was not measured: look at its first sessions.",
    "Droid keeps the hooks it began with: restart it, and look at them with /hooks.",
)
_SETTINGS = ("settings.json", "settings.local.json")


def _folder(where: InstallSurroundings) -> Path:
    return where.home / ".factory"


def _settings(path: Path) -> dict[str, object]:
    return object_in(content_of(path)) or {}


def _hook(where: InstallSurroundings, event: str) -> Hook:
    command = hook_command(where, _CLIENT, event, stops=where.hard and event in GATING)
    return Hook(("hooks", event), {"type": "command", "command": command}, "*" if event == "PreToolUse" else None)


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    user = scope is InstallScope.USER
    folder = _folder(where) if user else where.root / ".factory"
    server = Member(("mcpServers", SERVER), {"type": "stdio", **server_command(where)})
    hooks = tuple(_hook(where, event) for event in EVENTS)
    rule = (folder if user else where.root) / "AGENTS.md"
    # Where there is a file of hooks alone, those among the settings are not read.
    alone, settings = (folder / "hooks.json", folder / "hooks" / "hooks.json"), folder / "settings.json"
    usual = settings if "hooks" in _settings(settings) else alone[0]
    return Requirements(
        (
            FileEdits(folder / "mcp.json", (server,), not user),
            FileEdits(next((path for path in alone if path.exists()), usual), hooks, not user),
            FileEdits(rule, (rule_block(),), not user),
        ),
        _NOTES,
    )


def findings(where: InstallSurroundings) -> Iterator[Obstacle]:
    """Files of settings that switch all hooks off."""
    folders = [_folder(where), *([] if where.project is None else [where.project / ".factory"])]
    for file in (folder / name for folder in folders for name in _SETTINGS):
        if _settings(file).get("hooksDisabled") is True:
            yield Obstacle(f"{file} switches all hooks off", f"Take hooksDisabled out of {file}.")


# How its readers come to a row: texts that stand in ledgers, and never change.
TOTAL = ReadingRule("droid.session_total", ResponseKind.RUNNING_TOTAL)
CLIENT = Client(
    name=_CLIENT,
    title="Droid",
    calls_itself=("droid", "factorydroid"),
    says_beside=("factory",),
    family="droid",
    program=PROGRAM,
    transcripts=Deferred("tallygate.clients.droid.transcripts", "SOURCE"),
    hooks=Deferred("tallygate.clients.droid.hooks", "HOOKS"),
    facts=HookFacts(reserves_at=frozenset({Moment.PROMPT, Moment.TOOL}), held_s=45),
    gating_events=GATING,
    nested=NestedClient(PROGRAM.packages[0], ".factory", "/.factory/", frozenset({"--no-hooks"})),
    rules=(TOTAL,),
    workspace_variables=("FACTORY_PROJECT_DIR",),
    folder=_folder,
    wanted=_wanted,
    findings=findings,
    install_notes_page="guides/droid.md",
    is_measured=False,
)
