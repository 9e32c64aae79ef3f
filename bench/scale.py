"""What a year of much work costs to look at: lists, drift, a sync of nothing new, exports, and the page.

And who pays for the sums of a ledger of before.

A ledger of 1,000,000 responses in 10,000 sessions is made once and kept (`BENCH_DIR`). CPU is that of whole commands,
each in turn with `budget list` on an empty ledger, which is taken off.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figures import percentile, stated
from bench.fill import LIMIT, open_in
from tallygate.app import App
from tallygate.clients.registry import REGISTRY
from tallygate.core.attribution import Served, together
from tallygate.core.costing import Tokens
from tallygate.core.usage import ObservedUsage, Quality, ReadingRule
from tallygate.ledger.port import Insert, Update, Value
from tallygate.ledger.rows import from_usage
from tallygate.ledger.sqlite.files import migrations
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.operations.usage.ingest import Pricer
from tallygate.operations.usage.sync import add_up

TITLE = "a year of much work"
RESPONSES, SESSIONS, A_COMMIT = 1_000_000, 10_000, 1_500
# Seconds of CPU above `budget list` on an empty ledger.
GOALS = {
    "usage": 0.8, "usage --by model": 0.8, "usage --by project": 0.8, "usage --by session": 0.8,
    "usage --by agent": 0.8, "usage --by skill": 0.8, "usage --by mcp": 0.8, "usage --by tool": 0.8,
    "usage --by branch": 0.8, "usage --by agent,tool": 0.8, "status": 0.1, "drift --since 30d": 1.8, "history": 0.8,
}  # fmt: skip
SYNC_GOAL_S, AUTHORIZE_GOAL, PAGE_GOAL_MS, PAGE_GOAL_MIB, EXPORT_GOAL_MIB, GATE_GOAL = 0.05, 1.03, 300, 150, 150, 1.2
PAGES = ("now", "spend", "sessions", "session", "budgets", "gate", "bills", "proof")
MODELS = ("claude-opus-4-6", "claude-haiku-4-5", "claude-sonnet-4-5", "gpt-5", "gpt-5-mini")
OWN = tuple(Served(None, name) for name in ("Bash", "Read", "Edit", "Grep", "Write", "Task", "TodoWrite", "WebFetch"))
SERVERS = tuple(
    Served(server, tool) for server in ("github", "browser") for tool in ("search", "fetch", "open", "list")
)
KEY, HOST = "k" * 64, "127.0.0.1"


# --- made ------------------------------------------------------------------------------------------------------------


def made_home(responses: int, sessions: int) -> Path:
    """A home with a ledger of so many responses, made once a schema and kept."""
    folder = Path(os.environ.get("BENCH_DIR") or Path(tempfile.gettempdir()) / "tallygate-bench")
    schema = hashlib.sha256(repr(migrations()).encode()).hexdigest()[:8]
    home = folder / f"scale-{responses}-{sessions}-{schema}"
    if (home / "complete").exists():
        return home
    shutil.rmtree(home, ignore_errors=True)  # what an interrupted run left
    home.mkdir(mode=0o700, parents=True)
    began = time.monotonic()
    print(f"  making a ledger of {responses:,} responses in {home.name} ...", flush=True)
    fill(home, responses, sessions)
    (home / "complete").touch()
    print(f"  made in {time.monotonic() - began:.0f} s", flush=True)
    return home


def fill(home: Path, responses: int, sessions: int) -> None:
    """Responses of a year up to now, with whom they were made for, as their clients' files would have brought them."""
    app = open_in(home, TALLYGATE_DURABILITY="normal")
    try:
        connection = app.ledger._connection  # noqa: SLF001
        for pragma in ("synchronous = OFF", "cache_size = -262144", "wal_autocheckpoint = 100000"):
            connection.execute(f"PRAGMA {pragma}")
        chance, pricer = random.Random(1), Pricer(app.runtime)
        now = datetime.now(UTC).replace(microsecond=0)
        rule = next(each for each in REGISTRY.rules.values() if "claude" in each.text.lower())
        waiting: list[Insert] = []
        prices: dict[str, str] = {}
        for number in range(sessions):
            session = start_session(app.runtime, Opening(LIMIT, MODELS[0], client="claude-code")).session.session_id
            began = now - timedelta(days=365) * (sessions - number) / sessions
            for row in _of_session(chance, Begun(number, began, now), responses // sessions, rule):
                stored, basis = pricer.priced(row)
                if basis:
                    prices.setdefault(stored.price_id, basis)
                waiting.append(Insert("usage", from_usage(replace(stored, session_id=session))))
            with app.ledger.writing() as tx:
                over: dict[str, Value] = {"session_id": session, "state": "ended", "ended_us": tx.at_us}
                tx.append("session.ended", [Update("session", over | {"end_cause": "run_end"})], by="bench")
            if len(waiting) >= A_COMMIT or number == sessions - 1:
                _observed(app, waiting, prices)
                waiting = []
        add_up(app.runtime)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        app.close()


def _observed(app: App, waiting: list[Insert], prices: dict[str, str]) -> None:
    with app.ledger.writing() as tx:
        fresh = [
            Insert("price", {"price_id": name, "basis": basis})
            for name, basis in sorted(prices.items())
            if not tx.knows_price(name)
        ]
        tx.append("usage.observed", [*fresh, *waiting], by="bench")


@dataclass(frozen=True, slots=True)
class Begun:
    """A session: which it is, when it began, and before when it ended."""

    number: int
    at: datetime
    until: datetime


def _of_session(chance: random.Random, begun: Begun, many: int, rule: ReadingRule) -> Iterator[ObservedUsage]:
    """One session: a project and a branch of it, a main model and one of subagents, tools of its own and of servers."""
    number, at = begun.number, begun.at
    client_session, project = f"{chance.getrandbits(128):032x}", chance.randrange(20)
    main, side = chance.sample(MODELS, 2)
    branch = "main" if chance.random() < 0.3 else f"topic-{project}-{number // 200}"
    agents = [None] * 4 + [(f"{chance.getrandbits(64):016x}", kind) for kind in ("Explore", "Plan")]
    skill = chance.choice([None] * 8 + ["pdf", "review"])
    for step in range(many):
        at += timedelta(seconds=chance.randrange(5, 70))
        agent = chance.choice(agents)
        tools = chance.choices((*OWN, *SERVERS), k=chance.choice((0, 1, 1, 1, 2)))
        yield ObservedUsage(
            "claude_code",
            client_session,
            f"msg_{number:06d}_{step:04d}",
            min(at, begun.until),
            side if agent else main,
            Tokens(
                chance.randrange(10, 3_000), chance.randrange(10_000, 150_000), chance.randrange(5_000), 0,
                chance.randrange(20, 2_000),
            ),
            rule,
            quality=Quality.FINAL if chance.random() < 0.97 else Quality.PARTIAL,
            agent_id=agent[0] if agent else None,
            agent_type=agent[1] if agent else None,
            skill=skill if chance.random() < 0.2 else None,
            branch=branch,
            served=together(tools),
            project=f"/home/me/work/project-{project}",
            request_id=f"req_{number:06d}_{step:04d}",
            reasoning=chance.randrange(100),
        )  # fmt: skip


# --- commands --------------------------------------------------------------------------------------------------------


def command(home: Path, *words: str, out: Path | None = None) -> tuple[float, int]:
    """Run one; the seconds of CPU that it took, and the most memory in KiB."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TALLYGATE_", "XDG_"))}
    user = home / "user"
    user.mkdir(exist_ok=True)
    environ |= {"HOME": str(user), "TALLYGATE_HOME": str(home / "data"), "NO_COLOR": "1"}
    program = [sys.executable, "-m", "tallygate", *words]
    with (out or Path(os.devnull)).open("wb") as told:
        process = subprocess.Popen(program, env=environ, cwd=user, stdout=told, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss


def lists(home: Path, empty: Path, rounds: int) -> int:
    """Each command above the floor, in turns."""
    took: dict[str, list[float]] = {name: [] for name in GOALS}
    for number in range(rounds + 1):
        for name, found in took.items():
            floor, _ = command(empty, "budget", "list")
            seconds, _ = command(home, *name.split())
            if number:
                found.append(seconds - floor)
    return sum(_above(f"`{name}`, CPU", found, GOALS[name]) for name, found in took.items())


def _above(figure: str, seconds: Sequence[float], goal: float) -> int:
    median, spread = statistics.median(seconds), f"{percentile(seconds, 10):+.2f} to {percentile(seconds, 90):+.2f}"
    return stated(TITLE, figure, f"{median:+.2f} s", f"<= +{goal:g} s", held=median <= goal, spread=spread)


def syncs(empty: Path, files: int, rounds: int) -> int:
    """A sync of nothing new, with so many transcripts, against one with none."""
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        home = Path(name)
        folder = home / "user" / ".claude" / "projects" / "p"
        folder.mkdir(parents=True)
        usage = {"input_tokens": 3, "output_tokens": 5}
        for number in range(files):
            message = {"id": f"m{number}", "model": MODELS[0], "usage": usage, "stop_reason": "end_turn"}
            line = {"type": "assistant", "sessionId": f"s{number}", "requestId": f"r{number}", "message": message}
            text = json.dumps(line | {"timestamp": "2026-01-05T10:00:00Z", "uuid": f"u{number}", "cwd": "/p"})
            (folder / f"s{number}.jsonl").write_text(text + "\n")
        command(home, "sync")
        found = []
        for _ in range(rounds):
            floor, _ = command(empty, "sync")
            found.append(command(home, "sync")[0] - floor)
    return _above(f"`sync` of nothing new, {files:,} transcripts, CPU", found, SYNC_GOAL_S)


def exports(home: Path, rows: int) -> int:
    """Everything, in each format: how long it takes, in how much memory."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        for form in ("csv", "json", "focus"):
            began, out = time.perf_counter(), Path(name) / form
            _, memory = command(home, "export", "--format", form, out=out)
            took, size = time.perf_counter() - began, out.stat().st_size / 1e6
            out.unlink()
            value = f"{memory / 1024:.0f} MiB, {took:.0f} s, {size:.0f} MB"
            figure = f"`export --format {form}` of {rows:,} responses"
            failed += stated(TITLE, figure, value, f"<= {EXPORT_GOAL_MIB} MiB", held=memory <= EXPORT_GOAL_MIB * 1024)
    return failed


def first_step(home: Path, rounds: int) -> int:
    """The first step asked for after an upgrade, with all sums to make: the sync pays for them, no step does."""
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-", dir=home.parent) as name:
        place = Path(name)
        shutil.copytree(home / "data", place / "data")
        app = open_in(place)
        from tallygate.ledger.rollups import begin_anew

        with app.ledger.writing():
            begin_anew(app.ledger._connection.execute)  # noqa: SLF001
        app.close()
        app = open_in(place)
        session = start_session(app.runtime, Opening(LIMIT, MODELS[0])).session.session_id
        before = [_timed(lambda: authorize(app.runtime, StatedStep(session, "edit"))) for _ in range(rounds)]
        took = _timed(lambda: add_up(app.runtime))
        after = [_timed(lambda: authorize(app.runtime, StatedStep(session, "edit"))) for _ in range(rounds)]
        app.close()
    value = f"{before[0] * 1e3:.1f} ms, then {statistics.median(before[1:]) * 1e3:.1f} ms"
    print(f"  steps with all sums to make: {value}; with all made {statistics.median(after) * 1e3:.1f} ms", flush=True)
    figure, goal = f"first step after an upgrade; `sync` adds up for {took:.0f} s", "the rest as later ones"
    return stated(TITLE, figure, value, goal, held=statistics.median(before[1:]) <= statistics.median(after) * 2)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- the page --------------------------------------------------------------------------------------------------------


def serve(home: Path) -> None:
    """The page on a ledger, until this process ends; the port is told first, and a session."""
    from tallygate.core.authority import Authority, EntryDoor
    from tallygate.entrypoints.page.demo_house import DemoHouse
    from tallygate.entrypoints.page.document import PageAround
    from tallygate.entrypoints.page.door import DoorFile, PageDoor
    from tallygate.entrypoints.page.routes import Pages, page_app
    from tallygate.entrypoints.page.serve import listening, page_server

    app = open_in(home)
    with app.ledger.reading() as reader:
        session = reader._one("SELECT session_id FROM session ORDER BY started_us DESC LIMIT 1")[0]  # noqa: SLF001
    ear = listening(0)
    door = PageDoor(ear.getsockname()[1], "t" * 64, app.runtime.services.steady_us(), "a" * 16, KEY, "f" * 64)
    pages = Pages(app.runtime, PageAround(UTC), Authority(EntryDoor.PAGE, "bench"), door, True, lambda: None)
    server = page_server(page_app(pages, DoorFile(home, "0"), DemoHouse(app.runtime, UTC)), door.closing)
    ear.listen(8)
    print(json.dumps([door.port, session]), flush=True)
    server.run(sockets=[ear])


@contextmanager
def served(home: Path) -> Iterator[tuple[int, Callable[[str], float]]]:
    """The page in a process of its own: its id, and what asks for a page and says when its first byte came."""
    process = subprocess.Popen([sys.executable, "-m", "bench.scale", "--page", str(home)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port, session = json.loads(process.stdout.readline())

        def ask(page: str) -> float:
            path = f"/{'a' * 16}/{page}" + (f"?id={session}" if page == "session" else "")
            line = http.client.HTTPConnection(HOST, port, timeout=120)
            headers = {"Cookie": f"tallygate={KEY}", "Sec-Fetch-Site": "same-origin"}
            began = time.perf_counter()
            line.request("GET", path, headers=headers)
            found = line.getresponse()
            found.read(1)
            took = time.perf_counter() - began
            found.read()
            line.close()
            if found.status != 200:
                raise RuntimeError(f"{page} answered {found.status}")
            return took

        yield process.pid, ask
    finally:
        process.terminate()
        process.wait()


def pages(home: Path, rounds: int) -> int:
    """The first byte of each page, its process's memory, and the gate's 99th percentile while pages are loaded."""
    failed = 0
    with served(home) as (pid, ask):
        for page in PAGES:
            first, *took = [ask(page) * 1e3 for _ in range(rounds + 1)]
            median, goal = statistics.median(took), f"<= {PAGE_GOAL_MS} ms"
            spread = f"{min(took):.0f}-{max(took):.0f}, first {first:.0f}"
            held = median <= PAGE_GOAL_MS
            failed += stated(TITLE, f"page {page}, first byte", f"{median:.0f} ms", goal, held=held, spread=spread)
        failed += _gate_beside(home, ask, rounds * 100)
        told = Path(f"/proc/{pid}/status").read_text(encoding="ascii").partition("VmHWM:")[2]
        mebibytes, goal = int(told.split()[0]) / 1024, f"<= {PAGE_GOAL_MIB} MiB"
        held = mebibytes <= PAGE_GOAL_MIB
    return failed + stated(TITLE, "memory of the page", f"{mebibytes:.0f} MiB", goal, held=held)


def _gate_beside(home: Path, ask: Callable[[str], float], steps: int) -> int:
    app = open_in(home)
    session = start_session(app.runtime, Opening(LIMIT, MODELS[0])).session.session_id
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            for page in PAGES:
                ask(page)

    def step() -> object:
        return authorize(app.runtime, StatedStep(session, "edit"))

    def turn() -> float:
        return percentile([_timed(step) for _ in range(steps)], 99)

    turn()
    ratios = []
    for _ in range(3):
        alone = turn()
        done.clear()
        loading = threading.Thread(target=load)
        loading.start()
        ratios.append(turn() / alone)
        done.set()
        loading.join()
    app.close()
    median, spread, goal = statistics.median(ratios), f"{min(ratios):.2f}-{max(ratios):.2f}", f"<= {GATE_GOAL}x"
    held = median <= GATE_GOAL
    return stated(TITLE, "gate's p99 while pages are loaded", f"{median:.2f}x", goal, held=held, spread=spread)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the size")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--page", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.page is not None:
        serve(chosen.page)
        return 0
    responses, sessions = (RESPONSES // 20, SESSIONS // 20) if chosen.quick else (RESPONSES, SESSIONS)
    rounds = chosen.rounds or (3 if chosen.quick else 7)
    home = made_home(responses, sessions)
    print(f"{responses:,} responses in {sessions:,} sessions")
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        empty = Path(name)
        command(empty, "budget", "list")
        failed = lists(home, empty, rounds)
        failed += syncs(empty, sessions, rounds)
    failed += first_step(home, 20)
    failed += pages(home, rounds)
    failed += exports(home, responses)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
