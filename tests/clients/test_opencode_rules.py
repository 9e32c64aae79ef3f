"""How opencode's database and message files become rows; each test is named after its rule."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.clients.making import rows_in, total
from tests.reading_rules import Rule

from tallygate.clients.opencode.transcripts import discover, locations, read, row_of
from tallygate.clients.reading.files import FilePosition, TranscriptFile
from tallygate.clients.reading.lines import ReadReport, Skip, decode, fields
from tallygate.core.costing import Tokens

V1 = """CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT, time_created INTEGER, time_updated INTEGER,
        data TEXT)"""
V2 = """CREATE TABLE session_message (id TEXT PRIMARY KEY, session_id TEXT, type TEXT, seq INTEGER,
        time_created INTEGER, time_updated INTEGER, data TEXT)"""
BEGAN = 1_770_000_000_000


def said(number: int = 0, *, done: bool = True, **counts: Any) -> dict[str, Any]:
    used = {"input": 100 + number, "output": 30, "reasoning": 0, "cache": {"read": 500, "write": 40}} | counts
    time = {"created": BEGAN + number} | ({"completed": BEGAN + number + 900} if done else {})
    return {
        "role": "assistant",
        "modelID": "claude-sonnet-4-5",
        "providerID": "anthropic",
        "path": {"cwd": "/home/me/project"},
        "time": time,
        "cost": 0.0123450,
        "tokens": used,
    }


def row(message: dict[str, Any]) -> Any:
    return row_of(fields(decode(json.dumps(message).encode())), "ses_1", ReadReport())


def database(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = sqlite3.connect(path, isolation_level=None)
    made.execute("PRAGMA journal_mode=WAL")
    made.execute(V1)
    made.execute(V2)
    return made


def put(db: sqlite3.Connection, message_id: str, session: str, message: dict[str, Any], changed: int = 1) -> None:
    values = (message_id, session, message["time"]["created"], changed, json.dumps(message))
    db.execute("INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?)", values)


def put_v2(db: sqlite3.Connection, message_id: str, session: str, seq: int, message: dict[str, Any]) -> None:
    values = (message_id, session, "assistant", seq, message["time"]["created"], 1, json.dumps(message))
    db.execute("INSERT INTO session_message VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def rows_of(path: Path, position: FilePosition | None = None) -> list[Any]:
    return rows_in(row for batch in read(TranscriptFile("opencode", path), position) for row in batch.rows)


@pytest.mark.parametrize(
    ("counts", "output", "rule"),
    [
        ({"output": 30, "reasoning": 20, "total": 670}, 30, Rule.OPENCODE_INSIDE),
        ({"output": 30, "reasoning": 20, "total": 690}, 50, Rule.OPENCODE_BESIDE),
        ({"output": 30, "reasoning": 0, "total": 670}, 30, Rule.OPENCODE_BESIDE),
        ({"output": 30, "reasoning": 20}, 50, Rule.OPENCODE_UNPROVEN),
        ({"output": 30, "reasoning": 20, "total": 1}, 50, Rule.OPENCODE_UNPROVEN),
    ],
)
def test_what_reasoning_means_is_decided_by_the_sum_that_equals_the_total(counts, output, rule):
    found = row(said(**counts))
    assert (found.tokens, found.rule) == (Tokens(100, 500, 40, 0, output), rule)


def test_the_stored_cost_is_kept_as_text_and_not_trusted():
    found = row(said())
    assert found.native_cost_text == "0.012345"
    assert row(said() | {"cost": None}).native_cost_text is None


def test_model_provider_and_project_are_kept_as_written():
    found = row(said())
    assert (found.model, found.provider, found.project) == ("claude-sonnet-4-5", "anthropic", "/home/me/project")
    newer = said() | {"model": {"id": "m", "providerID": "p"}}
    del newer["modelID"], newer["providerID"]
    assert (row(newer).model, row(newer).provider) == ("m", "p")


def test_a_message_counts_when_it_is_complete():
    report = ReadReport()
    message = fields(decode(json.dumps(said(done=False)).encode()))
    assert row_of(message, "ses_1", report) is None
    assert report.skipped[Skip.UNFINISHED] == 1


def test_database_and_message_files_bring_the_same_rows(tmp_path):
    with closing(database(tmp_path / "opencode.db")) as db:
        put(db, "msg_1", "ses_1", said())
    file = tmp_path / "storage" / "message" / "ses_1" / "msg_1.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(said() | {"id": "msg_1", "sessionID": "ses_1"}))
    assert rows_of(tmp_path / "opencode.db") == rows_of(file)
    found = list(discover({"OPENCODE_DATA_DIR": str(tmp_path)}, tmp_path))
    assert len(rows_in(row for item in found for batch in read(item) for row in batch.rows)) == 1


def test_messages_that_a_fork_copied_count_once(tmp_path):
    with closing(database(tmp_path / "opencode.db")) as db:
        for number in range(3):
            put_v2(db, f"msg_p{number}", "ses_parent", number, said(number))
            put_v2(db, f"msg_f{number}", "ses_fork", number, said(number))
        put_v2(db, "msg_own", "ses_fork", 3, said(9))
        put(db, "msg_old", "ses_a", said(20))
        put(db, "msg_old_copy", "ses_b", said(20))
    rows = rows_of(tmp_path / "opencode.db")
    assert len(rows) == 5
    assert total(rows).total == 5 * 670 + 0 + 1 + 2 + 9 + 20


def test_a_database_is_read_while_it_is_written_and_only_for_what_is_new(tmp_path):
    path = tmp_path / "opencode.db"
    with closing(database(path)) as db:
        put(db, "msg_1", "ses_1", said(1), changed=10)
        put(db, "msg_2", "ses_1", said(2, done=False), changed=20)
        first = list(read(TranscriptFile("opencode", path)))
        position = FilePosition.from_json(json.loads(json.dumps(first[-1].position.as_json())))
        assert [len(batch.rows) for batch in first] == [1, 0]
        assert list(read(TranscriptFile("opencode", path), position)) == []
        put(db, "msg_2", "ses_1", said(2), changed=30)
        later = rows_of(path, position)
        assert [row.tokens.fresh_input for row in later] == [102]


def test_reading_leaves_a_closed_database_as_it_is(tmp_path):
    path = tmp_path / "opencode.db"
    with closing(database(path)) as db:
        put(db, "msg_1", "ses_1", said())
    before = path.read_bytes()
    batches = list(read(TranscriptFile("opencode", path)))
    assert path.read_bytes() == before
    # SQLite itself lays its two helpers beside a database in this mode, empty ones.
    assert {item.name for item in tmp_path.iterdir() if item.stat().st_size and item != path} <= {"opencode.db-shm"}
    assert list(read(TranscriptFile("opencode", path), batches[-1].position)) == []


def test_users_messages_views_and_strange_values_bring_no_row(tmp_path):
    path = tmp_path / "opencode.db"
    with closing(database(path)) as db:
        put(db, "msg_u", "ses_1", said() | {"role": "user"})
        db.execute("INSERT INTO message VALUES ('x', 5, 1, 1, 'no json')")
        db.execute("INSERT INTO message VALUES ('y', 'ses_1', 1, 1, NULL)")
        db.execute("INSERT INTO message VALUES ('z', 'ses_1', 1, 'soon', '{\"tokens\":')")
        db.execute("DROP TABLE session_message")
        db.execute("CREATE VIEW session_message AS SELECT *, 'assistant' AS type FROM message")
    assert rows_of(path) == []


def test_a_file_that_is_no_database_is_unreadable_and_not_fatal(tmp_path):
    path = tmp_path / "opencode.db"
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    (batch,) = read(TranscriptFile("opencode", path))
    assert (batch.change, batch.position) == ("unreadable", None)
    (gone,) = read(TranscriptFile("opencode", tmp_path / "none.db"))
    assert gone.change == "gone"


def test_databases_of_all_channels_are_found(tmp_path):
    root = tmp_path / ".local/share/opencode"
    root.mkdir(parents=True)
    for name in ("opencode.db", "opencode-dev.db", "opencode.db-wal", "other.db"):
        (root / name).write_bytes(b"")
    assert [file.path.name for file in discover({}, tmp_path)] == ["opencode-dev.db", "opencode.db"]
    assert locations({"XDG_DATA_HOME": "/data"}, tmp_path) == [Path("/data/opencode")]
