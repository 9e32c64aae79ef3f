"""Verify a ledger as an auditor does: nothing in it is believed but what its chain, a key and an anchor carry."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tallygate.attest import dsse
from tallygate.attest.keys import PublicKey
from tallygate.attest.statement import Statement, read_statement, statement_bytes
from tallygate.core.errors import LedgerUnavailable, NotProven, RunLogError
from tallygate.core.moments import iso
from tallygate.core.money import exact_text
from tallygate.core.proof import StatementKind, attestation_id
from tallygate.core.regex import regex
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.ledger.anchor import AnchorRecord
from tallygate.ledger.audit.audit import ReadLedger, damage, edits
from tallygate.ledger.audit.foreign import ForeignLedger, examined, expected_fingerprint, schema_of, unreadable_tables
from tallygate.ledger.port import JournalEvent, Reader
from tallygate.ledger.sqlite.held import bears_out
from tallygate.ledger.store.proof import ATTESTATION_COLUMNS
from tallygate.operations.proof.evidence import LEDGER_TRACE, Area, JournalKeys, JournalReview, Keys, Report, lost_with
from tallygate.operations.proof.statements import exhausted, subject_of
from tallygate.reports.run_line import LEDGER, LINE_NOTE, fingerprint

# --- verify log ------------------------------------------------------------------------------------------------------
# Hold a run log against the ledger: each line names a session, its total, and the event that ended it.


LINE_BYTES_MAX = 64 << 20
_QUOTED = regex(rb'"([^"\\]+)"')


@value(frozen=True, slots=True)
class _Other:
    """A line whose total is not that of the ledger now."""

    where: str
    seq: int
    told: str
    counted: str


@value(slots=True)
class _Lost:
    """The events that the user went on without: a backup was restored, an older copy accepted. Asked for once."""

    ledger: ReadLedger
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


@value(frozen=True, slots=True)
class _Line:
    """One line that names an event of this ledger."""

    where: str
    run_id: str
    seq: int
    digest: bytes
    told: dict[str, Any]


def verify_log(report: Report, ledger: ReadLedger, tenants: Sequence[str], path: Path) -> None:
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
            report.add(Area.RUN_LOG, where, "is not a line of a run log", "the line was torn or edited")
            continue
        seen[run_id] += 1
        if not ours:
            report.add(Area.RUN_LOG, where, "names another ledger for an event of this one", "the line was edited")
        elif (found := _line(report, ledger, tenants, _Line(where, run_id, seq, digest, told), lost)) is not None:
            tenant, session_id, other = found
            others.setdefault((tenant, session_id), []).append(other)
    _tell_others(report, ledger, others)
    _tell_missing(report, ledger, seen, path)
    if report.lost:
        report.notes.append(
            f"{path.name}: {_lines_that_tell(report.lost)} of events that the ledger was gone on with without."
        )
    report.facts.append(
        (
            "run log",
            f"{seen.total():,} line{'' if seen.total() == 1 else 's'} of this ledger, {report.elsewhere:,} of others",
        )
    )


def _lines_that_tell(count: int) -> str:
    return "1 line tells" if count == 1 else f"{count:,} lines tell"


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different: of two values for one name, readers would take one or the other."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _is_of_ours(ledger: ReadLedger, tenants: Sequence[str], told: Any) -> bool:
    """Whether a line that names another ledger is about an event of this one; ids of sessions may be the same."""
    run_id, place = (told.get("run_id"), told.get(LEDGER)) if isinstance(told, dict) else (None, None)
    if not isinstance(run_id, str) or not isinstance(place, dict):
        return False
    seq, digest = place.get("seq"), place.get("hash")
    # A line may have been made to harm: numbers beyond SQLite's would end the check.
    if type(seq) is not int or not 0 < seq < 2**63 or not isinstance(digest, str) or not run_id.isascii():
        return False
    having = [each for each in tenants if _has(ledger, each, run_id)]
    try:
        return _event_named(ledger, having, seq, bytes.fromhex(digest)) is not None
    except ValueError:
        return False


def _tell_missing(report: Report, ledger: ReadLedger, seen: Counter[str], path: Path) -> None:
    """Say what was written there and is not, and what stands there twice: a merge or another branch does that, too."""
    sql = "SELECT session_id FROM run_log_queue WHERE path = ? AND written_us IS NOT NULL"
    gone = sum(str(row[0]) not in seen for row in ledger.rows(sql, (str(path.absolute()),)))
    if gone:
        lines, are = ("1 line", "is") if gone == 1 else (f"{gone:,} lines", "are")
        report.notes.append(
            f"{path.name}: {lines} that {'was' if gone == 1 else 'were'} written there {are} not in it now."
        )
    if twice := sum(count - 1 for count in seen.values()):
        report.notes.append(f"{path.name}: {_lines_that_tell(twice)} of a session that another line tells of.")


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
    report: Report, ledger: ReadLedger, tenants: Sequence[str], line: _Line, lost: _Lost
) -> tuple[str, str, _Other] | None:
    """Hold one line against the ledger; what is told where only the total is another."""
    name = cleaned(line.run_id, 200)
    having = [each for each in tenants if _has(ledger, each, line.run_id)]
    found = _event_named(ledger, having, line.seq, line.digest)
    # After a restore lines may tell of events that were given up, as the journal itself says.
    if found is None and lost.has(line.seq):
        report.lost += 1
        return None
    if not having:
        report.add(Area.RUN_LOG, line.where, f"session {name} is not in the ledger", "the session was taken out")
        return None
    if found is None:
        what = f"names event {line.seq} with a hash that the journal does not have there"
        report.add(Area.RUN_LOG, line.where, what, "the history was rewritten or cut after this line was written")
        return None
    tenant, event = found
    kept = _kept(event.body, line.run_id)
    if kept is None or kept not in (True, fingerprint(line.told)):
        report.add(Area.RUN_LOG, line.where, f"does not say of session {name} what its end said", "the line was edited")
        return None
    sql = (
        "SELECT (SELECT COALESCE(SUM(booked_nanos), 0) FROM call WHERE tenant = ?1 AND session_id = ?2)"
        " + (SELECT COALESCE(SUM(cost_nanos), 0) FROM usage WHERE tenant = ?1 AND session_id = ?2)"
    )
    [[nanos]] = ledger.rows(sql, (tenant, line.run_id))
    total, counted = line.told.get("total_cost"), exact_text(int(nanos))
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


def _has(ledger: ReadLedger, tenant: str, session_id: str) -> bool:
    with ledger.reading(tenant) as reader:
        return reader.session(session_id) is not None


def _event_named(
    ledger: ReadLedger, tenants: Sequence[str], seq: int, digest: bytes
) -> tuple[str, JournalEvent] | None:
    """The event with a number and a hash, and in whose journal; an id may name a session of several tenants."""
    for tenant in tenants:
        with ledger.reading(tenant) as reader:
            event = reader.journal_event(seq)
        if event is not None and event.hash == digest:
            return tenant, event
    return None


def _tell_others(report: Report, ledger: ReadLedger, others: dict[tuple[str, str], list[_Other]]) -> None:
    """Say of each total that is another whether the journal told of its session later: then the line was right."""
    later: dict[tuple[str, str], int] = {}
    if others:
        # One way through the journal for all of them, and only where a total differs.
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
                report.add(Area.RUN_LOG, other.where, what, "the line was edited")


# --- verify ----------------------------------------------------------------------------------------------------------
# Verify a ledger as an auditor does: nothing in it is believed but what its chain, a key and an anchor carry.


@value(frozen=True, slots=True)
class OutsideEvidence:
    """What is held against a ledger from outside: trusted keys by id, a head that was written down, run log, anchor."""

    keys: Mapping[str, PublicKey]
    head: bytes | None = None
    log: Path | None = None
    anchor: AnchorRecord | None = None


def verify_ledger(path: Path, asked: OutsideEvidence) -> Report:
    """Everything that is wrong with a ledger's file. Raises `LedgerUnavailable` where it cannot be opened as one."""
    return examined(path, lambda ledger: _verified(ledger, asked))


def verify_open(ledger: ReadLedger, asked: OutsideEvidence) -> Report:
    """The same of a ledger that is open already, as one in a database is: its pages are the database's own affair."""
    report = Report()
    report.facts.append(("ledger", f"{ledger.place}, id {ledger.ledger_id}"))
    with ledger.reading():
        heard = JournalReview(ledger, asked.keys)
        for finding in edits(ledger, listener=heard):
            report.add(Area(finding.kind), finding.where, finding.what, finding.meaning)
        _told(report, ledger, heard, asked)
    return report


def verify_lines(path: Path, log: Path) -> Report:
    """What of a run log contradicts a ledger. Raises `LedgerUnavailable` or `RunLogError` where one cannot be read."""

    def look(ledger: ForeignLedger) -> Report:
        report = Report()
        with ledger.reading() as reader:
            verify_log(report, ledger, reader.tenants(), log)
        return report

    return examined(path, look)


def _verified(ledger: ForeignLedger, asked: OutsideEvidence) -> Report:
    report = Report()
    print_there, print_here = schema_of(ledger), expected_fingerprint()
    report.facts += [("ledger", f"{ledger.path}, id {ledger.ledger_id}"), ("schema", f"sha256 {print_there}")]
    if odd := unreadable_tables(ledger):
        for name in odd:
            report.add(Area.SCHEMA, f"table {name}", "is not as this program made it", "nothing in the file was read")
        return report
    with ledger.reading():
        heard = JournalReview(ledger, asked.keys)
        with ThreadPoolExecutor(1) as pool:  # SQLite looks through the pages meanwhile
            pages = pool.submit(ledger.apart, damage)
            edited = edits(ledger, listener=heard)
        for finding in (*pages.result(), *edited):
            report.add(Area(finding.kind), finding.where, finding.what, finding.meaning)
        if print_there != print_here and not report.counted[Area.SCHEMA]:
            report.add(Area.SCHEMA, "schema", f"its fingerprint is not {print_here}", "writes may have been altered")
        _told(report, ledger, heard, asked)
        if asked.anchor is not None:
            _remembered(report, ledger, asked.anchor)
    return report


def _told(report: Report, ledger: ReadLedger, heard: JournalReview, asked: OutsideEvidence) -> None:
    """What was heard while the journal was read, and what stands outside of the ledger."""
    seen = Counter[str]()
    for tenant, told in heard.tenants():
        with ledger.reading(tenant) as reader:
            _tenant(report, ledger, reader, told, seen)
    report.facts.append(("signed", ", ".join(f"{count} {kind}" for kind, count in sorted(seen.items())) or "-"))
    _locked(report, heard)
    if asked.head is not None:
        _anchor(report, ledger, asked.head)
    if asked.log is not None:
        verify_log(report, ledger, [tenant for tenant, _ in heard.tenants()], asked.log)


def _locked(report: Report, heard: JournalReview) -> None:
    """What the user's lock says of the events that loosened while it was in force."""
    lock = heard.lock
    if lock.standing.lock is not None:
        since = iso(lock.standing.lock.since_us)
        report.facts.append(("locked", f"since {since}; {lock.signed:,} later events carry its signature"))
    if (off := lock.last_off) is not None:
        count = "once" if lock.switched_off == 1 else f"{lock.switched_off:,} times"
        span = f"from {iso(off.from_us)} to {iso(off.until_us)}"
        report.facts.append(("off", f"{count}; the last time {span} at most, by {off.actor}: {off.reason}"))
    for where, what in lock.faults:
        report.add(Area.LOCK, where, what, "it was not the user: the gate does not go by it")
    report.notes += lock.notes


def _tenant(report: Report, ledger: ReadLedger, reader: Reader, told: JournalKeys, seen: Counter[str]) -> None:
    head = reader.head()
    report.facts.append(("chain", f"{reader.tenant}: {head.seq:,} events, head {head.hash.hex()}"))
    told.compare(reader.signing_keys())
    for where, what in told.faults:
        report.add(Area.KEY, where, what, "a key was put in or taken out by hand")
    report.notes += told.notes
    keys = told.keys()
    if anomalies := reader.count_anomalies():
        report.notes.append(
            f"{reader.tenant}: {anomalies:,} responses were told of again with less, another model or another time, or "
            "at a time that cannot be right; what was booked stays. `tallygate usage anomalies` names them."
        )
    if odd := reader.count_call_anomalies():
        report.notes.append(
            f"{reader.tenant}: {odd:,} of agents' reports on their own calls are odd. `tallygate usage anomalies` "
            "names them."
        )
    sql = f"SELECT {', '.join(ATTESTATION_COLUMNS)} FROM attestation WHERE tenant = ? ORDER BY id"  # noqa: S608
    for values in ledger.rows(sql, (reader.tenant,)):
        row = dict(zip(ATTESTATION_COLUMNS, values, strict=True))
        if row["envelope"] is None:
            seen["due"] += 1
            continue
        seen[str(row["kind"])] += 1
        _attested(report, ledger, reader, row, keys)
    if told.unnoted:
        what = f"{told.unnoted:,} events call for an attestation and have none"
        report.add(
            Area.ATTESTATION,
            reader.tenant,
            what,
            "they were lost; `tallygate attest list` makes them again from the journal",
        )


def _attested(report: Report, ledger: ReadLedger, reader: Reader, row: Mapping[str, Any], keys: Keys) -> None:
    where = f"attestation {row['attestation_id']}"
    try:
        envelope = dsse.read(str(row["envelope"]).encode())
        payload = envelope.opened(keys.by_id)
        stated = read_statement(payload)
    except NotProven as error:
        part = Area.KEY if error.code == "key_untrusted" else Area.ATTESTATION
        report.add(part, where, error.message, "nobody you trust has signed this")
        return
    # The envelope alone is signed: its row is held against it, and both against the event that they are about.
    if payload != row["payload"] or envelope.keyid != row["keyid"]:
        report.add(Area.ATTESTATION, where, "the row and its envelope differ", "the row was edited by hand")
    expected = attestation_id(stated.kind, stated.digest, row["session_id"])
    said = stated.kind.value, expected, stated.digest, stated.seq, stated.predicate.get("call")
    if said != (row["kind"], row["attestation_id"], row["event_hash"], row["seq"], row["call_id"]):
        report.add(Area.ATTESTATION, where, "the envelope is about something else", "an envelope was swapped")
    if (retired := keys.retired.get(envelope.keyid)) is not None and stated.seq > retired:
        what = f"signed by a key that was replaced at event {retired}, before event {stated.seq}"
        report.add(Area.KEY, where, what, "somebody kept a key that should be gone")
    against_journal(report, ledger, reader, stated, payload)


def against_journal(report: Report, ledger: ReadLedger, reader: Reader, stated: Statement, payload: bytes) -> None:
    """Hold a signed statement against the event that it is about."""
    where = f"statement about {stated.name}"
    if (stated.ledger_id, stated.tenant) != (ledger.ledger_id, reader.tenant):
        report.add(Area.ATTESTATION, where, f"this is ledger {ledger.ledger_id}", "it belongs to another ledger")
        return
    event = reader.journal_event(stated.seq)
    if event is None or event.hash != stated.digest:
        what = "the journal does not reach so far" if event is None else "the event there has another hash"
        report.add(Area.HEAD, where, what, "the history was rewritten or cut after this was signed")
        return
    if stated.kind is StatementKind.BUDGET_EXHAUSTED:
        try:
            again = statement_bytes(
                stated.kind, subject_of(ledger.ledger_id, reader.tenant, event), exhausted(reader, event)
            )
        except (ValueError, KeyError, TypeError, StopIteration, AttributeError):
            again = b""
        if again != payload:
            report.add(Area.ATTESTATION, where, "it says other than its event", "the statement was made by hand")


def _remembered(report: Report, ledger: ForeignLedger, remembered: AnchorRecord) -> None:
    """Hold the user's own ledger against its anchor."""
    try:
        bears_out(ledger.path, ledger.ledger_id, remembered, ledger.rows)
    except LedgerUnavailable as error:
        report.add(Area.HEAD, "anchor", error.message, "an older copy or another ledger was put in its place")
        return
    if (mark := remembered.newest) is not None and mark.row:
        report.facts.append(("anchor", f"{mark.tenant}: event {mark.seq:,} is there"))


def _anchor(report: Report, ledger: ReadLedger, head: bytes) -> None:
    for tenant, seq in ledger.rows("SELECT tenant, seq FROM event WHERE hash = ?", (head,)):
        with ledger.reading(str(tenant)) as reader:
            later = reader.head().seq - int(seq)
        report.facts.append(("anchor", f"{tenant}: event {seq:,}, {later:,} later"))
        return
    report.add(
        Area.HEAD,
        "expected head",
        f"no event has the hash {head.hex()}",
        "the history up to it was rewritten or cut, an older copy was put in place, or it is another ledger's head",
    )


def check_statements(report: Report, path: Path, proven: list[tuple[Statement, bytes]]) -> None:
    """Hold statements that came from elsewhere against a ledger's file."""

    def look(ledger: ForeignLedger) -> None:
        if unreadable_tables(ledger):
            return
        for stated, payload in proven:
            with ledger.reading(stated.tenant) as reader:
                against_journal(report, ledger, reader, stated, payload)

    examined(path, look)
