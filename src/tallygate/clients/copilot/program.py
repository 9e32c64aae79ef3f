"""Copilot CLI's program: ended, it restores the screen, says how to go on, and leaves with success."""

from __future__ import annotations

import signal

from tallygate.clients.program import ClientProgram, from_input

PROGRAM = ClientProgram(
    stored_as="copilot",
    title="Copilot CLI",
    names=("copilot",),
    packages=("@github/copilot",),
    markers=("COPILOT_CLI", "COPILOT_AGENT_SESSION_ID"),
    prompt_options=frozenset({"-p", "--prompt"}),
    runs_by_ends=from_input,
    ends_with=signal.SIGINT,
    shows_at_end=2,
    has_wrapper=True,
    resumes="copilot --resume={}",
    leaves_terminals_clean=True,
    hook_after_end="sessionEnd",  # its end takes the server with it, before that can close the session
)
