"""While locked, things are where the user has signed that they are, and no other ledger passes as theirs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.entrypoints.cli.test_lock import WORDS, locked, typed

from tallygate.app import settings_here

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


def test_a_ledger_that_a_variable_names_is_a_scratch_one_outside_an_agent(run, locked, home, monkeypatch):
    monkeypatch.setenv("TALLYGATE_DB", str(home / "scratch.db"))
    assert settings_here().lock is None
    assert run("status").exit_code == 0
