"""Hold a run log against the ledger: each line names a session, its total, and the event that ended it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tallygate.core.errors import RunLogError
from tallygate.core.money import exact_text
from tallygate.core.text import cleaned
from tallygate.ledger.foreign import ForeignLedger
from tallygate.operations.verify import Part, Report

LINE_BYTES_MAX = 64 << 20


def verify_log(report: Report, ledger: ForeignLedger, path: Path) -> None:
    """Every line of a run log that tells of this ledger. Raises `RunLogError` where it cannot be read."""
    checked = others = 0
    for number, line in _lines(path):
        where = f"{path.name} line {number}"
        try:
            told = json.loads(line)
            place = told["ledger"] if isinstance(told, dict) and "ledger" in told else None
            if place is None or place["id"] != ledger.ledger_id:
                others += 1
                continue
            run_id, seq, digest, total = told["run_id"], place["seq"], bytes.fromhex(place["hash"]), told["total_cost"]
            if not isinstance(run_id, str) or type(seq) is not int or not 0 < seq < 2**63:
                raise TypeError  # noqa: TRY301
        except (ValueError, KeyError, TypeError, RecursionError):
            report.add(Part.RUN_LOG, where, "is not a line of a run log", "the line was torn or edited")
            continue
        checked += 1
        _line(report, ledger, where, (run_id, seq, digest, total))
    report.facts.append(("run log", f"{checked:,} lines of this ledger, {others:,} of others"))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                if len(line) > LINE_BYTES_MAX:
                    raise RunLogError(f"Line {number} of {path} has more than {LINE_BYTES_MAX:,} bytes.")
                if line.strip():
                    yield number, line
    except OSError as error:
        raise RunLogError(f"The run log {path} cannot be read: {error.strerror}.") from error


def _line(report: Report, ledger: ForeignLedger, where: str, told: tuple[str, int, bytes, Any]) -> None:
    run_id, seq, digest, total = told
    name = cleaned(run_id, 200)
    with ledger.reading() as reader:
        tenants = reader.tenants_of_session(run_id)
    if not tenants:
        report.add(Part.RUN_LOG, where, f"session {name} is not in the ledger", "the session was taken out")
        return
    with ledger.reading(tenants[0]) as reader:
        event = reader.journal_event(seq)
        if event is None or event.hash != digest:
            what = f"names event {seq} with a hash that the journal does not have there"
            report.add(Part.RUN_LOG, where, what, "the history was rewritten or cut after this line was written")
            return
        later = _told_of_later(ledger, tenants[0], seq, run_id)
    counted = exact_text(_total(ledger, tenants[0], run_id))
    if counted == total:
        return
    if later is not None:
        report.notes.append(f"{where}: session {name} has {counted} now, since event {later} told of more.")
        return
    what = f"session {name} has {cleaned(str(total), 40)} here and {counted} in the ledger"
    report.add(Part.RUN_LOG, where, what, "the line was edited")


def _total(ledger: ForeignLedger, tenant: str, session_id: str) -> int:
    sql = (
        "SELECT (SELECT COALESCE(SUM(booked_nanos), 0) FROM call WHERE tenant = ?1 AND session_id = ?2)"
        " + (SELECT COALESCE(SUM(cost_nanos), 0) FROM usage WHERE tenant = ?1 AND session_id = ?2)"
    )
    return int(next(iter(ledger.rows(sql, (tenant, session_id))))[0])


def _told_of_later(ledger: ForeignLedger, tenant: str, seq: int, session_id: str) -> int | None:
    sql = (
        "SELECT seq FROM event WHERE id > ?1 AND tenant = ?2 AND seq > ?1 AND instr(body, CAST(?3 AS BLOB)) > 0 LIMIT 1"
    )
    quoted = json.dumps(session_id, ensure_ascii=False)
    return next((int(row[0]) for row in ledger.rows(sql, (seq, tenant, quoted))), None)
