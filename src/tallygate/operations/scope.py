"""Whose prices hold: those the user has negotiated for a session, its project or its tenant."""

from __future__ import annotations

from tallygate.core.model import Session
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime
from tallygate.pricing.book import PriceScope
from tallygate.pricing.overrides import ANYWHERE


def scope_of(session: Session) -> PriceScope:
    """The scope of everything that is done in a session."""
    return PriceScope(session.tenant, session.project, session.session_id)


def scope_here(rt: Runtime) -> PriceScope:
    """The scope of what is asked outside of any session."""
    return PriceScope(rt.tenant, rt.project)


def scope_called(rt: Runtime, session_id: str) -> PriceScope:
    """The scope of a session by its id; the ledger is asked only where it matters.

    An id that names nothing has none: whoever uses it says so.
    """
    if not rt.prices.is_scoped:
        return ANYWHERE
    with rt.ledger.reading(rt.tenant) as reader:
        return scope_in(rt, reader, session_id)


def scope_in(rt: Runtime, reader: Reader, session_id: str) -> PriceScope:
    """The same, in a transaction that is open already."""
    session = reader.session(session_id) if rt.prices.is_scoped else None
    return ANYWHERE if session is None else scope_of(session)
