"""What a client waits for an answer of the gate, against a tool that does nothing; on long sessions, on big ledgers."""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Ratio, microseconds, report, stated
from bench.fill import LIMIT, MODEL, fill, filled_home
from bench.wire import ERAS, SERVE, Server, environment

NOOP = [sys.executable, str(Path(__file__).with_name("noop_server.py"))]
LONG, SHORT = 5_000, 10
WRITTEN_KIB = 14
BUDGET_USD = LIMIT // 10**9


@dataclass
class Case:
    """One thing that is called in every round: the server, and how its session comes to be."""

    server: Server
    tool: str
    session_id: str | None = None

    def batch(self, calls: int) -> tuple[float, float]:
        """The median wait of a batch and what a call of it computes; a case without a session opens one a round."""
        session_id = self.session_id or self.open_session()
        waits, computed = [], self.server.cpu_seconds()
        for _ in range(calls):
            started = time.perf_counter()
            self.server.call(self.tool, session_id=session_id, tool_name="edit_file")
            waits.append(time.perf_counter() - started)
        return statistics.median(waits), (self.server.cpu_seconds() - computed) / calls

    def open_session(self) -> str:
        if self.tool == "noop":
            return "none"
        found: str = self.server.call("l6e_run_start", budget_usd=BUDGET_USD, model=MODEL)["session_id"]
        return found


def measure(cases: dict[str, Case], rounds: int, calls: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Every case in every round, in an order that changes: waits and computing; the first round only warms up."""
    order = random.Random(1)
    waits: dict[str, list[float]] = {name: [] for name in cases}
    computed: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name in order.sample(list(cases), len(cases)):
            wait, cpu = cases[name].batch(calls)
            if number:
                waits[name].append(wait)
                computed[name].append(cpu)
    return waits, computed


def against_a_noop(folder: Path, era: str, rounds: int, calls: int) -> int:
    with ExitStack() as held:
        noop = held.enter_context(Server(NOOP, folder / f"noop-{era}", era=era)).greet()
        gate = held.enter_context(Server(SERVE, folder / f"gate-{era}", era=era)).greet()
        faster = environment(folder / f"normal-{era}", TALLYGATE_DURABILITY="normal")
        normal = held.enter_context(Server(SERVE, folder / f"normal-{era}", era=era, environ=faster)).greet()
        ask = "l6e_authorize_call"
        cases = {"noop": Case(noop, "noop"), "gate": Case(gate, ask), "normal": Case(normal, ask)}
        waits, computed = measure(cases, rounds, calls)
        before = gate.written_bytes()
        cases["gate"].batch(calls)
        kibibytes = (gate.written_bytes() - before) / calls / 1024
    ratios = [
        Ratio("authorize", "no-op tool", waits["gate"], waits["noop"], bound=1.5),
        Ratio("computing for it", "no-op tool", computed["gate"], computed["noop"], bound=1.2),
        Ratio("authorize, durability normal", "no-op tool", waits["normal"], waits["noop"], bound=1.2),
    ]
    title = f"authorize over stdio, p50 of {calls} calls a round, protocol {era}"
    return report(title, ratios, microseconds) + stated(
        title, "written by a call, with its answer", f"{kibibytes:.1f} KiB", "<= 14 KiB", held=kibibytes <= WRITTEN_KIB
    )


def on_long_sessions(folder: Path, rounds: int) -> int:
    """One server, one ledger: batches as long as the short session, so that it stays short."""
    home = folder / "long"
    with Server(SERVE, home) as server:
        server.greet()
        long = server.call("l6e_run_start", budget_usd=BUDGET_USD, model=MODEL)["session_id"]
    fill(home, LONG, session_id=long)
    with Server(SERVE, home) as server:
        server.greet()
        gate = "l6e_authorize_call"
        waits, _ = measure({"short": Case(server, gate), "long": Case(server, gate, long)}, rounds * 4, SHORT)
    ratio = Ratio(f"session of {LONG:,}", f"session of {SHORT}", waits["long"], waits["short"], bound=1.05)
    return report("authorize in a long session", [ratio], microseconds)


def on_big_ledgers(folder: Path, rounds: int, calls: int, size: int) -> int:
    big = filled_home(size)
    with ExitStack() as held:
        servers = [held.enter_context(Server(SERVE, home)).greet() for home in (folder / "empty", big)]
        gate = "l6e_authorize_call"
        waits, _ = measure({"empty": Case(servers[0], gate), "big": Case(servers[1], gate)}, rounds, calls)
    ratio = Ratio(f"ledger of {size:,} calls", "empty ledger", waits["big"], waits["empty"], bound=1.1)
    return report("authorize on a big ledger", [ratio], microseconds)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench authorize", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, a ledger of 100,000 calls")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--calls", type=int, default=100, help="calls a round")
    parser.add_argument("--ledger", type=int, help="calls in the big ledger")
    parser.add_argument("--only", choices=["noop", "long", "big"])
    chosen = parser.parse_args(arguments)
    rounds = chosen.rounds or (8 if chosen.quick else 30)
    size = chosen.ledger or (100_000 if chosen.quick else 1_000_000)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        folder = Path(name)
        if chosen.only in (None, "noop"):
            for era in ERAS:
                failed += against_a_noop(folder, era, rounds, chosen.calls)
        if chosen.only in (None, "long"):
            failed += on_long_sessions(folder, rounds)
        if chosen.only in (None, "big"):
            failed += on_big_ledgers(folder, rounds, chosen.calls, size)
    return 1 if failed else 0
