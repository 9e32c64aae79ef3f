"""The made-up client: its facts, and what is put into it."""

from __future__ import annotations

from pathlib import Path

from tallygate.clients.client import (
    Client,
    Deferred,
    InstallScope,
    InstallSurroundings,
    Requirements,
    hook_command,
    server_command,
)
from tallygate.core.costing import Tokens
from tallygate.core.hooks import HookFacts, Moment
from tallygate.core.usage import ReadingRule, ResponseKind
from tallygate.editing.edits import SERVER, FileEdits, Hook, Member

ANSWER = ReadingRule("made_up.answer")
TITLE = ReadingRule("made_up.title", ResponseKind.AUXILIARY)


def _folder(where: InstallSurroundings) -> Path:
    return where.folder("MADE_UP_HOME", ".made-up")


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    folder = _folder(where) if scope is InstallScope.USER else where.root / ".made-up"
    command = {"type": "command", "command": hook_command(where, "made_up", "Ask")}
    server = Member(("servers", SERVER), server_command(where))
    return Requirements((FileEdits(folder / "settings.json", (server, Hook(("hooks", "Ask"), command))),))


CLIENT = Client(
    name="made-up",
    title="Made Up",
    stored_as="made_up",
    calls_itself=("madeup",),
    family="made",
    transcripts=Deferred("tests.made_up.transcripts", "SOURCE"),
    hooks=Deferred("tests.made_up.hooks", "HOOKS"),
    facts=HookFacts(reserves_at=frozenset({Moment.PROMPT}), first_model="dear", first_call=Tokens(output=100)),
    rules=(ANSWER, TITLE),
    gating_events=("Ask",),
    folder=_folder,
    wanted=_wanted,
)
