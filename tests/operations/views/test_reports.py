"""What an agent reports of itself is booked as it says, called reported, and named where nobody need believe it.

Amounts: a token of `dear` is a tenth of a cent, one of `cheap` a hundredth.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.reading_rules import Rule
from tests.world import MINUTE, as_said

from tallygate.core.bills.causes import CauseKind
from tallygate.core.costing import Tokens
from tallygate.core.errors import Conflict
from tallygate.core.usage import BROKEN_OFF, ModelTotal, ObservedUsage, Quality, SessionCheck
from tallygate.core.words import UsageBasis
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.proof.statements import summed
from tallygate.operations.proof.verify import OutsideEvidence, verify_ledger
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.operations.views.overview import show_session
from tallygate.operations.views.usage import Anomalies, UsageWanted, list_usage, what_is_open
from tallygate.reports.usage import ALWAYS_US, By

PROJECT = "/home/me/p"


@pytest.fixture
def world(world):
    return as_said(world).with_runtime(project=PROJECT)


def report(world, call, tokens, **options):
    return record_usage(world.rt, UsageReport(call, Tokens(tokens), **options))


def odd(world, session):
    with world.ledger.reading() as reader:
        return [(each.kind, each.told) for each in reader.call_anomalies(99, session)]


def respond(world, tokens, key="r1", *, client="claude_code", **options):
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us)
    row = ObservedUsage(
        client, "client-1", key, at, "dear", Tokens(tokens), Rule.CLAUDE_RESPONSE, project=PROJECT, **options
    )
    ingest(world.rt, FileReading(client, "/t", [row], checks=()))


def logged(world):
    return [json.loads(line) for line in world.rt.workspace.run_log_path.read_text().splitlines()]


# ---------------------------------------------------------------- who told


def test_an_agents_own_report_is_recorded_and_not_exact(world):
    session = world.start("10")
    answer = report(world, world.ask(session, 100).call_id, 90)
    assert (answer.exactness, answer.basis) == ("exact_recorded", UsageBasis.REPORTED)
    totals = end_session(world.rt, session)
    assert (totals.exactness, totals.confidence) == ("fully_exact_for_supported_calls", "partial_exact")
    assert (totals.basis, totals.stated) == (UsageBasis.REPORTED, "partial_exact")
    (line,) = logged(world)
    assert (line["savings_confidence"], line["usage_basis"]) == ("partial_exact", "reported")
    assert line["records"][0]["usage_basis"] == "reported"


def test_what_the_client_wrote_down_is_observed_and_exact(world):
    session = world.start("10", client="claude-code")
    call = world.ask(session, 100).call_id
    world.clock.forward(1_000_000)
    respond(world, 90)
    assert report(world, call, 1).basis is UsageBasis.OBSERVED, "the report books nothing"
    totals = end_session(world.rt, session)
    assert (totals.exactness, totals.confidence, totals.basis) == (
        "fully_exact_for_supported_calls",
        "exact",
        UsageBasis.OBSERVED,
    )
    assert odd(world, session) == [], "what counts was observed"


@pytest.mark.parametrize(
    "tokens, basis",
    [([], "estimated"), ([None], "estimated"), ([90], "reported"), ([90, 90], "reported"), ([90, None], "mixed")],
)
def test_a_session_says_who_told_what_its_calls_used(world, tokens, basis):
    session = world.start("10")
    for used in tokens:
        call = world.ask(session, 100).call_id
        if used is not None:
            report(world, call, used)
    totals = end_session(world.rt, session)
    assert totals.basis == basis
    assert totals.confidence != "exact"
    assert sum(totals.nanos_by_basis.values()) == totals.total_nanos


def test_a_signed_total_says_what_of_it_was_observed(world):
    session = world.start("10")
    report(world, world.ask(session, 100).call_id, 90)
    world.ask(session, 50)
    end_session(world.rt, session)
    with world.ledger.reading() as reader:
        said = summed(reader, reader.session(session), reader.head())
    assert (said["exactness"], said["usageBasis"]) == ("partial_exact", "mixed")
    assert said["usageBy"] == {"estimated": "0.05", "reported": "0.09"}


def test_no_report_makes_a_share_of_spending_exact(world):
    session = world.start("10")
    report(world, world.ask(session, 100).call_id, 90)
    wanted = UsageWanted(-ALWAYS_US, ALWAYS_US)
    (line,) = list_usage(world.rt, wanted, by=By.SESSION, zone=UTC, limit=9).lines
    assert (line.whole.nanos, line.whole.exact_nanos) == (90_000_000, 0)


# ---------------------------------------------------------------- what nobody need believe


# what was asked for, what was reported -> what is odd
@pytest.mark.parametrize(
    "asked, used, model, expected",
    [
        (100, 100, None, []),
        (100, 10, None, []),
        (100, 9, None, [("far_below", "$0.0090 reported, $0.10 asked for")]),
        (100, 0, None, [("far_below", "$0.00 reported, $0.10 asked for")]),
        (0, 0, None, []),
        (100, 100, "ollama/foo", [
            ("far_below", "$0.0033 reported, $0.10 asked for"), ("local_model", "ollama/foo reported, dear asked for"),
        ]),
        (100, 100, "cheap", []),
        (100, 99, "cheap", [("far_below", "$0.0099 reported, $0.10 asked for")]),
    ],
)  # fmt: skip
def test_a_report_far_below_what_was_asked_for_or_of_a_local_model_is_odd(world, asked, used, model, expected):
    session = world.start("10")
    report(world, world.ask(session, asked).call_id, used, model_used=model)
    assert odd(world, session) == expected


def test_a_call_asked_at_a_local_model_is_reported_at_none(world):
    session = world.start("10", model="ollama/foo")
    report(world, world.ask(session, 100).call_id, 100)
    assert odd(world, session) == []


@pytest.mark.parametrize("used, expected", [(100, []), (25, []), (24, ["late_below"]), (0, ["late_below"])])
def test_a_late_report_far_below_what_was_booked_is_odd(world, used, expected):
    session = world.start("10")
    call = world.ask(session, 100).call_id
    world.clock.forward(11 * MINUTE)
    world.ask(session, 1)
    report(world, call, used)
    assert [kind for kind, _ in odd(world, session)] == expected


def test_many_voids_in_a_row_are_told_and_told_again_each_time_they_have_doubled(world):
    session = world.start("10")
    for _ in range(4):
        void_call(world.rt, world.ask(session, 100).call_id, "not needed")
    report(world, world.ask(session, 100).call_id, 100)
    assert odd(world, session) == []
    for _ in range(21):
        void_call(world.rt, world.ask(session, 100).call_id, "not needed")
    assert [told for _, told in odd(world, session)] == [
        f"{count} calls in a row did not happen" for count in (5, 10, 20)
    ]


def test_a_session_voided_down_to_nothing_is_named_in_session_drift_run_log_and_the_signed_summary(world):
    session = world.start("10")
    for _ in range(3):
        report(world, world.ask(session, 500).call_id, 0)
    view = show_session(world.rt, session)
    assert len(view.anomalies) == 3
    (cause,) = [cause for cause in view.drift if cause.kind is CauseKind.DOUBTFUL]
    assert cause.text == "the agent's own reports of calls that it had estimated at $1.50 are odd: 3 far below"
    end_session(world.rt, session)
    (line,) = logged(world)
    assert [each["kind"] for each in line["anomalies"]] == ["far_below"] * 3
    with world.ledger.reading() as reader:
        assert len(summed(reader, reader.session(session), reader.head())["anomalies"]) == 3
    assert what_is_open(world.rt)[1] == Anomalies(responses=0, reports=3)
    assert any("3 of agents' reports" in note for note in verify_ledger(world.ledger.path, OutsideEvidence({})).notes)


def test_the_same_report_again_is_told_once(world):
    session = world.start("10")
    call = world.ask(session, 100).call_id
    for _ in range(2):
        report(world, call, 1)
    with pytest.raises(Conflict):
        report(world, call, 2)
    assert len(odd(world, session)) == 1


# ---------------------------------------------------------------- calls without a response


@pytest.mark.parametrize(
    "how",
    [
        {"odd": (BROKEN_OFF,)},
        {"quality": Quality.PARTIAL},
    ],
)
def test_a_total_with_a_response_that_broke_off_is_not_exact(world, how):
    session = world.start("10", client="claude-code")
    world.ask(session, 100)
    world.clock.forward(1_000_000)
    respond(world, 90, **how)
    totals = end_session(world.rt, session)
    assert (totals.exactness, totals.confidence) == ("partial_exact", "partial_exact")


@pytest.mark.parametrize("stated, exact", [(90, True), (91, False), (89, True)])
def test_a_total_below_the_clients_own_is_not_exact(world, stated, exact):
    session = world.start("10", client="claude-code")
    world.clock.forward(1_000_000)
    respond(world, 90)
    world.clock.forward(1_000_000)
    check = SessionCheck("claude_code", "client-1", (ModelTotal("dear", Tokens(stated), 0, None),), None, None)
    ingest(world.rt, FileReading("claude_code", "/t", [], {"any": 1}, checks=[check]))
    totals = end_session(world.rt, session)
    assert (totals.confidence == "exact") is exact
