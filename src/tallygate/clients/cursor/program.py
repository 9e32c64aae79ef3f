"""Cursor's agent in a shell: the editor itself is none, as a person types in its terminals."""

from __future__ import annotations

from tallygate.clients.program import ClientProgram

PROGRAM = ClientProgram(
    stored_as="cursor",
    title="Cursor's agent",
    names=("cursor-agent",),
    prompt_options=frozenset({"-p", "--prompt"}),
    markers=("CURSOR_AGENT",),
)
