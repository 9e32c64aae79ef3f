"""Where the program is installed from: a cache is refused, what may go is said, what stays is quiet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallygate.core.errors import InvalidArgument
from tallygate.entrypoints.cli import init as init_module
from tallygate.entrypoints.cli import whereabouts
from tallygate.entrypoints.cli.whereabouts import ProgramPlace, hook_program

BASE = Path("/usr")


def at(home, place, *marks, checkout=None):
    """An environment with the files that its maker leaves in it."""
    folder = home / place
    folder.mkdir(parents=True)
    for mark in marks:
        (folder / mark).write_text("{}")
    return ProgramPlace(folder, BASE, checkout)


@pytest.mark.parametrize(
    "place, marks, program",
    [
        (".cache/uv/archive-v0/YEzI2ufUEkxyQ5dY", (), "uv"),
        ("elsewhere/builds-v0/.tmpAHbsRo", (), "uv"),
        (".cache/uv/environments-v2/tool-1", (), "uv"),
        (".cache/pipx/4441c1173728a2f", ("pipx_metadata.json",), "pipx"),
        (".local/pipx/.cache/4441c1173728a2f", ("pipx_metadata.json",), "pipx"),
        (".local/share/pipx/venvs/tallygate", ("pipx_metadata.json",), None),
        (".local/share/uv/tools/tallygate", ("uv-receipt.toml",), None),
        ("work/.venv", (), None),
        ("uv/archive/x", (), None),
    ],
)
def test_a_cache_is_told_from_a_place_to_stay(home, place, marks, program):
    here = at(home, place, *marks)
    assert here.passing == program
    if program is None:
        here.refuse_where_it_will_go()
        return
    with pytest.raises(InvalidArgument, match=f"cache of {program}") as told:
        here.refuse_where_it_will_go()
    assert "uv tool install tallygate" in told.value.hint
    assert "pipx install tallygate" in told.value.hint
    assert "--anyway" in told.value.hint


def test_what_may_go_is_said_and_what_stays_is_quiet(home):
    assert at(home, "tools/tallygate", "uv-receipt.toml").warning is None
    assert at(home, "venvs/tallygate", "pipx_metadata.json").warning is None
    assert ProgramPlace(BASE, BASE).warning is None
    assert "uv tool install tallygate" in (at(home, "work/.venv").warning or "")
    told = at(home, "src/.venv", checkout=Path("/my src")).warning or ""
    assert "a checkout, /my src" in told
    assert "uv tool install '/my src'" in told


def test_nothing_is_installed_from_a_cache_but_where_the_user_says_so(run, run_json, home, monkeypatch):
    here = at(home, ".cache/uv/archive-v0/x")
    monkeypatch.setattr(init_module, "installation", lambda *_: here)
    before = sorted(home.rglob("*"))
    result = run("init", "--client", "gemini")
    assert (result.exit_code, "--anyway" in result.stderr) == (2, True)
    assert sorted(home.rglob("*")) == before
    assert run_json("init", "--client", "gemini", "--anyway")["changed"] > 0


def test_an_editable_checkout_is_known_by_the_record_of_its_package(monkeypatch):
    class Package:
        text = '{"url": "file:///home/me/my%20src", "dir_info": {"editable": true}}'

        def read_text(self, name):
            assert name == "direct_url.json"
            return self.text

    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Package())
    assert whereabouts.installation("/v", "/usr").checkout == Path("/home/me/my src")
    for text in ("", "[]", "no json", '{"url": "file:///x"}', '{"url": 5, "dir_info": {"editable": true}}'):
        Package.text = text
        assert whereabouts.installation("/v", "/usr").checkout is None


@pytest.mark.parametrize(
    ("site", "marks", "copied", "taken"),
    [
        ("env/lib/python3.12/site-packages", ["pyvenv.cfg"], "the same", True),
        ("env/lib/python3.12/site-packages", ["pyvenv.cfg"], "of another version", False),
        ("env/lib/python3.12/site-packages", ["pyvenv.cfg"], None, False),
        ("env/lib/python3.12/site-packages", [], "the same", False),  # a home, whose share/tallygate holds data
        ("checkout/src", ["pyvenv.cfg"], "the same", False),
    ],
)
def test_clients_are_told_of_the_hook_program_whose_path_no_version_of_python_is_in(home, site, marks, copied, taken):
    package, prefix = home / site / "tallygate", home / "env"
    own, copy = package / "entrypoints" / "hook.py", prefix / "share" / "tallygate" / "hook.py"
    for file in (own, copy):
        file.parent.mkdir(parents=True)
    own.write_text("the same")
    for mark in marks:
        (prefix / mark).touch()
    if copied is not None:
        copy.write_text(copied)
    assert hook_program(package, prefix) == (copy if taken else own)
