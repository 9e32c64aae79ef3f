from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.gate.answers import DecidingBudget
from tallygate.core.gate.verdict import HaltDoubt, HaltVerdict, halts_again, judge_halt
from tallygate.core.model import HOOK_KEY, Call, LimitChange
from tallygate.core.words import Action, ActorType, CallState, Reason

HALT = Call(
    tenant="t", call_id="h", session_id="s", state=CallState.DENIED, action=Action.HALT, reason=Reason.BUDGET_EXCEEDED,
    tool_name="edit", model_requested="dear", prompt_tokens=1, completion_tokens=1, raw_estimate_nanos=90,
    estimate_nanos=110, factor_micros=1_000_000, actor_type=ActorType.PARENT_AGENT, at_us=100,
)  # fmt: skip
RUN = replace(
    HALT, call_id="r", state=CallState.RECONCILED, action=Action.ALLOW, reason=Reason.ALLOW, at_us=300,
    cost_basis="actual", booked_nanos=80,
)  # fmt: skip
BOUND = DecidingBudget("s", "USD", 1000, 900, 0, 100, None)
RAISE = LimitChange("s", 200, "USD", 1000, 2000, "command", "anna", "go on")
HOOK = {"client_key": f"{HOOK_KEY}1"}


def judge(halt=HALT, bound=BOUND, after=(RUN,), changes=(RAISE,), cost_of=lambda call: call.booked_nanos):
    return judge_halt(halt, bound, after, changes, cost_of)


@pytest.mark.parametrize(
    ("cost", "verdict"),
    [(0, "false"), (99, "false"), (100, "false"), (101, "right"), (5_000, "right")],
)
def test_a_halt_is_false_where_the_step_cost_no_more_than_was_available(cost, verdict):
    found = judge(after=[replace(RUN, booked_nanos=cost)])
    assert (found.verdict.value, found.doubt, found.cost, found.available) == (verdict, None, cost, 100)
    assert (found.run.call_id, found.raised) == ("r", RAISE)


@pytest.mark.parametrize(
    ("why", "given", "doubt"),
    [
        ("nobody went on", {"after": []}, HaltDoubt.NOT_CONTINUED),
        ("it was refused again", {"after": [replace(HALT, at_us=300)]}, HaltDoubt.NOT_CONTINUED),
        ("the step was voided", {"after": [replace(RUN, state=CallState.VOIDED)]}, HaltDoubt.NOT_CONTINUED),
        ("another agent went on", {"after": [replace(RUN, actor_id="a", actor_type=ActorType.SUBAGENT)]},
         HaltDoubt.NOT_CONTINUED),
        ("a step of before", {"after": [replace(RUN, at_us=100)]}, HaltDoubt.NOT_CONTINUED),
        ("no raise", {"changes": []}, HaltDoubt.NOT_RAISED),
        ("raised before", {"changes": [replace(RAISE, at_us=100)]}, HaltDoubt.NOT_RAISED),
        ("raised too late", {"changes": [replace(RAISE, at_us=301)]}, HaltDoubt.NOT_RAISED),
        ("lowered", {"changes": [replace(RAISE, limit=500)]}, HaltDoubt.NOT_RAISED),
        ("another tool", {"after": [replace(RUN, tool_name="read")]}, HaltDoubt.OTHER_STEP),
        ("another model", {"after": [replace(RUN, model_requested="cheap")]}, HaltDoubt.OTHER_STEP),
        ("rerouted", {"after": [replace(RUN, action=Action.REROUTE)]}, HaltDoubt.OTHER_STEP),
        ("a hook's call after an agent's", {"after": [replace(RUN, **HOOK)]}, HaltDoubt.OTHER_STEP),
        ("still on its way", {"after": [replace(RUN, state=CallState.PENDING, cost_basis="none")]},
         HaltDoubt.NOT_COUNTED),
        ("booked as it was", {"after": [replace(RUN, state=CallState.EXPIRED, cost_basis="estimate")]},
         HaltDoubt.NOT_COUNTED),
        ("no cost in this unit", {"cost_of": lambda _: None}, HaltDoubt.NOT_COUNTED),
        ("no price", {"halt": replace(HALT, reason=Reason.PRICE_UNKNOWN)}, HaltDoubt.NO_AMOUNT),
        ("no budget on record", {"bound": None}, HaltDoubt.NO_AMOUNT),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_not_known_and_says_why(why, given, doubt):
    found = judge(**given)
    assert (found.verdict, found.doubt) == (HaltVerdict.UNKNOWN, doubt), why
    assert found.cost is None


def test_of_a_hook_the_next_model_call_counts_whichever_tool_it_stands_before():
    halt, run = replace(HALT, **HOOK), replace(RUN, tool_name="read", client_key=f"{HOOK_KEY}2")
    assert judge(halt, after=[run]).verdict is HaltVerdict.FALSE


def test_the_first_step_after_counts_and_not_a_dearer_one_later():
    later = replace(RUN, at_us=400, booked_nanos=5_000)
    assert judge(after=[replace(HALT, at_us=250), RUN, later]).cost == 80


@given(st.integers(-1000, 1000), st.integers(0, 2000), st.booleans())
def test_every_halt_has_one_verdict(available, cost, raised):
    found = judge(
        bound=replace(BOUND, available_nanos=available),
        after=[replace(RUN, booked_nanos=cost)],
        changes=[RAISE] if raised else [],
    )
    assert (found.verdict is HaltVerdict.UNKNOWN) == (not raised) == (found.doubt is not None)
    assert (found.verdict is HaltVerdict.FALSE) == (raised and cost <= available)


AGAIN = [
    judge(after=[replace(RUN, booked_nanos=80)]),  # false: there were 100
    judge(after=[replace(RUN, booked_nanos=130)]),  # right
    judge(after=[]),  # nobody went on
]


@pytest.mark.parametrize(
    ("needed", "told"),
    [
        # let through, that fitted, that did not, over by, not known
        ([101, 101, 101], (0, 0, 0, 0, 0)),
        ([100, 101, 101], (1, 1, 0, 0, 0)),
        ([101, 100, 101], (1, 0, 1, 30, 0)),
        ([1, 1, 1], (3, 1, 1, 30, 1)),
    ],
)
def test_another_gate_lets_through_what_needs_no_more_than_there_was(needed, told):
    found = halts_again(AGAIN, needed)
    assert (found.let_through, found.fitted, found.over, found.over_nanos, found.unknown) == told
    assert found.halts == 3
