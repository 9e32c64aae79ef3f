"""A server that a resident becomes: its start, its memory and its calls; and sessions whose servers are killed.

    python -m bench resident [--rounds N] [--kills N]

With `--kills` four clients ask without a pause while the resident and their servers are killed at random moments. Every
answer that a client got has to be in the ledger, and every session to go on.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.authorize import NOOP
from bench.figures import Ratio, mebibytes, microseconds, milliseconds, report, stated
from bench.wire import ROOT, Server, ToolFailed, environment
from tallygate.entrypoints.handover import residents

MAIN = ROOT / "src" / "tallygate" / "__main__.py"
PROGRAM = [sys.executable, "-I", str(MAIN)]
CLIENTS, SESSIONS, CALLS = 4, 10, 60
MODEL = "gpt-4o"


@contextmanager
def standing(home: Path) -> Iterator[Path]:
    """The folder of servers in which a resident stands by, and none any more at the end."""
    folder = home / "data" / "servers"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.parent.chmod(0o700)
    start_resident(folder)
    try:
        yield folder
    finally:
        for pid in processes(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def start_resident(folder: Path) -> None:
    """Have one stand by, once it is there."""
    subprocess.run([*PROGRAM, "resident", str(folder)], env={"HOME": str(folder.parent.parent)}, cwd="/", check=True)
    wait_for(lambda: residents(str(folder)) and answers(folder))


def answers(folder: Path) -> bool:
    """Whether somebody takes clients: a socket that a killed resident left refuses them."""
    import socket

    for place in folder.glob("*.sock"):
        with socket.socket(socket.AF_UNIX) as link, suppress(OSError):
            link.connect(str(place))
            return True
    return False


def wait_for(found: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not found():
        if time.monotonic() > until:
            raise TimeoutError("no resident stands by")
        time.sleep(0.02)


def processes(folder: Path) -> list[int]:
    """The resident of a folder, its servers and the process that waits for the next client."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.fsencode(folder) in (place / "cmdline").read_bytes().split(b"\0"):
                found.append(int(place.name))
    return found


def serve(home: Path, resident: str = "auto") -> Server:
    environ = {**environment(home), "TALLYGATE_RESIDENT": resident}
    del environ["PYTHONPATH"]
    return Server([*PROGRAM, "serve"], home, environ=environ)


# --- figures ----------------------------------------------------------------------------------------------------------


def to_list(start: Callable[[], Server]) -> float:
    begun = time.perf_counter()
    with start() as server:
        server.greet().tools()
        return time.perf_counter() - begun


def proportional_kib(pids: set[int]) -> tuple[int, int]:
    """Private memory of processes, and their share of what they have in common with others."""
    private = shares = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        private += sizes["Private_Clean"] + sizes["Private_Dirty"]
        shares += sizes["Pss"]
    return private, shares


def call_seconds(server: Server, session: str) -> float:
    begun = time.perf_counter()
    server.call("check_budget", session_id=session)
    return time.perf_counter() - begun


def measure(rounds: int) -> int:
    order = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as folder, ExitStack() as held:
        home = Path(folder) / "home"
        servers = held.enter_context(standing(home))
        ways: dict[str, Callable[[], Server]] = {
            "resident": lambda: serve(home),
            "own": lambda: serve(Path(folder) / "own", "never"),
            "bare": lambda: Server(NOOP, Path(folder) / "bare"),
        }
        seen: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name in order.sample([*ways], len(ways)):
                waited = to_list(ways[name])
                if number:  # the first one compiled what was not compiled and made the ledger
                    seen[name].append(waited)
        failed = report(
            f"spawn to tools/list, {rounds} rounds",
            [
                Ratio("with a resident", "bare MCPServer", seen["resident"], seen["bare"], bound=0.05),
                Ratio("without", "bare MCPServer", seen["own"], seen["bare"], bound=0.05),
            ],
            milliseconds,
        )
        before = proportional_kib({*processes(servers)})[1]
        many = [held.enter_context(serve(home)) for _ in range(SESSIONS)]
        for each in many:
            each.greet().call("l6e_run_start", budget_usd=1, model=MODEL)
        fronts = {each.process.pid for each in many}
        shares = proportional_kib({*processes(servers)})[1] - before
        failed += stated(
            "memory with a resident",
            f"private of what a client starts, of {SESSIONS}",
            mebibytes(proportional_kib(fronts)[0] / SESSIONS),
            "4 MiB",
            held=proportional_kib(fronts)[0] / SESSIONS <= 4 << 10,
        )
        failed += stated(
            "memory with a resident",
            f"{SESSIONS} sessions more",
            mebibytes(shares),
            "5 MiB",
            held=shares <= 5 << 10,
        )
        pair = [many[0], held.enter_context(serve(home, "never"))]
        sessions = [each.call("l6e_run_start", budget_usd=1, model=MODEL)["session_id"] for each in pair[:1]]
        pair[1].greet()
        sessions.append(pair[1].call("l6e_run_start", budget_usd=1, model=MODEL)["session_id"])
        waits: list[list[float]] = [[], []]
        for _ in range(rounds * CALLS):
            for at in order.sample([0, 1], 2):
                waits[at].append(call_seconds(pair[at], sessions[at]))
        failed += report(
            "check_budget with a resident",
            [Ratio("call", "own server", waits[0], waits[1], bound=1.03)],
            microseconds,
        )
    return failed


# --- kills ------------------------------------------------------------------------------------------------------------


@dataclass
class Asking:
    """One client that asks until it is told to stop: what it was answered, and how often with an error."""

    home: Path
    over: threading.Event
    acknowledged: list[str] = field(default_factory=list)
    errors: int = 0
    fault: str = ""

    def run(self) -> None:
        try:
            with serve(self.home) as server:
                server.greet()
                session = self._ask(server, "l6e_run_start", budget_usd=1_000, model=MODEL)["session_id"]
                while not self.over.is_set():
                    step = {"session_id": session, "tool_name": "x", "estimated_prompt_tokens": 100}
                    self.acknowledged.append(self._ask(server, "l6e_authorize_call", **step)["call_id"])
        except (OSError, EOFError, ToolFailed, ValueError, KeyError) as error:
            self.fault = repr(error)

    def _ask(self, server: Server, tool: str, **arguments: object) -> dict[str, str]:
        while True:
            sent = server.send_call(tool, **arguments)
            message = server.receive()
            while message["id"] != sent:  # an error behind an answer: its server was killed as it noted that
                message = server.receive()
            if "error" not in message:
                return server.answer(message, sent)
            self.errors += 1


def soak(kills: int) -> int:
    order = random.Random(kills)
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-", ignore_cleanup_errors=True) as folder:
        home, over = Path(folder) / "home", threading.Event()
        with standing(home) as servers:
            clients = [Asking(home, over) for _ in range(CLIENTS)]
            threads = [threading.Thread(target=each.run) for each in clients]
            for thread in threads:
                thread.start()
            done = 0
            while done < kills and any(thread.is_alive() for thread in threads):
                time.sleep(order.random() / 2)
                with suppress(ProcessLookupError, IndexError):
                    os.kill(order.choice(processes(servers)), signal.SIGKILL)
                    done += 1
                if not residents(str(servers)):
                    start_resident(servers)
            over.set()
            for thread in threads:
                thread.join(timeout=120)
            stuck = sum(thread.is_alive() for thread in threads)
        with closing(sqlite3.connect(home / "data" / "ledger.db")) as ledger:
            kept = {row[0] for row in ledger.execute("SELECT call_id FROM call")}
    lost = sum(call not in kept for each in clients for call in each.acknowledged)
    told = [each.fault for each in clients if each.fault]
    print(f"{done} kills; answers {[len(each.acknowledged) for each in clients]}, errors {[e.errors for e in clients]}")
    print("\n".join(told) or "every session went on", flush=True)
    return stated(
        "killed at random moments",
        f"answers lost of {sum(len(each.acknowledged) for each in clients)}, sessions that ended",
        f"{lost}, {len(told) + stuck}",
        "0, 0",
        held=not lost and not told and not stuck,
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench resident", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--kills", type=int, default=0)
    chosen = parser.parse_args(arguments)
    if chosen.kills:
        return soak(chosen.kills)
    return measure(chosen.rounds or (4 if chosen.quick else 20))
