"""The resources and the prompt as a client sees them, in both protocol eras."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS
from tests.docs.pages import ROOT
from tests.operations.usage.test_ingest import PROJECT, response, take
from tests.world import MINUTE, the_user

from tallygate.core.costing import Tokens
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.model import Actor
from tallygate.core.statements import BilledTokens, BillLine, Grain
from tallygate.core.words import ActorType, ExpireAs, UnknownPrice
from tallygate.entrypoints.mcp_server.server import build_server
from tallygate.operations.bills.keep import Draft, keep_bill
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.sessions.ending import end_session

ERAS = pytest.mark.parametrize("mode", ["legacy", "auto"])
FIXED = ("tally://sessions", "tally://policy", "tally://history")
TEMPLATES = ["tally://session/{session_id}", "tally://drift/{session_id}"]


def talk(world, script, *, mode="auto", **options):
    async def main():
        async with Client(build_server(world.rt, **options), mode=mode) as client:
            return await script(client)

    return anyio.run(main)


def read(world, uri, *, mode="auto", **options):
    """A resource as JSON."""

    async def script(client):
        (content,) = (await client.read_resource(uri)).contents
        assert (content.uri, content.mime_type) == (uri, "application/json")
        return json.loads(content.text)

    return talk(world, script, mode=mode, **options)


def refusal(world, script, *, mode="auto"):
    async def caught(client):
        with pytest.raises(MCPError) as refused:
            await script(client)
        return refused.value.error

    return talk(world, caught, mode=mode)


def prompt(world, *, mode="auto", name="budgeted_task", **arguments):
    async def script(client):
        (message,) = (await client.get_prompt(name, arguments)).messages
        assert message.role == "user"
        return message.content.text

    return talk(world, script, mode=mode)


def worked(world):
    session = world.start("1", client="codex", task_summary="a secret plan")
    done = world.ask(session, 300, tool_name="plan").call_id
    record_usage(world.rt, UsageReport(done, Tokens(200)))
    world.ask(session, 100, actor=Actor(ActorType.SUBAGENT, "a1", "help\x1b[31mer"))
    world.ask(session, 900_000)
    return session


@ERAS
def test_what_is_offered_is_listed_and_adds_no_tool(world, mode):
    async def script(client):
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        prompts = (await client.list_prompts()).prompts
        assert [each.uri for each in resources] == list(FIXED)
        assert [each.uri_template for each in templates] == TEMPLATES
        assert {each.mime_type for each in [*resources, *templates]} == {"application/json"}
        assert all(each.title and each.description for each in [*resources, *templates, *prompts])
        assert [(each.name, [(a.name, a.required) for a in each.arguments]) for each in prompts] == [
            ("budgeted_task", [("budget_usd", True), ("task", True)]),
            ("drift_review", [("session_id", True)]),
        ]
        assert len((await client.list_tools()).tools) == 11

    talk(world, script, mode=mode)


@ERAS
def test_open_sessions_are_shown_with_what_is_left(world, mode):
    ended = world.start()
    end_session(world.rt, ended)
    session = worked(world)
    (found,) = read(world, "tally://sessions", mode=mode)["sessions"]
    assert found == {
        "session_id": session,
        "client": "codex",
        "model": "dear",
        "parent_session_id": None,
        "started_at": found["started_at"],
        "currency": "USD",
        "limit": 1,
        "spent": 0.2,
        "reserved": 0.1,
        "remaining": 0.7,
        "budget_pressure": "low",
        "calls_made": 2,
        "pending": 1,
        "halts": 1,
    }


@ERAS
def test_a_session_is_shown_with_who_changed_its_limit(world, mode):
    session = world.start("1")
    assert read(world, f"tally://session/{session}", mode=mode)["limit_changes"] == []
    raise_budget(world.rt, session, 10**9, reason="more to do", authority=the_user("anna"))
    found = read(world, f"tally://session/{session}", mode=mode)
    [change] = found["limit_changes"]
    assert (change["before"], change["limit"], change["actor"], change["reason"]) == ("1", "2", "anna", "more to do")
    assert found["budgets"][0]["limit"] == 2


def test_a_long_list_of_sessions_ends_at_fifty(world):
    for _ in range(52):
        world.start()
    assert len(read(world, "tally://sessions")["sessions"]) == 50


@ERAS
def test_a_session_is_shown_with_budgets_shares_and_decisions(world, mode):
    session = worked(world)
    found = read(world, f"tally://session/{session}", mode=mode)
    (budget,) = found["budgets"]
    assert (budget["limit"], budget["spent"], budget["reserved"], budget["remaining"]) == (1, 0.2, 0.1, 0.7)
    assert (budget["scope"], budget["mode"]) == ("session", "hard")
    assert (found["total_cost_usd"], found["calls_made"], found["halts"]) == (0.3, 2, 1)
    assert (found["exactness_state"], found["observed"], found["state"]) == ("partial_exact", None, "open")
    assert found["by_tool"] == [{"name": "plan", "calls": 1, "usd": 0.2}, {"name": "edit", "calls": 1, "usd": 0.1}]
    assert {each["name"] for each in found["by_actor"]} == {"parent_agent", "help [31mer"}
    assert {"action": "halt", "reason": "budget_pressure:halt", "count": 1} in found["decisions"]


def test_what_the_client_s_own_record_says_stands_beside_the_estimates(world):
    live = world.with_runtime(project=PROJECT)
    session = live.start("10", client="claude-code")
    live.clock.forward(1_000_000)
    live.ask(session, 300)
    take(live, response(live, "r1", 200, seconds=1))
    found = read(live, f"tally://session/{session}")
    assert found["observed"] == {
        "responses": 1,
        "usd": 0.2,
        "outside_calls_usd": 0,
        "incomplete_responses": 0,
        "estimated_usd": 0.3,
        "tokens": {"fresh_input": 0, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output": 200},
    }
    assert PROJECT not in json.dumps(found)


def test_what_people_wrote_and_places_of_the_machine_stay_out(world):
    session = worked(world)
    for uri in (*FIXED, f"tally://session/{session}", f"tally://drift/{session}"):
        text = json.dumps(read(world, uri))
        for word in ("secret", str(world.folder), "runs.jsonl", "\\u001b"):
            assert word not in text, uri


def test_reading_writes_nothing(world):
    session = worked(world)
    before = world.events()
    for uri in (*FIXED, f"tally://session/{session}", f"tally://drift/{session}"):
        read(world, uri)
    assert world.events() == before


@ERAS
def test_the_policy_says_what_an_agent_meets(world, mode):
    set_ = world.with_policy(reroute_at_percent=70, expire_as=ExpireAs.RELEASE).with_runtime(
        halt_on_fault=False, ladder=lambda client: ("dear", "cheap"), local_model="local/one"
    )
    found = read(set_, "tally://policy", mode=mode, unknown_price=UnknownPrice.HALT)
    assert found == {
        "reroute_at_percent": 70,
        "pressure_percents": {"moderate": 50, "high": 80, "critical": 95},
        "ladder": ["dear", "cheap"],
        "local_model": "local/one",
        "budget_mode": "hard",
        "on_fault": "allow",
        "reservation_seconds": 600,
        "expire_as": "release",
        "abandon_after_seconds": 3600,
        "unknown_model_pricing_mode": "halt_on_unknown_pricing",
        "task_summaries_kept": True,
    }


@ERAS
def test_history_says_what_ended_sessions_came_to_and_not_what_they_were_for(world, mode):
    for dollars in range(1, 11):
        session = world.start("50", task_summary="a secret plan")
        record_usage(world.rt, UsageReport(world.ask(session, 1000 * dollars).call_id, Tokens(1000 * dollars)))
        end_session(world.rt, session)
    assert read(world, "tally://history", mode=mode)["sessions"]["of_last"] == 0  # an hour ago they may go on
    world.clock.forward(2 * 60 * MINUTE)
    assert read(world, "tally://history", mode=mode) == {
        "currency": "USD",
        "sessions": {
            "ended": 10, "of_last": 10, "half_below": 6, "nine_in_ten_below": 10, "three_in_four": None,
        },
    }  # fmt: skip


@ERAS
@pytest.mark.parametrize("name", ["session_x_2026-01-01_00", "%1b%5b31m", "x" * 5000, "..%2f..%2fetc"])
def test_an_unknown_session_is_a_resource_that_is_not_there(world, mode, name):
    for place in ("session", "drift"):
        uri = f"tally://{place}/{name}"
        error = refusal(world, lambda client, uri=uri: client.read_resource(uri), mode=mode)
        assert error.code == INVALID_PARAMS
        assert "\x1b" not in error.message


@ERAS
def test_an_unknown_place_is_a_resource_that_is_not_there(world, mode):
    error = refusal(world, lambda client: client.read_resource("tally://nothing"), mode=mode)
    assert error.code == INVALID_PARAMS


def test_a_ledger_that_is_away_is_an_error_with_its_code(world):
    class Away:
        def reading(self, tenant):
            raise LedgerUnavailable("The ledger is away.", hint="Wait.", code="lock_timeout")

        prove = reading

        def at_once(self):
            return world.ledger.at_once()

    error = refusal(world.with_runtime(ledger=Away()), lambda client: client.read_resource("tally://sessions"))
    assert (error.code, error.message) == (INTERNAL_ERROR, "lock_timeout: The ledger is away. Wait.")


def test_a_fault_of_the_program_is_hidden_from_the_client(world, caplog):
    def broken(client):
        raise ZeroDivisionError("details")

    error = refusal(world.with_runtime(ladder=broken), lambda client: client.read_resource("tally://policy"))
    assert error.code == INTERNAL_ERROR
    assert "internal_error" in error.message
    assert "details" not in error.message
    assert "details" in caplog.text


@ERAS
def test_the_prompt_tells_how_a_budgeted_task_goes(world, mode):
    text = prompt(world, mode=mode, budget_usd="2.50", task="mend\x1b[31m the parser")
    steps = [text.index(tool) for tool in ("l6e_run_start", "l6e_authorize_call", "l6e_record_usage", "l6e_run_end")]
    assert steps == sorted(steps)
    for part in ("$2.50", "budget_usd 2.5 ", "halt: stop", "mend [31m the parser"):
        assert part in text
    assert text.replace("\n", "").isprintable()


WRONG = [
    ({"budget_usd": "much", "task": "x"}, "budget_usd"),
    ({"budget_usd": "-1", "task": "x"}, "budget_usd"),
    ({"budget_usd": "1"}, "task"),
    ({"budget_usd": "1", "task": " "}, "task"),
    ({"budget_usd": "1", "task": "x", "model": "y"}, "model"),
]


@ERAS
@pytest.mark.parametrize(("arguments", "named"), WRONG)
def test_arguments_of_the_prompt_that_cannot_be_are_named(world, mode, arguments, named):
    error = refusal(world, lambda client: client.get_prompt("budgeted_task", arguments), mode=mode)
    assert error.code == INVALID_PARAMS
    assert named in error.message


def test_every_field_of_a_resource_is_in_the_guide(world):
    session = worked(world)
    guide = (ROOT / "docs" / "guides" / "resources.md").read_text(encoding="utf-8")
    (line,) = read(world, "tally://sessions")["sessions"]
    fields = {*line, *read(world, f"tally://session/{session}"), *read(world, "tally://policy")}
    history = read(world, "tally://history")
    fields |= {*read(world, f"tally://drift/{session}"), *history, *history["sessions"], "low", "high", "tried", "fell"}
    assert {field for field in fields if f"`{field}`" not in guide} == set()


@ERAS
def test_the_drift_of_a_session_has_all_three_figures_and_their_causes(world, mode):
    session = reviewed(world)
    found = read(world, f"tally://drift/{session}", mode=mode)
    [line] = found["lines"]
    assert (line["estimate"], line["recorded"], line["billed"]) == (0.3, 0.2, 0.27)
    assert [cause["cause"] for cause in line["causes"]] == ["hidden_reasoning"]
    assert {each["bucket"]: each["tokens"] for each in found["buckets"]} == {"matched": 200, "bill_only": 70}


def test_what_an_agent_reads_of_a_drift_is_bounded(world):
    session = reviewed(world)
    for number in range(60):
        call = world.ask(session, 1, model=f"model-{number}").call_id
        record_usage(world.rt, UsageReport(call, Tokens(1), model_used=f"model-{number}"))
    found = read(world, f"tally://drift/{session}")
    assert (len(found["lines"]), found["hidden_lines"]) == (20, 41)
    assert len(found["calibration"]["estimates"]) == 20
    assert len(json.dumps(found)) < 40_000


@ERAS
def test_the_drift_prompt_brings_the_figures_and_what_to_make_of_them(world, mode):
    session = reviewed(world)
    text = prompt(world, mode=mode, name="drift_review", session_id=session)
    for part in (session, "hidden_reasoning", '"billed":0.27', "null is unknown", "change nothing"):
        assert part in text
    assert text.replace("\n", "").isprintable()


@ERAS
@pytest.mark.parametrize(
    ("arguments", "named"),
    [({}, "session_id"), ({"session_id": "no such"}, "no such"), ({"session_id": "x", "task": "y"}, "task")],
)
def test_arguments_of_the_drift_prompt_that_cannot_be_are_named(world, mode, arguments, named):
    error = refusal(world, lambda client: client.get_prompt("drift_review", arguments), mode=mode)
    assert error.code == INVALID_PARAMS
    assert named in error.message


def reviewed(world):
    """A session with one call, of which a bill tells more output."""
    session = world.start("100", client="codex")
    call = world.ask(session, 300).call_id
    record_usage(world.rt, UsageReport(call, Tokens(100, output=100)))
    tokens = BilledTokens(100, 0, 0, 170)
    at = datetime(2026, 9, 21, tzinfo=UTC)
    line = BillLine(1, Grain.DAY, at, "acme", ("x",), model="dear", tokens=tokens, cost_nanos=270_000_000)
    keep_bill(world.rt, Draft("generic", "bill.csv", "0" * 64, "USD", [line]))
    return session
