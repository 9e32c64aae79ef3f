"""`[[alert]]`: only the user's own file sets one, the next command tells it, and what fails is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tallygate.core.costing import Tokens
from tallygate.core.errors import SettingsError
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.settings import UserPlaces, load_settings


def settings(home, text):
    (home / "user.toml").write_text(text)
    places = UserPlaces(home, home / "config", home / "data")
    return load_settings({"TALLYGATE_CONFIG": str(home / "user.toml")}, home, places)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("", "exactly one of run and post"),
        ('run = ["x"]\npost = "https://a.example"', "exactly one of run and post"),
        ("run = []", "list of texts"),
        ('run = "rm -rf"', "list of texts"),
        ('run = ["./notify"]', "a whole path or ~/"),
        ('run = ["tools/notify"]', "a whole path or ~/"),
        ('run = ["x"]\nat = [80, 50]', "must rise"),
        ('run = ["x"]\nat = [0]', "must rise"),
        ('run = ["x"]\nat = [true]', "whole per cent"),
        ('post = "http://hooks.example/s3cret"', "https address"),
        ('post = "ftp://127.0.0.1/s3cret"', "https address"),
        ('post = "https:///s3cret"', "https address"),
        ('post = "http://127.0.0.1.example/s3cret"', "https address"),
    ],
)
def test_an_alert_that_could_not_be_told_is_refused_and_its_secret_not_repeated(home, row, said):
    with pytest.raises(SettingsError, match=said) as refused:
        settings(home, f"[[alert]]\n{row}\n")
    assert "s3cret" not in str(refused.value)


def test_alerts_are_as_they_are_written(home):
    found = settings(home, '[[alert]]\nrun = ["x", "y"]\n[[alert]]\nat = [90]\npost = "https://a.example/p?q"\n').alerts
    assert [(each.at, each.run) for each in found] == [((80, 100), ("x", "y")), ((90,), ())]
    assert [each.host for each in found] == [None, "a.example"]


def test_without_the_user_s_word_nobody_is_told(home):
    assert settings(home, "").alerts == ()
    assert load_settings({"ALERT": "x"}, home, UserPlaces(home, home / "config", home / "data")).alerts == ()


def test_a_project_sets_no_alert(home):
    (home / ".l6e").mkdir()
    (home / ".l6e" / "config.toml").write_text('[[alert]]\nrun = ["touch", "stolen"]\n')
    found = load_settings({}, home / ".l6e", UserPlaces(Path("/nowhere"), home / "config", home / "data"))
    assert found.alerts == ()
    found = load_settings({}, home, UserPlaces(home.parent, home / "config", home / "data"))
    assert found.alerts == ()
    assert "alert may be set in the user's settings file only" in str(found.fault)


def spent(made):
    session = made.session()
    record_usage(made.app.runtime, UsageReport(made.call(session, tool_name="plan"), Tokens(180_000)))
    return session


def test_the_next_command_tells_once_and_no_command_fails_for_it(run, made, home, monkeypatch):
    session = spent(made)
    out = home / "told"
    script = f"import os; open({str(out)!r}, 'a').write(os.environ['TALLY_ALERT_BUDGET'] + '\\n')"
    (home / "user.toml").write_text(f"[[alert]]\nat = [50]\nrun = {[sys.executable, '-c', script]!r}\n")
    monkeypatch.setenv("TALLYGATE_CONFIG", str(home / "user.toml"))
    for _ in range(2):
        assert run("budget", "list").exit_code == 0
    assert out.read_text() == f"{session}\n"


def test_one_that_fails_is_named_by_the_command_by_status_and_by_doctor(run, made, home, monkeypatch, loopback_port):
    spent(made)
    address = f"http://127.0.0.1:{loopback_port}/s3cret"
    (home / "user.toml").write_text(f'[[alert]]\nat = [50]\npost = "{address}"\n')
    monkeypatch.setenv("TALLYGATE_CONFIG", str(home / "user.toml"))
    first = run("budget", "list")
    assert first.exit_code == 0
    assert "An alert could not be told (POST to 127.0.0.1)" in first.stderr
    told = run("status")
    assert "could not be told" in told.stderr
    assert "50 % of" in run("doctor").stdout
    assert "s3cret" not in first.output + told.output + run("doctor").output
