"""The ledger's file: made for this user alone, and refused where others could read or replace it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from tallygate.core.errors import LedgerCorrupt, LedgerUnavailable
from tallygate.files import create

APPLICATION_ID = 0x54475431  # "TGT1"


def prepare(path: Path) -> None:
    """Make folder and file readable by this user alone, or refuse what others could read or replace."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(create(path))
        except FileExistsError:
            _check_existing(path)
    except OSError as error:
        raise LedgerUnavailable(
            f"The ledger {path} cannot be created or opened: {error.strerror}.",
            hint="Check the folder's permissions, or set TALLYGATE_DB to another path.",
            code="storage_unreadable",
        ) from error


def is_nothing(path: Path) -> bool:
    """Whether there is no ledger at a place: no file, or one in which nothing was ever written."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # nobody can say: opening it tells
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def _check_existing(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise LedgerUnavailable(
            f"The ledger {path} is not a regular file.",
            hint="Remove the link or special file, or set TALLYGATE_DB to another path.",
            code="storage_unsafe",
        )
    _refuse_foreign(path)
    if sys.platform != "win32":
        if found.st_uid != os.getuid():
            raise LedgerUnavailable(
                f"The ledger {path} belongs to another user (uid {found.st_uid}).",
                hint="Set TALLYGATE_DB to a file of your own.",
                code="storage_unsafe",
            )
        if found.st_mode & 0o077:
            raise LedgerUnavailable(
                f"The ledger {path} can be read or written by others (mode {stat.S_IMODE(found.st_mode):o}).",
                hint=f"Run: chmod 600 {path}",
                code="storage_unsafe",
            )


def _refuse_foreign(path: Path) -> None:
    """Another program's database is not ours to open, nor to advise on; its header says whose it is."""
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(b"SQLite format 3"):
        return  # new and still empty, or damaged: opening it tells
    application_id = int.from_bytes(header[68:72], "big")
    if application_id != APPLICATION_ID:
        raise not_ours(path, application_id)


def not_ours(path: Path, application_id: int) -> LedgerCorrupt:
    """The error for a database that some other program made."""
    return LedgerCorrupt(
        f"{path} is not a Tallygate ledger (application id {application_id:#x}).",
        hint="Nothing was changed. Point TALLYGATE_DB at a new file, or at the right one.",
    )
