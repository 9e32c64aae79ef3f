"""Settings that cannot be read: the server starts, lists its tools and answers, and every gate is shut."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from mcp import Client

from tallygate.core.errors import SettingsError
from tallygate.entrypoints.mcp_server.server import build_server
from tallygate.entrypoints.mcp_server.shut import build_shut_server

FAULT = SettingsError("/home/me/config.toml:7: unknown setting 'policy.modus'.", hint="Take the line out.")
GATES = {
    "l6e_authorize_call": {"session_id": "s", "tool_name": "x"},
    "check_budget": {"session_id": "s"},
}
OTHERS = {
    "l6e_run_start": {"budget_usd": 1, "model": "gpt-5"},
    "l6e_run_end": {"session_id": "s"},
    "start_budget": {"budget_gbp": 1},
    "record_call": {"session_id": "s", "model": "gpt-5", "input_tokens": 1, "output_tokens": 1},
    "request_budget": {"session_id": "s", "amount_usd": 1, "reason": "more"},
    "list_models": {},
}


def asked(server, calls):
    found = {}

    async def main():
        async with Client(server) as client:
            found["tools"] = [tool.name for tool in (await client.list_tools()).tools]
            for name, arguments in calls.items():
                found[name] = await client.call_tool(name, arguments)

    anyio.run(main)
    return found


@pytest.mark.parametrize("family", ["all", "l6e", "budget"])
def test_a_server_without_settings_lists_the_tools_that_it_has_with_them(world, family):
    whole = asked(build_server(world.rt, family=family), {})["tools"]
    assert asked(build_shut_server(FAULT, family), {})["tools"] == whole


def test_every_gate_halts_with_file_line_and_the_mend_and_every_other_tool_gives_the_error():
    found = asked(build_shut_server(FAULT), {**GATES, **OTHERS})
    gate, look = (found[name].structured_content for name in GATES)
    assert (gate["action"], gate["reason"], gate["remaining_usd"]) == ("halt", "settings_invalid", None)
    assert (look["allowed"], look["reason"], look["budget_remaining_gbp"]) == (False, "settings_invalid", None)
    for name in OTHERS:
        assert found[name].is_error
        assert found[name].content[0].text.startswith("settings_invalid: ")
    for text in (gate["message"], look["message"], *(found[name].content[0].text for name in OTHERS)):
        assert "/home/me/config.toml:7: unknown setting 'policy.modus'. Take the line out." in text
        assert "start this server again" in text


def test_a_hook_that_asks_the_server_is_refused_with_the_reason_said_once():
    asks = {"client": "claude_code", "event": "PreToolUse", "session_id": "s", "tool_name": "Bash"}
    answer = asked(build_shut_server(FAULT), {"tallygate_hook": asks})["tallygate_hook"].content[0].text
    refused = json.loads(answer)
    assert refused["continue"] is False
    assert refused["stopReason"].count("config.toml:7") == 1


def broken_project(folder: Path) -> dict[str, str]:
    (folder / ".l6e").mkdir()
    (folder / ".l6e" / "config.toml").write_text("[policy]\nbudget_mode = \n", encoding="utf-8")
    return {}


FAULTS = [
    (broken_project, "config.toml:2: not valid TOML"),
    (lambda folder: {"TALLYGATE_CONFIG": str(folder / "gone.toml")}, "gone.toml:1: there is no such settings file"),
    (lambda _: {"TALLYGATE_ON_FAULT": "maybe"}, "TALLYGATE_ON_FAULT: must be"),
]


@pytest.mark.parametrize("fault,said", FAULTS, ids=["project", "file", "variable"])
def test_the_installed_command_answers_whatever_its_settings_are(tmp_path, fault, said):
    environment = {
        **os.environ, "TALLYGATE_HOME": str(tmp_path / "data"), "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHON_COLORS": "0", **fault(tmp_path),
    }  # fmt: skip
    requests = io.StringIO()
    for request in (
        {"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {},
         "clientInfo": {"name": "raw", "version": "1"}}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "l6e_authorize_call",
         "arguments": {"session_id": "s", "tool_name": "x"}}},
    ):  # fmt: skip
        requests.write(json.dumps({"jsonrpc": "2.0", **request}) + "\n")
    server = subprocess.Popen(
        [sys.executable, "-m", "tallygate", "serve"], cwd=tmp_path, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    server.stdin.write(requests.getvalue())
    server.stdin.flush()
    answers = [json.loads(server.stdout.readline()) for _ in range(2)]
    rest, errors = server.communicate(timeout=300)
    assert (server.returncode, rest) == (0, "")
    found = answers[1]["result"]["structuredContent"]
    assert (found["action"], found["reason"]) == ("halt", "settings_invalid")
    assert said in found["message"]
    assert "every gate is shut" in errors
    assert not (tmp_path / "data").exists(), "nothing was opened by guess"
