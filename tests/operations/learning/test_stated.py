"""A stated estimate holds: what agents report of themselves opens no budget, and what was observed a little."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import NANOS, hook_event, make_world, the_user

from tallygate.core.costing import Tokens
from tallygate.core.hooks import Moment
from tallygate.core.hooks import SessionOrigin as Began
from tallygate.core.learning.calibration import CostOrigin
from tallygate.core.model import Actor
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import Action, ActorType
from tallygate.ledger.rows import from_sample
from tallygate.operations.budgets.metering import Meter
from tallygate.operations.gate.authorize import StatedStep, check
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.hooks import answer_hook
from tallygate.operations.learning.estimates import samples
from tallygate.operations.learning.replay import rebuild
from tallygate.operations.runtime import Learners
from tallygate.operations.sessions.opening import open_session_of
from tallygate.operations.usage.ingest import FileReading, ingest

CENT = NANOS // 100
SECOND = 1_000_000
LEARNED = "80 of 100 such steps stay below it, by what they have cost."


def reported(world, session, said, cost, **options):
    """A step that was said to take so many tenths of a cent, and reported to have taken so many."""
    answer = world.ask(session, said, **options)
    if answer.call_id is not None:
        record_usage(world.rt, UsageReport(answer.call_id, Tokens(fresh_input=cost)))
    return answer


def observed_session(world, dollars, name="client-1", client="claude_code"):
    """A session whose client writes down what it uses."""
    rich = world.with_runtime(session_limit_nanos=round(dollars * NANOS), project="/home/me/p")
    answer_hook(
        rich.rt, hook_event(client, Moment.SESSION_START, name, "SessionStart", origin=Began.STARTUP, model="dear")
    )
    return open_session_of(world.rt, client, name).session_id


def observed(world, session, said, cost, name="client-1", **options):
    """A step that was said to take so many tenths of a cent, and that the client wrote down to have taken so many."""
    world.clock.forward(SECOND)
    answer = world.ask(session, said, model="dear", **options)
    if answer.action is not Action.HALT:
        world.clock.forward(SECOND)
        row = ObservedUsage(
            client="claude_code",
            session=name,
            response_key=f"{name}-{world.clock.at_us}",
            at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us),
            model="dear",
            tokens=Tokens(output=cost),
            rule=Rule.CLAUDE_RESPONSE,
            project="/home/me/p",
        )
        ingest(world.rt, FileReading("claude_code", f"/t/{name}", [row]))
    return answer


def reserved_for(world, session, said, **options):
    """What a look says that a step would reserve."""
    asked = StatedStep(session, "edit", model="dear", prompt_tokens=said, completion_tokens=0, **options)
    state = check(world.rt, session, asked)
    return said * CENT // 10 if state.estimate_nanos is None else state.estimate_nanos


# ---------------------------------------------------------------- what agents report


@pytest.mark.parametrize(
    ("steps", "said", "cost", "lie"),
    [
        pytest.param(10, 7, 7, 5_000, id="ten small exact steps, then five times the budget"),
        pytest.param(12, 60, 15, 900, id="fourfold overstated, then more than is left"),
        pytest.param(10, 17, 1, 995, id="ten tiny reports"),
        pytest.param(30, 20, 2, 950, id="thirty steps overstated tenfold"),
    ],
)
def test_reports_open_no_budget_for_a_step_that_is_said_not_to_fit(world, steps, said, cost, lie):
    session = world.start("1")
    for _ in range(steps):
        assert reported(world, session, said, cost).action is not Action.HALT
    left = world.budget(session).available
    assert left < lie * CENT // 10
    for times in (1, 5, 1_000):
        assert world.ask(session, lie * times).action is Action.HALT
    assert reported(world, session, left // (CENT // 10), 1).action is not Action.HALT, "filling it exactly is allowed"


def test_reports_in_many_sessions_open_none_of_another_client(world):
    for _ in range(60):
        reported(world, world.start("1", client="claude-code"), 525, 11)
    for client in ("claude-code", "other"):
        assert world.ask(world.start("0.30", client=client), 525).action is Action.HALT


def test_reports_alone_lower_no_reservation(world):
    session = world.start("100000")
    for said, cost in ((500, 1), (100, 1), (2_000, 5), (100, 90)) * 6:
        held = world.budget(session).reserved
        answer = world.ask(session, said)
        assert world.budget(session).reserved - held >= said * CENT // 10
        record_usage(world.rt, UsageReport(answer.call_id, Tokens(fresh_input=cost)))


def test_reports_that_steps_cost_more_than_was_said_raise_what_is_reserved(world):
    session = world.start("100000")
    for _ in range(12):
        reported(world, session, 100, 300)
    assert reserved_for(world, session, 100) > 25 * CENT


def test_reports_lower_nothing_that_observed_steps_have_taught(world):
    session = observed_session(world, 1_000_000)
    for _ in range(14):
        observed(world, session, 100, 300)
    elsewhere = world.start("100000", client="claude-code")
    before = reserved_for(world, elsewhere, 100)
    assert before > 20 * CENT, "observed first steps are few, but later ones were three times what was said"
    for _ in range(30):
        reported(world, elsewhere, 100, 1)
    other = world.start("100000", client="claude-code")
    fresh = world.with_runtime(learned=Learners())
    for each in (world, fresh):
        assert reserved_for(each, other, 100) >= before
        assert reserved_for(each, elsewhere, 100) >= before, "nor in the session that reported"


NO_SHRINKING = [Phase.generate]  # a ledger each: making a failure smaller takes minutes
# Steps of a history: what is said in tenths of a cent, how many per cent of it are taken, and who tells that.
HISTORIES = st.lists(
    st.tuples(st.integers(1, 300), st.integers(1, 110), st.sampled_from(["observed", "observed", "reported"])),
    min_size=16,
    max_size=24,
)


@settings(max_examples=12, deadline=None, phases=NO_SHRINKING)
@given(history=HISTORIES, beyond=st.integers(1, 2_000))
def test_no_history_lets_a_step_through_that_is_said_not_to_fit_and_larger_than_all_observed(
    tmp_path_factory, history, beyond
):
    world = make_world(tmp_path_factory.mktemp("history"))
    session = observed_session(world, 5)
    largest = 0
    for said, share, told in history:
        cost = max(said * share // 100, 1)
        answer = (observed if told == "observed" else reported)(world, session, said, cost)
        if told == "observed" and answer.action is not Action.HALT:
            largest = max(largest, said)
    left = max(world.budget(session).available, 0) // (CENT // 10)
    assert world.ask(session, max(left, largest * 3 // 2) + beyond, model="dear").action is Action.HALT
    world.ledger.close()


@settings(max_examples=12, deadline=None, phases=NO_SHRINKING)
@given(history=HISTORIES, asked=st.integers(1, 500))
def test_no_reports_lower_what_is_reserved(tmp_path_factory, history, asked):
    world = make_world(tmp_path_factory.mktemp("reports"))
    session = observed_session(world, 1_000)
    for said, share, _ in history:
        observed(world, session, said, max(said * share // 100, 1))
    elsewhere = world.start("100000", client="claude-code")
    before = [reserved_for(world, each, asked) for each in (session, elsewhere)]
    for said, share, _ in history:
        reported(world, world.start("100000", client="claude-code"), said, max(said * share // 400, 1))
    after = [reserved_for(world, each, asked) for each in (session, elsewhere)]
    assert all(later >= earlier for earlier, later in zip(before, after, strict=True))
    world.ledger.close()


# ---------------------------------------------------------------- what was observed


def test_observed_steps_that_were_overstated_are_reserved_at_a_share_of_what_is_said(world):
    session = observed_session(world, 100)
    for _ in range(20):
        observed(world, session, 100, 50)
    assert {each.sample.origin for each in samples(world.rt)} == {CostOrigin.OBSERVED}
    held = reserved_for(world, session, 100)
    assert 5 * CENT <= held < 7 * CENT
    assert reserved_for(world, session, 150) < 15 * CENT, "up to three halves of the largest that was observed"
    assert reserved_for(world, session, 151) >= 151 * CENT // 10, "above it counts whole"


def test_no_more_than_three_quarters_of_what_is_said_are_ever_left_out(world):
    session = observed_session(world, 100)
    for _ in range(20):
        observed(world, session, 1_000, 1)
    assert reserved_for(world, session, 1_000) == 25 * CENT


def test_a_step_said_above_what_is_left_and_above_all_that_was_observed_halts(world):
    session = observed_session(world, 1.90)
    for _ in range(20):
        observed(world, session, 1_000, 40)
    left = world.budget(session).available
    assert 50 * CENT < left < 110 * CENT
    assert observed(world, session, 1_900, 1_900).action is Action.HALT


def test_what_one_client_was_observed_to_overstate_lowers_nothing_in_another(world):
    session = observed_session(world, 100)
    for _ in range(20):
        observed(world, session, 100, 20)
    other = world.start("100", client="other")
    assert reserved_for(world, other, 100) == 10 * CENT
    reported(world, other, 100, 20)
    assert reserved_for(world, other, 100) >= 10 * CENT


def test_a_ramp_that_is_paid_in_part_reaches_no_further_than_four_times_what_is_left(world):
    session = observed_session(world, 5)
    said = 20.0
    for _ in range(40):
        left = world.budget(session).available
        answer = observed(world, session, round(said), round(said / 10))
        if answer.action is Action.HALT:
            break
        assert round(said) * CENT // 10 <= 4 * left
        said *= 1.4
    else:
        pytest.fail("the ramp was never halted")


def test_large_steps_among_small_ones_count_as_they_are_said(world):
    session = observed_session(world, 10)
    for number in range(20):
        said = 400 if number % 2 else 4
        assert observed(world, session, said, said).action is not Action.HALT
    left = world.budget(session).available // (CENT // 10)
    assert left < 6_000
    assert observed(world, session, left + 1, left + 1).action is Action.HALT


# ---------------------------------------------------------------- what an answer says of it


@pytest.mark.parametrize(
    ("steps", "cost", "said", "told"),
    [
        (0, 0, 100, None),
        (5, 290, 60, "You said $0.06; $0.29 is reserved: this session's own steps have cost that."),
        (5, 290, 145, None),
        (5, 290, 144, "You said $0.14; $0.29 is reserved: this session's own steps have cost that."),
        (20, 30, 100, f"You said $0.10; $0.03 is reserved: {LEARNED}"),
        (20, 60, 100, None),
    ],
    ids=["nothing known", "far too little", "half", "just below half", "far too much", "more than half"],
)
def test_an_answer_tells_what_else_is_reserved_than_was_said(world, steps, cost, said, told):
    session = observed_session(world, 1_000)
    for _ in range(steps):
        observed(world, session, 100, cost)
    answer = world.ask(session, said, model="dear")
    assert (answer.action, answer.message) == (Action.ALLOW, told)


# ---------------------------------------------------------------- samples know who told them


def _without_origin(key, sample, **ids):
    """A sample's row as it was kept before its origin was."""
    return {name: value for name, value in from_sample(key, sample, **ids).items() if name != "origin"}


def test_samples_from_before_count_as_reported_unless_their_calls_tell(world, monkeypatch):
    monkeypatch.setattr("tallygate.operations.learning.estimates.from_sample", _without_origin)
    session = observed_session(world, 100)
    for _ in range(3):
        observed(world, session, 100, 50)
    plain = world.start("100")
    reported(world, plain, 100, 50)
    told = [each.sample.origin for each in samples(world.rt)]
    assert sorted(told) == [CostOrigin.OBSERVED, CostOrigin.OBSERVED, CostOrigin.REPORTED]
    assert world.ledger.rows("SELECT COUNT(origin) FROM calibration_sample").fetchone() == (0,)


def test_a_report_in_a_session_whose_record_came_later_counts_as_reported(world, monkeypatch):
    monkeypatch.setattr("tallygate.operations.learning.estimates.from_sample", _without_origin)
    session = world.start("100", client="claude-code")
    answer = reported(world, session, 100, 1)
    with world.ledger.writing() as tx:
        accounts = Meter(tx)
        accounts.link(tx.session(session), "claude_code", "client-1", "registered")
        tx.append("usage.linked", accounts.changes(), by="test")
    assert world.call(answer.call_id).cost_basis == "transcript"
    assert [each.sample.origin for each in samples(world.rt)] == [CostOrigin.REPORTED]


def test_learning_anew_keeps_who_told(world):
    session = observed_session(world, 100)
    for _ in range(4):
        observed(world, session, 100, 50)
    reported(world, world.start("100"), 100, 50)
    before = {each.call_id: each.sample.origin for each in samples(world.rt) if each.key.kind == "agent"}
    rebuild(world.rt, authority=the_user("me"))
    after = {each.call_id: each.sample.origin for each in samples(world.rt) if each.key.kind == "agent"}
    assert before.items() <= after.items()
    assert list(after.values()).count(CostOrigin.REPORTED) == 1


def test_thirty_subagents_that_say_exactly_what_they_take_are_let_through_as_long_as_they_fit(world):
    session = observed_session(world, 3)
    world.clock.forward(SECOND)
    for number in range(30):
        helper = Actor(ActorType.SUBAGENT, f"a{number}", "helper")
        answer = reported(world, session, 100, 100, actor=helper)
        assert answer.action is not Action.HALT, number
        assert world.budget(session).reserved == (number + 1) * 10 * CENT or answer.call_id


# ---------------------------------------------------------------- a conversation that is read anew


@pytest.mark.parametrize(
    ("pause_s", "model", "anew"),
    [(200, "dear", False), (400, "dear", True), (10, "cheap", True), (10, "DEAR", False)],
    ids=["in the cache", "after its life", "another model", "the same, spelled otherwise"],
)
def test_what_is_said_holds_no_less_than_a_conversation_that_has_to_be_read_anew(world, pause_s, model, anew):
    session = observed_session(world, 1_000)
    world.clock.forward(SECOND)
    world.ask(session, 5, model="dear")
    row = ObservedUsage(
        client="claude_code",
        session="client-1",
        response_key="r1",
        at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us),
        model="dear",
        tokens=Tokens(cache_read=900, fresh_input=100, output=1),
        rule=Rule.CLAUDE_RESPONSE,
        project="/home/me/p",
    )
    ingest(world.rt, FileReading("claude_code", "/t/client-1", [row]))
    world.clock.forward(pause_s * SECOND)
    asked = StatedStep(session, "edit", model=model, prompt_tokens=5, completion_tokens=0)
    state = check(world.rt, session, asked)
    told = world.ask(session, 5, model=model).message or ""
    assert told.endswith("the whole conversation has to be read anew.") is anew
    a_token = NANOS // 10_000 if model == "cheap" else NANOS // 1_000
    reserved = 5 * a_token if state.estimate_nanos is None else state.estimate_nanos
    assert (reserved >= 1_001 * a_token) is anew
