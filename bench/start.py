"""From the start of a server to its list of tools, and its memory then, against a bare server with one tool."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from bench.authorize import NOOP
from bench.figures import Ratio, mebibytes, milliseconds, report
from bench.wire import ERAS, SERVE, Server

SERVERS = {"bare": NOOP, "gate": SERVE}


def start_once(argv: list[str], home: Path, era: str) -> tuple[float, int, int]:
    """Seconds to the list of tools, resident and private memory in KiB."""
    started = time.perf_counter()
    with Server(argv, home, era=era) as server:
        server.greet().tools()
        waited = time.perf_counter() - started
        # Lists may be answered before the SDK is there; this is the SDK's, and memory is what it takes with it.
        server.send("ping")
        server.receive()
        return waited, *server.memory_kib()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench start", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    chosen = parser.parse_args(arguments)
    rounds = chosen.rounds or (6 if chosen.quick else 25)
    order = random.Random(1)
    seen: dict[str, list[tuple[float, int, int]]] = {name: [] for name in SERVERS}
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as folder:
        for number in range(rounds + 1):
            for name in order.sample(list(SERVERS), len(SERVERS)):
                figures = start_once(SERVERS[name], Path(folder) / name, ERAS[number % len(ERAS)])
                if number:  # the first one compiled what was not compiled and made the ledger
                    seen[name].append(figures)
    gate, bare = (list(zip(*seen[name], strict=True)) for name in ("gate", "bare"))
    floor = "bare MCPServer"
    failed = report(
        f"spawn to tools/list, {rounds} rounds in both protocol eras",
        [Ratio("start", floor, gate[0], bare[0], bound=0.05)],
        milliseconds,
    )
    failed += report(
        "memory after tools/list",
        [
            Ratio("resident", floor, gate[1], bare[1], bound=1.25),
            Ratio("private", floor, gate[2], bare[2]),
        ],
        mebibytes,
    )
    return failed
