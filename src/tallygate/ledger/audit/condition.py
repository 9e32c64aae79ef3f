"""The state of a ledger's files and of the SQLite that opens them, for `status` and `doctor`."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from tallygate.core.values import value
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.machine import mount_of

if TYPE_CHECKING:
    from tallygate.ledger.postgres.database import PostgresLedger

# Where SQLite cannot share memory between processes, or where locks are not what they say.
NETWORK_KINDS = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "drvfs", "davfs"}
)
_FIRST_WITH_BUG, _FIRST_WITHOUT = (3, 7, 0), (3, 51, 3)
_REPAIRED = ((3, 44, 6), (3, 50, 7))


@value(frozen=True, slots=True)
class Condition:
    """A ledger's file as SQLite answers about it."""

    ledger_id: str
    schema: int
    journal_mode: str
    size_bytes: int


def condition(ledger: SqliteLedger | PostgresLedger) -> Condition:
    """Schema, journal mode and size on disk, the write-ahead log included; of a database what it says of itself."""
    if not isinstance(ledger, SqliteLedger):
        with ledger.reading():
            [(version, size)] = ledger.rows("SELECT version, pg_database_size(current_database()) FROM schema_version")
        return Condition(ledger.ledger_id, int(version), ledger.kind, int(size))
    [(schema,)] = ledger.rows("PRAGMA user_version")
    [(mode,)] = ledger.rows("PRAGMA journal_mode")
    size = sum(path.stat().st_size for path in files_of(ledger.path) if path.suffix != ".lock")
    return Condition(ledger.ledger_id, int(schema), str(mode), size)


def quick_check(ledger: SqliteLedger) -> list[str]:
    """What SQLite finds wrong with the pages of the file; empty where it is sound."""
    return [str(row[0]) for row in ledger.rows("PRAGMA quick_check(5)") if row[0] != "ok"]


def sqlite_version() -> str:
    """The version of the SQLite that this Python is linked with."""
    return sqlite3.sqlite_version


def has_wal_reset_bug(version: str) -> bool:
    """Whether a checkpoint that meets a reset of the log can lose a commit in this version of SQLite.

    >>> [has_wal_reset_bug(v) for v in ("3.40.1", "3.44.6", "3.50.6", "3.51.2", "3.51.3", "3.54.1")]
    [True, False, True, True, False, False]
    """
    number = tuple(int(part) for part in version.split(".")[:3])
    repaired = any(number[:2] == fixed[:2] and number >= fixed for fixed in _REPAIRED)
    return _FIRST_WITH_BUG <= number < _FIRST_WITHOUT and not repaired


def files_of(database: Path) -> list[Path]:
    """The files of a ledger that are there: the database, its log, its shared memory, its lock."""
    names = [database, *(database.with_name(database.name + ending) for ending in ("-wal", "-shm", ".lock"))]
    return [path for path in names if path.exists()]


def open_to_others(database: Path) -> list[tuple[Path, int]]:
    """Files of a ledger, and its folder where others may write to it, that this user does not have alone."""
    loose = [(path, stat.S_IMODE(path.stat().st_mode)) for path in files_of(database)]
    found = [(path, mode) for path, mode in loose if mode & 0o077]
    folder = stat.S_IMODE(database.parent.stat().st_mode)
    return [*found, (database.parent, folder)] if folder & 0o022 else found


def file_system(path: Path) -> str | None:
    """The kind of file system a path lies on, where the system tells."""
    found = mount_of(path)
    return None if found is None else found[1]


def is_network(kind: str) -> bool:
    """Whether a kind of file system is one of the network, on which a ledger is not safe."""
    return kind in NETWORK_KINDS or kind.startswith(("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse"))
