"""`tallygate import-l6e`: where it looks, what it says, and with which exit code it leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.docs.pages import ROOT, blocks
from tests.l6e import LOOSE, call, line, make_database, policy, record, session, used, write_log

GUIDE = ROOT / "docs" / "guides" / "from-l6e.md"


@pytest.fixture
def old(home):
    """What a user of l6e-mcp has in the home folder and in a project."""
    ended, going = session(1), session(2, ended=False)
    calls = [call(1, ended, **used()), call(2, going, "0", model_used="claude-opus-4.7")]
    make_database(home / ".l6e" / "sessions.db", [ended, going], calls)
    write_log(home / ".l6e" / "runs.jsonl", [line(1, [record(0)]), line(2, [], run_id=ended["session_id"])])
    return home / ".l6e"


def facts(done):
    return {
        name.strip(): value.strip() for name, value in re.findall(r"^(\w+(?: \w+)?)  +(.+)$", done.stdout, re.MULTILINE)
    }


def test_everything_is_found_where_l6e_mcp_keeps_it(run, old):
    done = run("import-l6e")
    assert done.exit_code == 0, done.stderr
    assert facts(done) == {
        "sessions": "3 taken, already there: 0",
        "calls": "3 taken, 1 with their usage, 2 at their estimates",
        "cost": "$0.38, as l6e-mcp counted it",
        "database": str(old / "sessions.db"),
        "run log": f"{old / 'runs.jsonl'}: 2 lines, 1 of sessions in the database",
    }
    assert "1 call cost $0 there, although tokens were used" in done.stderr
    assert "claude-opus-4.7" in done.stderr
    assert "1 session came without times" in done.stderr
    assert facts(run("import-l6e"))["sessions"] == "0 taken, already there: 3"


def test_what_came_in_is_shown_and_the_ledger_verifies(run, run_json, old):
    run("import-l6e")
    found = run_json("sessions", "show", session(1)["session_id"], "--calls")
    assert (found["state"], found["end_cause"], found["total_cost"]) == ("ended", "run_end", 0.125)
    assert found["calls"][0]["actual_tokens"]["fresh_input"] == 9_000
    assert run("doctor").exit_code == 0
    assert "Nothing to rebuild" in run("doctor", "--rebuild").output


def test_the_variables_of_l6e_mcp_lead_to_its_files(run, home, monkeypatch):
    make_database(home / "a" / "x.db", [session(1)], [])
    write_log(home / "b" / "x.jsonl", [line(1, [record(0)])])
    monkeypatch.setenv("L6E_SESSION_DB_PATH", str(home / "a" / "x.db"))
    monkeypatch.setenv("L6E_LOG_PATH", "b/x.jsonl")
    monkeypatch.setenv("TALLYGATE_DB", str(home / "ledger.db"))
    assert facts(run("import-l6e"))["sessions"] == "2 taken, already there: 0"


def test_a_ledger_that_is_their_database_is_refused_with_the_way_out(run, home, monkeypatch):
    database = make_database(home / "x.db", [session(1)], [])
    monkeypatch.setenv("L6E_SESSION_DB_PATH", str(database))
    done = run("import-l6e")
    assert done.exit_code == 2
    assert "takes as its own ledger" in done.stderr
    assert "Unset L6E_SESSION_DB_PATH" in done.stderr


def test_files_that_are_named_are_taken_instead_and_must_be_there(run, old, home):
    other = make_database(home / "other.db", [session(9)], [])
    log = write_log(home / "other.jsonl", [line(5, [record(0)])])
    assert facts(run("import-l6e", str(other), str(log)))["sessions"] == "2 taken, already there: 0"
    done = run("import-l6e", str(home / "gone.db"))
    assert done.exit_code == 2
    assert "gone.db cannot be read as a database of l6e-mcp: it does not exist" in done.stderr


def test_a_log_alone_is_enough(run, old):
    (old / "sessions.db").unlink()
    assert facts(run("import-l6e"))["sessions"] == "2 taken, already there: 0"


def test_where_there_is_nothing_it_says_where_it_looked(run, home):
    done = run("import-l6e")
    assert done.exit_code == 2
    assert str(home / ".l6e" / "sessions.db") in done.stderr
    assert str(Path(".l6e", "runs.jsonl")) in done.stderr


def test_a_dry_run_takes_nothing(run, old):
    done = run("import-l6e", "--dry-run")
    assert (done.exit_code, facts(done)["sessions"]) == (0, "3 taken, already there: 0")
    assert "nothing was written" in done.stderr
    assert run("sessions", "list").stdout == "No sessions.\n"


def test_what_is_left_out_is_named_and_makes_the_exit_code_1(run, run_json, home):
    bad = [session(number, policy_json=json.dumps(policy(0))) for number in range(30)]
    make_database(home / ".l6e" / "sessions.db", [*bad, session(99)], [], LOOSE)
    done = run("import-l6e")
    assert done.exit_code == 1
    assert facts(done)["sessions"] == "1 taken, already there: 0, 30 left out"
    assert "sessions.db, sessions row 1: its budget is 0." in done.stderr
    assert "10 more were left out; --json names them." in done.stderr
    found = json.loads(run("import-l6e", json_=True).stdout)
    assert len(found["left_out"]) == found["sessions"]["left_out"] == 30


def test_the_same_as_json(run_json, old):
    found = run_json("import-l6e")
    digests = {name: source.pop("sha256") for name, source in found["sources"].items()}
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests.values())
    assert found == {
        "dry_run": False,
        "sources": {
            "database": {"path": str(old / "sessions.db")},
            "log": {"path": str(old / "runs.jsonl")},
        },
        "sessions": {"taken": 3, "grown": 0, "already_there": 0, "left_out": 0},
        "calls": {"taken": 3, "corrected": 0, "actual": 1},
        "cost": 0.375,
        "log_lines": {"lines": 2, "taken": 1, "in_database": 1, "ours": 0, "unfinished": 0},
        "remarks": {"priced_at_zero": 1, "time_unknown": 1},
        "priced_at_zero": {"claude-opus-4.7": 1},
        "orphan_calls": 0,
        "schema_is_newer": False,
        "left_out": [],
    }


def test_terminal_escapes_in_names_never_reach_the_terminal(run, home):
    one = session(1, model="\x1b]0;x\x07evil", client="\x1b[2J")
    make_database(home / ".l6e" / "sessions.db", [one], [call(1, one, "0", model_used="\x1b[31mred")])
    assert "\x1b" not in run("import-l6e").output
    assert "\x1b" not in run("sessions", "show", one["session_id"], "--calls").output


def test_events_say_that_the_import_acted(run, run_json, old, made):
    run("import-l6e")
    bodies = [json.loads(body) for (body,) in made.app.ledger.rows("SELECT body FROM event")]
    assert {(body["by"], body["kind"]) for body in bodies} == {("import-l6e", "session.imported")}


def test_the_guide_shows_what_the_command_says(run, old):
    (shown,) = blocks(GUIDE, "text")
    said = run("import-l6e")
    text = (said.stdout + said.stderr).replace(str(old / "sessions.db"), "~/.l6e/sessions.db")
    assert shown.text == text.replace(str(old / "runs.jsonl"), "~/shop/.l6e/runs.jsonl")
