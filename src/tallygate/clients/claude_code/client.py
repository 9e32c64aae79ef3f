"""Claude Code as an installation sees it, and what would switch its hooks off."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tallygate.clients.claude_code.program import PROGRAM
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
    status_command,
    tool_hook,
)
from tallygate.core.guard.nested import Around, NestedClient, file_text, options_of
from tallygate.core.hooks import HookFacts, Moment
from tallygate.core.learning.steps import FIRST_KEPT_LONG
from tallygate.core.regex import regex
from tallygate.core.usage import ReadingRule, ResponseKind
from tallygate.editing.edits import SERVER, TOKEN_HEADER, Edit, FileEdits, Hook, Member, has_our_telemetry, is_ours

# --- guard -----------------------------------------------------------------------------------------------------------
# Whether Claude Code's settings would switch the gate's hooks off, or let another server answer them.


SERVERS_BYTES_MAX = 64 * 1024 * 1024
_PLANS = {"pro", "max", "team", "enterprise"}
# With one of these Claude Code asks an API that is paid by use, whoever is signed in.
_PAID_BY_USE = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX")
_OURS = "tallygate"
CURE = "Take it out, or give it another name."
_NAMED = b'"tallygate"'
# How people write the server by hand. It goes by variables, which a project's settings set: beside an installed one it
# is another. What else is started under its name could be anything.
_BY_HAND = (["tallygate"], ["tallygate", "serve"], ["uvx", "tallygate"], ["uvx", "tallygate", "serve"],
            ["pipx", "run", "tallygate"], ["pipx", "run", "tallygate", "serve"])  # fmt: skip


def weakened(changed: Path, folder: Path | None, home: Path, environ: Mapping[str, str]) -> str | None:
    """A sentence that says how a changed file would take the gate away; None where it does not.

    Looked at are the file itself and, where it has none of the gate's hooks, the other settings files: somewhere
    the hooks must still stand. A file that cannot be read as settings is left to Claude Code, which keeps the old.
    """
    settings = object_in(content_of(changed))
    if settings is None and changed.exists():
        return None
    if settings is not None and settings.get("disableAllHooks") is True:
        return f"{changed.name} would switch all hooks off (disableAllHooks)."
    # One file with our hooks is enough: Claude Code joins the hooks of all its settings files.
    config = Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude")
    files = [changed, config / "settings.json"]
    if folder is not None:
        files += [folder / ".claude" / "settings.json", folder / ".claude" / "settings.local.json"]
    for file in files:
        found = object_in(content_of(file))
        if found is not None and _OURS in json.dumps([found.get("hooks"), found.get("enabledPlugins")]):
            return None
    return f"{changed.name} no longer has Tallygate's hooks. To take them out for good, run: tallygate uninstall"


def stand_in(folder: Path, home: Path, environ: Mapping[str, str]) -> str | None:
    """A sentence that names another server which would answer the gate's hooks in the place of the user's own.

    Claude Code takes a project's server before the user's where both have the same name: what a clone or an agent
    brings along under ours says yes to every tool. Most files do not have the name, and are not taken apart.
    """
    config = environ.get("CLAUDE_CONFIG_DIR")
    texts = [_text(each / ".claude.json") for each in (home, *([Path(config)] if config else []))]
    projects = [(each / ".mcp.json", _text(each / ".mcp.json")) for each in (folder, *folder.parents)]
    if not any(_NAMED in text for _, text in projects) and all(text.count(_NAMED) < 2 for text in texts):
        return None
    users = list(map(_object, texts))
    # A project's settings can name the client's folder to its hooks: the usual place has the first word.
    own = next((server for each in users if (server := _server(each)) is not None), None)
    if own is None:
        return None  # the project's own server is the one that its hooks were made for
    for file, entry in (*_local(users, folder, home), *((file, _server(_object(text))) for file, text in projects)):
        if entry is not None and not _same(entry, own) and not (_by_hand(own) and _by_hand(entry)):
            return (
                f"{file} has another server with the name tallygate, which would answer Tallygate's hooks in the place "
                f"of your own. {CURE}"
            )
    return None


def _text(path: Path) -> bytes:
    return content_of(path, SERVERS_BYTES_MAX)


def _object(raw: bytes) -> Mapping[str, Any]:
    return object_in(raw) or {}


def _local(users: list[Mapping[str, Any]], folder: Path, home: Path) -> Iterator[tuple[str, Any]]:
    """Servers that the user's file has for this project alone."""
    for user in users:
        projects = user.get("projects")
        for name, project in projects.items() if isinstance(projects, Mapping) else ():
            if folder.is_relative_to(name) and isinstance(project, Mapping):
                yield f"{home / '.claude.json'}, for the project {name},", _server(project)


def _server(settings: Mapping[str, Any]) -> Any:
    servers = settings.get("mcpServers")
    return servers.get(_OURS) if isinstance(servers, Mapping) else None


def _same(entry: Any, own: Any) -> bool:
    keys = ("command", "args", "env", "url", "cwd")
    both = (entry, own)
    return all(isinstance(each, Mapping) for each in both) and all(entry.get(key) == own.get(key) for key in keys)


def _by_hand(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or any(entry.get(key) for key in ("env", "url", "cwd")):
        return False
    arguments = entry.get("args", [])
    return isinstance(arguments, list) and [entry.get("command"), *arguments] in _BY_HAND


def subscribed(where: InstallSurroundings) -> bool:
    """Whether Claude Code is signed in with a subscription, and nothing else pays before that does.

    On macOS the sign-in lies in the keychain, which is not opened for this; the account tells it there.
    """
    # In the order in which Claude Code asks: a key in the environment, a helper that prints one, then the sign-in.
    if any(where.environ.get(name) for name in _PAID_BY_USE):
        return False
    config = _folder(where)
    if "apiKeyHelper" in (_object(content_of(config / "settings.json"))):
        return False
    signed_in = _object(content_of(config / ".credentials.json")).get("claudeAiOauth")
    account = _object(_text(_server_file(where))).get("oauthAccount")
    plan = signed_in.get("subscriptionType") if isinstance(signed_in, dict) else None
    billing = account.get("billingType") if isinstance(account, dict) else None
    return plan in _PLANS or (plan is None and billing == "stripe_subscription")


# --- diagnosis -------------------------------------------------------------------------------------------------------
# Why Claude Code would run none of the gate's hooks, though they are installed.


def findings(where: InstallSurroundings) -> Iterator[Obstacle]:
    """What switches the hooks off in the settings that are in force here."""
    files = [_folder(where) / "settings.json"]
    if where.project is not None:
        folder = where.project / ".claude"
        files += [folder / "settings.json", folder / "settings.local.json"]
    for file in files:
        settings = object_in(content_of(file))
        if settings is not None and settings.get("disableAllHooks") is True:
            yield Obstacle(f"{file} switches all hooks off", f"Take disableAllHooks out of {file}.")
    if where.project is not None and (why := stand_in(where.project, where.home, where.environ)) is not None:
        yield Obstacle(why.removesuffix(f" {CURE}").removesuffix("."), CURE)
    if where.environ.get("CLAUDE_CODE_SIMPLE"):
        yield Obstacle("CLAUDE_CODE_SIMPLE is set: no hook runs", "Unset CLAUDE_CODE_SIMPLE.")


def doubled(where: InstallSurroundings) -> Obstacle | None:
    """The plugin of Tallygate, where one is switched on for the user or in this project."""
    on: dict[str, Any] = {}
    folders = [_folder(where), *([where.project / ".claude"] if where.project is not None else [])]
    for file in (folder / name for folder in folders for name in ("settings.json", "settings.local.json")):
        found = (object_in(content_of(file)) or {}).get("enabledPlugins")
        # The later file has the last word on each plugin, as in Claude Code.
        on |= found if isinstance(found, Mapping) else {}
    name = next((each for each, is_on in on.items() if is_on and each.partition("@")[0] == SERVER), None)
    if name is None:
        return None
    keep = f"Keep one of the two: claude plugin disable {name}, or tallygate uninstall --client claude-code"
    return Obstacle(f"the plugin {name} brings the same hooks: each runs twice, and counts once", keep)


# --- install ---------------------------------------------------------------------------------------------------------
# What Claude Code needs: server, hooks, rule, status line, and telemetry sent to this machine.


_CLIENT = "claude_code"
# Of a tool's input: what its command or its edit of a file is judged by, and the agent or the skill that it starts.
# What a tool does not have is empty text.
TOOL_INPUT = (
    "command", "file_path", "notebook_path", "path", "old_string", "new_string", "replace_all", "content", "cmd",
    "script", "code", "source", "destination", "subagent_type", "skill", "prompt",
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
_TELEMETRY = regex(r"OTEL_\w+|(CLAUDE_CODE|BETA)_\w*(TELEMETRY|TRACING)\w*")


def hook_entry(event: str, command: Mapping[str, Any], *, hard: bool, server: str = SERVER) -> dict[str, Any]:
    """One hook; where the policy is hard, those that can stop something also stop when they fail."""
    entry = dict(command)
    if event in TOOL_HOOKS:
        entry = tool_hook(_CLIENT, event, TOOL_HOOKS[event], server)
    if event == "PreToolUse":
        entry["input"]["tool_input"] = {name: f"${{tool_input.{name}}}" for name in TOOL_INPUT}
    if event == "PostToolBatch":
        # The batch is known by its first tool. What the tools gave back is looked at for loops, and not kept.
        entry["input"]["tool_use_id"] = "${tool_calls.0.tool_use_id}"
        entry["input"]["tool_calls"] = "${tool_calls}"
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


def _folder(where: InstallSurroundings) -> Path:
    return where.folder("CLAUDE_CONFIG_DIR", ".claude")


def _signs(where: InstallSurroundings) -> tuple[Path, ...]:
    return (_server_file(where),)


def _server_file(where: InstallSurroundings) -> Path:
    """The file with the user's servers: beside the settings' folder, or in it where a variable names that."""
    given = where.folder("CLAUDE_CONFIG_DIR")
    return where.home / ".claude.json" if given == where.home else given / ".claude.json"


def _wanted(where: InstallSurroundings, scope: InstallScope) -> Requirements:
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
        {"type": "command", "command": status_command(where, _CLIENT)},
        lambda settings: settings.get("statusLine") is not None and not is_ours(settings["statusLine"]),
        "has a status line of yours, which stays; `tallygate statusline` prints what it would show.",
    )
    telemetry_edits = _telemetry_edits(where, notes)
    if scope is InstallScope.USER:
        folder = _folder(where)
        return Requirements(
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
    return Requirements(tuple(files), tuple(notes))


def _telemetry_edits(where: InstallSurroundings, notes: list[str]) -> tuple[Edit, ...]:
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


# --- nested ----------------------------------------------------------------------------------------------------------
# One that an agent starts in a shell, and what takes the hooks from it.


def _taken_by(given: list[str], around: Around) -> Iterator[str]:
    """What it may be given that takes the gate from it: another server of our name, or settings without our hooks."""
    for value in _servers(given):
        if '"tallygate"' in (value if value.lstrip().startswith("{") else file_text(value, around)):
            yield f"--mcp-config {value}"
    for name, value in options_of(given, "--setting-sources", "--settings"):
        sources = {each.strip() for each in value.split(",")}
        # Only where the project has our hooks are its settings a source that keeps them.
        in_project = any("/.claude/" in entry and not entry.startswith(f"{around.home}/.") for entry in around.entries)
        if name == "--setting-sources" and not sources & {"user", *(("project", "local") if in_project else ())}:
            yield f"{name} {value}".strip()
        if name == "--settings":
            text = value if value.lstrip().startswith("{") else file_text(value, around)
            if "disableAllHooks" in text:
                yield "disableAllHooks"


def _servers(given: list[str]) -> Iterator[str]:
    """The words of an option that takes any number of them."""
    taking = False
    for word in given:
        if word.startswith("-"):
            name, _, value = word.partition("=")
            taking = name == "--mcp-config"
            if taking and value:
                yield value
        elif taking:
            yield word


_NESTED = NestedClient(
    PROGRAM.packages[0],
    ".claude",
    "/.claude/",
    frozenset({"--bare", "--safe-mode", "--restricted"}),
    ("CLAUDE_CODE_SIMPLE", "CLAUDE_CODE_SAFE_MODE", "CLAUDE_CODE_RESTRICTED"),
    {"CLAUDE_CONFIG_DIR": ".claude"},
    more=_taken_by,
)


# --- client ----------------------------------------------------------------------------------------------------------
# Everything that is true of it.


# How its readers come to a row: texts that stand in ledgers, and never change.
RESPONSE = ReadingRule("claude.response")
SUBAGENT = ReadingRule("claude.subagent", ResponseKind.SUBAGENT)
SIDECHAIN = ReadingRule("claude.sidechain", ResponseKind.SIDE)
PROGRESS = ReadingRule("claude.agent_progress", ResponseKind.PROGRESS)
ADVISOR = ReadingRule("claude.advisor", ResponseKind.BESIDE)
TELEMETRY = ReadingRule("claude.telemetry", ResponseKind.TELEMETRY)
TELEMETRY_SUBAGENT = ReadingRule("claude.telemetry_subagent", ResponseKind.TELEMETRY_SUBAGENT)
AUXILIARY = ReadingRule("claude.auxiliary", ResponseKind.AUXILIARY)
# Its tools are followed by an event for all tools of a response. A refused subagent ends by itself, and its main agent
# may have less to ask for; in print mode whatever is refused looks like success.
_FACTS = HookFacts(
    reserves_at=frozenset({Moment.PROMPT, Moment.TOOLS_DONE, Moment.AGENT_START}),
    agents_begin_unasked=True,
    first_call=FIRST_KEPT_LONG,
    first_model="claude-opus-4-7",
    ends_at=frozenset({Moment.PROMPT, Moment.TOOL, Moment.TOOLS_DONE}),
    agents_end_by_themselves=True,
    lands_first=True,
    begins_anew=True,
    told_at_end=frozenset(),
)
CLIENT = Client(
    name="claude-code",
    title="Claude Code",
    stored_as=_CLIENT,
    calls_itself=("claudecode", "claude"),
    says_beside=("anthropic",),
    family="claude",
    transcripts=Deferred("tallygate.clients.claude_code.transcripts", "SOURCE"),
    hooks=Deferred("tallygate.clients.claude_code.hooks", "HOOKS"),
    facts=_FACTS,
    gating_events=_GATING,
    nested=_NESTED,
    rules=(RESPONSE, SUBAGENT, SIDECHAIN, PROGRESS, ADVISOR, TELEMETRY, TELEMETRY_SUBAGENT, AUXILIARY),
    telemetry=Deferred("tallygate.clients.claude_code.telemetry", "read_events"),
    variables=("CLAUDE_CONFIG_DIR",),
    workspace_variables=("CLAUDE_PROJECT_DIR",),
    project_variables=("CLAUDE_PROJECT_DIR",),
    call_meta=("claudecode/toolUseId",),
    keys_of_calls=("claudecode/toolUseId",),
    folder=_folder,
    signs=_signs,
    wanted=_wanted,
    program=PROGRAM,
    findings=findings,
    weakened=weakened,
    stand_in=stand_in,
    hooks_answer_forms=True,
    subscribed=subscribed,
    doubled=doubled,
    limits=LimitFacts(
        agent_counted="yes",
        agent_stopped="at its next tool or model call",
        agent_not_started="where `init` of this version has set the hooks",
        skill_counted="yes",
        skill_not_begun="where `init` of this version has set the hooks; one that you type runs",
        server_counted="yes",
        server_refused="yes",
        plan_told="in its status line",
    ),
    status_line=Deferred("tallygate.clients.claude_code.status_line", "read_status"),
)
