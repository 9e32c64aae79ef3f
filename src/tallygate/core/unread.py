"""What could not be read of clients' files, and about what it may have cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CUT_OFF = "cut_off"
# Of these a file as a whole could not be read. They hold until it can be, and are told once, however often it is tried.
OF_WHOLE_FILES = frozenset({"unreadable_file", "no_regular_file"})
# A last line without an end is being written, as long as the file was looked at no longer ago than this.
_WRITTEN_WITHIN_US = 10 * 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class Unread:
    """Records that could not be read, by reason; `unfinished` stand in a last line without an end."""

    why: Mapping[str, int] = field(default_factory=dict)
    unfinished: int = 0


@dataclass(frozen=True, slots=True)
class UnreadFile:
    """One file with what could not be read of it, and what the rest of its session cost."""

    path: str
    client: str
    session: str | None
    found: Unread
    read_us: int
    responses: int
    nanos: int

    def records(self, now_us: int) -> int:
        """How many records may be missing as of a time."""
        written = self.found.unfinished if now_us - self.read_us > _WRITTEN_WITHIN_US else 0
        return sum(self.found.why.values()) + written

    def estimate_nanos(self, now_us: int) -> int | None:
        """About what they cost, by the other responses of the session; None where none is known."""
        if not self.responses:
            return None
        return -(-self.nanos * self.records(now_us) // self.responses)


@dataclass(frozen=True, slots=True)
class UnreadSum:
    """What could not be read of some files together; `nanos` is about what the `estimated` of the records cost."""

    files: int = 0
    records: int = 0
    estimated: int = 0
    nanos: int = 0
    why: Mapping[str, int] = field(default_factory=dict)
    paths: tuple[str, ...] = ()


def unread_sum(files: Iterable[UnreadFile], now_us: int) -> UnreadSum:
    """Add up what could not be read."""
    count = records = estimated = nanos = 0
    why: dict[str, int] = {}
    paths = []
    for file in files:
        missing = file.records(now_us)
        if not missing:
            continue
        count, records = count + 1, records + missing
        paths.append(file.path)
        for reason, number in file.found.why.items():
            why[reason] = why.get(reason, 0) + number
        if (rest := missing - sum(file.found.why.values())) > 0:
            why[CUT_OFF] = why.get(CUT_OFF, 0) + rest
        cost = file.estimate_nanos(now_us)
        if cost is not None:
            estimated, nanos = estimated + missing, nanos + cost
    return UnreadSum(count, records, estimated, nanos, why, tuple(paths))
