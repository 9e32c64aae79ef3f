"""A process that works on a ledger until it is told to stop, or is killed: `python -m tests.processes.actor KIND`.

It says `ready`, waits for a line on its input, and reports on its output; every line is flushed before it goes on.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tallygate.app import App, compose, settings_here
from tallygate.core.costing import Tokens
from tallygate.core.errors import Conflict, TallygateError
from tallygate.core.model import Policy
from tallygate.core.words import Action
from tallygate.ledger.sqlite.files import migrations
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.runtime import Runtime
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.pricing.book import PriceBook

MODEL = "gpt-4o"
CENT = 10_000_000
SHORT_TTL_US = 100_000


def say(**fact: Any) -> None:
    os.write(1, json.dumps(fact).encode() + b"\n")


def wait_for_go() -> None:
    say(state="ready", pid=os.getpid())
    sys.stdin.readline()


def opened(by: str) -> App:
    return compose(settings_here(), by=by)


def hurried(app: App) -> Runtime:
    """The same program with reservations that expire while the test still runs."""
    policy = Policy(reservation_ttl_us=SHORT_TTL_US)
    return replace(app.runtime, workspace=replace(app.runtime.workspace, policy=policy))


class Worker:
    """One process among several, doing whatever comes to its mind on sessions it shares with the others."""

    def __init__(self, rt: Runtime, seed: int, shared: list[str], tell: Callable[..., None]) -> None:
        self.rt = rt
        self.chance = random.Random(seed)
        self.shared = shared
        self.own: list[str] = []
        self.pending: list[str] = []
        self.done: Counter[str] = Counter()
        self.tell = tell

    def step(self) -> None:
        kind = self.chance.choices(
            ("authorize", "record", "void", "record_again", "expire", "start", "end"), (50, 25, 8, 4, 4, 5, 4)
        )[0]
        getattr(self, kind)()
        self.done[kind] += 1

    def authorize(self) -> None:
        session = self.chance.choice([*self.shared, *self.own])
        tokens = self.chance.choice((10, 200, 5_000, 100_000))
        answer = authorize(self.rt, StatedStep(session, "work", prompt_tokens=tokens, completion_tokens=tokens // 10))
        self.done[f"answered {answer.action.value}"] += 1
        if answer.action is not Action.HALT:
            assert answer.call_id is not None
            self.pending.append(answer.call_id)
            self.tell(call=answer.call_id, state="pending")

    def taken(self) -> str | None:
        return self.pending.pop(self.chance.randrange(len(self.pending))) if self.pending else None

    def record(self) -> None:
        if call := self.taken():
            used = Tokens(fresh_input=self.chance.randrange(6_000), output=self.chance.randrange(600))
            record_usage(self.rt, UsageReport(call, used))
            self.tell(call=call, state="reconciled")

    def record_again(self) -> None:
        if call := self.taken():
            report = UsageReport(call, Tokens(fresh_input=7, output=7))
            first = record_usage(self.rt, report)
            assert record_usage(self.rt, report).cost_nanos == first.cost_nanos
            self.tell(call=call, state="reconciled")

    def void(self) -> None:
        if call := self.taken():
            try:
                void_call(self.rt, call, "not made")
            except Conflict:
                self.done["expired before it was voided"] += 1
            else:
                self.tell(call=call, state="voided")

    def expire(self) -> None:
        sweep(self.rt)

    def start(self) -> None:
        session = start_session(self.rt, Opening(20 * CENT, MODEL)).session.session_id
        self.own.append(session)
        self.tell(session=session, state="open")

    def end(self) -> None:
        if self.own:
            session = self.own.pop(self.chance.randrange(len(self.own)))
            end_session(self.rt, session)
            self.tell(session=session, state="ended")


def work(seed: int, seconds: float, shared: list[str], *, tells: bool) -> None:
    """Work until the time is up; then say how often what was done."""
    app = opened(f"worker {seed}")
    app.runtime.workspace.prices.quote(MODEL, datetime.now(UTC))  # reading the price table takes longer than the test
    worker = Worker(hurried(app), seed, shared, say if tells else lambda **_: None)
    wait_for_go()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        worker.step()
    say(state="done", done=dict(worker.done))
    app.close()


def stop_inside_a_write() -> None:
    """Take the ledger and stand still with it, until somebody continues this process."""
    app = opened("holder")
    wait_for_go()
    with app.ledger.writing() as tx:
        tx.head()
        os.kill(os.getpid(), signal.SIGSTOP)
    app.close()
    say(state="went on")


def open_sessions_until_halted(seed: int) -> None:
    """Open session after session under a budget that all share, and spend in each, until it says no."""
    app = opened(f"opener {seed}")
    chance = random.Random(seed)
    wait_for_go()
    for admitted in range(1000):
        session = start_session(app.runtime, Opening(1000 * CENT, MODEL, client=f"client-{chance.random()}")).session
        step = StatedStep(
            session.session_id, "edit", prompt_tokens=chance.randint(10_000, 400_000), completion_tokens=0
        )
        answer = authorize(app.runtime, step)
        if answer.action is Action.HALT:
            say(state="halted", admitted=admitted, budget=answer.binding.budget_id if answer.binding else None)
            break
        record_usage(app.runtime, UsageReport(answer.call_id or "", Tokens(fresh_input=step.prompt_tokens)))
    app.close()


def open_as(uid: int, session: str) -> None:
    """Open the ledger as another user, and ask; files' modes mean nothing to the superuser."""
    settings = settings_here()
    PriceBook(settings.pricing).quote(MODEL, datetime.now(UTC))
    migrations()  # what is loaded late is loaded while this process may still read it
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    try:
        app = compose(settings, by="reader")
    except TallygateError as error:
        say(state="refused", code=error.code, message=error.message, hint=error.hint)
        return
    answer = authorize(app.runtime, StatedStep(session, "edit"))
    say(state="asked", action=answer.action.value, reason=answer.reason.value, message=answer.message)
    app.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["work", seed, seconds, shared]:
            work(int(seed), float(seconds), shared.split(","), tells=False)
        case ["mortal", seed, shared]:
            work(int(seed), 3600, shared.split(","), tells=True)
        case ["holder"]:
            stop_inside_a_write()
        case ["openers", seed]:
            open_sessions_until_halted(int(seed))
        case ["open-as", uid, session]:
            open_as(int(uid), session)
        case _:
            sys.exit(f"unknown kind {sys.argv[1:]}")
