"""Anchors of real processes: killed at the worst moment, and written by several while others open the ledger."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from tests.world import Clock

from tallygate.core.errors import LedgerMissing
from tallygate.core.proof import SLOT_BYTES
from tallygate.ledger.anchor import Anchor, Copy
from tallygate.ledger.sqlite.database import SqliteLedger

pytestmark = pytest.mark.slow

WRITERS, EVENTS, OPENINGS = 3, 150, 60
PROCESSES = multiprocessing.get_context("spawn")


def opened(folder: Path) -> SqliteLedger:
    path = folder / "data" / "ledger.db"
    anchor = Anchor(path, (folder / "keys" / "anchors", folder / "config" / "anchors"))
    options = {"clock": Clock(), "new_ledger_id": lambda: os.urandom(16).hex(), "lock_timeout_ms": 60_000}
    return SqliteLedger(path, anchor=anchor, **options)


def write(ledger: SqliteLedger, text: str, tenant: str = "default") -> None:
    with ledger.writing(tenant) as tx:
        tx.append("test", [], by=text)


def work(folder: Path, name: str) -> None:
    with contextlib.closing(opened(folder)) as ledger:
        for number in range(EVENTS):
            write(ledger, f"{name} {number}", name if number % 3 else "default")


def die_after_commit(folder: Path) -> None:
    ledger = opened(folder)
    write(ledger, "first")
    ledger.anchor.write = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    write(ledger, "committed, and then the process was killed")


def die_within_a_slot(folder: Path) -> None:
    """Leaves half of a slot written, as a machine that stops there would."""
    ledger = opened(folder)
    write(ledger, "first")
    write(ledger, "second")

    def half(mark):
        for file in ledger.anchor.files:
            with file.open("r+b") as out:
                out.seek(mark.row % 2 * SLOT_BYTES)
                out.write((mark.slot() or b"")[: SLOT_BYTES // 3])
        os.kill(os.getpid(), signal.SIGKILL)

    ledger.anchor.write = half
    write(ledger, "third")


@pytest.mark.parametrize("dying", [die_after_commit, die_within_a_slot], ids=lambda value: value.__name__)
def test_a_process_that_is_killed_while_it_marks_stops_nobody(tmp_path, caplog, dying):
    for _ in range(3):
        process = PROCESSES.Process(target=dying, args=(tmp_path,))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with contextlib.closing(opened(tmp_path)) as ledger:
            write(ledger, "after")
    assert not caplog.messages
    for file in (tmp_path / "data").glob("ledger.db*"):
        file.unlink()
    with pytest.raises(LedgerMissing):
        opened(tmp_path)


def test_whoever_opens_the_ledger_while_others_write_finds_it_right(tmp_path, caplog):
    writers = [PROCESSES.Process(target=work, args=(tmp_path, f"writer{number}")) for number in range(WRITERS)]
    for writer in writers:
        writer.start()  # on a fresh home: all of them make ledger and anchor at once
    openings = 0
    while any(writer.is_alive() for writer in writers) or openings < OPENINGS:
        with contextlib.closing(opened(tmp_path)) as ledger:
            write(ledger, f"opening {openings}")
        openings += 1
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    with contextlib.closing(opened(tmp_path)) as ledger:
        [(last,)] = ledger.rows("SELECT MAX(id) FROM event")
        assert last == WRITERS * EVENTS + openings
        assert [copy for _, copy in ledger.anchor.read().copies] == [Copy.SOUND] * 2
        newest = ledger.anchor.read().newest
    assert newest is not None
    assert newest.row == last
    assert not caplog.messages
