"""What drives the record and the bills apart, in parts that add up: by day, model and cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from enum import StrEnum

from tallygate.core.bills.lines import Bucket, Cell, Gap, How, Matched, Part, Share
from tallygate.core.bills.review import swapped
from tallygate.core.values import value


class DriftCause(StrEnum):
    """Why a part of the bills is not what was recorded; each nano-dollar of the drift has exactly one of them."""

    PRICE = "price_drift"
    OTHER_MODEL = "other_model"
    HIDDEN = "hidden_reasoning"
    PARTIAL = "partial_rows"
    CREDIT = "credit"
    ROUNDING = "rounding"
    LEDGER_ONLY = "not_in_bill"
    BILL_ONLY = "not_in_ledger"
    UNTOLD = "class_not_told"

    @property
    def is_explained(self) -> bool:
        """Whether it says why, and not only where: what one side lacks altogether explains nothing."""
        return self not in _WHERE_ALONE


_WHERE_ALONE = frozenset({DriftCause.LEDGER_ONLY, DriftCause.BILL_ONLY, DriftCause.UNTOLD})


@value(frozen=True, slots=True)
class DriftPart:
    """What one cause makes of the drift of a day and model. `is_span` says that the bill tells of several days from it.

    `tokens` are those that only one side has.
    """

    day: date
    model: str
    cause: DriftCause
    recorded_nanos: int
    billed_nanos: int
    tokens: int = 0
    is_span: bool = False

    @property
    def nanos(self) -> int:
        """Recorded less billed."""
        return self.recorded_nanos - self.billed_nanos


@value(frozen=True, slots=True)
class RateApart:
    """A rate of a model, in nano-dollars a million tokens, that bills of so many days have otherwise than the list."""

    model: str
    part: Part
    listed_nanos: int
    billed_nanos: int
    days: int


def drift_parts(found: Matched) -> list[DriftPart]:
    """The drift of all that was compared, and of what a side lacks. Their billed sum is that of the review's lines.

    What a plan covers is billed by nobody and is no part of it.
    """
    # What one model has in the ledger alone and another, with the same counts, in a bill alone is one thing, not two.
    swaps = {id(cell) for pair in swapped(found.cells) for cell in pair}
    parts = [part for cell in found.cells for part in _of_cell(cell, is_swapped=id(cell) in swaps)]
    parts += [
        DriftPart(day, "" if key is None else key.text, DriftCause.CREDIT, 0, nanos)
        for (day, key), nanos in found.credits.items()
    ]
    return sorted(parts, key=lambda part: (part.day, part.model, part.cause, part.is_span))


def _of_cell(cell: Cell, *, is_swapped: bool) -> Iterator[DriftPart]:
    def part(cause: DriftCause, recorded: int, billed: int, tokens: int = 0) -> DriftPart:
        return DriftPart(cell.day, cell.key.text, cause, recorded, billed, tokens, cell.how is How.SPAN)

    shares, other = cell.outcome.shares, DriftCause.OTHER_MODEL if is_swapped else None
    if (alone := shares.get(Bucket.LEDGER_ONLY)) is not None:
        recorded = alone.recorded
        yield part(other or DriftCause.LEDGER_ONLY, recorded.total_nanos, 0, recorded.total_tokens)
    if cell.included:
        return
    named = DriftCause.OTHER_MODEL if cell.billed_as is not None else None
    for bucket, cause in ((Bucket.MATCHED, DriftCause.ROUNDING), (Bucket.PRICE_DRIFT, DriftCause.PRICE)):
        if (share := shares.get(bucket)) is not None:
            yield part(named or cause, share.recorded.total_nanos, share.billed.total_nanos)
    hidden_tokens, hidden_nanos = cell.hidden
    if hidden_tokens:
        cause = DriftCause.PARTIAL if cell.recorded.partial else DriftCause.HIDDEN
        yield part(cause, 0, hidden_nanos, hidden_tokens)
    if (extra := shares.get(Bucket.BILL_ONLY)) is not None:
        tokens, nanos = extra.billed.total_tokens - hidden_tokens, extra.billed.total_nanos - hidden_nanos
        if tokens or nanos:
            yield part(named or other or DriftCause.BILL_ONLY, 0, nanos, tokens)
    untold = shares.get(Gap.CLASS_NOT_TOLD, Share())
    # Of a class that the bill tells no money of, nobody can say that it differs.
    if untold.billed.total_nanos and (cell.outcome.compared() or hidden_tokens):
        yield part(DriftCause.UNTOLD, untold.recorded.total_nanos, untold.billed.total_nanos)


def unbilled_days(cells: Iterable[Cell]) -> dict[date, int]:
    """What was recorded on days that no bill covers, by day."""
    found: dict[date, int] = {}
    for cell in cells:
        if (share := cell.outcome.shares.get(Gap.NO_BILL)) is not None:
            found[cell.day] = found.get(cell.day, 0) + share.recorded.total_nanos
    return dict(sorted(found.items()))
