"""The work that a step takes: few statements, whatever the ledger holds, and none for what is not in question."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import hook_event, make_world

from tallygate.core.costing import Tokens
from tallygate.core.hooks import Moment, SessionOrigin
from tallygate.core.learning.steps import PastStep, of_actor, read_anew
from tallygate.core.model import Actor
from tallygate.core.moments import as_datetime
from tallygate.core.usage import ObservedUsage, priced_as
from tallygate.core.words import ActorType
from tallygate.ledger.port import MoreIsAsked
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.hooks import answer_hook
from tallygate.operations.learning.estimates import STEPS_LOOKED_AT, anew_nanos, history_of_step
from tallygate.operations.sessions.opening import open_session_of
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.pricing.identity import same_model

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
CLIENT = "claude_code"


def live_session(world, name="s"):
    """A session whose client writes down what it uses."""
    rich = world.with_runtime(session_limit_nanos=10**15, project="/home/me/p")
    start = hook_event(CLIENT, Moment.SESSION_START, name, "SessionStart", origin=SessionOrigin.STARTUP, model="dear")
    answer_hook(rich.rt, start)
    return open_session_of(world.rt, CLIENT, name).session_id


def response(number, at_us, **told):
    return ObservedUsage(
        client=CLIENT,
        session="s",
        response_key=f"r{number}",
        at=EPOCH + timedelta(microseconds=at_us),
        project="/home/me/p",
        **{"model": "dear", "rule": Rule.CLAUDE_RESPONSE, "tokens": Tokens(cache_read=90, output=1), **told},
    )


class Counted:
    """How many statements ran, and how much work they were to the database, in its own instructions."""

    def __init__(self, ledger):
        self._connection = ledger._connection
        self.statements = []
        self.instructions = 0

    def _instruction(self):
        self.instructions += 1
        return 0

    def __enter__(self):
        self._connection.set_trace_callback(self.statements.append)
        self._connection.set_progress_handler(self._instruction, 1)
        return self

    def __exit__(self, *_):
        self._connection.set_trace_callback(None)
        self._connection.set_progress_handler(None, 1)


def counted_step(folder, *, calls, responses):
    """What one more step takes in a session of so many calls and responses."""
    world = make_world(folder)
    session = live_session(world)
    rows = [response(number, world.clock.at_us + number) for number in range(responses)]
    ingest(world.rt, FileReading(CLIENT, "/t/s", rows))
    world.clock.forward(SECOND)
    for _ in range(calls):
        world.ask(session, 1)
    with Counted(world.ledger) as counted:
        assert world.ask(session, 1).call_id is not None
    world.ledger.close()
    return counted


def test_a_step_takes_as_much_in_a_long_session_as_in_a_short_one(tmp_path):
    for name in ("short", "long"):
        (tmp_path / name).mkdir()
    short = counted_step(tmp_path / "short", calls=30, responses=30)
    long = counted_step(tmp_path / "long", calls=300, responses=300)
    assert long.instructions <= short.instructions * 105 // 100
    assert len(long.statements) == len(short.statements)


def test_a_step_that_nothing_is_due_for_takes_eight_statements(tmp_path):
    counted = counted_step(tmp_path, calls=5, responses=5)
    # A look at its history, and a transaction: how things stand, the session; budget, call, event.
    assert len(counted.statements) <= 8, counted.statements


def test_a_look_at_a_steps_history_tells_what_a_view_tells_and_nothing_else(world):
    session = world.start("1000")
    for tokens in (1, 5, 3):
        for actor in (Actor(), Actor(ActorType.SUBAGENT, "a1")):
            call = world.ask(session, 10, actor=actor)
            record_usage(world.rt, UsageReport(call.call_id, Tokens(fresh_input=tokens)))
    for actor in (Actor(), Actor(ActorType.SUBAGENT, "a1"), Actor(ActorType.SUBAGENT, "a2")):
        glance = history_of_step(world.rt, session, actor, "openai:dear")
        with world.ledger.reading() as reader:
            agent = actor.id or ""
            assert glance.levels(session, agent, 16) == reader.levels(session, agent, 16)
            assert glance.calibration_state() == reader.calibration_state()
            assert glance.calibration_factor("openai:dear") is None
            assert len(glance.levels(session, agent, 16)) == (0 if agent == "a2" else 3)
        with pytest.raises(MoreIsAsked):
            glance.session(session)


OPUS = "claude-opus-4-7"
MODELS = (OPUS, OPUS, OPUS.upper(), "claude-haiku-4-5", "")
AGENTS = (None, "a1", "a2")
steps = st.lists(
    st.tuples(
        st.integers(1, 900 * SECOND),  # after the one before
        st.sampled_from(AGENTS),
        st.sampled_from(MODELS),
        st.sampled_from([Rule.CLAUDE_RESPONSE, Rule.CLAUDE_AUXILIARY]),
        st.sampled_from([Tokens(fresh_input=7), Tokens(cache_write_5m=70), Tokens(cache_write_1h=80, output=3)]),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """One world for all examples, each of which has a session of its own."""
    made = make_world(tmp_path_factory.mktemp("lasting"))
    yield made
    made.ledger.close()


@settings(max_examples=150)
@given(steps=steps, pause_us=st.sampled_from([1, 300 * SECOND, 300 * SECOND + 1, 3_600 * SECOND, 3_601 * SECOND]))
def test_what_has_to_be_read_anew_follows_from_the_last_responses_of_a_session(lasting, steps, pause_us):
    world, name = lasting, lasting.rt.services.new_token(4)
    world.clock.forward(SECOND)
    session = live_session(world, name)
    rows = []
    for number, (after_us, agent_id, model, rule, tokens) in enumerate(steps):
        world.clock.forward(after_us)
        told = {"agent_id": agent_id, "model": model, "rule": rule, "tokens": tokens}
        rows.append(replace(response(f"{name}-{number}", world.clock.at_us, **told), session=name))
    ingest(world.rt, FileReading(CLIENT, f"/t/{name}", rows))
    world.clock.forward(pause_us)
    at_us, price = world.clock.at_us, world.rt.workspace.prices.quote(OPUS, as_datetime(world.clock.at_us), None)
    with world.ledger.reading() as reader:  # as they are kept: one without a model counts as its session's others
        kept = [stored.row for stored in reader.usage_of(session)]
    last = [row for row in kept if row.rule != Rule.CLAUDE_AUXILIARY][-STEPS_LOOKED_AT:]
    for agent in AGENTS:
        mine = of_actor([PastStep(row, 0) for row in last], agent)
        forgotten = bool(mine) and not same_model(priced_as(mine[-1].row), OPUS)
        expected = read_anew(mine, as_datetime(at_us), forgotten=forgotten)
        actor = Actor() if agent is None else Actor(ActorType.SUBAGENT, agent)
        glance = history_of_step(world.rt, session, actor, OPUS)
        with world.ledger.reading() as reader:
            found = anew_nanos(reader, session, actor, OPUS, price, at_us=at_us)
            assert glance.last_served(session, agent, 1) == reader.last_served(session, agent, STEPS_LOOKED_AT)
        assert found == (0 if expected is None else price.cost_nanos(expected))
