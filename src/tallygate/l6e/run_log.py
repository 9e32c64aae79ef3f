"""l6e-mcp's runs.jsonl: one line a session that ended, with what its calls cost and no times."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallygate.clients.reading.lines import MAX_LINE, Unreadable, decode, fields
from tallygate.core.costing import Tokens
from tallygate.core.errors import InvalidArgument
from tallygate.core.moments import microseconds
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.core.words import UnknownPrice
from tallygate.files import open_regular
from tallygate.l6e.records import NAME_MAX, Cells, KeptCall, KeptSession, Remark, Unusable, actor_of, object_of, why_of

# What l6e-mcp makes session ids of: the client's name and the day stand in no other field of a line.
_SESSION_ID = re.compile(r"session_(?P<client>.+)_(?P<day>\d{4}-\d\d-\d\d)_[0-9a-f]{8}")


@value(frozen=True, slots=True)
class LoggedSession:
    """One usable line. `is_ours` says that Tallygate wrote it, so that its session is in a ledger already."""

    session: KeptSession
    calls: tuple[KeptCall, ...]
    is_ours: bool = False


@value(frozen=True, slots=True)
class Unfinished:
    """The beginning of a last line that was never written to its end."""

    where: str


Line = LoggedSession | Unusable | Unfinished


class L6eRunLog:
    """A run log that is open for reading."""

    def __init__(self, file: io.BufferedReader, written_us: int) -> None:
        self._file = file
        self._written_us = written_us

    def digest(self) -> str:
        """SHA-256 of the whole file: which state of it was imported."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def lines(self) -> Iterator[Line]:
        """Every line that is not blank, one at a time."""
        self._file.seek(0)
        number = 0
        while line := self._file.readline(MAX_LINE + 1):
            number += 1
            where = f"line {number}"
            if len(line) > MAX_LINE:
                while line and not line.endswith(b"\n"):
                    line = self._file.readline(MAX_LINE)
                yield Unusable(where, "it is longer than is read")
            elif line.strip():
                yield self._line(line, where)

    def _line(self, line: bytes, where: str) -> Line:
        try:
            values = fields(decode(line))
        except Unreadable as error:
            return Unusable(where, why_of(error.reason)) if line.endswith(b"\n") else Unfinished(where)
        try:
            return _logged(Cells(values, where), values, self._written_us)
        except Unusable as error:
            return error


@contextmanager
def opened_log(path: Path) -> Iterator[L6eRunLog]:
    """The log for reading. Raises `InvalidArgument` where it cannot be read."""
    try:
        found = open_regular(path, None)
    except FileNotFoundError:
        raise _unusable(path, "it does not exist") from None
    except OSError as error:
        raise _unusable(path, error.strerror or "it cannot be opened") from None
    if found is None or found[0] is None:
        raise _unusable(path, "it is not a regular file")
    raw: Any = found[0]
    with io.BufferedReader(raw, 1 << 20) as file:
        yield L6eRunLog(file, found[1].st_mtime_ns // 1000)


def _unusable(path: Path, why: str) -> InvalidArgument:
    return InvalidArgument(
        "log",
        f"{path} cannot be read as a run log of l6e-mcp: {why}.",
        hint="Nothing was imported. Pass the path of its runs.jsonl.",
    )


def _logged(cells: Cells, values: dict[str, Any], written_us: int) -> LoggedSession:
    run_id = cells.identity("run_id")
    # Only our lines name a ledger: they are in it already, and are not imported from their own log.
    if type(values.get("ledger")) is tuple:
        return LoggedSession(KeptSession(run_id, cells.where, "", "", 0, is_ended=True, started_us=0), (), is_ours=True)
    policy = cells.policy("policy")
    if (limit := policy.amount("budget")) == 0:
        raise Unusable(cells.where, "its budget is 0")
    records = values.get("records")
    if type(records) is not list:
        raise Unusable(cells.where, "it has no records")
    exact = values.get("savings_confidence") == "exact"
    calls = tuple(
        _record(record, f"{cells.where} record {at + 1}", at, exact=exact) for at, record in enumerate(records)
    )
    if cells.has("total_cost") and _differs(cells.amount("total_cost"), calls):
        cells.remarks.add(Remark.TOTAL)
    client, started = _told_by(run_id)
    session = KeptSession(
        session_id=run_id,
        where=cells.where,
        client=client,
        model=calls[0].model_requested if calls else "unknown",
        limit_nanos=limit,
        is_ended=True,
        started_us=written_us if started is None else started,
        unknown_price=policy.word("unknown_model_pricing_mode", UnknownPrice, UnknownPrice.WARN_ONLY),
        remarks=frozenset({Remark.TIME, *cells.remarks, *policy.remarks}),
    )
    return LoggedSession(session, calls)


def _differs(total_nanos: int, calls: tuple[KeptCall, ...]) -> bool:
    """Whether the records do not make the total; each may have been rounded by half a nano-unit."""
    return abs(total_nanos - sum(call.cost_nanos for call in calls)) > len(calls)


def _told_by(run_id: str) -> tuple[str, int | None]:
    found = _SESSION_ID.fullmatch(run_id)
    if found is None:
        return "unknown", None
    client = cleaned(found["client"], NAME_MAX) or "unknown"
    try:
        day = datetime.fromisoformat(found["day"]).replace(tzinfo=UTC)
    except ValueError:
        return client, None
    return client, microseconds(day) if day.year >= 2000 else None


def _record(record: Any, where: str, at: int, *, exact: bool) -> KeptCall:
    if type(record) is not tuple:
        raise Unusable(where, "it is no object")
    cells = Cells(object_of(record, where), where)
    cost = cells.amount("cost_usd")
    prompt, completion = cells.tokens("prompt_tokens"), cells.tokens("completion_tokens")
    # A count alone prices nothing: half of it would be taken for all.
    tokens = None if prompt is None or completion is None else Tokens(fresh_input=prompt, output=completion)
    if tokens is None:
        cells.remarks.add(Remark.TOKENS)
    asked = cells.text("model_requested") or "unknown"
    return KeptCall(
        call_id=f"record {at}",
        where=where,
        tool_name=cells.text("stage") or "unknown",
        model_requested=asked,
        model_used=cells.text("model_used") or asked,
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
        estimate_nanos=cost,
        raw_nanos=cost,
        rerouted=cells.flag("rerouted"),
        actor=actor_of(cells),
        actual=tokens if exact else None,
        actual_nanos=cost if exact else None,
        parent_call_id=cells.text("parent_call_id"),
        remarks=frozenset(cells.remarks),
    )
