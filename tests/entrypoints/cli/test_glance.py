"""`tallygate` alone at a terminal: what was spent lately, and the next step; nothing but the cache is written."""

from __future__ import annotations

import pytest
from tests.entrypoints.cli.test_init import content, worked


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


def test_a_pipe_is_served_as_before(run, home):
    assert "today" not in run().stdout
