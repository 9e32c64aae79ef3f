"""What a client wrote down, in budgets and calls; amounts: a token of the model `dear` costs a tenth of a cent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import MINUTE, PRICES, make_world, the_user

from tallygate.core.costing import Certainty, Tokens, certainty_of
from tallygate.core.model import Actor
from tallygate.core.usage import ObservedUsage, Quality, priced_as
from tallygate.core.words import AccountingMode, ActorType, CallState, UsageChannel
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.usage.correct import correct_usage
from tallygate.operations.usage.ingest import FileReading, IngestResult, ingest, link_session
from tallygate.operations.views.overview import show_session
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.overrides import PriceOverride

PROJECT = "/home/me/p"


@pytest.fixture
def live(world):
    return world.with_runtime(project=PROJECT)


def response(world, key, output=100, *, seconds=0, session="client-1", **options):
    """A response at the world's present time (plus some seconds), a tenth of a cent a token."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us, seconds=seconds)
    return ObservedUsage(
        **{
            "client": "claude_code",
            "session": session,
            "response_key": key,
            "at": at,
            "model": "dear",
            "tokens": Tokens(output=output),
            "rule": Rule.CLAUDE_RESPONSE,
            "project": PROJECT,
            **options,
        }
    )


def take(world, *rows, **options):
    return ingest(world.rt, FileReading("claude_code", "/t/file.jsonl", rows, **options))


def start(world, dollars="10", **options):
    session = world.start(dollars, client="claude-code", **options)
    world.clock.forward(1_000_000)
    return session


def test_a_response_outside_any_session_is_kept_with_its_cost(world):
    assert take(world, response(world, "r1")) == IngestResult(new=1)
    with world.ledger.reading() as reader:
        (stored,) = reader.usage_between(0, 2**62)
    assert (stored.cost_nanos, stored.session_id, stored.charges) == (100_000_000, None, ())


def test_the_same_response_read_again_changes_nothing(world):
    row = response(world, "r1")
    take(world, row, row)
    events = world.events()
    assert take(world, row) == IngestResult(known=1)
    assert world.events() == events


def test_a_larger_output_of_a_known_response_is_a_correction_and_an_event(world):
    take(world, response(world, "r1", 10, quality=Quality.PARTIAL))
    assert take(world, response(world, "r1", 30)) == IngestResult(corrected=1)
    with world.ledger.reading() as reader:
        (stored,) = reader.usage_between(0, 2**62)
    assert (stored.cost_nanos, stored.row.quality) == (30_000_000, Quality.FINAL)
    assert take(world, response(world, "r1", 20)) == IngestResult(known=1)


def test_a_response_in_a_session_s_workspace_is_spent_from_its_budget(live):
    session = start(live)
    assert take(live, response(live, "r1")) == IngestResult(new=1, attributed=1)
    assert live.budget(session).spent == 100_000_000


def test_a_response_spends_the_ancestors_budgets_too(live):
    root = start(live)
    child = start(live, parent_session_id=root)
    take(live, response(live, "r1"))
    assert [live.budget(s).spent for s in (root, child)] == [100_000_000] * 2


def test_what_a_call_holds_gives_way_to_what_its_responses_use(live):
    session = start(live)
    call = live.ask(session, 500).call_id
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 200))
    budget = live.budget(session)
    assert (budget.spent, budget.reserved) == (200_000_000, 300_000_000)
    take(live, response(live, "r2", 400))
    budget = live.budget(session)
    assert (budget.spent, budget.reserved) == (600_000_000, 0)
    assert live.call(call).state == "pending"


def test_a_response_that_cost_less_than_it_was_booked_at_gives_its_call_no_larger_hold(live):
    session = start(live)
    live.ask(session, 500)
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 200))
    correct_usage(live.rt, "r1", {"output": 100}, model=None, reason="the bill says so", authority=the_user("me"))
    budget = live.budget(session)
    assert (budget.spent, budget.reserved) == (100_000_000, 300_000_000)


def test_the_next_call_of_an_actor_closes_the_one_before(live):
    session = start(live)
    first = live.ask(session, 500).call_id
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 200))
    second = live.ask(session, 100).call_id
    live.clock.forward(1_000_000)
    take(live, response(live, "r2", 50))
    assert (live.call(first).state, live.call(first).cost_basis) == ("reconciled", "transcript")
    assert live.call(second).state == "pending"
    budget = live.budget(session)
    assert (budget.spent, budget.reserved) == (250_000_000, 50_000_000)
    with live.ledger.reading() as reader:
        sums = reader.observed(session)
    assert {key: part.nanos for key, part in sums.items()} == {first: 200_000_000, second: 50_000_000}


def test_a_subagent_s_response_belongs_to_its_own_call(live):
    session = start(live)
    live.ask(session, 100)
    own = live.ask(session, 100, actor=Actor(ActorType.SUBAGENT, "agent-7")).call_id
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 10, agent_id="agent-7"))
    with live.ledger.reading() as reader:
        assert list(reader.observed(session)) == [own]


def test_responses_before_any_call_count_as_spent_outside_of_calls(live):
    session = start(live)
    take(live, response(live, "r1", 10))
    with live.ledger.reading() as reader:
        assert list(reader.observed(session)) == [None]
    assert live.budget(session).spent == 10_000_000


@pytest.mark.parametrize("report_first", [True, False])
def test_a_report_and_a_transcript_never_count_the_same_usage_twice(live, report_first):
    session = start(live)
    call = live.ask(session, 500).call_id
    live.clock.forward(1_000_000)
    steps = [
        lambda: record_usage(live.rt, UsageReport(call, Tokens(output=180))),
        lambda: take(live, response(live, "r1", 200)),
    ]
    for step in steps if report_first else reversed(steps):
        step()
    budget = live.budget(session)
    assert (budget.spent, budget.reserved) == (200_000_000, 0)
    totals = end_session(live.rt, session)
    assert totals.total_nanos == 200_000_000
    assert totals.exactness == "fully_exact_for_supported_calls"


def test_a_report_after_the_call_was_closed_by_its_transcript_is_taken_quietly(live):
    session = start(live)
    call = live.ask(session, 500).call_id
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 200))
    live.ask(session, 1)
    live.clock.forward(1_000_000)
    take(live, response(live, "r2", 1))
    answer = record_usage(live.rt, UsageReport(call, Tokens(output=150)))
    assert answer.exactness == "exact_recorded"
    assert live.budget(session).spent == 201_000_000


def test_an_estimate_that_was_booked_gives_way_when_the_transcript_comes(live):
    session = start(live)
    live.ask(session, 500)
    live.clock.forward(11 * MINUTE)
    live.ask(session, 0)
    assert live.budget(session).spent == 500_000_000
    take(live, response(live, "r1", 30))
    assert live.budget(session).spent == 30_000_000


def test_in_a_live_session_a_reservation_past_its_time_books_nothing(live):
    session = start(live)
    take(live, response(live, "r1", 30))
    call = live.ask(session, 500).call_id
    live.clock.forward(11 * MINUTE)
    live.ask(session, 0)
    assert live.budget(session).spent == 30_000_000
    assert live.call(call).cost_basis == "transcript"


def test_usage_reported_on_authorize_books_nothing_where_the_transcript_counts_it(live):
    session = start(live)
    take(live, response(live, "r1", 30))
    answer = live.ask(session, 0, actual=Tokens(output=30))
    assert answer.action == "allow"
    assert live.budget(session).spent == 30_000_000


def test_an_overspent_session_halts_the_next_step_whatever_the_agent_says(live):
    session = start(live, "1")
    take(live, response(live, "r1", 1200))
    answer = live.ask(session, 0)
    assert (answer.action, answer.reason) == ("halt", "budget_pressure:halt")
    assert answer.spent_by == (("dear", 1_200_000_000),)
    assert live.budget(session).overage == 200_000_000


def test_late_responses_of_an_ended_session_are_still_spent_from_it(live):
    session = start(live)
    row = response(live, "r1", 30)
    live.clock.forward(1_000_000)
    end_session(live.rt, session)
    assert take(live, row).attributed == 1
    assert live.budget(session).spent == 30_000_000


def test_a_correction_is_booked_where_the_response_already_counts(live):
    session = start(live)
    live.ask(session, 500)
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 100))
    take(live, response(live, "r1", 150))
    budget = live.budget(session)
    assert (budget.spent, budget.reserved) == (150_000_000, 350_000_000)


def test_a_registered_client_session_counts_what_came_before_the_link_and_after_the_start(live):
    other = live.with_runtime(project=None)
    take(live, response(live, "r0", 5))
    session = start(other)
    take(live, response(live, "r1", 10), response(live, "r2", 20))
    assert other.budget(session).spent == 0
    assert link_session(live.rt, "claude_code", "client-1", session) == IngestResult(attributed=2)
    assert other.budget(session).spent == 30_000_000
    assert link_session(live.rt, "claude_code", "client-1", session) == IngestResult()
    take(live, response(live, "r3", 1, project="/elsewhere"))
    assert other.budget(session).spent == 31_000_000


def test_a_session_without_calls_that_requires_usage_is_not_blocked_by_its_transcript(live):
    session = start(live, accounting_mode=AccountingMode.EXACT_REQUIRED, usage_channel=UsageChannel.HOSTED_EDGE)
    first = live.ask(session, 10)
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 10))
    assert live.ask(session, 10).reason == "exactness_required"
    record_usage(live.rt, UsageReport(first.call_id, Tokens(output=10)))
    assert live.ask(session, 10).action == "allow"


def test_the_run_log_shows_responses_beside_calls(live):
    session = start(live)
    call = live.ask(session, 500).call_id
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 200), response(live, "r2", 10, quality=Quality.PARTIAL))
    end_session(live.rt, session)
    line = json.loads(live.rt.workspace.run_log_path.read_text())
    assert line["total_cost"] == "0.21"
    assert line["observed"] == {
        "responses": 2,
        "cost_usd": "0.21",
        "outside_calls_usd": "0",
        "incomplete_responses": 1,
    }
    (record,) = line["records"]
    assert (record["call_id"], record["cost_usd"], record["completion_tokens"]) == (call, "0.21", 210)


def test_where_a_file_was_left_is_kept_with_its_rows(world):
    take(world, response(world, "r1"), position={"offset": 10}, skipped={"too_long": 2})
    take(world, position={"offset": 20}, skipped={"too_long": 1, "bad_utf8": 1})
    with world.ledger.reading() as reader:
        assert reader.position("/t/file.jsonl") == {"offset": 20}
        (file,) = reader.read_files()
    assert file.skipped == {"too_long": 3, "bad_utf8": 1}


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({}, "dear"),
        ({"speed": "fast"}, "dear-fast"),
        ({"provider": "openrouter"}, "openrouter/dear"),
        ({"provider": "openrouter", "model": "z-ai/glm"}, "z-ai/glm"),
        ({"model": ""}, "unknown"),
    ],
)
def test_a_response_is_priced_as_what_served_it(world, change, asked):
    assert priced_as(replace(response(world, "r"), **change)) == asked


def test_a_response_of_an_unknown_model_is_never_free(world):
    take(world, response(world, "r1", model="zzz-9"))
    with world.ledger.reading() as reader:
        (stored,) = reader.usage_between(0, 2**62)
    assert stored.cost_nanos > 0


@settings(max_examples=25)
@given(data=st.data())
def test_any_order_and_repetition_of_readings_gives_the_same_rows_and_budgets(data, tmp_path_factory):
    rows = [("r1", 10), ("r1", 40), ("r2", 20), ("r3", 5), ("r3", 5), ("r2", 25)]
    order = data.draw(st.permutations(rows + data.draw(st.lists(st.sampled_from(rows), max_size=4))))
    world = make_world(tmp_path_factory.mktemp("w")).with_runtime(project=PROJECT)
    session = start(world)
    while order:
        size = data.draw(st.integers(1, len(order)))
        take(world, *(response(world, key, output) for key, output in order[:size]))
        order = order[size:]
    with world.ledger.reading() as reader:
        found = {stored.row.response_key: stored.row.tokens.output for stored in reader.usage_of(session)}
    assert found == {"r1": 40, "r2": 25, "r3": 5}
    assert world.budget(session).spent == 70_000_000
    assert not world.problems()
    world.ledger.close()


def look_at(monkeypatch, at_work, looked_at):
    monkeypatch.setattr("tallygate.operations.budgets.metering.CALLS_AT_WORK", at_work)
    monkeypatch.setattr("tallygate.operations.budgets.metering.CALLS_LOOKED_AT", looked_at)


def responses_of(world, session):
    with world.ledger.reading() as reader:
        return {key: part.responses for key, part in reader.observed(session).items()}


@pytest.mark.parametrize("at_work", [3, 100])
@pytest.mark.parametrize("agent", ["a1", None])
@pytest.mark.parametrize("waits", [True, False])
def test_an_agent_s_response_finds_its_own_call_behind_those_of_others(live, monkeypatch, at_work, agent, waits):
    look_at(monkeypatch, at_work, 500)
    session = start(live)
    mine = {} if agent is None else {"actor": Actor(ActorType.SUBAGENT, agent)}
    own = live.ask(session, 1, **mine).call_id
    live.clock.forward(1_000_000 if waits else 20 * MINUTE)
    for number in range(8):
        live.ask(session, 1, actor=Actor(ActorType.SUBAGENT, f"b{number % 2}"))
        live.clock.forward(1_000_000)
        if agent is not None:
            live.ask(session, 1)
            live.clock.forward(1_000_000)
    take(live, response(live, "late", 10, agent_id=agent))
    assert responses_of(live, session) == {own: 1}
    assert not live.problems()


def test_a_response_is_not_taken_for_an_older_call_because_that_one_still_waits(live, monkeypatch):
    look_at(monkeypatch, 2, 500)
    session = start(live)
    live.ask(session, 1)
    live.clock.forward(1_000_000)
    newer = live.ask(session, 1).call_id
    record_usage(live.rt, UsageReport(newer, Tokens(output=1)))
    for number in range(4):
        live.clock.forward(1_000_000)
        live.ask(session, 1, actor=Actor(ActorType.SUBAGENT, f"b{number}"))
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 10))
    assert responses_of(live, session) == {newer: 1}


def test_calls_far_back_that_still_wait_end_with_the_next_one_of_their_agent(live, monkeypatch):
    look_at(monkeypatch, 2, 500)
    session = start(live)
    first = live.ask(session, 1).call_id
    for number in range(6):
        live.clock.forward(1_000_000)
        live.ask(session, 1, actor=Actor(ActorType.SUBAGENT, f"b{number}"))
    live.clock.forward(1_000_000)
    last = live.ask(session, 1).call_id
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 10))
    assert (live.call(first).state, live.call(last).state) == (CallState.RECONCILED, CallState.PENDING)
    assert responses_of(live, session) == {last: 1}
    assert not live.problems()


def test_a_response_finds_its_call_behind_any_number_of_later_ones(live, monkeypatch):
    look_at(monkeypatch, 2, 5)
    session = start(live)
    calls, rows = [], []
    for number in range(12):
        calls.append(live.ask(session, 1).call_id)
        live.clock.forward(1_000_000)
        rows.append(response(live, f"r{number}", 10))
        live.clock.forward(1_000_000)
    take(live, *rows)
    with live.ledger.reading() as reader:
        assert {key: part.responses for key, part in reader.observed(session).items()} == dict.fromkeys(calls, 1)
    assert live.budget(session).reserved == 0


@pytest.mark.parametrize(
    ("model", "window"),
    [("claude-opus-4-5-20251101", 200_000), ("claude-opus-4-7", 1_000_000), ("nobody-1", 2_000_000)],
)
def test_an_absurd_count_is_cut_to_its_model_s_context_and_marked(world, model, window):
    take(world, response(world, "r1", model=model, tokens=Tokens(fresh_input=10**11, cache_read=5, output=7)))
    with world.ledger.reading() as reader:
        [kept] = [stored.row for stored in reader.usage_between(0, 2**62)]
    assert (kept.tokens, kept.odd) == (Tokens(fresh_input=window, cache_read=5, output=7), ("above_context",))
    assert world.problems() == []


def test_a_total_of_a_session_may_be_larger_than_any_context(world):
    tokens = Tokens(fresh_input=30_000_000)
    total = response(world, "r1", tokens=tokens, rule=Rule.COPILOT_SHUTDOWN, quality=Quality.SESSION_TOTAL)
    take(world, replace(total, model="claude-opus-4-7"))
    with world.ledger.reading() as reader:
        assert [stored.row.tokens for stored in reader.usage_between(0, 2**62)] == [tokens]


def test_the_line_of_a_session_names_the_model_that_answered_each_call(live):
    session = start(live)
    call = live.ask(session, 500).call_id
    live.clock.forward(1_000_000)
    take(live, response(live, "r1", 20), response(live, "r2", 900, model="cheap"), response(live, "r3", 0, model=""))
    assert show_session(live.rt, session).models_by_call == {call: "cheap"}
    end_session(live.rt, session)
    [line] = [json.loads(line) for line in live.rt.workspace.run_log_path.read_text().splitlines()]
    [record] = line["records"]
    assert (record["model_asked"], record["model_used"], record["rerouted"]) == ("dear", "cheap", False)


def nameless(world, key, *output, **options):
    return response(world, key, *output, model="", odd=("no_model",), **options)


def models(world):
    with world.ledger.reading() as reader:
        return {each.row.response_key: each.row.model for each in reader.usage_between(0, 2**62)}


def test_a_response_without_a_model_is_priced_as_its_neighbours_are(world):
    """In turn: the one before it, those known of its session, the one behind it, what its client used lately."""
    here = [response(world, "a", model="cents"), nameless(world, "b", seconds=5), response(world, "c", seconds=9)]
    take(world, *here)
    take(world, nameless(world, "d", seconds=-9))
    take(world, nameless(world, "e", session="new"), response(world, "f", session="new", model="cheap", seconds=9))
    take(world, nameless(world, "g", session="newest", seconds=30))
    take(world, nameless(world, "h", session="newest", client="codex"))
    assert models(world) == {
        "a": "cents", "b": "cents", "c": "dear", "d": "dear", "e": "cheap", "f": "cheap", "g": "cheap", "h": "",
    }  # fmt: skip
    with world.ledger.reading() as reader:
        costs = {each.row.response_key: each.cost_nanos for each in reader.usage_between(0, 2**62)}
        assert (costs["b"], costs["d"]) == (1_000_000, 100_000_000)


def test_the_model_of_the_session_s_opening_stands_for_one_that_nobody_names(live):
    session = start(live)
    link_session(live.rt, "claude_code", "client-1", session)
    take(live, response(live, "other", session="elsewhere", model="cheap", project="/else"), nameless(live, "r1"))
    assert models(live)["r1"] == "dear"


FREE = {
    "by its name": {"model": "gpt-oss-20b:free"},
    "by its list": {"model": "openrouter/deepseek/deepseek-r1:free"},
    "on this machine": {"model": "llama3", "provider": "ollama"},
    "by the user's word": {"model": "mine"},
}


@pytest.mark.parametrize("read", ["", "as the line before"])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("session", ["client-1", "another"])
@pytest.mark.parametrize("free", FREE.values(), ids=FREE)
def test_a_guess_makes_no_response_free(world, free, session, together, read):
    mine = PriceOverride("mine", Decimal(0), Decimal(0))
    world = world.with_runtime(prices=PriceBook(PricingSettings(overrides=(*PRICES.overrides, mine))))
    rows = [response(world, "free", **free), nameless(world, "r", seconds=5, session=session)]
    if read:
        rows[1] = replace(rows[1], model=free["model"])
    for part in [rows] if together else [[row] for row in rows]:
        take(world, *part)
    take(world, nameless(world, "alone", client="codex"))
    with world.ledger.reading() as reader:
        costs = {each.row.response_key: each.cost_nanos for each in reader.usage_between(0, 2**62)}
    assert costs["free"] == 0
    assert costs["r"] > 0
    if not (read and "provider" in free):  # by its name alone a reader cannot know what was served here
        assert costs["r"] == costs["alone"], "as much as what nobody knows"


def test_nor_does_what_is_free_elsewhere_or_in_one_session(world):
    more = (
        PriceOverride("mixed", Decimal(0), Decimal(0)),
        PriceOverride("mixed", Decimal(5), Decimal(5), provider="openai"),
        PriceOverride("cents", Decimal(0), Decimal(0), session="gift"),
    )
    world = world.with_runtime(project=PROJECT, prices=PriceBook(PricingSettings(overrides=(*PRICES.overrides, *more))))
    take(world, response(world, "paid", model="mixed", provider="openai"), nameless(world, "r", seconds=1))
    session = start(world, session_id="gift")
    link_session(world.rt, "claude_code", "client-2", session)
    named = response(world, "gift", model="cents", session="client-2")
    take(world, named, nameless(world, "g", seconds=1, session="client-2"))
    with world.ledger.reading() as reader:
        costs = {each.row.response_key: each.cost_nanos for each in reader.usage_between(0, 2**62)}
    assert costs["gift"] == 0
    assert min(costs["paid"], costs["r"], costs["g"]) > 0


def test_what_a_guessed_model_cost_is_told_as_approximate(world):
    take(world, response(world, "a", model="cents"), nameless(world, "b", 300, seconds=5))
    split = spent_by_certainty(world)
    assert split == {"a": Certainty.KNOWN, "b": Certainty.APPROXIMATE}
    correct_usage(world.rt, "b", {}, model="cents", reason="it was that", authority=the_user("test"))
    assert spent_by_certainty(world)["b"] is Certainty.KNOWN


def spent_by_certainty(world):
    with world.ledger.reading() as reader:
        found = {each.row.response_key: reader.price_basis(each.price_id) for each in reader.usage_between(0, 2**62)}
    kept = {key: json.loads(basis) for key, basis in found.items()}
    return {
        key: certainty_of(each["source"], known=each["known"], approximate=each["approximate"])
        for key, each in kept.items()
    }


@pytest.mark.parametrize("first", ["guessed", "told"])
def test_a_model_that_is_told_stands_in_the_place_of_a_guessed_one(world, first):
    take(world, response(world, "before", model="dear"))
    rows = [nameless(world, "r", seconds=5), response(world, "r", model="cheap", seconds=5)]
    for row in rows if first == "guessed" else rows[::-1]:
        take(world, row)
    assert models(world)["r"] == "cheap"
    with world.ledger.reading() as reader:
        [row] = [each for each in reader.usage_between(0, 2**62) if each.row.response_key == "r"]
        assert row.row.odd == ()
        assert reader.count_anomalies() == 0, "nobody told of two models"
