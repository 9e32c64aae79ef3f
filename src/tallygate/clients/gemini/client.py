"""What Gemini CLI needs: server, hooks and the rule."""

from __future__ import annotations

from pathlib import Path

from tallygate.clients.client import (
    Client,
    Deferred,
    InstallScope,
    InstallSurroundings,
    LimitFacts,
    Obstacle,
    Requirements,
    content_of,
    hook_command,
    object_in,
    rule_block,
    server_command,
)
from tallygate.clients.gemini.program import PROGRAM
from tallygate.core.guard.nested import NestedClient
from tallygate.core.hooks import HookFacts, Moment
from tallygate.core.usage import ReadingRule
from tallygate.editing.edits import SERVER, FileEdits, Hook, Member

_CLIENT = "gemini"
EVENTS = (
    "SessionStart",
    "BeforeAgent",
    "BeforeModel",
    "BeforeTool",
    "AfterTool",
    "AfterAgent",
    "SessionEnd",
    "PreCompress",
)


def _folder(where: InstallSurroundings) -> Path:
    return where.folder("GEMINI_CLI_HOME") / ".gemini"


def matcher_of(event: str) -> str:
    """When a hook fires. PreCompress does before every model call, too, of which BeforeModel tells."""
    return "manual" if event == "PreCompress" else "*"


def doubled(where: InstallSurroundings) -> Obstacle | None:
    """The extension of Tallygate, where it is installed and not switched off."""
    folder = _folder(where) / "extensions"
    if not (folder / SERVER / "gemini-extension.json").exists():
        return None
    rules = ((object_in(content_of(folder / "extension-enablement.json")) or {}).get(SERVER) or {}).get("overrides")
    # With `!` a rule switches it off for a folder; without any rule it is on everywhere.
    if rules and all(str(rule).startswith("!") for rule in rules):
        return None
    keep = "Keep one of the two: gemini extensions disable tallygate, or tallygate uninstall --client gemini"
    return Obstacle("the extension tallygate brings the same hooks: each runs twice, and counts once", keep)


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    server = Member(("mcpServers", SERVER), server_command(where))
    hooks = (
        Hook(
            ("hooks", event),
            {"type": "command", "name": f"tallygate-{event}", "command": hook_command(where, _CLIENT, event)},
            matcher_of(event),
        )
        for event in EVENTS
    )
    user = scope is InstallScope.USER
    folder = _folder(where) if user else where.root / ".gemini"
    rule = folder / "GEMINI.md" if user else where.root / "GEMINI.md"
    return Requirements(
        (
            FileEdits(folder / "settings.json", (server, *hooks), not user),
            FileEdits(rule, (rule_block(),), not user),
        ),
        ("Gemini CLI starts no server in a folder that you have not trusted.",),
    )


# How its readers come to a row: texts that stand in ledgers, and never change.
MESSAGE = ReadingRule("gemini.message")
CLIENT = Client(
    name=_CLIENT,
    title="Gemini CLI",
    calls_itself=("gemini",),
    says_beside=("google",),
    family="gemini",
    transcripts=Deferred("tallygate.clients.gemini.transcripts", "SOURCE"),
    hooks=Deferred("tallygate.clients.gemini.hooks", "HOOKS"),
    facts=HookFacts(reserves_at=frozenset({Moment.MODEL}), first_model="gemini-2.5-pro", held_s=45),
    gating_events=("BeforeAgent", "BeforeModel", "BeforeTool"),
    nested=NestedClient(
        PROGRAM.packages[0],
        ".gemini",
        "/.gemini/",
        folders={"GEMINI_CLI_HOME": ""},
        files=("GEMINI_CLI_SYSTEM_SETTINGS_PATH", "GEMINI_CLI_SYSTEM_DEFAULTS_PATH"),
    ),
    rules=(MESSAGE,),
    variables=("GEMINI_CLI_HOME", "GEMINI_DATA_DIR"),
    workspace_variables=("GEMINI_PROJECT_DIR",),
    folder=_folder,
    wanted=_wanted,
    program=PROGRAM,
    doubled=doubled,
    limits=LimitFacts(
        server_counted="yes",
        server_refused="yes",
    ),
)
