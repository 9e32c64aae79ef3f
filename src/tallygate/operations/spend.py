"""Open a session with a chosen id, and book steps that were made without asking before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from tallygate.core.errors import Conflict, InvalidArgument, session_ended
from tallygate.core.gate.policy import own_budget
from tallygate.core.model import Budget, Session
from tallygate.core.moments import as_datetime
from tallygate.core.money import exact_text
from tallygate.core.text import shown
from tallygate.core.usage import UNKNOWN_MODEL
from tallygate.operations.account import start_within
from tallygate.operations.gate.record import ID_MAX
from tallygate.operations.runtime import Runtime, kept_summary, named_before, opened_in
from tallygate.operations.session import Opened, Opening
from tallygate.pricing.exchange import Rate


@dataclass(frozen=True, slots=True)
class BudgetWanted:
    """A session as an agent asks for it; `limit` is in nano-units of the currency."""

    limit: int
    currency: str = "USD"
    session_id: str | None = None
    tenant: str | None = None
    description: str | None = None
    client: str = "unknown"
    also_client: str | None = None


@dataclass(frozen=True, slots=True)
class BudgetStarted:
    """The session, what its own budget's limit is now, and the rate that its costs are converted at."""

    session: Session
    limit: int
    exchange: str


def start_budget(
    rt: Runtime, wanted: BudgetWanted, tool_use_id: str | None = None, client_session: str | None = None
) -> BudgetStarted:
    """Open a session with an id of the caller's choice, or a fresh one.

    The same wish again finds the same session as it is by now; nothing is reset. Raises `Conflict` where the id is
    that of a session with other fields, naming the first, or of one that has ended.
    """
    if wanted.session_id is not None:
        _check_id(wanted.session_id)
    if wanted.tenant is not None:
        rt = opened_in(rt, wanted.tenant)
    rate = rt.exchange.rate(wanted.currency, as_datetime(rt.clock_us()))
    opened = None if wanted.session_id is None else _opened_before(rt, wanted.session_id)
    if opened is None:
        opening = Opening(
            limit_nanos=wanted.limit,
            model=UNKNOWN_MODEL,
            client=wanted.client,
            also_client=wanted.also_client,
            currency=wanted.currency,
            usd_nanos=rate.usd_per_unit_nanos,
            rate_day=None if wanted.currency == "USD" else rate.day.isoformat(),
            task_summary=wanted.description,
            session_id=wanted.session_id,
        )
        opened = start_within(rt, opening, tool_use_id, client_session)
    own = own_budget(opened.session, opened.budgets)
    if not opened.is_new:
        _same_or_conflict(rt, opened.session, own, wanted)
    return BudgetStarted(opened.session, own.limit_nanos, _kept_rate(opened.session, rate).text)


def _kept_rate(session: Session, today: Rate) -> Rate:
    """The rate that a session was opened with, which is that of today where it opens now."""
    day = today.day if session.rate_day is None else date.fromisoformat(session.rate_day)
    if (session.usd_nanos, day) == (today.usd_per_unit_nanos, today.day):
        return today
    return Rate(session.usd_nanos, day, "rate", session.currency)


def _check_id(session_id: str) -> None:
    """Refuse an id that is none, or could be taken for that of a budget of the settings, which has colons."""
    if 1 <= len(session_id) <= ID_MAX and session_id.isprintable() and ":" not in session_id:
        return
    raise InvalidArgument(
        "session_id",
        f"session_id {shown(session_id)} is none.",
        hint=f"It takes 1 to {ID_MAX} printable characters without a colon; left out, a fresh one is made.",
    )


def _opened_before(rt: Runtime, session_id: str) -> Opened | None:
    rt.ledger.prove(rt.tenant)  # a session that is found again is work that goes on
    with rt.ledger.reading(rt.tenant) as reader:
        found = named_before(rt, reader, session_id)
    return None if found is None else Opened(*found, (), None, is_new=False)


def _same_or_conflict(rt: Runtime, session: Session, own: Budget, wanted: BudgetWanted) -> None:
    limit = own.limit_nanos if own.rule_limit is None else own.rule_limit
    fields = (
        ("currency", session.currency, wanted.currency),
        ("budget", exact_text(limit), exact_text(wanted.limit)),
        ("description", session.task_summary, kept_summary(rt, wanted.description)),
    )
    for name, was, now in fields:
        if was != now:
            raise Conflict(
                f"Session {session.session_id!r} was opened with {name} {was!r}; now it came with {now!r}.",
                hint="It stays as it is, and only the user changes its budget. Use another session_id for other work.",
                code="session_conflict",
            )
    if not session.is_open:
        raise session_ended(session.session_id)
