"""Estimates, record and bills side by side; lines to paste and factors to apply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial

from tallygate.clients.registry import REGISTRY
from tallygate.core.authority import Authority
from tallygate.core.bills.causes import Used, drift_of, largest_first
from tallygate.core.bills.lines import Bucket, Cell, Gap, LedgerLine, Matched, Outcome, Part, Share, Who
from tallygate.core.bills.matching import Matcher
from tallygate.core.bills.review import (
    MILLION,
    EndSum,
    Finding,
    Line,
    Lines,
    Place,
    PriceDiffers,
    Why,
    billed_factors,
    end_sums,
    estimate_factors,
    prices_that_differ,
    recorded_alone,
    rounded_rate,
    swapped,
)
from tallygate.core.costing import ASSUMED
from tallygate.core.errors import InvalidArgument
from tallygate.core.gate import lifecycle
from tallygate.core.model import Call, Session
from tallygate.core.moments import EPOCH, as_datetime, microseconds
from tallygate.core.money import exact_text
from tallygate.core.reports import ANOMALIES_MAX
from tallygate.core.statements import BilledLine
from tallygate.core.text import shown
from tallygate.core.usage import priced_as_standard
from tallygate.ledger.port import Reader, StoredUsage
from tallygate.operations.bills.keys import Bases, Dollars, ModelNames, line_of_call, line_of_response
from tallygate.operations.learning.estimates import apply_factors
from tallygate.operations.runtime import Runtime, scope_of
from tallygate.pricing.book import LOCAL, OVERRIDE
from tallygate.reports.drift import BillShown, GapSum, Paste, Review, total_line

# --- review ----------------------------------------------------------------------------------------------------------
# Review what sessions cost: estimates, the record and the bills side by side, with why they differ. Writes nothing.
#
# Lines are read day by day, so that memory is needed for sessions, days and models, and for the requests of two days
# that a bill names by their id, however many rows there are.


DAY_US = 86_400_000_000
_EVER_US = 2**62
_KEYS_SHOWN = 5
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ReviewWanted:
    """What a review is about; `until_us` is the first moment after it. Days are whole days of UTC, as bills have them.

    `model` is a part of a name, `key` what a bill calls an API key.
    """

    from_us: int = -_EVER_US
    until_us: int = _EVER_US
    session_id: str | None = None
    model: str | None = None
    key: str | None = None
    limit: int = 100


def review(rt: Runtime, wanted: ReviewWanted) -> Review:
    """Everything that was estimated, recorded and billed in a span, held against each other."""
    with rt.ledger.reading(rt.tenant) as reader:
        return _Reviewing(rt, reader, wanted).run()


class _Reviewing:
    """One review while it is made."""

    def __init__(self, rt: Runtime, reader: Reader, wanted: ReviewWanted) -> None:
        self.rt, self.reader, self.wanted = rt, reader, wanted
        self.names, self.bases, self.dollars = ModelNames(rt.prices), Bases(reader), Dollars(rt.exchange)
        self.from_us, self.until_us = self._span()
        last = as_datetime(self.until_us).date() if self.until_us < _EVER_US else date.max
        self.matcher = Matcher(self.names.price, last)
        self.lines = Lines()
        self.sessions: dict[str, Session | None] = {}
        self.bills: dict[str, BillShown] = {}
        self.keys_seen: set[str] = set()
        self.has_key = False
        # The next line of a bill is looked at before its day has come.
        self.billed = self._billed()
        self.next_billed = next(self.billed, None)

    def _span(self) -> tuple[int, int]:
        """The whole days that are looked at; of a session those it has anything on, and one around them for bills."""
        from_us, until_us = self.wanted.from_us, self.wanted.until_us
        if self.wanted.session_id is not None:
            moments = list(self._moments(self.wanted.session_id))
            if moments:
                from_us, until_us = max(from_us, min(moments) - DAY_US), min(until_us, max(moments) + 1 + DAY_US)
        whole = from_us // DAY_US * DAY_US if from_us > -_EVER_US else from_us
        return whole, -(-until_us // DAY_US) * DAY_US if until_us < _EVER_US else until_us

    def _moments(self, session_id: str) -> Iterator[int]:
        yield from (call.at_us for call in self.reader.calls_of(session_id))
        yield from (microseconds(stored.row.at) for stored in self.reader.usage_of(session_id))

    def run(self) -> Review:
        """The days in their order, then the sessions, then what comes of it."""
        self._days()
        for session_id in sorted(self._session_ids()):
            self._estimates(session_id)
        found = self.matcher.result()
        if self.wanted.key is not None and not self.has_key:
            raise _no_such_key(self.wanted.key, self.keys_seen)
        if self.bills:
            self.lines.billed(found)
            self._swaps(found.cells)
        self.lines.explained()
        return self._review(found)

    def _days(self) -> None:
        """Feed the matcher: bills a day ahead of the ledger, since a request may be billed across midnight."""
        from_us = self.from_us
        while (at_us := self.reader.spend_next(from_us, self.until_us)) is not None:
            start_us = at_us // DAY_US * DAY_US
            day = (EPOCH + timedelta(microseconds=start_us)).date()
            self._feed(day)
            from_us = start_us + DAY_US
            for line in self._recorded(start_us, min(from_us, self.until_us)):
                self.matcher.recorded(line)
                self.lines.recorded(line)
        self._feed(None)

    def _feed(self, day: date | None) -> None:
        """Bills up to the day after one of the ledger, or all; requests that it is too late for are let go."""
        earliest = None if day is None else day - _ONE_DAY
        now: date | None = None
        while (billed := self.next_billed) is not None and (day is None or billed.line.at.date() <= day + _ONE_DAY):
            at = billed.line.at.date()
            if at != now:
                self.matcher.settle(before=min(at - _ONE_DAY, earliest or at))
                now = at
            self._take(billed)
            self.next_billed = next(self.billed, None)
        self.matcher.settle(before=earliest)

    def _billed(self) -> Iterator[BilledLine]:
        key = self.wanted.key
        for billed in self.reader.billed_between(self.from_us, self.until_us):
            if key is None or billed.line.key == key:
                self.has_key = True
                yield billed
            elif billed.line.key is not None and len(self.keys_seen) < _KEYS_SHOWN:
                self.keys_seen.add(billed.line.key)

    def _take(self, billed: BilledLine) -> None:
        line = self.dollars.line(billed, self.names)
        self.matcher.billed(line)
        shown_bill = self.bills.setdefault(
            billed.bill_id, BillShown(billed.bill_id, billed.format, billed.currency, 0, None, None)
        )
        shown_bill.lines += 1
        shown_bill.nanos = _sum(shown_bill.nanos, billed.line.cost_nanos)
        shown_bill.usd_nanos = _sum(shown_bill.usd_nanos, line.nanos)

    def _recorded(self, from_us: int, until_us: int) -> Iterator[LedgerLine]:
        for stored in self.reader.usage_between(from_us, until_us):
            yield line_of_response(stored, self._client(stored.session_id) or stored.row.client, self.names, self.bases)
        for call in self.reader.booked_between(from_us, until_us):
            client = self._client(call.session_id)
            if call.cost_basis == "actual":
                yield line_of_call(call, client, self.names, self.bases)
            else:
                self.lines.at(self._place(call, Who(call.session_id, client))).estimate_only += 1

    def _place(self, call: Call, who: Who) -> Place:
        key, _ = self.names.recorded(call.model_used or call.model_requested)
        return Place(who, as_datetime(call.at_us).date(), key.name)

    def _session(self, session_id: str) -> Session | None:
        if session_id not in self.sessions:
            self.sessions[session_id] = self.reader.session(session_id)
        return self.sessions[session_id]

    def _client(self, session_id: str | None) -> str:
        session = None if session_id is None else self._session(session_id)
        return "" if session is None else session.client

    def _session_ids(self) -> set[str]:
        wanted = self.wanted.session_id
        if wanted is not None:
            return {wanted}
        return {line.place.who.session_id for line in self.lines if line.place.who and line.place.who.session_id}

    def _estimates(self, session_id: str) -> None:
        """The estimates of a session's calls, each beside the response it was made for."""
        made = [call for call in self.reader.calls_of(session_id) if lifecycle.counts(call)]
        made = [call for call in made if self.from_us <= call.at_us < self.until_us]
        placed = self._responses_of(session_id) if self.reader.has_usage(session_id) else {}
        for call in made:
            place = placed.get(call.call_id) or self._place(call, Who(session_id, self._client(session_id)))
            self.lines.estimated(place, call.raw_estimate_nanos)

    def _responses_of(self, session_id: str) -> dict[str, Place]:
        """Where the first response of each call stands."""
        found: dict[str, Place] = {}
        for stored in self.reader.usage_of(session_id):
            if stored.call_id is not None and stored.call_id not in found and self._is_inside(stored):
                key, _ = self.names.recorded(priced_as_standard(stored.row))
                who = Who(session_id, self._client(session_id) or stored.row.client)
                found[stored.call_id] = Place(who, stored.row.at.date(), key.name)
        return found

    def _is_inside(self, stored: StoredUsage) -> bool:
        return self.from_us <= microseconds(stored.row.at) < self.until_us

    def _swaps(self, cells: Iterable[Cell]) -> None:
        for mine, theirs in swapped(cells):
            recorded, billed = recorded_alone(mine) or Share(), theirs.outcome.shares[Bucket.BILL_ONLY]
            text = f"{mine.key.name} was named; the bill has {theirs.key.name} with the same counts that day"
            nanos = billed.billed.total_nanos - recorded.recorded.total_nanos
            for who in mine.recorded.sessions:
                self.lines.at(Place(who, mine.day, mine.key.name)).findings.insert(
                    0, Finding(Why.OTHER_MODEL, nanos, text)
                )

    def _is_wanted(self, line: Line) -> bool:
        who, wanted = line.place.who, self.wanted
        if wanted.session_id is not None and (who is None or who.session_id != wanted.session_id):
            return False
        return wanted.model is None or wanted.model.lower() in line.place.model.lower()

    def _is_cell_wanted(self, cell: Cell) -> bool:
        wanted = self.wanted
        if wanted.session_id is not None and all(who.session_id != wanted.session_id for who in cell.recorded.sessions):
            return False
        return wanted.model is None or wanted.model.lower() in cell.key.text.lower()

    def _review(self, found: Matched) -> Review:
        cells = [cell for cell in found.cells if self._is_cell_wanted(cell)]
        lines = sorted(filter(self._is_wanted, self.lines), key=_order)
        shown_lines = lines[: self.wanted.limit]
        days = [*(line.place.day for line in lines), *(cell.day for cell in cells)]
        narrowed = self.wanted.session_id is not None or self.wanted.model is not None
        outcomes = [cell.outcome for cell in cells] + ([] if narrowed else [found.unplaced])
        ends = end_sums(outcomes)
        start, end = (min(days), max(days) + _ONE_DAY) if days else (EPOCH.date(), EPOCH.date())
        return Review(
            from_us=_start_us(start),
            until_us=_start_us(end),
            lines=shown_lines,
            hidden=len(lines) - len(shown_lines),
            total=total_line(lines, Line(Place(None, start, ""))),
            buckets=ends if self.bills else [],
            gaps=self._gaps(outcomes, lines, ends),
            billed_factors=billed_factors(cells) if self.bills else [],
            estimate_factors=estimate_factors(lines),
            bills=sorted(self.bills.values(), key=lambda bill: bill.bill_id),
            pastes=pastes_for(prices_that_differ(cells), self.rt, self.names) if self.bills else [],
            causes=self._causes(shown_lines),
            rates=dict(sorted(self.dollars.texts.items())),
            tolerance_nanos=sum(cell.outcome.tolerance_nanos for cell in cells if cell.outcome.compared()),
            priced_nanos=sum(cell.outcome.priced_nanos for cell in cells),
        )

    def _gaps(self, outcomes: Iterable[Outcome], lines: Iterable[Line], ends: Iterable[EndSum]) -> list[GapSum]:
        """What is not compared and why; a reason without an amount may still say how often it was met."""
        counts, assumed = Counter({Gap.NO_RATE: sum(self.dollars.without_rate.values())}), 0
        for line in lines:
            counts[Gap.PARTIAL] += line.partial
            counts[Gap.ESTIMATE_ONLY] += line.estimate_only
            counts[Gap.ASSUMED] += line.assumed
            assumed += line.assumed_nanos
        for outcome in outcomes:
            counts.update(outcome.gaps)
        if not self.bills:
            del counts[Gap.NO_BILL]
        amounts: dict[Bucket | Gap, tuple[int | None, int | None, int | None]] = {
            each.end: (each.tokens, each.recorded_nanos, each.billed_nanos) for each in ends
        }
        amounts.setdefault(Gap.ASSUMED, (None, assumed, None))
        return [GapSum(gap, counts[gap], *amounts.get(gap, ())) for gap in Gap if counts[gap]]

    def _causes(self, lines: Iterable[Line]) -> dict[str, list[Finding]]:
        """Why the record of the sessions shown is not what was estimated."""
        found: dict[str, list[Finding]] = {}
        for line in lines:
            session_id = None if line.place.who is None else line.place.who.session_id
            session = None if session_id is None else self._session(session_id)
            if session_id is None or session is None or session_id in found:
                continue
            used = [Used(each.row, each.cost_nanos, each.call_id) for each in self.reader.usage_of(session_id)]
            quote = partial(self.rt.prices.quote, scope=scope_of(self.rt, session))
            odd = self.reader.call_anomalies(ANOMALIES_MAX, session_id)
            calls, asks_again = list(self.reader.calls_of(session_id)), REGISTRY.asks_again(session.client)
            causes = drift_of(session, calls, used, quote, odd, asks_again=asks_again)
            found[session_id] = [Finding(each.kind, each.nanos, each.text) for each in largest_first(causes)]
        return {session_id: causes for session_id, causes in found.items() if causes}


def _order(line: Line) -> tuple[object, ...]:
    """The latest day first, then the dearest, then what only bills have."""
    who = line.place.who
    most = max(line.recorded_nanos or 0, line.billed_nanos or 0, line.estimate_nanos or 0)
    named = ("", "") if who is None else (who.session_id or "", who.client)
    return (-line.place.day.toordinal(), who is None, -most, line.place.model, named)


def _sum(before: int | None, more: int | None) -> int | None:
    return before if more is None else (before or 0) + more


def _start_us(day: date) -> int:
    return (day.toordinal() - EPOCH.toordinal()) * DAY_US


def _no_such_key(key: str, known: set[str]) -> InvalidArgument:
    listed = ", ".join(shown(each) for each in sorted(known))
    hint = f"Bills of these days name: {listed}." if known else "No bill of these days names an API key."
    return InvalidArgument("key", f"No line of a bill is under the key {shown(key)}.", hint=hint)


# --- advice ----------------------------------------------------------------------------------------------------------
# What comes of a review: lines for the settings where a price differs constantly, and factors for estimates.


# A discount is one on the list.
_NOT_LISTED = frozenset({OVERRIDE, LOCAL, ASSUMED})
_FIELDS = {
    Part.INPUT: "input",
    Part.OUTPUT: "output",
    Part.CACHE_READ: "cache_read",
    Part.CACHE_WRITE: "cache_write_5m",
}


def pastes_for(differing: Iterable[PriceDiffers], rt: Runtime, names: ModelNames) -> list[Paste]:
    """For each price that differs the row that would settle it: a discount on the list, else a price of its own."""
    now = as_datetime(rt.clock_us()).astimezone(UTC)
    return [_paste(each, rt, names.spelled(each.key), now) for each in differing]


def _paste(each: PriceDiffers, rt: Runtime, model: str, now: datetime) -> Paste:
    days = "day" if each.days == 1 else "days"
    why = f"{each.key.text} is billed at {_factor(each.micros)} times the recorded price on {each.days:,} {days}"
    price = rt.prices.quote(model, now)
    name = model.replace("\\", "\\\\").replace('"', '\\"')
    rates = dict(each.rates)
    if not rates and price.source not in _NOT_LISTED:
        return Paste(why, f'[[discount]]\nmatch = "{name}"\nmultiplier = {_factor(each.micros)}')
    if not rates:
        own = price.rates
        rates = {
            Part.INPUT: own.input_nanos * each.micros // MILLION,
            Part.OUTPUT: own.output_nanos * each.micros // MILLION,
            Part.CACHE_READ: own.cache_read_nanos * each.micros // MILLION,
            Part.CACHE_WRITE: own.cache_write_5m_nanos * each.micros // MILLION,
        }
    rows = [f"{_FIELDS[part]} = {exact_text(rounded_rate(rates[part]))}" for part in _FIELDS if part in rates]
    return Paste(why, "\n".join(["[[price]]", f'match = "{name}"', *rows]))


def _factor(micros: int) -> str:
    """Four digits: what a percentage with two is written with."""
    whole, part = divmod((micros + 50) // 100, 10_000)
    fraction = f"{part:04d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)


def apply_review(rt: Runtime, found: Review, *, authority: Authority) -> dict[str, int]:
    """Let estimates count with what a review has shown, and say with what: an event, if there is anything to keep.

    A model whose estimates an earlier review has corrected gets the factor it has now, also if that is 1.
    """
    with rt.ledger.reading(rt.tenant) as reader:
        known = reader.calibration_factors()
    factors = found.factors()
    for each in found.billed_factors:
        for price in each.prices:
            if each.micros is not None and each.is_kept and known.get(price, (each.micros,))[0] != each.micros:
                factors[price] = each.micros
    if factors:
        apply_factors(rt, factors, found.span, authority=authority)
    return factors
