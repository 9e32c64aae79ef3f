"""Answers in each client's own words: those that were seen to stop it, and none that were seen to do harm."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.clients.claude_code.hooks import MOMENTS as CLAUDE_CODE
from tallygate.clients.codex.hooks import MOMENTS as CODEX
from tallygate.clients.copilot.hooks import MOMENTS as COPILOT
from tallygate.clients.gemini.hooks import MOMENTS as GEMINI
from tallygate.clients.opencode.hooks import MOMENTS as OPENCODE
from tallygate.clients.qwen.hooks import MOMENTS as QWEN
from tallygate.clients.reading.hooks import LONGEST_MESSAGE
from tallygate.clients.registry import REGISTRY
from tallygate.core.hooks import HookAnswer, HookEvent, HookVerdict, Moment

MOMENTS = {
    "claude_code": CLAUDE_CODE,
    "codex": CODEX,
    "gemini": GEMINI,
    "opencode": OPENCODE,
    "qwen": QWEN,
    "copilot": COPILOT,
}
ALL = [(client, name) for client, moments in MOMENTS.items() for name in moments]
# These take an answer for a failure where it says nothing; the others take one that says nothing for consent.
ALWAYS_SPEAK = {"claude_code", "codex", "opencode"}
STOP = HookAnswer(HookVerdict.STOP, "Spent.")
NOTICE = HookAnswer(HookVerdict.GO_ON, "$1.00 is left.")
DENIED = {
    "hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": "deny",
        "permissionDecisionReason": "Spent.",
    }
}
BLOCKED = {"decision": "block", "reason": "Spent."}
STOPPED = {"continue": False, "stopReason": "Spent."}

# Everything that stops something; at every other event a stop is not in the client's power.
STOPS: dict[tuple[str, str], dict[str, Any]] = {
    ("claude_code", "PreToolUse"): STOPPED | DENIED,
    ("claude_code", "PostToolBatch"): STOPPED,
    ("claude_code", "UserPromptSubmit"): BLOCKED,
    ("claude_code", "PreCompact"): BLOCKED,
    ("claude_code", "ConfigChange"): BLOCKED,
    ("codex", "PreToolUse"): DENIED,
    ("codex", "UserPromptSubmit"): BLOCKED,
    ("gemini", "BeforeAgent"): BLOCKED,
    ("gemini", "BeforeModel"): BLOCKED,
    ("gemini", "BeforeTool"): {"decision": "deny", "reason": "Spent.", "continue": False, "stopReason": "Spent."},
    ("opencode", "chat.message"): {"stop": True, "message": "Spent."},
    ("opencode", "chat.params"): {"stop": True, "message": "Spent."},
    ("opencode", "tool.execute.before"): {"stop": True, "message": "Spent."},
    ("qwen", "UserPromptSubmit"): BLOCKED,
    ("qwen", "PreToolUse"): DENIED,
    ("qwen", "PreCompact"): BLOCKED,
    ("copilot", "userPromptSubmitted"): BLOCKED,
    ("copilot", "preToolUse"): {"permissionDecision": "deny", "permissionDecisionReason": "Spent."},
    ("copilot", "preToolUse.permissionRequest"): {"permissionDecision": "deny", "permissionDecisionReason": "Spent."},
    ("copilot", "permissionRequest"): {"behavior": "deny", "message": "Spent.", "interrupt": False},
}
# Where a notice reaches the model as well as the user.
CONTEXT = {
    "claude_code": {"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolBatch", "SubagentStart"},
    "codex": {"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse"},
    "gemini": {"SessionStart", "BeforeAgent", "AfterTool"},
    "qwen": {"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "PostToolUseFailure"},
    "copilot": {"sessionStart", "userPromptSubmitted", "preToolUse", "preToolUse.permissionRequest", "postToolUse"},
}


def body_of(client: str, name: str, answer: HookAnswer) -> Any:
    event = HookEvent(client=client, moment=MOMENTS[client][name], client_session="s1", name=name)
    reply = REGISTRY.hooks[client].reply(event, answer)
    assert reply.exit_code == 0
    return reply.body


@pytest.mark.parametrize("client, name", ALL)
def test_a_stop_is_said_where_the_client_can_be_stopped(client, name):
    silent = {"message": "Spent."} if client == "opencode" else {} if client in ALWAYS_SPEAK else None
    assert body_of(client, name, STOP) == STOPS.get((client, name), silent)


@pytest.mark.parametrize("client, name", ALL)
def test_a_hook_that_could_not_be_read_is_refused_in_the_same_words(client, name):
    assert REGISTRY.hooks[client].refuse(name, "Spent.").body == body_of(client, name, STOP)


@pytest.mark.parametrize("client", REGISTRY.hooks)
def test_an_event_of_no_known_name_is_refused_without_harm(client):
    assert REGISTRY.hooks[client].refuse("Unheard\x00", "Spent.").body in ({}, None, {"message": "Spent."})


@pytest.mark.parametrize("client, name", ALL)
def test_consent_says_nothing(client, name):
    assert body_of(client, name, HookAnswer()) == ({} if client in ALWAYS_SPEAK else None)


@pytest.mark.parametrize("client, name", ALL)
def test_a_notice_goes_to_the_model_where_it_is_heard(client, name):
    said = "$1.00 is left."
    context = {"hookSpecificOutput": {"hookEventName": name, "additionalContext": said}, "systemMessage": said}
    heard = name in CONTEXT.get(client, set())
    expected = {
        "opencode": {"message": said},
        "copilot": {"additionalContext": said} if heard else None,
    }.get(client, context if heard else {"systemMessage": said})
    assert body_of(client, name, NOTICE) == expected


@pytest.mark.parametrize(
    ("client", "name"), [("claude_code", "PreToolUse"), ("gemini", "BeforeTool"), ("codex", "PreToolUse")]
)
def test_a_tool_that_alone_is_refused_does_not_end_the_turn(client, name):
    body = body_of(client, name, HookAnswer(HookVerdict.STOP, "Not this one.", tool_only=True))
    assert keys_in(body).isdisjoint({"continue", "stopReason"})
    assert {"deny", "Not this one."} <= set(words_in(body))


@pytest.mark.parametrize(
    "name, tool, ends, unconfirmed, said",
    [
        ("preToolUse.permissionRequest", "bash", True, False, None),
        ("preToolUse.permissionRequest", "create", True, False, None),
        ("preToolUse.permissionRequest", "view", True, False, "permissionDecision"),
        ("preToolUse.permissionRequest", "never heard of", True, False, "permissionDecision"),
        ("preToolUse.permissionRequest", "bash", False, False, "permissionDecision"),
        ("preToolUse.permissionRequest", "bash", True, True, "permissionDecision"),
        ("preToolUse", "bash", True, False, "permissionDecision"),
        ("permissionRequest", "bash", True, False, "interrupt"),
    ],
)
def test_copilot_leaves_a_spent_step_to_the_question_that_ends_the_turn_only_where_it_will_be_asked(
    name, tool, ends, unconfirmed, said
):
    event = REGISTRY.hooks["copilot"].read({"sessionId": "s1", "toolName": tool}, name)
    assert event is not None
    body = (
        REGISTRY.hooks["copilot"]
        .reply(event, HookAnswer(HookVerdict.STOP, "Spent.", ends, unconfirmed=unconfirmed))
        .body
    )
    assert (body is None) if said is None else (body is not None and body[said] in {"deny", True})


@pytest.mark.parametrize(
    "name, tool, again, unconfirmed, settled",
    [
        ("preToolUse.permissionRequest", "bash", True, False, True),
        ("permissionRequest", "bash", True, False, True),
        ("preToolUse.permissionRequest", "view", False, False, True),
        ("preToolUse.permissionRequest", "view", True, False, False),
        ("preToolUse.permissionRequest", "bash", True, True, False),
        ("preToolUse", "bash", True, False, False),
    ],
)
def test_copilot_has_to_be_ended_only_where_its_answer_ends_nothing_for_the_second_time(
    name, tool, again, unconfirmed, settled
):
    event = REGISTRY.hooks["copilot"].read({"sessionId": "s1", "toolName": tool}, name)
    assert event is not None
    answer = HookAnswer(HookVerdict.STOP, "Spent.", ends=True, again=again, unconfirmed=unconfirmed)
    assert REGISTRY.hooks["copilot"].reply(event, answer).settled is settled


ANSWERS = st.builds(HookAnswer, st.sampled_from(HookVerdict), st.none() | st.text(max_size=60))


def words_in(value: Any) -> list[str]:
    match value:
        case dict():
            return [word for below in value.values() for word in words_in(below)]
        case str():
            return [value]
        case _:
            return []


def keys_in(value: Any) -> set[str]:
    return set(value).union(*(keys_in(below) for below in value.values())) if isinstance(value, dict) else set()


@given(name=st.sampled_from(sorted(CODEX)) | st.text(max_size=20), answer=ANSWERS)
def test_codex_never_hears_what_voids_an_answer(name, answer):
    event = HookEvent(client="codex", moment=CODEX.get(name, Moment.TOOL), client_session="s1", name=name)
    for body in (
        REGISTRY.hooks["codex"].reply(event, answer).body,
        REGISTRY.hooks["codex"].refuse(name, answer.message or "").body,
    ):
        assert keys_in(body).isdisjoint({"continue", "stopReason", "suppressOutput"})
        assert "ask" not in words_in(body) or answer.message == "ask"


@given(which=st.sampled_from(ALL), answer=ANSWERS)
def test_whatever_is_answered_is_one_object_of_clean_short_text(which, answer):
    client, name = which
    body = body_of(client, name, answer)
    if body is None:
        assert client not in ALWAYS_SPEAK
        return
    assert json.loads(json.dumps(body)) == body
    assert all(word.replace("\n", "").isprintable() and len(word) <= LONGEST_MESSAGE for word in words_in(body))


@pytest.mark.parametrize("client, name", STOPS)
@pytest.mark.parametrize("empty", [None, "", " \n\x1b"])
def test_a_stop_without_words_still_stops(client, name, empty):
    body = body_of(client, name, HookAnswer(HookVerdict.STOP, empty))
    assert keys_in(body) == keys_in(STOPS[client, name])
    assert all(words_in(body))


@pytest.mark.parametrize("client, name", STOPS)
def test_long_and_dirty_messages_are_cut_and_cleaned_line_by_line(client, name):
    message = "over\x1b[2J\u202e\n" + "x" * 100_000
    longest = max(words_in(body_of(client, name, HookAnswer(HookVerdict.STOP, message))), key=len)
    assert longest.startswith("over [2J\nx")
    assert len(longest) == LONGEST_MESSAGE


def test_what_codex_puts_behind_a_refusal_is_not_on_the_line_of_the_command_to_copy():
    event = HookEvent(client="codex", moment=Moment.TOOL, client_session="s1", name="PreToolUse")
    answer = HookAnswer(HookVerdict.STOP, "Nothing is left.\nTo go on, run: tallygate budget raise 63b0ecc2 1.70")
    body = REGISTRY.hooks["codex"].reply(event, answer).body
    seen = body["hookSpecificOutput"]["permissionDecisionReason"].strip() + ". Command: echo 5 >> notes"
    assert "To go on, run: tallygate budget raise 63b0ecc2 1.70" in seen.splitlines()
    assert seen.endswith("This step did not run. Command: echo 5 >> notes")
