"""The ledger's own sessions gone through again: those that clients wrote down, and those whose agents said a number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.reading_rules import Rule
from tests.world import NANOS, T0

from tallygate.core.costing import Tokens
from tallygate.core.learning.calibration import EstimateKind
from tallygate.core.learning.replay import Gate
from tallygate.core.usage import ObservedUsage, Quality
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.learning.replay import BacktestProgress, ReplayPeriod, backtest
from tallygate.operations.usage.ingest import FileReading, ingest

CENT = NANOS // 100
ALWAYS = ReplayPeriod(-(2**62), 2**62)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def observed(world, session, cents, *, after=timedelta(0), **options):
    """Responses of one session, a second apart; a thousand tokens cost a cent."""
    rows = [
        ObservedUsage(
            client="claude_code",
            session=session,
            response_key=f"{session}-{at}-{options.get('agent_id')}",
            at=EPOCH + timedelta(microseconds=T0) + after + timedelta(seconds=at),
            model="cents",
            tokens=Tokens(output=each * 1_000),
            rule=options.get("rule", Rule.CLAUDE_RESPONSE),
            project="/home/me/p",
            **{name: value for name, value in options.items() if name != "rule"},
        )
        for at, each in enumerate(cents)
    ]
    ingest(world.rt, FileReading("claude_code", f"/t/{session}", rows))


def parts(found):
    return {part.kind: part for part in found.parts}


def test_an_empty_ledger_has_nothing_to_go_through(world):
    assert backtest(world.rt, ALWAYS).parts == ()


def test_sessions_that_clients_wrote_down_are_gone_through_as_their_hooks_would_have_asked(world):
    for at in range(5):
        observed(world, f"s{at}", [10] * 40, after=timedelta(hours=at))
    events = world.events()
    told = []
    found = backtest(world.rt, ALWAYS, budget_nanos=305 * CENT, progress=told.append)
    [part] = found.parts
    assert part.kind is EstimateKind.HOOK
    assert part.accuracy.asks == 200
    assert part.figures[Gate.ORACLE].sessions == part.figures[Gate.ORACLE].binding == 5
    # Thirty steps of ten cents fit: what costs the same again and again is known at once.
    assert part.figures[Gate.LEARNED].over_mean == 0
    assert part.figures[Gate.LEARNED].unused_mean == part.figures[Gate.ORACLE].unused_mean == 16_393
    assert told == [BacktestProgress(done, 5) for done in range(1, 6)]
    assert world.events() == events, "nothing is written"


def test_sessions_whose_agents_said_a_number_are_gone_through_by_it(world):
    session = world.start("1000")
    for _ in range(30):
        answer = world.ask(session, 10)
        record_usage(world.rt, UsageReport(answer.call_id, Tokens(fresh_input=30)))
    part = parts(backtest(world.rt, ALWAYS, budget_nanos=60 * CENT))[EstimateKind.AGENT]
    assert part.accuracy.asks == 30
    assert part.accuracy.off_said == pytest.approx(3_000_000, rel=1e-4)
    assert part.figures[Gate.SUM].over_mean == 500_000, "sixty steps were said to fit, and all thirty were made"
    assert part.figures[Gate.LEARNED].over_mean < part.figures[Gate.SUM].over_mean


def test_without_a_budget_sessions_have_what_three_of_four_stay_within(world):
    for at in range(12):
        observed(world, f"s{at:02}", [10] * (at + 1), after=timedelta(hours=at))
    [part] = backtest(world.rt, ALWAYS).parts
    assert (part.figures[Gate.ORACLE].sessions, part.figures[Gate.ORACLE].binding) == (12, 2)


def test_only_the_period_that_is_asked_for_is_gone_through(world):
    for at in range(3):
        observed(world, f"s{at}", [10] * 4, after=timedelta(days=20 * at))
    day = 86_400_000_000
    [part] = backtest(world.rt, ReplayPeriod(T0 + 10 * day, T0 + 40 * day)).parts
    assert (part.figures[Gate.ORACLE].sessions, part.accuracy.asks) == (1, 4)
    [part] = backtest(world.rt, ReplayPeriod(T0 + 10 * day, T0 + 40 * day + 1)).parts
    assert (part.figures[Gate.ORACLE].sessions, part.accuracy.asks) == (2, 5)


def test_a_subagent_is_part_of_the_session_that_started_it(world):
    observed(world, "main", [10, 10])
    observed(world, "main", [20, 20], agent_id="a", after=timedelta(milliseconds=1))
    observed(world, "own", [20, 20], agent_id="b", parent_session="main", after=timedelta(milliseconds=2))
    [part] = backtest(world.rt, ALWAYS, budget_nanos=99 * CENT).parts
    assert (part.figures[Gate.ORACLE].sessions, part.figures[Gate.ORACLE].binding) == (1, 1)


def test_what_is_no_call_of_a_conversation_is_paid_but_not_estimated(world):
    observed(world, "s", [10, 10])
    observed(world, "s", [50], rule=Rule.CLAUDE_AUXILIARY, agent_id="x", after=timedelta(milliseconds=1))
    observed(world, "s", [500], quality=Quality.SESSION_TOTAL, agent_id="y", after=timedelta(milliseconds=2))
    [part] = backtest(world.rt, ALWAYS, budget_nanos=69 * CENT).parts
    assert part.accuracy.asks == 2
    assert part.figures[Gate.ORACLE].binding == 1
    [part] = backtest(world.rt, ALWAYS, budget_nanos=70 * CENT).parts
    assert part.figures[Gate.ORACLE].binding == 0
