"""Whether a person sits before the client that started this server: in print mode and for an SDK nobody does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from tallygate.clients.ancestry import Process, agent_of, ancestors
from tallygate.entrypoints.stopping import LAUNCHERS, answers_one_prompt

_NAMES = {"Claude Code": "claude_code", "Codex": "codex", "Qwen Code": "qwen"}
_ONE_PROMPT = frozenset({"-p", "--prompt"})
# How Claude Code was started, where that was by a program: `cli` and the editors have a person before them.
_ENTRY, _BY_PROGRAM = "CLAUDE_CODE_ENTRYPOINT", "sdk"


def unattended(environ: Mapping[str, str] | None = None, above: Iterable[Process] | None = None) -> bool:
    """Whether the client above is known to run without a person; where nothing is known it is not said of it."""
    environ = os.environ if environ is None else environ
    for process in ancestors() if above is None else above:
        title = agent_of(process)
        if title is None and Path(process.program).name in LAUNCHERS:
            continue
        if title is None:
            return False
        if title == "Claude Code" and environ.get(_ENTRY, "").startswith(_BY_PROGRAM):
            return True
        streams = ("--input-format", "stream-json") in pairwise(process.words)
        if streams or "--input-format=stream-json" in process.words:
            return True
        if title in _NAMES:
            return answers_one_prompt(_NAMES[title], process.pid, process.words)
        return bool(_ONE_PROMPT.intersection(process.words))
    return False
