"""How fast transcripts come into the ledger: cold, at size, the tail of a long file, and in how much memory.

The cold figure is lines with usage as they stand in the files; a response is one to many of them.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench.figures import mebibytes, milliseconds, stated
from bench.transcripts import heavy_claude
from tallygate.app import App, compose, settings_here
from tallygate.clients.registry import REGISTRY
from tallygate.core.moments import as_datetime
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.operations.usage import sync as syncing
from tallygate.operations.usage.follow import Follower
from tallygate.operations.usage.ingest import link_session
from tallygate.operations.usage.sync import sync
from tallygate.surroundings import Surroundings

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT.parent / "shared" / "corpus"
COLD_GOAL, TAIL_GOAL_S, MEMORY_GOAL_KIB = 20_000, 0.020, 150 * 1024
FILE = Path("claude", "projects", "p", "s.jsonl")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.memory_of is not None:
        return read_once(chosen.memory_of)
    rounds = chosen.rounds or (3 if chosen.quick else 9)
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        place = Path(name)
        missed = cold(place / "cold", rounds)
        missed += tail(place / "tail", rounds * 3, 10 if chosen.quick else 100)
        missed += memory(place / "memory", 100_000_000 if chosen.quick else 1_000_000_000)
    return 1 if missed else 0


def opened(home: Path) -> App:
    home.mkdir(parents=True, exist_ok=True)
    app = compose(settings_here({"TALLYGATE_HOME": str(home / "tallygate")}, home), by="bench")
    now = as_datetime(app.runtime.services.clock_us())
    app.runtime.workspace.prices.quote("claude-opus-4-6", now)  # loading the price list is measured elsewhere
    return app


def places_of(folder: Path) -> dict[str, str]:
    """The variables that lead every client into a folder, and none anywhere else."""
    named = {"CLAUDE_CONFIG_DIR": "claude", "CODEX_HOME": "codex", "GEMINI_DATA_DIR": "gemini"}
    named |= {"OPENCODE_DATA_DIR": "opencode", "XDG_CONFIG_HOME": "config"}
    named |= {"QWEN_DATA_DIR": "qwen", "COPILOT_HOME": "copilot"}
    return {variable: str(folder / below) for variable, below in named.items()}


def usage_lines(environ: Mapping[str, str], home: Path) -> int:
    """Lines that carry usage, told by the word that every one of them has."""
    words = (b'"usage":', b"token_count", b'"tokens":')
    files = [file.path for source in REGISTRY.sources.values() for file in source.discover(environ, home)]
    return sum(any(word in line for word in words) for path in files for line in path.open("rb"))


def cold(place: Path, rounds: int) -> int:
    """An empty ledger and everything to read; with the process beside this one, and without."""
    place.mkdir()
    source = CORPUS if CORPUS.exists() else made(place / "made")
    environ = places_of(source)
    lines = usage_lines(environ, place)
    took: dict[str, list[float]] = {"two processes": [], "one process": []}
    size = responses = 0
    for number in range(rounds):
        for name, least in (("two processes", 0), ("one process", 1 << 60)):
            syncing.WORTH_A_PROCESS = least
            app = opened(place / f"{name}-{number}")
            started = time.perf_counter()
            report = sync(app.runtime, environ=environ, home=place)
            took[name].append(time.perf_counter() - started)
            size, responses = report.bytes_read, report.taken.new
            app.close()
    print(f"cold, {lines:,} lines with usage in {size / 1e6:.0f} MB, {responses:,} responses, {rounds} rounds each")
    for name, times in took.items():
        median = statistics.median(times)
        print(f"  {name}: {lines / median:,.0f} lines/s, {responses / median:,.0f} responses/s, median {median:.2f} s")
    speed = lines / statistics.median(took["two processes"])
    return stated(
        "reading transcripts",
        "cold, with two processes",
        f"{speed:,.0f} lines/s",
        f">= {COLD_GOAL:,}",
        held=speed >= COLD_GOAL,
    )


def made(folder: Path) -> Path:
    """Files like those of the corpus, for a machine that has none."""
    path = folder / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(heavy_claude(8_000, 500))
    return folder


def tail(place: Path, rounds: int, megabytes: int) -> int:
    """Ten new responses at the end of a long file, until the budget of their session has them."""
    path = place / FILE
    path.parent.mkdir(parents=True)
    with path.open("wb") as out:
        part = 0
        while out.tell() < megabytes * 1_000_000:
            out.write(renamed(heavy_claude(200), part))
            part += 1
    app = opened(place)
    rt = app.runtime
    session = start_session(rt, Opening(10**15, "claude-opus-4-6", client="claude-code")).session.session_id
    link_session(rt, "claude_code", "s", session)
    follower = Follower(
        rt,
        (Surroundings(places_of(place), None, place),),
        REGISTRY.sources.values(),
        lambda: time.monotonic_ns() // 1000,
    )
    follower.scan()
    new, waits = now_made(heavy_claude(10)), []
    for number in range(rounds):
        before = spent(app, session)
        with path.open("ab") as out:
            out.write(renamed(new, 100_000 + number))
        started = time.perf_counter()
        follower.catch_up()
        after = spent(app, session)
        waits.append(time.perf_counter() - started)
        assert after > before, "ten responses were made and nothing was spent"
    app.close()
    median, longest = statistics.median(waits), max(waits)
    print(f"tail of ten responses on {megabytes} MB, until a budget has them, {rounds} rounds")
    return stated(
        "reading transcripts",
        f"ten responses at the end of {megabytes} MB, until a budget has them",
        milliseconds(median),
        f"<= {milliseconds(TAIL_GOAL_S)}",
        held=median <= TAIL_GOAL_S,
        spread=f"longest {milliseconds(longest)}",
    )


def renamed(part: bytes, number: int) -> bytes:
    """The same responses under other ids, in the form of those that are given once."""
    letters = "".join(chr(ord("a") + int(digit)) for digit in f"{number:06d}").encode()
    return part.replace(b'"msg_01', b'"msg_%s_01' % letters).replace(b'"req_', b'"req_%06x' % number)


def now_made(part: bytes) -> bytes:
    """The same responses, made now: a session takes none from before it began."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 1)).encode()
    return part.replace(b"2026-03-01T10:00:00", stamp)


def spent(app: App, session: str) -> int:
    with app.ledger.reading() as reader:
        budget = reader.budget(session)
    assert budget is not None
    return budget.spent


def memory(place: Path, size: int) -> int:
    """A very large file, read by a process of its own."""
    path = place / FILE
    path.parent.mkdir(parents=True)
    part = heavy_claude(200)
    with path.open("wb") as out:
        number = 0
        while out.tell() < size:
            out.write(renamed(part, number))
            number += 1
    command = [sys.executable, "-m", "bench", "ingest", "--memory-of", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ours, beside, seconds, responses = done.stdout.split()
    peak = max(int(ours), int(beside))
    rate = path.stat().st_size / 1e6 / float(seconds)
    print(
        f"memory, {path.stat().st_size / 1e9:.2f} GB in {float(seconds):.1f} s ({rate:.0f} MB/s, {responses} responses)"
    )
    return stated(
        "reading transcripts",
        f"most memory on {path.stat().st_size / 1e9:.1f} GB",
        mebibytes(peak),
        f"< {mebibytes(MEMORY_GOAL_KIB)}",
        held=peak < MEMORY_GOAL_KIB,
        spread=f"{mebibytes(int(ours))} here, {mebibytes(int(beside))} beside",
    )


def read_once(place: Path) -> int:
    app = opened(place)
    started = time.perf_counter()
    report = sync(app.runtime, environ=places_of(place), home=place)
    took = time.perf_counter() - started
    app.close()
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(*peaks, took, report.taken.new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
