"""Whether the limits are locked, and which of them the user has signed: asked at each gate, read from the journal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tallygate.attest.keys import PublicKey, unb64url
from tallygate.core.authority import Authority, Loosening, locked
from tallygate.core.errors import KeyUnusable, LedgerCorrupt, LedgerRolledBack, LedgerUnavailable
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.lock import Bounds, Limits, Lock, LockEvent, LockKind, LockStanding, Off, after, limits_after
from tallygate.core.model import DEFAULT_TENANT, Budget, Session
from tallygate.core.moments import iso
from tallygate.core.money import COUNTED, NANOS_PER_UNIT, to_unit_nanos, to_usd_nanos
from tallygate.core.proof import SIGNATURE, WAY_OUT, event_hash, signed_bytes
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.ledger import rows
from tallygate.ledger.anchor import Anchor
from tallygate.ledger.layout import Layout
from tallygate.ledger.lock_marks import LockMark, LockMarks
from tallygate.ledger.port import JournalEvent, Reader, Sign, Tx, Value
from tallygate.machine import boot

if TYPE_CHECKING:
    from tallygate.operations.runtime import Runtime
    from tallygate.settings import Paths


T = TypeVar("T")
UNLOCKED = LockStanding()
BUDGETS_LOOKED_AT = 200
SESSIONS_KEPT = 512
_ODD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
# A rate that is further from that of a rule was never one of the currency.
RATE_TIMES_MOST = 100
# So long every session begins with it.
NEWS_US = 7 * 86_400_000_000


@value(frozen=True, slots=True)
class _Read:
    """What was read of a journal so far: up to which event, and what it comes to."""

    seq: int = 0
    hash: bytes = b""
    standing: LockStanding = UNLOCKED
    limits: Mapping[str, tuple[int, bytes, Limits]] = field(default_factory=dict)


@value(frozen=True, slots=True)
class OpeningEvent:
    """A session as the event that opened it states it: its row, its own budgets, and all those that it spends."""

    session: Session
    budgets: Mapping[str, Budget]
    spends: frozenset[str]


class LockBook:
    """What a process knows of the lock of its ledger. Each event is read, and its signature checked, once.

    The last event that is known is looked at again each time: another ledger in the place of this one has another.
    `settings_by` is the key that has signed the settings of this process: a ledger that never had it is none of theirs.
    """

    def __init__(self, settings_by: str | None = None) -> None:
        self._read = _Read()
        self._settings_by = settings_by
        self._opened: dict[tuple[str, str], OpeningEvent] = {}
        # How the limits stood, and by what the ledger tells whether another program has written since.
        self._stood: tuple[object, LockStanding] | None = None

    def standing(self, ledger_id: str, reader: Reader) -> LockStanding:
        """How the limits stand by the events of this moment."""
        return self._upto(ledger_id, reader).standing

    def unchanged(self, others_wrote: object) -> LockStanding | None:
        """How the limits stand, where nobody can have locked or unlocked them since that was looked at; else None."""
        return None if self._stood is None or self._stood[0] != others_wrote else self._stood[1]

    def stood(self, others_wrote: object, standing: LockStanding) -> None:
        """Keep how the limits stood while others had written so far."""
        self._stood = (others_wrote, standing)

    def written(self) -> None:
        """This program is about to write an event of the lock itself."""
        self._stood = None

    def bounds(self, ledger_id: str, reader: Reader) -> Bounds | None:
        """Which limits the user has signed in the reader's tenant; None where nothing is locked."""
        return self.standing_and_bounds(ledger_id, reader)[1]

    def standing_and_bounds(self, ledger_id: str, reader: Reader) -> tuple[LockStanding, Bounds | None]:
        """Both, by one look at the events: each step of the gate turns on both.

        After a lock that was ended without its passphrase those hold that the journal tells of since then: a raise in
        a table does not come into force by an end that anybody may have written.
        """
        known = self._upto(ledger_id, reader)
        lock, lost_us = known.standing.lock, known.standing.lost_us
        if lock is None and lost_us is None:
            return known.standing, None
        begun = (0, b"", {}) if lock is None else _begun(lock, reader.tenant)
        seq, digest, limits = known.limits.get(reader.tenant) or begun
        events = reader.limit_events(seq if digest else seq + 1)
        if digest and (not events or events[0].hash != digest):  # not the history that was read before
            seq, digest, limits = begun
            events = reader.limit_events(seq + 1)
        elif digest:
            events = events[1:]
        if events:
            chain_id = f"{ledger_id}/{reader.tenant}"
            heard = (lock_event(chain_id, each) for each in events if lost_us is None or each.at_us >= lost_us)
            if lock is None:
                heard = (LockEvent(each.body, lambda _: True) for each in heard)  # where nothing is locked anybody may
            limits = limits_after(limits, heard, "" if lock is None else lock.public)
            kept = {**known.limits, reader.tenant: (events[-1].seq, events[-1].hash, limits)}
            self._read = _Read(known.seq, known.hash, known.standing, kept)
        return known.standing, Bounds(limits)

    def opened(self, ledger_id: str, reader: Reader, session: Session) -> OpeningEvent:
        """A session as it was opened, with the budgets of those around it. Raises `LedgerCorrupt` where no event says.

        Read once: an opening never changes. Rows of tables are anybody's to change who can write the file.
        """
        name = (reader.tenant, session.session_id)
        if (known := self._opened.get(name)) is not None:
            return known
        events = reader.openings(session.session_id, session.started_us)
        found = next(filter(None, (_opened_by(f"{ledger_id}/{reader.tenant}", e, session) for e in events)), None)
        if found is None:
            raise LedgerCorrupt(
                f"No event of the ledger opened the session {session.session_id} as its row says.",
                hint="Nothing is counted on it. See: tallygate verify",
            )
        above = found.session.parent_session_id
        if above is not None and (around := reader.session(above)) is not None:
            theirs = self.opened(ledger_id, reader, around).budgets
            found = replace(found, budgets={**theirs, **found.budgets})
        # Openings never change, so all of it can go: it is read again where it is asked for.
        if len(self._opened) >= SESSIONS_KEPT:
            self._opened.clear()
        self._opened[name] = found
        return found

    def _upto(self, ledger_id: str, reader: Reader) -> _Read:
        known = self._read
        # Read beside something else: no event of the lock has come since. Where nothing is known yet, a ledger that was
        # never locked has still to be held against the key of the settings.
        if reader.newest_lock == known.hash and (known.seq or self._settings_by is None):
            return known
        events = reader.lock_events(known.seq)
        if known.seq and (not events or events[0].hash != known.hash):
            known, events = _Read(), reader.lock_events()
            self._opened.clear()
        elif known.seq:
            events = events[1:]
        if events:
            standing = standing_of(ledger_id, events, known.standing)
            known = _Read(events[-1].seq, events[-1].hash, standing)
        if self._settings_by is not None and self._settings_by not in known.standing.keys:
            raise lock_missing(PublicKey(unb64url(self._settings_by, "the lock")).keyid)
        self._read = known
        return known


def _opened_by(chain_id: str, event: JournalEvent, session: Session) -> OpeningEvent | None:
    """What an event says of a session that it opened; None where it is none, or not as it was written."""
    # The tables are anybody's to write; what an event says is believed as far as its hash holds.
    if event_hash(chain_id, event.seq, event.previous, event.body) != event.hash:
        return None
    try:
        stated = [(table, row) for op, table, row in json.loads(event.body)["rows"] if op == "+"]
        row = next(row for table, row in stated if table == "session" and row["session_id"] == session.session_id)
        budgets = [_row_of(rows.BUDGET, row, session) for table, row in stated if table == "budget"]
        return OpeningEvent(
            _row_of(rows.SESSION, row, session),
            {budget.budget_id: budget for budget in budgets},
            frozenset(str(row["budget_id"]) for table, row in stated if table == "session_budget"),
        )
    except (StopIteration, *_ODD):
        return None


def _row_of(layout: Layout[T], row: Mapping[str, Any], session: Session) -> T:
    stated = {**row, "tenant": session.tenant}
    return layout.value(tuple(stated.get(column) for column in layout.columns))


def _begun(lock: Lock, tenant: str) -> tuple[int, bytes, Limits]:
    return lock.heads.get(tenant, 0), b"", lock.limits.get(tenant, {})


def standing_of(ledger_id: str, events: Iterable[JournalEvent], standing: LockStanding = UNLOCKED) -> LockStanding:
    """How the limits stand after events of the lock. Raises `LedgerCorrupt` where one is not as it was written."""
    for event in events:
        if event_hash(f"{ledger_id}/{DEFAULT_TENANT}", event.seq, event.previous, event.body) != event.hash:
            raise LedgerCorrupt(
                f"Event {event.seq} of the ledger, which tells of the lock of the limits, is not as it was written.",
                hint="Nothing is counted on it. Restore a backup: tallygate restore FILE --reason TEXT",
            )
        standing = after(standing, lock_event(f"{ledger_id}/{DEFAULT_TENANT}", event))
    return standing


def marks_of(paths: Paths) -> LockMarks:
    """What is remembered of a lock beside the anchors of a ledger."""
    return LockMarks(Anchor(paths.database, paths.anchor_folders, passing=paths.is_passing))


def lock_of(paths: Paths) -> LockStanding:
    """Whether the limits of the ledger are locked, by its own journal and by what is remembered beside it."""
    return standing_at(paths.database, marks_of(paths))


def standing_of_installed(database: Path, keys: Path, settings: Path) -> LockStanding:
    """Whether the limits of a ledger are locked that installed commands go by."""
    return standing_at(database, LockMarks(Anchor(database, (keys / "anchors", settings / "anchors"))))


def standing_at(database: Path, marks: LockMarks) -> LockStanding:
    """How the limits of a ledger's file stand, before it is opened; of one that cannot be read nobody knows."""
    from tallygate.ledger.audit.foreign import lock_events_in

    keyids = [mark.keyid for mark in marks.read()]
    if not os.access(database, os.F_OK):
        return LockStanding(unread=lock_missing(keyids[0])) if keyids else UNLOCKED
    try:
        ledger_id, events = lock_events_in(database)
        found = standing_of(ledger_id, events)
    except LedgerUnavailable as error:
        return LockStanding(unread=error)
    # A ledger that knows nothing of a lock which is remembered beside it is a copy from before, or a new one in its
    # place.
    had = {PublicKey(unb64url(public, "the lock")).keyid for public in found.keys} if keyids else set()
    gone = next((keyid for keyid in keyids if keyid not in had), None)
    return found if gone is None else LockStanding(unread=lock_missing(gone))


def lock_missing(keyid: str) -> LedgerRolledBack:
    """The error for a ledger without the lock that was set on it."""
    return LedgerRolledBack(
        f"The ledger has no event of the lock that was set on it, with the key {keyid}. Nothing is counted on it.",
        hint=WAY_OUT + " Both ask for the passphrase of that lock; without it: tallygate unlock --lost",
    )


def carried_lock(marks: LockMarks) -> Lock | None:
    """The lock that is remembered beside a ledger, with what was signed; None where none can be read."""
    return next(filter(None, map(_lock_in, marks.read())), None)


def _lock_in(mark: LockMark) -> Lock | None:
    """The lock that is remembered in one file; None where that cannot be read."""
    try:
        found = standing_of(mark.ledger_id, mark.events).lock
    except LedgerUnavailable:
        return None
    return found if found is not None and keyid_of(found) == mark.keyid else None


def locks_remembered_in(folders: Iterable[Path]) -> list[tuple[str, Lock]]:
    """The locks that are remembered in some folders, each with what the path of its ledger comes to."""
    found = ((begin, _lock_in(mark)) for begin, mark in LockMarks.of_any(folders))
    return [(begin, lock) for begin, lock in found if lock is not None]


def remember_lock(rt: Runtime, marks: LockMarks) -> None:
    """Have the lock as it stands remembered beside the ledger, or none."""
    with rt.services.ledger.reading(DEFAULT_TENANT) as reader:
        lock = rt.services.locks.standing(rt.services.ledger.ledger_id, reader).lock
        events = reader.lock_events() if lock is not None else []
    if lock is None:
        marks.forget()
        return
    marks.write(keyid_of(lock), rt.services.ledger.ledger_id, since_set(events, lock))


def keyid_of(lock: Lock) -> str:
    """The id of a lock's key, by which files of it are named."""
    return PublicKey(unb64url(lock.public, "the lock")).keyid


def since_set(events: list[JournalEvent], lock: Lock) -> list[JournalEvent]:
    """The events of a lock, from the one that set it."""
    public = lock.public.encode()
    sets = (place for place, e in enumerate(events) if b'"kind":"lock.set"' in e.body[:400] and public in e.body)
    first = next(sets, None)
    return [] if first is None else events[first:]


def lock_event(chain_id: str, event: JournalEvent) -> LockEvent:
    """An event with who has signed it; one that cannot be read says nothing."""
    try:
        body = json.loads(event.body)
    except (ValueError, RecursionError):
        body = {}
    return lock_event_at(chain_id, event.seq, event.previous, body if isinstance(body, dict) else {})


def lock_event_at(chain_id: str, seq: int, previous: bytes, body: Mapping[str, Any]) -> LockEvent:
    """An event at its place in a chain, with who has signed it."""

    def signed_by(public: str) -> bool:
        note = body.get("note")
        if not isinstance(note, Mapping) or SIGNATURE not in note:
            return False
        try:
            key = PublicKey(unb64url(public, "the lock"))
            signature = unb64url(note[SIGNATURE], "the signature")
            return key.verifies(signed_bytes(chain_id, seq, previous, body), signature)
        except (KeyUnusable, ValueError, TypeError):
            return False

    return LockEvent(body, signed_by)


def standing_now(rt: Runtime) -> LockStanding:
    """Whether the limits are locked now; the ledger is read where somebody has written since that was last asked.

    What another program writes while it is read counts the next time: the number was asked for before.
    """
    ledger, locks = rt.services.ledger, rt.services.locks
    others_wrote = ledger.others_wrote()
    standing = locks.unchanged(others_wrote)
    if standing is None:
        with rt.reading() as reader:
            standing = locks.standing(ledger.ledger_id, reader)
        locks.stood(others_wrote, standing)
    return standing


def bounds_now(rt: Runtime, reader: Reader) -> Bounds | None:
    """Which limits the user has signed, as things stand in a transaction; None where nothing is locked."""
    return rt.services.locks.bounds(rt.services.ledger.ledger_id, reader)


def as_opened(
    rt: Runtime, reader: Reader, session: Session, own: tuple[Budget, ...]
) -> tuple[Session, tuple[Budget, ...]]:
    """A session and its own budgets by the event that opened it, where the user has signed what holds.

    Whose it is, which budgets it spends, and what makes those is said there: rows in tables are anybody's to change.
    What they count, and a limit below that of the opening, is the tables' to say.
    """
    opened = rt.services.locks.opened(rt.services.ledger.ledger_id, reader, session)
    if lacking := opened.spends - {budget.budget_id for budget in own}:
        found = reader.budgets_named(sorted(lacking))
        if len(found) < len(lacking):
            raise LedgerCorrupt(
                f"A budget of the session {session.session_id} is not in the ledger's tables any more.",
                hint="Nothing is counted on it. See: tallygate verify",
            )
        own = (*own, *found)
    return opened.session, tuple(_as_opened(rt, reader, opened, budget) for budget in own)


def _signed_at_most(rt: Runtime, reader: Reader, opened: OpeningEvent, first: Budget) -> Budget:
    """A session's budget as it was opened, where the signed rules for sessions leave it so much; else what they leave.

    Nobody signs an opening. An own budget above a rule is honest only with a budget of that rule beside it. Looked at
    from another project the loosest rule counts, and none where any project was accepted: it may have had its own.
    """
    name, project, here = first.budget_id, opened.session.project, rt.workspace.project
    if project != here:
        lock = rt.services.locks.standing(rt.services.ledger.ledger_id, reader).lock
        if lock is None or lock.trusted:
            return first
    left: list[int] = []
    for rule in rt.workspace.rules:
        if rule.scope is not BudgetScope.SESSION or rule.mode is not BudgetMode.HARD or rule.unit in COUNTED:
            continue
        # A session that was opened with a limit of its own has the rule's budget beside it; without that one it must
        # not be above the rule.
        beside = f"{first.scope_key}:{rule.unit}"
        if name == beside:
            left.append(rule.limit)
        elif name == first.scope_key and beside not in opened.budgets:
            in_usd = to_usd_nanos(rule.limit, rule.usd_nanos)
            left.append(0 if first.unit in COUNTED else to_unit_nanos(in_usd, first.usd_nanos))
    if not left:
        return first
    most = min(left) if project == here else max(left)
    if first.mode is BudgetMode.HARD and first.limit <= most:
        return first
    return replace(first, limit=most, mode=BudgetMode.HARD)


def _as_opened(rt: Runtime, reader: Reader, opened: OpeningEvent, budget: Budget) -> Budget:
    """A budget of a session as it was opened and as it is signed, with what it counts and its limit by now."""
    first = opened.budgets.get(budget.budget_id)
    if first is not None and rt.workspace.rules:
        first = _signed_at_most(rt, reader, opened, first)
    if first is None or (
        budget.rule_limit == first.limit
        and budget.mode is first.mode
        and (budget.unit, budget.usd_nanos, budget.scope) == (first.unit, first.usd_nanos, first.scope)
    ):
        return budget
    return replace(
        first,
        limit=budget.limit,
        rule_limit=first.limit,
        spent=budget.spent,
        reserved=budget.reserved,
        overage=budget.overage,
        touched_us=budget.touched_us,
    )


def must_fit(budget: Budget, rule: BudgetRule) -> None:
    """Raise `LedgerCorrupt` where a window's row is not of what its rule limits, which a table is not to say.

    What a currency is worth may have been another when the window began; far off, no day's rate made it.
    """
    fits = (budget.unit, budget.scope, budget.scope_key, budget.period) == (
        rule.unit, rule.scope.value, str(rule.key), rule.period
    )  # fmt: skip
    if rule.unit == "USD":
        fits = fits and budget.usd_nanos == NANOS_PER_UNIT
    elif rule.unit not in COUNTED:
        fits = fits and 0 < budget.usd_nanos <= RATE_TIMES_MOST * rule.usd_nanos
    if not fits:
        raise LedgerCorrupt(
            f"The row of the budget {budget.name} is not what its rule says.",
            hint="Nothing is counted on it. See: tallygate verify",
        )


def more_by_rate(budget: Budget, rule: BudgetRule) -> int:
    """How much more a window in a currency holds where its rate lets a dollar weigh less than that of its rule."""
    if budget.usd_nanos <= rule.usd_nanos or budget.unit in COUNTED:
        return 0
    held = budget.committed
    return -(-held * budget.usd_nanos // rule.usd_nanos) - held


def _own_as_opened(rt: Runtime, reader: Reader, budget: Budget) -> Budget:
    """A budget by the opening of its session, where it is a session's own, whatever its row says of that."""
    name = budget.budget_id.removesuffix(":soft")
    for session_id in dict.fromkeys((budget.budget_id, name, name.rpartition(":")[0])):
        session = reader.session(session_id) if session_id else None
        if session is not None and session.is_open:
            return _as_opened(
                rt, reader, rt.services.locks.opened(rt.services.ledger.ledger_id, reader, session), budget
            )
    return budget


def as_signed(rt: Runtime, reader: Reader, budget: Budget) -> Budget:
    """A budget with the limit that the gate goes by: while the limits are locked, what the user has signed."""
    bounds = bounds_now(rt, reader)
    if bounds is None:
        return budget
    budget = _own_as_opened(rt, reader, budget)
    most = bounds.of(budget.name, budget.rule_limit)
    return budget if most is None or budget.limit <= most else replace(budget, limit=most)


def unsigned_limits(rt: Runtime) -> list[Budget]:
    """Budgets whose limit stands above what the user has signed, of those that were used last."""
    with rt.reading() as reader:
        bounds = bounds_now(rt, reader)
        if bounds is None:
            return []
        budgets = (_own_as_opened(rt, reader, each) for each in reader.budgets(BUDGETS_LOOKED_AT))
        return [each for each in budgets if is_above(bounds, each, rt.services.clock_us())]


def is_above(bounds: Bounds, budget: Budget, at_us: int) -> bool:
    """Whether a budget's limit is above what the user has signed."""
    most = bounds.of(budget.name, budget.rule_limit)
    added = sum(more for more, until_us in budget.raises if at_us < until_us)
    return most is not None and budget.limit + added > most


def off_now(rt: Runtime, reader: Reader) -> Off | None:
    """The user's word that nothing is stopped, as long as it holds; None where the gate is on."""
    return off_by(rt, rt.services.locks.standing(rt.services.ledger.ledger_id, reader))


def off_by(rt: Runtime, standing: LockStanding) -> Off | None:
    """The same by how the limits stand."""
    off = standing.off
    # Only where it was ever said are the clocks asked.
    return off if off is not None and off.holds(rt.services.clock_us(), rt.services.steady_us(), boot()) else None


def off_at_a_look(rt: Runtime) -> Off | None:
    """The same for somebody who looks on."""
    with rt.services.ledger.reading(DEFAULT_TENANT) as reader:
        return off_now(rt, reader)


def program_now(rt: Runtime, reader: Reader) -> str:
    """How a command is written for a person: in full while a passphrase is typed into it."""
    is_locked = rt.services.locks.standing(rt.services.ledger.ledger_id, reader).lock is not None
    return rt.workspace.program_in_full if is_locked else rt.workspace.program


def lock_news(rt: Runtime, reader: Reader) -> str | None:
    """What is said at the start of sessions while it is news that a lock was lost, or came from another ledger."""
    standing = rt.services.locks.standing(rt.services.ledger.ledger_id, reader)
    happened_us = standing.lost_us or standing.carried_us
    if happened_us is None or happened_us < rt.services.clock_us() - NEWS_US:
        return None
    if standing.lost_us is not None:
        return (
            f"On {iso(happened_us)} the lock of the limits was ended without its passphrase, by {standing.lost_by}: "
            "they are those of the settings file."
        )
    return (
        f"On {iso(happened_us)} another ledger took the place of the locked one, with the passphrase: "
        "the limits are locked as they were signed."
    )


def signing(rt: Runtime, tx: Reader, authority: Authority, what: Loosening) -> Sign | None:
    """What signs an event that loosens; None where nothing is locked. Raises `Locked` without the passphrase."""
    lock = rt.services.locks.standing(rt.services.ledger.ledger_id, tx).lock
    if lock is None:
        return None
    seal = authority.lock
    if seal is None or not seal.is_open or seal.public != lock.public:
        raise locked(what)
    return seal.sign


def signing_as_far(rt: Runtime, tx: Reader, authority: Authority) -> Sign | None:
    """What signs an event of a ledger that was put in place: where that is locked with another key, nobody does."""
    lock = rt.services.locks.standing(rt.services.ledger.ledger_id, tx).lock
    seal = authority.lock
    fits = lock is not None and seal is not None and seal.is_open and seal.public == lock.public
    return seal.sign if fits and seal is not None else None


def write_lock(rt: Runtime, tx: Tx, kind: LockKind, note: Mapping[str, Value], sign: Sign | None = None) -> None:
    """Write an event of the lock: the only way, so that this program's next look finds it."""
    rt.services.locks.written()
    tx.append(kind, [], by=rt.by, note=note, sign=sign)


def note_loosened(rt: Runtime, authority: Authority, what: Loosening, about: str = "") -> None:
    """Tell the journal of something that the user has loosened and that has no event of its own; only while locked."""
    if authority.lock is None:
        return
    with rt.services.ledger.writing(DEFAULT_TENANT) as tx:
        sign = signing(rt, tx, authority, what)
        if sign is not None:
            note: dict[str, Value] = {"actor": authority.actor, "what": what.value, "about": about}
            write_lock(rt, tx, LockKind.LOOSENED, note, sign)
