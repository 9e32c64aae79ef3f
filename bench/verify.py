"""The check of a whole ledger: how long it takes beside reading and hashing the same events, and what memory it needs.

Each round runs the floor and the check in processes of their own, the floor first.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

from bench.figures import Ratio, mebibytes, report, stated
from bench.fill import filled_home
from bench.wire import ROOT

CALLS = 500_000
LOG = "bench-runs.jsonl"
SECONDS_MAX, MEBIBYTES_MAX = 20, 100


def floor(path: Path) -> int:
    """Read and hash every event's bytes; returns how many there are."""
    connection = sqlite3.connect(path)
    events = 0
    for (body,) in connection.execute("SELECT body FROM event ORDER BY id"):
        sha256(body).digest()
        events += 1
    connection.close()
    return events


def check(path: Path) -> int:
    """What `tallygate verify` does to the same file, with what is signed and the run log; returns what is wrong."""
    from tallygate.attest.keyring import KeyRing
    from tallygate.operations.proof.verify import OutsideEvidence, verify_ledger

    log = path.with_name(LOG)
    keys = KeyRing(path.with_name("keys")).trusted()
    return len(verify_ledger(path, OutsideEvidence(keys, log=log if log.exists() else None)).broken)


def prove(home: Path) -> int:
    """Sign what a ledger calls for, and write a run log of what was signed; returns how much that is."""
    from bench.fill import open_in
    from tallygate.operations.proof.attest import newest

    app = open_in(home)
    try:
        signed = newest(app.runtime, CALLS)
        with (home / "data" / LOG).open("w", encoding="utf-8") as file:
            for each in signed:
                total = json.loads(each.payload or b"{}")["predicate"]["total"]["amount"]
                place = {"id": app.ledger.ledger_id, "seq": each.seq, "hash": each.event_hash.hex()}
                file.write(json.dumps({"run_id": each.session_id, "total_cost": total, "ledger": place}) + "\n")
    finally:
        app.close()
    return len(signed)


def alone(what: str, path: Path) -> dict[str, float]:
    """Run one of the two in a process of its own: its seconds, its peak of memory and what it returned."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    command = [sys.executable, "-m", "bench.verify", what, str(path)]
    found: dict[str, float] = json.loads(subprocess.check_output(command, env=environ, cwd=ROOT))
    return found


def peak_kibibytes() -> int:
    """The most memory that this process had, and not the one that started it, whose peak POSIX counts in."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    return int(status.partition("VmHWM:")[2].split()[0])


def _run(what: str, path: Path) -> None:
    started = time.perf_counter()
    result = {"floor": floor, "check": check}[what](path)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "kibibytes": peak_kibibytes(), "result": result}))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench verify", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a ledger of 40,000 events")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    path = filled_home(20_000 if chosen.quick else CALLS) / "data" / "ledger.db"
    signed = prove(path.parent.parent)
    floor(path)  # so that the first round reads from memory like the others
    floors, checks = [], []
    for _ in range(chosen.rounds):
        floors.append(alone("floor", path))
        checks.append(alone("check", path))
    events = int(floors[0]["result"])
    best = min(each["seconds"] for each in checks)
    peak = max(each["kibibytes"] for each in checks)
    sound = not any(each["result"] for each in checks)
    seconds_max = SECONDS_MAX * events / (2 * CALLS)
    fits = sound and best <= seconds_max and peak <= MEBIBYTES_MAX * 1024
    measured, floored = ([each["seconds"] for each in those] for those in (checks, floors))
    ratio = Ratio("verify", "reading and hashing", measured, floored)
    failed = report(
        f"a ledger of {events:,} events, {signed:,} of them attested", [ratio], lambda seconds: f"{seconds:.2f} s"
    )
    failed += stated(
        "verify",
        f"best of {chosen.rounds} over {events:,} events",
        f"{best:.2f} s, {mebibytes(peak)}",
        f"<= {seconds_max:.1f} s, <= {MEBIBYTES_MAX} MiB",
        held=fits,
        spread=f"{events / best:,.0f} events a second",
    )
    return 1 if failed else 0


if __name__ == "__main__":
    _run(sys.argv[1], Path(sys.argv[2]))
