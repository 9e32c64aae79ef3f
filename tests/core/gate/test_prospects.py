"""In which words an answer says that another amount is reserved than was said, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallygate.core.costing import Price, Rates, Tokens
from tallygate.core.gate.answers import corrected, differs
from tallygate.core.learning.calibration import Expectation, FactorSource
from tallygate.core.model import Budget, CallRequest, Policy
from tallygate.core.words import BudgetMode

CENT = 10_000_000
PRICE = Price("dear", Rates(1, 1, 1, 1, 1), "override", "1")


def _dollars(nanos):
    cents = nanos // CENT
    return f"${cents // 100}.{cents % 100:02d}"


def request(said, held, source, *, level=None, anew=0, kind=FactorSource.NONE, own=10, **more):
    """A step that was said to cost so many cents and is held at others, with what was learned of such steps."""
    expected = Expectation(said * CENT, said * CENT, level, held * CENT, 10**6, kind, own, anew_nanos=anew * CENT)
    return CallRequest(
        "s", "x", "dear", 1, 1, PRICE, said * CENT, held * CENT, 10**6, source, expected=expected, **more
    )


@pytest.mark.parametrize(
    "step, why, halted",
    [
        (request(100, 10, "manual"), "the user set a factor", "with the factor you set, it takes"),
        (
            request(1, 90, "session", level=5, anew=90),
            "the whole conversation has to be read anew",
            "with the whole conversation read anew, it takes",
        ),
        (
            request(1, 90, "learned", level=5, anew=90, kind=FactorSource.LEARNED),
            "the whole conversation has to be read anew",
            "with the whole conversation read anew, it takes",
        ),
        (
            request(1, 90, "session", level=90),
            "this session's own steps have cost that",
            "by what its session's steps have cost, it takes",
        ),
        (
            request(100, 10, "billed"),
            "more or less than the list price was billed",
            "by what was billed, it takes",
        ),
        (
            request(1, 90, "learned", level=5, kind=FactorSource.LEARNED),
            "80 of 100 such steps stay below it, by what they have cost",
            "by what such steps cost, 80 of 100 stay below",
        ),
        (
            request(1, 90, "learned", kind=FactorSource.LEARNED),
            "such steps have cost that",
            "by what such steps cost, it takes",
        ),
        (
            request(1, 90, "learned", kind=FactorSource.LEARNED, own=9),
            "steps elsewhere have cost that",
            "by what steps cost elsewhere, it takes",
        ),
        (
            request(1, 90, "learned", level=5, kind=FactorSource.LEARNED, own=9),
            "80 of 100 steps elsewhere stay below it, by what they have cost",
            "by what steps cost elsewhere, 80 of 100 stay below",
        ),
    ],
)
def test_much_more_or_less_than_was_said_is_told_with_both_amounts_and_the_source(step, why, halted):
    said, held = (_dollars(nanos) for nanos in (step.raw_estimate_nanos, step.estimate_nanos))
    assert differs(step, Policy()) == f"You said {said}; {held} is reserved: {why}."
    assert corrected(step, Policy()) == f"It was estimated at {said}; {halted} {held}."


@pytest.mark.parametrize(
    "step",
    [
        request(10, 5, "learned"),
        request(10, 20, "session"),
        request(0, 90, "session"),
        request(1, 90, "session", actual=Tokens(1)),
    ],
)
def test_half_to_twice_of_what_was_said_is_not_worth_a_word_nor_is_what_nobody_said(step):
    assert differs(step, Policy()) is None


@pytest.mark.parametrize("held", [4, 21])
def test_one_cent_beyond_is(held):
    assert "You said $0.10" in differs(request(10, held, "learned"), Policy())


def test_what_is_the_same_as_shown_needs_no_reason():
    step = request(68, 68, "learned", kind=FactorSource.LEARNED)
    assert corrected(replace(step, estimate_nanos=step.estimate_nanos + 1), Policy()) is None


@pytest.mark.parametrize("unit, told", [("USD", True), ("tokens", False), ("calls", False)])
def test_a_budget_that_counts_tokens_or_calls_is_not_explained_in_dollars(unit, told):
    budget = Budget("t", "s", "session", "s", unit, BudgetMode.HARD, 9, 9, 0)
    assert (corrected(request(1, 90, "learned"), Policy(), budget) is not None) is told
