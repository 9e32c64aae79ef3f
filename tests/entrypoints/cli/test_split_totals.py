"""Wherever a sum stands, what of it is known and what is guessed stands beside it."""

from __future__ import annotations

import pytest

from tallygate.core.costing import Tokens
from tallygate.operations.gate.record import UsageReport, record_usage

# $3.00 at a listed price, $2.00 at that of a relative.
KNOWN, NEAR = ("claude-sonnet-4-6", 200_000), ("claude-sonnet-9", 200_000)


def used(made, session, model, output):
    call = made.call(session, prompt=1, output=1, tool_name="write", model=model)
    record_usage(made.app.runtime, UsageReport(call, Tokens(output=output)))


@pytest.fixture
def session(made):
    """What is known and what is guessed, in one session."""
    key = made.session(100, model="claude-sonnet-4-6")
    used(made, key, *KNOWN)
    used(made, key, *NEAR)
    return key


def test_a_session_and_its_budget_are_split(run, run_json, session):
    [line] = run_json("sessions", "list")["sessions"]
    view = run_json("sessions", "show", session)
    [budget] = run_json("budget", "list")["budgets"]
    [standing] = run_json("status")["open_sessions"]
    parts = {"approximate_spent": line["approximate_spent"], "assumed_spent": 0.0, "known_spent": 3.0}
    assert parts["approximate_spent"] > 0
    for found in (line, budget, view["budgets"][0], standing):
        assert found["spent"] == found["known_spent"] + found["approximate_spent"]
        assert parts.items() <= found.items()
    assert (view["known_cost"], view["approximate_cost"], view["assumed_cost"]) == (3.0, line["approximate_spent"], 0.0)


def test_tables_say_what_is_guessed(run, run_json, session):
    guessed = run_json("sessions", "list")["sessions"][0]["approximate_spent"]
    part = f"${guessed:.2f} approximate"
    for command in (["sessions", "list"], ["budget", "list"], ["status"]):
        told = run(*command).stdout
        assert "OF WHICH" in told, command
        assert part in told, command
    assert f"total        $3.00 + {part} in 2 calls" in run("sessions", "show", session).stdout
    assert f"Recorded: $3.00 + {part}." in run("drift").stdout


def test_reports_for_programs_are_split(run, run_json, session):
    guessed = run_json("sessions", "list")["sessions"][0]["approximate_spent"]
    for found in (run_json("usage")["total"], run_json("usage")["lines"][0]):
        assert (found["known_cost"], found["approximate_cost"], found["assumed_cost"]) == (3.0, guessed, 0.0)
    by_model = {line["model"]: line["approximate_cost"] for line in run_json("usage", "--by", "model")["lines"]}
    assert by_model["claude-sonnet-4-6"] == 0.0
    total = run_json("drift")["total"]
    assert (total["known_recorded"], total["approximate_recorded"], total["assumed_recorded"]) == (3.0, guessed, 0.0)


def test_where_all_is_known_no_column_says_so(run, made):
    used(made, made.session(100), *KNOWN)
    for command in (["sessions", "list"], ["budget", "list"], ["status"]):
        assert "OF WHICH" not in run(*command).stdout
