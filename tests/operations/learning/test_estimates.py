"""Estimates that learn: what a step costs is held against what was said before, and the next one counts by it."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import NANOS, PRICES, Clock, changed, hook_event, make_world, the_user

from tallygate.core.costing import Tokens
from tallygate.core.errors import NotFound
from tallygate.core.hooks import Moment
from tallygate.core.learning.calibration import MILLION, Level, SampleKey
from tallygate.core.model import Actor
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import Action, ActorType, CalibrationMode
from tallygate.operations.gate.authorize import StatedStep, check
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.hooks import answer_hook
from tallygate.operations.learning.estimates import apply_factors, forget, forget_factors, samples, show, stated_factor
from tallygate.operations.learning.replay import rebuild
from tallygate.operations.runtime import Learners
from tallygate.operations.sessions.opening import open_session_of
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.overrides import PriceOverride

CENT = NANOS // 100


def step(world, session, said=100, cost=300, **options):
    """A step that was said to take so many tokens, and took so many; a token is a tenth of a cent."""
    answer = world.ask(session, said, **options)
    assert answer.call_id, answer
    record_usage(world.rt, UsageReport(answer.call_id, Tokens(fresh_input=cost)))
    return answer


def taught(world, steps=36, cost=300, **options):
    """A world in which every step of past sessions cost three times what was said of it."""
    for _ in range(steps // 3):
        session = world.start("1000", client="codex", **options)
        for _ in range(3):
            step(world, session, cost=cost)
    return world


def kept(world):
    return list(samples(world.rt))


# ---------------------------------------------------------------- what is learned


def test_with_nothing_learned_a_budget_can_be_filled_exactly_and_one_token_more_halts(world):
    session = world.start("1")
    for _ in range(9):
        answer = step(world, session, said=100, cost=100)
        assert answer.factor_source == "none"
    assert world.ask(session, 101).action is Action.HALT
    assert world.ask(session, 100).action is not Action.HALT
    assert world.budget(session).committed == NANOS


def test_steps_that_cost_three_times_their_estimate_are_reserved_at_three_times(world):
    session = taught(world).start("100", client="codex")
    first = world.ask(session, 100)
    assert (first.factor_source, first.confidence) == ("learned", "medium")
    assert 2_000_000 < first.factor_micros < 6_000_000, "drawn to the estimate by its prior, with a bound on top"
    step(world, session)
    held = world.budget(session).reserved
    later = world.ask(session, 100)
    assert world.budget(session).reserved - held == pytest.approx(later.factor_micros * 10 * CENT / MILLION)
    assert 2_900_000 < later.factor_micros < 3_600_000, "by the session's own level"


def test_what_is_spent_is_never_scaled(world):
    session = taught(world).start("100", client="codex")
    step(world, session, cost=150)
    budget = world.budget(session)
    assert (budget.spent, budget.reserved) == (15 * CENT, 0)


def test_a_step_that_probably_passes_the_limit_is_stopped_before_it_is_made(world):
    session = taught(world).start("1", client="codex")
    step(world, session)
    step(world, session)
    answer = world.ask(session, 100)
    assert (answer.action, answer.reason) == (Action.ALLOW, "allow")
    record_usage(world.rt, UsageReport(answer.call_id, Tokens(fresh_input=300)))
    answer = world.ask(session, 100)
    assert (answer.action, answer.reason) == (Action.HALT, "budget_pressure:halt")
    assert world.budget(session).spent == 90 * CENT, "10 cents are left: as many as were said, a third of need"
    assert "by what such steps cost" in answer.message


def test_a_reply_says_how_many_steps_are_left_and_near_the_limit_how_probably_this_one_passes_it(world):
    session = taught(world).start("2", client="codex")
    assert step(world, session).remaining_steps is None
    answer = step(world, session)
    assert (answer.remaining_steps, answer.over_micros) == (4, None)
    for _ in range(3):
        answer = step(world, session)
    assert answer.remaining_steps == 1
    step(world, session)
    answer = world.ask(session, 100)
    assert answer.action is Action.HALT
    assert answer.over_micros == MILLION


def test_the_number_of_reconciled_calls_says_how_much_to_make_of_it(world):
    session = world.start("1000")
    confidence = [step(world, session).confidence for _ in range(52)]
    assert confidence == [None] + ["low"] * 9 + ["medium"] * 40 + ["high"] * 2


@pytest.mark.parametrize(
    "reported",
    [
        pytest.param(lambda world, call: void_call(world.rt, call, "not made"), id="voided"),
        pytest.param(lambda world, call: record_usage(world.rt, UsageReport(call, Tokens())), id="cost nothing"),
    ],
)
def test_what_was_not_made_or_cost_nothing_teaches_nothing(world, reported):
    call = world.ask(world.start("1"), 100).call_id
    reported(world, call)
    assert kept(world) == []


def test_an_estimate_of_nothing_is_an_estimate_and_teaches_nothing(world):
    session = world.start("1")
    answer = step(world, session, said=0, cost=10)
    assert answer.action is Action.ALLOW
    assert kept(world) == []


def test_a_sample_is_written_with_the_reconciliation_that_shows_it_and_once(world):
    session = world.start("1")
    call = world.ask(session, 100).call_id
    events = world.events()
    record_usage(world.rt, UsageReport(call, Tokens(fresh_input=300)))
    record_usage(world.rt, UsageReport(call, Tokens(fresh_input=300)))
    assert world.events() == events + 1
    [sample] = kept(world)
    assert (sample.call_id, sample.key.client, sample.key.model) == (call, "unknown", "dear")
    assert (sample.sample.estimate_nanos, sample.sample.actual_nanos) == (10 * CENT, 30 * CENT)
    assert world.problems() == []


def test_usage_that_comes_after_the_reservation_expired_still_teaches(world):
    session = world.start("1")
    call = world.ask(session, 100).call_id
    world.clock.forward(world.rt.workspace.policy.reservation_ttl_us + 1)
    world.ask(session, 1)
    record_usage(world.rt, UsageReport(call, Tokens(fresh_input=300)))
    assert [sample.call_id for sample in kept(world)] == [call]


def test_a_subagents_level_is_its_own(world):
    session = taught(world).start("100", client="codex")
    helper = Actor(ActorType.SUBAGENT, "a1", "helper")
    step(world, session, cost=300)
    assert step(world, session, cost=30, actor=helper).remaining_steps is None, "its first"
    answer = world.ask(session, 100, actor=helper)
    assert answer.factor_micros == MILLION, "what was said: the agent alone tells that it costs three cents"
    assert answer.remaining_steps > 3_000, "at three cents"


def test_models_and_clients_learn_apart_and_share_what_all_have_in_common(world):
    taught(world)
    other = world.start("1000", client="gemini", model="cheap")
    answer = world.ask(other, 100)
    assert (answer.factor_source, answer.confidence) == ("learned", "low"), "of others only"
    assert 1_500_000 < answer.factor_micros < 4_000_000


# ---------------------------------------------------------------- the user's word


def test_a_factor_of_the_users_counts_in_place_of_what_was_learned_which_goes_on_learning(world):
    world = taught(world).with_runtime(factors_micros={"dear": 1_500_000})
    session = world.start("1", client="codex")
    answer = step(world, session)
    assert (answer.factor_micros, answer.factor_source, answer.confidence) == (1_500_000, "manual", "high")
    assert len(kept(world)) == 37


def test_where_the_policy_only_warns_the_estimate_decides_and_the_answer_says_what_to_expect(world):
    world = taught(world).with_policy(calibration=CalibrationMode.WARN)
    session = world.start("0.5", client="codex")
    assert "30 of" not in (step(world, session).message or "")
    answer = world.ask(session, 100)
    assert answer.action is Action.ALLOW
    assert "80 of 100 cases" in answer.message
    assert world.budget(session).reserved == 10 * CENT, "as it was said"
    assert answer.factor_source == "learned"


def test_where_the_policy_only_observes_the_numbers_are_told_and_nothing_else_changes(world):
    world = taught(world).with_policy(calibration=CalibrationMode.OBSERVE)
    session = world.start("0.5", client="codex")
    step(world, session)
    answer = world.ask(session, 100)
    assert (answer.action, answer.message) == (Action.ALLOW, None)
    assert world.budget(session).reserved == 10 * CENT
    assert answer.factor_micros > 2_000_000


def test_a_higher_quantile_reserves_more(world):
    session = world.start("1000", client="codex")
    for cost in range(100, 500, 10):
        step(world, session, cost=cost)
    low = check(world.rt, session, StatedStep(session, "t", prompt_tokens=100, completion_tokens=0))
    high = world.with_policy(quantile_percent=95)
    high = check(high.rt, session, StatedStep(session, "t", prompt_tokens=100, completion_tokens=0))
    assert low.estimate_nanos < high.estimate_nanos


def test_a_look_tells_the_numbers_that_the_gate_would_use_and_writes_nothing(world):
    session = taught(world).start("1.5", client="codex")
    for _ in range(6):
        events = world.events()
        asked = StatedStep(session, "edit", prompt_tokens=100, completion_tokens=0)
        state = check(world.rt, session, asked)
        assert world.events() == events
        held = world.budget(session).reserved
        answer = world.ask(session, 100)
        if answer.action is Action.HALT:
            break
        assert world.budget(session).reserved - held == state.estimate_nanos
        assert (state.factor.micros, state.factor.source, state.factor.confidence, state.over_micros) == (
            answer.factor_micros,
            answer.factor_source,
            answer.confidence,
            answer.over_micros,
        )
        record_usage(world.rt, UsageReport(answer.call_id, Tokens(fresh_input=300)))
    assert state.over_micros == answer.over_micros == MILLION


# ---------------------------------------------------------------- forget, learn anew, bills


def test_what_is_forgotten_counts_no_more_and_stays_in_the_ledger(world):
    taught(world)
    session = world.start("100", client="codex")
    assert world.ask(session, 100).factor_source == "learned"
    assert forget(world.rt, None, None, authority=the_user("me")) == 36
    assert world.ask(session, 100).factor_source == "none"
    assert show(world.rt).learned == ()
    assert world.ledger.rows("SELECT COUNT(*) FROM calibration_sample").fetchone() == (36,)
    assert world.problems() == []


def test_one_client_or_model_is_forgotten_by_itself(world):
    taught(world)
    other = world.start("1000", client="gemini", model="cheap")
    for _ in range(12):
        step(world, other)
    assert forget(world.rt, "codex", None, authority=the_user("me")) == 36
    assert [each.key.client for each in show(world.rt).learned] == ["gemini"]
    with pytest.raises(NotFound) as refused:
        forget(world.rt, None, "no-such", authority=the_user("me"))
    assert refused.value.code == "not_found"


def test_what_one_process_learns_or_forgets_another_knows_at_its_next_question(world):
    other = world.with_runtime(learned=Learners())
    session = world.start("1000", client="codex")
    assert other.ask(session, 100).factor_source == "none"
    taught(world)
    assert other.ask(session, 100).factor_source == "learned"
    forget(world.rt, None, None, authority=the_user("me"))
    assert other.ask(session, 100).factor_source == "none"
    rebuild(world.rt, authority=the_user("me"))
    assert other.ask(session, 100).factor_source == "learned"


def test_learning_anew_gives_what_was_learned_on_the_way(world):
    taught(world)
    before = [(each.call_id, each.key, each.sample) for each in kept(world)]
    learned = show(world.rt).learned
    assert rebuild(world.rt, authority=the_user("me")) == 36
    assert [(each.call_id, each.key, each.sample) for each in kept(world)] == before
    assert [replace(each, last_us=0) for each in show(world.rt).learned] == [replace(e, last_us=0) for e in learned]
    assert world.problems() == []


def test_a_ledger_from_before_learns_from_its_calls(world, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr("tallygate.operations.gate.record.sample_of", lambda *_: [])
        taught(world)
    session = world.start("100", client="codex")
    assert world.ask(session, 100).factor_source == "none"
    assert rebuild(world.rt, authority=the_user("me")) == 36
    assert world.ask(session, 100).factor_source == "learned"


def test_a_factor_from_bills_is_reserved_on_top_told_and_forgotten(world):
    session = world.start("100", client="codex")
    apply_factors(world.rt, {"dear": 1_250_000}, "2026-09", authority=the_user("me"))
    answer = world.ask(session, 100)
    assert (answer.factor_micros, answer.factor_source, answer.confidence) == (1_250_000, "billed", "high")
    assert world.budget(session).reserved == 12_500_000 * 10
    apply_factors(world.rt, {"dear": 1_500_000, "cheap": 900_000}, "2026-10", authority=the_user("me"))
    assert {model: micros for model, (micros, _) in show(world.rt).billed.items()} == {
        "dear": 1_500_000,
        "cheap": 900_000,
    }
    assert forget_factors(world.rt, authority=the_user("me")) == 2
    assert world.ask(session, 100).factor_source == "none"
    assert world.problems() == []


def test_a_factor_from_bills_is_only_told_where_the_policy_does_not_enforce(world):
    world = taught(world).with_policy(calibration=CalibrationMode.OBSERVE)
    apply_factors(world.rt, {"dear": 2_000_000}, "2026-09", authority=the_user("me"))
    session = world.start("100", client="codex")
    answer = world.ask(session, 100)
    assert world.budget(session).reserved == 10 * CENT
    assert (answer.factor_source, answer.factor_micros > 2_000_000) == ("learned", True)


# ---------------------------------------------------------------- hooks and transcripts


def hooked(world, moment, key):
    world.clock.forward(1_000_000)
    event = hook_event("claude_code", moment, "client-1", moment.value, key, model="dear")
    return answer_hook(world.rt, event)


def respond(world, key, cents):
    world.clock.forward(1_000_000)
    row = ObservedUsage(
        client="claude_code",
        session="client-1",
        response_key=key,
        at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us),
        model="dear",
        tokens=Tokens(output=cents * 10),
        rule=Rule.CLAUDE_RESPONSE,
        project="/home/me/p",
    )
    ingest(world.rt, FileReading("claude_code", "/t/client-1", [row]))


def test_model_calls_that_hooks_ask_for_teach_by_their_responses(world):
    world = world.with_runtime(session_limit_nanos=100 * NANOS, project="/home/me/p")
    for number in range(12):
        hooked(world, Moment.PROMPT, f"prompt:{number}")
        respond(world, f"r{number}", 10 + number)
    found = kept(world)
    assert [each.sample.actual_nanos for each in found] == [(10 + number) * CENT for number in range(12)]
    assert {each.key.kind for each in found} == {"hook"}
    assert found[0].sample.level_nanos is None
    assert found[1].sample.level_nanos == 10 * CENT
    [learned] = show(world.rt).learned
    assert (learned.samples, learned.confidence) == (12, "medium")
    assert world.problems() == []


def test_a_response_of_which_more_is_known_later_counts_once_in_what_is_learned(world):
    from tallygate.core.usage import Quality

    world = world.with_runtime(session_limit_nanos=100 * NANOS, project="/home/me/p")
    hooked(world, Moment.PROMPT, "prompt:1")
    world.clock.forward(1_000_000)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us)
    row = ObservedUsage(
        client="claude_code", session="client-1", response_key="r1", at=at, model="dear", tokens=Tokens(output=50),
        rule=Rule.CLAUDE_RESPONSE, project="/home/me/p", quality=Quality.PARTIAL,
    )  # fmt: skip
    ingest(world.rt, FileReading("claude_code", "/t/client-1", [row]))
    assert kept(world) == []
    final = replace(row, tokens=Tokens(output=80), quality=Quality.FINAL)
    ingest(world.rt, FileReading("claude_code", "/t/client-1", [final]))
    assert [each.sample.actual_nanos for each in kept(world)] == [8 * CENT]


def test_responses_of_sessions_that_nobody_gated_teach_what_hooks_reserve(world):
    world = world.with_runtime(session_limit_nanos=100 * NANOS)
    for number in range(30):
        respond(world, f"r{number}", 10 + number % 3)
    assert kept(world) == []
    assert rebuild(world.rt, authority=the_user("me")) == 30
    [learned] = show(world.rt).learned
    assert (learned.key.kind, learned.key.client, learned.samples) == ("hook", "claude-code", 30)
    hooked(world, Moment.PROMPT, "prompt:1")
    [call] = world.calls(open_session_of(world.rt, "claude_code", "client-1").session_id)
    assert call.factor_micros != MILLION
    assert rebuild(world.rt, authority=the_user("me")) == 30, "the same again"
    assert len(kept(world)) == 30
    assert world.problems() == []


# ---------------------------------------------------------------- reroute


LADDER = {"ladder": lambda _: ("dear", "cheap")}
# Reading its context afresh costs nine times what staying does, and then a tenth is saved.
LITTLE_LESS = PriceBook(
    PricingSettings((*PRICES.overrides, PriceOverride("near", Decimal(900), Decimal(900), cache_read=Decimal(90))))
)


def test_at_the_start_of_a_subagent_a_cheaper_model_is_named_with_what_it_saves(world):
    world = world.with_runtime(**LADDER)
    session = world.start("1")
    step(world, session, said=850, cost=850)
    answer = world.ask(session, 10, actor=Actor(ActorType.SUBAGENT, "a1"))
    assert (answer.action, answer.target_model) == (Action.REROUTE, "cheap")
    assert answer.saves_nanos == 900_000, "ten tokens read from the cache, a hundredth of a cent or a tenth of that"


def test_where_no_model_of_the_ladder_pays_the_answer_names_none_and_says_why(world):
    world = world.with_runtime(ladder=lambda _: ("dear", "near"), prices=LITTLE_LESS)
    session = world.start("1")
    step(world, session, said=10, cost=10)
    step(world, session, said=960, cost=960, actor=Actor(ActorType.SUBAGENT, "a1"))
    answer = world.ask(session, 29)
    assert (answer.action, answer.target_model) == (Action.REROUTE, None)
    assert "No model of the ladder pays" in answer.message
    bare = replace(world, rt=changed(world.rt, ladder=lambda _: ()))
    assert "No [ladder]" in bare.ask(session, 0).message


# ---------------------------------------------------------------- invariants


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)), st.lists(st.integers(1, 400), min_size=6, max_size=6))
def test_the_order_in_which_calls_are_reconciled_changes_no_total(tmp_path_factory, order, costs):
    world = make_world(tmp_path_factory.mktemp("order"), clock=Clock())
    session = world.start("100")
    calls = [world.ask(session, 100).call_id for _ in range(6)]
    for index in order:
        record_usage(world.rt, UsageReport(calls[index], Tokens(fresh_input=costs[index])))
    assert world.budget(session).spent == sum(costs) * CENT // 10
    assert world.budget(session).reserved == 0
    assert sorted(each.sample.actual_nanos for each in kept(world)) == sorted(cost * CENT // 10 for cost in costs)
    assert world.problems() == []
    world.ledger.close()


def test_one_absurd_estimate_changes_little(world):
    taught(world, steps=30)
    session = world.start("1000", client="codex")
    step(world, session)
    asked = StatedStep(session, "edit", prompt_tokens=100, completion_tokens=0)
    before = check(world.rt, session, asked).estimate_nanos
    elsewhere = world.start("900000", client="codex")
    step(world, elsewhere, said=10_000_000, cost=1)
    after = check(world.rt, session, asked).estimate_nanos
    assert before * 7 // 10 < after <= before * 13 // 10


def test_threads_that_ask_at_once_all_see_what_the_ledger_holds(world):
    taught(world, steps=30)
    session = world.start("1000", client="codex")
    asked = StatedStep(session, "edit", prompt_tokens=100, completion_tokens=0)
    fresh = world.with_runtime(learned=Learners())
    wanted = check(world.rt, session, asked).estimate_nanos
    found: list[int | None] = []
    ready = threading.Barrier(4)

    def look():
        ready.wait()
        found.append(check(fresh.rt, session, asked).estimate_nanos)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 4


def test_samples_can_be_taken_along_as_json(world):
    taught(world)
    from tallygate.entrypoints.cli.calibrate import _sample

    told = [json.loads(json.dumps(_sample(each))) for each in kept(world)]
    assert len(told) == 36
    assert told[0]["estimate_nanos"] == 10 * CENT


# ---------------------------------------------------------------- one name of a model and of a client


SPELLED = ("claude-opus-4-7", "openrouter/anthropic/claude-opus-4.7", "us.anthropic.claude-opus-4-7-v1:0")
OPUS = PriceBook(
    PricingSettings(overrides=tuple(PriceOverride(each, Decimal(1000), Decimal(1000)) for each in SPELLED))
)


def as_an_older_version_kept(kind, client, model):
    return SampleKey(kind.value, client, model)


def spelled(world, monkeypatch, *, older):
    """A world whose samples come from three spellings of a model and of a client, by an older version or this one."""
    world = world.with_runtime(prices=OPUS)
    with monkeypatch.context() as patched:
        if older:
            patched.setattr("tallygate.operations.learning.estimates.sample_key", as_an_older_version_kept)
        for model, client in zip(SPELLED, ("claude_code", "Claude Code", "claude-code"), strict=True):
            session = world.start("1000", client=client, model=model)
            for _ in range(4):
                step(world, session)
    return world


@pytest.mark.parametrize("older", [True, False])
def test_what_was_learned_under_other_spellings_counts(world, monkeypatch, older):
    world = spelled(world, monkeypatch, older=older)
    assert len({each.key for each in kept(world)}) == (3 if older else 1)
    [found] = show(world.rt).learned
    assert (found.key.client, found.key.model, found.samples) == ("claude-code", "claude-opus-4-7", 12)
    for learned in (world.rt.caches.learned, Learners()):
        again = world.with_runtime(learned=learned)
        with again.ledger.reading() as reader:
            assert [
                learned.expect(reader, SampleKey("agent", client, model), NANOS, Level.of(NANOS)).reconciled
                for client, model in (("claude-code", SPELLED[0]), ("Claude Code", SPELLED[2]), ("codex", SPELLED[0]))
            ] == [12, 12, 0]


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize(
    ("client", "model", "forgotten"),
    [
        ("CLAUDE_CODE", None, 12),
        (None, "bedrock/anthropic.claude-opus-4-7-v1:0", 12),
        ("claude code", "claude-opus-4.7", 12),
    ],
)
def test_what_is_forgotten_is_forgotten_in_every_spelling(world, monkeypatch, older, client, model, forgotten):
    world = spelled(world, monkeypatch, older=older)
    assert forget(world.rt, client, model, authority=the_user("me")) == forgotten
    assert show(world.rt).learned == ()
    assert world.problems() == []
    with pytest.raises(NotFound):
        forget(world.rt, "codex", "claude-opus-4-8", authority=the_user("me"))


@pytest.mark.parametrize(
    ("given", "asked", "factor"),
    [
        ({"claude-opus-4.7": 2}, SPELLED[2], 2),
        ({SPELLED[1]: 2}, SPELLED[0], 2),
        ({SPELLED[1]: 2, SPELLED[0]: 1}, SPELLED[0], 1),
        ({SPELLED[1]: 2, SPELLED[0]: 3}, SPELLED[2], 3),
        ({"claude-opus-4-8": 2}, SPELLED[0], None),
        ({"claude-opus-4-7-fast": 2}, SPELLED[0], None),
        ({}, SPELLED[0], None),
    ],
)
def test_a_factor_of_the_users_holds_in_every_spelling_and_the_very_one_first(given, asked, factor):
    micros = {model: times * MILLION for model, times in given.items()}
    assert stated_factor(micros, asked) == (None if factor is None else factor * MILLION)


def test_a_factor_under_another_spelling_decides(world):
    world = world.with_runtime(prices=OPUS, factors_micros={"anthropic/claude-opus-4.7": 2 * MILLION})
    answer = world.ask(world.start("1", model=SPELLED[2]))
    assert (answer.factor_micros, answer.factor_source) == (2 * MILLION, "manual")
