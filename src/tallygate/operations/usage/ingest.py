"""Bring what clients wrote down into the ledger: one row a response, however often and by whomever it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from tallygate.clients.reading.files import Batch, TranscriptFile
from tallygate.clients.reading.lines import LOST
from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Price, Tokens, basis_of
from tallygate.core.model import Session
from tallygate.core.moments import is_ahead, microseconds
from tallygate.core.money import AMOUNT_NANOS_MAX
from tallygate.core.plan import PlanWindow
from tallygate.core.sessions import grown, session_for
from tallygate.core.sums import Unread
from tallygate.core.usage import (
    ObservedUsage,
    Oddity,
    ResponseKind,
    SessionCheck,
    attributed,
    better,
    contradictions,
    in_a_line,
    in_time,
    joined_counts,
    kept_attributed,
    merged,
    named_order,
    nearness,
    needs_window,
    priced_as,
    same_name,
    tells_model,
    terms_of,
    within,
)
from tallygate.core.values import value
from tallygate.ledger.port import Anomaly, Change, Delete, Insert, ProofWriter, StoredUsage, Tx, Update, Value
from tallygate.ledger.rows import USAGE_ANOMALY, from_usage
from tallygate.operations.budgets.figures import is_enforced
from tallygate.operations.budgets.metering import Meter, StoredResponses
from tallygate.operations.runtime import Runtime, matters, scope_of
from tallygate.operations.usage.checkouts import Checkouts
from tallygate.operations.usage.nameless import named
from tallygate.operations.worktrees import worktrees_met
from tallygate.pricing.book import PriceScope, half_hour_of
from tallygate.pricing.overrides import ANYWHERE

# The one reason of ours among those of the readers, for which a response is not stored.
REFUSED = "impossible_cost"
# Totals of a session reach further and further: the last ones say how far.
TOTALS_LOOKED_AT = 20


@value(frozen=True, slots=True)
class FileReading:
    """What one look into one file brought: rows, how far it got, what it had to skip, its client's own totals.

    `unread` is what of that may have been usage, and `session` whose; `anew` where the file was read from its start.
    `mark` names what was told and may be told again, of which no position says that it is known.
    """

    client: str
    path: str
    rows: Sequence[ObservedUsage]
    position: Mapping[str, Any] | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    checks: Sequence[SessionCheck] = ()
    unread: Unread = field(default_factory=Unread)
    session: str | None = None
    anew: bool = False
    mark: str | None = None
    plan: Sequence[PlanWindow] = ()


@value(frozen=True, slots=True)
class IngestResult:
    """What became of the rows of one reading.

    `refused` cost more than any one response can; those `elsewhere` were made in a project of another tenant, among
    whose rows they are counted.
    """

    new: int = 0
    corrected: int = 0
    known: int = 0
    attributed: int = 0
    refused: int = 0
    elsewhere: int = 0

    def __add__(self, other: IngestResult) -> IngestResult:
        return IngestResult(
            self.new + other.new,
            self.corrected + other.corrected,
            self.known + other.known,
            self.attributed + other.attributed,
            self.refused + other.refused,
            self.elsewhere + other.elsewhere,
        )


def key_of(path: Path) -> str:
    """A path as the ledger's key of its position: bytes that are no text are written out."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def reading_of(file: TranscriptFile, batch: Batch) -> FileReading:
    """What a batch of a file brought, as it is stored."""
    report = batch.report
    skipped = {reason.value: count for reason, count in report.skipped.items()}
    lost = {reason: count for reason, count in skipped.items() if reason in LOST}
    position = None if batch.position is None else batch.position.as_json()
    unread = Unread(lost, report.unfinished)
    reading = FileReading(file.client, key_of(file.path), batch.rows, position, skipped, batch.checks, unread)
    return replace(reading, session=report.session, anew=batch.anew, plan=batch.plan)


def ingest(rt: Runtime, reading: FileReading) -> IngestResult:
    """Store a reading and its position in one commit; storing it again changes nothing."""
    return ingest_all(rt, [reading])


def ingest_all(rt: Runtime, readings: Sequence[FileReading]) -> IngestResult:
    """Store readings of any files with their positions in one commit."""
    priced: dict[str, dict[str, Priced]] = {}
    pricer = Pricer(rt)
    responses = named(rt, merged((row for reading in readings for row in reading.rows), pricer.joined), pricer.is_free)
    refused: set[tuple[str, str]] = set()
    for (client, key), each in responses.items():
        row = pricer.within(each) if needs_window(each) else each
        of_client, one = priced.setdefault(client, {}), pricer.priced(row)
        if one.stored.cost_nanos <= AMOUNT_NANOS_MAX:
            of_client[key] = one
        else:
            refused.add((client, key))  # kept, a few of these would break every sum
    taken = IngestResult(refused=len(refused))
    paths = cache(partial(_paths_of, readings))  # of a whole history nobody may ask
    prices: set[str] = set()
    with rt.writing() as tx:
        for client, of_client in priced.items():
            part, used = _store(rt, tx, client, of_client, pricer, paths=paths)
            taken += part
            prices |= used
        for reading in readings:
            if reading.position is not None:
                whole = reading.position.get("size", -1) >= 0
                tx.save_position(
                    reading.path, reading.client, reading.position, reading.skipped, anew=reading.anew, whole=whole
                )
            unread = reading.unread
            if refused and (dear := {(row.client, row.response_key) for row in reading.rows} & refused):
                unread = replace(unread, why={**unread.why, REFUSED: len({key for _, key in dear})})
            if reading.mark is not None and unread.why:
                # What is told under one mark is kept as lost once; the last marks are remembered.
                marks = (tx.position(reading.path) or {}).get(_MARKS, [])
                if reading.mark in marks:
                    continue
                tx.save_position(reading.path, reading.client, {_MARKS: [*marks, reading.mark][-_MARKS_KEPT:]}, {})
            if reading.position is not None or unread.why:
                tx.save_unread(reading.path, reading.client, reading.session, unread, anew=reading.anew)
            for check in reading.checks:
                tx.save_check(check)
            for told in reading.plan:
                tx.save_plan(told)
    # Only now: a commit that fails takes their rows back.
    rt.known_prices().update(prices)
    return taken


def _paths_of(readings: Sequence[FileReading]) -> Mapping[tuple[str, str], AbstractSet[str]]:
    """In which files each response stands."""
    paths: dict[tuple[str, str], set[str]] = {}
    for reading in readings:
        for row in reading.rows:
            paths.setdefault((row.client, row.response_key), set()).add(reading.path)
    return paths


_MARKS, _MARKS_KEPT = "told", 64
# The files that each response stands in, by its client and key: worked out where somebody asks.
Paths = Callable[[], Mapping[tuple[str, str], AbstractSet[str]]]


class Priced(NamedTuple):
    """A response with its cost as of its own time, and the text of the price's basis: nothing where that is kept."""

    stored: StoredUsage
    basis: str


class Pricer:
    """Prices the responses of one commit; most of them share a model and a moment of the price table."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._is_scoped = rt.workspace.prices.is_scoped
        self._bases: dict[int, tuple[Price, str, str]] = {}
        self._quoted: dict[tuple[object, ...], tuple[Price, str, str]] = {}
        self._windows: dict[tuple[str, int], int] = {}
        # What came in that would lower or move a response that is known, by its key and kind.
        self.suspect: dict[tuple[str, str, Oddity], ObservedUsage] = {}

    def priced(self, row: ObservedUsage) -> Priced:
        """What a response cost when it was made, as far as can be told before its session is known."""
        scope = PriceScope(self._rt.tenant, row.project) if self._is_scoped else ANYWHERE
        return self._priced(row, scope)

    def priced_in(self, priced: Priced, session: Session) -> Priced:
        """The same for a response whose session is known: prices may hold for that alone."""
        if not matters(self._rt, session.prices):
            return priced
        stored = priced.stored
        negotiated = self._priced(stored.row, scope_of(self._rt, session))
        if negotiated.stored.cost_nanos > AMOUNT_NANOS_MAX:
            return (
                priced  # no one response costs that much, whatever was negotiated; what it was priced at stands there
            )
        if not tells_model(stored.row) and negotiated.stored.cost_nanos == 0:
            return priced  # what was negotiated of a model holds where it is told, not where it is guessed
        return Priced(
            replace(stored, price_id=negotiated.stored.price_id, cost_nanos=negotiated.stored.cost_nanos),
            negotiated.basis,
        )

    def is_free(self, row: ObservedUsage) -> bool:
        """Whether any number of tokens of a response's model costs nothing."""
        return self.priced(replace(row, tokens=Tokens(*[10**6] * 5))).stored.cost_nanos == 0

    def joined(self, first: ObservedUsage, later: ObservedUsage) -> ObservedUsage:
        """Two rows of one response that came in together, in this order.

        Of copies the one that was read first says whose the response is, but for one nearer to the conversation.
        """
        if first == later:
            return first
        self._suspect(first, later)
        joined = better(first, later, self._dearer(first, later))
        whose = later if nearness(later) > nearness(first) else first
        return replace(joined, session=whose.session, parent_session=whose.parent_session, at=whose.at)

    def rising(self, booked: StoredUsage, later: ObservedUsage) -> ObservedUsage:
        """A response that is booked, and what a later row adds to it: never less, and never moved."""
        row = booked.row
        if row == later or booked.corrected is not None:
            return row
        self._suspect(row, later)
        joined = better(row, later, self._dearer(row, later))
        parent = row.parent_session if row.parent_session is not None else joined.parent_session
        return replace(kept_attributed(row, joined), session=row.session, at=row.at, parent_session=parent)

    def _suspect(self, booked: ObservedUsage, later: ObservedUsage) -> None:
        kinds = contradictions(booked, later)
        if Oddity.MODEL in kinds and self._price_id(booked, booked) == self._price_id(later, booked):
            kinds.remove(Oddity.MODEL)
        for kind in kinds:
            self.suspect.setdefault((booked.client, booked.response_key, kind), later)

    def _price_id(self, row: ObservedUsage, as_of: ObservedUsage) -> str:
        return self.priced(replace(row, at=as_of.at)).stored.price_id

    def _dearer(self, first: ObservedUsage, later: ObservedUsage) -> ObservedUsage:
        """Which of two rows names the model that costs more for all that both tell of."""
        if same_name(first, later):
            return first
        if tells_model(first) != tells_model(later):
            return first if tells_model(first) else later
        tokens = joined_counts(first.tokens, later.tokens)
        costs = [self.priced(replace(row, tokens=tokens, at=first.at)).stored.cost_nanos for row in (first, later)]
        if costs[0] == costs[1]:
            return max(first, later, key=named_order)
        return first if costs[0] > costs[1] else later

    def within(self, row: ObservedUsage) -> ObservedUsage:
        """A response none of whose counts is larger than its model's context."""
        model = priced_as(row)
        key = (model, half_hour_of(row.at))
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = self._rt.workspace.prices.context_window(model, row.at)
        return within(row, window)

    def _priced(self, row: ObservedUsage, scope: PriceScope) -> Priced:
        # All that a price goes by, as it is written: to put a model's whole name together first takes longer.
        asked = (
            row.model, row.provider, row.speed, row.tier, row.geo, row.native_cost_text, half_hour_of(row.at),
            None if scope is ANYWHERE else scope, tells_model(row),
        )  # fmt: skip
        quoted = self._quoted.get(asked)
        if quoted is None:
            quote = self._rt.workspace.prices.quote(priced_as(row), row.at, scope, terms_of(row))
            if row.model and not tells_model(row):
                quote = replace(quote, approximate=True)
            if id(quote) not in self._bases:
                # The price is kept with its basis, or another one could come to stand under its id.
                self._bases[id(quote)] = (quote, *basis_of(quote))
            quoted = self._quoted[asked] = self._bases[id(quote)]
        price, price_id, basis = quoted
        cost = price.cost_nanos(row.tokens)
        if row.web_searches:
            cost += row.web_searches * price.per_search_nanos
        return Priced(StoredUsage(row, price_id, cost), basis)


class _Batch:
    """The responses of one client in one commit: what they change, and what became of them."""

    def __init__(
        self, rt: Runtime, tx: Tx, client: str, rows: Sequence[ObservedUsage], pricer: Pricer, *, paths: Paths
    ) -> None:
        self.meter = Meter(tx, rt.workspace.place_of)
        self.changes: list[Change] = []
        self.prices: dict[str, str] = {}
        self.new = self.corrected = self.attributed = self.elsewhere = 0
        self._rt = rt
        self._tx = tx
        self._pricer = pricer
        self._paths = paths
        self._whole: dict[str, int | None] = {}
        self._stored = StoredResponses(tx, client, rows)
        self._finder = SessionFinder(rt, tx, rows)
        self._checkouts = Checkouts(rt)

    def take(self, priced: Priced) -> None:
        """Count one response: as a new one, or by what it adds to one that is known."""
        row = priced.stored.row
        is_told = row.is_told
        if row.rule.kind is ResponseKind.RUNNING_TOTAL:
            counted = self._tx.recent_usage(row.client, row.session, TOTALS_LOOKED_AT)
            more = grown(row, (stored.row for stored in counted))
            if more is None:
                return
            priced, row = self._pricer.priced(more), more
        # It may be on record twice: under its own key, and as what telemetry told of its request before its transcript
        # was read. One row is left of these, with the key that every copy of the transcript leads to.
        before = self._stored.before(row)
        telemetry = None if is_told else self._stored.told(row if before is None else better(before.row, row))
        if before is None and telemetry is None:
            session = None
            linked = self._finder.linked(row)
            if linked:
                priced = self._in_time(priced, linked)
                row = priced.stored.row
            if linked or self._finder.in_projects:  # of a history from before there is no session at all
                session = self._finder.find(row, self.meter)
            elsewhere = not is_told and self._rt.workspace.tenant_of(row.project) not in (None, self._rt.tenant)
            if session is None and elsewhere:
                self.elsewhere += 1  # it was made in a project of another tenant
                return
            self._write(Insert, *self._placed(priced, session, ()))
            self.new += 1
            return
        joined = row
        for each in (telemetry, before):
            if each is not None:
                joined = self._pricer.rising(each, joined)
        joined = replace(joined, response_key=row.response_key if before is None else before.row.response_key)
        if telemetry is None and before is not None and joined == attributed(before.row, joined):
            if joined != before.row:  # only whom it was made for is told: what it cost stays as it was booked
                self._write(Update, self.meter.recount(before, joined), "")
                self.corrected += 1
            return
        after, basis = self._corrected(self._pricer.priced(joined), before, telemetry)
        if telemetry is not None:
            self.changes.append(
                Delete("usage", {"client": telemetry.row.client, "response_key": telemetry.row.response_key})
            )
            self._stored.drop(telemetry)
        self._write(Insert if before is None else Update, after, basis)
        self.corrected += 1

    def _in_time(self, priced: Priced, linked: Sequence[Session]) -> Priced:
        """A response that is new, at a time at which it can have been in the sessions that it may belong to."""
        row, now_us = priced.stored.row, self._tx.at_us
        is_any_open, last_us = False, 0
        for session in linked:
            if is_ahead(session.started_us, now_us):
                return priced  # our own clock is or was wrong
            is_any_open |= session.is_open
            last_us = max(last_us, now_us if session.ended_us is None else session.ended_us)
        # While its session is open what is found in a file that was read to its end was written since.
        since_us = [self._finder.begun_us(row), self._whole_us(row) if is_any_open else None]
        earliest_us = max([each for each in since_us if each is not None and each <= now_us], default=None)
        moved = in_time(row, earliest_us, now_us, min(last_us, now_us))
        if moved is row:
            return priced
        self._pricer.suspect[row.client, row.response_key, Oddity.IMPOSSIBLE] = row
        return self._pricer.priced(moved)

    def _whole_us(self, row: ObservedUsage) -> int | None:
        """Since when a response must have been written, by the files that it stands in."""
        earliest_us: int | None = None
        for path in self._paths().get((row.client, row.response_key), ()):
            if path not in self._whole:
                self._whole[path] = self._tx.whole_us(path)
            whole_us = self._whole[path]
            if whole_us is None:
                return None
            earliest_us = whole_us if earliest_us is None else min(earliest_us, whole_us)
        return earliest_us

    def tell_suspects(self, client: str) -> None:
        """Keep what was told against responses that are booked, each once."""
        for (whose, key, kind), row in self._pricer.suspect.items():
            if whose == client and self._stored.has(key) and not self._tx.has_anomaly(client, key, kind):
                seen = Anomaly(client, key, kind.value, row.session, in_a_line(row), self._tx.at_us)
                self.changes.append(Insert("usage_anomaly", USAGE_ANOMALY.row(seen)))

    def take_waiting(self) -> None:
        """Count what telemetry had told before its client's session was known to belong to a budget session."""
        for client, client_session, session in self._finder.fresh:
            for waiting in self._tx.unattributed_usage(client, client_session, session.started_us):
                late = session.ended_us is not None and microseconds(waiting.row.at) > session.ended_us
                if waiting.row.is_told and not late and waiting.row.response_key not in self._stored.touched:
                    self.changes.append(_taken_up(self._pricer, self.meter, waiting, session, self.prices))
                    self.attributed += 1

    def _write(self, make: type[Insert | Update], after: StoredUsage, basis: str) -> None:
        after = self._checkouts.placed(after)
        if basis:
            self.prices.setdefault(after.price_id, basis)
        self.changes.append(make("usage", from_usage(after)))
        self._stored.put(after)
        self.attributed += after.session_id is not None

    def _placed(self, priced: Priced, session: Session | None, befores: Sequence[StoredUsage]) -> Priced:
        """A response counted where it belongs, in place of rows that it stood in and that belonged to no session."""
        if session is None:
            return Priced(self.meter.count(priced.stored, befores), priced.basis)
        stored, basis = self._pricer.priced_in(priced, session)
        return Priced(self.meter.charge(stored, session, befores), basis)

    def _corrected(self, again: Priced, before: StoredUsage | None, telemetry: StoredUsage | None) -> Priced:
        """A known response of which more is known now: the difference is booked where it already counts."""
        stored, basis = again
        befores = [each for each in (before, telemetry) if each is not None]
        counted = next((each for each in befores if each.session_id is not None), None)
        if counted is not None:
            session = self._tx.session(counted.session_id or "")
            if session is not None:
                stored, basis = self._pricer.priced_in(again, session)
            after = replace(counted, row=stored.row, price_id=stored.price_id, cost_nanos=stored.cost_nanos)
            if after.cost_nanos < counted.cost_nanos:
                # The prices of today would make it cheaper: what was booked stays.
                after, basis = replace(after, price_id=counted.price_id, cost_nanos=counted.cost_nanos), ""
            if session is None:
                return Priced(self.meter.count(after, befores), basis)
            return Priced(self.meter.charge(after, session, befores), basis)
        # Only the transcript says in which folder a response was made: what telemetry told could not be placed before.
        gained = telemetry is not None or (before is not None and before.row.is_told)
        if gained:
            return self._placed(again, self._finder.find(again.stored.row, self.meter), befores)
        if before is not None and stored.cost_nanos < before.cost_nanos:
            stored, basis = replace(stored, price_id=before.price_id, cost_nanos=before.cost_nanos), ""
        return Priced(self.meter.count(stored, befores), basis)


def _store(
    rt: Runtime, tx: Tx, client: str, priced: Mapping[str, Priced], pricer: Pricer, *, paths: Paths
) -> tuple[IngestResult, set[str]]:
    batch = _Batch(rt, tx, client, [stored.row for stored, _ in priced.values()], pricer, paths=paths)
    for each in priced.values():
        batch.take(each)
    batch.take_waiting()
    batch.changes += worktrees_met(rt, tx, (stored.row.project for stored, _ in priced.values())) if batch.new else []
    batch.tell_suspects(client)
    if batch.changes:
        rows = new_prices(rt, tx, batch.prices)
        note: dict[str, Value] = {"client": client, "new": batch.new, "corrected": batch.corrected}
        tx.append("usage.observed", [*rows, *batch.meter.changes(), *batch.changes], by=rt.by, note=note)
    known = len(priced) - batch.new - batch.corrected - batch.elsewhere
    taken = IngestResult(batch.new, batch.corrected, known, batch.attributed, elsewhere=batch.elsewhere)
    return taken, set(batch.prices)


def new_prices(rt: Runtime, tx: ProofWriter, prices: Mapping[str, str]) -> list[Change]:
    """The rows of those prices that the ledger does not have yet."""
    there = rt.known_prices()
    fresh = [key for key in sorted(prices) if key not in there and not tx.knows_price(key)]
    return [Insert("price", {"price_id": key, "basis": prices[key]}) for key in fresh]


def _taken_up(pricer: Pricer, meter: Meter, waiting: StoredUsage, session: Session, prices: dict[str, str]) -> Change:
    """Count a response into the session that is now known to be its own; `prices` takes a price that changes by it."""
    stored, basis = pricer.priced_in(Priced(waiting, ""), session)
    if basis:
        prices.setdefault(stored.price_id, basis)
    return Update("usage", from_usage(meter.charge(stored, session, (waiting,))))


class SessionFinder:
    """Finds the budget session of a response: by the client's own session id, else by workspace and time."""

    def __init__(self, rt: Runtime, tx: Tx, rows: Iterable[ObservedUsage]) -> None:
        times = [microseconds(row.at) for row in rows]
        self._place_of = rt.workspace.place_of
        self._tx = tx
        # Where hooks gate a session its client's own are known by id; what is not among them belongs elsewhere.
        at_work = tx.sessions_in_projects(min(times), max(times)) if times else []
        self.in_projects = [session for session in at_work if not is_enforced(tx, session)]
        self._linked: dict[tuple[str, str], list[Session]] = {}
        self._gated: dict[str, bool] = {}
        self._begun: dict[tuple[str, str], int | None] = {}
        self.fresh: list[tuple[str, str, Session]] = []

    def find(self, row: ObservedUsage, meter: Meter) -> Session | None:
        """The session, linked to the client's own for the next time; None where there is none, or no telling."""
        at_us = microseconds(row.at)
        session = self._covering(row.client, row.session, at_us)
        if session is not None:
            return session
        how = "parent"
        if row.parent_session is not None:
            session = self._covering(row.client, row.parent_session, at_us)
        if session is None:
            how = "workspace"
            session = self._at_work(row, at_us)
        if session is None:
            return None
        meter.link(session, row.client, row.session, how)
        self.fresh.append((row.client, row.session, session))
        self._linked[row.client, row.session].append(session)
        return session

    def linked(self, row: ObservedUsage) -> list[Session]:
        """The budget sessions that a response's client session, or the one around it, is known to belong to."""
        found = self._of(row.client, row.session)
        if not found and row.parent_session is not None:
            found = self._of(row.client, row.parent_session)
        return found

    def begun_us(self, row: ObservedUsage) -> int | None:
        """When the client's session of a response began, where that was with a session of ours."""
        key = (row.client, row.session if self._of(row.client, row.session) else row.parent_session or row.session)
        if key not in self._begun:
            self._begun[key] = self._tx.begun_us(*key)
        return self._begun[key]

    def _of(self, client: str, client_session: str) -> list[Session]:
        key = (client, client_session)
        if key not in self._linked:
            self._linked[key] = self._tx.sessions_linked(*key)
        return self._linked[key]

    def _at_work(self, row: ObservedUsage, at_us: int) -> Session | None:
        """The session whose workspace holds the folder of a response, by whichever way that was entered."""
        if not self.in_projects:
            return None
        place = self._place_of(row.project)
        folder = None if place is None else place.folder
        return session_for(
            client=row.client,
            project=folder,
            at_us=at_us,
            sessions=self.in_projects,
            family_of=REGISTRY.family_of,
        )

    def _covering(self, client: str, client_session: str, at_us: int) -> Session | None:
        """The innermost budget session that a client's session belonged to at a time, or the last one before."""
        linked = self._of(client, client_session)
        for session in reversed(linked):
            ahead = session.is_open and is_ahead(session.started_us, self._tx.at_us)  # by a clock that was wrong
            if (ahead or session.started_us <= at_us) and (session.ended_us is None or at_us <= session.ended_us):
                return session
        # A client dates some responses when it writes them down, which may be after its session's end, and goes on with
        # the same budget when it is taken up again: what lies behind has no other one, where hooks had opened it.
        last: Session | None = None
        for session in linked:
            if session.ended_us is None or session.ended_us >= at_us:
                continue
            if session.session_id not in self._gated:
                self._gated[session.session_id] = is_enforced(self._tx, session)
            if self._gated[session.session_id] and (
                last is None or (session.ended_us, session.started_us) > (last.ended_us or 0, last.started_us)
            ):
                last = session
        return last


def link_session(rt: Runtime, client: str, client_session: str, session_id: str) -> IngestResult:
    """Say which budget session a client's session belongs to; responses since its start are counted into it."""
    with rt.writing() as tx:
        session = tx.session(session_id)
        if session is None or any(s.session_id == session_id for s in tx.sessions_linked(client, client_session)):
            return IngestResult()
        meter = Meter(tx, rt.workspace.place_of)
        meter.link(session, client, client_session, "registered")
        waiting = tx.unattributed_usage(client, client_session, session.started_us)
        pricer, prices = Pricer(rt), dict[str, str]()
        updates = [_taken_up(pricer, meter, stored, session, prices) for stored in waiting]
        changes = [*new_prices(rt, tx, prices), *meter.changes(), *updates]
        tx.append("session.linked", changes, by=rt.by, note={"session_id": session_id})
        return IngestResult(attributed=len(updates))
