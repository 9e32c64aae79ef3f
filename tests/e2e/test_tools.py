"""A real client goes through every tool of both families, on sessions that they share."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.e2e.driving import Machine
from tests.e2e.programs import ClaudeCode
from tests.e2e.wire import Tokens, Tool, Turn

pytestmark = pytest.mark.e2e

SMALL = Tokens(fresh=20, output=10)
Make = Callable[..., Machine]


def using(tool: str, **arguments: object) -> Turn:
    return Turn(f"Using {tool}.", (Tool(f"mcp__tallygate__{tool}", arguments),), SMALL)


def test_claude_code_goes_through_each_tool(machine: Make) -> None:
    here = machine(
        ClaudeCode(),
        [
            using("start_budget", budget_gbp=1, session_id="ticket-7", description="ticket 7"),
            using("l6e_authorize_call", session_id="ticket-7", tool_name="plan", model="claude-sonnet-4-6"),
            using(
                "record_call", session_id="ticket-7", model="claude-sonnet-4-6", input_tokens=9000, output_tokens=900
            ),
            using("check_budget", session_id="ticket-7", estimated_next_call_gbp=0.01),
            using("get_summary", session_id="ticket-7"),
            using("request_budget", session_id="ticket-7", amount_usd=2, reason="more to do"),
            using("l6e_run_start", budget_usd=1, model="claude-sonnet-4-6"),
            using("list_models", query="sonnet"),
            using("estimate_cost", model="claude-sonnet-4-6", input_tokens=1000, output_tokens=100),
            using("l6e_run_end", session_id="ticket-7"),
            Turn("All fine."),
        ],
    )
    here.init()
    run = here.run()
    assert run.code == 0
    assert "All fine." in run.seen.said
    # What the model was told after each step, by the words of the next request.
    told = json.dumps([each.request for each in here.api.of_kind("main")][-1])
    for words in (
        "budget_gbp",
        "call_cost_gbp",
        "within_budget",
        "model_breakdown",
        "tallygate budget raise",
        "cost_usd",
    ):
        assert words in told, words
    sessions = {session["session_id"]: session for session in here.sessions()}
    assert sessions["ticket-7"]["state"] == "ended"
    assert sessions["ticket-7"]["currency"] == "GBP"
    assert len(sessions) == 3, "the hooks' own, the ticket's, and the one started inside"
