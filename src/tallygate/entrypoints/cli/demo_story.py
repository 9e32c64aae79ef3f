"""What `tallygate demo` shows: a session through a real MCP client, then what the ledger and the run log kept."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import tallygate
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.demo_session import SETTINGS, DemoFailed, Step, Talk, talk_to_server
from tallygate.entrypoints.cli.failures import FAILED, sentence
from tallygate.entrypoints.cli.program import Program
from tallygate.ledger.audit.audit import audit
from tallygate.operations.views.overview import SessionView, show_session

if TYPE_CHECKING:
    from tallygate.core.proof import Head

TEXT_WIDTH = 100
_OWN_PREFIXES = ("TALLYGATE_", "L6E_", "CLAUDE_PROJECT_DIR")


def run(program: Program, keep: Path | None) -> int:
    """Hold the session and tell of it; returns the exit code. Without `keep` nothing is left behind."""
    folder = _folder(keep)
    try:
        _demo(program, folder, kept=keep is not None)
    except DemoFailed as failure:
        click.echo(sentence("the demo failed:", str(failure)), err=True)
        return FAILED
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="tallygate-demo-")).resolve()
    if keep.exists() and any(keep.iterdir()):
        raise click.UsageError(f"The folder {str(keep)!r} is not empty; the demo only writes to a new one.")
    keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    return keep.resolve()


def _demo(program: Program, folder: Path, *, kept: bool) -> None:
    environ = _environ(folder)
    (folder / "config.toml").write_text(SETTINGS, encoding="utf-8")
    click.echo(f"{click.style('Tallygate demo', bold=True)}: an MCP client talks to `tallygate serve` over stdio.\n")
    talk = _talk(environ, folder / "server.log")
    _tell(talk.steps)
    if talk.failure is not None:
        raise DemoFailed(talk.failure)
    output.heading("What the agent is to tell its user")
    said, _, command = talk.halt_message.rpartition(": ")
    click.echo(_wrapped(said + ":"))
    click.echo(command)  # on a line of its own, since it is there to be copied

    settings = program.settings(environ, folder)
    with program.opened(settings, by="demo") as app:
        view = show_session(app.runtime, talk.session_id)
        findings = audit(app.ledger)
        with app.ledger.reading(app.runtime.tenant) as reader:
            head = reader.head()
    if findings:
        raise DemoFailed(f"The ledger does not verify: {findings[0].where}: {findings[0].what}.")
    _tell_ledger(view, head, settings.paths.database)
    _tell_run_log(settings.paths.run_log, talk.session_id)
    where = f"Everything is in {folder}." if kept else "The folder is removed now; --keep DIR keeps it."
    click.echo(f"\n{where}")


def _environ(folder: Path) -> dict[str, str]:
    """The user's environment without the user's Tallygate: nothing outside the folder is read or written."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_PREFIXES)}
    package = str(Path(tallygate.__file__).resolve().parents[1])
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, (package, kept.get("PYTHONPATH")))),
        "TALLYGATE_HOME": str(folder),
        "TALLYGATE_CONFIG": str(folder / "config.toml"),
        "TALLYGATE_LOG_PATH": str(folder / "runs.jsonl"),
        "TALLYGATE_PROJECT_DIR": str(folder),
        "TALLYGATE_TELEMETRY": "off",  # the port is for this user's own sessions
    }


def _talk(environ: dict[str, str], log: Path) -> Talk:
    import anyio
    from mcp import MCPError

    try:
        with log.open("w", encoding="utf-8") as stream:
            return anyio.run(talk_to_server, environ, stream)
    except (OSError, MCPError, ExceptionGroup) as error:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f" The server said: {lines[-1]}" if lines else ""
        raise DemoFailed(f"No session could be held: {error}.{last}") from error


def _tell(steps: list[Step]) -> None:
    output.table(
        output.words("STEP", [step.name for step in steps]),
        output.words("ASKED", [step.asked for step in steps], tight=False),
        output.words("ANSWERED", [step.answered for step in steps]),
        output.money("LEFT", [(step.left_nanos, "USD") for step in steps]),
    )


def _tell_ledger(view: SessionView, head: Head, database: Path) -> None:
    output.heading("What the ledger kept")
    calls, unit = view.calls, view.session.currency
    output.table(
        output.words("TOOL", [call.tool_name for call in calls]),
        output.words("ACTION", [call.action for call in calls]),
        output.words("STATE", [call.state for call in calls]),
        output.money("ESTIMATE", [(call.estimate_nanos, unit) for call in calls]),
        output.money("COST", [(call.booked_nanos if call.has_actual else None, unit) for call in calls]),
        output.words("MODEL", [call.model_used or call.model_requested for call in calls]),
    )
    counted = f"{output.plural(len(calls), 'decision')}, {output.plural(head.seq, 'event')}"
    click.echo(f"1 session, {counted}; chain verified, head {head.hash.hex()[:16]}")
    click.echo(f"Ledger: {database}")


def _tell_run_log(path: Path, session_id: str) -> None:
    """The line that other programs read, with the fields that sum it up."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DemoFailed(f"The run log {path} was not written: {error.strerror}.") from error
    line: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if line.get("run_id") != session_id:
        raise DemoFailed(f"The run log {path} has no line of session {session_id}.")
    names = ("run_id", "total_cost", "calls_made", "halts", "reroutes", "savings_usd", "exactness_state")
    output.heading("The line in the run log")
    output.facts([("file", str(path)), *((name, str(line[name])) for name in names)])


def _wrapped(text: str) -> str:
    width = TEXT_WIDTH if not sys.stdout.isatty() else min(TEXT_WIDTH, shutil.get_terminal_size().columns)
    return "\n".join(textwrap.wrap(output.safe(text, 2000), width, break_long_words=False, break_on_hyphens=False))
