"""`tallygate budget`: the only way to change what may be spent."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.transcripts import write_claude

from tallygate.clients.client import command_line, runnable
from tallygate.core.costing import Tokens
from tallygate.core.plan import PlanRule, PlanSource, PlanStanding, PlanWindow
from tallygate.entrypoints.cli.plans import say_plans
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.gate.record import CallReport, UsageReport, record_call, record_usage
from tallygate.operations.sessions.opening import BudgetWanted, start_budget
from tallygate.operations.usage.ingest import link_session

RULES = """
[[budget]]
scope = "project"
period = "day"
limit_usd = 20
[[budget]]
scope = "session"
limit_tokens = 5000
[[budget]]
scope = "global"
period = "never"
limit_calls = 2
"""


def limits(run_json):
    return {each["budget_id"]: each["limit"] for each in run_json("budget", "list")["budgets"]}


def test_a_ledger_without_budgets_says_so(run, run_json):
    assert run("budget", "list").stdout.startswith("No budgets yet")
    assert run_json("budget", "list") == {
        "budgets": [],
        "bound_nothing": [],
        "settings_limits": [],
        "plan_limits": [],
    }


def test_before_the_first_session_the_budgets_of_the_settings_are_told(run, home):
    place = home / ".config" / "tallygate"
    place.mkdir(parents=True)
    (place / "config.toml").write_text(
        'time_zone = "Europe/Paris"\n'
        '[[budget]]\nscope = "session"\nlimit_usd = 5\n'
        '[[budget]]\nscope = "user"\nperiod = "day"\nlimit_usd = 20\n'
        '[[budget]]\nscope = "user"\nperiod = "never"\nlimit_tokens = 10\n'
    )
    told = run("budget", "list").stdout
    assert told.startswith("The next session begins these:\n")
    assert "Limit: " not in told, "each limit is listed once"
    assert [line.split() for line in told.splitlines()[-3:]] == [
        ["session", "$5.00", "a", "session", "-"],
        ["day", "$20.00", "a", "day", "$0.00", "spent,", "$20.00", "left"],
        ["never-tokens", "10", "tokens", "in", "all", "0", "tokens", "spent,", "10", "tokens", "left"],
    ]


def test_a_limit_that_is_set_to_what_it_was_is_no_change(run, run_json, made):
    session_id = made.session()
    assert run("budget", "set", session_id, "1.00").exit_code == 0
    assert "set from" not in run("budget", "list").stdout
    assert "set from" not in run("status").stdout
    run("budget", "set", session_id, "2.00")
    assert run("budget", "list").stdout.count(" from ") == 1


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
    assert (result.exit_code, result.stdout) == (0, f"{session_id[-8:]}: the limit is $1.50 now, $1.50 left.\n")
    assert limits(run_json) == {session_id: 1.5}


def test_the_command_of_a_halt_can_be_run_as_it_stands(run, made):
    session_id = made.session(1)
    step = StatedStep(session_id=session_id, prompt_tokens=900_000, completion_tokens=1_000, tool_name="read")
    refused = authorize(made.app.runtime, step)
    assert refused.message.endswith(refused.command), "nothing follows that a copy would catch"
    # As the ways in print it, also where no PATH has the program.
    words = shlex.split(runnable(refused.command, command_line(os.environ, sys.executable)))
    program, command = words[: words.index("budget")], words[words.index("budget") :]
    assert subprocess.run([*program, "--version"], capture_output=True, check=False).returncode == 0
    assert run(*command).exit_code == 0
    assert authorize(made.app.runtime, step).call_id


def test_setting_gives_another_limit_also_below_what_is_spent(run, run_json, made):
    session_id = made.worked()
    result = run("budget", "set", session_id, "0.10", "--reason", "enough")
    assert (result.exit_code, "the limit is $0.10 now, $0.00 left ($" in result.stdout) == (0, True)
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


@pytest.fixture
def ruled(home: Path):
    """Budgets of the settings: a project's day, tokens for each session, calls for everything."""
    (home / "shop" / ".l6e").mkdir(parents=True)
    (home / "shop" / ".l6e" / "config.toml").write_text(RULES)


@pytest.fixture
def there(ruled, home, monkeypatch):
    monkeypatch.chdir(home / "shop")


def named(run_json, part):
    return next(each for each in run_json("budget", "list")["budgets"] if part in each["budget_id"])


def test_budgets_of_tokens_and_calls_take_whole_numbers(there, run, run_json, made):
    session_id = made.session(5)
    assert made.call(session_id, prompt=4000, output=1000, tool_name="plan") != ""
    assert made.call(session_id, prompt=1, output=0, tool_name="plan") == ""
    for amount in ("1.5", "0", "-3", "many", "1e3"):
        assert run("budget", "raise", f"{session_id}:tokens", amount).exit_code == 2
    result = run("budget", "raise", f"{session_id}:tokens", "1_000")
    assert result.stdout == f"{session_id[-8:]}:tokens: the limit is 6,000 tokens now, 1,000 tokens left.\n"
    assert run("budget", "set", "global:all:never:calls", "7").stdout.endswith(
        "the limit is 7 calls now, 6 calls left.\n"
    )
    assert named(run_json, ":calls")["limit"] == 7


def test_a_budget_of_the_settings_is_raised_by_its_whole_id(there, run, run_json, made, home):
    made.call(made.session(5), prompt=100, output=0, tool_name="plan")
    window = named(run_json, "project:")["budget_id"]
    assert (str(home / "shop") in window, ":day:" in window) == (True, True)
    assert run("budget", "raise", window, "2.50").exit_code == 0
    assert named(run_json, "project:")["limit"] == 22.5


def test_a_list_shows_when_windows_are_renewed(there, run, run_json, made):
    made.call(made.session(5), prompt=100, output=0, tool_name="plan")
    head = run("budget", "list").stdout.splitlines()[0].split()
    assert head == [
        "BUDGET",
        "SCOPE",
        "PERIOD",
        "RESETS",
        "(UTC)",
        "MODE",
        "LIMIT",
        "SPENT",
        "RESERVED",
        "LEFT",
        "USED",
    ]
    assert named(run_json, "project:")["resets_at"].endswith("T00:00:00.000Z")


# What is booked   estimate   exit code   reason
CHECKS = [
    (0, None, 0, "within_budget"),
    (0, "1.00", 0, "within_budget"),
    (0, "1.01", 8, "estimated_overage"),
    (160_000, None, 0, "within_budget"),
    (160_000, "0.30", 8, "estimated_overage"),
    (200_000, None, 8, "budget_exhausted"),
    (900_000, "0", 8, "budget_exhausted"),
]


@pytest.mark.parametrize("tokens, estimate, code, reason", CHECKS)
def test_a_check_leaves_with_eight_where_the_session_may_not_go_on(run, made, tokens, estimate, code, reason):
    session_id = made.session(1)
    record_call(made.app.runtime, CallReport(session_id, "claude-opus-4.7", Tokens(fresh_input=tokens)))
    asked = [] if estimate is None else ["--estimate", estimate]
    result = run("budget", "check", session_id[-8:], *asked)
    assert (result.exit_code, result.stdout.split(":")[0]) == (code, reason)
    assert ("tallygate budget raise" in result.stdout) == (code == 8)
    shown = json.loads(run("budget", "check", session_id, *asked, "--json").stdout)
    assert (shown["allowed"], shown["reason"], shown["currency"]) == (code == 0, reason, "USD")
    assert (shown["budget"] is None) == (code == 0)


@pytest.mark.parametrize("arguments, code", [(("nobody-has-this",), 3), (("x" * 9, "--estimate", "-1"), 2), ((), 2)])
def test_a_check_that_cannot_be_made_is_no_verdict(run, made, arguments, code):
    result = run("budget", "check", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")


def test_a_session_in_pounds_is_checked_and_raised_in_pounds(run, made):
    wanted = BudgetWanted(10**9, "GBP", "work")
    start_budget(made.app.runtime, wanted)
    assert run("budget", "check", "work", "--estimate", "1.00").stdout == "within_budget: £1.00 left, 0.0 % used.\n"
    assert run("budget", "raise", "work", "0.50").stdout == "work: the limit is £1.50 now, £1.50 left.\n"


def test_a_tenants_budgets_are_apart(run, run_json, made):
    start_budget(made.app.runtime, BudgetWanted(10**9, "GBP", "work", tenant="acme"))
    assert run_json("budget", "list")["budgets"] == []
    assert [each["budget_id"] for each in run_json("budget", "list", "--tenant", "acme")["budgets"]] == ["work"]
    assert run("budget", "check", "work").exit_code == 0
    assert run("budget", "raise", "work", "1").exit_code == 0
    assert run("budget", "raise", "work", "1", "--tenant", "acme").exit_code == 0
    assert run("budget", "raise", "work", "1", "--tenant", "zeta").exit_code == 3
    assert run("budget", "raise", "work", "1", "--tenant", "a/b").exit_code == 2
    assert run_json("budget", "list", "--tenant", "acme")["budgets"][0]["limit"] == 3.0


TIGHT = """
[[budget]]
scope = "project"
period = "day"
limit_usd = 2
[[budget]]
scope = "global"
period = "day"
limit_usd = 1
mode = "soft"
"""


@pytest.fixture
def tight(home, monkeypatch):
    (home / "shop" / ".l6e").mkdir(parents=True)
    (home / "shop" / ".l6e" / "config.toml").write_text(TIGHT)
    monkeypatch.chdir(home / "shop")


def test_a_raise_names_another_hard_budget_that_leaves_less(tight, run, run_json, made):
    session_id = made.session(1)
    made.call(session_id, prompt=100_000, output=0, tool_name="plan")
    said = run("budget", "raise", session_id, "3").stdout
    assert said.startswith(f"{session_id[-8:]}: the limit is $4.00 now, $3.50 left, but the budget of project ")
    assert said.endswith(" (day) leaves $1.50.\n")
    raised = run("budget", "raise", named(run_json, "project")["budget_id"], "5").stdout
    assert raised.endswith(
        f"the limit is $7.00 now, $6.50 left, but the budget of session {session_id[-8:]} leaves $3.50.\n"
    )


def test_a_raise_says_nothing_of_budgets_that_leave_more(tight, run, made):
    session_id = made.session(1)
    made.call(session_id, prompt=1000, output=0, tool_name="plan")
    assert "but" not in run("budget", "raise", session_id, "0.25").stdout


def test_a_check_of_a_session_that_has_ended_says_that_and_what_is_left(run, made):
    session_id = made.worked()
    made.end(session_id)
    result = run("budget", "check", session_id)
    ended = (
        f"Session {session_id[-8:]} has ended ($0.88 left, 12.5 % used): it takes no more calls unless its client "
        "resumes it.\n"
    )
    assert (result.exit_code, result.stdout) == (8, ended)


def test_raising_the_budget_of_a_session_that_has_ended_says_so(run, made):
    session_id = made.session(1)
    assert "has ended" not in run("budget", "raise", session_id, "1").stdout
    made.end(session_id)
    said = run("budget", "raise", session_id, "1").stdout
    assert said == (
        f"{session_id[-8:]}: the limit is $3.00 now, $3.00 left. The session has ended. "
        "To go on, resume it in its client.\n"
    )


@pytest.mark.parametrize(
    ("client", "theirs", "spent", "goes_on"),
    [
        ("codex", "019a-b", False, "To go on: codex resume 019a-b"),
        ("claude_code", "0dbce46f-1", True, "To go on: claude --resume 0dbce46f-1"),
        ("claude_code", "0dbce46f-1", False, "It never began, so there is nothing to resume: start it again in Claude"),
        ("gemini", "$(any)", False, "To go on: gemini --resume latest"),
        ("copilot", "a1", False, "To go on: copilot --resume=a1"),
        ("codex", "a;reboot", False, "To go on, resume it in its client."),
        ("codex", "--last", False, "To go on, resume it in its client."),
        ("droid", "a1", False, "To go on, resume it in its client."),
        ("other", "a1", False, "To go on, resume it in its client."),
    ],
)
def test_after_the_raise_of_an_ended_session_its_clients_own_command_goes_on(
    run, made, home, client, theirs, spent, goes_on
):
    session_id = made.session(1)
    link_session(made.app.runtime, client, theirs, session_id)
    if spent:
        write_claude(home, [1], session=theirs, at=datetime.now(UTC))
        run("sync")
    made.end(session_id)
    assert f"The session has ended. {goes_on}" in run("budget", "raise", session_id, "1").stdout


def test_a_run_whose_work_was_done_inside_of_it_has_begun(run, made, home):
    session_id = made.session(1)
    link_session(made.app.runtime, "claude_code", "0dbce46f-1", session_id)
    inner = made.session(1, parent_session_id=session_id)
    record_usage(made.app.runtime, UsageReport(made.call(inner, tool_name="edit"), Tokens(fresh_input=1000)))
    made.end(inner)
    made.end(session_id)
    assert "To go on: claude --resume 0dbce46f-1" in run("budget", "raise", session_id, "1").stdout


def test_a_limit_s_name_raises_the_budget_that_runs_for_it_or_says_what_does(run, run_json, made, home):
    place = home / ".config" / "tallygate"
    place.mkdir(parents=True)
    (place / "config.toml").write_text(
        '[[budget]]\nscope = "session"\nlimit_usd = 5\n[[budget]]\nscope = "user"\nperiod = "day"\nlimit_usd = 20\n'
    )
    refused = run("budget", "raise", "day", "5")
    assert refused.exit_code == 3
    assert "No budget of day runs yet. `tallygate budget set day AMOUNT`" in refused.stderr.replace("\n", " ")
    assert "sessions list" in run("budget", "raise", "session", "5").stderr


def test_a_session_that_has_only_asked_is_listed_with_the_model_that_it_asked_for(run, made):
    session_id = made.session(1, model="unknown")
    step = StatedStep(session_id=session_id, prompt_tokens=10, completion_tokens=1, tool_name="read", model="cheap")
    authorize(made.app.runtime, step)
    assert "cheap" in run("sessions", "list").stdout


@pytest.mark.parametrize(("used", "is_told"), [(1_200, True), (900, False)])
def test_a_limit_on_a_plan_that_is_reached_says_that_its_client_is_stopped(capsys, used, is_told):
    told = PlanWindow("claude-code", "", 10_080, used, 0, None, PlanSource.STATUS_LINE)
    say_plans([PlanStanding(PlanRule(10_080, 10), "claude-code", told, is_known=True)], "UTC")
    assert ("claude-code is stopped, the limit on its weekly window is reached." in capsys.readouterr().out) is is_told
