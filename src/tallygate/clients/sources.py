"""Every client whose transcripts we read."""

from __future__ import annotations

from collections.abc import Mapping

from tallygate.clients.claude_code.transcripts import SOURCE as CLAUDE_CODE
from tallygate.clients.codex.transcripts import SOURCE as CODEX
from tallygate.clients.copilot.transcripts import SOURCE as COPILOT
from tallygate.clients.gemini.transcripts import SOURCE as GEMINI
from tallygate.clients.opencode.transcripts import SOURCE as OPENCODE
from tallygate.clients.qwen.transcripts import SOURCE as QWEN
from tallygate.clients.reading.files import Source

_EVERY = (CLAUDE_CODE, CODEX, GEMINI, OPENCODE, QWEN, COPILOT)
SOURCES: Mapping[str, Source] = {source.client: source for source in _EVERY}
