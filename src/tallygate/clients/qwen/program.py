"""Qwen Code's program: it takes a prompt without an option before it, too, on a terminal as well."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

from tallygate.clients.program import ClientProgram, Terminal, Words, from_input

# Options that take no value, and those that take one; others may take several.
_FLAGS = frozenset({
    "--telemetry", "--telemetry-log-prompts", "--debug", "-d", "--bare", "--safe-mode", "--insecure",
    "--chat-recording", "--sandbox", "-s", "--yolo", "-y",
    "--experimental-lsp", "--experimental-skills", "--restore-ask-user-question",
    "--list-extensions", "-l", "--openai-logging", "--screen-reader", "--include-partial-messages", "--continue", "-c",
    "--fork-session",
})  # fmt: skip
_VALUES = frozenset({
    "--telemetry-target", "--telemetry-otlp-endpoint", "--telemetry-otlp-protocol", "--telemetry-outfile", "--proxy",
    "--model", "-m", "--system-prompt", "--append-system-prompt", "--output-style", "--sandbox-image",
    "--approval-mode", "--mcp-config", "--openai-logging-dir", "--openai-api-key", "--openai-base-url",
    "--input-format", "--output-format", "-o", "--json-fd", "--json-file", "--json-schema", "--input-file", "--resume",
    "-r", "--session-id", "--max-session-turns", "--max-wall-time", "--max-tool-calls", "--max-subagent-depth",
    "--auth-type",
})  # fmt: skip
_COMMANDS = frozenset({
    "mcp", "extensions", "auth", "hooks", "channel", "board", "review", "serve", "sessions", "update", "sandbox",
})  # fmt: skip


def _by_ends(words: Words, is_terminal: Terminal, environ: Mapping[str, str]) -> bool:
    first = _first(words)
    if first in _COMMANDS or not from_input(words, lambda _: False, environ):
        return False
    return first is not None or is_terminal(0) is False


def _first(words: Words) -> str | None:
    """The first word beside the options: a prompt, or a command of its own.

    After an option that is not known here everything up to the next one is taken for its values.
    """
    rest = list(words[1:])
    # Started by its script: the words before that are Node's.
    if Path(words[0] if words else "").name.startswith("node"):
        rest = rest[next((at + 1 for at, word in enumerate(rest) if not word.startswith("-")), len(rest)) :]
    while rest and rest[0].startswith("-") and rest[0] != "--":
        name, _, joined = rest.pop(0).partition("=")
        if joined or name in _FLAGS or name.startswith("--no-"):
            continue
        values = next((at for at, word in enumerate(rest) if word.startswith("-")), len(rest))
        rest = rest[min(values, 1) if name in _VALUES else values :]
    return next((word for word in rest if word != "--"), None)


PROGRAM = ClientProgram(
    stored_as="qwen",
    title="Qwen Code",
    names=("qwen",),
    packages=("@qwen-code/qwen-code",),
    markers=("QWEN_CODE",),
    prompt_options=frozenset({"-p", "--prompt"}),
    runs_by_ends=_by_ends,
    ends_with=signal.SIGINT,
    undecided=frozenset({"UserPromptSubmit", "PreToolUse", "PreCompact"}),
    resumes="qwen --resume {}",
)
