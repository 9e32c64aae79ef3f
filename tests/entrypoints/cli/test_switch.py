"""`tallygate off` and `on` as a person meets them."""

from __future__ import annotations

import pytest

from tallygate.app import compose, settings_here
from tallygate.core.costing import Tokens
from tallygate.entrypoints.cli import switch, whose
from tallygate.operations.gate.record import UsageReport, record_usage


@pytest.fixture
def there(run, home):
    run("keys", "show")
    with_ledger = compose(settings_here(), by="test")
    with with_ledger.ledger.reading():
        pass
    with_ledger.close()


def test_where_there_is_no_ledger_nothing_is_switched(run):
    for command in ("off", "on"):
        told = run(command)
        assert told.exit_code == 3
        assert "nothing is stopped anyhow" in told.stderr


def test_it_is_off_for_the_time_that_was_named_and_everything_says_so(run, run_json, there):
    assert "is off until" in run("off", "--for", "30m", "--reason", "a release").stdout
    assert "a release" in run("status").stdout
    assert run_json("status")["off"]["reason"] == "a release"
    doctor = run("doctor").stdout
    assert "warn  gate" in doctor
    assert "a release" in run("verify").stdout
    assert "On again" in run("on").stdout
    assert run_json("status")["off"] is None
    assert "It is on" in run("on").stdout


@pytest.mark.parametrize("length", ["25h", "2d", "0m", "ever", "-1h"])
def test_no_time_that_does_not_end_within_a_day_is_taken(run, there, length):
    told = run("off", "--for", length)
    assert told.exit_code == 2
    assert "--for must be a time such as 30m, 1h or 24h at most" in told.stderr


def test_beneath_an_agent_off_is_refused_and_on_is_not(run, there, monkeypatch):
    run("off")
    monkeypatch.setattr(whose, "is_guarded", lambda *_: True)
    monkeypatch.setenv("CLAUDECODE", "1")
    told = run("off")
    assert told.exit_code == 7
    assert "`tallygate off` is the user's alone" in told.stderr
    assert "On again" in run("on").stdout


def test_a_program_is_told_until_when(run_json, run, there):
    run("off", "--for", "1h")
    assert set(run_json("status")["off"]) == {"since", "until", "by", "reason"}
    assert switch.OFF_MOST_US == 24 * 3_600_000_000


def test_a_session_that_went_over_its_limit_meanwhile_is_named_in_status(run, made):
    session_id = made.session(1)
    run("off", "--for", "30m")
    done = made.call(session_id, prompt=900_000, tool_name="read")
    record_usage(made.app.runtime, UsageReport(done, Tokens(fresh_input=900_000, output=400)))
    run("on")
    told = run("status", "--no-sync").stdout
    assert f"Session {session_id[-8:]} went on over its limit: $4.51 of $1.00." in told
    assert "where a hard limit would have stopped it" not in told


def test_a_session_that_was_stopped_over_its_limit_is_named_once(run, made):
    session_id = made.session(1)
    done = made.call(session_id, tool_name="read")
    record_usage(made.app.runtime, UsageReport(done, Tokens(fresh_input=900_000, output=400)))
    made.call(session_id, tool_name="read")
    told = run("status", "--no-sync").stdout
    assert f"Session {session_id[-8:]} was stopped" in told
    assert "went on over its limit" not in told
