"""Every client whose hooks we answer."""

from __future__ import annotations

from collections.abc import Mapping

from tallygate.clients.claude_code.hooks import HOOKS as CLAUDE_CODE
from tallygate.clients.codex.hooks import HOOKS as CODEX
from tallygate.clients.copilot.hooks import HOOKS as COPILOT
from tallygate.clients.gemini.hooks import HOOKS as GEMINI
from tallygate.clients.opencode.hooks import HOOKS as OPENCODE
from tallygate.clients.qwen.hooks import HOOKS as QWEN
from tallygate.clients.reading.hooks import Hooks

HOOKS: Mapping[str, Hooks] = {hooks.client: hooks for hooks in (CLAUDE_CODE, CODEX, GEMINI, OPENCODE, QWEN, COPILOT)}
