"""What is read on a quick way reads as on the plain one, whatever the bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallygate.clients.codex import transcripts as codex
from tallygate.clients.reading.lines import MAX_LINE, Skip, Unreadable, count, counts, decode
from tallygate.core.usage import MAX_TOKENS

RECORD = (
    b'{"type":"assistant","timestamp":"2026-03-01T10:00:00.000Z","message":{"id":"m","usage":{"input_tokens":3,'
    b'"cache_creation":{"ephemeral_5m_input_tokens":7},"output_tokens":2.5},"content":["\\ud800","\xe2\x82\xac"]}}'
)
BLANK = "\ufeff\0 \t\r\n"
PIECES = [
    b"\0",
    b"\xff",
    b"{",
    b"}",
    b'"',
    b",",
    b'"type":1,',
    b"[" * 3000,
    b"9" * 4301,
    b"1e999",
    b"NaN",
    b"\\",
    b" ",
    b"\n",
]


def plainly(line: bytes) -> object:
    """One line as the standard library reads it, step by step."""
    if len(line) > MAX_LINE:
        return Skip.TOO_LONG
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Skip.BAD_UTF8
    if not text.startswith("{"):
        text = text.lstrip(BLANK)
    try:
        value, end = json.JSONDecoder(object_pairs_hook=tuple, parse_float=str, strict=False).raw_decode(text)
    except json.JSONDecodeError:
        return Skip.BAD_JSON
    except ValueError:
        return Skip.HUGE_NUMBER
    except RecursionError:
        return Skip.TOO_DEEP
    if type(value) is not tuple:
        return Skip.NOT_OBJECT
    return Skip.BAD_JSON if text[end:].strip(BLANK) else value


def quickly(line: bytes) -> object:
    try:
        return decode(line)
    except Unreadable as error:
        return error.reason


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    line = RECORD * draw(st.integers(1, 2))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line)))
        upto = draw(st.sampled_from([at, at, at + 1, at + 9, len(line)]))
        line = line[:at] + draw(st.sampled_from([b"", *PIECES])) + line[upto:]
    return line


@given(line=damaged() | st.binary(max_size=40))
@example(line=b"")
@example(line=b"\xef\xbb\xbf" + RECORD)
@example(line=b'{"a":1,"a":2}')
@example(line=b'{"a":' * 100_000)
@example(line=b'{"a":' + b"9" * 4301 + b"}")
@example(line=b"[1]")
def test_a_line_reads_as_the_standard_library_reads_it(line):
    assert quickly(line) == plainly(line)


NUMBERS = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(MAX_TOKENS + 1) | st.just(("a", 1))


@pytest.mark.parametrize("keys", [("a",), ("a", "b", "c")])
@given(holder=st.dictionaries(st.sampled_from("abc"), NUMBERS))
def test_several_counts_are_as_each_by_itself(keys, holder):
    odd, wrong = set[str](), set[str]()
    assert counts(holder, keys, odd) == [count(holder, key, wrong) for key in keys]
    assert odd == wrong


HEADS = [
    b'{"timestamp":"2026-03-01T10:00:00.000Z","type":"event_msg","payload":{"type":"token_count"',
    b'{"timestamp":"2026-03-01T10:00:00Z","type":"response_item","payload":{"type":"function_call","call_id":"c"',
    b'{"timestamp":"2026-03-01T10:00:00.000Z","ordinal":3,"type":"event_msg","payload":{"type":"agent_message"',
    b'{"timestamp": "2026-03-01T10:00:00.000Z", "type": "turn_context", "payload": {"cwd":"/p"',
]
SPLICES = st.sampled_from(
    [b"", b'"', b"\\", b" ", b"\n", b',"type":"', b'"payload":{"type":"x"', b"9" * 70, b"session_meta"]
)


@given(
    head=st.sampled_from(HEADS),
    cut=st.integers(0, 120),
    upto=st.integers(0, 20),
    splice=SPLICES,
    before=st.binary(max_size=9),
)
def test_how_a_line_of_codex_begins_is_told_alike_by_both_ways(head, cut, upto, splice, before):
    line = before + head[:cut] + splice + head[cut + upto :] + b',"info":{}}}'
    usual = codex._USUAL.match(line, len(before))
    plain = codex._HEAD.match(line, len(before))
    assert usual is None or (plain is not None and usual.groups() == plain.groups())
    for each in HEADS[:2]:
        assert codex._USUAL.match(each) is not None
