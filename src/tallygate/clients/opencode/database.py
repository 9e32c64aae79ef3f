"""opencode's SQLite database, which others write while we read: read-only, hardened, in bounded steps."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tallygate.clients.base import Batch, Change, FilePosition, nothing, written_at
from tallygate.clients.lines import MAX_LINE, ReadReport, Skip, Unreadable, decode, fields, name
from tallygate.clients.opencode.messages import is_answer, row_of
from tallygate.core.usage import ObservedUsage

_ROWS = 500
_PARENTS = 100_000
_OPEN_MAX = 256
# SQLite's own unit of work; a schema made to be slow is given up on instead of waited for.
_STEPS = 200_000_000
_WAIT_MS = 200

# Where each kind of message lies, and which rows of it are answers of a model.
_TABLES = {"message": None, "session_message": "assistant"}


def read_database(path: Path, position: FilePosition | None) -> Iterator[Batch]:
    """Messages changed since the position, in batches; the last change seen is the position's state."""
    try:
        info = path.stat()
        wal = _stat_of(path.with_name(path.name + "-wal"))
    except OSError as error:
        yield nothing(Change.GONE if isinstance(error, FileNotFoundError) else Change.UNREADABLE)
        return
    if not stat.S_ISREG(info.st_mode):
        is_closed = stat.S_ISDIR(info.st_mode) and not os.access(path, os.R_OK | os.X_OK)
        yield nothing(Change.UNREADABLE if is_closed else Change.NOT_REGULAR)
        return
    same = position is not None and (position.device, position.inode) == (info.st_dev, info.st_ino)
    state: dict[str, Any] = dict(position.state) if position is not None and same else {}
    facts = [info.st_size, info.st_mtime_ns, *wal]
    if state.get("facts") == facts:
        return
    change = Change.NEW if position is None else (Change.GROWN if same else Change.REPLACED)
    seen = state.get("seen")
    marks: dict[str, int] = dict(seen) if isinstance(seen, Mapping) else {}
    left = state.get("open")
    unfinished = dict.fromkeys(left if isinstance(left, list) else ())
    try:
        with closing(_open(path)) as database:
            for table, kind in _TABLES.items():
                looked = _Look(table, kind, marks.get(table), written_at(info), unfinished)
                for rows, mark, report in _messages(database, looked):
                    marks[table], report.unfinished = mark, len(unfinished)
                    stood = _position(info, {"seen": dict(marks), "open": [*unfinished]})
                    yield Batch(tuple(rows), stood, change, report)
    except sqlite3.Error:
        report = ReadReport()
        report.skipped[Skip.BAD_FILE] += 1
        yield Batch((), None, Change.UNREADABLE, report)
        return
    last = ReadReport(unfinished=len(unfinished))
    yield Batch((), _position(info, {"seen": dict(marks), "open": [*unfinished], "facts": facts}), change, last)


def _stat_of(path: Path) -> tuple[int, int]:
    try:
        info = path.stat()
    except FileNotFoundError:
        return 0, 0
    # An empty one is no change: SQLite makes it for our own reading, too.
    return (info.st_size, info.st_mtime_ns) if info.st_size else (0, 0)


def _position(info: Any, state: dict[str, Any]) -> FilePosition:
    return FilePosition(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, 0, "", state=state)


def _open(path: Path) -> sqlite3.Connection:
    # Never immutable=1: on a file that is being written that reads torn pages.
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    database = sqlite3.connect(uri, uri=True, timeout=_WAIT_MS / 1000, isolation_level=None)
    try:
        for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
            database.execute(f"PRAGMA {pragma}")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 4 * MAX_LINE)
        database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        database.text_factory = bytes
        left = [_STEPS]

        def tire() -> bool:
            left[0] -= 100_000
            return left[0] < 0

        database.set_progress_handler(tire, 100_000)
        database.set_authorizer(_only_reading)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _only_reading(action: int, subject: str | None, *_rest: object) -> int:
    reading = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
    if action in reading or (action == sqlite3.SQLITE_PRAGMA and subject == "table_info"):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


@dataclass(frozen=True, slots=True)
class _Look:
    """One look into one table: from which change on, and which messages had not ended, kept up to date."""

    table: str
    kind: str | None
    since: int | None
    written_at: datetime
    unfinished: dict[str, None]

    def note(self, message: object, *, is_open: bool) -> None:
        """Keep in mind whether a message has ended."""
        key = message.decode(errors="replace") if type(message) is bytes else str(message)
        self.unfinished.pop(key, None)
        if is_open:
            self.unfinished[key] = None
            if len(self.unfinished) > _OPEN_MAX:
                del self.unfinished[next(iter(self.unfinished))]


def _messages(database: sqlite3.Connection, look: _Look) -> Iterator[tuple[list[ObservedUsage], int, ReadReport]]:
    """Rows of one table from the last change seen on, that one included; views are not tables."""
    table, kind, since = look.table, look.kind, look.since
    known = database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
    columns = {bytes(row[1]).decode(errors="replace") for row in database.execute(f"PRAGMA table_info({table})")}
    if known is None or not {"id", "session_id", "data"} <= columns:
        return
    changed = next((column for column in ("time_updated", "time_created") if column in columns), "0")
    created = "time_created" if "time_created" in columns else "NULL"
    # Names come from the two lists above, values are bound.
    query = f"SELECT id, session_id, {created}, {changed}, data FROM {table} WHERE {changed} >= ?"  # noqa: S608
    values: list[object] = [since if since is not None else -1]
    if kind is not None and "type" in columns:
        query += " AND type = ?"
        values.append(kind)
    parents = _parents(database)
    cursor = database.execute(f"{query} ORDER BY {changed}", values)
    mark = since if since is not None else -1
    models: dict[str, ObservedUsage] = {}
    while found := cursor.fetchmany(_ROWS):
        report = ReadReport()
        rows = []
        for message, session, made, stamp, data in found:
            mark = max(mark, stamp) if type(stamp) is int else mark
            left = report.skipped[Skip.UNFINISHED]
            row = _row(session, (made, stamp, look.written_at), data, report, v2=kind is not None)
            look.note(message, is_open=report.skipped[Skip.UNFINISHED] > left)
            if row is not None:
                if row.model:
                    models[row.session] = row
                elif (before := models.get(row.session)) is not None:
                    row = replace(row, model=before.model, provider=row.provider or before.provider)
                parent = parents.get(row.session)
                rows.append(row if parent is None else replace(row, parent_session=parent, agent_id=row.session))
        yield rows, mark, report


def _parents(database: sqlite3.Connection) -> dict[str, str]:
    """Which session started which: a subagent's is one of its own."""
    columns = {bytes(row[1]).decode(errors="replace") for row in database.execute("PRAGMA table_info(session)")}
    if not {"id", "parent_id"} <= columns:
        return {}
    query = "SELECT id, parent_id FROM session WHERE parent_id IS NOT NULL LIMIT ?"
    found = database.execute(query, (_PARENTS,)).fetchall()
    texts = ((_text(child), _text(parent)) for child, parent in found)
    return {child: parent for child, parent in texts if child is not None and parent is not None}


def _text(value: Any) -> str | None:
    return name(value.decode(errors="replace")) if type(value) is bytes else None


def _row(
    session: Any, times: tuple[object, object, datetime], data: Any, report: ReadReport, *, v2: bool
) -> ObservedUsage | None:
    if type(data) is str:
        data = data.encode(errors="replace")
    if type(data) is not bytes:
        report.skipped[Skip.BAD_JSON] += 1
        return None
    report.bytes_read += len(data)
    if b'"tokens"' not in data:
        return None
    whose = session.decode(errors="replace") if type(session) is bytes else str(session)
    try:
        message = fields(decode(data))
        if not v2 and not is_answer(message):
            return None
        row = row_of(message, whose, report, times[0], times)
    except Unreadable as error:
        report.skipped[error.reason] += 1
        return None
    report.rows += row is not None
    return row
