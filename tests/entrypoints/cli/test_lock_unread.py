"""A ledger that cannot tell whether the limits are locked: every gate is shut until it can, by what was signed then."""

from __future__ import annotations

import contextlib
import os

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from tests.entrypoints.cli.test_lock import WORDS, day_budget, locked, typed

from tallygate.app import compose, settings_here
from tallygate.core.authority import Loosening
from tallygate.core.errors import LedgerUnavailable, Locked
from tallygate.entrypoints.cli.program import Program
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.entrypoints.mcp_server.renewing import Renewing
from tallygate.entrypoints.mcp_server.server import build_server, tool_specs

__all__ = ["locked", "typed"]


@contextlib.contextmanager
def unreadable(path):
    """Where the ledger is there, and nothing can be read from it."""
    kept = path.with_name("kept.db")
    path.rename(kept)
    path.mkdir()
    yield
    path.rmdir()
    kept.rename(path)


@pytest.fixture
def signed_one_dollar(run, typed, home, made):
    """Limits locked at a dollar a day, and a file that says fifty by now."""
    day_budget(home, 1, '[policy]\nunknown_price = "halt_on_unknown_pricing"')
    typed[:] = [WORDS, WORDS]
    done = run("lock")
    assert done.exit_code == 0, done.stderr
    day_budget(home, 50)
    made.app.close()
    return settings_here().paths.database


def asked(server, *calls):
    found = []

    async def main():
        async with Client(server) as client:
            for name, arguments in calls:
                found.append(await client.call_tool(name, arguments() if callable(arguments) else arguments))

    anyio.run(main)
    return found


def read(server, uri):
    async def main():
        async with Client(server) as client:
            try:
                return (await client.read_resource(uri)).contents[0].text
            except MCPError as error:
                return str(error)

    return anyio.run(main)


def test_a_server_that_began_while_the_ledger_could_not_be_read_is_shut_and_then_goes_by_what_was_signed(
    signed_one_dollar,
):
    with unreadable(signed_one_dollar):
        app = compose(settings_here(), by="mcp")
        assert app.is_blind
        begun = []
        renewing = Renewing(app, lambda made: tool_specs(made.runtime, made.unknown_price), begun.append)
        server = build_server(
            app.runtime,
            dispatcher=HookDispatcher(renewing.runtime_for),
            answered=renewing.specs,
            now=renewing.answering,
        )
        assert "storage_unsafe" in read(server, "tally://sessions")
        [start] = asked(server, ("l6e_run_start", {"budget_usd": 30, "model": "claude-opus-4.7"}))
        assert start.is_error
        [gate] = asked(server, ("l6e_authorize_call", {"session_id": "s", "tool_name": "x"}))
        assert gate.structured_content["action"] == "halt"
        assert begun == []
    [start] = asked(server, ("l6e_run_start", {"budget_usd": 30, "model": "claude-opus-4.7"}))
    [above] = [each for each in start.structured_content["tighter_budgets"] if each["id"].startswith("global")]
    assert above["limit"] == 1.0
    session = start.structured_content["session_id"]
    step = {"session_id": session, "tool_name": "x", "estimated_prompt_tokens": 300_000}
    [gate] = asked(server, ("l6e_authorize_call", step))
    assert (gate.structured_content["action"], gate.structured_content["budget"]["limit"]) == ("halt", 1.0)
    assert session in read(server, "tally://sessions")
    assert "halt_on_unknown_pricing" in read(server, "tally://policy"), "what was signed of it, not the file's word"
    assert len(begun) == 1
    assert not begun[0].is_blind
    begun[0].close()
    app.close()


def test_settings_that_were_read_blind_open_no_locked_ledger_and_one_that_is_not_locked_opens(run, home, made, typed):
    day_budget(home, 1)
    path = made.app.settings.paths.database
    made.session()
    made.app.close()
    with unreadable(path):
        blind = compose(settings_here(), by="hook")
        with pytest.raises(LedgerUnavailable):
            _ = blind.ledger
    assert blind.ledger.ledger_id
    blind.close()
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    with unreadable(path):
        blind = compose(settings_here(), by="hook")
    with pytest.raises(LedgerUnavailable, match="what you have signed of them is not in force"):
        _ = blind.ledger
    blind.close()


def test_another_workspace_counts_on_no_ledger_while_nobody_knows_what_of_its_settings_is_signed(
    signed_one_dollar, home, monkeypatch
):
    app = compose(settings_here(), by="mcp")
    other = home / "other"
    (other / ".git").mkdir(parents=True)
    assert app.ledger.ledger_id
    monkeypatch.setattr("tallygate.app.App._lock_of", lambda self, _: blind())
    with pytest.raises(LedgerUnavailable), app.runtime_for(other).reading():
        pass
    app.close()


def blind():
    from tallygate.core.lock import LockStanding

    return LockStanding(unread=LedgerUnavailable("The ledger cannot be read."))


def test_what_lets_work_go_on_in_a_fault_does_not_count_where_the_limits_may_be_locked(signed_one_dollar, home):
    with (home / ".config" / "tallygate" / "config.toml").open("a") as file:
        file.write('[policy]\non_fault = "allow"\n')
    with unreadable(signed_one_dollar):
        app = compose(settings_here(), by="mcp")
        assert app.runtime.workspace.halt_on_fault
        for file in app.settings.paths.key_dir.glob("lock-*.json"):
            file.unlink()
        assert not compose(settings_here(), by="mcp").runtime.workspace.halt_on_fault


def test_what_loosens_asks_for_the_passphrase_also_while_the_ledger_cannot_tell(signed_one_dollar, typed):
    typed.clear()
    with unreadable(signed_one_dollar):
        program = Program(settings_here, compose)
        with pytest.raises(Locked):
            program.authority(of=Loosening.UNINSTALL)


def test_a_ledger_whose_index_of_locks_was_taken_away_is_not_read_as_one_without_a_lock(signed_one_dollar):
    import sqlite3

    with contextlib.closing(sqlite3.connect(signed_one_dollar)) as other:
        other.execute("DROP INDEX event_of_lock")
    assert settings_here().unread is not None
    assert os.access(signed_one_dollar, os.F_OK)
