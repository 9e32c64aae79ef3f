from __future__ import annotations

import jsonschema
import pytest
from bench.wire import ERAS, SERVE, Server

pytestmark = pytest.mark.slow

WRONG = {
    "l6e_run_start": {"budget_usd": -1, "model": "gpt-4o"},
    "l6e_authorize_call": {"session_id": "no-such", "tool_name": "edit"},
    "l6e_record_usage": {"call_id": "no-such", "actual_prompt_tokens": 1, "actual_completion_tokens": 1},
    "l6e_run_end": {"session_id": "no-such"},
    "list_models": {"no_such_argument": 1},
    "estimate_cost": {"model": "gpt-4o", "input_tokens": -1, "output_tokens": 1},
}


@pytest.mark.parametrize("era", ERAS)
def test_an_error_says_what_and_never_contradicts_the_schema_that_clients_hold_it_against(home, era):
    # Clients on the TypeScript SDK 1.x check every structured answer, errors too, and show the mismatch instead.
    with Server(SERVE, home, era=era) as server:
        tools = {tool["name"]: tool for tool in server.greet().tools()}
        for name, arguments in WRONG.items():
            answer = server.request("tools/call", {"name": name, "arguments": arguments})
            assert answer["isError"]
            assert ": " in answer["content"][0]["text"]
            if (structured := answer.get("structuredContent")) is not None:
                jsonschema.validate(structured, tools[name]["outputSchema"])


def test_every_server_process_says_goodbye_with_zero_when_its_client_closes_the_pipe(home):
    server = Server(SERVE, home)
    with server:
        server.greet().tools()
        assert server.close() == 0
