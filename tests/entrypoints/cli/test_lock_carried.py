"""A lock outlasts its ledger: what is remembered beside the anchors asks for the passphrase, and goes on with it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3

import pytest
from tests.entrypoints.cli.test_lock import WORDS, day_budget, limit_in_force, locked, typed

from tallygate.app import compose, settings_here
from tallygate.core.words import Action
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.lock_book import marks_of
from tallygate.operations.sessions.opening import Opening, start_session

__all__ = ["locked", "typed"]
ACCEPT = ("ledger", "accept", "--reason", "power cut")


@pytest.fixture
def before(home, made):
    """A ledger of which there is a copy from before the limits were locked at ten dollars a day."""
    day_budget(home, 10)
    made.session()
    made.app.close()
    path = made.app.settings.paths.database
    shutil.copy(path, path.with_name("old.db"))
    return path


@pytest.fixture
def signed(before, run, typed):
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    typed.clear()
    return before


def gone(path):
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def older(path):
    gone(path)
    shutil.copy(path.with_name("old.db"), path)


def edited(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            other.execute(f"DROP TRIGGER {name}")
        old, new = '"kind":"lock.set"', '"kind":"lick.set"'
        other.execute("UPDATE event SET body = CAST(REPLACE(CAST(body AS TEXT), ?, ?) AS BLOB)", (old, new))


def greeted():
    """What a session of a client begins with."""
    app = compose(settings_here(), by="test")
    said = HookDispatcher(app.runtime_for).answer(
        "claude_code", "SessionStart", {"session_id": "s1", "source": "startup"}
    )
    app.close()
    return str(said.body)


@pytest.mark.parametrize("lose", [gone, older])
def test_going_on_with_another_ledger_asks_for_the_passphrase_and_goes_on_locked(
    run, run_json, typed, signed, home, lose
):
    lose(signed)
    day_budget(home, 50)
    refused = run(*ACCEPT)
    assert refused.exit_code == 7
    assert "passphrase" in refused.stderr
    assert settings_here().unread is not None
    typed[:] = [WORDS]
    accepted = run(*ACCEPT)
    assert accepted.exit_code == 0, accepted.stderr
    assert run_json("status")["lock"]["locked"] is True
    assert limit_in_force() == 10  # what was signed, and not what the file says by now
    assert settings_here().loosened
    assert "another ledger took the place of the locked one" in greeted()
    verified = run("verify")
    assert verified.exit_code == 0, verified.stdout
    assert "locked" in verified.stdout
    typed[:] = ["not the passphrase"]
    assert run("budget", "set", "global:all", "90").exit_code != 0


def test_a_backup_from_before_the_lock_is_restored_locked(run, run_json, typed, signed):
    backup = str(signed.with_name("old.db"))
    assert run("restore", backup, "--reason", "test").exit_code == 7
    typed[:] = [WORDS]
    restored = run("restore", backup, "--reason", "test")
    assert restored.exit_code == 0, restored.stderr
    assert run_json("status")["lock"]["locked"] is True


@pytest.mark.parametrize("lose", [gone, older, edited])
def test_a_ledger_without_the_lock_that_is_remembered_of_it_is_never_taken_for_unlocked(signed, lose):
    lose(signed)
    settings = settings_here()
    assert settings.lock is None
    assert settings.unread is not None
    assert settings.unread.code == "ledger_rolled_back"
    app = compose(settings, by="mcp")
    answer = authorize(app.runtime, StatedStep(session_id="s", tool_name="x"))
    assert answer.action is Action.HALT
    assert answer.reason.value.startswith("ledger_")
    assert answer.message


def test_an_event_of_the_lock_that_was_changed_halts_also_where_nothing_is_remembered_beside_it(signed):
    marks_of(settings_here().paths).forget()
    with contextlib.closing(sqlite3.connect(signed, isolation_level=None)) as other:
        for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            other.execute(f"DROP TRIGGER {name}")
        other.execute(
            "UPDATE event SET body = CAST(REPLACE(CAST(body AS TEXT), '\"trusted\"', '\"trusted2\"') AS BLOB)"
            " WHERE instr(body, CAST('lock.set' AS BLOB))"
        )
    unread = settings_here().unread
    assert unread is not None
    assert unread.code == "ledger_corrupt"


def test_one_of_the_two_places_is_enough_and_a_key_that_is_sealed_here_is_asked_for_without_any(
    run, run_json, typed, signed
):
    gone(signed)
    marks_of(settings_here().paths).forget()
    assert run(*ACCEPT).exit_code == 7
    typed[:] = [WORDS]
    assert run(*ACCEPT).exit_code == 0
    assert run_json("status")["lock"]["locked"] is True


def test_where_the_sealed_key_is_gone_too_only_a_word_at_a_terminal_ends_the_lock_and_the_next_ledger_tells(
    run, run_json, typed, signed
):
    gone(signed)
    for file in settings_here().paths.key_dir.glob("lock-*.json"):
        file.unlink()
    refused = run(*ACCEPT)
    assert (refused.exit_code, "unlock --lost" in refused.stderr) == (1, True)
    assert run("unlock", "--lost").exit_code == 7
    typed[:] = ["no"]
    assert run("unlock", "--lost").exit_code == 1
    assert run(*ACCEPT).exit_code == 1
    typed[:] = ["lost"]
    assert run("unlock", "--lost").exit_code == 0
    assert run(*ACCEPT).exit_code == 0
    assert run_json("status")["lock"]["locked"] is False
    assert run_json("status")["lock"]["ended_without_passphrase"] is not None
    assert "ended without its passphrase" in run("verify").stdout


def test_a_lock_that_was_set_by_a_version_before_is_remembered_when_its_ledger_is_opened(run, signed):
    marks = marks_of(settings_here().paths)
    marks.forget()
    assert run("status").exit_code == 0
    assert len(marks.read()) == 1


def test_a_lock_that_was_ended_is_remembered_no_more(run, typed, signed):
    typed[:] = [WORDS]
    assert run("unlock").exit_code == 0
    assert marks_of(settings_here().paths).read() == []
    gone(signed)
    assert run(*ACCEPT).exit_code == 0


def test_a_server_whose_ledger_loses_the_lock_while_it_runs_halts(signed):
    app = compose(settings_here(), by="mcp")
    opened = start_session(app.runtime, Opening(limit_nanos=10**9, model="claude-opus-4.7", client="test"))
    edited(signed)
    with contextlib.closing(sqlite3.connect(signed, isolation_level=None)) as other:
        other.execute("UPDATE event SET hash = zeroblob(32) WHERE instr(body, CAST('lick.set' AS BLOB))")
    answer = authorize(app.runtime, StatedStep(session_id=opened.session.session_id, tool_name="x"))
    assert (answer.action, answer.reason.value[:7]) == (Action.HALT, "ledger_")
    app.close()


def test_taking_the_gate_out_of_clients_asks_for_the_lock_of_the_ledger_that_they_go_by(run, typed, home, monkeypatch):
    assert run("init", "--client", "claude-code", "--anyway").exit_code == 0
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    typed.clear()
    hooks = (home / ".claude" / "settings.json").read_bytes()
    for name, value in (("TALLYGATE_DB", home / "q.db"), ("XDG_DATA_HOME", home / "x")):
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv(name, str(value))
            assert run("uninstall", "--client", "claude-code").exit_code == 7
            assert run("init", "--client", "claude-code", "--anyway").exit_code == 7
        assert (home / ".claude" / "settings.json").read_bytes() == hooks
    typed[:] = [WORDS]
    assert run("uninstall", "--client", "claude-code").exit_code == 0
