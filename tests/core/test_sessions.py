from __future__ import annotations

import pytest

from tallygate.clients.registry import REGISTRY
from tallygate.core.model import Call, ModeCoverage, Session
from tallygate.core.sessions import call_for, closed_by, session_for
from tallygate.core.words import (
    AccountingMode,
    Action,
    ActorType,
    CallState,
    Reason,
    SessionState,
    UnknownPrice,
    UsageChannel,
)


def session(name, *, started=0, ended=None, project="/home/me/p", client="claude-code", parent=None):
    return Session(
        tenant="t",
        session_id=name,
        client=client,
        model="m",
        state=SessionState.OPEN if ended is None else SessionState.ENDED,
        accounting_mode=AccountingMode.ESTIMATE_ONLY,
        usage_channel=UsageChannel.NONE,
        coverage=ModeCoverage(ask=False, plan=False, agent=False),
        unknown_price=UnknownPrice.WARN_ONLY,
        currency="USD",
        started_us=started,
        ended_us=ended,
        project=project,
        parent_session_id=parent,
    )


def call(name, at, *, actor=ActorType.PARENT_AGENT, actor_id=None, action=Action.ALLOW):
    return Call(
        tenant="t",
        call_id=name,
        session_id="s",
        state=CallState.PENDING,
        action=action,
        reason=Reason.ALLOW,
        tool_name="x",
        model_requested="m",
        prompt_tokens=0,
        completion_tokens=0,
        raw_estimate_nanos=0,
        estimate_nanos=0,
        factor_micros=1,
        actor_type=actor,
        at_us=at,
        actor_id=actor_id,
    )


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("claude-code", "claude"),
        ("claude_code", "claude"),
        ("codex-mcp-client", "codex"),
        ("gemini-cli-mcp-client", "gemini"),
        ("opencode", "opencode"),
        ("qwen-cli-mcp-client-budget", "qwen"),
        ("copilot-cli", "copilot"),
        ("cursor", None),
        ("unknown", None),
    ],
)
def test_a_client_is_known_by_any_of_its_names(name, family):
    assert REGISTRY.family_of(name) == family


# sessions, response's (client, project, time) -> session
SESSIONS = [
    ([session("a")], ("claude_code", "/home/me/p", 5), "a"),
    ([session("a")], ("claude_code", "/home/me/p/src", 5), "a"),
    ([session("a")], ("claude_code", "/home/me/pp", 5), None),
    ([session("a")], ("claude_code", None, 5), None),
    ([session("a", project=None)], ("claude_code", "/home/me/p", 5), None),
    ([session("a")], ("codex", "/home/me/p", 5), None),
    ([session("a", client="unknown")], ("codex", "/home/me/p", 5), "a"),
    ([session("a", started=6)], ("claude_code", "/home/me/p", 5), None),
    ([session("a", ended=4)], ("claude_code", "/home/me/p", 5), None),
    ([session("a", ended=5)], ("claude_code", "/home/me/p", 5), "a"),
    ([session("a"), session("b", started=2)], ("claude_code", "/home/me/p", 5), None),
    ([session("a", ended=3), session("b", started=4)], ("claude_code", "/home/me/p", 5), "b"),
    ([session("a"), session("b", started=2, parent="a")], ("claude_code", "/home/me/p", 5), "b"),
    ([session("a"), session("b", parent="a"), session("c", parent="a")], ("claude_code", "/home/me/p", 5), None),
]


@pytest.mark.parametrize(("sessions", "response", "expected"), SESSIONS)
def test_a_response_belongs_to_the_one_session_of_its_workspace_and_time_or_to_none(sessions, response, expected):
    client, project, at_us = response
    found = session_for(client=client, project=project, at_us=at_us, sessions=sessions, family_of=REGISTRY.family_of)
    assert (None if found is None else found.session_id) == expected


SUB = ActorType.SUBAGENT
# calls, response's (agent, time) -> call
CALLS = [
    ([call("a", 1), call("b", 3)], (None, 2), "a"),
    ([call("a", 1), call("b", 3)], (None, 3), "b"),
    ([call("a", 1)], (None, 0), None),
    ([call("a", 1), call("b", 2, action=Action.HALT)], (None, 3), "a"),
    ([call("a", 1), call("s", 2, actor=SUB, actor_id="x")], (None, 3), "a"),
    ([call("a", 1), call("s", 2, actor=SUB, actor_id="x")], ("x", 3), "s"),
    ([call("a", 1), call("s", 2, actor=SUB, actor_id="x")], ("y", 3), "a"),
    ([call("a", 1), call("s", 2, actor=SUB)], ("y", 3), "s"),
    ([call("a", 4), call("s", 5, actor=SUB)], ("y", 3), None),
]


@pytest.mark.parametrize(("calls", "response", "expected"), CALLS)
def test_a_response_belongs_to_the_last_call_its_actor_had_asked_about(calls, response, expected):
    agent_id, at_us = response
    found = call_for(agent_id=agent_id, at_us=at_us, calls=calls)
    assert (None if found is None else found.call_id) == expected


def test_an_actor_that_goes_on_closes_its_own_earlier_calls_only():
    calls = [call("a", 1), call("s", 2, actor=SUB, actor_id="x"), call("b", 3), call("c", 9)]
    assert [closed.call_id for closed in closed_by(calls[2], calls)] == ["a"]
