"""Droid, as its documentation and other readers of its files describe it: nobody has measured it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.world import NANOS, as_said, make_world

from tallygate.clients.client import InstallScope, InstallSurroundings
from tallygate.clients.droid.client import CLIENT, TOTAL
from tallygate.clients.droid.transcripts import SOURCE, discover, read
from tallygate.clients.reading.files import TranscriptFile
from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Tokens
from tallygate.core.hooks import HookAnswer, HookVerdict, Moment
from tallygate.core.moments import as_datetime
from tallygate.core.usage import Quality
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.operations.usage.sync import sync

AT = datetime(2026, 11, 22, 1, 46, tzinfo=UTC)
COUNTS = {"inputTokens": 30, "cacheReadTokens": 500, "cacheCreationTokens": 40, "outputTokens": 20, "thinkingTokens": 5}


@pytest.fixture
def world(tmp_path):
    made = make_world(tmp_path)
    yield as_said(made)
    made.ledger.close()


def session(home: Path, name: str = "s1", counts=COUNTS, at: datetime = AT, header=None, **more) -> Path:
    """The two files of a session, as they stand at a time."""
    folder = home / ".factory" / "sessions" / "-w"
    folder.mkdir(parents=True, exist_ok=True)
    start = {"type": "session_start", "id": name, "cwd": "/w"} | (header or {})
    (folder / f"{name}.jsonl").write_text(json.dumps(start) + '\n{"type":"message","message":{"role":"user"}}\n')
    path = folder / f"{name}.settings.json"
    settings = {"model": "claude-opus-4-5", "providerLock": "anthropic", "tokenUsage": counts} | more
    path.write_text(json.dumps(settings, indent=2))
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def only(path: Path):
    (batch,) = read(TranscriptFile("droid", path))
    (row,) = batch.rows
    return row


def test_a_session_is_one_total_with_thinking_in_its_output(tmp_path):
    row = only(session(tmp_path, inclusiveTokenUsage={"inputTokens": 9_000}, lastCallTokenUsage={"inputTokens": 7}))
    assert (row.session, row.response_key, row.project, row.at) == ("s1", "s1", "/w", AT)
    assert (row.tokens, row.reasoning) == (Tokens(30, 500, 40, 0, 25), 5)
    assert (row.rule, row.quality, row.model, row.provider) == (
        TOTAL,
        Quality.SESSION_TOTAL,
        "claude-opus-4-5",
        "anthropic",
    )


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        ({"model": "custom:Own-[Proxy]-0"}, "custom:Own-[Proxy]-0"),
        ({"model": "auto", "effectiveFactoryRouterModel": {"modelId": "claude-opus-5"}}, "claude-opus-5"),
        ({"model": "auto"}, "auto"),
        ({"model": None}, ""),
    ],
)
def test_the_model_is_the_one_that_is_named_and_a_router_s_the_one_it_chose(tmp_path, settings, model):
    assert only(session(tmp_path, **settings)).model == model


def test_it_was_used_when_it_was_written_and_not_before_its_provider_was_chosen(tmp_path):
    chosen = AT + timedelta(hours=1)
    assert only(session(tmp_path, providerLockTimestamp=(AT - timedelta(days=3)).isoformat())).at == AT
    assert only(session(tmp_path, providerLockTimestamp=chosen.isoformat())).at == chosen


def test_a_subagent_s_session_names_the_one_that_called_it(tmp_path):
    row = only(session(tmp_path, "s2", header={"callingSessionId": "s1", "callingToolUseId": "t1"}))
    assert (row.session, row.parent_session) == ("s2", "s1")


@pytest.mark.parametrize("text", ['{"tokenUsage": {"inputTokens": 1', "[]", "{}", '{"tokenUsage": {"inputTokens": 0}}'])
def test_what_is_broken_or_has_used_nothing_is_no_row(tmp_path, text):
    path = session(tmp_path)
    path.write_text(text)
    (batch,) = read(TranscriptFile("droid", path))
    assert batch.rows == ()
    assert bool(batch.report.skipped) == (not text.endswith("}"))


def test_without_its_conversation_the_total_counts_all_the_same(tmp_path):
    path = session(tmp_path)
    path.with_name("s1.jsonl").unlink()
    assert (only(path).project, only(path).tokens.fresh_input) == (None, 30)


def test_only_what_sessions_have_used_is_read_and_no_older_copy_of_it(tmp_path):
    path = session(tmp_path)
    path.with_name("s1.settings.json.bak").write_text(path.read_text())
    (tmp_path / ".factory" / "settings.json").write_text('{"customModels": [{"apiKey": "secret"}]}')
    assert [file.path for file in discover({}, tmp_path)] == [path]


def test_a_total_that_grew_counts_once_however_often_and_in_whatever_order_it_is_read(world, tmp_path):
    for output in (20, 900, 900):
        session(tmp_path, counts=COUNTS | {"outputTokens": output})
        sync(world.rt, environ={}, home=tmp_path, clients=("droid",))
    older = session(tmp_path / "copy", counts=COUNTS)
    older.rename(session(tmp_path).with_name("s1.settings.json"))
    sync(world.rt, environ={}, home=tmp_path, clients=("droid",))
    with world.ledger.reading() as reader:
        rows = [stored.row for stored in reversed(reader.recent_usage("droid", "s1", 9))]
    assert [row.tokens for row in rows] == [Tokens(30, 500, 40, 0, 25), Tokens(output=880)]
    assert rows[1].response_key == "s1/30.500.40.0.905"
    assert world.problems() == []


# --- hooks ---

COMMON = {"session_id": "s1", "transcript_path": "/h/.factory/sessions/-w/s1.jsonl", "cwd": "/w"}
STOP, NOTICE = HookAnswer(HookVerdict.STOP, "Spent."), HookAnswer(HookVerdict.GO_ON, "$1.00 is left.")
DENIED = {
    "hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": "deny",
        "permissionDecisionReason": "Spent.",
    }
}
ENDS = {"continue": False, "stopReason": "Spent."}


def told(name, **more):
    return REGISTRY.hooks["droid"].read({**COMMON, "hook_event_name": name, **more}, None)


def said(name, answer):
    return REGISTRY.hooks["droid"].reply(told(name), answer).body


def test_a_hook_names_the_file_beside_the_conversation():
    event = told("PreToolUse", tool_name="Execute", tool_input={"command": "rm x"}, tool_use_id="t1")
    assert (event.moment, event.tool, event.key, event.reach.command) == (Moment.TOOL, "Execute", "tool:t1", "rm x")
    assert event.transcript == "/h/.factory/sessions/-w/s1.settings.json"
    assert told("PreToolUse", tool_name="Execute").key is None
    assert told("Notification") is None


@pytest.mark.parametrize(
    ("name", "answer", "body"),
    [
        ("UserPromptSubmit", STOP, {"decision": "block", "reason": "Spent."}),
        ("PreToolUse", STOP, DENIED | ENDS),
        ("PreToolUse", replace(STOP, tool_only=True), DENIED),
        ("PreCompact", STOP, ENDS),
        ("Stop", STOP, None),
        ("SessionEnd", STOP, None),
        ("PreToolUse", NOTICE, {"systemMessage": "$1.00 is left."}),
        ("UserPromptSubmit", NOTICE, {"systemMessage": "$1.00 is left.", "hookSpecificOutput": {
            "hookEventName": "UserPromptSubmit", "additionalContext": "$1.00 is left."}}),
        ("PreToolUse", HookAnswer(), None),
    ],
)  # fmt: skip
def test_it_is_answered_in_the_words_of_its_documentation(name, answer, body):
    assert said(name, answer) == body


def test_a_spent_session_is_stopped_at_its_next_prompt_and_its_next_tool(world, tmp_path):
    world = world.with_runtime(session_limit_nanos=NANOS, project="/w")
    dispatcher = HookDispatcher(lambda _: world.rt)

    def ask(name, **more):
        world.clock.forward(1_000_000)
        return dispatcher.answer("droid", name, {**COMMON, **more}).body

    ask("SessionStart", source="startup")
    assert "decision" not in (ask("UserPromptSubmit", prompt="go") or {})
    held = world.ledger
    with held.reading() as reader:
        (opened,) = reader.sessions(state="open", limit=9)
        reserved = reader.budget(opened.session_id).reserved
    session(tmp_path, counts=COUNTS | {"outputTokens": 9_000}, at=as_datetime(world.clock.at_us))
    sync(world.rt, environ={}, home=tmp_path, clients=("droid",))
    ask("PreToolUse", tool_name="Read")
    with held.reading() as reader:
        # The total is no step: what is reserved for the next one is what a first one takes.
        assert reader.budget(opened.session_id).reserved <= 2 * reserved
        assert reader.budget(opened.session_id).spent > 0
    session(tmp_path, counts=COUNTS | {"outputTokens": 900_000}, at=as_datetime(world.clock.at_us))
    sync(world.rt, environ={}, home=tmp_path, clients=("droid",))
    assert ask("PreToolUse", tool_name="Execute")["continue"] is False
    assert ask("UserPromptSubmit", prompt="more")["decision"] == "block"
    assert world.problems() == []


# --- installation ---


def wanted_in(home: Path, scope=InstallScope.USER):
    where = InstallSurroundings(
        home, {}, "linux", "/opt/python", "/opt/hook.py", "/opt/places.conf", project=home / "p"
    )
    return CLIENT.wanted(where, scope)


def wanted(home: Path, scope=InstallScope.USER):
    return {file.path.relative_to(home).as_posix(): file for file in wanted_in(home, scope).files}


def test_the_server_the_hooks_and_the_rule_stand_in_files_of_its_own(tmp_path):
    assert list(wanted(tmp_path)) == [".factory/mcp.json", ".factory/hooks.json", ".factory/AGENTS.md"]
    assert list(wanted(tmp_path, InstallScope.PROJECT)) == [
        "p/.factory/mcp.json",
        "p/.factory/hooks.json",
        "p/AGENTS.md",
    ]
    hooks = {edit.path[1]: edit.item for edit in wanted(tmp_path)[".factory/hooks.json"].edits}
    assert hooks["PreToolUse"]["matcher"] == "*"
    assert hooks["PreToolUse"]["hooks"][0]["command"].endswith("|| exit 2")
    assert "matcher" not in hooks["Stop"]


@pytest.mark.parametrize(
    ("there", "file"),
    [
        ({"settings.json": "{}"}, "hooks.json"),
        ({"settings.json": '{"hooks": {"Stop": []}}'}, "settings.json"),
        ({"settings.json": '{"hooks": {}}', "hooks.json": "{}"}, "hooks.json"),
        ({"settings.json": '{"hooks": {}}', "hooks/hooks.json": "{}"}, "hooks/hooks.json"),
    ],
)
def test_hooks_are_written_where_it_reads_the_user_s_own(tmp_path, there, file):
    """Were there a file of hooks alone, it would read none of those among the settings."""
    for name, text in there.items():
        path = tmp_path / ".factory" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert list(wanted(tmp_path))[1] == f".factory/{file}"


def test_settings_that_switch_all_hooks_off_are_found(tmp_path):
    where = InstallSurroundings(tmp_path, {}, "linux", "p", "h", "c", project=tmp_path / "p")
    assert list(CLIENT.findings(where)) == []
    file = tmp_path / "p" / ".factory" / "settings.local.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"hooksDisabled": true}')
    (found,) = CLIENT.findings(where)
    assert (str(file) in found.what, "hooksDisabled" in found.to_do) == (True, True)


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("droid exec go", True),
        ("droid exec --input-format stream-jsonrpc", False),
        ("droid", False),
        ("droid go", False),
    ],
)
def test_a_run_of_one_prompt_is_told_by_its_words(line, runs):
    assert CLIENT.program.prints(tuple(line.split())) is runs


def test_every_place_says_that_it_was_not_measured():
    root = Path(__file__).resolve().parent.parent.parent
    for path in (root / "docs" / CLIENT.install_notes_page, root / "src/tallygate/clients/droid/NOTES.md"):
        assert "not measured" in path.read_text(encoding="utf-8")
    assert any("not measured" in note for note in wanted_in(root).notes)
    assert CLIENT.name_shown == "Droid (not measured)"


def test_its_rows_are_told_by_a_text_that_never_changes():
    assert [rule.text for rule in CLIENT.rules] == ["droid.session_total"]
    assert SOURCE.client == CLIENT.stored_as == "droid"
