"""Whether an edit of a client's file leaves our entries in it as they are: judged by the outcome, not by the words."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tallygate.clients.installing import json_edits as at
from tallygate.clients.installing.entries import SERVER, has_our_telemetry, is_ours
from tallygate.clients.installing.jsonc import Malformed, plain
from tallygate.core.guarded import Edit
from tallygate.files import open_regular

BYTES_MAX = 16 * 1024 * 1024
_SERVERS = ("mcpServers", "mcp_servers", "mcp", "servers", "context_servers")
_KEYS = frozenset({*_SERVERS, "hooks", "env", "disableAllHooks", "hooksConfig", "features", "projects"})
_TELEMETRY = ("CLAUDE_CODE_ENABLE_TELEMETRY", "OTEL_LOGS_EXPORTER", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")


def loses(edit: Edit) -> bool:
    """Whether a client's file has entries of ours now that it will not have, or not in force, after an edit.

    Where the outcome cannot be told, or is a file that its client cannot read, they are taken for lost.
    """
    before = read_text(edit.path)
    if before is None:
        return False
    held = _entries(edit.path, before)
    if held is None or not held[0]:
        return False
    after = read_text(edit.source) if edit.source is not None else edit.outcome(before)
    if after is None:
        return edit.source is None
    left = _entries(edit.path, after)
    return left is None or not held[0] <= left[0] or not left[1] <= held[1]


def _entries(path: str, text: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """Our entries in a file, and what in it would switch them off; None where it cannot be read."""
    text = text.removeprefix("\ufeff")
    try:
        values = tomllib.loads(text) if path.endswith(".toml") else _json(text)
    except (Malformed, ValueError, RecursionError):
        return None
    return frozenset(_ours(values)), frozenset(_switches(values))


def _json(text: str) -> Mapping[Any, Any]:
    """What we have to do with in a file that may have comments; the rest may be large."""
    try:
        return {key: value for key, value in _mapping(json.loads(text)).items() if key in _KEYS}
    except ValueError:
        root = at.root_of(text)
        children = () if root is None else root.children
        return {child.key: plain(text, child.node) for child in children if child.key in _KEYS}


def _ours(values: Mapping[Any, Any]) -> Iterator[str]:
    for key in _SERVERS:
        if (server := _mapping(values.get(key)).get(SERVER)) is not None:
            yield _said(key, server)
    for event, listed in _mapping(values.get("hooks")).items():
        for group in listed if isinstance(listed, list) else ():
            inside = _mapping(group).get("hooks")
            for entry in inside if isinstance(inside, list) else [group]:
                if is_ours(entry):
                    yield _said("hook", event, _mapping(group).get("matcher"), entry)
    variables = values.get("env")
    if has_our_telemetry(variables):
        yield from (_said(name, _mapping(variables).get(name)) for name in _TELEMETRY)


def _switches(values: Mapping[Any, Any]) -> Iterator[str]:
    if values.get("disableAllHooks") is True:
        yield "disableAllHooks"
    config, features = _mapping(values.get("hooksConfig")), _mapping(values.get("features"))
    if config.get("enabled") is False:
        yield "hooksConfig"
    for name, listed in (
        ("hooksConfig", config.get("disabled")),
        ("hooks", _mapping(values.get("hooks")).get("disabled")),
    ):
        if SERVER in json.dumps(listed):
            yield f"{name}.disabled"
    for name in ("hooks", "codex_hooks", "plugin_hooks"):
        if features.get(name) is False:
            yield f"features.{name}"
    for name, project in _mapping(values.get("projects")).items():
        # A project's server of our name stands before the user's.
        if (server := _mapping(_mapping(project).get("mcpServers")).get(SERVER)) is not None:
            yield _said("projects", name, server)
    excluded = _mapping(values.get("mcp")).get("excluded")
    if isinstance(excluded, list) and SERVER in excluded:
        yield "mcp.excluded"


def _said(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, default=str)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def read_text(path: str) -> str | None:
    """A file as it stands; None where there is none that can be read."""
    try:
        opened = open_regular(Path(path), None)
        file = None if opened is None else opened[0]
        if file is None:
            return None
        with file:
            raw = file.read(BYTES_MAX + 1)
        return raw.decode() if len(raw) <= BYTES_MAX else None
    except (OSError, ValueError):
        return None
