"""A command line over a ledger in an empty home, and sessions to look at with it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tallygate.app import App, compose, settings_here
from tallygate.core.costing import Tokens
from tallygate.core.model import Actor
from tallygate.core.words import ActorType
from tallygate.entrypoints.cli.main import tallygate
from tallygate.entrypoints.cli.program import Program
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.sessions.opening import Opening, start_session

SRC = Path(__file__).resolve().parents[3] / "src"
MODEL = "claude-opus-4.7"

Run = Callable[..., Result]


@pytest.fixture
def run(home: Path) -> Run:
    """Run one command in this process."""
    runner = CliRunner()

    def run_(*arguments: str, json_: bool = False) -> Any:
        result = runner.invoke(tallygate, [*arguments, *(["--json"] if json_ else [])], obj=PROGRAM)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_


PROGRAM = Program(settings_here, compose)


@pytest.fixture
def run_json(run: Run) -> Callable[..., Any]:
    """What one command answers as JSON."""

    def run_(*arguments: str) -> Any:
        result = run(*arguments, json_=True)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run_


@dataclass
class Made:
    """A ledger that is filled through the operations."""

    app: App

    def session(self, limit_usd: int = 1, *, model: str = MODEL, **more: Any) -> str:
        opening = Opening(limit_nanos=limit_usd * 10**9, model=model, client="test", **more)
        return start_session(self.app.runtime, opening).session.session_id

    def call(self, session_id: str, *, prompt: int = 10_000, output: int = 1_000, **more: Any) -> str:
        step = StatedStep(session_id=session_id, prompt_tokens=prompt, completion_tokens=output, **more)
        return authorize(self.app.runtime, step).call_id or ""

    def worked(self) -> str:
        """A session with a recorded call, a pending one of a subagent, and a halt."""
        session_id = self.session(task_summary="mend the parser")
        done = self.call(session_id, tool_name="plan")
        record_usage(self.app.runtime, UsageReport(done, Tokens(fresh_input=8_000, output=400)))
        self.call(session_id, tool_name="edit", actor=Actor(ActorType.SUBAGENT, "a1", "helper"))
        self.call(session_id, prompt=900_000, tool_name="read")
        return session_id

    def end(self, session_id: str) -> None:
        end_session(self.app.runtime, session_id)


@pytest.fixture
def made(home: Path):
    app = compose(settings_here(), by="test")
    yield Made(app)
    app.close()


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    """The environment of a process of its own: an empty home, and the source under test."""
    return {**os.environ, "PYTHONPATH": str(SRC)}


@pytest.fixture
def spawn(environ: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one command as a process of its own."""

    def spawn_(*arguments: str, input_: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tallygate", *arguments],
            input=input_,
            env={**environ, **more},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return spawn_


@pytest.fixture
def on_terminal(environ: dict[str, str]) -> Callable[..., tuple[subprocess.CompletedProcess[bytes], str]]:
    """Run one command whose stderr is a terminal; returns it with what was shown there."""

    def run_(*arguments: str) -> tuple[subprocess.CompletedProcess[bytes], str]:
        import pty

        leader, follower = pty.openpty()
        shown = bytearray()

        def watch() -> None:
            # A terminal holds a few thousand bytes that nobody reads, and a slow machine shows more.
            with contextlib.suppress(OSError):  # where the other end is closed
                while read := os.read(leader, 65_536):
                    shown.extend(read)

        watching = threading.Thread(target=watch)
        watching.start()
        done = subprocess.run(
            [sys.executable, "-m", "tallygate", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=follower,
            env={**environ, "TERM": "xterm", "COLUMNS": "100"},
            timeout=300,
            check=False,
        )
        os.close(follower)
        watching.join()
        os.close(leader)
        return done, shown.decode()

    return run_
