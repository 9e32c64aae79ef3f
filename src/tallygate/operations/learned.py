"""What a process remembers of what the ledger has taught it about estimates; it always agrees with the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from threading import Lock
from typing import Protocol

from tallygate.core.calibration import WINDOW, Expectation, Kind, Learner, Level, Origin, expect
from tallygate.core.learned import Kept, SampleKey
from tallygate.ledger.port import Reader

KEYS_MAX = 512


@dataclass(slots=True)
class _OfKind:
    """What was learned from one kind of estimates up to sample `last`, since what the user had forgotten before."""

    starts: tuple[int, int]
    last: int
    pool: Learner
    by_key: dict[SampleKey, Learner] = field(default_factory=dict)


class Learned:
    """Learners of the keys in use, each loaded once and then told of every further sample.

    Several threads may ask at a time. Each sees what the ledger held when its own transaction began, or more.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _OfKind] = {}
        self._lock = Lock()

    def expect(self, reader: Reader, key: SampleKey, estimate_nanos: int, level: Level) -> Expectation:
        """What a call will probably cost, by everything that is in the ledger."""
        with self._lock:
            of_kind = self._up_to_date(reader, key.kind)
            return expect(_learner(reader, of_kind, key), of_kind.pool, estimate_nanos, level)

    def _up_to_date(self, reader: Reader, kind: str) -> _OfKind:
        starts = reader.calibration_starts()
        known = self._kinds.get((reader.tenant, kind))
        if known is None or known.starts != starts:
            pool = _taught(kind, partial(reader.samples_of_kind, kind, WINDOW))
            known = self._kinds[reader.tenant, kind] = _OfKind(starts, reader.last_sample(), pool)
            return known
        for kept in reader.samples_after(kind, known.last):
            known.last = kept.number
            known.pool.add(kept.sample)
            if (learner := known.by_key.get(kept.key)) is not None:
                learner.add(kept.sample)
        return known


def _learner(reader: Reader, of_kind: _OfKind, key: SampleKey) -> Learner:
    found = of_kind.by_key.get(key)
    if found is not None:
        return found
    found = _taught(key.kind, partial(reader.samples_of, key, WINDOW))
    # A transaction that began before another thread's last look has not seen what that one has.
    if reader.last_sample() >= of_kind.last:
        if len(of_kind.by_key) >= KEYS_MAX:
            of_kind.by_key.clear()
        of_kind.by_key[key] = found
    return found


class _Samples(Protocol):
    """The last samples of something, by whether they were first calls and by who told what they cost."""

    def __call__(self, *, first: bool, origin: Origin) -> Iterable[Kept]: ...


def _taught(kind: str, samples: _Samples) -> Learner:
    # Nobody reports what a hook has asked for.
    origins = (Origin.OBSERVED,) if kind == Kind.HOOK else tuple(Origin)
    groups = [samples(first=first, origin=origin) for first in (True, False) for origin in origins]
    learner = Learner()
    for kept in merge(*groups, key=lambda kept: kept.number):
        learner.add(kept.sample)
    return learner
