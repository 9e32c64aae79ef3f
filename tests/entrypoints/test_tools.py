"""The l6e_* tools and prices as a client sees them: schemas, words, slim answers, refusals; in both protocol eras."""

from __future__ import annotations

import json
from dataclasses import replace

import anyio
import jsonschema
import pytest
from mcp import Client
from tests.reading_rules import Rule
from tests.world import changed

from tallygate import __version__
from tallygate.core.costing import Tokens
from tallygate.core.moments import as_datetime
from tallygate.core.usage import ObservedUsage
from tallygate.entrypoints.mcp_server.server import build_server
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.operations.views.prices import SEEDS
from tallygate.pricing.tokens import estimate_milli_tokens

ERAS = ("legacy", "auto")
SIX = ["l6e_run_start", "l6e_authorize_call", "l6e_record_usage", "l6e_run_end", "list_models", "estimate_cost"]


def talk(world, script, *, mode="auto"):
    """Run a coroutine against the server in memory, with the official client."""

    async def main():
        async with Client(build_server(world.rt, family="l6e"), mode=mode) as client:
            return await script(client)

    return anyio.run(main)


async def ok(client, tool, /, **arguments):
    """The structured answer of a call that must work, checked against the text and the schema it came with."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content[0].text
    assert json.loads(result.content[0].text) == result.structured_content
    schema = next(t.output_schema for t in (await client.list_tools()).tools if t.name == tool)
    jsonschema.validate(result.structured_content, schema)
    return result.structured_content


async def refused(client, tool, /, **arguments):
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return result.content[0].text


async def start(client, /, **arguments):
    return (await ok(client, "l6e_run_start", **{"budget_usd": 1, "model": "dear", **arguments}))["session_id"]


@pytest.mark.parametrize("mode", ERAS)
def test_a_whole_session_goes_through_the_tools(world, mode):
    async def script(client):
        session = await start(client, client="codex", task_summary="a task")
        allowed = await ok(client, "l6e_authorize_call", session_id=session, tool_name="edit", estimated_tokens=300)
        assert allowed == {
            "action": "allow",
            "call_id": allowed["call_id"],
            "remaining_usd": 0.3,
            "budget_pressure": "moderate",
            "reason": "allow",
        }
        used = await ok(
            client,
            "l6e_record_usage",
            call_id=allowed["call_id"],
            actual_prompt_tokens=800,
            actual_completion_tokens=10,
        )
        assert used == {
            "call_id": allowed["call_id"],
            "session_id": session,
            "status": "reconciled",
            "exactness_state": "exact_recorded",
            "spend_so_far_usd": 0.81,
            "remaining_usd": 0.19,
            "budget_pressure": "high",
        }
        rerouted = await ok(
            client,
            "l6e_authorize_call",
            session_id=session,
            tool_name="edit",
            estimated_prompt_tokens=0,
            estimated_completion_tokens=10,
            actor_type="subagent",
            actor_id="a1",
        )
        assert (rerouted["action"], rerouted["reason"]) == ("reroute", "warn:budget_pressure")
        halted = await ok(client, "l6e_authorize_call", session_id=session, tool_name="edit")
        assert (halted["action"], halted["reason"]) == ("halt", "budget_pressure:halt")
        assert "call_id" not in halted
        assert halted["command"] in halted["message"]
        assert halted["budget"]["limit"] == 1.0
        ended = await ok(client, "l6e_run_end", session_id=session, task_summary="done")
        assert ended == {
            "session_id": session,
            "total_cost_usd": 0.82,
            "calls_made": 2,
            "savings_confidence": "partial_exact",
            "pending_exact_calls": 0,
            "exactness_state": "partial_exact",
            "usage_basis": "mixed",
            "last_reconciled_at": ended["last_reconciled_at"],
            "mode_coverage": {
                "ask_mode_exact_capable": False,
                "plan_mode_exact_capable": False,
                "agent_mode_exact_capable": False,
            },
            "modes_without_exact_coverage": ["ask", "plan", "agent"],
        }
        assert ended["last_reconciled_at"] == pytest.approx(world.clock.at_us / 1e6, abs=60)
        assert await ok(client, "l6e_run_end", session_id=session) == ended

    talk(world, script, mode=mode)
    assert len(world.rt.workspace.run_log_path.read_text().splitlines()) == 1


def test_check_only_answers_what_is_left_and_what_the_gate_would_decide_and_records_nothing(world):
    async def script(client):
        session = await start(client)
        await ok(client, "l6e_authorize_call", session_id=session, tool_name="t", estimated_tokens=450)
        before = world.events()
        answer = await ok(client, "l6e_authorize_call", session_id=session, tool_name="t", check_only=True)
        assert answer.pop("message").endswith(answer["command"])
        assert answer.pop("command").startswith("tallygate budget raise ")
        assert answer.pop("budget")["remaining"] == 0.15
        assert answer == {
            "action": "halt", "reason": "budget_pressure:halt",
            "budget_pressure": "high", "remaining_usd": 0.15, "pct_used": 85.0,
        }  # fmt: skip
        assert world.events() == before

    talk(world, script)


def test_the_server_names_itself_and_every_tool_has_title_annotations_and_schemas(world):
    async def script(client):
        assert (client.server_info.name, client.server_info.version) == ("tallygate", __version__)
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == SIX
        for tool in tools:
            jsonschema.Draft202012Validator.check_schema(tool.input_schema)
            jsonschema.Draft202012Validator.check_schema(tool.output_schema)
            assert tool.input_schema["additionalProperties"] is False
            assert tool.title
            hints = tool.annotations
            assert (hints.destructive_hint, hints.open_world_hint) == (False, False)
            assert hints.read_only_hint == (tool.name in ("list_models", "estimate_cost"))
            assert "must" not in tool.description, "a description says what a tool does, not how to behave"

    talk(world, script)


def test_the_schema_of_the_six_tools_stays_small(world):
    async def script(client):
        return (await client.list_tools()).tools

    tools = talk(world, script)
    slim = [{"name": t.name, "description": t.description, "inputSchema": t.input_schema} for t in tools]
    counted = estimate_milli_tokens(json.dumps(slim, separators=(",", ":"))) / 1000
    assert counted <= 1000


PREDECESSOR_ARGUMENTS = {
    "l6e_run_start": "budget_usd model client task_summary parent_session_id accounting_mode usage_channel"
    " ask_mode_exact_capable plan_mode_exact_capable agent_mode_exact_capable unknown_model_pricing_mode",
    "l6e_authorize_call": "session_id tool_name model estimated_tokens estimated_prompt_tokens"
    " estimated_completion_tokens check_only actor_type actor_id actor_name parent_call_id call_mode"
    " actual_prompt_tokens actual_completion_tokens",
    "l6e_record_usage": "call_id actual_prompt_tokens actual_completion_tokens model_used callback_request_id"
    " callback_trace_id correlation_key correlation_source hosted_ledger_id",
    "l6e_run_end": "session_id task_summary",
}
PREDECESSOR_REQUIRED = {
    "l6e_run_start": {"budget_usd", "model"},
    "l6e_authorize_call": {"session_id", "tool_name"},
    "l6e_record_usage": {"call_id", "actual_prompt_tokens", "actual_completion_tokens"},
    "l6e_run_end": {"session_id"},
}
PREDECESSOR_VALUES = {
    ("l6e_run_start", "accounting_mode"): {"estimate_only", "exact_optional", "exact_required"},
    ("l6e_run_start", "usage_channel"): {"none", "hosted_edge", "self_hosted_relay", "manual_import"},
    ("l6e_run_start", "unknown_model_pricing_mode"): {"warn_only", "reroute_required", "halt_on_unknown_pricing"},
    ("l6e_authorize_call", "actor_type"): {"parent_agent", "subagent"},
    ("l6e_authorize_call", "call_mode"): {"ask", "plan", "agent"},
}


def test_rules_written_for_the_predecessor_find_every_argument_and_value(world):
    async def script(client):
        return {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}

    schemas = talk(world, script)
    for tool, names in PREDECESSOR_ARGUMENTS.items():
        assert set(names.split()) <= schemas[tool]["properties"].keys()
        assert set(schemas[tool]["required"]) == PREDECESSOR_REQUIRED[tool]
    for (tool, name), values in PREDECESSOR_VALUES.items():
        assert set(schemas[tool]["properties"][name]["enum"]) == values


def test_a_label_that_is_too_long_is_cut_as_nothing_is_found_by_it(world):
    session = world.start("1")

    async def script(client):
        await ok(client, "l6e_authorize_call", session_id=session, tool_name="x" * 10_000, estimated_tokens=1)

    talk(world, script)
    assert world.calls(session)[0].tool_name == "x" * 200


HOSTILE = [
    ("l6e_run_start", {"budget_usd": 0, "model": "m"}, "budget_usd"),
    ("l6e_run_start", {"budget_usd": -1, "model": "m"}, "budget_usd"),
    ("l6e_run_start", {"budget_usd": 10**400, "model": "m"}, "budget_usd"),
    ("l6e_run_start", {"budget_usd": True, "model": "m"}, "budget_usd"),
    ("l6e_run_start", {"budget_usd": "much", "model": "m"}, "budget_usd"),
    ("l6e_run_start", {"model": "m"}, "budget_usd"),
    ("l6e_run_start", {"budget_usd": 1}, "model"),
    ("l6e_run_start", {"budget_usd": 1, "model": 5}, "model"),
    ("l6e_run_start", {"budget_usd": 1, "model": "m" * 201}, "model"),
    ("l6e_run_start", {"budget_usd": 1, "model": "m", "accounting_mode": "exact"}, "accounting_mode"),
    ("l6e_run_start", {"budget_usd": 1, "model": "m", "ask_mode_exact_capable": "yes"}, "ask_mode_exact_capable"),
    ("l6e_run_start", {"budget_usd": 1, "model": "m", "parent_session_id": "session_x"}, "session_x"),
    ("l6e_run_start", {"budget_usd": 1, "model": "m", "bugdet": 1}, "bugdet"),
    ("l6e_authorize_call", {"estimated_tokens": -1}, "estimated_tokens"),
    ("l6e_authorize_call", {"estimated_tokens": 1.5}, "estimated_tokens"),
    ("l6e_authorize_call", {"estimated_tokens": 10**400}, "estimated_tokens"),
    ("l6e_authorize_call", {"estimated_prompt_tokens": 1_000_000_001}, "estimated_prompt_tokens"),
    ("l6e_authorize_call", {"estimated_completion_tokens": False}, "estimated_completion_tokens"),
    ("l6e_authorize_call", {"estimated_tokens": "many"}, "estimated_tokens"),
    ("l6e_authorize_call", {"actual_prompt_tokens": 5}, "actual_completion_tokens"),
    ("l6e_authorize_call", {"actor_type": "boss"}, "actor_type"),
    ("l6e_authorize_call", {"call_mode": "x"}, "call_mode"),
    ("l6e_authorize_call", {"tool_name": ""}, "tool_name"),
    ("l6e_authorize_call", {"check_only": 1}, "check_only"),
    ("l6e_authorize_call", {"estimate_tokens": 5}, "estimated_tokens"),
    ("l6e_authorize_call", {"session_id": "session_x"}, "session_x"),
    ("l6e_record_usage", {"call_id": "call_x", "actual_prompt_tokens": 1, "actual_completion_tokens": 1}, "call_x"),
    ("l6e_record_usage", {"call_id": "c", "actual_prompt_tokens": -1, "actual_completion_tokens": 1}, "actual_prompt"),
    ("l6e_record_usage", {"call_id": "c", "actual_prompt_tokens": 1}, "actual_completion_tokens"),
    (
        "l6e_record_usage",
        {"call_id": "c", "actual_prompt_tokens": 1, "actual_completion_tokens": 0, "void_reason": "no"},
        "void_reason",
    ),
    ("l6e_run_end", {"session_id": "session_x"}, "session_x"),
    ("estimate_cost", {"model": "m", "input_tokens": -1, "output_tokens": 0}, "input_tokens"),
    ("list_models", {"vendor": "x"}, "provider"),
]


@pytest.mark.parametrize(("tool", "arguments", "named"), HOSTILE)
def test_bad_input_is_refused_by_name_and_changes_nothing(world, tool, arguments, named):
    async def script(client):
        session = await start(client)
        before = world.events()
        if tool == "l6e_authorize_call":
            arguments_ = {"session_id": session, "tool_name": "t", **arguments}
        else:
            arguments_ = arguments
        text = await refused(client, tool, **arguments_)
        assert named in text
        assert len(text) < 700
        assert world.events() == before

    talk(world, script)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(world, value):
    from tallygate.entrypoints.mcp_server.session_tools import SessionTools
    from tallygate.entrypoints.mcp_server.tools import Caller, answer_call

    spec = SessionTools(world.rt).specs()[0]
    result = answer_call(spec, {"budget_usd": value, "model": "m"}, Caller())
    assert result.is_error
    assert "budget_usd" in result.content[0].text


def test_an_integral_number_with_a_fraction_part_counts_as_whole(world):
    async def script(client):
        session = await start(client)
        answer = await ok(client, "l6e_authorize_call", session_id=session, tool_name="t", estimated_tokens=100.0)
        assert answer["remaining_usd"] == 0.5

    talk(world, script)


def test_null_counts_as_left_out_and_case_and_spaces_do_not_matter_in_choices(world):
    async def script(client):
        session = await start(client, client=None, accounting_mode=" Exact_Optional ")
        await ok(
            client,
            "l6e_authorize_call",
            session_id=session,
            tool_name="t",
            model=None,
            actor_type="SUBAGENT",
            estimated_tokens=1,
            estimated_completion_tokens=0,
        )

    talk(world, script)


@pytest.mark.parametrize(
    "estimated, prompt, completion, held",
    [
        (1000, 1, 0, 1000),
        (1, 1000, 0, 1000),
        (1000, 0, 0, 1000),
        (0, 1000, 0, 1000),
        (1000, 1, None, 1400),
        (1000, 1, 5, 1005),
        (1000, 800, 200, 1000),  # all tokens of the step, and its parts
        (900, 800, 200, 1000),
        (1001, 800, 200, 1201),
        (None, 1000, 0, 1000),
        (1000, None, 0, 1000),
        (None, None, 0, 2000),
    ],
)
def test_of_two_estimates_of_one_step_the_larger_counts(world, estimated, prompt, completion, held):
    async def script(client):
        session = await start(client, budget_usd=10)
        step = {"estimated_tokens": estimated, "estimated_prompt_tokens": prompt}
        step |= {"session_id": session, "tool_name": "t", "estimated_completion_tokens": completion}
        looked = await ok(client, "l6e_authorize_call", **step, check_only=True)
        answer = await ok(client, "l6e_authorize_call", **step)
        assert (looked["action"], answer["remaining_usd"]) == ("allow", round(10 - held / 1000, 6))

    talk(world, script)


def test_zero_is_an_estimate_but_no_step_takes_no_tokens(world):
    async def script(client):
        session = await start(client, budget_usd=10)
        step = {"session_id": session, "tool_name": "t", "estimated_completion_tokens": 0}
        one = await ok(client, "l6e_authorize_call", **step, estimated_prompt_tokens=100)
        assert one["remaining_usd"] == 9.9
        none = await ok(client, "l6e_authorize_call", **step, estimated_prompt_tokens=0)
        assert none["remaining_usd"] == 7.5

    talk(world, script)


def test_a_void_releases_and_a_conflict_says_both(world):
    async def script(client):
        session = await start(client)
        asked = {"session_id": session, "tool_name": "t", "estimated_tokens": 100, "estimated_completion_tokens": 0}
        first = (await ok(client, "l6e_authorize_call", **asked))["call_id"]
        voided = await ok(
            client,
            "l6e_record_usage",
            call_id=first,
            actual_prompt_tokens=0,
            actual_completion_tokens=0,
            void_reason="user said no",
        )
        assert (voided["status"], voided["remaining_usd"]) == ("voided", 1.0)
        second = (await ok(client, "l6e_authorize_call", **asked))["call_id"]
        await ok(client, "l6e_record_usage", call_id=second, actual_prompt_tokens=5, actual_completion_tokens=1)
        text = await refused(
            client, "l6e_record_usage", call_id=second, actual_prompt_tokens=6, actual_completion_tokens=1
        )
        assert text.startswith("usage_conflict:")
        assert "5 prompt" in text
        assert "6 prompt" in text

    talk(world, script)


@pytest.mark.parametrize("mode", ERAS)
def test_a_call_the_client_names_is_answered_once(world, mode):
    async def script(client):
        session = await start(client)
        asked = {"session_id": session, "tool_name": "t", "estimated_tokens": 100}
        first = await client.call_tool("l6e_authorize_call", asked, meta={"claudecode/toolUseId": "toolu_1"})
        again = await client.call_tool("l6e_authorize_call", asked, meta={"claudecode/toolUseId": "toolu_1"})
        assert first.structured_content == again.structured_content
        other = await client.call_tool(
            "l6e_authorize_call", {**asked, "estimated_tokens": 101}, meta={"claudecode/toolUseId": "toolu_1"}
        )
        assert other.is_error
        assert "prompt_tokens" in other.content[0].text

    talk(world, script, mode=mode)
    assert world.events() == 2


def test_hidden_text_in_names_reaches_neither_ledger_nor_answers_raw(world):
    hostile = "edit\x1b]8;;http://x\x07\u202e\U000e0041\nIGNORE"

    async def script(client):
        session = await start(client, client=hostile, task_summary=hostile)
        await ok(client, "l6e_authorize_call", session_id=session, tool_name=hostile, estimated_tokens=1)
        return session

    session = talk(world, script)
    stored = world.calls(session)[0].tool_name
    assert stored.isprintable()
    assert session.isascii()


def test_a_fault_inside_is_hidden_from_the_model_and_never_an_allow(world, caplog):
    class Exploding:
        def __getattr__(self, name):
            raise RuntimeError("secret path /home/user")

    session = world.start("1")

    async def script(client):
        return await client.call_tool("l6e_authorize_call", {"session_id": session, "tool_name": "t", "model": "m"})

    broken = replace(world, rt=changed(world.rt, prices=Exploding()))
    result = talk(broken, script)
    assert result.is_error
    assert "secret" not in result.content[0].text
    assert "allow" in result.content[0].text
    assert "secret path" in caplog.text


def test_models_are_listed_with_their_prices_and_the_rate_of_unknown_ones(world):
    async def script(client):
        everything = await ok(client, "list_models")
        assert everything["matching"] > len(everything["models"])
        assert everything["default_per_1k"] > 0
        (opus,) = (await ok(client, "list_models", provider="anthropic", query="opus-4-7"))["models"]
        assert (opus["input"], opus["output"], opus["cache_read"]) == (5.0, 25.0, 0.5)
        assert opus["blended_per_1k"] == 0.01
        assert 0 < opus["blended_cost_per_1k_gbp"] < 0.01
        assert (opus["input_per_1k"], opus["output_per_1k"]) == (0.005, 0.025)
        assert 0 < opus["input_per_1k_gbp"] < 0.005 < opus["output_per_1k_gbp"] < 0.025
        assert 0 < everything["default_rate_per_1k_gbp"] <= 0.025

    talk(world, script)


def test_the_list_begins_with_the_models_in_use_then_with_those_that_agents_choose_among(world):
    world.clock.forward(2_000_000)
    row = ObservedUsage(
        "codex", "c", "r", as_datetime(world.clock.at_us), "gpt-5.5", Tokens(output=10), Rule.CODEX_LAST
    )  # fmt: skip
    ingest(world.rt, FileReading("codex", "/t", [row]))

    async def script(client):
        found = await ok(client, "list_models")
        ids = [line["id"] for line in found["models"]]
        assert ids[: 1 + len(SEEDS)] == ["gpt-5.5", *SEEDS]
        assert {line["id"]: line["blended_cost_per_1k_gbp"] for line in found["models"]}["ollama-local"] == 0
        assert [line["id"] for line in (await ok(client, "list_models", provider="local"))["models"]] == [
            "ollama-local"
        ]
        pages = [found["models"]]
        while "next_page" in found:
            found = await ok(client, "list_models", page=found["next_page"])
            pages.append(found["models"])
        every = [(line["provider"], line["id"]) for page in pages for line in page]
        assert (len(every), len(set(every))) == (found["matching"], found["matching"])
        assert ("anthropic", "claude-opus-4-7") not in every, "it stands there once, under the first of its names"
        assert (await ok(client, "list_models", page=10_000))["models"] == []

    talk(world, script)


def test_looking_at_a_session_that_has_ended_says_so_and_names_no_room(world):
    async def script(client):
        session = await start(client)
        await ok(client, "l6e_run_end", session_id=session)
        for look in ({}, {"estimated_tokens": 10}, {"model": "zzz"}):
            answer = await ok(client, "l6e_authorize_call", session_id=session, tool_name="t", check_only=True, **look)
            assert (answer["action"], answer["reason"], answer["budget_pressure"]) == (
                "halt", "session_ended", "critical",
            )  # fmt: skip
            assert "has ended" in answer["message"]
            assert "remaining_steps" not in answer

    talk(world, script)


@pytest.mark.parametrize(
    "model", ["claude-opus-4.7", "claude-opus-4-7", "anthropic/claude-opus-4.7", "claude-opus-4-7-20260416"]
)
def test_a_cost_is_the_same_however_the_model_is_spelled(world, model):
    async def script(client):
        answer = await ok(client, "estimate_cost", model=model, input_tokens=100_000, output_tokens=10_000)
        assert answer["cost_usd"] == answer["cost_usd_approx"] == 0.75
        assert (answer["input_tokens"], answer["output_tokens"]) == (100_000, 10_000)
        assert 0 < answer["cost_gbp"] < 0.75
        assert "genai-prices" in answer["price_source"]

    talk(world, script)
