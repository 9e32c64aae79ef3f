"""`tallygate demo`: a made-up session through the real program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

import tallygate
from tallygate.clients.registry import REGISTRY
from tallygate.core.moments import iso
from tallygate.core.money import format_amount, parse_amount_nanos
from tallygate.core.text import plural
from tallygate.core.values import value
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.program import FAILED, Program, pass_program, sentence
from tallygate.ledger.audit.audit import audit
from tallygate.operations.views.overview import SessionView, show_session

if TYPE_CHECKING:
    from mcp import Client

    from tallygate.core.proof import Head


# --- demo session ----------------------------------------------------------------------------------------------------
# The session of `tallygate demo`: what a client asks, what has to be answered, and how both are told.


MODEL, CHEAPER = "claude-opus-4.7", "claude-haiku-4.5"
SETTINGS = f"""\
# The models to fall back to, dearest first: what makes a reroute name its target.
[ladder]
default = ["{MODEL}", "claude-sonnet-4.6", "{CHEAPER}"]
"""
SECONDS_MAX = 60
HOOK_SESSION = "0b5c9d9e-0000-4000-8000-00000000de30"


class DemoFailed(Exception):
    """A step was not answered as it has to be."""


@value(frozen=True, slots=True)
class DemoStep:
    """One tool call as it is told."""

    name: str
    asked: str
    answered: str
    left_nanos: int | None


@value(slots=True)
class Talk:
    """What was said, and the first answer that was wrong."""

    steps: list[DemoStep] = field(default_factory=list)
    session_id: str = ""
    halt_message: str = ""
    failure: str | None = None


async def talk_to_server(environ: Mapping[str, str], log: TextIO) -> Talk:
    """Start a server as a client does, and hold one session with it over stdio."""
    import anyio
    from mcp import Client, StdioServerParameters, stdio_client
    from mcp.types import Implementation

    server = StdioServerParameters(command=sys.executable, args=["-P", "-m", "tallygate", "serve"], env=dict(environ))
    who = Implementation(name="tallygate-demo", version=tallygate.__version__)
    talk = Talk()
    with anyio.fail_after(SECONDS_MAX):
        async with Client(stdio_client(server, errlog=log), client_info=who) as client:
            try:
                await _session(client, talk)
            except DemoFailed as failure:
                talk.failure = str(failure)
    return talk


async def _session(client: Client, talk: Talk) -> None:
    """A session that meets every answer of the gate; the amounts are those of the model's list prices."""
    answer = await _ask(client, "l6e_run_start", budget_usd=1.00, model=MODEL, task_summary="Tallygate demo")
    talk.session_id = str(answer["session_id"])
    talk.steps.append(DemoStep("start", f"$1.00 for {MODEL}", "session opened", 1_000_000_000))

    call = await _authorize(client, talk, "plan", (20_000, 2_000), expect="allow")
    await _record(client, talk, "plan", call, {"fresh": 6_000, "cache_read": 40_000, "output": 1_200})
    call = await _authorize(client, talk, "implement", (90_000, 12_000), expect="allow")
    await _record(client, talk, "implement", call, {"fresh": 30_000, "cache_read": 200_000, "output": 22_000})
    call = await _authorize(client, talk, "write tests", (8_000, 1_000), expect="reroute", agent="tester")
    await _record(client, talk, "write tests", call, {"fresh": 8_000, "output": 1_000}, model=CHEAPER)
    await _authorize(client, talk, "read everything", (120_000, 2_000), expect="halt")

    answer = await _ask(client, "l6e_run_end", session_id=talk.session_id, task_summary="All four answers seen")
    total, calls = _usd(answer["total_cost_usd"]), answer["calls_made"]
    _must(calls == 3 and total is not None and total > 0, f"3 calls and a cost, not {answer}")
    said = f"{calls} calls, {format_amount(total or 0)}"
    talk.steps.append(DemoStep("end", "the session's totals", said, None))


async def _authorize(
    client: Client, talk: Talk, tool: str, tokens: tuple[int, int], *, expect: str, agent: str | None = None
) -> str:
    who = {} if agent is None else {"actor_type": "subagent", "actor_id": agent}
    answer = await _ask(
        client,
        "l6e_authorize_call",
        session_id=talk.session_id,
        tool_name=tool,
        estimated_prompt_tokens=tokens[0],
        estimated_completion_tokens=tokens[1],
        **who,
    )
    said = str(answer["action"])
    _must(said == expect, f"{tool}: {expect}, not {said} ({answer['reason']})")
    if said == "reroute":
        _must(answer.get("target_model") == CHEAPER, f"{tool}: the target {CHEAPER}, not {answer.get('target_model')}")
        said += f" to {CHEAPER}"
    if said == "halt":
        talk.halt_message = str(answer.get("message", ""))
        _must("call_id" not in answer and "tallygate budget raise" in talk.halt_message, f"{tool}: a way to go on")
        said += f" ({answer['reason']})"
    asked = f"{tool}? {_thousands(tokens[0])} in, {_thousands(tokens[1])} out"
    talk.steps.append(DemoStep("ask", asked, said, _usd(answer["remaining_usd"])))
    return str(answer.get("call_id", ""))


async def _record(
    client: Client, talk: Talk, tool: str, call_id: str, used: Mapping[str, int], *, model: str = MODEL
) -> None:
    answer = await _ask(
        client,
        "l6e_record_usage",
        call_id=call_id,
        actual_prompt_tokens=used["fresh"],
        actual_completion_tokens=used["output"],
        cache_read_tokens=used.get("cache_read", 0),
        model_used=model,
    )
    _must(answer["exactness_state"] == "exact_recorded", f"{tool}: exact usage, not {answer['exactness_state']}")
    cached = f" + {_thousands(used['cache_read'])} cached" if "cache_read" in used else ""
    asked = f"{tool}: {_thousands(used['fresh'])}{cached} in, {_thousands(used['output'])} out"
    said = f"recorded, {format_amount(_usd(answer['spend_so_far_usd']) or 0)} spent"
    talk.steps.append(DemoStep("record", asked, said, _usd(answer["remaining_usd"])))


async def _ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    answer = result.structured_content
    _must(not result.is_error and answer is not None, f"{tool}: an answer, not {answer}")
    return dict(answer or {})


def _thousands(tokens: int) -> str:
    return f"{tokens / 1000:g}k"


def _usd(value: Any) -> int | None:
    return None if value is None else parse_amount_nanos("amount", value, allow_zero=True)


def _must(condition: bool, wanted: str) -> None:
    if not condition:
        raise DemoFailed(f"Expected {wanted}.")


# --- demo story ------------------------------------------------------------------------------------------------------
# What `tallygate demo` shows: a session through a real MCP client, then what the ledger and the run log kept.


TEXT_WIDTH = 100
_OWN_PREFIXES = ("TALLYGATE_", "L6E_", *REGISTRY.project_variables)


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
    *said, command = talk.halt_message.splitlines()
    click.echo("\n".join([*map(_wrapped, said), output.safe(command, 2000)]))  # the command is there to be copied

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
    _tell_hooks(_hooks(program, environ, folder / "hooks"))
    where = f"Everything is in {folder}." if kept else "The folder is removed now; --keep DIR keeps it."
    click.echo(f"\n{where}")
    click.echo(
        "\nNext: `tallygate` shows what you spent, `tallygate init` proposes limits and adds itself to your agents."
    )


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


@value(frozen=True, slots=True)
class HookStep:
    """What a client told a hook, what it was answered, and the message that its user reads."""

    event: str
    meanwhile: str
    answered: str
    message: str = ""


def _hooks(program: Program, environ: Mapping[str, str], home: Path) -> list[HookStep]:
    """A session of Claude Code as its hooks see it: nobody asks, and what its transcript says was spent stops it."""
    transcript = home / ".claude" / "projects" / "demo" / f"{HOOK_SESSION}.jsonl"
    transcript.parent.mkdir(mode=0o700, parents=True)
    (home / "config.toml").write_text('[[budget]]\nscope = "session"\nlimit_usd = 1.00\n', encoding="utf-8")
    around = dict(environ) | {"HOME": str(home), "TALLYGATE_HOME": str(home)}
    around |= {"TALLYGATE_CONFIG": str(home / "config.toml"), "TALLYGATE_PROJECT_DIR": str(home)}
    with program.opened(program.settings(around, home), by="demo") as app:
        _ = app.ledger  # as the client's server makes it: a hook makes none
        clock_us = app.runtime.services.clock_us
    about = {"session_id": HOOK_SESSION, "transcript_path": str(transcript), "cwd": str(home)}

    def told(event: str, **more: object) -> dict[str, Any]:
        command = [sys.executable, "-m", "tallygate", "hook", "--client", "claude_code", "--event", event]
        said = json.dumps(about | {"hook_event_name": event} | more).encode()
        done = subprocess.run(  # noqa: S603 - this very program
            command, input=said, capture_output=True, env=around, timeout=SECONDS_MAX, check=False
        )
        answer: dict[str, Any] = json.loads(done.stdout or b"{}")
        return answer

    told("SessionStart", source="startup")
    first = told("UserPromptSubmit", prompt_id="p1", prompt="Rewrite the parser")
    _must("decision" not in first, f"the first prompt to be let through, not {first}")
    transcript.write_text(json.dumps(_response(clock_us())) + "\n", encoding="utf-8")
    second = told("PreToolUse", tool_name="Bash", tool_use_id="t1", tool_input={"command": "make"})
    refusal = second.get("hookSpecificOutput", {})
    _must(refusal.get("permissionDecision") == "deny", f"the next tool to be refused, not {second}")
    return [
        HookStep("UserPromptSubmit", "Rewrite the parser", "goes on"),
        HookStep("", "the model answers: 20k in, 44k out", "counted from the transcript"),
        HookStep("PreToolUse", "Bash: make", "stopped", str(refusal["permissionDecisionReason"])),
    ]


def _response(at_us: int) -> dict[str, object]:
    """One response as Claude Code writes it down; at list prices it is more than a dollar."""
    usage = {"input_tokens": 20_000, "output_tokens": 44_000}
    message = {"id": "msg_01Demo1111111111111111", "role": "assistant", "model": "claude-opus-4-7", "content": []}
    return {
        "type": "assistant",
        "sessionId": HOOK_SESSION,
        "requestId": "req_1",
        "uuid": "u1",
        "timestamp": iso(at_us),
        "message": {**message, "stop_reason": "end_turn", "usage": usage},
    }


def _tell_hooks(steps: list[HookStep]) -> None:
    output.heading("The same with hooks: a session of Claude Code, $1.00, and no agent that asks")
    output.table(
        output.words("HOOK", [step.event or "-" for step in steps]),
        output.prose("WHAT HAPPENS", [step.meanwhile for step in steps]),
        output.words("ANSWER", [step.answered for step in steps]),
    )
    click.echo()
    for step in steps:
        for line in step.message.splitlines():
            click.echo(output.safe(line, 2000) if "tallygate" in line else _wrapped(line))


def _tell(steps: list[DemoStep]) -> None:
    output.table(
        output.words("STEP", [step.name for step in steps]),
        output.prose("ASKED", [step.asked for step in steps]),
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
    counted = f"{plural(len(calls), 'decision')}, {plural(head.seq, 'event')}"
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


# --- demo ------------------------------------------------------------------------------------------------------------
# `tallygate demo`: a whole session through a real MCP client, to see every answer of the gate.


@click.command()
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep ledger, run log and settings in this new or empty folder.",
)
@pass_program
@click.pass_context
def demo(ctx: click.Context, program: Program, keep: Path | None) -> None:
    """Show a whole session at work.

    A real MCP client starts a server of its own and holds a session: start, allow, record, reroute, halt, end. Then
    the ledger and the run log are shown, and how hooks stop a client that asks nobody.
    """
    ctx.exit(run(program, keep))
