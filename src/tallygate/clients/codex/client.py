"""Codex as an installation sees it, and what would switch its hooks off."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
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
    mapping,
    object_in,
    rule_block,
    server_command,
)
from tallygate.clients.codex.program import PROGRAM
from tallygate.core.guard.nested import Around, NestedClient, file_text, options_of
from tallygate.core.hooks import HookFacts, Moment
from tallygate.core.regex import regex
from tallygate.core.usage import ReadingRule, ResponseKind
from tallygate.editing.edits import SERVER, FileEdits, Hook, Table, is_ours

# --- diagnosis -------------------------------------------------------------------------------------------------------
# Why Codex would run none of the gate's hooks, though they are installed: nobody has trusted them.


_TRUST = "Start codex, open /hooks and trust the hooks of Tallygate."


def findings(where: InstallSurroundings) -> Iterator[Obstacle]:
    """The hooks that Codex skips without a word; read from its own record of trust, which is never written."""
    folders = [where.folder("CODEX_HOME", ".codex")]
    if where.project is not None:
        folders.append(where.project / ".codex")
    try:
        config = tomllib.loads(content_of(folders[0] / "config.toml").decode())
    except (ValueError, RecursionError):
        config = {}
    state = mapping(mapping(config.get("hooks")).get("state"))
    for folder in folders:
        file = folder / "hooks.json"
        ours = list(_ours(file))
        untrusted = [event for event, key in ours if not mapping(state.get(key)).get("trusted_hash")]
        off = [event for event, key in ours if mapping(state.get(key)).get("enabled") is False]
        if untrusted:
            what = f"Codex skips the hooks of Tallygate until you trust them: {', '.join(untrusted)} of {file}"
            yield Obstacle(what, _TRUST, comes_next=True)
        if off:
            yield Obstacle(f"{', '.join(off)} of {file} are switched off in Codex", "Switch them on in /hooks.")


def _ours(file: Path) -> Iterator[tuple[str, str]]:
    """Events of our hooks in a file, each with the key under which Codex keeps its trust."""
    hooks = mapping((object_in(content_of(file)) or {}).get("hooks"))
    for event, groups in hooks.items():
        # PreToolUse is pre_tool_use in the key of its trust.
        word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(event)).lower()
        for group, entry in enumerate(groups if isinstance(groups, list) else []):
            listed = mapping(entry).get("hooks")
            for number, hook in enumerate(listed if isinstance(listed, list) else []):
                if is_ours(hook):
                    yield str(event), f"{file}:{word}:{group}:{number}"


def subscribed(where: InstallSurroundings) -> bool:
    """Whether Codex is signed in with ChatGPT; with an API key it is paid by use."""
    found = object_in(content_of(where.folder("CODEX_HOME", ".codex") / "auth.json")) or {}
    mode = found.get("auth_mode")
    return mode == "chatgpt" if mode else bool(found.get("tokens")) and not found.get("OPENAI_API_KEY")


# --- install ---------------------------------------------------------------------------------------------------------
# What Codex needs: the server as one it waits for, hooks the user has to trust, and the rule.


_CLIENT = "codex"
# All of them run the hook program. Codex lets a tool run where a hook of type `mcp_tool` finds no server, and there is
# no telling it otherwise; the program answers by itself then.
HOOKS = ("PreToolUse", "PostToolUse", "SessionStart", "UserPromptSubmit", "Stop", "SubagentStop", "SessionEnd")


_MATCHED = ("PreToolUse", "PostToolUse")


def _folder(where: InstallSurroundings) -> Path:
    return where.folder("CODEX_HOME", ".codex")


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
    table = Table(("mcp_servers", SERVER), {**server_command(where), "required": True})
    hooks = [
        Hook(
            ("hooks", event),
            {"type": "command", "command": hook_command(where, _CLIENT, event)},
            "*" if event in _MATCHED else None,
        )
        for event in HOOKS
    ]
    notes = ["Codex runs no hook that you have not trusted, and says nothing: start codex, open /hooks and trust them."]
    if scope is InstallScope.USER:
        folder = _folder(where)
        override = folder / "AGENTS.override.md"
        rule = override if override.is_file() else folder / "AGENTS.md"
        shared = False
    else:
        folder, rule, shared = where.root / ".codex", where.root / "AGENTS.md", True
        notes.append("Codex reads .codex of a project only where you trust the project.")
    files = (
        FileEdits(folder / "config.toml", (table,), shared),
        FileEdits(folder / "hooks.json", tuple(hooks), shared),
        FileEdits(rule, (rule_block(),), shared),
    )
    return Requirements(files, tuple(notes))


# --- nested ----------------------------------------------------------------------------------------------------------
# One that an agent starts in a shell, and what takes the hooks from it.


_FEATURES = frozenset({"hooks", "codex_hooks"})
_OFF = regex(r"(?:\b|\\n)(?:codex_)?hooks[\"']?\s*=\s*false|enabled\s*=\s*false")


def _taken_by(given: list[str], around: Around) -> Iterator[str]:
    """What it may be given that switches its hooks off: a feature, a setting, or a profile that says so."""
    short = [word[2:] for word in given if re.match(r"-c[^=\s]", word) and not word.startswith("--")]
    settings = [("-c", value) for value in short]
    for name, value in (*options_of(given, "--disable", "-c", "--config", "-p", "--profile"), *settings):
        if name == "--disable":
            if value in {"hooks", "codex_hooks"}:
                yield f"{name} {value}"
        elif name in {"-p", "--profile"}:
            folder = around.known.get("CODEX_HOME", f"{around.home}/.codex")
            if re.fullmatch(r"[\w.-]+", value) and _OFF.search(file_text(f"{folder}/{value}.config.toml", around)):
                yield f"{name} {value}"
        else:
            # A setting is TOML, with dots in its key.
            key = re.sub(r"[\s\"']", "", value.partition("=")[0])
            if key in {"features.hooks", "features.codex_hooks"}:
                unhooks = value.partition("=")[2].strip().strip("\"'").lower() != "true"
            elif key == "features" or key.split(".")[0] == "hooks":
                unhooks = _OFF.search(value) is not None
            else:
                unhooks = key.startswith("mcp_servers.tallygate")
            if unhooks:
                yield f"{name} {value}"


_NESTED = NestedClient(
    PROGRAM.packages[0],
    ".codex",
    "/.codex/",
    frozenset({"--ignore-user-config"}),
    folders={"CODEX_HOME": ".codex"},
    features=_FEATURES,
    more=_taken_by,
)


# --- client ----------------------------------------------------------------------------------------------------------
# Everything that is true of it.


# How its readers come to a row: texts that stand in ledgers, and never change.
LAST = ReadingRule("codex.last_usage")
DELTA = ReadingRule("codex.total_delta", ResponseKind.MOVED_TOTAL)
RECORD = ReadingRule("codex.usage_record")
# It has only the tool itself, and asks the model again for each one that is refused, so that the second refusal in a
# row is the last. A prompt that is refused is not told in print mode, and looks like success.
_FACTS = HookFacts(
    reserves_at=frozenset({Moment.PROMPT, Moment.TOOL, Moment.AGENT_START}),
    first_model="gpt-5.1-codex",
    ends_at=frozenset({Moment.PROMPT}),
    ends_again_at=frozenset({Moment.TOOL}),
    asks_again=True,
    held_s=560,
)
CLIENT = Client(
    name=_CLIENT,
    title="Codex",
    calls_itself=("codex",),
    says_beside=("openai",),
    family="codex",
    transcripts=Deferred("tallygate.clients.codex.transcripts", "SOURCE"),
    hooks=Deferred("tallygate.clients.codex.hooks", "HOOKS"),
    facts=_FACTS,
    gating_events=("PreToolUse", "UserPromptSubmit"),
    nested=_NESTED,
    rules=(LAST, DELTA, RECORD),
    variables=("CODEX_HOME",),
    call_meta=("callId",),
    tells_session_in_meta=True,
    folder=_folder,
    wanted=_wanted,
    program=PROGRAM,
    findings=findings,
    hooks_need=_TRUST,
    subscribed=subscribed,
    limits=LimitFacts(
        agent_counted="yes",
        agent_stopped="at its next tool",
        agent_not_started="where the tool names a role",
        server_counted="yes",
        server_refused="yes",
        plan_told="with each response",
    ),
)
