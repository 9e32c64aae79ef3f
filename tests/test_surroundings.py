"""Clients of one process beside one another: each goes by what is around it, not by what is around the process."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from tests.transcripts import write_claude

from tallygate.app import Start, compose, go_by, settings_here, started
from tallygate.core.errors import SettingsError
from tallygate.entrypoints.cli.main import tallygate as command_line
from tallygate.entrypoints.cli.program import Program
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.settings import places
from tallygate.surroundings import Surroundings, around_here

SESSION = "0b5c9d9e-0000-4000-8000-000000000001"


def client(base: Path, *, limit: int, zone: str) -> Start:
    """A client with a home and a project of its own, of which the process knows nothing."""
    project = base / "shop"
    (project / ".git").mkdir(parents=True)
    (base / ".config" / "tallygate").mkdir(parents=True)
    (base / ".config" / "tallygate" / "config.toml").write_text(
        f'time_zone = "{zone}"\n[[budget]]\nscope = "project"\nlimit_usd = {limit}\nperiod = "never"\n'
    )
    around = Surroundings({"HOME": str(base), "TZ": "UTC", "TALLYGATE_TELEMETRY": "off"}, project, base)
    return Start(around, places(around), (around.environ,))


def ask(app, start, folder):
    """One prompt in a folder of the client, whose transcript lies where its own home says."""
    raw = {"session_id": SESSION, "hook_event_name": "UserPromptSubmit", "cwd": str(folder), "prompt_id": "p"}
    file = write_claude(start.around.home, [], SESSION)
    return HookDispatcher(app.runtime_for).answer(
        "claude_code", None, {**raw, "prompt": "go", "transcript_path": str(file)}
    )


def budgets(app):
    with app.ledger.reading() as reader:
        return {(budget.scope, budget.scope_key, budget.limit) for budget in reader.budgets(9)}


def test_two_clients_of_one_process_each_go_by_their_own_home_folder_and_variables(tmp_path, monkeypatch):
    starts = [
        client(tmp_path / name, limit=limit, zone=zone)
        for name, limit, zone in (("a", 3, "Asia/Tokyo"), ("b", 7, "UTC"))
    ]
    monkeypatch.setenv("TALLYGATE_HOME", str(tmp_path / "of-the-process"))
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.chdir(tmp_path)
    apps = [compose(settings_here(start=start), by="test", start=start).for_hooks() for start in starts]
    for _ in range(2):
        for app, start in zip(apps, starts, strict=True):
            below = start.around.folder / "api"
            below.mkdir(exist_ok=True)
            ask(app, start, below)
    assert [app.runtime.workspace.zone for app in apps] == ["Asia/Tokyo", "UTC"]
    for app, start, limit in zip(apps, starts, (3, 7), strict=True):
        assert app.settings.paths.database == start.around.home / ".local/share/tallygate/ledger.db"
        projects = [each for each in budgets(app) if each[0] == "project"]
        assert {each[1:] for each in projects} == {(str(start.around.folder), limit * 10**9)}
        assert str(start.around.home) in str(app.runtime.workspace.guarded())
        app.close()
    assert not (tmp_path / "of-the-process").exists()
    assert not (tmp_path / "nobody").exists()


def test_a_workspace_is_read_with_the_variables_of_its_own_client(tmp_path, monkeypatch):
    start = client(tmp_path / "a", limit=3, zone="UTC")
    app = compose(settings_here(start=start), by="test", start=start)
    monkeypatch.setenv("TALLYGATE_SESSION_BUDGET_USD", "1")
    other = tmp_path / "a" / "other"
    (other / ".git").mkdir(parents=True)
    with closing(app):
        assert app.runtime_for(other).workspace.project == str(other)
        assert (
            app.runtime_for(other).workspace.session_limit_nanos == app.runtime.workspace.session_limit_nanos != 10**9
        )


def test_an_installed_command_hands_on_its_places_and_leaves_none_behind(home, monkeypatch):
    monkeypatch.setattr(os, "environ", {**os.environ})
    start = go_by(home / "nowhere.conf")
    with pytest.raises(SettingsError):
        settings_here(start=start)
    assert settings_here().paths.data_dir == home / ".local/share/tallygate", "the next is asked anew"


def test_a_working_folder_that_is_gone_is_told_where_it_is_asked_for(home, monkeypatch, capsys):
    gone = home / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    start = started()
    assert start.around.cwd is None
    assert settings_here(cwd=home, start=start).paths.project_root is None
    with pytest.raises(SettingsError, match="was removed"):
        settings_here(start=start)
    with pytest.raises(SystemExit) as ended:
        command_line.main(args=["status"], obj=Program(settings_here, compose))
    assert ended.value.code == 6
    assert capsys.readouterr().err.count("\n") == 1, "a line, and no trace of the program"


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({}, "linux", "home/.local/share"),
        ({"XDG_DATA_HOME": "/srv/data"}, "linux", "/srv/data"),
        ({"XDG_DATA_HOME": "relative"}, "linux", "home/.local/share"),
        ({}, "darwin", "home/Library/Application Support"),
        ({"XDG_DATA_HOME": "/srv/data"}, "darwin", "/srv/data"),
    ],
)
def test_a_users_things_lie_where_the_variable_or_the_system_has_them(
    tmp_path, monkeypatch, environ, platform, expected
):
    monkeypatch.setattr("sys.platform", platform)
    around = Surroundings(environ, None, tmp_path / "home")
    assert around.usual("XDG_DATA_HOME", ".local", "share") == tmp_path / expected


def test_what_was_around_a_process_stays_as_it_was(monkeypatch):
    around = around_here(7)
    monkeypatch.setenv("TALLYGATE_DB", "/later")
    assert "TALLYGATE_DB" not in around.environ
    assert around.parent == 7
