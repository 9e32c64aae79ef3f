"""How long the end of a session of 5,000 calls takes: its pending calls, its totals, its line in the run log."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bench.figures import stated
from bench.fill import LIMIT, MODEL, fill
from bench.wire import SERVE, Server

CALLS = 5_000
GOAL_S = 1.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench end", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    chosen = parser.parse_args(arguments)
    rounds = chosen.rounds or (3 if chosen.quick else 10)
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        waits = {state: [once(Path(name), number, state) for number in range(rounds)] for state in STATES}
    print(f"end of a session of {CALLS:,} calls, over stdio, {rounds} rounds each")
    missed = 0
    for state, found in waits.items():
        median = statistics.median(found)
        missed += stated(
            "end of a session",
            f"{CALLS:,} calls, all {state}",
            f"{median:.2f} s",
            f"< {GOAL_S:g} s",
            held=median < GOAL_S,
            spread=f"longest {max(found):.2f}",
        )
    return 1 if missed else 0


STATES = ("reconciled", "pending")


def once(folder: Path, number: int, state: str) -> float:
    """One session filled from outside while no server runs, then ended by a fresh one."""
    home = folder / f"{state}-{number}"
    with Server(SERVE, home) as server:
        server.greet()
        session = server.call("l6e_run_start", budget_usd=LIMIT // 10**9, model=MODEL)["session_id"]
    fill(home, CALLS, session_id=session, pending=state == "pending")
    with Server(SERVE, home) as server:
        server.greet()
        server.call("l6e_authorize_call", session_id=session, tool_name="x", check_only=True)
        started = time.perf_counter()
        ended = server.call("l6e_run_end", session_id=session)
        waited = time.perf_counter() - started
    assert ended["calls_made"] == CALLS
    return waited
