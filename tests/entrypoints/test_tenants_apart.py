"""Servers of two tenants over one ledger: whatever one is asked, it neither finds, changes nor tells of the other's."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from tests.world import NANOS, World, changed

from tallygate.core.errors import InvalidArgument
from tallygate.entrypoints.mcp_server.server import build_server
from tallygate.ledger.store import sessions as tenant_store
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.proof.evidence import Area
from tallygate.operations.proof.verify import OutsideEvidence, verify_ledger
from tallygate.operations.runtime import in_tenant, wherever
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.pricing.exchange import CONFIGURED, ExchangeBook, Rate

SECRET = "the secret plan"
# What each tool is asked, with an id that another tenant's session has, and what it answers. Those without an id
# have nothing of anybody's.
ASKED = {
    "l6e_run_start": ({"budget_usd": 1, "model": "dear", "parent_session_id": "{session}"}, "unknown_parent"),
    "l6e_authorize_call": ({"session_id": "{session}", "tool_name": "t"}, "unknown_session"),
    "l6e_record_usage": (
        {"call_id": "{call}", "actual_prompt_tokens": 1, "actual_completion_tokens": 1},
        "unknown_call",
    ),
    "l6e_run_end": ({"session_id": "{session}"}, "unknown_session"),
    "start_budget": ({"budget_gbp": 1, "tenant_id": "acme", "session_id": "{session}"}, "invalid_argument"),
    "record_call": (
        {"session_id": "{session}", "model": "dear", "input_tokens": 1, "output_tokens": 1},
        "unknown_session",
    ),
    "check_budget": ({"session_id": "{session}"}, "unknown_session"),
    "get_summary": ({"session_id": "{session}"}, "unknown_session"),
    "request_budget": ({"session_id": "{session}", "amount_usd": 1, "reason": "r"}, "unknown_session"),
    "list_models": None,
    "estimate_cost": None,
}
OTHERWISE = [
    ("l6e_authorize_call", {"session_id": "{session}", "tool_name": "t", "check_only": True}, "unknown_session"),
    (
        "l6e_record_usage",
        {"call_id": "{call}", "actual_prompt_tokens": 0, "actual_completion_tokens": 0, "void_reason": "r"},
        "unknown_call",
    ),
]


@pytest.fixture
def world(world):
    """Of the tenant beta; acme has a session in the same ledger, with a call that is pending."""
    rate = Rate(1_250_000_000, date(2026, 9, 1), CONFIGURED, "GBP")
    return world.with_runtime(exchange=ExchangeBook({"GBP": rate}), tenant="beta", session_tenants={})


@pytest.fixture
def acme(world):
    return of_tenant(world, "acme")


def of_tenant(world: World, tenant: str) -> World:
    """Another server over the same ledger, which remembers nothing that this one does."""
    return replace(
        world,
        rt=changed(world.rt, tenant=tenant, session_tenants={}, session_heads={}, known_prices={}),
    )


def talk(world, script):
    async def main():
        async with Client(build_server(world.rt)) as client:
            return await script(client)

    return anyio.run(main)


def asked(world, tool, /, **arguments):
    async def script(client):
        result = await client.call_tool(tool, arguments)
        return result.is_error, result.content[0].text

    return talk(world, script)


def ok(world, tool, /, **arguments):
    failed, text = asked(world, tool, **arguments)
    assert not failed, text
    return json.loads(text)


def opened(world, session="nightly", **more):
    """A session that the budget tools have opened, and the id of a call that waits for its usage."""
    ok(world, "start_budget", budget_gbp=1, session_id=session, description=SECRET, **more)
    return ok(
        world,
        "l6e_authorize_call",
        session_id=session,
        tool_name="t",
        model="dear",
        estimated_tokens=10,
        estimated_completion_tokens=0,
    )["call_id"]


def filled(arguments, session, call):
    named = {"{session}": session, "{call}": call}
    return {name: named.get(value, value) for name, value in arguments.items()}


def journal(world, tenant):
    with world.ledger.reading(tenant) as reader:
        return reader.head()


def every_question():
    return [(tool, *each) for tool, each in ASKED.items() if each is not None] + OTHERWISE


def test_every_tool_is_asked_here(world):
    async def script(client):
        return [tool.name for tool in (await client.list_tools()).tools]

    assert sorted(talk(world, script)) == sorted(ASKED)


@pytest.mark.parametrize("tool, arguments, code", every_question())
def test_a_tool_answers_for_anothers_session_as_for_one_that_is_nowhere(world, acme, tool, arguments, code):
    call = opened(acme)
    before = journal(world, "acme")
    failed, of_acme = asked(world, tool, **filled(arguments, "nightly", call))
    _, of_nobody = asked(world, tool, **filled(arguments, "nowhere", "call_nowhere"))
    assert failed
    assert of_acme.startswith(f"{code}:")
    assert of_acme.replace("nightly", "nowhere").replace(call, "call_nowhere") == of_nobody
    assert SECRET not in of_acme
    assert journal(world, "acme") == before


def test_resources_and_prompts_answer_for_anothers_session_as_for_one_that_is_nowhere(world, acme):
    opened(acme)

    async def script(client):
        sessions = (await client.read_resource("tally://sessions")).contents[0].text
        assert json.loads(sessions) == {"sessions": []}
        said = {}
        for session in ("nightly", "nowhere"):
            templates = (await client.list_resource_templates()).resource_templates
            for template in templates:
                with pytest.raises(MCPError) as refused:
                    await client.read_resource(template.uri_template.replace("{session_id}", session))
                said[template.name, session] = str(refused.value.error)
            with pytest.raises(MCPError) as refused:
                await client.get_prompt("drift_review", {"session_id": session})
            said["drift_review", session] = str(refused.value.error)
        return said

    said = talk(world, script)
    assert {name for name, _ in said} == {"session", "drift", "drift_review"}
    for (name, session), text in said.items():
        assert text.replace("nightly", "nowhere") == said[name, "nowhere"], (name, session)


def test_equal_ids_in_two_tenants_are_two_sessions(world, acme):
    opened(acme)
    ok(acme, "record_call", session_id="nightly", model="dear", input_tokens=100, output_tokens=0)
    opened(world)
    for _ in range(2):
        done = ok(world, "record_call", session_id="nightly", model="cheap", input_tokens=100, output_tokens=0)
    assert done["total_spent_gbp"] == 0.016
    assert ok(acme, "get_summary", session_id="nightly")["spent_gbp"] == 0.08
    assert ok(world, "get_summary", session_id="nightly")["tenant_id"] == "beta"
    for each in (world, acme):
        ok(each, "l6e_run_end", session_id="nightly")
    lines = [json.loads(line) for line in world.rt.workspace.run_log_path.read_text().splitlines()]
    assert [line["run_id"] for line in lines] == ["nightly", "nightly"], "each has its line in the log they share"
    assert lines[0]["ledger"] != lines[1]["ledger"]


def test_each_line_of_equal_ids_is_held_against_the_journal_of_its_own_tenant(world, acme):
    for each in (world, acme):
        opened(each)
        ok(each, "record_call", session_id="nightly", model="dear", input_tokens=int(each is acme), output_tokens=0)
        ok(each, "l6e_run_end", session_id="nightly")
    report = verify_ledger(world.ledger.path, OutsideEvidence({}, log=world.rt.workspace.run_log_path))
    assert (report.counted[Area.RUN_LOG], dict(report.facts)["run log"]) == (0, "2 lines of this ledger, 0 of others")


def test_what_a_program_remembers_of_a_session_is_that_of_its_own_tenant(world):
    """Hooks of several projects ask one program, which works among the rows of each of them."""
    for tenant, model in (("beta", "dear"), ("acme", "cheap")):
        here = in_tenant(world.rt, tenant)
        start_session(here, Opening(NANOS, model, session_id="nightly"))
        answer = authorize(here, StatedStep("nightly", "t", prompt_tokens=100, completion_tokens=0))
        assert answer.remaining_nanos == NANOS - {"dear": NANOS // 10, "cheap": NANOS // 100}[model]


# ---------------------------------------------------------------- a tenant that the caller names


def test_a_session_that_was_opened_for_a_tenant_stays_within_reach_also_of_the_next_server(world):
    nobody = of_tenant(world, "default")
    opened(nobody, "job", tenant_id="acme")
    after = of_tenant(world, "default")
    done = ok(after, "record_call", session_id="job", model="dear", input_tokens=100, output_tokens=0)
    assert done["total_spent_gbp"] == 0.08
    child = ok(after, "l6e_run_start", budget_usd=1, model="dear", parent_session_id="job")["session_id"]
    call = ok(after, "l6e_authorize_call", session_id=child, tool_name="t", estimated_tokens=1)["call_id"]
    last = of_tenant(world, "default")
    usage = {"call_id": call, "actual_prompt_tokens": 1, "actual_completion_tokens": 0}
    assert ok(last, "l6e_record_usage", **usage)["session_id"] == child
    assert ok(of_tenant(world, "acme"), "get_summary", session_id="job")["tenant_id"] == "acme"


def test_what_a_tenants_own_server_has_opened_is_neither_found_nor_told_by_one_that_names_the_tenant(world, acme):
    opened(acme)
    nobody = of_tenant(world, "default")
    failed, text = asked(nobody, "start_budget", budget_gbp=2, session_id="nightly", tenant_id="acme")
    assert failed
    assert text.startswith("session_conflict: 'nightly' cannot be the id of a session here.")
    assert "acme" not in text
    assert asked(nobody, "get_summary", session_id="nightly")[1].startswith("unknown_session:")
    opened(nobody)
    assert ok(nobody, "get_summary", session_id="nightly")["tenant_id"] is None


def test_where_the_settings_say_whose_the_work_is_a_caller_names_no_other_tenant(world):
    failed, text = asked(world, "start_budget", budget_gbp=1, tenant_id="acme")
    assert (failed, "as the settings say" in text, "Leave tenant_id out." in text) == (True, True, True)
    assert ok(world, "start_budget", budget_gbp=1, session_id="mine", tenant_id="beta")["session_id"] == "mine"


def test_an_id_is_looked_up_without_a_scan_however_many_sessions_were_opened_for_others(world):
    with world.ledger.reading("default") as reader:
        for sql in (tenant_store.SELECT_REACHED_SESSION, tenant_store.SELECT_REACHED_CALL):
            named = {"tenant": "default", "session_id": "s", "call_id": "c"}
            plan = [row[3] for row in reader._execute(f"EXPLAIN QUERY PLAN {sql}", named).fetchall()]
            scans = [line for line in plan if line.startswith("SCAN") and "reached" not in line and line != "SCAN r"]
            assert not scans, plan


# ---------------------------------------------------------------- the user, who may look at all of them


def test_the_user_finds_a_session_in_whatever_tenant_and_says_which_where_several_have_its_id(world, acme):
    opened(acme)
    nobody = of_tenant(world, "default")
    assert wherever(nobody.rt, "nightly").tenant == "acme"
    assert wherever(nobody.rt, "nowhere").tenant == "default"
    opened(world)
    with pytest.raises(InvalidArgument, match=r"2 tenants have a session 'nightly': acme, beta"):
        wherever(nobody.rt, "nightly")
    opened(nobody)
    assert wherever(nobody.rt, "nightly").tenant == "default"
