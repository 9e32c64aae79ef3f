"""What GitHub Copilot CLI needs: server, hooks and the rule."""

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
from tallygate.clients.copilot.program import PROGRAM
from tallygate.core.guard.nested import NestedClient
from tallygate.core.hooks import HookFacts, Moment
from tallygate.core.usage import ReadingRule, ResponseKind
from tallygate.editing.edits import SERVER, FileEdits, Hook, Member

_CLIENT = "copilot"
EVENTS = (
    "sessionStart",
    "userPromptSubmitted",
    "preToolUse",
    "permissionRequest",
    "postToolUse",
    "agentStop",
    "sessionEnd",
)

# A session keeps the hooks it began with: this name says that it has the entry for permissionRequest, too.
TOLD_AS = {"preToolUse": "preToolUse.permissionRequest"}


def _folder(where: InstallSurroundings) -> Path:
    return where.folder("COPILOT_HOME", ".copilot")


def _hook(where: InstallSurroundings, event: str) -> Hook:
    command = hook_command(where, _CLIENT, TOLD_AS.get(event, event))
    return Hook(("hooks", event), {"type": "command", "bash": command}, flat=True)


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    server = Member(("mcpServers", SERVER), {"type": "local", **server_command(where), "tools": ["*"]})
    hooks = tuple(_hook(where, event) for event in EVENTS)
    if scope is InstallScope.USER:
        folder = _folder(where)
        return Requirements(
            (
                FileEdits(folder / "mcp-config.json", (server,)),
                FileEdits(folder / "settings.json", hooks),
                FileEdits(folder / "copilot-instructions.md", (rule_block(),)),
            )
        )
    folder = where.root / ".github"
    version = Member(("version",), 1)
    return Requirements(
        (
            FileEdits(folder / "mcp.json", (server,), shared=True),
            FileEdits(folder / "hooks" / "tallygate.json", (version, *hooks), shared=True),
            FileEdits(where.root / "AGENTS.md", (rule_block(),), shared=True),
        ),
        ("Copilot CLI runs a project's hooks and servers only in a folder that you trust.",),
    )


# How its readers come to a row: texts that stand in ledgers, and never change.
RECORD = ReadingRule("copilot.usage_record")
COMPACTION = ReadingRule("copilot.compaction", ResponseKind.COMPACTION)
SHUTDOWN = ReadingRule("copilot.shutdown_total")
CLIENT = Client(
    name=_CLIENT,
    title="GitHub Copilot CLI",
    calls_itself=("githubcopilot", "copilot"),
    says_beside=("developer",),
    family="copilot",
    transcripts=Deferred("tallygate.clients.copilot.transcripts", "SOURCE"),
    hooks=Deferred("tallygate.clients.copilot.hooks", "HOOKS"),
    # It has only the tool itself, and ends a turn by its answer to the question whether a tool may run, in a terminal
    # too; where a tool raises no question, the second refusal is the last. It writes down several responses at once.
    facts=HookFacts(
        reserves_at=frozenset({Moment.PROMPT, Moment.TOOL, Moment.AGENT_START}),
        first_model="gpt-4.1",
        writes_late=True,
        ends_at=frozenset({Moment.TOOL}),
        first_fault_ends=False,
        told_at_end=frozenset({"userPromptSubmitted"}),
    ),
    gating_events=("preToolUse", "preToolUse.permissionRequest", "permissionRequest", "userPromptSubmitted"),
    nested=NestedClient(
        PROGRAM.packages[0], ".copilot", "/.copilot/", folders={"COPILOT_HOME": ".copilot"}, options=("--config-dir",)
    ),
    rules=(RECORD, COMPACTION, SHUTDOWN),
    variables=("COPILOT_HOME",),
    folder=_folder,
    wanted=_wanted,
    program=PROGRAM,
    limits=LimitFacts(
        agent_counted="yes",
        agent_stopped="at its next tool",
        agent_not_started="where the tool names a kind",
        server_counted="where results are read",
        server_refused="no: a tool's name there tells no server",
    ),
)
