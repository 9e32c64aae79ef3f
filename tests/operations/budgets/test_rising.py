"""What is booked for a response only rises; only the user lowers it.

Amounts: a token of `dear` is a tenth of a cent, one from the cache a hundredth.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import make_world, the_user

from tallygate.core.costing import Tokens
from tallygate.core.errors import Conflict, InvalidArgument, NotFound, UsersOnly
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.usage import ObservedUsage, Quality
from tallygate.operations.proof.verify import OutsideEvidence, verify_ledger
from tallygate.operations.usage.correct import correct_usage
from tallygate.operations.usage.ingest import FileReading, IngestResult, ingest, ingest_all

PROJECT = "/home/me/p"
ME = the_user("me")
MICRO = 1_000_000


def response(world, key="r1", **options):
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us)
    row = ObservedUsage("claude_code", "client-1", key, at, "dear", Tokens(40, 30, 20, 10, 100), Rule.CLAUDE_RESPONSE)
    return replace(row, project=PROJECT, **options)


def take(world, *rows):
    return ingest(world.rt, FileReading("claude_code", "/t/file.jsonl", rows))


@pytest.fixture
def live(world):
    return world.with_runtime(project=PROJECT)


@pytest.fixture
def session(live):
    found = live.start("10", client="claude-code")
    live.clock.forward(1_000_000)
    return found


def stored(world, key="r1"):
    with world.ledger.reading() as reader:
        return reader.usage_known("claude_code", [key])[key]


def told(world):
    with world.ledger.reading() as reader:
        return sorted((each.response_key, each.kind) for each in reader.anomalies(100))


def test_one_appended_line_takes_nothing_away_and_is_named(live, session):
    take(live, response(live))
    before = live.budget(session).spent
    assert before == 173 * MICRO
    forged = response(live, tokens=Tokens(0, 0, 0, 0, 101), model="ollama/foo")
    assert take(live, forged) == IngestResult(corrected=1, attributed=1)
    assert live.budget(session).spent == before + 1 * MICRO
    kept = stored(live)
    assert (kept.row.model, kept.row.tokens) == ("dear", Tokens(40, 30, 20, 10, 101))
    assert told(live) == [("r1", "lower"), ("r1", "other_model")]
    events = live.events()
    take(live, forged)
    assert (live.events(), told(live)) == (events, [("r1", "lower"), ("r1", "other_model")])
    assert any("told of again" in note for note in verify_ledger(live.ledger.path, OutsideEvidence({})).notes)


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"tokens": Tokens(40, 30, 20, 10, 50)}, ["lower"]),  # final, and less
        ({"tokens": Tokens(40, 30, 20, 10, 50), "quality": Quality.PARTIAL}, []),  # an earlier part of it, read again
        ({"tokens": Tokens(40, 30, 30, 0, 100)}, ["lower"]),
        ({"tokens": Tokens(0, 30, 20, 10, 300)}, ["lower"]),
        ({"tokens": Tokens(40, 30, 20, 10, 300)}, []),
        ({"model": "ollama/foo"}, ["other_model"]),
        ({"model": ""}, []),
    ],
)
def test_what_a_later_row_may_not_do_is_named_by_its_kind(live, session, change, kinds):
    take(live, response(live))
    take(live, response(live, **change))
    assert [kind for _, kind in told(live)] == kinds
    assert live.budget(session).spent >= 173 * MICRO


def test_session_and_time_stay_as_first_booked(live, session):
    first = response(live)
    take(live, first)
    live.clock.forward(3 * 24 * 3600 * 1_000_000)
    take(live, replace(first, at=first.at + timedelta(days=2), session="other", tokens=Tokens(40, 30, 20, 10, 110)))
    kept = stored(live)
    assert (kept.row.at, kept.row.session, kept.session_id) == (first.at, "client-1", session)
    assert told(live) == [("r1", "other_time")]


def test_the_dearest_model_that_any_copy_names_counts_in_every_order(world):
    cheap, dear = response(world, model="ollama/foo", tokens=Tokens(output=300)), response(world)
    for number, rows in enumerate([(cheap, dear), (dear, cheap)]):
        for together in (True, False):
            key = f"k{number}{together}"
            readings = [FileReading("claude_code", "/t", [replace(row, response_key=key)]) for row in rows]
            if together:
                ingest_all(world.rt, readings)
            else:
                for reading in readings:
                    ingest(world.rt, reading)
            kept = stored(world, key)
            assert (kept.row.model, kept.row.tokens) == ("dear", Tokens(40, 30, 20, 10, 300))
            assert kept.cost_nanos == 373 * MICRO


counts = st.integers(0, 50)
TELLINGS = st.builds(
    lambda tokens, model, quality, session: (Tokens(*tokens), model, quality, session),
    st.tuples(counts, counts, counts, counts, counts),
    st.sampled_from(["dear", "ollama/foo", "gpt-5", "claude-opus-4-7"]),
    st.sampled_from([Quality.PARTIAL, Quality.FINAL]),
    st.sampled_from(["client-1", "client-2"]),
)


@settings(max_examples=25)
@given(data=st.data())
def test_the_cost_of_a_response_never_falls_whatever_comes_later(data, tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("w")).with_runtime(project=PROJECT)
    session = world.start("1000", client="claude-code")
    world.clock.forward(1_000_000)
    rows = [
        response(world, tokens=tokens, model=model, quality=quality, session=whose)
        for tokens, model, quality, whose in data.draw(st.lists(TELLINGS, min_size=1, max_size=8))
    ]
    cost = 0
    while rows:
        size = data.draw(st.integers(1, len(rows)))
        take(world, *rows[:size])
        rows = rows[size:]
        spent = world.budget(session).spent
        assert spent >= cost
        cost = spent
    assert not world.problems()
    world.ledger.close()


def test_a_price_that_has_fallen_since_lowers_nothing(live, session, monkeypatch):
    take(live, response(live))
    quote = live.rt.workspace.prices.quote
    monkeypatch.setattr(
        type(live.rt.workspace.prices), "quote", lambda _, model, at, scope=None, terms=None: quote("ollama/foo", at)
    )
    take(live, response(live, tokens=Tokens(40, 30, 20, 10, 110)))
    assert stored(live).cost_nanos == live.budget(session).spent == 173 * MICRO


def test_copies_that_are_read_together_belong_to_the_session_that_was_read_first(live):
    mine, copy = response(live, session="9999"), response(live, session="5555")
    ingest_all(live.rt, [FileReading("claude_code", "/a", [mine]), FileReading("claude_code", "/b", [copy])])
    assert stored(live).row.session == "9999"


def test_only_the_user_lowers_a_response_and_what_is_read_later_does_not_raise_it_again(live, session):
    take(live, response(live), response(live, "r2"))
    done = correct_usage(live.rt, "r1", {"output": 0}, model=None, reason="it was refused", authority=ME)
    assert (done.before.cost_nanos, done.after.cost_nanos) == (173 * MICRO, 73 * MICRO)
    assert live.budget(session).spent == 246 * MICRO
    take(live, response(live, tokens=Tokens(40, 30, 20, 10, 500)))
    assert (stored(live).row.tokens.output, stored(live).corrected) == (0, "it was refused")
    assert live.budget(session).spent == 246 * MICRO
    with live.ledger.reading() as reader:
        event = json.loads(reader.journal_event(reader.head().seq).body)
    assert (event["kind"], event["note"]["reason"]) == ("usage.corrected", "it was refused")


def test_a_response_outside_of_sessions_can_be_corrected_too(world):
    take(world, response(world))
    correct_usage(world.rt, "r1", {}, model="ollama/foo", reason="a local model", authority=ME)
    assert stored(world).cost_nanos == 0


@pytest.mark.parametrize(
    ("part", "options", "error"),
    [
        ("nobody", {}, NotFound),
        ("r", {}, Conflict),
        ("", {}, NotFound),
        ("r1", {"reason": " "}, InvalidArgument),
        ("r1", {"counts": {"output": -1}}, InvalidArgument),
        ("r1", {"counts": {"thoughts": 1}}, InvalidArgument),
    ],
)
def test_a_correction_names_one_response_and_a_reason(world, part, options, error):
    take(world, response(world), response(world, "r2"))
    counts = options.pop("counts", {"output": 1})
    with pytest.raises(error):
        correct_usage(world.rt, part, counts, model=None, authority=ME, **({"reason": "so"} | options))


def test_an_agent_lowers_nothing(world):
    take(world, response(world))
    with pytest.raises(UsersOnly):
        correct_usage(world.rt, "r1", {"output": 0}, model=None, reason="so", authority=replace(ME, beneath="an agent"))
    assert stored(world).row.tokens.output == 100


@pytest.mark.parametrize("part", ["response:claude_code:r1", "response:claude-code:r1", "response:claude_code:r"])
def test_a_correction_takes_a_response_as_samples_name_it(world, part):
    take(world, response(world, "r1"))
    done = correct_usage(world.rt, part, {"output": 0}, model=None, reason="so", authority=ME)
    assert done.after.row.response_key == "r1"


@pytest.mark.parametrize("part", ["response:codex:r1", "response:claude_code:", "response:", "response:r1"])
def test_another_client_s_response_or_none_is_not_meant(world, part):
    take(world, response(world, "r1"))
    with pytest.raises(NotFound):
        correct_usage(world.rt, part, {"output": 0}, model=None, reason="so", authority=ME)


OTHER = "/home/me/q"
LIMITS = {
    "project": BudgetRule(BudgetScope.PROJECT, 10**12, period="day", match=PROJECT),
    "model": BudgetRule(BudgetScope.MODEL, 10**12, period="day", match="cents"),
    "client": BudgetRule(BudgetScope.CLIENT, 10**12, period="day", match="claude-code"),
    "global": BudgetRule(BudgetScope.GLOBAL, 10**12, period="day"),
    "within": BudgetRule(BudgetScope.CLIENT, 10**12, period="day", match="claude-code", within=PROJECT),
}
# A copy of a session that comes later by its name says where a response was made; `dear` is the dearer model.
MOVED = {"session": "client-2", "project": OTHER, "model": "dear"}


def of_windows(world):
    with world.ledger.reading() as reader:
        found = reader.windows_between("day", 0, 2**62)
    return {each.scope_key: each.spent for each in found}


@pytest.mark.parametrize("scope", LIMITS)
def test_no_window_gives_back_what_it_has_booked_of_a_response_that_is_told_again_otherwise(world, scope):
    live = world.with_runtime(project=PROJECT, rules=(LIMITS[scope],))
    session = live.start("10", client="claude-code", model="cents")
    live.ask(session, 1, model="cents")
    live.clock.forward(MICRO)
    first = response(live, model="cents")
    take(live, first)
    with world.ledger.reading() as reader:
        [window] = reader.windows_between("day", 0, 2**62)
    booked = window.spent
    assert booked == stored(live).cost_nanos > 0
    for again in (replace(first, **MOVED), first, replace(first, **MOVED)):
        take(live, again)
        assert booked <= live.budget(window.budget_id).spent <= stored(live).cost_nanos
    assert (stored(live).row.project, stored(live).row.model) == (OTHER, "dear")
    assert not world.problems()


def test_a_model_s_window_gains_what_is_told_to_be_its_own_and_the_user_takes_the_other_one_s_back(world):
    models = tuple(replace(LIMITS["model"], match=name) for name in ("cents", "dear"))
    live = world.with_runtime(project=PROJECT, rules=models)
    session = live.start("10", client="claude-code", model="dear")
    for model in ("cents", "dear"):
        live.ask(session, 1, model=model)
    live.clock.forward(MICRO)
    first = response(live, model="cents")
    take(live, first)
    cost = stored(live).cost_nanos
    assert of_windows(live) == {"cents": cost, "dear": 0}
    take(live, replace(first, model="dear"))
    dearer = stored(live).cost_nanos
    assert of_windows(live) == {"cents": cost, "dear": dearer}
    correct_usage(live.rt, "r1", {}, reason="it was that one", authority=ME, model="dear")
    assert of_windows(live) == {"cents": 0, "dear": dearer}
    correct_usage(live.rt, "r1", {}, reason="it was this one", authority=ME, model="cents")
    assert of_windows(live) == {"cents": cost, "dear": 0}
    assert not world.problems()
