"""Bring what l6e-mcp kept into the ledger: each session once, in one transaction, with a report of what was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tallygate.l6e.database import SCHEMA_KNOWN, Database, digest_of, opened
from tallygate.l6e.records import KeptCall, KeptSession, Remark, Unusable
from tallygate.l6e.run_log import LoggedSession, RunLog, Unfinished, opened_log
from tallygate.operations.imported import (
    FROM_DATABASE,
    FROM_LOG,
    Brought,
    Origin,
    bring,
    may_have_grown,
    session_imported,
    survey,
)
from tallygate.operations.runtime import Runtime

LEFT_OUT_KEPT = 1000


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A session that was not taken: where it stands, and why."""

    file: str
    where: str
    why: str


@dataclass(slots=True)
class ImportReport:
    """What an import took, what was there already, and what it left out."""

    database: Origin | None = None
    log: Origin | None = None
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
        nullcontext() if database is None else opened(database) as kept,
        nullcontext() if log is None else opened_log(log) as lines,
    ):
        importer = _Importer(rt, dry_run=dry_run)
        report = importer.report
        if kept is not None:
            report.database = Origin(str(kept.path), digest_of(kept.path), FROM_DATABASE)
        if log is not None and lines is not None:
            report.log = Origin(str(log), lines.digest(), FROM_LOG)
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

    def take_database(self, database: Database, origin: Origin) -> None:
        """Every session, in the order in which they were opened."""
        self.report.schema_is_newer = database.schema_version > SCHEMA_KNOWN
        self.report.orphan_calls = database.orphans()
        for session in database.sessions():
            if isinstance(session, Unusable):
                self._leave_out(origin, session)
            else:
                key = session.session_id
                self._take(origin, session, lambda key=key: database.calls_of(key))  # type: ignore[misc]

    def take_log(self, log: RunLog, database: Database | None, origin: Origin) -> None:
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

    def _take(self, origin: Origin, kept: KeptSession, calls: Callable[[], Iterator[KeptCall]]) -> bool:
        """Take one session; False where it is known, or cannot be taken."""
        with self._rt.ledger.reading(self._rt.tenant) as reader:
            known = session_imported(reader, kept.session_id)
        if kept.session_id in self._pretended or (known is not None and not may_have_grown(known, origin)):
            self.report.known += 1
            return False
        brought = Brought()
        try:
            found = survey(kept, calls())
            with self._rt.ledger.writing(self._rt.tenant) as tx:
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

    def _leave_out(self, origin: Origin, error: Unusable) -> None:
        self.report.left_out_count += 1
        if len(self.report.left_out) < LEFT_OUT_KEPT:
            self.report.left_out.append(LeftOut(origin.file, error.where, error.why))


def _calls(line: LoggedSession) -> Callable[[], Iterator[KeptCall]]:
    return lambda: iter(line.calls)
