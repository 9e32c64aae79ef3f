"""A ledger that is gone, empty, older or another one is noticed; honest work never is."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.world import Clock

from tallygate.core.errors import LedgerMissing, LedgerReplaced, LedgerRolledBack, LedgerUnavailable
from tallygate.core.proof import SLOT_BYTES
from tallygate.ledger import anchor as anchors
from tallygate.ledger.anchor import Anchor, Copy
from tallygate.ledger.sqlite.database import SqliteLedger

_numbers = itertools.count()


@dataclass
class Home:
    """A ledger with an anchor in two folders."""

    folder: Path
    ids: int = 0
    opened: list[SqliteLedger] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "data" / "ledger.db"

    @property
    def anchor(self) -> Anchor:
        return Anchor(self.path, (self.folder / "keys" / "anchors", self.folder / "config" / "anchors"))

    def open(self, path: Path | None = None, **options) -> SqliteLedger:
        self.ids += 1
        options = {"anchor": self.anchor if path is None else None, "lock_timeout_ms": 200, **options}
        new = f"{self.ids:032x}"
        ledger = SqliteLedger(path or self.path, clock=Clock(), new_ledger_id=lambda: new, **options)
        self.opened.append(ledger)
        return ledger

    def work(self, events: int = 3, **options) -> None:
        with contextlib.closing(self.open(**options)) as ledger:
            write(ledger, events)

    def copied(self, name: str) -> Path:
        target = self.folder / name
        with contextlib.closing(self.open()) as ledger:
            ledger.backup(target)
        return target

    def put(self, source: Path) -> None:
        self.gone()
        shutil.copy(source, self.path)
        self.path.chmod(0o600)

    def gone(self) -> None:
        for file in self.path.parent.glob("ledger.db*"):
            file.unlink()


def write(ledger: SqliteLedger, events: int = 1, tenant: str = "default") -> None:
    for _ in range(events):
        with ledger.writing(tenant) as tx:
            tx.append("test", [], by=f"test {next(_numbers)}")


@pytest.fixture
def place(tmp_path):
    place = Home(tmp_path)
    yield place
    for ledger in place.opened:
        ledger.close()


def removed(place):
    place.gone()


def removed_with_everything_beside_it(place):
    shutil.rmtree(place.path.parent)


def removed_with_the_keys(place):
    shutil.rmtree(place.path.parent)
    shutil.rmtree(place.folder / "keys")


def emptied(place):
    place.gone()
    place.path.touch(0o600)


def truncated(place):
    os.truncate(place.path, 0)


def older(place):
    place.put(place.folder / "older.db")


def older_and_worked_on(place):
    place.put(place.folder / "older.db")
    place.work(9, anchor=None)


def another(place):
    other = place.folder / "other.db"
    with contextlib.closing(place.open(other)) as ledger:
        write(ledger, 9)
    place.put(other)


def another_without_events(place):
    other = place.folder / "other.db"
    place.open(other).close()
    place.put(other)


def without_its_last_events(place):
    with contextlib.closing(sqlite3.connect(place.path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER event_never_goes")
        connection.execute("DELETE FROM event WHERE seq > 4")


FAULTS = {
    removed: LedgerMissing,
    removed_with_everything_beside_it: LedgerMissing,
    removed_with_the_keys: LedgerMissing,
    emptied: LedgerMissing,
    truncated: LedgerMissing,
    older: LedgerRolledBack,
    older_and_worked_on: LedgerRolledBack,
    without_its_last_events: LedgerRolledBack,
    another: LedgerReplaced,
    another_without_events: LedgerReplaced,
}


@pytest.mark.parametrize(("fault", "error"), FAULTS.items(), ids=lambda value: value.__name__)
def test_a_ledger_that_is_not_the_one_that_was_there_is_not_counted_on(place, fault, error):
    place.work()
    place.copied("older.db")
    place.work()
    fault(place)
    before = sorted(place.path.parent.glob("*")) if place.path.parent.exists() else []
    for _ in range(2):
        with pytest.raises(error) as refused:
            place.open()
        assert "event 6 of 2026-" in refused.value.message
    if error is LedgerMissing:
        assert not place.path.exists() or place.path.stat().st_size == 0, "nothing starts anew by itself"
        assert (sorted(place.path.parent.glob("*")) if place.path.parent.exists() else []) == before


@pytest.mark.parametrize("fault", FAULTS, ids=lambda value: value.__name__)
def test_the_user_goes_on_with_any_of_them_and_then_it_counts_again(place, fault):
    place.work()
    place.copied("older.db")
    place.work()
    fault(place)
    with contextlib.closing(place.open(accepting=True)) as ledger:
        write(ledger)
        ledger.accept()
    place.work()
    place.gone()
    with pytest.raises(LedgerMissing):
        place.open()


def test_what_was_not_accepted_yet_is_still_refused_after_its_command_was_broken_off(place):
    place.work()
    place.gone()
    with contextlib.closing(place.open(accepting=True)) as ledger:
        write(ledger)
    with pytest.raises(LedgerReplaced):
        place.open()


def test_a_ledger_that_is_further_than_its_anchor_is_right(place):
    place.work()
    kept = {file: file.read_bytes() for file in place.anchor.files}
    place.work(20)
    for file, content in kept.items():
        file.write_bytes(content)
    place.work()


def test_an_anchor_that_was_killed_before_it_was_written_is_behind_and_right(place):
    ledger = place.open()
    write(ledger, 2)
    ledger.anchor.write = lambda mark: True
    write(ledger, 5)
    ledger.close()
    place.work()


def without(place):
    for file in place.anchor.files:
        file.unlink()


def without_one(place):
    place.anchor.files[0].unlink()


def without_the_other(place):
    place.anchor.files[1].unlink()


def torn(place):
    for file in place.anchor.files:
        file.write_bytes(file.read_bytes()[: SLOT_BYTES // 2])


def one_torn(place):
    place.anchor.files[1].write_bytes(b"\0" * 4 * SLOT_BYTES)


def one_emptied(place):
    place.anchor.files[0].write_bytes(b"")


@pytest.mark.parametrize(
    "fault", [without, without_one, without_the_other, torn, one_torn, one_emptied], ids=lambda value: value.__name__
)
def test_a_torn_or_missing_anchor_beside_a_good_ledger_is_made_again_and_said_once(place, caplog, fault):
    place.work()
    fault(place)
    place.work()
    assert len(caplog.messages) == 1
    assert "this ledger is gone" in caplog.messages[0] or "is gone or older" in caplog.messages[0]
    assert [copy for _, copy in place.anchor.read().copies] == [Copy.SOUND, Copy.SOUND]
    place.work()
    assert len(caplog.messages) == 1
    place.gone()
    with pytest.raises(LedgerMissing):
        place.open()


@pytest.mark.parametrize("slot", [0, 1])
def test_one_torn_slot_leaves_the_other_and_nothing_is_said(place, caplog, slot):
    place.work(7)
    for file in place.anchor.files:
        content = bytearray(file.read_bytes())
        content[slot * SLOT_BYTES + 100] ^= 1
        file.write_bytes(content)
    place.work()
    assert not caplog.messages


def test_a_first_start_makes_ledger_and_anchor_and_says_nothing(place, caplog):
    place.work()
    assert [copy for _, copy in place.anchor.read().copies] == [Copy.SOUND, Copy.SOUND]
    assert not caplog.messages
    for file in place.anchor.files:
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        assert (file.parent / ".gitignore").read_text() == "*\n", "a repository of dotfiles stays as it is"


def test_keys_without_an_anchor_prove_nothing(place):
    (place.folder / "keys").mkdir(mode=0o700)
    (place.folder / "keys" / "signing-key.json").write_text("{}")
    (place.folder / "keys" / "trusted.json").write_text("{}")
    place.work()


def test_a_user_who_deletes_ledger_and_anchor_begins_anew(place):
    place.work()
    shutil.rmtree(place.folder / "config")
    shutil.rmtree(place.folder / "keys")
    place.gone()
    place.work()


def test_a_hook_makes_no_ledger_and_no_folder(place):
    with pytest.raises(LedgerMissing) as refused:
        place.open(making=False, lock_timeout_ms=0)
    assert "tallygate init" in refused.value.hint
    assert not [*place.folder.iterdir()]


def test_a_hook_waits_for_the_ledger_that_its_server_is_about_to_make(place, monkeypatch):
    monkeypatch.setattr("tallygate.ledger.sqlite.database.time.sleep", lambda _: place.work())
    with contextlib.closing(place.open(making=False)) as ledger:
        write(ledger)


def test_a_hook_waits_longer_for_a_server_that_has_said_that_it_runs(place, monkeypatch):
    servers = place.path.parent / "servers"
    servers.mkdir(parents=True, mode=0o700)
    place.path.parent.chmod(0o700)
    (servers / f"{'ab' * 16}.alive").touch()
    looks = []

    def sleep(_):
        looks.append(1)
        if len(looks) == 5:
            place.work()

    monkeypatch.setattr("tallygate.ledger.sqlite.database.time.sleep", sleep)
    place.open(making=False, lock_timeout_ms=0).close()
    assert len(looks) == 5


def test_a_moved_ledger_goes_on(place):
    place.work()
    moved = place.folder / "elsewhere" / "ledger.db"
    moved.parent.mkdir(mode=0o700)
    shutil.move(place.path, moved)
    anchor = Anchor(moved, [file.parent for file in place.anchor.files])
    for _ in range(2):
        with contextlib.closing(place.open(moved, anchor=anchor)) as ledger:
            write(ledger)


def test_a_home_that_is_restored_as_a_whole_goes_on(place):
    place.work()
    backup = place.folder.with_name("backup")
    shutil.copytree(place.folder, backup)
    place.work(9)
    shutil.rmtree(place.folder)
    backup.rename(place.folder)
    place.work()


def test_two_ledgers_have_an_anchor_each(place):
    place.work()
    other = place.folder / "other.db"
    folders = [file.parent for file in place.anchor.files]
    for _ in range(2):
        with contextlib.closing(place.open(other, anchor=Anchor(other, folders))) as ledger:
            write(ledger)
        place.work()


@pytest.fixture
def on_host(monkeypatch):
    """Go on under another host's name, as a container does that is started anew."""

    def go(number: int) -> None:
        monkeypatch.setattr(anchors, "machine", lambda: f"{number:016x}")

    go(1)
    return go


@pytest.fixture
def apart(monkeypatch):
    """Keys and settings lie on another mount than the ledger: a home on the network, a disk of each host's own."""
    monkeypatch.setattr(anchors, "mount_of", lambda path: (str("data" in path.parts), "kind"))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (removed, LedgerMissing),
        (emptied, LedgerMissing),
        (truncated, LedgerMissing),
        (older, LedgerRolledBack),
        (older_and_worked_on, LedgerRolledBack),
        (another, LedgerReplaced),
    ],
)
def test_a_container_with_a_new_name_misses_what_the_one_before_had_written(place, on_host, fault, error):
    place.work()
    place.copied("older.db")
    place.work()
    fault(place)
    on_host(2)
    for _ in range(2):
        with pytest.raises(error):
            place.open()
    with contextlib.closing(place.open(accepting=True)) as ledger:
        write(ledger)
        ledger.accept()
    on_host(3)
    place.work()


def test_an_anchor_of_another_host_that_says_nothing_beside_no_ledger_is_no_first_start(place, on_host):
    place.work()
    for file in place.anchor.files:
        os.truncate(file, 0)
    place.gone()
    on_host(2)
    with pytest.raises(LedgerMissing, match="cannot be read"):
        place.open()


def test_a_container_that_is_started_again_and_again_says_nothing_and_leaves_few_files(place, on_host, caplog):
    for number in range(20):
        on_host(number)
        place.work()
    assert not caplog.messages
    for folder in ("keys", "config"):
        assert len([*(place.folder / folder / "anchors").glob("*.anchor")]) == anchors.OTHERS_KEPT + 1


def test_hosts_that_write_one_ledger_in_turn_are_right(place, on_host, caplog):
    ledgers = []
    for number in (1, 2):
        on_host(number)
        ledgers.append(place.open())
    for ledger in ledgers * 5:
        write(ledger, 2)
    for number in (1, 2, 3):
        on_host(number)
        place.work()
    assert not caplog.messages


def test_a_host_goes_on_by_the_users_word_at_another(place, on_host):
    place.work()
    place.copied("older.db")
    place.work()
    on_host(2)
    place.work()
    place.put(place.folder / "older.db")
    with contextlib.closing(place.open(accepting=True)) as ledger:
        write(ledger)
        ledger.accept()
    for number in (1, 2, 3):
        on_host(number)
        place.work()


# what became of the ledger at this path -> what a host says that has no anchor of its own; None is nothing
@pytest.mark.parametrize(("fault", "error"), [(removed, None), (another, None), (older, LedgerRolledBack)])
def test_what_may_be_of_another_hosts_disk_counts_for_the_ledger_that_it_names_alone(
    place, on_host, apart, fault, error
):
    place.work()
    place.copied("older.db")
    place.work()
    fault(place)
    on_host(2)
    if error is None:
        place.work()
        place.work()
        on_host(1)
        with pytest.raises(LedgerReplaced):
            place.open()
        return
    with pytest.raises(error):
        place.open()


def test_settings_that_travel_to_another_host_stop_nobody_there(place, on_host, monkeypatch):
    place.work()
    on_host(2)
    monkeypatch.setattr(anchors, "system", lambda: "another")
    shutil.rmtree(place.path.parent)
    shutil.rmtree(place.folder / "keys")
    place.work()
    place.work()


def test_two_copies_of_one_ledger_each_go_on_by_the_users_word(place, on_host, apart):
    place.work()
    place.copied("older.db")
    place.work()
    place.copied("first.db")
    on_host(2)
    place.put(place.folder / "older.db")
    with contextlib.closing(place.open(accepting=True)) as ledger:
        write(ledger)
        ledger.accept()
    place.work()
    place.copied("second.db")
    for _ in range(2):
        for number, name in ((1, "first.db"), (2, "second.db")):
            on_host(number)
            place.put(place.folder / name)
            place.work()
            (place.folder / name).unlink()
            place.copied(name)


def test_a_home_and_a_disk_that_hosts_share_apart_are_one_ledger(place, on_host, apart):
    place.work()
    place.copied("older.db")
    place.work()
    on_host(2)
    place.work()
    place.put(place.folder / "older.db")
    with contextlib.closing(place.open(accepting=True)) as ledger:
        write(ledger)
        ledger.accept()
    on_host(1)
    place.work()
    place.put(place.folder / "older.db")
    with pytest.raises(LedgerRolledBack):
        place.open()


def test_a_folder_that_takes_no_file_stops_no_work(place, caplog):
    (place.folder / "keys").write_text("no folder")
    place.work()
    (place.folder / "config" / "anchors").rename(place.folder / "gone")
    (place.folder / "config" / "anchors").write_text("no folder")
    place.work()
    place.gone()
    place.work()
    assert not caplog.messages


def test_an_anchor_that_is_a_link_is_neither_read_nor_written(place):
    victim = place.folder / "victim"
    victim.write_bytes(b"mine")
    place.work()
    for file in place.anchor.files:
        file.unlink()
        file.symlink_to(victim)
    place.work()
    assert victim.read_bytes() == b"mine"


def test_an_anchor_that_became_a_link_beside_no_ledger_is_no_first_start(place):
    place.work()
    for file in place.anchor.files:
        file.unlink()
        file.symlink_to(os.devnull)
    place.gone()
    with pytest.raises(LedgerMissing, match="cannot be read"):
        place.open()


def test_a_ledger_put_behind_a_link_is_missed(place):
    place.work()
    place.path.parent.rename(place.folder / "hidden")
    fresh = place.folder / "fresh"
    fresh.mkdir(mode=0o700)
    place.path.parent.symlink_to(fresh)
    with pytest.raises(LedgerMissing):
        place.open()


def restored_into(place, source: Path) -> None:
    """What `sqlite3 .restore` does: the pages of a copy into the file that others have open."""
    with (
        contextlib.closing(sqlite3.connect(source)) as copy,
        contextlib.closing(sqlite3.connect(place.path)) as there,
    ):
        copy.backup(there)


def test_a_running_server_notices_an_older_copy_restored_into_its_open_file(place):
    place.work()
    copy = place.copied("older.db")
    server = place.open()
    write(server, 5)
    restored_into(place, copy)
    for _ in range(2):
        with pytest.raises(LedgerRolledBack), server.writing() as tx:
            tx.append("test", [], by="test")
        with pytest.raises(LedgerRolledBack):
            server.prove()
    with contextlib.closing(place.open(accepting=True)) as user:
        write(user)
        user.accept()
    write(server)
    place.work()


def test_a_running_server_notices_it_also_when_others_have_written_beyond(place):
    place.work()
    copy = place.copied("older.db")
    server = place.open()
    write(server, 5)
    restored_into(place, copy)
    place.work(9, anchor=None)
    with pytest.raises(LedgerRolledBack), server.writing():
        pass


def test_a_running_server_notices_another_ledger_restored_into_its_open_file(place):
    place.work()
    other = place.folder / "other.db"
    with contextlib.closing(place.open(other)) as ledger:
        write(ledger, 9)
    server = place.open()
    write(server)
    restored_into(place, other)
    with pytest.raises(LedgerReplaced), server.writing():
        pass


def test_many_tenants_and_processes_that_write_in_turn_are_right(place):
    servers = [place.open() for _ in range(3)]
    for number in range(30):
        write(servers[number % 3], tenant=("default", "acme", "beta", "acme")[number % 4])
    place.work()
    for server in servers:
        write(server, tenant="beta")
    assert (place.anchor.read().newest or pytest.fail("no mark")).tenant == "beta"


def test_an_anchor_that_is_taken_away_while_a_server_runs_is_made_again(place):
    server = place.open()
    write(server)
    for file in place.anchor.files:
        file.unlink()
    write(server, anchors.LOOKED_AT_EVERY)
    server.close()
    newest = place.anchor.read().newest
    assert newest is not None
    assert newest.seq >= anchors.LOOKED_AT_EVERY


def test_a_server_goes_on_by_the_users_word_and_marks_what_it_writes_so(place):
    server = place.open()
    write(server, 3)
    with contextlib.closing(place.open(accepting=True)) as user:
        user.accept()
    write(server, anchors.LOOKED_AT_EVERY)
    newest = place.anchor.read().newest
    assert newest is not None
    assert (newest.epoch, newest.seq) == (1, 3 + anchors.LOOKED_AT_EVERY)


def test_a_transaction_that_fails_marks_nothing(place):
    server = place.open()
    write(server)
    before = place.anchor.read()
    with pytest.raises(RuntimeError), server.writing() as tx:
        tx.append("test", [], by="test")
        raise RuntimeError
    with server.writing():
        pass
    assert place.anchor.read() == before


def test_an_anchor_that_cannot_be_written_takes_nothing_back(place, monkeypatch):
    server = place.open()
    write(server)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(anchors.os, "pwrite", full, raising=False)
    write(server, 2)
    monkeypatch.undo()
    assert [*server.anchor.faults.values()] == ["No space left on device"] * 2
    place.work()


def test_accepting_fails_loudly_where_an_anchor_would_still_say_the_contrary(place, monkeypatch):
    place.work()
    place.gone()
    with contextlib.closing(place.open(accepting=True)) as user:
        write(user)
        monkeypatch.setattr(anchors, "_put", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
        with pytest.raises(LedgerUnavailable, match="Read-only file system"):
            user.accept()


def passing(place, path: Path) -> Anchor:
    return Anchor(path, (place.folder / "keys" / "anchors",), passing=True)


def test_a_passing_ledger_that_was_thrown_away_with_its_folder_begins_anew_and_says_so(place, caplog):
    job = place.folder / "job" / "ledger.db"
    for _ in range(2):
        with contextlib.closing(place.open(job, anchor=passing(place, job))) as ledger:
            write(ledger)
        shutil.rmtree(job.parent)
    (said,) = caplog.messages
    assert "event 1 of 2026-" in said
    assert "begins anew" in said
    with contextlib.closing(place.open(job, anchor=passing(place, job))) as ledger:
        write(ledger)
    job.unlink()
    with pytest.raises(LedgerMissing):
        place.open(job, anchor=passing(place, job))


def test_anchors_of_passing_ledgers_do_not_pile_up_and_others_stay(place):
    place.work()
    for number in range(5):
        job = place.folder / f"job{number}" / "ledger.db"
        place.open(job, anchor=passing(place, job)).close()
        shutil.rmtree(job.parent)
    last = place.folder / "last" / "ledger.db"
    place.open(last, anchor=passing(place, last)).close()
    found = {*(place.folder / "keys" / "anchors").glob("*.anchor")}
    assert found == {place.anchor.files[0], passing(place, last).files[0]}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_for_the_anchor_stops_no_work(place):
    (place.folder / "keys").mkdir(mode=0o500)
    (place.folder / "config").mkdir(mode=0o500)
    place.work()
    place.work()
