"""Files that grow, shrink, move and break while they are read."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clients.making import claude, lines, rows_in
from tests.transcripts import minted

from tallygate.clients.claude_code.transcripts import read, reader_of
from tallygate.clients.reading.files import FilePosition, FileState, TranscriptFile, ends_at, files_below
from tallygate.clients.reading.lines import MAX_LINE, LineSplitter, Skip

SESSION = "s1.jsonl"


def line(number: int, **changes: object) -> bytes:
    return lines(claude(minted(str(number)), **changes))


def stored(position: FilePosition | None) -> FilePosition | None:
    """A position as it comes back from where it was kept."""
    assert position is not None
    return FilePosition.from_json(json.loads(json.dumps(position.as_json())))


def number_of(key: str) -> int:
    return int(key[6:].lstrip("x").replace("z", "0"))


def now(path: Path, position: FilePosition | None = None, max_bytes: int | None = None):
    """Ids of the rows that are new, what happened to the file, and where reading stands."""
    batches = list(read(TranscriptFile("claude_code", path), position, max_bytes))
    ids = [number_of(row.response_key) for batch in batches for row in batch.rows]
    last = batches[-1] if batches else None
    return ids, last.change if last else None, stored(last.position) if last and last.position else position


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / SESSION


def test_only_what_was_added_is_read(path):
    path.write_bytes(line(1) + line(2))
    ids, change, position = now(path)
    assert (ids, change) == ([1, 2], FileState.NEW)
    assert now(path, position) == ([], None, position)
    with path.open("ab") as file:
        file.write(line(3))
    assert now(path, position)[:2] == ([3], FileState.GROWN)


def test_a_line_without_its_end_is_kept_for_later(path):
    whole = line(2)
    path.write_bytes(line(1) + whole[:40])
    ids, _, position = now(path)
    assert ids == [1]
    assert now(path, position)[0] == []
    path.write_bytes(line(1) + whole)
    assert now(path, position)[:2] == ([2], FileState.GROWN)


def test_a_truncated_file_is_read_from_its_start(path):
    path.write_bytes(line(1) + line(2))
    position = now(path)[2]
    path.write_bytes(line(3))
    assert now(path, position)[:2] == ([3], FileState.TRUNCATED)


def test_a_replaced_file_is_read_from_its_start(path, tmp_path):
    path.write_bytes(line(1))
    position = now(path)[2]
    other = tmp_path / "other"
    other.write_bytes(line(2) + line(3))
    other.replace(path)
    assert now(path, position)[:2] == ([2, 3], FileState.REPLACED)


@pytest.mark.parametrize("changed", [b"", b"before"])
def test_a_file_rewritten_in_place_is_noticed(path, changed):
    path.write_bytes(line(1) + line(2) * 50)
    position = now(path)[2]
    with path.open("r+b") as file:
        if changed:
            file.write(line(4))
        else:
            file.seek(-len(line(2)), os.SEEK_END)
            file.write(line(4))
        file.seek(0, os.SEEK_END)
        file.write(line(5))
    ids, change, _ = now(path, position)
    assert change is FileState.REPLACED
    assert {4, 5} <= set(ids)


def test_a_rotated_file_goes_on_under_its_new_name_without_new_rows(path, tmp_path):
    path.write_bytes(line(1))
    position = now(path)[2]
    moved = path.rename(tmp_path / "moved.jsonl")
    path.write_bytes(line(2))
    assert now(path, position)[0] == [2]
    assert now(moved, position) == ([], None, position)


def test_a_deleted_file_is_gone(path):
    path.write_bytes(line(1))
    position = now(path)[2]
    path.unlink()
    assert now(path, position)[:2] == ([], FileState.GONE)


def test_what_a_writer_adds_while_we_read_is_left_for_the_next_time(path):
    path.write_bytes(b"".join(line(n) for n in range(3000)))
    reading = read(TranscriptFile("claude_code", path))
    first = next(reading)
    with path.open("ab") as file:
        file.write(line(9000))
    rest = list(reading)
    assert len(first.rows) + sum(len(batch.rows) for batch in rest) == 3000
    assert now(path, stored(rest[-1].position))[0] == [9000]


def test_batches_can_be_stored_one_by_one(path):
    path.write_bytes(b"".join(line(n) for n in range(7000)))
    first = next(read(TranscriptFile("claude_code", path)))
    rest = now(path, stored(first.position))[0]
    ids = [number_of(row.response_key) for row in first.rows]
    assert sorted(set(ids + rest)) == list(range(7000))
    assert rest[0] > 0


def test_a_budget_stops_between_lines_and_always_gets_on(path):
    path.write_bytes(b"".join(line(n) for n in range(6000)))
    position, found, rounds = None, [], 0
    while True:
        ids, change, position = now(path, position, 10)
        if change is None:
            break
        found += ids
        rounds += 1
    assert sorted(set(found)) == list(range(6000))
    assert rounds > 1


def test_a_line_over_the_bound_is_skipped_and_counted(path):
    huge = line(2, content=[{"type": "text", "text": "x" * (MAX_LINE + 10)}])
    path.write_bytes(line(1) + huge + line(3))
    batches = list(read(TranscriptFile("claude_code", path)))
    assert len([row for batch in batches for row in batch.rows]) == 2
    assert sum(batch.report.skipped[Skip.TOO_LONG] for batch in batches) == 1


def test_reading_goes_on_inside_a_line_over_the_bound(path):
    path.write_bytes(line(1) + b'{"type":"' + b"x" * (MAX_LINE + 3 * 1024 * 1024))
    ids, _, position = now(path)
    assert (ids, position.skipping) == ([1], True)
    with path.open("ab") as file:
        file.write(b'"}\n' + line(2))
    assert now(path, position)[0] == [2]


DEEP = b'{"type":"assistant","usage":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (DEEP, Skip.TOO_DEEP),
        (b'{"type":"assistant","type":"assistant","usage":1}', Skip.DUPLICATE_KEY),
        (b'["assistant",{"usage":1}]', Skip.NOT_OBJECT),
        (b'{"type":"assistant","usage":', Skip.BAD_JSON),
        (b'{"type":"assistant","usage":1} x', Skip.BAD_JSON),
    ],
)
def test_a_line_that_cannot_be_used_is_skipped_and_counted(path, broken, reason):
    path.write_bytes(line(1) + broken + b"\n" + line(2))
    (batch,) = read(TranscriptFile("claude_code", path))
    assert len(batch.rows) == 2
    assert batch.report.skipped == {reason: 1}


def test_pipes_devices_and_directories_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "dir.jsonl").mkdir()
    (tmp_path / "null.jsonl").symlink_to("/dev/zero")
    for name in ("pipe.jsonl", "dir.jsonl", "null.jsonl"):
        (batch,) = read(TranscriptFile("claude_code", tmp_path / name))
        assert (batch.change, batch.rows) == (FileState.NOT_REGULAR, ())
        assert batch.report.skipped == {Skip.NO_FILE: 1}
    # They are found all the same, so that it is told what they are.
    found = {file.name for file in files_below(tmp_path, (".jsonl",))}
    assert found == {"pipe.jsonl", "dir.jsonl", "null.jsonl"}
    assert all(ends_at(tmp_path / name)[0] == "" for name in found)


WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("order", WIDE)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_lines_in_wide_characters_count_that_are_written_on_in_a_file_of_the_clients_own_form(path, order, end):
    rows = [json.dumps(claude(minted(str(n)))) for n in (1, 2, 3, 4)]
    path.write_bytes(rows[0].encode() + b"\n" + f"{rows[1]}\n{rows[2]}{end}".encode(order))
    ids, _, position = now(path)
    assert sorted({*ids}) == [1, 2, 3]
    with path.open("ab") as out:
        out.write((b"" if end else b"\n") + rows[3].encode() + b"\n")
    assert 4 in {*ids, *now(path, position)[0]}


@pytest.mark.parametrize("order", WIDE)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_in_wide_characters_counts_also_where_its_client_writes_on_in_its_own(path, order, mark):
    said = {"type": "text", "text": "\u0a22\u220a\u5c0a words \u00fc"}
    rows = [json.dumps(claude(minted(str(n)), content=[said]), ensure_ascii=False) for n in (1, 2, 3)]
    wide = (mark + rows[0] + "\n\r\n" + rows[1] + "\n").encode(order)
    path.write_bytes(wide)
    ids, _, position = now(path)
    assert ids == [1, 2]
    path.write_bytes(wide + rows[2].encode() + b"\n" + rows[2].encode())
    assert sorted({*now(path, position)[0]}) == [1, 2, 3]
    path.write_bytes((mark + rows[0]).encode(order))
    assert now(path)[0] == [1]


def test_a_packed_file_counts_and_one_that_breaks_is_told(path):
    packed = gzip.compress(line(1) + line(2) * 2)
    path.write_bytes(packed)
    assert now(path)[0] == [1, 2]
    path.write_bytes(packed[:-9])
    (batch,) = read(TranscriptFile("claude_code", path))
    assert batch.report.skipped == {Skip.BAD_FILE: 1}


def test_of_a_line_that_is_longer_than_is_read_every_record_that_is_whole_counts(path):
    one = line(1)[:-1]
    said = claude(minted("2"), content=[{"type": "text", "text": 'a}{"b'}, {"type": "text", "text": "a}{"}])
    other = lines(said)[:-1]
    path.write_bytes((one + other) * (2 * MAX_LINE // len(one + other)) + line(3)[:-1])
    batches = list(read(TranscriptFile("claude_code", path)))
    assert {row.response_key for batch in batches for row in batch.rows} == {minted(n) for n in "123"}
    assert not any(batch.report.skipped or batch.report.unfinished for batch in batches)


def test_linked_directories_are_followed_once(tmp_path):
    real = tmp_path / "real" / "p"
    real.mkdir(parents=True)
    (real / SESSION).write_bytes(line(1))
    (real / "loop").symlink_to(tmp_path / "real")
    root = tmp_path / "root"
    root.symlink_to(tmp_path / "real")
    assert list(files_below(root, (".jsonl",))) == [root / "p" / SESSION]


@pytest.mark.parametrize(
    "change", [{"offset": -1}, {"mark": 5}, {"state": []}, {"inode": "1"}, {"extra": 1}, {"skipping": 0}]
)
def test_a_position_that_is_not_understood_is_none(path, change):
    path.write_bytes(line(1))
    position = now(path)[2]
    assert FilePosition.from_json(position.as_json() | change) is None
    assert FilePosition.from_json("no") is None


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.booleans())
def test_any_cut_of_the_bytes_gives_the_same_rows(cuts, restored):
    text = {"type": "text", "text": "words " * 9}
    whole = b"".join(
        line(n // 3, output=n % 3, stop_reason=None, content=[text, {"type": "tool_use", "id": f"t{n}", "input": {}}])
        for n in range(12)
    )
    expected = rows_in(reader_of(Path(SESSION)).feed(whole))
    reader, rows, at = reader_of(Path(SESSION)), [], 0
    for size in [*cuts, len(whole)]:
        rows += reader.feed(whole[at : at + size])
        at += size
        if restored and not reader.splitter.held:
            reader = reader_of(Path(SESSION), json.loads(json.dumps(reader.state())))
    assert rows_in(rows) == expected


@given(st.binary(max_size=60).map(lambda data: data + b"\n"), st.lists(st.integers(1, 9), max_size=20))
def test_the_splitter_loses_and_invents_no_byte(data, cuts):
    splitter, out, at = LineSplitter(), b"", 0
    for size in [*cuts, len(data)]:
        out += splitter.take(data[at : at + size])
        at += size
    assert out == data
    assert splitter.held == 0


# The most memory this program has held. What getrusage says includes the process that started it.
PROGRAM = """
import re, sys
from pathlib import Path
from tallygate.clients.reading.files import TranscriptFile
from tallygate.clients.claude_code.transcripts import read
count = sum(len(batch.rows) for batch in read(TranscriptFile("claude_code", Path(sys.argv[1]))))
print(count, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a program its own peak")
@pytest.mark.slow
def test_memory_stays_bounded_however_large_the_file(path):
    content = "tool output, " * 5000
    user = lines({"type": "user", "message": {"content": content}})
    with path.open("wb") as file:
        for number in range(2500):
            file.write(user + line(number) + user)
        file.write(b'{"a":"' + b"x" * (40 * 1024 * 1024) + b'"}\n')
    source = str(Path(sys.modules["tallygate"].__file__ or "").parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    count, megabytes = map(int, done.stdout.split())
    assert path.stat().st_size > 300 * 1024 * 1024
    assert (count, megabytes < 150) == (2500, True)
