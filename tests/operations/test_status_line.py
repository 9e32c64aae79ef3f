"""What the status line says of a session: what is held and what was just written down are in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.gate.test_policy import budget
from tests.operations.test_hooks import hook, respond
from tests.world import MINUTE, NANOS

from tallygate.clients.reading.status_line import StatusInput
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.hooks import Moment
from tallygate.core.plan import PlanSource, PlanWindow
from tallygate.core.status_line import StatusPiece
from tallygate.operations.status_line import _parts, status_line

ALL = tuple(piece.value for piece in StatusPiece)
SHOWN = StatusInput("client-1")


@pytest.fixture
def world(world):
    return world.with_runtime(session_limit_nanos=NANOS, project="/home/me/p", status_show=("session", "left"))


def line(world, asked=SHOWN, **changes):
    return status_line(world.with_runtime(**changes).rt if changes else world.rt, "claude_code", asked)


def test_what_is_spent_and_held_and_left_add_up_to_the_limit(world):
    hook(world, Moment.PROMPT)
    respond(world, "r1", 30)
    assert line(world) == "tallygate: $0.30 spent, $0.70 of $1.00 left"
    hook(world, Moment.TOOLS_DONE, "b1")
    said = line(world)
    assert said.startswith("tallygate: $0.30 spent, $0.3")
    assert "held" in said
    amounts = [int(word.lstrip("$").replace(".", "")) for word in said.split() if word.startswith("$")]
    assert amounts[0] + amounts[1] + amounts[2] == amounts[3] == 100


MILLS = st.integers(100, 10**7)


@given(MILLS, MILLS, MILLS)
def test_what_is_shown_of_a_budget_comes_to_its_limit_to_the_cent(spent, reserved, left):
    limit = -(-(spent + reserved + left) // 10) * 10_000_000
    found = budget(limit=limit, spent=spent * 1_000_000, reserved=reserved * 1_000_000)
    cents = [int(text.lstrip("$").replace(",", "").replace(".", "")) for text in _parts(found)]
    assert sum(cents) * 10_000_000 == limit


def test_a_session_that_nobody_knows_has_a_line_all_the_same(world):
    assert line(world, StatusInput()) == "tallygate: nothing is known here yet"
    assert line(world, StatusInput("nobody's")) == "tallygate: nothing is known here yet"


def test_what_the_client_tells_of_its_plan_is_kept_and_shown_while_it_is_true(world):
    at_us = world.clock.at_us
    told = PlanWindow("claude_code", "", 300, 3750, at_us, at_us + 60 * MINUTE, PlanSource.STATUS_LINE)
    asked = StatusInput(plan=(told,))
    assert line(world, asked, status_show=("plan",)) == "tallygate: 5h 37 % until 15:13"
    assert line(world, StatusInput(), status_show=("plan",)) == "tallygate: 5h 37 % until 15:13"
    world.clock.forward(60 * MINUTE)
    assert line(world, StatusInput(), status_show=("plan",)) == "tallygate: nothing is known here yet"


def test_a_ledger_that_somebody_else_holds_costs_no_line(world):
    hook(world, Moment.PROMPT)
    at_us = world.clock.at_us
    told = PlanWindow("claude_code", "", 300, 3750, at_us, None, PlanSource.STATUS_LINE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tallygate.operations.status_line.keep_told", _held)
        assert line(world, StatusInput("client-1", plan=(told,))).endswith("$1.00 left")


def _held(*_):
    raise LedgerUnavailable("Somebody else holds the ledger.", hint="Try again.", code="lock_timeout")


def test_today_and_this_month_are_those_of_all_work(world):
    hook(world, Moment.PROMPT)
    respond(world, "r1", 30)
    respond(world, "r2", 12, session="another")
    assert line(world, StatusInput(), status_show=("today", "month")) == "tallygate: $0.42 today | $0.42 this month"


def test_what_the_last_half_hour_cost_tells_how_long_what_is_left_lasts(world):
    world = world.with_runtime(session_limit_nanos=100 * NANOS, status_show=("burn",))
    hook(world, Moment.PROMPT)
    assert line(world) == "tallygate: nothing is known here yet"
    for number in range(7):
        respond(world, f"r{number}", 500)
        world.clock.forward(5 * MINUTE - 1_000_000)
    assert line(world) == "tallygate: $60.00 an hour, about 1 h 10 of work left (30 min to 2 h 10)"
    hook(world, Moment.PROMPT, session="another")
    assert line(world, StatusInput("another")) == "tallygate: nothing is known here yet"


def test_how_sure_a_cost_is_is_said(world):
    hook(world, Moment.PROMPT)
    respond(world, "r1", 30)
    assert line(world, status_show=("exactness",)) == "tallygate: exact"
    hook(world, Moment.TOOLS_DONE, "b1")
    assert line(world, status_show=("exactness",)) == "tallygate: one step not counted yet"


def test_every_piece_can_be_shown_at_once_in_one_line(world):
    hook(world, Moment.PROMPT)
    respond(world, "r1", 30)
    said = line(world, status_show=ALL, status_width=500)
    assert "\n" not in said
    assert said.startswith("tallygate: $0.30 spent, $0.70 of $1.00 left | $0.30 today | $0.30 this month | ")
