"""Whether a person sits before the client that started this server: in print mode and for an SDK nobody does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from tallygate.clients.ancestry import Process, agent_of, ancestors
from tallygate.clients.program import reads_json
from tallygate.entrypoints.stopping import LAUNCHERS, runs_one_prompt


def unattended(
    environ: Mapping[str, str] | None = None, above: Iterable[Process] | None = None, *, parent: int = 0
) -> bool:
    """Whether the client above is known to run without a person; where nothing is known it is not said of it.

    `parent` is the process that started the server.
    """
    environ = os.environ if environ is None else environ
    for process in ancestors(parent) if above is None else above:
        program = agent_of(process)
        if program is None and Path(process.program).name in LAUNCHERS:
            continue
        if program is None:
            return False
        if program.by_program and environ.get(program.entry, "").startswith(program.by_program):
            return True
        return reads_json(process.words) or runs_one_prompt(program, process.pid, process.words)
    return False
