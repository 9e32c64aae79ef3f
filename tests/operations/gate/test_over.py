"""Limits that only warn: what is said where one is passed, and what a hard one would have stopped."""

from __future__ import annotations

import pytest
from tests.operations.usage.test_before import Home
from tests.world import NANOS

from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.gate.wording import let_through
from tallygate.core.hooks import Moment
from tallygate.core.words import BudgetMode
from tallygate.operations.sessions.opening import open_session_of
from tallygate.operations.views.decision import why
from tallygate.operations.views.overview import show_session

SOFT = BudgetRule(BudgetScope.SESSION, 30 * NANOS, mode=BudgetMode.SOFT)


@pytest.fixture
def work(world, tmp_path):
    """A session of Claude Code that spends ten dollars a step, by the settings of somebody who only watches."""
    home = Home(world, tmp_path / "home")
    home.world = home.world.with_runtime(session_limit_nanos=30 * NANOS, session_mode="soft")
    home.wrote("old", 1, 3_600_000_000)
    home.sync()
    return home


def steps(home, count):
    program = home.program(SOFT)
    program.hook(Moment.SESSION_START)
    answers = []
    for number in range(count):
        answers.append(program.hook())
        home.clock.forward(1_000_000)
        home.wrote("new", 1000, 0, f"step{number}")
    return program, answers


def test_a_limit_that_only_warns_is_told_once_where_it_is_passed(work):
    program, answers = steps(work, 6)
    assert not any(answer.stops for answer in answers)
    told = [answer for answer in answers if answer.beside is not None]
    assert len(told) == 1
    assert told[0] is answers[3], "three steps of ten dollars fill it, the fourth goes over"
    assert told[0].message == told[0].beside
    session = open_session_of(program.world.rt, "claude_code", "new")
    short = session.session_id[-8:]
    assert told[0].message == (
        f"Tallygate: Session {short} is over its limit of $30.00: $30.00 spent and $10.00 held for this step. "
        "This limit only warns; a hard one would have stopped here."
    )


def test_the_end_of_a_session_says_what_a_hard_limit_would_have_stopped(work):
    program, _ = steps(work, 6)
    session = open_session_of(program.world.rt, "claude_code", "new")
    ended = program.hook(Moment.SESSION_END)
    expected = (
        "3 steps were let through over a limit that only warns; a hard one would have stopped the work at $30.00."
    )
    assert ended.beside == f"Tallygate: {expected}"
    assert show_session(program.world.rt, session.session_id).over.told == expected
    found = why(program.world.rt, session.session_id)
    assert found.is_over
    assert found.over.times == 3


def test_within_its_limit_a_session_is_told_of_none(work):
    program, answers = steps(work, 2)
    assert [answer.beside for answer in answers] == [None, None]
    assert program.hook(Moment.SESSION_END).beside is None


def test_where_nothing_was_spent_before_the_first_step_over_a_limit_no_amount_is_named():
    assert let_through(3, 0).endswith("; a hard one would have stopped the work before it had spent anything.")
