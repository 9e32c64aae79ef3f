"""Why Claude Code would run none of the gate's hooks, though they are installed."""

from __future__ import annotations

from collections.abc import Iterator

from tallygate.clients.claude_code.guard import CURE, read_settings, stand_in
from tallygate.clients.client import Finding, Surroundings


def findings(where: Surroundings) -> Iterator[Finding]:
    """What switches the hooks off in the settings that are in force here."""
    files = [where.folder("CLAUDE_CONFIG_DIR", ".claude") / "settings.json"]
    if where.project is not None:
        folder = where.project / ".claude"
        files += [folder / "settings.json", folder / "settings.local.json"]
    for file in files:
        settings = read_settings(file)
        if settings is not None and settings.get("disableAllHooks") is True:
            yield Finding(f"{file} switches all hooks off", f"Take disableAllHooks out of {file}.")
    if where.project is not None and (why := stand_in(where.project, where.home, where.environ)) is not None:
        yield Finding(why.removesuffix(f" {CURE}").removesuffix("."), CURE)
    if where.environ.get("CLAUDE_CODE_SIMPLE"):
        yield Finding("CLAUDE_CODE_SIMPLE is set: no hook runs", "Unset CLAUDE_CODE_SIMPLE.")
