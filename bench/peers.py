"""l6e-mcp and agent-token-budget-mcp beside this program: start, memory, a question at the gate, sizes.

Each is installed into a scratch environment, as its makers publish it; agent-token-budget-mcp with the SDK before 2,
without which it does not start. Everything is measured in turns with this program and a tool that does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
import venv
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import run
from typing import Any

from bench.authorize import NOOP
from bench.size import OF_THE_VENV, shown, weight
from bench.wire import SERVE, Server, environment
from tallygate.pricing.tokens import count_tokens

CALLS = 60
FLOOR, OURS = "a tool that does nothing", "tallygate"


@dataclass(frozen=True, slots=True)
class Peer:
    """A program: what is installed, how it starts, what opens a session and what is asked before a step."""

    name: str
    requirements: tuple[str, ...]
    command: str
    opening: tuple[str, dict[str, Any]]
    question: tuple[str, dict[str, Any]]


_RUN = ("l6e_run_start", {"budget_usd": 900_000, "model": "gpt-4o"})
_STEP = ("l6e_authorize_call", {"tool_name": "edit", "model": "gpt-4o"})
PEERS = (
    Peer("l6e-mcp 0.8.5", ("l6e-mcp==0.8.5",), "l6e-mcp", _RUN, _STEP),
    Peer(
        "agent-token-budget-mcp 1.1.6",
        ("agent-token-budget-mcp==1.1.6", "mcp<2"),
        "agent-token-budget-mcp",
        ("start_budget", {"session_id": "one", "budget_gbp": 1000}),
        ("check_budget", {"estimated_next_call_gbp": 0.01}),
    ),
)


def installed(peer: Peer, folder: Path) -> tuple[list[str], int, int]:
    """Install a peer; its command, its packages, and the bytes that they take."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    site = next(folder.glob("lib/python*/site-packages"))
    before = weight(site)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", "--quiet", *peer.requirements], check=True)
    listed = json.loads(run([*pip, "list", "--format", "json"], capture_output=True, check=True).stdout)
    packages = sum(each["name"].lower() not in OF_THE_VENV for each in listed)
    return [str(folder / "bin" / peer.command)], packages, weight(site) - before


def started(argv: list[str], home: Path) -> tuple[float, int]:
    """Seconds to the list of tools, and private memory in KiB then."""
    at = time.perf_counter()
    with Server(argv, home, environ=environment(home), quiet=True) as server:
        server.greet().tools()
        waited = time.perf_counter() - at
        return waited, server.memory_kib()[1]


def asked(server: Server, tool: str, given: dict[str, Any]) -> float:
    """The median wait for an answer."""
    waits = []
    for _ in range(CALLS):
        at = time.perf_counter()
        server.request("tools/call", {"name": tool, "arguments": given})
        waits.append(time.perf_counter() - at)
    return statistics.median(waits)


def question(server: Server, opening: tuple[str, dict[str, Any]], asking: tuple[str, dict[str, Any]]) -> Any:
    """What is asked of a server, in a session that was opened for it."""
    result = server.request("tools/call", {"name": opening[0], "arguments": opening[1]})
    session = json.loads(result["content"][0]["text"])["session_id"]
    return asking[0], {**asking[1], "session_id": session}


def spread(values: list[float], floors: list[float]) -> str:
    ratios = [one / other for one, other in zip(values, floors, strict=True)]
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    rounds = parser.parse_args(arguments).rounds
    order = random.Random(1)
    commands, sizes = {FLOOR: NOOP, OURS: SERVE}, {FLOOR: "", OURS: "`make bench`"}
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name, ExitStack() as held:
        folder = Path(name)
        for number, peer in enumerate(PEERS):
            commands[peer.name], packages, size = installed(peer, folder / f"venv{number}")
            sizes[peer.name] = f"{packages}, {size / 1024**2:.0f}"
        starts: dict[str, list[float]] = {each: [] for each in commands}
        memory: dict[str, list[float]] = {each: [] for each in commands}
        for number in range(rounds + 1):
            for each in order.sample(list(commands), len(commands)):
                wait, kibibytes = started(commands[each], folder / f"start-{each}")
                if number:  # the first one compiled what was not compiled
                    starts[each].append(wait)
                    memory[each].append(kibibytes)
        servers = {
            each: held.enter_context(
                Server(argv, folder / f"ask-{each}", environ=environment(folder / f"ask-{each}"), quiet=True)
            ).greet()
            for each, argv in commands.items()
        }
        questions = {FLOOR: ("noop", {"session_id": "none", "tool_name": "edit"})}
        questions[OURS] = question(servers[OURS], _RUN, _STEP)
        questions |= {peer.name: question(servers[peer.name], peer.opening, peer.question) for peer in PEERS}
        waits: dict[str, list[float]] = {each: [] for each in commands}
        for _ in range(rounds):
            for each in order.sample(list(commands), len(commands)):
                waits[each].append(asked(servers[each], *questions[each]))
        tokens = {
            each: sum(count_tokens(shown(tool), "gpt-5", os.environ).tokens for tool in servers[each].tools())
            for each in commands
        }
    print(f"beside a tool that does nothing on the SDK of this program, {rounds} rounds: median (least-most)")
    print("| | to tools/list | memory of its own | a question | tokens of its tools | packages, MiB |")
    print("|---|---|---|---|---|---|")
    for each in commands:
        ratios = (spread(taken[each], taken[FLOOR]) for taken in (starts, memory, waits))
        print(f"| {each} | {' | '.join(ratios)} | {tokens[each]:,} | {sizes[each]} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
