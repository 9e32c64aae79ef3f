"""Gateways give odd ids: the same bytes give the same total, however they are read, and no response is given away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clients.making import claude, lines
from tests.transcripts import minted

from tallygate.clients.claude_code.naming import is_minted
from tallygate.clients.claude_code.transcripts import reader_of
from tallygate.core.usage import ObservedUsage, merged

CONSTANT = ["ocgo", "msg_1", "x", "chatcmpl-1", "msg_01ConstantIdOfARelay00", "0" * 36]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[dict[str, Any]]], int, int]:
    """Sessions of lines as a gateway's ids make them, with how many responses there are and their output."""
    ids = draw(st.sampled_from(["constant", "counter", "unique", "minted", "long counter"]))
    constant = draw(st.sampled_from(CONSTANT))
    # A minted id is unique by itself; whatever names the request may repeat.
    requests = draw(st.sampled_from(["none", "unique", "counter"] if ids != "constant" else ["none", "unique"]))
    style = draw(st.sampled_from(["same", "growing", "input at the end"]))
    sessions, number, output = [], 0, 0
    for session in range(draw(st.integers(1, 3))):
        rows = []
        for position in range(draw(st.integers(1, 4))):
            number += 1
            name = {
                "constant": constant,
                "counter": f"msg_{position}",
                "unique": f"chatcmpl-{number:040d}",
                "minted": minted(str(number)),
                "long counter": f"msg_01{position:030d}",
            }[ids]
            request = {"none": None, "unique": f"req_{number:030d}", "counter": f"req_{position}"}[requests]
            used, parts = 10 * number, draw(st.integers(1, 4))
            output += used
            for part in range(parts):
                last = part == parts - 1
                counts = {"input_tokens": 100 + number, "output_tokens": used, "cache_read_input_tokens": 0}
                if style != "same" and not last:
                    counts["output_tokens"] = 1
                if style == "input at the end" and not last:
                    counts |= {"input_tokens": 0, "output_tokens": 0}
                top = {
                    "timestamp": f"2026-03-01T1{session}:{position:02d}:{part:02d}.000Z",
                    "sessionId": f"s{session}",
                    "requestId": request,
                }
                stop = "tool_use" if last or style == "same" else None
                rows.append(claude(name, top=top, usage=counts, stop_reason=stop))
        sessions.append(rows)
    return sessions, number, output


def read_in(sessions: list[list[dict[str, Any]]], cut: Any) -> list[ObservedUsage]:
    found = []
    for number, rows in enumerate(sessions):
        data = lines(*rows)
        state, start = None, 0
        for end in [*sorted(cut(data)), len(data)]:
            it = reader_of(Path(f"s{number}.jsonl"), state)
            found += it.feed(data[start:end])
            start = end - it.splitter.held
            state = json.loads(json.dumps(it.state()))
    return list(merged(found).values())


@settings(max_examples=150)
@given(histories(), st.data())
def test_every_response_counts_once_whatever_its_ids_and_however_the_file_is_read(history, data):
    sessions, number, output = history
    ways = [
        lambda _: [],
        lambda text: [at + 1 for at, byte in enumerate(text) if byte == ord("\n")],
        lambda text: data.draw(st.lists(st.integers(0, len(text)), max_size=5)),
    ]
    for way in ways:
        rows = read_in(sessions, way)
        assert (len(rows), sum(row.tokens.output for row in rows)) == (number, output)
    # A copy of a session, as resuming makes it, adds nothing.
    copied = [*sessions, sessions[0]]
    assert len(read_in(copied, ways[0])) == number


@pytest.mark.parametrize(
    ("message_id", "minted_"),
    [
        ("msg_01XFDUDYJgAACzvnptvVoYEL", True),
        ("msg_bdrk_01XFDUDYJgAACzvnptvVoYEL", True),
        ("msg_vrtx_01XFDUDYJgAACzvnptvVoYEL", True),
        ("msg_01ConstantIdOfARelay00", False),
        ("msg_1", False),
        ("chatcmpl-0123456789012345678901234567", False),
        ("msg_01XFDUDYJgAACzvnptvVoYE", False),
    ],
)
def test_ids_of_the_providers_are_told_from_those_that_gateways_make_up(message_id, minted_):
    assert is_minted(message_id) is minted_


def test_the_same_id_and_request_with_other_counts_is_another_response():
    top = {"requestId": "r" * 30}
    rows = read_in([[claude("x", top=top), claude("x", top=top, output=9)]], lambda _: [])
    assert sorted(row.tokens.output for row in rows) == [9, 50]
