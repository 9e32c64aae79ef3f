"""How Qwen Code's chat files become rows; each test is named after its rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.clients.making import answered, lines, rows_in, taken, total

from tallygate.clients.qwen.transcripts import QwenReader, discover, locations, read, reader_of
from tallygate.clients.reading.files import FilePosition, FileState, TranscriptFile
from tallygate.clients.reading.lines import Skip
from tallygate.core.costing import Tokens
from tallygate.core.usage import BROKEN_OFF, Quality

COUNTS = {"promptTokenCount": 1000, "candidatesTokenCount": 80, "totalTokenCount": 1080}
SAID = {"uuid": "a1", "sessionId": "q1", "timestamp": "2026-03-01T10:00:00.000Z", "type": "assistant"}


def chat() -> QwenReader:
    return reader_of(Path("projects/p/chats/q1.jsonl"))


def counts(prompt: int, cached: int, written: int, thoughts: int, whole: int) -> dict[str, int]:
    names = ("input", "cached_content", "output", "thoughts", "total")
    return {f"{n}_token_count": v for n, v in zip(names, (prompt, cached, written, thoughts, whole), strict=True)}


def test_a_response_is_what_telemetry_says_of_it_and_its_message_adds_nothing():
    (row,) = taken(chat(), answered("u1"), SAID | {"usageMetadata": COUNTS, "message": {"parts": []}})
    assert (row.tokens, row.reasoning, row.quality) == (Tokens(100, 900, 0, 0, 80), 30, Quality.FINAL)
    assert (row.session, row.response_key, row.request_id) == ("q1", "u1", "chatcmpl-1")
    assert (row.project, row.model, row.version) == ("/home/me/project", "qwen3-coder-plus", "0.24.4")


def test_calls_without_a_message_count_as_any_other():
    compaction = answered("u2", prompt_id="compress-1")
    memory = answered("u3", subagent_name="managed-auto-memory-extractor")
    subagent = answered("u4", subagent_name="explore", subagent_id="explore-call_7")
    rows = taken(chat(), answered("u1"), compaction, memory, subagent)
    assert [row.agent_id for row in rows] == [None, None, "managed-auto-memory-extractor", "explore-call_7"]
    assert total(rows) == Tokens(400, 3600, 0, 0, 320)


# counts and interface -> classes, and whether they contradict each other
@pytest.mark.parametrize(
    ("used", "auth", "tokens", "odd"),
    [
        (counts(1000, 900, 80, 30, 1080), "openai", Tokens(100, 900, 0, 0, 80), 0),
        (counts(1000, 900, 80, 30, 1110), "gemini", Tokens(100, 900, 0, 0, 110), 0),
        (counts(1000, 900, 80, 30, 1110), "openai", Tokens(100, 900, 0, 0, 110), 0),
        (counts(1000, 900, 80, 0, 1080), "anthropic", Tokens(100, 900, 0, 0, 80), 0),
        (counts(1000, 900, 80, 30, 0), "openai", Tokens(100, 900, 0, 0, 80), 0),
        (counts(1000, 900, 80, 30, 0), "gemini", Tokens(100, 900, 0, 0, 110), 0),
        (counts(1000, 900, 80, 30, 1500), "openai", Tokens(100, 900, 0, 0, 80), 1),
        (counts(1000, 900, 80, 30, 1500), "vertex-ai", Tokens(100, 900, 0, 0, 110), 1),
        (counts(1000, 1200, 80, 0, 1080), "openai", Tokens(0, 1000, 0, 0, 80), 1),
        (counts(1000, 0, 5, 30, 0), "openai", Tokens(1000, 0, 0, 0, 30), 0),
    ],
)
def test_what_thoughts_are_part_of_is_told_by_the_total_and_then_by_the_interface(used, auth, tokens, odd):
    it = chat()
    (row,) = taken(it, answered("u1", auth_type=auth, **used))
    assert row.tokens == tokens
    assert it.report.skipped[Skip.INCONSISTENT] == odd


def test_a_response_without_counts_broke_off_and_the_next_of_its_agent_says_so():
    nothing = counts(0, 0, 0, 0, 0)
    it = chat()
    rows = taken(it, answered("u1"), answered("u2", **nothing), answered("u3", subagent_name="explore"), answered("u4"))
    assert [(row.response_key, row.odd) for row in rows] == [("u1", ()), ("u3", ()), ("u4", (BROKEN_OFF,))]
    taken(it, answered("u5", **nothing))
    again = QwenReader(stem="q1", state=it.state())
    assert [row.odd for row in taken(again, answered("u6"), answered("u7"))] == [(BROKEN_OFF,), ()]


def test_a_sum_alone_is_input_and_partial():
    (row,) = taken(chat(), answered("u1", **counts(0, 200, 0, 0, 1080)))
    assert (row.tokens, row.quality) == (Tokens(880, 200), Quality.PARTIAL)


def test_a_fork_repeats_lines_of_the_session_that_paid():
    fork = {"sessionId": "q2", "forkedFrom": {"sessionId": "q1", "messageUuid": "u1"}}
    copied = reader_of(Path("chats/q2.jsonl")).feed(
        lines(answered("u1", top=fork), answered("u2", {"sessionId": "q2"}))
    )
    rows = rows_in([*chat().feed(lines(answered("u1"))), *copied])
    assert [(row.response_key, row.session) for row in rows] == [("u1", "q1"), ("u2", "q2")]


def test_servers_that_give_an_id_twice_do_not_hide_a_response():
    assert len(taken(chat(), answered("u1"), answered("u2"))) == 2


def test_what_only_speaks_of_a_response_is_none():
    quoted = SAID | {"message": {"parts": [{"text": "qwen-code.api_response"}]}}
    other = answered("u1", **{"event.name": "qwen-code.tool_call", "note": "qwen-code.api_response"})
    user = answered("u2", {"type": "user"})
    it = chat()
    assert taken(it, quoted, other, user) == []
    assert not it.report.skipped


@pytest.mark.parametrize("payload", [None, 5, "x", [], {}, {"uiEvent": None}, {"uiEvent": 5}, {"uiEvent": [{}]}])
def test_telemetry_without_an_event_may_have_been_a_response_and_is_told(payload):
    it = chat()
    assert taken(it, answered("u1", {"systemPayload": payload}), answered("u2")) != []
    assert it.report.skipped == {Skip.NOT_OBJECT: 1}
    user = answered("u3", {"type": "user", "systemPayload": payload})
    assert (taken(it, user), it.report.skipped) == ([], {Skip.NOT_OBJECT: 1})


@pytest.mark.parametrize("event", [{}, {"event.name": ""}, {"event.name": 5}, {"model": "qwen3", "event.name": None}])
def test_telemetry_of_an_event_without_a_name_may_have_been_a_response_and_is_told(event):
    it = chat()
    taken(it, answered("u1", {"systemPayload": {"uiEvent": event}}), answered("u2"))
    assert it.report.skipped == {Skip.BAD_NAME: 1}
    named = {"systemPayload": {"uiEvent": {"event.name": "qwen-code.tool_call"}}}
    assert (taken(it, answered("u3", named)), it.report.skipped) == ([], {Skip.BAD_NAME: 1})


def test_a_response_without_counts_brings_no_row():
    it = chat()
    assert taken(it, answered("u1", **counts(0, 0, 0, 0, 0))) == []
    assert it.report.skipped == {Skip.EMPTY: 1}


def test_a_response_without_a_usable_id_counts_under_its_content():
    first, again = (taken(chat(), answered("\x1b[2J"), answered("u2")) for _ in range(2))
    assert len(first) == 2
    assert first == again


def test_a_resumed_session_is_read_from_where_it_was_left(tmp_path):
    path = tmp_path / "q1.jsonl"
    path.write_bytes(lines(answered("u1")) + lines(answered("u2"))[:50])
    (first,) = read(TranscriptFile("qwen", path))
    path.write_bytes(lines(answered("u1"), answered("u2"), answered("u3")))
    assert first.position is not None
    (second,) = read(TranscriptFile("qwen", path), FilePosition.from_json(first.position.as_json()))
    assert [row.response_key for row in (*first.rows, *second.rows)] == ["u1", "u2", "u3"]
    path.write_bytes(lines(answered("u9")))
    (third,) = read(TranscriptFile("qwen", path), second.position)
    assert (third.change, [row.response_key for row in third.rows]) == (FileState.TRUNCATED, ["u9"])


def test_only_chat_files_are_found(tmp_path):
    root = tmp_path / ".qwen" / "projects" / "-home-me"
    for place in ("chats/q1.jsonl", "subagents/q1/agent-a.jsonl", "chats/q1.runtime.json", "other.jsonl"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text("{}")
    assert [file.path for file in discover({}, tmp_path)] == [root / "chats/q1.jsonl"]


@pytest.mark.parametrize(
    ("env", "places"),
    [
        ({}, ["/home/me/.qwen/projects"]),
        ({"QWEN_HOME": "/q"}, ["/q/projects"]),
        ({"QWEN_HOME": "/q", "QWEN_RUNTIME_DIR": "/r"}, ["/r/projects"]),
        ({"QWEN_RUNTIME_DIR": "r"}, ["/home/me/.qwen/projects"]),
        ({"QWEN_DATA_DIR": "/a, /b/projects,/a"}, ["/a/projects", "/b/projects"]),
    ],
)
def test_variables_lead_to_other_places(env, places):
    assert locations(env, Path("/home/me")) == [Path(place) for place in places]
