"""The command as a process: who serves, who shows help, what is imported, the demo."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import anyio
import pytest

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_it_serves_when_a_program_is_at_the_other_end_of_its_input(environ, arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "tallygate", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        text=True,
    )
    with process:
        process.stdin.write(json.dumps(INITIALIZE) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        out, err = process.communicate(timeout=300)
    assert answer["result"]["serverInfo"]["name"] == "tallygate"
    assert (process.returncode, out, err) == (0, "", "")


def test_a_misspelt_command_never_starts_the_server(spawn):
    done = spawn("serv", input_=json.dumps(INITIALIZE) + "\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'serve'?" in done.stderr


def test_a_person_at_a_terminal_is_shown_what_was_spent(environ):
    import pty

    leader, follower = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "tallygate"],
        stdin=follower,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    os.close(follower)
    os.close(leader)
    assert done.returncode == 0
    assert done.stdout.startswith("SPENT ")


def test_a_server_without_a_ledger_still_answers_with_a_halt(environ, home):
    from mcp import Client, StdioServerParameters, stdio_client

    (home / "file").touch()
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "tallygate", "serve"],
        env={**environ, "TALLYGATE_HOME": str(home / "file" / "below")},
    )

    async def ask():
        with (home / "log").open("w") as log:
            async with Client(stdio_client(parameters, errlog=log)) as client:
                asked = {"session_id": "session_x", "tool_name": "plan"}
                return (await client.call_tool("l6e_authorize_call", asked)).structured_content

    answer = anyio.run(ask)
    assert (answer["action"], answer["reason"]) == ("halt", "ledger_unavailable")
    assert "The ledger cannot be used" in (home / "log").read_text()


def test_settings_that_cannot_be_used_are_said_where_the_server_starts(spawn, home):
    (home / "mine.toml").write_text("polcy = 1\n")
    done = spawn("serve", TALLYGATE_CONFIG=str(home / "mine.toml"))
    assert (done.returncode, done.stdout) == (0, ""), "nothing was asked, and the server has gone with its client"
    assert re.search(r"mine\.toml:1: ", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "not_loaded"),
    [
        (["sessions", "list"], ("mcp", "genai_prices", "tiktoken", "pydantic", "asyncio", "rich")),
        (["budget", "list"], ("mcp", "genai_prices", "tiktoken", "pydantic", "asyncio", "rich")),
        (["status"], ("mcp", "tiktoken")),
        (["doctor"], ("mcp", "rich")),
        (["--version"], ("mcp", "genai_prices", "rich", "asyncio")),
    ],
)
def test_a_command_loads_only_what_it_needs(environ, arguments, not_loaded):
    program = (
        "import sys, runpy; sys.argv[1:] = " + repr(arguments) + "\n"
        "try: runpy.run_module('tallygate', run_name='__main__', alter_sys=True)\n"
        "except SystemExit: pass\n"
        f"print([m for m in {not_loaded!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_traceback(environ):
    process = subprocess.Popen(
        [sys.executable, "-m", "tallygate", "prices", "--limit", "5000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    )
    process.stdout.close()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert b"Traceback" not in err
    assert b"Exception" not in err


def test_output_that_the_terminal_cannot_show_is_no_traceback(spawn):
    done = spawn("estimate", "gpt-5", "1000", "10", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.startswith("$")


def test_the_demo_shows_every_answer_and_leaves_nothing_behind(spawn, home):
    before = sorted(path.name for path in home.iterdir())
    done = spawn("demo")
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "session opened", "allow", "reroute to claude-haiku-4.5", "halt (budget_pressure:halt)", "3 calls, $0.89",
        "tallygate budget raise ", "chain verified", "runs.jsonl", "total_cost       0.893",
        "counted from the transcript", "has $0.00 left of $1.00 ($1.20 spent)", "Next: `tallygate`",
    ):  # fmt: skip
        assert part in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
    assert len(done.stdout.splitlines()) <= 60
    assert sorted(path.name for path in home.iterdir()) == before


def test_the_demo_keeps_its_folder_when_asked_and_the_ledger_in_it_is_a_real_one(spawn, home):
    folder = home / "kept"
    assert spawn("demo", "--keep", str(folder)).returncode == 0
    listed = spawn("sessions", "list", "--json", TALLYGATE_HOME=str(folder))
    [session] = json.loads(listed.stdout)["sessions"]
    assert (session["state"], session["spent"], session["halts"]) == ("ended", 0.893, 1)
    assert spawn("doctor", TALLYGATE_HOME=str(folder)).returncode == 0
    [line] = (folder / "runs.jsonl").read_text().splitlines()
    assert json.loads(line)["reroutes"] == 1


def test_the_demo_heeds_no_setting_of_the_user(spawn, home):
    (home / "mine.toml").write_text('[policy]\nbudget_mode = "soft"\n')
    assert spawn("demo", TALLYGATE_CONFIG=str(home / "mine.toml"), TALLYGATE_BUDGET_MODE="soft").returncode == 0


def test_a_demo_that_is_answered_otherwise_fails(run, monkeypatch):
    monkeypatch.setattr("tallygate.entrypoints.cli.demo.CHEAPER", "claude-sonnet-4.6")
    result = run("demo")
    assert result.exit_code == 1
    assert "the demo failed: Expected write tests: the target claude-sonnet-4.6" in result.stderr
