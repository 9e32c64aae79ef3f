from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.errors import InvalidArgument, InvariantBroken
from tallygate.core.gate import lifecycle
from tallygate.core.model import Budget
from tallygate.core.money import SUM_NANOS_MAX
from tallygate.core.words import BudgetMode, CallState


def budget(limit=100, spent=0, reserved=0, overage=0):
    return Budget("t", "b", "session", "s", "USD", BudgetMode.HARD, limit, spent, reserved, overage)


def test_a_call_resolves_once_and_only_late_usage_corrects_it():
    allowed = {(a, b) for a, b in itertools.product(CallState, CallState) if lifecycle.may_become(a, b)}
    assert allowed == {
        (CallState.PENDING, CallState.RECONCILED),
        (CallState.PENDING, CallState.VOIDED),
        (CallState.PENDING, CallState.EXPIRED),
        (CallState.EXPIRED, CallState.RECONCILED),
        (CallState.VOIDED, CallState.RECONCILED),
    }


def test_the_actual_cost_replaces_the_reservation():
    after = lifecycle.settle(budget(reserved=30), held=30, booked_before=0, cost=12)
    assert (after.spent, after.reserved, after.overage) == (12, 0, 0)


def test_a_cost_beyond_the_limit_is_booked_in_full_and_named():
    after = lifecycle.settle(budget(spent=80, reserved=20), held=20, booked_before=0, cost=50)
    assert (after.spent, after.reserved, after.overage) == (130, 0, 30)
    assert after.available == -30


def test_late_usage_replaces_what_expiry_booked():
    after = lifecycle.settle(budget(spent=30), held=0, booked_before=30, cost=10)
    assert after.spent == 10


def test_overage_is_how_far_a_budget_once_was_over_and_does_not_shrink_with_what_is_spent():
    over = lifecycle.settle(budget(spent=90), held=0, booked_before=0, cost=50)
    after = lifecycle.settle(over, held=0, booked_before=50, cost=5)
    assert (over.overage, after.spent, after.overage) == (40, 95, 40)


@pytest.mark.parametrize("more, spent", [(7, 37), (-7, 23), (0, 30)])
def test_what_is_added_may_be_less_than_nothing(more, spent):
    after = lifecycle.add(budget(spent=30, reserved=5), more, held=5)
    assert (after.spent, after.reserved) == (spent, 0)


def test_lowering_a_limit_under_what_is_spent_is_named_as_overage():
    after = lifecycle.change_limit(budget(spent=60, reserved=10), 50)
    assert (after.limit, after.overage) == (50, 20)


def test_a_counter_never_leaves_what_the_ledger_can_hold():
    with pytest.raises(InvalidArgument):
        lifecycle.settle(budget(), held=0, booked_before=0, cost=SUM_NANOS_MAX + 1)


def test_releasing_more_than_was_held_is_a_fault_of_the_program():
    with pytest.raises(InvariantBroken):
        lifecycle.settle(budget(reserved=1), held=2, booked_before=0, cost=0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 90)), max_size=30))
def test_spent_and_reserved_stay_within_limit_and_overage(calls):
    after = budget()
    for estimate, cost in calls:
        if estimate > after.available:
            continue
        after = lifecycle.reserve(after, estimate)
        assert after.committed <= after.limit + after.overage
        after = lifecycle.settle(after, held=estimate, booked_before=0, cost=cost)
        assert after.committed <= after.limit + after.overage
