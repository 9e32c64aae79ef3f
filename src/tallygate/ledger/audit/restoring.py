"""A backup put in the ledger's place: looked through before, and what lay there is kept beside it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tallygate.core.errors import LedgerCorrupt, LedgerUnavailable
from tallygate.core.moments import as_datetime
from tallygate.core.proof import Head
from tallygate.files import create, on_disk
from tallygate.ledger.anchor import IGNORE
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.sqlite.database import SqliteLedger, translated
from tallygate.ledger.sqlite.files import FileLock

_BESIDE = ("-wal", "-shm")
NOTHING_CHANGED = "Nothing was replaced. Give another backup."


@dataclass(frozen=True, slots=True)
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
            _clear(new)
            _copied(source, new)
            ends = _looked_through(new, source, at_us)
            # What lies in the ledger's place gets another name, and so does its log, which must not meet the new file.
            aside = path.with_name(f"{path.name}.before-restore-{as_datetime(at_us).strftime('%Y%m%dT%H%M%S%fZ')}")
            kept = aside if os.path.lexists(path) else None
            for ending in ("", *_BESIDE):
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
        with contextlib.suppress(OSError):
            _clear(new)
        lock.close()


def remove_unused(ledger: SqliteLedger) -> bool:
    """Take away a ledger in which nothing ever happened, with its anchor; True where that was done."""
    with ledger.writing():
        if next(iter(ledger.rows("SELECT 1 FROM event LIMIT 1")), None) is not None:
            return False
    anchors = () if ledger.anchor is None else ledger.anchor.files
    ledger.close()
    for file in anchors:
        file.unlink(missing_ok=True)
    _clear(ledger.path)
    for file in anchors:
        with contextlib.suppress(OSError):  # somebody else's things stay, and so do the folders around them
            if [each.name for each in file.parent.iterdir()] == [IGNORE]:
                (file.parent / IGNORE).unlink()
            for folder in (file.parent, file.parent.parent):
                folder.rmdir()
    with contextlib.suppress(OSError):
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
    # Without a log there is nothing that SQLite would have to write beside the backup.
    way = "mode=ro" if Path(f"{source}-wal").exists() else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?{way}", uri=True)) as old:
            old.execute("PRAGMA trusted_schema = OFF")
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


def _clear(database: Path) -> None:
    for ending in ("", *_BESIDE, "-journal", ".lock"):
        Path(f"{database}{ending}").unlink(missing_ok=True)
