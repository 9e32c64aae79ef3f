"""What opencode needs: server, the plugin that asks the gate, and the rule."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from tallygate.clients.client import (
    Client,
    Deferred,
    InstallScope,
    InstallSurroundings,
    LimitFacts,
    Requirements,
    hook_arguments,
    rule_block,
    server_arguments,
)
from tallygate.clients.opencode.program import PROGRAM
from tallygate.core.guard.nested import NestedClient
from tallygate.core.hooks import HookFacts, Moment
from tallygate.core.usage import ReadingRule
from tallygate.editing.edits import SERVER, FileEdits, Member, Whole

_CLIENT = "opencode"


def opencode_plugin(command: list[str], *, faults_pass: bool) -> Whole:
    """The plugin for opencode, with the command it runs, and whether it lets pass what nobody can answer."""
    text = files("tallygate.clients.opencode").joinpath("plugin.js").read_text(encoding="utf-8")
    words = {"@COMMAND@": json.dumps(command), "@LETS_FAULTS_PASS@": json.dumps(faults_pass)}
    for mark, value in words.items():
        text = text.replace(mark, value)
    return Whole(text)


def _folder(where: InstallSurroundings) -> Path:
    return where.folder("XDG_CONFIG_HOME", ".config") / "opencode"


def _signs(where: InstallSurroundings) -> tuple[Path, ...]:
    return (where.folder("XDG_DATA_HOME", ".local", "share") / "opencode",)


def _settings(folder: Path) -> Path:
    """The file the user has; with comments where there are both, as opencode reads that one last."""
    commented = folder / "opencode.jsonc"
    return commented if commented.exists() else folder / "opencode.json"


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    command = [where.python, *server_arguments(where)]
    server = Member(("mcp", SERVER), {"type": "local", "command": command, "enabled": True})
    user = scope is InstallScope.USER
    folder = _folder(where) if user else where.root
    plugins = folder / "plugin" if user else where.root / ".opencode" / "plugin"
    plugin = opencode_plugin(hook_arguments(where, _CLIENT), faults_pass=where.faults_pass)
    return Requirements(
        (
            FileEdits(_settings(folder), (server,), not user),
            FileEdits(plugins / "tallygate.js", (plugin,), not user),
            FileEdits(folder / "AGENTS.md", (rule_block(),), not user),
        )
    )


# How its readers come to a row: texts that stand in ledgers, and never change.
INSIDE = ReadingRule("opencode.reasoning_inside")
BESIDE = ReadingRule("opencode.reasoning_beside")
UNPROVEN = ReadingRule("opencode.reasoning_unproven")
CLIENT = Client(
    name=_CLIENT,
    title="opencode",
    calls_itself=("opencode",),
    family="opencode",
    transcripts=Deferred("tallygate.clients.opencode.transcripts", "SOURCE"),
    hooks=Deferred("tallygate.clients.opencode.hooks", "HOOKS"),
    facts=HookFacts(reserves_at=frozenset({Moment.MODEL}), auxiliary_agents=frozenset({"title"})),
    gating_events=("chat.params", "chat.message", "tool.execute.before"),
    nested=NestedClient(
        PROGRAM.packages[0],
        ".config/opencode",
        "/opencode",
        frozenset({"--pure"}),
        ("OPENCODE_PURE",),
        {"XDG_CONFIG_HOME": ".config"},
    ),
    rules=(INSIDE, BESIDE, UNPROVEN),
    variables=("OPENCODE_DATA_DIR", "OPENCODE_DB", "OPENCODE_DB_PREFIX"),
    folder=_folder,
    signs=_signs,
    wanted=_wanted,
    program=PROGRAM,
    limits=LimitFacts(
        agent_counted="yes",
        agent_stopped="at its next model call",
    ),
)
