"""opencode's program: a run of one prompt ends by itself."""

from __future__ import annotations

from tallygate.clients.program import ClientProgram

PROGRAM = ClientProgram(
    stored_as="opencode",
    title="opencode",
    names=("opencode",),
    packages=("opencode-ai", "opencode-linux-x64"),
    prompt_options=frozenset({"-p", "--prompt"}),
    markers=("OPENCODE",),
    resumes="opencode --session {}",
)
