"""`tallygate history`: what sessions came to here and everywhere, and the jobs that come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.repositories import repository
from tests.transcripts import write_claude

from tallygate import app
from tallygate.core.costing import Tokens
from tallygate.operations.gate.record import UsageReport, record_usage

HOUR = 3_600_000_000


@pytest.fixture
def here(home, monkeypatch):
    """A repository with nine sessions, and another folder with twelve; the last session of all is going on."""
    shop = repository(home / "shop")
    now = datetime.now(UTC)
    for number in range(12):
        at = now - timedelta(days=20 - number)
        write_claude(home, [1], f"other{number}", at=at, cwd="/home/me/other", output=20_000)
        if number < 9:
            write_claude(home, [1], f"shop{number}", at=at, cwd=str(shop), output=1000 * (number + 1))
    write_claude(home, [1], "now", at=now - timedelta(minutes=5), cwd=str(shop), output=900_000)
    monkeypatch.chdir(shop)
    return shop


def test_nothing_is_said_of_nine_sessions(run, run_json, here):
    shown = run("history").stdout
    assert shown == (
        f"9 sessions of {here} have ended. From 10 on this says what they come to.\n"
        "`tallygate history --all` tells of all projects.\n"
    )
    found = run_json("history")
    assert (found["project"], found["projects"], found["jobs"]) == (str(here), [], [])
    assert found["sessions"] == {
        "ended": 9, "of_last": 9, "half_below": None, "nine_in_ten_below": None, "three_in_four": None,
    }  # fmt: skip


def test_ten_sessions_say_what_half_and_nine_in_ten_stay_below(run, home, here):
    write_claude(home, [1], "shop9", at=datetime.now(UTC) - timedelta(days=1), cwd=str(here / "below"), output=10_000)
    # $25 a million of output, and a little for the input: the sixth and the tenth of them.
    assert run("history").stdout == f"Sessions of {here}: half end below $0.15, 9 in 10 below $0.25 (last 10).\n"


def test_all_projects_are_told_together_and_each(run, run_json, here):
    head, *rest = run("history", "--all").stdout.splitlines()
    assert head.startswith("Sessions of all projects: half end below $0.50, 9 in 10 below $0.50 (last 21).")
    assert [line.split() for line in rest if "other" in line] == [["/home/me/other", "12", "$0.50", "$0.50"]]
    assert f"below 10 sessions, and so in all projects alone: {here}." in run("history", "--all").stderr
    found = run_json("history", "--all")
    assert found["project"] is None
    assert [(each["project"], each["of_last"]) for each in found["projects"]] == [("/home/me/other", 12)]


def test_another_project_is_named_by_the_end_of_its_path(run, run_json, here):
    assert run_json("history", "--project", "other")["sessions"]["of_last"] == 12
    assert run("history", "--project", "other", "--all").exit_code == 2


def test_nothing_at_all_is_said_so(run):
    assert run("history").stdout.endswith(" has ended yet.\n")
    assert "9 in 10" not in run("history").stdout


def test_a_range_is_told_with_how_often_it_has_held(run, run_json, home, here):
    now = datetime.now(UTC)
    for number in range(31):
        at = now - timedelta(hours=60 - number)
        write_claude(home, [1], f"more{number}", at=at, cwd=str(here), output=10_000 + 100 * (number % 7))
    shown = run("history").stdout.splitlines()
    held = run_json("history")["sessions"]["three_in_four"]
    assert (held["tried"], held["fell"]) == (20, 17)
    assert shown[1] == "$0.13 to $0.26; 17 of the last 20 fell in such a range."


def ten_sessions_for(made, monkeypatch, summary):
    """Sessions that one job was done in, two hours ago as the next command sees it."""
    for number in range(10):
        session = made.session(task_summary=summary(number))
        call = made.call(session, tool_name="work")
        record_usage(made.app.runtime, UsageReport(call, Tokens(fresh_input=8_000, output=400)))
        made.end(session)
    monkeypatch.setattr(app, "clock_us", lambda: made.app.runtime.services.clock_us() + 2 * HOUR)


def test_what_agents_came_for_again_and_again_is_a_job(run, run_json, made, monkeypatch):
    ten_sessions_for(made, monkeypatch, lambda number: f"Nightly{' ' * (10 - number)}triage")
    (job,) = run_json("history", "--all")["jobs"]
    assert (job["job"], job["client"], job["of_last"], job["three_in_four"]) == ("Nightly triage", "test", 10, None)
    assert "Nightly triage" in run("history", "--all").stdout


def test_what_an_agent_calls_its_job_does_nothing_to_the_terminal(run, made, monkeypatch):
    ten_sessions_for(made, monkeypatch, lambda _: "clear\x1b[2J it")
    shown = run("history", "--all").stdout
    assert "clear" in shown
    assert "\x1b[2J" not in shown
