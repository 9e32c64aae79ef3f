"""`tallygate backup` and `tallygate doctor --rebuild`: a copy that counts, and a ledger from its own events."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing

import pytest

from tallygate.entrypoints.cli.program import FAILED, USAGE


def edit(database, *statements):
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_backup_says_where_it_is_how_large_and_how_far_it_goes(run, run_json, made, home):
    made.worked()
    found = run_json("backup", "copy.db")
    status = run_json("status")["ledger"]
    assert found["path"] == str(home / "copy.db")
    assert found["size_bytes"] == (home / "copy.db").stat().st_size
    assert (found["events"], found["head"]) == (status["events"], status["head"])
    text = run("backup", "other.db").stdout
    for part in (str(home / "other.db"), "5 events", found["head"]):
        assert part in text


def test_a_backup_taken_while_a_server_has_the_ledger_open_is_a_ledger_that_verifies(run, run_json, made, monkeypatch):
    session_id = made.worked()
    run_json("backup", "copy.db")
    monkeypatch.setenv("TALLYGATE_DB", "copy.db")
    assert [each["session_id"] for each in run_json("sessions", "list")["sessions"]] == [session_id]
    assert run("doctor").exit_code == 0


def test_a_backup_is_this_user_s_alone_and_brings_nothing_else(run_json, made, home):
    made.worked()
    before = {entry.name for entry in home.iterdir()}
    run_json("backup", "copy.db")
    assert stat.S_IMODE((home / "copy.db").stat().st_mode) == 0o600
    assert {entry.name for entry in home.iterdir()} - before == {"copy.db"}


@pytest.mark.parametrize("content", [b"", b"mine"])
def test_a_file_that_exists_is_never_overwritten(run, made, home, content):
    made.worked()
    (home / "copy.db").write_bytes(content)
    result = run("backup", "copy.db")
    assert (result.exit_code, (home / "copy.db").read_bytes()) == (USAGE, content)
    assert "exists already" in result.stderr


def test_a_link_is_not_followed(run, made, home):
    made.worked()
    (home / "copy.db").symlink_to(home / "elsewhere.db")
    assert run("backup", "copy.db").exit_code == USAGE
    assert not (home / "elsewhere.db").exists()


def test_a_folder_that_is_not_there_is_said(run, made):
    made.worked()
    result = run("backup", "nowhere/copy.db")
    assert result.exit_code == 5
    assert "cannot be written" in result.stderr


def test_a_sound_ledger_has_nothing_to_rebuild(run, run_json, made):
    made.worked()
    result = run("doctor", "--rebuild")
    assert (result.exit_code, "Nothing to rebuild" in result.stdout) == (0, True)
    assert run_json("doctor", "--rebuild") == {"rebuilt": False}


def test_an_edited_ledger_is_rebuilt_and_passes_again(run, run_json, made):
    session_id = made.worked()
    database = made.app.settings.paths.database
    left = run_json("sessions", "show", session_id)["budgets"]
    made.app.close()
    edit(database, "UPDATE budget SET limit_nanos = 9000000000, spent_nanos = 0")
    assert run("doctor").exit_code == FAILED
    result = run("doctor", "--rebuild")
    assert result.exit_code == 0
    for part in ("5 events", str(database), "ledger.db.corrupt-", "Start running servers again"):
        assert part in result.stdout
    assert "lost" not in result.stdout
    assert run_json("sessions", "show", session_id)["budgets"] == left
    assert run("doctor").exit_code == 0


def test_where_events_are_lost_the_time_of_the_last_one_is_told(run, run_json, made):
    made.worked()
    made.app.close()
    edit(made.app.settings.paths.database, "DROP TRIGGER event_never_goes", "DELETE FROM event WHERE seq = 3")
    result = run("doctor", "--rebuild", json_=True)
    found = json.loads(result.stdout)
    assert (found["rebuilt"], found["events"], found["lost"]) == (True, 2, "event 3 is missing: the next one is 4")
    assert found["last_event_at"].endswith("Z")
    assert run_json("status")["ledger"]["events"] == 3  # and the one that says so
    assert run("doctor").exit_code == 0


def test_where_nothing_can_be_read_the_command_fails_and_the_file_stays(run, made):
    made.worked()
    made.app.close()
    database = made.app.settings.paths.database
    database.write_bytes(b"not a database at all" * 100)
    result = run("doctor", "--rebuild")
    assert result.exit_code == FAILED
    for part in ("No event", str(database), "backup"):
        assert part in result.stderr
    assert database.read_bytes() == b"not a database at all" * 100
    assert not list(database.parent.glob("*.corrupt-*"))


def test_a_home_without_a_ledger_gets_none(run, home):
    result = run("doctor", "--rebuild")
    assert (result.exit_code, "no ledger" in result.stderr) == (5, True)
    assert not list(home.rglob("ledger.db"))
