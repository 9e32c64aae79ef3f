"""Whether Claude Code's settings would switch the gate's hooks off, or let another server answer them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tallygate.files import open_regular

SETTINGS_BYTES_MAX = 4 * 1024 * 1024
SERVERS_BYTES_MAX = 64 * 1024 * 1024
_OURS = "tallygate"
CURE = "Take it out, or give it another name."
_NAMED = b'"tallygate"'
# How people write the server by hand. What else is started under its name could be anything.
_BY_HAND = (["tallygate"], ["tallygate", "serve"], ["uvx", "tallygate"], ["uvx", "tallygate", "serve"],
            ["pipx", "run", "tallygate"], ["pipx", "run", "tallygate", "serve"])  # fmt: skip


def weakened(changed: Path, folder: Path | None, home: Path, environ: Mapping[str, str]) -> str | None:
    """A sentence that says how a changed file would take the gate away; None where it does not.

    Looked at are the file itself and, where it has none of the gate's hooks, the other settings files: somewhere
    the hooks must still stand. A file that cannot be read as settings is left to Claude Code, which keeps the old.
    """
    settings = read_settings(changed)
    if settings is None and changed.exists():
        return None
    if settings is not None and settings.get("disableAllHooks") is True:
        return f"{changed.name} would switch all hooks off (disableAllHooks)."
    config = Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude")
    files = [changed, config / "settings.json"]
    if folder is not None:
        files += [folder / ".claude" / "settings.json", folder / ".claude" / "settings.local.json"]
    for file in files:
        found = read_settings(file)
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
    own = [_server(each) for each in users if _server(each) is not None]
    if not own:
        return None  # the project's own server is the one that its hooks were made for
    for file, entry in (*_local(users, folder, home), *((file, _server(_object(text))) for file, text in projects)):
        if entry is not None and not any(_same(entry, each) for each in own) and not _by_hand(entry):
            return (
                f"{file} has another server with the name tallygate, which would answer Tallygate's hooks in the place "
                f"of your own. {CURE}"
            )
    return None


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


def _text(path: Path) -> bytes:
    """A file's bytes; none where it is not there, or is no file to read."""
    try:
        opened = open_regular(path, None)
        file = None if opened is None else opened[0]
        if file is None:
            return b""
        with file:
            raw = file.read(SERVERS_BYTES_MAX + 1)
    except (OSError, ValueError):
        return b""
    return raw if len(raw) <= SERVERS_BYTES_MAX else b""


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_settings(path: Path) -> Mapping[str, Any] | None:
    """A settings file as it stands; None where it is not there or cannot be read as settings."""
    try:
        opened = open_regular(path, None)
        file = None if opened is None else opened[0]
        if file is None:
            return None
        with file:
            raw = file.read(SETTINGS_BYTES_MAX + 1)
        found = json.loads(raw) if len(raw) <= SETTINGS_BYTES_MAX else None
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
