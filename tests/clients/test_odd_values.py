"""One odd value anywhere in a client's record: the response still counts, the others too, and what does not is told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clients.making import answered, claude, counted, happened, meta, receipt, turn, usage
from tests.transcripts import minted

from tallygate.clients.reading.files import TranscriptFile
from tallygate.clients.reading.lines import LOST, Skip, Unreadable, count, moment
from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Tokens
from tallygate.core.usage import MAX_TOKENS, ObservedUsage, merged

Rows = list[dict[str, Any]]
COUNT = 3


def stamped(row: dict[str, Any], number: int) -> dict[str, Any]:
    return row | {"timestamp": f"2026-03-01T10:00:{number:02d}.000Z"}


def gemini(number: int) -> dict[str, Any]:
    spent = {"input": 100, "output": 20 + number, "cached": 60, "thoughts": 5, "tool": 1, "total": 126 + number}
    return {"id": f"m{number}", "type": "gemini", "model": "gemini-2.5-pro", "tokens": spent}


def message(number: int) -> dict[str, Any]:
    time = {"created": 1_772_359_200_000 + number, "completed": 1_772_359_201_000 + number}
    spent = {"input": 100, "output": 30 + number, "reasoning": 0, "cache": {"read": 500, "write": 40}}
    made = {"role": "assistant", "modelID": "claude-sonnet-4-5", "providerID": "anthropic", "time": time}
    return made | {"path": {"cwd": "/home/me/project"}, "tokens": spent, "cost": 1, "finish": "stop"}


def into_database(path: Path, rows: list[Any]) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        made.execute("CREATE TABLE message (id TEXT, session_id TEXT, time_created INT, time_updated INT, data TEXT)")
        for number, row in enumerate(rows):
            made.execute("INSERT INTO message VALUES (?, 'ses_1', 5, ?, ?)", (f"m{number}", number, text(row)))


def text(row: Any) -> str:
    return json.dumps(row).replace('"1e400"', "1e400")


def into_lines(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(text(row) + "\n" for row in rows))


def into_document(path: Path, rows: list[Any]) -> None:
    path.write_text(text({"sessionId": "g1", "messages": rows}))


def into_files(path: Path, rows: list[Any]) -> None:
    path.write_text(text(rows[0]))


def codex_rows(n: int) -> Rows:
    return [
        meta(),
        turn("gpt-5.4"),
        *(counted(usage(i * 100, i * 60, i * 9), usage(100, 60, 9), i) for i in range(1, n + 1)),
    ]


Client = tuple[str, str, Callable[[int], Rows], Callable[[Path, list[Any]], None]]
CLIENTS: dict[str, Client] = {
    "claude": (
        "claude_code", "s1.jsonl",
        lambda n: [stamped(claude(minted(str(i)), {"requestId": f"req_{i}"}, output=i), i) for i in range(1, n + 1)],
        into_lines,
    ),
    "codex": ("codex", "rollout.jsonl", codex_rows, into_lines),
    "gemini lines": (
        "gemini", "session-1.jsonl",
        lambda n: [{"sessionId": "g1"}, *(stamped(gemini(i), i) for i in range(1, n + 1))],
        into_lines,
    ),
    "gemini document": (
        "gemini", "session-1.json", lambda n: [stamped(gemini(i), i) for i in range(1, n + 1)], into_document
    ),
    "qwen": ("qwen", "q1.jsonl", lambda n: [stamped(answered(f"u{i}"), i) for i in range(1, n + 1)], into_lines),
    "copilot": (
        "copilot", "events.jsonl",
        lambda n: [happened("session.start", {"sessionId": "p1"}), *(stamped(receipt(i), i) for i in range(1, n + 1))],
        into_lines,
    ),
    "opencode": ("opencode", "opencode.db", lambda n: [message(i) for i in range(1, n + 1)], into_database),
    "opencode file": ("opencode", "m.json", lambda n: [message(1)], into_files),
}  # fmt: skip
ODD = [
    *(None, True, False, -1, 0, 1.5, 10**30, float("inf"), float("nan"), "1e400", "-5"),
    *("", " ", "a\nb", "100,000", "1_000", " 100 ", "2026-13-45", [], {}, [1], {"a": {"b": 1}}, "x" * 5000),
]
GONE = object()


def leaves_of(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if steps is None:
        return [way]
    return [path for key, child in steps for path in leaves_of(child, (*way, key))]


def changed(rows: Rows, number: int, way: tuple[Any, ...], odd: object) -> list[Any]:
    found = json.loads(json.dumps(rows))
    holder = found[number]
    for step in way[:-1]:
        holder = holder[step]
    if odd is GONE:
        del holder[way[-1]]
    else:
        holder[way[-1]] = odd
    return found


def read(kind: str, path: Path, rows: list[Any]) -> tuple[list[ObservedUsage], int]:
    """What stands in a file with these rows, and how many records are said to be missing."""
    client, name, _, write = CLIENTS[kind]
    write(path / name, rows)
    found, told = [], 0
    for batch in REGISTRY.sources[client].read(TranscriptFile(client, path / name), None, None):
        found += batch.rows
        told += sum(batch.report.skipped[reason] for reason in LOST)
        unfinished = batch.report.unfinished
    best = sorted(merged(found).values(), key=lambda row: (row.at, row.response_key))
    assert all(row.at.tzinfo is UTC and min(counts(row.tokens)) >= 0 for row in best)
    return best, told + unfinished


def counts(tokens: Tokens) -> tuple[int, ...]:
    return tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h, tokens.output


@pytest.mark.parametrize("kind", CLIENTS)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_odd_value_drops_no_response_and_what_is_not_counted_is_told(kind, tmp_path, data):
    rows = CLIENTS[kind][2](COUNT)
    whole, _ = read(kind, tmp_path, rows)
    number = data.draw(st.integers(0, len(rows) - 1))
    way = data.draw(st.sampled_from(leaves_of(rows[number])))
    odd = data.draw(st.sampled_from([*ODD, GONE]))
    found, told = read(kind, tmp_path, changed(rows, number, way, odd))
    assert len(found) + told >= len(whole), (way, odd)
    assert len(found) <= len(whole), (way, odd)
    if kind == "codex":
        # Whatever one event says, the total of the others holds what all of them used.
        assert told or number >= len(rows) - 1 or sum(row.tokens.output for row in found) >= 27
        return
    others = [row.tokens for row in found]
    for row in whole:
        assert row.tokens in others or sum(each.tokens in others for each in whole) >= len(whole) - 1


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    "odd", [GONE, None, "", "2026-13-45", True, [], {}], ids=lambda odd: "gone" if odd is GONE else str(odd)
)
def test_a_response_without_a_time_has_a_known_one_near_it(kind, odd, tmp_path):
    rows = CLIENTS[kind][2](COUNT)
    for number in range(len(rows)):
        keys = [way for way in leaves_of(rows[number]) if way[-1] in ("timestamp", "completed")]
        for way in keys:
            whole, _ = read(kind, tmp_path, rows)
            found, told = read(kind, tmp_path, changed(rows, number, way, odd))
            assert sorted(counts(row.tokens) for row in found) == sorted(counts(row.tokens) for row in whole)
            assert told == 0
            assert all(abs(row.at - whole[0].at).total_seconds() <= 10 for row in found)
            guessed = [row for row in found if row.odd]
            assert [row.odd for row in guessed] in ([], [("no_time",)])
            is_response = number >= {"codex": 2, "copilot": 1}.get(kind, 0)
            assert len(guessed) == is_response


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_file_none_of_whose_responses_has_a_time_has_that_at_which_it_was_written(kind, tmp_path):
    rows = json.loads(json.dumps(CLIENTS[kind][2](COUNT)))
    for row in rows:
        row.pop("timestamp", None)
        row.get("time", {}).pop("created", None)
        row.get("time", {}).pop("completed", None)
    found, told = read(kind, tmp_path, rows)
    assert (len(found), told) == (1 if kind == "opencode file" else COUNT, 0)
    assert {row.odd for row in found} == {("no_time",)}
    written = datetime.fromtimestamp((tmp_path / CLIENTS[kind][1]).stat().st_mtime, UTC)
    assert kind == "opencode" or {abs(row.at - written).total_seconds() < 2 for row in found} == {True}


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_response_without_a_model_has_that_of_the_one_before_it_or_none(kind, tmp_path):
    rows = CLIENTS[kind][2](COUNT)
    models = [
        (number, way) for number, row in enumerate(rows) for way in leaves_of(row) if way[-1] in ("model", "modelID")
    ]
    if kind == "codex":
        rows.insert(3, turn(None))
        found, _ = read(kind, tmp_path, rows)
        assert [row.model for row in found] == ["gpt-5.4"] * COUNT
        return
    number, way = models[-1]
    found, _ = read(kind, tmp_path, changed(rows, number, way, 5))
    assert found[-1].odd == ("no_model",)
    assert found[-1].model == ("" if len(found) == 1 else found[0].model)
    number, way = models[0]
    found, _ = read(kind, tmp_path, changed(rows, number, way, GONE))
    assert (found[0].model, found[0].odd) == ("", ("no_model",))


@pytest.mark.parametrize(
    ("written", "number", "odd"),
    [
        ("100,000", 100_000, "count_as_text"),
        ("1_000", 1000, "count_as_text"),
        (" 100 ", 100, "count_as_text"),
        ("1 000 000", 1_000_000, "count_as_text"),
        ("1,000.5", 1001, "count_as_text"),
        ("0.0000000001", 1, "count_as_text"),
        ("1." + "0" * 60 + "1", 2, "count_as_text"),
        ("1e-400", 1, "count_as_text"),
        ("1e400", MAX_TOKENS, "count_too_large"),
        ("9" * 4000, MAX_TOKENS, "count_too_large"),
        ("Infinity", MAX_TOKENS, "count_too_large"),
        (10**30, MAX_TOKENS, "count_too_large"),
        ("-1e400", 0, "negative_count"),
        ("-Infinity", 0, "negative_count"),
        ("NaN", 0, "no_number"),
        ("1,00", 0, "no_number"),
        ("", 0, "no_number"),
        (True, 0, "no_number"),
        ({}, 0, "no_number"),
        ((("a", 1),), 0, "no_number"),
    ],
)
def test_a_count_is_its_number_however_it_is_written_or_none_and_marked(written, number, odd):
    found: set[str] = set()
    assert (count({"n": written}, "n", found), found) == (number, {odd})


@pytest.mark.parametrize(
    "written",
    [
        *(1_772_359_200, 1_772_359_200_000, 1_772_359_200_000_000, 1_772_359_200_000_000_000),
        *("1772359200", "1772359200.0", "1772359200000", "1772359200000000", "2026-03-01T10:00:00"),
        *("2026-03-01T11:00:00+01:00", "2026-03-01 10:00:00Z"),
    ],
)
def test_a_time_is_read_in_any_unit(written):
    assert moment(written) == datetime(2026, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize("written", ["", None, True, 0, -5, 10**30, "2026-13-45", "soon", "1e9", [], (("a", 1),)])
def test_what_is_no_time_is_none(written):
    with pytest.raises(Unreadable) as refused:
        moment(written)
    assert refused.value.reason is Skip.NO_TIME
