"""Forecasts on the page: where a session ends, and how the last ones did; never a time of the day."""

from __future__ import annotations

from tests.entrypoints.page.conftest import served
from tests.entrypoints.page.test_pages import Tables
from tests.reading_rules import Rule
from tests.world import MINUTE

from tallygate.core.costing import Tokens
from tallygate.core.moments import as_datetime
from tallygate.core.usage import ObservedUsage
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.usage.ingest import FileReading, ingest, link_session


def worked(world, name, responses, *, ends=True, tokens=10, into=None):
    """A session of so many responses of a cent, a minute apart; `into` one that is there already."""
    session = into or world.start("5", client="claude-code", task_summary=name)
    link_session(world.rt, "claude_code", name, session)
    for number in range(responses):
        world.clock.forward(MINUTE)
        row = ObservedUsage(
            "claude_code", name, f"{name}{number}{into}", as_datetime(world.clock.at_us), "dear",
            Tokens(fresh_input=tokens), Rule.CLAUDE_RESPONSE,
        )  # fmt: skip
        ingest(world.rt, FileReading("claude_code", f"/{name}", [row]))
    if ends and into is None:
        world.clock.forward(MINUTE)
        end_session(world.rt, session)
    return session


def test_a_session_says_where_its_like_end_once_enough_have_gone_so_far(world):
    for number in range(8):
        worked(world, f"old{number}", 40)
    few, some = worked(world, "few", 9, ends=False), worked(world, "some", 10, ends=False)
    more = worked(world, "more", 31, ends=False)
    with served(world.rt, world.folder) as browser:
        assert "Nothing is said before its 10th response that a client wrote down; it has 9" in (
            browser.get("session", id=few).words
        )
        told = browser.get("session", id=some).words
        assert "9 of 10 like this end below $" in told
        assert "of 8 sessions of yours that went on from there; at its 10th response" in told
        ranged = browser.get("session", id=more).words
        assert "likely $" in ranged
        assert "half end below" in ranged
        met = Tables(browser.get("now").text).found["How forecasts did"]
    assert [row[1] for row in met[1:3]] == ["5 of 5", "5 of 5"], "three of the eight taught only"
    assert [row[3] for row in met[1:]] == ["90 %", "80 %", "80 %"]


def test_without_any_that_could_be_judged_it_is_said_what_is_missing(world):
    worked(world, "one", 3)
    with served(world.rt, world.folder) as browser:
        page = browser.get("now")
    assert [row[1] for row in Tables(page.text).found["How forecasts did"][1:]] == ["–"] * 3
    assert "fewer than three sessions of yours had got so far" in page.words


def test_a_session_that_passes_what_its_like_stay_below_is_marked_and_its_end_is_held_against_what_was_said(world):
    for number in range(12):
        worked(world, f"old{number}", 12, tokens=1)
    dear = worked(world, "dear", 10, ends=False, tokens=1)
    with served(world.rt, world.folder) as browser:
        assert "dearer than" not in browser.get("session", id=dear).words
    link_session(world.rt, "claude_code", "dear", dear)
    row = ObservedUsage(
        "claude_code", "dear", "last", as_datetime(world.clock.at_us), "dear", Tokens(fresh_input=4_000),
        Rule.CLAUDE_RESPONSE,
    )  # fmt: skip
    ingest(world.rt, FileReading("claude_code", "/dear", [row]))
    with served(world.rt, world.folder) as browser:
        assert "dearer than 9 of 10 that looked like it" in browser.get("session", id=dear).words
        end_session(world.rt, dear)
        over = browser.get("session", id=dear).words
        assert "at its 10th response 9 of 10 like this end below" in over
        assert "$4.01 in the end" in over
