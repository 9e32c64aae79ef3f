"""While locked, things are where the user has signed that they are, and no other ledger passes as theirs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import anyio
import pytest
from mcp import Client
from mcp.types import Implementation
from tests.entrypoints.cli.test_lock import WORDS, locked, typed

from tallygate.app import settings_here
from tallygate.core.errors import SettingsError
from tallygate.entrypoints.cli import whose
from tallygate.entrypoints.mcp_server import serve, shut
from tallygate.entrypoints.mcp_server.server import build_server
from tallygate.settings import places
from tallygate.surroundings import around_here

__all__ = ["locked", "typed"]


def file_of(home, text):
    file = home / ".config" / "tallygate" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def places_now():
    return replace(settings_here().paths, user_file=None)


MOVES = {
    "database": '[paths]\ndatabase = "elsewhere/x.db"\n',
    "data_dir": '[paths]\ndata_dir = "elsewhere"\n',
    "key_dir": '[paths]\nkey_dir = "elsewhere"\n',
    "run_log": '[paths]\nrun_log = "elsewhere/x.jsonl"\n',
}


@pytest.mark.parametrize("name", MOVES)
def test_a_place_that_the_file_names_otherwise_than_it_was_signed_waits_for_the_passphrase(
    run, typed, made, home, name
):
    session = made.session()
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    before = places_now()
    file_of(home, MOVES[name])
    found = settings_here()
    assert (replace(found.paths, user_file=None), found.lock is not None) == (before, True)
    assert [row.key for row in found.loosened] == [f"paths.{name}"]
    assert f"paths.{name}" in run("doctor").stdout
    assert run("budget", "raise", session, "1").exit_code == 7
    assert run("trust", "--user").exit_code == 7
    assert places_now() == before
    typed[:] = [WORDS]
    assert "where it is by default ->" in run("trust", "--user").stdout
    assert getattr(settings_here().paths, name) == home / ".config/tallygate/elsewhere" / {
        "database": "x.db", "run_log": "x.jsonl"}.get(name, "")  # fmt: skip


@pytest.mark.parametrize("now", ["", MOVES["database"], MOVES["data_dir"], "[[paths]"])
def test_a_ledger_that_the_file_names_stays_the_locked_one_when_the_file_names_none_or_another(run, typed, home, now):
    file = file_of(home, '[paths]\ndatabase = "mine/a.db"\nkey_dir = "mine/keys"\n')
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    before = places_now()
    assert before.database == file.parent / "mine/a.db"
    file_of(home, now)
    if now == "[[paths]":
        assert run("status").exit_code == 6
        return
    assert (places_now(), settings_here().lock is not None) == (before, True)
    assert not (file.parent / "elsewhere").exists()
    typed[:] = [WORDS]
    assert run("unlock").exit_code == 0
    assert places_now().database != before.database


def test_where_several_locks_are_remembered_a_file_that_names_a_third_ledger_shuts_every_gate(
    run, typed, home, monkeypatch
):
    file_of(home, '[paths]\ndatabase = "a.db"\n')
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    other = home / "other.toml"
    other.write_text('[paths]\ndatabase = "b.db"\n')
    with monkeypatch.context() as named:
        named.setenv("TALLYGATE_CONFIG", str(other))
        typed[:] = [WORDS, WORDS]
        assert run("lock").exit_code == 0
    assert settings_here().unread is None
    file_of(home, '[paths]\ndatabase = "c.db"\n')
    found = settings_here()
    assert "a.db" in str(found.unread)
    assert "b.db" in str(found.unread)


@pytest.fixture
def served(run, monkeypatch):
    """How `tallygate serve` begins to serve: with every gate shut, shut to known clients, or open."""
    monkeypatch.setattr(whose, "own_places", lambda: places(around_here()))
    found = []
    monkeypatch.setattr(shut, "serve_shut", lambda fault, *_: found.append(f"shut: {fault}"))
    monkeypatch.setattr(
        serve,
        "serve_stdio",
        lambda app, **more: found.append("open" if more["answered"] is None else "shut to clients"),
    )

    def serve_():
        found.clear()
        assert run("serve").exit_code == 0
        return found[0]

    return serve_


SCRATCH = {"TALLYGATE_DB": "scratch.db", "TALLYGATE_HOME": "scratch", "L6E_SESSION_DB_PATH": "l6e.db"}


@pytest.mark.parametrize("name", SCRATCH)
def test_a_server_on_another_ledger_is_no_gate_beneath_an_agent_and_serves_no_known_client(
    served, run, typed, home, monkeypatch, name
):
    monkeypatch.setenv(name, str(home / SCRATCH[name]))
    assert served() == "open"
    monkeypatch.delenv(name)
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    assert served() == "open"
    monkeypatch.setenv("CLAUDECODE", "1")
    assert served() == "open"
    monkeypatch.setenv(name, str(home / SCRATCH[name]))
    assert "counts in another ledger" in served()
    monkeypatch.delenv("CLAUDECODE")
    assert served() == "shut to clients"


def test_what_init_installed_counts_for_the_lock_wherever_it_counts(served, run, typed, home, monkeypatch):
    monkeypatch.setenv("TALLYGATE_DB", str(home / "mine.db"))
    assert run("init", "--client", "claude-code", "--anyway").exit_code == 0
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    monkeypatch.setenv("CLAUDECODE", "1")
    assert served() == "open"
    monkeypatch.setenv("TALLYGATE_DB", str(home / "scratch.db"))
    assert "mine.db" in served()


@pytest.mark.parametrize(
    ("client", "action"),
    [
        ("claude-code", "halt"),
        ("Visual Studio Code", "halt"),
        ("zed", "halt"),
        ("my-script", "allow"),
        ("mcp", "allow"),
    ],
)
def test_a_server_apart_is_shut_to_the_clients_that_are_known_and_answers_a_users_own_script(world, client, action):
    fault = SettingsError("The limits are locked elsewhere.")
    server = build_server(world.rt, answered=partial(shut.shut_to_clients, fault=fault))
    session = world.start("50")

    async def asked():
        async with Client(server, client_info=Implementation(name=client, version="1")) as connected:
            given = {"session_id": session, "tool_name": "x"}
            return (await connected.call_tool("l6e_authorize_call", given)).structured_content

    answer = anyio.run(asked)
    assert answer["action"] == action
    assert ("locked elsewhere" in answer.get("message", "")) == (action == "halt")


def test_a_ledger_that_a_variable_names_is_a_scratch_one_outside_an_agent(run, locked, home, monkeypatch):
    monkeypatch.setenv("TALLYGATE_DB", str(home / "scratch.db"))
    assert settings_here().lock is None
    assert run("status").exit_code == 0
