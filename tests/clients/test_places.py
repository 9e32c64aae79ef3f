"""Where transcripts are looked for: variables add places and take none away, and one that names nothing is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clients.making import PARENT, THREAD, codex, lines, meta, recorded, rows_in, total, usage
from tests.transcripts import DAY, iso, write_opencode

from tallygate.clients.codex.transcripts import locations as codex_places
from tallygate.clients.codex.transcripts import reader_of
from tallygate.clients.opencode.transcripts import discover as opencode_files
from tallygate.clients.reading.files import missing
from tallygate.clients.registry import REGISTRY
from tallygate.operations.usage.sync import misnamed


def test_codex_is_read_from_several_homes(tmp_path):
    found = codex_places({"CODEX_HOME": f"{tmp_path}/a, ~/b"}, tmp_path)
    for home in ("a", "b", ".codex"):
        assert tmp_path / home / "sessions" in found
        assert tmp_path / home / "archived_sessions" in found


@pytest.mark.parametrize("name", ["side.db", "{home}/elsewhere/team.sqlite"])
def test_the_database_that_a_variable_names_is_read_beside_the_others(tmp_path, name):
    usual = write_opencode(tmp_path, 1)
    other = usual.parent / name.format(home=tmp_path)
    other.parent.mkdir(exist_ok=True, parents=True)
    other.write_bytes(usual.read_bytes())
    environ = {"OPENCODE_DB": name.format(home=tmp_path)}
    files = list(opencode_files(environ, tmp_path))
    assert [file.path for file in files] == [other, usual]
    read = REGISTRY.sources["opencode"].read
    assert sum(len(batch.rows) for batch in read(files[0], None, None)) == 1
    assert [file.path for file in opencode_files({"OPENCODE_DB": ":memory:"}, tmp_path)] == [usual]


def test_a_variable_that_names_nothing_is_said(tmp_path):
    (tmp_path / "there").mkdir()
    environ = {"CODEX_HOME": f"{tmp_path}/there,{tmp_path}/gone"}
    assert list(missing(environ, ("CODEX_HOME",), tmp_path)) == [("CODEX_HOME", tmp_path / "gone")]
    assert misnamed("codex", environ, tmp_path) == [f"CODEX_HOME names {tmp_path}/gone, and nothing is there"]


@pytest.mark.parametrize(
    ("client", "variable"),
    [
        ("claude_code", "CLAUDE_CONFIG_DIR"),
        ("gemini", "GEMINI_DATA_DIR"),
        ("gemini", "GEMINI_CLI_HOME"),
        ("opencode", "OPENCODE_DATA_DIR"),
        ("opencode", "OPENCODE_DB"),
        ("qwen", "QWEN_DATA_DIR"),
        ("qwen", "QWEN_RUNTIME_DIR"),
        ("qwen", "QWEN_HOME"),
        ("copilot", "COPILOT_HOME"),
    ],
)
def test_every_variable_that_names_a_place_is_told_where_nothing_is_there(client, variable, tmp_path):
    place = tmp_path / "gone"
    told = [f"{variable} names {place}, and nothing is there"]
    assert misnamed(client, {variable: str(place)}, tmp_path) == told
    place.mkdir()
    assert misnamed(client, {variable: str(place)}, tmp_path) == []
    assert misnamed(client, {variable: ""}, tmp_path) == []


def test_a_database_of_opencode_that_is_named_is_looked_for_where_the_client_looks_for_it(tmp_path):
    environ = {"OPENCODE_DB": "mine.db", "XDG_DATA_HOME": str(tmp_path)}
    assert misnamed("opencode", environ, tmp_path) == [
        f"OPENCODE_DB names {tmp_path}/opencode/mine.db, and nothing is there"
    ]
    (tmp_path / "opencode").mkdir()
    (tmp_path / "opencode" / "mine.db").touch()
    assert misnamed("opencode", environ, tmp_path) == []
    assert misnamed("opencode", environ | {"OPENCODE_DB": ":memory:"}, tmp_path) == []
    assert misnamed("claude_code", environ, tmp_path) == []


USED = usage(100, 60, 10)


def fork(kept: bool, ids: str, marked: bool, copies: int) -> tuple[list[object], int]:
    """A fork's lines: copied turns at their own times or at the fork's, then one turn of its own."""
    old = {"v7": PARENT, "old": "68cb0b9a-9a57-4b6c-8a55-111111111111"}[ids]
    own = {"v7": THREAD, "old": "5973b6c0-94b8-487b-a530-2aeb6098ae0e"}[ids]
    rows = [meta(own, **({"forked_from_id": old} if marked else {})), meta(old)]
    rows[0]["timestamp"] = iso(DAY)
    whole = 0
    for number in range(copies):
        whole += 1
        info = {"total_token_usage": {key: value * whole for key, value in USED.items()}, "last_token_usage": USED}
        row = codex("event_msg", {"type": "token_count", "info": info})
        row["timestamp"] = f"2026-01-0{number + 1}T10:00:00.000Z" if kept else iso(DAY)
        rows.append(row)
    info = {"total_token_usage": {key: value * (whole + 1) for key, value in USED.items()}, "last_token_usage": USED}
    row = codex("event_msg", {"type": "token_count", "info": info})
    row["timestamp"] = "2026-04-01T10:00:00.000Z"
    return [*rows, row], 110


@settings(max_examples=60)
@given(st.booleans(), st.sampled_from(["v7", "old"]), st.booleans(), st.integers(0, 4), st.data())
def test_a_fork_counts_only_its_own_whatever_times_and_ids_its_copies_have(kept, ids, marked, copies, data):
    rows, expected = fork(kept, ids, marked, copies)
    text = lines(*rows)
    state, start, found = None, 0, []
    for end in [*sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=3))), len(text)]:
        it = reader_of(Path("rollout.jsonl"), state)
        found += it.feed(text[start:end])
        start = end - it.splitter.held
        state = json.loads(json.dumps(it.state()))
    assert total(rows_in(found)).total == expected


def test_records_of_a_gateway_that_gives_one_id_to_all_count_each_once():
    rows = [recorded("resp_1", USED, {k: v * n for k, v in USED.items()}, second=n) for n in (1, 1, 2, 3)]
    found = rows_in(reader_of(Path("rollout.jsonl")).feed(lines(meta(), *rows)))
    assert len(found) == 3
