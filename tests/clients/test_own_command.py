"""What a message puts before a command, so that a shell of the user's finds this very program."""

from __future__ import annotations

import shlex

import pytest

from tallygate.clients.installing.own_command import command_line


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
