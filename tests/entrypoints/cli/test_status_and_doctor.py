"""`tallygate status` and `tallygate doctor`: how it stands, whether it is sound."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tests.world import changed

from tallygate.entrypoints.cli import checks
from tallygate.ledger.audit import condition


def test_status_shows_ledger_chain_sessions_prices_and_files(run, run_json, made):
    session_id = made.worked()
    found = run_json("status")
    paths = made.app.settings.paths
    assert found["ledger"]["path"] == str(paths.database)
    assert (found["ledger"]["events"], len(found["ledger"]["head"])) == (5, 64)
    assert found["run_log"] == {"path": str(paths.run_log), "waiting": []}
    assert [each["session_id"] for each in found["open_sessions"]] == [session_id]
    assert found["open_sessions"][0]["left"] == 0.875
    assert found["settings"]["files"] == []
    assert found["prices"]["source"] == "genai-prices"
    text = run("status", "--verbose").stdout
    for part in (str(paths.database), "5 events", "1 open session", session_id[-8:], "genai-prices"):
        assert part in text
    brief = run("status").stdout
    assert session_id[-8:] in brief
    assert not any(part in brief for part in (str(paths.database), "5 events", "genai-prices"))


def test_status_of_a_fresh_home_is_no_error(run):
    result = run("status", "-v")
    assert result.exit_code == 0
    assert "no events yet" in result.stdout
    assert "No open sessions." in result.stdout


def test_status_names_the_settings_files_in_force(run_json, home, monkeypatch):
    file = home / "mine.toml"
    file.write_text('currency = "EUR"\n')
    monkeypatch.setenv("TALLYGATE_CONFIG", str(file))
    assert run_json("status")["settings"]["files"] == [str(file)]


def test_a_script_learns_by_the_exit_code_that_the_last_run_was_stopped_until_it_is_raised(run, run_json, made):
    assert run("status", "--exit-code").exit_code == 0, "nothing has run"
    session_id = made.session(1)
    assert made.call(session_id, prompt=900_000, tool_name="read") == ""
    assert run("status").exit_code == 0
    told = run("status", "--exit-code")
    assert told.exit_code == 8
    assert f"Session {session_id[-8:]} was stopped at" in told.stdout
    assert run("status", "--exit-code", json_=True).exit_code == 8
    (found,) = run_json("status")["stopped"]
    assert (found["session_id"], found["stage"], found["reason"]) == (session_id, "read", "budget_pressure:halt")
    made.end(session_id)
    assert run("status", "--exit-code").exit_code == 8, "ended, and still the last run"
    run("budget", "raise", session_id[-8:], "9")
    assert run("status", "--exit-code").exit_code == 0
    assert run("status", "--exit-kode").exit_code == 2, "wrong usage is no halt"


def test_outside_of_any_project_the_last_run_is_that_of_any(run, made, home, monkeypatch, tmp_path):
    (tmp_path / "shop" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "shop")
    session_id = made.session(1)
    assert made.call(session_id, prompt=900_000, tool_name="read") == ""
    monkeypatch.chdir(home)
    told = run("status", "--exit-code")
    assert (told.exit_code, f"Session {session_id[-8:]} was stopped at" in told.stdout) == (8, True)


@pytest.mark.parametrize("command", [[], ["status"], ["budget"], ["budget", "raise"], ["prices"], ["usage"]])
def test_help_is_asked_for_with_one_letter_too(run, command):
    told = run(*command, "-h")
    assert (told.exit_code, told.stdout) == (0, run(*command, "--help").stdout)
    assert ("8 " in told.stdout) == (command in ([], ["status"], ["budget"]))


def test_a_script_learns_by_the_exit_code_that_settings_of_the_project_stop_every_step(
    run, home, monkeypatch, tmp_path
):
    project = tmp_path / "shop"
    (project / ".l6e").mkdir(parents=True)
    file = project / ".l6e" / "config.toml"
    file.write_text('[[budgets]]\nscope = "session"\nlimit_usd = 1\n')
    monkeypatch.setenv("TALLYGATE_PROJECT_DIR", str(project))
    told = run("status", "--exit-code")
    assert told.exit_code == 8
    assert "Every step in this project is stopped until its settings can be read." in told.stderr
    assert run("status", "--exit-code", json_=True).exit_code == 8
    assert run("status").exit_code == 0
    file.write_text('[[budget]]\nscope = "session"\nlimit_usd = 1\n')
    assert run("status", "--exit-code").exit_code == 0


def test_only_the_last_run_of_this_folder_and_those_beside_it_are_told_by_the_exit_code(
    run, made, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)

    def refused(project):
        made.app = replace(made.app, runtime=changed(made.app.runtime, project=project))
        session_id = made.session(1)
        assert made.call(session_id, prompt=900_000, tool_name="read") == ""
        return session_id

    elsewhere, first = refused("/elsewhere"), refused(None)
    second = made.session(1)
    assert run("status", "--exit-code").exit_code == 8, "the first is still at work beside the second"
    made.end(first)
    assert run("status", "--exit-code").exit_code == 8, "it ended after the second began"
    made.end(second)
    third = made.session(1)
    assert made.call(third, tool_name="plan") != ""
    assert run("status", "--exit-code").exit_code == 0
    made.end(elsewhere)


def diagnosis(run):
    result = run("doctor", json_=True)
    found = json.loads(result.stdout)
    assert (result.exit_code == 0) == found["ok"]
    return {each["check"]: each for each in found["checks"]}


def failing(found):
    return [name for name, check in found.items() if check["state"] == "fail"]


def test_a_sound_installation_passes_every_check(run, made):
    made.worked()
    found = diagnosis(run)
    assert failing(found) == []
    assert list(found) == [
        "python", "program", "sqlite", "settings", "loosening", "disk", "resident", "ledger", "lock", "clock", "pages",
        "chain", "log queue", "limits", "budgets", "anchor", "passphrase", "transcripts", "booked", "keys",
        "prices", "run log", "tokens",
    ]  # fmt: skip
    assert "5 events, each as it was written" in found["chain"]["found"]
    text = run("doctor").stdout
    assert "23 checks, 0 failed" in text


UNGUARDED = "DROP TRIGGER event_never_changes;"


def tamper(database, sql):
    with sqlite3.connect(database) as connection:
        connection.executescript(sql)
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE budget SET limit_nanos = 9000000000",
        "DELETE FROM call",
        f"{UNGUARDED} UPDATE event SET body = CAST(replace(body, 'mend', 'bend') AS BLOB) WHERE seq = 1",
        f"{UNGUARDED} UPDATE event SET body = x'00ff' WHERE seq = 2",
        "DROP TRIGGER event_never_goes; DELETE FROM event WHERE seq = 3",
        "CREATE TRIGGER mine AFTER INSERT ON call BEGIN SELECT 1; END",
    ],
)
def test_a_ledger_that_was_edited_fails(run, made, sql):
    made.worked()
    made.app.close()
    tamper(made.app.settings.paths.database, sql)
    found = diagnosis(run)
    assert failing(found) == ["chain"]
    assert found["chain"]["to_do"]


def test_a_file_that_is_no_ledger_fails_and_the_rest_is_still_checked(run, made):
    path = made.app.settings.paths.database
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(b"not a database at all" * 100)
    path.chmod(0o600)
    found = diagnosis(run)
    assert failing(found) == ["ledger"]
    assert {"run log", "prices", "tokens"} <= found.keys()


def test_a_ledger_that_others_can_read_fails_with_the_command_that_helps(run, made):
    made.worked()
    made.app.settings.paths.database.chmod(0o644)
    found = diagnosis(run)
    assert failing(found) == ["ledger"]
    assert "chmod" in found["ledger"]["to_do"]


def test_a_lock_file_that_others_can_write_fails(run, made):
    made.worked()
    database = made.app.settings.paths.database
    database.with_name(database.name + ".lock").chmod(0o666)
    assert failing(diagnosis(run)) == ["ledger"]


def test_a_lock_that_is_held_fails_and_names_the_holder(run, made, monkeypatch):
    made.worked()
    monkeypatch.setenv("TALLYGATE_LOCK_TIMEOUT_MS", "100")
    with made.app.ledger.writing():
        found = diagnosis(run)
    assert failing(found) == ["lock"]
    assert "locked by process" in found["lock"]["found"]


def test_a_run_log_that_is_a_folder_fails(run, made):
    made.app.settings.paths.run_log.mkdir(parents=True)
    assert failing(diagnosis(run)) == ["run log"]


def test_looking_at_the_run_log_creates_nothing(run, made):
    assert failing(diagnosis(run)) == []
    assert not made.app.settings.paths.run_log.exists()


def test_a_waiting_line_is_a_warning(run, made):
    session_id = made.session()
    made.app.settings.paths.run_log.mkdir(parents=True)
    made.end(session_id)
    assert diagnosis(run)["log queue"]["state"] == "warn"


def test_settings_that_cannot_be_read_end_the_diagnosis_with_file_and_line(run, home, monkeypatch):
    file = home / "mine.toml"
    file.write_text("[policy]\nbudget_mode = 'harsh'\n")
    monkeypatch.setenv("TALLYGATE_CONFIG", str(file))
    found = diagnosis(run)
    assert failing(found) == ["settings"]
    assert f"{file}:2" in found["settings"]["found"]


def test_a_clock_behind_the_ledger_is_a_warning(run, made, monkeypatch):
    made.worked()
    behind = made.app.runtime.services.clock_us() - 3_600_000_000
    monkeypatch.setattr("tallygate.app.clock_us", lambda: behind)
    found = diagnosis(run)
    assert found["clock"]["state"] == "warn"
    assert failing(found) == []


@pytest.mark.parametrize(("days", "state"), [(30, "ok"), (31, "warn"), (None, "warn")])
def test_old_prices_are_a_warning(made, days, state):
    class Info:
        source, version, newest_price, age_days, models = "list", "1", "2026-01-01", days, 3

    class Prices:
        def info(self, at):
            return Info

    rt = SimpleNamespace(workspace=SimpleNamespace(prices=Prices()), services=SimpleNamespace(clock_us=lambda: 0))
    assert checks.price_table(rt).state == state


@pytest.mark.parametrize(
    ("kind", "state"),
    [("ext4", "ok"), ("apfs", "ok"), (None, "ok"), ("nfs4", "warn"), ("9p", "warn"), ("fuse.sshfs", "warn")],
)
def test_a_network_disk_is_a_warning(home, monkeypatch, kind, state):
    monkeypatch.setattr(condition, "file_system", lambda path: kind)
    assert checks.network(home / "ledger.db").state == state


def keys(run):
    found = diagnosis(run)["keys"]
    return found["state"], f"{found['found']} {found['to_do']}"


def test_keys_that_can_sign_are_named_with_their_rotations_and_what_waits(run, made):
    state, found = keys(run)
    assert (state, "none yet" in found) == ("ok", True)
    made.worked()
    assert "1 attestation to be signed" in keys(run)[1]
    run("attest", "list")
    run("keys", "rotate")
    state, found = keys(run)
    assert (state, "after 1 rotation" in found, "to be signed" in found) == ("ok", True, False)


@pytest.mark.parametrize(
    ("name", "mode", "help_"), [("signing-key.json", 0o640, "chmod 600"), (".", 0o777, "chmod 700")]
)
def test_keys_that_others_can_get_at_fail_with_the_command_that_helps(run, made, name, mode, help_):
    run("keys", "show")
    made.app.settings.paths.key_dir.joinpath(name).chmod(mode)
    state, found = keys(run)
    assert (state, help_ in found) == ("fail", True)


def test_a_key_that_is_lost_is_told_until_verifiers_have_the_new_one(run, made):
    made.worked()
    run("attest", "list")
    lost = made.app.runtime.services.keys.public().keyid
    made.app.runtime.services.keys.key_file.unlink()
    state, found = keys(run)
    assert (state, lost in found, "give verifiers the new key" in found) == ("warn", True, True)
    run("keys", "show")
    state, found = keys(run)
    assert (state, "never agreed" in found, lost in found) == ("warn", True, True)
    made.worked()
    run("attest", "list")
    assert keys(run)[0] == "ok", "the journal tells of the loss, and the new key signs"


def test_a_rotation_that_was_edited_fails(run, made):
    run("keys", "show")
    run("keys", "rotate")
    [record] = made.app.settings.paths.key_dir.glob("rotated-*.json")
    stated = json.loads(record.read_text())
    stated["old_signature"] = stated["new_signature"]
    record.write_text(json.dumps(stated))
    state, found = keys(run)
    assert (state, "which is not so" in found) == ("fail", True)
