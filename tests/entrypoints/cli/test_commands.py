"""The outermost layer: help, misspelt commands, exit codes."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.entrypoints.cli.conftest import PROGRAM

from tallygate import __version__
from tallygate.core import errors
from tallygate.entrypoints.cli import main
from tallygate.entrypoints.cli.main import tallygate
from tallygate.entrypoints.cli.program import exit_code, sentence


def test_the_version_is_that_of_the_package(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"tallygate {__version__}\n")


# What people do with it   the commands for that
SECTIONS = {
    "Every day": [
        "status",
        "watch",
        "usage",
        "sessions",
        "history",
        "why",
        "budget",
        "loop",
        "off",
        "on",
        "export",
        "sync",
        "dashboard",
    ],
    "Set-up": ["init", "uninstall", "doctor", "trust", "lock", "unlock", "migrate", "demo", "import-l6e"],
    "Prices and bills": ["prices", "estimate", "calibrate", "import", "drift"],
    "Proof": ["verify", "attest", "keys", "backup", "restore", "ledger"],
    "Run by clients": ["serve", "statusline"],
}


def test_help_lists_commands_by_what_they_are_for_each_with_a_whole_sentence():
    on_a_terminal_of_80 = click.Context(tallygate, info_name="tallygate", terminal_width=78)
    listed = tallygate.get_help(on_a_terminal_of_80).partition("-h, --help")[2].partition("\n\n")[2]
    listed = listed.partition("Exit codes")[0]
    found = {
        section.partition(":\n")[0].strip(): [line.split() for line in section.partition(":\n")[2].splitlines()]
        for section in listed.strip().split("\n\n")
    }
    assert {title: [words[0] for words in lines] for title, lines in found.items()} == SECTIONS
    assert [line for lines in found.values() for line in lines if line[-1][-1] != "." or line[-1].endswith("...")] == []


def test_no_command_is_left_out_of_help_but_the_one_that_clients_run(run):
    assert {*tallygate.list_commands(click.Context(tallygate))} - {
        name for names in SECTIONS.values() for name in names
    } == {"hook", "report"}, "and an old name"
    assert run("hook", "--help").exit_code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_completes_what_has_been_typed(run, shell, monkeypatch):
    monkeypatch.setenv("_TALLYGATE_COMPLETE", f"{shell}_source")
    source = run().stdout
    assert f"_TALLYGATE_COMPLETE={shell}_complete" in source
    monkeypatch.setenv("_TALLYGATE_COMPLETE", f"{shell}_complete")
    for typed, last, completed in (
        ("tallygate st", "st", {"status", "statusline"}),
        ("tallygate ho", "ho", set()),
        ("tallygate usage --by mo", "mo", {"month", "model"}),
    ):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", last if shell == "fish" else str(typed.count(" ")))
        words = {word for line in run().stdout.splitlines() for word in re.split(r"[,\t]", line)}
        assert words & {"status", "statusline", "hook", "month", "model", "day"} == completed, typed


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["serv"], "'serve'"),
        (["session"], "'sessions'"),
        (["sessions", "shw"], "'show'"),
        (["budget", "rise"], "'raise'"),
        (["blocks"], "'usage'"),
        (["daily"], "'usage'"),
        (["limit"], "'budget add'"),
    ],
)
def test_a_misspelt_command_is_answered_with_the_nearest_one(run, given, meant):
    result = run(*given)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"Did you mean {meant}?" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_unknown_command_that_resembles_none_is_an_error_without_a_guess(run):
    result = run("xyzzy")
    assert result.exit_code == 2
    assert result.stderr == "tallygate: No such command 'xyzzy'. Try 'tallygate --help'.\n"


# What is done                                   exit code
EXIT_CODES = [
    (("sessions", "list"), 0),
    (("sessions", "list", "--limit", "0"), 2),
    (("sessions", "list", "--state", "lost"), 2),
    (("sessions", "show", "session_nobody_has"), 3),
    (("sessions", "show", "short"), 3),
    (("sessions", "end", "session_nobody_has"), 3),
    (("budget", "raise", "session_nobody_has", "1"), 3),
    (("budget", "raise", "session_nobody_has", "nothing"), 2),
    (("budget", "raise", "session_nobody_has", "0"), 2),
    (("budget", "set", "session_nobody_has", "NaN"), 2),
    (("budget", "set", "session_nobody_has", "1e99"), 2),
    (("estimate", "gpt-5", "many", "1"), 2),
    (("estimate", "gpt-5", "1"), 2),
    (("estimate", "gpt-5", "1", "99999999999"), 2),
    (("demo", "--keep", "."), 2),
]


@pytest.mark.parametrize(("arguments", "code"), EXIT_CODES)
def test_exit_codes_say_what_kind_of_failure_it_was(run, home, arguments, code):
    (home / "something").touch()
    result = run(*arguments)
    assert result.exit_code == code
    if code:
        assert re.fullmatch(r"tallygate: [^\n]+\n", result.stderr)
        assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RunLogError("x"), 1),
        (errors.InvalidArgument("a", "x"), 2),
        (errors.NotFound("x"), 3),
        (errors.Conflict("x"), 4),
        (errors.LedgerUnavailable("x"), 5),
        (errors.LedgerCorrupt("x"), 5),
        (errors.LedgerTooNew("x"), 5),
        (errors.SettingsError("x"), 6),
    ],
)
def test_every_kind_of_error_has_its_exit_code(error, code):
    assert exit_code(error) == code


def test_an_error_is_one_line_whatever_its_text_holds():
    error = errors.NotFound("No such\nthing \x1b[31mred", hint="Look\x07 again.")
    assert sentence(error) == "tallygate: No such thing [31mred Look again."


def test_a_settings_error_names_file_and_line(run, home):
    (home / ".l6e").mkdir()
    (home / ".git").mkdir()
    file = home / "settings.toml"
    file.write_text("\n\npolicy_ = 1\n")
    result = run_with(run, "TALLYGATE_CONFIG", str(file))
    assert result.exit_code == 6
    assert f"{file}:3: " in result.stderr
    assert result.stderr.count("\n") == 1


def run_with(run, name, value):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        return run("status")


def test_a_file_that_is_no_ledger_is_an_error_and_stays_as_it_is(run, home: Path):
    other = home / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    other.chmod(0o600)
    before = other.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TALLYGATE_DB", str(other))
        result = run("sessions", "list")
    assert result.exit_code == 5
    assert "is not a Tallygate ledger" in result.stderr
    assert other.read_bytes() == before


@pytest.mark.parametrize("group", ["budget", "sessions", "attest", "keys"])
def test_a_group_without_a_word_prints_its_help(run, group):
    result = run(group)
    assert result.stdout.startswith(f"Usage: tallygate {group} ")
    assert (result.exit_code, result.stderr) == (0, "")
    assert run(group, "nonsense").exit_code == 2


def test_an_input_on_which_nothing_will_come_is_said(tmp_path, monkeypatch):
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.write_bytes(b"")
    full.write_bytes(b"{}")
    for file, over in ((Path(os.devnull), True), (empty, True), (full, False)):
        with file.open() as stream:
            monkeypatch.setattr(main.sys, "stdin", stream)
            assert main.is_over() is over
    ours, theirs = os.pipe()
    with os.fdopen(ours) as stream:
        monkeypatch.setattr(main.sys, "stdin", stream)
        assert main.is_over() is False
        os.write(theirs, b"{}")
        os.close(theirs)
        assert main.is_over() is False
        stream.read()
        assert main.is_over() is True


def test_no_color_takes_colours_out_of_every_command(home, monkeypatch):
    runner = CliRunner()
    assert "\x1b[" in runner.invoke(tallygate, ["doctor"], obj=PROGRAM, color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in runner.invoke(tallygate, ["doctor"], obj=PROGRAM, color=True).stdout
