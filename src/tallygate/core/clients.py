"""What clients are called: one spelling of each name, however settings, commands and clients themselves write it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from tallygate.core.text import plain_letters

UNNAMED = "unknown"
# How clients call themselves where they connect, their signs left out, and the name that they are known by here.
_KNOWN = {
    "claudedesktop": "claude-desktop",
    "claudeai": "claude-desktop",
    "claudecode": "claude-code",
    "claude": "claude-code",
    "codex": "codex",
    "githubcopilot": "copilot",
    "copilot": "copilot",
    "cursor": "cursor",
    "gemini": "gemini",
    "opencode": "opencode",
    "qwencode": "qwen",
    "qwen": "qwen",
    "visualstudiocode": "vscode",
    "vscode": "vscode",
    "windsurf": "windsurf",
    "zed": "zed",
}
_LONGEST_FIRST = sorted(_KNOWN, key=len, reverse=True)
# What a client's own name may say beside it. Behind `mcp-client` some write which server they are connected to.
_BESIDE = frozenset(
    {
        "",
        "agent",
        "anthropic",
        "app",
        "cli",
        "client",
        "developer",
        "editor",
        "google",
        "ide",
        "insiders",
        "mcp",
        "openai",
    }
    | {"microsoft", "vscode"}
)


def client_name(text: str) -> str:
    """The one spelling of a client's name: `claude_code`, `claude code` and `Claude Code` are `claude-code`.

    Dashes of any kind are one, what cannot be seen says nothing, and letters that look alike are the same.

    >>> client_name("Claude Code"), client_name("claude_code"), client_name("codex")
    ('claude-code', 'claude-code', 'codex')
    >>> client_name("Claude\u2014\u200bCode")
    'claude-code'
    """
    return "-".join(plain_letters(text).replace("_", " ").replace("-", " ").split())


def client_among(text: str, names: Iterable[str]) -> str | None:
    """The one of some names that is meant, as it stands there; None where none of them is."""
    wanted = client_name(text)
    return next((name for name in names if client_name(name) == wanted), None)


def known_client(text: str) -> str | None:
    """The client that calls itself so where it connects; None for one that is not known here.

    >>> known_client("codex-mcp-client"), known_client("Visual Studio Code"), known_client("my-codex-bot")
    ('codex', 'vscode', None)
    """
    name = client_name(text).partition("-mcp-client")[0]
    words = [word for each in name.split("-") for word in each.split("/")]
    for known in _LONGEST_FIRST:
        for start in range(len(words)):
            for end in range(start + 1, min(start + 4, len(words) + 1)):
                if "".join(words[start:end]) == known and all(map(_says_nothing, words[:start] + words[end:])):
                    return _KNOWN[known]
    return None


@lru_cache(maxsize=4096)
def names_of(client: str) -> tuple[str, ...]:
    """All that a client is limited by: the name it has, and the one that it is known by."""
    name, known = client_name(client), known_client(client)
    return (name,) if known in (None, name) else (str(known), name)


def named(said: str | None, connected: str) -> tuple[str, str | None]:
    """What a session's client is called, and what else: by what an agent said and by who is connected.

    Who is connected has been seen, so a known one names the session, and what the agent said stands beside. Of a
    program that nobody knows the agent can say more than its name does. Limits hold for both, whoever is named.

    >>> named("cursor", "claude-code"), named("nightly", "python-sdk"), named(None, "codex-mcp-client")
    (('claude-code', 'cursor'), ('nightly', 'python-sdk'), ('codex', 'codex-mcp-client'))
    """
    seen = known_client(connected)
    said = None if said is None or client_name(said) in ("", UNNAMED) else said
    if said is None:
        return (connected, None) if seen is None else (seen, None if client_name(connected) == seen else connected)
    if seen is not None:
        return (seen, None) if client_name(said) == seen else (seen, said)
    return (said, None) if client_name(connected) in (UNNAMED, client_name(said)) else (said, connected)


def _says_nothing(word: str) -> bool:
    return word in _BESIDE or word.lstrip("v").replace(".", "").isdigit()
