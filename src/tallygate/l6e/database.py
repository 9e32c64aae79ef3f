"""l6e-mcp's sessions.db, which a server may be writing: read-only, hardened, one snapshot, a row at a time."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tallygate.core.costing import Tokens
from tallygate.core.errors import InvalidArgument
from tallygate.core.model import ModeCoverage
from tallygate.core.words import AccountingMode, CallMode, UnknownPrice, UsageChannel
from tallygate.files import open_regular
from tallygate.l6e.records import Cells, KeptCall, KeptSession, Remark, Unusable, actor_of

# The schema of l6e-mcp 0.8.5; earlier versions lack the second kind, and what is absent reads as nothing.
SCHEMA_KNOWN = 2
_SESSION = ("session_id", "model", "policy_json", "state", "created_at")
_SESSION_MORE = (
    "accounting_mode", "usage_channel", "ask_mode_exact_capable", "plan_mode_exact_capable",
    "agent_mode_exact_capable", "ended_at", "finalized_at", "start_summary", "end_summary", "parent_session_id",
    "client",
)  # fmt: skip
_CALL = (
    "call_id", "session_id", "call_index", "tool_name", "model_requested", "model_used", "estimated_cost_usd",
    "actual_cost_usd", "created_at",
)  # fmt: skip
_CALL_MORE = (
    "estimated_prompt_tokens", "estimated_completion_tokens", "raw_estimated_cost_usd", "actual_prompt_tokens",
    "actual_completion_tokens", "rerouted", "reconciled_at", "actor_type", "actor_id", "actor_name", "parent_call_id",
    "call_mode", "mode_exact_capable", "correlation_key", "correlation_source", "callback_request_id",
    "callback_trace_id", "hosted_ledger_id",
)  # fmt: skip
_CORRELATION = (
    "correlation_key", "correlation_source", "callback_request_id", "callback_trace_id", "hosted_ledger_id",
)  # fmt: skip

_WAIT_MS = 2_000
_CHUNK = 1024 * 1024
_VALUE_MAX = 4 * 1024 * 1024
# SQLite's own unit of work; a schema made to be slow is given up on instead of waited for.
_STEPS, _STEPS_A_ROW = 200_000_000, 2_000


class Database:
    """A database that was opened and found to be l6e-mcp's. All reads see one moment."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path
        self._steps = _STEPS
        connection.execute("BEGIN")
        connection.set_progress_handler(self._tire, 100_000)
        connection.set_authorizer(_only_reading)
        self._sessions = self._select("sessions", _SESSION, _SESSION_MORE)
        self._calls = self._select("calls", _CALL, _CALL_MORE)
        query = "SELECT session_id FROM sessions GROUP BY session_id HAVING COUNT(*) > 1 LIMIT 1000"
        self._twice = {row[0] for row in connection.execute(query)}
        self.schema_version = self._version()

    def sessions(self) -> Iterator[KeptSession | Unusable]:
        """Every session in the order in which they were opened, so that a parent comes before its children."""
        try:
            # Names come from the lists above, values are bound.
            query = f"SELECT rowid, {self._sessions[0]} FROM sessions ORDER BY rowid"  # noqa: S608
            for number, *values in self._rows(query):
                cells = Cells(dict(zip(self._sessions[1], values, strict=True)), f"sessions row {number}")
                try:
                    yield _session(cells, self._twice)
                except Unusable as error:
                    yield error
        except sqlite3.Error as error:
            yield Unusable("sessions", f"reading stopped here: {error}")

    def calls_of(self, session_id: str) -> Iterator[KeptCall]:
        """The calls of one session in their order. Raises `Unusable` at the first that cannot be taken."""
        query = f"SELECT rowid, {self._calls[0]} FROM calls WHERE session_id = ? ORDER BY call_index, rowid"  # noqa: S608
        try:
            for number, *values in self._rows(query, session_id):
                yield _call(Cells(dict(zip(self._calls[1], values, strict=True)), f"calls row {number}"))
        except sqlite3.Error as error:
            raise Unusable("calls", f"reading stopped: {error}") from None

    def holds(self, session_id: str) -> bool:
        """Whether the database has a session of that id, usable or not."""
        try:
            return any(True for _ in self._rows("SELECT 1 FROM sessions WHERE session_id = ? LIMIT 1", session_id))
        except (sqlite3.Error, UnicodeEncodeError):
            return False

    def orphans(self) -> int:
        """How many calls belong to no session of the database."""
        query = "SELECT COUNT(*) FROM calls WHERE session_id NOT IN (SELECT session_id FROM sessions)"
        try:
            return int(next(self._rows(query))[0])
        except sqlite3.Error:
            return 0

    def _rows(self, query: str, *values: str) -> Iterator[tuple[Any, ...]]:
        for row in self._connection.execute(query, values):
            self._steps += _STEPS_A_ROW
            yield row

    def _tire(self) -> bool:
        self._steps -= 100_000
        return self._steps < 0

    def _select(self, table: str, needed: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """The columns to ask for. A view or a virtual table is no table, nor is one without these columns."""
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? AND rootpage > 0"
        if self._connection.execute(query, (table,)).fetchone() is None:
            raise unusable(self.path, f"it has no table {table}")
        found = {row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")}
        if missing := [name for name in needed if name not in found]:
            raise unusable(self.path, f"table {table} has no column {', '.join(missing)}")
        names = (*needed, *(name for name in more if name in found))
        return ", ".join(names), names

    def _version(self) -> int:
        try:
            row = self._connection.execute("SELECT MAX(version) FROM schema_version").fetchone()
        except sqlite3.Error:
            return 0
        return row[0] if type(row[0]) is int else 0


@contextmanager
def open_database(path: Path) -> Iterator[Database]:
    """The database for reading. Raises `InvalidArgument` where it is none of l6e-mcp's, or cannot be read now."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise unusable(path, "it is not a regular file")
    except FileNotFoundError:
        raise unusable(path, "it does not exist") from None
    except OSError as error:
        raise unusable(path, error.strerror or "it cannot be looked at") from None
    with closing(_connected(path)) as connection:
        try:
            database = Database(connection, path)
        except sqlite3.Error as error:
            raise _explained(path, error) from None
        yield database


def _connected(path: Path) -> sqlite3.Connection:
    # Never immutable=1: on a file that is being written that reads torn pages.
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=_WAIT_MS / 1000, isolation_level=None)
    except sqlite3.Error as error:
        raise _explained(path, error) from None
    try:
        for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
            connection.execute(f"PRAGMA {pragma}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_MAX)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.text_factory = _text
    except sqlite3.Error as error:
        connection.close()
        raise _explained(path, error) from None
    return connection


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _only_reading(action: int, subject: str | None, *_rest: object) -> int:
    reading = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
    if action in reading or (action == sqlite3.SQLITE_PRAGMA and subject == "table_info"):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def unusable(path: Path, why: str, hint: str = "") -> InvalidArgument:
    """The error for a file that nothing can be taken from; whatever it is, it was not changed."""
    return InvalidArgument(
        "database",
        f"{path} cannot be read as a database of l6e-mcp: {why}.",
        hint=hint or "Nothing was imported. Pass the path of its sessions.db.",
    )


def _explained(path: Path, error: sqlite3.Error) -> InvalidArgument:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return unusable(path, "another program holds it", "Nothing was imported. Stop l6e-mcp, then try again.")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
        hint = "Nothing was imported. Copy it, with its -wal file, to a folder you may write to, and import the copy."
        return unusable(path, str(error), hint)
    return unusable(path, str(error))


def digest_of(path: Path) -> str:
    """SHA-256 over a file, and over its write-ahead log where it has one: which state of it was imported."""
    total = hashlib.sha256()
    # What was written last stands in the log beside the file until somebody takes it over.
    for part in (path, path.with_name(path.name + "-wal")):
        try:
            opened_file = open_regular(part, None)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unusable(part, error.strerror or os.strerror(error.errno or 0)) from None
        if opened_file is None or opened_file[0] is None:
            continue
        with opened_file[0] as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
    return total.hexdigest()


def _session(cells: Cells, twice: set[str]) -> KeptSession:
    session_id = cells.identity("session_id")
    if session_id in twice:
        raise Unusable(cells.where, "its session_id stands in other rows too")
    policy = cells.policy("policy_json")
    # No session can have worked on nothing: the row is damaged, and what it spent is not guessed at.
    if (limit := policy.amount("budget")) == 0:
        raise Unusable(cells.where, "its budget is 0")
    started = cells.moment("created_at")
    if started is None:
        cells.remarks.add(Remark.TIME)
    ended = cells.moment("finalized_at")
    accounting = cells.word("accounting_mode", AccountingMode, AccountingMode.ESTIMATE_ONLY)
    return KeptSession(
        session_id=session_id,
        where=cells.where,
        client=cells.text("client") or "unknown",
        model=cells.text("model") or "unknown",
        limit_nanos=limit,
        is_ended=cells.text("state") == "finalized",
        started_us=started,
        ended_us=cells.moment("ended_at") if ended is None else ended,
        accounting_mode=accounting,
        usage_channel=cells.word("usage_channel", UsageChannel, UsageChannel.NONE),
        coverage=ModeCoverage(*(cells.flag(f"{mode}_mode_exact_capable") for mode in ("ask", "plan", "agent"))),
        unknown_price=policy.word("unknown_model_pricing_mode", UnknownPrice, UnknownPrice.WARN_ONLY),
        parent_session_id=cells.identity("parent_session_id") if cells.text("parent_session_id") else None,
        task_summary=cells.text("start_summary"),
        end_summary=cells.text("end_summary"),
        remarks=frozenset(cells.remarks | policy.remarks),
    )


def _call(cells: Cells) -> KeptCall:
    estimate = cells.amount("estimated_cost_usd")
    cost = cells.amount("actual_cost_usd") if cells.has("actual_cost_usd") else None
    asked = [cells.tokens(f"estimated_{kind}_tokens") for kind in ("prompt", "completion")]
    used = [cells.tokens(f"actual_{kind}_tokens") for kind in ("prompt", "completion")]
    actual = None
    if cost is not None and used[0] is not None and used[1] is not None:
        actual = Tokens(fresh_input=used[0], output=used[1])
    if None in asked or (cost is not None and actual is None):
        cells.remarks.add(Remark.TOKENS)
    at = cells.moment("created_at")
    if at is None:
        cells.remarks.add(Remark.TIME)
    mode = cells.word("call_mode", CallMode, None)
    # What ties a call to other systems; its own id, which l6e-mcp puts there by default, does not.
    correlation = {name: text for name in _CORRELATION if (text := cells.text(name)) is not None}
    if correlation.get("correlation_source") == "checkpoint_call_id":
        correlation = {}
    return KeptCall(
        call_id=cells.identity("call_id"),
        where=cells.where,
        tool_name=cells.text("tool_name") or "unknown",
        model_requested=cells.text("model_requested") or "unknown",
        model_used=cells.text("model_used") or cells.text("model_requested") or "unknown",
        prompt_tokens=asked[0] or 0,
        completion_tokens=asked[1] or 0,
        estimate_nanos=estimate,
        raw_nanos=cells.amount("raw_estimated_cost_usd") if cells.has("raw_estimated_cost_usd") else estimate,
        rerouted=cells.flag("rerouted"),
        actor=actor_of(cells),
        actual=actual,
        actual_nanos=cost,
        at_us=at,
        resolved_us=cells.moment("reconciled_at"),
        parent_call_id=cells.text("parent_call_id"),
        call_mode=mode,
        mode_capable=cells.flag("mode_exact_capable") if cells.has("mode_exact_capable") else None,
        correlation=correlation,
        remarks=frozenset(cells.remarks),
    )
