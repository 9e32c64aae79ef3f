"""Sessions gone through again: what each gate would have made of them, by hand and for any costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.learning.calibration import MILLION, FactorSource
from tallygate.core.learning.replay import (
    ALIKE_MIN,
    Accuracy,
    AccuracySum,
    Ask,
    Figures,
    Gate,
    Memory,
    ReplayOutcome,
    Run,
    budget_of,
    figures,
    outcome,
    usual_budget,
    walk_forward,
)


def run(*calls, name="s", group="g", agent="", is_level=False):
    """A session of calls: what was said of each, and what it cost."""
    return Run(name, group, tuple(Ask("k", agent, said, cost, is_level=is_level) for said, cost in calls))


def walked(session, *before):
    [*_, (found, told)] = walk_forward([*before, session])
    assert found is session
    return told


SESSION = run((10, 10), (10, 40), (10, 40), (10, 40))


@pytest.mark.parametrize(
    ("gate", "budget", "spent", "halted"),
    [
        (Gate.SUM, 40, 130, False),
        (Gate.SUM, 39, 90, True),
        (Gate.NAIVE, 60, 90, True),
        (Gate.NAIVE, 59, 50, True),
        (Gate.ORACLE, 129, 90, True),
        (Gate.ORACLE, 130, 130, False),
        (Gate.LEARNED, 60, 50, True),
    ],
)
def test_a_gate_lets_calls_through_until_the_first_it_refuses(gate, budget, spent, halted):
    assert outcome(walked(SESSION), budget, gate, 80) == ReplayOutcome(130, spent, budget, halted)


def test_a_gate_that_has_learned_halts_before_a_budget_is_passed():
    before = [run(*[(10, 40)] * 10, name=str(at)) for at in range(20)]
    session = run(*[(10, 40)] * 10)
    told = walked(session, *before)
    assert all(each.expectation.source is FactorSource.LEARNED for each in told)
    assert outcome(told, 150, Gate.NAIVE, 80).over_micros > 0
    assert outcome(told, 150, Gate.LEARNED, 80) == ReplayOutcome(400, 120, 150, halted=True)


def test_the_level_of_an_estimate_that_was_taken_from_past_calls_is_the_estimate():
    told = walked(run((10, 20), (30, 40), is_level=True))
    assert [each.expectation.level_nanos for each in told] == [None, 30]
    told = walked(run((10, 20), (30, 40)))
    assert [each.expectation.level_nanos for each in told] == [None, 20]


def test_every_agent_of_a_session_has_its_own_level():
    calls = (Ask("k", "", 10, 80), Ask("k", "sub", 10, 20), Ask("k", "", 10, 10), Ask("k", "sub", 10, 10))
    told = walked(Run("s", "g", calls))
    assert [each.expectation.level_nanos for each in told] == [None, None, 80, 20]


def test_a_call_of_which_nothing_was_said_is_paid_and_teaches_nothing():
    memory = Memory()
    told = memory.walk(run((0, 50), (10, 50)))
    assert told[0].expectation is None
    assert told[0].needed_nanos(Gate.LEARNED, 80) == 0
    assert outcome(told, 55, Gate.LEARNED, 80).spent_nanos == 50
    [later] = memory.walk(run((10, 10)))
    assert later.expectation.reconciled == 1


calls = st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), max_size=30)


@given(st.lists(calls, min_size=1, max_size=4), st.integers(1, 10**13), st.sampled_from(Gate))
def test_what_a_gate_makes_of_a_session_adds_up(sessions, budget, gate):
    for session, told in walk_forward([run(*each, name=str(at)) for at, each in enumerate(sessions)]):
        found = outcome(told, budget, gate, 80)
        assert found.cost_nanos == session.cost_nanos
        assert 0 <= found.spent_nanos <= found.cost_nanos
        assert found.halted or found.spent_nanos == found.cost_nanos
        assert found.over_micros == 0 or found.unused_micros == 0
        if gate is Gate.ORACLE:
            assert found.spent_nanos <= budget
            assert found.halted is found.is_binding


def test_sessions_are_met_with_what_those_before_them_teach():
    sessions = [run(*[(10, 40)] * 5, name=str(at)) for at in range(6)]
    reconciled = [told[0].expectation.reconciled for _, told in walk_forward(sessions)]
    assert reconciled == [0, 5, 10, 15, 20, 25]
    known = [(found.name, told[0].expectation.reconciled) for found, told in walk_forward(sessions, past=2)]
    assert known == [(str(at), 10) for at in range(2, 6)]
    [first, *_] = [told[0].expectation.reconciled for _, told in walk_forward(sessions, before=sessions[:2])]
    assert first == 10


def test_figures_by_hand():
    outcomes = [
        ReplayOutcome(cost_nanos=200, spent_nanos=110, budget_nanos=100, halted=True),
        ReplayOutcome(cost_nanos=200, spent_nanos=104, budget_nanos=100, halted=True),
        ReplayOutcome(cost_nanos=200, spent_nanos=80, budget_nanos=100, halted=True),
        ReplayOutcome(cost_nanos=200, spent_nanos=100, budget_nanos=100, halted=True),
        ReplayOutcome(cost_nanos=90, spent_nanos=60, budget_nanos=100, halted=True),
        ReplayOutcome(cost_nanos=90, spent_nanos=90, budget_nanos=100, halted=False),
    ]
    assert figures(outcomes) == Figures(
        sessions=6,
        binding=4,
        over_mean=35_000,
        over_p95=100_000,
        well_over=250_000,
        unused_mean=50_000,
        false_halts=500_000,
    )
    assert figures([]) == Figures(0, 0, None, None, None, None, None)


def test_accuracy_by_hand():
    heard = AccuracySum()
    assert heard.result() == Accuracy(0, 0, None, None, (None, None))
    for each in walked(run((10, 20), (10, 10), (10, 40), (0, 5), (10, 0))):
        heard.add(each)
    found = heard.result()
    assert (found.asks, found.learned, found.covered) == (3, 0, (None, None))
    assert found.off_said == found.off_expected == pytest.approx(2 * MILLION, rel=1e-5)


def test_accuracy_counts_calls_below_a_quantile_once_something_was_learned():
    before = [run(*[(10**6, 4 * 10**6)] * 10, name=str(at)) for at in range(20)]
    heard = AccuracySum()
    for each in walked(run(*[(10**6, 4 * 10**6)] * 3, (10**6, 10**8)), *before):
        heard.add(each)
    found = heard.result()
    assert (found.asks, found.learned, found.covered) == (4, 4, (750_000, 750_000))
    assert found.off_said == pytest.approx(4 * MILLION, rel=0.01)
    assert found.off_expected < 1.2 * MILLION


@pytest.mark.parametrize(
    ("costs", "percent", "budget"),
    [([10], 75, 10), ([10, 20], 50, 20), ([10, 20, 30, 41], 50, 35), ([10, 20, 30, 40], 0, 15), ([0], 75, 1)],
)
def test_the_usual_budget_lies_between_two_sessions(costs, percent, budget):
    assert budget_of([run((1, cost)) for cost in costs], percent) == budget


def test_few_sessions_have_the_usual_budget_of_a_wider_group():
    cheap, dear = run((1, 10)), run((1, 90))
    assert usual_budget([cheap] * ALIKE_MIN, [dear], 75) == 10
    assert usual_budget([cheap] * (ALIKE_MIN - 1), [dear], 75) == 90
