"""Before there is a ledger: the same figures as from one, from files that are read once and kept until it is there."""

from __future__ import annotations

import marshal
import os
import struct
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.transcripts import COUNTS, FILES, claude_file, write_all, write_claude
from tests.world import changed, make_world

from tallygate.clients import feed
from tallygate.clients.kept import KeptReadings
from tallygate.clients.packing import packed, unpacked
from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Tokens
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.money import AMOUNT_NANOS_MAX
from tallygate.core.usage import ObservedUsage, Quality
from tallygate.operations.usage import sync as syncing
from tallygate.operations.usage.first_look import FirstLook, look
from tallygate.operations.usage.ingest import FileReading, ingest_all
from tallygate.operations.usage.sync import sync
from tallygate.operations.views.usage import UsageWanted, list_usage
from tallygate.pricing.book import PriceBook
from tallygate.reports.usage import ALWAYS_US, By

EVERYTHING = sum(COUNTS.values())
ALWAYS = UsageWanted(-ALWAYS_US, ALWAYS_US)


@pytest.fixture
def user(tmp_path):
    place = tmp_path / "user"
    place.mkdir()
    return place


def looking(world):
    first = FirstLook()
    return changed(world.rt, ledger=first), first


@pytest.fixture
def looked(world, user, tmp_path):
    """A first look at a home, by a program that begins."""

    def looked_(**options):
        rt, first = looking(world)
        report = look(rt, first, tmp_path / "cache", environ={}, home=user, **options)
        return rt, report

    return looked_


def lists(rt, wanted=ALWAYS):
    """Every list there is of some usage."""
    return {by: list_usage(rt, wanted, by=by, zone=UTC, limit=10**6) for by in By}


# The same figures.


WHEN = datetime(2026, 8, 20, 23, 59, tzinfo=UTC)
rows = st.lists(
    st.builds(
        ObservedUsage,
        client=st.sampled_from(["codex", "claude_code"]),
        session=st.sampled_from(["s1", "s2"]),
        response_key=st.sampled_from("abcdef"),
        at=st.builds(lambda minutes: WHEN + timedelta(minutes=minutes), st.integers(0, 3)),
        model=st.sampled_from(["gpt-5.5", "claude-opus-4-6", "claude-unheard-of-9", "nobodys"]),
        tokens=st.builds(
            Tokens, st.sampled_from([0, 10, 10**12]), st.integers(0, 10**6), st.just(0), st.just(5), st.integers(1, 9)
        ),
        rule=st.sampled_from([Rule.CODEX_LAST, Rule.CLAUDE_SIDECHAIN, Rule.CLAUDE_RESPONSE]),
        quality=st.sampled_from([Quality.FINAL, Quality.PARTIAL]),
        estimated_output=st.sampled_from([None, 7]),
        web_searches=st.sampled_from([0, 1]),
        project=st.sampled_from([None, "/w/shop", "/w/cafe"]),
        reasoning=st.just(1),
        request_id=st.sampled_from([None, "r"]),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(rows=rows, cut=st.integers(0, 14), wanted=st.sampled_from([
    ALWAYS,
    UsageWanted(-ALWAYS_US, 1_787_270_400_000_000),
    UsageWanted(1_787_270_400_000_000, ALWAYS_US, ("codex",)),
    UsageWanted(-ALWAYS_US, ALWAYS_US, project="/w/shop"),
    UsageWanted(-ALWAYS_US, ALWAYS_US, model="opus"),
]))  # fmt: skip
def test_whatever_was_read_every_list_says_what_a_ledger_says(rows, cut, wanted, tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("w"))
    world.rt = changed(world.rt, prices=PriceBook(world.rt.workspace.prices.settings))
    readings = [FileReading("codex", "/one", rows[:cut]), FileReading("codex", "/two", rows[cut:])]
    ingest_all(world.rt, readings)
    rt, first = looking(world)
    for reading in readings:
        first.take(rt, reading)
    first.finish(rt)
    assert lists(rt, wanted) == lists(world.rt, wanted)
    world.ledger.close()


def test_a_response_that_names_no_model_has_its_neighbours(world):
    rt, first = looking(world)
    base = ObservedUsage("codex", "s", "k", WHEN, "gpt-5.5", Tokens(output=1), Rule.CODEX_LAST)
    rows = [
        base,
        replace(base, response_key="nameless", model="", at=WHEN + timedelta(minutes=1)),
        replace(base, response_key="other", session="t", model="claude-opus-4-6"),
    ]
    ingest_all(world.rt, [FileReading("codex", "/one", rows)])
    first.take(rt, FileReading("codex", "/one", rows))
    first.finish(rt)
    assert lists(rt) == lists(world.rt)
    assert lists(rt)[By.MODEL].total.models["gpt-5.5"].responses == 2


def test_of_every_clients_files_it_says_what_a_ledger_says(world, user, looked):
    write_all(user)
    rt, report = looked()
    assert (report.files, report.read, report.unchanged) == (FILES, FILES, 0)
    sync(world.rt, environ={}, home=user)
    assert lists(rt) == lists(world.rt)
    assert lists(rt)[By.CLIENT].total.whole.responses == EVERYTHING


def test_what_could_not_be_read_is_told_as_a_ledger_tells_it(world, user, looked):
    path = write_claude(user, [1, 2])
    with path.open("ab") as out:
        out.write(b'{"parentUuid":null,"message":{"model":"claude-opus-4-7","id":"msg_01\n')
    os.mkfifo(path.with_name("pipe.jsonl"))
    for _ in range(2):
        rt, _ = looked()
        found = lists(rt)[By.DAY].unread
        assert (found.records, found.files, dict(found.why)) == (2, 2, {"bad_json": 1, "no_regular_file": 1})
        sync(world.rt, environ={}, home=user)
        assert lists(rt) == lists(world.rt)


def test_a_response_that_costs_more_than_any_can_is_left_out_and_told(world, looked):
    rt, first = looking(world)
    row = ObservedUsage("codex", "s", "k", WHEN, "gpt-5.5", Tokens(output=1), Rule.CODEX_LAST, web_searches=10**12)
    price = rt.workspace.prices.quote("gpt-5.5", WHEN)
    dear = replace(row, tokens=Tokens(fresh_input=10**12))
    readings = [FileReading("codex", "/one", [replace(dear, model="claude-opus-4-1"), replace(row, response_key="j")])]
    assert price.known
    for reading in readings:
        first.take(rt, reading)
    first.finish(rt)
    ingest_all(world.rt, readings)
    assert lists(rt) == lists(world.rt)
    assert lists(rt)[By.DAY].total.whole.nanos < AMOUNT_NANOS_MAX


def test_nothing_is_written_into_a_first_look(world):
    rt, _ = looking(world)
    with pytest.raises(LedgerUnavailable), rt.writing():
        pass


# Read once.


@pytest.fixture
def read_paths(monkeypatch):
    """How far each file was when it was read, None from its start; what did not change is not among them."""
    seen = []
    for name, source in REGISTRY.sources.items():

        def read(file, position, max_bytes, source=source):
            for batch in source.read(file, position, max_bytes):
                seen.append((file.path.name, None if position is None else position.offset))
                yield batch

        monkeypatch.setitem(REGISTRY.sources, name, replace(source, read=read))
    return seen


def test_the_second_look_reads_on_and_the_ledger_takes_over_what_was_read(world, user, looked, tmp_path, read_paths):
    write_all(user)
    before = lists(looked()[0])
    read_paths.clear()
    rt, report = looked()
    assert (lists(rt), report.unchanged, read_paths) == (before, FILES, [])
    size = claude_file(user).stat().st_size
    write_claude(user, [1, 77])
    looked()
    assert read_paths == [("s1.jsonl", size)]
    read_paths.clear()
    done = sync(world.rt, environ={}, home=user, kept_in=tmp_path / "cache")
    assert read_paths == []
    assert (done.read, done.unchanged) == (FILES, 0)
    assert lists(world.rt) == lists(looked()[0])
    assert not world.problems()


def test_a_ledger_goes_on_where_the_first_look_ended(world, user, looked, tmp_path, read_paths):
    path = write_claude(user, [1, 2])
    looked()
    size = path.stat().st_size
    write_claude(user, [77])
    read_paths.clear()
    sync(world.rt, environ={}, home=user, kept_in=tmp_path / "cache")
    assert read_paths == [(path.name, size)]
    assert lists(world.rt) == lists(looked()[0])


@pytest.mark.parametrize("change", ["gone", "shorter", "another", "replaced"])
def test_what_stands_in_no_file_any_more_counts_no_more(user, looked, change):
    path = write_claude(user, [1, 2], session="a")
    write_claude(user, [3], session="b")
    assert lists(looked()[0])[By.DAY].total.whole.responses == 3
    whole = path.read_bytes()
    if change == "gone":
        path.unlink()
    elif change == "shorter":
        path.write_bytes(whole.splitlines(keepends=True)[0])
    elif change == "another":
        path.write_bytes(whole.splitlines(keepends=True)[0] + b" " * len(whole) + b"\n")
    else:
        path.with_suffix(".new").write_bytes(whole.splitlines(keepends=True)[1])
        path.with_suffix(".new").replace(path)
    left = 1 if change == "gone" else 2
    for _ in range(2):
        assert lists(looked()[0])[By.DAY].total.whole.responses == left


def test_what_was_kept_and_is_damaged_is_read_again(user, looked, tmp_path):
    write_all(user)
    good = lists(looked()[0])
    kept = tmp_path / "cache" / "read"
    whole = kept.read_bytes()
    for damaged in (
        b"", b"nonsense", whole[:100], whole[:-1], whole + b"\1\0\0\0\0\0\0\0x", whole.replace(b"s1", b"s2"),
        whole.replace(b"claude-", b"clayde-"),
        whole[:200] + bytes((whole[200] ^ 1,)) + whole[201:], whole.replace(b"tallygate 0", b"tallygate 9"),
    ):  # fmt: skip
        kept.write_bytes(damaged)
        assert lists(looked()[0]) == good
        assert kept.read_bytes()[:12] == whole[:12]
        assert lists(looked(reading=False)[0]) == good


@pytest.mark.parametrize(
    "record",
    [
        5,
        ("claude_code", "/f", True),
        ("claude_code", [1], True, b"x"),
        ({}, "/f", False, b"x"),
        ("claude_code", 1, False, b"x"),
        ("claude_code", "FILE", True, "no bytes"),
        ("claude_code", "FILE", True, b"no batch"),
        ("claude_code", "FILE", True, marshal.dumps(([("c", "s", "k", 10**30, "m", (), 0, 0, None)], *"12345"))),
        ("claude_code", "FILE", True, marshal.dumps(([], "[" * 10**5, "grown", (0, 0, [], 0, None), [], False))),
    ],
    ids=str,
)
def test_what_was_kept_in_another_form_is_read_no_further(user, looked, tmp_path, record):
    file = write_claude(user, [1])
    good = lists(looked()[0])
    if isinstance(record, tuple):
        record = tuple(str(file) if each == "FILE" else each for each in record)
    content = marshal.dumps(record)
    with (tmp_path / "cache" / "read").open("ab") as kept:
        kept.write(struct.pack("<II", len(content), zlib.crc32(content)) + content)
    for _ in range(2):
        assert lists(looked()[0]) == good


def test_where_nothing_can_be_kept_everything_is_read_each_time(user, looked, tmp_path):
    write_all(user)
    (tmp_path / "cache").write_text("no folder")
    for _ in range(2):
        assert lists(looked()[0])[By.DAY].total.whole.responses == EVERYTHING


def test_two_programs_that_look_at_a_time_keep_it_once(user, looked, tmp_path):
    write_all(user)
    other = KeptReadings(tmp_path / "cache", "0")
    other.begin()
    assert lists(looked()[0])[By.DAY].total.whole.responses == EVERYTHING
    other.close()
    assert (tmp_path / "cache" / "read").read_bytes().count(b"\n") == 1


def test_without_reading_it_says_what_was_known(user, looked):
    assert lists(looked(reading=False)[0])[By.DAY].total.whole.responses == 0
    write_claude(user, [1])
    looked()
    write_claude(user, [2], session="later")
    assert lists(looked(reading=False)[0])[By.DAY].total.whole.responses == 1


def test_what_is_packed_comes_out_as_it_was(user):
    write_all(user)
    files = [file for source in REGISTRY.sources.values() for file in source.discover({}, user)]
    batches = [piece.batch for piece in feed.pieces([feed.FileToRead(file) for file in files]) if piece.batch]
    assert len(batches) >= FILES
    assert [unpacked(packed(batch)) for batch in batches] == batches


# Read by two.


@pytest.fixture
def together(monkeypatch):
    monkeypatch.setattr(syncing, "WORTH_A_PROCESS", 0)


SHORT_LIVED = """
import itertools, sys; sys.path[:] = sys.argv[2:]
from tallygate.clients import feed; real = feed.pieces
feed.pieces = lambda *wanted: itertools.islice(real(*wanted), 2); feed.serve(int(sys.argv[1]))
"""
CUT = "import os, sys; sys.stdin.buffer.read(); os.read(int(sys.argv[1]), 4); sys.stdout.write('no piece at all')"
TAKES_ONE = "import os, sys; sys.stdin.buffer.read(); os.read(int(sys.argv[1]), 4)"


@pytest.mark.parametrize(
    "start",
    [feed._START, "raise SystemExit(1)", SHORT_LIVED, CUT, TAKES_ONE],
    ids=["reads", "cannot start", "dies on the way", "talks nonsense", "takes a file and dies"],
)
def test_two_processes_read_what_one_reads(world, user, looked, together, monkeypatch, start):
    write_all(user)
    for number in range(30):
        write_claude(user, [number + 10], session=f"more{number:02}")
    monkeypatch.setattr(feed, "_START", start)
    rt, report = looked()
    assert (report.read, report.faults) == (FILES + 30, [])
    sync(world.rt, environ={}, home=user)
    assert lists(rt) == lists(world.rt)


def test_files_come_in_their_order_however_many_read_them(user, monkeypatch):
    for number in range(40):
        write_claude(user, [number], session=f"s{number:02}")
    monkeypatch.setattr(feed, "_TURNS_MAX", 7)
    wanted = [feed.FileToRead(file) for file in REGISTRY.sources["claude_code"].discover({}, user)]
    found = [(piece.number, piece.batch is None) for piece in feed.pieces_together(wanted)]
    assert found == [(number, over) for number in range(40) for over in (False, True)]


def test_an_interrupt_ends_the_process_that_reads_along(user, looked, together, monkeypatch):
    write_all(user)
    started = []
    real = feed._started
    monkeypatch.setattr(feed, "_started", lambda turns: started.append(real(turns)) or started[-1])

    def interrupt(step):
        if step.files_done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        looked(progress=interrupt)
    assert started[0].poll() is not None
    assert Path(f"/proc/{started[0].pid}").exists() is False or os.name != "posix"
