"""Commands that loosen, run by an agent: refused on the user's own ledger, and nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallygate.core.authority import FREE, Loosening
from tallygate.entrypoints.cli import whose
from tallygate.settings import Places


@pytest.fixture
def as_agent(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process is beneath an agent, and this home is the account's own."""
    own = Places(home, home / ".config" / "tallygate", home / ".local" / "share" / "tallygate")
    monkeypatch.setattr(whose, "own_places", lambda: own)
    monkeypatch.setenv("CLAUDECODE", "1")
    return home


REFUSED = [
    ["budget", "raise", "SESSION", "100"],
    ["budget", "set", "SESSION", "100"],
    ["sessions", "end", "SESSION"],
    ["calibrate", "reset", "--yes"],
    ["calibrate", "rebuild"],
    ["keys", "rotate"],
    ["doctor", "--rebuild"],
    ["init", "--client", "codex"],
    ["uninstall"],
]


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: " ".join(words[:2]))
def test_an_agent_is_refused_with_its_name_and_the_way_out(run, made, as_agent, words):
    session = made.session()
    before = [*made.app.ledger.rows("SELECT COUNT(*) FROM event")]
    done = run(*(session if word == "SESSION" else word for word in words))
    assert done.exit_code == 7
    assert "Claude Code (variable CLAUDECODE)" in done.stderr
    assert "terminal of your own" in done.stderr
    assert [*made.app.ledger.rows("SELECT COUNT(*) FROM event")] == before
    assert not (as_agent / ".codex").exists()


def test_an_agent_may_lower_a_limit_and_read(run, made, as_agent):
    session = made.session(1)
    assert run("budget", "set", session, "0.50").exit_code == 0
    assert run("budget", "list").exit_code == 0
    assert run("init", "--dry-run", "--client", "codex").exit_code == 0
    assert run("uninstall", "--dry-run").exit_code == 0


def test_the_user_raises_as_before(run, made, as_agent, monkeypatch):
    monkeypatch.delenv("CLAUDECODE")
    session = made.session(1)
    assert run("budget", "raise", session, "1").exit_code == 0


def test_variables_that_an_agent_sets_for_its_own_command_lead_to_the_same_refusal(run, made, as_agent, monkeypatch):
    session = made.session(1)
    database = made.app.settings.paths.database
    other = as_agent / "elsewhere"
    other.mkdir()
    monkeypatch.setenv("HOME", str(other))
    monkeypatch.setenv("XDG_DATA_HOME", str(other))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(other))
    link = other / "linked.db"
    link.symlink_to(database)
    # A ledger behind a link is not opened at all.
    for place, code in ((database, 7), (link, 5)):
        monkeypatch.setenv("TALLYGATE_DB", str(place))
        assert run("budget", "raise", session, "1").exit_code == code


def test_a_ledger_that_is_nobodys_is_free(run, as_agent, monkeypatch, tmp_path):
    monkeypatch.setenv("TALLYGATE_HOME", str(tmp_path / "trial"))
    assert "No budget" in run("budget", "raise", "nothing", "1").stderr


def test_a_ledger_beside_which_clients_were_installed_is_guarded(run, as_agent, monkeypatch, tmp_path):
    place = tmp_path / "mine"
    (place / "init").mkdir(parents=True)
    (place / "init" / "manifest.json").write_text("{}")
    monkeypatch.setenv("TALLYGATE_HOME", str(place))
    assert run("calibrate", "rebuild").exit_code == 7


def test_the_users_own_file_leaves_single_commands_to_agents_and_a_variable_does_not(run, made, as_agent, monkeypatch):
    session = made.session(1)
    text = '[enforcement]\nagents_may = ["sessions end"]\n'
    elsewhere = as_agent / "agents.toml"
    elsewhere.write_text(text)
    monkeypatch.setenv("TALLYGATE_CONFIG", str(elsewhere))
    assert run("sessions", "end", session).exit_code == 7
    monkeypatch.delenv("TALLYGATE_CONFIG")
    own = as_agent / ".config" / "tallygate" / "config.toml"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(text)
    assert run("sessions", "end", session).exit_code == 0
    assert run("budget", "raise", session, "1").exit_code == 7
    assert "sessions end" in run("doctor").stdout


def test_a_project_cannot_leave_anything_to_agents(run, made, as_agent, monkeypatch):
    session = made.session(1)
    place = as_agent / "work" / ".l6e"
    place.mkdir(parents=True)
    (place / "config.toml").write_text('[enforcement]\nagents_may = ["budget raise"]\n')
    monkeypatch.chdir(place.parent)
    assert run("budget", "raise", session, "1").exit_code == 7


def test_no_command_is_both_free_and_the_users():
    assert not set(FREE) & {each.value for each in Loosening}
