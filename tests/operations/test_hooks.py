"""Hooks: sessions that open by themselves, the gate before a model call, and what holds between the two."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import NANOS, changed, hook_event, make_world, the_user

from tallygate.core.bills.causes import CauseKind
from tallygate.core.costing import Tokens
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.gate import rules
from tallygate.core.guard.fence import GuardedFiles, Reach
from tallygate.core.hooks import HookVerdict, Moment, SessionOrigin
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import CallState, SessionState, UnknownPrice
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.hooks import Prompts, answer_hook
from tallygate.operations.sessions.ending import close_abandoned, end_left_open, end_session
from tallygate.operations.sessions.opening import Opening, open_session_of, start_within
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.operations.views.overview import show_session

DOLLAR = NANOS
SECOND = 1_000_000


@pytest.fixture
def world(world):
    """A policy that gives every session a dollar; a token of the model `dear` costs a tenth of a cent."""
    return world.with_runtime(session_limit_nanos=DOLLAR, project="/home/me/p")


def hook(world, moment, key=None, *, client="claude_code", session="client-1", **options):
    world.clock.forward(SECOND)
    event = hook_event(client, moment, session, moment.value, key, model=options.pop("model", "cents"), **options)
    return answer_hook(world.rt, event)


def respond(world, key, cents, *, session="client-1", client="claude_code", **options):
    """A response lands that was made just now, or at another time."""
    world.clock.forward(SECOND)
    at_us = options.pop("at_us", world.clock.at_us)
    row = ObservedUsage(
        client=client,
        session=session,
        response_key=key,
        at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us),
        model="dear",
        tokens=Tokens(output=cents * 10),
        rule=options.pop("rule", Rule.CLAUDE_RESPONSE),
        project="/home/me/p",
        **options,
    )
    return ingest(world.rt, FileReading(client, f"/t/{session}", [row]))


def account(world, session="client-1", client="claude_code"):
    found = open_session_of(world.rt, client, session)
    assert found is not None
    return found


def figures(world, session="client-1", client="claude_code"):
    """Spent and reserved, in cents."""
    budget = world.budget(account(world, session, client).session_id)
    return budget.spent // 10_000_000, budget.reserved // 10_000_000


def logged(world):
    path = world.rt.workspace.run_log_path
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("provider", "model", "named", "free"),
    [
        ("ollama", "qwen3:8b", None, True),
        (None, "qwen3:8b", None, False),
        (None, "ollama/qwen3", None, False),
        ("acme", "qwen3:8b", None, False),
        ("acme", "qwen3:8b", "ollama/qwen3", True),
    ],
)
def test_a_model_is_free_where_its_client_says_that_a_runtime_of_this_machine_serves_it(
    world, provider, model, named, free
):
    row = ObservedUsage(
        "claude_code", "client-1", "r1", datetime(2026, 9, 21, tzinfo=UTC), model, Tokens(output=900),
        Rule.CLAUDE_RESPONSE, project="/home/me/p", provider=provider,
    )  # fmt: skip
    hook(world, Moment.PROMPT, "p0", model="cents")
    ingest(world.rt, FileReading("claude_code", "/t/client-1", [row]))
    hook(world, Moment.PROMPT, "p1", model=named)
    stored = world.ledger.rows("SELECT cost_nanos FROM usage")
    assert (next(stored)[0] == 0) is (provider == "ollama")
    asked = world.calls(account(world).session_id)[-1]
    with world.ledger.reading() as reader:
        assert (json.loads(reader.price_basis(asked.price_id))["source"] == "local") is free


# ---------------------------------------------------------------- opening


def test_a_session_opens_by_itself_with_the_budget_of_the_policy(world):
    answer = hook(world, Moment.SESSION_START, origin=SessionOrigin.STARTUP)
    session = account(world)
    assert session.client == "claude-code"
    assert session.project == "/home/me/p"
    assert world.budget(session.session_id).limit == DOLLAR
    assert answer.verdict is HookVerdict.GO_ON
    assert "$1.00 of $1.00 left" in answer.message


def test_a_session_whose_start_was_not_seen_opens_at_the_first_gated_hook(world):
    assert not hook(world, Moment.TOOL, "tool:t1", tool="Bash", tool_use_ids=("t1",)).stops
    assert account(world).is_open


@pytest.mark.parametrize("moment", [Moment.TURN_END, Moment.SESSION_END, Moment.AGENT_END, Moment.TOOL_DONE])
def test_what_only_ends_opens_nothing(world, moment):
    assert not hook(world, moment).stops
    assert open_session_of(world.rt, "claude_code", "client-1") is None


def test_starting_again_compacting_and_resuming_an_open_session_keep_the_account(world):
    hook(world, Moment.SESSION_START)
    first = account(world)
    for origin in (SessionOrigin.COMPACT, SessionOrigin.RESUME, SessionOrigin.STARTUP):
        hook(world, Moment.SESSION_START, origin=origin)
    assert account(world) == first


def test_a_resumed_session_goes_on_with_the_budget_it_had(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 60)
    first = account(world)
    hook(world, Moment.SESSION_END, cause="other")
    hook(world, Moment.SESSION_START, origin=SessionOrigin.RESUME)
    again = account(world)
    assert again.session_id != first.session_id
    assert again.parent_session_id == first.session_id
    with world.ledger.reading() as reader:
        assert [b.budget_id for b in reader.budgets_of(again.session_id)] == [first.session_id]
    hook(world, Moment.PROMPT, "prompt:2")
    respond(world, "r2", 30)
    assert world.budget(first.session_id).spent == 90 * 10_000_000
    assert hook(world, Moment.TOOLS_DONE, "batch:2").stops, "the next step costs about 42 cents, 10 are left"


def test_a_cleared_conversation_is_a_new_session_with_an_account_of_its_own(world):
    hook(world, Moment.SESSION_START)
    first = account(world)
    hook(world, Moment.SESSION_END, cause="clear")
    hook(world, Moment.SESSION_START, session="client-2", origin=SessionOrigin.CLEAR)
    second = account(world, "client-2")
    assert second.parent_session_id is None
    assert world.budget(second.session_id).spent == 0
    assert first.session_id != second.session_id
    respond(world, "r1", 5, session="client-2")
    assert figures(world, "client-2") == (5, 0)


def spent_ever(world, name):
    return world.budget(name).spent // 10_000_000


@pytest.mark.parametrize("dated", ["after the end", "between the end and the work that goes on"])
def test_a_response_that_a_client_dates_after_its_session_ended_spends_that_session_s_budget(world, dated):
    hook(world, Moment.PROMPT, "prompt:1", client="copilot")
    first = account(world, client="copilot").session_id
    hook(world, Moment.SESSION_END, client="copilot")
    world.clock.forward(SECOND // 20)
    written_us = world.clock.at_us
    if dated != "after the end":
        hook(world, Moment.PROMPT, "prompt:2", client="copilot")
        again = account(world, client="copilot").session_id
        assert again != first
    respond(world, "r1", 6, client="copilot", at_us=written_us)
    assert spent_ever(world, first) == 6
    assert list(world.ledger.rows("SELECT session_id FROM usage")) == [(first,)]
    respond(world, "r2", 7, client="copilot")
    assert spent_ever(world, first) == 13


def test_what_an_agent_s_own_session_ended_before_is_not_spent_by_it_and_what_came_before_any_hook_neither(world):
    opened = start_within(world.rt, Opening(limit_nanos=DOLLAR, model="dear", client="claude-code"))
    respond(world, "r1", 3)
    end_session(world.rt, opened.session.session_id)
    respond(world, "r2", 5)
    assert spent_ever(world, opened.session.session_id) == 3
    earlier = world.clock.at_us
    hook(world, Moment.PROMPT, "prompt:1", session="client-2")
    respond(world, "r3", 9, session="client-2", at_us=earlier)
    assert figures(world, "client-2")[0] == 0


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["prompt", "prompt", "tool", "tool", "lands", "lands", "writes", "end", "late"]),
        st.integers(0, 3),
    ),
    min_size=4,
    max_size=24,
)


@settings(max_examples=100)
@given(moves=MOVES)
def test_whatever_ends_and_goes_on_a_client_s_session_has_one_budget_that_counts_all_of_it(tmp_path_factory, moves):
    """Responses are made at any time from the first prompt on, and read in that order or much later."""
    folder = tmp_path_factory.mktemp("w")
    day = rules.BudgetRule(rules.BudgetScope.GLOBAL, 900 * NANOS, period="day")
    world = make_world(folder).with_runtime(session_limit_nanos=90 * DOLLAR, project="/home/me/p", rules=(day,))
    hook(world, Moment.PROMPT, "first", client="copilot")
    own, held, read = account(world, client="copilot").session_id, [], 0
    for number, (move, cents) in enumerate(moves):
        if move in {"prompt", "tool"}:
            moment = Moment.PROMPT if move == "prompt" else Moment.TOOL
            hook(world, moment, f"{move}:{number}", client="copilot")
        elif move == "end":
            hook(world, Moment.SESSION_END, client="copilot")
        elif move == "writes":
            world.clock.forward(SECOND // 10)
            held.append((f"r{number}", cents, world.clock.at_us))
        rows = [(f"r{number}", cents, None)] if move == "lands" else held[:1] if move == "late" else []
        held = held[1:] if move == "late" else held
        for key, cost, at_us in rows:
            respond(world, key, cost, client="copilot", **({} if at_us is None else {"at_us": at_us}))
            read += cost
        (window,) = [b for b in budgets_above(world) if b.scope == "global"]
        booked = sum(call.booked_nanos for call in all_calls(world))  # steps that no response was read of yet
        assert [world.budget(own).spent, window.spent] == [read * 10_000_000 + booked] * 2
        pending = [hold for call in all_calls(world) if call.state is CallState.PENDING for hold in call.holds]
        for budget in (world.budget(own), window):
            holds = sum(hold.held for hold in pending if hold.budget_id == budget.budget_id)
            assert budget.reserved == holds
    assert not world.problems()
    world.ledger.close()
    shutil.rmtree(folder)


def budgets_above(world):
    with world.ledger.reading() as reader:
        return reader.windows_between("day", -1, 2**62)


def all_calls(world):
    with world.ledger.reading() as reader:
        return [call for s in reader.sessions(state=None, limit=100) for call in reader.calls_of(s.session_id)]


# ---------------------------------------------------------------- the gate


def test_a_prompt_reserves_the_call_that_follows_and_its_response_takes_the_place(world):
    hook(world, Moment.SESSION_START)
    assert not hook(world, Moment.PROMPT, "prompt:1").stops
    spent, reserved = figures(world)
    assert spent == 0
    assert reserved > 0
    respond(world, "r1", 7)
    assert figures(world) == (7, 0)
    (call,) = world.calls(account(world).session_id)
    assert call.state is CallState.RECONCILED
    assert call.cost_basis == "transcript"


def test_before_any_response_a_step_is_the_first_context_half_of_it_cached_and_a_typical_output(world):
    world = world.with_runtime(session_limit_nanos=100 * DOLLAR)
    hook(world, Moment.PROMPT, "prompt:1", model="dear")
    (call,) = world.calls(account(world).session_id)
    cached, written = 10_000 * 100_000, 10_000 * 1_000_000
    assert call.estimate_nanos == cached + written + 200 * 1_000_000, "a tenth of the input price for what is cached"


def test_later_steps_are_reserved_at_the_sessions_own_level(world):
    hook(world, Moment.PROMPT, "prompt:1")
    for number, cents in enumerate((4, 16, 4)):
        respond(world, f"r{number}", cents)
        hook(world, Moment.TOOLS_DONE, f"batch:{number}")
    spent, reserved = figures(world)
    assert spent == 24
    assert reserved == 5, "half-half in logarithms: 4, then 8, then 5.66"


def test_a_tool_of_a_client_that_has_batches_is_only_looked_at(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 4, tool_use_ids=("t1", "t2"))
    before = world.events()
    for tool in ("t1", "t2"):
        assert not hook(world, Moment.TOOL, f"tool:{tool}", tool="Bash", tool_use_ids=(tool,)).stops
    assert world.events() == before
    assert figures(world) == (4, 0)


def test_a_spent_budget_stops_every_gated_moment_of_every_agent_until_it_is_raised(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 100)
    first = account(world).session_id
    stopped = [
        hook(world, Moment.TOOL, "tool:1", tool="Bash", tool_use_ids=("t1",)),
        hook(world, Moment.TOOL, "tool:2", tool="Bash", tool_use_ids=("t2",), agent_id="a1"),
        hook(world, Moment.TOOL, "tool:3", tool="Agent", tool_use_ids=("t3",), starts_agent=True),
        hook(world, Moment.TOOLS_DONE, "batch:1"),
        hook(world, Moment.TOOLS_DONE, "batch:2", agent_id="a1"),
        hook(world, Moment.PROMPT, "prompt:2"),
        hook(world, Moment.COMPACTION),
    ]
    assert all(answer.stops for answer in stopped)
    assert f"tallygate budget raise {first[-8:]} " in stopped[0].message
    assert "$1.00" in stopped[0].message
    assert figures(world) == (100, 0)
    denied = [call for call in world.calls(first) if call.state is CallState.DENIED]
    assert len(denied) == len(stopped), "every refusal is recorded"
    raise_budget(world.rt, first, 2 * DOLLAR, reason="more", authority=the_user("me"))
    assert not hook(world, Moment.PROMPT, "prompt:3").stops


def test_a_resumed_session_is_offered_what_the_work_before_it_usually_took(world):
    hook(world, Moment.PROMPT, "p1")
    respond(world, "r1", 100)
    (first,) = [hook(world, Moment.TOOL, "t1", tool="Bash")]
    hook(world, Moment.SESSION_END)
    (again,) = [hook(world, Moment.PROMPT, "p2")]
    command = first.message.partition("To go on, run: ")[2]
    assert command.endswith(" 11.00")
    assert again.message.endswith(command), "the same command, and nothing behind it"


def question(world, name, **options):
    world.clock.forward(SECOND)
    told = {"confirms": name == "permissionRequest", "confirmed": name != "permissionRequest"} | options
    event = hook_event("copilot", Moment.TOOL, "client-1", name, tool="bash", model="cents", **told)
    return answer_hook(world.rt, event)


def test_a_second_question_for_a_tool_reserves_nothing_of_its_own(world):
    hook(world, Moment.PROMPT, "prompt:1", client="copilot")
    respond(world, "r1", 10, client="copilot")
    assert not question(world, "preToolUse").stops
    reserved = figures(world, client="copilot")
    assert not question(world, "permissionRequest").stops
    assert figures(world, client="copilot") == reserved


def test_a_spent_budget_refuses_both_questions_for_a_tool_until_it_is_raised(world):
    hook(world, Moment.PROMPT, "prompt:1", client="copilot")
    respond(world, "r1", 100, client="copilot")
    first = question(world, "preToolUse")
    assert (first.stops, first.ends, first.unconfirmed) == (True, True, False)
    assert question(world, "preToolUse").unconfirmed, "a client that does not ask a second time is denied at once"
    assert question(world, "permissionRequest").stops
    assert not question(world, "preToolUse").unconfirmed
    raise_budget(world.rt, account(world, client="copilot").session_id, 2 * DOLLAR, reason="", authority=the_user("me"))
    assert not question(world, "permissionRequest").stops


def tools_of(world, response, tool="bash", **more):
    world.clock.forward(SECOND)
    told = {"confirmed": tool == "bash", "key_of_response": True, "model": "cents", **more}
    event = hook_event("copilot", Moment.TOOL, "client-1", "preToolUse", f"tools::{response}", tool, **told)
    return answer_hook(world.rt, event)


def test_tools_with_the_key_of_one_response_hold_one_call_and_those_of_the_next_another(world):
    hook(world, Moment.PROMPT, "prompt:1", client="copilot")
    (first, one) = figures(world, client="copilot")
    made = {}
    for response, held in (("r1", 2), ("r2", 3), ("r3", 4)):
        made[response] = world.clock.at_us + SECOND // 2
        assert not any(tools_of(world, response).stops for _ in range(3))
        assert figures(world, client="copilot") == (first, held * one), "none of them is written down yet"
    for response, at_us in made.items():
        respond(world, response, 2, client="copilot", at_us=at_us)
    assert figures(world, client="copilot") == (6, one)
    assert not tools_of(world, "r3").stops
    assert figures(world, client="copilot") == (6, one), "held before it landed"


def test_every_tool_of_a_response_that_meets_a_spent_budget_is_left_to_the_question_that_ends_the_turn(world):
    hook(world, Moment.PROMPT, "prompt:1", client="copilot")
    respond(world, "r1", 100, client="copilot")
    assert [(a.stops, a.ends, a.unconfirmed) for a in (tools_of(world, "r1") for _ in range(3))] == [
        (True, True, False)
    ] * 3


def test_a_tool_that_raises_no_question_is_refused_for_the_second_time_only_by_another_response(world):
    hook(world, Moment.PROMPT, "prompt:1", client="copilot")
    respond(world, "r1", 100, client="copilot")
    answers = [tools_of(world, response, "view") for response in ("r1", "r1", "r2", "r2")]
    assert [(a.stops, a.ends, a.again) for a in answers[:3]] == [(True, True, False), (True, True, False), (True,) * 3]
    assert answers[3].stops


@pytest.mark.parametrize(
    ("stop", "moment", "told"),
    [(True, Moment.TOOL, True), (False, Moment.TOOL, False), (True, Moment.PROMPT, None)],
)
def test_copilot_that_was_stopped_in_a_turn_is_ended_with_its_session_and_not_where_a_prompt_was_refused(
    world, stop, moment, told
):
    there = world.with_runtime(interrupts=stop)
    hook(there, Moment.PROMPT, "prompt:1", client="copilot")
    respond(there, "r1", 100, client="copilot")
    event = hook_event("copilot", moment, "client-1", "userPromptSubmitted", model="cents")
    assert answer_hook(there.rt, replace(event, tool=None if moment is Moment.PROMPT else "bash")).stops
    end = hook(there, Moment.SESSION_END, client="copilot")
    assert (end.parting is not None, end.ends) == (told is not None, bool(told))


@pytest.mark.parametrize(("late_s", "waits"), [(0, 4), (2, 0)])
def test_a_client_that_writes_late_is_waited_for_once_it_is_ahead_and_not_for_what_was_broken_off(world, late_s, waits):
    hook(world, Moment.PROMPT, "prompt:1", client="copilot")
    assert not tools_of(world, "r1").stops
    world.clock.forward(late_s * SECOND - SECOND + 100_000)
    waited = []

    def pause(microseconds):
        waited.append(microseconds)
        if len(waited) == 4:
            respond(world, "r1", 40, client="copilot")
            respond(world, "r2", 40, client="copilot")

    answer = tools_of(world.with_runtime(pause_us=pause), "r2")
    assert (len(waited), answer.stops) == (waits, bool(waits)), "80 of 100 cents are spent, a step takes 40"


@pytest.mark.parametrize("agent", [None, "a1"], ids=["the main agent", "a subagent"])
def test_the_first_response_of_an_agent_is_waited_for_where_its_client_writes_late(world, agent):
    hook(world, Moment.PROMPT, "prompt:1", client="copilot")
    if agent is not None:
        respond(world, "r0", 5, client="copilot")
        hook(world, Moment.AGENT_START, "agent:1", client="copilot", agent_id=agent)
    waited = []

    def pause(microseconds):
        waited.append(microseconds)
        if len(waited) == 4:
            respond(world, "r1", 90, client="copilot", agent_id=agent)

    there = world.with_runtime(pause_us=pause)
    answer = tools_of(there, "r1", agent_id=agent)
    assert (len(waited), answer.stops) == (4, True), "a step takes 90 of the ten cents that are left"
    waited.clear()
    raise_budget(
        world.rt, account(world, client="copilot").session_id, 9 * DOLLAR, reason="more", authority=the_user("me")
    )
    assert not tools_of(there, "r2", agent_id=agent).stops
    assert not tools_of(there, "r3", agent_id=agent).stops
    assert not waited, "what its steps cost is known by then"


def codex_tool(world, number, **more):
    return hook(
        world, Moment.TOOL, f"tool:t{number}", client="codex", tool="exec_command", tool_use_ids=(f"t{number}",), **more
    )


def test_a_held_tool_is_refused_without_a_trace_until_its_budget_carries_it_and_is_then_reserved_once(world):
    hook(world, Moment.PROMPT, "prompt:1", client="codex")
    respond(world, "r1", 100, client="codex", tool_use_ids=("t1",))
    first, second = codex_tool(world, 1), codex_tool(world, 2)
    assert [(a.stops, a.ends, a.held_s) for a in (first, second)] == [(True, False, 0), (True, True, 560)]
    written = world.events()
    assert [(a.stops, a.ends, a.message) for a in (codex_tool(world, 2, held=True) for _ in range(3))] == [
        (True, True, second.message)
    ] * 3
    assert world.events() == written
    session = account(world, client="codex").session_id
    raise_budget(world.rt, session, DOLLAR // 2, reason="", authority=the_user("me"))
    assert codex_tool(world, 2, held=True).ends, "half a dollar does not carry a step of a dollar"
    raise_budget(world.rt, session, DOLLAR, reason="", authority=the_user("me"))
    assert not codex_tool(world, 2, held=True).stops
    assert figures(world, client="codex") == (100, 100)
    assert not codex_tool(world, 2, held=True).stops
    assert figures(world, client="codex") == (100, 100), "asked again it holds nothing more"


def test_two_refusals_of_one_halt_name_one_command_as_long_as_it_suffices(world):
    hook(world, Moment.PROMPT, "prompt:1", client="codex")
    respond(world, "r1", 60, client="codex", tool_use_ids=("t1",))
    first = codex_tool(world, 1).message.partition("run: ")[2]
    respond(world, "r2", 25, client="codex", tool_use_ids=("t2",))
    second = codex_tool(world, 2)
    assert second.message.partition("run: ")[2] == first
    session = account(world, client="codex").session_id
    amount = int(first.rpartition(" ")[2].replace(".", ""))
    raise_budget(world.rt, session, 1, reason="less than was said", authority=the_user("me"))
    assert codex_tool(world, 3).message.partition("run: ")[2] not in ("", first), "the limit is another one now"
    raise_budget(world.rt, session, amount * DOLLAR // 100, reason="what was said", authority=the_user("me"))
    assert not codex_tool(world, 4).stops


def test_a_refused_tool_of_codex_says_that_the_next_one_is_held_and_ends_with_the_command(world):
    hook(world, Moment.PROMPT, "prompt:1", client="codex")
    respond(world, "r1", 100, client="codex", tool_use_ids=("t1",))
    told = codex_tool(world, 1).message
    assert "press Esc and type `tallygate raise 2`" in told
    assert re.search(r"in another terminal run: tallygate budget raise \S+ [\d.]+$", told)
    assert "held" not in codex_tool(world.with_runtime(interrupts=False), 3).message


@pytest.mark.parametrize(
    ("client", "moment", "agent", "held"),
    [
        ("gemini", Moment.TOOL, None, 45),
        ("gemini", Moment.MODEL, None, 0),
        ("claude_code", Moment.TOOL, "a1", 0),
        ("opencode", Moment.TOOL, "a1", 0),
    ],
)
def test_an_agent_that_had_more_than_a_last_word_since_its_first_refusal_is_ended_in_any_client(
    world, client, moment, agent, held
):
    hook(world, Moment.PROMPT, "prompt:1", client=client)
    respond(world, "r1", 100, client=client)

    def refused(number):
        answer = hook(world, moment, f"{moment}:{number}", client=client, tool="x", agent_id=agent)
        assert answer.stops
        return answer.ends, answer.held_s

    assert [refused(1), refused(2)] == [(False, 0)] * 2, "two tools of one response"
    respond(world, "r2", 1, client=client, agent_id=agent)
    assert refused(3) == (False, 0), "its last word asked for a tool"
    respond(world, "r3", 1, client=client, agent_id=agent)
    assert refused(4) == (True, held)
    still = hook(world, moment, f"{moment}:4", client=client, tool="x", agent_id=agent, held=True)
    assert (still.ends, still.held_s) == (True, held)
    raise_budget(world.rt, account(world, client=client).session_id, 9 * DOLLAR, reason="", authority=the_user("me"))
    assert not hook(world, Moment.PROMPT, "prompt:2", client=client, agent_id=agent).stops


@pytest.mark.parametrize(("agent", "held"), [(None, 0), ("a1", 45)])
def test_a_refused_tool_of_qwen_code_is_held_in_a_subagent_whose_model_calls_no_hook_sees(world, agent, held):
    hook(world, Moment.PROMPT, "prompt:1", client="qwen")
    respond(world, "r1", 100, client="qwen")
    found = [hook(world, Moment.TOOL, f"tool:{n}", client="qwen", tool="x", agent_id=agent).held_s for n in (1, 2)]
    assert found == [0, held]


def test_an_agent_that_is_refused_again_is_ended_though_another_one_was_let_go_on_between(world):
    hook(world, Moment.PROMPT, "prompt:1", client="codex")
    respond(world, "r1", 70, client="codex", tool_use_ids=("t1",))
    assert [codex_tool(world, 1).ends, codex_tool(world, 2, agent_id="a1").stops] == [False, False]
    assert codex_tool(world, 3).ends


def test_a_refusal_after_a_step_that_was_let_through_is_the_first_again(world):
    hook(world, Moment.PROMPT, "prompt:1", client="codex")
    respond(world, "r1", 100, client="codex", tool_use_ids=("t1",))
    assert codex_tool(world, 1).stops
    raise_budget(world.rt, account(world, client="codex").session_id, DOLLAR, reason="", authority=the_user("me"))
    assert not codex_tool(world, 2).stops
    respond(world, "r2", 100, client="codex", tool_use_ids=("t2",))
    answers = [codex_tool(world, number) for number in (3, 4)]
    assert [(a.stops, a.ends, a.again) for a in answers] == [(True, False, False), (True, True, True)]


@pytest.mark.parametrize(("mode", "ends"), [("hard", True), ("soft", False)])
def test_only_where_a_hard_budget_binds_a_run_is_ended(world, mode, ends):
    there = world.with_runtime(session_mode=mode, default_mode=mode)
    assert not codex_tool(there, 0).stops
    strict = Opening(DOLLAR, "cents", client="codex", unknown_price=UnknownPrice.HALT)
    start_within(there.rt, strict, tool_use_id="t0")
    answers = [codex_tool(there, n, model="nobody-knows-this") for n in (1, 2)]
    assert [(a.stops, a.ends) for a in answers] == [(True, False), (True, ends)], "its price is unknown"


def test_the_same_hook_again_gets_the_same_answer_and_reserves_once(world):
    hook(world, Moment.PROMPT, "prompt:1")
    before = figures(world)
    hook(world, Moment.PROMPT, "prompt:1")
    assert figures(world) == before


def test_an_overrun_is_what_was_in_flight_and_no_more(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 10)
    calls = 1
    for number in range(50):
        if hook(world, Moment.TOOLS_DONE, f"batch:{number}").stops:
            break
        respond(world, f"n{number}", 15)
        calls += 1
    spent, reserved = figures(world)
    assert reserved == 0
    assert 85 <= spent <= 100 + 15
    assert calls == 1 + (spent - 10) // 15


# ---------------------------------------------------------------- responses in flight


def test_a_response_still_streaming_is_held_beside_the_next_step_and_trued_up_when_it_lands(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 4)
    hook(world, Moment.TOOLS_DONE, "batch:1")
    streamed_at = world.clock.at_us
    hook(world, Moment.TOOLS_DONE, "batch:2")
    assert figures(world) == (4, 8), "the response in flight, and the one after it"
    row_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=streamed_at + 1)
    late = ObservedUsage("claude_code", "client-1", "r2", row_at, "dear", Tokens(output=70), Rule.CLAUDE_RESPONSE)
    ingest(world.rt, FileReading("claude_code", "/t/late", [late]))
    assert figures(world) == (11, 4)


def test_a_decision_that_turns_on_a_response_waits_for_it_to_land(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 30)
    hook(world, Moment.TOOLS_DONE, "batch:1")
    waited = []

    def pause(microseconds):
        waited.append(microseconds)
        if len(waited) == 3:
            respond(world, "r2", 40)

    slow = world.with_runtime(pause_us=pause)
    assert hook(slow, Moment.TOOLS_DONE, "batch:2").stops, "70 of 100 cents are spent, a step takes 35"
    assert len(waited) == 3


def test_a_turn_that_was_broken_off_holds_nothing_in_the_next(world):
    hook(world, Moment.PROMPT, "prompt:1")
    first = figures(world)
    world.clock.forward(10 * SECOND)
    hook(world, Moment.PROMPT, "prompt:2")
    assert figures(world) == first


def test_the_auxiliary_calls_of_a_client_count_but_answer_no_reservation(world):
    hook(world, Moment.PROMPT, "prompt:1")
    held = figures(world)[1]
    respond(world, "title", 1, rule=Rule.CLAUDE_AUXILIARY)
    assert figures(world) == (1, held)


# ---------------------------------------------------------------- subagents


def test_parallel_subagents_share_one_budget_to_the_last_reservation(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 64, tool_use_ids=("t1", "t2", "t3"))
    estimate = (20_000 * 10_000_000 // 1_000_000 + 200 * 10) * 1000  # nano-dollars of a first step at `cents`
    answers = [
        hook(world, Moment.TOOL, f"tool:t{n}", tool="Agent", tool_use_ids=(f"t{n}",), starts_agent=True)
        for n in (1, 2, 3)
    ]
    stopped = [answer.stops for answer in answers]
    fits = (36 * 10_000_000) // estimate
    assert stopped == [n >= fits for n in range(3)]


def test_a_subagent_takes_over_the_reservation_its_tool_made(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 4, tool_use_ids=("t1",))
    hook(world, Moment.TOOL, "tool:t1", tool="Agent", tool_use_ids=("t1",), starts_agent=True)
    one = figures(world)
    hook(world, Moment.AGENT_START, "agent:a1", agent_id="a1", agent_type="general")
    assert figures(world) == one
    respond(world, "s1", 2, agent_id="a1", rule=Rule.CLAUDE_SUBAGENT)
    assert figures(world) == (6, 0)
    hook(world, Moment.TOOLS_DONE, "batch:s1", agent_id="a1")
    assert figures(world) == (6, 2), "at the subagent's own level, not the main agent's"


# ---------------------------------------------------------------- clients that have only the tool itself


def test_parallel_tools_of_one_response_reserve_the_next_call_once(world):
    codex = {"client": "codex"}
    hook(world, Moment.PROMPT, "prompt:1", **codex)
    respond(world, "r1", 4, client="codex", rule=Rule.CODEX_RECORD, tool_use_ids=("t1", "t2"))
    for tool in ("t1", "t2"):
        hook(world, Moment.TOOL, f"tool:{tool}", tool="Bash", tool_use_ids=(tool,), **codex)
    assert figures(world, client="codex") == (4, 4)
    respond(world, "r2", 4, client="codex", rule=Rule.CODEX_RECORD, tool_use_ids=("t3",))
    hook(world, Moment.TOOL, "tool:t3", tool="Bash", tool_use_ids=("t3",), **codex)
    assert figures(world, client="codex") == (8, 4)


def test_tools_that_run_while_their_response_streams_hold_it_and_the_next(world):
    codex = {"client": "codex"}
    hook(world, Moment.PROMPT, "prompt:1", **codex)
    respond(world, "r1", 4, client="codex", rule=Rule.CODEX_RECORD, tool_use_ids=("t1",))
    hook(world, Moment.TOOL, "tool:t1", tool="Bash", tool_use_ids=("t1",), **codex)
    for tool in ("t2", "t3"):
        hook(world, Moment.TOOL, f"tool:{tool}", tool="Bash", tool_use_ids=(tool,), **codex)
    assert figures(world, client="codex") == (4, 8)


# ---------------------------------------------------------------- the end


def test_the_end_of_the_clients_session_ends_and_logs_it_and_holds_nothing(world):
    hook(world, Moment.PROMPT, "prompt:1")
    session = account(world)
    respond(world, "r1", 7)
    hook(world, Moment.TOOLS_DONE, "batch:1")
    hook(world, Moment.SESSION_END, cause="prompt_input_exit")
    (line,) = logged(world)
    assert line["run_id"] == session.session_id
    assert line["total_cost"] == "0.07"
    assert line["end_cause"] == "client_ended:prompt_input_exit"
    assert line["enforcement"] == "hooks"
    assert world.budget(session.session_id).reserved == 0
    hook(world, Moment.SESSION_END, cause="prompt_input_exit")
    assert len(logged(world)) == 1


def test_a_server_whose_client_has_gone_ends_the_sessions_hooks_opened_in_it(world):
    mine, other = world.with_runtime(server_id="aa" * 16), world.with_runtime(server_id="bb" * 16)
    hook(mine, Moment.SESSION_START)
    hook(other, Moment.SESSION_START, session="client-2")
    by_hand = mine.start()
    ended = account(world).session_id
    assert end_left_open(mine.rt) == [ended]
    assert [line["run_id"] for line in logged(world)] == [ended]
    assert account(world, "client-2").is_open
    with world.ledger.reading() as reader:
        assert reader.session(by_hand).state is SessionState.OPEN


def test_a_session_whose_client_and_server_were_killed_is_closed_by_the_next_start(world):
    hook(world.with_runtime(server_id="aa" * 16), Moment.SESSION_START)
    session = account(world).session_id
    assert close_abandoned(world.rt) == [session]
    hook(world, Moment.PROMPT, "prompt:1")
    assert account(world).parent_session_id == session, "a client that lives on goes on with the same budget"


def test_estimates_stand_where_the_record_of_a_client_is_never_read(world):
    hook(world, Moment.PROMPT, "prompt:1")
    session = account(world).session_id
    reserved = world.budget(session).reserved
    hook(world, Moment.SESSION_END)
    assert world.budget(session).spent == reserved > 0
    (call,) = world.calls(session)
    assert call.cost_basis == "estimate"


def test_a_response_that_comes_after_its_estimate_was_booked_takes_its_place(world):
    hook(world, Moment.PROMPT, "prompt:1")
    session = account(world).session_id
    made_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us + 1000)
    hook(world, Moment.SESSION_END)
    late = ObservedUsage("claude_code", "client-1", "r1", made_at, "dear", Tokens(output=70), Rule.CLAUDE_RESPONSE)
    ingest(world.rt, FileReading("claude_code", "/t/late", [late]))
    assert world.budget(session).spent == 70 * 1_000_000


# ---------------------------------------------------------------- agents that open their own


def test_a_session_an_agent_opens_lies_inside_the_one_its_client_has(world):
    hook(world, Moment.TOOL, "tool:t1", tool="mcp__tallygate__l6e_run_start", tool_use_ids=("t1",))
    outer = account(world).session_id
    opened = start_within(world.rt, Opening(DOLLAR // 2, "cents", client="claude-code"), tool_use_id="t1")
    inner = opened.session
    assert inner.parent_session_id == outer
    respond(world, "r1", 20)
    assert world.budget(inner.session_id).spent == world.budget(outer).spent == 20 * 10_000_000
    respond(world, "r2", 20)
    assert hook(world, Moment.PROMPT, "prompt:1", model="dear").stops, "the inner budget is the tighter one"


def test_an_agents_session_without_any_hook_is_its_own(world):
    opened = start_within(world.rt, Opening(DOLLAR, "cents", client="claude-code"), tool_use_id="t1")
    assert opened.session.parent_session_id is None


# ---------------------------------------------------------------- words, faults


def test_rising_pressure_is_told_once(world):
    told = []
    hook(world, Moment.PROMPT, "prompt:0")
    for number in range(12):
        respond(world, f"r{number}", 7)
        told.append(hook(world, Moment.TOOLS_DONE, f"batch:{number}").message)
    said = [text for text in told if text]
    assert 2 <= len([text for text in said if "pressure" in text]) <= 3
    assert "is left" in said[0]


def test_settings_that_would_switch_the_gate_off_are_refused(world):
    guarded = world.with_runtime(weakens=lambda event: f"{event.changed_file} says so.")
    answer = hook(guarded, Moment.SETTINGS_CHANGE, changed_file="/p/.claude/settings.json")
    assert answer.stops
    assert "settings.json says so" in answer.message
    assert not hook(world, Moment.SETTINGS_CHANGE, changed_file="/p/.claude/settings.json").stops


def test_a_prompt_is_stopped_where_another_server_would_answer_the_hooks(world):
    shadowed = world.with_runtime(stand_in=lambda event: f"{event.folder}/.mcp.json has another server.")
    assert "/p/.mcp.json has another" in hook(shadowed, Moment.SESSION_START, folder="/p").message
    answer = hook(shadowed, Moment.PROMPT, "p1", folder="/p")
    assert answer.stops
    assert "/p/.mcp.json has another server" in answer.message
    lenient = shadowed.with_runtime(halt_on_fault=False)
    assert not hook(lenient, Moment.PROMPT, "p2", folder="/p").stops
    assert not hook(world, Moment.PROMPT, "p3", folder="/p").stops


class Broken:
    """A ledger that cannot be used."""

    ledger_id = "00" * 16

    def _fail(self, *_):
        raise LedgerUnavailable("The disk is full.", hint="Make room.")

    reading = writing = _fail


@pytest.mark.parametrize("halts", [True, False])
@pytest.mark.parametrize("moment", list(Moment))
def test_a_ledger_that_cannot_be_used_stops_what_is_gated_unless_the_policy_fails_open(tmp_path, halts, moment):
    world = make_world(tmp_path)
    rt = changed(world.rt, ledger=Broken(), halt_on_fault=halts)
    answer = answer_hook(rt, hook_event("claude_code", moment, "client-1", moment.value))
    gated = moment in {
        Moment.PROMPT, Moment.MODEL, Moment.TOOL, Moment.TOOLS_DONE, Moment.AGENT_START, Moment.COMPACTION,
    }  # fmt: skip
    assert answer.stops == (gated and halts)
    ended = {Moment.PROMPT, Moment.TOOL, Moment.TOOLS_DONE, Moment.SESSION_END}
    assert answer.ends == (halts and moment in ended)
    if moment not in (
        Moment.TURN_END,
        Moment.AGENT_END,
        Moment.TOOL_DONE,
        Moment.SETTINGS_CHANGE,
        Moment.FORM_ANSWERED,
    ):
        assert "The disk is full." in answer.message
    world.ledger.close()


@pytest.mark.parametrize(
    ("client", "halts", "interrupts", "told", "said"),
    [
        ("claude_code", True, True, True, True),
        ("claude_code", True, False, True, False),
        ("claude_code", False, True, False, False),
        ("copilot", True, True, False, False),
        ("codex", True, True, False, False),
    ],
)
def test_the_end_of_a_session_says_that_the_ledger_cannot_be_used(world, client, halts, interrupts, told, said):
    there = changed(world.rt, ledger=Broken(), halt_on_fault=halts, interrupts=interrupts)
    ended = answer_hook(there, hook_event(client, Moment.SESSION_END, "client-1", "SessionEnd"))
    assert ("The disk is full. Make room." in (ended.parting or ""), ended.ends, ended.stops) == (told, said, False)


def test_the_end_of_a_run_that_a_lock_stopped_before_it_had_a_session_says_so(world):
    with closing(sqlite3.connect(world.ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert hook(world, Moment.PROMPT, "p1").stops
        assert "locked" in (hook(world, Moment.SESSION_END).parting or "")
        other.execute("ROLLBACK")
    assert hook(world, Moment.SESSION_END).parting is None


@pytest.mark.parametrize(
    ("client", "keys", "ends"),
    [
        ("codex", ("t1", "t2", "t3"), [False, True, True]),
        ("copilot", ("r1", "r1", "r2"), [False, False, True]),
        ("gemini", ("t1", "t2", "t3"), [False, False, False]),
    ],
)
def test_a_client_that_goes_on_while_the_ledger_cannot_be_used_is_ended_too(world, client, keys, ends):
    broken, prompts = changed(world.rt, ledger=Broken()), Prompts()

    def tool(rt, key):
        told = hook_event(client, Moment.TOOL, "client-1", "tool", key, key_of_response=client == "copilot")
        return answer_hook(rt, told, prompts)

    assert [tool(broken, key).ends for key in keys] == ends
    assert not tool(world.rt, "t8").stops
    assert not tool(broken, "t9").ends, "it could be used between"


# ---------------------------------------------------------------- whose response it is


def test_a_subagent_that_its_client_keeps_as_a_session_of_its_own_spends_the_account_of_its_parent(world):
    hook(world, Moment.PROMPT, "prompt:1", client="codex")
    respond(world, "r1", 4, client="codex", rule=Rule.CODEX_RECORD)
    child = {"client": "codex", "rule": Rule.CODEX_RECORD}
    respond(world, "s1", 3, session="thread-2", parent_session="client-1", agent_id="thread-2", **child)
    respond(world, "s2", 2, session="thread-3", parent_session="thread-2", agent_id="thread-3", **child)
    assert figures(world, client="codex")[0] == 9
    hook(world, Moment.AGENT_START, "prompt:s1", client="codex", agent_id="thread-2")
    assert figures(world, client="codex") == (9, 3), "its own level is known by its own session"


def test_a_client_without_hooks_in_the_same_workspace_spends_nothing_of_a_hooked_session(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 4)
    respond(world, "x1", 50, session="a stranger's")
    assert figures(world)[0] == 4


def test_a_session_stays_with_its_server_while_that_lives(world):
    mine, other = world.with_runtime(server_id="aa" * 16), world.with_runtime(server_id="bb" * 16)
    hook(mine, Moment.SESSION_START)
    world.rt.services.presence.announce("aa" * 16)
    hook(other, Moment.PROMPT, "prompt:1")
    assert account(world).server_id == "aa" * 16
    world.rt.services.presence.leave()
    hook(other, Moment.PROMPT, "prompt:2")
    assert account(world).server_id == "bb" * 16


# ---------------------------------------------------------------- calls nobody writes down


def test_a_call_without_a_response_is_voided_at_the_end_and_named(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 7)
    hook(world, Moment.TOOLS_DONE, "batch:1")
    session = account(world).session_id
    hook(world, Moment.SESSION_END)
    lost = world.calls(session)[-1]
    assert (lost.state, lost.is_unanswered) == (CallState.VOIDED, True)
    (line,) = logged(world)
    assert (line["total_cost"], line["exactness_state"]) == ("0.07", "partial_exact")
    causes = show_session(world.rt, session).drift
    assert [cause.kind for cause in causes if cause.kind is CauseKind.NO_RESPONSE] == [CauseKind.NO_RESPONSE]


def test_a_response_that_comes_after_its_call_was_voided_counts_and_is_no_longer_missed(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r0", 5)
    hook(world, Moment.TOOLS_DONE, "batch:1")
    session = account(world).session_id
    made_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us + 1000)
    hook(world, Moment.SESSION_END)
    late = ObservedUsage("claude_code", "client-1", "r1", made_at, "dear", Tokens(output=70), Rule.CLAUDE_RESPONSE)
    ingest(world.rt, FileReading("claude_code", "/t/late", [late]))
    assert world.budget(session).spent == (5 + 7) * 10_000_000
    view = show_session(world.rt, session)
    assert not [cause for cause in view.drift if cause.kind is CauseKind.NO_RESPONSE]
    assert view.totals.exactness == "fully_exact_for_supported_calls"


def test_a_title_beside_the_conversation_has_a_small_reservation_of_its_own(world):
    opencode = {"client": "opencode", "agent_type": "title"}
    hook(world, Moment.MODEL, "model:m1:1", client="opencode")
    hook(world, Moment.MODEL, "model:m1:2", **opencode)
    respond(world, "r1", 7, client="opencode", rule=Rule.OPENCODE_BESIDE)
    title = 1060 * 10_000  # nano-dollars of 1,060 tokens at `cents`
    assert world.budget(account(world, client="opencode").session_id).reserved == title
    assert figures(world, client="opencode")[0] == 7


def test_a_tool_is_looked_at_with_the_price_of_the_model_that_the_session_last_named(world):
    hook(world, Moment.MODEL, "model:m1:1", client="opencode", model="cents")
    answer = hook(world, Moment.TOOL, "tool:t1", client="opencode", model=None, tool="bash", tool_use_ids=("t1",))
    assert not answer.stops


def test_what_a_live_session_was_spent_on_is_told_by_its_responses(world):
    hook(world, Moment.PROMPT, "prompt:1")
    respond(world, "r1", 7)
    respond(world, "title", 1, rule=Rule.CLAUDE_AUXILIARY)
    view = show_session(world.rt, account(world).session_id)
    cents = {share.label: share.nanos // 10_000_000 for share in view.by_tool}
    assert cents == {"prompt": 7, "outside of calls": 1}
    assert [(share.label, share.nanos // 10_000_000) for share in view.by_model] == [("dear", 8)]


@pytest.mark.parametrize("seconds, voided", [(1, False), (3, False), (4, True), (60, True)])
def test_a_prompt_that_was_queued_breaks_nothing_off_and_one_after_a_pause_does(world, seconds, voided):
    """A hook takes a second here: five are between the two prompts where four were waited for, and a moment more."""
    hook(world, Moment.PROMPT, "prompt:1")
    [first] = world.calls(account(world).session_id)
    world.clock.forward(seconds * SECOND + 1000)
    hook(world, Moment.PROMPT, "prompt:2")
    assert (world.call(first.call_id).state is CallState.VOIDED) is voided


def test_a_tool_that_would_change_the_gates_files_is_refused_and_the_work_goes_on(world):
    world = world.with_runtime(guarded=lambda: GuardedFiles({"/h/ledger.db": "the ledger"}, "/h"))
    hook(world, Moment.SESSION_START)
    refused = hook(world, Moment.TOOL, "tool:1", tool="Bash", reach=Reach("rm ~/ledger.db"), folder="/h/p")
    assert refused.stops
    assert refused.tool_only
    assert "would change the ledger" in refused.message
    assert "terminal outside the agent" in refused.message
    assert not hook(world, Moment.TOOL, "tool:2", tool="Bash", reach=Reach("ls ~/ledger.db"), folder="/h/p").stops
    assert not hook(world, Moment.TOOL, "tool:3", tool="Bash", folder="/h/p").stops
    clock = hook(world, Moment.TOOL, "tool:4", tool="Bash", reach=Reach("date -s tomorrow"), folder="/h/p")
    assert (clock.stops, clock.tool_only) == (True, True)
    assert "`date -s tomorrow` would set the system's clock, by which budgets are renewed" in clock.message
    assert "terminal outside the agent" in clock.message


def test_a_run_that_is_ended_at_its_first_prompt_says_that_it_never_began_and_a_raise_of_its_own_is_no_way_on(world):
    first = hook(world.with_runtime(session_limit_nanos=1), Moment.PROMPT, "p1", session="new")
    assert "\nTo go on, run: tallygate budget raise" in first.message
    assert first.last.endswith("raise the limit of a session in your settings file, and start it again.")
    assert "budget raise" not in first.last
    day = rules.BudgetRule(rules.BudgetScope.GLOBAL, 1, period="day")
    above = hook(world.with_runtime(rules=(day,)), Moment.PROMPT, "p1", session="other")
    assert "This run never began: start it again after the raise.\nTo go on, run: tallygate" in above.last
    assert above.last.endswith(above.message.rpartition(" run: ")[2]), "the command stays the last word"


def test_a_run_that_has_spent_something_or_is_another_clients_is_ended_with_the_refusal_alone(world):
    respond(world, "r1", 150)
    hook(world, Moment.PROMPT, "p1")
    respond(world, "r2", 150)
    resumed = hook(world, Moment.PROMPT, "p2")
    assert (resumed.ends, resumed.last) == (True, None)
    poor = world.with_runtime(session_limit_nanos=1)
    other = hook(poor, Moment.PROMPT, "p1", client="codex", session="c")
    assert (other.ends, other.last) == (True, None)
    tool = hook(poor, Moment.TOOL, "t1", session="t", tool="Bash")
    assert (tool.ends, tool.last) == (True, None)


def test_a_run_of_claude_code_is_ended_when_its_main_agent_is_refused_and_nothing_is_in_flight(world):
    hook(world, Moment.PROMPT, "p1")
    hook(world, Moment.AGENT_START, "a1", agent_id="agent-1")
    respond(world, "r1", 60)
    mine = hook(world, Moment.TOOL, "t1", tool="Bash", tool_use_ids=("t1",))
    assert (mine.verdict, mine.ends, mine.waits) == (HookVerdict.STOP, True, True), (
        "the subagent's response is in flight"
    )
    respond(world, "r2", 50, agent_id="agent-1")
    theirs = hook(world, Moment.TOOL, "t2", tool="Bash", agent_id="agent-1")
    assert (theirs.verdict, theirs.ends) == (HookVerdict.STOP, False)
    again = hook(world, Moment.TOOLS_DONE, "b1")
    assert (again.verdict, again.ends, again.waits) == (HookVerdict.STOP, True, False)
    gentle = world.with_runtime(interrupts=False)
    assert not hook(gentle, Moment.TOOLS_DONE, "b2").ends


@pytest.mark.parametrize("interrupts, said", [(True, True), (False, False)])
def test_the_end_of_a_session_says_what_stopped_it_and_whether_that_was_said_before(world, interrupts, said):
    world = world.with_runtime(interrupts=interrupts)
    hook(world, Moment.PROMPT, "p1")
    assert hook(world, Moment.SESSION_END).parting is None, "nothing was refused"
    hook(world, Moment.PROMPT, "p2", session="client-2")
    respond(world, "r1", 120, session="client-2")
    stopped = hook(world, Moment.TOOL, "t1", session="client-2", tool="Bash")
    ended = hook(world, Moment.SESSION_END, session="client-2")
    assert (ended.parting, ended.ends, ended.stops) == (stopped.message, said, False)


def test_a_subagent_that_was_stopped_is_told_at_the_end_although_the_run_was_not_ended_for_it(world):
    hook(world, Moment.PROMPT, "p1")
    hook(world, Moment.AGENT_START, "a1", agent_id="agent-1")
    respond(world, "r1", 5)
    respond(world, "r2", 70, agent_id="agent-1")
    assert hook(world, Moment.TOOLS_DONE, "b0", agent_id="agent-1").stops
    assert not hook(world, Moment.TOOLS_DONE, "b1").stops
    ended = hook(world, Moment.SESSION_END)
    assert "tallygate budget raise" in ended.parting
    assert not ended.ends
