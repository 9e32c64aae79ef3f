"""What a hook adds to a step: the program with a server and without, and the tool that hooks call, against floors."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench import wire
from bench.authorize import NOOP
from bench.figures import Ratio, milliseconds, report
from bench.wire import SERVE, Server

PROGRAM = wire.ROOT / "src" / "tallygate" / "entrypoints" / "hook.py"
SESSION = "0b5c9d9e-0000-4000-8000-000000000001"


def run(command: list[str], environ: dict[str, str], event: bytes) -> None:
    subprocess.run(command, input=event, stdout=subprocess.DEVNULL, env=environ, check=True)


def prompt(number: int, session: str = SESSION) -> bytes:
    event = {"session_id": session, "hook_event_name": "UserPromptSubmit", "prompt_id": f"p{number}", "prompt": "x"}
    return json.dumps(event).encode()


def measure(cases: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Every case in every round, in an order that changes; the first two rounds only warm up."""
    order = random.Random(1)
    waits: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 2):
        for name in order.sample(list(cases), len(cases)):
            started = time.perf_counter()
            cases[name]()
            if number > 1:
                waits[name].append(time.perf_counter() - started)
    return waits


def programs(folder: Path, rounds: int) -> int:
    """A process a hook: floors are an interpreter that does nothing, and one that reads JSON as any hook must."""
    project = folder / "project"
    (project / ".l6e").mkdir(parents=True)
    (project / ".l6e" / "config.toml").write_text('[[budget]]\nscope = "session"\nlimit_usd = 1000\n', encoding="utf-8")
    served = wire.environment(folder / "served", TALLYGATE_PROJECT_DIR=str(project))
    alone = wire.environment(folder / "alone", TALLYGATE_PROJECT_DIR=str(project))
    # No hook makes a ledger: without one it would be measured how quickly a step is refused.
    subprocess.run([sys.executable, "-m", "tallygate", "sessions", "list"], capture_output=True, env=alone, check=True)
    numbers = itertools.count()
    bare = [sys.executable, "-I", "-S", "-c"]
    hook = [sys.executable, "-I", "-S", str(PROGRAM), "--client", "claude_code", "--event", "UserPromptSubmit"]
    with Server(SERVE, folder / "served", environ=served) as server:
        server.greet()
        waits = measure(
            {
                "nothing": lambda: run([*bare, "pass"], served, prompt(next(numbers))),
                "json": lambda: run([*bare, "import json, sys; json.load(sys.stdin)"], served, prompt(next(numbers))),
                "served": lambda: run(hook, served, prompt(next(numbers))),
                "first": lambda: run(hook, served, prompt(next(numbers), f"{next(numbers):08d}{SESSION[8:]}")),
                "alone": lambda: run(hook, alone, prompt(next(numbers))),
            },
            rounds,
        )
    ratios = [
        Ratio("hook, server running", "python that reads JSON", waits["served"], waits["json"], bound=1.1),
        Ratio("hook, server running", "python that does nothing", waits["served"], waits["nothing"]),
        Ratio("the first of a session", "python that reads JSON", waits["first"], waits["json"], bound=3.0),
        Ratio("hook, no server", "python that reads JSON", waits["alone"], waits["json"], bound=6.0),
    ]
    return report("one hook as a process, UserPromptSubmit that reserves", ratios, milliseconds)


def tools(folder: Path, rounds: int) -> int:
    """The tool that hooks of type mcp_tool call, on a running server, against a tool that does nothing."""
    numbers = itertools.count()

    def ask(server: Server, event: str, **fields: str) -> None:
        given = {"client": "claude_code", "event": event, "session_id": SESSION, **fields}
        server.request("tools/call", {"name": "tallygate_hook", "arguments": given})

    def idle(server: Server) -> None:
        server.call("noop", session_id="none", tool_name="edit")

    with ExitStack() as held:
        noop = held.enter_context(Server(NOOP, folder / "noop")).greet()
        gate = held.enter_context(Server(SERVE, folder / "gate")).greet()
        ask(gate, "SessionStart")
        waits = measure(
            {
                "noop": lambda: idle(noop),
                "looked at": lambda: ask(gate, "PreToolUse", tool_name="Bash", tool_use_id=f"t{next(numbers)}"),
                "reserved": lambda: ask(gate, "PostToolBatch", tool_use_id=f"t{next(numbers)}"),
            },
            rounds * 10,
        )
    ratios = [
        Ratio("PreToolUse", "no-op tool", waits["looked at"], waits["noop"]),
        Ratio("PostToolBatch that reserves", "no-op tool", waits["reserved"], waits["noop"]),
    ]
    return report("one hook as a call of the running server", ratios, milliseconds)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args(argv)
    rounds = 5 if chosen.quick else 40
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as text:
        os.chdir(text)
        return programs(Path(text), rounds) + tools(Path(text), rounds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
