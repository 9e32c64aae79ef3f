"""What Qwen Code needs: server, hooks and the rule."""

from __future__ import annotations

from pathlib import Path

from tallygate.clients.client import (
    Client,
    Deferred,
    InstallScope,
    InstallSurroundings,
    LimitFacts,
    Requirements,
    hook_command,
    rule_block,
    server_command,
)
from tallygate.clients.qwen.program import PROGRAM
from tallygate.core.guard.nested import NestedClient
from tallygate.core.hooks import GATED, HookFacts, Moment
from tallygate.core.usage import ReadingRule
from tallygate.editing.edits import SERVER, FileEdits, Hook, Member

_CLIENT = "qwen"
GATING = ("UserPromptSubmit", "PreToolUse", "PreCompact")
EVENTS = (
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PostToolUseFailure",
    "PreCompact",
    "Stop",
    "SessionEnd",
)


def _folder(where: InstallSurroundings) -> Path:
    return where.folder("QWEN_HOME", ".qwen")


def _command(where: InstallSurroundings, event: str) -> str:
    return hook_command(where, _CLIENT, event, stops=where.hard and event in GATING)


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    server = Member(("mcpServers", SERVER), server_command(where))
    hooks = tuple(
        Hook(
            ("hooks", event),
            {"type": "command", "name": f"tallygate-{event}", "command": _command(where, event)},
            "*",
        )
        for event in EVENTS
    )
    user = scope is InstallScope.USER
    folder = _folder(where) if user else where.root / ".qwen"
    rule = folder / "QWEN.md" if user else where.root / "QWEN.md"
    notes = () if user else ("Qwen Code asks before it starts a server of a project: `qwen mcp approve tallygate`.",)
    return Requirements(
        (FileEdits(folder / "settings.json", (server, *hooks), not user), FileEdits(rule, (rule_block(),), not user)),
        notes,
    )


# How its readers come to a row: texts that stand in ledgers, and never change.
RESPONSE = ReadingRule("qwen.api_response")
CLIENT = Client(
    name=_CLIENT,
    title="Qwen Code",
    calls_itself=("qwencode", "qwen"),
    family="qwen",
    transcripts=Deferred("tallygate.clients.qwen.transcripts", "SOURCE"),
    hooks=Deferred("tallygate.clients.qwen.hooks", "HOOKS"),
    # No answer ends the work of a subagent, and a prompt that is refused is not told in print mode.
    facts=HookFacts(
        reserves_at=frozenset({Moment.PROMPT, Moment.MODEL, Moment.AGENT_START}),
        first_model="qwen3-coder-plus",
        ends_at=GATED,
        agents_ask_again=True,
        held_s=45,
    ),
    gating_events=GATING,
    nested=NestedClient(
        PROGRAM.packages[0],
        ".qwen",
        "/.qwen/",
        frozenset({"--bare", "--safe-mode"}),
        ("QWEN_CODE_SAFE_MODE", "QWEN_CODE_SIMPLE"),
        {"QWEN_HOME": ".qwen"},
        files=("QWEN_CODE_SYSTEM_SETTINGS_PATH", "QWEN_CODE_SYSTEM_DEFAULTS_PATH"),
    ),
    rules=(RESPONSE,),
    variables=("QWEN_DATA_DIR", "QWEN_RUNTIME_DIR", "QWEN_HOME"),
    folder=_folder,
    wanted=_wanted,
    program=PROGRAM,
    limits=LimitFacts(
        agent_counted="yes",
        agent_stopped="at its next tool",
        agent_not_started="where the tool names a kind",
        server_counted="where results are read",
        server_refused="yes",
    ),
)
