"""The tools that speak of pounds, and the one that asks the user: with the official client, in both protocol eras."""

from __future__ import annotations

import json
import os
import sys
from datetime import date

import anyio
import jsonschema
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import ElicitResult, ErrorData, Implementation
from tests.world import NANOS, the_user

from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.entrypoints.hook_dispatcher import HookDispatcher, Sender
from tallygate.entrypoints.mcp_server.budget_tools import BudgetTools
from tallygate.entrypoints.mcp_server.server import build_server, instructions
from tallygate.entrypoints.mcp_server.tools import Caller, answer_call
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.sessions.ending import end_session
from tallygate.pricing.exchange import CONFIGURED, ExchangeBook, Rate
from tallygate.pricing.tokens import estimate_milli_tokens

CENT = NANOS // 100
ERAS = pytest.mark.parametrize("mode", ["legacy", "auto"])
L6E = ["l6e_run_start", "l6e_authorize_call", "l6e_record_usage", "l6e_run_end"]
BUDGET = ["start_budget", "record_call", "check_budget", "get_summary", "request_budget"]
CATALOG = ["list_models", "estimate_cost"]
RATE = "1 GBP = 1.25 USD (configured rate of 2026-09-01)"


@pytest.fixture
def world(world):
    """A pound is $1.25, so a thousand tokens of the dear model are 80 pence."""
    rate = Rate(1_250_000_000, date(2026, 9, 1), CONFIGURED, "GBP")
    return world.with_runtime(exchange=ExchangeBook({"GBP": rate}))


class User:
    """Whoever sits at the client: what they were shown, and what they answer."""

    def __init__(self, action="accept", content=None, before=None):
        self.action, self.content, self.before = action, content, before
        self.shown = []

    async def __call__(self, context, params):
        self.shown.append(params)
        if self.before is not None:
            self.before()
        if self.action == "fails":
            return ErrorData(code=-32603, message="no dialog here")
        return ElicitResult(action=self.action, content=self.content)


def talk(world, script, *, mode="auto", user=None, family="all", name="test", **more):
    async def main():
        server = build_server(world.rt, family=family, **more)
        info = Implementation(name=name, version="1")
        async with Client(server, mode=mode, elicitation_callback=user, client_info=info) as client:
            return await script(client)

    return anyio.run(main)


async def ok(client, tool, /, **arguments):
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content[0].text
    assert json.loads(result.content[0].text) == result.structured_content
    schema = next(t.output_schema for t in (await client.list_tools()).tools if t.name == tool)
    jsonschema.validate(result.structured_content, schema)
    return result.structured_content


async def refused(client, tool, /, **arguments):
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    return result.content[0].text


async def spent(client, tokens=1000, **arguments):
    return await ok(
        client, "record_call", session_id="work", model="dear", input_tokens=0, output_tokens=tokens, **arguments
    )


# ---------------------------------------------------------------- the list


@pytest.mark.parametrize(
    "family, names", [("all", L6E + BUDGET + CATALOG), ("l6e", L6E + CATALOG), ("budget", BUDGET + CATALOG)]
)
def test_the_list_can_be_narrowed_to_one_family(world, family, names):
    async def script(client):
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == names
        others = set(L6E + BUDGET + CATALOG) - set(names)
        for other in others:
            assert (await client.call_tool(other, {})).is_error
        return tools

    tools = talk(world, script, family=family)
    slim = [{"name": t.name, "description": t.description, "inputSchema": t.input_schema} for t in tools]
    counted = estimate_milli_tokens(json.dumps(slim, separators=(",", ":"))) / 1000
    assert counted <= {"all": 1400, "l6e": 1000, "budget": 600}[family]
    said = instructions(family)
    assert all((name in said) == (name in names) for name in ("l6e_run_start", "start_budget"))


PREDECESSOR_ARGUMENTS = {
    "start_budget": ({"budget_gbp", "session_id", "tenant_id", "description"}, {"budget_gbp"}),
    "record_call": (
        {"session_id", "model", "input_tokens", "output_tokens", "note"},
        {"session_id", "model", "input_tokens", "output_tokens"},
    ),
    "check_budget": ({"session_id", "estimated_next_call_gbp"}, {"session_id"}),
    "get_summary": ({"session_id"}, {"session_id"}),
}
PREDECESSOR_ANSWERS = {
    "start_budget": {"session_id", "budget_gbp", "started_at"},
    "record_call": {
        "session_id", "call_cost_gbp", "total_spent_gbp", "budget_remaining_gbp", "pct_used", "status", "warnings",
    },
    "check_budget": {"allowed", "reason", "budget_remaining_gbp", "pct_used"},
    "get_summary": {
        "session_id", "tenant_id", "description", "budget_gbp", "spent_gbp", "remaining_gbp", "input_tokens",
        "output_tokens", "total_calls", "model_breakdown", "exhausted", "started_at", "ts",
    },
}  # fmt: skip


def test_rules_written_for_the_predecessor_find_every_argument_and_field(world):
    async def script(client):
        return {tool.name: tool for tool in (await client.list_tools()).tools}

    tools = talk(world, script)
    for name, (arguments, required) in PREDECESSOR_ARGUMENTS.items():
        assert arguments <= tools[name].input_schema["properties"].keys()
        assert set(tools[name].input_schema["required"]) == required
        assert PREDECESSOR_ANSWERS[name] <= set(tools[name].output_schema["required"])
    assert [name for name in BUDGET if tools[name].annotations.read_only_hint] == ["check_budget", "get_summary"]


# ---------------------------------------------------------------- a session


@ERAS
def test_a_whole_session_goes_through_the_tools(world, mode):
    async def script(client):
        started = await ok(client, "start_budget", budget_gbp=1, session_id="work", description="mend the parser")
        assert started == {
            "session_id": "work", "budget_gbp": 1.0, "started_at": started["started_at"], "exchange": RATE,
            "hint": started["hint"],
        }  # fmt: skip
        assert started["hint"].startswith("Record each model call with record_call")
        assert (
            await ok(client, "start_budget", budget_gbp=1.0, session_id="work", description="mend the parser")
            == started
        )
        assert await ok(client, "check_budget", session_id="work", estimated_next_call_gbp=0.5) == {
            "allowed": True, "reason": "within_budget", "budget_remaining_gbp": 1.0, "pct_used": 0.0,
        }  # fmt: skip
        first = await spent(client, note="first pass")
        assert {**first, "warnings": []} == {
            "session_id": "work", "call_cost_gbp": 0.8, "total_spent_gbp": 0.8, "budget_remaining_gbp": 0.2,
            "pct_used": 80.0, "status": "warning", "warnings": [],
        }  # fmt: skip
        assert len(first["warnings"]) == 1
        second = await spent(client, 125)
        assert (second["status"], second["warnings"], second["pct_used"]) == ("warning", [], 90.0)
        over = await ok(client, "check_budget", session_id="work", estimated_next_call_gbp=0.11)
        assert (over["allowed"], over["reason"], over["budget"]["id"]) == (False, "estimated_overage", "work")
        last = await spent(client, 250)
        assert (last["status"], last["budget_remaining_gbp"]) == ("exhausted", -0.1)
        gone = await ok(client, "check_budget", session_id="work")
        assert (gone["allowed"], gone["reason"], gone["pct_used"]) == (False, "budget_exhausted", 110.0)
        assert gone["command"].startswith("tallygate budget raise work ")
        summary = await ok(client, "get_summary", session_id="work")
        assert {name: summary[name] for name in ("spent_gbp", "remaining_gbp", "total_calls", "exhausted")} == {
            "spent_gbp": 1.1, "remaining_gbp": -0.1, "total_calls": 3, "exhausted": True,
        }  # fmt: skip
        assert (summary["description"], summary["tenant_id"], summary["ended_at"]) == ("mend the parser", None, None)
        assert summary["model_breakdown"]["dear"]["output_tokens"] == summary["output_tokens"] == 1375
        assert "signature" not in summary

    talk(world, script, mode=mode)


@ERAS
def test_what_one_family_opens_the_other_uses(world, mode):
    async def script(client):
        await ok(client, "start_budget", budget_gbp=1, session_id="work")
        asked = await ok(
            client, "l6e_authorize_call", session_id="work", tool_name="edit", model="dear",
            estimated_tokens=500, estimated_completion_tokens=0,
        )  # fmt: skip
        assert (asked["action"], asked["remaining_usd"]) == ("allow", 0.75)
        looked = await ok(client, "check_budget", session_id="work")
        assert (looked["budget_remaining_gbp"], looked["pct_used"]) == (0.6, 40.0)
        await ok(
            client, "l6e_record_usage", call_id=asked["call_id"], actual_prompt_tokens=250, actual_completion_tokens=0
        )
        done = await spent(client, 500)
        assert (done["total_spent_gbp"], done["budget_remaining_gbp"]) == (0.6, 0.4)
        ended = await ok(client, "l6e_run_end", session_id="work")
        assert (ended["total_cost_usd"], ended["calls_made"]) == (0.75, 2)
        assert (await ok(client, "check_budget", session_id="work"))["reason"] == "session_ended"
        assert (await refused(client, "start_budget", budget_gbp=1, session_id="work")).startswith("session_ended:")

        session = (await ok(client, "l6e_run_start", budget_usd=1, model="dear"))["session_id"]
        done = await ok(
            client, "record_call", session_id=session, model="dear", input_tokens=100, output_tokens=0, record_id="r"
        )
        assert (done["call_cost_gbp"], done["budget_remaining_gbp"], done["exchange"]) == (0.08, 0.72, RATE)
        assert (await ok(client, "get_summary", session_id=session))["budget_gbp"] == 0.8
        assert (await ok(client, "l6e_run_end", session_id=session))["total_cost_usd"] == 0.1

    talk(world, script, mode=mode)


def test_both_families_reach_the_sessions_of_a_tenant(world):
    async def script(client):
        await ok(client, "start_budget", budget_gbp=1, session_id="work", tenant_id="acme")
        call = {"session_id": "work", "tool_name": "t", "model": "dear", "estimated_tokens": 10}
        asked = await ok(client, "l6e_authorize_call", **call, estimated_completion_tokens=0)
        await ok(
            client, "l6e_record_usage", call_id=asked["call_id"], actual_prompt_tokens=10, actual_completion_tokens=0
        )
        child = await ok(client, "l6e_run_start", budget_usd=1, model="dear", parent_session_id="work")
        await ok(client, "l6e_authorize_call", session_id=child["session_id"], tool_name="t", check_only=True)
        assert (await ok(client, "get_summary", session_id="work"))["tenant_id"] == "acme"
        shown = await client.read_resource("tally://session/work")
        assert json.loads(shown.contents[0].text)["session_id"] == "work"
        for session in (child["session_id"], "work"):
            await ok(client, "l6e_run_end", session_id=session)

    talk(world, script)
    with world.ledger.reading() as reader:
        assert reader.sessions(state=None, limit=10) == []
    assert [json.loads(line)["records"] != [] for line in world.rt.workspace.run_log_path.read_text().splitlines()] == [
        False,
        True,
    ]


# ---------------------------------------------------------------- refusals


HOSTILE = [
    ("start_budget", {"budget_gbp": 0}, "budget_gbp"),
    ("start_budget", {"budget_gbp": -5}, "budget_gbp"),
    ("start_budget", {"budget_gbp": 10**400}, "budget_gbp"),
    ("start_budget", {"budget_gbp": True}, "budget_gbp"),
    ("start_budget", {}, "budget_gbp"),
    ("start_budget", {"budget_gbp": 1, "session_id": "x" * 201}, "session_id"),
    ("start_budget", {"budget_gbp": 1, "session_id": "a\nb"}, "session_id"),
    ("start_budget", {"budget_gbp": 1, "session_id": " a"}, "session_id"),
    ("start_budget", {"budget_gbp": 1, "session_id": "global:all:day:2026-09-21"}, "session_id"),
    ("start_budget", {"budget_gbp": 1, "session_id": 5}, "session_id"),
    ("start_budget", {"budget_gbp": 1, "tenant_id": "a b"}, "tenant_id"),
    ("start_budget", {"budget_gbp": 2, "session_id": "work"}, "budget"),
    ("start_budget", {"budget_gbp": 1, "budget_usd": 1}, "budget_usd"),
    ("record_call", {"input_tokens": -10_000_000}, "input_tokens"),
    ("record_call", {"output_tokens": 10**400}, "output_tokens"),
    ("record_call", {"output_tokens": 1.5}, "output_tokens"),
    ("record_call", {"output_tokens": "many"}, "output_tokens"),
    ("record_call", {"model": ""}, "model"),
    ("record_call", {"session_id": "nobody"}, "unknown_session"),
    ("check_budget", {"estimated_next_call_gbp": -1}, "estimated_next_call_gbp"),
    ("check_budget", {"session_id": "nobody"}, "nobody"),
    ("get_summary", {"session_id": "nobody"}, "start_budget"),
    ("request_budget", {"amount_usd": 0}, "amount_usd"),
    ("request_budget", {"amount_usd": -1}, "amount_usd"),
    ("request_budget", {"amount_usd": 10**7}, "amount_usd"),
    ("request_budget", {"reason": " \x1b "}, "reason"),
    ("request_budget", {"session_id": "nobody"}, "unknown_session"),
]
GOOD = {
    "start_budget": {},
    "record_call": {"session_id": "work", "model": "dear", "input_tokens": 1, "output_tokens": 1},
    "check_budget": {"session_id": "work"},
    "get_summary": {"session_id": "work"},
    "request_budget": {"session_id": "work", "amount_usd": 1, "reason": "r"},
}


@pytest.mark.parametrize("user", [None, User()], ids=["nobody", "user"])
@pytest.mark.parametrize("tool, arguments, named", HOSTILE)
def test_bad_input_is_refused_by_name_and_changes_nothing(world, tool, arguments, named, user):
    async def script(client):
        await ok(client, "start_budget", budget_gbp=1, session_id="work")
        before = world.events()
        text = await refused(client, tool, **{**GOOD[tool], **arguments})
        assert named in text
        assert len(text) < 700
        assert world.events() == before

    talk(world, script, user=user)
    assert user is None or user.shown == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("tool, name", [(0, "budget_gbp"), (2, "estimated_next_call_gbp")])
def test_numbers_that_are_none_are_refused(world, value, tool, name):
    spec = BudgetTools(world.rt).specs()[tool]
    given = {argument.name: "work" for argument in spec.arguments if argument.required}
    result = answer_call(spec, {**given, name: value}, Caller())
    assert result.is_error
    assert name in result.content[0].text


def test_nothing_used_is_a_call_and_nothing_expected_is_a_look(world):
    async def script(client):
        await ok(client, "start_budget", budget_gbp=1, session_id="work")
        done = await spent(client, 0)
        assert (done["call_cost_gbp"], done["status"]) == (0.0, "ok")
        assert (await ok(client, "check_budget", session_id="work", estimated_next_call_gbp=0))["allowed"]

    talk(world, script)


@ERAS
def test_a_call_the_client_sends_twice_is_booked_once(world, mode):
    async def script(client):
        await ok(client, "start_budget", budget_gbp=1, session_id="work")
        meta = {"claudecode/toolUseId": "toolu_1"}
        first, again = [await client.call_tool("record_call", GOOD["record_call"], meta=meta) for _ in range(2)]
        assert first.structured_content == again.structured_content

    talk(world, script, mode=mode)
    assert len(world.calls("work")) == 1


def test_the_rate_is_named_and_an_unknown_one_is_refused(world):
    lonely = world.with_runtime(exchange=ExchangeBook({}, Nowhere()))

    async def script(client):
        return await refused(client, "start_budget", budget_gbp=1)

    assert "[exchange.GBP]" in talk(lonely, script)


class Nowhere:
    def rate(self, code, day):
        from pathlib import Path

        from tallygate.pricing.exchange import ReferenceRates

        return ReferenceRates(Path("no-such-file")).rate(code, day)


# ---------------------------------------------------------------- asking the user


def asked(world, user, *, mode, amount=2, before=None, **more):
    async def script(client):
        await ok(client, "start_budget", budget_gbp=1, session_id="work")
        await spent(client, 1100)
        return await client.call_tool(
            "request_budget", {"session_id": "work", "amount_usd": amount, "reason": "the tests are still red"}
        )

    return talk(world, script, mode=mode, user=user, **more)


def told(dispatcher, action, amount, **more):
    """Claude Code's own hook tells what a person did with the form, as the client that started this server runs it."""
    content = {} if amount is None else {"content": {"amount_usd": amount}}
    raw = {"session_id": "s1", "mcp_server_name": "tallygate", "action": action, **content}
    return lambda: dispatcher.answer("claude_code", "ElicitationResult", raw, sender=Sender(near=True, **more))


@ERAS
@pytest.mark.parametrize(
    ("person", "status"),
    [
        (("accept", 2), "raised"),
        (None, "not_confirmed"),  # a hook accepts in the person's place: no result is told
        (("decline", None), "not_confirmed"),  # a hook makes a yes of a no
        (("accept", 0.1), "not_confirmed"),  # a hook changes the amount
    ],
)
def test_in_claude_code_a_yes_counts_only_where_a_person_was_seen_to_say_it(world, mode, person, status):
    dispatcher = HookDispatcher(lambda _: world.rt)
    user = User(content={"amount_usd": 2}, before=None if person is None else told(dispatcher, *person))
    answer = asked(world, user, mode=mode, name="claude-code", dispatcher=dispatcher).structured_content
    assert answer["status"] == status
    assert world.budget("work").limit == (260 if status == "raised" else 100) * CENT
    assert ("command" in answer) is (status != "raised")


@ERAS
def test_in_print_mode_nobody_is_asked(world, mode):
    user = User(content={})
    answer = asked(world, user, mode=mode, name="codex", unattended=lambda: True).structured_content
    assert (answer["status"], user.shown) == ("not_asked", [])


@ERAS
def test_a_user_who_accepts_raises_the_budget_and_the_work_goes_on(world, mode):
    user = User(content={"amount_usd": 2})
    answer = asked(world, user, mode=mode).structured_content
    assert answer == {
        "session_id": "work",
        "status": "raised",
        "budget_id": "work",
        "limit_usd": 3.25,
        "remaining_usd": 2.15,
        "message": "The user raised the budget of work by £1.60; its limit is £2.60 now.",
    }
    (shown,) = user.shown
    for part in ("$2.00 (£1.60)", "£0.12 left of £1.00: £0.88 spent.", "work", "the tests are still red"):
        assert part in shown.message
    assert shown.requested_schema["properties"]["amount_usd"]["default"] == 2
    [(body,)] = world.ledger.rows("SELECT body FROM event ORDER BY id DESC LIMIT 1")
    event = json.loads(body)
    assert event["note"] == {
        "actor": "user via elicitation", "reason": "the tests are still red", "limit_before_nanos": 100 * CENT,
            "door": "elicitation", "rule_nanos": 100 * CENT,
    }  # fmt: skip
    assert event["by"].startswith("mcp:")


@ERAS
@pytest.mark.parametrize("content", [None, {}])
def test_a_user_who_leaves_the_form_as_it_is_grants_what_was_asked_for(world, mode, content):
    assert asked(world, User(content=content), mode=mode).structured_content["limit_usd"] == 3.25


@ERAS
def test_a_user_may_grant_another_amount(world, mode):
    assert asked(world, User(content={"amount_usd": 0.5}), mode=mode).structured_content["limit_usd"] == 1.75


@ERAS
@pytest.mark.parametrize(
    "action, content, status",
    [("decline", None, "declined"), ("cancel", None, "cancelled"), ("accept", {"amount_usd": 0}, "declined")],
)
def test_a_user_who_does_not_say_yes_leaves_the_budget_as_it_is(world, mode, action, content, status):
    answer = asked(world, User(action, content), mode=mode).structured_content
    assert (answer["status"], answer["limit_usd"]) == (status, 1.25)
    assert "stays as it is" in answer["message"]
    assert answer["command"] == "tallygate budget raise work 1.60"
    assert world.budget("work").limit == 100 * CENT


@ERAS
def test_where_nobody_can_be_asked_the_answer_is_the_command(world, mode):
    answer = asked(world, None, mode=mode).structured_content
    assert (answer["status"], answer["command"]) == ("not_asked", "tallygate budget raise work 1.60")
    assert world.budget("work").limit == 100 * CENT


def test_a_client_whose_dialog_fails_counts_as_one_without(world):
    answer = asked(world, User("fails"), mode="legacy").structured_content
    assert answer["status"] == "not_asked"


@ERAS
@pytest.mark.parametrize("value", [-1, 10**9, "much", True])
def test_an_amount_that_is_none_is_refused_also_from_the_form(world, mode, value):
    result = asked(world, User(content={"amount_usd": value}), mode=mode)
    assert result.is_error
    assert "amount_usd" in result.content[0].text
    assert world.budget("work").limit == 100 * CENT


@ERAS
def test_a_budget_that_changes_while_the_user_reads_is_not_raised_again(world, mode):
    user = User(before=lambda: raise_budget(world.rt, "work", CENT, reason="cli", authority=the_user("me")))
    result = asked(world, user, mode=mode)
    assert result.is_error
    assert result.content[0].text.startswith("budget_changed:")
    assert world.budget("work").limit == 101 * CENT
    assert len(user.shown) == 1


@ERAS
def test_spending_while_the_user_reads_is_no_obstacle(world, mode):
    def spend():
        answer_call(BudgetTools(world.rt).specs()[1], {**GOOD["record_call"], "output_tokens": 50}, Caller())

    assert asked(world, User(before=spend), mode=mode).structured_content["status"] == "raised"


@ERAS
def test_a_session_that_ends_while_the_user_reads_gets_nothing(world, mode):
    result = asked(world, User(before=lambda: end_session(world.rt, "work")), mode=mode)
    assert result.content[0].text.startswith("session_ended:")


def test_the_state_of_a_question_cannot_be_made_up_or_used_twice(world):
    async def script(client):
        await ok(client, "start_budget", budget_gbp=1, session_id="work")
        call = {"session_id": "work", "amount_usd": 2, "reason": "r"}
        first = await client.session.call_tool("request_budget", call, allow_input_required=True)
        yes = {"user": ElicitResult(action="accept", content={})}

        async def answer(arguments, state):
            return await client.session.call_tool(
                "request_budget", arguments, input_responses=yes, request_state=state, allow_input_required=True
            )

        for arguments, state in (
            (call, '{"budget":"work","limit":1}'),
            ({**call, "amount_usd": 9}, first.request_state),
        ):
            with pytest.raises(Exception, match="requestState"):
                await answer(arguments, state)
        assert (await answer(call, None)).result_type == "input_required", "an answer without a question is not taken"
        assert not (await answer(call, first.request_state)).is_error
        assert (await answer(call, first.request_state)).is_error
        assert world.budget("work").limit == 260 * CENT

    talk(world, script, user=User())


def test_the_tightest_budget_is_the_one_that_is_asked_for_also_above_the_session(world):
    world = world.with_runtime(rules=(BudgetRule(BudgetScope.GLOBAL, 90 * CENT, period="day"),))
    answer = asked(world, User(), mode="auto", amount=1).structured_content
    assert (answer["budget_id"], answer["limit_usd"]) == ("global:all:day:2026-09-21", 1.9)


@pytest.mark.parametrize("tool", [*L6E, *BUDGET])
def test_no_other_tool_has_an_argument_that_changes_a_limit(world, tool):
    async def script(client):
        return {each.name: each.input_schema["properties"].keys() for each in (await client.list_tools()).tools}

    words = {"limit", "raise", "reset", "amount_usd", "new_budget"}
    assert (talk(world, script)[tool] & words != set()) == (tool == "request_budget")


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_a_user_is_asked_through_a_server_of_its_own(home, mode):
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "tallygate", "serve", "--tools", "budget"],
        env={**os.environ, "TALLYGATE_HOME": str(home / "data"), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    user = User(content={})

    async def main():
        async with Client(parameters, mode=mode, elicitation_callback=user) as client:
            assert len((await client.list_tools()).tools) == len(BUDGET + CATALOG)
            await client.call_tool("start_budget", {"budget_gbp": 1, "session_id": "work"})
            call = {"session_id": "work", "amount_usd": 2, "reason": "r"}
            return (await client.call_tool("request_budget", call)).structured_content

    answer = anyio.run(main)
    assert (answer["status"], len(user.shown)) == ("raised", 1)
    assert answer["limit_usd"] > 3


# ---------------------------------------------------------------- whose client it is


def ruled(world, **limits):
    rules = [BudgetRule(BudgetScope.CLIENT, cents * CENT, period="never", match=name) for name, cents in limits.items()]
    return world.with_runtime(rules=tuple(rules))


def window(world, name):
    return world.budget(f"client:{name}:never")


@ERAS
@pytest.mark.parametrize("said", [None, "unknown", "codex", "cursor", "claude\u2014code", "somebody else", "\u200b"])
def test_no_name_that_an_agent_says_takes_it_out_of_the_budget_of_the_client_that_is_connected(world, mode, said):
    world = ruled(world, codex=10)

    async def script(client):
        more = {} if said is None else {"client": said}
        opened = await ok(client, "l6e_run_start", budget_usd=9, model="dear", **more)
        return await ok(
            client, "l6e_authorize_call", session_id=opened["session_id"], tool_name="x", estimated_prompt_tokens=200
        )

    answer = talk(world, script, mode=mode, name="codex-mcp-client")
    assert (answer["action"], answer["budget"]["id"]) == ("halt", "client:codex:never")


def test_of_the_said_and_the_connected_client_the_tighter_budget_decides_and_both_count(world):
    world = ruled(world, codex=50, cursor=20)

    async def script(client):
        opened = await ok(client, "l6e_run_start", budget_usd=9, model="dear", client="Cursor")
        session = opened["session_id"]
        step = {"session_id": session, "tool_name": "x", "estimated_completion_tokens": 0}
        first = await ok(client, "l6e_authorize_call", estimated_prompt_tokens=100, **step)
        tokens = {"actual_prompt_tokens": 150, "actual_completion_tokens": 0}
        await ok(client, "l6e_record_usage", call_id=first["call_id"], **tokens)
        return session, await ok(client, "l6e_authorize_call", estimated_prompt_tokens=100, **step)

    session, answer = talk(world, script, name="codex-mcp-client")
    assert answer["budget"]["id"] == "client:cursor:never"
    assert (window(world, "codex").spent, window(world, "cursor").spent) == (15 * CENT, 15 * CENT)
    with world.ledger.reading() as reader:
        opened = reader.session(session)
    assert (opened.client, opened.also_client) == ("codex", "Cursor"), "reports name the client that is connected"


def test_a_window_that_begins_later_counts_what_was_spent_under_either_name(world):
    async def script(client):
        opened = await ok(client, "l6e_run_start", budget_usd=9, model="dear", client="nightly")
        step = {"session_id": opened["session_id"], "tool_name": "x", "estimated_completion_tokens": 0}
        first = await ok(client, "l6e_authorize_call", estimated_prompt_tokens=100, **step)
        tokens = {"actual_prompt_tokens": 150, "actual_completion_tokens": 0}
        await ok(client, "l6e_record_usage", call_id=first["call_id"], **tokens)

    talk(world, script, name="python-sdk")
    later = ruled(world, **{"python-sdk": 10, "nightly": 30})

    async def again(client):
        opened = await ok(client, "l6e_run_start", budget_usd=9, model="dear", client="other")
        step = {"session_id": opened["session_id"], "tool_name": "x"}
        return await ok(client, "l6e_authorize_call", estimated_prompt_tokens=10, **step)

    answer = talk(later, again, name="python-sdk")
    assert (answer["action"], answer["budget"]["id"]) == ("halt", "client:python-sdk:never")
    assert window(later, "python-sdk").spent == 15 * CENT


def test_a_budget_in_pounds_is_bound_by_the_client_that_starts_it(world):
    world = ruled(world, codex=1)

    async def script(client):
        await ok(client, "start_budget", budget_gbp=9, session_id="work")
        await spent(client, 100)
        return await ok(client, "check_budget", session_id="work")

    answer = talk(world, script, name="codex-mcp-client")
    assert answer["allowed"] is False
    assert window(world, "codex").spent == 10 * CENT


@ERAS
def test_a_step_in_a_session_that_another_client_opened_is_held_in_the_budget_of_the_client_that_asks(world, mode):
    world = ruled(world, codex=20)

    async def opened(client):
        return (await ok(client, "l6e_run_start", budget_usd=9, model="dear"))["session_id"]

    session = talk(world, opened, mode=mode, name="python-sdk")
    step = {"session_id": session, "tool_name": "x", "estimated_completion_tokens": 0, "estimated_prompt_tokens": 150}

    async def asks(client):
        look = await ok(client, "l6e_authorize_call", check_only=True, **step)
        asked = await ok(client, "l6e_authorize_call", **step)
        again = await ok(client, "l6e_authorize_call", **step)
        if "call_id" in asked:
            tokens = {"actual_prompt_tokens": 190, "actual_completion_tokens": 0}
            await ok(client, "l6e_record_usage", call_id=asked["call_id"], **tokens)
        return look, again

    look, again = talk(world, asks, mode=mode, name="codex-mcp-client")
    assert look["remaining_usd"] == 0.2, "a look shows what the step is held against"
    assert (again["action"], again["budget"]["id"]) == ("halt", "client:codex:never")
    assert window(world, "codex").spent == 19 * CENT, "what it really used counts there, once"

    async def looks(client):
        await ok(client, "l6e_authorize_call", **step)
        await ok(client, "record_call", session_id=session, model="dear", input_tokens=100, output_tokens=0)
        return await ok(client, "check_budget", session_id=session)

    assert talk(world, looks, mode=mode, name="python-sdk")["allowed"], "whose session it is spends none of it"
    assert window(world, "codex").committed == 19 * CENT


def test_what_was_asked_for_by_another_client_counts_in_a_budget_of_it_that_begins_later(world):
    async def opened(client):
        return (await ok(client, "l6e_run_start", budget_usd=9, model="dear"))["session_id"]

    session = talk(world, opened, name="python-sdk")

    async def records(client):
        await ok(client, "record_call", session_id=session, model="dear", input_tokens=150, output_tokens=0)

    talk(world, records, name="codex-mcp-client")
    later = ruled(world, codex=10)
    step = {"session_id": session, "tool_name": "x", "estimated_completion_tokens": 0, "estimated_prompt_tokens": 10}

    async def asks(client):
        return await ok(client, "l6e_authorize_call", **step)

    assert talk(later, asks, name="codex-mcp-client")["budget"]["id"] == "client:codex:never"
    assert window(later, "codex").spent == 15 * CENT
    assert talk(later, asks, name="python-sdk")["action"] != "halt"
