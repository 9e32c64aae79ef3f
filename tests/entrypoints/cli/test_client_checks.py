"""What `doctor` says of clients: installed as it should be, switched off, never trusted, not gated."""

from __future__ import annotations

import json

import pytest

CODEX_EVENTS = ["pre_tool_use", "session_start", "user_prompt_submit", "stop", "subagent_stop", "session_end"]


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


def test_hooks_that_are_switched_off_fail_and_the_file_is_named(run, home, checks):
    run("init", "--client", "claude-code")
    settings = home / ".claude" / "settings.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "disableAllHooks": True}))
    found = checks()["claude-code"]
    assert found["state"] == "fail"
    assert str(settings) in found["found"]
    assert "disableAllHooks" in found["to_do"]


def test_codex_hooks_that_nobody_trusted_fail_until_all_are(run, home, checks):
    run("init", "--client", "codex")
    before = checks()["codex"]
    assert before["state"] == "fail"
    assert "PreToolUse" in before["found"]
    assert "/hooks" in before["to_do"]
    trust(home, CODEX_EVENTS[:1])
    partly = checks()["codex"]
    assert "PreToolUse" not in partly["found"]
    assert "UserPromptSubmit" in partly["found"]
    trust(home, CODEX_EVENTS[1:])
    assert checks()["codex"]["state"] == "ok"


def test_codex_hooks_that_were_trusted_and_switched_off_are_named(run, home, checks):
    run("init", "--client", "codex")
    trust(home, enabled="false")
    assert "switched off" in checks()["codex"]["found"]
