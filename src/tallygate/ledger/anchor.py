"""The anchor of one ledger: files away from it that tell which event was the last, so that a lost one is noticed.

Two slots are written in turn, by whoever holds the writer's lock, after each commit and without waiting for the disk:
what stands in them is the last event or an earlier one, and a ledger that is further than its anchor is right. A write
that was broken off leaves the other slot.

Each host writes files of its own, by its name; a container has a new name each time it starts. What another host wrote
counts, too: *this ledger has had this event* is true wherever it was seen. That there is a ledger at all is true only
of its own disk, so a file that lies on the ledger's disk tells when it is gone, and one that may come from elsewhere,
such as a home on the network, does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import stat
from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path

from tallygate.core.proof import SLOT_BYTES, SLOTS, Mark, in_force, marks_in
from tallygate.core.values import value
from tallygate.files import create
from tallygate.machine import machine, mount_of, system

ENDING, IGNORE = ".anchor", ".gitignore"
# What follows the slots: which ledger it is the anchor of, for whoever tidies up, and the system it was made in.
KEPT, PASSING = b"kept ", b"passing "
# Those of one ledger that other hosts have left: containers get a new name each.
OTHERS_KEPT = 8
LOOKED_AT_EVERY = 16
OTHERS_READ = 16
LOOKED_AT_MAX, PATH_BYTES_MAX = 1000, 8192
OF_PATH = 25
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Copy(StrEnum):
    """How one file of an anchor was found."""

    SOUND = "sound"
    TORN = "torn"
    OUTDATED = "outdated"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@value(frozen=True, slots=True)
class AnchorRecord:
    """What the files of an anchor say: the marks that a ledger has to bear out, and how each file was found.

    `marks` are of this host, or lie on the ledger's disk. Those of `elsewhere` may be of another ledger at the same
    path of another host: of them count those that name this one. `others` are the files of other hosts.
    """

    marks: tuple[Mark, ...] = ()
    copies: tuple[tuple[Path, Copy], ...] = ()
    elsewhere: tuple[Mark, ...] = ()
    others: tuple[tuple[Path, Copy], ...] = ()

    @property
    def newest(self) -> Mark | None:
        """The latest event that is known to have been there."""
        return self.marks[-1] if self.marks else None

    @property
    def amiss(self) -> list[tuple[Path, Copy]]:
        """The files that have to be made again."""
        return [(file, copy) for file, copy in self.copies if copy is not Copy.SOUND]

    @property
    def epoch(self) -> int:
        """How often the user went on with another history."""
        return self.marks[-1].epoch if self.marks else 0

    def elsewhere_of(self, ledger_id: str) -> list[Mark]:
        """What hosts remember of this very ledger that lies on their disks or on this one."""
        return [mark for mark in self.elsewhere if mark.ledger_id == ledger_id]

    @property
    def mute(self) -> Path | None:
        """A file that is there, and from which nothing can be learned."""
        said_nothing = (Copy.TORN, Copy.UNREADABLE)
        found = (file for file, copy in (*self.copies, *self.others) if copy in said_nothing)
        return next((file for file in found if os.path.lexists(file)), None)


def of_path(database: Path) -> str:
    """How the names of all files begin that are kept of the ledger at a path."""
    return hashlib.sha256(os.fsencode(os.path.abspath(database))).hexdigest()[: OF_PATH - 1] + "-"  # noqa: PTH100


class Anchor:
    """The anchor of the ledger at one path, in each of some folders; where a folder takes no file it has one less.

    A `passing` ledger is one that a variable names for the time being: with its whole folder its anchor ends too.
    """

    def __init__(self, database: Path, folders: Sequence[Path], *, passing: bool = False) -> None:
        # The path as it is written: one that is resolved would follow a link that was put in its place.
        self._database = Path(os.path.abspath(database))  # noqa: PTH100
        self.of_path = of_path(self._database)
        self.files = tuple(dict.fromkeys(folder / f"{self.of_path}{machine()}{ENDING}" for folder in folders))
        self._passing = passing
        self._open: list[int | None] | None = None
        self._written = 0
        self.faults: dict[Path, str] = {}

    def read(self) -> AnchorRecord:
        """What is remembered; files that are not there or cannot be read remember nothing."""
        found = [(file, *_read(file)) for file in self.files]
        others = [(file, *_read(file)) for file in self._of_others()]
        # A container gets another host name at each start: what an earlier one wrote of this very ledger counts as its
        # own.
        ours = {file for file, _, _ in others if self._shares_the_disk(file)}
        near = [*found, *(each for each in others if each[0] in ours)]
        marks = in_force(mark for _, those, _ in near for mark in those)
        copies = [
            (file, Copy.OUTDATED if how is Copy.SOUND and not {*those} & {*marks} else how)
            for file, those, how in found
        ]
        elsewhere = [mark for file, those, _ in others if file not in ours for mark in those]
        told = [(file, how) for file, _, how in others if file in ours or how is Copy.SOUND]
        return AnchorRecord(marks, tuple(copies), tuple(elsewhere), tuple(told))

    def _of_others(self) -> list[Path]:
        """The files that other hosts have written of a ledger at this path, the newest of each folder."""
        found = []
        for own in self.files:
            with contextlib.suppress(OSError):
                found += [file for _, file in _others(own, self.of_path)[:OTHERS_READ]]
        return found

    def _shares_the_disk(self, file: Path) -> bool:
        """Whether a file can only be where the ledger's folder is: within it, or mounted with it in the same system.

        Two volumes of one disk are two mounts: settings that several containers share tell nothing of a ledger that
        each has on a volume of its own. Nor do those that were copied from another host, as dotfiles are.
        """
        folder = self._database.parent
        if folder in file.parents:
            return True
        if _tail(file)[2] not in (b"", system().encode()):
            return False
        # The folder may be what is gone: then what it would be made in says where it was.
        while not os.access(folder, os.F_OK) and folder != folder.parent:
            folder = folder.parent
        there, here = mount_of(file), mount_of(folder)
        if there is not None and here is not None:
            return there == here
        try:
            return file.stat().st_dev == folder.stat().st_dev
        except OSError:
            return False

    def has_passed(self) -> bool:
        """Whether the ledger was one for the time being, and was thrown away with everything beside it."""
        folder = self._database.parent
        beside = [self._database.with_name(f"{self._database.name}.lock"), folder / "servers"]
        beside += [file for file in (*self.files, *self._of_others()) if folder in file.parents]
        return self._passing and not any(os.access(path, os.F_OK) for path in beside)

    def write(self, mark: Mark) -> bool:
        """Put a mark into the slot whose turn it is; the caller holds the writer's lock.

        False where a file was found to be taken away or exchanged: it has to be read again. That is looked at now and
        then, since it costs as much as the writing, and an older mark is right as well. What cannot be written is kept
        in `faults`.
        """
        if (slot := mark.slot()) is None:
            return True
        self._written += 1
        if (self._open is None or self._written % LOOKED_AT_EVERY == 0) and not self._opened():
            return False
        # Two slots in turn: a write that breaks off tears one, and the mark before stands in the other.
        place = mark.row % SLOTS * SLOT_BYTES
        for number, descriptor in enumerate(self._open or ()):
            try:
                if descriptor is not None:
                    os.pwrite(descriptor, slot, place)
            except OSError as error:
                self.faults[self.files[number]] = error.strerror or str(error)
        return True

    def _opened(self) -> bool:
        """Have the files open that are there; False where one that was open is not there any more."""
        known, self._open = self._open or [None] * len(self.files), []
        whole = True
        for file, descriptor in zip(self.files, known, strict=True):
            # It has no name any more: what is written there nobody will read.
            if descriptor is not None and os.fstat(descriptor).st_nlink == 0:
                os.close(descriptor)
                descriptor, whole = None, False  # noqa: PLW2901
            if descriptor is None:
                try:
                    descriptor = os.open(file, os.O_RDWR | _SAFE)  # noqa: PLW2901
                except OSError as error:
                    self.faults[file] = error.strerror or str(error)
            self._open.append(descriptor)
        return whole

    def make(self, mark: Mark, only: Collection[Path] | None = None) -> list[Path]:
        """Write whole files with one mark in both slots; the caller holds the writer's lock. Returns those made.

        Each takes the place of the one that was there, so that whoever has that one open finds out.
        """
        slot = mark.slot()
        if slot is None:
            return []
        kind = PASSING if self._passing else KEPT
        # Behind the slots, for people and for tidying up: of which ledger this is, and where it was made.
        content = slot * SLOTS + kind + os.fsencode(self._database) + b"\0" + system().encode()
        made = []
        self.close()
        for file in self.files if only is None else only:
            try:
                folder = file.parent
                if not folder.is_dir():
                    for each in (folder.parent, folder):  # parents=True would leave the upper one open to others
                        each.mkdir(mode=0o700, parents=True, exist_ok=True)
                    # A repository of dotfiles around it does not take it up.
                    with contextlib.suppress(OSError), os.fdopen(create(folder / IGNORE), "wb") as ignore:
                        ignore.write(b"*\n")
                _put(file, content)
            except OSError as error:
                self.faults[file] = error.strerror or str(error)
            else:
                self.faults.pop(file, None)
                made.append(file)
                with contextlib.suppress(OSError):
                    _tidy(file)
        return made

    def can_be_made(self) -> bool:
        """Whether a file that is missing could be made, as far as permissions tell."""
        lacking = [file for file in self.files if not os.access(file, os.F_OK)]
        folders = [next((each for each in file.parents if os.access(each, os.F_OK)), file) for file in lacking]
        return any(os.access(folder, os.W_OK | os.X_OK) for folder in folders)

    def close(self) -> None:
        """Let the files go."""
        for descriptor in self._open or ():
            if descriptor is not None:
                os.close(descriptor)
        self._open = None


def _read(file: Path) -> tuple[list[Mark], Copy]:
    try:
        descriptor = os.open(file, os.O_RDONLY | _SAFE)
    except FileNotFoundError:
        return [], Copy.MISSING
    except OSError:
        return [], Copy.UNREADABLE
    try:
        found = os.fstat(descriptor)
        # What another user has put there says nothing of this ledger, and a pipe would keep us waiting.
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            return [], Copy.UNREADABLE
        marks = marks_in(os.read(descriptor, SLOTS * SLOT_BYTES))
    except OSError:
        return [], Copy.UNREADABLE
    finally:
        os.close(descriptor)
    return marks, Copy.SOUND if marks else Copy.TORN


def _put(file: Path, content: bytes) -> None:
    """A whole file in the place of another; whoever has the old one open finds that it has no name any more."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        with os.fdopen(create(beside), "wb") as new:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _others(own: Path, of_path: str) -> list[tuple[int, Path]]:
    """The files beside one of ours that other hosts have written of the same path, the newest first."""
    with os.scandir(own.parent) as entries:
        found = [
            (entry.stat(follow_symlinks=False).st_mtime_ns, Path(entry.path))
            for entry in itertools.islice(entries, LOOKED_AT_MAX)
            if entry.name.startswith(of_path) and entry.name.endswith(ENDING) and entry.name != own.name
        ]
    return sorted(found, reverse=True)


def _tidy(made: Path) -> None:
    """Remove what says nothing any more.

    Those are anchors that hosts of the past have left of the same ledger, and those of passing ledgers whose whole
    folder is gone.
    """
    of_path = made.name.partition("-")[0] + "-"
    with os.scandir(made.parent) as found:
        # A folder of any size may not hold up the start of a server.
        for entry in itertools.islice(found, LOOKED_AT_MAX):
            if entry.name.endswith(ENDING) and not entry.name.startswith(of_path) and _is_over(Path(entry.path)):
                Path(entry.path).unlink(missing_ok=True)
    for _, file in _others(made, of_path)[OTHERS_KEPT:]:
        file.unlink(missing_ok=True)


def _is_over(file: Path) -> bool:
    kind, path, _ = _tail(file)
    return kind == PASSING and bool(path) and not os.access(Path(os.fsdecode(path)).parent, os.F_OK)


def _tail(file: Path) -> tuple[bytes, bytes, bytes]:
    """What kind of ledger a file is the anchor of, at which path, and in which system it was made."""
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | _SAFE), "rb") as opened:
            opened.seek(SLOTS * SLOT_BYTES)
            kind, space, rest = opened.read(PATH_BYTES_MAX).partition(b" ")
    except OSError:
        return b"", b"", b""
    path, _, made_in = rest.partition(b"\0")
    return kind + space, path, made_in
