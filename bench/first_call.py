"""What the commands that people type first take on an empty home, and the status line, which runs at every turn."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from bench.figures import Ratio, milliseconds, report
from bench.hook import PROGRAM as HOOK
from bench.hook import SESSION, measure, run
from bench.wire import SERVE, Server, environment

COMMANDS = (("usage",), ("status",), ("budget", "list"))
TURN = {"session_id": SESSION, "hook_event_name": "Status", "model": {"id": "claude-sonnet-4-5"}, "cwd": "/"}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench first_call", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args(arguments)
    program = [sys.executable, "-m", "tallygate"]
    # As `tallygate init` has it run: the server that the client has started answers.
    line = [sys.executable, "-I", "-S", str(HOOK), "--client", "claude_code", "--event", "StatusLine"]
    turn = json.dumps(TURN).encode()
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        os.chdir(name)
        environ, served = environment(Path(name)), environment(Path(name) / "served")
        with Server(SERVE, Path(name) / "served", environ=served) as server:
            server.greet()
            waits = measure(
                {
                    "version": partial(run, [*program, "--version"], environ, b""),
                    **{" ".join(each): partial(run, [*program, *each], environ, b"") for each in COMMANDS},
                    "json": partial(
                        run, [sys.executable, "-I", "-S", "-c", "import json, sys; json.load(sys.stdin)"], environ, turn
                    ),
                    "statusline": partial(run, line, served, turn),
                    "statusline, no server": partial(run, line, environ, turn),
                },
                4 if chosen.quick else 20,
            )
    ratios = [
        Ratio(name, "tallygate --version", waits[name], waits["version"], bound=1.5) for name in map(" ".join, COMMANDS)
    ]
    ratios.append(Ratio("statusline", "python that reads JSON", waits["statusline"], waits["json"], bound=1.5))
    ratios.append(
        Ratio("statusline, no server", "python that reads JSON", waits["statusline, no server"], waits["json"])
    )
    return report("commands on an empty home", ratios, milliseconds)
