"""Loops as hooks tell of them: warned of once, stopped where the user has set that, and let go on by the user alone."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.reading_rules import Rule
from tests.world import NANOS, hook_event, the_user

from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.chosen import Filter, Span
from tallygate.core.costing import Tokens
from tallygate.core.errors import NotFound, UsersOnly
from tallygate.core.hooks import HookVerdict, Moment
from tallygate.core.likeness import ToolRun
from tallygate.core.loops import LoopKind, LoopMode, LoopStage
from tallygate.core.usage import ObservedUsage
from tallygate.entrypoints.page.loops import loops_seen
from tallygate.operations import loops
from tallygate.operations.hooks import answer_hook
from tallygate.operations.sessions.opening import open_session_of
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.operations.views.gate import GateWanted, gate
from tallygate.operations.views.overview import show_session

SECOND = 1_000_000
SECRET = "s3cr3t-token-of-the-user"
FAILING = ToolRun("Bash", {"command": f"npm install x --token {SECRET}"}, f"npm ERR! 404 {SECRET}", failed=True)


@pytest.fixture(params=[LoopMode.WARN])
def world(world, request):
    return world.with_runtime(session_limit_nanos=100 * NANOS, project="/home/me/p", loops=request.param)


halting = pytest.mark.parametrize("world", [LoopMode.HALT], indirect=True)


def hook(world, moment, key=None, *, client="claude_code", session="client-1", **more):
    world.clock.forward(SECOND)
    return answer_hook(world.rt, hook_event(client, moment, session, moment.value, key, model="cents", **more))


def respond(world, key, cents=12, agent_id=None):
    """A response lands."""
    world.clock.forward(SECOND)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us)
    row = ObservedUsage(
        "claude_code", "client-1", key, at, "dear", Tokens(output=cents * 10), Rule.CLAUDE_RESPONSE,
        project="/home/me/p", agent_id=agent_id,
    )  # fmt: skip
    ingest(world.rt, FileReading("claude_code", "/t/client-1", [row]))


def prompt(world, key="p1", **more):
    return hook(world, Moment.PROMPT, key, **more)


def worked(world, runs, **more):
    """Responses of twelve cents that each ask for one tool, and what the hook after the tool answers."""
    found = []
    for number, run in enumerate(runs):
        key = f"{more.get('agent_id')}-{world.clock.at_us}-{number}"
        respond(world, key, agent_id=more.get("agent_id"))
        found.append(hook(world, Moment.TOOLS_DONE, key, runs=(run,), **more))
    return found


def asks(world, run, **more):
    return hook(world, Moment.TOOL, f"t{world.clock.at_us}", tool=run.tool, runs=(replace(run, gave=None),), **more)


def seen(world):
    return loops.lately(world.rt)[::-1]


def test_the_model_is_warned_once_with_the_price_and_told_when_it_is_a_loop(world):
    prompt(world)
    said = [answer.message for answer in worked(world, [FAILING] * 12)]
    assert [number for number, each in enumerate(said, 1) if each] == [5, 8]
    name = f"npm install x --token {SECRET}"
    assert said[4] == (
        f"Tallygate: $0.60 in 5 calls without anything new: `{name}` failed the same way 5 times."
        " Try another way, or tell the user what is missing."
    )
    assert said[7] is not None
    assert "$0.96 in 8 calls without anything new" in said[7]
    assert asks(world, FAILING).verdict is HookVerdict.GO_ON
    assert [(each.stage, each.kind, each.number, each.cost_nanos) for each in seen(world)] == [
        (LoopStage.WARNED, LoopKind.ERROR, 5, 600_000_000),
        (LoopStage.REACHED, LoopKind.ERROR, 8, 960_000_000),
    ]


@halting
def test_what_goes_on_after_eight_is_stopped_until_the_user_lets_it_go_on(world):
    prompt(world)
    said = worked(world, [FAILING] * 8)
    assert said[7].message is None  # the next call is stopped, which says so
    again = asks(world, FAILING)
    assert again.stops
    assert "npm install x" in (again.asks or "")
    assert "$0.96 in 8 calls" in (again.message or "")
    assert "tallygate loop allow" in (again.message or "")
    other = asks(world, ToolRun("Read", {"file_path": "/etc/motd"}))
    assert other.stops
    assert "a call of `Bash`" in (other.message or ""), "what is told is never what was asked before"
    with pytest.raises(UsersOnly):
        loops.allow(world.rt, None, authority=Authority(EntryDoor.COMMAND, "agent", beneath="claude (pid 7)"))
    assert asks(world, FAILING).stops
    loops.allow(world.rt, None, authority=the_user("anna"))
    assert not asks(world, FAILING).stops
    # Counting begins anew.
    assert [bool(each.message) for each in worked(world, [FAILING] * 5)] == [False] * 4 + [True]
    with pytest.raises(NotFound):
        loops.allow(world.rt, None, authority=the_user("anna"))


@halting
def test_a_prompt_of_the_user_resets_all_and_one_that_no_person_wrote_does_not(world):
    prompt(world)
    worked(world, [FAILING] * 8)
    prompt(world, "p2", by_machine=True)
    assert asks(world, FAILING).stops
    prompt(world, "p3")
    assert not asks(world, FAILING).stops
    assert not any(each.message for each in worked(world, [FAILING] * 4))


@halting
def test_what_a_person_was_asked_and_has_run_was_let_go_on(world):
    prompt(world)
    worked(world, [FAILING] * 8)
    assert asks(world, replace(FAILING, call_id="t9")).stops
    kept_back = (
        "The user doesn't want to proceed with this tool use.",
        "Tallygate: refused",
        "PreToolUse:Bash hook error: Tallygate: refused",
        "Error: Tool call blocked by hook: Tallygate: refused",
        [{"type": "text", "text": "PreToolUse:Bash hook error: Tallygate: refused"}],
    )
    worked(world, [replace(FAILING, call_id="t9", gave=each) for each in kept_back])
    assert asks(world, replace(FAILING, call_id="t10")).stops
    assert seen(world)[-1].allowed_us is None
    worked(world, [replace(FAILING, call_id="t10")])
    assert seen(world)[-1].allowed_us is not None
    assert not asks(world, FAILING).stops


TASK = ToolRun("Agent", {"prompt": "Find the leak", "description": "look", "subagent_type": "explorer"})


@pytest.mark.parametrize("world", [LoopMode.WARN, LoopMode.HALT], indirect=True)
def test_the_third_subagent_on_one_task_is_told_of_or_stopped_and_other_work_goes_on(world):
    prompt(world)
    answers = [asks(world, TASK, starts_agent=True) for _ in range(3)]
    halts = world.rt.workspace.loops is LoopMode.HALT
    assert [each.stops for each in answers] == [False, False, halts]
    assert "3 subagents on the same task" in (answers[2].message or "")
    assert answers[2].tool_only is halts
    assert not asks(world, FAILING).stops
    assert not asks(world, replace(TASK, given={"prompt": "Another"}), starts_agent=True).stops
    assert asks(world, TASK, starts_agent=True).stops is halts
    if halts:
        loops.allow(world.rt, None, authority=the_user("anna"))
        assert not asks(world, TASK, starts_agent=True).stops


@halting
def test_each_agent_has_a_turn_of_its_own(world):
    prompt(world)
    worked(world, [FAILING] * 4)
    worked(world, [FAILING] * 8, agent_id="a1", agent_type="explorer")
    assert asks(world, FAILING, agent_id="a1").stops
    assert not asks(world, FAILING).stops
    (warned, stopped) = seen(world)
    assert {warned.agent_id, stopped.agent_id} == {"a1"}
    hook(world, Moment.AGENT_END, agent_id="a1")
    assert not asks(world, FAILING, agent_id="a1").stops


@pytest.mark.parametrize("world", [LoopMode.OFF], indirect=True)
def test_where_it_is_off_nothing_is_looked_at(world):
    prompt(world)
    worked(world, [FAILING] * 12)
    assert not asks(world, FAILING).stops
    assert seen(world) == []
    assert not (world.folder / "turns").exists()


@halting
def test_nothing_of_what_was_asked_or_answered_is_kept(world):
    prompt(world)
    worked(world, [FAILING] * 8)
    asks(world, FAILING)
    for path in world.folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    files = list((world.folder / "turns").iterdir())
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * 2
    hook(world, Moment.SESSION_END)
    assert [path.name for path in (world.folder / "turns").iterdir()] == ["key"]


def test_of_a_turn_that_cannot_be_kept_nothing_is_said_and_the_work_goes_on(world, caplog):
    (world.folder / "turns").write_text("in the way")
    prompt(world)
    assert not any(each.message for each in worked(world, [FAILING] * 8))
    assert "Loops are not seen" in caplog.text


def test_what_sessions_left_is_swept_when_another_begins(world):
    prompt(world)
    (left,) = (world.folder / "turns").glob("*.turn")
    os.utime(left, (1, 1))
    prompt(world, "q1", session="client-2")
    assert not left.exists()


def test_a_loop_that_was_none_is_counted_and_goes_on(world):
    prompt(world)
    worked(world, [FAILING] * 5)
    told = loops.wrong(world.rt, None, authority=the_user("anna"))
    assert told.wrong_us is not None
    with pytest.raises(NotFound):
        loops.wrong(world.rt, None, authority=the_user("anna"))
    session = open_session_of(world.rt, "claude_code", "client-1")
    assert session is not None
    assert loops.lately(world.rt, session.session_id) == [told]


def test_a_session_and_the_gate_tell_of_loops_and_of_those_that_were_none(world):
    prompt(world)
    worked(world, [FAILING] * 8)
    loops.wrong(world.rt, None, authority=the_user("anna"))
    session = open_session_of(world.rt, "claude_code", "client-1")
    assert session is not None
    view = show_session(world.rt, session.session_id)
    assert [each.stage for each in view.loops] == [LoopStage.WARNED, LoopStage.REACHED]
    now_us = world.clock.at_us
    text = str(loops_seen("Loops", view.loops, now_us, UTC, empty="None."))
    assert "1 warned of, 1 let go on." in text
    assert "You said 1 time that it was none." in text
    assert "$0.96 in 8 calls" in text
    assert SECRET not in text
    assert "None." in str(loops_seen("Loops", [], now_us, UTC, empty="None."))
    asked = GateWanted(Span("all", "all days", 0, 2**62), Filter(()))
    assert len(gate(world.rt, UTC, asked).loops) == 2
