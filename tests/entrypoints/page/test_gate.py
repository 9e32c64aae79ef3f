"""The page Gate: what became of halts, which limits were passed, and one decision that adds up."""

from __future__ import annotations

import re
from decimal import Decimal
from html import unescape

import pytest
from tests.entrypoints.page.conftest import served
from tests.entrypoints.page.test_now import spend
from tests.entrypoints.page.test_pages import Tables, figure
from tests.world import MINUTE, NANOS, as_said, the_user

from tallygate.core.costing import Tokens
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.gate.record import UsageReport, record_usage


def halted(world, cost: int | None):
    """A session with $0.40 left that is refused $0.50; with a cost it goes on after a raise and takes that much."""
    session = world.start("1", task_summary=f"cost {cost}")
    spend(world, session, 600)
    refused = world.ask(session, 500)
    assert refused.action == "halt"
    world.clock.forward(MINUTE)
    if cost is not None:
        raise_budget(world.rt, session, NANOS, reason="go on", authority=the_user("anna"))
        call = world.ask(session, 500).call_id
        world.clock.forward(MINUTE)
        record_usage(world.rt, UsageReport(call, Tokens(fresh_input=cost)))
    return session


@pytest.fixture
def seen(world):
    world = as_said(world)
    sessions = [halted(world, cost) for cost in (300, 400, 401, 700, None)]
    with served(world.rt, world.folder) as browser:
        yield world, browser, sessions


def test_the_sentence_says_of_every_halt_whether_it_was_right(seen):
    _, browser, _ = seen
    found = browser.get("gate")
    assert "Of 5 halts, 2 right, 2 false, 1 cannot be known because nobody went on." in found.words
    assert figure(found, "False halts") == "2  of 5"
    assert "$0.70 of work held back" in found.words
    rows = {row[1].partition(" binding")[0]: row for row in Tables(found.text).found["Decisions to look at"][1:]}
    assert rows["cost 400"][7:] == ["cost $0.40 after the raise, $0.40 was left", "false halt"]
    assert rows["cost 401"][7:] == ["cost $0.401 after the raise, $0.40 was left", "right"]
    assert rows["cost None"][7:] == ["nobody went on", "not known"]
    assert rows["cost 300"][6] == "$0.60 + $0.00"


def exact(text: str) -> Decimal:
    return Decimal(re.sub("[$,+ −–]", "", text)) * (-1 if "−" in text else 1)


@pytest.mark.parametrize("place", range(5))
def test_a_decision_is_a_sum_that_can_be_checked(seen, place):
    world, browser, sessions = seen
    halt = next(call for call in world.calls(sessions[place]) if call.action == "halt")
    found = browser.get("gate", decision=halt.call_id)
    rows = {row[0]: row[1:] for row in Tables(found.text).found["Arithmetic of the decision"]}
    learned = next(row for name, row in rows.items() if name.startswith("learned"))
    assert exact(rows["said by the agent"][0]) + exact(learned[0]) == exact(rows["needs"][0]) == Decimal("0.5")
    limit = next(row for name, row in rows.items() if name.startswith("limit"))
    left = exact(limit[0]) + exact(rows["spent"][0]) + exact(rows["held by others"][0])
    assert left == exact(rows["available"][0]) == Decimal("0.4")
    assert rows["available"][1] == "$0.50 > $0.40: halt"
    after = rows["cost afterwards"]
    if place == 4:
        assert after == ["–", "nobody went on:  not known"]
    else:
        cost = exact(after[0])
        assert ("false halt" if cost <= left else "right") in after[1]


def test_a_limit_that_was_passed_is_named_with_the_call_that_passed_its_reservation(world):
    world = as_said(world)
    session = world.start("1", task_summary="a long answer")
    call = world.ask(session, 900).call_id
    record_usage(world.rt, UsageReport(call, Tokens(fresh_input=1_250)))
    lowered = world.start("2", task_summary="lowered by its user")
    spend(world, lowered, 900)
    raise_budget(world.rt, lowered, NANOS, reason="more", authority=the_user("anna"))
    with served(world.rt, world.folder) as browser:
        found = browser.get("gate")
        spent = figure(browser.get("spend"), "Spent")
    assert "Nothing was halted. 1 hard limit was passed, by $0.25 in all: 11.6 % of what was spent." in found.words
    [_, row] = Tables(found.text).found["Limits that were passed"]
    assert row[0].startswith("a long answer")
    assert row[1:4] == ["$1.00", "$1.25", "$0.25"]
    assert "cost $1.25, $0.90 was held" in row[4]
    assert f"of {spent} spent" in found.words
    assert figure(found, "Coverage") == "50.0 %"
    overruns = Tables(found.text).found["Decisions to look at"]
    assert overruns[1][7:] == ["cost $1.25, $0.90 was held", "overrun"]


def test_a_filter_counts_the_halts_that_it_means_and_a_list_is_chosen_by_the_address(seen):
    world, browser, _ = seen
    halted(world, None)
    other = world.start("1", model="cheap", client="codex", task_summary="elsewhere")
    world.ask(other, 500)
    assert "Of 6 halts" in browser.get("gate").words
    assert "Nothing was halted." in browser.get("gate", filter="client:codex").words
    false = Tables(browser.get("gate", show="false").text).found["Decisions"]
    assert [row[-1] for row in false[1:]] == ["false halt", "false halt"]
    every = Tables(browser.get("gate", show="all").text).found["Decisions"]
    assert len(every) - 1 == int(figure(browser.get("gate"), "Decisions"))
    assert browser.get("gate", show="nonsense").status == 200


def test_empty_it_names_the_first_step_and_hostile_text_stays_text(world):
    with served(world.rt, world.folder) as browser:
        found = browser.get("gate")
        assert "The gate has decided nothing yet" in found.words
        assert "tallygate init" in found.words
        assert browser.get("gate", decision="call_nothing").status == 404
        session = world.start("1", task_summary="<script>alert(1)</script>\u202e")
        world.ask(session, 2_000, tool_name="<b>x</b>")
        text = browser.get("gate").text
        assert "<script>alert" not in text
        assert "<b>x</b>" not in text
        assert "\u202e" not in text
        assert "<script>alert(1)" in unescape(text)


def test_what_another_gate_would_have_done_with_the_halts_is_told_with_what_is_known_of_them(seen):
    _, browser, _ = seen
    page = browser.get("gate")
    rows = {row[0]: row[1:] for row in Tables(page.text).found["What another gate would have done with the halts"][1:]}
    # Each was said, and needed, $0.50 of $0.40.
    assert rows["the estimate as said nothing learned on top"] == ["5", "0", "0", "0", "–", "0"]
    assert rows["what is spent alone halts once nothing is left"] == ["0", "5", "2", "2", "$0.30", "1"]
    assert [name for name in rows if name.endswith("quantile")] == [f"{n} % quantile" for n in (50, 60, 70, 90, 95)]
    assert "What a higher quantile would have halted besides is not in the ledger" in page.words
    let_through = [int(rows[f"{n} % quantile"][1]) for n in (50, 60, 70, 90, 95)]
    assert let_through == sorted(let_through, reverse=True)
    assert let_through[3:] == [0, 0], "what needed too much needs no less at a higher quantile"
    for row in rows.values():
        assert int(row[0]) + int(row[1]) == 5
        assert int(row[1]) == int(row[2]) + int(row[3]) + int(row[5])
