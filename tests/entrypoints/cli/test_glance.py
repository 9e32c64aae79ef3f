"""`tallygate` alone at a terminal: what was spent lately, and the next step; nothing but the cache is written."""

from __future__ import annotations

import re

import pytest
from tests.entrypoints.cli.test_init import content, worked
from tests.transcripts import write_claude

from tallygate.core.costing import Tokens
from tallygate.core.proposals import is_due
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.usage import sync as syncing


@pytest.fixture
def terminal(monkeypatch):
    """Somebody types, and no program is at the other end."""
    monkeypatch.setattr("tallygate.entrypoints.cli.main.is_typed", lambda: True)


@pytest.fixture
def on_the_28th(monkeypatch):
    monkeypatch.setattr("tallygate.app.clock_us", lambda: 1_774_706_400 * 10**6)


def test_it_tells_what_was_spent_today_this_week_and_this_month(run, home, terminal, on_the_28th):
    worked(home, *[1] * 27, 2)
    before = content(home)
    lines = run().stdout.splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["today", "$3.00", "claude-opus-4-1", "$3.00"],
        ["this", "week", "$10.50", "claude-opus-4-1", "$10.50"],
        ["this", "month", "$43.50", "claude-opus-4-1", "$43.50"],
    ]
    assert "Days are those of" in lines[5]
    assert "Nothing stops your agents yet. " in lines[6]
    assert " init` proposes limits" in lines[6]
    assert content(home) == before


def test_in_an_empty_home_it_says_where_it_looked_and_what_to_do(run, home, terminal):
    told = run().stdout
    assert "today       $0.00" in told
    assert "Looked for what Claude Code, Codex, " in told
    assert "and found nothing." in told
    assert " init` proposes limits" in told
    assert content(home) == {}


def test_an_empty_month_names_the_last_time(run, home, terminal, monkeypatch):
    worked(home, 1)
    monkeypatch.setattr("tallygate.app.clock_us", lambda: 1_780_000_000 * 10**6)
    assert "Nothing was used this month; the last time was 2026-03-01 12:00." in run().stdout


def test_once_it_is_set_up_it_reads_the_ledger_and_names_the_limits_command(run, home, terminal, on_the_28th):
    (home / ".claude").mkdir()
    worked(home, 2)
    run("init", "--client", "claude-code")
    told = run().stdout
    assert "this month  $3.00" in told
    assert " status` shows what is left of your limits" in told
    assert not (home / ".cache" / "tallygate" / "first-look").exists()


def test_a_pipe_is_served_as_before(spawn):
    ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
    assert spawn(input_=ping).stdout == '{"jsonrpc":"2.0","id":1,"result":{}}\n'


def test_status_begins_with_what_was_spent_and_the_limits_it_counts_against(run, run_json, home, on_the_28th):
    (home / ".claude").mkdir()
    worked(home, 2)
    run("init", "--client", "claude-code", "--day-limit", "20")
    told = run("status").stdout
    assert told.splitlines()[0].split() == ["SPENT", "COST", "MODELS"]
    assert "Limit: $15.00 a session.\n" in told
    assert "Limit: $20.00 a day: $0.00 spent, $20.00 left.\n" in told, "nothing was spent on this day"
    assert told.index("this month") < told.index("No open sessions")
    assert "ledger" not in told
    assert run("status", "-v").stdout.startswith(told)
    found = run_json("status")
    assert found["spent"]["this_month"]["cost"] == 3.0
    assert found["proposed_session_limit"] is None


def test_status_names_init_where_no_client_is_set_up(run, home):
    assert "Nothing stops your agents yet. " in run("status").stderr


@pytest.mark.parametrize(
    ("ended", "stopped", "due"),
    [(19, 19, False), (20, 0, True), (29, 0, True), (30, 3, False), (30, 4, True), (50, 0, True), (60, 0, False)],
)
def test_a_limit_is_looked_at_again_after_20_and_50_sessions_and_where_many_were_stopped(ended, stopped, due):
    assert is_due(ended, stopped) is due


def test_status_proposes_another_limit_where_many_of_the_last_sessions_were_stopped(run, home, made):
    worked(home, *[1] * 27)
    config = home / ".config" / "tallygate" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[[budget]]\nscope = "session"\nlimit_usd = 1.00\n')
    for number in range(20):
        session_id = made.session(1)
        if number % 4 == 0:
            made.call(session_id, prompt=900_000, tool_name="read")
        made.end(session_id)
    told = run("status").stderr
    assert (
        "5 of the last 20 sessions were stopped at $1.00. $2.00 a session would have stopped none of your last" in told
    )
    assert f"It is set in {config}." in told


def test_what_is_approximate_and_what_is_assumed_is_told_apart(run, home, terminal, monkeypatch):
    write_claude(home, [1], model="claude-sonnet-6")
    write_claude(home, [2], session="s2", model="zz-9")
    monkeypatch.setattr("tallygate.app.clock_us", lambda: 1_772_370_000 * 10**6)
    [today, *_] = [line for line in run().stdout.splitlines() if line.startswith("today")]
    assert re.search(r"\(of it \$0\.\d+ at approximate prices and \$0\.\d+ at assumed prices\)", today)


def test_spent_today_is_what_a_budget_of_the_day_counts_also_what_agents_reported_themselves(
    run, run_json, home, terminal, on_the_28th, request
):
    worked(home, *[1] * 27, 2)
    file = home / ".config" / "tallygate" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('[[budget]]\nscope = "user"\nperiod = "day"\nlimit_usd = 20\n')
    run("sync")
    made = request.getfixturevalue("made")  # by the settings that are there now
    session = made.session(5)
    done = made.call(session, tool_name="plan")
    record_usage(made.app.runtime, UsageReport(done, Tokens(fresh_input=8_000, output=400)))
    made.call(session, tool_name="edit")
    spent = run_json("status")["spent"]
    (day,) = [each for each in run_json("budget", "list")["budgets"] if each["period"] == "day"]
    assert day["reserved"] > 0, "the step that is not reported yet"
    assert day["spent"] > 3.0
    assert [spent[when]["cost"] for when in ("today", "this_week", "this_month")] == [
        pytest.approx(day["spent"] + before) for before in (0, 7.50, 40.50)
    ]
    assert spent["today"]["fresh_input_tokens"] >= 8_000
    shown = run().stdout.splitlines()[1].split()
    assert shown[:4] == ["today", f"${day['spent']:.2f}", "claude-opus-4-1", "$3.00,"]
    assert len(shown) == 6, "and the model that was reported"


def test_a_ledger_that_is_gone_is_missed_here_too(run, home, terminal):
    (home / ".claude").mkdir()
    run("init", "--client", "claude-code")
    for file in (home / ".local" / "share" / "tallygate").glob("ledger.db*"):
        file.unlink()
    done = run()
    assert done.exit_code == 5
    assert "tallygate ledger accept" in done.stderr
    assert not (home / ".cache" / "tallygate" / "first-look").exists()


@pytest.mark.parametrize("command", [("sync",), ("status",), ("init", "--client", "claude-code", "--yes")])
def test_whatever_makes_the_ledger_takes_over_what_was_read_before(run, run_json, home, monkeypatch, command):
    (home / ".claude").mkdir()
    worked(home, 1, 2)
    total = run_json("usage")["total"]
    assert not (home / "data").exists()
    taken = []
    real = syncing.batches_of
    monkeypatch.setattr(syncing, "batches_of", lambda *given: taken.append(real(*given)) or taken[-1])
    run(*command)
    assert any(taken)
    assert run_json("usage")["total"] == total


def test_hooks_that_wait_for_trust_are_named_on_the_first_screen(run, home, terminal, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    (home / ".codex").mkdir()
    assert "until you trust them" not in run().stdout
    run("init", "--limit", "4")
    shown = run().stdout
    assert "Codex skips the hooks of Tallygate until you trust them" in shown
    assert "open /hooks and trust the hooks of Tallygate." in shown


def test_before_there_is_a_ledger_the_status_line_says_that_nothing_is_counted_yet(run, home):
    said = run("statusline").stdout
    assert said.startswith("tallygate: Nothing is counted yet: the ledger ")
    assert "does not exist" in said
    assert "hook" not in said
