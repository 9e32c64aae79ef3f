"""A raise that the user types as a prompt: shown a code, then raised by it, and by nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.reading_rules import Rule
from tests.world import NANOS, hook_event

from tallygate.core.costing import Tokens
from tallygate.core.gate import rules as settings
from tallygate.core.hooks import Moment
from tallygate.core.usage import ObservedUsage
from tallygate.operations.hooks import CLOSED_US, CODE_LASTS_US, WRONG_MAX, Prompts, answer_hook
from tallygate.operations.sessions.opening import open_session_of
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.operations.views.overview import show_session

DOLLAR = NANOS


class Desk:
    """One server's hooks, and what it remembers."""

    def __init__(self, world):
        self.world, self.prompts = world, Prompts()

    def hook(self, moment, *, session="client-1", near=True, **more):
        self.world.clock.forward(1)
        event = hook_event("claude_code", moment, session, moment.value, near=near, model="cents", **more)
        return answer_hook(self.world.rt, event, self.prompts)

    def type(self, amount, code=None, **more):
        answer = self.hook(Moment.PROMPT, raising=(amount, code), **more)
        assert answer.stops, "the model would see the line"
        return answer.message

    def code(self, amount="2", **more):
        return code_in(self.type(amount, **more))

    def limit(self, session="client-1"):
        found = open_session_of(self.world.rt, "claude_code", session)
        return show_session(self.world.rt, found.session_id).budgets[0].limit


def code_in(message):
    found = re.search(r"tallygate raise [\d.]+ ([0-9a-f]{8})$", message)
    return found and found[1]


@pytest.fixture
def desk(world):
    made = Desk(world.with_runtime(session_limit_nanos=DOLLAR))
    made.hook(Moment.SESSION_START)
    return made


def test_the_line_shows_a_code_and_the_same_line_with_it_raises_and_says_by_prompt(desk):
    shown = desk.type("2")
    assert "of $1.00" in shown
    assert desk.limit() == DOLLAR
    told = desk.type("2", code_in(shown))
    assert "raised" in told
    assert desk.limit() == 3 * DOLLAR
    [(door, beneath)] = desk.world.ledger.rows("SELECT door, beneath FROM limit_change")
    assert (door, beneath) == ("prompt", None)


@pytest.mark.parametrize("period", ["day", "5h"])
def test_a_budget_of_a_period_is_raised_by_the_line_that_was_shown(world, period):
    desk = Desk(world.with_runtime(rules=(settings.BudgetRule(settings.BudgetScope.GLOBAL, DOLLAR, period=period),)))
    desk.hook(Moment.SESSION_START)
    assert "limit is $3.00" in desk.type("2", desk.code())


def test_a_line_without_an_amount_or_with_none_that_can_be_read_is_told_how_it_is_typed(desk):
    assert "tallygate raise 2" in desk.type("")
    assert "such as 2.50" in desk.type("2.5.0")
    assert "can be read as 1000 or as 1.0" in desk.type("1,000")
    assert desk.limit() == DOLLAR


def test_a_line_takes_an_amount_as_the_command_does(desk):
    desk.type("2,50", desk.code("2,50"))
    assert desk.limit() == DOLLAR + 25 * DOLLAR // 10


def test_a_code_is_used_once(desk):
    code = desk.code()
    desk.type("2", code)
    assert "nothing was changed" in desk.type("2", code)
    assert desk.limit() == 3 * DOLLAR


def test_a_wrong_answer_burns_the_code(desk):
    code = desk.code()
    desk.type("2", "00000000")
    desk.type("2", code)
    assert desk.limit() == DOLLAR


@pytest.mark.parametrize("amount", ["3", "2.01"])
def test_a_code_is_for_its_amount(desk, amount):
    desk.type(amount, desk.code("2"))
    assert desk.limit() == DOLLAR


def test_a_code_is_for_its_session(desk):
    desk.hook(Moment.SESSION_START, session="client-2")
    desk.type("2", desk.code("2"), session="client-2")
    assert (desk.limit(), desk.limit("client-2")) == (DOLLAR, DOLLAR)


@pytest.mark.parametrize(("later", "raised"), [(CODE_LASTS_US - 10, True), (CODE_LASTS_US + 1, False)])
def test_a_code_lasts_two_minutes(desk, later, raised):
    code = desk.code()
    desk.world.clock.forward(later)
    desk.type("2", code)
    assert (desk.limit() == 3 * DOLLAR) is raised


def test_three_wrong_answers_close_the_way_for_an_hour(desk):
    for _ in range(WRONG_MAX):
        desk.code()
        desk.type("2", "00000000")
    assert "closed for an hour" in desk.type("2")
    assert "tallygate budget raise" in desk.type("2")
    desk.world.clock.forward(CLOSED_US)
    desk.type("2", desk.code())
    assert desk.limit() == 3 * DOLLAR


def responses(world, *tools):
    for key, used in tools:
        world.clock.forward(1)
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us)
        row = ObservedUsage("claude_code", "client-1", key, at, "cents", Tokens(output=1), Rule.CLAUDE_RESPONSE)
        ingest(world.rt, FileReading("claude_code", "/t/1", [replace(row, tool_use_ids=used)]))


@pytest.mark.parametrize(
    ("later", "given"),
    [([], False), ([("title", ())], False), ([("r2", ("t2",))], True), ([("r2", ("t2",)), ("r3", ())], True)],
    ids=["no later response", "one without tools", "one with a tool", "two"],
)
def test_a_tool_whose_end_nobody_told_is_through_once_a_later_response_asked_for_another(desk, later, given):
    responses(desk.world, ("r1", ("t1",)))
    desk.hook(Moment.TOOL, tool="Bash", tool_use_ids=("t1",), key="tool:t1")
    responses(desk.world, *later)
    assert (desk.code() is not None) is given


ELSEWHERE = [
    ("no client right above", {"near": False}),
    ("a client started in a client", {"inside": ("ab" * 8,)}),
    ("a subagent", {"agent_id": "a1"}),
]


@pytest.mark.parametrize(("what", "where"), ELSEWHERE, ids=[what for what, _ in ELSEWHERE])
def test_elsewhere_no_code_is_given_and_none_is_taken(desk, what, where):
    assert desk.code(**where) is None
    code = desk.code()
    desk.type("2", code, **where)
    assert desk.limit() == DOLLAR


def test_while_a_tool_is_at_work_no_code_is_given_and_one_that_was_given_is_burnt(desk):
    code = desk.code()
    desk.hook(Moment.TOOL, tool="Bash", tool_use_ids=("t1",), key="tool:t1")
    assert "still at work" in desk.type("2")
    assert "still at work" in desk.type("2", code)
    desk.hook(Moment.TOOLS_DONE, tool_use_ids=("t1",), key="batch:t1")
    desk.type("2", code)
    assert desk.limit() == DOLLAR
    desk.type("2", desk.code())
    assert desk.limit() == 3 * DOLLAR


def test_a_tool_that_was_refused_is_not_at_work(desk):
    session = open_session_of(desk.world.rt, "claude_code", "client-1").session_id
    from tests.world import the_user

    from tallygate.operations.budgets.change import set_budget

    set_budget(desk.world.rt, session, 0, reason="stop", authority=the_user("anna"))
    assert desk.hook(Moment.TOOL, tool="Bash", tool_use_ids=("t1",), key="tool:t1").stops
    desk.type("2", desk.code())
    assert desk.limit() == 2 * DOLLAR


def test_a_limit_that_changed_meanwhile_is_not_raised(desk):
    from tests.world import the_user

    from tallygate.operations.budgets.change import set_budget

    code = desk.code()
    session = open_session_of(desk.world.rt, "claude_code", "client-1").session_id
    set_budget(desk.world.rt, session, DOLLAR // 2, reason="less", authority=the_user("anna"))
    assert "changed" in desk.type("2", code)
    assert desk.limit() == DOLLAR // 2


YES = ("accept", "2")
HEARD = [
    ("a person says yes", [(YES, {})], True),
    ("nobody says anything", [], False),
    ("a person declines, and a hook makes a yes of it", [(("decline", None), {})], False),
    ("another amount", [(("accept", "50"), {})], False),
    ("two answers to one form", [(("decline", None), {}), (YES, {})], False),
    ("the answer to another server's form", [(None, {})], False),
    ("not told by the client itself", [(YES, {"near": False})], False),
    ("told inside another client's session", [(YES, {"inside": ("ab" * 8,)})], False),
]


@pytest.mark.parametrize(("what", "told", "taken"), HEARD, ids=[row[0] for row in HEARD])
def test_a_form_is_answered_by_a_person_where_the_clients_own_hook_says_so(desk, what, told, taken):
    desk.prompts.asked()
    desk.hook(Moment.TOOL, tool="mcp__tallygate__request_budget", tool_use_ids=("t1",), key="tool:t1")
    for answered, where in told:
        assert not desk.hook(Moment.FORM_ANSWERED, answered=answered, **where).stops
    assert desk.prompts.said_yes("2") is taken
    assert not desk.prompts.said_yes("2"), "a yes counts once"


def test_a_yes_from_before_the_form_is_none_to_it_nor_one_while_another_tool_is_at_work(desk):
    desk.hook(Moment.FORM_ANSWERED, answered=YES)
    desk.prompts.asked()
    assert not desk.prompts.said_yes("2")
    desk.hook(Moment.TOOL, tool="Bash", tool_use_ids=("t1", "t2"), key="tool:t1")
    desk.hook(Moment.FORM_ANSWERED, answered=YES)
    assert not desk.prompts.said_yes("2")


def test_while_the_limits_are_locked_no_code_is_shown_and_the_command_for_a_terminal_is_named(desk):
    from tests.operations.test_lock import lock

    lock(desk.world)
    told = desk.type("2")
    assert "needs your passphrase" in told
    assert "In a terminal of your own: tallygate budget raise" in told
    assert code_in(told) is None
    assert desk.limit() == DOLLAR
    assert not desk.prompts.shown


def test_a_code_that_was_shown_before_the_limits_were_locked_raises_nothing(desk):
    from tests.operations.test_lock import lock

    code = desk.code()
    lock(desk.world)
    assert "needs your passphrase" in desk.type("2", code)
    assert desk.limit() == DOLLAR
