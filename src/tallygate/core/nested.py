"""Whether a shell command starts another client where Tallygate's hooks do not run: in another home, or without them.

A client that an agent starts in a shell spends the budget of the one around it, because both have the same hooks. What
takes those from the inner one is seen here as far as words tell; a file of settings is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

_STARTERS: Mapping[str, tuple[str, ...]] = {
    "npx": (), "bunx": (), "pnpx": (), "npm": ("exec", "x"), "pnpm": ("dlx", "exec"), "yarn": ("dlx",), "bun": ("x",),
}  # fmt: skip
# Words of a client that run no agent.
_NO_RUN = frozenset({
    "--version", "-v", "-V", "--help", "-h", "agents", "auth", "completion", "config", "debug", "doctor", "export",
    "extensions", "features", "help", "hooks", "import", "install", "login", "logout", "mcp", "models", "plugin",
    "plugins", "skills", "stats", "uninstall", "update", "upgrade", "version",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Client:
    """What takes the hooks from one client: words, variables that switch, and variables that name another folder.

    `usual` is where its settings lie below the home, and `mark` what the path of a file with our entries has in it.
    `folders` are variables with what each names, below the home.
    """

    package: str
    usual: str
    mark: str
    words: frozenset[str] = frozenset()
    switches: tuple[str, ...] = ()
    folders: Mapping[str, str] | None = None


_CLIENTS: Mapping[str, _Client] = {
    "claude": _Client(
        "@anthropic-ai/claude-code",
        ".claude",
        "/.claude/",
        frozenset({"--bare", "--safe-mode", "--restricted"}),
        ("CLAUDE_CODE_SIMPLE", "CLAUDE_CODE_SAFE_MODE"),
        {"CLAUDE_CONFIG_DIR": ".claude"},
    ),
    "codex": _Client(
        "@openai/codex", ".codex", "/.codex/", frozenset({"--ignore-user-config"}), folders={"CODEX_HOME": ".codex"}
    ),
    "gemini": _Client("@google/gemini-cli", ".gemini", "/.gemini/", folders={"GEMINI_CLI_HOME": ""}),
    "opencode": _Client(
        "opencode-ai",
        ".config/opencode",
        "/opencode",
        frozenset({"--pure"}),
        ("OPENCODE_PURE",),
        {"XDG_CONFIG_HOME": ".config"},
    ),
    "qwen": _Client(
        "@qwen-code/qwen-code", ".qwen", "/.qwen/", frozenset({"--bare", "--safe-mode"}), folders={"QWEN_HOME": ".qwen"}
    ),
    "copilot": _Client("@github/copilot", ".copilot", "/.copilot/", folders={"COPILOT_HOME": ".copilot"}),
}
_OFF = ("0", "", "false")


@dataclass(frozen=True, slots=True)
class Around:
    """What a command is held against: the user's home, the files with entries of ours, and where it runs.

    `known` are the variables as they are by then, `full` makes a path of a word, and `text` is the whole command.
    """

    home: str
    entries: Collection[str]
    known: Mapping[str, str]
    full: Callable[[str], str]
    text: str = ""

    def has(self, folder: str, below: str) -> bool:
        """Whether entries of ours lie where a client would look: in what is below a folder, and not anywhere in it."""
        at = f"{folder.rstrip('/')}/{below}".rstrip("/")
        return any(entry.rpartition("/")[0] == at or entry.startswith(f"{at}/plugin") for entry in self.entries)


def ungated(program: str, given: list[str], around: Around) -> str | None:
    """What of a command would start a client without the hooks that it has here; None where it has them, or never had.

    >>> here = Around("/h", ["/h/.claude/settings.json"], {"HOME": "/h"}, str)
    >>> ungated("claude", ["--bare", "-p", "go on"], here), ungated("claude", ["-p", "go on"], here)
    ('--bare', None)
    """
    program, given = _started(program, given)
    client = _CLIENTS.get(program)
    if client is None or _NO_RUN.intersection(given[:1]):
        return None
    if not any(client.mark in entry for entry in around.entries):
        return None
    found = next((word for word in given if word in client.words), None)
    if found is None:
        found = next((name for name in client.switches if around.known.get(name, "") not in _OFF), None)
    if found is None and program in {"claude", "codex"}:
        found = next(_of_claude(given, around) if program == "claude" else _of_codex(given), None)
    return found or _elsewhere(client, around)


def _started(program: str, given: list[str]) -> tuple[str, list[str]]:
    """The client that a package runner starts, and what it is given; the program itself where that is none."""
    if program not in _STARTERS:
        return program, given
    words = given[1:] if given[:1] and given[0] in _STARTERS[program] else given
    for at, word in enumerate(words):
        for name, client in _CLIENTS.items():
            if word == client.package or word.startswith(f"{client.package}@"):
                rest = words[at + 1 :]
                return name, rest[1:] if rest[:1] in (["--"], [name]) else rest
    return program, given


def _of_claude(given: list[str], around: Around) -> Iterator[str]:
    for name, value in _options(given, "--setting-sources", "--settings"):
        sources = {each.strip() for each in value.split(",")}
        in_project = any("/.claude/" in entry and not entry.startswith(f"{around.home}/.") for entry in around.entries)
        if name == "--setting-sources" and not sources & {"user", *(("project", "local") if in_project else ())}:
            yield f"{name} {value}".strip()
        # Also where the file that is named was written by the same command.
        if name == "--settings" and "disableAllHooks" in (value if value.lstrip().startswith("{") else around.text):
            yield "disableAllHooks"


def _of_codex(given: list[str]) -> Iterator[str]:
    for name, value in _options(given, "--disable", "-c", "--config"):
        if name == "--disable" and value == "hooks":
            yield "--disable hooks"
        if name != "--disable" and value.replace(" ", "").startswith(("features.hooks=false", "mcp_servers.tallygate")):
            yield f"{name} {value}"


def _options(given: list[str], *names: str) -> Iterator[tuple[str, str]]:
    """Options with their values, in both spellings."""
    for word, following in pairwise([*given, ""]):
        for name in names:
            if word == name:
                yield name, following
            elif word.startswith(f"{name}="):
                yield name, word.partition("=")[2]


def _elsewhere(client: _Client, around: Around) -> str | None:
    """The variable by which a client would look for its settings where ours are not."""
    for name, named in (client.folders or {}).items():
        if name in around.known:
            folder = around.full(around.known[name])
            same = folder == f"{around.home}/{named}".rstrip("/")
            below = client.usual.removeprefix(named).lstrip("/")
            return None if same or around.has(folder, below) else f"{name}={around.known[name]}"
    moved = around.full(around.known.get("HOME", around.home))
    return None if moved == around.home or around.has(moved, client.usual) else f"HOME={around.known['HOME']}"
