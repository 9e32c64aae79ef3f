"""opencode's messages: its database and its files, and what they say was used."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tallygate.clients.opencode.client import BESIDE, INSIDE, UNPROVEN
from tallygate.clients.reading import lines
from tallygate.clients.reading.files import (
    Batch,
    FilePosition,
    FileState,
    TranscriptFile,
    Transcripts,
    directories_of,
    directory_of,
    files_below,
    nothing,
    unique,
    written_at,
)
from tallygate.clients.reading.whole_files import read_document
from tallygate.core.attribution import label
from tallygate.core.costing import Tokens
from tallygate.core.regex import regex
from tallygate.core.usage import ObservedUsage, ReadingRule
from tallygate.core.values import value

# --- messages --------------------------------------------------------------------------------------------------------
# One opencode message as usage; what its reasoning means is decided by the sum that equals its total.


CLIENT = "opencode"
# The session of a message that names none.
UNNAMED = "unknown"


class MessageFile:
    """Reads one message file of the time before the database."""

    def __init__(self, path: Path) -> None:
        self.report = lines.ReadReport()
        self.written_at: datetime | None = None
        self._session = path.parent.name

    def document(self, data: bytes) -> list[ObservedUsage]:
        self.report.bytes_read += len(data)
        try:
            message = lines.fields(lines.decode(data))
            if not is_answer(message):
                return []
            session = lines.name(message.get("sessionID")) or self._session
            row = row_of(message, session, self.report, times=(self.written_at,))
            row = None if row is None else replace(row, agent_type=None)  # nothing tells whose session it is
            self.report.unfinished = self.report.skipped[lines.Skip.UNFINISHED]
        except lines.Unreadable as error:
            self.report.skipped[error.reason] += 1
            return []
        self.report.rows += row is not None
        return [] if row is None else [row]


def is_answer(message: lines.Fields) -> bool:
    """Whether a message is a model's; what says nothing of it and has counts was paid for."""
    role = message.get("role")
    return role == "assistant" or (role != "user" and type(message.get("tokens")) is tuple)


def row_of(
    message: lines.Fields, session: str, report: lines.ReadReport, created: object = None, times: Sequence[object] = ()
) -> ObservedUsage | None:
    """The usage of an assistant's message, or nothing while it is being written or where it cost nothing.

    `times` are those at which it may have ended where it does not say so itself, the best first.
    """
    odd: set[str] = set()
    written = lines.part(message, "tokens", odd)
    tokens, reasoning, rule = _tokens(written, odd)
    if not tokens.total:
        report.skipped[lines.Skip.BAD_COUNT if lines.countless(odd) else lines.Skip.EMPTY] += 1
        return None
    time = lines.part(message, "time", set())
    began, ended = time.get("created", created), time.get("completed")
    if ended is None and message.get("finish") is None and message.get("error") is None:
        report.skipped[lines.Skip.UNFINISHED] += 1
        return None
    model = lines.inner(message, "model")
    cost = message.get("cost")
    provider = lines.name(message.get("providerID")) or lines.name(model.get("providerID"))
    model_id = (
        lines.name(message.get("modelID")) or lines.name(model.get("id")) or lines.name(model.get("modelID")) or ""
    )
    if not model_id:
        odd.add(lines.Odd.NO_MODEL)
    return ObservedUsage(
        client=CLIENT,
        session=lines.name(session) or UNNAMED,
        response_key=_key(began, ended, provider, model_id, tokens),
        # A message is begun before its model is asked; what was asked for it lies before its end.
        at=_ended(ended, (began, *times), odd),
        model=model_id,
        tokens=tokens,
        rule=rule,
        reasoning=reasoning,
        native_cost_text=str(cost) if type(cost) is int else lines.name(cost),
        project=lines.name(lines.inner(message, "path").get("cwd")),
        provider=provider,
        odd=tuple(sorted(odd)),
        # Of a conversation's own messages it is only a manner of work; the session around them tells.
        agent_type=label(message.get("agent")) or label(message.get("mode")),
    )


def _ended(written: object, others: Sequence[object], odd: set[str]) -> datetime:
    """When a message ended; where that cannot be read, the best other time there is."""
    try:
        return lines.moment(written)
    except lines.Unreadable:
        odd.add(lines.Odd.NO_TIME)
    for other in others:
        with suppress(lines.Unreadable):
            return other if isinstance(other, datetime) else lines.moment(other)
    raise lines.Unreadable(lines.Skip.NO_TIME)


def _key(began: object, ended: object, provider: str | None, model: str, tokens: Tokens) -> str:
    """What a response is known by in every fork: forks copy messages under new ids, content unchanged."""
    classes = (tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m, tokens.output)
    content = "|".join(map(str, (began, ended, provider, model, *classes)))
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _tokens(written: lines.Fields, odd: set[str]) -> tuple[Tokens, int, ReadingRule]:
    """The disjoint classes. Input never holds cache here; output held reasoning in some versions only."""
    cache = lines.part(written, "cache", odd)
    fresh, output, reasoning, total = (
        lines.count(written, key, odd) for key in ("input", "output", "reasoning", "total")
    )
    read, write = lines.count(cache, "read", odd), lines.count(cache, "write", odd)
    inside = fresh + output + read + write
    if reasoning and total == inside and reasoning <= output:
        rule, all_output = INSIDE, output
    elif not reasoning or total == inside + reasoning:
        rule, all_output = BESIDE, output + reasoning
    else:
        # No total, or one that neither sum meets: the newer meaning, which never counts too little.
        rule, all_output = UNPROVEN, output + reasoning
    return Tokens(fresh, read, write, 0, all_output), reasoning, rule


# --- database --------------------------------------------------------------------------------------------------------
# opencode's SQLite database, which others write while we read: read-only, hardened, in bounded steps.


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
        try:
            beside = path.with_name(path.name + "-wal").stat()
            # An empty one is no change: SQLite makes it for our own reading, too.
            wal = [beside.st_size, beside.st_mtime_ns] if beside.st_size else [0, 0]
        except FileNotFoundError:
            wal = [0, 0]
    except OSError as error:
        yield nothing(FileState.GONE if isinstance(error, FileNotFoundError) else FileState.UNREADABLE)
        return
    if not stat.S_ISREG(info.st_mode):
        is_closed = stat.S_ISDIR(info.st_mode) and not os.access(path, os.R_OK | os.X_OK)
        yield nothing(FileState.UNREADABLE if is_closed else FileState.NOT_REGULAR)
        return
    same = position is not None and (position.device, position.inode) == (info.st_dev, info.st_ino)
    state: dict[str, Any] = dict(position.state) if position is not None and same else {}
    facts = [info.st_size, info.st_mtime_ns, *wal]
    if state.get("facts") == facts:
        return
    change = FileState.NEW if position is None else (FileState.GROWN if same else FileState.REPLACED)
    seen = state.get("seen")
    marks: dict[str, int] = dict(seen) if isinstance(seen, Mapping) else {}
    left = state.get("open")
    unfinished = dict.fromkeys(left if isinstance(left, list) else ())
    anew = change is not FileState.GROWN
    try:
        with closing(_open(path)) as database:
            for table, kind in _TABLES.items():
                looked = _TableLook(table, kind, marks.get(table), written_at(info), unfinished)
                for rows, mark, report in _messages(database, looked):
                    marks[table], report.unfinished = mark, len(unfinished)
                    stood = _position(info, {"seen": dict(marks), "open": [*unfinished]})
                    yield Batch(tuple(rows), stood, change, report, anew=anew)
                    anew = False
    except sqlite3.Error:
        report = lines.ReadReport()
        report.skipped[lines.Skip.BAD_FILE] += 1
        yield Batch((), None, FileState.UNREADABLE, report)
        return
    last = lines.ReadReport(unfinished=len(unfinished))
    stood = _position(info, {"seen": dict(marks), "open": [*unfinished], "facts": facts})
    yield Batch((), stood, change, last, anew=anew)


def _position(info: Any, state: dict[str, Any]) -> FilePosition:
    return FilePosition(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, 0, "", state=state)


def _open(path: Path) -> sqlite3.Connection:
    # Never immutable=1: on a file that is being written that reads torn pages.
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    database = sqlite3.connect(uri, uri=True, timeout=_WAIT_MS / 1000, isolation_level=None)
    try:
        for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
            database.execute(f"PRAGMA {pragma}")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 4 * lines.MAX_LINE)
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


@value(frozen=True, slots=True)
class _TableLook:
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


def _messages(
    database: sqlite3.Connection, look: _TableLook
) -> Iterator[tuple[list[ObservedUsage], int, lines.ReadReport]]:
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
        report = lines.ReadReport()
        rows = []
        for message, session, made, stamp, data in found:
            mark = max(mark, stamp) if type(stamp) is int else mark
            left = report.skipped[lines.Skip.UNFINISHED]
            row = _row(session, (made, stamp, look.written_at), data, report, v2=kind is not None)
            look.note(message, is_open=report.skipped[lines.Skip.UNFINISHED] > left)
            if row is not None:
                if row.model:
                    models[row.session] = row
                elif (before := models.get(row.session)) is not None:
                    row = replace(row, model=before.model, provider=row.provider or before.provider)
                parent = parents.get(row.session)
                if parent is None:
                    rows.append(replace(row, agent_type=None))
                else:
                    rows.append(replace(row, parent_session=parent, agent_id=row.session))
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
    return lines.name(value.decode(errors="replace")) if type(value) is bytes else None


def _row(
    session: Any, times: tuple[object, object, datetime], data: Any, report: lines.ReadReport, *, v2: bool
) -> ObservedUsage | None:
    if type(data) is str:
        data = data.encode(errors="replace")
    if type(data) is not bytes:
        report.skipped[lines.Skip.BAD_JSON] += 1
        return None
    report.bytes_read += len(data)
    # Most messages are the user's, or have no usage yet: they need not be decoded.
    if b'"tokens"' not in data:
        return None
    whose = session.decode(errors="replace") if type(session) is bytes else str(session)
    try:
        message = lines.fields(lines.decode(data))
        if not v2 and not is_answer(message):
            return None
        row = row_of(message, whose, report, times[0], times)
    except lines.Unreadable as error:
        report.skipped[error.reason] += 1
        return None
    report.rows += row is not None
    return row


# --- transcripts -----------------------------------------------------------------------------------------------------
# opencode's database and older message files: where they lie and how each is read. See NOTES.md.


_PREFIX = regex(r"[A-Za-z0-9_-]{1,64}")


def locations(env: Mapping[str, str], home: Path) -> list[Path]:
    """The data directories."""
    return unique([*directories_of(env, "OPENCODE_DATA_DIR", home), _default(env, home)])


def _default(env: Mapping[str, str], home: Path) -> Path:
    return directory_of(env, "XDG_DATA_HOME", home / ".local" / "share") / "opencode"


def named_databases(env: Mapping[str, str], home: Path) -> list[tuple[str, Path]]:
    """The databases that a variable names, each with it: a path, or a name in the data directory."""
    named = [_default(env, home) / path for path in directories_of(env, "OPENCODE_DB", home) if str(path) != ":memory:"]
    return [("OPENCODE_DB", path) for path in unique(named)]


def discover(env: Mapping[str, str], home: Path) -> Iterator[TranscriptFile]:
    """Databases, one a release channel, and the message files from before there was a database."""
    prefix = env.get("OPENCODE_DB_PREFIX", "opencode")
    if not _PREFIX.fullmatch(prefix):
        prefix = "opencode"
    database = re.compile(re.escape(prefix) + r"(-[A-Za-z0-9_-]+)?\.db")
    named = [path for _, path in named_databases(env, home)]
    yield from (TranscriptFile(CLIENT, path) for path in named if path.exists())
    closed: list[Path] = []
    for root in locations(env, home):
        try:
            found = sorted(path for path in root.iterdir() if database.fullmatch(path.name) and path not in named)
        except (FileNotFoundError, NotADirectoryError):
            found = []
        except OSError:
            found = [root]
        yield from (TranscriptFile(CLIENT, path) for path in found)
        for path in files_below(root / "storage" / "message", (".json",), closed):
            yield TranscriptFile(CLIENT, path)
    yield from (TranscriptFile(CLIENT, path) for path in closed)


def read(file: TranscriptFile, position: FilePosition | None = None, _max_bytes: int | None = None) -> Iterator[Batch]:
    """What is new in one database or message file; both are read to their end.

    Many messages may share one time of change, and a budget that stops among them would never get past it.
    """
    if file.path.suffix == ".json":
        return read_document(file.path, position, MessageFile(file.path))
    return read_database(file.path, position)


SOURCE = Transcripts(CLIENT, locations, discover, read, variables=("OPENCODE_DATA_DIR",), named=named_databases)
