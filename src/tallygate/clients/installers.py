"""Every client that Tallygate can be installed in, by the name the command line takes."""

from __future__ import annotations

from collections.abc import Mapping

from tallygate.clients.claude_code.client import CLIENT as CLAUDE_CODE
from tallygate.clients.claude_desktop.client import CLIENT as CLAUDE_DESKTOP
from tallygate.clients.client import Client
from tallygate.clients.codex.client import CLIENT as CODEX
from tallygate.clients.copilot.client import CLIENT as COPILOT
from tallygate.clients.cursor.client import CLIENT as CURSOR
from tallygate.clients.gemini.client import CLIENT as GEMINI
from tallygate.clients.opencode.client import CLIENT as OPENCODE
from tallygate.clients.qwen.client import CLIENT as QWEN
from tallygate.clients.vscode.client import CLIENT as VSCODE
from tallygate.clients.windsurf.client import CLIENT as WINDSURF
from tallygate.clients.zed.client import CLIENT as ZED

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
