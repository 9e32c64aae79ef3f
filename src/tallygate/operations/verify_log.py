"""Hold a run log against the ledger: each line names a session, its total, and the event that ended it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallygate.core.errors import RunLogError
from tallygate.core.money import exact_text
from tallygate.core.text import cleaned
from tallygate.ledger.foreign import ForeignLedger
from tallygate.ledger.port import JournalEvent
from tallygate.operations.history import LEDGER_TRACE, lost_with
from tallygate.operations.verify import Part, Report
from tallygate.reports.run_line import LEDGER, LINE_NOTE, fingerprint

LINE_BYTES_MAX = 64 << 20
_QUOTED = re.compile(rb'"([^"\\]+)"')


@dataclass(frozen=True, slots=True)
class _Other:
    """A line whose total is not that of the ledger now."""

    where: str
    seq: int
    told: str
    counted: str


@dataclass(slots=True)
class _Lost:
    """The events that the user went on without: a backup was restored, an older copy accepted. Asked for once."""

    ledger: ForeignLedger
    tenants: Sequence[str]
    spans: list[tuple[int, int]] | None = None

    def has(self, seq: int) -> bool:
        """Whether an event of this number went with them."""
        if self.spans is None:
            self.spans = []
            for tenant in self.tenants:
                with self.ledger.reading(tenant) as reader:
                    for event in reader.events_about(LEDGER_TRACE):
                        self.spans.append((event.seq, lost_with(event.body, self.ledger.ledger_id, tenant)))
        return any(first <= seq <= last for first, last in self.spans)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line that names an event of this ledger."""

    where: str
    run_id: str
    seq: int
    digest: bytes
    told: dict[str, Any]


def verify_log(report: Report, ledger: ForeignLedger, tenants: Sequence[str], path: Path) -> None:
    """Every line of a run log that tells of this ledger. Raises `RunLogError` where it cannot be read."""
    seen, lost = Counter[str](), _Lost(ledger, tenants)
    others: dict[tuple[str, str], list[_Other]] = {}
    for number, line in _lines(path):
        where = f"{path.name} line {number}"
        try:
            told = json.loads(line, object_pairs_hook=_once_each)
            place: Any = told[LEDGER] if isinstance(told, dict) and LEDGER in told else None
            ours = place is not None and place["id"] == ledger.ledger_id
            if not ours and not _is_of_ours(ledger, tenants, told):
                report.elsewhere += 1
                continue
            run_id, seq, digest = told["run_id"], place["seq"], bytes.fromhex(place["hash"])
            if not isinstance(run_id, str) or type(seq) is not int or not 0 < seq < 2**63:
                raise TypeError  # noqa: TRY301
            run_id.encode()  # half a character is in no session's id
        except (ValueError, KeyError, TypeError, RecursionError):
            report.add(Part.RUN_LOG, where, "is not a line of a run log", "the line was torn or edited")
            continue
        seen[run_id] += 1
        if not ours:
            report.add(Part.RUN_LOG, where, "names another ledger for an event of this one", "the line was edited")
        elif (found := _line(report, ledger, tenants, _Line(where, run_id, seq, digest, told), lost)) is not None:
            tenant, session_id, other = found
            others.setdefault((tenant, session_id), []).append(other)
    _tell_others(report, ledger, others)
    _tell_missing(report, ledger, seen, path)
    if report.lost:
        report.notes.append(
            f"{path.name}: {_lines_that(report.lost, 'tell')} of events that the ledger was gone on with without."
        )
    report.facts.append(
        (
            "run log",
            f"{seen.total():,} line{'' if seen.total() == 1 else 's'} of this ledger, {report.elsewhere:,} of others",
        )
    )


def _lines_that(count: int, verb: str) -> str:
    """Lines with what they do.

    >>> _lines_that(1, "tell"), _lines_that(2, "tell")
    ('1 line tells', '2 lines tell')
    """
    return f"1 line {verb}s" if count == 1 else f"{count:,} lines {verb}"


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different: of two values for one name, readers would take one or the other."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _is_of_ours(ledger: ForeignLedger, tenants: Sequence[str], told: Any) -> bool:
    """Whether a line that names another ledger is about an event of this one; ids of sessions may be the same."""
    run_id, place = (told.get("run_id"), told.get(LEDGER)) if isinstance(told, dict) else (None, None)
    if not isinstance(run_id, str) or not isinstance(place, dict):
        return False
    seq, digest = place.get("seq"), place.get("hash")
    if type(seq) is not int or not 0 < seq < 2**63 or not isinstance(digest, str) or not run_id.isascii():
        return False
    having = [each for each in tenants if _has(ledger, each, run_id)]
    try:
        return _event_named(ledger, having, seq, bytes.fromhex(digest)) is not None
    except ValueError:
        return False


def _tell_missing(report: Report, ledger: ForeignLedger, seen: Counter[str], path: Path) -> None:
    """Say what was written there and is not, and what stands there twice: a merge or another branch does that, too."""
    sql = "SELECT session_id FROM run_log_queue WHERE path = ? AND written_us IS NOT NULL"
    gone = sum(str(row[0]) not in seen for row in ledger.rows(sql, (str(path.absolute()),)))
    if gone:
        lines, are = ("1 line", "is") if gone == 1 else (f"{gone:,} lines", "are")
        report.notes.append(
            f"{path.name}: {lines} that {'was' if gone == 1 else 'were'} written there {are} not in it now."
        )
    if twice := sum(count - 1 for count in seen.values()):
        report.notes.append(f"{path.name}: {_lines_that(twice, 'tell')} of a session that another line tells of.")


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
    report: Report, ledger: ForeignLedger, tenants: Sequence[str], line: _Line, lost: _Lost
) -> tuple[str, str, _Other] | None:
    """Hold one line against the ledger; what is told where only the total is another."""
    name = cleaned(line.run_id, 200)
    having = [each for each in tenants if _has(ledger, each, line.run_id)]
    found = _event_named(ledger, having, line.seq, line.digest)
    if found is None and lost.has(line.seq):
        report.lost += 1
        return None
    if not having:
        report.add(Part.RUN_LOG, line.where, f"session {name} is not in the ledger", "the session was taken out")
        return None
    if found is None:
        what = f"names event {line.seq} with a hash that the journal does not have there"
        report.add(Part.RUN_LOG, line.where, what, "the history was rewritten or cut after this line was written")
        return None
    tenant, event = found
    kept = _kept(event.body, line.run_id)
    if kept is None or kept not in (True, fingerprint(line.told)):
        report.add(Part.RUN_LOG, line.where, f"does not say of session {name} what its end said", "the line was edited")
        return None
    total, counted = line.told.get("total_cost"), exact_text(_total(ledger, tenant, line.run_id))
    if counted == total:
        return None
    return tenant, line.run_id, _Other(line.where, line.seq, cleaned(str(total), 40), counted)


def _kept(body: bytes, run_id: str) -> str | bool | None:
    """The fingerprint of a line in the event that ended its session.

    True where an older version kept none, None where the event did not end that session.
    """
    try:
        event = json.loads(body)
        ended = event["kind"] == "session.ended" and any(row[2].get("session_id") == run_id for row in event["rows"])
        if not ended:
            return None
        found = event["note"][LINE_NOTE] if LINE_NOTE in event.get("note", {}) else True
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return found if isinstance(found, str) else found is True


def _has(ledger: ForeignLedger, tenant: str, session_id: str) -> bool:
    with ledger.reading(tenant) as reader:
        return reader.session(session_id) is not None


def _event_named(
    ledger: ForeignLedger, tenants: Sequence[str], seq: int, digest: bytes
) -> tuple[str, JournalEvent] | None:
    """The event with a number and a hash, and in whose journal; an id may name a session of several tenants."""
    for tenant in tenants:
        with ledger.reading(tenant) as reader:
            event = reader.journal_event(seq)
        if event is not None and event.hash == digest:
            return tenant, event
    return None


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
