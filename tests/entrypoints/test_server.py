"""The server as a process: stdio, every protocol version, clean streams, what a start looks after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import anyio
import pytest
from mcp import Client, StdioServerParameters
from tests.clients.making import claude, lines

from tallygate import __version__


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "TALLYGATE_HOME": str(tmp_path / "data"), "PYTHONPATH": os.pathsep.join(sys.path)}


def command():
    return [sys.executable, "-m", "tallygate", "serve"]


def exchange(environment, *messages):
    """Send requests one by one over pipes, reading each answer before the next; then close and read the rest."""
    server = subprocess.Popen(
        command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    )
    answers = []
    for message in messages:
        server.stdin.write(json.dumps(message) + "\n")
        server.stdin.flush()
        if "id" in message:
            answers.append(json.loads(server.stdout.readline()))
    rest, errors = server.communicate(timeout=300)
    assert server.returncode == 0
    assert rest == ""
    return answers, errors


def initialize(version):
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": {"name": "raw", "version": "1"},
        },
    }


def call(number, tool, **arguments):
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    }


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_every_handshake_version_is_served_with_nothing_but_protocol_on_stdout(environment, version):
    answers, errors = exchange(
        environment,
        initialize(version),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        call(2, "l6e_run_start", budget_usd=1, model="unknown-model-zzz"),
        {"jsonrpc": "2.0", "id": 3, "method": "tools/list"},
    )
    by_id = {answer["id"]: answer["result"] for answer in answers}
    assert by_id[1]["protocolVersion"] == version
    assert by_id[1]["serverInfo"]["name"] == "tallygate"
    assert by_id[1]["serverInfo"]["version"] == __version__
    assert "pricing_warning" in by_id[2]["structuredContent"]
    assert len(by_id[3]["tools"]) >= 6
    assert "Traceback" not in errors


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_the_official_client_drives_a_session_over_stdio_in_both_eras(environment, tmp_path, mode):
    log = tmp_path / "runs.jsonl"
    parameters = StdioServerParameters(
        command=command()[0], args=command()[1:], env={**environment, "TALLYGATE_LOG_PATH": str(log)}
    )

    async def main():
        async with Client(parameters, mode=mode) as client:
            started = await client.call_tool("l6e_run_start", {"budget_usd": 1, "model": "claude-opus-4.7"})
            session = started.structured_content["session_id"]
            allowed = await client.call_tool("l6e_authorize_call", {"session_id": session, "tool_name": "t"})
            assert allowed.structured_content["action"] == "allow"
            usage = {"actual_prompt_tokens": 1000, "actual_completion_tokens": 100}
            await client.call_tool("l6e_record_usage", {"call_id": allowed.structured_content["call_id"], **usage})
            ended = await client.call_tool("l6e_run_end", {"session_id": session})
            return ended.structured_content

    ended = anyio.run(main)
    assert ended["total_cost_usd"] == 0.0075
    line = json.loads(log.read_text())
    assert (line["run_id"], line["total_cost"]) == (ended["session_id"], "0.0075")


def test_a_session_goes_on_in_a_second_server(environment):
    first, _ = exchange(environment, initialize("2025-06-18"), call(2, "l6e_run_start", budget_usd=1, model="gpt-5"))
    session = first[-1]["result"]["structuredContent"]["session_id"]
    second, _ = exchange(
        environment, initialize("2025-06-18"), call(2, "l6e_authorize_call", session_id=session, tool_name="t")
    )
    assert second[-1]["result"]["structuredContent"]["action"] == "allow"


def test_garbage_on_stdin_does_not_stop_the_server(environment):
    text = "not json\n" + json.dumps(initialize("2025-06-18")) + "\n\x00\xff\n"
    done = subprocess.run(
        command(), input=text.encode("utf-8", "replace"), env=environment, capture_output=True, timeout=300, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(str(each["id"]) for each in answers) == ["1", "None", "None"]


def test_a_running_server_counts_what_its_client_writes_down(environment, tmp_path):
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    transcript = tmp_path / "home" / ".claude" / "projects" / "p" / "s1.jsonl"
    transcript.parent.mkdir(parents=True)
    transcript.touch()
    server = subprocess.Popen(
        command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environment, "HOME": str(tmp_path / "home")},
        cwd=project,
        text=True,
    )

    def ask(message):
        server.stdin.write(json.dumps(message) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())["result"]

    ask(initialize("2025-06-18"))
    session = ask(call(2, "l6e_run_start", budget_usd=1, model="claude-opus-4-7", client="claude-code"))
    session = session["structuredContent"]["session_id"]
    row = claude(
        top={"timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"), "cwd": str(project)},
        model="claude-opus-4-7",
        output=40_000,
        usage={"input_tokens": 0, "cache_read_input_tokens": 200_000},
    )
    with transcript.open("ab") as file:
        file.write(lines(row))
    deadline = time.monotonic() + 300
    while (answer := ask(call(3, "l6e_authorize_call", session_id=session, tool_name="t")))["structuredContent"][
        "action"
    ] != "halt":
        assert time.monotonic() < deadline, answer
    assert "($1.10 spent); " in answer["structuredContent"]["message"]
    ended = ask(call(4, "l6e_run_end", session_id=session))["structuredContent"]
    assert (ended["total_cost_usd"], ended["savings_confidence"]) == (1.1, "exact")
    server.communicate(timeout=300)
