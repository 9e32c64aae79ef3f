"""Why Codex would run none of the gate's hooks, though they are installed: nobody has trusted them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tallygate.clients.client import Finding, Surroundings
from tallygate.editing.ours import is_ours
from tallygate.files import open_regular

_BYTES_MAX = 4 * 1024 * 1024
_TRUST = "Start codex, open /hooks and trust the hooks of Tallygate."


def findings(where: Surroundings) -> Iterator[Finding]:
    """The hooks that Codex skips without a word; read from its own record of trust, which is never written."""
    folders = [where.folder("CODEX_HOME", ".codex")]
    if where.project is not None:
        folders.append(where.project / ".codex")
    state = _mapping(_mapping(_toml(folders[0] / "config.toml").get("hooks")).get("state"))
    for folder in folders:
        file = folder / "hooks.json"
        ours = list(_ours(file))
        untrusted = [event for event, key in ours if not _mapping(state.get(key)).get("trusted_hash")]
        off = [event for event, key in ours if _mapping(state.get(key)).get("enabled") is False]
        if untrusted:
            yield Finding(f"Codex has not been told to trust {', '.join(untrusted)} of {file}, and skips them", _TRUST)
        if off:
            yield Finding(f"{', '.join(off)} of {file} are switched off in Codex", "Switch them on in /hooks.")


def _ours(file: Path) -> Iterator[tuple[str, str]]:
    """Events of our hooks in a file, each with the key under which Codex keeps its trust."""
    hooks = _mapping(_json(file).get("hooks"))
    for event, groups in hooks.items():
        word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(event)).lower()
        for group, entry in enumerate(groups if isinstance(groups, list) else []):
            listed = _mapping(entry).get("hooks")
            for number, hook in enumerate(listed if isinstance(listed, list) else []):
                if is_ours(hook):
                    yield str(event), f"{file}:{word}:{group}:{number}"


def _json(path: Path) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(_content(path)))
    except (ValueError, RecursionError):
        return {}


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(_content(path).decode())
    except (ValueError, RecursionError):
        return {}


def _content(path: Path) -> bytes:
    try:
        opened = open_regular(path, None)
        file = None if opened is None else opened[0]
        if file is None:
            return b""
        with file:
            return file.read(_BYTES_MAX)
    except OSError:
        return b""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
