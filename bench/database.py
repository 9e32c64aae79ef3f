"""What settling steps in a database costs, beside a bare INSERT: alone, and all that wait in one transaction.

    python -m bench.database "postgresql://..." [--seconds 5]

The database is one of its own, with the tables of `tallygate migrate`. Callers are threads of this process, and each
waits for its answer before it asks again; nothing goes over HTTP. `alone` is a transaction a step; `together` is one
writer, which settles whatever waits when it is free, as a server for a team does. Sums are checked at the end.
"""

from __future__ import annotations

import argparse
import queue
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from tallygate.core.model import Policy
from tallygate.core.words import CalibrationMode
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.port import Ledger
from tallygate.ledger.postgres.database import PostgresLedger
from tallygate.ledger.presence import ServerPresence
from tallygate.ledger.runlog import JsonLinesLog
from tallygate.operations.gate.authorize import StatedStep, authorize, price_step
from tallygate.operations.gate.pipeline import Door, stored_answer, take_step_in, word_answer
from tallygate.operations.runtime import Runtime, Services, Workspace
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.pricing.book import PriceBook, PricingSettings

MODEL = "claude-opus-4.7"
DOLLARS = 10**9
Ask = Callable[[str], None]


def runtime(ledger: Ledger, folder: Path) -> Runtime:
    """A program on a ledger, with a clock and ids of its own."""
    services = Services(
        ledger=ledger,
        clock_us=lambda: time.time_ns() // 1000,
        new_token=secrets.token_hex,
        run_log=JsonLinesLog(),
        presence=ServerPresence(folder / "servers"),
    )
    policy = replace(Policy(), calibration=CalibrationMode.OBSERVE)
    workspace = Workspace(prices=PriceBook(PricingSettings()), policy=policy, run_log_path=folder / "runs.jsonl")
    return Runtime(services, workspace, by="bench")


@dataclass(slots=True)
class Waiting:
    """A step that waits for its answer."""

    session: str
    done: threading.Event = field(default_factory=threading.Event)
    fault: BaseException | None = None


class Settler:
    """One writer for all callers: what waits when it is free is decided in order and committed once."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._waiting: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self.groups = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def ask(self, session: str) -> None:
        """Have a step settled."""
        waiting = Waiting(session)
        self._waiting.put(waiting)
        waiting.done.wait()
        if waiting.fault is not None:
            raise waiting.fault

    def close(self) -> None:
        """End once everything that waits is settled."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            group = [self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get())
            is_over = None in group
            steps = [each for each in group if each is not None]
            try:
                if steps:
                    self._settle(steps)
            except BaseException as fault:  # noqa: BLE001 - each caller is told
                for each in steps:
                    each.fault = fault
            for each in steps:
                each.done.set()

    def _settle(self, steps: list[Waiting]) -> None:
        self.groups += 1
        doors = [_door(self._rt, each.session) for each in steps]
        with self._rt.writing() as tx:
            for door in doors:
                take_step_in(self._rt, tx, door)


def _door(rt: Runtime, session: str) -> Door[Any]:
    request = price_step(rt, StatedStep(session, "edit"))
    return Door(
        request,
        stored=lambda _, call: stored_answer(call, request),
        word=lambda tx, outcome, call_id: word_answer(rt, tx, outcome, call_id),
        kept=lambda answer: answer.to_json(),
    )


def rate(ask: Ask, callers: int, sessions: list[str], seconds: int) -> tuple[int, int]:
    """How often callers were answered in a second, and how long the slowest hundredth waited, in microseconds."""
    ends = time.monotonic() + seconds
    took: list[list[int]] = [[] for _ in range(callers)]

    def call(number: int) -> None:
        session = sessions[number % len(sessions)]
        while (began := time.monotonic_ns()) and time.monotonic() < ends:
            ask(session)
            took[number].append((time.monotonic_ns() - began) // 1000)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waits = sorted(each for one in took for each in one)
    return len(waits) // seconds, waits[len(waits) * 99 // 100] if waits else 0


def bare(url: str, callers: int, seconds: int) -> tuple[int, int]:
    """The same of callers that each insert a row, on a connection of their own, and commit."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS bare (id BIGINT GENERATED ALWAYS AS IDENTITY, t TEXT, PRIMARY KEY (id))"
        )
    own = threading.local()
    opened: list[psycopg.Connection[Any]] = []

    def ask(session: str) -> None:
        if not hasattr(own, "connection"):
            own.connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)
            opened.append(own.connection)
        own.connection.execute("INSERT INTO bare (t) VALUES (%s)", (session * 8,))

    found = rate(ask, callers, ["x" * 32], seconds)
    for connection in opened:
        connection.close()
    return found


def main() -> None:
    """Print a table: who settles how, and its share of a bare INSERT of as many callers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--seconds", type=int, default=5)
    given = parser.parse_args()
    ledger = PostgresLedger(given.url, clock=lambda: time.time_ns() // 1000, lock_timeout_ms=60_000)
    with tempfile.TemporaryDirectory() as folder:
        rt = runtime(ledger, Path(folder))
        sessions = [start_session(rt, Opening(10**6 * DOLLARS, MODEL)).session.session_id for _ in range(64)]

        def alone(session: str) -> None:
            authorize(rt, StatedStep(session, "edit"))

        print("| callers | budgets | way | steps a second | of a bare INSERT | 99 in 100 within |")
        print("|---|---|---|---|---|---|")
        for callers in (8, 64):
            floor, slow = bare(given.url, callers, given.seconds)
            print(f"| {callers} | - | bare INSERT | {floor:,} | 1.00 | {slow / 1000:.1f} ms |")
            for budgets in (1, 64):
                for way in ("alone", "together"):
                    settler = Settler(rt) if way == "together" else None
                    ask = alone if settler is None else settler.ask
                    found, slow = rate(ask, callers, sessions[:budgets], given.seconds)
                    if settler is not None:
                        settler.close()
                    share = f"{found / max(floor, 1):.2f}"
                    print(f"| {callers} | {budgets} | {way} | {found:,} | {share} | {slow / 1000:.1f} ms |", flush=True)
        findings = audit(ledger)
        print(f"\n{'Everything adds up.' if not findings else findings[:3]}")
    ledger.close()


if __name__ == "__main__":
    main()
