"""Bring what clients wrote down into the ledger: one row a response, however often and by whomever it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tallygate.core.attribution import session_for
from tallygate.core.costing import Price
from tallygate.core.model import Session
from tallygate.core.moments import microseconds
from tallygate.core.money import AMOUNT_NANOS_MAX
from tallygate.core.observed import ObservedUsage, better, merged, priced_as
from tallygate.ledger.port import Change, Insert, StoredUsage, Tx, Update, Value
from tallygate.ledger.usage_store import from_usage
from tallygate.operations.basis import basis_of
from tallygate.operations.live import Accounts
from tallygate.operations.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look into one file brought: rows, how far it got, what it had to skip."""

    client: str
    path: str
    rows: Sequence[ObservedUsage]
    position: Mapping[str, Any] | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the rows of one reading; `refused` cost more than any one response can."""

    new: int = 0
    corrected: int = 0
    known: int = 0
    attributed: int = 0
    refused: int = 0

    def __add__(self, other: Taken) -> Taken:
        return Taken(
            self.new + other.new,
            self.corrected + other.corrected,
            self.known + other.known,
            self.attributed + other.attributed,
            self.refused + other.refused,
        )


def key_of(path: Path) -> str:
    """A path as the ledger's key of its position: bytes that are no text are written out."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def ingest(rt: Runtime, reading: Reading) -> Taken:
    """Store a reading and its position in one commit; storing it again changes nothing."""
    return ingest_all(rt, [reading])


def ingest_all(rt: Runtime, readings: Sequence[Reading]) -> Taken:
    """Store readings of any files with their positions in one commit."""
    found = merged(row for reading in readings for row in reading.rows)
    priced: dict[str, dict[str, Priced]] = {}
    pricer = Pricer(rt)
    refused = 0
    for (client, key), row in found.items():
        responses, one = priced.setdefault(client, {}), pricer.priced(row)
        if one[0].cost_nanos <= AMOUNT_NANOS_MAX:
            responses[key] = one
        else:
            refused += 1  # kept, a few of these would break every sum
    taken = Taken(refused=refused)
    prices: set[str] = set()
    with rt.ledger.writing(rt.tenant) as tx:
        for client, responses in priced.items():
            part, used = _store(rt, tx, client, responses, pricer)
            taken += part
            prices |= used
        for reading in readings:
            if reading.position is not None:
                tx.save_position(reading.path, reading.client, reading.position, reading.skipped)
    rt.known_prices.update(prices)
    return taken


# A response with its cost as of its own time, and the text of the price's basis.
Priced = tuple[StoredUsage, str]


class Pricer:
    """Prices the responses of one commit; most of them share a model and a moment of the price table."""

    def __init__(self, rt: Runtime) -> None:
        self._quote = rt.prices.quote
        self._bases: dict[int, tuple[Price, str, str]] = {}

    def priced(self, row: ObservedUsage) -> Priced:
        """What a response cost when it was made."""
        price = self._quote(priced_as(row), row.at)
        known = self._bases.get(id(price))
        if known is None:
            # The price is kept with its basis, or another one could come to stand under its id.
            known = self._bases[id(price)] = (price, *basis_of(price))
        cost = price.cost_nanos(row.tokens) + row.web_searches * price.per_search_nanos
        return StoredUsage(row, known[1], cost), known[2]


def _store(rt: Runtime, tx: Tx, client: str, priced: Mapping[str, Priced], pricer: Pricer) -> tuple[Taken, set[str]]:
    known = tx.usage_known(client, priced)
    prices: dict[str, str] = {}
    changes: list[Change] = []
    accounts, finder = Accounts(tx), SessionFinder(tx, [stored.row for stored, _ in priced.values()])
    new = corrected = attributed = 0
    for key, (stored, basis) in priced.items():
        before = known.get(key)
        if before is None:
            after = _counted(stored, accounts, finder)
            prices.setdefault(after.price_id, basis)
            changes.append(Insert("usage", from_usage(after)))
            new += 1
        else:
            row = better(before.row, stored.row)
            if row == before.row:
                continue
            after, basis_after = _corrected(pricer.priced(row), before, accounts, tx)
            prices.setdefault(after.price_id, basis_after)
            changes.append(Update("usage", from_usage(after)))
            corrected += 1
        attributed += after.session_id is not None
    if changes:
        fresh = {key for key in prices if key not in rt.known_prices and not tx.knows_price(key)}
        rows: list[Change] = [Insert("price", {"price_id": key, "basis": prices[key]}) for key in sorted(fresh)]
        note: dict[str, Value] = {"client": client, "new": new, "corrected": corrected}
        tx.append("usage.observed", [*rows, *accounts.changes(), *changes], by=rt.by, note=note)
    return Taken(new, corrected, len(priced) - new - corrected, attributed), set(prices)


def _counted(stored: StoredUsage, accounts: Accounts, finder: SessionFinder) -> StoredUsage:
    row = stored.row
    session = finder.find(row, accounts)
    return stored if session is None else accounts.charge(stored, session)


def _corrected(again: Priced, before: StoredUsage, accounts: Accounts, tx: Tx) -> Priced:
    """A known response that turned out larger: the difference is booked where the response already counts."""
    stored, basis = again
    after = replace(before, row=stored.row, price_id=stored.price_id, cost_nanos=stored.cost_nanos)
    session = None if before.session_id is None else tx.session(before.session_id)
    if session is not None:
        after = accounts.charge(after, session, cost_before=before.cost_nanos)
    return after, basis


class SessionFinder:
    """Finds the budget session of a response: by the client's own session id, else by workspace and time."""

    def __init__(self, tx: Tx, rows: Iterable[ObservedUsage]) -> None:
        times = [microseconds(row.at) for row in rows]
        self._tx = tx
        self._in_projects = tx.sessions_in_projects(min(times), max(times)) if times else []
        self._linked: dict[tuple[str, str], list[Session]] = {}

    def find(self, row: ObservedUsage, accounts: Accounts) -> Session | None:
        """The session, linked to the client's own for the next time; None where there is none, or no telling."""
        key = (row.client, row.session)
        linked = self._linked.get(key)
        if linked is None:
            linked = self._linked[key] = self._tx.sessions_linked(*key)
        if not linked and not self._in_projects:
            return None
        at_us = microseconds(row.at)
        for session in reversed(linked):
            if session.started_us <= at_us and (session.ended_us is None or at_us <= session.ended_us):
                return session
        found = session_for(client=row.client, project=row.project, at_us=at_us, sessions=self._in_projects)
        if found is None:
            return None
        accounts.link(found, row.client, row.session, "workspace")
        self._linked[key] = [*linked, found]
        return found


def link_session(rt: Runtime, client: str, client_session: str, session_id: str) -> Taken:
    """Say which budget session a client's session belongs to; responses since its start are counted into it."""
    with rt.ledger.writing(rt.tenant) as tx:
        session = tx.session(session_id)
        if session is None or any(s.session_id == session_id for s in tx.sessions_linked(client, client_session)):
            return Taken()
        accounts = Accounts(tx)
        accounts.link(session, client, client_session, "registered")
        waiting = tx.unattributed_usage(client, client_session, session.started_us)
        counted = [accounts.charge(stored, session) for stored in waiting]
        updates = [Update("usage", from_usage(stored)) for stored in counted]
        tx.append("session.linked", [*accounts.changes(), *updates], by=rt.by, note={"session_id": session_id})
        return Taken(attributed=len(counted))
