"""What only the user may do to a budget: raise or set its limit. An agent can ask the user to, and no more."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import Conflict, InvalidArgument, NotFound
from tallygate.core.gate import lifecycle
from tallygate.core.gate.rules import rolling_us
from tallygate.core.lock import LIMIT_CHANGED
from tallygate.core.model import Budget
from tallygate.core.money import AMOUNT_NANOS_MAX, format_amount
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, Reader, Tx, Update, Value
from tallygate.operations.binding import aged_out_us, budget_change, rolled
from tallygate.operations.lock_book import as_signed, signing
from tallygate.operations.runtime import Runtime
from tallygate.operations.subject import limited_now
from tallygate.operations.windows import head_id, is_head, is_piece

# So many changes of one limit are looked through for one at the same moment.
_CHANGES_LOOKED_AT = 1000
_EMPTY: dict[str, Any] = {
    "spent_nanos": 0,
    "reserved_nanos": 0,
    "overage_nanos": 0,
    "carried_nanos": 0,
    "seed_nanos": None,
}

# Open sessions that are looked through for the one that a command was started in.
OPEN_LOOKED_AT = 1000


def raise_budget(
    rt: Runtime, budget_id: str, amount_nanos: int, *, reason: str, authority: Authority, seen: Budget | None = None
) -> Budget:
    """Add an amount to a limit, so that halted work goes on with its history; returns the new budget.

    `seen` is the budget as the user was shown it: with another limit by now, nothing is changed. One that no call has
    met yet is written down with its new limit.
    """
    authority.require(Loosening.BUDGET_RAISE)
    return _change(rt, budget_id, None, amount_nanos, reason=reason, authority=authority, seen=seen)


def set_budget(rt: Runtime, budget_id: str, limit_nanos: int, *, reason: str, authority: Authority) -> Budget:
    """Give a budget another limit; under what is committed it names the difference as overage.

    A lower one is anybody's to set, a higher one the user's.
    """
    if authority.lock is not None and _raises(rt, budget_id, limit_nanos):
        authority.require(Loosening.BUDGET_SET)  # before the ledger is held: a passphrase takes its time
    return _change(rt, budget_id, limit_nanos, 0, reason=reason, authority=authority)


def _raises(rt: Runtime, budget_id: str, limit_nanos: int) -> bool:
    """Whether a limit is above the one that holds now."""
    with rt.ledger.reading(rt.tenant) as reader:
        kept = reader.budget(budget_id)
        if kept is not None and is_piece(kept):
            kept = reader.budget(head_id(kept))
        if kept is not None and is_head(kept):
            kept = rolled(reader, kept, rt.clock_us())
        return (
            kept is not None and limit_nanos > as_signed(rt, reader, limited_now(rt, kept, rt.clock_us())).limit_nanos
        )


def started_in(reader: Reader, authority: Authority) -> str | None:
    """The open session of the client that this was started in, by the servers around; None where there is none."""
    if not authority.servers:
        return None
    found = reader.sessions(state="open", limit=OPEN_LOOKED_AT)
    return next((s.session_id for s in found if s.server_id in authority.servers), None)


def _change(
    rt: Runtime,
    budget_id: str,
    limit_nanos: int | None,
    added_nanos: int,
    *,
    reason: str,
    authority: Authority,
    seen: Budget | None = None,
) -> Budget:
    with rt.ledger.writing(rt.tenant) as tx:
        stored = tx.budget(budget_id)
        if stored is not None and is_piece(stored):  # an older version named the piece
            stored = tx.budget(head_id(stored))
        kept, budget = stored, stored or seen
        if stored is not None:
            budget = rolled(tx, stored, tx.at_us) if is_head(stored) else stored
            if seen is None or seen.limit_nanos != budget.limit_nanos:
                # What is changed is the limit that the next step would be held to, which is what was shown.
                kept, budget = limited_now(rt, stored, tx.at_us), limited_now(rt, budget, tx.at_us)
        if budget is None:
            raise NotFound(
                f"No budget {budget_id!r} is in the ledger.",
                hint="`tallygate budget list` shows the budgets; a session's budget has the session's id.",
                code="unknown_budget",
            )
        budget = as_signed(rt, tx, budget)
        if seen is not None and budget.limit_nanos != seen.limit_nanos:
            raise Conflict(
                f"The limit of budget {budget_id!r} is {format_amount(budget.limit_nanos, budget.unit)} by now; "
                f"the user was shown {format_amount(seen.limit_nanos, seen.unit)}. It stays as it is.",
                hint="See what is left now; ask again if that is not enough.",
                code="budget_changed",
            )
        wanted = budget.limit_nanos + added_nanos if limit_nanos is None else limit_nanos
        if wanted > AMOUNT_NANOS_MAX:
            shown, most = (format_amount(amount, budget.unit) for amount in (wanted, AMOUNT_NANOS_MAX))
            raise InvalidArgument("amount", f"A limit of {shown} is above {most}.")
        sign = None
        if wanted > budget.limit_nanos:
            what = Loosening.BUDGET_SET if limit_nanos is not None else Loosening.BUDGET_RAISE
            sign = signing(rt, tx, authority, what)
            replace(authority, lock=None).require(what)  # nobody is asked anything while the ledger is held
        if rolling_us(budget.period) is not None:
            changed, change = _rolling_change(tx, kept, budget, wanted, stored)
        else:
            changed = lifecycle.change_limit(budget, wanted)
            row: dict[str, Value] = {
                "budget_id": budget_id,
                "limit_nanos": changed.limit_nanos,
                "overage_nanos": changed.overage_nanos,
                "touched_us": tx.at_us,
                **_rule_limit(stored, changed),
            }
            change = budget_change(changed, tx.at_us, fresh=True) if kept is None else Update("budget", row)
        inside = started_in(tx, authority)
        told: dict[str, Value] = {
            "budget_id": budget.name,
            "at_us": _moment_of_its_own(tx, budget.name),
            "unit": budget.unit,
            "before_nanos": budget.limit_nanos,
            "limit_nanos": changed.limit_nanos,
            "door": authority.door.value,
            "actor": authority.actor,
            "reason": reason,
            "inside": inside,
            "beneath": authority.beneath,
        }
        note: dict[str, Value] = {
            "actor": authority.actor,
            "reason": reason,
            "limit_before_nanos": budget.limit_nanos,
            "door": authority.door.value,
        }
        around = {"beneath": authority.beneath, "inside": inside, "rule_nanos": budget.rule_limit}
        note |= {name: value for name, value in around.items() if value is not None}
        tx.append(LIMIT_CHANGED, [change, Insert("limit_change", told)], by=rt.by, note=note, sign=sign)
    return changed


def _rule_limit(stored: Budget | None, changed: Budget) -> dict[str, Value]:
    """What the settings say by now, where the budget was made when they said something else."""
    if stored is None or stored.rule_limit == changed.rule_limit:
        return {}
    return {"rule_limit": changed.rule_limit}


def _moment_of_its_own(tx: Tx, budget_id: str) -> int:
    """When a limit is changed: a moment that none of its other changes has.

    A clock that stands still or is set back gives two of them the same one, and a raise must not fail for that.
    """
    taken = {change.at_us for change in tx.limit_changes([budget_id], _CHANGES_LOOKED_AT)}
    return next(moment for moment in count(tx.at_us) if moment not in taken)


def _rolling_change(
    tx: Tx, kept: Budget | None, standing: Budget, wanted: int, stored: Budget | None
) -> tuple[Budget, Change]:
    """Give a rolling period another limit: what is added holds until all that is in it now has aged out of it.

    A limit below that of the settings stays until the user says otherwise: tightening never lapses.
    """
    head = kept or replace(standing, budget_id=standing.name, start_us=0, resets_us=None, head=None, **_EMPTY)
    base = min(wanted, head.limit_nanos if head.rule_limit is None else head.rule_limit)
    kept_raises = [(added, until_us) for added, until_us in head.raises if tx.at_us < until_us]
    more = wanted - base - sum(added for added, _ in kept_raises)
    if more > 0:
        kept_raises.append((more, aged_out_us(tx, head, tx.at_us)))
    elif more < 0:
        kept_raises = [(wanted - base, max(until_us for _, until_us in kept_raises))] if wanted > base else []
    changed = replace(head, limit_nanos=base, raises=tuple(kept_raises))
    if kept is None:
        return replace(standing, limit_nanos=wanted), budget_change(changed, tx.at_us, fresh=True)
    row: dict[str, Value] = {
        "budget_id": head.budget_id,
        "limit_nanos": changed.limit_nanos,
        "raises": rows.raises_text(changed.raises),
        "touched_us": tx.at_us,
        **_rule_limit(stored, changed),
    }
    return replace(standing, limit_nanos=wanted), Update("budget", row)
