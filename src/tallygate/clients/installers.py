"""Every client that Tallygate can be installed in, by the name the command line takes."""

from __future__ import annotations

from collections.abc import Mapping

from tallygate.clients.claude_code.install import CLIENT as CLAUDE_CODE
from tallygate.clients.claude_desktop.install import CLIENT as CLAUDE_DESKTOP
from tallygate.clients.client import Client
from tallygate.clients.codex.install import CLIENT as CODEX
from tallygate.clients.copilot.install import CLIENT as COPILOT
from tallygate.clients.cursor.install import CLIENT as CURSOR
from tallygate.clients.gemini.install import CLIENT as GEMINI
from tallygate.clients.opencode.install import CLIENT as OPENCODE
from tallygate.clients.qwen.install import CLIENT as QWEN
from tallygate.clients.vscode.install import CLIENT as VSCODE
from tallygate.clients.windsurf.install import CLIENT as WINDSURF
from tallygate.clients.zed.install import CLIENT as ZED

_EVERY = (
    CLAUDE_CODE,
    CODEX,
    GEMINI,
    OPENCODE,
    CURSOR,
    VSCODE,
    WINDSURF,
    CLAUDE_DESKTOP,
    ZED,
    COPILOT,
    QWEN,
)
CLIENTS: Mapping[str, Client] = {client.name: client for client in _EVERY}
