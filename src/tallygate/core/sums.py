"""What responses come to together: sums for views and reports, and what could not be read of clients' files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import NamedTuple

from tallygate.core.costing import Tokens
from tallygate.core.values import value

# --- unread ----------------------------------------------------------------------------------------------------------
# What could not be read of clients' files, and about what it may have cost.


CUT_OFF = "cut_off"
# Of these a file as a whole could not be read. They hold until it can be, and are told once, however often it is tried.
OF_WHOLE_FILES = frozenset({"unreadable_file", "no_regular_file"})
# A last line without an end is being written, as long as the file was looked at no longer ago than this.
_WRITTEN_WITHIN_US = 10 * 60 * 1_000_000


@value(frozen=True, slots=True)
class Unread:
    """Records that could not be read, by reason; `unfinished` stand in a last line without an end."""

    why: Mapping[str, int] = field(default_factory=dict)
    unfinished: int = 0


# What stands in the place of a file's path for what telemetry told; behind a colon the session it was told of.
TOLD = "telemetry"


@value(frozen=True, slots=True)
class UnreadFile:
    """One file with what could not be read of it, and what the rest of its session cost."""

    path: str
    client: str
    session: str | None
    found: Unread
    read_us: int
    responses: int
    nanos: int

    @property
    def is_told(self) -> bool:
        """Whether it stands for what telemetry told, which is no file."""
        return self.path.partition(":")[0] == TOLD

    def records(self, now_us: int) -> int:
        """How many records may be missing as of a time."""
        written = self.found.unfinished if now_us - self.read_us > _WRITTEN_WITHIN_US else 0
        return sum(self.found.why.values()) + written

    def estimate_nanos(self, now_us: int) -> int | None:
        """About what they cost, by the other responses of the session; None where none is known."""
        if not self.responses:
            return None
        return -(-self.nanos * self.records(now_us) // self.responses)


@value(frozen=True, slots=True)
class UnreadSum:
    """What could not be read of some files together; `nanos` is about what the `estimated` of the records cost.

    `told` of them were told by telemetry and stand in no file.
    """

    files: int = 0
    records: int = 0
    estimated: int = 0
    nanos: int = 0
    why: Mapping[str, int] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    told: int = 0


def unread_sum(files: Iterable[UnreadFile], now_us: int) -> UnreadSum:
    """Add up what could not be read."""
    count = records = estimated = nanos = told = 0
    why: dict[str, int] = {}
    paths = []
    for file in files:
        missing = file.records(now_us)
        if not missing:
            continue
        records += missing
        if file.is_told:
            told += missing
        else:
            count += 1
        paths.append(file.path)
        for reason, number in file.found.why.items():
            why[reason] = why.get(reason, 0) + number
        # What nobody gave a reason for is a last line without an end.
        if (rest := missing - sum(file.found.why.values())) > 0:
            why[CUT_OFF] = why.get(CUT_OFF, 0) + rest
        cost = file.estimate_nanos(now_us)
        if cost is not None:
            estimated, nanos = estimated + missing, nanos + cost
    return UnreadSum(count, records, estimated, nanos, why, tuple(paths), told)


@value(frozen=True, slots=True)
class ObservedSum:
    """What the responses of one call, or of none, add up to.

    `partial` of them have no final count; before `broken` of them another one broke off that left none at all. `model`
    is the one that the dearest of them names.
    """

    responses: int
    nanos: int
    tokens: Tokens
    partial: int = 0
    broken: int = 0
    model: str | None = None


Observed = Mapping[str | None, ObservedSum]


@value(frozen=True, slots=True)
class UsageFilter:
    """Which responses a list of usage is about; `until_us` is the first moment after it.

    `folders` and `models` are all that count, as responses name them; None where any does.
    """

    from_us: int
    until_us: int
    clients: tuple[str, ...] = ()
    folders: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None


@value(frozen=True, slots=True)
class UsageSum:
    """What responses add up to that share a session, a folder, a model as written and a price; or booked calls.

    `partial` of them have no final count; `missing_output` is how much larger their outputs are estimated to be, and
    `exact_nanos` of the cost rest on final counts. `calls` are those of a session whose client writes nothing down.
    `session` is the client's id, or that of the session the calls were made in. `key` is what a list files them under.
    """

    key: tuple[str | None, ...]
    model: str
    price_id: str
    responses: int
    partial: int
    tokens: Tokens
    reasoning: int
    web_searches: int
    nanos: int
    missing_output: int
    first_us: int
    last_us: int
    exact_nanos: int = 0
    calls: int = 0
    client: str | None = None
    session: str | None = None
    session_id: str | None = None
    folder: str | None = None


class Whom(NamedTuple):
    """Whom something was made for. '' where nobody is told, None where that is not asked.

    A `subagent` may have no name of its own kind; `tool` is '' for the rest, which served none.
    """

    subagent: int | None = None
    agent: str | None = None
    skill: str | None = None
    branch: str | None = None
    server: str | None = None
    tool: str | None = None


@value(frozen=True, slots=True)
class SharedSum:
    """What something comes to by whom it was made for.

    `found` counts a response with each tool that it served; `responses` and `partial` count it once.
    """

    whom: Whom
    found: UsageSum
    responses: int
    partial: int
