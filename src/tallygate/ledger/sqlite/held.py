"""An open ledger held against its anchor: once when it is opened, then at each write, and marked after each commit."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tallygate.core.errors import LedgerUnavailable
from tallygate.core.proof import Mark, in_force, replaced, rolled_back
from tallygate.ledger.anchor import Anchor, AnchorRecord, Copy
from tallygate.ledger.sqlite.files import FileLock
from tallygate.ledger.transaction import StoreTx
from tallygate.machine import boot

log = logging.getLogger("tallygate")

Rows = Callable[[str, tuple[Any, ...]], Iterator[tuple[Any, ...]]]
SELECT_HASH = "SELECT hash FROM event WHERE id = ?"
SELECT_ANYWHERE = "SELECT 1 FROM event WHERE hash = ? LIMIT 1"
SELECT_LAST = "SELECT id, tenant, seq, hash, at_us FROM event ORDER BY id DESC LIMIT 1"
SELECT_LEDGER_ID = "SELECT ledger_id FROM ledger"


class HeldHistory:
    """What one process knows of the history of the ledger it has open."""

    def __init__(self, path: Path, ledger_id: str, anchor: Anchor, execute: Rows) -> None:
        self._path = path
        self._ledger_id = ledger_id
        self._anchor = anchor
        self._execute = execute
        self._epoch = 0
        self._known: Mark | None = None

    def opened(self, remembered: AnchorRecord, lock: FileLock, *, is_new: bool) -> None:
        """Hold the ledger against what its anchor remembered before it was opened; make the anchor where it is not.

        Raises `LedgerReplaced` or `LedgerRolledBack`.
        """
        self._go_by(bears_out(self._path, self._ledger_id, remembered, self._execute))
        amiss = remembered.amiss
        if not amiss or not (any(copy is not Copy.MISSING for _, copy in amiss) or self._anchor.can_be_made()):
            return
        try:
            with lock:
                amiss = self._anchor.read().amiss  # somebody else may have made it meanwhile
                last = self.last()
                made = self._anchor.make(last, [file for file, _ in amiss])
        except LedgerUnavailable:
            return  # somebody writes just now: the next one to open it makes the anchor
        self._known = last
        if made and not is_new and (last.row or remembered.marks):
            _say(remembered, amiss, made)

    def _go_by(self, marks: tuple[Mark, ...]) -> None:
        self._known = marks[-1] if marks else None
        self._epoch = marks[-1].epoch if marks else 0

    def begun(self, tx: StoreTx) -> None:
        """Refuse a transaction on a ledger that lacks what this process has written or was shown."""
        known = self._known
        if known is None or known.row == 0 or (tx.newest.hash == known.digest):
            return
        row = _first(self._execute, SELECT_HASH, known.row)
        if row is None or row[0] != known.digest:
            self._look_again()

    def committed(self, tx: StoreTx) -> None:
        """Mark the last event of a transaction; the writer's lock is still held."""
        if tx.row is None:
            return
        head = tx.newest
        mark = Mark(self._epoch, self._ledger_id, tx.row, tx.tenant, head.seq, head.hash, head.at_us, boot())
        self._known = mark
        if not self._anchor.write(mark):
            # Taken away, or exchanged by the user who went on with another history: then that one's number counts.
            found = self._anchor.read()
            self._epoch = max(self._epoch, found.epoch)
            mark = self._known = replace(mark, epoch=self._epoch)
            self._anchor.make(mark, [file for file, _ in found.amiss])
            self._anchor.write(mark)

    def anew(self) -> None:
        """Let the anchor begin with the ledger as it is: the user goes on with it. The caller holds no lock."""
        found = self._anchor.read()
        self._epoch = max([found.epoch, *(mark.epoch for mark in found.elsewhere_of(self._ledger_id))]) + 1
        self._known = self.last()
        made = self._anchor.make(self._known)
        if left := [file for file in self._anchor.files if file not in made and os.access(file, os.F_OK)]:
            raise LedgerUnavailable(
                f"The anchor {left[0]} cannot be written: {self._anchor.faults.get(left[0], 'no reason was given')}.",
                hint="Make it writable or remove it, then run the command again.",
                code="storage_read_only",
            )

    def last(self) -> Mark:
        """The mark of the ledger as it stands."""
        row = _first(self._execute, SELECT_LAST)
        blank = Mark(self._epoch, self._ledger_id, boot=boot())
        return blank if row is None else replace(blank, **dict(zip(_COLUMNS, row, strict=True)))

    def _look_again(self) -> None:
        """The history is another one: where the user went on with it since, so does this process."""
        found = _first(self._execute, SELECT_LEDGER_ID)
        remembered = self._anchor.read()
        known = self._known
        epochs = [remembered.epoch, *(mark.epoch for mark in remembered.elsewhere_of(self._ledger_id))]
        # Each time the user goes on with a ledger the anchor begins a new epoch: a higher one than ours says that they
        # did.
        if found is not None and found[0] == self._ledger_id and max(epochs) > self._epoch:
            self._go_by(bears_out(self._path, self._ledger_id, remembered, self._execute))
        elif known is not None:
            there = "none" if found is None else str(found[0])
            bears_out(self._path, there, AnchorRecord((known,)), self._execute)


def _first(execute: Rows, sql: str, *parameters: Any) -> tuple[Any, ...] | None:
    return next(execute(sql, parameters), None)


def _say(remembered: AnchorRecord, amiss: Sequence[tuple[Path, Copy]], made: Sequence[Path]) -> None:
    if all(copy is Copy.MISSING for _, copy in remembered.copies):
        if remembered.others:
            return  # a host that is new here, such as a container that was started: others have marked the ledger
        log.warning("From now on you are told if this ledger is gone, or an older copy of it lies in its place.")
    else:
        listed = ", ".join(f"{file} ({copy})" for file, copy in amiss if file in made)
        log.warning("What tells if this ledger is gone or older was written anew; the ledger is sound: %s.", listed)


_COLUMNS = ("row", "tenant", "seq", "digest", "at_us")


def bears_out(path: Path, ledger_id: str, remembered: AnchorRecord, execute: Rows) -> tuple[Mark, ...]:
    """Whether a ledger has every event that its anchor remembers; returns the marks that count.

    Marks from elsewhere count where they name this ledger. Those of another epoch say nothing against a ledger that
    bears out this host's: two copies of one ledger, each with a host and a user's word of its own, would else refuse
    each other for ever. Where it does not, the user may have gone on with it at the other host.
    Raises `LedgerReplaced` or `LedgerRolledBack`.
    """
    theirs = remembered.elsewhere_of(ledger_id)
    try:
        _bear_out(path, ledger_id, remembered.marks, execute)
    except LedgerUnavailable:
        later = in_force(mark for mark in theirs if mark.epoch > remembered.epoch)
        if not later:
            raise
        _bear_out(path, ledger_id, later, execute)
        return later
    same = [mark for mark in theirs if mark.epoch == remembered.epoch] if remembered.marks else theirs
    marks = in_force([*remembered.marks, *same])
    _bear_out(path, ledger_id, marks, execute)
    return marks


def _bear_out(path: Path, ledger_id: str, marks: Sequence[Mark], execute: Rows) -> None:
    for mark in marks:
        if mark.ledger_id != ledger_id:
            raise replaced(str(path), marks[-1], ledger_id)
        if mark.row == 0:
            continue
        row = _first(execute, SELECT_HASH, mark.row)
        if row is not None and row[0] == mark.digest:
            continue
        # A ledger that was made anew from its events may have numbered its rows anew.
        if _first(execute, SELECT_ANYWHERE, mark.digest) is None:
            last = _first(execute, SELECT_LAST)
            ends = Mark(0, ledger_id) if last is None else Mark(0, ledger_id, *last)
            raise rolled_back(str(path), marks[-1], ends, boot())
