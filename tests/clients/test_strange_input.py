"""Readers meet anything a file can hold: they skip and count, and never fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clients.making import (
    PARENT,
    answered,
    claude,
    codex,
    counted,
    ended,
    happened,
    meta,
    progress,
    receipt,
    recorded,
    started,
    turn,
    usage,
)

from tallygate.clients.claude_code.transcripts import reader_of as claude_reader
from tallygate.clients.codex.transcripts import reader_of as codex_reader
from tallygate.clients.copilot.transcripts import reader_of as copilot_reader
from tallygate.clients.gemini.transcripts import reader_of as gemini_reader
from tallygate.clients.opencode.transcripts import MessageFile
from tallygate.clients.qwen.transcripts import reader_of as qwen_reader
from tallygate.clients.reading.lines import ReadReport

READERS = {
    "claude": lambda: claude_reader(Path("s1.jsonl")),
    "codex": lambda: codex_reader(Path("rollout.jsonl")),
    "gemini": lambda: gemini_reader(Path("chats/session-1.jsonl")),
    "qwen": lambda: qwen_reader(Path("chats/q1.jsonl")),
    "copilot": lambda: copilot_reader(Path("p1/events.jsonl")),
}
KNOWN = [
    claude(),
    progress(),
    claude(usage={"iterations": [{"type": "advisor_message", "output_tokens": 1}]}),
    {"type": "cost-state", "sessionId": "s", "modelUsage": {"m": {"inputTokens": 1}}, "totalCostUSD": 1},
    meta(source={"subagent": {"thread_spawn": {"parent_thread_id": PARENT}}}),
    turn("gpt-5"),
    started("x"),
    counted(usage(5), usage(5)),
    recorded("resp", usage(7), usage(7)),
    codex("event_msg", {"type": "thread_settings_applied", "thread_settings": {"service_tier": "fast"}}),
    codex("response_item", {"type": "function_call", "call_id": "c"}),
    {"sessionId": "g", "$set": {"messages": [{"id": "a", "type": "gemini", "tokens": {"input": 1}}]}},
    answered("q"),
    happened("session.start", {"sessionId": "p1", "context": {"cwd": "/x"}}),
    receipt(1),
    ended({"gpt-4.1": {"requests": {"count": 1}, "usage": {"inputTokens": 1, "outputTokens": 1}}}),
    happened("session.compaction_complete", {"compactionTokensUsed": {"inputTokens": 1, "model": "m"}}),
    {"role": "assistant", "tokens": {"input": 1, "cache": {"read": 1}}, "time": {"created": 1, "completed": 2}},
]
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([[], {}, -1])


def paths_of(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(path for key, child in steps for path in paths_of(child, (*way, key)))]


@st.composite
def strange_rows(draw: st.DrawFn) -> Any:
    """A row as clients write it, with one value anywhere in it exchanged or taken out."""
    row = json.loads(json.dumps(draw(st.sampled_from(KNOWN))))
    way = draw(st.sampled_from(paths_of(row)[1:]))
    holder = row
    for step in way[:-1]:
        holder = holder[step]
    if draw(st.booleans()):
        holder[way[-1]] = draw(leaves | st.lists(leaves, max_size=2) | st.dictionaries(st.text(max_size=3), leaves))
    else:
        del holder[way[-1]]
    return row


@pytest.mark.parametrize("kind", READERS)
@given(rows=st.lists(strange_rows(), max_size=6))
def test_a_strange_value_anywhere_never_stops_reading(kind, rows):
    reader = READERS[kind]()
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    for row in reader.feed(data):
        assert row.tokens.total > 0 or row.web_searches > 0
        assert min(row.tokens.fresh_input, row.tokens.cache_read, row.tokens.output, row.reasoning) >= 0
        assert row.at.utcoffset() is not None
        json.dumps([row.session, row.model, row.tool_use_ids], ensure_ascii=False).encode()
    json.dumps(reader.state())


@pytest.mark.parametrize("kind", READERS)
@given(data=st.binary(max_size=300))
def test_bytes_that_mean_nothing_bring_nothing(kind, data):
    assert READERS[kind]().feed(data + b"\n") == []


@given(row=strange_rows())
def test_a_strange_message_file_never_stops_reading(row):
    MessageFile(Path("ses/msg.json")).document(json.dumps(row).encode())


@pytest.mark.parametrize(
    "state",
    [
        *({}, {"shown": 5}, {"shown": [[1]]}, {"total": None}, {"session": 7}, {"totals": 5}, {"totals": {"turns": 1}}),
        *({"totals": {"turns": 1, "told": told}} for told in (5, {"m": 5}, {"m": [1]}, {"m": [-1] * 6})),
    ],
)
@pytest.mark.parametrize("make", [claude_reader, codex_reader, gemini_reader, qwen_reader, copilot_reader])
def test_a_state_of_another_version_starts_anew(make, state):
    make(Path("chats/x.jsonl"), state).feed(b"{}\n")


def test_reports_add_up():
    report = ReadReport(bytes_read=1, rows=2)
    report.add(ReadReport(bytes_read=3, rows=4))
    assert (report.bytes_read, report.rows) == (4, 6)
