"""The process that a client starts leaves at once; the one behind it does what is left to do."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bench import wire
from bench.wire import SERVE, Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a server has one process"),
]
SESSION = "0b5c9d9e-0000-4000-8000-000000000001"
TOOL = {
    "client": "claude_code",
    "event": "PreToolUse",
    "session_id": SESSION,
    "tool_name": "Bash",
    "tool_use_id": "toolu_1",
}


@pytest.fixture
def project(home):
    folder = home / "project"
    (folder / ".l6e").mkdir(parents=True)
    (folder / ".l6e" / "config.toml").write_text('[[budget]]\nscope = "session"\nlimit_usd = 5\n')
    return folder


def environment(home, project):
    return wire.environment(home, TALLYGATE_PROJECT_DIR=str(project))


def wait_for_end(handle):
    assert select.select([handle], [], [], 30)[0], "the process behind the front has ended"
    os.close(handle)


def behind(server):
    assert server.pid != server.process.pid
    return os.pidfd_open(server.pid)


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_is_told_to_leave_has_left_and_its_sessions_end_behind_it(home, project, told):
    server = Server(SERVE, home, environ=environment(home, project))
    server.greet().tools()
    handle = behind(server)
    server.request("tools/call", {"name": "tallygate_hook", "arguments": TOOL})
    os.kill(server.pid, signal.SIGSTOP)  # so busy that it can do nothing
    server.process.send_signal(told)
    assert server.process.wait(300) == (0 if told != signal.SIGKILL else -signal.SIGKILL)
    assert not (project / ".l6e" / "runs.jsonl").exists()
    os.kill(server.pid, signal.SIGCONT)
    assert server.process.stdout.read() == b"", "nobody holds the client's pipe any more"
    wait_for_end(handle)
    server.process.stdin.close()
    server.process.stdout.close()
    (line,) = (project / ".l6e" / "runs.jsonl").read_text().splitlines()
    assert json.loads(line)["end_cause"] == "client_gone"
    assert list((home / "data" / "servers").iterdir()) == []


def test_the_hook_that_tells_of_the_end_is_answered_although_the_server_has_left(home, project):
    server = Server(SERVE, home, environ=environment(home, project))
    server.greet().tools()
    handle = behind(server)
    server.request("tools/call", {"name": "tallygate_hook", "arguments": TOOL})
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(300) == 0
    program = Path(wire.ROOT) / "src" / "tallygate" / "entrypoints" / "hook.py"
    told = {"session_id": SESSION, "hook_event_name": "SessionEnd", "reason": "other"}
    subprocess.run(
        [sys.executable, "-I", "-S", str(program), "--client", "claude_code", "--event", "SessionEnd"],
        input=json.dumps(told).encode(),
        env=environment(home, project),
        check=True,
    )
    wait_for_end(handle)
    server.process.stdin.close()
    server.process.stdout.close()
    (line,) = (project / ".l6e" / "runs.jsonl").read_text().splitlines()
    assert json.loads(line)["end_cause"] == "client_ended:other"
    assert not (home / "data" / "servers" / "alone").exists()


def test_a_signal_in_the_first_moments_ends_a_server_with_zero(home):
    """From the moment that its front stands, whatever is being imported behind it."""
    server = Server(SERVE, home)
    while (
        server.process.poll() is None
        and not Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    ):
        pass
    handle = behind(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(300) == 0
    wait_for_end(handle)
    server.process.stdin.close()
    assert server.process.stdout.read() == b""
    server.process.stdout.close()
    assert not list((home / "data").glob("servers/*"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_server_that_is_killed_is_seen_to_be_killed_by_its_client(home, how):
    server = Server(SERVE, home)
    server.greet().tools()
    os.kill(server.pid, how)
    assert server.process.wait(300) == -how
    server.process.stdin.close()
    server.process.stdout.close()


def test_no_process_can_be_made_and_the_server_serves_in_the_one_it_has(home):
    program = (
        "import os, sys; from tallygate.entrypoints import front\n"
        "def none(): raise BlockingIOError\n"
        "front.os.fork = none\n"
        "from tallygate.__main__ import main; sys.argv[1:] = ['serve']; main()"
    )
    with Server([sys.executable, "-c", program], home) as server:
        assert len(server.greet().tools()) == 11
        assert server.pid == server.process.pid
        assert server.close() == 0
