"""What a process remembers of what the ledger has taught it about estimates; it always agrees with the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from threading import Lock
from typing import Protocol

from tallygate.core.learning.calibration import (
    WINDOW,
    Expectation,
    Kept,
    Kind,
    Learner,
    Level,
    Origin,
    SampleKey,
    expect,
)
from tallygate.core.words import client_name
from tallygate.ledger.port import Reader
from tallygate.pricing.identity import one_name

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
            return expect(_learner(reader, of_kind, one_key(key)), of_kind.pool, estimate_nanos, level)

    def _up_to_date(self, reader: Reader, kind: str) -> _OfKind:
        starts, last = reader.calibration_state()
        known = self._kinds.get((reader.tenant, kind))
        if known is None or known.starts != starts:
            pool = _taught(kind, partial(reader.samples_of_kind, kind, WINDOW))
            known = self._kinds[reader.tenant, kind] = _OfKind(starts, last, pool)
            return known
        if last <= known.last:
            return known
        for kept in reader.samples_after(kind, known.last):
            known.pool.add(kept.sample)
            if (learner := known.by_key.get(one_key(kept.key))) is not None:
                learner.add(kept.sample)
        known.last = last
        return known


def one_key(key: SampleKey) -> SampleKey:
    """A key by the one name of its client and its model: samples may be kept under other spellings."""
    return SampleKey(key.kind, client_name(key.client), one_name(key.model))


def _learner(reader: Reader, of_kind: _OfKind, key: SampleKey) -> Learner:
    found = of_kind.by_key.get(key)
    if found is not None:
        return found
    spelled = [each for each in reader.keys_spelled(key.kind) if one_key(each) == key]
    found = _taught(key.kind, *(partial(reader.samples_of, each, WINDOW) for each in spelled))
    # A transaction that began before another thread's last look has not seen what that one has.
    if reader.calibration_state()[1] >= of_kind.last:
        if len(of_kind.by_key) >= KEYS_MAX:
            of_kind.by_key.clear()
        of_kind.by_key[key] = found
    return found


class _Samples(Protocol):
    """The last samples of something, by whether they were first calls and by who told what they cost."""

    def __call__(self, *, first: bool, origin: Origin) -> Iterable[Kept]: ...


def _taught(kind: str, *sources: _Samples) -> Learner:
    # Nobody reports what a hook has asked for.
    origins = (Origin.OBSERVED,) if kind == Kind.HOOK else tuple(Origin)
    groups = [read(first=first, origin=origin) for read in sources for first in (True, False) for origin in origins]
    learner = Learner()
    for kept in merge(*groups, key=lambda kept: kept.number):
        learner.add(kept.sample)
    return learner
