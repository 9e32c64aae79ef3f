"""Gemini CLI's program: it also runs what it reads, and ends."""

from __future__ import annotations

import signal

from tallygate.clients.program import ClientProgram, from_input

PROGRAM = ClientProgram(
    stored_as="gemini",
    title="Gemini CLI",
    names=("gemini",),
    packages=("@google/gemini-cli",),
    markers=("GEMINI_CLI",),
    prompt_options=frozenset({"-p", "--prompt"}),
    runs_by_ends=from_input,
    ends_with=signal.SIGINT,
    shows_messages=True,
    resumes="gemini --resume latest",
)
