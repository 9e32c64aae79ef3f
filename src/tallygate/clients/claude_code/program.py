"""Claude Code's program: its runs go by where they write to, and tell their hooks and servers how they began."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from tallygate.clients.program import ClientProgram, Terminal, Words

_ENTRY, _IN_PRINT_MODE = "CLAUDE_CODE_ENTRYPOINT", "sdk-cli"


def _by_ends(_words: Words, is_terminal: Terminal, environ: Mapping[str, str]) -> bool:
    return environ.get(_ENTRY) == _IN_PRINT_MODE and is_terminal(1) is False


PROGRAM = ClientProgram(
    stored_as="claude_code",
    title="Claude Code",
    names=("claude",),
    packages=("@anthropic-ai/claude-code",),
    versions="/claude/versions/",  # of its own installer
    markers=("CLAUDECODE",),
    prompt_options=frozenset({"-p", "--print", "-cp", "-pc"}),
    runs_by_ends=_by_ends,
    entry=_ENTRY,
    by_hand=frozenset({"cli", _IN_PRINT_MODE}),
    by_program="sdk",
    ends_with=signal.SIGTERM,  # it answers SIGINT with 0
    undecided=frozenset({"UserPromptSubmit", "PreToolUse", "PostToolBatch"}),
    agents_end_by_themselves=True,
    shows_at_end=1,
    resumes="claude --resume {}",
)
