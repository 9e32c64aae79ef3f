"""What clients are called: one spelling of each name, however settings, commands and clients themselves write it."""

from __future__ import annotations

from collections.abc import Iterable


def client_name(text: str) -> str:
    """The one spelling of a client's name: `claude_code`, `claude code` and `Claude Code` are `claude-code`.

    >>> client_name("Claude Code"), client_name("claude_code"), client_name("codex")
    ('claude-code', 'claude-code', 'codex')
    """
    return "-".join(text.replace("_", " ").replace("-", " ").lower().split())


def client_among(text: str, names: Iterable[str]) -> str | None:
    """The one of some names that is meant, as it stands there; None where none of them is."""
    wanted = client_name(text)
    return next((name for name in names if client_name(name) == wanted), None)
