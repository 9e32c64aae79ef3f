"""Kill a program between any two statements of its ledger, start it again, and tell what became of it.

`python -m tests.processes.kills session FOLDER` runs one whole session from the first opening of a fresh ledger to
its run-log line, once for every statement of it, each time in a child that kills itself right before that
statement. `... migrate FOLDER ROUNDS` lets six children open one fresh path at once, of which one dies.
Forking from one loaded process makes a hundred kills a matter of seconds. One line of JSON a round.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallygate.app import App, compose
from tallygate.core.costing import Tokens
from tallygate.entrypoints.mcp_server.serve import look_after
from tallygate.ledger.audit.audit import audit
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.settings import Settings, UserPlaces, load_settings

MODEL = "gpt-4o"
STARTERS = 6


def settings_of(folder: Path) -> Settings:
    where = UserPlaces(folder, folder / "config", folder / "data")
    return load_settings({"TALLYGATE_HOME": str(folder / "data")}, folder, where)


class Doom:
    """Ends this process right before its n-th statement; counts them where n is 0. Of several, the first one dies."""

    def __init__(self, before: int, grave: Path) -> None:
        self.before = before
        self.count = 0
        self.grave = grave

    def statement(self, sql: str) -> None:
        self.count += 1
        if self.count == self.before and self._is_first():
            append(self.grave, " ".join(sql.split())[:60])
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_first(self) -> bool:
        try:
            os.close(os.open(self.grave, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True


@contextmanager
def doomed(doom: Doom) -> Iterator[None]:
    """Every connection of this process tells its statements to `doom`, from its first one on."""
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(doom.statement)
        return connection

    sqlite3.connect = traced
    try:
        yield
    finally:
        sqlite3.connect = connect


def whole_session(app: App, acknowledge: Callable[[str, str], None]) -> None:
    """Everything a session can do, each step acknowledged only after it returned."""
    rt = app.runtime
    session = start_session(rt, Opening(1_000_000_000, MODEL, task_summary="kills")).session.session_id
    acknowledge(session, "open")
    calls = []
    for number in range(3):
        answer = authorize(rt, StatedStep(session, f"step {number}", prompt_tokens=100, completion_tokens=10))
        calls.append(str(answer.call_id))
        acknowledge(calls[-1], "pending")
    authorize(rt, StatedStep(session, "too dear", prompt_tokens=900_000_000, completion_tokens=10))
    acknowledge(session, "denied one")
    record_usage(rt, UsageReport(calls[0], Tokens(fresh_input=90, output=9)))
    acknowledge(calls[0], "reconciled")
    void_call(rt, calls[1], "not made")
    acknowledge(calls[1], "voided")
    end_session(rt, session)
    acknowledge(session, "ended")
    acknowledge(calls[2], "expired")
    record_usage(rt, UsageReport(calls[2], Tokens(fresh_input=80, output=8)))
    acknowledge(calls[2], "reconciled")


def in_child(work: Callable[[], None]) -> int:
    """Start a child that does the work and ends without the parent's exit handlers; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def append(file: Path, line: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode() + b"\n")
    os.close(descriptor)


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def one_kill(folder: Path, before: int) -> dict[str, Any]:
    """A session killed before its n-th statement, the next start after it, and what that found."""
    folder.mkdir(mode=0o700, parents=True)
    settings = settings_of(folder)
    acks, last = folder / "acks", folder / "last"

    def work() -> None:
        doom = Doom(before, last)
        with doomed(doom):
            app = compose(settings, by="doomed")
            whole_session(app, lambda name, state: append(acks, f"{name} {state}"))
            app.close()
        append(last, f"{doom.count} statements")

    code = ended(in_child(work))
    log_before = run_ids(settings.paths.run_log)
    app = compose(settings, by="next")
    look_after(app)
    look_after(app)
    report = {
        "n": before,
        "code": code,
        "before": lines(last)[-1],
        "logged_before": len(log_before),
        "findings": [str(finding) for finding in audit(app.ledger)],
        "lost": lost(app, lines(acks)),
        "log": wrong_in_log(app, settings.paths.run_log),
        "ended": next(app.ledger.rows("SELECT COUNT(*) FROM session WHERE state = 'ended'"))[0],
    }
    again = start_session(app.runtime, Opening(10**9, MODEL)).session.session_id
    answer = authorize(app.runtime, StatedStep(again, "goes on"))
    report["goes_on"] = answer.action.value
    app.close()
    return report


LATER = {"pending": {"pending", "reconciled", "voided", "expired"}, "expired": {"expired", "reconciled"}}


def lost(app: App, acks: list[str]) -> list[str]:
    """Acknowledgements that the ledger does not know about."""
    states = dict(app.ledger.rows("SELECT call_id, state FROM call"))
    states.update(app.ledger.rows("SELECT session_id, state FROM session"))
    denied = list(app.ledger.rows("SELECT 1 FROM call WHERE state = 'denied'"))
    found = []
    for ack in acks:
        name, state = ack.split(" ", 1)
        if state == "denied one":
            known = bool(denied)
        elif state == "open":
            known = name in states
        else:
            known = states.get(name) in LATER.get(state, {state})
        if not known:
            found.append(f"{ack}: {states.get(name)}")
    return found


def run_ids(log: Path) -> list[str]:
    return [json.loads(line)["run_id"] for line in lines(log)]


def wrong_in_log(app: App, log: Path) -> list[str]:
    """Ended sessions that are not in the run log exactly once, and lines of others."""
    logged = run_ids(log)
    ended_ids = [name for (name,) in app.ledger.rows("SELECT session_id FROM session WHERE state = 'ended'")]
    wrong = [f"{name} stands {logged.count(name)} times" for name in ended_ids if logged.count(name) != 1]
    return wrong + [f"{name} is not ended" for name in logged if name not in ended_ids]


def one_first_start(folder: Path, before: int) -> dict[str, Any]:
    """Six processes open one fresh path at the same moment; the first to come to its n-th statement dies there."""
    folder.mkdir(mode=0o700, parents=True)
    settings = settings_of(folder)
    gate_out, gate_in = os.pipe()
    last = folder / "last"

    def work(number: int) -> None:
        os.close(gate_in)
        os.read(gate_out, 1)  # returns when the parent closes its end: the same moment for all
        doom = Doom(before, last)
        with doomed(doom):
            app = compose(settings, by=f"starter {number}")
            session = start_session(app.runtime, Opening(10**9, MODEL)).session.session_id
            answer = authorize(app.runtime, StatedStep(session, "first"))
            append(folder / "acks", f"{answer.call_id} pending")
            app.close()

    pids = [in_child(lambda number=number: work(number)) for number in range(STARTERS)]
    os.close(gate_out)
    os.close(gate_in)
    codes = [ended(pid) for pid in pids]
    app = compose(settings, by="next")
    report = {
        "n": before,
        "before": (lines(last) or ["its end"])[-1],
        "codes": codes,
        "findings": [str(finding) for finding in audit(app.ledger)],
        "lost": lost(app, lines(folder / "acks")),
        "ledgers": next(app.ledger.rows("SELECT COUNT(*) FROM ledger"))[0],
    }
    app.close()
    return report


def main(kind: str, folder: Path, rounds: int) -> None:
    # What would be loaded in every child is loaded once.
    warm = compose(settings_of(folder / "warm"), by="warm")
    warm.runtime.workspace.prices.quote(MODEL, datetime.now(UTC))
    warm.close()
    if kind == "session":
        whole = one_kill(folder / "whole", 0)
        print(json.dumps(whole), flush=True)
        count = int(re.match(r"\d+", whole["before"]).group())  # type: ignore[union-attr]
        for before in range(1, count + 1):
            print(json.dumps(one_kill(folder / str(before), before)), flush=True)
        return
    chance = random.Random(rounds)
    # Beyond its sixteenth statement is only the one that makes the tables.
    for number, before in enumerate(chance.sample(range(9, 40), rounds)):
        print(json.dumps(one_first_start(folder / str(number), before)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
