"""The ledger's own transaction against a bare INSERT commit on the same disk; a replay; eight processes at once."""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bench.figures import Ratio, microseconds, percentile, report
from bench.fill import LIMIT, MODEL, open_in, reserved
from bench.wire import environment
from tallygate.ledger.sqlite.database import LOG_PAGES
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.sessions.opening import Opening, start_session

WRITERS = 8


class Bare:
    """The least a commit can be: one row into one table, as durable as the ledger."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        self.connection.execute("CREATE TABLE IF NOT EXISTS bare (id INTEGER PRIMARY KEY, text TEXT) STRICT")

    def insert(self) -> None:
        self.connection.execute("INSERT INTO bare (text) VALUES (:text)", {"text": "x" * 64})

    def close(self) -> None:
        self.connection.close()


def seconds_each(work: Callable[[], object], times: int) -> float:
    """Wall time of one repetition: what a rate is made of."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


def one_process(home: Path, rounds: int, times: int) -> int:
    app = open_in(home)
    bare = Bare(home / "bare.db")
    with closing(app), closing(bare):
        rt = app.runtime
        session = start_session(rt, Opening(LIMIT, MODEL)).session.session_id
        step = StatedStep(session, "edit_file")
        again = StatedStep(session, "edit_file", client_key="the same")
        authorize(rt, again)

        def reserve() -> None:
            with app.ledger.writing() as tx:
                reserved(rt, tx, session)

        works: dict[str, Callable[[], object]] = {
            "bare": bare.insert,
            "reserve": reserve,
            "authorize": lambda: authorize(rt, step),
            "replay": lambda: authorize(rt, again),
        }
        order = random.Random(1)
        took: dict[str, list[float]] = {name: [] for name in works}
        for number in range(rounds + 1):
            for name in order.sample(list(works), len(works)):
                seconds = seconds_each(works[name], times)
                if number:
                    took[name].append(seconds)
    floors, floor = took["bare"], "bare INSERT commit"
    rates = [
        Ratio("rate of the reserve transaction", floor, floors, took["reserve"], bound=0.7, at_least=True),
        Ratio("rate of the whole authorize operation", floor, floors, took["authorize"]),
    ]
    title = f"rates with chain and synchronous=FULL, {times} a round; medians are the times, floor first"
    return report(title, rates, microseconds) + report(
        "replay of a known id, as time", [Ratio("replay", floor, took["replay"], floors)], microseconds
    )


def many_processes(home: Path, seconds: float) -> int:
    """Eight processes on one budget, first on the bare table, then on the ledger, each under the same lock."""
    app = open_in(home)
    session = start_session(app.runtime, Opening(LIMIT, MODEL)).session.session_id
    app.close()
    print(f"{WRITERS} processes on one budget, {seconds:g} s each")
    for kind in ("bare", "ledger", "bare", "ledger"):
        command = [sys.executable, "-m", "bench.ledger", kind, str(home), session, str(seconds)]
        writers = [
            subprocess.Popen(command, env=environment(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(WRITERS)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        waits = [json.loads(writer.communicate()[0]) for writer in writers]
        counts = sorted(len(own) for own in waits)
        every = [wait for own in waits for wait in own]
        print(
            f"  {kind:6}: {len(every) / seconds:.0f} a second, slowest {counts[0]} and fastest {counts[-1]} turns, "
            f"p50 {percentile(every, 50) * 1e3:.2f} ms, p99 {percentile(every, 99) * 1e3:.1f} ms, "
            f"longest {max(every) * 1e3:.0f} ms",
            flush=True,
        )
    return 0


def writer(kind: str, home: Path, session: str, seconds: float) -> None:
    """One of the eight: says that it is ready, waits for the word, works, tells every wait."""
    app = open_in(home, TALLYGATE_LOCK_TIMEOUT_MS="20000")
    bare = Bare(home / "bare.db")
    lock = app.ledger._lock  # noqa: SLF001

    def bare_turn() -> None:
        with lock:
            bare.insert()

    def ledger_turn() -> None:
        authorize(app.runtime, StatedStep(session, "edit_file"))

    ledger_turn()
    work = {"bare": bare_turn, "ledger": ledger_turn}[kind]
    os.write(1, b"ready\n")
    sys.stdin.readline()
    waits = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        waits.append(seconds_each(work, 1))
    os.write(1, json.dumps(waits).encode())
    bare.close()
    app.close()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench ledger", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        failed = one_process(Path(name), chosen.rounds or (10 if chosen.quick else 40), 100)
        failed += many_processes(Path(name), 1 if chosen.quick else 3)
    return failed


if __name__ == "__main__":
    writer(sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
