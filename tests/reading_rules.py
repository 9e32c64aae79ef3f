"""Every reading rule by its client's name and its own, for tests that speak of several clients."""

from __future__ import annotations

from tallygate.clients.claude_code import client as claude_code
from tallygate.clients.codex import client as codex
from tallygate.clients.copilot import client as copilot
from tallygate.clients.gemini import client as gemini
from tallygate.clients.opencode import client as opencode
from tallygate.clients.qwen import client as qwen


class Rule:
    """A rule a name."""

    CLAUDE_RESPONSE = claude_code.RESPONSE
    CLAUDE_SUBAGENT = claude_code.SUBAGENT
    CLAUDE_SIDECHAIN = claude_code.SIDECHAIN
    CLAUDE_PROGRESS = claude_code.PROGRESS
    CLAUDE_ADVISOR = claude_code.ADVISOR
    CLAUDE_TELEMETRY = claude_code.TELEMETRY
    CLAUDE_TELEMETRY_SUBAGENT = claude_code.TELEMETRY_SUBAGENT
    CLAUDE_AUXILIARY = claude_code.AUXILIARY
    CODEX_LAST = codex.LAST
    CODEX_DELTA = codex.DELTA
    CODEX_RECORD = codex.RECORD
    GEMINI_MESSAGE = gemini.MESSAGE
    OPENCODE_INSIDE = opencode.INSIDE
    OPENCODE_BESIDE = opencode.BESIDE
    OPENCODE_UNPROVEN = opencode.UNPROVEN
    QWEN_RESPONSE = qwen.RESPONSE
    COPILOT_RECORD = copilot.RECORD
    COPILOT_COMPACTION = copilot.COMPACTION
    COPILOT_SHUTDOWN = copilot.SHUTDOWN
