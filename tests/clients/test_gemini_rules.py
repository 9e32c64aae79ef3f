"""How Gemini CLI's chat files become rows; each test is named after its rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.clients.making import lines, rows_in, taken, total

from tallygate.clients.gemini.transcripts import discover, locations, read, reader_of
from tallygate.clients.reading.files import TranscriptFile
from tallygate.clients.reading.lines import Skip
from tallygate.core.costing import Tokens
from tallygate.core.usage import Quality

CHATS = Path("tmp/project/chats")
HEADER = {"sessionId": "g1", "projectHash": "h", "startTime": "2026-05-01T10:00:00.000Z", "kind": "main"}


def tokens(**counts: int) -> dict[str, int]:
    made = {"input": 100, "output": 20, "cached": 60, "thoughts": 5, "tool": 0} | counts
    return made | {"total": counts.get("total", made["input"] + made["output"] + made["thoughts"] + made["tool"])}


def said(message_id: str, used: Any = None, **more: Any) -> dict[str, Any]:
    row = {"id": message_id, "timestamp": "2026-05-01T10:00:01.000Z", "type": "gemini", "model": "gemini-2.5-pro"}
    return row | {"tokens": tokens() if used is None else used} | more


def jsonl() -> Any:
    return reader_of(CHATS / "session-1.jsonl")


def test_cached_is_inside_input_and_thoughts_stand_beside_output():
    (row,) = taken(jsonl(), HEADER, said("a"))
    assert (row.tokens, row.reasoning) == (Tokens(40, 60, 0, 0, 25), 5)
    assert (row.session, row.project, row.model) == ("g1", "project", "gemini-2.5-pro")


def test_prompts_of_tools_are_input():
    assert taken(jsonl(), HEADER, said("a", tokens(tool=30)))[0].tokens.fresh_input == 70


def test_a_message_written_again_counts_once_with_its_last_counts():
    again = said("a", tokens(output=30), toolCalls=[{"id": "call-1"}])
    (row,) = taken(jsonl(), HEADER, said("a"), again)
    assert (row.tokens.output, row.tool_use_ids) == (35, ("call-1",))


def test_words_for_no_output_are_those_of_a_stream_that_broke_off():
    nothing = tokens(output=0, thoughts=0)
    rows = taken(
        jsonl(), HEADER, said("a", nothing, content="Working on"), said("b", nothing), said("c", content="Done.")
    )
    assert [row.quality for row in rows] == [Quality.PARTIAL, Quality.FINAL, Quality.FINAL]


def test_a_rewind_keeps_the_spend():
    rows = taken(jsonl(), HEADER, said("a"), said("b"), {"$rewindTo": "a"}, said("c"))
    assert len(rows) == 3


def test_messages_set_whole_are_the_same_messages():
    update = {"$set": {"messages": [said("a"), {"id": "u", "type": "user"}], "lastUpdated": "x"}}
    assert len(taken(jsonl(), HEADER, said("a"), update)) == 1


def test_json_and_lines_bring_the_same_rows(tmp_path):
    messages = [said("a"), said("b", tokens(output=7)), {"id": "i", "type": "info", "content": "x"}]
    chats = tmp_path / CHATS
    chats.mkdir(parents=True)
    (chats / "session-1.json").write_text(json.dumps(HEADER | {"messages": messages}, indent=1))
    (chats / "session-1.jsonl").write_bytes(lines(HEADER, *messages))
    kinds = [
        rows_in(row for batch in read(TranscriptFile("gemini", chats / name)) for row in batch.rows)
        for name in ("session-1.json", "session-1.jsonl")
    ]
    assert kinds[0] == kinds[1]
    assert total(kinds[0]).total == 125 + 112


def test_a_document_is_read_again_only_when_it_changed(tmp_path):
    path = tmp_path / "chats" / "session-1.json"
    path.parent.mkdir()
    path.write_text(json.dumps(HEADER | {"messages": [said("a")]}))
    (first,) = read(TranscriptFile("gemini", path))
    assert list(read(TranscriptFile("gemini", path), first.position)) == []
    path.write_text(json.dumps(HEADER | {"messages": [said("a"), said("b")]}))
    (second,) = read(TranscriptFile("gemini", path), first.position)
    assert len(second.rows) == 2


def test_a_half_written_document_is_counted_and_read_again(tmp_path):
    path = tmp_path / "chats" / "session-1.json"
    path.parent.mkdir()
    whole = json.dumps(HEADER | {"messages": [said("a")]})
    path.write_text(whole[:-20])
    (first,) = read(TranscriptFile("gemini", path))
    assert (first.rows, first.report.skipped[Skip.BAD_JSON]) == ((), 1)
    path.write_text(whole)
    (second,) = read(TranscriptFile("gemini", path), first.position)
    assert len(second.rows) == 1


def test_a_subagents_chat_names_its_parent():
    (row,) = taken(reader_of(CHATS / "parent-1" / "child-1.jsonl"), HEADER | {"sessionId": "child-1"}, said("a"))
    assert (row.session, row.parent_session, row.agent_id) == ("child-1", "parent-1", "child-1")


def test_messages_without_usage_bring_no_row():
    it = jsonl()
    assert taken(it, HEADER, said("a", tokens(input=0, output=0, cached=0, thoughts=0)), said("b", 5)) == []
    assert it.report.skipped[Skip.EMPTY] == 1


def test_reading_goes_on_from_a_stored_state():
    first = jsonl()
    rows = first.feed(lines(HEADER, said("a")))
    later = reader_of(CHATS / "session-1.jsonl", first.state())
    assert [row.session for row in rows_in(rows + later.feed(lines(said("b"))))] == ["g1", "g1"]


def test_only_chat_files_are_found(tmp_path):
    root = tmp_path / ".gemini" / "tmp" / "p"
    wanted = ["chats/session-1.json", "chats/session-2.jsonl", "chats/parent/child.jsonl"]
    for place in [*wanted, "logs.json", "chats/other.json", "checkpoint-1.json"]:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text("{}")
    assert {file.path for file in discover({}, tmp_path)} == {root / place for place in wanted}
    assert locations({"GEMINI_DATA_DIR": "/data/.gemini"}, tmp_path) == [Path("/data/.gemini/tmp")]


@pytest.mark.parametrize(
    ("root", "project"),
    [
        (b"/home/me/project\n", "/home/me/project"),
        (b"", "work"),
        (b"/home/\x1b[2Jme", "work"),
        (b"\xff\xfe", "work"),
        (b"/" + b"x" * 5000, "work"),
        (None, "work"),
    ],
)
def test_the_workspace_is_what_its_folder_names_or_the_folder(tmp_path, root, project):
    folder = tmp_path / "tmp" / "work"
    (folder / "chats").mkdir(parents=True)
    if root is not None:
        (folder / ".project_root").write_bytes(root)
    reader = reader_of(folder / "chats" / "session-1.jsonl")
    assert reader._project == project
