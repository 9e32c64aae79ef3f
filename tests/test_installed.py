"""What installed commands go by: the places `init` wrote down, and of a client's environment what tightens."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate import __main__, machine
from tallygate.core.errors import InvalidArgument, SettingsError
from tallygate.core.hooks import foreign_text, names_in
from tallygate.core.words import BudgetMode, UnknownPrice
from tallygate.entrypoints import hook
from tallygate.settings import installed as places_of_commands
from tallygate.settings import load_settings
from tallygate.settings.installed import (
    PLACES_FILE,
    InstalledPlaces,
    hold,
    install_folder,
    read_installed,
    worth_keeping,
)
from tallygate.settings.load import places_of
from tallygate.settings.model import OnFault, ReadTranscripts, TelemetryMode, has_been_installed
from tallygate.settings.variables import (
    CALIBRATION_VARIABLES,
    CLIENT_VARIABLES,
    KNOWN,
    PATH_VARIABLES,
    PYTHON_CODE,
    SYSTEM_VARIABLES,
    USER_FILE_VARIABLES,
    VARIABLES,
)

PATHS = [*(name for names in PATH_VARIABLES.values() for name in names), *USER_FILE_VARIABLES]


@pytest.fixture
def installed(home):
    """A machine on which Tallygate was installed: a data folder, and a settings file of the user."""
    data, folder = home / "data", home / "settings"
    for each in (data, folder):
        each.mkdir()
    (folder / "config.toml").write_text('[calibration]\n"gpt-5" = 0.5\n')
    return InstalledPlaces(
        str(home),
        str(folder),
        str(data),
        str(data / "ledger.db"),
        str(data / "keys"),
        str(data / "servers"),
        str(folder / "config.toml"),
    )


def loaded(installed, cwd, **environ):
    held = hold(environ, installed)
    return load_settings(held.environ, cwd, places_of(installed, held.foreign))


def test_what_is_written_down_is_read_again(home, installed):
    file = home / "places.conf"
    file.write_bytes(os.fsencode(installed.as_text()))
    assert read_installed(file) == installed


@given(
    text=st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=20),
    value=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=20),
)
def test_the_hook_program_and_the_server_read_the_same_from_every_file(tmp_path_factory, text, value):
    folder = tmp_path_factory.mktemp("p")
    places = InstalledPlaces(
        "/h", f"/c{text}", str(folder), f"/l = {text}", "/k", f"/s # {text}", environment={"XDG_DATA_HOME": value}
    )
    file = folder / "places.conf"
    file.write_bytes(os.fsencode(places.as_text()))
    read = read_installed(file)
    assert read == places
    rows = hook.read_places(str(file))
    assert (rows["servers"], rows["ledger"], rows["on_fault"]) == (read.servers, read.ledger, "halt")
    assert rows["environment.XDG_DATA_HOME"] == value


# whose places lie in the data folder -> whether `init` writes over them; a home, a folder, and the machine's id of then
@pytest.mark.parametrize(
    ("home_was", "data_was", "system_was", "ours"),
    [
        ("home", "data", "here", True),
        ("home", "data", "there", True),  # containers of one image, which have another id each time it is built
        ("gone", "data", "here", False),  # two containers on one volume, each with a home of its own
        ("other", "data", "here", False),
        ("home", "gone", "here", True),  # the folder was moved
        ("gone", "gone", "here", True),  # the home was renamed
        ("home", "gone", "there", False),  # the folder of a host, mounted elsewhere in its container
        ("gone", "gone", "there", False),
        ("home", "other", "here", False),  # a copy of the folder
    ],
)
def test_of_a_data_folder_that_is_shared_each_has_places_of_its_own(
    home, installed, monkeypatch, home_was, data_was, system_was, ours
):
    monkeypatch.setattr(places_of_commands, "system", lambda: "here")
    (home / "other").mkdir()
    (home / "data" / "init").mkdir()
    was = {"home": home, "data": home / "data", "gone": home / "gone", "other": home / "other"}
    then = replace(installed, home=str(was[home_was]), data=str(was[data_was]), system=system_was)
    (home / "data" / "init" / PLACES_FILE).write_text(then.as_text())
    folder = install_folder(home / "data", home)
    assert (folder == home / "data" / "init") is ours
    folder.mkdir(exist_ok=True)
    assert not has_been_installed(home / "data")
    (folder / "manifest.json").touch()
    assert has_been_installed(home / "data")
    (folder / PLACES_FILE).write_text(replace(installed, system="here").as_text())
    assert install_folder(home / "data", home) == folder


@pytest.fixture
def forgotten():
    """What the program has found out of the machine it is on, forgotten as often as it is called."""

    def forget():
        for each in (machine.machine, machine.system):
            each.cache_clear()

    yield forget
    forget()


def test_two_containers_without_an_id_of_a_machine_that_have_a_home_under_other_names_keep_their_places(
    tmp_path, installed, monkeypatch, forgotten
):
    monkeypatch.setattr(machine, "_IDS", ())
    volume, kept = tmp_path / "volume", {}
    (volume / "init").mkdir(parents=True)
    for name in ("one", "two", "one", "two"):
        monkeypatch.setattr(machine, "host_name", lambda name=name: name)
        forgotten()
        for mounted in tmp_path.glob("home-*"):
            mounted.unlink()
        home = tmp_path / f"home-{name}"
        home.symlink_to(volume)
        folder = install_folder(home, home)
        if name not in kept:
            folder.mkdir(exist_ok=True)
            given = replace(installed, home=str(home), data=str(home), system=machine.own_system())
            (folder / PLACES_FILE).write_text(given.as_text())
            kept[name] = os.path.realpath(folder)
        assert os.path.realpath(folder) == kept[name]
    assert kept["one"] != kept["two"]


@pytest.mark.parametrize("content", [None, b"", b"\xff\0", b"home\n"])
def test_places_that_nobody_can_read_are_nobodys(home, installed, content):
    (home / "data" / "init").mkdir()
    if content is not None:
        (home / "data" / "init" / PLACES_FILE).write_bytes(content)
    assert install_folder(home / "data", home) == home / "data" / "init"


@pytest.mark.parametrize("sign", ["\n", "\r", "\0"])
def test_a_place_that_no_line_can_hold_is_refused(sign):
    with pytest.raises(InvalidArgument, match="line break"):
        InstalledPlaces("/h", "/c", "/d", f"/d/a{sign}b", "/k", "/s").as_text()


@pytest.mark.parametrize(
    "broken, said",
    [
        (lambda file, _: file.unlink(), "not installed on this machine"),
        (lambda file, _: file.write_text("home = /h\n"), "settings_folder is missing"),
        (lambda file, _: file.write_text(file.read_text().replace("ledger = /", "ledger = ")), "not the full path"),
        (lambda file, _: file.write_bytes(b"#" * 70_000), "larger than 64 KiB"),
        (lambda file, _: file.chmod(0o666), "yours alone"),
        (lambda _, places: os.rename(places.data, f"{places.data}2"), "data folder"),  # noqa: PTH104
        (lambda _, places: os.unlink(places.settings), "settings file"),  # noqa: PTH108
    ],
)
def test_what_is_missing_on_this_machine_names_the_way_out(home, installed, broken, said):
    file = home / "places.conf"
    file.write_bytes(os.fsencode(installed.as_text()))
    broken(file, installed)
    with pytest.raises(SettingsError, match=said) as told:
        read_installed(file)
    assert "tallygate init" in told.value.hint


@pytest.mark.parametrize("name", [*PATHS, *SYSTEM_VARIABLES, "TALLYGATE_PROJECT_DIR"])
def test_no_variable_of_a_client_moves_a_place_and_each_is_named(home, installed, name):
    other = home / "project"
    other.mkdir()
    (other / "config.toml").write_text("not = even [toml")
    usual = loaded(installed, other)
    moved = loaded(installed, other, **{name: str(other / "config.toml" if "CONFIG" in name else other)})
    assert moved.paths == usual.paths
    assert (moved.foreign, usual.foreign) == ((name,), ())
    assert moved.fault is None


def test_a_variable_that_nobody_knows_is_named_and_halts_nobody(home, installed):
    assert loaded(installed, home, TALLYGATE_FOO="1", TALLYGATE_BUDGET_MODE="sof").foreign == (
        "TALLYGATE_BUDGET_MODE",
        "TALLYGATE_FOO",
    )


@pytest.mark.parametrize(
    "name, text, of, tight",
    [
        ("TALLYGATE_BUDGET_MODE", "hard", lambda s: s.policy.budget_mode, BudgetMode.HARD),
        ("TALLYGATE_ON_FAULT", "halt", lambda s: s.policy.on_fault, OnFault.HALT),
        ("TALLYGATE_UNKNOWN_PRICE", "halt_on_unknown_pricing", lambda s: s.policy.unknown_price, UnknownPrice.HALT),
    ],
)
def test_a_variable_that_tightens_counts(home, installed, name, text, of, tight):
    file = home / "settings" / "config.toml"
    file.write_text('[policy]\nbudget_mode = "soft"\non_fault = "allow"\n')
    found = loaded(installed, home, **{name: text})
    assert (of(found), found.foreign) == (tight, ())


@pytest.mark.parametrize(
    "name, text, of, stays",
    [
        ("TALLYGATE_BUDGET_MODE", "soft", lambda s: s.policy.budget_mode, BudgetMode.HARD),
        ("TALLYGATE_ON_FAULT", "allow", lambda s: s.policy.on_fault, OnFault.HALT),
        ("TALLYGATE_TRANSCRIPTS", "off", lambda s: s.usage.transcripts, ReadTranscripts.FOLLOW),
        ("TALLYGATE_TELEMETRY", "off", lambda s: s.usage.telemetry, TelemetryMode.RECEIVE),
        ("TALLYGATE_TENANT", "other", lambda s: s.tenant, "default"),
        ("TALLYGATE_TIME_ZONE", "Asia/Tokyo", lambda s: s.time_zone, "UTC"),
        ("TALLYGATE_RESERVATION_TTL_MINUTES", "1", lambda s: s.policy.reservation_ttl_us, 600_000_000),
    ],
)
def test_a_variable_that_does_not_tighten_counts_only_as_the_user_had_it_at_init(
    home, installed, name, text, of, stays
):
    found = loaded(installed, home, **{name: text})
    assert (of(found), found.foreign) == (stays, (name,))
    users = replace(installed, environment=worth_keeping({name: text}))
    assert of(loaded(users, home, **{name: text})) != stays


def test_every_variable_is_decided_on(home, installed):
    """One that is invented later does not count until somebody has said that it may."""
    counted = {"TALLYGATE_LOG_LEVEL"}
    samples = {"TALLYGATE_LOG_LEVEL": "debug", "TALLYGATE_EXPIRE_AS": "release", "TALLYGATE_CURRENCY": "EUR"}
    samples |= {"TALLYGATE_DURABILITY": "normal", "TALLYGATE_TASK_SUMMARIES": "drop", "TALLYGATE_LOCAL_MODEL": "x"}
    for name in VARIABLES.keys() - samples.keys():
        samples[name] = {"threshold": "0.9", "MODE": "soft", "FAULT": "allow"}.get(
            next((end for end in ("MODE", "FAULT") if name.endswith(end)), "threshold"), "7"
        )
    samples |= {"TALLYGATE_UNKNOWN_PRICE": "warn_only", "TALLYGATE_TENANT": "t", "TALLYGATE_TIME_ZONE": "Asia/Tokyo"}
    samples |= {"TALLYGATE_TRANSCRIPTS": "off", "TALLYGATE_TELEMETRY": "off", "TALLYGATE_TELEMETRY_PORT": "4000"}
    usual = loaded(installed, home)
    for name, text in samples.items():
        if name not in counted:
            found = loaded(installed, home, **{name: text})
            assert (found.policy, found.usage, found.tenant) == (usual.policy, usual.usage, usual.tenant), name


@pytest.mark.parametrize("name", CALIBRATION_VARIABLES)
def test_a_factor_makes_a_model_dearer_and_never_cheaper(home, installed, name):
    found = loaded(installed, home, **{name: "gpt-5:0.4,opus:0.01,sonnet:1.5"})
    assert found.calibration_micros == {"gpt-5": 500_000, "sonnet": 1_500_000}
    assert found.foreign == (name,)
    assert loaded(installed, home, **{name: "gpt-5:0.8"}).foreign == ()


def test_a_file_that_names_other_places_than_the_installed_ones_is_told_and_moves_nothing(home, installed):
    file = home / "settings" / "config.toml"
    file.write_text(f'[paths]\ndatabase = "{home}/elsewhere.db"\n')
    found = loaded(installed, home)
    assert str(found.paths.database) == installed.ledger
    assert ["paths.database" in text and "tallygate init" in text for text in found.spoken] == [True]


@pytest.mark.parametrize("log, where", [("logs/mine.jsonl", "p/logs/mine.jsonl"), ("~/all.jsonl", "all.jsonl")])
def test_a_run_log_is_one_of_each_project_or_one_for_all_as_the_user_had_it(home, installed, log, where):
    (home / "p" / ".git").mkdir(parents=True)
    assert loaded(replace(installed, log=log), home / "p").paths.run_log == home / where
    assert loaded(installed, home / "p").paths.run_log == home / "p" / ".l6e" / "runs.jsonl"


def test_a_file_of_l6e_is_read_as_that_one_reads_it(home, installed):
    file = home / "theirs.toml"
    file.write_text('colour = "red"\n[calibration]\n"gpt-5" = 2.0\n')
    theirs = replace(installed, settings=None, l6e_settings=str(file))
    found = loaded(theirs, home)
    assert found.calibration_micros == {"gpt-5": 2_000_000}
    assert any("colour" in text for text in found.notices)
    file.unlink()
    assert loaded(theirs, home).calibration_micros == {"gpt-5": 500_000}, "as there, the user's own counts then"


def test_a_clients_variables_add_places_to_read(installed):
    given = {"CLAUDE_CONFIG_DIR": "/p/claude", "HOME": installed.home}
    users, clients = hold(given, installed).reading
    assert "CLAUDE_CONFIG_DIR" not in users
    assert clients["CLAUDE_CONFIG_DIR"] == "/p/claude"
    assert len(hold({"HOME": installed.home}, installed).reading) == 1


def test_what_the_user_had_at_init_is_no_news(installed):
    environ = {"XDG_DATA_HOME": "/x", "PYTHONPATH": "/y", "TALLYGATE_DB": "/z/l.db"}
    users = replace(installed, environment=worth_keeping(environ))
    assert hold(environ, users).foreign == ()
    assert hold(environ, installed).foreign == ("PYTHONPATH", "TALLYGATE_DB", "XDG_DATA_HOME")
    assert hold(environ, users).environ["XDG_DATA_HOME"] == "/x"


def test_what_leads_to_other_code_or_another_clock_is_dropped(installed):
    environ = {"LD_PRELOAD": "/x.so", "DYLD_INSERT_LIBRARIES": "/y", "FAKETIME": "+1y", "PYTHONPATH": "/z"}
    held = hold({**environ, "PYTHONUNBUFFERED": "1", "PATH": "/bin"}, installed, ["LD_AUDIT"])
    assert set(held.environ) - {"HOME"} == {"PATH"}
    assert held.foreign == ("DYLD_INSERT_LIBRARIES", "FAKETIME", "LD_AUDIT", "LD_PRELOAD", "PYTHONPATH")


@given(st.dictionaries(st.sampled_from([*PATHS, *SYSTEM_VARIABLES, *PYTHON_CODE, "LD_PRELOAD", "DYLD_X", "FAKETIME"]),
                       st.sampled_from(["/a", "/h", "/h/", "/d", "x"])))  # fmt: skip
def test_the_hook_program_names_what_the_server_would_name(environ):
    places = InstalledPlaces("/h", "/h/c", "/d", "/d/l", "/d/k", "/d/s", environment={"XDG_DATA_HOME": "/a"})
    rows = dict(line.split(" = ", 1) for line in places.as_text().split("\n") if " = " in line)
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environ)
        told = hook._foreign(rows)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert names_in(told.split(",")) == hold(environ, places).foreign


def test_names_from_outside_are_names_and_the_sentence_stays_short():
    assert names_in(["HOME", "near", "0123456789abcdef", "A B", "X" * 99, "\x1b[0m"]) == ("HOME",)
    assert foreign_text([]) == ""
    assert "and 12 more" in foreign_text(f"A{n}" for n in range(20))


def test_the_lists_of_names_do_not_overlap():
    assert not set(CLIENT_VARIABLES) & {*SYSTEM_VARIABLES, *KNOWN}


@pytest.mark.parametrize(
    "words, alone",
    [
        ("hook --client codex --event Stop", ("codex", "Stop", False, False)),
        ("hook --client codex --event Stop --framed", ("codex", "Stop", True, False)),
        ("hook --client codex --event Stop --framed --held --places /p", ("codex", "Stop", True, True)),
        ("hook --client codex --event Stop --framed --places --held --dropped A,B", ("codex", "Stop", True, False)),
        ("hook --client codex --event Stop --help", None),
        ("hook --event Stop --client codex", None),
        ("hook --client codex", None),
        ("serve --places /p", None),
    ],
)
def test_the_words_of_the_hook_program_are_taken_without_the_command_line(words, alone):
    assert __main__._alone(words.split()) == alone


def test_only_commands_that_clients_run_take_places():
    assert __main__._given(["serve", "--tools", "l6e", "--places", "/a", "--dropped", "X"]) == {
        "--places": "/a",
        "--dropped": "X",
    }
    assert __main__._given(["hook", "--client", "c", "--event", "e", "--places", "/a"]) == {"--places": "/a"}
    assert __main__._given(["status", "--places", "/a"]) == {}
    assert __main__._given([]) == {}


@pytest.mark.parametrize("written, code", [("on_fault = halt\n", 2), ("on_fault = allow\n", 0), ("", 2), (None, 2)])
def test_a_hook_that_can_start_no_gate_asks_the_places_what_passes_and_not_its_client(
    home, monkeypatch, capsys, written, code
):
    file = home / "places.conf"
    if written is not None:
        file.write_text(written)
    monkeypatch.setattr(sys, "argv", ["hook.py", "--client", "codex", "--event", "PreToolUse", "--places", str(file)])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"{}")))
    monkeypatch.setenv("TALLYGATE_ON_FAULT", "allow" if code else "halt")
    monkeypatch.setattr(hook, "_by_itself", lambda *_: None)
    assert hook.main() == code
    assert "could not be started" in capsys.readouterr().err


def test_a_gate_that_a_hook_starts_is_apart_from_what_the_client_was_told(monkeypatch):
    ran = {}

    def run(command, **more):
        ran.update(more, command=command)
        raise OSError

    monkeypatch.setattr(subprocess, "run", run)
    for name, value in {"LD_PRELOAD": "/x", "PYTHONPATH": "/y", "PYTHONUTF8": "1", "FAKETIME": "+1d"}.items():
        monkeypatch.setenv(name, value)
    assert hook._by_itself("codex", "Stop", b"", "/p", "--held") is None
    assert ran["command"][1:3] == ["-I", __main__.__file__]
    told = dict(pairwise(ran["command"]))
    assert (told["--places"], sorted(told["--dropped"].split(","))) == ("/p", ["FAKETIME", "LD_PRELOAD", "PYTHONPATH"])
    assert not [name for name in ran["env"] if name.startswith(("LD_PRELOAD", "PYTHON", "FAKETIME"))]
    hook._by_itself("codex", "Stop", b"", "")
    assert ran["env"]["PYTHONPATH"] == "/y", "an entry that a user wrote by hand honours it"


def test_run_by_its_path_the_program_is_found_apart_from_the_users_python(home):
    done = subprocess.run(
        [sys.executable, "-I", __main__.__file__, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("tallygate ")
