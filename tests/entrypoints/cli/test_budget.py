"""`tallygate budget`: the only way to change what may be spent."""

from __future__ import annotations

import json

import pytest


def limits(run_json):
    return {each["budget_id"]: each["limit"] for each in run_json("budget", "list")["budgets"]}


def test_a_ledger_without_budgets_says_so(run, run_json):
    assert run("budget", "list").stdout.startswith("No budgets yet")
    assert run_json("budget", "list") == {"budgets": []}


def test_a_list_shows_limit_spent_reserved_and_left(run, run_json, made):
    session_id = made.worked()
    [found] = run_json("budget", "list")["budgets"]
    assert (found["budget_id"], found["scope"], found["mode"], found["currency"]) == (
        session_id, "session", "hard", "USD",
    )  # fmt: skip
    assert (found["limit"], found["spent"], found["reserved"], found["left"]) == (1.0, 0.05, 0.075, 0.875)
    assert session_id[-8:] in run("budget", "list").stdout


def test_raising_adds_to_the_limit(run, run_json, made):
    session_id = made.session(1)
    result = run("budget", "raise", session_id[-8:], "0.50", "--reason", "one more round")
    assert (result.exit_code, result.stdout) == (0, f"{session_id}: the limit is $1.50 now, $1.50 left.\n")
    assert limits(run_json) == {session_id: 1.5}


def test_the_command_of_a_halt_can_be_run_as_it_stands(run, made):
    session_id = made.session(1)
    assert made.call(session_id, prompt=900_000, tool_name="read") == ""
    assert run("budget", "raise", session_id, "4.40").exit_code == 0
    assert made.call(session_id, prompt=900_000, tool_name="read") != ""


def test_setting_gives_another_limit_also_below_what_is_spent(run, run_json, made):
    session_id = made.worked()
    result = run("budget", "set", session_id, "0.10", "--reason", "enough")
    assert (result.exit_code, "-$0.0250 left" in result.stdout) == (0, True)
    assert limits(run_json) == {session_id: 0.1}


def test_a_limit_of_nothing_stops_all_work(run, made):
    session_id = made.session(1)
    assert run("budget", "set", session_id, "0").exit_code == 0
    assert made.call(session_id, tool_name="plan") == ""


def test_the_journal_keeps_who_and_why(run, made):
    session_id = made.session(1)
    run("budget", "raise", session_id, "1", "--reason", "the \x1b[1mbuild\nbroke")
    [(body,)] = made.app.ledger.rows("SELECT body FROM event ORDER BY seq DESC LIMIT 1")
    note = json.loads(body)["note"]
    assert note["reason"] == "the [1mbuild broke"
    assert note["actor"]


@pytest.mark.parametrize("amount", ["0", "nothing", "NaN", "Infinity", "1000001", ""])
def test_an_amount_that_is_none_changes_nothing(run, run_json, made, amount):
    session_id = made.session(1)
    result = run("budget", "raise", session_id, amount)
    assert result.exit_code == 2
    assert limits(run_json) == {session_id: 1.0}


def test_a_raise_above_the_highest_limit_is_refused(run, run_json, made):
    session_id = made.session(1)
    assert run("budget", "raise", session_id, "1000000").exit_code == 2
    assert limits(run_json) == {session_id: 1.0}
