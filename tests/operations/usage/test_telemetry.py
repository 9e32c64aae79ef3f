"""One response counted once, whether telemetry or a transcript tells of it; a token of `dear` is a tenth of a cent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.telling import event, payload
from tests.world import T0, make_world

from tallygate.core.costing import Tokens
from tallygate.core.errors import InvalidArgument
from tallygate.core.usage import ModelTotal, ObservedUsage, Quality, SessionCheck
from tallygate.entrypoints.cli.unread import open_questions
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.usage.ingest import FileReading, IngestResult, ingest, ingest_all, link_session
from tallygate.operations.usage.telemetry import take_logs
from tallygate.operations.views.overview import show_session
from tallygate.operations.views.usage import Anomalies, what_is_open

PROJECT = "/home/me/p"
CENTS = 10_000_000


@pytest.fixture
def live(world):
    return world.with_runtime(project=PROJECT)


@pytest.fixture
def session(live):
    """A session in the workspace, some seconds before the first response."""
    found = live.start("10", client="claude-code")
    live.clock.forward(20_000_000)
    return found


def at(seconds=0):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=T0, seconds=10 + seconds)


def written(number=1, output=100, *, seconds=0, **changes):
    """A response as its transcript has it."""
    return ObservedUsage(
        **{
            "client": "claude_code",
            "session": "client-1",
            "response_key": f"msg_{number}",
            "at": at(seconds),
            "model": "dear",
            "tokens": Tokens(output=output),
            "rule": Rule.CLAUDE_RESPONSE,
            "request_id": f"req_{number}",
            "project": PROJECT,
            **changes,
        }
    )


def read(world, *rows, **options):
    return ingest(world.rt, FileReading("claude_code", "/t/file.jsonl", rows, **options))


def tell(world, *events):
    return take_logs(world.rt, payload(*events)).taken


def stored(world):
    with world.ledger.reading() as reader:
        return list(reader.usage_between(0, 2**62))


def test_what_telemetry_tells_is_stored_once_however_often_it_is_told(world):
    assert tell(world, event(), event()) == IngestResult(new=1)
    events = world.events()
    assert tell(world, event()) == IngestResult(known=1)
    assert world.events() == events
    [row] = stored(world)
    assert (row.cost_nanos, row.session_id, row.row.native_cost_text) == (10 * CENTS, None, "0.25")


def test_a_request_of_an_exporter_without_responses_touches_nothing(world):
    heard = take_logs(world.rt, payload(event(event="user_prompt"), event(request_id=None)))
    assert (heard.taken, dict(heard.skipped)) == (IngestResult(), {"no_request_id": 1})
    assert world.events() == 0


def own(**changes):
    """A request that the client made of its own accord: no transcript has it."""
    return event(query_source="generate_session_title", **changes)


LOST = {
    "without a count": ((own(output_tokens="lots"),), {"telemetry:client-1": {"bad_count": 1}}),
    "of no session": ((own(session=None, output_tokens="lots"),), {"telemetry": {"bad_count": 1}}),
    "with too many attributes": (
        (own(**{f"a{number}": 1 for number in range(300)}),), {"telemetry": {"too_many_attributes": 1}},
    ),
    "at an impossible cost": ((own(output_tokens=10**12),), {"telemetry:client-1": {"impossible_cost": 1}}),
    "of a conversation: its transcript tells": ((event(output_tokens="lots"),), {}),
    "of no tokens": ((own(output_tokens=0),), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", LOST)
def test_what_telemetry_tells_and_cannot_be_read_is_kept_for_every_total(world, monkeypatch, case):
    monkeypatch.setattr("tallygate.operations.usage.ingest.AMOUNT_NANOS_MAX", 20 * CENTS)
    events, kept = LOST[case]
    good = own(request_id="good") if case != "of no session" else own(request_id="good", session=None)
    tell(world, *events, good)
    with world.ledger.reading() as reader:
        found = reader.unread_files()
    assert {file.path: dict(file.found.why) for file in found} == kept
    unread, _ = what_is_open(world.rt)
    lost = sum(sum(why.values()) for why in kept.values())
    assert (unread.records, unread.told, unread.files) == (lost, lost, 0)
    known = "telemetry:client-1" in kept
    assert (unread.estimated, unread.nanos) == ((1, 10 * CENTS) if known else (0, 0)), "by the rest of its session"
    if kept:
        cost = "by the rest of their sessions they cost about $0.10" if known else "what they cost is not known"
        [told] = open_questions(unread, Anomalies())
        assert told.startswith("1 record in telemetry could not be read (")
        assert cost in told


def test_losses_of_telemetry_add_up_and_stay(world):
    for number in range(3):
        tell(world, own(output_tokens="lots", sequence=number))
    read(world, written())
    assert what_is_open(world.rt)[0].why == {"bad_count": 3}


def test_a_request_that_is_sent_again_counts_its_losses_once(world, monkeypatch):
    monkeypatch.setattr("tallygate.operations.usage.ingest.AMOUNT_NANOS_MAX", 20 * CENTS)
    for number in (1, 2, 1, 1):
        lost = own(output_tokens="lots", sequence=number), own(session=None, output_tokens="lots")
        tell(world, *lost)
        tell(world, own(session="dear", output_tokens=10**12, sequence=number))
    with world.ledger.reading() as reader:
        found = {file.path: sum(file.found.why.values()) for file in reader.unread_files()}
    assert found == {"telemetry": 2, "telemetry:client-1": 2, "telemetry:dear": 2}


def test_what_is_no_request_is_refused_and_changes_nothing(world):
    with pytest.raises(InvalidArgument):
        take_logs(world.rt, b"hello")
    assert world.events() == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0, 1), (1, 0, 0, 1)])
def test_one_response_counts_once_whoever_tells_of_it_first(live, session, order):
    ways = [lambda: read(live, written(tool_use_ids=("t1",))), lambda: tell(live, event(output_tokens=100))]
    for way in order:
        ways[way]()
    [row] = stored(live)
    assert (row.row.response_key, row.row.request_id, row.row.project) == ("msg_1", "req_1", PROJECT)
    assert (row.row.rule, row.row.tool_use_ids) == (Rule.CLAUDE_RESPONSE, ("t1",))
    # Its time is that of whoever told of it first: what is booked is not moved.
    assert (row.row.native_cost_text, row.row.at) == ("0.25", at(0 if order[0] == 0 else -2))
    assert (row.session_id, live.budget(session).spent) == (session, 10 * CENTS)


@pytest.mark.parametrize("told_first", [True, False])
def test_telemetry_knows_the_end_of_a_response_of_which_only_the_start_was_written(live, session, told_first):
    begun = written(output=1, quality=Quality.PARTIAL, estimated_output=80)
    ways = [lambda: tell(live, event(output_tokens=100)), lambda: read(live, begun)]
    for way in ways if told_first else reversed(ways):
        way()
    [row] = stored(live)
    assert (row.row.quality, row.row.estimated_output, row.row.counted_by) == (
        Quality.FINAL,
        None,
        Rule.CLAUDE_TELEMETRY,
    )
    assert live.budget(session).spent == row.cost_nanos == 10 * CENTS


def test_a_response_that_only_its_transcript_could_place_is_spent_when_it_comes(live, session):
    assert tell(live, event()).attributed == 0
    assert live.budget(session).spent == 0
    assert read(live, written()) == IngestResult(corrected=1, attributed=1)
    assert live.budget(session).spent == 10 * CENTS


def test_a_session_that_a_hook_has_linked_spends_what_telemetry_tells_at_once(live, session):
    link_session(live.rt, "claude_code", "client-1", session)
    call = live.ask(session, 500).call_id
    live.clock.forward(30_000_000)
    late = at(30)
    ended_ns = (T0 + 40_000_000) * 1000
    tell_at = payload(event(output_tokens=200, duration_ms=1)).replace(b"1790000010000000000", str(ended_ns).encode())
    assert take_logs(live.rt, tell_at).taken == IngestResult(new=1, attributed=1)
    budget = live.budget(session)
    assert (budget.spent, budget.reserved) == (20 * CENTS, 30 * CENTS)
    read(live, written(output=200, at=late))
    budget = live.budget(session)
    assert (budget.spent, budget.reserved) == (20 * CENTS, 30 * CENTS)
    assert [each.call_id for each in stored(live)] == [call]


def test_the_client_s_own_requests_are_spent_and_belong_to_no_call(live, session):
    call = live.ask(session, 500).call_id
    live.clock.forward(1_000_000)
    read(live, written(seconds=15, output=50))
    own = payload(event(query_source="compact", request_id="req_c", output_tokens=300))
    later = str((T0 + 60_000_000) * 1000).encode()
    assert take_logs(live.rt, own.replace(b"1790000010000000000", later)).taken.attributed == 1
    budget = live.budget(session)
    assert (budget.spent, budget.reserved) == (35 * CENTS, 45 * CENTS)
    assert live.call(call).state == "pending"
    assert {each.row.request_id: each.call_id for each in stored(live)} == {"req_1": call, "req_c": None}
    [cause] = [each for each in show_session(live.rt, session).drift if each.kind == "own_calls"]
    assert (cause.responses, cause.nanos) == (1, 30 * CENTS)


def test_own_requests_told_before_their_session_was_known_are_counted_when_it_is(live, session):
    tell(live, event(query_source="generate_session_title", request_id="req_t", output_tokens=7))
    assert live.budget(session).spent == 0
    assert read(live, written(output=100)) == IngestResult(new=1, attributed=2)
    assert live.budget(session).spent == 10 * CENTS + 7_000_000


def test_own_requests_from_after_a_session_s_end_are_not_counted_into_it(live, session):
    live.clock.forward(-15_000_000)
    end_session(live.rt, session)
    tell(live, event(query_source="compact", request_id="req_t", output_tokens=7))
    read(live, written(seconds=-8))
    assert live.budget(session).spent == 10 * CENTS
    assert [each.session_id for each in stored(live)].count(None) == 1


def test_a_request_that_a_transcript_has_after_all_is_no_longer_the_client_s_own(live, session):
    tell(live, event(query_source="agent_summary"))
    read(live, written(agent_id="a1", rule=Rule.CLAUDE_SUBAGENT))
    assert [each.row.rule for each in stored(live)] == [Rule.CLAUDE_SUBAGENT]
    assert live.budget(session).spent == 10 * CENTS


def test_a_message_without_an_id_is_named_by_its_request_in_both(live, session):
    tell(live, event())
    read(live, written(response_key="request:req_1"))
    assert [each.row.rule for each in stored(live)] == [Rule.CLAUDE_RESPONSE]
    assert live.budget(session).spent == 10 * CENTS


def test_an_advisor_s_part_of_a_request_counts_beside_it(live, session):
    tell(live, event())
    advice = written(response_key="msg_1#advisor0", rule=Rule.CLAUDE_ADVISOR, output=5)
    read(live, advice)
    read(live, written(), advice)
    tell(live, event())
    assert sorted(each.row.tokens.output for each in stored(live)) == [5, 100]
    assert live.budget(session).spent == 10 * CENTS + 5_000_000


def test_a_copy_in_a_side_conversation_stands_under_its_message_and_not_under_its_request(live, session):
    copy = written(rule=Rule.CLAUDE_SIDECHAIN, request_id="req_7")
    tell(live, event(), event(request_id="req_7", query_source="side_question", output_tokens=9))
    read(live, copy)
    read(live, written())
    read(live, copy)
    outputs = {each.row.response_key: each.row.tokens.output for each in stored(live)}
    assert outputs == {"msg_1": 100, "request:req_7": 9}
    assert live.budget(session).spent == 10 * CENTS + 9_000_000


def test_a_response_in_several_files_and_in_telemetry_counts_once(live, session):
    fork = written(session="client-2", project=PROJECT + "/sub")
    for step in (lambda: read(live, fork), lambda: tell(live, event()), lambda: read(live, written())) * 2:
        step()
    assert len(stored(live)) == 1
    assert live.budget(session).spent == 10 * CENTS


def test_rows_that_are_told_and_written_may_come_in_one_batch(live, session):
    told = written(response_key="request:req_1", rule=Rule.CLAUDE_TELEMETRY, project=None)
    own = written(9, 4, response_key="request:req_9", rule=Rule.CLAUDE_AUXILIARY, project=None)
    assert read(live, own, told, written()) == IngestResult(new=2, attributed=2)
    assert live.budget(session).spent == 10 * CENTS + 4_000_000


def test_a_request_whose_cost_is_impossible_is_not_stored(world, monkeypatch):
    monkeypatch.setattr("tallygate.operations.usage.ingest.AMOUNT_NANOS_MAX", 1)
    assert tell(world, event(output_tokens=10**12)) == IngestResult(refused=1)
    assert stored(world) == []


def seen(number, output, **changes):
    quality = Quality.FINAL if output == 10 + number else Quality.PARTIAL
    return written(number, output, quality=quality, **changes)


def told(number, output, rule=Rule.CLAUDE_TELEMETRY, **changes):
    return written(number, output, response_key=f"request:req_{number}", rule=rule, project=None, seconds=-2, **changes)


SIDE = {"rule": Rule.CLAUDE_SIDECHAIN, "request_id": "req_7", "session": "client-2"}
WAYS = [
    *(seen(number, output) for number in (1, 2) for output in (3, 10 + number)),
    *(seen(number, 10 + number, session="client-2") for number in (1, 2)),
    *(replace(seen(number, 10 + number), **SIDE) for number in (1, 2)),
    *(told(number, 10 + number) for number in (1, 2)),
    told(7, 5, rule=Rule.CLAUDE_AUXILIARY),
    told(8, 6, rule=Rule.CLAUDE_AUXILIARY),
]


@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_told_in_whatever_order_every_response_counts_once(data, tmp_path_factory):
    ways = data.draw(st.lists(st.sampled_from(WAYS), min_size=1, max_size=12))
    # What is copied was written before, wherever that is read.
    ways += [seen(int(row.response_key[-1]), 3) for row in ways if row.rule is Rule.CLAUDE_SIDECHAIN]
    ways = data.draw(st.permutations(ways))
    world = make_world(tmp_path_factory.mktemp("w")).with_runtime(project=PROJECT)
    session = world.start("10", client="claude-code")
    world.clock.forward(20_000_000)
    # One that is always there, so that the client's session is known.
    rest = [*ways, seen(3, 13)]
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        ingest_all(world.rt, [FileReading("claude_code", "/t", [row]) for row in rest[:size]])
        rest = rest[size:]
    expected = {"msg_3": 13}
    for row in ways:
        name = row.response_key if row.rule is Rule.CLAUDE_AUXILIARY else f"msg_{row.request_id[-1]}"
        if row.rule is Rule.CLAUDE_SIDECHAIN:
            name = row.response_key
        expected[name] = max(expected.get(name, 0), row.tokens.output)
    outputs: dict[str, int] = {}
    for each in stored(world):
        key = each.row.response_key
        if each.row.rule is Rule.CLAUDE_TELEMETRY:
            key = f"msg_{key[-1]}"
        assert key not in outputs
        outputs[key] = each.row.tokens.output
    assert outputs == expected
    assert world.budget(session).spent == sum(outputs.values()) * 1_000_000
    assert not world.problems()
    world.ledger.close()


def check(total, *, includes=(), output=None, session="client-1"):
    tokens = Tokens(output=total if output is None else output)
    return SessionCheck("claude_code", session, (ModelTotal("dear", tokens, 0, "1"),), "1", False, includes)


def unseen(world, session):
    return [cause for cause in show_session(world.rt, session).drift if cause.kind == "unseen"]


@pytest.mark.parametrize(
    ("stated", "nanos", "words"),
    [
        (check(100), None, None),
        (check(130), 3 * CENTS, "30 tokens more"),
        (check(90), None, "10 tokens below"),
        (check(130, includes=("client-0",)), None, "forked from"),
    ],
)
def test_a_client_s_own_total_that_differs_is_named_with_its_reason(live, session, stated, nanos, words):
    read(live, written(), position={"offset": 1}, checks=[stated])
    found = unseen(live, session)
    assert [cause.nanos for cause in found] == ([] if words is None else [nanos])
    assert all(words in cause.text for cause in found)


def test_what_telemetry_told_makes_the_client_s_own_total_agree(live, session):
    read(live, written(), position={"offset": 1}, checks=[check(107)])
    assert len(unseen(live, session)) == 1
    own = payload(event(query_source="compact", request_id="req_c", output_tokens=7))
    take_logs(live.rt, own)
    assert unseen(live, session) == []


def test_the_last_total_of_a_session_counts_and_one_it_has_outgrown_says_nothing(live, session):
    read(live, written(), position={"offset": 1}, checks=[check(150), check(120)])
    [cause] = unseen(live, session)
    assert "50 tokens more" in cause.text
    read(live, written(2, seconds=60))
    assert unseen(live, session) == []
    live.clock.forward(100_000_000)
    read(live, checks=[check(210)])
    [cause] = unseen(live, session)
    assert "10 tokens more" in cause.text
