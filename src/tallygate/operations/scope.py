"""Whose prices hold: those negotiated for a session, its project or its tenant; none below those it was opened at."""

from __future__ import annotations

from tallygate.core.model import Session
from tallygate.ledger.port import Change, Insert, Tx
from tallygate.operations.runtime import Runtime, SessionHead
from tallygate.pricing.book import PriceScope
from tallygate.pricing.overrides import ANYWHERE

HEADS_MAX = 10_000


def scope_of(rt: Runtime, session: Session) -> PriceScope:
    """The scope of everything that is done in a session."""
    return _scope(rt, session.session_id, _head_of(session), session.tenant)


def scope_here(rt: Runtime) -> PriceScope:
    """The scope of what is asked outside of any session."""
    return PriceScope(rt.tenant, rt.project)


def scope_called(rt: Runtime, session_id: str) -> PriceScope:
    """The scope of a session by its id; an id that names nothing has none: whoever uses it says so."""
    head = head_of(rt, session_id)
    return ANYWHERE if head is None or not matters(rt, head.prices) else _scope(rt, session_id, head, rt.tenant)


def matters(rt: Runtime, prices: str | None) -> bool:
    """Whether the prices of a session may be others than those of anything; most often they are not."""
    return rt.prices.is_scoped or prices not in (None, rt.prices.list_id)


def head_of(rt: Runtime, session_id: str) -> SessionHead | None:
    """What never changes of a session, so that a process asks for it once; None where there is no such session."""
    known = rt.session_heads.get((rt.tenant, session_id))
    if known is None:
        with rt.ledger.reading(rt.tenant) as reader:
            session = reader.session(session_id)
        if session is None:
            return None
        if len(rt.session_heads) > HEADS_MAX:
            rt.session_heads.clear()
        known = rt.session_heads[rt.tenant, session_id] = _head_of(session)
    return known


def remember(rt: Runtime, session: Session) -> None:
    """Know a session that was just opened."""
    rt.session_heads[rt.tenant, session.session_id] = _head_of(session)


def prices_kept(rt: Runtime, tx: Tx) -> list[Change]:
    """What is written with a session so that it goes on at the prices it is opened at."""
    if tx.price_list(rt.prices.list_id) is not None:
        return []
    return [Insert("price_list", {"list_id": rt.prices.list_id, "stated": rt.prices.stated.text})]


def _head_of(session: Session) -> SessionHead:
    return SessionHead(session.model, session.client, session.project, session.prices)


def _scope(rt: Runtime, session_id: str, head: SessionHead, tenant: str) -> PriceScope:
    opened_at = head.prices
    if opened_at in (None, rt.prices.list_id) or not _at_hand(rt, str(opened_at), tenant):
        return PriceScope(tenant, head.project, session_id)
    return PriceScope(tenant, head.project, session_id, opened_at=opened_at, elsewhere=head.project != rt.project)


def _at_hand(rt: Runtime, list_id: str, tenant: str) -> bool:
    """Have a list of prices at hand that was kept with a session; one that cannot be read holds for nobody."""
    if rt.prices.knows(list_id):
        return True
    with rt.ledger.reading(tenant) as reader:
        stated = reader.price_list(list_id)
    if stated is None:
        return False
    rt.prices.keep(list_id, stated)
    return True
