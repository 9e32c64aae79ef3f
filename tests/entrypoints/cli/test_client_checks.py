"""What `doctor` says of clients: installed as it should be, switched off, never trusted, not gated."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta
from importlib.metadata import FileHash, PackagePath
from types import SimpleNamespace

import pytest
from tests.transcripts import write_claude

from tallygate.app import clock_us
from tallygate.entrypoints.cli.install_checks import of_program
from tallygate.ledger.presence import ALONE_BYTES_MAX, ServerPresence

CODEX_EVENTS = [
    "pre_tool_use",
    "post_tool_use",
    "session_start",
    "user_prompt_submit",
    "stop",
    "subagent_stop",
    "session_end",
]


@pytest.fixture
def checks(run):
    def look():
        listed = json.loads(run("doctor", "--json").stdout)["checks"]
        return {check["check"]: check for check in listed}

    return look


def trust(home, events=CODEX_EVENTS, enabled="true"):
    config = home / ".codex" / "config.toml"
    rows = "".join(
        f'\n[hooks.state."{home}/.codex/hooks.json:{event}:0:0"]\nenabled = {enabled}\ntrusted_hash = "sha256:00"\n'
        for event in events
    )
    config.write_text(config.read_text() + rows)


def test_nothing_is_said_of_clients_that_nothing_was_installed_in(checks):
    assert not {"claude-code", "codex", "server", "enforcement"} & set(checks())


def test_an_installation_that_is_whole_is_so_and_one_that_was_edited_is_named(run, home, checks):
    run("init", "--client", "claude-code")
    found = checks()
    assert found["claude-code"]["state"] == "ok"
    assert found["server"]["state"] in ("ok", "warn")
    assert "answers after" in found["server"]["found"]
    settings = home / ".claude" / "settings.json"
    written = json.loads(settings.read_text())
    del written["hooks"]["PreToolUse"]
    settings.write_text(json.dumps(written))
    assert checks()["claude-code"]["state"] == "warn"
    assert "tallygate init" in checks()["claude-code"]["to_do"]


def test_what_was_spent_before_init_is_no_warning_and_what_no_hook_was_asked_about_since_is(run, home, checks):
    write_claude(home, [1, 2], at=datetime.now(UTC) - timedelta(hours=1))
    run("init", "--client", "claude-code")
    assert checks()["enforcement"]["state"] == "ok"
    write_claude(home, [3], at=datetime.now(UTC) + timedelta(seconds=1))
    run("sync")
    found = checks()["enforcement"]
    assert (found["state"], found["found"]) == (
        "warn",
        "responses that no hook was asked about, of late: 1 of claude-code",
    )


PLUGIN = {".claude/settings.json": {"enabledPlugins": {"tallygate@shop": True}}}
PLUGIN_OFF = {".claude/settings.json": {"enabledPlugins": {"tallygate@shop": False, "other@shop": True}}}
EXTENSION = {".gemini/extensions/tallygate/gemini-extension.json": {"name": "tallygate"}}
EXTENSION_OFF = EXTENSION | {".gemini/extensions/extension-enablement.json": {"tallygate": {"overrides": ["!/home/*"]}}}


@pytest.mark.parametrize(
    ("client", "files", "cure"),
    [
        ("claude-code", PLUGIN, "claude plugin disable tallygate@shop"),
        ("claude-code", PLUGIN_OFF, None),
        ("gemini", EXTENSION, "gemini extensions disable tallygate"),
        ("gemini", EXTENSION_OFF, None),
    ],
)
def test_a_package_that_brings_the_same_hooks_is_named_by_init_and_by_doctor(run, home, checks, client, files, cure):
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(json.dumps(content))
    said = run("init", "--client", client).output
    assert ("runs twice, and counts once" in " ".join(said.split())) == (cure is not None)
    found = checks()[client]
    assert found["state"] == ("ok" if cure is None else "warn")
    assert cure is None or cure in found["to_do"]


def test_hooks_that_are_switched_off_fail_and_the_file_is_named(run, home, checks):
    run("init", "--client", "claude-code")
    settings = home / ".claude" / "settings.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "disableAllHooks": True}))
    found = checks()["claude-code"]
    assert found["state"] == "fail"
    assert str(settings) in found["found"]
    assert "disableAllHooks" in found["to_do"]


def test_codex_hooks_that_nobody_trusted_are_a_step_to_do_until_all_are(run, run_json, home, checks):
    run("init", "--client", "codex")
    assert "until you trust them" in run("status").stderr
    [told] = run_json("status")["hooks_kept"]
    assert (told["client"], "/hooks" in told["to_do"]) == ("Codex", True)
    before = checks()["codex"]
    assert before["state"] == "warn"
    assert "PreToolUse" in before["found"]
    assert "/hooks" in before["to_do"]
    trust(home, CODEX_EVENTS[:1])
    partly = checks()["codex"]
    assert "PreToolUse" not in partly["found"]
    assert "UserPromptSubmit" in partly["found"]
    trust(home, CODEX_EVENTS[1:])
    assert checks()["codex"]["state"] == "ok"
    assert run_json("status")["hooks_kept"] == []


def test_codex_hooks_that_were_trusted_and_switched_off_are_named(run, home, checks):
    run("init", "--client", "codex")
    trust(home, enabled="false")
    assert "switched off" in checks()["codex"]["found"]


# --- the installation itself ------------------------------------------------------------------------------------


def test_places_are_named_where_clients_go_by_others_than_this_command(run, home, checks, monkeypatch):
    run("init", "--client", "gemini")
    assert checks()["places"]["state"] == "ok"
    file = home / ".local" / "share" / "tallygate" / "init" / "places.conf"
    other = str(home / "other.db")
    file.write_text(file.read_text().replace("ledger.db", "elsewhere.db"))
    found = checks()["places"]
    assert (found["state"], "elsewhere.db in clients" in found["found"]) == ("warn", True)
    run("init", "--client", "gemini")
    monkeypatch.setenv("PYTHONPATH", other)
    found = checks()["places"]
    assert (found["state"], "PYTHONPATH" in found["found"]) == ("warn", True)
    file.unlink()
    assert "tallygate init" in checks()["places"]["to_do"]


def test_a_copied_home_whose_clients_go_by_the_old_ones_places_is_told_and_init_mends_it(
    run, run_json, home, checks, monkeypatch, tmp_path
):
    monkeypatch.setenv("HOME", str(home))
    run("init", "--client", "claude-code", "--client", "codex")
    assert run_json("status")["installed_elsewhere"] == []
    copy = tmp_path / "a copy"
    shutil.copytree(home, copy, symlinks=True)
    monkeypatch.setenv("HOME", str(copy))
    old = str(home / ".local" / "share" / "tallygate" / "ledger.db")
    told = run("status", "--exit-code")
    assert told.exit_code == 0, "it is counted, there"
    assert told.stderr.count(f"it is counted in {old}") == 2
    assert {(each["client"], each["ledger"]) for each in run_json("status")["installed_elsewhere"]} == {
        ("Claude Code", old),
        ("Codex", old),
    }
    found = checks()
    assert (found["places"]["state"], "enforcement" in found) == ("warn", False)
    assert old in found["places"]["found"]
    assert "tallygate init" in found["places"]["to_do"]
    run("init", "--client", "claude-code", "--client", "codex")
    assert run_json("status")["installed_elsewhere"] == []
    assert checks()["places"]["state"] == "ok"


@pytest.mark.parametrize("was", ["this home", "/home/somebody"])
def test_copied_entries_whose_places_are_not_there_stop_every_step_and_status_tells_it(
    run, run_json, home, checks, was
):
    run("init", "--client", "claude-code")
    assert run("status", "--exit-code").exit_code == 0
    shutil.rmtree(home / ".local" / "share" / "tallygate" / "init")
    theirs = str(home) if was == "this home" else was
    for entries in (home / ".claude.json", home / ".claude" / "settings.json"):
        entries.write_text(entries.read_text().replace(str(home), theirs))
    told = run("status", "--exit-code")
    assert told.exit_code == 8
    assert told.stderr.count(f"Claude Code goes by {theirs}/.local") == 1
    assert "every step of it is stopped. Run: tallygate init" in told.stderr
    assert run("status").exit_code == 0
    assert run_json("status")["every_step_is_stopped"] is True
    assert checks()["places"]["state"] == "fail"


def test_a_settings_file_that_was_made_later_is_no_other_place(run, home, checks):
    (home / ".git").mkdir()
    (home / ".l6e").mkdir()
    run("init", "--client", "gemini")
    file = home / ".config" / "tallygate" / "config.toml"
    places = home / ".local" / "share" / "tallygate" / "init" / "places.conf"
    places.write_text(
        "".join(line for line in places.read_text().splitlines(True) if not line.startswith("settings ="))
    )
    assert file.exists()
    assert checks()["places"]["state"] == "ok"


def test_hooks_that_had_to_start_the_gate_by_themselves_are_counted(run, home, checks):
    run("init", "--client", "gemini")
    folder = home / ".local" / "share" / "tallygate" / "servers"
    presence = ServerPresence(folder)
    now_us = clock_us()
    for at_us in (now_us - 2 * 86_400_000_000, now_us - 5_000_000, now_us - 4_000_000):
        presence.note_alone(at_us, "gemini", "BeforeTool")
    assert checks()["hooks"]["state"] == "ok"
    presence.note_alone(now_us - 3_000_000, "gemini", "BeforeModel")
    found = checks()["hooks"]
    assert found["state"] == "warn"
    assert "3 times" in found["found"]
    assert "BeforeModel of gemini" in found["found"]
    assert (folder / "alone").stat().st_mode & 0o777 == 0o600


def test_notes_of_hooks_stay_few_and_damaged_ones_are_passed_over(home):
    presence = ServerPresence(home / "servers")
    for number in range(3_000):
        presence.note_alone(10**15 + number, "claude_code", "UserPromptSubmit")
    file = home / "servers" / "alone"
    assert file.stat().st_size < 2 * ALONE_BYTES_MAX
    file.write_bytes(b"\xff\x00 x\n9 a b\n" + b"1" * 30 + b" a b\nnot 1 2\n")
    assert presence.alone_since(0) == [(9, "a", "b")]


def test_files_of_the_program_are_held_against_the_record_of_their_package(home, monkeypatch):
    package = home / "tallygate"
    package.mkdir()
    (package / "a.py").write_bytes(b"a = 1\n")

    class Package:
        files = ()

    def recorded(name, text):
        file = PackagePath(name)
        file.hash = FileHash("sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode())
        file.dist = SimpleNamespace(locate_file=lambda path: home / path)
        return file

    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Package)
    assert of_program().state == "ok", "an editable checkout has no record"
    Package.files = (recorded("tallygate/a.py", b"a = 1\n"), recorded("bin/tallygate", b"x"))
    assert "1 file, as installed" in of_program().found
    (package / "a.py").write_bytes(b"a = 2\n")
    found = of_program()
    assert (found.state, str(package / "a.py") in found.found) == ("fail", True)
    (package / "a.py").unlink()
    assert of_program().state == "fail"
