"""Lines of a review, and the factors and prices that they imply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field, replace
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from tallygate.core.bills.causes import Cause
from tallygate.core.bills.lines import (
    Bucket,
    Cell,
    Gap,
    LedgerLine,
    Matched,
    ModelKey,
    Outcome,
    Part,
    Row,
    Share,
    Who,
)
from tallygate.core.costing import SURE, Split
from tallygate.core.money import NANOS_PER_UNIT, TOKENS_PER_RATE, format_amount, more_or_less
from tallygate.core.values import value

# --- reviewing -------------------------------------------------------------------------------------------------------
# The review of sessions after the fact: estimate, recorded and billed side by side, and why they are not the same.


MILLION = 1_000_000


class BillCause(StrEnum):
    """Why what was billed is not what was recorded; the causes between estimate and record have names of their own."""

    OTHER_MODEL = "other_model"
    PRICE = "price_drift"
    HIDDEN = "hidden_reasoning"
    PARTIAL = "partial_rows"
    CACHE = "cache_dominates"
    LEDGER_ONLY = "not_in_bill"
    BILL_ONLY = "not_in_ledger"
    INCLUDED = "subscription"
    CREDIT = "credit"


class ReviewPlace(NamedTuple):
    """What a line of the review stands for; nobody: it is in bills alone."""

    who: Who | None
    day: date
    model: str


@value(slots=True)
class Line:
    """One line of the review; None where nothing is known.

    `is_shared` says that the bill does not tell sessions apart, so that this one has its part by what it was recorded
    with. `split` is what of the record rests on prices that are not sure. `included_nanos` is what a plan covers, at
    API prices: nobody bills that. Of a sum `by_estimate` and `by_record` are what its lines that have both sides add up
    to, (recorded, estimated) and (billed, recorded): only those make a ratio.
    """

    place: ReviewPlace
    estimate_nanos: int | None = None
    recorded_nanos: int | None = None
    billed_nanos: int | None = None
    calls: int = 0
    responses: int = 0
    partial: int = 0
    cache_nanos: int = 0
    estimate_only: int = 0
    assumed: int = 0
    assumed_nanos: int = 0
    split: Split = SURE
    is_shared: bool = False
    included_nanos: int | None = None
    causes: list[Cause] = field(default_factory=list)
    by_estimate: tuple[int, int] | None = None
    by_record: tuple[int, int] | None = None

    def bill(self, nanos: int, *, included: bool) -> None:
        """Count in what a bill has, or what a plan covers."""
        if included:
            self.included_nanos = (self.included_nanos or 0) + nanos
        else:
            self.billed_nanos = (self.billed_nanos or 0) + nanos

    @property
    def billed_micros(self) -> int | None:
        """Billed for each million recorded."""
        return ratio_micros(*(self.by_record or (self.billed_nanos, self.recorded_nanos)))

    @property
    def recorded_micros(self) -> int | None:
        """Recorded for each million estimated."""
        return ratio_micros(*(self.by_estimate or (self.recorded_nanos, self.estimate_nanos)))


def total_line(lines: Iterable[Line], day: date) -> Line:
    """What lines add up to; None where no line knows."""
    total = Line(ReviewPlace(None, day, ""), by_estimate=(0, 0), by_record=(0, 0))
    for line in lines:
        for name, part, whole in (
            ("by_estimate", line.recorded_nanos, line.estimate_nanos),
            ("by_record", line.billed_nanos, line.recorded_nanos),
        ):
            # A ratio takes only lines that know both: one that lacks a side would move it by all of the other.
            if part is not None and whole is not None:
                before = getattr(total, name)
                setattr(total, name, (before[0] + part, before[1] + whole))
        for name in ("estimate_nanos", "recorded_nanos", "billed_nanos", "included_nanos"):
            if (more := getattr(line, name)) is not None:
                setattr(total, name, (getattr(total, name) or 0) + more)
        for name in ("calls", "responses", "partial", "estimate_only", "split"):
            setattr(total, name, getattr(total, name) + getattr(line, name))
    return total


def ratio_micros(part: int | None, whole: int | None) -> int | None:
    """How many millionths of the whole the part is, half up; None where there is no such ratio.

    >>> ratio_micros(3, 2), ratio_micros(1, 0), ratio_micros(None, 1)
    (1500000, None, None)
    """
    if part is None or not whole or whole < 0:
        return None
    return (2 * part * MILLION + whole) // (2 * whole)


class ReviewLines:
    """The lines of a review while they are added up: as many as there are sessions, days and models."""

    def __init__(self) -> None:
        self._lines: dict[ReviewPlace, Line] = {}

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def at(self, place: ReviewPlace) -> Line:
        """One line, made where there is none yet."""
        if place not in self._lines:
            self._lines[place] = Line(place)
        return self._lines[place]

    def recorded(self, line: LedgerLine) -> None:
        """Count in what was recorded of a response or call."""
        found = self.at(ReviewPlace(line.who, line.day, line.key.name))
        found.recorded_nanos = (found.recorded_nanos or 0) + line.cost_nanos
        found.responses += 1
        found.partial += not line.is_final
        found.split += Split.of(line.certainty, line.cost_nanos)
        found.assumed += line.is_assumed
        found.assumed_nanos += line.cost_nanos if line.is_assumed else 0
        found.cache_nanos += line.nanos[1] + line.nanos[2]

    def estimated(self, place: ReviewPlace, nanos: int) -> None:
        """Count in a call's estimate."""
        found = self.at(place)
        found.estimate_nanos = (found.estimate_nanos or 0) + nanos
        found.calls += 1

    def billed(self, matched: Matched) -> None:
        """Put what bills say beside what they were compared with, and say why it differs."""
        for cell in matched.cells:
            self._bill_sessions(cell)
            self._bill_alone(cell)
        for (day, key), nanos in sorted(matched.credits.items(), key=lambda item: (item[0][0], item[0][1] or ("", ""))):
            line = self.at(ReviewPlace(None, day, "" if key is None else key.name))
            line.bill(nanos, included=False)
            line.causes.append(Cause(BillCause.CREDIT, nanos, f"the bill gives back {format_amount(-nanos)}"))

    def explained(self) -> None:
        """Say of each line what its record shows by itself, where there is an estimate that it explains."""
        for line in self:
            if line.estimate_nanos is not None and line.recorded_nanos and line.cache_nanos * 2 > line.recorded_nanos:
                percent = line.cache_nanos * 100 // line.recorded_nanos
                text = f"the cache is {percent} % of what was recorded: {format_amount(line.cache_nanos)}"
                line.causes.append(Cause(BillCause.CACHE, line.cache_nanos, text))

    def _bill_sessions(self, cell: Cell) -> None:
        """A cell by its sessions, each by what it was recorded with: to the last nano, in order."""
        weights = sorted(cell.recorded.sessions.items(), key=lambda item: (item[0].session_id or "", item[0].client))
        if not any(nanos for _, nanos in weights):
            weights = [(who, 1) for who, _ in weights]  # what costs nothing is shared evenly
        compared = cell.outcome.compared()
        billed = sum(share.billed.total_nanos for share in compared) + cell.hidden[1]
        if (untold := cell.outcome.shares.get(Gap.CLASS_NOT_TOLD)) is not None:
            billed += untold.billed.total_nanos
        whole = sum(nanos for _, nanos in weights)
        before = 0
        for who, nanos in weights:
            part = _Fraction(before, before + nanos, whole)
            before = part.upto
            line = self.at(ReviewPlace(who, cell.day, cell.key.name))
            if compared or cell.hidden[0]:
                line.bill(part.of(billed), included=cell.included)
                line.is_shared |= len(weights) > 1
            line.causes += _of_cell(cell, part)

    def _bill_alone(self, cell: Cell) -> None:
        """What a bill has and the ledger has not, as a line of its own; hidden output stands with its sessions."""
        share = cell.outcome.shares.get(Bucket.BILL_ONLY)
        if share is None:
            return
        tokens, nanos = share.billed.total_tokens, share.billed.total_nanos
        if cell.hidden[0]:
            # It has been told with the sessions it belongs to already.
            tokens, nanos = tokens - cell.hidden[0], nanos - cell.hidden[1]
        if not nanos and not tokens:
            return
        line = self.at(ReviewPlace(None, cell.day, cell.key.name))
        line.bill(nanos, included=cell.included)
        text = f"{_tokens(tokens)} of {cell.key.text} are in the bill and not in the ledger: {format_amount(nanos)}"
        line.causes.append(Cause(BillCause.BILL_ONLY, nanos, text))


@value(frozen=True, slots=True)
class _Fraction:
    """From one share of a whole to another, so that the parts of an amount add up to it."""

    since: int
    upto: int
    whole: int

    def of(self, amount: int) -> int:
        return amount * self.upto // self.whole - amount * self.since // self.whole


def _of_cell(cell: Cell, part: _Fraction) -> Iterator[Cause]:
    """Why a session's part of a cell is billed otherwise than recorded: another model before another price."""
    shares = cell.outcome.shares
    drift, alone = shares.get(Bucket.PRICE_DRIFT), shares.get(Bucket.LEDGER_ONLY)
    # The name comes before the price: of a model that was billed as another every rate differs, and that explains
    # nothing.
    if cell.billed_as is not None:
        ended = [share for end, share in shares.items() if isinstance(end, Bucket) and end is not Bucket.LEDGER_ONLY]
        nanos = part.of(sum(share.billed.total_nanos - share.recorded.total_nanos for share in ended))
        text = f"{cell.key.name} was named, the bill has {cell.billed_as.name} for the same requests"
        yield _moved(BillCause.OTHER_MODEL, nanos, text)
    elif drift is not None:
        nanos = part.of(drift.billed.total_nanos - drift.recorded.total_nanos)
        micros = ratio_micros(drift.billed.total_nanos, drift.recorded.total_nanos)
        times = "no part" if micros is None else f"{micros // MILLION}.{micros % MILLION // 100:04d}"
        yield _moved(
            BillCause.PRICE, nanos, f"the same counts of {cell.key.text} were billed at {times} of the recorded price"
        )
    if cell.hidden[0]:
        nanos, told = part.of(cell.hidden[1]), _tokens(part.of(cell.hidden[0]))
        if cell.recorded.partial:
            text = f"{told} of output were billed beyond responses that have no final count"
        else:
            text = f"the input is the same, and {told} of output were billed that nobody saw, such as reasoning"
        yield _moved(BillCause.PARTIAL if cell.recorded.partial else BillCause.HIDDEN, nanos, text)
    if alone is not None:
        nanos, tokens = part.of(alone.recorded.total_nanos), part.of(alone.recorded.total_tokens)
        text = f"{_tokens(tokens)} of {cell.key.text} were recorded and are in no bill: {format_amount(nanos)}"
        yield Cause(BillCause.LEDGER_ONLY, -nanos, text)
    if cell.included:
        compared = shares.get(Bucket.MATCHED)
        nanos = 0 if compared is None else part.of(compared.billed.total_nanos)
        yield Cause(BillCause.INCLUDED, None, f"a plan covers it: {format_amount(nanos)} at API prices, and no bill")


def _moved(why: BillCause, nanos: int, text: str) -> Cause:
    return Cause(why, nanos, f"{text}: {more_or_less(nanos)}")


def _tokens(count: int) -> str:
    return f"{count:,} token{'' if count == 1 else 's'}"


def swapped(cells: Iterable[Cell]) -> list[tuple[Cell, Cell]]:
    """Pairs of what one model has in the ledger alone and another in a bill alone, with the same counts on one day.

    Only where nothing else on that day has these counts: then one model was named and the other was billed.
    """
    found: dict[tuple[date, tuple[tuple[Part, int], ...]], tuple[list[Cell], list[Cell]]] = {}
    for cell in cells:
        if cell.outcome.compared():
            continue
        alone, extra = recorded_alone(cell), cell.outcome.shares.get(Bucket.BILL_ONLY)
        for side, row in enumerate((alone and alone.recorded, extra and extra.billed)):
            joined = row.with_inputs_joined().tokens if isinstance(row, Row) else {}
            if counts := tuple(sorted((part, count) for part, count in joined.items() if count)):
                found.setdefault((cell.day, counts), ([], []))[side].append(cell)
    return [(mine[0], theirs[0]) for mine, theirs in found.values() if len(mine) == len(theirs) == 1]


def recorded_alone(cell: Cell) -> Share | None:
    """What is in no bill, whether or not one tells of that provider."""
    return cell.outcome.shares.get(Bucket.LEDGER_ONLY) or cell.outcome.shares.get(Gap.NO_BILL)


@value(slots=True)
class EndSum:
    """What ended in one bucket, or is not compared for one reason; how many cells have any of it."""

    end: Bucket | Gap
    cells: int = 0
    tokens: int = 0
    recorded_nanos: int = 0
    billed_nanos: int = 0

    @property
    def bucket(self) -> Bucket:
        return self.end if isinstance(self.end, Bucket) else Bucket.UNCOMPARED


def end_sums(outcomes: Iterable[Outcome]) -> list[EndSum]:
    """What everything adds up to: the buckets in their order, then what is not compared by reason."""
    sums = {end: EndSum(end) for end in (*Bucket, *sorted(Gap))}
    for outcome in outcomes:
        for end, share in outcome.shares.items():
            each = sums[end]
            each.cells += 1
            # Both sides count the same tokens; one of them may not tell them.
            each.tokens += max(share.recorded.total_tokens, share.billed.total_tokens)
            each.recorded_nanos += share.recorded.total_nanos
            each.billed_nanos += share.billed.total_nanos
    return [each for each in sums.values() if each.cells]


# --- what lines imply ------------------------------------------------------------------------------------------------
# What a review implies: by how much bills are above the record, and the record above estimates; prices that differ.


# Fewer responses or calls than this say nothing that the next one would not turn over.
ENOUGH = 10
# A factor this near to one changes nothing that an estimate could tell.
_NEAR_MICROS = 1_000
# What the ledger takes for a factor.
_LEAST, _MOST = 1_000, 1_000 * MILLION
# A price differs constantly if its days are within this share of each other.
_CONSTANT = 200


@value(frozen=True, slots=True)
class BilledFactor:
    """Billed by recorded for one model, over what was compared. `prices` are the keys that estimates know it by.

    No factor where too little was compared.
    """

    key: ModelKey
    prices: tuple[str, ...]
    responses: int
    tokens: int
    recorded_nanos: int
    billed_nanos: int
    micros: int | None

    @property
    def is_off(self) -> bool:
        """Whether it says anything to correct estimates by."""
        return self.is_kept and abs((self.micros or MILLION) - MILLION) >= _NEAR_MICROS

    @property
    def is_kept(self) -> bool:
        """Whether the ledger takes it for a factor."""
        return self.micros is not None and _LEAST <= self.micros <= _MOST


@value(frozen=True, slots=True)
class EstimateFactor:
    """Recorded by estimated for one client and model, where both are known."""

    client: str
    model: str
    calls: int
    estimate_nanos: int
    recorded_nanos: int
    micros: int | None


@value(frozen=True, slots=True)
class PriceDiffers:
    """A price that a bill has otherwise, in the same way on all days.

    `rates` are nano-dollars per million tokens as billed, by part, where the bill tells money by part.
    """

    key: ModelKey
    prices: tuple[str, ...]
    days: int
    micros: int
    rates: tuple[tuple[Part, int], ...] = ()


def _tells_of_prices(cell: Cell) -> bool:
    """Whether a cell says anything of a price: a plan's use, a model billed as another, and money alone do not."""
    return not cell.included and cell.billed_as is None and Gap.NO_COUNTS not in cell.outcome.gaps


def billed_factors(cells: Iterable[Cell]) -> list[BilledFactor]:
    """The factor of each model, the largest amount first.

    Counts without money say nothing about it either, unless they show output that was hidden.
    """
    sums: dict[ModelKey, tuple[Row, Row]] = {}
    for cell in filter(_tells_of_prices, cells):
        compared = Share()
        for share in cell.outcome.compared():
            compared.merge(share)
        recorded, billed = compared.recorded, compared.billed
        # Where all of the billed money was put there by our own prices, the factor would be ours and prove itself.
        if not recorded.total_nanos or (cell.outcome.priced_nanos >= billed.total_nanos and not cell.hidden[0]):
            continue
        # Hidden output was paid for and never counted here: it belongs to what a counted token costs.
        billed.add(Part.OUTPUT, None, cell.hidden[1])
        of_ledger, of_bills = sums.setdefault(cell.key, (Row(), Row()))
        of_ledger.merge(replace(recorded, lines=cell.recorded.lines, prices=cell.recorded.prices))
        of_bills.merge(billed)
    factors = []
    for key, (recorded, billed) in sums.items():
        amounts = (recorded.total_nanos, billed.total_nanos)
        # Of few responses one outlier would be a factor.
        micros = ratio_micros(*reversed(amounts)) if recorded.lines >= ENOUGH else None
        prices = tuple(sorted(recorded.prices))
        factors.append(BilledFactor(key, prices, recorded.lines, recorded.total_tokens, *amounts, micros))
    return sorted(factors, key=lambda factor: (-factor.recorded_nanos, factor.key))


def estimate_factors(lines: Iterable[Line]) -> list[EstimateFactor]:
    """The factor of each client and model, the largest amount first."""
    sums: dict[tuple[str, str], list[int]] = {}
    for line in lines:
        if line.place.who is None or line.estimate_nanos is None or line.recorded_nanos is None:
            continue
        key = (line.place.who.client, line.place.model)
        more = (line.calls, line.estimate_nanos, line.recorded_nanos)
        sums[key] = [a + b for a, b in zip(sums.get(key, (0, 0, 0)), more, strict=True)]
    found = [
        EstimateFactor(*key, calls, estimate, recorded, ratio_micros(recorded, estimate) if calls >= ENOUGH else None)
        for key, (calls, estimate, recorded) in sums.items()
    ]
    return sorted(found, key=lambda factor: (-factor.recorded_nanos, factor.client, factor.model))


def prices_that_differ(cells: Iterable[Cell]) -> list[PriceDiffers]:
    """Models whose bill has another price on every day that was compared, by the same factor or at the same rates."""
    by_key: dict[ModelKey, list[Cell]] = {}
    for cell in filter(_tells_of_prices, cells):
        if cell.outcome.compared():
            by_key.setdefault(cell.key, []).append(cell)
    found = [_differs(key, mine) for key, mine in sorted(by_key.items())]
    return [each for each in found if each is not None]


def _differs(key: ModelKey, cells: list[Cell]) -> PriceDiffers | None:
    """One model's price: its factor where all days have the same, else its rates where each class has one."""
    shares = [share for cell in cells for share in cell.outcome.compared()]
    drifts = [cell.outcome.shares[Bucket.PRICE_DRIFT] for cell in cells if Bucket.PRICE_DRIFT in cell.outcome.shares]
    recorded = sum(share.recorded.total_nanos for share in shares)
    billed = sum(share.billed.total_nanos for share in shares)
    drifting = sum(share.recorded.total_nanos for share in drifts)
    prices = tuple(sorted({price for cell in cells for price in cell.recorded.prices}))
    micros = ratio_micros(billed, recorded)
    if not drifting or micros is None or not billed:
        return None
    ratios = [ratio_micros(share.billed.total_nanos, share.recorded.total_nanos) or 0 for share in drifts]
    if (recorded - drifting) * 100 <= drifting and _alike(ratios):
        return PriceDiffers(key, prices, len(drifts), micros)
    by_part = {
        part: [
            (2 * nanos * TOKENS_PER_RATE + tokens) // (2 * tokens)  # rounded to the nearest
            for share in shares
            if (tokens := share.billed.tokens.get(part)) and (nanos := share.billed.nanos.get(part))
        ]
        for part in (Part.INPUT, Part.CACHE_READ, Part.CACHE_WRITE, Part.OUTPUT)
    }
    if any(rates and not _alike(rates) for rates in by_part.values()):
        return None
    known = tuple((part, sum(rates) // len(rates)) for part, rates in by_part.items() if rates)
    has_both = {Part.INPUT, Part.OUTPUT} <= {part for part, _ in known}
    return PriceDiffers(key, prices, len(drifts), micros, known) if has_both else None


def _alike(values: list[int]) -> bool:
    return (max(values) - min(values)) * _CONSTANT <= max(values)


def rounded_rate(nanos: int) -> int:
    """A rate to the hundredth of a cent per million tokens, as price lists have them."""
    unit = NANOS_PER_UNIT // 10_000
    return (nanos + unit // 2) // unit * unit
