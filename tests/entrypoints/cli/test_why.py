"""`tallygate why`: a decision as a sum that can be checked, from what the journal says of it."""

from __future__ import annotations

import pytest
from tests.world import the_user

from tallygate.core.costing import Tokens
from tallygate.entrypoints.cli.program import USAGE
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.gate.record import UsageReport, record_usage


def facts(told):
    """The names and values of the sum."""
    return {line.split("  ")[0]: line.partition("  ")[2].strip() for line in told.splitlines() if "  " in line}


def row(told):
    """The figures of the only budget."""
    lines = told.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("BUDGET"))
    return lines[at + 1].split()[1:]


@pytest.fixture
def stopped(made):
    """A session of a dollar: a step that was paid, one that is pending, and one that did not fit."""
    session_id = made.session(1)
    first = made.call(session_id, prompt=20_000, output=4_000, tool_name="plan")  # $0.20
    record_usage(made.app.runtime, UsageReport(first, Tokens(fresh_input=20_000, output=2_000)))  # $0.15
    second = made.call(session_id, prompt=20_000, output=4_000, tool_name="edit")
    made.call(session_id, prompt=200_000, output=4_000, tool_name="read")  # $1.10
    return session_id, first, second


def test_a_refusal_is_told_with_the_budget_that_refused_as_it_stood(run, run_json, stopped):
    session_id, _, _ = stopped
    done = run("why", session_id[-8:])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"read in session {session_id[-8:]}, ")
    assert ": stopped, over the limit." in done.stdout
    assert facts(done.stdout)["needed"] == "$1.10"
    assert "200,000 tokens in, 4,000 out of claude-opus-4.7" in done.stdout
    assert "$5.00 in, $0.50 from the cache, $25.00 out per million tokens (genai-prices" in done.stdout
    assert row(done.stdout) == ["$1.00", "$0.15", "$0.20", "$0.65", "$1.10"]
    found = run_json("why", session_id)
    [budget] = found["budgets"]
    assert budget["limit"] - budget["spent"] - budget["reserved"] == pytest.approx(budget["left"])
    assert budget["needed"] > budget["left"]
    assert found["event"]["seq"] > 0
    assert f"{found['event']['sha256']}" in done.stderr


def test_a_step_that_was_let_through_is_told_as_it_stood_then_whatever_came_later(run, made, stopped):
    session_id, first, second = stopped
    raise_budget(made.app.runtime, session_id, 5 * 10**9, reason="more", authority=the_user("anna"))
    told = run("why", first).stdout
    assert ": let through." in told
    assert (facts(told)["reserved"], facts(told)["came to"]) == ("$0.20", "$0.15, as reported")
    assert row(told) == ["$1.00", "$0.00", "$0.00", "$1.00", "$0.20"]
    assert row(run("why", second).stdout) == ["$1.00", "$0.15", "$0.00", "$0.85", "$0.20"]


def test_what_went_beyond_a_limit_stands_beside_what_is_left_which_is_never_below_nothing(run, run_json, made):
    session_id = made.session(1)
    call = made.call(session_id, prompt=20_000, output=4_000, tool_name="plan")
    record_usage(made.app.runtime, UsageReport(call, Tokens(fresh_input=300_000)))  # $1.50
    made.call(session_id, tool_name="edit")
    assert row(run("why", session_id).stdout)[:5] == ["$1.00", "$1.50", "$0.00", "$0.00", "$0.50"]
    assert run_json("why", session_id)["budgets"][0]["left"] == run_json("budget", "list")["budgets"][0]["left"] == -0.5


@pytest.mark.parametrize(
    ("used", "said"), [(100_000, "a false halt, it would have fitted"), (200_000, "the halt was right")]
)
def test_a_halt_that_went_on_after_a_raise_says_whether_it_was_right(run, run_json, made, stopped, used, said):
    session_id, *_ = stopped
    with made.app.runtime.reading() as reader:
        halt = next(call for call in reader.calls_of(session_id) if call.action == "halt")
    assert "After a raise" not in run("why", halt.call_id).stdout, "nobody has gone on"
    raise_budget(made.app.runtime, session_id, 5 * 10**9, reason="more", authority=the_user("anna"))
    call = made.call(session_id, prompt=200_000, output=4_000, tool_name="read")
    record_usage(made.app.runtime, UsageReport(call, Tokens(fresh_input=used)))  # $0.50 and $1.00, of $0.65
    assert said in run("why", halt.call_id).stdout
    verdict = run_json("why", halt.call_id)["verdict"]
    assert verdict == {
        "verdict": "false" if "false" in said else "right",
        "because": None,
        "run": call,
        "currency": "USD",
        "cost": used * 5 / 10**6,
        "left": 0.65,
    }
    assert run_json("why", call)["verdict"] is None, "it was let through"


def test_a_change_of_a_limit_after_the_step_is_told_as_one_that_came_since(run, run_json, made, stopped):
    session_id, first, _ = stopped
    raise_budget(made.app.runtime, session_id, 5 * 10**9, reason="more", authority=the_user("anna"))
    told = run("why", first).stdout.splitlines()
    at = told.index("Since then:")
    assert "raised from $1.00 to $6.00" in told[at + 1]
    assert not any("raised" in line for line in told[:at])
    late = made.call(session_id, prompt=20_000, output=4_000, tool_name="late")
    told = run("why", late).stdout
    assert "raised from $1.00 to $6.00" in told
    assert "Since then" not in told
    assert run_json("why", session_id)["verdict"] is None


def test_without_an_id_it_is_the_run_that_was_stopped_last(run, made, stopped):
    session_id, _, _ = stopped
    made.session(1)
    assert f"read in session {session_id[-8:]}, " in run("why").stdout


@pytest.mark.parametrize(
    ("asked", "said"),
    [("call_0", "No call call_0."), ("nothing", "No session 'nothing'"), (None, "No session has made a step yet.")],
)
def test_what_is_not_there_is_told(run, home, asked, said):
    done = run("why", *([] if asked is None else [asked]))
    assert (done.exit_code, said in done.stderr) == (3, True)


def test_a_session_without_a_step_has_no_decision(run, made):
    session_id = made.session(1)
    assert "has made no step yet" in run("why", session_id).stderr
    assert run("why", "a", "b").exit_code == USAGE
