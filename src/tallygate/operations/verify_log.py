"""Hold a run log against the ledger: each line names a session, its total, and the event that ended it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallygate.core.errors import RunLogError
from tallygate.core.money import exact_text
from tallygate.core.text import cleaned
from tallygate.ledger.foreign import ForeignLedger
from tallygate.operations.verify import Part, Report

LINE_BYTES_MAX = 64 << 20
_QUOTED = re.compile(rb'"([^"\\]+)"')


@dataclass(frozen=True, slots=True)
class _Other:
    """A line whose total is not that of the ledger now."""

    where: str
    seq: int
    told: str
    counted: str


def verify_log(report: Report, ledger: ForeignLedger, tenants: Sequence[str], path: Path) -> None:
    """Every line of a run log that tells of this ledger. Raises `RunLogError` where it cannot be read."""
    checked = elsewhere = 0
    others: dict[tuple[str, str], list[_Other]] = {}
    for number, line in _lines(path):
        where = f"{path.name} line {number}"
        try:
            told = json.loads(line)
            place = told["ledger"] if isinstance(told, dict) and "ledger" in told else None
            if place is None or place["id"] != ledger.ledger_id:
                elsewhere += 1
                continue
            run_id, seq, digest, total = told["run_id"], place["seq"], bytes.fromhex(place["hash"]), told["total_cost"]
            if not isinstance(run_id, str) or type(seq) is not int or not 0 < seq < 2**63:
                raise TypeError  # noqa: TRY301
            run_id.encode()  # half a character is in no session's id
        except (ValueError, KeyError, TypeError, RecursionError):
            report.add(Part.RUN_LOG, where, "is not a line of a run log", "the line was torn or edited")
            continue
        checked += 1
        if (found := _line(report, ledger, tenants, (where, run_id, seq, digest, total))) is not None:
            tenant, session_id, other = found
            others.setdefault((tenant, session_id), []).append(other)
    _tell_others(report, ledger, others)
    report.facts.append(("run log", f"{checked:,} lines of this ledger, {elsewhere:,} of others"))


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


def _line(
    report: Report, ledger: ForeignLedger, tenants: Sequence[str], told: tuple[str, str, int, bytes, Any]
) -> tuple[str, str, _Other] | None:
    """Hold one line against the ledger; what is told where only the total is another."""
    where, run_id, seq, digest, total = told
    name = cleaned(run_id, 200)
    having = [each for each in tenants if _has(ledger, each, run_id)]
    if not having:
        report.add(Part.RUN_LOG, where, f"session {name} is not in the ledger", "the session was taken out")
        return None
    # An id may name a session in several tenants; the line tells of the one whose journal has its event.
    tenant = next((each for each in having if _has_event(ledger, each, seq, digest)), None)
    if tenant is None:
        what = f"names event {seq} with a hash that the journal does not have there"
        report.add(Part.RUN_LOG, where, what, "the history was rewritten or cut after this line was written")
        return None
    counted = exact_text(_total(ledger, tenant, run_id))
    return None if counted == total else (tenant, run_id, _Other(where, seq, cleaned(str(total), 40), counted))


def _has(ledger: ForeignLedger, tenant: str, session_id: str) -> bool:
    with ledger.reading(tenant) as reader:
        return reader.session(session_id) is not None


def _has_event(ledger: ForeignLedger, tenant: str, seq: int, digest: bytes) -> bool:
    with ledger.reading(tenant) as reader:
        event = reader.journal_event(seq)
    return event is not None and event.hash == digest


def _total(ledger: ForeignLedger, tenant: str, session_id: str) -> int:
    sql = (
        "SELECT (SELECT COALESCE(SUM(booked_nanos), 0) FROM call WHERE tenant = ?1 AND session_id = ?2)"
        " + (SELECT COALESCE(SUM(cost_nanos), 0) FROM usage WHERE tenant = ?1 AND session_id = ?2)"
    )
    return int(next(iter(ledger.rows(sql, (tenant, session_id))))[0])


def _tell_others(report: Report, ledger: ForeignLedger, others: dict[tuple[str, str], list[_Other]]) -> None:
    """Say of each total that is another whether the journal told of its session later: then the line was right."""
    later: dict[tuple[str, str], int] = {}
    if others:
        for tenant, seq, body in ledger.rows("SELECT tenant, seq, body FROM event ORDER BY id"):
            for quoted in set(_QUOTED.findall(body)):
                if (place := (tenant, quoted.decode(errors="replace"))) in others:
                    later[place] = seq
    for place, those in others.items():
        for other in those:
            named = f"session {cleaned(place[1], 200)}"
            if (last := later.get(place, 0)) > other.seq:
                report.notes.append(f"{other.where}: {named} has {other.counted} now, since event {last} told of more.")
            else:
                what = f"{named} has {other.told} here and {other.counted} in the ledger"
                report.add(Part.RUN_LOG, other.where, what, "the line was edited")
