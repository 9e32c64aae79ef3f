"""Codex' program: which part of it was started says whether it runs one prompt, or serves several screens."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from tallygate.clients.program import ClientProgram, Words

# Options that take no value; after any other the next word is taken for its value.
_FLAGS = frozenset({
    "--oss", "--search", "--full-auto", "--yolo", "--no-alt-screen", "--strict-config",
    "--dangerously-bypass-approvals-and-sandbox", "--dangerously-bypass-hook-trust",
})  # fmt: skip


def _part(words: Words) -> str:
    """Which part was started; empty for its terminal, or a word of the prompt it was given."""
    rest = list(words[1:])
    while rest and rest[0].startswith("-"):
        rest = rest[1 if "=" in rest[0] or rest[0] in _FLAGS else 2 :]
    return rest[0] if rest else ""


def _runs(words: Words) -> bool:
    return _part(words) in {"exec", "e"} and "--experimental-json" not in words  # as its SDK starts it


def _interrupt(pid: int, words: Words, data: bytes, environ: Mapping[str, str]) -> bool:
    if _part(words) != "app-server":
        return False
    from tallygate.clients.codex.interrupting import interrupt_turn

    return interrupt_turn(pid, words, data, environ)


PROGRAM = ClientProgram(
    stored_as="codex",
    title="Codex",
    names=("codex",),
    packages=("@openai/codex",),
    markers=("CODEX_THREAD_ID", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED"),
    runs_by_words=_runs,
    ends_with=signal.SIGINT,
    undecided=frozenset({"UserPromptSubmit", "PreToolUse"}),
    interrupt=_interrupt,
    resumes="codex resume {}",
)
