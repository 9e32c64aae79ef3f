from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest
from tests.world import MINUTE, NANOS, changed, the_user

from tallygate.core.costing import Tokens
from tallygate.core.errors import Conflict, LedgerUnavailable, NotFound
from tallygate.core.model import Actor
from tallygate.core.words import AccountingMode, ActorType, CallMode, ExpireAs, UnknownPrice
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.gate.authorize import StatedStep, authorize, check
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.sessions.ending import end_session


def test_an_allowed_step_holds_its_estimate_under_a_call_id(world):
    session = world.start("1")
    answer = world.ask(session, 100)
    assert (answer.action, answer.reason) == ("allow", "allow")
    assert answer.remaining_nanos == 900_000_000
    assert world.budget(session).reserved == 100_000_000
    assert world.call(answer.call_id).state == "pending"


def test_filling_a_budget_exactly_is_allowed_and_one_token_more_halts(world):
    session = world.start("1")
    assert world.ask(session, 1000).action == "allow"
    assert world.ask(session, 1).action == "halt"


def test_a_halt_reserves_nothing_names_the_budget_and_is_recorded(world):
    session = world.start("1")
    world.ask(session, 700)
    events = world.events()
    answer = world.ask(session, 301)
    assert (answer.action, answer.reason, answer.call_id) == ("halt", "budget_pressure:halt", None)
    assert answer.binding.budget_id == session
    assert (answer.binding.limit_nanos, answer.binding.reserved_nanos) == (NANOS, 700_000_000)
    assert answer.spent_by == ()  # nothing is spent yet, only reserved
    assert answer.command == f"tallygate budget raise {session[-8:]} 6.70"
    assert world.budget(session).reserved == 700_000_000
    assert world.events() == events + 1
    assert [call.state for call in world.calls(session)] == ["pending", "denied"]


def test_an_estimate_of_nothing_is_a_valid_estimate(world):
    answer = world.ask(world.start("1"), 0)
    assert answer.action == "allow"
    assert answer.remaining_nanos == NANOS


def test_a_step_names_its_own_model_and_is_priced_by_it(world):
    session = world.start("1")
    answer = world.ask(session, 100, model="cheap")
    assert answer.remaining_nanos == 990_000_000
    assert world.call(answer.call_id).model_requested == "cheap"


def test_from_four_fifths_on_the_answer_is_reroute_and_names_a_model_that_helps(world):
    world = world.with_runtime(ladder=lambda client: ("dear", "cheap"))
    session = world.start("10")
    assert world.ask(session, 8000).action == "allow"
    answer = world.ask(session, 100)
    assert (answer.action, answer.reason) == ("reroute", "warn:budget_pressure")
    assert answer.target_model == "cheap"
    assert world.call(answer.call_id).state == "pending"


def test_a_reroute_names_no_model_where_none_helps(world):
    session = world.start("1")
    world.ask(session, 800)
    answer = world.ask(session, 1)
    assert (answer.action, answer.target_model) == ("reroute", None)
    world = world.with_runtime(ladder=lambda client: ("dear",))
    assert world.ask(session, 1, model="cheap").target_model is None


def test_the_threshold_is_the_user_s(world):
    world = world.with_policy(reroute_at_percent=50)
    session = world.start("1")
    world.ask(session, 500)
    assert world.ask(session, 1).action == "reroute"


def test_check_only_is_a_pure_read(world):
    session = world.start("1")
    world.ask(session, 600)
    before = (world.events(), world.budget(session), world.calls(session))
    state = check(world.rt, session)
    assert (state.remaining_nanos, state.pressure) == (400_000_000, "moderate")
    assert (state.used_nanos, state.limit_nanos) == (600_000_000, NANOS)
    assert (world.events(), world.budget(session), world.calls(session)) == before


@pytest.mark.parametrize(
    "first, tokens, action", [(300, 1, "allow"), (300, 700, "allow"), (900, 1, "reroute"), (300, 701, "halt")]
)
def test_a_look_shows_what_the_gate_would_answer_and_writes_nothing(world, first, tokens, action):
    session = world.start("1")
    world.ask(session, first)
    step = StatedStep(session, "x", "dear", prompt_tokens=tokens, completion_tokens=0)
    before = (world.events(), world.budget(session), world.calls(session))
    would = check(world.rt, session, step).would
    assert (world.events(), world.budget(session), world.calls(session)) == before
    assert would == replace(authorize(world.rt, step), call_id=None, attestation=None)
    assert would.action == action


def test_a_step_of_an_unknown_session_is_an_error_that_names_it(world):
    with pytest.raises(NotFound, match="session_nowhere"):
        world.ask("session_nowhere")
    with pytest.raises(NotFound, match="session_nowhere"):
        world.ask("session_nowhere", model="dear")
    with pytest.raises(NotFound):
        check(world.rt, "session_nowhere")
    assert world.events() == 0


def test_an_ended_session_halts_and_says_how_to_go_on(world):
    session = world.start("1")
    end_session(world.rt, session)
    answer = world.ask(session)
    assert (answer.action, answer.reason) == ("halt", "session_ended")
    assert "l6e_run_start" in answer.message


def test_usage_that_already_happened_is_booked_in_full_even_past_the_limit(world):
    session = world.start("1")
    answer = world.ask(session, actual=Tokens(fresh_input=1500, output=500))
    assert answer.action == "halt"
    assert "recorded in full" in answer.message
    assert answer.message.endswith(answer.command)
    budget = world.budget(session)
    assert (budget.spent, budget.overage) == (2 * NANOS, NANOS)
    assert [call.state for call in world.calls(session)] == ["reconciled"]
    assert world.ask(session, 0).action == "halt"


def test_usage_that_happened_in_an_ended_session_is_booked_too(world):
    session = world.start("1")
    end_session(world.rt, session)
    assert world.ask(session, actual=Tokens(fresh_input=10)).reason == "session_ended"
    assert world.budget(session).spent == 10_000_000


def test_a_session_that_requires_usage_halts_until_it_is_reported(world):
    session = world.start("1", accounting_mode=AccountingMode.EXACT_REQUIRED)
    first = world.ask(session, 1)
    assert world.ask(session, 1).reason == "exactness_required"
    record_usage(world.rt, UsageReport(first.call_id, Tokens(fresh_input=1)))
    assert world.ask(session, 1).action == "allow"


def test_a_session_that_requires_usage_is_not_freed_by_waiting(world):
    session = world.start("1", accounting_mode=AccountingMode.EXACT_REQUIRED)
    world.ask(session, 1)
    world.clock.forward(60 * MINUTE)
    assert world.ask(session, 1).reason == "exactness_required"


@pytest.mark.parametrize(
    ("mode", "local", "action", "reason"),
    [
        (UnknownPrice.WARN_ONLY, None, "allow", "allow"),
        (UnknownPrice.HALT, None, "halt", "unknown_model_pricing:halt"),
        (UnknownPrice.REROUTE_REQUIRED, None, "halt", "unknown_model_pricing:no_local_model"),
        (UnknownPrice.REROUTE_REQUIRED, "cheap", "halt", "unknown_model_pricing:no_local_model"),
        (UnknownPrice.REROUTE_REQUIRED, "ollama/llama3.3", "reroute", "unknown_model_pricing:reroute_required"),
    ],
)
def test_an_unknown_price_is_never_nothing(world, mode, local, action, reason):
    world = world.with_runtime(local_model=local)
    session = world.start("1000", unknown_price=mode)
    answer = world.ask(session, 1000, model="zzz-9")
    assert (answer.action, answer.reason) == (action, reason)
    assert "zzz-9" in answer.pricing_warning
    if action == "allow":
        assert world.budget(session).reserved > 0
    if action == "reroute":
        assert answer.target_model == local
        assert world.budget(session).reserved == 0


@pytest.mark.parametrize("model", ["ollama/anything", "mlx/some-model", "qwen3:8b"])
def test_an_agent_that_names_a_local_model_does_not_pass_a_budget_for_nothing(world, model):
    session = world.start("1", model=model)
    assert world.ask(session, 100, model=model).action == "allow"
    assert world.budget(session).reserved > 0
    answer = world.ask(session, 400_000_000, model=model)
    assert answer.action == "halt"
    assert "local_channels = [" in answer.pricing_warning


def test_the_user_s_factor_scales_the_estimate_and_the_reservation(world):
    world = world.with_runtime(factors_micros={"dear": 2_500_000})
    session = world.start("1")
    answer = world.ask(session, 100)
    assert (answer.factor_micros, answer.factor_source) == (2_500_000, "manual")
    call = world.call(answer.call_id)
    assert (call.raw_estimate_nanos, call.estimate_nanos) == (100_000_000, 250_000_000)
    record_usage(world.rt, UsageReport(answer.call_id, Tokens(fresh_input=100)))
    assert world.budget(session).spent == 100_000_000, "what was used is never scaled"


def test_the_same_key_with_the_same_fields_gets_the_same_answer(world):
    session = world.start("1")
    first = world.ask(session, 600, client_key="k1")
    events = world.events()
    again = world.ask(session, 600, client_key="k1")
    assert again == first
    assert world.events() == events


def test_a_denial_is_given_again_to_the_same_key_although_there_is_room_now(world):
    session = world.start("1")
    first = world.ask(session, 1001, client_key="k1")
    assert first.action == "halt"
    raise_budget(world.rt, session, 10 * NANOS, reason="more", authority=the_user("user"))
    assert world.ask(session, 1001, client_key="k1") == first
    assert world.ask(session, 1001, client_key="k2").action == "allow"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tokens": 601}, "prompt_tokens"),
        ({"tool_name": "other"}, "tool_name"),
        ({"model": "cheap"}, "model_requested"),
        ({"actor": Actor(ActorType.SUBAGENT, "a")}, "actor_type"),
        ({"call_mode": CallMode.PLAN}, "call_mode"),
        ({"parent_call_id": "call_x"}, "parent_call_id"),
        ({"actual": Tokens(1)}, "actual"),
    ],
)
def test_the_same_key_with_other_fields_is_a_conflict_that_names_the_field(world, change, field):
    session = world.start("1")
    world.ask(session, 600, client_key="k1")
    events = world.events()
    with pytest.raises(Conflict, match=field):
        world.ask(session, **{"tokens": 600, "client_key": "k1", **change})
    assert world.events() == events


def test_the_same_key_in_another_session_is_another_call(world):
    one, two = world.start("1"), world.start("1")
    assert world.ask(one, 1, client_key="k").call_id != world.ask(two, 1, client_key="k").call_id


def test_a_reservation_past_its_time_is_booked_as_its_estimate(world):
    session = world.start("1")
    answer = world.ask(session, 300)
    world.clock.forward(11 * MINUTE)
    world.ask(session, 1)
    budget = world.budget(session)
    assert (budget.spent, budget.reserved) == (300_000_000, 1_000_000)
    assert world.call(answer.call_id).state == "expired"


def test_a_reservation_past_its_time_is_released_where_the_policy_says_so(world):
    world = world.with_policy(expire_as=ExpireAs.RELEASE)
    session = world.start("1")
    world.ask(session, 1000)
    world.clock.forward(11 * MINUTE)
    assert world.ask(session, 1000).action == "allow"
    assert world.budget(session).spent == 0


def test_a_clock_that_goes_back_neither_expires_nor_reorders_anything(world):
    session = world.start("1")
    world.ask(session, 100)
    world.clock.forward(-24 * 60 * MINUTE)
    answer = world.ask(session, 100)
    assert answer.action == "allow"
    times = [call.at_us for call in world.calls(session)]
    assert times == sorted(times)
    assert len(set(times)) == 2


def test_a_child_spends_its_ancestors_budgets_too(world):
    root = world.start("1")
    child = world.start("100", parent_session_id=root)
    grandchild = world.start("100", parent_session_id=child)
    answer = world.ask(grandchild, 600)
    assert answer.remaining_nanos == 400_000_000
    assert world.budget(root).reserved == 600_000_000
    assert world.budget(child).reserved == 600_000_000
    halted = world.ask(child, 401)
    assert (halted.action, halted.binding.budget_id) == ("halt", root)
    assert world.ask(root, 401).action == "halt"
    record_usage(world.rt, UsageReport(answer.call_id, Tokens(fresh_input=100)))
    assert [world.budget(s).spent for s in (root, child, grandchild)] == [100_000_000] * 3


def test_a_raised_budget_lets_a_halted_session_go_on_with_its_history(world):
    session = world.start("1")
    world.ask(session, 900)
    assert world.ask(session, 200).action == "halt"
    raise_budget(world.rt, session, NANOS, reason="worth it", authority=the_user("anna"))
    assert world.ask(session, 200).action == "allow"
    assert len(world.calls(session)) == 3


class Broken:
    """A ledger that cannot be asked."""

    def __init__(self, ledger):
        self._ledger = ledger

    def __getattr__(self, name):
        if name in ("reading", "writing"):
            raise LedgerUnavailable("disk full", hint="free some", code="storage_full")
        return getattr(self._ledger, name)


def test_a_ledger_that_cannot_be_used_halts(world):
    session = world.start("1")
    broken = changed(world.rt, ledger=Broken(world.ledger))
    answer = replace(world, rt=broken).ask(session, model="dear")
    assert (answer.action, answer.reason, answer.call_id) == ("halt", "ledger_unavailable", None)
    assert "disk full" in answer.message
    assert answer.remaining_nanos is None


def test_a_policy_that_fails_open_says_that_nothing_was_counted(world):
    session = world.start("1")
    broken = changed(world.rt, ledger=Broken(world.ledger), halt_on_fault=False)
    answer = replace(world, rt=broken).ask(session, model="dear")
    assert (answer.action, answer.reason) == ("allow", "warn:ledger_unavailable")
    assert "cannot be counted" in answer.message


def test_each_cost_keeps_the_basis_it_was_made_on(world):
    session = world.start("1")
    call = world.call(world.ask(session, 1).call_id)
    with world.ledger.reading() as reader:
        basis = reader.prices()[call.price_id]
    assert '"source":"override"' in basis
    assert '"input_nanos":1000000000000' in basis


def test_the_database_itself_refuses_to_pass_a_hard_budget(world):
    session = world.start("1")
    with pytest.raises(sqlite3.IntegrityError), world.ledger.writing():
        world.ledger._connection.execute(
            "UPDATE budget SET spent_nanos = limit_nanos + 1 WHERE budget_id = ?", (session,)
        )
