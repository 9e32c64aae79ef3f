"""Ask for another limit, raise and set it."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from tallygate.core.authority import Authority, EntryDoor, Loosening, locked
from tallygate.core.errors import Conflict, InvalidArgument, NotFound, present, session_ended, unknown_session
from tallygate.core.gate import lifecycle, policy
from tallygate.core.gate.rules import rolling_us
from tallygate.core.gate.wording import budget_name, raise_by, short_name, standing_of
from tallygate.core.lock import LIMIT_CHANGED
from tallygate.core.model import Budget, Quantity, Session, of_settings
from tallygate.core.money import AMOUNT_NANOS_MAX, COUNTED, format_amount, to_unit_nanos
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, Reader, SessionReader, Tx, Update, Value
from tallygate.operations.budgets.applicable import (
    SessionNow,
    aged_out_us,
    limited_now,
    rolled,
    session_now,
)
from tallygate.operations.lock_book import as_signed, signing, standing_now
from tallygate.operations.runtime import Runtime
from tallygate.operations.windows import budget_change, head_id, is_head, is_piece

# --- budget ----------------------------------------------------------------------------------------------------------
# What only the user may do to a budget: raise or set its limit. An agent can ask the user to, and no more.


_ADDED, _LOWERED, _RAISED = "settings.limit_added", "settings.limit_lowered", "settings.limit_raised"

# So many changes of one limit are looked through for one at the same moment.
_CHANGES_LOOKED_AT = 1000

# Open sessions that are looked through for the one that a command was started in.
OPEN_LOOKED_AT = 1000


def raise_budget(
    rt: Runtime, budget_id: str, amount: Quantity, *, reason: str, authority: Authority, seen: Budget | None = None
) -> Budget:
    """Add an amount to a limit, so that halted work goes on with its history; returns the new budget.

    `seen` is the budget as the user was shown it: with another limit by now, nothing is changed. One that no call has
    met yet is written down with its new limit.
    """
    authority.require(Loosening.BUDGET_RAISE)
    return _change(rt, budget_id, None, amount, reason=reason, authority=authority, seen=seen)


def set_budget(rt: Runtime, budget_id: str, limit: Quantity, *, reason: str, authority: Authority) -> Budget:
    """Give a budget another limit; under what is committed it names the difference as overage.

    A lower one is anybody's to set, a higher one the user's.
    """
    if authority.lock is not None and _raises(rt, budget_id, limit):
        authority.require(Loosening.BUDGET_SET)  # before the ledger is held: a passphrase takes its time
    return _change(rt, budget_id, limit, 0, reason=reason, authority=authority)


def note_own_limit(
    rt: Runtime,
    name: str,
    told: str,
    unit: str,
    amounts: tuple[Quantity | None, Quantity],
    *,
    reason: str,
    authority: Authority,
) -> None:
    """Write down who has put a limit into the user's settings file, or given one there another amount.

    `amounts` are that before, if there was one, and after. A new one and a lower one are anybody's, so whoever looks at
    the limit is told whose it is.
    """
    before, after = amounts
    note: dict[str, Value] = {"actor": authority.actor, "door": authority.door.value, "limit": name, "now": told}
    if authority.beneath is not None:
        note["beneath"] = authority.beneath
    was = 0 if before is None else before
    kind = _ADDED if before is None else _RAISED if after > was else _LOWERED
    with rt.writing() as tx:
        change = _stated(tx, of_settings(name), unit, (was, after), reason=reason, authority=authority)
        tx.append(kind, [Insert("limit_change", change)], by=rt.by, note=note)


def _stated(
    tx: Tx, name: str, unit: str, amounts: tuple[Quantity, Quantity], *, reason: str, authority: Authority
) -> dict[str, Value]:
    """A change of a limit, as its table keeps it; `amounts` are before and after."""
    # A clock that stands still or is set back gives two changes one moment, and a raise must not fail for that.
    taken = {change.at_us for change in tx.limit_changes([name], _CHANGES_LOOKED_AT)}
    return {
        "budget_id": name,
        "at_us": next(moment for moment in count(tx.at_us) if moment not in taken),
        "unit": unit,
        "before_nanos": amounts[0],
        "limit_nanos": amounts[1],
        "door": authority.door.value,
        "actor": authority.actor,
        "reason": reason,
        "inside": started_in(tx, authority),
        "beneath": authority.beneath,
    }


def _raises(rt: Runtime, budget_id: str, limit: Quantity) -> bool:
    """Whether a limit is above the one that holds now."""
    with rt.reading() as reader:
        kept = reader.budget(budget_id)
        if kept is not None and is_piece(kept):
            kept = reader.budget(head_id(kept))
        if kept is not None and is_head(kept):
            kept = rolled(reader, kept, rt.services.clock_us())
        return kept is not None and limit > as_signed(rt, reader, limited_now(rt, kept, rt.services.clock_us())).limit


def started_in(reader: SessionReader, authority: Authority) -> str | None:
    """The open session of the client that this was started in, by the servers around; None where there is none."""
    if not authority.servers:
        return None
    found = reader.sessions(state="open", limit=OPEN_LOOKED_AT)
    return next((s.session_id for s in found if s.server_id in authority.servers), None)


def _change(
    rt: Runtime,
    budget_id: str,
    limit: Quantity | None,
    added: Quantity,
    *,
    reason: str,
    authority: Authority,
    seen: Budget | None = None,
) -> Budget:
    with rt.writing() as tx:
        stored = tx.budget(budget_id)
        if stored is not None and is_piece(stored):  # an older version named the piece
            stored = tx.budget(head_id(stored))
        kept, budget = stored, stored or seen
        if stored is not None:
            budget = rolled(tx, stored, tx.at_us) if is_head(stored) else stored
            if seen is None or seen.limit != budget.limit:
                # What is changed is the limit that the next step would be held to, which is what was shown.
                kept, budget = limited_now(rt, stored, tx.at_us), limited_now(rt, budget, tx.at_us)
        if budget is None:
            raise NotFound(
                f"No budget {budget_id!r} is in the ledger.",
                hint="`tallygate budget list` shows the budgets; a session's budget has the session's id.",
                code="unknown_budget",
            )
        budget = as_signed(rt, tx, budget)
        if seen is not None and budget.limit != seen.limit:
            raise Conflict(
                f"The limit of budget {budget_id!r} is {format_amount(budget.limit, budget.unit)} by now; "
                f"the user was shown {format_amount(seen.limit, seen.unit)}. It stays as it is.",
                hint="See what is left now; ask again if that is not enough.",
                code="budget_changed",
            )
        wanted = budget.limit + added if limit is None else limit
        if wanted > AMOUNT_NANOS_MAX:
            shown, most = (format_amount(amount, budget.unit) for amount in (wanted, AMOUNT_NANOS_MAX))
            raise InvalidArgument("amount", f"A limit of {shown} is above {most}.")
        sign = None
        if wanted > budget.limit:
            what = Loosening.BUDGET_SET if limit is not None else Loosening.BUDGET_RAISE
            sign = signing(rt, tx, authority, what)
            replace(authority, lock=None).require(what)  # nobody is asked anything while the ledger is held
        if rolling_us(budget.period) is not None:
            changed, change = _rolling_change(tx, kept, budget, wanted, stored)
        else:
            changed = lifecycle.change_limit(budget, wanted)
            row: dict[str, Value] = {
                "budget_id": budget_id,
                "limit_nanos": changed.limit,
                "overage_nanos": changed.overage,
                "touched_us": tx.at_us,
                **_rule_limit(stored, changed),
            }
            change = budget_change(changed, tx.at_us, fresh=True) if kept is None else Update("budget", row)
        told = _stated(tx, budget.name, budget.unit, (budget.limit, changed.limit), reason=reason, authority=authority)
        note: dict[str, Value] = {
            "actor": authority.actor,
            "reason": reason,
            "limit_before_nanos": budget.limit,
            "door": authority.door.value,
        }
        around = {"beneath": authority.beneath, "inside": told["inside"], "rule_nanos": budget.rule_limit}
        note |= {name: value for name, value in around.items() if value is not None}
        tx.append(LIMIT_CHANGED, [change, Insert("limit_change", told)], by=rt.by, note=note, sign=sign)
    return changed


def _rule_limit(stored: Budget | None, changed: Budget) -> dict[str, Value]:
    """What the settings say by now, where the budget was made when they said something else."""
    if stored is None or stored.rule_limit == changed.rule_limit:
        return {}
    return {"rule_limit": changed.rule_limit}


def _rolling_change(
    tx: Tx, kept: Budget | None, standing: Budget, wanted: int, stored: Budget | None
) -> tuple[Budget, Change]:
    """Give a rolling period another limit: what is added holds until all that is in it now has aged out of it.

    A limit below that of the settings stays until the user says otherwise: tightening never lapses.
    """
    head = kept or replace(
        standing, budget_id=standing.name, start_us=0, resets_us=None, head=None,
        spent=0, reserved=0, overage=0, carried=0, seed=None,
    )  # fmt: skip
    # What the settings say stays the base: only what is above it was added, and lapses.
    base = min(wanted, head.limit if head.rule_limit is None else head.rule_limit)
    kept_raises = [(added, until_us) for added, until_us in head.raises if tx.at_us < until_us]
    more = wanted - base - sum(added for added, _ in kept_raises)
    if more > 0:
        kept_raises.append((more, aged_out_us(tx, head, tx.at_us)))
    # Less than was added before: what is left of that holds for as long as the longest of them did.
    elif more < 0:
        kept_raises = [(wanted - base, max(until_us for _, until_us in kept_raises))] if wanted > base else []
    changed = replace(head, limit=base, raises=tuple(kept_raises))
    if kept is None:
        return replace(standing, limit=wanted), budget_change(changed, tx.at_us, fresh=True)
    row: dict[str, Value] = {
        "budget_id": head.budget_id,
        "limit_nanos": changed.limit,
        "raises": rows.raises_text(changed.raises),
        "touched_us": tx.at_us,
        **_rule_limit(stored, changed),
    }
    return replace(standing, limit=wanted), Update("budget", row)


# --- ask -------------------------------------------------------------------------------------------------------------
# Ask the user to raise a budget: what they are shown, and the raise once they have said yes.


# The user answers a form of the client; whether the client may ask is the entry point's to know.
ASKED = Authority(EntryDoor.ELICITATION, "user via elicitation")


@value(frozen=True, slots=True)
class Request:
    """A raise that an agent asks for: the budget as it stands, what the user reads, the command that does the same."""

    session: Session
    budget: Budget
    question: str
    command: str


def request_of(rt: Runtime, session_id: str, usd_nanos: int, reason: str) -> Request:
    """What to ask the user. The budget is the tightest hard one of money that binds the session now."""
    rt.follower.catch_up()
    rt.prove()  # what the user grants has to be written down
    with rt.reading() as reader:
        bound, budgets = _money_budgets(rt, reader, session_id)
    session, hard = bound.session, [budget for budget in budgets if budget.mode is BudgetMode.HARD]
    budget = present(policy.tightest(hard or budgets), "a session has a budget of money")
    added = to_unit_nanos(usd_nanos, budget.usd_nanos)
    if standing_now(rt).lock is not None:
        hint = f"In a terminal of your own: {raise_by(budget, added, rt.workspace.program_in_full)}"
        raise locked(Loosening.BUDGET_RAISE, "which is typed in a terminal and nowhere else.", hint=hint)
    amount = format_amount(usd_nanos)
    if budget.unit != "USD":
        amount += f" ({format_amount(added, budget.unit)})"
    after = format_amount(budget.limit + added, budget.unit)
    question = (
        f"An agent asks for {amount} more.\n{standing_of(budget)} With that its limit is {after}.\n"
        f"Session: {short_name(session.session_id)}, client {session.client}.\nThe agent's reason: {reason}"
    )
    return Request(session, budget, question, raise_by(budget, added, rt.workspace.program))


def grant(
    rt: Runtime, session_id: str, seen: tuple[str, int], usd_nanos: int, reason: str, *, authority: Authority = ASKED
) -> Budget:
    """Raise the budget that the user was shown, by what they said; `seen` is its id and the limit it had.

    Raises `Conflict` where its limit is another by now, or it binds the session no more.
    """
    budget_id, limit = seen
    with rt.reading() as reader:
        bound, budgets = _money_budgets(rt, reader, session_id)
        budget = next((b for b in budgets if b.name == budget_id and b.limit == limit), None)
        whole = next((b for b in bound.to.budgets if b.name == budget_id), None)
        whole = None if whole is None else as_signed(rt, reader, whole)
    if budget is None or whole is None:
        raise Conflict(
            f"Budget {budget_id!r} has changed since the user was shown it. It stays as it is.",
            hint="See what is left now; ask again if that is not enough.",
            code="budget_changed",
        )
    added = to_unit_nanos(usd_nanos, budget.usd_nanos)
    changed = raise_budget(rt, budget_id, added, reason=reason, authority=authority, seen=whole)
    # What is raised is the budget of everybody; a session whose own rule is stricter stays below it by as much.
    return replace(changed, limit=changed.limit - (whole.limit - budget.limit))


def granted(limit_before: int, after: Budget) -> str:
    """What to tell the agent of a budget that was raised."""
    added, limit = (format_amount(n, after.unit) for n in (after.limit - limit_before, after.limit))
    return f"The user raised the budget of {budget_name(after)} by {added}; its limit is {limit} now."


def _money_budgets(rt: Runtime, reader: Reader, session_id: str) -> tuple[SessionNow, list[Budget]]:
    found = reader.session_with_budgets(session_id)
    if found is None:
        raise unknown_session(session_id)
    if not found[0].is_open:
        raise session_ended(session_id)
    bound = session_now(rt, reader, *found, found[0].model, at_us=rt.services.clock_us())
    return bound, [budget for budget in bound.budgets if budget.unit not in COUNTED]
