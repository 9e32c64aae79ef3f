"""Lock the limits with a passphrase, let changes count while they are locked, end that; switch the gate off and on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace

from tallygate.attest.keys import Signer, b64url
from tallygate.attest.sealed import SealedKey
from tallygate.core.authority import Authority, Loosening, locked
from tallygate.core.errors import Conflict, ensure
from tallygate.core.gate.rules import rolling_us
from tallygate.core.lock import CARRIED, OFF_MOST_US, Lock, LockKind, Off
from tallygate.core.model import DEFAULT_TENANT, Budget
from tallygate.ledger.port import Reader, Value
from tallygate.machine import boot
from tallygate.operations.budgets.applicable import limited_now, rolled
from tallygate.operations.budgets.change import set_budget
from tallygate.operations.lock_book import as_signed, off_now, signing, standing_now, write_lock
from tallygate.operations.runtime import Runtime, in_tenant
from tallygate.operations.windows import is_head

# Limits that were changed are looked through for those that stand above their rules, the last ones of each tenant.
CHANGES_LOOKED_AT = 1000


def lock_limits(
    rt: Runtime, signer: Signer, sealed: SealedKey, settings: str, trusted: Mapping[str, Iterable[str]], *,
    authority: Authority,
) -> Lock:  # fmt: skip
    """Lock the limits as they stand: the settings that are in force, what was accepted of projects, what was raised."""
    authority.require(Loosening.LOCK)
    with rt.services.ledger.writing(DEFAULT_TENANT) as tx:
        if rt.services.locks.standing(rt.services.ledger.ledger_id, tx).lock is not None:
            raise Conflict(
                "The limits are locked already; they stay as they are.",
                hint="For another passphrase: tallygate unlock, then tallygate lock.",
                code="locked_already",
            )
        heads, limits = {}, {}
        for tenant in sorted({DEFAULT_TENANT, *tx.tenants()}):
            with rt.services.ledger.reading(tenant) as reader:
                heads[tenant] = reader.head().seq
                found = _raised(in_tenant(rt, tenant), reader, tx.at_us)
                limits[tenant] = [[each.name, each.limit, each.rule_limit] for each in found]
        note: dict[str, Value] = {
            "actor": authority.actor,
            "public": signer.public.x,
            "kdf": "argon2id13",
            "ops": sealed.cost.ops,
            "memory": sealed.cost.memory,
            "salt": b64url(sealed.salt),
            "settings": settings,
            "trusted": _text({project: sorted(hashes) for project, hashes in trusted.items()}),
            "limits": _text(limits),
            "heads": _text(heads),
        }
        write_lock(rt, tx, LockKind.SET, note, lambda message: b64url(signer.sign(message)))
    done = standing_now(rt).lock
    if done is None:  # somebody has ended it at once
        raise Conflict("The limits are not locked.", hint="Try again.")
    return done


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _raised(rt: Runtime, reader: Reader, at_us: int) -> list[Budget]:
    """The budgets whose limits were changed by hand and are not their rules', as these stand in the settings now."""
    names = dict.fromkeys(change.budget_id for change in reader.newest_limit_changes(CHANGES_LOOKED_AT))
    found = []
    for name in names:
        budget = reader.budget(name)
        if budget is not None:
            standing = limited_now(rt, rolled(reader, budget, at_us) if is_head(budget) else budget, at_us)
            if standing.limit != standing.rule_limit:
                found.append(standing)
    return found


def sign_settings(rt: Runtime, settings: str, *, authority: Authority) -> None:
    """Put the user's settings in force as they stand in the file now."""
    authority.require(Loosening.TRUST)
    with rt.services.ledger.writing(DEFAULT_TENANT) as tx:
        if (sign := signing(rt, tx, authority, Loosening.TRUST)) is not None:
            note: dict[str, Value] = {"actor": authority.actor, "settings": settings}
            write_lock(rt, tx, LockKind.SETTINGS, note, sign)


def sign_project(rt: Runtime, project: str, fingerprint: str, *, authority: Authority) -> None:
    """Let what a project sets count, while the limits are locked."""
    authority.require(Loosening.TRUST)
    with rt.services.ledger.writing(DEFAULT_TENANT) as tx:
        if (sign := signing(rt, tx, authority, Loosening.TRUST)) is not None:
            note: dict[str, Value] = {"actor": authority.actor, "project": project, "hash": fingerprint}
            write_lock(rt, tx, LockKind.TRUSTED, note, sign)


def unlock_limits(rt: Runtime, *, authority: Authority) -> None:
    """End the lock, with its passphrase."""
    authority.require(Loosening.UNLOCK)
    with rt.services.ledger.writing(DEFAULT_TENANT) as tx:
        sign = signing(rt, tx, authority, Loosening.UNLOCK)
        if sign is None:
            raise _not_locked()
        write_lock(rt, tx, LockKind.ENDED, {"actor": authority.actor}, sign)


def falling(rt: Runtime, file: Runtime) -> list[tuple[Budget, Budget]]:
    """What an end without the passphrase takes back: budgets with the limit that holds, and as `file` has them then.

    `file` is the program as the settings file makes it, of which every row counts again. A window that is over is none
    of them.
    """
    found = []
    for tenant in _tenants(rt):
        there, after = in_tenant(rt, tenant), in_tenant(file, tenant)
        with rt.services.ledger.reading(tenant) as reader:
            for budget, signed in _set_back(there, reader):
                back = limited_now(after, replace(budget, limit=_without_raise(budget, signed)), rt.services.clock_us())
                found.append((signed, back))
    return [(before, back) for before, back in found if before.limit != back.limit]


def unlock_lost(rt: Runtime, *, authority: Authority) -> list[tuple[Budget, int]]:
    """End the lock without its passphrase: what was raised goes back to the user's file, and everybody is told.

    Returns the budgets that were set back, each with the limit it had. It is refused beneath an agent whatever the
    settings leave to agents.
    """
    if authority.beneath is not None:
        raise locked(Loosening.UNLOCK, f"and this was started by an agent: {authority.beneath}.")
    back = []
    for tenant in _tenants(rt):  # first, and one by one: whoever is killed on the way leaves the limits locked
        there = in_tenant(rt, tenant)
        with rt.services.ledger.reading(tenant) as reader:
            raised = _set_back(there, reader)
        for budget, signed in raised:
            limit = _without_raise(budget, signed)
            reason = "unlocked without the passphrase"
            back.append((set_budget(there, budget.name, limit, reason=reason, authority=authority), budget.limit))
    with rt.services.ledger.writing(DEFAULT_TENANT) as tx:
        note: dict[str, Value] = {"actor": authority.actor, "reason": "the passphrase was lost"}
        write_lock(rt, tx, LockKind.LOST, note)
    return back


def _tenants(rt: Runtime) -> list[str]:
    """Whose limits are locked. Raises `Conflict` where none are."""
    with rt.services.ledger.reading(DEFAULT_TENANT) as reader:
        if rt.services.locks.standing(rt.services.ledger.ledger_id, reader).lock is None:
            raise _not_locked()
        return sorted({DEFAULT_TENANT, *reader.tenants()})


def _set_back(rt: Runtime, reader: Reader) -> list[tuple[Budget, Budget]]:
    """The budgets that were raised above their rules and are not over: as they stand, and as far as it was signed."""
    at_us = rt.services.clock_us()
    found = (each for each in _raised(rt, reader, at_us) if each.rule_limit is not None)
    return [
        (each, as_signed(rt, reader, each))
        for each in found
        if each.limit > (each.rule_limit or 0)
        and (each.resets_us is None or each.resets_us > at_us or rolling_us(each.period) is not None)
    ]


def _without_raise(budget: Budget, signed: Budget) -> int:
    """The limit of its rule, with which it goes from then on; a lower one that the user has set stays."""
    return min(budget.rule_limit or 0, signed.limit)


def _not_locked() -> Conflict:
    return Conflict(
        "The limits are not locked; nothing was changed.", hint="tallygate lock sets a passphrase.", code="not_locked"
    )


def carry_lock(rt: Runtime, lock: Lock, *, authority: Authority) -> None:
    """Let a ledger that takes the place of another go on locked, with what was signed. Raises `Locked`.

    Of limits those count that were signed when the lock was set: what a copy from before it has beyond is not signed.
    """
    seal = authority.lock
    if seal is None or not seal.is_open or seal.public != lock.public:
        raise locked(Loosening.LEDGER_ACCEPT)
    with rt.services.ledger.writing(DEFAULT_TENANT) as tx:
        there = rt.services.locks.standing(rt.services.ledger.ledger_id, tx).lock
        if there is not None and there.public != lock.public:
            raise Conflict(
                "This ledger is locked with another passphrase than the one before it.",
                hint="Give another backup, or end the lock in a terminal: tallygate unlock --lost",
                code="locked_already",
            )
        note: dict[str, Value] = {"actor": authority.actor, "settings": lock.settings, CARRIED: lock.since_us}
        if there is not None:
            if there.settings != lock.settings:
                write_lock(rt, tx, LockKind.SETTINGS, note, seal.sign)
            return
        heads = {}
        for tenant in sorted({DEFAULT_TENANT, *tx.tenants()}):
            with rt.services.ledger.reading(tenant) as reader:
                heads[tenant] = reader.head().seq
        rows = {
            tenant: [[name, each.limit, each.rule] for name, each in limits.items()]
            for tenant, limits in lock.limits.items()
        }
        trusted = _text({project: sorted(hashes) for project, hashes in lock.trusted.items()})
        note |= {"public": lock.public, "trusted": trusted, "limits": _text(rows), "heads": _text(heads)}
        write_lock(rt, tx, LockKind.SET, note, seal.sign)


def tell_lost(rt: Runtime, at_us: int, by: str) -> None:
    """Tell the journal of a lock that was ended without its passphrase while no ledger could tell of it."""
    with rt.services.ledger.writing(DEFAULT_TENANT) as tx:
        note: dict[str, Value] = {"actor": by, "reason": "the passphrase was lost", CARRIED: at_us}
        write_lock(rt, tx, LockKind.LOST, note)


def switch_off(rt: Runtime, length_us: int, reason: str, *, authority: Authority) -> Off:
    """Stop nothing for a while, which ends by itself; an event says who, through which door, and why."""
    authority.require(Loosening.OFF)
    ensure(0 < length_us <= OFF_MOST_US, "a gate is off for a time that ends")
    now_us = rt.services.clock_us()
    off = Off(now_us, now_us + length_us, boot(), rt.services.steady_us(), authority.actor, reason)
    door = authority.door.value
    note: dict[str, Value] = {**asdict(off), "door": door}
    if authority.beneath is not None:
        note["beneath"] = authority.beneath
    with rt.services.ledger.writing(DEFAULT_TENANT) as tx:
        write_lock(rt, tx, LockKind.GATE_OFF, note, signing(rt, tx, authority, Loosening.OFF))
    return off


def switch_on(rt: Runtime, *, authority: Authority) -> Off | None:
    """Stop again what is over a limit, which is anybody's to do; returns what was in force, None where nothing was."""
    with rt.services.ledger.writing(DEFAULT_TENANT) as tx:
        off = off_now(rt, tx)
        if off is not None:
            note: dict[str, Value] = {"actor": authority.actor, "door": authority.door.value}
            write_lock(rt, tx, LockKind.GATE_ON, note)
    return off
