"""Whether a change of Claude Code's settings would switch the gate's hooks off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tallygate.clients.base import open_regular

SETTINGS_BYTES_MAX = 4 * 1024 * 1024
_OURS = "tallygate"


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
