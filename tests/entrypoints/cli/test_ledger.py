"""A ledger that is not the one that was there: every command says so, and one goes on."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from tests.transcripts import write_claude

from tallygate.app import compose, settings_here
from tallygate.core.errors import LedgerMissing, SettingsError
from tallygate.core.words import Action
from tallygate.entrypoints.hook_dispatcher import answer_alone
from tallygate.operations.gate.authorize import StatedStep, authorize

PROMPT = {"hook_event_name": "UserPromptSubmit", "session_id": "s", "prompt_id": "p1", "prompt": "go"}


@pytest.fixture
def database(run, home) -> Path:
    """The ledger of an empty home, with some work in it, closed; a copy of an earlier time lies in the home."""
    work(3)
    assert run("backup", str(home / "older.db")).exit_code == 0
    work(3)
    return settings_here().paths.database


def work(calls: int) -> None:
    app = compose(settings_here(), by="test")
    from tests.entrypoints.cli.conftest import Made

    made = Made(app)
    session = made.session()
    for _ in range(calls):
        made.call(session, prompt=100, output=10, tool_name="edit")
    made.end(session)
    app.close()


def gone(database: Path) -> None:
    for file in database.parent.glob("ledger.db*"):
        file.unlink()


def emptied(database: Path) -> None:
    gone(database)
    database.touch(0o600)


def older(database: Path) -> None:
    gone(database)
    shutil.copy(Path.home() / "older.db", database)


def another(database: Path) -> None:
    away = database.with_name("away")
    gone(database)
    folders = settings_here().paths.anchor_folders
    for number, folder in enumerate(folders):
        folder.rename(away.with_name(f"away{number}"))
    work(1)
    for number, folder in enumerate(folders):
        shutil.rmtree(folder)
        away.with_name(f"away{number}").rename(folder)


FAULTS = {gone: "ledger_missing", emptied: "ledger_missing", older: "ledger_rolled_back", another: "ledger_replaced"}


@pytest.mark.parametrize(("fault", "code"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_every_gate_halts_with_the_reason_and_the_way_out_until_the_user_goes_on(run, run_json, database, fault, code):
    fault(database)
    app = compose(settings_here(), by="mcp")
    with contextlib.closing(app):
        answer = authorize(app.runtime, StatedStep("any", "edit"))
    assert (answer.action, answer.reason.value) == (Action.HALT, code)
    assert "tallygate ledger accept --reason" in answer.message
    for command in (["status"], ["sessions", "list"], ["budget", "list"]):
        done = run(*command)
        assert done.exit_code == 5
        assert "tallygate ledger accept --reason" in done.stderr
    (check,) = [each for each in json.loads(run("doctor", json_=True).stdout)["checks"] if each["check"] == "ledger"]
    assert (check["state"], "ledger accept" in check["to_do"]) == ("fail", True)
    assert run("verify").exit_code == (5 if code == "ledger_missing" else 14)
    accepted = run_json("ledger", "accept", "--reason", "it was me")
    assert (accepted["accepted"], accepted["found"], accepted["was"]["events"] > 9) == (True, code, True)
    assert run("status").exit_code == 0
    verified = run("verify")
    assert verified.exit_code == 0
    assert "it was me" in verified.stdout
    assert "it was me" in run("doctor").stdout
    assert run_json("ledger", "accept", "--reason", "again") == {"accepted": False}


def test_what_clients_wrote_is_counted_again_before_the_ledger_is_gone_on_with(run, run_json, home):
    write_claude(home, range(5))
    run("sync")
    before = run_json("usage")["total"]
    gone(settings_here().paths.database)
    accepted = run_json("ledger", "accept", "--reason", "lost")
    assert accepted["read_again"]["responses"]["new"] == 5
    assert run_json("usage")["total"] == before


def test_accepting_needs_a_reason(run, database):
    gone(database)
    assert run("ledger", "accept").exit_code == 2
    assert run("ledger", "accept", "--reason", " ").exit_code == 2
    assert run("status").exit_code == 5


def test_a_copy_that_was_mixed_up_with_another_log_is_not_accepted(run, database):
    from tests.entrypoints.cli.test_backup import edit

    older(database)
    edit(database, "DROP TRIGGER event_never_changes", "UPDATE event SET body = x'7b7d' WHERE seq = 2")
    done = run("ledger", "accept", "--reason", "copied")
    assert done.exit_code == 5
    assert "does not verify" in done.stderr
    assert run("status").exit_code == 5
    assert run("doctor", "--rebuild").exit_code == 0
    assert run("status").exit_code == 0


def test_the_whole_data_folder_gone_is_missed_by_the_copy_that_init_made_in_the_settings_folder(run, database):
    assert run("init", "--client", "codex").exit_code == 0
    shutil.rmtree(database.parent)
    done = run("status")
    assert done.exit_code == 5
    assert "is gone" in done.stderr
    assert not database.exists()


def test_an_anchor_that_is_there_and_says_nothing_is_no_first_start(run, database):
    gone(database)
    for folder in settings_here().paths.anchor_folders:
        for file in folder.glob("*.anchor"):
            file.write_bytes(b"")
    done = run("status")
    assert done.exit_code == 5
    assert "cannot be read" in done.stderr
    assert run("ledger", "accept", "--reason", "a broken disk").exit_code == 0
    assert run("status").exit_code == 0


def test_who_has_installed_nothing_and_throws_the_data_folder_away_begins_anew(run, database):
    shutil.rmtree(database.parent)
    assert run("status").exit_code == 0
    gone(database)
    assert run("status").exit_code == 5


@pytest.mark.parametrize("fault", [gone, emptied], ids=lambda value: value.__name__)
def test_no_hook_makes_a_ledger(run, database, capsys, monkeypatch, fault):
    import io
    import sys

    for folder in ((), settings_here().paths.anchor_folders):
        fault(database)
        for each in folder:
            shutil.rmtree(each)
        data = io.TextIOWrapper(io.BytesIO(json.dumps(PROMPT).encode()))
        monkeypatch.setattr(sys, "stdin", data)
        monkeypatch.setenv("TALLYGATE_LOCK_TIMEOUT_MS", "50")
        answer_alone(lambda: compose(settings_here(), by="hook"), "claude-code", "-")
        said = json.loads(capsys.readouterr().out)
        assert said.get("decision") == "block", said
        assert "ledger" in said["reason"]
        run("statusline", json_=False)
        assert not database.exists() or database.stat().st_size == 0


def test_a_hook_that_is_told_no_name_stops_the_step_that_its_input_names_where_settings_cannot_be_read(
    home, capsys, monkeypatch
):
    import io
    import sys

    def unreadable():
        raise SettingsError("line 3 of config.toml is none.")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(PROMPT).encode())))
    answer_alone(unreadable, "claude-code", "-")
    assert "line 3" in json.loads(capsys.readouterr().out)["reason"]


def test_a_backup_is_put_in_place_and_what_lay_there_is_kept(run, run_json, database, home):
    before = run_json("status")["ledger"]
    restored = run_json("restore", str(home / "older.db"), "--reason", "bad disk")
    assert restored["was"]["events"] == before["events"]
    assert restored["backup"]["events"] < before["events"]
    now = run_json("status")["ledger"]
    assert (now["id"], now["events"]) == (before["id"], restored["backup"]["events"] + 1)
    assert run("verify", "--db", restored["kept"]).exit_code == 0
    assert "bad disk" in run("verify").stdout
    assert Path(restored["kept"]).stat().st_mode & 0o777 == 0o600


def test_a_backup_is_put_in_the_place_of_a_ledger_that_is_gone(run, database, home):
    gone(database)
    done = run("restore", str(home / "older.db"), "--reason", "gone")
    assert done.exit_code == 0, done.stderr
    assert run("status").exit_code == 0
    assert run("verify").exit_code == 0


def no_file(home):
    return home / "none.db"


def empty_file(home):
    (home / "empty.db").touch()
    return home / "empty.db"


def text_file(home):
    (home / "text.db").write_text("no ledger" * 1000)
    return home / "text.db"


def folder(home):
    return home


def tampered(home):
    from tests.entrypoints.cli.test_backup import edit

    edit(home / "older.db", "UPDATE budget SET limit_nanos = limit_nanos * 1000")
    return home / "older.db"


@pytest.mark.parametrize("source", [no_file, empty_file, text_file, folder, tampered], ids=lambda value: value.__name__)
def test_what_is_no_sound_backup_replaces_nothing(run, run_json, database, home, source):
    before = run_json("status")["ledger"]
    done = run("restore", str(source(home)), "--reason", "try")
    assert done.exit_code == 5
    assert "Nothing was replaced" in done.stderr
    assert run_json("status")["ledger"] == before
    assert not [*database.parent.glob("*restor*")]


def test_init_makes_ledger_and_anchor(run, home):
    paths = settings_here().paths
    assert run("init", "--client", "codex", "--dry-run").exit_code == 0
    assert not paths.database.exists()
    assert run("init", "--client", "codex").exit_code == 0
    assert paths.database.exists()
    assert all([*folder.glob("*.anchor")] for folder in paths.anchor_folders)
    gone(paths.database)
    again = run("init", "--client", "codex")
    assert again.exit_code == 5
    assert "ledger accept" in again.stderr
    assert not paths.database.exists()


def test_uninstalling_leaves_a_ledger_with_a_history(run, database):
    assert run("init", "--client", "codex").exit_code == 0
    assert run("uninstall").exit_code == 0
    assert run("sessions", "list").exit_code == 0
    assert database.exists()


def test_a_ledger_that_a_variable_names_for_the_time_being_leaves_nothing_in_the_users_folders(run, home, monkeypatch):
    own = settings_here().paths.anchor_folders
    monkeypatch.setenv("TALLYGATE_HOME", str(home / "job"))
    run("status")
    assert not any(folder.exists() for folder in own)
    shutil.rmtree(home / "job")
    assert run("status").exit_code == 0
    gone(home / "job" / "ledger.db")
    assert run("status").exit_code == 5


def test_a_ledger_of_the_version_before_gets_an_anchor_once_and_that_is_said(run, database, caplog):
    for each in settings_here().paths.anchor_folders:
        shutil.rmtree(each)
    assert run("status").exit_code == 0
    assert run("status").exit_code == 0
    assert caplog.messages == [
        "From now on you are told if this ledger is gone, or an older copy of it lies in its place."
    ]


def test_a_lost_ledger_is_an_expected_error(database):
    gone(database)
    with pytest.raises(LedgerMissing):
        _ = compose(settings_here(), by="test").ledger
