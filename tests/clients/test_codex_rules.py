"""How Codex rollouts become rows; each test is named after its rule."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clients.making import (
    OLD_TURN,
    OWN_TURN,
    PARENT,
    THREAD,
    codex,
    counted,
    lines,
    meta,
    recorded,
    rows_in,
    started,
    taken,
    total,
    turn,
    usage,
)
from tests.reading_rules import Rule

from tallygate.clients.codex.transcripts import CodexReader, discover, locations, read, reader_of
from tallygate.clients.reading.files import TranscriptFile
from tallygate.clients.reading.lines import Skip
from tallygate.core.costing import Tokens
from tallygate.core.usage import merged

LONG = "resp_0123456789abcdef01234567"


def reader() -> CodexReader:
    return CodexReader(thread="from-the-file-name")


def call(call_id: str, kind: str = "function_call") -> dict[str, object]:
    return codex("response_item", {"type": kind, "name": "shell", "arguments": '{"call_id":"no"}', "call_id": call_id})


def test_cached_is_inside_input_and_reasoning_inside_output():
    (row,) = taken(reader(), meta(), turn("gpt-5.4"), counted(usage(100, 60, 30, 20), usage(100, 60, 30, 20)))
    assert (row.tokens, row.reasoning) == (Tokens(40, 60, 0, 0, 30), 20)
    assert (row.session, row.model, row.version, row.rule) == (THREAD, "gpt-5.4", "0.118.0", Rule.CODEX_LAST)


def test_cache_writes_are_inside_input_too():
    used = usage(100, 60, 30) | {"cache_write_input_tokens": 25}
    assert taken(reader(), meta(), counted(used, used))[0].tokens == Tokens(15, 60, 25, 0, 30)


def test_last_usage_counts_only_when_the_total_moves():
    first, second = usage(100, 0, 10), usage(250, 50, 30)
    rows = taken(
        reader(),
        meta(),
        counted(first, usage(100, 0, 10)),
        counted(first, usage(100, 0, 10), 11),
        counted(first, {"total_tokens": 6055}, 12),
        counted(None, None, 13),
        counted(second, usage(150, 50, 20), 14),
        counted(second, usage(150, 50, 20), 15),
    )
    assert len(rows) == 2
    assert total(rows) == Tokens(200, 50, 0, 0, 30)


def test_where_last_and_total_disagree_the_movement_of_the_total_counts():
    rows = taken(
        reader(), meta(), counted(usage(100, 0, 10), usage(100, 0, 10)), counted(usage(400, 0, 40), usage(100, 0, 10))
    )
    assert total(rows).total == 440
    assert Rule.CODEX_DELTA in {row.rule for row in rows}


def test_a_total_that_starts_anew_is_counted_by_its_last_usage():
    rows = taken(
        reader(), meta(), counted(usage(900, 0, 90), usage(900, 0, 90)), counted(usage(50, 0, 5), usage(50, 0, 5))
    )
    assert total(rows).total == 990 + 55


def test_a_total_set_to_the_window_size_brings_nothing():
    full = {"total_tokens": 258400}
    rows = taken(
        reader(),
        meta(),
        counted(usage(900, 0, 90), usage(900, 0, 90)),
        counted(full, {"total_tokens": 257410}),
        counted(usage(30, 0, 3) | full, usage(30, 0, 3)),
    )
    assert total(rows).total == 990 + 33


def test_a_first_total_that_already_holds_more_is_counted_by_its_last_usage():
    (row,) = taken(reader(), meta(), counted(usage(5000, 0, 500), usage(100, 0, 10)))
    assert row.tokens.total == 110


def fork(*own: dict[str, object], turn_id: str = OLD_TURN, own_turn: str = OWN_TURN) -> list[dict[str, object]]:
    """A forked thread that replays two of its parent's responses, then goes on by itself."""
    return [
        meta(forked_from_id=PARENT),
        meta(PARENT),
        started(turn_id),
        turn("gpt-5.4", turn_id),
        counted(usage(100, 0, 10), usage(100, 0, 10), 0),
        counted(usage(300, 0, 30), usage(200, 0, 20), 0),
        started(own_turn),
        turn("gpt-5.5", own_turn, 1),
        *own,
    ]


def test_a_fork_does_not_count_what_it_replays_of_its_parent():
    it = reader()
    (row,) = taken(it, *fork(counted(usage(450, 0, 45), usage(150, 0, 15), 9)))
    assert (row.tokens.total, row.session, row.parent_session, row.model) == (165, THREAD, PARENT, "gpt-5.5")
    assert it.report.skipped[Skip.INHERITED] == 2


def test_a_fork_counts_its_first_own_response_however_soon_it_comes():
    (row,) = taken(reader(), *fork(counted(usage(450, 0, 45), usage(150, 0, 15), 0)))
    assert row.tokens.total == 165


def test_a_fork_whose_turns_have_no_time_in_their_ids_begins_after_the_first_pause():
    rows = taken(reader(), *fork(counted(usage(450, 0, 45), usage(150, 0, 15), 6), turn_id="1", own_turn="2"))
    assert total(rows).total == 165


def test_a_copied_session_meta_does_not_rename_the_thread():
    rows = taken(reader(), *fork(counted(usage(450, 0, 45), usage(150, 0, 15), 9), meta(PARENT, cli_version="9")))
    assert [(row.session, row.version) for row in rows] == [(THREAD, "0.118.0")]


def test_a_subagent_that_replays_nothing_counts_from_its_first_response():
    source = {"subagent": {"thread_spawn": {"parent_thread_id": PARENT, "depth": 1}}}
    rows = taken(reader(), meta(source=source), started(OWN_TURN), counted(usage(100, 0, 10), usage(100, 0, 10), 0))
    assert [(row.tokens.total, row.agent_id, row.parent_session) for row in rows] == [(110, THREAD, PARENT)]


def test_a_review_subagent_names_its_parent_elsewhere():
    head = meta(source={"subagent": "review"}, parent_thread_id=PARENT, thread_source="subagent")
    (row,) = taken(reader(), head, started(OWN_TURN), counted(usage(9), usage(9)))
    assert (row.agent_id, row.parent_session) == (THREAD, PARENT)


def test_the_model_is_that_of_the_latest_turn_context():
    rows = taken(
        reader(),
        meta(),
        turn("gpt-5.4"),
        counted(usage(1), usage(1)),
        turn("gpt-5.5"),
        counted(usage(3), usage(2)),
    )
    assert {row.model: row.tokens.total for row in rows} == {"gpt-5.4": 1, "gpt-5.5": 2}


def test_without_a_model_gpt_5_is_assumed():
    assert [row.model for row in taken(reader(), meta(), counted(usage(1), usage(1)))] == ["gpt-5"]


def test_the_service_tier_comes_from_the_latest_settings_that_name_one():
    def applied(**settings: object) -> dict[str, object]:
        return codex("event_msg", {"type": "thread_settings_applied", "thread_settings": settings})

    rows = taken(
        reader(),
        meta(),
        counted(usage(1), usage(1)),
        applied(service_tier="priority"),
        counted(usage(2), usage(1)),
        applied(model="gpt-5.4"),
        counted(usage(3), usage(1)),
        applied(service_tier="some-new-tier"),
        counted(usage(4), usage(1)),
    )
    assert [row.tier for row in rows] == [None, "priority", "priority", None]


def test_a_usage_record_and_the_count_that_follows_are_one_response():
    one, two = usage(100, 0, 10), usage(300, 0, 30)
    rows = taken(
        reader(),
        meta(),
        recorded(LONG, usage(100, 0, 10), one),
        counted(one, usage(100, 0, 10)),
        counted(one, usage(100, 0, 10)),
        recorded(LONG + "b", usage(200, 0, 20), two),
        counted(two, usage(200, 0, 20)),
    )
    assert [(row.response_key, row.tokens.total, row.rule) for row in rows] == [
        (LONG, 110, Rule.CODEX_RECORD),
        (LONG + "b", 220, Rule.CODEX_RECORD),
    ]


def test_a_count_that_comes_before_its_record_is_not_counted_again():
    one = usage(100, 0, 10)
    rows = taken(reader(), meta(), counted(one, one), recorded(LONG, one, one))
    assert total(rows).total == 110


def test_a_remote_compaction_stands_in_its_record_only():
    rows = taken(
        reader(),
        meta(),
        counted(usage(100, 0, 10), usage(100, 0, 10)),
        recorded(LONG, usage(70, 0, 7)),
        codex("compacted", {"message": "", "compaction_response_id": LONG}),
        counted(usage(100, 0, 10), {"total_tokens": 6055}),
        counted(usage(300, 0, 30), usage(200, 0, 20)),
    )
    assert total(rows).total == 110 + 77 + 220


def test_a_local_compaction_stands_in_record_and_count_and_counts_once():
    rows = taken(
        reader(),
        meta(),
        counted(usage(100, 0, 10), usage(100, 0, 10)),
        recorded(LONG, usage(70, 0, 7)),
        counted(usage(170, 0, 17), usage(70, 0, 7)),
        counted(usage(370, 0, 37), usage(200, 0, 20)),
    )
    assert total(rows).total == 407


def test_a_count_that_holds_a_compaction_and_a_response_brings_the_response():
    rows = taken(
        reader(),
        meta(),
        counted(usage(100, 0, 10), usage(100, 0, 10)),
        recorded(LONG, usage(70, 0, 7)),
        counted(usage(370, 0, 37), usage(200, 0, 20)),
    )
    assert total(rows).total == 407


def test_a_record_of_another_thread_is_inherited():
    it = reader()
    assert taken(it, meta(), recorded(LONG, usage(70, 0, 7), thread=PARENT)) == []
    assert it.report.skipped[Skip.INHERITED] == 1


def test_tool_calls_belong_to_the_response_that_is_counted_next():
    rows = taken(
        reader(),
        meta(),
        call("call_b"),
        call("call_a", "custom_tool_call"),
        counted(usage(1), usage(1)),
        call("call_c"),
        counted(usage(2), usage(1)),
    )
    assert [row.tool_use_ids for row in rows] == [("call_a", "call_b"), ("call_c",)]


def test_keys_in_another_order_are_read_as_well():
    row = counted(usage(7), usage(7))
    turned = {"payload": dict(reversed(row["payload"].items())), "type": row["type"], "timestamp": row["timestamp"]}
    odd_call = {"payload": {"call_id": "call_z", "type": "function_call"}, "type": "response_item", "timestamp": "x"}
    (found,) = taken(reader(), meta(), odd_call, turned)
    assert (found.tokens.total, found.tool_use_ids) == (7, ("call_z",))


def test_reading_goes_on_from_a_stored_state_at_any_line():
    rows = [
        *fork(call("call_own"), counted(usage(450, 0, 45), usage(150, 0, 15), 9)),
        recorded(LONG, usage(70, 0, 7), usage(520, 0, 52)),
        counted(usage(520, 0, 52), usage(70, 0, 7), 12),
    ]
    whole = taken(reader(), *rows)
    it, found = reader(), []
    for row in rows:
        found += it.feed(lines(row))
        it = CodexReader(thread="from-the-file-name", state=json.loads(json.dumps(it.state())))
    assert rows_in(found) == whole
    assert total(whole).total == 165 + 77


def rollout(home: Path, place: str, content: bytes) -> Path:
    path = home / ".codex" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


NAME = f"rollout-2026-04-11T10-00-00-{THREAD}.jsonl"


def test_plain_files_win_over_packed_and_live_ones_over_archived(tmp_path):
    day = "sessions/2026/04/11/"
    other = NAME.replace("0001", "0009")
    live = rollout(tmp_path, day + NAME, b"")
    rollout(tmp_path, day + NAME + ".zst", b"")
    rollout(tmp_path, "archived_sessions/" + NAME, b"")
    packed = rollout(tmp_path, day + other + ".zst", b"")
    rollout(tmp_path, "archived_sessions/" + other, b"")
    rollout(tmp_path, "sessions/notes.jsonl", b"")
    assert [file.path for file in discover({}, tmp_path)] == [live, packed]
    assert locations({"CODEX_HOME": str(tmp_path / "x")}, tmp_path)[0] == tmp_path / "x/sessions"


def test_a_packed_rollout_brings_the_rows_of_the_plain_one(tmp_path):
    steps = [counted(usage(n * 100, 0, n * 10), usage(100, 0, 10), n) for n in range(1, 5000)]
    content = lines(meta(), turn("gpt-5.4"), *steps)
    plain = rollout(tmp_path, "sessions/" + NAME, content)
    packed = rollout(tmp_path, "sessions/" + NAME + ".zst", zstandard.compress(content))
    expected = [row for batch in read(TranscriptFile("codex", plain)) for row in batch.rows]
    batches = list(read(TranscriptFile("codex", packed)))
    assert merged(row for batch in batches for row in batch.rows) == merged(expected)
    assert len(batches) > 1
    assert list(read(TranscriptFile("codex", packed), batches[-1].position)) == []
    rest = list(read(TranscriptFile("codex", packed), batches[0].position))
    assert merged(row for batch in [batches[0], *rest] for row in batch.rows) == merged(expected)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"not packed at all"])
def test_a_damaged_packed_rollout_is_counted_and_not_fatal(tmp_path, damage):
    content = zstandard.compress(lines(meta(), counted(usage(7), usage(7)), *[{"a": n} for n in range(9999)]))
    path = rollout(tmp_path, "sessions/" + NAME + ".zst", damage(content))
    batches = list(read(TranscriptFile("codex", path)))
    assert all(batch.change in {"new", "unreadable"} for batch in batches)


def test_the_file_name_stands_in_for_a_thread_that_is_not_written():
    rows = taken(reader_of(Path(NAME)), counted(usage(7), usage(7)))
    assert [row.session for row in rows] == [THREAD]


def test_the_growth_of_the_total_counts_whatever_the_event_says_of_itself():
    for last in (usage(0), usage(-5), usage(3), None, {"total_tokens": 51293}):
        first = taken(reader(), meta(), counted(usage(1000, 0, 50), last))
        wanted = 3 if last == usage(3) else 1050  # a first total may hold what another file counted
        assert [row.tokens.total for row in first] == [wanted]
        known = counted(usage(10, 0, 1), usage(10, 0, 1), 1)
        assert total(taken(reader(), meta(), known, counted(usage(1000, 0, 50), last))).total == 1050


def test_events_without_a_total_count_each_also_where_they_say_the_same_at_one_time():
    same = [counted(None, usage(100, 0, 5)) for _ in range(3)]
    rows = taken(reader(), meta(), *same, counted(None, usage(100, 0, 5), 11))
    assert total(rows).total == 4 * 105
    it = reader()
    apart = [*it.feed(lines(meta(), same[0])), *reader_from(it).feed(lines(*same[1:]))]
    assert {row.response_key for row in rows} > {row.response_key for row in apart}
    assert len(merged(apart)) == 3


def reader_from(before: CodexReader) -> CodexReader:
    return CodexReader(thread="from-the-file-name", state=json.loads(json.dumps(before.state())))


counters = st.integers(0, 400)
steps = st.one_of(
    # What the total grows by, class by class, what the event says of itself, and whether it is written twice.
    st.tuples(st.just("grows"), counters, counters, counters, st.integers(-9, 900), st.booleans()),
    st.tuples(st.just("falls"), counters, counters, counters, st.integers(-9, 900), st.booleans()),
    st.tuples(st.just("bare"), counters, counters, counters, st.integers(-9, 900), st.booleans()),
    st.tuples(st.just("odd"), counters, counters, counters, st.integers(-9, 900), st.booleans()),
)


@settings(max_examples=300)
@given(plan=st.lists(steps, max_size=8), cuts=st.lists(st.integers(0, 4000), max_size=3))
def test_no_sequence_of_totals_counts_less_than_their_growth_or_more_than_that_and_what_events_say(plan, cuts):
    """The oracle: counter by counter, growth is counted; where the total falls or is missing, what the event says."""
    rows, whole, least, most = [meta(), counted(usage(1, 0, 1), usage(1, 0, 1), 0)], (1, 1), 2, 2
    loose = 0
    for second, (kind, more, out, cached, last, twice) in enumerate(plan, 1):
        said = max(last, 0)
        own = usage(last, 0, said)
        if kind == "bare":
            row = counted(None, own, second)
            least, most = least + 2 * said, most + 2 * said
        else:
            now = (whole[0] // 2, whole[1] // 2) if kind == "falls" else (whole[0] + more, whole[1] + out)
            growth = max(now[0] - whole[0], 0) + max(now[1] - whole[1], 0)
            moved = now != whole
            row = counted(usage(now[0], min(cached, now[0]), now[1]), own, second)
            if kind == "odd":
                row["payload"]["info"]["total_token_usage"]["output_tokens"] = "many"
            whole = now
            least += growth
            most += max(growth, 2 * said) if moved else 0
            loose += growth + 2 * said
        rows += [row, row] if twice and kind != "bare" else [row]
    if any(kind == "odd" for kind, *_ in plan):
        # Of a total that cannot be read what the event says is counted, and the next total stands against that.
        least, most = 2, most + loose
    data = lines(*rows)
    it = reader()
    counted_rows = rows_in(it.feed(data))
    assert least <= total(counted_rows).total <= most
    found, start, state = [], 0, None
    for end in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        again = CodexReader(thread="from-the-file-name", state=state)
        found += again.feed(data[start:end])
        start, state = end - again.splitter.held, json.loads(json.dumps(again.state()))
    assert rows_in(found) == counted_rows


def test_of_parts_of_the_total_none_that_fell_takes_anything_away():
    before, after = usage(1000, 900, 50, 40), usage(2000, 800, 100, 10)
    rows = taken(reader(), meta(), counted(before, before), counted(after, usage(0), 11))
    assert total(rows) == Tokens(1100, 900, 0, 0, 100)
    assert sum(row.reasoning for row in rows) == 40


def test_where_the_total_begins_anew_an_odd_event_counts_as_far_as_it_can_be_read():
    odd = usage(40) | {"output_tokens": "many"}
    rows = taken(reader(), meta(), counted(usage(900, 0, 90), usage(900, 0, 90)), counted(usage(50, 0, 5), odd, 11))
    assert total(rows).total == 990 + 40


def test_what_unpacks_rollouts_is_imported_where_a_packed_one_is_read_and_not_before(tmp_path):
    plain = rollout(tmp_path, "sessions/" + NAME, lines(meta(), counted(usage(7), usage(7))))
    packed = rollout(tmp_path, "sessions/" + NAME + ".zst", zstandard.compress(plain.read_bytes()))
    program = (
        "import sys; from pathlib import Path; import tallygate.app, tallygate.entrypoints.hook_dispatcher;"
        "from tallygate.clients.codex.transcripts import read;"
        "from tallygate.clients.reading.files import TranscriptFile;"
        "unpackers = {'zstandard', 'compression.zstd'};"
        "rows = lambda path: sum(len(b.rows) for b in read(TranscriptFile('codex', Path(path))));"
        "found = [(rows(path), bool(unpackers & {*sys.modules})) for path in sys.argv[1:]]; print(found)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(plain), str(packed)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[(1, False), (1, True)]"
