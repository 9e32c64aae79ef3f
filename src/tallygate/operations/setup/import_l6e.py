"""A session that another program kept, written into the ledger as what it is: over, with its costs as they were."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import field, replace
from pathlib import Path

from tallygate.core.gate import lifecycle
from tallygate.core.model import Budget, Call, Hold, Session
from tallygate.core.money import SUM_NANOS_MAX
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.core.words import Action, BudgetMode, CallState, Reason, SessionState
from tallygate.l6e.database import SCHEMA_KNOWN, Database, digest_of, open_database
from tallygate.l6e.records import KeptCall, KeptSession, Remark, Unusable
from tallygate.l6e.run_log import L6eRunLog, LoggedSession, Unfinished, opened_log
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, SessionReader, Tx, Update, Value
from tallygate.operations.runtime import SUMMARY_MAX, Runtime

# --- what is imported ------------------------------------------------------------------------------------------------
# A session that another program kept, written into the ledger as what it is: over, with its costs as they were.


EVENT = "session.imported"
# What stands where a session of ours names its server; a server's own id is made of hexadecimal digits.
FROM_DATABASE, FROM_LOG = "l6e-mcp", "l6e-mcp run log"
# Why a session is over that nobody had ended: the only kind that can have grown when it is met again.
UNENDED = "imported"
PREFIX = "l6e_"
CALLS_PER_EVENT = 500
CALLS_MAX = 1_000_000
_PRICE_ID = "l6e-mcp"
_PRICE_BASIS = '{"key":"as recorded","known":true,"source":"l6e-mcp"}'
_FACTOR_MAX = 10**12
_PLAIN_ID = re.compile(r"[\x21-\x7e]+")


@value(frozen=True, slots=True)
class ImportSource:
    """Where a session comes from: the file, its digest, and which kind of file it is."""

    file: str
    sha256: str
    mark: str


@value(slots=True)
class Brought:
    """What one session brought into the ledger."""

    sessions: int = 0
    grown: int = 0
    calls: int = 0
    actual: int = 0
    corrected: int = 0
    nanos: int = 0
    remarks: Counter[Remark] = field(default_factory=Counter)
    free: Counter[str] = field(default_factory=Counter)

    def add(self, other: Brought) -> None:
        for name in ("sessions", "grown", "calls", "actual", "corrected", "nanos"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.remarks.update(other.remarks)
        self.free.update(other.free)

    @property
    def is_nothing(self) -> bool:
        return not (self.sessions or self.grown)


@value(frozen=True, slots=True)
class Survey:
    """A session, and what is known of its calls before the ledger is asked for anything."""

    session: KeptSession
    last_us: int


def survey(session: KeptSession, calls: Iterator[KeptCall]) -> Survey:
    """Look at every call once. Raises `Unusable` at the first that keeps its session from being taken."""
    seen: set[str] = set()
    last_us = total = 0
    for call in calls:
        if call.call_id in seen:
            raise Unusable(call.where, f"call {cleaned(call.call_id, 80)} stands twice in its session")
        if len(seen) == CALLS_MAX:
            raise Unusable(call.where, f"its session has more than {CALLS_MAX:,} calls")
        seen.add(call.call_id)
        total += max(call.cost_nanos, call.estimate_nanos, call.raw_nanos)
        if total > SUM_NANOS_MAX:
            raise Unusable(call.where, "its session costs more than the ledger can count")
        last_us = max(last_us, call.at_us or 0, call.resolved_us or 0)
    return Survey(session, last_us)


def session_imported(reader: SessionReader, kept_id: str) -> Session | None:
    """The session of ours that an earlier import made of one of theirs."""
    for name in _names(kept_id, 200):
        found = reader.session(name)
        if found is not None and found.server_id in (FROM_DATABASE, FROM_LOG):
            return found
    return None


def may_have_grown(session: Session, origin: ImportSource) -> bool:
    """Whether calls can have come to an imported session since. A line of a log is written once."""
    return session.end_cause == UNENDED and session.server_id == origin.mark == FROM_DATABASE


def bring(tx: Tx, rt: Runtime, origin: ImportSource, found: Survey, calls: Iterator[KeptCall]) -> Brought:
    """Write a session with its calls, or what is new of one that is known. Everything, or `Unusable` and nothing."""
    known = session_imported(tx, found.session.session_id)
    if known is not None and not may_have_grown(known, origin):
        return Brought()
    writer = _Writer(tx, rt, origin, found, known)
    for number, call in enumerate(calls):
        writer.take(call, number)
    return writer.done()


def _names(kept_id: str, longest: int, inside: str = "") -> list[str]:
    """The ids to try, the first that is free or known counts; one that cannot be an id here gets a made one."""
    digest = hashlib.sha256(f"{inside}\0{kept_id}".encode(errors="surrogatepass")).hexdigest()
    made = f"{PREFIX}{digest[:24]}"
    if len(kept_id) + len(PREFIX) > longest or not _PLAIN_ID.fullmatch(kept_id):
        return [made]
    return [kept_id, f"{PREFIX}{kept_id}", made]


class _Writer:
    """One session on its way into the ledger, a few hundred calls an event."""

    def __init__(self, tx: Tx, rt: Runtime, origin: ImportSource, found: Survey, known: Session | None) -> None:
        self._tx, self._rt, self._origin, self._kept = tx, rt, origin, found.session
        self._brought = Brought()
        self._changes: list[Change] = []
        self._renamed: dict[str, str] = {}
        self._renamed_here: dict[str, str] = {}
        self._is_written = known is not None
        self._session = self._new_session(found.last_us) if known is None else self._later(known, found.last_us)
        own = tx.budget(self._session.session_id) if known is not None else None
        self._budget = own or Budget(
            tenant=rt.tenant,
            budget_id=self._session.session_id,
            scope="session",
            scope_key=self._session.session_id,
            unit="USD",
            mode=BudgetMode.HARD,
            limit=self._kept.limit_nanos,
            touched_us=self._session.ended_us or 0,
        )

    def take(self, kept: KeptCall, number: int) -> None:
        """Take one call, unless the ledger has it is."""
        known = None
        # Its own id, else that with a prefix: ids of the other program are not unique across its sessions.
        for name in _names(kept.call_id, 128, self._kept.session_id):
            found = self._tx.call(name)
            if found is None or found.session_id == self._session.session_id:
                known = found
                break
        else:
            raise Unusable(kept.where, f"the id of call {cleaned(kept.call_id, 80)} is taken")
        if name != kept.call_id and self._origin.mark == FROM_DATABASE:
            self._renamed[kept.call_id] = name
            self._renamed_here[name] = cleaned(kept.call_id, 200)
        call = self._call(kept, name, number)
        if known is None:
            self._add(kept, call)
        # Imported while it was open there: what it cost is known by now.
        elif known.state is CallState.EXPIRED and call.state is CallState.RECONCILED:
            self._correct(known, call)
        elif call.actual is not None and (known.actual, known.booked_nanos) != (call.actual, call.booked_nanos):
            self._brought.remarks[Remark.CHANGED] += 1
        if len(self._changes) >= CALLS_PER_EVENT:
            self._flush()

    def done(self) -> Brought:
        """Write what is left, and say what came in."""
        if self._changes or not self._is_written:
            self._flush()
        return self._brought

    def _new_session(self, last_us: int) -> Session:
        tx, kept = self._tx, self._kept
        for name in _names(kept.session_id, 200):
            if tx.session(name) is None and tx.budget(name) is None:
                break
        else:
            raise Unusable(kept.where, "its id is taken, with the prefix too")
        if name != kept.session_id:
            self._brought.remarks[Remark.RENAMED] += 1
        self._brought.sessions = 1
        self._brought.remarks.update(kept.remarks)
        started = self._past(tx.at_us if kept.started_us is None else kept.started_us)
        keep = self._rt.workspace.keep_summaries
        return Session(
            tenant=self._rt.tenant,
            session_id=name,
            client=kept.client,
            model=kept.model,
            state=SessionState.ENDED,
            accounting_mode=kept.accounting_mode,
            usage_channel=kept.usage_channel,
            coverage=kept.coverage,
            unknown_price=kept.unknown_price,
            currency="USD",
            started_us=started,
            ended_us=max(started, self._past(max(kept.ended_us or 0, last_us))),
            end_cause="run_end" if kept.is_ended else UNENDED,
            parent_session_id=self._parent(),
            task_summary=kept.task_summary[:SUMMARY_MAX] if keep and kept.task_summary else None,
            end_summary=kept.end_summary[:SUMMARY_MAX] if keep and kept.end_summary else None,
            server_id=self._origin.mark,
        )

    def _later(self, known: Session, last_us: int) -> Session:
        """The session as it stands there now, where it went on after it was imported."""
        kept = self._kept
        summary = kept.end_summary[:SUMMARY_MAX] if self._rt.workspace.keep_summaries and kept.end_summary else None
        later = replace(
            known,
            ended_us=max(known.ended_us or 0, self._past(max(kept.ended_us or 0, last_us))),
            end_cause="run_end" if kept.is_ended else UNENDED,
            end_summary=summary or known.end_summary,
        )
        if later != known:
            columns = ("session_id", "ended_us", "end_cause", "end_summary")
            row = rows.from_session(later)
            self._changes.append(Update("session", {name: row[name] for name in columns}))
        return later

    def _parent(self) -> str | None:
        if self._kept.parent_session_id is None:
            return None
        found = session_imported(self._tx, self._kept.parent_session_id)
        if found is None:
            self._brought.remarks[Remark.PARENT] += 1
        return None if found is None else found.session_id

    def _past(self, at_us: int) -> int:
        """A time that is not ahead of the ledger's own."""
        if at_us > self._tx.at_us:
            self._brought.remarks[Remark.AHEAD] += 1
        return min(at_us, self._tx.at_us)

    def _call(self, kept: KeptCall, name: str, number: int) -> Call:
        session = self._session
        # A call without a time has the place of its session, one microsecond behind the call before: the order is all
        # that is known.
        at = session.started_us + number if kept.at_us is None else min(kept.at_us, self._tx.at_us)
        resolved = max(at, min(kept.resolved_us or session.ended_us or at, self._tx.at_us))
        factor = kept.estimate_nanos * 1_000_000 // kept.raw_nanos if kept.raw_nanos else 1_000_000
        return Call(
            tenant=session.tenant,
            call_id=name,
            session_id=session.session_id,
            state=CallState.EXPIRED if kept.actual is None else CallState.RECONCILED,
            action=Action.REROUTE if kept.rerouted else Action.ALLOW,
            reason=Reason.BUDGET_PRESSURE if kept.rerouted else Reason.ALLOW,
            tool_name=kept.tool_name,
            model_requested=kept.model_requested,
            prompt_tokens=kept.prompt_tokens,
            completion_tokens=kept.completion_tokens,
            raw_estimate_nanos=kept.raw_nanos,
            estimate_nanos=kept.estimate_nanos,
            factor_micros=factor if 0 < factor <= _FACTOR_MAX else 1_000_000,
            actor_type=kept.actor.type,
            at_us=at,
            resolved_us=resolved,
            booked_nanos=kept.cost_nanos,
            cost_basis="estimate" if kept.actual is None else "actual",
            model_used=kept.model_used,
            actual=kept.actual,
            price_id=_PRICE_ID,
            actual_price_id=None if kept.actual is None else _PRICE_ID,
            actor_id=kept.actor.id,
            actor_name=kept.actor.name,
            parent_call_id=self._renamed.get(kept.parent_call_id or "", kept.parent_call_id),
            call_mode=kept.call_mode,
            mode_capable=kept.mode_capable,
            correlation=json.dumps(dict(kept.correlation), sort_keys=True) if kept.correlation else None,
            holds=(Hold(session.session_id, kept.estimate_nanos, kept.cost_nanos),),
        )

    def _add(self, kept: KeptCall, call: Call) -> None:
        brought = self._brought
        brought.calls += 1
        brought.actual += call.state is CallState.RECONCILED
        brought.remarks.update(kept.remarks)
        used = call.actual.total if call.actual is not None else call.prompt_tokens + call.completion_tokens
        if used and not call.booked_nanos:
            brought.remarks[Remark.FREE] += 1
            brought.free[call.model_used or call.model_requested] += 1
        self._book(0, call.booked_nanos)
        self._changes.append(Insert("call", rows.from_call(call)))

    def _correct(self, known: Call, call: Call) -> None:
        """Usage that was reported there after the estimate had come in here."""
        self._brought.corrected += 1
        self._brought.actual += 1
        self._book(known.booked_nanos, call.booked_nanos)
        names = (
            "call_id",
            "state",
            "booked_nanos",
            "cost_basis",
            "model_used",
            "actual_price_id",
            "resolved_us",
            "holds",
        )
        row = rows.from_call(call)
        columns = {**{name: row[name] for name in names}, **rows.token_columns(call.actual)}
        self._changes.append(Update("call", columns))

    def _book(self, before_nanos: int, cost_nanos: int) -> None:
        self._brought.nanos += cost_nanos - before_nanos
        self._budget = lifecycle.settle(self._budget, held=0, booked_before=before_nanos, cost=cost_nanos)

    def _flush(self) -> None:
        session, first = self._session, not self._is_written
        changes: list[Change] = []
        if not self._tx.knows_price(_PRICE_ID):
            changes.append(Insert("price", {"price_id": _PRICE_ID, "basis": _PRICE_BASIS}))
        if first:
            belongs: dict[str, Value] = {"session_id": session.session_id, "budget_id": self._budget.budget_id}
            changes.append(Insert("session", rows.from_session(session)))
            changes.append(Insert("budget", rows.from_budget(self._budget)))
            changes.append(Insert("session_budget", belongs))
        else:
            changes.append(Update("budget", rows.budget_counters(self._budget, session.ended_us or 0)))
        note: dict[str, Value] = {
            "source": self._origin.file,
            "source_sha256": self._origin.sha256,
            "where": self._kept.where,
            "original_session_id": cleaned(self._kept.session_id, 500),
        }
        if self._renamed_here:
            note["original_call_ids"] = json.dumps(self._renamed_here, sort_keys=True)
        self._tx.append(EVENT, [*changes, *self._changes], by=self._rt.by, note=note)
        self._brought.grown += 0 if self._brought.sessions or self._brought.grown else 1
        self._is_written = True
        # A session of any length goes in pieces, so that none of them holds the ledger for long.
        self._changes, self._renamed_here = [], {}


# --- the import ------------------------------------------------------------------------------------------------------
# Bring what l6e-mcp kept into the ledger: each session once, in one transaction, with a report of what was not.


LEFT_OUT_KEPT = 1000


@value(frozen=True, slots=True)
class LeftOut:
    """A session that was not taken: where it stands, and why."""

    file: str
    where: str
    why: str


@value(slots=True)
class ImportReport:
    """What an import took, what was there already, and what it left out."""

    database: ImportSource | None = None
    log: ImportSource | None = None
    brought: Brought = field(default_factory=Brought)
    known: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    left_out_count: int = 0
    schema_is_newer: bool = False
    orphan_calls: int = 0
    log_lines: Counter[str] = field(default_factory=Counter)


class _Undone(Exception):
    """Ends a transaction of a dry run: what was written is taken back."""


def import_l6e(rt: Runtime, database: Path | None, log: Path | None, *, dry_run: bool = False) -> ImportReport:
    """Take every session of a database, then those of a run log that the database does not have.

    Raises `InvalidArgument` before anything was taken where one of the files cannot be read at all.
    """
    with (
        nullcontext() if database is None else open_database(database) as kept,
        nullcontext() if log is None else opened_log(log) as lines,
    ):
        importer = _Importer(rt, dry_run=dry_run)
        report = importer.report
        if kept is not None:
            report.database = ImportSource(str(kept.path), digest_of(kept.path), FROM_DATABASE)
        if log is not None and lines is not None:
            report.log = ImportSource(str(log), lines.digest(), FROM_LOG)
        if kept is not None and report.database is not None:
            importer.take_database(kept, report.database)
        if lines is not None and report.log is not None:
            importer.take_log(lines, kept, report.log)
    return report


class _Importer:
    """One import, and its report as it grows."""

    def __init__(self, rt: Runtime, *, dry_run: bool) -> None:
        self.report = ImportReport()
        self._rt = rt
        self._dry_run = dry_run
        self._pretended: set[str] = set()

    def take_database(self, database: Database, origin: ImportSource) -> None:
        """Every session, in the order in which they were opened."""
        self.report.schema_is_newer = database.schema_version > SCHEMA_KNOWN
        self.report.orphan_calls = database.orphans()
        for session in database.sessions():
            if isinstance(session, Unusable):
                self._leave_out(origin, session)
            else:
                key = session.session_id
                self._take(origin, session, lambda key=key: database.calls_of(key))  # type: ignore[misc]

    def take_log(self, log: L6eRunLog, database: Database | None, origin: ImportSource) -> None:
        """The lines of sessions that neither the database nor the ledger has."""
        counts = self.report.log_lines
        for line in log.lines():
            counts["lines"] += 1
            if isinstance(line, Unusable):
                self._leave_out(origin, line)
            elif isinstance(line, Unfinished):
                counts["unfinished"] += 1
            elif line.is_ours:
                counts["ours"] += 1
            elif database is not None and database.holds(line.session.session_id):
                counts["in_database"] += 1
            else:
                counts["taken"] += self._take(origin, line.session, _calls(line))

    def _take(self, origin: ImportSource, kept: KeptSession, calls: Callable[[], Iterator[KeptCall]]) -> bool:
        """Take one session; False where it is known, or cannot be taken."""
        with self._rt.reading() as reader:
            known = session_imported(reader, kept.session_id)
        if kept.session_id in self._pretended or (known is not None and not may_have_grown(known, origin)):
            self.report.known += 1
            return False
        brought = Brought()
        try:
            found = survey(kept, calls())
            with self._rt.writing() as tx:
                brought = bring(tx, self._rt, origin, found, calls())
                if self._dry_run:
                    raise _Undone  # noqa: TRY301
        except _Undone:
            self._pretend(kept, brought)
        except Unusable as error:
            self._leave_out(origin, error)
            return False
        self.report.known += brought.is_nothing
        self.report.brought.add(brought)
        return not brought.is_nothing

    def _pretend(self, kept: KeptSession, brought: Brought) -> None:
        """Remember a session that was taken back, for its children and for when it is met again."""
        if kept.parent_session_id in self._pretended:
            brought.remarks[Remark.PARENT] -= 1
        self._pretended.add(kept.session_id)

    def _leave_out(self, origin: ImportSource, error: Unusable) -> None:
        self.report.left_out_count += 1
        if len(self.report.left_out) < LEFT_OUT_KEPT:
            self.report.left_out.append(LeftOut(origin.file, error.where, error.why))


def _calls(line: LoggedSession) -> Callable[[], Iterator[KeptCall]]:
    return lambda: iter(line.calls)
