"""Where things are while the limits are locked: by the `[paths]` that the user has signed, whatever the file says now.

The lock stands in the ledger that is locked, and the file says where that is. So a file that leads elsewhere is held
against the locks that are remembered in folders which it cannot move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tallygate.core.errors import LedgerUnavailable, SettingsError
from tallygate.core.lock import LockStanding
from tallygate.settings.model import Paths
from tallygate.settings.signed import signed_document
from tallygate.settings.source import Document

# Whether the limits of a ledger at some places are locked.
StandingOf = Callable[[Paths], LockStanding]
PathsBy = Callable[[Document | None], Paths]


def where_locked(
    paths_by: PathsBy, user: Document | None, folders: Sequence[Path], standing: StandingOf
) -> tuple[Paths, LockStanding]:
    """The places by the user's file, or by what they have signed of it, and how the limits stand there.

    `folders` is where locks are remembered; none where somebody names other places than the file.
    """
    paths = paths_by(user)
    found = _remembered(paths_by, folders)
    if found and paths.database not in found:
        if len(found) > 1:
            listed = " and ".join(sorted(map(str, found)))
            return paths, LockStanding(
                unread=LedgerUnavailable(
                    f"Locks of several ledgers are remembered, {listed}, and the settings name another one.",
                    hint="Name the right one in [paths] of your settings file.",
                )
            )
        [paths] = found.values()
    stands = standing(paths)
    if stands.lock is not None:
        with suppress(SettingsError):  # told of where the other rows are read
            signed = paths_by(_places_in(stands.lock.settings))
            paths = replace(signed, database=paths.database, by_variable=paths.by_variable)
    return paths, stands


def _remembered(paths_by: PathsBy, folders: Sequence[Path]) -> dict[Path, Paths]:
    """The places of each ledger of which a lock is remembered, as they were signed with it."""
    if not folders:
        return {}
    from tallygate.ledger.anchor import of_path
    from tallygate.operations.lock_book import locks_remembered_in

    found = {}
    for begin, lock in locks_remembered_in(folders):
        with suppress(SettingsError):
            paths = paths_by(_places_in(lock.settings))
            if of_path(paths.database) == begin:
                found[paths.database] = paths
    return found


def _places_in(rows: str) -> Document:
    """Of signed rows those that say where things are."""
    signed = signed_document(rows)
    return replace(signed, values={key: value for key, value in signed.values.items() if key == "paths"})
