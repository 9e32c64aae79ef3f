"""What of the settings became looser between sessions of a project: named, since an agent can edit a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tallygate.core.hooks import FOUND_BY_HOOK
from tallygate.core.model import Session
from tallygate.core.money import format_amount
from tallygate.core.rules import Rule, Scope, from_text
from tallygate.core.text import cleaned
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime
from tallygate.operations.subject import rules_for
from tallygate.pricing.kept import PriceList

SESSIONS_LOOKED_AT = 50
SHOWN_MAX = 4
DAYS_US = 7 * 86_400_000_000
_TEXT_MAX = 120


@dataclass(frozen=True, slots=True)
class Loosened:
    """What became looser, and when the first session opened with it; None where none has yet."""

    at_us: int | None
    changes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The changes in a row; of many the first few."""
        more = f" and {len(self.changes) - SHOWN_MAX} more" if len(self.changes) > SHOWN_MAX else ""
        return "; ".join(self.changes[:SHOWN_MAX]) + more


@dataclass(frozen=True, slots=True)
class _Held:
    """What a session is held to by the settings: budgets above it, its own limit, and the list of its prices."""

    rules: tuple[Rule, ...]
    limit: int | None
    prices: str | None


def looser_than_before(rt: Runtime, session: Session) -> Loosened | None:
    """What the settings of a session that has just opened leave out of those of the last one here."""
    with rt.ledger.reading(rt.tenant) as reader:
        for before in _here(rt, reader):
            if before.session_id != session.session_id and before.client == session.client:
                changes = tuple(_changes(reader, _held(reader, before), _held(reader, session)))
                return Loosened(session.started_us, changes) if changes else None
    return None


def recently_looser(rt: Runtime) -> list[Loosened]:
    """What became looser here in the last days, the newest first; first of all what no session has opened with yet."""
    found = []
    with rt.ledger.reading(rt.tenant) as reader:
        later: dict[str, tuple[int | None, _Held]] = {}
        for session in _here(rt, reader):
            if session.started_us < rt.clock_us() - DAYS_US:
                break
            held = _held(reader, session)
            at_us, after = later.get(session.client) or (None, _now(rt, session, held))
            if changes := tuple(_changes(reader, held, after, now=rt.prices.stated)):
                found.append(Loosened(at_us, changes))
            later[session.client] = (session.started_us, held)
    return found


def _here(rt: Runtime, reader: Reader) -> Iterator[Session]:
    """The last sessions of this project that lay in no other, the youngest first."""
    for session in reader.sessions(state=None, limit=SESSIONS_LOOKED_AT):
        if session.project == rt.project and session.parent_session_id is None and session.opened_from is None:
            yield session


def _held(reader: Reader, session: Session) -> _Held:
    own = None
    if FOUND_BY_HOOK in reader.links_found_by(session.session_id):  # an agent's own limit is no setting
        budget = reader.budget(session.session_id)
        own = None if budget is None else budget.rule_limit
    return _Held(from_text(session.rules), own, session.prices)


def _now(rt: Runtime, session: Session, held: _Held) -> _Held:
    """What a session of the same client would be held to if it opened now."""
    rules = rules_for(rt, client=session.client, place=rt.place_of(session.project or rt.folder))
    return _Held(from_text(rules), None if held.limit is None else rt.session_limit_nanos, rt.prices.list_id)


def _changes(reader: Reader, before: _Held, after: _Held, now: PriceList | None = None) -> Iterator[str]:
    if before.limit is not None and after.limit is not None and after.limit > before.limit:
        yield f"the budget of a session {format_amount(before.limit)} -> {format_amount(after.limit)}"
    limits = {rule.budget_id(""): rule.limit for rule in after.rules}
    for rule in before.rules:
        limit = limits.get(rule.budget_id(""))
        if limit is None or limit > rule.limit:
            to = "none" if limit is None else format_amount(limit, rule.unit)
            yield f"{_name(rule)} {format_amount(rule.limit, rule.unit)} -> {to}"
    if before.prices is None or after.prices in (None, before.prices):
        return
    was, is_now = _list(reader, before.prices), _list(reader, str(after.prices)) or now
    if was is None or is_now is None:
        return
    rows, rows_now = [*was.rows()], [*is_now.rows()]
    yield from (f"new {cleaned(row, _TEXT_MAX)}" for row in rows_now if row not in rows)
    yield from (f"gone {cleaned(row, _TEXT_MAX)}" for row in rows if row not in rows_now)


def _list(reader: Reader, list_id: str) -> PriceList | None:
    stated = reader.price_list(list_id)
    return None if stated is None else PriceList.from_text(stated)


def _name(rule: Rule) -> str:
    whose = "" if rule.scope is Scope.GLOBAL else f" of {cleaned(str(rule.key), _TEXT_MAX)}"
    period = "" if rule.period == "never" else f" ({rule.period})"
    return f"the {rule.scope} budget{whose}{period}"
