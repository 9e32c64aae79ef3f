"""Every client whose hooks we answer."""

from __future__ import annotations

from collections.abc import Mapping

from tallygate.clients.claude_code import hooks as claude_code
from tallygate.clients.codex import hooks as codex
from tallygate.clients.copilot import hooks as copilot
from tallygate.clients.gemini import hooks as gemini
from tallygate.clients.opencode import hooks as opencode
from tallygate.clients.qwen import hooks as qwen
from tallygate.clients.reading.hooks import Hooks
from tallygate.core.hooks import Moment

_ALL = (claude_code, codex, gemini, opencode, qwen, copilot)
HOOKS: Mapping[str, Hooks] = {each.CLIENT: each.HOOKS for each in _ALL}
# What each client's own words for its hooks mean.
MOMENTS: Mapping[str, Mapping[str, Moment]] = {each.CLIENT: each.MOMENTS for each in _ALL}
