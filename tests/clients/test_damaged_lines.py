"""Files that two writers, a crash or a cut have damaged: every whole record counts, in every client, however read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clients.making import answered, claude, codex, counted, happened, lines, meta, receipt, turn, usage
from tests.transcripts import minted

from tallygate.clients.claude_code.transcripts import read
from tallygate.clients.claude_code.transcripts import reader_of as claude_reader
from tallygate.clients.codex.transcripts import reader_of as codex_reader
from tallygate.clients.copilot.transcripts import reader_of as copilot_reader
from tallygate.clients.gemini.transcripts import reader_of as gemini_reader
from tallygate.clients.qwen.transcripts import reader_of as qwen_reader
from tallygate.clients.reading.files import TranscriptFile, TranscriptReader
from tallygate.clients.reading.lines import LOST, Skip, records_of
from tallygate.core.usage import merged

SPENT = {"input": 100, "output": 20, "cached": 60, "thoughts": 5, "tool": 0, "total": 125}


def gemini(number: int) -> dict[str, Any]:
    at = "2026-03-01T10:00:00.000Z"
    return {"id": f"m{number}", "timestamp": at, "type": "gemini", "model": "gemini-2.5-pro", "tokens": SPENT}


def user(number: int) -> dict[str, Any]:
    said = {"role": "user", "content": [{"type": "tool_result", "content": f'{{"usage": "{number}" \\ {{"'}]}
    return {"type": "user", "message": said, "timestamp": "2026-03-01T10:00:00.000Z", "sessionId": "s1"}


# Of each client: its reader, the lines before the first response, and its response of a number with one output more.
CLIENTS: dict[str, Any] = {
    "claude": (claude_reader, "s1.jsonl", [], lambda n: claude(minted(str(n)), output=n)),
    "codex": (
        codex_reader,
        "rollout.jsonl",
        [meta(), turn("gpt-5")],
        lambda n: counted(usage(sum(range(n + 1))), usage(n), n),
    ),
    "gemini": (gemini_reader, "chats/session-1.jsonl", [{"sessionId": "g1"}], gemini),
    "qwen": (qwen_reader, "chats/q1.jsonl", [], lambda n: answered(f"u{n}")),
    "copilot": (
        copilot_reader,
        "p1/events.jsonl",
        [happened("session.start", {"sessionId": "p1"})],
        receipt,
    ),
}


def text(row: Any) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode()


def totals(rows: list[Any]) -> tuple[int, int]:
    best = merged(rows).values()
    return len(best), sum(row.tokens.total for row in best)


def read_in(kind: str, data: bytes, cuts: list[int], *, ended: bool) -> tuple[tuple[int, int], int]:
    """What a reader finds that is made anew at each cut, as a follower makes it, and how much it says is lost."""
    make, name, _, _ = CLIENTS[kind]
    state, skipping, start, rows, lost = None, False, 0, [], 0
    for end in [*sorted(cuts), len(data)]:
        it: TranscriptReader = make(Path(name), state, skipping)
        rows += it.feed(data[start:end])
        start = end - it.splitter.held
        state, skipping = json.loads(json.dumps(it.state())), it.splitter.skipping
        lost += sum(it.report.skipped[reason] for reason in LOST)
        rows += it.last_line() if not ended or end == len(data) else []
    return totals(rows), lost


@st.composite
def damaged(draw: st.DrawFn, kind: str) -> tuple[bytes, bytes]:
    """Records in whole lines, and the same with anything that damages none of them between, before and behind."""
    _, _, first, response = CLIENTS[kind]
    rows = [*first, *(response(number) for number in range(1, draw(st.integers(1, 5)) + 1))]
    clean, out = lines(*rows), b""
    for row in rows:
        out += draw(st.sampled_from([b"", b"\0" * 7, b" ", b"\r\n", b"\xef\xbb\xbf", b"\n\0\0\n"]))
        if draw(st.booleans()):
            other = text(draw(st.sampled_from([user(3), response(99), {"a": 1}, happened("x", {"y": ["z"]})])))
            out += other[: draw(st.integers(1, len(other) - 1))]
            out += draw(st.sampled_from([b"", b"\0\0", b"\n"]))
        out += text(row) + draw(st.sampled_from([b"\n", b"", b"\0\0\0", b"\r\n", b" \n"]))
    return clean, out


@pytest.mark.parametrize("kind", CLIENTS)
@settings(max_examples=60)
@given(data=st.data())
def test_no_whole_record_is_lost_and_none_counts_twice_however_the_file_is_damaged_and_read(kind, data):
    clean, broken = data.draw(damaged(kind))
    cuts = data.draw(st.lists(st.integers(0, len(broken)), max_size=4))
    expected = read_in(kind, clean, [], ended=True)[0]
    assert read_in(kind, broken, [], ended=True)[0] == expected
    assert read_in(kind, broken, cuts, ended=False)[0] == expected


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_last_line_without_its_end_counts_and_is_read_again_when_it_grows(kind):
    _, _, first, response = CLIENTS[kind]
    whole = lines(*first, response(1), response(2))
    found, _ = read_in(kind, whole[:-1], [], ended=True)
    assert found == read_in(kind, whole, [], ended=True)[0]
    assert read_in(kind, whole + text(response(3)), [len(whole) - 1, len(whole)], ended=False)[0][0] == 3


@pytest.mark.parametrize("kind", CLIENTS)
def test_zero_bytes_inside_the_text_of_a_record_lose_nothing(kind):
    _, _, first, response = CLIENTS[kind]
    row = {**response(1), "note": "a hole here"}
    data = lines(*first, row).replace(b"a hole here", b"a\0\0\0\0 here")
    assert read_in(kind, data, [], ended=True)[0][0] == 1


@pytest.mark.parametrize("kind", CLIENTS)
def test_zero_bytes_between_the_parts_of_a_record_lose_nothing(kind):
    _, _, first, response = CLIENTS[kind]
    data = lines(*first) + text(response(1)).replace(b",", b",\0\0", 2) + b"\n" + lines(response(2))
    assert (
        read_in(kind, data, [], ended=True)[0]
        == read_in(kind, lines(*first, response(1), response(2)), [], ended=True)[0]
    )


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        (text(claude())[:100], 1),  # nothing says what it was
        (text({**claude(), "type": "assistant"})[:-5], 1),
        (text(user(1))[:60], 0),  # a user's: no usage is missing
        (text({"type": "user", "x": "y"})[:-2] + text(claude()), 0),
        (text(claude())[:100] + text(user(2)), 1),
        (text(claude())[:-3] + text(claude(minted("2"))), 1),
        (b"\0" * 50, 0),
        (b"garbage", 1),
        (b'{"type":"user","usage":1}x', 1),
    ],
)
def test_what_was_cut_off_is_told_once_where_it_may_have_been_usage(line, lost):
    it = claude_reader(Path("s1.jsonl"))
    it.feed(line + b"\n" + lines(claude(minted("9"))))
    assert it.report.skipped[Skip.BAD_JSON] == lost


def test_a_last_line_that_is_cut_off_is_told_apart_from_what_is_lost_for_good(tmp_path):
    path = tmp_path / "s1.jsonl"
    path.write_bytes(lines(claude(minted("1"))) + text(claude(minted("2")))[:90])
    (batch,) = read(TranscriptFile("claude_code", path))
    assert (len(batch.rows), batch.report.unfinished, batch.report.skipped) == (1, 1, {})
    with path.open("ab") as file:
        file.write(b"\n")
    (batch,) = read(TranscriptFile("claude_code", path), batch.position)
    assert (batch.report.unfinished, batch.report.skipped) == (0, {Skip.BAD_JSON: 1})


def test_a_hostile_line_takes_no_longer_than_its_length():
    for line in (b'{"a":' * 60_000, b'{"a":[' * 60_000, b'{"' * 120_000, b'{"a":1,' * 60_000):
        assert records_of(line).records == []


def test_codex_s_inner_objects_are_no_records():
    broken = text(codex("event_msg", {"type": "token_count", "timestamp": "2026-03-01T10:00:00Z", "info": {}}))[:-1]
    it = codex_reader(Path("rollout.jsonl"))
    assert it.feed(broken + b"\n" + lines(meta(), counted(usage(1), usage(1)))) != []


def test_a_number_of_thousands_of_digits_drops_no_response():
    data = lines(claude()).replace(b'"output_tokens":50', b'"output_tokens":' + b"9" * 5000)
    [row] = claude_reader(Path("s1.jsonl")).feed(data)
    assert (row.tokens.cache_read, row.odd) == (1000, ("count_too_large",))
