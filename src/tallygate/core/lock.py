"""A lock of the limits, and a gate that is off: what holds by the events of the journal; which limits are signed.

The lock is a key of its own, which the user's passphrase opens. Its public half stands in the event that sets it, so
that no file decides: an event that loosens and does not carry the key's signature, at its place in the chain, counts
for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from enum import StrEnum
from typing import Any

from tallygate.core.errors import LedgerUnavailable
from tallygate.core.values import value

LOCK_TRACE = '"kind":"lock.'
# In the note of an event that is put into a ledger for one that is gone.
CARRIED = "carried"
LIMIT_CHANGED = "budget.limit_changed"
# The gate is never off for longer at once; so far the wall may step back meanwhile, as NTP does.
OFF_MOST_US = 24 * 3_600_000_000
STEP_BACK_US = 60_000_000


class LockKind(StrEnum):
    """Events of a lock."""

    SET = "lock.set"
    SETTINGS = "lock.settings"
    TRUSTED = "lock.trusted"
    LOOSENED = "lock.loosened"
    ENDED = "lock.ended"
    LOST = "lock.lost"
    GATE_OFF = "lock.gate_off"
    GATE_ON = "lock.gate_on"


_ODD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@value(frozen=True, slots=True)
class Proven:
    """A limit that the user has signed, and the limit of its rule at that time."""

    limit: int
    rule: int | None = None

    def now(self, base: int | None) -> int:
        """What it comes to where the rule has another limit by now: what the user has added stays added."""
        return self.limit if base is None or self.rule is None else max(self.limit + base - self.rule, 0)


Limits = Mapping[str, Proven]


@value(frozen=True, slots=True)
class Lock:
    """The lock in force: its public key, since when, and what the user has signed with it.

    `settings` are the rows of the user's file that are in force, `trusted` what was accepted of projects, `limits`
    those that were not their rules' when it was set, by tenant.
    """

    public: str
    since_us: int
    settings: str
    settings_us: int
    trusted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    heads: Mapping[str, int] = field(default_factory=dict)


@value(frozen=True, slots=True)
class Off:
    """A gate that the user has switched off: nothing is stopped for a while, and everything is counted.

    It ends by whichever clock is first: the wall's, or the one that nobody sets, which goes on since `up_us` as long as
    the machine runs. Who sets the wall back gains nothing, and a start of the machine ends it.
    """

    from_us: int
    until_us: int
    boot: str
    up_us: int
    actor: str
    reason: str

    def holds(self, wall_us: int, up_us: int, boot: str) -> bool:
        """Whether it is off at a moment, by both clocks."""
        length_us = self.until_us - self.from_us
        by_wall = self.from_us - STEP_BACK_US <= wall_us < self.until_us
        return by_wall and boot == self.boot and 0 <= up_us - self.up_us < length_us


@value(frozen=True, slots=True)
class LockStanding:
    """Whether the limits are locked; where a lock was ended without its passphrase, when, and by whom.

    `keys` are those of every lock that this history has had; `carried_us` is when this one came from another ledger.
    `unread` is why the ledger could not tell: then nobody knows, and nothing is let through as if it were not locked.
    `off` is the last time that the gate was switched off, if nobody has switched it on since; it may be over by now.
    """

    lock: Lock | None = None
    lost_us: int | None = None
    lost_by: str = ""
    carried_us: int | None = None
    keys: frozenset[str] = frozenset()
    unread: LedgerUnavailable | None = None
    off: Off | None = None


@value(frozen=True, slots=True)
class LockEvent:
    """One event: what it says, and whether a public key has signed it where it stands."""

    body: Mapping[str, Any]
    signed_by: Callable[[str], bool]


def after(standing: LockStanding, told: LockEvent) -> LockStanding:
    """How the limits stand after an event. What is not signed by the key in force changes nothing, but for one.

    A passphrase that was lost ends the lock unsigned: loudly, and back to the limits of the user's file.
    """
    try:
        kind, note, at_us = told.body["kind"], told.body["note"], int(told.body["at_us"])
        lock = standing.lock
        if kind == LockKind.SET:
            fits = lock is None and told.signed_by(str(note["public"]))
            if not fits:
                return standing
            carried_us = at_us if CARRIED in note else None
            return LockStanding(_set(note, at_us), carried_us=carried_us, keys=standing.keys | {str(note["public"])})
        if kind == LockKind.LOST:
            # Of a lock that no ledger could tell of when it was ended, the next one tells.
            known = lock is not None or CARRIED in note
            return LockStanding(None, at_us, str(note.get("actor", "")), keys=standing.keys) if known else standing
        if kind == LockKind.GATE_ON:
            return replace(standing, off=None)
        is_signed = lock is not None and told.signed_by(lock.public)
        if kind == LockKind.GATE_OFF and (lock is None or is_signed):
            return replace(standing, off=_off(note))
        if lock is None or not is_signed:
            return standing
        if kind == LockKind.ENDED:
            return LockStanding(keys=standing.keys, off=standing.off)
        if kind == LockKind.SETTINGS:
            carried_us = at_us if CARRIED in note else standing.carried_us
            lock = replace(lock, settings=str(note["settings"]), settings_us=at_us)
            return replace(standing, lock=lock, carried_us=carried_us)
        if kind == LockKind.TRUSTED:
            project, trusted = str(note["project"]), dict(lock.trusted)
            trusted[project] = trusted.get(project, frozenset()) | {str(note["hash"])}
            return replace(standing, lock=replace(lock, trusted=trusted))
    except _ODD:
        pass
    return standing


def _off(note: Mapping[str, Any]) -> Off | None:
    """For how long the gate is off by an event; one that says longer than may be switches nothing off."""
    off = Off(
        int(note["from_us"]),
        int(note["until_us"]),
        str(note["boot"]),
        int(note["up_us"]),
        str(note["actor"]),
        str(note["reason"]),
    )
    return off if 0 < off.until_us - off.from_us <= OFF_MOST_US else None


def _set(note: Mapping[str, Any], at_us: int) -> Lock:
    trusted = {str(name): frozenset(map(str, hashes)) for name, hashes in json.loads(note["trusted"]).items()}
    limits = {
        str(tenant): {str(name): Proven(int(limit), None if rule is None else int(rule)) for name, limit, rule in rows}
        for tenant, rows in json.loads(note["limits"]).items()
    }
    heads = {str(tenant): int(seq) for tenant, seq in json.loads(note["heads"]).items()}
    return Lock(str(note["public"]), at_us, str(note["settings"]), at_us, trusted, limits, heads)


def limits_after(known: Limits, events: Iterable[LockEvent], public: str) -> Limits:
    """The limits that the user has signed after events that changed some.

    A lower one is anybody's to set. What was raised without a signature stays what it was before.
    """
    found = dict(known)
    for told in events:
        try:
            name, before, limit, rule = _changed(told.body)
            if told.signed_by(public):
                found[name] = Proven(limit, rule)
            elif limit > before:
                found.setdefault(name, Proven(before))
            elif name in found:
                found[name] = replace(found[name], limit=min(found[name].limit, limit))
        except _ODD:
            continue
    return found


def raises(event: Mapping[str, Any]) -> bool:
    """Whether a change of a limit is a raise; one that cannot be read counts as one."""
    try:
        _, before, limit, _ = _changed(event)
    except _ODD:
        return True
    return limit > before


# Events of other kinds that loosen: while the limits are locked they are the user's only with a signature. `None` is
# always, else by what stands in the event.
LOOSENING: Mapping[str, Callable[[Mapping[str, Any]], bool] | None] = {
    LIMIT_CHANGED: raises,
    "calibration.reset": None,
    "calibration.unapplied": None,
    "calibration.rebuilt": None,
    "usage.corrected": None,
    "ledger.accepted": None,
    "ledger.restored": None,
    "ledger.rebuilt": None,
}


def loosens(event: Mapping[str, Any]) -> bool:
    """Whether an event is one that has to be signed while the limits are locked."""
    kind = event.get("kind")
    if kind in (LockKind.SET, LockKind.LOST, LockKind.GATE_ON) or not isinstance(kind, str):
        return False
    if kind.startswith("lock."):
        return True
    if kind not in LOOSENING:
        return False
    by = LOOSENING[kind]
    return by is None or by(event)


def what_of(event: Mapping[str, Any]) -> str:
    """What an event loosened, in a few words."""
    if event.get("kind") == LIMIT_CHANGED:
        try:
            return f"a raise of {_changed(event)[0]}"
        except _ODD:
            pass
    return str(event.get("kind"))


def _changed(event: Mapping[str, Any]) -> tuple[str, int, int, int | None]:
    """The budget of a changed limit, its limit before and after, and that of its rule."""
    [row] = [row for op, table, row in event["rows"] if (op, table) == ("+", "limit_change")]
    rule = event["note"].get("rule_nanos")
    return str(row["budget_id"]), int(row["before_nanos"]), int(row["limit_nanos"]), None if rule is None else int(rule)


@value(frozen=True, slots=True)
class Bounds:
    """What limits may be while they are locked: those of their rules, and what the user has signed beyond."""

    limits: Limits

    def of(self, name: str, base: int | None) -> int | None:
        """The highest limit of a budget whose rule has this one; None where nothing is known of it."""
        proven = self.limits.get(name)
        if proven is None:
            return base
        return proven.now(base)
