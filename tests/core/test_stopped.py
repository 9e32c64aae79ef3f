"""What counts as a stopped run: the last word that each of its agents got."""

from __future__ import annotations

import pytest

from tallygate.core.model import Call
from tallygate.core.sessions import stopped_by
from tallygate.core.words import Action, ActorType, CallState, Reason


def call(at, who, state):
    return Call(
        tenant="t",
        call_id=f"c{at}",
        session_id="s",
        state=state,
        action=Action.HALT if state is CallState.DENIED else Action.ALLOW,
        reason=Reason.ALLOW,
        tool_name="x",
        model_requested="m",
        prompt_tokens=0,
        completion_tokens=0,
        raw_estimate_nanos=0,
        estimate_nanos=0,
        factor_micros=1,
        at_us=at,
        actor_type=ActorType.PARENT_AGENT if who == "main" else ActorType.SUBAGENT,
        actor_id=None if who in ("main", "starting") else who,
    )


@pytest.mark.parametrize(
    "history, since, stopped",
    [
        ("", -1, None),
        ("main+", -1, None),
        ("main+ main-", -1, 1),
        ("main- main+", -1, None),
        ("main+ main- main-", -1, 2),
        ("main+ a+ a- main+", -1, 2),  # the main agent went on with less, and the subagent's work is missing
        ("main+ a- a+ main+", -1, None),
        ("main+ a- b- main+", -1, 2),
        ("main- a-", -1, 0),  # the main agent's refusal says most
        ("main+ starting- main+", -1, None),  # a tool that was to start a subagent is refused to its main agent
        ("main+ starting-", -1, 1),
        ("main+ main-", 0, 1),
        ("main+ main-", 1, None),  # raised since
        ("main- a-", 0, 1),
    ],
)
def test_a_run_is_stopped_by_the_last_refusal_of_an_agent_that_was_not_let_go_on_since(history, since, stopped):
    states = {"+": CallState.RECONCILED, "-": CallState.DENIED}
    calls = [call(at, word[:-1], states[word[-1]]) for at, word in enumerate(history.split())]
    found = stopped_by(calls, since)
    assert (None if found is None else found.at_us) == stopped
