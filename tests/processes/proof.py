"""What the tests of this folder share: processes to drive, and what a sound ledger is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench.wire import environment

from tallygate.app import App, opened
from tallygate.ledger.audit.audit import audit
from tallygate.settings import UserPlaces, load_settings


class Actor:
    """A process of tests.processes.actor: told to go, listened to, killed."""

    def __init__(self, folder: Path, *arguments: object, **environ: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.actor", *map(str, arguments)],
            cwd=folder,
            env=environment(folder, **environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> dict[str, Any] | None:
        """The next thing it says; None once it is gone. What a kill cut short was not said."""
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def hear_all(self) -> list[dict[str, Any]]:
        return list(iter(self.hear, None))

    def wait_until(self, state: str) -> dict[str, Any]:
        for said in iter(self.hear, None):
            if said.get("state") == state:
                return said
        pytest.fail(f"the process ended with {self.process.wait()} before it was {state}")

    def go(self) -> None:
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def looking_at(home: Path) -> Iterator[App]:
    """The ledger of a home, opened by the test itself."""
    where = UserPlaces(home, home / "config", home / "data")
    settings = load_settings({"TALLYGATE_HOME": str(home / "data")}, home, where)
    with opened(settings, by="test") as app:
        yield app


HOLDS = """
    SELECT json_extract(hold.value, '$[0]'), SUM(call.booked_nanos),
           SUM(CASE WHEN call.state = 'pending' THEN json_extract(hold.value, '$[1]') ELSE 0 END)
    FROM call, json_each(call.holds) AS hold GROUP BY 1
"""


def assert_sound(app: App) -> None:
    """The audit finds nothing, and the counters are the sums of the calls, asked of the tables themselves."""
    assert audit(app.ledger) == []
    sums = {name: (spent, reserved) for name, spent, reserved in app.ledger.rows(HOLDS)}
    counters = "SELECT budget_id, spent_nanos, reserved_nanos FROM budget"
    for name, spent, reserved in app.ledger.rows(counters):
        assert sums.get(name, (0, 0)) == (spent, reserved)
