"""What a message puts before a command, so that a shell of the user's finds this very program."""

from __future__ import annotations

import shlex

import pytest

from tallygate.clients.client import COMMANDS, command_line
from tallygate.clients.registry import REGISTRY
from tallygate.core import proof
from tallygate.core.errors import LedgerUnavailable, SettingsError
from tallygate.entrypoints import runnable as own_command
from tallygate.entrypoints.cli import doctor, output
from tallygate.entrypoints.cli.check import Check, CheckState
from tallygate.entrypoints.cli.main import COMMANDS as OF_THE_PROGRAM
from tallygate.entrypoints.cli.program import sentence
from tallygate.entrypoints.hook_dispatcher import HookDispatcher, refused
from tallygate.entrypoints.mcp_server.tools import result_of
from tallygate.entrypoints.runnable import runnable


@pytest.fixture
def programs(tmp_path):
    """This program in an environment of its own, another one elsewhere, and a folder with a link to this one."""
    for name in ("my tools/bin", "other", "links"):
        (tmp_path / name).mkdir(parents=True)
    for folder in ("my tools/bin", "other"):
        (tmp_path / folder / "tallygate").write_text("#!/bin/sh\n")
        (tmp_path / folder / "tallygate").chmod(0o755)
    (tmp_path / "links" / "tallygate").symlink_to(tmp_path / "my tools" / "bin" / "tallygate")
    return tmp_path


@pytest.mark.parametrize(
    "path, active, found",
    [
        ("links", "", True),
        ("my tools/bin", "", True),
        ("my tools/bin", "my tools", False),  # activated in one terminal
        ("other:links", "", False),  # another installation comes first
        ("", "", False),
    ],
)
def test_a_command_begins_with_the_name_only_where_every_shell_finds_this_program_by_it(programs, path, active, found):
    folders = ":".join(str(programs / each) for each in path.split(":") if each)
    environ = {"PATH": folders} | ({"VIRTUAL_ENV": str(programs / active)} if active else {})
    ours = programs / "my tools" / "bin"
    words = command_line(environ, str(ours / "python"))
    assert shlex.split(words) == (["tallygate"] if found else [str(ours / "tallygate")])


def test_without_a_script_of_its_own_the_interpreter_is_named(tmp_path):
    interpreter = tmp_path / "a b" / "python"
    assert shlex.split(command_line({}, str(interpreter))) == [str(interpreter), "-m", "tallygate"]


HERE = "'/opt/my tools/bin/tallygate'"


@pytest.fixture
def off_the_path(monkeypatch):
    monkeypatch.setattr(own_command, "own_words", lambda: HERE)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("Run: tallygate init", 1),
        ("Run `tallygate doctor --rebuild`, or tallygate restore FILE --reason TEXT.", 2),
        ("tallygate import-l6e reads it.", 1),
        ("Open a copy of it once: TALLYGATE_DB=COPY tallygate status.", 1),
        (f"In another terminal: {HERE} budget raise s 2", 0),
        ("In another terminal: /usr/bin/python3 -m tallygate budget raise s 2", 0),
        ("Type `tallygate raise 2` as a prompt.", 0),
        ("To keep it: uv tool install tallygate (or pipx install tallygate), then its tallygate init.", 0),
        ("The ledger /h/tallygate init is gone.", 0),
        ("tallygate: settings that nobody knows", 0),
        ("its MCP server tallygate runs", 0),
        ("tallygate initial thoughts", 0),
    ],
)
def test_commands_in_a_text_run_as_they_are_printed(off_the_path, monkeypatch, text, commands):
    assert runnable(text).count(HERE) - text.count(HERE) == commands
    assert runnable(text).replace(HERE, "tallygate") == text.replace(HERE, "tallygate")
    monkeypatch.setattr(own_command, "own_words", lambda: "tallygate")
    assert runnable(text) == text


def test_every_command_of_the_program_is_known_by_name():
    assert {*COMMANDS} == {name for section in OF_THE_PROGRAM.values() for name in section}


GONE = proof.missing("/h/ledger.db", proof.Mark(0, "l"), empty=False)


def halted(_):
    raise GONE


def answered(error):
    def answer():
        raise error

    return result_of("check_budget", answer).content[0].text


# every door through which a hint leaves the program
DOORS = {
    "a command that fails": lambda _: sentence(GONE),
    "a note beside an answer": lambda capsys: (output.aside(GONE.hint), capsys.readouterr().err)[1],
    "an empty list": lambda capsys: (output.hint(f"No: {GONE.hint}"), capsys.readouterr().out)[1],
    "a check of doctor": lambda capsys: (
        doctor._say(Check("ledger", CheckState.FAIL, "gone", GONE.hint)),
        capsys.readouterr().out,
    )[1],
    "a tool's error": lambda _: answered(LedgerUnavailable("gone", hint=GONE.hint)),
    "a tool's halt": lambda _: result_of("t", lambda: {"action": "halt", "message": str(GONE)}).content[0].text,
    "a tool's warning": lambda _: result_of("t", lambda: {"warnings": [str(GONE)]}).content[0].text,
    "a hook without settings": lambda _: str(refused("claude_code", "UserPromptSubmit", str(GONE)).body),
    "a hook that fails": lambda _: str(
        HookDispatcher(halted).answer("claude_code", "UserPromptSubmit", {"session_id": "s", "prompt": "x"}).body
    ),
    **{
        f"a session of {client}": lambda _, client=client, name=name: str(refused(client, name, str(GONE)).body)
        for client in REGISTRY.hooks
        for name in [{"copilot": "sessionStart", "opencode": "session.created"}.get(client, "SessionStart")]
    },
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_gives_out_commands_that_run(off_the_path, capsys, door):
    said = DOORS[door](capsys).replace("\\'", "'")
    assert f"{HERE} restore FILE" in said
    assert f"{HERE} ledger accept" in said


def test_what_was_recorded_goes_out_as_it_is(off_the_path):
    payload = {"summary": "run tallygate init", "message": "Run: tallygate init"}
    assert result_of("t", lambda: payload).structured_content["summary"] == "run tallygate init"
    assert SettingsError("x", hint="Run: tallygate init").hint == "Run: tallygate init"
