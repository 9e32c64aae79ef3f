from __future__ import annotations

import pytest
from tests.world import MINUTE

from tallygate.core.costing import Tokens
from tallygate.core.errors import Conflict, NotFound
from tallygate.core.words import AccountingMode, CallMode, UsageChannel
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.sessions.ending import end_session


def report(call_id, prompt=0, completion=0, **options):
    return UsageReport(call_id, Tokens(fresh_input=prompt, output=completion, **options.pop("cache", {})), **options)


def test_what_a_call_used_replaces_what_it_held(world):
    session = world.start("1")
    call = world.ask(session, 500).call_id
    answer = record_usage(world.rt, report(call, 100, 50))
    assert (answer.status, answer.exactness) == ("reconciled", "exact_recorded")
    assert (answer.spend_nanos, answer.remaining_nanos) == (150_000_000, 850_000_000)
    budget = world.budget(session)
    assert (budget.spent, budget.reserved) == (150_000_000, 0)


def test_cached_tokens_are_priced_as_what_they_are(world):
    session = world.start("1")
    call = world.ask(session, 1).call_id
    record_usage(world.rt, report(call, 10, 0, cache={"cache_read": 100, "cache_write_5m": 10}))
    assert world.budget(session).spent == 30_000_000


def test_a_cost_above_its_reservation_is_booked_in_full(world):
    session = world.start("1")
    call = world.ask(session, 10).call_id
    answer = record_usage(world.rt, report(call, 5000))
    assert (answer.remaining_nanos, answer.pressure) == (-4_000_000_000, "critical")
    assert world.budget(session).overage == 4_000_000_000


def test_the_same_report_twice_changes_nothing(world):
    session = world.start("1")
    call = world.ask(session, 10).call_id
    first = record_usage(world.rt, report(call, 7, 3))
    events = world.events()
    assert record_usage(world.rt, report(call, 7, 3)) == first
    assert world.events() == events


@pytest.mark.parametrize(
    "other", [{"prompt": 8}, {"completion": 4}, {"model_used": "cheap"}, {"cache": {"cache_read": 1}}]
)
def test_another_report_for_the_same_call_is_a_conflict_with_both_in_the_text(world, other):
    session = world.start("1")
    call = world.ask(session, 10).call_id
    record_usage(world.rt, report(call, 7, 3))
    with pytest.raises(Conflict) as refused:
        record_usage(world.rt, report(call, **{"prompt": 7, "completion": 3, **other}))
    assert refused.value.code == "usage_conflict"
    assert "7 prompt" in refused.value.message
    assert world.budget(session).spent == 10_000_000


def test_a_report_can_name_the_model_that_was_used(world):
    session = world.start("1")
    call = world.ask(session, 100).call_id
    record_usage(world.rt, report(call, 100, model_used="cheap"))
    assert world.budget(session).spent == 10_000_000
    assert world.call(call).model_used == "cheap"


def test_late_usage_of_an_expired_call_corrects_what_was_booked(world):
    session = world.start("1")
    call = world.ask(session, 500).call_id
    world.clock.forward(11 * MINUTE)
    world.ask(session, 0)
    assert world.budget(session).spent == 500_000_000
    record_usage(world.rt, report(call, 20))
    assert world.budget(session).spent == 20_000_000


def test_usage_after_the_session_ended_is_still_recorded(world):
    session = world.start("1")
    call = world.ask(session, 500).call_id
    end_session(world.rt, session)
    record_usage(world.rt, report(call, 20))
    assert world.budget(session).spent == 20_000_000


def test_a_voided_call_gives_back_what_it_held_and_keeps_the_reason(world):
    session = world.start("1")
    call = world.ask(session, 500).call_id
    answer = void_call(world.rt, call, "the user cancelled")
    assert (answer.status, answer.remaining_nanos) == ("voided", 1_000_000_000)
    assert world.call(call).void_reason == "the user cancelled"
    assert void_call(world.rt, call, "again") == answer


def test_usage_of_a_voided_call_is_booked_after_all(world):
    session = world.start("1")
    call = world.ask(session, 500).call_id
    void_call(world.rt, call, "cancelled")
    record_usage(world.rt, report(call, 30))
    assert world.budget(session).spent == 30_000_000


def test_a_resolved_call_cannot_be_voided(world):
    session = world.start("1")
    call = world.ask(session, 500).call_id
    record_usage(world.rt, report(call, 30))
    with pytest.raises(Conflict, match="reconciled"):
        void_call(world.rt, call, "changed my mind")


def test_an_unknown_call_is_an_error_that_names_it(world):
    with pytest.raises(NotFound, match="call_nowhere"):
        record_usage(world.rt, report("call_nowhere", 1))
    with pytest.raises(NotFound, match="call_nowhere"):
        void_call(world.rt, "call_nowhere", "x")


def test_a_halted_call_has_nothing_to_reconcile(world):
    session = world.start("1")
    world.ask(session, 2000, client_key="k")
    denied = world.calls(session)[0].call_id
    with pytest.raises(Conflict, match="halted"):
        record_usage(world.rt, report(denied, 1))


@pytest.mark.parametrize(
    ("accounting", "channel", "mode", "before", "after"),
    [
        ("estimate_only", "none", None, "estimate_only", "exact_recorded"),
        ("exact_optional", "hosted_edge", "agent", "exact_pending", "exact_recorded"),
        ("exact_optional", "self_hosted_relay", "agent", "exact_unavailable", "exact_recorded"),
        ("exact_optional", "self_hosted_relay", None, "exact_pending", "exact_recorded"),
    ],
)
def test_a_call_s_exactness_follows_mode_coverage_until_usage_comes(world, accounting, channel, mode, before, after):
    from tallygate.core.gate.lifecycle import of_call

    session = world.start("1", accounting_mode=AccountingMode(accounting), usage_channel=UsageChannel(channel))
    call = world.ask(session, 1, call_mode=None if mode is None else CallMode(mode)).call_id
    assert of_call(world.call(call), AccountingMode(accounting)) == before
    assert record_usage(world.rt, report(call, 1)).exactness == after


def test_where_usage_came_from_is_kept_with_it(world):
    session = world.start("1")
    call = world.ask(session, 1).call_id
    record_usage(world.rt, report(call, 1, correlation={"callback_request_id": "req_1"}))
    assert world.call(call).correlation == '{"callback_request_id": "req_1"}'
