"""Another ledger in the place of a damaged one, made from its own events, or a backup.

What lay there is kept, and nothing starts anew with nothing spent.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import field
from pathlib import Path
from typing import Any, NoReturn

from tallygate.core.errors import InvariantBroken, LedgerCorrupt, LedgerTooNew, LedgerUnavailable
from tallygate.core.moments import as_datetime
from tallygate.core.proof import Head, Link, Walk
from tallygate.core.values import value
from tallygate.files import create, on_disk
from tallygate.ledger.anchor import IGNORE
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.events import SqlTables, apply
from tallygate.ledger.rollups import add_up, begin_anew
from tallygate.ledger.rows import COLUMNS
from tallygate.ledger.sqlite.database import PAGE_BYTES, SqliteLedger, translated
from tallygate.ledger.sqlite.files import APPLICATION_ID, FileLock, migrate, migrations, prepare
from tallygate.ledger.store.checks import CHECK_COLUMNS
from tallygate.ledger.store.plan import HISTORY_COLUMNS, PLAN_COLUMNS
from tallygate.ledger.store.proof import ATTESTATION_COLUMNS, SIGNING_KEY_COLUMNS
from tallygate.ledger.transaction import INSERT_EVENT

SELECT_EVENTS = "SELECT tenant, seq, body, hash FROM event ORDER BY id"
INSERT_IDENTITY = "INSERT INTO ledger (one, ledger_id, created_us) VALUES (1, :id, :at_us)"
SELECT_TOUCHED = "SELECT MAX(touched_us) FROM budget"
QUEUE = ("tenant", "session_id", "path", "line", "queued_us", "written_us", "last_error")
POSITIONS = ("tenant", "path", "client", "position", "skipped", "read_us", "whole_us")
UNREAD = ("tenant", "path", "client", "client_session", "why", "records", "unfinished", "read_us")
QUEUE_LEFT_OUT = "lines of the run log that were not written yet"
UNREAD_LEFT_OUT = "what could not be read of transcripts: `tallygate sync` tells it where they are read again"
CHECKS_LEFT_OUT = "what clients stated as their sessions' totals"
PLAN_LEFT_OUT = "how much of plans was used: it is told again with the next response"
ATTESTATIONS_LEFT_OUT = "attestations: `tallygate attest list` makes those of the events that are left again"
POSITIONS_LEFT_OUT = "how far transcripts were read: they are read again, and no response counts twice"
RESTORE = "Nothing was replaced. Restore a backup; a ledger without its events would be one with nothing spent."
SUMMED_AT_ONCE = 20_000
_SIDECARS = ("-wal", "-shm")
_NO_EVENT = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
_NO_ROW = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, OverflowError)


@value(frozen=True, slots=True)
class Rebuilt:
    """What a rebuilt ledger holds of the damaged one, and where the damaged one is kept."""

    copy: Path
    events: int
    last_us: int
    lost: str | None
    left_out: tuple[str, ...]


@value(slots=True)
class _Chains:
    """The chains of all tenants, each followed until it breaks."""

    ledger_id: str
    walks: dict[str, Walk] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    lost: str | None = None
    events: int = 0
    last_us: int = 0

    def holds(self, tenant: Any, link: Link) -> bool:
        """Whether an event follows the last one that was kept."""
        # SQLite keeps in a column whatever it is given: a damaged page may hold anything.
        kinds = (type(tenant), type(link.seq), type(link.body), type(link.hash))
        if kinds != (str, int, bytes, bytes):
            self.end(f"event {self.events + 1} is none")
            return False
        # Behind a break nothing of this tenant can be told from what was put in; the others go on.
        if tenant in self.ended:
            return False
        broken = self.walks.setdefault(tenant, Walk(f"{self.ledger_id}/{tenant}")).take(link)
        if broken is None:
            return True
        self.ended.add(tenant)
        self.end(broken.what)
        return False

    def end(self, what: str) -> None:
        """Remember the first thing that is wrong; what lies behind it follows from it."""
        self.lost = self.lost or what


def rebuild(path: Path, *, at_us: int, lock_timeout_ms: int) -> Rebuilt | None:
    """Replace a ledger that is damaged or was edited by one made from its events; None where it is sound.

    The file is replaced only by one that passes the audit. Raises `LedgerCorrupt` where nothing can be made of it.
    """
    if not path.exists():
        raise LedgerUnavailable(
            f"There is no ledger at {path}.", hint="Restore a backup to that place.", code="storage_unreadable"
        )
    prepare(path)
    if path.stat().st_size == 0:
        raise LedgerCorrupt(f"The ledger {path} is empty: no event can be read.", hint=RESTORE)
    if _is_sound(path, at_us, lock_timeout_ms):
        return None
    lock = FileLock(path.with_name(path.name + ".lock"), timeout_ms=lock_timeout_ms)
    new = path.with_name(path.name + ".rebuilding")
    try:
        with translated(path), lock:
            # All of it is done beside the ledger: until the new one has passed the audit nothing of the old one is
            # touched.
            copy = _quarantined(path, at_us)
            try:
                rebuilt = _made(copy, new, path, at_us)
                _verify(new)
            except BaseException:
                _remove(copy)  # the ledger itself is as it was
                raise
            _replace(path, new)
            return rebuilt
    except OSError as error:
        raise LedgerUnavailable(
            f"The ledger {path} could not be rebuilt: {error.strerror}.",
            hint="Stop the servers that have it open, see that the disk has space for two copies, and try again.",
            code="storage_failed",
        ) from error
    finally:
        _remove(new)
        lock.close()


def _is_sound(path: Path, at_us: int, lock_timeout_ms: int) -> bool:
    try:
        ledger = SqliteLedger(path, clock=lambda: at_us, new_ledger_id=_no_id, lock_timeout_ms=lock_timeout_ms)
    except (LedgerCorrupt, sqlite3.Error):
        return False
    try:
        if audit(ledger):
            return False
        # One of before whose sums were never looked for.
        is_whole = False
        while not is_whole:
            with ledger.writing() as tx:
                is_whole = tx.add_up(SUMMED_AT_ONCE)
        return True
    except (LedgerCorrupt, sqlite3.Error, *_NO_EVENT):
        return False
    finally:
        ledger.close()


def _no_id() -> str:
    """A ledger that lost its id must not get another: its chain would hold for nobody."""
    raise LedgerCorrupt("The ledger's id is gone.", hint=RESTORE)


def _quarantined(path: Path, at_us: int) -> Path:
    """The damaged file with its log, copied beside it for whoever wants to look; nobody writes meanwhile."""
    stamp = as_datetime(at_us).strftime("%Y%m%dT%H%M%SZ")
    copy = path.with_name(f"{path.name}.corrupt-{stamp}")
    for ending in ("", *_SIDECARS):
        source, target = Path(f"{path}{ending}"), Path(f"{copy}{ending}")
        if ending and not source.exists():
            continue
        with source.open("rb") as old, os.fdopen(create(target), "wb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
        on_disk(target)
    return copy


def _made(copy: Path, new: Path, path: Path, at_us: int) -> Rebuilt:
    """Write a new ledger with every event of the copy that stands in an unbroken chain, and the tables they make."""
    _remove(new)
    prepare(new)
    with closing(_damaged(copy)) as damaged, closing(sqlite3.connect(new, isolation_level=None)) as made:
        ledger_id, created_us = _identity(damaged, path)
        chains = _Chains(ledger_id)
        made.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        made.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        migrate(made, str(path))
        made.execute("BEGIN")
        made.execute(INSERT_IDENTITY, {"id": ledger_id, "at_us": created_us})
        try:
            _keep_events(damaged, made, chains)
            if not chains.events:
                _no_event(path, chains.lost or "it has none")
            # Events that are gone from the end leave a chain that holds; the old tables may still tell of them.
            with suppress(sqlite3.DatabaseError):
                touched = damaged.execute(SELECT_TOUCHED).fetchone()[0]
                if isinstance(touched, int) and touched > chains.last_us:
                    chains.end("the tables tell of later changes, which no event states")
            begin_anew(made.execute)
            while not add_up(made.execute, SUMMED_AT_ONCE, at_us):
                pass
            left_out = _keep_facts(damaged, made, chains)
        except (InvariantBroken, *_NO_ROW, *_NO_EVENT) as error:
            raise LedgerCorrupt(
                f"The events of the ledger {path} make no sound tables: {error!r}.", hint=RESTORE
            ) from error
        made.execute("COMMIT")
    return Rebuilt(copy, chains.events, chains.last_us, chains.lost, tuple(left_out))


def _opened(file: Path) -> sqlite3.Connection:
    """A database that is only read; nothing that stands in its schema is run."""
    # Without a log there is nothing that SQLite would have to write beside the file.
    way = "mode=ro" if Path(f"{file}-wal").exists() else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?{way}", uri=True, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _damaged(copy: Path) -> sqlite3.Connection:
    connection = _opened(copy)
    # With a schema that counts as writable SQLite also reads files that are too short or have a table it cannot parse.
    for pragma in ("writable_schema = ON", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _identity(damaged: sqlite3.Connection, path: Path) -> tuple[str, int]:
    try:
        version = int(damaged.execute("PRAGMA user_version").fetchone()[0])
        row = damaged.execute("SELECT ledger_id, created_us FROM ledger").fetchone()
    except sqlite3.DatabaseError as error:
        _no_event(path, str(error))
    if version > migrations()[-1][0]:
        raise LedgerTooNew(f"The ledger {path} has schema {version}.", hint="Update Tallygate, then try again.")
    if row is None or not isinstance(row[0], str) or not isinstance(row[1], int):
        _no_event(path, "its id, which every hash stands on, is gone")
    return row[0], row[1]


def _no_event(path: Path, why: str) -> NoReturn:
    raise LedgerCorrupt(f"No event of the ledger {path} can be read: {why}.", hint=RESTORE)


def _keep_events(damaged: sqlite3.Connection, made: sqlite3.Connection, chains: _Chains) -> None:
    """Copy bytes and hashes as they are, and do once more to the tables what each event did.

    The time of an event is the one its bytes say.
    """
    tables = SqlTables(made.execute, made.executemany, COLUMNS)
    for tenant, seq, body, digest in _events(damaged, chains):
        if not chains.holds(tenant, Link(seq, body, digest)):
            continue
        stated = json.loads(body)
        apply(str(stated["tenant"]), stated["rows"], tables)
        at_us = int(stated["at_us"])
        made.execute(INSERT_EVENT, {"tenant": tenant, "seq": seq, "at_us": at_us, "body": body, "hash": digest})
        chains.events += 1
        chains.last_us = max(chains.last_us, at_us)


def _events(damaged: sqlite3.Connection, chains: _Chains) -> Iterator[tuple[Any, ...]]:
    try:
        yield from damaged.execute(SELECT_EVENTS)
    except sqlite3.DatabaseError as error:
        chains.end(f"event {chains.events + 1} cannot be read: {error}")


def _insert(table: str, names: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _keep_facts(damaged: sqlite3.Connection, made: sqlite3.Connection, chains: _Chains) -> list[str]:
    """Facts about files, which no event states; returns what had to be left out."""
    left_out = _keep_attestations(damaged, made)
    try:
        lines = damaged.execute(f"SELECT {', '.join(QUEUE)} FROM run_log_queue").fetchall()
    except sqlite3.DatabaseError:
        left_out.append(QUEUE_LEFT_OUT)
    else:
        # A session whose end is lost is open again and gets its line when it ends.
        ended = set(made.execute("SELECT tenant, session_id FROM session WHERE state = 'ended'"))
        made.executemany(_insert("run_log_queue", QUEUE), [row for row in lines if (row[0], row[1]) in ended])
    try:
        positions = damaged.execute(f"SELECT {', '.join(POSITIONS)} FROM transcript_file").fetchall()
    except sqlite3.DatabaseError:
        return [*left_out, POSITIONS_LEFT_OUT]
    if positions and chains.lost:
        # Behind these positions lie responses whose events are lost: only reading again brings them back.
        return [*left_out, POSITIONS_LEFT_OUT]
    made.executemany(_insert("transcript_file", POSITIONS), positions)
    for table, names, said in (
        ("unread_file", UNREAD, UNREAD_LEFT_OUT),
        ("session_check", CHECK_COLUMNS, CHECKS_LEFT_OUT),
        ("plan_window", PLAN_COLUMNS, PLAN_LEFT_OUT),
        ("plan_history", HISTORY_COLUMNS, PLAN_LEFT_OUT),
    ):
        try:
            kept = damaged.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall()
        except sqlite3.DatabaseError as error:
            if "no such table" not in str(error):  # an older ledger has none
                left_out.append(said)
        else:
            made.executemany(_insert(table, names), kept)
    return left_out


def _keep_attestations(damaged: sqlite3.Connection, made: sqlite3.Connection) -> list[str]:
    """What was signed stays as it was, of events that are lost, too: it may be all that tells of them."""
    try:
        for table, names in (("attestation", ATTESTATION_COLUMNS), ("signing_key", SIGNING_KEY_COLUMNS)):
            signed = " WHERE envelope IS NOT NULL" if table == "attestation" else ""
            kept = damaged.execute(f"SELECT {', '.join(names)} FROM {table}{signed}").fetchall()
            made.executemany(_insert(table, names), kept)
    except sqlite3.DatabaseError as error:
        return [] if "no such table" in str(error) else [ATTESTATIONS_LEFT_OUT]
    return []


def _verify(new: Path) -> None:
    ledger = SqliteLedger(new, clock=lambda: 0, new_ledger_id=_no_id)
    try:
        findings = audit(ledger)
    finally:
        ledger.close()
    if findings:
        first = findings[0]
        raise LedgerCorrupt(
            f"What the events make does not pass the audit: {first.where}: {first.what}.",
            hint=RESTORE,
        )
    on_disk(new)


def _replace(path: Path, new: Path) -> None:
    """The old log goes first: beside the new file SQLite would take it for the new one's and write its pages there."""
    for ending in _SIDECARS:
        Path(f"{path}{ending}").unlink(missing_ok=True)
    new.replace(path)
    on_disk(path)


def _remove(database: Path) -> None:
    for ending in ("", *_SIDECARS, "-journal", ".lock"):
        Path(f"{database}{ending}").unlink(missing_ok=True)


# --- restoring -------------------------------------------------------------------------------------------------------
# A backup put in the ledger's place: looked through before, and what lay there is kept beside it.


NOTHING_CHANGED = "Nothing was replaced. Give another backup."


@value(frozen=True, slots=True)
class Restoration:
    """A backup that is in place now: its last event, and where what lay there is kept."""

    ends: Head
    kept: Path | None


def restore(path: Path, source: Path, *, at_us: int, lock_timeout_ms: int) -> Restoration:
    """Put a backup in the place of a ledger, whatever lies there. Raises `LedgerUnavailable`, and nothing is changed.

    The caller tells the journal, and nobody counts on the ledger before the anchor agrees with it.
    """
    new = path.with_name(path.name + ".restoring")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path.with_name(path.name + ".lock"), timeout_ms=lock_timeout_ms)
    try:
        with lock:
            _remove(new)
            _copied(source, new)
            ends = _looked_through(new, source, at_us)
            # What lies in the ledger's place gets another name, and so does its log, which must not meet the new file.
            aside = path.with_name(f"{path.name}.before-restore-{as_datetime(at_us).strftime('%Y%m%dT%H%M%S%fZ')}")
            kept = aside if os.path.lexists(path) else None
            for ending in ("", *_SIDECARS):
                if os.path.lexists(f"{path}{ending}"):
                    Path(f"{path}{ending}").rename(f"{aside}{ending}")
            new.replace(path)
            on_disk(path)
        return Restoration(ends, kept)
    except OSError as error:
        raise LedgerUnavailable(
            f"The ledger {path} could not be restored: {error.strerror}.",
            hint="See that the folder takes files of this user and has space for another copy, then try again.",
            code="storage_failed",
        ) from error
    finally:
        with suppress(OSError):
            _remove(new)
        lock.close()


def remove_unused(ledger: SqliteLedger) -> bool:
    """Take away a ledger in which nothing ever happened, with its anchor; True where that was done."""
    with ledger.writing():
        if next(iter(ledger.rows("SELECT 1 FROM event LIMIT 1")), None) is not None:
            return False
    # The anchor goes first: without its ledger it would say for ever that one was taken away.
    anchors = () if ledger.anchor is None else ledger.anchor.files
    ledger.close()
    for file in anchors:
        file.unlink(missing_ok=True)
    _remove(ledger.path)
    for file in anchors:
        with suppress(OSError):  # somebody else's things stay, and so do the folders around them
            if [each.name for each in file.parent.iterdir()] == [IGNORE]:
                (file.parent / IGNORE).unlink()
            for folder in (file.parent, file.parent.parent):
                folder.rmdir()
    with suppress(OSError):
        ledger.path.parent.rmdir()
    return True


def _copied(source: Path, new: Path) -> None:
    try:
        found = source.stat()
    except OSError as error:
        raise LedgerUnavailable(
            f"The backup {source} cannot be read: {error.strerror}.", hint=NOTHING_CHANGED, code="storage_unreadable"
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise LedgerUnavailable(f"The backup {source} is not a file.", hint=NOTHING_CHANGED, code="storage_unsafe")
    if found.st_size == 0:
        raise LedgerCorrupt(f"The backup {source} is empty.", hint=NOTHING_CHANGED)
    os.close(create(new))
    try:
        with closing(_opened(source)) as old:
            # SQLite itself copies what is committed, with what stands in the log, and each page as it reads it.
            old.execute("VACUUM INTO :target", {"target": str(new.absolute())})
    except sqlite3.DatabaseError as error:
        raise LedgerCorrupt(f"The backup {source} cannot be read: {error}.", hint=NOTHING_CHANGED) from error


def _looked_through(new: Path, source: Path, at_us: int) -> Head:
    """The last event of a copy that opens and verifies; one of an older version is brought up to this one."""
    with translated(source):
        ledger = SqliteLedger(new, clock=lambda: at_us, new_ledger_id=_no_ledger)
        try:
            findings = audit(ledger)
            last = next(iter(ledger.rows("SELECT seq, hash, at_us FROM event ORDER BY id DESC LIMIT 1")), None)
        except (ValueError, LookupError, TypeError) as error:
            raise LedgerCorrupt(f"The journal of {source} cannot be read: {error!r}.", hint=NOTHING_CHANGED) from error
        finally:
            ledger.close()
    if findings:
        first = findings[0]
        raise LedgerCorrupt(f"The backup {source} does not verify: {first.where}: {first.what}.", hint=NOTHING_CHANGED)
    on_disk(new)
    return Head() if last is None else Head(*last)


def _no_ledger() -> str:
    raise LedgerCorrupt("The backup has no ledger in it.", hint=NOTHING_CHANGED)
