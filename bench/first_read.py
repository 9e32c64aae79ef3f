"""How long a user waits for the first `tallygate usage` on a large history, beside another program on the same bytes.

The history is the corpus several times over, each time under other ids, so that nothing in it is a copy. Each round
runs the programs one after the other, from an empty home; a plain `json.loads` of every line is the floor.
`--beside "ccusage daily --offline --json"` names the other program; it finds the files by the clients' own variables.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.figures import Ratio, report
from bench.ingest import CORPUS, made, places_of, usage_lines
from bench.wire import environment

OURS = [sys.executable, "-m", "tallygate", "usage", "--json"]
LINES = """import json, sys
for path in sys.stdin.read().split("\\0"):
    with open(path, "rb") as file:
        for line in file:
            try:
                json.loads(line)
            except ValueError:
                pass
"""
# What the two processes that read do, and nothing else.
READING = """import gc, os
from pathlib import Path
from tallygate.clients.feed import FileToRead, pieces_together
from tallygate.clients.registry import REGISTRY
gc.disable()
found = [file for source in REGISTRY.sources.values() for file in source.discover(os.environ, Path.home())]
for piece in pieces_together([FileToRead(file) for file in found]):
    pass
"""
_UUID = re.compile(rb"(?<![0-9a-f])[0-9a-f]{8}(?=-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_MINTED = re.compile(rb"((?:msg_(?:[a-z]{2,8}_)?01|req_011|resp_))..")
_LETTERS = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def grown(source: Path, target: Path, times: int) -> None:
    """Write a folder of transcripts several times, each time under other session, response and request ids."""
    files = [path for path in source.rglob("*.json*") if path.parent != source]
    for number in range(times):
        for path in files:
            name = renamed(os.fsencode(path.relative_to(source)), number)
            place = target / os.fsdecode(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(renamed(path.read_bytes(), number))


def renamed(data: bytes, number: int) -> bytes:
    """The same with every id that is given once changed in a way that no other number changes it."""
    if number == 0:
        return data
    mark = bytes((_LETTERS[number // len(_LETTERS)], _LETTERS[number % len(_LETTERS)]))
    data = _UUID.sub(lambda found: b"%08x" % (int(found[0], 16) ^ number << 16), data)
    return _MINTED.sub(lambda found: found[1] + mark, data)


def waited(argv: Sequence[str], environ: Mapping[str, str], told: bytes = b"") -> tuple[float, float]:
    """How long a program took, and what it computed with all the processes it started and waited for."""
    began = time.perf_counter()
    with subprocess.Popen(argv, env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as program:
        assert program.stdin is not None
        program.stdin.write(told)
        program.stdin.close()
        _, status, used = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - began
    if program.returncode:
        raise SystemExit(f"{argv[0]} ended with {program.returncode}")
    return took, used.ru_utime + used.ru_stime


def shown(seconds: float) -> str:
    return f"{seconds:.2f} s"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench first_read", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--times", type=int, help="how often the corpus makes up the history")
    parser.add_argument("--beside", help="the command of another program that adds up the same files")
    chosen = parser.parse_args(arguments)
    rounds, times = chosen.rounds or (3 if chosen.quick else 7), chosen.times or (2 if chosen.quick else 10)
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        place = Path(name)
        history, home = place / "history", place / "home"
        grown(CORPUS if CORPUS.exists() else made(place / "made"), history, times)
        there = {variable: path for variable, path in places_of(history).items() if Path(path).exists()}
        environ = {**environment(home), **there}
        lines = usage_lines(there, home)
        files = [path for path in history.rglob("*.json*") if path.is_file()]
        told = b"\0".join(os.fsencode(path) for path in files)
        programs = {
            "json.loads": ([sys.executable, "-I", "-c", LINES], told),
            "reading": ([sys.executable, "-c", READING], b""),
            "usage": (OURS, b""),
        }
        if chosen.beside:
            programs["beside"] = (shlex.split(chosen.beside), b"")
        walls: dict[str, list[float]] = {each: [] for each in programs}
        computed: dict[str, list[float]] = {each: [] for each in programs}
        for _ in range(rounds):
            for each, (argv, given) in programs.items():
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir()
                took, used = waited(argv, environ, given)
                walls[each].append(took)
                computed[each].append(used)
        size = sum(path.stat().st_size for path in files)
    best = min(walls["usage"])
    title = f"first read of {size / 1e6:.0f} MB in {len(files):,} files, {lines:,} lines with usage"
    ratios = []
    for what, figures in (("waited", walls), ("computed", computed)):
        floors = [("every line through json.loads", "json.loads")] + [("the other program", "beside")] * (
            "beside" in programs
        )
        for named, each in floors:
            bound = 1.5 if (what, each) == ("waited", "beside") else None
            ratios.append(Ratio(f"usage, {what}", named, figures["usage"], figures[each], bound=bound))
    missed = report(title, ratios, shown)
    print(
        f"  best {best:.2f} s: {lines / best:,.0f} lines with usage a second; "
        f"computing {lines / statistics.median(computed['usage']):,.0f} a second of one core"
    )
    read, used = min(walls["reading"]), statistics.median(computed["reading"])
    print(
        f"  reading alone, by two processes: best {read:.2f} s, {lines / read:,.0f} lines with usage a second; "
        f"computing {used:.2f} s, with two cores free {2 * lines / used:,.0f} a second at most"
    )
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
