"""A ledger that can be read and not written: whoever asks what is left, by whichever tool, is not told to go on."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
import sys
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from tallygate.entrypoints.mcp_server.server import build_server


@contextlib.contextmanager
def removed(path):
    kept = path.with_name("kept")
    path.rename(kept)
    yield
    kept.rename(path)


@contextlib.contextmanager
def replaced(path):
    kept = path.with_name("kept")
    path.rename(kept)
    path.write_bytes(b"")
    yield
    kept.replace(path)


@contextlib.contextmanager
def locked(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def full(path):
    log = Path(f"{path}-wal")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


FAULTS = pytest.mark.parametrize(
    "fault",
    [
        removed,
        replaced,
        locked,
        pytest.param(full, marks=pytest.mark.skipif(sys.platform != "linux", reason="a limit of this process")),
    ],
    ids=lambda each: each.__name__,
)


def told(world, fault):
    """What each tool and resource says before a fault, while it lasts, and after it."""
    session = world.start("1")
    looks = {
        "check_budget": {"session_id": session},
        "l6e_authorize_call": {"session_id": session, "tool_name": "x", "check_only": True},
        "get_summary": {"session_id": session},
        "start_budget": {"session_id": "ticket", "budget_gbp": 1.0},
        "request_budget": {"session_id": session, "amount_usd": 1.0, "reason": "more"},
    }
    found = {}

    async def look(client):
        answers = {}
        for name, arguments in looks.items():
            result = await client.call_tool(name, arguments)
            answers[name] = result.content[0].text if result.is_error else result.structured_content
        for uri in ("tally://sessions", f"tally://session/{session}"):
            try:
                answers[uri] = (await client.read_resource(uri)).contents[0].text
            except MCPError as error:
                answers[uri] = str(error)
        return answers

    async def main():
        async with Client(build_server(world.rt, family="all")) as client:
            found["before"] = await look(client)
            with fault(world.ledger.path):
                found["during"] = await look(client)
            found["after"] = await look(client)

    anyio.run(main)
    return found["before"], found["during"], found["after"]


@FAULTS
def test_no_tool_says_go_on_where_nothing_can_be_recorded(world, fault):
    before, during, after = told(world, fault)
    for fine in (before, after):
        assert fine["check_budget"]["allowed"] is True
        assert fine["l6e_authorize_call"]["budget_pressure"] == "low"
        assert fine["start_budget"]["session_id"] == "ticket"
    look, check = during["check_budget"], during["l6e_authorize_call"]
    assert (look["allowed"], look["reason"], look["budget_remaining_gbp"]) == (False, "ledger_unavailable", None)
    assert (check["action"], check["reason"], check["remaining_usd"]) == ("halt", "ledger_unavailable", None)
    for answer in (look, check):
        assert "cannot be counted" in answer["message"]
    for name in ("get_summary", "start_budget", "request_budget", "tally://sessions"):
        assert any(code in during[name] for code in ("storage_", "lock_timeout")), (name, during[name])


@FAULTS
def test_where_the_settings_let_work_go_on_the_answer_says_that_nothing_is_counted(world, fault):
    _, during, _ = told(world.with_runtime(halt_on_fault=False), fault)
    look, check = during["check_budget"], during["l6e_authorize_call"]
    assert (look["allowed"], look["reason"]) == (True, "warn:ledger_unavailable")
    assert (check["action"], check["reason"]) == ("allow", "warn:ledger_unavailable")
    assert "remaining" in during["tally://sessions"]


def test_asking_what_is_left_records_nothing_and_keeps_commits_as_durable_as_they_were(world):
    session = world.start("1")
    before = (world.events(), world.budget(session))
    world.ledger.prove()
    assert (world.events(), world.budget(session)) == before
    [(level,)] = world.ledger.rows("PRAGMA synchronous")
    assert level == 2
