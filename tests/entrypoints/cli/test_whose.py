"""Commands that loosen, run by an agent: refused on the user's own ledger, and nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallygate.core.authority import FREE, Loosening
from tallygate.entrypoints.cli import whose
from tallygate.settings import UserPlaces


@pytest.fixture
def as_agent(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process is beneath an agent, and this home is the account's own."""
    own = UserPlaces(home, home / ".config" / "tallygate", home / ".local" / "share" / "tallygate")
    monkeypatch.setattr(whose, "own_places", lambda: own)
    monkeypatch.setenv("CLAUDECODE", "1")
    return home


REFUSED = [
    ["budget", "raise", "SESSION", "100"],
    ["budget", "set", "SESSION", "100"],
    ["sessions", "end", "SESSION"],
    ["off", "--for", "1h"],
    ["calibrate", "reset", "--yes"],
    ["calibrate", "rebuild"],
    ["keys", "rotate"],
    ["doctor", "--rebuild"],
    ["init", "--client", "codex"],
    ["uninstall"],
    ["dashboard"],
    ["dashboard", "--demo"],
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


CLIENT_FILES = [["init", "--client", "claude-code"], ["uninstall"]]


@pytest.fixture
def with_claude(run, as_agent, monkeypatch):
    """The user has put the gate into Claude Code; answers with what its files hold."""
    monkeypatch.delenv("CLAUDECODE")
    assert run("init", "--client", "claude-code").exit_code == 0
    monkeypatch.setenv("CLAUDECODE", "1")
    files = [as_agent / ".claude.json", as_agent / ".claude" / "settings.json", as_agent / ".claude" / "CLAUDE.md"]
    return lambda: [file.read_bytes() for file in files]


MOVED = {
    "another ledger's folder": {"TALLYGATE_HOME": "x"},
    "another data folder": {"XDG_DATA_HOME": "x"},
    "other folders for data and settings": {"XDG_DATA_HOME": "x", "XDG_CONFIG_HOME": "x"},
    "the home in other letters": {"HOME": "home/", "XDG_DATA_HOME": "x"},
    "the home by a way around": {"HOME": "home/x/..", "TALLYGATE_HOME": "x"},
    "the home behind a link": {"HOME": "link", "TALLYGATE_HOME": "x"},
    "no home": {"HOME": "", "TALLYGATE_HOME": "x", "CLAUDE_CONFIG_DIR": "home/.claude"},
    "a home around the account's": {"HOME": "home/..", "TALLYGATE_HOME": "x", "CLAUDE_CONFIG_DIR": "home/.claude"},
    "a made-up home, and the client's own folder": {"HOME": "made-up", "CLAUDE_CONFIG_DIR": "home/.claude"},
    "the client's own folder for a home": {"HOME": "home/.claude", "CLAUDE_CONFIG_DIR": "home/.claude"},
}


@pytest.mark.parametrize("words", CLIENT_FILES, ids=lambda words: words[0])
@pytest.mark.parametrize("moved", MOVED.values(), ids=MOVED)
def test_no_variable_gives_the_users_client_away(run, as_agent, with_claude, monkeypatch, tmp_path, words, moved):
    before = with_claude()
    places = {"home": as_agent, "link": tmp_path / "link", "made-up": tmp_path / "made-up", "x": tmp_path / "x"}
    places["link"].symlink_to(as_agent)
    (as_agent / "x").mkdir()
    places["made-up"].mkdir()
    for name, value in moved.items():
        first, slash, rest = value.partition("/")
        monkeypatch.setenv(name, f"{places[first]}{slash}{rest}" if value else "")
        if name == "HOME" and "XDG_DATA_HOME" not in moved:
            monkeypatch.delenv("XDG_DATA_HOME")
            monkeypatch.delenv("XDG_CONFIG_HOME")
    done = run(*words)
    assert done.exit_code == 7, done.stderr
    assert "nothing was changed" in done.stderr
    assert with_claude() == before
    assert not places["x"].exists()


@pytest.mark.parametrize("words", CLIENT_FILES, ids=lambda words: words[0])
def test_where_the_account_has_another_home_what_was_installed_in_this_one_is_the_users(
    run, with_claude, monkeypatch, tmp_path, words
):
    before = with_claude()
    elsewhere = tmp_path / "root"
    own = UserPlaces(elsewhere, elsewhere / ".config" / "tallygate", elsewhere / ".local" / "share" / "tallygate")
    monkeypatch.setattr(whose, "own_places", lambda: own)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "x"))
    assert run(*words).exit_code == 7
    assert with_claude() == before


def test_a_made_up_home_is_nobodys_and_an_agent_may_put_the_gate_into_it(run, with_claude, monkeypatch, tmp_path):
    before = with_claude()
    made_up = tmp_path / "made-up"
    made_up.mkdir()
    monkeypatch.setenv("HOME", str(made_up))
    monkeypatch.setenv("TALLYGATE_HOME", str(tmp_path / "x"))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name)
    assert run("init", "--client", "claude-code").exit_code == 0
    assert (made_up / ".claude.json").exists()
    assert with_claude() == before


def test_the_accounts_home_by_another_name_is_the_accounts_home(run, as_agent, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", f"{as_agent}/")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "x"))
    assert run("calibrate", "rebuild").exit_code == 7


@pytest.mark.parametrize(
    ("content", "is_other"),
    [
        ('["serve", "--places", "/x/init/places.conf"]', False),
        ('{"command": "p --event Stop --places /x/init/places.conf"}', False),
        ("p --places '/x/init/places.conf'", False),
        ('{"model": "a"}', False),
        ('["serve", "--places", "/h/init/places.conf"]', True),
        ('["serve", "--places", "/h/x/init/places.conf"]', True),  # it ends as ours does, and is another
        ('["--places", "/x/init/places.conf", "--places", "/h/init/places.conf"]', True),
    ],
)
def test_entries_for_other_places_are_told_by_their_full_path(content, is_other):
    assert whose.names_other_places(content.encode(), "/x/init/places.conf") is is_other


def test_the_users_keys_are_guarded_beside_another_ledger(run, made, as_agent, monkeypatch, tmp_path):
    made.session()
    monkeypatch.setenv("TALLYGATE_KEY_DIR", str(made.app.settings.paths.key_dir))
    monkeypatch.setenv("TALLYGATE_HOME", str(tmp_path / "x"))
    assert run("keys", "rotate").exit_code == 7
