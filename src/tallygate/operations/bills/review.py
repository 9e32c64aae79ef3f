"""Estimates, record and bills side by side; lines to paste and factors to apply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, timedelta
from functools import partial

from tallygate.clients.registry import REGISTRY
from tallygate.core.authority import Authority
from tallygate.core.bills.causes import Cause, UsedResponse, drift_of
from tallygate.core.bills.drift import DriftPart, RateApart, drift_parts, unbilled_days
from tallygate.core.bills.lines import Bucket, Cell, Gap, LedgerLine, Matched, Outcome, Part, Share, Who
from tallygate.core.bills.matching import Matcher
from tallygate.core.bills.review import (
    MILLION,
    BillCause,
    EndSum,
    Line,
    PriceDiffers,
    ReviewLines,
    ReviewPlace,
    billed_factors,
    end_sums,
    estimate_factors,
    prices_that_differ,
    recorded_alone,
    rounded_rate,
    swapped,
    total_line,
)
from tallygate.core.costing import ASSUMED
from tallygate.core.errors import InvalidArgument
from tallygate.core.gate.lifecycle import ANOMALIES_MAX
from tallygate.core.model import Session
from tallygate.core.moments import DAY_US, EPOCH, as_datetime
from tallygate.core.money import exact_text
from tallygate.core.statements import BilledLine
from tallygate.core.text import shown
from tallygate.core.usage import served_as
from tallygate.core.values import value
from tallygate.ledger.port import Reader
from tallygate.operations.bills.keys import Bases, Dollars, ModelNames, line_of_call, line_of_response
from tallygate.operations.learning.estimates import apply_factors
from tallygate.operations.runtime import Runtime, scope_of
from tallygate.pricing.book import LOCAL, OVERRIDE
from tallygate.reports.drift import BillShown, GapSum, Paste, Review

# --- review ----------------------------------------------------------------------------------------------------------
# Review what sessions cost: estimates, the record and the bills side by side, with why they differ. Writes nothing.
#
# Lines are read day by day, so that memory is needed for sessions, days and models, and for the requests of two days
# that a bill names by their id, however many rows there are.


_EVER_US = 2**62
_KEYS_SHOWN = 5
_ONE_DAY = timedelta(days=1)


@value(frozen=True, slots=True)
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
    with rt.reading() as reader:
        return _Reviewing(rt, reader, wanted).run()


class _Reviewing:
    """One review while it is made."""

    def __init__(self, rt: Runtime, reader: Reader, wanted: ReviewWanted) -> None:
        self.rt, self.reader, self.wanted = rt, reader, wanted
        self.names, self.bases, self.dollars = (
            ModelNames(rt.workspace.prices),
            Bases(reader),
            Dollars(rt.workspace.exchange),
        )
        self.from_us, self.until_us = self._span()
        last = as_datetime(self.until_us).date() if self.until_us < _EVER_US else date.max
        self.matcher = Matcher(self.names.price, last)
        self.lines = ReviewLines()
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
        if self.wanted.session_id is not None and (moments := self.reader.moments_of(self.wanted.session_id)):
            # A request may be billed across midnight of the provider's zone: one day on each side.
            from_us, until_us = max(from_us, moments[0] - DAY_US), min(until_us, moments[1] + 1 + DAY_US)
        whole = from_us // DAY_US * DAY_US if from_us > -_EVER_US else from_us
        return whole, -(-until_us // DAY_US) * DAY_US if until_us < _EVER_US else until_us

    def run(self) -> Review:
        """The days in their order, then the sessions, then what comes of it."""
        self._days()
        whose = {line.place.who.session_id for line in self.lines if line.place.who}
        for session_id in sorted(each for each in whose if each and self.wanted.session_id in (None, each)):
            for each in self.reader.estimates_of(session_id, self.from_us, self.until_us):
                model = served_as(each.model, each.provider)
                self.lines.estimated(self._place(session_id, each.at_us, model, each.client), each.nanos)
        found = self.matcher.result()
        if self.wanted.key is not None and not self.has_key:
            listed = ", ".join(shown(each) for each in sorted(self.keys_seen))
            hint = f"Bills of these days name: {listed}." if listed else "No bill of these days names an API key."
            message = f"No line of a bill is under the key {shown(self.wanted.key)}."
            raise InvalidArgument("key", message, hint=hint)
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
            self._feed(as_datetime(start_us).date())
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
        bill = self.bills.setdefault(
            billed.bill_id, BillShown(billed.bill_id, billed.format, billed.currency, 0, None, None)
        )
        bill.lines += 1
        if billed.line.cost_nanos is not None:
            bill.nanos = (bill.nanos or 0) + billed.line.cost_nanos
        if line.nanos is not None:
            bill.usd_nanos = (bill.usd_nanos or 0) + line.nanos

    def _recorded(self, from_us: int, until_us: int) -> Iterator[LedgerLine]:
        for stored in self.reader.usage_between(from_us, until_us):
            yield line_of_response(stored, self._client(stored.session_id) or stored.row.client, self.names, self.bases)
        for call in self.reader.booked_between(from_us, until_us):
            if call.cost_basis == "actual":
                yield line_of_call(call, self._client(call.session_id), self.names, self.bases)
            else:
                model = call.model_used or call.model_requested
                self.lines.at(self._place(call.session_id, call.at_us, model)).estimate_only += 1

    def _place(self, session_id: str, at_us: int, model: str, client: str | None = None) -> ReviewPlace:
        who = Who(session_id, self._client(session_id) or client or "")
        return ReviewPlace(who, as_datetime(at_us).date(), self.names.recorded(model)[0].name)

    def _session(self, session_id: str) -> Session | None:
        if session_id not in self.sessions:
            self.sessions[session_id] = self.reader.session(session_id)
        return self.sessions[session_id]

    def _client(self, session_id: str | None) -> str:
        session = None if session_id is None else self._session(session_id)
        return "" if session is None else session.client

    def _swaps(self, cells: Iterable[Cell]) -> None:
        for mine, theirs in swapped(cells):
            recorded, billed = recorded_alone(mine) or Share(), theirs.outcome.shares[Bucket.BILL_ONLY]
            nanos = billed.billed.total_nanos - recorded.recorded.total_nanos
            text = f"{mine.key.name} was named; the bill has {theirs.key.name} with the same counts that day"
            for who in mine.recorded.sessions:
                line = self.lines.at(ReviewPlace(who, mine.day, mine.key.name))
                line.causes.insert(0, Cause(BillCause.OTHER_MODEL, nanos, text))

    def _is_wanted(self, model: str, sessions: Iterable[str | None]) -> bool:
        """Whether something of a model and of these sessions is to be shown."""
        named, session_id = self.wanted.model, self.wanted.session_id
        return (named is None or named.lower() in model.lower()) and (session_id is None or session_id in sessions)

    def _review(self, found: Matched) -> Review:
        cells = [
            cell
            for cell in found.cells
            if self._is_wanted(cell.key.text, [who.session_id for who in cell.recorded.sessions])
        ]
        lines = [
            line
            for line in sorted(self.lines, key=_order)
            if self._is_wanted(line.place.model, [line.place.who.session_id] if line.place.who else [])
        ]
        shown_lines = lines[: self.wanted.limit]
        days = [*(line.place.day for line in lines), *(cell.day for cell in cells)]
        narrowed = self.wanted.session_id is not None or self.wanted.model is not None
        outcomes = [cell.outcome for cell in cells] + ([] if narrowed else [found.unplaced])
        ends = end_sums(outcomes)
        differ = prices_that_differ(cells) if self.bills else []
        start, end = (min(days), max(days) + _ONE_DAY) if days else (EPOCH.date(), EPOCH.date())
        return Review(
            from_us=(start - EPOCH.date()).days * DAY_US,
            until_us=(end - EPOCH.date()).days * DAY_US,
            lines=shown_lines,
            hidden=len(lines) - len(shown_lines),
            total=total_line(lines, start),
            buckets=ends if self.bills else [],
            gaps=self._gaps(outcomes, lines, ends),
            billed_factors=billed_factors(cells) if self.bills else [],
            estimate_factors=estimate_factors(lines),
            bills=sorted(self.bills.values(), key=lambda bill: bill.bill_id),
            pastes=pastes_for(differ, self.rt, self.names),
            causes=self._causes(shown_lines),
            rates=dict(sorted(self.dollars.texts.items())),
            tolerance_nanos=sum(cell.outcome.tolerance_nanos for cell in cells if cell.outcome.compared()),
            priced_nanos=sum(cell.outcome.priced_nanos for cell in cells),
            parts=self._parts(found) if self.bills else [],
            unbilled=unbilled_days(cells) if self.bills else {},
            apart=rates_apart(differ, self.rt, self.names),
        )

    def _parts(self, found: Matched) -> list[DriftPart]:
        """The drift in its parts. What belongs together is found among all models, before one of them is looked at."""
        named = self.wanted.model
        return [each for each in drift_parts(found) if named is None or named.lower() in each.model.lower()]

    def _gaps(self, outcomes: Iterable[Outcome], lines: Iterable[Line], ends: Iterable[EndSum]) -> list[GapSum]:
        """What is not compared and why; a reason without an amount may still say how often it was met."""
        counts, assumed = Counter({Gap.NO_RATE: sum(self.dollars.without_rate.values())}), 0
        for line in lines:
            counts.update({Gap.PARTIAL: line.partial, Gap.ESTIMATE_ONLY: line.estimate_only, Gap.ASSUMED: line.assumed})
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

    def _causes(self, lines: Iterable[Line]) -> dict[str, list[Cause]]:
        """Why the record of the sessions shown is not what was estimated."""
        found: dict[str, list[Cause]] = {}
        for session_id in dict.fromkeys(line.place.who.session_id for line in lines if line.place.who):
            session = None if session_id is None else self._session(session_id)
            if session_id is None or session is None:
                continue
            used = [UsedResponse(each.row, each.cost_nanos, each.call_id) for each in self.reader.usage_of(session_id)]
            quote = partial(self.rt.workspace.prices.quote, scope=scope_of(self.rt, session))
            odd = self.reader.call_anomalies(ANOMALIES_MAX, session_id)
            calls, asks_again = list(self.reader.calls_of(session_id)), REGISTRY.asks_again(session.client)
            found[session_id] = drift_of(session, calls, used, quote, odd, asks_again=asks_again)
        return {session_id: causes for session_id, causes in found.items() if causes}


def _order(line: Line) -> tuple[object, ...]:
    """The latest day first, then the dearest, then what only bills have."""
    who = line.place.who
    most = max(line.recorded_nanos or 0, line.billed_nanos or 0, line.estimate_nanos or 0)
    named = ("", "") if who is None else (who.session_id or "", who.client)
    return (-line.place.day.toordinal(), who is None, -most, line.place.model, named)


# --- advice ----------------------------------------------------------------------------------------------------------
# What comes of a review: lines for the settings where a price differs constantly, and factors for estimates.


# A discount is one on the list.
_NOT_LISTED = frozenset({OVERRIDE, LOCAL, ASSUMED})
_FIELDS = {
    Part.INPUT: ("input", "input_nanos"),
    Part.OUTPUT: ("output", "output_nanos"),
    Part.CACHE_READ: ("cache_read", "cache_read_nanos"),
    Part.CACHE_WRITE: ("cache_write_5m", "cache_write_5m_nanos"),
}


def pastes_for(differing: Iterable[PriceDiffers], rt: Runtime, names: ModelNames) -> list[Paste]:
    """For each price that differs the row that would settle it: a discount on the list, else a price of its own."""
    now = as_datetime(rt.services.clock_us()).astimezone(UTC)
    found = []
    for each in differing:
        days, factor, model = "day" if each.days == 1 else "days", _factor(each.micros), names.spelled(each.key)
        why = f"{each.key.text} is billed at {factor} times the recorded price on {each.days:,} {days}"
        price, rates = rt.workspace.prices.quote(model, now), dict(each.rates)
        name = model.replace("\\", "\\\\").replace('"', '\\"')
        rows = ["[[price]]", f'match = "{name}"']
        # One factor for all classes is a discount on the list, which goes on when the list changes; a price of its own
        # is for models that no list has, and for classes that differ apart.
        if not rates and price.source not in _NOT_LISTED:
            rows = ["[[discount]]", f'match = "{name}"', f"multiplier = {factor}"]
        elif not rates:
            rates = {part: getattr(price.rates, rate) * each.micros // MILLION for part, (_, rate) in _FIELDS.items()}
        rows += [
            f"{own} = {exact_text(rounded_rate(rates[part]))}" for part, (own, _) in _FIELDS.items() if part in rates
        ]
        found.append(Paste(why, "\n".join(rows)))
    return found


def rates_apart(differing: Iterable[PriceDiffers], rt: Runtime, names: ModelNames) -> list[RateApart]:
    """What each price that differs is by class: as it is recorded now, and as it is billed."""
    now = as_datetime(rt.services.clock_us()).astimezone(UTC)
    found = []
    for each in differing:
        rates, billed = rt.workspace.prices.quote(names.spelled(each.key), now).rates, dict(each.rates)
        for part, (_, name) in _FIELDS.items():
            listed = getattr(rates, name)
            rate = billed.get(part) if billed else listed * each.micros // MILLION
            if rate is not None and rate != listed:
                found.append(RateApart(each.key.text, part, listed, rounded_rate(rate), each.days))
    return found


def _factor(micros: int) -> str:
    """Four digits: what a percentage with two is written with."""
    whole, part = divmod((micros + 50) // 100, 10_000)
    fraction = f"{part:04d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)


def apply_review(rt: Runtime, found: Review, *, authority: Authority) -> dict[str, int]:
    """Let estimates count with what a review has shown, and say with what: an event, if there is anything to keep.

    A model whose estimates an earlier review has corrected gets the factor it has now, also if that is 1.
    """
    with rt.reading() as reader:
        known = reader.calibration_factors()
    factors = found.factors()
    for each in found.billed_factors:
        for price in each.prices:
            if each.micros is not None and each.is_kept and known.get(price, (each.micros,))[0] != each.micros:
                factors[price] = each.micros
    if factors:
        apply_factors(rt, factors, found.span, authority=authority)
    return factors
