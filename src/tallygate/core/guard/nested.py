"""Whether a shell command starts another client where Tallygate's hooks do not run: in another home, or without them.

A client that an agent starts in a shell spends the budget of the one around it, because both have the same hooks. What
takes those from the inner one is seen here as far as words tell, and as a file of settings says that they name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import field
from itertools import pairwise

from tallygate.core.regex import regex
from tallygate.core.values import value

_STARTERS: Mapping[str, tuple[str, ...]] = {
    "npx": (), "bunx": (), "pnpx": (), "npm": ("exec", "x"), "pnpm": ("dlx", "exec"), "yarn": ("dlx",), "bun": ("x",),
}  # fmt: skip
# Words of a client that run no agent.
_NO_RUN = frozenset({
    "--version", "-v", "-V", "--help", "-h", "agents", "auth", "completion", "config", "debug", "doctor", "export",
    "extensions", "features", "help", "hooks", "import", "install", "login", "logout", "mcp", "models", "plugin",
    "plugins", "skills", "stats", "uninstall", "update", "upgrade", "version",
})  # fmt: skip


_OFF = ("0", "", "false", "no", "off", "none")
# What a file of settings says that leaves the user's hooks out.
_SWITCHES_OFF = regex(
    r"disableAllHooks|hooksDisabled|allowManagedHooksOnly|hooksConfig|\"hooks\"|strictPluginOnlyCustomization"
)


def unread(_: str) -> None:
    """Nothing is known of a file that nobody reads."""


@value(frozen=True, slots=True)
class Around:
    """What a command is held against: the user's home, the files with entries of ours, and where it runs.

    `known` are the variables as they are by then, `full` makes a path of a word, and `text` is the whole command.
    `clients` are those that are known, by the names of their programs.
    """

    home: str
    entries: Collection[str]
    known: Mapping[str, str]
    full: Callable[[str], str]
    text: str = ""
    text_of: Callable[[str], str | None] = unread
    clients: Mapping[str, NestedClient] = field(default_factory=dict)

    def has(self, folder: str, below: str) -> bool:
        """Whether entries of ours lie where a client would look: in what is below a folder, and not anywhere in it."""
        at = f"{folder.rstrip('/')}/{below}".rstrip("/")
        return any(entry.rpartition("/")[0] == at or entry.startswith(f"{at}/plugin") for entry in self.entries)


def nothing_more(_given: list[str], _around: Around) -> Iterator[str]:
    """A client of which its words and variables tell all."""
    return iter(())


@value(frozen=True, slots=True)
class NestedClient:
    """What takes the hooks from one client: words, variables that switch, and what names another folder or file.

    `usual` is where its settings lie below the home, and `mark` what the path of a file with our entries has in it.
    `folders` are variables with what each names, below the home, and `options` options that name the folder `usual`.
    `files` are variables that name a file of settings which stands above the user's own. `features` are switches whose
    end is that of its hooks, and `more` finds what takes a closer look at what it is given.
    """

    package: str
    usual: str
    mark: str
    words: frozenset[str] = frozenset()
    switches: tuple[str, ...] = ()
    folders: Mapping[str, str] | None = None
    options: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    features: frozenset[str] = frozenset({"hooks"})
    more: Callable[[list[str], Around], Iterator[str]] = nothing_more


def ungated(program: str, given: list[str], around: Around) -> str | None:
    """What of a command would start a client without the hooks that it has here; None where it has them, or never had.

    >>> known = {"agent": NestedClient("an-agent", ".agent", "/.agent/", frozenset({"--bare"}))}
    >>> here = Around("/h", ["/h/.agent/settings.json"], {"HOME": "/h"}, str, clients=known)
    >>> ungated("agent", ["--bare", "-p", "go on"], here), ungated("agent", ["-p", "go on"], here)
    ('--bare', None)
    """
    program, given = _started(program, given, around.clients)
    client = around.clients.get(program)
    if client is None or _NO_RUN.intersection(given[:1]):
        return None
    # A client that has no hooks here loses none, however it is started.
    if not any(client.mark in entry for entry in around.entries):
        return None
    # From the plainest to the farthest: an option, a variable, what the client alone knows, settings above, another
    # home.
    found = next((word for word in given if word in client.words), None)
    if found is None:
        found = next((name for name in client.switches if around.known.get(name, "").lower() not in _OFF), None)
    found = found or next(client.more(given, around), None)
    return found or next(_above(client, around), None) or _elsewhere(client, given, around)


def _started(program: str, given: list[str], clients: Mapping[str, NestedClient]) -> tuple[str, list[str]]:
    """The client that a package runner starts, and what it is given; the program itself where that is none."""
    if program not in _STARTERS:
        return program, given
    words = given[1:] if given[:1] and given[0] in _STARTERS[program] else given
    for at, word in enumerate(words):
        for name, client in clients.items():
            if word == client.package or word.startswith(f"{client.package}@"):
                rest = words[at + 1 :]
                return name, rest[1:] if rest[:1] in (["--"], [name]) else rest
    return program, given


def file_text(name: str, around: Around) -> str:
    """What a file of settings says, or will say where the same command writes it."""
    return f"{around.text_of(around.full(name)) or ''}\n{around.text}"


def _above(client: NestedClient, around: Around) -> Iterator[str]:
    """The variables that put settings above the user's, where these could leave hooks out."""
    for name in client.files:
        if not (value := around.known.get(name, "")) or value == "/dev/null":
            continue
        text = around.text_of(around.full(value))
        # A file that nobody has read could say anything.
        if text is None or _SWITCHES_OFF.search(f"{text}\n{around.text}"):
            yield f"{name}={value}"


def leaves(program: str, given: list[str], clients: Mapping[str, NestedClient]) -> bool:
    """Whether a client is told to forget our server or plugin, to take another for it, or to run no hooks any more."""
    client = clients.get(program)
    if client is None:
        return False
    if given[:2] == ["features", "disable"]:
        return not client.features.isdisjoint(given[2:])
    if given[:1] == ["hooks"] and given[1:2] in (["disable-all"], ["disableAll"]):
        return True
    # To read whether hooks are off is free; every other word about it may set it.
    if given[:1] == ["config"] and any("disableAllHooks" in word for word in given):
        return "get" not in given
    # Behind `--` stand the words of the server that is added: our name there is an argument, not the name it gets.
    before = given[: given.index("--")] if "--" in given else given
    if before[:1] == ["mcp"] and before[1:2] and before[1].startswith("add") and "tallygate" in before[2:]:
        return True
    ours = any(word == "tallygate" or word.startswith("tallygate@") for word in given)
    return ours and bool({"remove", "rm", "uninstall", "disable"}.intersection(given[:4]))


def options_of(given: list[str], *names: str) -> Iterator[tuple[str, str]]:
    """Options with their values, in both spellings."""
    for word, following in pairwise([*given, ""]):
        for name in names:
            if word == name:
                yield name, following
            elif word.startswith(f"{name}="):
                yield name, word.partition("=")[2]


def _elsewhere(client: NestedClient, given: list[str], around: Around) -> str | None:
    """The variable or option by which a client would look for its settings where ours are not."""
    for name, told in options_of(given, *client.options):
        folder = around.full(told)
        same = folder == f"{around.home}/{client.usual}"
        return None if same or around.has(folder, "") else f"{name} {told}"
    for name, named in (client.folders or {}).items():
        if name in around.known:
            folder = around.full(around.known[name])
            same = folder == f"{around.home}/{named}".rstrip("/")
            below = client.usual.removeprefix(named).lstrip("/")
            return None if same or around.has(folder, below) else f"{name}={around.known[name]}"
    moved = around.full(around.known.get("HOME", around.home))
    return None if moved == around.home or around.has(moved, client.usual) else f"HOME={around.known['HOME']}"
