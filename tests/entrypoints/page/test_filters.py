"""Filters by whom work was made for: the same words on every page, and the same sums."""

from __future__ import annotations

import pytest
from tests.entrypoints.page.conftest import served
from tests.entrypoints.page.test_pages import Tables, amount, figure
from tests.reading_rules import Rule
from tests.world import as_said

from tallygate.core.attribution import Served
from tallygate.core.costing import Tokens
from tallygate.core.model import Actor
from tallygate.core.moments import as_datetime
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import ActorType
from tallygate.operations.usage.ingest import FileReading, ingest, link_session

# What each response cost, in tokens of a tenth of a cent, and whom it was made for.
MADE = [
    (1_000, {"agent_type": "Explore", "agent_id": "a1", "branch": "main"}),
    (2_000, {"skill": "release notes", "branch": "main"}),
    (4_000, {"served": (Served("github", "get"), Served(None, "Bash")), "branch": "fix/parser"}),
    (8_000, {}),
]
MEANT = [
    ("agent:explore", "1"), ("agent:Expl*", "1"), ('agent:"(conversation)"', "14"), ('skill:"release notes"', "2"),
    ("branch:main", "3"), ("branch:fix/*", "4"), ("mcp:github", "2"), ('mcp:"(own tools)"', "2"),
    ("branch:main agent:explore", "1"),
]  # fmt: skip


@pytest.fixture
def made(world):
    """One session in which work was made for each of these, and another one for nobody that is named."""
    world = as_said(world)
    session = world.start("50", task_summary="the one", client="claude-code", model="dear")
    other = world.start("50", task_summary="another", client="codex", model="dear")
    link_session(world.rt, "claude_code", "s1", session)
    link_session(world.rt, "codex", "s2", other)
    world.clock.forward(60_000_000)
    rows = [
        ObservedUsage(
            "claude_code", "s1", f"r{number}", as_datetime(world.clock.at_us), "dear", Tokens(fresh_input=tokens),
            Rule.CLAUDE_RESPONSE, **whom,
        )
        for number, (tokens, whom) in enumerate(MADE)
    ]  # fmt: skip
    ingest(world.rt, FileReading("claude_code", "/f", rows))
    with served(world.rt, world.folder) as browser:
        yield world, browser


@pytest.mark.parametrize("words, dollars", MEANT)
def test_what_was_made_for_somebody_is_summed_by_the_same_words_on_every_page(made, words, dollars):
    _, browser = made
    spend, now = browser.get("spend", filter=words), browser.get("now", filter=words)
    assert amount(figure(spend, "Spent")) == amount(figure(now, "Spent today")) == amount(f"${dollars}.00")
    for by in ("agent", "skill", "branch", "mcp", "project"):
        rows = Tables(browser.get("spend", filter=words, by=by).text).found[f"Spend by {by}"]
        assert amount(rows[-1][1]) == amount(f"${dollars}.00"), by
    for page, caption in (("sessions", "Sessions, the youngest first"), ("now", "Open sessions")):
        listed = Tables(browser.get(page, filter=words).text).found[caption]
        assert "the one" in str(listed)
        assert "another" not in str(listed)
    assert "1 open session that the filter does not mean" in now.words
    assert browser.get("budgets", filter=words).status == browser.get("proof", filter=words).status == 200


def test_somebody_of_whom_nothing_is_finds_nothing(made):
    _, browser = made
    for words in ("agent:plan", "skill:Explore", "branch:fix", "mcp:git"):
        assert "that matches" in browser.get("spend", filter=words).words
        assert "matches" in browser.get("sessions", filter=words).words


def test_the_names_of_a_split_lead_to_their_filter(made):
    _, browser = made
    found = browser.get("spend", by="agent").text
    assert "filter=agent%3AExplore" in found
    assert "filter=agent%3A%22" not in found, "only what has a space needs quotes"


def test_decisions_are_meant_by_who_asked_and_for_which_tool(made):
    world, browser = made
    session = world.start("1", task_summary="halted", client="claude-code")
    world.ask(session, 2_000, actor=Actor(ActorType.SUBAGENT, "a2", "plan"), tool_name="mcp__github__get")
    for words, halts in (("agent:plan", 1), ("agent:explore", 0), ("mcp:github", 1), ("mcp:git", 0), ("skill:plan", 0)):
        page = browser.get("gate", filter=words)
        assert ("Of 1 halt" in page.words) == bool(halts), words
