"""How Copilot CLI's session events become rows; each test is named after its rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.clients.making import ended, happened, lines, receipt, rows_in, taken, total
from tests.reading_rules import Rule

from tallygate.clients.copilot.transcripts import CopilotReader, discover, locations, read, reader_of
from tallygate.clients.reading.files import FilePosition, FileState, TranscriptFile
from tallygate.clients.reading.lines import Skip
from tallygate.core.costing import Tokens
from tallygate.core.usage import BROKEN_OFF, Quality

EVENTS = Path("session-state/p1/events.jsonl")
START = happened(
    "session.start", {"sessionId": "p1", "copilotVersion": "1.0.102", "context": {"cwd": "/home/me/project"}}
)
TURN = happened("assistant.turn_start", {"turnId": "0"})
COMPACTED = {"model": "gpt-4.1", "inputTokens": 700, "cacheReadTokens": 600, "cacheWriteTokens": 0, "outputTokens": 9}


def events() -> CopilotReader:
    return reader_of(EVENTS)


def metrics(asked: int, read: int, out: int, model: str = "gpt-4.1") -> dict[str, Any]:
    used = {"inputTokens": read, "outputTokens": out, "cacheReadTokens": 0, "cacheWriteTokens": 0, "reasoningTokens": 0}
    return {model: {"requests": {"count": asked, "cost": 0}, "usage": used}}


def compaction(event: str = "c1", **data: Any) -> dict[str, Any]:
    return happened("session.compaction_complete", {"success": True, "compactionTokensUsed": COMPACTED} | data, event)


def test_cached_is_inside_input_and_reasoning_inside_output():
    (row,) = taken(events(), START, receipt(1))
    assert (row.tokens, row.reasoning, row.rule) == (Tokens(100, 900, 0, 0, 80), 30, Rule.COPILOT_RECORD)
    assert (row.session, row.project, row.version) == ("p1", "/home/me/project", "1.0.102")
    assert (row.model, row.response_key, row.request_id) == ("gpt-4.1", "p1/1/chatcmpl-1", "chatcmpl-1")


@pytest.mark.parametrize(
    ("changes", "tokens", "odd"),
    [
        ({"cacheWriteTokens": 60}, Tokens(40, 900, 60, 0, 80), 0),
        ({"cacheWriteTokens": 60, "cacheTtlSeconds": 300}, Tokens(40, 900, 60, 0, 80), 0),
        ({"cacheWriteTokens": 60, "cacheTtlSeconds": 3600}, Tokens(40, 900, 0, 60, 80), 0),
        ({"reasoningTokens": None, "cacheWriteTokens": None}, Tokens(100, 900, 0, 0, 80), 0),
        ({"cacheReadTokens": 1500}, Tokens(1000, 1500, 0, 0, 80), 1),
        ({"reasoningTokens": 90}, Tokens(100, 900, 0, 0, 90), 1),
    ],
)
def test_the_classes_do_not_overlap(changes, tokens, odd):
    it = events()
    (row,) = taken(it, receipt(1, **changes))
    assert row.tokens == tokens
    assert it.report.skipped[Skip.INCONSISTENT] == odd


def test_a_receipt_told_twice_counts_once():
    assert len(taken(events(), START, receipt(1), receipt(1), receipt(2))) == 2


FAILED = (
    "2026-03-01T10:00:0{at}Z [WARNING] [rust:model_events::producer] Model provider request failed "
    '{{"stage":"inference","api_endpoint":"/chat/completions","failure_kind":"{kind}"}}\n'
)


# when the log tells of a failure and of which kind, how long after the turn's start the receipt came -> broken off
@pytest.mark.parametrize(
    ("at", "kind", "seconds", "broken"),
    [
        ("0.500", "transport", 2, True),
        ("0.500", "http_status", 2, False),
        ("9.000", "transport", 2, False),
        ("0.100", "transport", 0, False),
        (None, "transport", 2, False),
    ],
)
def test_a_receipt_after_a_request_that_broke_off_says_so(tmp_path, at, kind, seconds, broken):
    path = tmp_path / "session-state" / "p1" / "events.jsonl"
    logs = tmp_path / "logs"
    if at is not None:
        logs.mkdir()
        (logs / "process-1-2.log").write_text("a line of another kind\n" + FAILED.format(at=at, kind=kind))
    late = receipt(1, duration=18) | {"timestamp": f"2026-03-01T10:00:0{seconds}.000Z"}
    rows = taken(reader_of(path), START, TURN, late, receipt(2, duration=18))
    assert [row.odd for row in rows] == [((BROKEN_OFF,) if broken else ()), ()]


def test_servers_that_give_an_id_twice_do_not_hide_a_response():
    assert len(taken(events(), START, receipt(1, call="chatcmpl-7"), receipt(2, call="chatcmpl-7"))) == 2


def test_without_an_account_the_call_or_the_event_names_the_response():
    rows = taken(events(), START, receipt(1, accounting=None), receipt(2, accounting=None, apiCallId=None))
    assert [row.response_key for row in rows] == ["p1/e1", "p1/e2"]
    long = receipt(3, accounting=None, apiCallId="chatcmpl-0123456789")
    assert [row.response_key for row in taken(events(), START, long)] == ["p1/chatcmpl-0123456789"]


def test_a_subagents_receipt_belongs_to_the_session_that_started_it():
    rows = taken(events(), START, receipt(1), receipt(1, source="a-own", agent="a-own"))
    assert [(row.session, row.agent_id) for row in rows] == [("p1", "a-own"), ("p1", None)]


def test_a_copied_receipt_belongs_to_the_session_that_paid():
    copied = reader_of(Path("p2/events.jsonl")).feed(lines(happened("session.start", {"sessionId": "p2"}), receipt(1)))
    (row,) = rows_in([*events().feed(lines(START, receipt(1))), *copied])
    assert row.session == "p1"


@pytest.mark.parametrize("kind", ["session.resume", "session.context_changed"])
def test_the_folder_is_the_latest_one_that_was_told(kind):
    context = {"cwd": "/home/me/other"}
    moved = happened(kind, context if kind == "session.context_changed" else {"context": context})
    rows = taken(events(), START, receipt(1), moved, receipt(2))
    assert [row.project for row in rows] == ["/home/me/project", "/home/me/other"]


def test_a_compaction_is_a_row_of_its_own():
    rows = taken(events(), START, receipt(1), compaction(), compaction("c2", compactionTokensUsed=None))
    assert [(row.rule, row.response_key) for row in rows] == [
        (Rule.COPILOT_COMPACTION, "compaction/c1"),
        (Rule.COPILOT_RECORD, "p1/1/chatcmpl-1"),
    ]
    assert rows[0].tokens == Tokens(100, 600, 0, 0, 9)


def test_a_compaction_is_named_by_its_attempt():
    attempt = {"compactionAttemptId": "try-1"}
    assert len(taken(events(), compaction("c1", **attempt), compaction("c2", **attempt))) == 1


def test_totals_say_nothing_new_beside_receipts():
    assert len(taken(events(), START, TURN, receipt(1), ended(metrics(1, 1000, 80)))) == 1


def test_without_receipts_the_total_of_a_run_is_its_use():
    both = metrics(2, 1000, 80) | metrics(1, 50, 5, "claude-haiku-4.5")
    rows = taken(events(), START, TURN, TURN, TURN, ended(both))
    assert [(row.model, row.tokens.output) for row in rows] == [("claude-haiku-4.5", 5), ("gpt-4.1", 80)]
    assert {(row.quality, row.rule) for row in rows} == {(Quality.SESSION_TOTAL, Rule.COPILOT_SHUTDOWN)}


# totals of two runs, turns of the second -> tokens altogether
@pytest.mark.parametrize(
    ("second", "turns", "tokens"),
    [
        (metrics(5, 1200, 90), 3, Tokens(1200, output=90)),  # of the session
        (metrics(3, 1200, 90), 3, Tokens(2200, output=170)),  # of the run
        (metrics(1, 10, 5), 1, Tokens(1010, output=85)),  # of the run: they shrank
        (metrics(2, 1000, 80), 0, Tokens(1000, output=80)),  # nothing was asked
        (metrics(2, 1000, 80), 2, Tokens(2000, output=160)),  # the same again
        (metrics(6, 1200, 90), 3, Tokens(1200, output=90)),  # a request was tried twice
        ({}, 0, Tokens(1000, output=80)),
        (metrics(1, 10, 5, "other"), 1, Tokens(1010, output=85)),
    ],
)
def test_totals_go_on_over_runs_in_some_versions_and_begin_anew_in_others(second, turns, tokens):
    resumed = happened("session.resume", {"context": {"cwd": "/home/me/project"}})
    first = [START, TURN, TURN, ended(metrics(2, 1000, 80), "end-1")]
    assert total(taken(events(), *first, resumed, *[TURN] * turns, ended(second, "end-2"))) == tokens


def test_reading_goes_on_from_a_stored_state():
    rows = [START, TURN, TURN, ended(metrics(2, 1000, 80), "end-1"), TURN, ended(metrics(3, 1200, 90), "end-2")]
    whole = taken(events(), *rows, receipt(9), ended(metrics(4, 1300, 95), "end-3"))
    it, found = events(), []
    for row in [*rows, receipt(9), ended(metrics(4, 1300, 95), "end-3")]:
        found += it.feed(lines(row))
        it = reader_of(EVENTS, json.loads(json.dumps(it.state())))
    assert rows_in(found) == whole
    assert [row.session for row in whole] == ["p1"] * 3


def test_too_many_models_to_be_true_are_counted_and_left():
    it = events()
    many = {f"m{number}": metrics(1, 1, 1)["gpt-4.1"] for number in range(65)}
    assert taken(it, START, ended(many)) == []
    assert it.report.skipped == {Skip.BAD_COUNT: 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (receipt(1) | {"timestamp": None}, Skip.NO_TIME),
        (receipt(1, inputTokens=0, outputTokens=0, cacheReadTokens=0, reasoningTokens=0), Skip.EMPTY),
    ],
)
def test_an_event_that_cannot_be_used_is_counted(line, reason):
    it = events()
    assert len(taken(it, START, line, receipt(2))) == 1
    assert it.report.skipped == {reason: 1}


@pytest.mark.parametrize(
    "line", [receipt(1, accounting=None, apiCallId=None) | {"id": 5}, ended(metrics(1, 5, 5, "\x07"))]
)
def test_an_event_without_an_id_or_a_model_counts(line):
    it = events()
    first, again = (taken(events(), START, line) for _ in range(2))
    assert len(taken(it, START, line, receipt(2))) == 2
    assert first == again


def test_what_only_speaks_of_usage_is_none():
    quoted = happened("user.message", {"content": json.dumps(receipt(1)), "arguments": receipt(2)})
    assert taken(events(), START, quoted) == []


def test_a_file_that_begins_anew_is_read_from_its_start(tmp_path):
    path = tmp_path / "p1" / "events.jsonl"
    path.parent.mkdir()
    path.write_bytes(lines(START, receipt(1)) + lines(receipt(2))[:40])
    (first,) = read(TranscriptFile("copilot", path))
    path.write_bytes(lines(START, receipt(1), receipt(2)))
    assert first.position is not None
    (second,) = read(TranscriptFile("copilot", path), FilePosition.from_json(first.position.as_json()))
    assert [row.response_key for row in (*first.rows, *second.rows)] == ["p1/1/chatcmpl-1", "p1/2/chatcmpl-2"]
    path.write_bytes(lines(START, receipt(3)))
    (third,) = read(TranscriptFile("copilot", path), second.position)
    assert (third.change, len(third.rows)) == (FileState.TRUNCATED, 1)


def test_only_event_files_of_sessions_are_found(tmp_path):
    root = tmp_path / ".copilot" / "session-state"
    for place in ("p1/events.jsonl", "p1/files/events.jsonl", "p1/notes.jsonl", "events.jsonl", "p1/my-events.jsonl"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text("{}")
    assert [file.path for file in discover({}, tmp_path)] == [root / "p1/events.jsonl"]
    assert locations({"COPILOT_HOME": "/c"}, tmp_path) == [Path("/c/session-state")]


def test_the_folder_names_a_session_whose_start_was_lost():
    (row,) = taken(events(), receipt(1, accounting=None))
    assert row.session == "p1"
